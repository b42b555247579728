"""What the scripts of this folder share: a bar with its counts, the driver's builds, and commands that are held to
silence.

A bar counts cases. It fails if one of them does, passes if all ran, and is "not run" where a tool is missing: that is
said and never counted as passed. Not here: what is tested.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

SOURCES = ["csrc/dispatch.c", "csrc/memory.c", "csrc/pool.c"]
SANITIZED = "libasan" in os.environ.get("LD_PRELOAD", "")  # then neither memory nor time are the program's alone
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]
PACKAGES = {  # Debian's names for what is missing
    "valgrind": "valgrind",
    "aarch64-linux-gnu-gcc": "gcc-aarch64-linux-gnu",
    "qemu-aarch64": "qemu-user",
    "qemu-x86_64": "qemu-user",
    "libasan.so": "libasan8",
    "libtsan.so": "libtsan2",
}


class Bar:
    """One bar: counts of cases, failures, and parts that could not run."""

    def __init__(self, name: str, share: int, seed: int, build: Path) -> None:
        self.name, self.share, self.seed, self.build = name, share, seed, build
        self.quick = share > 1
        self.cases = 0
        self.failures: list[str] = []
        self.not_run: list[str] = []
        self.began = time.perf_counter()

    def scaled(self, count: int) -> int:
        """The share of `count` cases that is run: a twentieth with --quick."""
        return max(1, count // self.share)

    def passed(self, count: int, what: str) -> None:
        """`count` cases of `what` were right."""
        self.cases += count
        print(f"  {time.perf_counter() - self.began:6.1f} s  {count:>9,} {what}", flush=True)

    def failed(self, message: str) -> None:
        """A case was not right."""
        self.failures.append(message)
        print(f"  FAILED: {message}", flush=True)

    def skip(self, what: str, why: str) -> None:
        """`what` could not run here."""
        self.not_run.append(what)
        print(f"  NOT RUN: {what}: {why}", flush=True)

    def has(self, tool: str, what: str) -> bool:
        """Whether a program or library of the compiler is there; if not, `what` is not run."""
        found = find_library(tool) if tool.endswith(".so") else shutil.which(tool)
        if not found:
            self.skip(what, f"{tool} is missing (Debian: {PACKAGES.get(tool, tool)})")
        return bool(found)

    def finish(self) -> int:
        """Print the result; the exit code."""
        seconds = time.perf_counter() - self.began
        result = "FAILED" if self.failures else "NOT RUN" if not self.cases else "passed"
        if result == "passed" and self.not_run:
            result = f"passed, but not run: {', '.join(self.not_run)}"
        print(f"{self.name}: {self.cases:,} cases, {seconds:.1f} s, seed {self.seed}: {result}", flush=True)
        return 1 if self.failures else 0

    # ---- commands ----

    def command(self, arguments: list[str | Path], timeout: float = 900, **environment: str) -> str | None:
        """Run a command that must exit with 0; what it printed, or None with the failure noted."""
        env = {**os.environ, **environment}
        shown = " ".join(map(str, arguments))
        try:
            done = subprocess.run(arguments, env=env, cwd=ROOT, text=True, capture_output=True, timeout=timeout)
        except subprocess.TimeoutExpired:
            self.failed(f"{shown}: no end after {timeout:.0f} s")
            return None
        if done.returncode:
            lines = (done.stdout + done.stderr).splitlines()
            shown_lines = lines if len(lines) <= 40 else [*lines[:30], "...", *lines[-10:]]
            self.failed("\n".join([f"{shown}: exit code {done.returncode}", *shown_lines]))
            return None
        return done.stdout

    def driver(
        self, what: str, program: list[str | Path], *arguments: object, timeout: float = 900, **environment: str
    ) -> None:
        """Run the driver and count its runs."""
        output = self.command([*program, *map(str, arguments)], timeout, **environment)
        if output is not None:
            count, _, sets = output.split(maxsplit=2)
            self.passed(int(count), f"{what} ({sets.strip().replace(' ', ', ')})")

    def sets(self, program: list[str | Path]) -> list[str]:
        """The instruction sets that the driver finds here."""
        output = self.command([*program, "check", "0", "0"])
        return output.split()[2:] if output else []

    # ---- builds ----

    def driver_built(self, name: str, flags: list[str], compiler: str = "gcc") -> list[str | Path] | None:
        """The driver compiled with more flags, once per build folder; the command that runs it."""
        from tinyllm.backend._build import FLAGS  # as the kernels are shipped, and what is asked for here

        folder = self.build / name
        program = folder / "driver"
        if program.exists():
            return [program]
        folder.mkdir(parents=True, exist_ok=True)
        launcher = ["ccache"] if shutil.which("ccache") else []
        sources = [*SOURCES, *(f"csrc/{path.name}" for path in sorted((ROOT / "csrc").glob("isa_*.c")))]
        sources += [f"tests/driver/{path.name}" for path in sorted((ROOT / "tests/driver").glob("*.c"))]
        include = ["-Icsrc", "-Itests/driver"]

        def compiled(source: str) -> str | None:
            target = folder / (Path(source).stem + ".o")
            return self.command([*launcher, compiler, *FLAGS, "-g", *flags, *include, "-c", source, "-o", target])

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            if None in pool.map(compiled, sources):
                return None
        linked = self.command([compiler, *flags, "-pthread", *sorted(folder.glob("*.o")), "-lm", "-o", program])
        return None if linked is None else [program]


def find_library(name: str) -> str | None:
    """The path of a library of gcc, such as libasan.so."""
    if not shutil.which("gcc"):
        return None
    path = subprocess.run(["gcc", f"-print-file-name={name}"], text=True, capture_output=True).stdout.strip()
    return os.path.realpath(path) if os.path.isabs(path) and os.path.exists(path) else None


def python(*arguments: str | Path) -> list[str | Path]:
    """The command that runs this Python."""
    return [sys.executable, *arguments]


def run_bar(name: str, test: Callable[[Bar], None]) -> None:
    """The main function of a script: parse --quick, --seed and --build, run the bar, exit."""
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument("--share", type=int, default=1, metavar="N", help="an N-th of the cases")
    parser.add_argument("--quick", action="store_const", const=20, dest="share", help="a twentieth of the cases")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--build", type=Path, help="folder to keep compiled drivers in; by default a temporary one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tinyllm-") as temporary:
        bar = Bar(name, options.share, options.seed, (options.build or Path(temporary)).resolve())
        test(bar)
        code = bar.finish()
    sys.exit(code)
