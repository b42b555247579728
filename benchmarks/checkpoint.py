"""What saving a checkpoint costs: the time that training waits, and memory, at 500 MB.

    python benchmarks/checkpoint.py            about a minute; the folder of --out decides which disk
    python benchmarks/checkpoint.py --smoke    5 MB, one turn: seconds, not judged

A save (weights and optimizer state, hashed, in whole files, synced) takes turns with writing the bytes of the same
arrays into one file and syncing it; medians. Memory is what the resident set grows by at most during a save
(VmHWM, reset before), the first save included. Bars: at most 1.5 times the time of writing alone, less than 32 MB. A
missed one is status 1.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial

import numpy as np
from _shared import machine, show, use_threads, write_json

from tinyllm import Tensor, config
from tinyllm.data import WindowSampler
from tinyllm.data.sampler import ArrayTokens
from tinyllm.models.gpt import GPT
from tinyllm.tokenizers import CharTokenizer
from tinyllm.training import checkpoint, loop
from tinyllm.training.run import build_model

TURNS, LIMIT_RATIO, LIMIT_MB = 9, 1.5, 32


def make(n_embd: int) -> tuple[GPT, loop.Trainer, CharTokenizer, config.Config]:
    """A model of 12 layers whose optimizer has made a step, with what a save needs beside it."""
    settings = config.replace(
        config.Config(), model__n_layer=12, model__n_head=8, model__n_embd=n_embd, model__n_positions=64,
        training__batch_size=1, data__tokenizer="char",
    )  # fmt: skip
    tokenizer = CharTokenizer.train(["the cat sat on the mat"])
    model = build_model(settings.model, tokenizer.vocab_size, seed=1)
    tokens = ArrayTokens(np.arange(100) % tokenizer.vocab_size)
    trainer = loop.Trainer(model, WindowSampler(tokens, 64), tokens, settings.optimizer, settings.training)
    trainer.train_step()
    return model, trainer, tokenizer, settings


def moments(trainer: loop.Trainer, p: Tensor) -> list[Tensor]:
    """The optimizer's two running means for a parameter."""
    return [x for x in trainer.optimizer.state[p].values() if isinstance(x, Tensor)]


def peak() -> int:
    """The largest resident set, in bytes, since it was last reset; reset it."""
    with open("/proc/self/status") as file:
        found = next(1024 * int(line.split()[1]) for line in file if line.startswith("VmHWM"))
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    return found


def plain_write(path: str, arrays: list[np.ndarray]) -> None:
    """Write the bytes of arrays one after another to a new file, and sync it."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for array in arrays:
        data = memoryview(array.reshape(-1)).cast("B")
        while data:
            data = data[os.write(fd, data) :]
    os.fsync(fd)
    os.close(fd)


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> int:
    """Measure, print, compare with the bars."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--out", default=".", help="where to write (default: here)")
    parser.add_argument("--json", help="write the result there, too")
    given = parser.parse_args()
    use_threads(os.cpu_count() or 1)
    about = machine()
    model, trainer, tokenizer, settings = make(64 if given.smoke else 544)
    times: dict[str, list[float]] = {"write and fsync": [], "save": []}
    growths = []
    with tempfile.TemporaryDirectory(prefix="tinyllm-", dir=given.out) as folder:
        path, plain = os.path.join(folder, "checkpoint"), os.path.join(folder, "plain")
        save = partial(
            checkpoint.save, path, model=model, tokenizer=tokenizer, config=settings, step=1,
            optimizer=trainer.optimizer, state=trainer.state_dict(),
        )  # fmt: skip
        peak()
        before = peak()
        save()
        growths.append((peak() - before) / 2**20)
        size = sum(entry.stat().st_size for entry in os.scandir(path))
        arrays = [x.array for p in model.parameters() for x in (p, *moments(trainer, p))]
        for _ in range(1 if given.smoke else TURNS):
            checkpoint.remove(path)
            times["write and fsync"].append(timed(partial(plain_write, plain, arrays)))
            os.unlink(plain)
            peak()
            before = peak()
            times["save"].append(timed(save))
            growths.append((peak() - before) / 2**20)
    median = {name: statistics.median(values) for name, values in times.items()}
    ratio = median["save"] / median["write and fsync"]
    shown = [
        {"what": name, "s": f"{median[name]:.3f}", "best": f"{min(x):.3f}", "worst": f"{max(x):.3f}",
         "MB/s": f"{size / median[name] / 1e6:.0f}"} for name, x in times.items()
    ]  # fmt: skip
    show(shown)
    met = ratio <= LIMIT_RATIO and max(growths) < LIMIT_MB
    verdict = "not judged (smoke)" if given.smoke else "met" if met else "MISSED"
    print(
        f"{size / 1e6:.0f} MB: a save takes {ratio:.2f} times as long as writing, and {max(growths):.1f} MB more memory"
    )
    print(f"bars: {LIMIT_RATIO} times and {LIMIT_MB} MB: {verdict}")
    result = {"bytes": size, "times": times, "ratio": ratio, "peak_growth_mb": growths, "passed": met}
    write_json(given.json, {"machine": about, "smoke": given.smoke, **result})
    return 0 if met or given.smoke else 1


if __name__ == "__main__":
    sys.exit(main())
