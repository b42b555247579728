"""Matrix products beside OpenBLAS (NumPy) and MKL (PyTorch): squares, and the layers of GPTs forward and backward.

    python benchmarks/matmul.py                      everything, some ten minutes on two cores
    python benchmarks/matmul.py --groups squares     one group

A linear layer's forward is NT (x W^T), the gradient of its input NN (dy W), that of its weight TN (dy^T x, where K is
the number of tokens). All run in this process on the same arrays with the same number of threads and take turns; a
turn repeats the call for some milliseconds, a time is the median over turns. A ratio is the time of the better peer
over ours. The groups `avx2` and `generic` run in a process of their own, where both peers are held to AVX2, or where
the peer is NumPy without BLAS (einsum). What counts as met is in BARS; missing a bar is status 1.

Some bars are missed for known reasons. A square of 64 takes 5 us and its call from Python 2 more, NumPy's less: 0.8x on
a Zen 4, 0.4 to 0.7 on an Intel Xeon, where MKL also leads by 6 to 9 % in the mean.
One row runs at 0.5 to 0.7 of OpenBLAS where the weight comes from a cache (from memory at 1.5): dot products are other
sums than a row has in a batch, and here a row has the same bits wherever it stands.
The generic set's 5x lies above what SSE2 can do: without fused multiply-adds a Zen 4 core makes two products and two
sums of four floats a cycle, 58 GFLOP/s; einsum, on the same instructions, makes 11 to 22, the mean being about 16, so
that 3.5x is the limit. A bare loop over a 6 x 8 tile in L1 reaches 39 GFLOP/s, the best other shape 45.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from _shared import machine, show, use_threads, write_json

import numpy as np  # isort: skip
import torch

from tinyllm import backend

TURNS, TURN_S = 9, 0.004
SMOKE_TURNS, SMOKE_S = 2, 0.0005
KINDS = {"NN": "input gradient", "NT": "forward", "TN": "weight gradient"}
SQUARES = (64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048)
# (tokens, inputs, outputs)
CPU_LAYERS = [(768, 128, 384), (768, 128, 128), (768, 128, 512), (768, 512, 128), (768, 128, 65)]
BABY_LAYERS = [(16384, 384, 1152), (16384, 384, 384), (16384, 384, 1536), (16384, 1536, 384), (16384, 384, 65)]
GPT2_LAYERS = [(1024, 768, 2304), (1024, 768, 768), (1024, 768, 3072), (1024, 3072, 768)]
ONE_ROW = [(1, 128, 384), (1, 384, 1536), (1, 1536, 384), (1, 768, 2304), (1, 768, 50257)]
# AVX2 and generic are held to fewer shapes: two squares that fit a cache and one that doesn't, and a layer of each GPT
SOME_SQUARES, SOME_LAYERS = (128, 512, 1024), [(768, 128, 512), (16384, 384, 384), (1024, 768, 3072)]
BARS = {"NN": 1.0, "NT": 1.0, "TN": 0.97, "cell": 0.9, "avx2": 0.9, "generic": 5.0}
FUSED_BARS = {768: 1.1, 16384: 1.5}
ENVIRONMENT = {
    "avx2": {"TINYLLM_ISA": "avx2", "OPENBLAS_CORETYPE": "Haswell", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    "generic": {"TINYLLM_ISA": "generic"},
}

Call = Callable[[], Any]


class Case(NamedTuple):
    """c (m, n) = a (m, k) b (k, n); kind says which of them is transposed in memory."""

    group: str
    kind: str
    m: int
    n: int
    k: int


def squares(group: str, sizes: tuple[int, ...]) -> Iterator[Case]:
    for kind in KINDS:
        yield from (Case(group, kind, size, size, size) for size in sizes)


def layers(group: str, shapes: list[tuple[int, int, int]]) -> Iterator[Case]:
    """The three products of each layer."""
    for tokens, inputs, outputs in shapes:
        yield Case(group, "NT", tokens, outputs, inputs)
        yield Case(group, "NN", tokens, inputs, outputs)
        yield Case(group, "TN", outputs, inputs, tokens)


def cases(group: str) -> list[Case]:
    if group == "squares":
        return list(squares(group, SQUARES))
    if group == "one row":
        return [Case(group, "NT", m, n, k) for m, k, n in ONE_ROW]
    if group in ENVIRONMENT:
        return [*squares(group, SOME_SQUARES), *layers(group, SOME_LAYERS)]
    return list(layers(group, {"M=768": CPU_LAYERS, "M=16384": BABY_LAYERS, "GPT-2": GPT2_LAYERS}[group]))


GROUPS = ("squares", "M=768", "M=16384", "GPT-2", "one row")


# ---- timing ----


def openblas_threads(n: int) -> None:
    """NumPy has no function for it; its wheels carry OpenBLAS in a library beside the package."""
    for path in (Path(np.__file__).parent.parent / "numpy.libs").glob("*openblas*"):
        library = ctypes.CDLL(str(path))
        for name in ("scipy_openblas_set_num_threads64_", "openblas_set_num_threads64_", "openblas_set_num_threads"):
            if hasattr(library, name):
                getattr(library, name)(n)
                return
    raise RuntimeError("the OpenBLAS of NumPy was not found: its threads cannot be set")


def use_equal_threads(n: int) -> None:
    use_threads(n)
    openblas_threads(n)


def race(calls: dict[str, Call], turns: int, seconds: float) -> dict[str, float]:
    """Median seconds of each call; they take turns, each turn begins with a call that does not count."""
    repeats = {}
    for name, call in calls.items():
        call()
        began = time.perf_counter()
        call()
        repeats[name] = max(1, math.ceil(seconds / (time.perf_counter() - began)))
    times: dict[str, list[float]] = {name: [] for name in calls}
    names = list(calls)
    for turn in range(turns):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            time.sleep(0.001)  # the threads of the one before stop spinning
            call = calls[name]
            call()
            began = time.perf_counter()
            for _ in range(repeats[name]):
                call()
            times[name].append((time.perf_counter() - began) / repeats[name])
    return {name: statistics.median(values) for name, values in times.items()}


def contestants(case: Case) -> dict[str, Call]:
    rng = np.random.default_rng(0)
    a = rng.standard_normal((case.k, case.m) if case.kind[0] == "T" else (case.m, case.k), np.float32)
    b = rng.standard_normal((case.n, case.k) if case.kind[1] == "T" else (case.k, case.n), np.float32)
    a, b = a.T if case.kind[0] == "T" else a, b.T if case.kind[1] == "T" else b
    out = np.empty((case.m, case.n), np.float32)
    calls: dict[str, Call] = {"tinyllm": lambda: backend.matmul(a, b, out=out)}
    if case.group == "generic":
        calls["einsum"] = lambda: np.einsum("ik,kj->ij", a, b, out=out, optimize=False)
        return calls
    ta, tb, tout = torch.from_numpy(a), torch.from_numpy(b), torch.from_numpy(np.empty_like(out))
    calls["OpenBLAS"] = lambda: np.matmul(a, b, out=out)
    calls["MKL"] = lambda: torch.mm(ta, tb, out=tout)
    return calls


def measure(case: Case, threads: int, turns: int, seconds: float) -> dict[str, Any]:
    use_equal_threads(threads)
    times = race(contestants(case), turns, seconds)
    flops = 2 * case.m * case.n * case.k
    peer = min(value for name, value in times.items() if name != "tinyllm")
    rates = {name: flops / value / 1e9 for name, value in times.items()}
    return case._asdict() | {"threads": threads, "seconds": times, "gflops": rates, "ratio": peer / times["tinyllm"]}


def fused(tokens: int, inputs: int, outputs: int, threads: int, turns: int, seconds: float) -> dict[str, Any]:
    """gelu(x W^T + b) with the pre-activation kept, as training does: one call, two calls, PyTorch."""
    use_equal_threads(threads)
    rng = np.random.default_rng(0)
    x, w, bias = (rng.standard_normal(s, np.float32) for s in ((tokens, inputs), (outputs, inputs), (outputs,)))
    tx, tw, tbias = (torch.from_numpy(array) for array in (x, w, bias))

    def one() -> None:
        backend.matmul(x, w.T, bias, act="gelu", pre=backend.empty((tokens, outputs), np.float32))

    times = race(
        {
            "tinyllm": one,
            "unfused": lambda: backend.unary("gelu", backend.matmul(x, w.T, bias)),
            "PyTorch": lambda: torch.nn.functional.gelu(torch.nn.functional.linear(tx, tw, tbias)),
        },
        turns,
        seconds,
    )
    ratios = {name: times[name] / times["tinyllm"] for name in ("unfused", "PyTorch")}
    shape = {"tokens": tokens, "inputs": inputs, "outputs": outputs, "threads": threads}
    return shape | {"seconds": times, "ratio": ratios["PyTorch"], "unfused_ratio": ratios["unfused"]}


def elsewhere(group: str, given: argparse.Namespace) -> list[dict[str, Any]]:
    """The measurements of a group whose environment must be set before the libraries load."""
    command = [sys.executable, __file__, "--inner", group, "--threads", *map(str, given.threads)]
    command += ["--smoke"] if given.smoke else []
    done = subprocess.run(command, env={**os.environ, **ENVIRONMENT[group]}, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


# ---- judging ----


def mean(values: list[float]) -> float:
    return math.exp(statistics.fmean(map(math.log, values)))


def verdicts(cells: list[dict[str, Any]], fusions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One line a bar: what was asked, what came, whether it is met."""
    lines: list[tuple[str, float, float]] = []
    own = [cell for cell in cells if cell["group"] in GROUPS]
    for kind, what in KINDS.items():
        ratios = [cell["ratio"] for cell in own if cell["kind"] == kind and cell["group"] != "one row"]
        if ratios:
            lines.append((f"{kind} ({what}), geometric mean", mean(ratios), BARS[kind]))
    for what, some in (
        ("the slowest cell", [cell["ratio"] for cell in own if cell["group"] != "one row"]),
        ("one row, the slowest cell", [cell["ratio"] for cell in own if cell["group"] == "one row"]),
    ):
        if some:
            lines.append((what, min(some), BARS["cell"]))
    for group in ENVIRONMENT:
        ratios = [cell["ratio"] for cell in cells if cell["group"] == group]
        if ratios:
            lines.append((f"{group}, geometric mean", mean(ratios), BARS[group]))
    for tokens, bar in FUSED_BARS.items():
        ratios = [line["ratio"] for line in fusions if line["tokens"] == tokens]
        if ratios:
            lines.append((f"linear + GELU, {tokens} tokens, slowest", min(ratios), bar))
    return [
        {"bar": what, "asked": f"{bar}x", "measured": f"{got:.3f}x", "verdict": "met" if got >= bar else "NOT met"}
        for what, got, bar in lines
    ]


def table(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rows = []
    for cell in cells:
        row = {name: cell[name] for name in ("group", "kind", "m", "n", "k", "threads")}
        row |= {name: f"{rate:.1f}" for name, rate in cell["gflops"].items()}
        rows.append(row | {"ratio": f"{cell['ratio']:.3f}"})
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    every = (*GROUPS, "fused", *ENVIRONMENT)
    parser.add_argument("--groups", nargs="+", choices=every, default=every)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--json", metavar="FILE", help="write every figure there")
    parser.add_argument("--smoke", action="store_true", help="few shapes and turns: seconds, not judged")
    parser.add_argument("--inner", choices=list(ENVIRONMENT), help=argparse.SUPPRESS)
    given = parser.parse_args()
    plan = (SMOKE_TURNS, SMOKE_S) if given.smoke else (TURNS, TURN_S)

    def cells_of(group: str) -> list[dict[str, Any]]:
        chosen = [case for case in cases(group) if not given.smoke or case.m * case.n * case.k <= 2**22]
        threads = [1] if group == "generic" else given.threads
        return [measure(case, n, *plan) for n in threads for case in chosen]

    if given.inner:
        print(json.dumps(cells_of(given.inner)))
        return 0
    use_equal_threads(max(given.threads))
    about = machine()
    print(" ".join(f"{name}={value}" for name, value in about.items()))
    cells: list[dict[str, Any]] = []
    for group in given.groups:
        if group == "fused":
            continue
        some = elsewhere(group, given) if group in ENVIRONMENT else cells_of(group)
        if not some:  # no shape of the group is small enough for a smoke run
            continue
        print(f"\n{group}: GFLOP/s")
        show(table(some))
        cells += some
    fusions = []
    if "fused" in given.groups:
        shapes = [(768, 128, 512)] + ([] if given.smoke else [(16384, 384, 1536)])
        fusions = [fused(*shape, n, *plan) for n in given.threads for shape in shapes]
        print("\nlinear + bias + GELU, the pre-activation kept: milliseconds")
        show(
            [
                {name: line[name] for name in ("tokens", "inputs", "outputs", "threads")}
                | {name: f"{seconds * 1e3:.3f}" for name, seconds in line["seconds"].items()}
                | {"ratio": f"{line['ratio']:.2f}", "to unfused": f"{line['unfused_ratio']:.2f}"}
                for line in fusions
            ]
        )
    judged = [] if given.smoke else verdicts(cells, fusions)
    passed = all(line["verdict"] == "met" for line in judged)
    if judged:
        print()
        show(judged)
    write_json(given.json, {"machine": about, "smoke": given.smoke, "passed": passed, "bars": judged,
                            "cells": cells, "fused": fusions})  # fmt: skip
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
