"""One engine, training one recipe, in a process of its own: train.py starts it and tells it when to work.

    python _engine.py ENGINE RECIPE DATA BATCH_SIZE THREADS      ENGINE: tinyllm, eager, compiled

First it prints the number of the model's parameters, without the position table. Then each line that it reads is a
command, answered by one line: a number N makes N training steps (answer: seconds a step), "peak" asks for the most
memory that the process has held so far (bytes). While it waits it uses no processor, so engines can take turns.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _shared import recipe as recipes
from _shared import use_threads

from tinyllm import config


def peak_bytes() -> int:
    """The largest resident set that this process has had, by the kernel's count (VmHWM)."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:  # not Linux
        pass
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def training_step(engine: str, recipe: config.Config, directory: str) -> tuple[Callable[[], Any], int]:
    """What makes one step, and the number of parameters; PyTorch is imported only where it is asked for."""
    trainer = recipes.trainer(recipe, directory)
    parameters = trainer.model.num_parameters() - recipe.model.n_positions * recipe.model.n_embd
    if engine == "tinyllm":
        return trainer.train_step, parameters
    import gpt_torch

    return gpt_torch.TorchTrainer(trainer, compiled=engine == "compiled").train_step, parameters


def main() -> None:
    engine, name, data, batch_size, threads = sys.argv[1:]
    recipe = config.replace(config.preset(name), data__text=data, training__batch_size=int(batch_size))
    with tempfile.TemporaryDirectory() as directory:
        step, parameters = training_step(engine, recipe, directory)
        use_threads(int(threads))
        print(parameters, flush=True)
        for line in sys.stdin:
            if line.strip() == "peak":
                print(peak_bytes(), flush=True)
                continue
            steps = int(line)
            began = time.perf_counter()
            for _ in range(steps):
                step()
            print((time.perf_counter() - began) / steps, flush=True)


if __name__ == "__main__":
    main()
