"""Counter-based random streams: which numbers a call sees depends on (seed, step, name, count), never on what ran
before.

A `Draw` names a stream of Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"): the key
is (seed, step), the counter is (stream, global element index). The kernels turn a draw into numbers; this file only
hands out names. Recomputation, accumulation and every parallel layout see the same masks as one process, because they
ask for the same names and offset the index.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import NamedTuple

__all__ = ["Generator", "manual_seed"]

_WORD = 1 << 32


class Draw(NamedTuple):
    """One random stream: `key` is (seed, step), each below 2**32; `stream` is a 64-bit number."""

    key: tuple[int, int]
    stream: int


class Generator:
    """Hands out a fresh stream for each call of `next`.

    The count of calls per name starts again with every step, so that step n draws the same numbers in a run that was
    resumed as in one that was not.
    """

    def __init__(self, seed: int = 0, step: int = 0):
        self.manual_seed(seed)
        self.set_step(step)

    def manual_seed(self, seed: int) -> Generator:
        """Start again from `seed` (0 <= seed < 2**32) at step 0."""
        if not 0 <= seed < _WORD:
            raise ValueError(f"a seed is an integer from 0 to 2**32 - 1, got {seed}")
        self.seed = int(seed)
        return self.set_step(0)

    def set_step(self, step: int, first_row: int = 0) -> Generator:
        """Draw from the streams of `step` (0 <= step < 2**32) from now on.

        `first_row` says which row of the step's whole batch the first row of coming batches is: a mask over a
        micro-batch (its first axis is the batch) is then the part of the whole batch's mask that it would have been.
        """
        if not 0 <= step < _WORD:
            raise ValueError(f"a step is an integer from 0 to 2**32 - 1, got {step}")
        self.step, self.first_row = int(step), int(first_row)
        self._counts: dict[str, int] = {}
        return self

    def next(self, name: str = "") -> Draw:
        """The next stream of `name`: a hash of the name and of how often it was asked for in this step."""
        count = self._counts.get(name, 0)
        self._counts[name] = count + 1
        digest = blake2b(f"{name}\0{count}".encode(), digest_size=8).digest()
        return Draw((self.seed, self.step), int.from_bytes(digest, "little"))

    def state_dict(self) -> dict:
        """Seed, step and counts: everything that the next draw depends on."""
        return {"seed": self.seed, "step": self.step, "first_row": self.first_row, "counts": dict(self._counts)}

    def load_state_dict(self, state: dict) -> None:
        """Continue exactly where `state_dict` was taken."""
        self.manual_seed(state["seed"]).set_step(state["step"], state["first_row"])
        self._counts.update(state["counts"])


default_generator = Generator()


def manual_seed(seed: int) -> Generator:
    """Seed the default generator and return it."""
    return default_generator.manual_seed(seed)


def set_step(step: int, first_row: int = 0) -> None:
    """Move the default generator to the streams of `step`; see `Generator.set_step`."""
    default_generator.set_step(step, first_row)
