"""Tokenizers: text and bytes to ids and back.

    tok = BPETokenizer.train(texts, vocab_size=1024, special_tokens=["<|endoftext|>"])
    ids = tok.encode("To be, or not to be")
    tok.decode(ids) == "To be, or not to be"
    tok.save("tokenizer.json");  tok = load("tokenizer.json")

Names are imported at first use, so that importing this package costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tinyllm.tokenizers.base import Encoding, Stream, Tokenizer
    from tinyllm.tokenizers.bpe import BPETokenizer
    from tinyllm.tokenizers.char import CharTokenizer
    from tinyllm.tokenizers.engine import compiled
    from tinyllm.tokenizers.formats import load

__all__ = ["BPETokenizer", "CharTokenizer", "Encoding", "Stream", "Tokenizer", "compiled", "load"]

_WHERE = {
    "BPETokenizer": "bpe",
    "CharTokenizer": "char",
    "Encoding": "base",
    "Stream": "base",
    "Tokenizer": "base",
    "compiled": "engine",
    "load": "formats",
}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
