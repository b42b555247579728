"""Bytes to arrays and back; nothing about models."""
