"""What runs lie in a folder, how far each has come, and whether a process works on it right now.

The state is read from what the runs left, no register is kept: a run is running while a process holds the lock on its
log, failed where it noted a number that is not finite, finished when its newest checkpoint is of the last step.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from ..errors import CheckpointError
from . import failure, log, manifest, plot
from .store import Store


@dataclass(frozen=True)
class Run:
    """One run; losses in nats per token, None where there is no record yet. `changed`: seconds since the epoch."""

    directory: str
    state: str
    """running, finished, stopped, failed (at a number that is not finite), or damaged (its newest checkpoint's manifest
    cannot be read).
    """
    step: int
    steps: int | None
    loss: float | None
    val_loss: float | None
    best_val_loss: float | None
    changed: float


def find_runs(folder: str) -> list[Run]:
    """The runs in `folder` and its subfolders, the one that changed last first. A run is a directory with a log."""
    found = [path for path, _, names in os.walk(folder) if log.JSONL in names]
    return sorted((read_run(path) for path in found), key=lambda run: -run.changed)


def read_run(directory: str) -> Run:
    """The state of one run. Raises OSError if it has no log."""
    records = log.read_log(directory)
    losses = [r["loss"] for r in records if "loss" in r]
    val_losses = [r["val_loss"] for r in records if "val_loss" in r]
    steps, saved, damaged = None, 0, False
    store = Store(directory)
    if store.steps():
        saved = store.steps()[-1]
        try:
            content = manifest.read(os.path.join(store.path(saved), manifest.NAME))
            steps = int(content["config"]["training"]["steps"])
        except (CheckpointError, KeyError, TypeError, ValueError):
            damaged = True
    if log.locked(directory):
        state = "running"
    elif damaged:
        state = "damaged"
    elif failure.read(directory) is not None:
        state = "failed"
    else:
        state = "finished" if steps is not None and saved >= steps else "stopped"
    return Run(
        directory, state, records[-1]["step"] if records else 0, steps, losses[-1] if losses else None,
        val_losses[-1] if val_losses else None, min(val_losses, default=None),
        os.path.getmtime(os.path.join(directory, log.JSONL)),
    )  # fmt: skip


def table(runs: list[Run]) -> str:
    """The runs as lines of text, one each, below a heading."""
    rows: list[tuple[str, ...]] = [("run", "state", "step", "loss", "validation", "best")]
    for run in runs:
        losses = ("" if x is None else f"{x:.4f}" for x in (run.loss, run.val_loss, run.best_val_loss))
        rows.append((run.directory, run.state, f"{run.step}/{run.steps or '?'}", *losses))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def compare(directories: list[str], path: str) -> None:
    """Draw the curves of several runs into one SVG file: validation loss where a run has it, else training loss."""
    series = {}
    for directory in directories:
        records = log.read_log(directory)
        key = "val_loss" if any("val_loss" in r for r in records) else "loss"
        name = f"{os.path.relpath(directory)} ({'validation' if key == 'val_loss' else 'training'})"
        series[name] = [(r["step"], r[key]) for r in records if key in r]
    plot.write_svg(path, series, title="Runs compared", x_label="step", y_label="loss (nats per token)")
