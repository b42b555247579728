"""The checkpoints of a run: `checkpoints/step-00000500` and so on, the newest few and the best one.

No file says which is the newest or the best, so none can point to a broken one: the newest is the highest step that
loads, the best the one whose manifest has the lowest val_loss. An old checkpoint is removed after the new one is
complete, and what an unfinished save left is removed at the next.
"""

from __future__ import annotations

import contextlib
import os
import re
import warnings
from typing import Any

from .. import _io
from ..errors import CheckpointError
from ..models.gpt import GPT
from ..tokenizers import Tokenizer
from . import checkpoint, manifest
from .checkpoint import Checkpoint

FOLDER = "checkpoints"
_STEP = re.compile(r"step-(\d{8,})")


class Store:
    """The checkpoints in the directory of a run. `keep_last`: how many of the newest `save` leaves, beside the best."""

    def __init__(self, run: str, keep_last: int = 2):
        self.directory = os.path.join(run, FOLDER)
        self.keep_last = keep_last

    def path(self, step: int) -> str:
        return os.path.join(self.directory, f"step-{step:08d}")

    def steps(self) -> list[int]:
        """The steps that have a checkpoint, damaged or not, oldest first."""
        return [n for n in self._folders() if os.path.exists(os.path.join(self.path(n), manifest.NAME))]

    def best(self) -> int | None:
        """The step with the lowest val_loss, the first of equals; None where no checkpoint has one."""
        losses = {}
        for step in self.steps():
            with contextlib.suppress(CheckpointError, KeyError, TypeError):
                losses[step] = float(manifest.read(os.path.join(self.path(step), manifest.NAME))["metrics"]["val_loss"])
        return min(losses, key=lambda step: losses[step]) if losses else None

    def save(self, step: int, **what: Any) -> str:
        """Write the checkpoint of `step` (`checkpoint.save` says what is in it), then `tidy`. Returns its directory.
        Raises OSError; the others then stand.
        """
        path = self.path(step)
        _io.make_directory(self.directory)
        try:
            checkpoint.save(path, step=step, **what)
        except BaseException:
            with contextlib.suppress(OSError):  # the error that matters is on its way
                checkpoint.remove(path)
            raise
        self.tidy(step)
        return path

    def tidy(self, step: int) -> None:
        """Remove what need not be kept, and what unfinished saves left; `step` stays. What cannot be removed is a
        warning.
        """
        keep = {*self.steps()[-self.keep_last :], step, self.best()}
        for old in self._folders():
            if old not in keep:
                try:
                    checkpoint.remove(self.path(old))
                except OSError as error:
                    warnings.warn(f"step {step} is saved, but step {old} cannot be removed: {error}", stacklevel=2)

    def clear(self) -> None:
        """Remove every checkpoint: a new run starts in the directory of an old one."""
        for step in self._folders():
            checkpoint.remove(self.path(step))

    def newest(self) -> Checkpoint:
        """The checkpoint of the highest step that is whole; a warning names each damaged one that was passed over.
        Raises CheckpointError where there is none.
        """
        problems = []
        for step in reversed(self.steps()):
            try:
                found = checkpoint.load(self.path(step))
            except CheckpointError as error:
                problems.append(str(error))
                continue
            for problem in problems:
                warnings.warn(f"{problem}; going back to step {step}", stacklevel=2)
            return found
        reason = "".join(f"\n  {problem}" for problem in problems) or " (no run has saved one there yet)"
        raise CheckpointError(f"{self.directory} holds no whole checkpoint{reason}")

    def _folders(self) -> list[int]:
        """The steps that have a folder, whatever is in it. A link is none: what it points to is not the run's."""
        names = os.listdir(self.directory) if os.path.isdir(self.directory) else []
        steps = [(name, int(found[1])) for name in names if (found := _STEP.fullmatch(name))]
        return sorted(step for name, step in steps if not os.path.islink(os.path.join(self.directory, name)))


def find(path: str) -> Checkpoint:
    """The checkpoint at `path`, or, where `path` is the directory of a run, its newest whole one."""
    return Store(path).newest() if os.path.isdir(os.path.join(path, FOLDER)) else checkpoint.load(path)


def load_model(path: str) -> tuple[GPT, Tokenizer, Checkpoint]:
    """The model of a checkpoint or of a run (its newest) with its weights, in evaluation mode, its tokenizer, and the
    rest.
    """
    found = find(path)
    return checkpoint.build_model(found), found.tokenizer, found
