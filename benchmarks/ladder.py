"""What each idea of a fast matrix product is worth: the rungs of csrc/ladder.c, which docs/ladder.md explains.

    python benchmarks/ladder.py            1024 x 1024 x 1024 in float32, every instruction set
    python benchmarks/ladder.py --smoke    a small size: seconds, not a figure

Medians over turns; all rungs but the last two have one thread. The peak is what independent multiply-adds in registers
reach on one thread, times the threads. A rung that differs from NumPy's product is an error.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from _shared import machine, show, use_threads, write_json

from tinyllm import backend
from tinyllm.backend._call import check, kernel, ptr

RUNGS = ("naive", "order of loops", "vectors", "blocks", "register tile", "packing", "threads")
DTYPE = np.dtype(np.float32)


def seconds(run: Callable[[], Any], turns: int) -> float:
    times = []
    for _ in range(turns + 1):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


def peak(turns: int) -> float:
    """GFLOP/s of multiply-adds in the registers of one thread."""
    run, out = kernel("fma_peak", DTYPE), np.empty(1, DTYPE)
    flops = run(1_000_000, 1, ptr(out))
    return flops / seconds(lambda: run(1_000_000, 1, ptr(out)), turns) / 1e9


def climb(size: int, threads: int, turns: int) -> list[dict[str, Any]]:
    """GFLOP/s of every rung, and of the engine's own kernel."""
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((size, size), np.float32) for _ in range(2))
    c, product, run = np.empty_like(a), a @ b, kernel("ladder_matmul", DTYPE)
    use_threads(1)
    one = peak(turns)
    lines: list[dict[str, Any]] = []
    for number, name in enumerate((*RUNGS, "the engine's")):
        many = threads if number >= RUNGS.index("threads") else 1
        use_threads(many)
        if number < len(RUNGS):
            rate = 2e-9 * size**3 / seconds(
                lambda n=number: check(run(n, size, size, size, ptr(a), ptr(b), ptr(c))), 1 if number < 2 else turns
            )  # fmt: skip
        else:
            rate = 2e-9 * size**3 / seconds(lambda: backend.matmul(a, b, out=c), turns)
        np.testing.assert_allclose(c, product, rtol=1e-3, atol=1e-3 * size**0.5, err_msg=name)
        before = lines[-1]["gflops"] if lines else rate
        lines.append(
            {"rung": name, "threads": many, "gflops": rate, "gain": rate / before, "of_peak": rate / one / many}
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", metavar="FILE", help="write every figure there")
    parser.add_argument("--smoke", action="store_true", help="size 96, one turn")
    given = parser.parse_args()
    size, turns = (96, 1) if given.smoke else (given.size, 7)
    about = machine()
    print(" ".join(f"{name}={value}" for name, value in about.items()))
    results = {}
    for isa in backend.available_isas():
        backend.use_isa(isa)
        results[isa] = climb(size, given.threads, turns)
        print(f"\n{isa}, {size} x {size} x {size}")
        show(
            [
                {"rung": line["rung"], "threads": line["threads"], "GFLOP/s": f"{line['gflops']:.2f}",
                 "gain": f"{line['gain']:.1f}x", "of peak": f"{line['of_peak']:.0%}"}
                for line in results[isa]
            ]
        )  # fmt: skip
    write_json(given.json, {"machine": about, "size": size, "smoke": given.smoke, "results": results})


if __name__ == "__main__":
    main()
