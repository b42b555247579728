"""The kernels on processors that this machine is not.

The driver, compiled for AArch64, runs its NEON and its generic set under qemu-aarch64: against each other, at guard
pages, and against numbers that this machine's kernels wrote. On x86-64 Python itself runs under qemu as a Nehalem,
which has neither AVX nor FMA: the generic set must be what is chosen there, and the tests of kernels, backend and ops
pass on it, every twentieth of them: qemu takes some twenty times as long as the machine itself.
"""

from __future__ import annotations

import platform
from pathlib import Path

from common import ROOT, Bar, python, run_bar

LOADER = "/usr/aarch64-linux-gnu"  # where Debian's cross compiler keeps the target's C library
CHOSEN = "from tinyllm import backend; print(backend.isa())"
FILES = ["tests/test_kernels.py", "tests/test_backend.py", "tests/test_ops.py"]
PROCESSOR = "Nehalem"


def aarch64(bar: Bar) -> None:
    what = "kernels on AArch64"
    if not (bar.has("aarch64-linux-gnu-gcc", what) and bar.has("qemu-aarch64", what)):
        return
    program = bar.driver_built("aarch64", [], "aarch64-linux-gnu-gcc")
    if program is None:
        return
    emulated: list[str | Path] = ["qemu-aarch64", "-L", LOADER, *program]
    if "neon" not in bar.sets(emulated):
        bar.failed("AArch64: the driver finds no NEON")
        return
    bar.driver("kernels on AArch64, drawn shapes", emulated, "check", bar.scaled(60), bar.seed)
    bar.driver("failed allocations on AArch64", emulated, "faults", bar.scaled(10), bar.seed)
    if native := bar.driver_built("plain", []):
        numbers, cases = bar.build / "numbers", bar.scaled(60)
        if bar.command([*native, "record", numbers, str(cases), str(bar.seed)]) is not None:
            bar.driver("kernels on AArch64 against this machine's", emulated, "match", numbers, cases, bar.seed)


def x86_64(bar: Bar) -> None:
    what = f"tests on a {PROCESSOR}"
    if platform.machine() != "x86_64":
        bar.skip(what, "this machine is no x86-64, so its Python is none")
        return
    if not bar.has("qemu-x86_64", what):
        return
    emulated = ["qemu-x86_64", "-cpu", PROCESSOR]
    chosen = bar.command([*emulated, *python("-c", CHOSEN)], PYTHONPATH=str(ROOT))
    if chosen is None:
        return
    if chosen.strip() != "generic":
        bar.failed(f"a {PROCESSOR} has no AVX, and the set chosen there is {chosen.strip()}")
        return
    bar.passed(1, f"choice of an instruction set on a {PROCESSOR}: generic")
    folder = str(Path(__file__).parent)
    every = "60" if bar.quick else "20"
    command = python("-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider", "-p", "every", *FILES)
    output = bar.command([*emulated, *command], 3000, PYTHONPATH=f"{ROOT}:{folder}", EVERY=every)
    if output is not None:
        last = output.strip().splitlines()[-1]
        bar.passed(int(last.split()[0]), f"tests on a {PROCESSOR} ({last})")


def test(bar: Bar) -> None:
    aarch64(bar)
    x86_64(bar)


if __name__ == "__main__":
    run_bar("qemu", test)
