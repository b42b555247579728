"""S3: whatever call of a save fails, the old checkpoint loads, the error says where, and nothing is left over.

The n-th system call of a save fails, n = 1, 2, ... until none is left to fail: with each of several errors, once and
with all that follow; or a write comes back short. The same within a run: what fails on the way is a warning, and the
run ends as the unbroken one. Then real ones: a full file system, /dev/full and a limit on the size of files.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import resource
import shutil
import subprocess
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from common import Bar, run_bar
from micro import Small, fast_folder, prepare, run_config

from tinyllm import _io, config
from tinyllm.training import Store, train
from tinyllm.training.resume_check import identity

ERRORS = (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EINTR)


class Faults:
    """Makes call number `n` fail (and all that follow, if `forever`) with `code`; code 0: a write of half its bytes."""

    def __init__(self, n: int, code: int, forever: bool, within: str = "") -> None:
        self.n, self.code, self.forever, self.within = n, code, forever, within
        self.calls = self.hits = 0

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        real = _io._call

        def call(name: str, path: str, function: Callable[..., Any], *args: Any) -> Any:
            counts = self.within in path and (self.code != 0 or name == "write")
            self.calls += counts
            if counts and (self.calls == self.n or (self.forever and self.calls > self.n)):
                self.hits += 1
                if self.code == 0:
                    half = max(1, len(args[1]) // 2)
                    return real(name, path, function, args[0], args[1][:half], *args[2:])
                return real(name, path, self.refuse)
            return real(name, path, function, *args)

        with mock.patch.object(_io, "_call", call):
            yield

    def refuse(self) -> None:
        raise OSError(self.code, os.strerror(self.code))

    def __str__(self) -> str:
        what = errno.errorcode.get(self.code, "a short write")
        return f"{what} at call {self.n}{' and all that follow' if self.forever else ''}"


def kinds() -> Iterator[tuple[int, bool]]:
    yield from ((code, forever) for code in (*ERRORS, 0) for forever in (False, True))


def unfinished(folder: str) -> list[str]:
    return [str(path) for path in Path(folder).rglob("*") if _io.LEFTOVER.fullmatch(path.name)]


def saves(bar: Bar, small: Small, root: str) -> None:
    """Each call of a save that replaces the checkpoint before."""
    old, folder = os.path.join(root, "old"), os.path.join(root, "now")
    small.save(Store(old, keep_last=1), 1)
    cases = 0
    for code, forever in kinds():
        for n in range(1, 1000, 1 if bar.share == 1 else 3):
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(old, folder)
            store, faults = Store(folder, keep_last=1), Faults(n, code, forever)
            problem = failed_save(small, store, faults)
            if not faults.hits:
                break
            cases += 1
            if problem:
                bar.failed(f"{faults}: {problem}")
    bar.passed(cases, "calls of a save that fail")


def failed_save(small: Small, store: Store, faults: Faults) -> str | None:
    """What is wrong after a save with a fault in it, if anything is."""
    error = None
    with faults.installed(), warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            small.save(store, 2)
        except OSError as caught:
            error = caught
    if not faults.hits:
        return None
    run = os.path.dirname(store.directory)
    if left := unfinished(run):
        return f"left {left}"
    step = store.newest().step  # with warnings as errors: the newest is whole
    if error is None and step != 2:
        return "the save succeeded, but its checkpoint is not there"
    if faults.code == 0:
        return f"a short write is an error: {error!r}" if error else None
    if error is None:
        return None if len(said) == 1 and "step 1 cannot be removed" in str(said[0].message) else f"it said {said}"
    if error.errno != faults.code or run not in str(error):
        return f"the error does not say what and where: {error!r}"
    small.save(store, 2)
    return None if store.steps() == [2] else f"after the next save there are steps {store.steps()}"


def runs(bar: Bar, root: str) -> None:
    """A run of which one save of three fails goes on, says so, and ends as it would have."""
    settings = run_config(root, training__steps=12, training__save_every=4, training__eval_every=6)

    def run(name: str, faults: Faults) -> str:
        out = os.path.join(root, name)
        shutil.rmtree(out, ignore_errors=True)
        with faults.installed(), warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            train(config.replace(settings, training__out=out), quiet=True)
        return "; ".join(str(w.message) for w in said)

    within = "step-00000008"
    counted = Faults(0, errno.EIO, False, within)
    if said := run("unbroken", counted):
        bar.failed(f"a run without faults warns: {said}")
    expected, cases = identity(os.path.join(root, "unbroken")), 0
    for n in range(1, counted.calls + 1, bar.share):
        for forever in (False, True):
            faults = Faults(n, ERRORS[n % len(ERRORS)], forever, within)
            said = run("faulty", faults)
            cases += 1
            if identity(os.path.join(root, "faulty")) != expected:
                bar.failed(f"{faults}: the run ends differently")
            if (
                not re.search("step 8 is not saved|step 8 cannot be removed", said)
                or os.strerror(faults.code) not in said
            ):
                bar.failed(f"{faults}: the warning is {said!r}")
            if left := unfinished(root):
                bar.failed(f"{faults}: left {left}")
    bar.passed(cases, "calls of a save in a run that fail: it goes on, and ends the same")


def small_file_system(bar: Bar, small: Small, root: str) -> None:
    """Checkpoints of 64 kB on a file system of 1 MB, until it is full."""
    what = "a full file system"
    mounted = os.path.join(root, "mounted")
    os.mkdir(mounted)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", mounted], capture_output=True).returncode:
        bar.skip(what, "only root may mount one")
        return
    try:
        store = Store(mounted, keep_last=1000)
        for step in range(1, 100):
            try:
                small.save(store, step)
            except OSError as error:
                if error.errno != errno.ENOSPC or mounted not in str(error):
                    bar.failed(f"{what}: {error!r}")
                break
        else:
            bar.failed(f"{what}: 99 checkpoints of 64 kB fit into 1 MB")
        if store.newest().step != step - 1 or store.steps() != list(range(1, step)) or unfinished(mounted):
            bar.failed(f"{what}: after {step - 1} saves there are steps {store.steps()} and {unfinished(mounted)}")
        bar.passed(step, f"saves on a file system of 1 MB; the last finds it full ({errno.errorcode[errno.ENOSPC]})")
    finally:
        # lazy: whatever may still look into it (a file manager, an indexer) is not what is tested
        subprocess.run(["umount", "--lazy", mounted], check=True)


def refused_by_the_system(bar: Bar, small: Small, root: str) -> None:
    """Each file of a checkpoint in turn is written to /dev/full, or is longer than files may be."""
    store = Store(os.path.join(root, "refused"), keep_last=1)
    path = small.save(store, 1)
    sizes = {name: os.path.getsize(os.path.join(path, name)) for name in os.listdir(path)}
    real, unlimited = _io._call, resource.getrlimit(resource.RLIMIT_FSIZE)
    for name in sizes:

        def call(kind: str, path: str, function: Callable[..., Any], *args: Any, name: str = name) -> Any:
            if kind == "open" and path.endswith(name):
                os.close(function(*args))
                return real(kind, path, os.open, "/dev/full", os.O_WRONLY)
            return real(kind, path, function, *args)

        with mock.patch.object(_io, "_call", call):
            outcome(bar, small, store, errno.ENOSPC, f"{name} on /dev/full", name)
    for limit in range(100, max(sizes.values()), max(sizes.values()) // 20):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, unlimited[1]))
        try:
            outcome(bar, small, store, errno.EFBIG, f"files of {limit} bytes at most", "")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    bar.passed(len(sizes), "files of a checkpoint on /dev/full")
    bar.passed(20, "limits on the size of files (RLIMIT_FSIZE)")


def outcome(bar: Bar, small: Small, store: Store, code: int, what: str, name: str) -> None:
    try:
        small.save(store, 2)
        bar.failed(f"{what}: no error")
    except OSError as error:
        if error.errno != code or os.path.join(store.path(2), name) not in str(error):
            bar.failed(f"{what}: {error!r}")
    if store.steps() != [1] or store.newest().step != 1 or unfinished(store.directory):
        bar.failed(f"{what}: steps {store.steps()}, {unfinished(store.directory)}")


def test(bar: Bar) -> None:
    prepare()
    small = Small()
    with fast_folder() as root, warnings.catch_warnings():
        warnings.simplefilter("error")
        saves(bar, small, root)
        small_file_system(bar, small, root)
        refused_by_the_system(bar, small, root)
        runs(bar, root)


if __name__ == "__main__":
    run_bar("S3", test)
