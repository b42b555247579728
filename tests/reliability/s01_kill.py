"""S1: a run killed at any moment and started again ends as if nothing had happened.

Each case is a run of sixty steps that gets a real SIGKILL, at a random time or at a system call of one of its saves
(drawn among all of them), and is started again by what anyone would write: go on if there is a checkpoint, else
begin. In the end weights, optimizer, random streams, cursor and logs must be those of the unbroken run, and the
same files be there. Processes are forked from one that has imported everything and started no thread, two at a time.
"""

from __future__ import annotations

import contextlib
import math
import os
import random
import shutil
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from common import Bar, run_bar
from micro import fast_folder, prepare, run_config

from tinyllm import _io, config
from tinyllm.training import Store, train
from tinyllm.training.log import COLUMNS
from tinyllm.training.resume_check import MEASURED, drop, identity
from tinyllm.training.store import FOLDER, find

AT_ONCE = 2
TIMEOUT = 120


def start_or_go_on(settings: config.Config) -> None:
    out = settings.training.out
    train(settings, start=find(out) if Store(out).steps() else None, quiet=True)


def of_a_save(path: str) -> bool:
    return f"{os.sep}{FOLDER}" in path


@dataclass
class Case:
    """A run that is killed: at call number `call` of its saves, or after `times`, in seconds, of which every one but
    the first is for the process that went on.
    """

    out: str
    call: int = 0
    times: list[float] = field(default_factory=list)
    kills: int = 0
    deadline: float = math.inf

    def __str__(self) -> str:
        what = f"call {self.call} of its saves" if self.call else f"{self.times} s"
        return f"{os.path.basename(self.out)}, killed at {what}"


class Runs:
    """Runs of one configuration, each in a folder of its own."""

    def __init__(self, bar: Bar, root: str) -> None:
        self.bar, self.root, self.settings = bar, root, run_config(root)
        self.folders, self.errors = 0, os.path.join(root, "errors")
        self.draw = random.Random(bar.seed)
        out = self.folder()
        self.calls = self.calls_of_saves(out)
        self.expected = contents(out)
        began = time.perf_counter()
        os.waitpid(self.forked(partial(start_or_go_on, self.of(self.folder()))), 0)
        self.seconds = time.perf_counter() - began

    def folder(self) -> str:
        self.folders += 1
        return os.path.join(self.root, f"run-{self.folders}")

    def of(self, out: str) -> config.Config:
        return config.replace(self.settings, training__out=out)

    def forked(self, work: Callable[[], None]) -> int:
        """Do something in a child; its process id."""
        child = os.fork()
        if child:
            return child
        try:
            work()
        except BaseException:
            with open(self.errors, "a") as file:
                traceback.print_exc(file=file)
            os._exit(1)
        os._exit(0)

    def calls_of_saves(self, out: str) -> int:
        """How many system calls the saves of an unbroken run make."""
        read, write = os.pipe()

        def work() -> None:
            names: list[str] = []
            with _io.inject(lambda name, path: names.append(name) if of_a_save(path) else None):
                start_or_go_on(self.of(out))
            os.write(write, str(len(names)).encode())

        os.waitpid(self.forked(work), 0)
        return int(os.read(read, 100))

    def start(self, case: Case) -> int:
        """Start the run of a case, or go on with it; the process id."""
        calls = case.call if case.kills == 0 else 0
        left = case.times[case.kills :]
        case.deadline = time.perf_counter() + (left[0] if left else TIMEOUT)

        def hook(name: str, path: str) -> None:
            nonlocal calls
            calls -= of_a_save(path)
            if calls == 0 and of_a_save(path):
                os.kill(os.getpid(), signal.SIGKILL)

        def work() -> None:
            with _io.inject(hook) if calls else contextlib.nullcontext():
                start_or_go_on(self.of(case.out))

        return self.forked(work)

    def kill_all(self, cases: list[Case]) -> int:
        """Run the cases, two at a time; how many kills there were. A run that ended before its time is drawn again."""
        kills, running = 0, {}
        while cases or running:
            while cases and len(running) < AT_ONCE:
                case = cases.pop()
                running[self.start(case)] = case
            time.sleep(0.001)
            for child, case in list(running.items()):
                if time.perf_counter() > case.deadline:
                    os.kill(child, signal.SIGKILL)
                pid, status = os.waitpid(child, os.WNOHANG)
                if not pid:
                    continue
                del running[child]
                planned = max(len(case.times), int(case.call > 0))
                if os.WIFSIGNALED(status) and case.kills < planned:
                    case.kills, kills = case.kills + 1, kills + 1
                    running[self.start(case)] = case
                    continue
                self.ended(case, status)
                if case.call == 0 and case.kills == 0:
                    cases.append(Case(self.folder(), times=[self.draw.uniform(0, case.times[0] / 2)]))
        return kills

    def ended(self, case: Case, status: int) -> None:
        """Compare a run that has come to its end."""
        if status or (case.call and not case.kills):
            said = open(self.errors).read() if os.path.exists(self.errors) else ""
            self.bar.failed(f"{case}: status {status}, {case.kills} kills; {said}")
            return
        found = contents(case.out)
        differ = [name for name in self.expected if found[name] != self.expected[name]]
        if differ:
            self.bar.failed(f"{case}: differs in {', '.join(differ)}")
        else:
            shutil.rmtree(case.out)


def contents(out: str) -> dict[str, object]:
    """What two runs must have in common: identity, the table of the log without times, and which files are there."""
    kept = [i for i, name in enumerate(COLUMNS) if name not in MEASURED and not name.endswith("_bytes")]
    with open(os.path.join(out, "log.csv")) as file:
        lines = [line.rstrip("\n").split(",") for line in file]
    files = {os.path.relpath(os.path.join(path, name), out) for path, _, names in os.walk(out) for name in names}
    return {**identity(out), "log.csv": [[line[i] for i in kept] for line in lines], "files": files}


def control(bar: Bar, runs: Runs) -> None:
    """A run that goes on without its random streams must not compare equal."""
    out = runs.folder()
    case = Case(out, call=runs.calls // 2)
    os.waitpid(runs.start(case), 0)
    drop(out, "random streams")
    os.waitpid(runs.forked(partial(start_or_go_on, runs.of(out))), 0)
    if contents(out)["weights"] == runs.expected["weights"]:
        bar.failed("a run that lost its random streams ends the same: the comparison sees nothing")
    else:
        bar.passed(1, "control: a run that lost its random streams ends differently")


def test(bar: Bar) -> None:
    prepare()
    with fast_folder() as root:
        runs = Runs(bar, root)
        print(f"  a run takes {runs.seconds:.2f} s and makes {runs.calls} system calls in its saves")
        half = bar.scaled(100)
        cases = [Case(runs.folder(), call=call) for call in runs.draw.sample(range(1, runs.calls + 1), half)]
        bar.passed(runs.kill_all(cases), "kills at a system call of a save")
        cases = [Case(runs.folder(), times=[runs.draw.uniform(0, runs.seconds) for _ in range(1 + (n % 4 == 0))])
                 for n in range(half)]  # fmt: skip
        bar.passed(runs.kill_all(cases), "kills at a random time, some of them of a run that had been killed")
        control(bar, runs)


if __name__ == "__main__":
    run_bar("S1", test)
