"""S14: the same configuration gives the same bits, whatever the process is like that runs it.

A small GPT (dropout, two micro-batches a step, byte-level BPE, evaluations and saves on the way) is trained in
processes that differ in threads, hash seed, address layout, working directory, locale, time zone, and how they were
started. The weights, the optimizer's state, the random streams, the cursor and the log must be those of the first one.
Another seed of the run must give others, or the comparison would show nothing.
"""

from __future__ import annotations

import json
import os
import shutil

from common import ROOT, Bar, python, run_bar

PROGRAM = """
import json, multiprocessing, os, sys
from tinyllm import config
from tinyllm.training import train
from tinyllm.training.resume_check import identity

def run(text, out, seed, steps):
    settings = config.replace(
        config.Config(), model__n_layer=2, model__n_head=4, model__n_embd=64, model__n_positions=64, model__dropout=0.1,
        data__text=text, data__vocab_size=300, training__steps=steps, training__accumulation=2, training__batch_size=8,
        training__eval_every=10, training__eval_batches=2, training__save_every=5, training__log_every=1,
        training__seed=seed, training__out=out, optimizer__warmup_steps=3,
    )
    train(settings, quiet=True)
    return identity(out)

def put(path, *args):
    with open(path, "w") as file:
        json.dump(run(*args), file)

if __name__ == "__main__":
    how, path, text, out, seed, steps = sys.argv[1:]
    args = path, text, out, int(seed), int(steps)
    if how == "itself":
        put(*args)
    elif how == "a child of a fork after kernels ran":
        run(text, out + "-before", 1, 2)
        child = os.fork()
        if not child:
            put(*args)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    else:
        process = multiprocessing.get_context(how).Process(target=put, args=args)
        process.start()
        process.join()
        assert process.exitcode == 0
"""

TEXT = "".join(f"{n} green bottles, and one falls: {n - 1} left.\n" for n in range(400, 0, -1))


class Runs:
    """Runs of the program, each in its own directory."""

    def __init__(self, bar: Bar) -> None:
        self.bar, self.count, self.steps = bar, 0, 60 if not bar.quick else 10
        bar.build.mkdir(parents=True, exist_ok=True)
        (bar.build / "program.py").write_text(PROGRAM)
        (bar.build / "text").write_text(TEXT)

    def identity(self, how: str = "itself", seed: int = 1, before: tuple[str, ...] = (), **environment: str):
        """What the run ended with, by name; None with the failure noted."""
        self.count += 1
        folder = self.bar.build
        path = folder / f"{self.count}.json"
        program = python(folder / "program.py", how, path, folder / "text", folder / f"run-{self.count}")
        command = [*before, *program, str(seed), str(self.steps)]
        output = self.bar.command(command, 300, PYTHONPATH=str(ROOT), **environment)
        return None if output is None else json.loads(path.read_text())


def variations(runs: Runs) -> dict[str, dict]:
    """What a process may be like, and how to make it so."""
    folder = runs.bar.build / "elsewhere"
    folder.mkdir(exist_ok=True)
    kinds = {f"{n} threads": {"TINYLLM_NUM_THREADS": str(n)} for n in (1, 2, 3, 4, 8)}
    kinds |= {f"hash seed {n}": {"PYTHONHASHSEED": str(n)} for n in (0, 1, 4294967295)}
    kinds |= {f"again, {n}": {} for n in range(runs.bar.scaled(20) // 4)}
    kinds["the locale tr_TR, or C without it"] = {"LC_ALL": "tr_TR.UTF-8"}
    kinds["the time zone of Kiritimati"] = {"TZ": "Pacific/Kiritimati"}
    kinds["another working directory"] = {"before": ("env", "-C", str(folder))}
    if shutil.which("setarch"):
        kinds["no random addresses"] = {"before": ("setarch", os.uname().machine, "-R")}
    else:
        runs.bar.skip("no random addresses", "setarch is missing (Debian: util-linux)")
    ways = ("spawn", "fork", "forkserver", "a child of a fork after kernels ran")
    return kinds | {f"started by {way}" if "child" not in way else way: {"how": way} for way in ways}


def test(bar: Bar) -> None:
    runs = Runs(bar)
    expected = runs.identity()
    if expected is None:
        return
    for what, keywords in variations(runs).items():
        found = runs.identity(**keywords)
        if found is None:
            continue
        differ = [name for name in expected if found[name] != expected[name]]
        if differ:
            bar.failed(f"{what}: differs in {', '.join(differ)}")
        else:
            bar.passed(1, what)
    other = runs.identity(seed=2)
    if other is not None:
        same = [name for name in ("weights", "optimizer", "log", "random streams") if other[name] == expected[name]]
        if same:
            bar.failed(f"another seed changes nothing in {', '.join(same)}: the comparison is void")
        else:
            bar.passed(1, "another seed gives another run")


if __name__ == "__main__":
    run_bar("S14", test)
