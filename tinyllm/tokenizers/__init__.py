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
    from tinyllm.tokenizers.added import AddedToken
    from tinyllm.tokenizers.decoding import Stream
    from tinyllm.tokenizers.encoding import Encoding, Padding, Truncation
    from tinyllm.tokenizers.engine import compiled
    from tinyllm.tokenizers.formats import load
    from tinyllm.tokenizers.models import BPE, SentencePieceBPE, Unigram, WordLevel, WordPiece
    from tinyllm.tokenizers.pipeline import Tokenizer
    from tinyllm.tokenizers.presets import (
        BPETokenizer,
        ByteTokenizer,
        CharTokenizer,
        SentencePieceTokenizer,
        WordPieceTokenizer,
        WordTokenizer,
    )
    from tinyllm.tokenizers.trainers import BPETrainer, UnigramTrainer, WordLevelTrainer, WordPieceTrainer

__all__ = [
    "AddedToken",
    "BPE",
    "BPETokenizer",
    "BPETrainer",
    "ByteTokenizer",
    "CharTokenizer",
    "Encoding",
    "Padding",
    "SentencePieceBPE",
    "SentencePieceTokenizer",
    "Stream",
    "Tokenizer",
    "Truncation",
    "Unigram",
    "UnigramTrainer",
    "WordLevel",
    "WordLevelTrainer",
    "WordPiece",
    "WordPieceTokenizer",
    "WordPieceTrainer",
    "WordTokenizer",
    "compiled",
    "load",
]

_WHERE = {
    "AddedToken": "added",
    "BPE": "models",
    "BPETokenizer": "presets",
    "BPETrainer": "trainers",
    "ByteTokenizer": "presets",
    "CharTokenizer": "presets",
    "Encoding": "encoding",
    "Padding": "encoding",
    "SentencePieceBPE": "models",
    "SentencePieceTokenizer": "presets",
    "Stream": "decoding",
    "Tokenizer": "pipeline",
    "Truncation": "encoding",
    "Unigram": "models",
    "UnigramTrainer": "trainers",
    "WordLevel": "models",
    "WordLevelTrainer": "trainers",
    "WordPiece": "models",
    "WordPieceTokenizer": "presets",
    "WordPieceTrainer": "trainers",
    "WordTokenizer": "presets",
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
