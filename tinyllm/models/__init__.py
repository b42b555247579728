"""Models, one file each."""

from .gpt import GPT, GPTConfig, preset

__all__ = ["GPT", "GPTConfig", "preset"]
