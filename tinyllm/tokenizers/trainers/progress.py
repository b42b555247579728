"""How far training is, on a terminal: what was read, what was learned, and how long the rest will take.

Tokenizer.train_from_iterator(texts, trainer, progress=Progress())
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from typing import TextIO

EVERY = 0.2  # seconds between two lines


def heard(
    progress: Callable[[str, int, int | None], object] | None,
) -> tuple[Callable[[int], object] | None, Callable[[int, int], object] | None]:
    """What counting and training are given so that `progress` hears of both: with the stage before it."""
    if progress is None:
        return None, None
    return lambda size: progress("count", size, None), partial(progress, "train")


class Progress:
    """Writes one line, again and again in the same place, to `file` (standard error by default)."""

    def __init__(self, file: TextIO | None = None) -> None:
        self._file = file or sys.stderr
        self._stage = ""
        self._began = self._shown = 0.0

    def __call__(self, stage: str, done: int, wanted: int | None) -> None:
        """`stage` is "count" (`done`: bytes of text) or "train" (`done` steps of `wanted`)."""
        now = time.monotonic()
        if stage != self._stage:
            self._stage, self._began, self._shown = stage, now, 0.0
        last = done == wanted
        if now - self._shown < EVERY and not last:
            return
        self._shown = now
        self._file.write(f"\r{line(stage, done, wanted, now - self._began):<60}" + "\n" * last)
        self._file.flush()


def line(stage: str, done: int, wanted: int | None, seconds: float) -> str:
    """What is shown `seconds` after the stage began."""
    if wanted is None:
        rate = done / seconds if seconds else 0.0
        return f"{stage}: {done / 1e6:.1f} MB, {rate / 1e6:.1f} MB/s"
    left = seconds / done * (wanted - done) if done else 0.0
    return f"{stage}: {done:,} of {wanted:,}, {f'{left:.0f} s left' if done < wanted else f'{seconds:.1f} s'}"
