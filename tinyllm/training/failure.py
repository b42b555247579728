"""A run that ended at a number that is not finite: what it leaves, so that the step can be made again.

The weights before a bad step are good, and a checkpoint of them, with cursor and random streams, is all that the step
depends on. failure.json says which step it was and what was found; `tinyllm replay` makes the steps from the newest
checkpoint to that one again, and writes nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator

from .. import _io
from ..errors import NonFinite
from .loop import Trainer

NAME = "failure.json"


@contextlib.contextmanager
def noted(trainer: Trainer, run: str) -> Iterator[None]:
    """Within it NonFinite leaves a checkpoint of the last good step and failure.json in the directory of the run. A run
    that comes through takes the note of an earlier failure away.
    """
    path = os.path.join(run, NAME)
    try:
        yield
    except NonFinite as error:
        if error.phase != "parameter":  # then the weights are bad, and older checkpoints are worth more
            trainer.save()
        facts = {"step": error.step, "phase": error.phase, "op": error.op, "where": error.where, "message": str(error)}
        _io.write_atomic(path, json.dumps(facts, indent=1) + "\n")
        hint = f"Made again, step by step, by: tinyllm replay {run}"
        raise NonFinite(f"{error} {hint}", error.step, error.phase, error.op, error.where) from error
    _io.remove(path)


def read(run: str) -> dict | None:
    """The note of a run's failure; None if it has not failed."""
    try:
        with open(os.path.join(run, NAME), encoding="utf-8") as file:
            found = json.load(file)
        return found if isinstance(found, dict) and isinstance(found.get("step"), int) else None
    except (OSError, ValueError, RecursionError):
        return None
