"""Decoding ids of OpenAI's vocabularies to text, MB of UTF-8 a second, beside tiktoken: tokenizers.py decode."""

from __future__ import annotations

from typing import Any

import _tokenizers_encode
import peers
from tokenizers_benchmark import taking_turns


def rows(smoke: bool) -> list[dict[str, Any]]:
    """One row a vocabulary and text."""
    table = []
    for name in ("r50k", "cl100k", "o200k"):
        decode, theirs = peers.our_decoder(name), peers.tiktoken(name)
        for language, text in _tokenizers_encode.texts(100_000 if smoke else 2_000_000).items():
            ids = theirs.encode_ordinary(text)
            if not decode(ids) == theirs.decode(ids) == text:
                raise AssertionError(f"{name}, {language}: the text differs")
            seconds = taking_turns(
                {
                    "tinyllm": lambda ids=ids, decode=decode: decode(ids),
                    "tiktoken": lambda ids=ids, theirs=theirs: theirs.decode(ids),
                },
                1 if smoke else 7,
            )
            size = len(text.encode())
            row = {"vocabulary": name, "text": language}
            row |= {f"{who} MB/s": f"{size / 1e6 / taken:.1f}" for who, taken in seconds.items()}
            table.append(row | {"x tiktoken": f"{seconds['tiktoken'] / seconds['tinyllm']:.1f}"})
    return table
