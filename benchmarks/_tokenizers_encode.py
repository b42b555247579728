"""Encoding with OpenAI's vocabularies, MB of UTF-8 a second, beside tiktoken and Hugging Face: tokenizers.py encode."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import packages
import peers
from tokenizers_benchmark import taking_turns


def texts(size: int) -> dict[str, str]:
    """Three texts of about `size` bytes each."""
    sources = {"English": packages.english(), "code": packages.code(), "Chinese": packages.chinese()}
    return {name: text.encode()[:size].decode("utf-8", "ignore") for name, text in sources.items()}


def rows(smoke: bool) -> list[dict[str, Any]]:
    """One row a vocabulary and text."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    table = []
    for name in ("r50k", "cl100k", "o200k"):
        ours, theirs, hf = peers.ours(name), peers.tiktoken(name), peers.hugging_face(name)
        for language, text in texts(100_000 if smoke else 2_000_000).items():
            ids = theirs.encode_ordinary(text)
            if not ids == ours(text) == hf.encode(text, add_special_tokens=False).ids:
                raise AssertionError(f"{name}, {language}: the ids differ")
            contestants: dict[str, Callable[[], object]] = {
                "tinyllm": lambda text=text, ours=ours: ours(text),
                "tiktoken": lambda text=text, theirs=theirs: theirs.encode_ordinary(text),
                "tokenizers": lambda text=text, hf=hf: hf.encode(text, add_special_tokens=False),
            }
            seconds = taking_turns(contestants, 1 if smoke else 7)
            size = len(text.encode())
            row: dict[str, Any] = {"vocabulary": name, "text": language, "bytes/token": f"{size / len(ids):.2f}"}
            row |= {f"{who} MB/s": f"{size / 1e6 / taken:.1f}" for who, taken in seconds.items()}
            row |= {f"x {who}": f"{taken / seconds['tinyllm']:.1f}" for who, taken in list(seconds.items())[1:]}
            table.append(row)
    return table
