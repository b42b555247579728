"""The Unigram model beside SentencePiece, one thread each: training with the normalization, encoding, peak memory:
tokenizers.py unigram.
"""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import packages
from tokenizers_benchmark import taking_turns

from tinyllm.tokenizers.formats.sentencepiece import read
from tinyllm.tokenizers.presets import SentencePieceTokenizer

PEAK = "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
OURS = "from tinyllm.tokenizers.presets import SentencePieceTokenizer as T; T.train(lines, {size})"
THEIRS = (
    "import io, sentencepiece as s; s.SentencePieceTrainer.train(sentence_iterator=iter(lines), "
    "model_writer=io.BytesIO(), vocab_size={size}, num_threads=1, minloglevel=2)"
)


def theirs(lines: list[str], vocab_size: int) -> bytes:
    """SentencePiece's .model of the lines."""
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=model,
        vocab_size=vocab_size,
        num_threads=1,
        minloglevel=2,
        hard_vocab_limit=False,
    )
    return model.getvalue()


def peak(code: str, lines: list[str]) -> float:
    """The peak memory in MB of a process that has the lines and runs `code`, less that of one that only has them."""
    load = "import sys; lines = sys.stdin.read().split(chr(10)); "
    text = "\n".join(lines).encode()
    sizes = [
        int(
            subprocess.run(
                [sys.executable, "-c", load + run + PEAK], input=text, stdout=subprocess.PIPE, check=True
            ).stdout
        )
        for run in (f"{code}; ", "")
    ]
    return (sizes[0] - sizes[1]) / 1024


def training(smoke: bool) -> list[dict[str, Any]]:
    """One row a vocabulary and text; the same pieces, to 99 of 100, before any timing."""
    import sentencepiece

    table = []
    for size, length in [(1000, 150_000)] if smoke else [(4000, 1_115_394), (8000, 1_115_394), (8000, 6_000_000)]:
        text = packages.english()[:length]
        lines = [line for line in text.split("\n") if line]
        processor = sentencepiece.SentencePieceProcessor(model_proto=theirs(lines, size))
        ours = SentencePieceTokenizer.train(lines, size)
        same = len({token.decode() for token in ours.tokens} & {processor.id_to_piece(i) for i in range(size)})
        if same < 0.99 * size:
            raise AssertionError(f"vocabulary {size}: only {same} pieces are the same")
        contestants: dict[str, Callable[[], object]] = {
            "tinyllm": lambda size=size, lines=lines: SentencePieceTokenizer.train(lines, size),
            "sentencepiece": lambda size=size, lines=lines: theirs(lines, size),
        }
        seconds = taking_turns(contestants, 1 if smoke else 5)
        table.append(
            {
                "work": f"train {size} on {len(text.encode()) / 1e6:.1f} MB of plays",
                "tinyllm": f"{seconds['tinyllm']:.2f} s",
                "sentencepiece": f"{seconds['sentencepiece']:.2f} s",
                "x": f"{seconds['sentencepiece'] / seconds['tinyllm']:.1f}",
                "peak MB": f"{peak(OURS.format(size=size), lines):.0f} / {peak(THEIRS.format(size=size), lines):.0f}",
                "same": f"{same} of {size} pieces",
            }
        )
    return table


def encoding(smoke: bool) -> list[dict[str, Any]]:
    """One row a text, as a whole and by the line; the model is SentencePiece's, trained on the text's beginning."""
    import sentencepiece

    table = []
    for name, find in {"plays": packages.english, "code": packages.code, "Chinese": packages.chinese}.items():
        text = find().encode()[: 100_000 if smoke else 2_000_000].decode("utf-8", "ignore")
        lines = [line for line in text.split("\n") if line]
        model = theirs([line[:1000] for line in lines[: len(lines) // 2]], 1500 if smoke else 4000)
        processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        ours = read(model)
        for what, parts in ("whole", [text]), ("by line", lines):
            if [ours.encode(part) for part in parts] != [processor.encode(part) for part in parts]:
                raise AssertionError(f"{name}, {what}: the ids differ")
            contestants: dict[str, Callable[[], object]] = {
                "tinyllm": lambda parts=parts, ours=ours: [ours.encode(part) for part in parts],
                "sentencepiece": lambda parts=parts, processor=processor: [processor.encode(part) for part in parts],
            }
            seconds = taking_turns(contestants, 1 if smoke else 7)
            size = len(text.encode()) / 1e6
            table.append(
                {
                    "work": f"encode {name}, {what}",
                    "tinyllm": f"{size / seconds['tinyllm']:.1f} MB/s",
                    "sentencepiece": f"{size / seconds['sentencepiece']:.1f} MB/s",
                    "x": f"{seconds['sentencepiece'] / seconds['tinyllm']:.1f}",
                    "peak MB": "",
                    "same": "all ids",
                }
            )
    return table


def rows(smoke: bool) -> list[dict[str, Any]]:
    """Training, then encoding."""
    return training(smoke) + encoding(smoke)
