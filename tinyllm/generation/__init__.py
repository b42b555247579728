"""Sampling from a model, token by token."""

from .sample import Sampling, candidates, generate, next_token
from .stream import stream_text

__all__ = ["Sampling", "candidates", "generate", "next_token", "stream_text"]
