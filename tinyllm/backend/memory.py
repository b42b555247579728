"""Arrays over the caching allocator of csrc/memory.c, and its counters.

Fresh pages cost about ten times what reused ones do, so results of kernels come from blocks that earlier results gave
back. Small arrays come from NumPy, which is quicker for them and keeps a cache of its own; the counters see only what
passes through the allocator, workspace of kernels included. Where no kernel is built, all memory is NumPy's and the
counters stay at zero.

Bytes are counted by kind. An array is of the kind of the scope that it is made in (`with kind("optimizer")`), workspace
by default, and `retag` moves it: the tape does that to what it saves (activation) and to what becomes a `.grad`
(gradient). A view counts as what it is a view of. Scratch of kernels is workspace.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

try:
    from tinyllm.backend._kernels import ffi, lib
except ImportError:
    lib = _BLOCK = None
else:
    _allocate = ffi.new_allocator(lib.tl_malloc_array, lib.tl_free, should_clear_after_alloc=False)
    _BYTES = ffi.typeof("char[]")
    _BLOCK = ffi.buffer  # what an array over the allocator has for its base

KINDS = ("workspace", "activation", "parameter", "gradient", "optimizer", "communication")  # as tl_kind numbers them

_NUMBER = {name: number for number, name in enumerate(KINDS)}

SMALL = 16384  # bytes; below it the three Python objects of a block cost more than its pages
MOST = 1 << 46  # bytes; what a 64-bit process can address, and far from where sizes overflow


def empty(shape: tuple[int, ...], dtype: np.dtype | type) -> np.ndarray:
    """A C-contiguous array with undefined contents: 64-byte aligned from `SMALL` bytes up.

    Raises ValueError for a negative size, MemoryError when the system has no more.
    """
    if not isinstance(dtype, np.dtype):
        dtype = np.dtype(dtype)
    nbytes = math.prod(shape) * dtype.itemsize
    if nbytes < SMALL:
        return np.empty(shape, dtype)
    try:
        if nbytes <= MOST:
            return np.ndarray(shape, dtype, ffi.buffer(_allocate(_BYTES, nbytes))) if lib else np.empty(shape, dtype)
    except MemoryError:
        pass
    raise MemoryError(f"no memory for an array of shape {shape} and dtype {dtype}, {nbytes:,} bytes")


class kind:
    """Within ``with kind("optimizer")`` arrays that this thread makes count as that kind."""

    def __init__(self, name: str):
        self._number = KINDS.index(name)
        self._before: list[int] = []

    def __enter__(self) -> None:
        if lib:
            self._before.append(lib.tl_set_scope(self._number))

    def __exit__(self, *exc: object) -> None:
        if lib:
            lib.tl_set_scope(self._before.pop())


def retag(x: np.ndarray, name: str, of: str | None = None) -> np.ndarray:
    """Count x, or what it is a view of, as another kind, if it is of the kind `of` or that is None; returns x. Arrays
    that NumPy made count nowhere.
    """
    base: Any = x.base
    while isinstance(base, np.ndarray):
        base = base.base
    if type(base) is _BLOCK:
        lib.tl_retag(ffi.from_buffer(base), -1 if of is None else _NUMBER[of], _NUMBER[name])
    return x


def live_by_kind() -> dict[str, int]:
    """Bytes in use now, by kind."""
    return {name: lib.tl_live_kind(i) if lib else 0 for i, name in enumerate(KINDS)}


def peak_by_kind() -> dict[str, int]:
    """The most bytes in use at once since the last `reset_peak`, of each kind: not all at one moment."""
    return {name: lib.tl_peak_kind(i) if lib else 0 for i, name in enumerate(KINDS)}


def live_bytes() -> int:
    """Bytes in use by arrays and workspace from the allocator."""
    return lib.tl_live_bytes() if lib else 0


def peak_bytes() -> int:
    """The most that `live_bytes` has been since the last `reset_peak`."""
    return lib.tl_peak_bytes() if lib else 0


def cached_bytes() -> int:
    """Bytes that wait for reuse."""
    return lib.tl_cached_bytes() if lib else 0


def reset_peak() -> None:
    """Start a new measurement of the peak at what is live now."""
    if lib:
        lib.tl_reset_peak()


def trim() -> None:
    """Give waiting blocks back to the system."""
    if lib:
        lib.tl_trim()


class failing:
    """For tests: ``with failing(2) as faults`` lets two allocations pass and fails the next, or all from there on if
    `forever`. `faults.count` says how many have failed: 0 when the block asked for less. Arrays below `SMALL` bytes are
    NumPy's and don't count. One block at a time.
    """

    def __init__(self, successes: int, forever: bool = False):
        self.successes, self.forever, self.count = successes, forever, 0

    def __enter__(self) -> failing:
        lib.tl_fail_after(self.successes, self.forever)
        return self

    def __exit__(self, *exc: object) -> None:
        self.count = lib.tl_failed()
        lib.tl_fail_after(-1, False)
