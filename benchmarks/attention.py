"""Attention forward and backward beside PyTorch's SDPA, NumPy, the textbook order and FlashAttention-1.

    python benchmarks/attention.py                 about six minutes on two cores

Rivals take turns in this process with the same number of threads; a time is the median over the turns, a ratio that of
medians. q, k and v are parts of one (B, T, 3 H, D) array, as a projection leaves them, for every rival, and begin on a
cache line, as arrays of tinyllm and of PyTorch do: 16 bytes off, where NumPy's large arrays begin, backward takes 1.05
to 1.1 times as long at T = 256. GFLOP/s count 4 B H T^2 D forward and 2.5 times that backward, half of it where causal.
A missed bar is status 1, also where meeting it would take more than the machine's FMA peak, which is said:

    sdpa     PyTorch's scaled_dot_product_attention: 2.0 times its speed up to T = 256, 1.6 at 1024, at 4096 1.25
             forward and 1.4 backward; every head size, causal and full, each cell for itself
    numpy    softmax(q k^T) v and its gradient by matmul and ufuncs: 4 times its speed from T = 1024 on
    flash    FlashAttention-1 (csrc/baseline.c) against -2 where B H = 1, two threads: 1.8 times its speed forward and
             backward; one thread is shown as well
    memory   peak bytes of results and workspace over T = 256 ... 16384, log over log: slope 1.00 +- 0.05
    words    what the kernels counted is what N, d and the block sizes predict
"""

from __future__ import annotations

import argparse
import functools
import math
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

THREADS = 2
os.environ.setdefault("OPENBLAS_NUM_THREADS", str(THREADS))

from _shared import machine, show, use_threads, write_json  # noqa: E402

# isort: split
import numpy as np  # noqa: E402
import torch  # noqa: E402
from train import fma_peak  # noqa: E402

from tinyllm import backend  # noqa: E402
from tinyllm.backend import baseline, memory  # noqa: E402

TURNS, TURN_SECONDS = 7, 0.02
# (B, H D) of each T: an amount of work that takes milliseconds
SHAPES = {64: (12, 128), 256: (16, 384), 1024: (2, 768), 4096: (1, 512), 16384: (1, 128)}
HEAD_SIZES = (32, 64, 128)
BARS = {64: (2.0, 2.0), 256: (2.0, 2.0), 1024: (1.6, 1.6), 4096: (1.25, 1.4)}  # forward, backward
NUMPY_BAR, FLASH_BAR, SLOPE = 4.0, 1.8, (0.95, 1.05)
PASSES = ("forward", "backward")
PANEL = {"generic": 8, "neon": 8, "avx2": 16, "avx512": 32}  # queries a time: two vectors of float32
BLOCK = 96  # keys a time

Array = np.ndarray
Run = Callable[[], Any]


def normal(rng: np.random.Generator, *shape: int) -> Array:
    """Numbers that begin on a cache line, where both libraries put their arrays and NumPy doesn't."""
    x = memory.empty(shape, np.float32)
    x[...] = rng.standard_normal(shape, np.float32)
    return x


class Case:
    """One shape: its arrays, and how each rival runs forward and backward."""

    def __init__(self, batch: int, heads: int, rows: int, size: int, causal: bool) -> None:
        rng = np.random.default_rng(0)
        joined = normal(rng, batch, rows, 3 * heads, size)
        q, k, v = (joined[:, :, i * heads : (i + 1) * heads].transpose(0, 2, 1, 3) for i in range(3))
        do = normal(rng, batch, rows, heads, size).transpose(0, 2, 1, 3)
        self.arrays, self.do, self.causal, self.scale = (q, k, v), do, causal, 1 / math.sqrt(size)
        self.flops = 4 * batch * heads * rows * rows * size * (0.5 if causal else 1)

    def ours(self) -> tuple[Run, Run]:
        kwargs = {"scale": self.scale, "hi": baseline.causal_hi(self.do.shape[2]) if self.causal else None}
        o, lse = backend.attention(*self.arrays, **kwargs)
        return (
            lambda: backend.attention(*self.arrays, **kwargs),
            lambda: backend.attention_grad(self.do, *self.arrays, o, lse, **kwargs),
        )

    def sdpa(self) -> tuple[Run, Run]:
        leaves = tuple(torch.from_numpy(x).requires_grad_() for x in self.arrays)
        do = torch.from_numpy(self.do)
        o = torch.nn.functional.scaled_dot_product_attention(*leaves, is_causal=self.causal)

        def forward() -> None:
            with torch.no_grad():
                torch.nn.functional.scaled_dot_product_attention(*leaves, is_causal=self.causal)

        return forward, lambda: torch.autograd.grad(o, leaves, do, retain_graph=True)

    def numpy(self) -> tuple[Run, Run]:
        q, k, v = self.arrays
        hidden = np.triu(np.full((q.shape[2], q.shape[2]), -np.inf, np.float32), 1) if self.causal else None
        kept: list[Array] = []

        def forward() -> None:
            s = np.matmul(q, k.swapaxes(-1, -2))
            s *= self.scale
            if hidden is not None:
                s += hidden
            s -= s.max(-1, keepdims=True)
            np.exp(s, out=s)
            s /= s.sum(-1, keepdims=True)
            kept[:] = [s, np.matmul(s, v)]

        def backward() -> None:
            p, o = kept
            ds = np.matmul(self.do, v.swapaxes(-1, -2))
            ds -= (self.do * o).sum(-1, keepdims=True)
            ds *= p
            ds *= self.scale
            np.matmul(p.swapaxes(-1, -2), self.do), np.matmul(ds, k), np.matmul(ds.swapaxes(-1, -2), q)

        return forward, backward

    def textbook(self) -> tuple[Run, Run]:
        _, p, _ = baseline.naive(*self.arrays, self.scale, self.causal)
        return (
            lambda: baseline.naive(*self.arrays, self.scale, self.causal),
            lambda: baseline.naive_grad(self.do, *self.arrays, p, self.scale),
        )

    def flash1(self) -> tuple[Run, Run]:
        o, m, total, _ = baseline.flash1(*self.arrays, self.scale, self.causal)
        return (
            lambda: baseline.flash1(*self.arrays, self.scale, self.causal),
            lambda: baseline.flash1_grad(self.do, *self.arrays, o, m, total, self.scale, self.causal),
        )


def race(runs: dict[str, Run], turns: int) -> dict[str, list[float]]:
    """Milliseconds of each rival, in turns."""
    repeats = {}
    for name, run in runs.items():
        run()
        began = time.perf_counter()
        run()
        repeats[name] = max(1, int(TURN_SECONDS / (time.perf_counter() - began)))
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(turns):
        for name, run in runs.items():
            began = time.perf_counter()
            for _ in range(repeats[name]):
                run()
            times[name].append((time.perf_counter() - began) / repeats[name] * 1e3)
    return times


def compare(shape: tuple[int, ...], causal: bool, rivals: tuple[str, ...], turns: int) -> list[dict[str, Any]]:
    """A result for each pass: medians of tinyllm and its rivals."""
    case = Case(*shape, causal)
    runs = {name: getattr(case, name)() for name in ("ours", *rivals)}
    results = []
    for i, name in enumerate(PASSES):
        ms = race({rival: run[i] for rival, run in runs.items()}, turns)
        medians = {rival: statistics.median(values) for rival, values in ms.items()}
        results.append({
            "shape": shape, "mask": "causal" if causal else "full", "pass": name, "ms": ms, "median_ms": medians,
            "gflops": case.flops * (2.5 if i else 1) / medians["ours"] / 1e6,
            "ratios": {rival: medians[rival] / medians["ours"] for rival in rivals},
        })  # fmt: skip
    return results


@functools.cache
def _peak_gflops(threads: int) -> float:
    return fma_peak(threads, 0.1) / 1e9


def peak_gflops() -> float:
    """What multiply-adds alone reach with the threads in use, measured once."""
    return _peak_gflops(backend.num_threads())


def row(result: dict[str, Any], **bars: float | None) -> dict[str, Any]:
    """A line of a table: our share of the FMA peak, each rival's time over ours, and whether it reaches its bar."""
    line = {
        "(B, H, T, D)": str(result["shape"]),
        "mask": result["mask"],
        "pass": result["pass"],
        "ms": f"{result['median_ms']['ours']:.3f}",
        "GFLOP/s": f"{result['gflops']:.1f}",
        "of peak": f"{result['gflops'] / peak_gflops():.0%}",
    }
    for rival, ratio in result["ratios"].items():
        bar = bars.get(rival)
        line[f"x {rival}"] = f"{ratio:.2f}"
        verdict = "met" if bar and ratio >= bar else "NOT met"
        if bar and ratio < bar and bar * result["gflops"] / ratio > peak_gflops():
            verdict = "NOT met, over the peak"
        line[f"bar {rival}"] = f"{bar} {verdict}" if bar else "-"
    return line


def sdpa_table(shapes: dict[int, tuple[int, int]], turns: int) -> tuple[list[dict[str, Any]], list[bool]]:
    results, rows, met = [], [], []
    for length, (batch, width) in shapes.items():
        for size in HEAD_SIZES:
            for causal in (True, False):
                for i, result in enumerate(compare((batch, width // size, length, size), causal, ("sdpa",), turns)):
                    bar = BARS[length][i] if length in BARS else None
                    results.append(result)
                    rows.append(row(result, sdpa=bar))
                    if bar:
                        met.append(result["ratios"]["sdpa"] >= bar)
    show(rows)
    for length, bars in BARS.items():
        for name, bar in zip(PASSES, bars, strict=True):
            group = [r["ratios"]["sdpa"] for r in results if r["shape"][2] == length and r["pass"] == name]
            if group:
                verdict = "met" if min(group) >= bar else "NOT met"
                mean = statistics.geometric_mean(group)
                print(f"sdpa, T = {length}, {name}: mean {mean:.2f}, least {min(group):.2f}, bar {bar}: {verdict}")
    return results, met


def naive_table(lengths: tuple[int, ...], turns: int) -> tuple[list[dict[str, Any]], list[bool]]:
    results = [
        result
        for length in lengths
        for causal in (True, False)
        for result in compare((1, 8 if length <= 1024 else 4, length, 64), causal, ("numpy", "textbook"), turns)
    ]
    show([row(result, numpy=NUMPY_BAR) for result in results])
    return results, [result["ratios"]["numpy"] >= NUMPY_BAR for result in results]


def flash_table(length: int, turns: int) -> tuple[list[dict[str, Any]], list[bool]]:
    """One head: FlashAttention-1 has nothing for a second thread to do."""
    results, rows, met = [], [], []
    for threads in (THREADS, 1):
        use_threads(threads)
        for causal in (True, False):
            for result in compare((1, 1, length, 64), causal, ("flash1",), turns):
                bar = FLASH_BAR if threads > 1 else None
                results.append({"threads": threads, **result})
                rows.append({"threads": threads, **row(result, flash1=bar)})
                if bar:
                    met.append(result["ratios"]["flash1"] >= bar)
    use_threads(THREADS)
    show(rows)
    return results, met


def peak(run: Run) -> int:
    """Bytes of results and workspace at once."""
    before = memory.live_bytes()
    memory.reset_peak()
    run()
    return memory.peak_bytes() - before


def memory_table(lengths: tuple[int, ...]) -> tuple[dict[str, Any], list[bool]]:
    """Peak bytes over T of 32 heads; and of 4 heads beside the textbook order, whose bytes forward are p and s."""
    heads, rows = (2, 16), []
    grown: dict[str, list[int]] = {name: [] for name in PASSES}
    for length in lengths:
        runs = Case(*heads, length, 64, True).ours()
        for name, run in zip(PASSES, runs, strict=True):
            grown[name].append(peak(run))
        rows.append({"T": length} | {name: f"{grown[name][-1] / 2**20:.2f} MiB" for name in PASSES})
    show(rows)
    met, slopes, ratios = [], {}, {}
    for name in PASSES:
        slopes[name] = slope = float(np.polyfit(np.log(lengths), np.log(grown[name]), 1)[0])
        met.append(SLOPE[0] <= slope <= SLOPE[1])
        print(f"memory, {name}: slope {slope:.3f}, from {SLOPE[0]} to {SLOPE[1]}: {'met' if met[-1] else 'NOT met'}")
    for length in (2048, 4096):
        if length <= lengths[-1]:
            case = Case(1, 4, length, 64, True)
            small, large = peak(case.ours()[0]), peak(case.textbook()[0])
            ratios[length] = large / small
            print(f"memory, forward, T = {length}: the textbook order takes {ratios[length]:.0f} times as much")
    return {"lengths": lengths, "bytes": grown, "slopes": slopes, "ratios": ratios}, met


def cost_table(length: int, size: int = 64) -> tuple[list[dict[str, Any]], list[bool]]:
    """What the forward kernels of one head count, full attention; words of slow memory as formulas have them."""
    q, k, v = Case(1, 1, length, size, False).arrays
    n, d, panel = length, size, PANEL[backend.isa()]
    scale = 1 / math.sqrt(size)
    kernels = {
        "textbook": (baseline.naive(q, k, v, scale, False)[-1], 4 * n * d + 4 * n * n),
        "flash1": (baseline.flash1(q, k, v, scale, False)[-1], 2 * n * d + math.ceil(n / BLOCK) * n * (3 * d + 4)),
        "flash2": (baseline.flash2_cost(q, k, v, scale, False), n * (2 * d + 1) + n // panel * 2 * n * d),
    }
    rows, met, results = [], [], []
    for name, (cost, predicted) in kernels.items():
        words = cost["words_read"] + cost["words_written"]
        met.append(words == predicted)
        results.append({"kernel": name, "length": n, "size": d, "predicted_words": predicted, **cost})
        rows.append({"kernel": name, "N": n, "d": d} | {k: f"{x:,}" for k, x in cost.items()})
        rows[-1] |= {"words": f"{words:,}", "predicted": f"{predicted:,}", "equal": "met" if met[-1] else "NOT met"}
    show(rows)
    return results, met


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tables = ["sdpa", "numpy", "flash", "memory", "words"]
    parser.add_argument("--table", choices=tables, action="append", help="only this one (may be repeated)")
    parser.add_argument("--json", metavar="FILE", help="write every time there")
    parser.add_argument("--smoke", action="store_true", help="small shapes and two turns: seconds, not a figure")
    given = parser.parse_args()
    use_threads(THREADS)
    about = machine()
    print(" ".join(f"{name}={value}" for name, value in about.items()))

    turns = 2 if given.smoke else TURNS
    lengths = (256, 512, 1024) if given.smoke else tuple(256 << i for i in range(7))
    run: dict[str, Callable[[], tuple[Any, list[bool]]]] = {
        "sdpa": lambda: sdpa_table({64: (2, 128)} if given.smoke else SHAPES, turns),
        "numpy": lambda: naive_table((256,) if given.smoke else (1024, 4096), turns),
        "flash": lambda: flash_table(256 if given.smoke else 4096, turns),
        "memory": lambda: memory_table(lengths),
        "words": lambda: cost_table(256 if given.smoke else 4096),
    }
    results, passed = {}, True
    for name in given.table or tables:
        print(f"\n{name}" + (" (smoke)" if given.smoke else ""))
        results[name], met = run[name]()
        print(f"{name}: {sum(met)} of {len(met)} met")
        passed &= all(met) or (given.smoke and name != "words")
    write_json(given.json, {"machine": about, "smoke": given.smoke, "passed": passed, "tables": results})
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
