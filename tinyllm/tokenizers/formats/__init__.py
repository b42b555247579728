"""Tokenizers to files and back."""

from tinyllm.tokenizers.formats.tokenizer_json import from_json, load, parse, save, to_json

__all__ = ["from_json", "load", "parse", "save", "to_json"]
