"""Counting more distinct pieces than memory holds: `max_memory` of count.py.

A counter that is full is emptied into a scratch file, in 64 parts by hash, and goes on counting. In the end the parts
are added up one after another, so nothing is lost. Only where the distinct pieces themselves are too many for a
training in that memory, those that occur least are left out (all that occur equally often, together), and a UserWarning
says what share of the text the others are. Which these are depends on the text alone, not on when a counter was full.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

from tinyllm import _io
from tinyllm.errors import TokenizerError

PARTS = 64
LEAST = 1 << 24  # bytes; with less, tables and shares would be too small to be worth it
# What a distinct piece costs in a counter and a compiled BPE training: bytes by itself, and for each byte of it. It is
# more than words need; long pieces without repetition need nearly all of it (tests/test_bpe_training.py measures both).
PER_PIECE, PER_BYTE = 96, 64


class Spill:
    """`limit` bytes for `n_counters` and the training after; None: all that is needed."""

    def __init__(self, limit: int | None, n_counters: int) -> None:
        if limit is not None and limit < LEAST:
            raise TokenizerError(f"max_memory is {limit} bytes; it must be at least {LEAST}")
        self._limit = limit
        self._share = (limit or 0) // 2 // n_counters  # the other half is for what leaves the fullest counter
        self._file: _io.ScratchFile | None = None
        self._places: list[list[tuple[int, int]]] = [[] for _ in range(PARTS)]  # (offset, size) in the file

    def __enter__(self) -> Spill:
        return self

    def __exit__(self, *error: object) -> None:
        if self._file is not None:
            self._file.close()

    def relieve(self, counter: Any) -> None:
        """Empty a counter that has its share of the memory."""
        if self._limit is not None and counter.memory > self._share:
            self._empty(counter)

    def _empty(self, counter: Any) -> None:
        if self._file is None:
            self._file = _io.ScratchFile()
        for places, data in zip(self._places, counter.dump(PARTS), strict=True):
            places.append((self._file.append(data), len(data)))
        counter.clear()

    def collect(self, words: Any, make: Callable[[], Any]) -> None:
        """Leave in `words` all that was counted, or as much as the memory is enough for."""
        if self._limit is None:
            return
        if self._file is None:
            if sum(costs(words).values()) <= self._limit:
                return
        self._empty(words)
        cost_of: Counter[int] = Counter()  # of all pieces that occur so often
        total = 0
        for part in range(PARTS):
            counter = self._part(part, make)
            cost_of.update(costs(counter))
            total += counter.total
        least = self._least(cost_of)
        for part in range(PARTS):
            words.merge(self._part(part, make), least)
        if words.total < total:
            warnings.warn(
                f"max_memory is {self._limit} bytes, which holds the {len(words)} distinct pieces that occur {least} "
                f"times or more: {100 * words.total / total:.2f} % of the text's bytes. The others are left out",
                stacklevel=3,
            )

    def _part(self, part: int, make: Callable[[], Any]) -> Any:
        """One part of all pieces, added up."""
        assert self._file is not None
        counter = make()
        for offset, size in self._places[part]:
            counter.load(self._file.read(offset, size))
        return counter

    def _least(self, cost_of: Counter[int]) -> int:
        """How often a piece must occur so that all such pieces fit."""
        assert self._limit is not None
        left, least = self._limit, 0
        for n in sorted(cost_of, reverse=True):
            left -= cost_of[n]
            if left < 0:
                break
            least = n
        if not least:
            raise TokenizerError(
                f"max_memory is {self._limit} bytes, but the pieces that occur most often alone need "
                f"{self._limit - left}; give more, or a pre-tokenizer that makes shorter pieces"
            )
        return least


def costs(words: Any) -> Counter[int]:
    """Of all pieces that occur n times, the bytes that they take in training, for each n."""
    found: Counter[int] = Counter()
    for piece, n in words.items():
        found[n] += PER_PIECE + PER_BYTE * len(piece)
    return found
