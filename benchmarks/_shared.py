"""What the benchmarks share: threads, the machine in words, and results as JSON. Never imports PyTorch itself."""

from __future__ import annotations

import json
import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

# PyTorch's threads wait for each other by spinning, by default for some 10 ms: free on an idle machine, but where
# anything else runs a step takes a hundred times as long. A third of a millisecond serves the idle one as well.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
# OpenBLAS's spin for 2^26 cycles, on the core that the next one in turn needs for its second thread; 2^20 are as long.
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "20")

import numpy as np  # noqa: E402

from tinyllm import __version__, backend  # noqa: E402

# gpt_torch, the PyTorch GPT that the tests compare with, and recipe, the trainer of a configuration, lie there.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "oracle"))
import recipe  # noqa: E402

__all__ = ["machine", "recipe", "show", "use_threads", "write_json"]


def use_threads(n: int) -> None:
    """Give n threads to tinyllm, and to PyTorch if it has been imported."""
    backend.set_num_threads(n)
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(n)


def machine() -> dict[str, Any]:
    """Everything that a figure depends on besides the code."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "threads": backend.num_threads(),
        "isa": backend.isa(),
        "load_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": _version("torch"),
        "tinyllm": __version__,
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "none"


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    facts = {name.strip(): fact.strip() for name, _, fact in (line.partition(":") for line in reversed(lines))}
    return (
        f"{facts.get('model name', platform.machine())} (family {facts.get('cpu family')}, model {facts.get('model')})"
    )


def show(rows: list[dict[str, Any]]) -> None:
    """Print rows as a table; numbers as they are given (format them before)."""
    head = list(rows[0])
    table = [head] + [[str(row[name]) for name in head] for row in rows]
    widths = [max(len(line[i]) for line in table) for i in range(len(head))]
    for line in table:
        cells = [line[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        print("  ".join(cells).rstrip())


def write_json(path: str | None, result: dict[str, Any]) -> None:
    """Write a result to a file, if one is named."""
    if path:
        Path(path).write_text(json.dumps(result, indent=1) + "\n")
