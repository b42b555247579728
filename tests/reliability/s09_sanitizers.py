"""S9: no access out of bounds, no undefined behaviour, no leak, no read of what was never written.

The C driver runs every kernel of every instruction set under AddressSanitizer, UndefinedBehaviorSanitizer and
LeakSanitizer, under valgrind (which knows no AVX-512: the generic and the AVX2 set), and on buffers that end exactly at
an inaccessible page, or begin right after one, for lengths 0 to 257. The test suite runs on an extension built with the
sanitizers, in a copy of the project. Nothing is suppressed anywhere. (Leaks are looked for in the driver alone: Python
itself does not free everything at exit.)
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from common import ROOT, SANITIZE, Bar, find_library, python, run_bar

OPTIONS = "halt_on_error=1"
# AddressSanitizer's shadow memory is resident, too, so this one measures it rather than the allocator.
MEASURE_RESIDENT = [
    "tests/test_kernels.py::test_trim_gives_pages_back",
    "tests/test_bpe_training.py::test_training_takes_the_memory_that_spill_reckons_with",
]
COPIED = [
    "csrc",
    "tests",
    "tinyllm",
    "docs",
    "examples",
    "benchmarks",
    "pyproject.toml",
    "setup.py",
    "README.md",
    ".ci",
]


def drivers(bar: Bar) -> None:
    seed = bar.seed
    if bar.has("libasan.so", "sanitized driver") and (program := bar.driver_built("asan", ["-O1", *SANITIZE])):
        environment = {
            "DRIVER_HEAP": "1",
            "ASAN_OPTIONS": OPTIONS + ":detect_leaks=1",
            "UBSAN_OPTIONS": "print_stacktrace=1",
        }
        bar.driver("kernels, sanitized, drawn shapes", program, "check", bar.scaled(200), seed, **environment)
        if not bar.quick:
            bar.driver("kernels, sanitized, lengths 0 to 257", program, "sweep", seed, **environment)
        bar.driver("failed allocations, sanitized", program, "faults", bar.scaled(20), seed, **environment)
    if program := bar.driver_built("plain", []):
        bar.driver("kernels at guard pages, lengths 0 to 257", program, "sweep", seed)
        bar.driver("kernels at guard pages, drawn shapes", program, "check", bar.scaled(400), seed)
        if bar.has("valgrind", "valgrind"):
            watched = ["valgrind", "-q", "--error-exitcode=9", *program]
            sets = [name for name in bar.sets(program) if name != "avx512"]
            bar.driver("kernels under valgrind", watched, "check", bar.scaled(40), seed, *sets, DRIVER_HEAP="1")


def copy_built(bar: Bar) -> Path | None:
    """A copy of the project whose extensions are compiled with the sanitizers."""
    copy = bar.build / "sanitized"
    if copy.exists():
        return copy
    copy.mkdir(parents=True)
    for name in COPIED:
        source = ROOT / name
        ignore = shutil.ignore_patterns("*.so", "__pycache__", "_build", "build")
        (shutil.copytree if source.is_dir() else shutil.copy)(
            source, copy / name, **({"ignore": ignore} if source.is_dir() else {})
        )
    recipe = copy / "tinyllm/backend/_build.py"
    recipe.write_text(recipe.read_text().replace('"-O3"', '"-O1"').replace('"-g0"', '"-g"'))
    flags = " ".join(SANITIZE)
    compiler = "ccache gcc" if shutil.which("ccache") else "gcc"
    env = {**os.environ, "CC": compiler, "CFLAGS": flags, "LDFLAGS": flags}
    done = subprocess.run(
        python("setup.py", "-q", "build_ext", "--inplace", "-j2"), cwd=copy, env=env, text=True, capture_output=True
    )
    if done.returncode or not list(copy.glob("tinyllm/backend/_kernels*.so")):
        bar.failed(f"the sanitized build: {done.stderr[-3000:]}")
        return None
    return copy


def suite(bar: Bar) -> None:
    what = "test suite, sanitized"
    if not (bar.has("libasan.so", what) and (copy := copy_built(bar))):
        return
    reports = bar.build / "reports"
    reports.mkdir(exist_ok=True)
    options = f"{OPTIONS}:detect_leaks=0:log_path={reports}/report"
    env = {
        **os.environ,
        "LD_PRELOAD": f"{find_library('libasan.so')} {find_library('libubsan.so')}",
        "ASAN_OPTIONS": options,
        "UBSAN_OPTIONS": f"print_stacktrace=1:log_path={reports}/report",
        "PYTHONPATH": str(copy),
    }
    if bar.quick:
        env |= {"EVERY": "20", "PYTHONPATH": f"{copy}:{Path(__file__).parent}"}
    selection = ["-p", "every"] if bar.quick else []
    for name in MEASURE_RESIDENT:
        bar.skip(name, "under AddressSanitizer resident memory is not the allocator's alone")
        selection += ["--deselect", name]
    common = ["-q", "-x", "-n", "auto", "--no-header", "-p", "no:cacheprovider"]
    command = python("-m", "pytest", *common, *selection, "tests")
    done = subprocess.run(command, cwd=copy, env=env, text=True, capture_output=True)
    last = done.stdout.strip().splitlines()[-1] if done.stdout.strip() else ""
    found = sorted(reports.iterdir())
    for path in found:
        bar.failed(f"a report of a sanitizer:\n{path.read_text()[:3000]}")
    if done.returncode:
        bar.failed(f"{what}: {done.stdout[-3000:]}{done.stderr[-1000:]}")
    elif not found:
        bar.passed(int(last.split()[0]), f"tests, sanitized ({last})")


def test(bar: Bar) -> None:
    drivers(bar)
    suite(bar)


if __name__ == "__main__":
    run_bar("S9", test)
