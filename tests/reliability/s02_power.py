"""S2: a power cut at any moment of a save leaves the old checkpoint or the new one, complete, and its log.

The system calls of a save are logged, with their data. From the log come the states that a disk may be in after a crash
(disk.py): for each prefix of it every combination of what was not yet synced, a random choice where there are too
many. In each of them the run must find a checkpoint that may be there, equal to what was saved, and as much of the log
as it counts on; once `save` has returned that is the new one. To see that states are found which are wrong, the
same is done without the syncs of files, and of directories.
"""

from __future__ import annotations

import os
import random
import shutil
import warnings
from collections.abc import Callable, Iterator

from common import Bar, run_bar
from disk import Disk, Mirror, Tree
from micro import Small, fast_folder, prepare

from tinyllm import _io
from tinyllm.errors import CheckpointError
from tinyllm.training import Store, checkpoint, manifest
from tinyllm.training.log import RunLog

States = Iterator[tuple[set[int], Tree]]
"""A state, and the steps of which one must be found (0: none may be there yet)."""


class Power:
    """Saves in a directory `root/run`, recorded, and what must be found there."""

    def __init__(self, bar: Bar, root: str) -> None:
        self.bar, self.root, self.run = bar, os.path.join(root, "real"), os.path.join(root, "real", "run")
        self.mirror = Mirror(os.path.join(root, "crashed"))
        self.found = os.path.join(root, "crashed", "run")
        os.mkdir(self.mirror.root)
        self.draw, self.small = random.Random(bar.seed), Small()
        self.saved: dict[int, tuple[dict, bytes]] = {}
        """By step, the manifest and the log that belong to it."""

    def go_on(self, step: int, keep_last: int = 1) -> None:
        """What a run does from its newest checkpoint to the next one, `step`."""
        store = Store(self.run, keep_last)
        position = store.newest().state["log"] if store.steps() else None
        _io.make_directory(self.run)
        with RunLog(self.run, position) as log:
            _io.remove_leftovers(self.run)
            for half in (step - 0.5, step):
                log.write({"step": half, "loss": 1 / half})
            path = self.small.save(store, step, {"step": step, "log": log.position()})
        with open(os.path.join(self.run, "log.jsonl"), "rb") as file:
            self.saved[step] = manifest.read(os.path.join(path, manifest.NAME)), file.read()

    def fresh(self, *steps: int, keep_last: int = 1) -> None:
        """An empty root, with a run that has saved these steps and lies safely on the disk."""
        shutil.rmtree(self.root, ignore_errors=True)
        os.mkdir(self.root)
        for step in steps:
            self.go_on(step, keep_last)

    def problem(self, tree: Tree, allowed: set[int], damaged: bool) -> str | None:
        """What is wrong with a state, if anything is. `damaged`: a checkpoint was, before the save."""
        self.mirror.show(tree)
        store = Store(self.found)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore" if damaged else "error")
            try:
                found = store.newest()
                for step in set(store.steps()) - {found.step} if not damaged else ():
                    checkpoint.load(store.path(step))  # where a manifest is, everything is
            except CheckpointError as error:
                return None if 0 in allowed and not store.steps() else str(error)
            except UserWarning as warning:
                return f"a damaged checkpoint counts as one: {warning}"
        if found.step not in allowed:
            return f"step {found.step} is found, expected one of {sorted(allowed)}"
        content, log = self.saved[found.step]
        if manifest.read(os.path.join(found.directory, manifest.NAME)) != content:
            return f"step {found.step} is not what was saved"
        kept = tree.get("run/log.jsonl") or b""
        if kept[: content["state"]["log"]["jsonl"]] != log:
            return f"step {found.step} has lost its log"
        return None

    def check(self, what: str, states: States, damaged: bool = False) -> None:
        seen = set()
        for allowed, tree in states:
            key = hash((frozenset(allowed), frozenset(tree.items())))
            if key not in seen:
                seen.add(key)
                if problem := self.problem(tree, allowed, damaged):
                    self.bar.failed(f"{what}: {problem}\n    in {describe(tree)}")
                    return
        self.bar.passed(len(seen), f"states after a crash: {what}")

    def crashes(self, disk: Disk, old: set[int], new: int, limit: int, first: int = 0) -> States:
        """The states at each point of the log from entry `first` on, about `limit` of them."""
        last = len(disk.log)
        places = list(range(first, last + 1))
        if len(places) > limit // 16:
            places = sorted({last, *self.draw.sample(places, limit // 16)})
        for end in places:
            allowed = {new} if end == last else old | {new}
            for tree in disk.crashes(end, limit // len(places), self.draw):
                yield allowed, tree


def describe(tree: Tree) -> str:
    sizes = (f"{path}{'/' if content is None else f' {len(content)}'}" for path, content in sorted(tree.items()))
    return ", ".join(sizes) or "an empty directory"


def saves(power: Power) -> None:
    """One save each: of a run's first checkpoint, beside others, in place of another, and over a damaged one."""
    plans: list[tuple[str, Callable[[], None], int, int, int]] = [
        ("the first save of a run", lambda: None, 0, 1, 1),
        ("a save that removes the one before", lambda: power.fresh(1), 1, 2, 1),
        ("a save that keeps the one before", lambda: power.fresh(1, 2, 3, keep_last=2), 3, 4, 2),
        ("a save over a damaged one", lambda: damage(power), 1, 2, 1),
    ]
    for what, before, old, new, keep_last in plans:
        power.fresh()
        before()
        disk = Disk(power.root)
        with disk.record():
            power.go_on(new, keep_last)
        states = power.crashes(disk, {old}, new, power.bar.scaled(4000))
        power.check(what, states, damaged="damaged" in what)


def damage(power: Power) -> None:
    power.fresh(1, 2, keep_last=2)
    os.truncate(os.path.join(Store(power.run).path(2), "model.safetensors"), 999)
    warnings.simplefilter("ignore")  # going back to step 1


def killed_before(power: Power, *before: int) -> None:
    """A save is killed, the disk keeps up; the next process saves, and then power fails."""

    def killed(stop: int | None) -> Disk:
        power.fresh(*before)
        disk = Disk(power.root)
        with disk.record(stop):
            power.go_on(len(before) + 1)
        return disk

    def states() -> States:
        disk = killed(None)
        stops = [*range(0, len(disk.log), 1 if power.bar.share == 1 else 6), *disk.folders_made()]
        for stop in sorted(set(stops)):
            disk = killed(stop)
            done = max(Store(power.run).steps(), default=0)
            with disk.record():
                power.go_on(done + 1)
            old = {len(before), done}  # what was not yet durable when the second process found it may be lost
            yield from power.crashes(disk, old, done + 1, 160, stop)

    power.check(f"{'a' if before else 'the first'} save, after one was killed at any call", states())


def controls(power: Power) -> None:
    """Without its syncs the same save must leave states that are wrong."""
    for ignored in ("file", "directory"):
        power.fresh(1)
        disk = Disk(power.root, ignored)
        with disk.record():
            power.go_on(2)
        if all(power.problem(tree, allowed, False) is None for allowed, tree in power.crashes(disk, {1}, 2, 400)):
            power.bar.failed(f"without fsync of a {ignored} nothing is found")
        else:
            power.bar.passed(1, f"control: without fsync of a {ignored} there are states that are wrong")


def test(bar: Bar) -> None:
    prepare()
    with fast_folder() as root, warnings.catch_warnings():
        power = Power(bar, os.path.realpath(root))
        saves(power)
        killed_before(power)
        killed_before(power, 1)
        controls(power)


if __name__ == "__main__":
    run_bar("S2", test)
