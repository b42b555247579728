"""What a run leaves to read: one JSON object a line (log.jsonl), the same as a table (log.csv), and a line on
the terminal.

A record is a dict with `step` and any of COLUMNS. Records are appended by one write each, so a killed run
leaves whole lines. The terminal shows a bar with tokens per second, time left and memory; where output goes
to a file, plain lines instead. Curves are in plot.py.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import resource
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .. import _io
from ..backend import memory

if TYPE_CHECKING:
    from rich.progress import TaskID

COLUMNS = (
    "step",
    "tokens",
    "seconds",
    "lr",
    "loss",
    "grad_norm",
    "val_loss",
    "bits_per_byte",
    "tokens_per_second",
    "rss_bytes",
    "parameter_bytes",
    "gradient_bytes",
    "optimizer_bytes",
    "activation_bytes",
    "workspace_bytes",
    "peak_bytes",
)
"""step: optimizer steps made; tokens: targets trained on so far; loss, val_loss: nats per token; rss_bytes: resident
memory; the other bytes: what the allocator gave out, the most at once since the record before, of each kind and of all
kinds together.
"""
JSONL, CSV = "log.jsonl", "log.csv"


class RunLog:
    """Appends records to log.jsonl and log.csv in a directory.

    Both start anew, or go on from where `position` was taken: what a killed run wrote after its last checkpoint is cut
    off, and is written again by the steps that are made again. Raises ValueError if a file is shorter than that, and
    BlockingIOError if another process trains there: one that ended, however it ended, does not.
    """

    def __init__(self, directory: str, position: Mapping[str, int] | None = None):
        keep = position or {}
        self._jsonl = _io.LineWriter(os.path.join(directory, JSONL), keep.get("jsonl", 0), lock=True)
        with contextlib.ExitStack() as opened:
            opened.enter_context(self._jsonl)
            self._csv = opened.enter_context(_io.LineWriter(os.path.join(directory, CSV), keep.get("csv", 0)))
            if position is None:
                self._csv.write(",".join(COLUMNS))
            opened.pop_all()  # nothing failed: they stay open

    def position(self) -> dict[str, int]:
        """Bytes in each file, all of them on the disk by now: a checkpoint promises no line that a power cut takes."""
        self._jsonl.sync()
        self._csv.sync()
        return {"jsonl": self._jsonl.size, "csv": self._csv.size}

    def write(self, record: Mapping[str, Any]) -> None:
        """Append one record. Infinities and NaN, which JSON lacks, are written as strings."""
        if unknown := set(record) - set(COLUMNS):
            raise ValueError(f"a log record has the columns {', '.join(COLUMNS)}; got {', '.join(sorted(unknown))}")
        plain = {key: str(x) if isinstance(x, float) and not math.isfinite(x) else x for key, x in record.items()}
        self._jsonl.write(json.dumps(plain, allow_nan=False))
        self._csv.write(",".join(str(plain.get(key, "")) for key in COLUMNS))

    def close(self) -> None:
        try:
            self._csv.close()
        finally:
            self._jsonl.close()

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def read_log(directory: str) -> list[dict[str, Any]]:
    """The records of log.jsonl, numbers as numbers again."""
    with _io.open_file(os.path.join(directory, JSONL)) as file:
        records = [json.loads(line) for line in file if line.endswith(b"\n")]  # a power cut may leave half a line
    return [{key: float(x) if isinstance(x, str) else x for key, x in record.items()} for record in records]


def locked(directory: str) -> bool:
    """Whether a process trains in a directory right now."""
    return _io.locked(os.path.join(directory, JSONL))


def memory_by_kind() -> dict[str, int]:
    """The columns of a record that say what memory was used since this was last asked."""
    peaks = {f"{kind}_bytes": peak for kind, peak in memory.peak_by_kind().items() if f"{kind}_bytes" in COLUMNS}
    peaks["peak_bytes"] = memory.peak_bytes()
    memory.reset_peak()
    return peaks


class Progress:
    """The terminal's view of a run. Use it as a context manager and give every record to `update`.

    On a terminal a bar (rich); otherwise a plain line for each record with a loss, to standard error. `quiet`
    shows nothing.
    """

    def __init__(self, total: int, quiet: bool = False):
        self.total = total
        self._began = time.perf_counter()
        self._last: dict[str, Any] = {}
        self._first = 0
        self._rich: Any = None
        self._task: TaskID | None = None
        self._quiet = quiet

    def __enter__(self) -> Progress:
        if not self._quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                TextColumn,
                TimeElapsedColumn,
                TimeRemainingColumn,
            )
            from rich.progress import Progress as Rich

            self._rich = Rich(
                TextColumn("[bold]training"), BarColumn(), MofNCompleteColumn(),
                TextColumn("{task.fields[status]}"), TimeElapsedColumn(), TextColumn("left"),
                TimeRemainingColumn(), console=Console(stderr=True),
            )  # fmt: skip
            self._rich.start()
            self._task = self._rich.add_task("", total=self.total, status="")
        return self

    def update(self, record: Mapping[str, Any]) -> None:
        """Show a record; `step` moves the bar."""
        if not self._last:
            self._first, self._began = record["step"], time.perf_counter()
        self._last.update(record)
        if self._rich is not None:
            self._rich.update(self._task, completed=record["step"], status=self._status(record))
            if "val_loss" in record:
                self._rich.console.print(self._line(record), highlight=False)
        elif not self._quiet and record.keys() & {"loss", "val_loss"}:
            print(self._line(record), file=sys.stderr, flush=True)

    def __exit__(self, *exc: object) -> None:
        if self._rich is not None:
            self._rich.stop()

    def _status(self, record: Mapping[str, Any]) -> str:
        last = self._last
        parts = [f"loss {last['loss']:.3f}"] if "loss" in last else []
        parts += [f"val {last['val_loss']:.3f}"] if "val_loss" in last else []
        parts += [f"{last['tokens_per_second']:,.0f} tokens/s"] if "tokens_per_second" in last else []
        parts += [f"{last['rss_bytes'] / 2**20:,.0f} MB"] if "rss_bytes" in last else []
        parts += [_memory(last)] if last.get("peak_bytes") else []
        return "  ".join(parts)

    def _line(self, record: Mapping[str, Any]) -> str:
        line = f"step {record['step']:>{len(str(self.total))}}/{self.total}"
        if "val_loss" in record:
            line += f"  validation loss {record['val_loss']:.4f}"
            if "bits_per_byte" in record:
                line += f", {record['bits_per_byte']:.4f} bits per byte"
            return line
        line += f"  loss {record['loss']:.4f}"
        for key, form in (("lr", "lr {:.2e}"), ("tokens_per_second", "{:,.0f} tokens/s")):
            if key in record:
                line += "  " + form.format(record[key])
        if "rss_bytes" in record:
            line += f"  {record['rss_bytes'] / 2**20:,.0f} MB"
        if record.get("peak_bytes"):
            line += f" ({_memory(record)})"
        done = record["step"] - self._first
        if done > 0:
            left = (time.perf_counter() - self._began) / done * (self.total - record["step"])
            line += f"  {int(left) // 60}:{int(left) % 60:02d} left"
        return line


def _memory(record: Mapping[str, Any]) -> str:
    """What the allocator's bytes were for."""
    names = {"parameters": "parameter", "gradients": "gradient", "optimizer": "optimizer", "activations": "activation"}
    return ", ".join(f"{name} {record[f'{kind}_bytes'] / 2**20:,.0f}" for name, kind in names.items())


def resident_bytes() -> int:
    """Resident memory of this process (its peak where the system does not tell the present value)."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
