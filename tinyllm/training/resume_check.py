"""Does a run that is killed and resumed end as one that is not? `tinyllm resume-check` shows it for a configuration.

Runs are processes of their own (`python -m tinyllm train`), killed with SIGKILL at random steps. What is compared is
`identity`: the bytes of every weight and of the optimizer's state, the cursor, the random streams and the log, times
aside. A check that cannot fail shows nothing: the same comparison is therefore made with runs that resume without one
part of their state, and each of them must end differently.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from .. import _io
from ..config import Config, dumps, replace
from ..random import Generator
from . import checkpoint, manifest
from .log import read_log
from .store import Store
from .verdict import Verdict

MEASURED = ("seconds", "tokens_per_second")


def identity(run: str) -> dict[str, str]:
    """What two runs must have in common to be the same run, as SHA-256 by name: weights, optimizer, state, log."""
    store = Store(run)
    content = manifest.read(os.path.join(store.path(store.steps()[-1]), manifest.NAME))
    tensors = {(e["file"], e["name"]): e["sha256"] for e in content["tensors"]}
    trainer = {key: value for key, value in content["state"]["trainer"].items() if key != "seconds"}
    log = [
        {key: x for key, x in record.items() if key not in MEASURED and not key.endswith("_bytes")}
        for record in read_log(run)
    ]
    parts = {
        "weights": sorted((name, x) for (file, name), x in tensors.items() if file == checkpoint.WEIGHTS),
        "optimizer": [sorted((n, x) for (file, n), x in tensors.items() if file == checkpoint.OPTIMIZER),
                      content["optimizer"]],
        "random streams": trainer.pop("random"),
        "cursor": trainer,
        "log": log,
    }  # fmt: skip
    return {name: hashlib.sha256(json.dumps(part).encode()).hexdigest() for name, part in parts.items()}


def _without_random(content: dict[str, Any]) -> None:
    content["state"]["trainer"]["random"] = Generator().state_dict()


def _without_cursor(content: dict[str, Any]) -> None:
    content["state"]["trainer"]["sampler"]["step"] = 0


def _without_optimizer(content: dict[str, Any]) -> None:
    content["optimizer"]["state"] = {}
    content["tensors"] = [entry for entry in content["tensors"] if entry["file"] != checkpoint.OPTIMIZER]


CONTROLS: dict[str, Callable[[dict[str, Any]], None]] = {
    "random streams": _without_random,
    "cursor": _without_cursor,
    "optimizer": _without_optimizer,
}


def drop(run: str, part: str) -> None:
    """Take one part of the state (a key of CONTROLS) out of a run's newest checkpoint."""
    store = Store(run)
    path = os.path.join(store.path(store.steps()[-1]), manifest.NAME)
    content = manifest.read(path)
    CONTROLS[part](content)
    _io.write_atomic(path, manifest.render(content))


def check(config: Config, directory: str, kills: int = 3, seed: int = 0) -> list[Verdict]:
    """Compare a run of `config` with one that is killed `kills` times, and with one control per part of the state; all
    of them lie in `directory`.
    """
    config = replace(config, training__keep_last=1)
    unbroken, broken = os.path.join(directory, "unbroken"), os.path.join(directory, "killed")
    subprocess.run(_start(config, unbroken), check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    expected = identity(unbroken)
    steps = sorted(random.Random(seed).sample(range(1, config.training.steps), kills))
    command, killed_at = _start(config, broken), []
    for step in steps:
        killed_at.append(_kill_after(command, broken, step))
        command = _resume(broken)
    controls = {part: os.path.join(directory, f"without-{part.replace(' ', '-')}") for part in CONTROLS}
    for copy in controls.values():
        shutil.copytree(broken, copy)
    places = ", ".join(map(str, killed_at))
    rows = [_compare(expected, broken, f"killed after steps {places}, resumed each time", same=True)]
    for part, copy in controls.items():
        if part == "random streams" and not config.model.dropout:
            rows.append(Verdict(f"resumed without its {part}", True, "draws none (dropout 0): nothing to compare"))
            continue
        drop(copy, part)
        rows.append(_compare(expected, copy, f"resumed without its {part}", same=False))
    return rows


def _compare(expected: dict[str, str], run: str, what: str, same: bool) -> Verdict:
    done = subprocess.run(_resume(run), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        return Verdict(what, False, f"did not resume: {done.stderr.strip()[-300:]}")
    found = identity(run)
    differ = [name for name in expected if found[name] != expected[name]]
    if same:
        return Verdict(what, not differ, f"differs in {', '.join(differ)}" if differ else "every byte equal")
    return Verdict(
        what, bool(differ), f"seen in {', '.join(differ)}" if differ else "not noticed: the check does not bite"
    )


def _start(config: Config, run: str) -> list[str]:
    _io.make_directory(run)
    path = os.path.join(run, "config.toml")
    _io.write_atomic(path, dumps(replace(config, training__out=run)))
    return [sys.executable, "-m", "tinyllm", "train", "--config", path]


def _resume(run: str) -> list[str]:
    return [sys.executable, "-m", "tinyllm", "train", "--resume", run]


def _kill_after(command: list[str], run: str, step: int) -> int:
    """Start a run and kill it once its log shows `step` and it has a checkpoint. Returns the step that it came to."""
    path, reached = os.path.join(run, "log.jsonl"), 0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and (reached < step or not Store(run).steps()):
            time.sleep(0.002)
            reached = _last_step(path)
        process.kill()
        if process.wait() > 0:
            raise RuntimeError(f"{' '.join(command)} failed: {process.stderr.read()[-500:]}")  # type: ignore[union-attr]
    return reached


def _last_step(path: str) -> int:
    try:
        with open(path, "rb") as file:
            lines = file.read().splitlines()
        return json.loads(lines[-1])["step"] if lines else 0
    except (OSError, ValueError):
        return 0
