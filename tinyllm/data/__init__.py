"""Text, token files, and the batches made of them."""

from .sampler import ArrayTokens, WindowSampler, windows
from .sources import read_text, shakespeare, split
from .tokens import TokenFile, write_tokens

__all__ = [
    "ArrayTokens",
    "TokenFile",
    "WindowSampler",
    "read_text",
    "shakespeare",
    "split",
    "windows",
    "write_tokens",
]
