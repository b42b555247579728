"""Which windows of a token file make a batch.

`WindowSampler`: random windows, as nanoGPT's `get_batch`, but counter-based: window i of step s is a pure
function of (seed, s, i). A run that resumes at step s sees what the unbroken run saw; micro-batches and ranks
read disjoint ranges of i and together see exactly the batch of one process. `windows`: every token of a split
once, in order, for evaluation.

Shapes: B sequences, T tokens each; targets are the inputs shifted by one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from .. import backend
from ..errors import ConfigError
from ..random import Generator


class Tokens(Protocol):
    """What the samplers read from: a `TokenFile`, or `ArrayTokens`."""

    def __len__(self) -> int: ...
    def read(self, start: int, count: int) -> np.ndarray: ...


class ArrayTokens:
    """Ids held in memory, behind the interface of a token file."""

    def __init__(self, ids: np.ndarray | list[int]):
        self._ids = np.asarray(ids, np.int64)

    def __len__(self) -> int:
        return len(self._ids)

    def read(self, start: int, count: int) -> np.ndarray:
        return self._ids[start : start + count].copy()


class WindowSampler:
    """Random windows of `length` tokens, drawn with replacement: there is no epoch and no permutation of the text.

    `step` is the cursor: `next_batch` reads it, `advance` moves it, `state_dict` keeps it.
    """

    def __init__(self, tokens: Tokens, length: int, seed: int = 0):
        if len(tokens) <= length:
            raise ConfigError(
                f"{len(tokens)} tokens are too few for windows of {length} and their targets: "
                "a longer text or a shorter context is needed"
            )
        self.tokens, self.length, self.seed, self.step = tokens, length, seed, 0

    def starts(self, step: int, first: int, count: int) -> np.ndarray:
        """Where windows first .. first + count - 1 of `step` begin, uniform over all positions; (count,)
        int64.
        """
        key, stream = Generator(self.seed, step).next("data")
        # Two 24-bit numbers each: 48 bits reach every start of any file, and their bias is below 2**-48 *
        # len.
        high, low = backend.uniform((count, 2), np.dtype(np.float64), key, stream, base=2 * first).T
        return ((high + low * 2.0**-24) * (len(self.tokens) - self.length)).astype(np.int64)

    def batch(self, step: int, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Windows first .. first + count - 1 of `step`: inputs and targets, (count, length) int64 each, contiguous."""
        rows = np.empty((count, self.length + 1), np.int64)
        for row, start in zip(rows, self.starts(step, first, count).tolist(), strict=True):
            row[:] = self.tokens.read(start, self.length + 1)
        return rows[:, :-1].copy(), rows[:, 1:].copy()

    def next_batch(self, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """`batch` at the cursor."""
        return self.batch(self.step, first, count)

    def advance(self) -> None:
        """Move the cursor to the next step."""
        self.step += 1

    def state_dict(self) -> dict[str, int]:
        return {"seed": self.seed, "step": self.step, "length": self.length, "tokens": len(self.tokens)}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue where `state_dict` was taken. Raises ValueError if the data or the window length is
        another one.
        """
        for name, ours in (("length", self.length), ("tokens", len(self.tokens))):
            if state[name] != ours:
                raise ValueError(f"the sampler's state is of {name} = {state[name]}, this data has {name} = {ours}")
        self.seed, self.step = state["seed"], state["step"]


def windows(tokens: Tokens, length: int, batch_size: int, every: int = 1) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All tokens but the first as targets, each once, in consecutive windows of `length` (the last one may be shorter).

    Yields inputs and targets, (B, T) int64: full batches, then what is left of full windows, then the short window
    alone. With `every` = n, only batches 0, n, 2n, ... of these; the others are not read.
    """
    full, rest = divmod(max(len(tokens) - 1, 0), length)
    batches = [(first * length, min(batch_size, full - first), length) for first in range(0, full, batch_size)]
    if rest:
        batches.append((full * length, 1, rest))
    for start, count, width in batches[::every]:
        ids = tokens.read(start, count * width + 1)
        yield ids[:-1].reshape(count, width), ids[1:].reshape(count, width)
