"""S10: without memory or threads the engine says so, loses nothing, and goes on.

For every op, and every function that updates in place, the n-th allocation fails, n = 1, 2, ... until none is left to
fail; once, and with all that follow. What must come of it: MemoryError, inputs as they were, no byte lost, and the same
bits in the next call. The C driver does the same to every kernel, whose result must be -1. Where no thread can be
started, results have the bits that they have with threads.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import partial

import numpy as np
from common import Bar, run_bar
from draws import OPS, drawn, everything

from tinyllm import backend
from tinyllm.backend import memory

GROW = 10  # sides of up to 50: arrays beyond what NumPy allocates
SAMPLES = 4


def bits(arrays: list[np.ndarray | None]) -> list[bytes]:
    return [b"" if x is None else x.tobytes() for x in arrays]


def fail_in_turn(bar: Bar, what: str, call: Callable[[], list[np.ndarray]], inputs: list[np.ndarray | None]) -> int:
    """How many allocations failed."""
    expected, before = bits(call()), bits(inputs)
    failures = 0
    for forever in (False, True):
        for successes in range(10_000):
            gc.collect(0)
            live, error = memory.live_bytes(), None
            with memory.failing(successes, forever) as faults:
                try:
                    call()
                except Exception as raised:
                    error = raised.with_traceback(None)
            if not faults.count:
                break
            failures += 1
            where = f"{what}: allocation {successes + 1} failed{' and all that follow' if forever else ''}"
            if not isinstance(error, MemoryError):
                bar.failed(f"{where}: expected a MemoryError, got {error!r}")
                return failures
            del error
            if bits(inputs) != before:
                bar.failed(f"{where}: an input was changed")
            if memory.live_bytes() != live:
                gc.collect()
            if memory.live_bytes() != live:
                bar.failed(f"{where}: {memory.live_bytes() - live} bytes are lost")
            if bits(call()) != expected:
                bar.failed(f"{where}: the next call gives something else")
    return failures


def ops(bar: Bar) -> None:
    failures = 0
    for name in OPS:
        samples = 1 if bar.quick else SAMPLES
        for seed in range(bar.seed, bar.seed + samples):
            sample = drawn(name, seed, grow=GROW)
            failures += fail_in_turn(bar, f"{name}, seed {seed}", partial(everything, name, sample), list(sample.args))
    bar.passed(failures, f"failed allocations in {len(OPS)} ops and their gradients")


def in_place(bar: Bar) -> None:
    """Functions that write to what they are given: what they did not finish, they did not begin."""
    rng = np.random.default_rng(bar.seed)
    x, y = (rng.standard_normal((300, 200)).astype(np.float32) for _ in range(2))

    def updates(name: str) -> list[np.ndarray]:
        mine = x.copy()
        if name == "matmul":
            return [backend.matmul(y, y.T[:, :200].copy(), out=mine)]
        if name == "add_":
            return [backend.add_(mine, y)]
        return [backend.assign(mine, y[::-1])]

    failures = sum(fail_in_turn(bar, name, partial(updates, name), [x, y]) for name in ("add_", "assign", "matmul"))
    failures += fail_in_turn(bar, "sum_squares", lambda: [np.array(backend.sum_squares([x, y]))], [x, y])
    bar.passed(failures, "failed allocations in functions that write in place")


def without_threads(bar: Bar) -> None:
    from tinyllm.backend._kernels import lib

    threads = backend.num_threads()
    backend.set_num_threads(1)
    calls = [(name, drawn(name, bar.seed, grow=GROW)) for name in OPS]
    expected = [bits(everything(name, sample)) for name, sample in calls]
    for refused in (1, 0):
        lib.tl_fail_threads(refused)
        backend.set_num_threads(8)
        for (name, sample), want in zip(calls, expected, strict=True):
            if bits(everything(name, sample)) != want:
                bar.failed(f"{name}: other bits {'without threads' if refused else 'once threads start'}")
    backend.set_num_threads(threads)
    bar.passed(2 * len(calls), "ops where no thread starts, and after")


def test(bar: Bar) -> None:
    without_threads(bar)  # first: in a process that has started none
    ops(bar)
    in_place(bar)
    if program := bar.driver_built("plain", []):
        bar.driver("failed allocations in kernels", program, "faults", bar.scaled(40), bar.seed)


if __name__ == "__main__":
    run_bar("S10", test)
