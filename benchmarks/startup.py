"""What it costs to start: `import tinyllm` over `import numpy`, and `tinyllm --help`; medians over fresh interpreters.

    python benchmarks/startup.py            41 runs of each, alternating
    python benchmarks/startup.py --smoke    3 runs, not judged: the machine may be busy

The limits are 40 ms for the import and 300 ms for the help; being above either is status 1.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

IMPORT = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"
AFTER_NUMPY = "import numpy, time; t = time.perf_counter(); import tinyllm; print(time.perf_counter() - t)"
HELP = "import sys; from tinyllm.cli import main; sys.exit(main(['--help']))"
LIMIT_IMPORT, LIMIT_HELP = 0.040, 0.300


def printed(code: str) -> float:
    """The seconds that `code` prints, in a fresh interpreter."""
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)


def wall(code: str) -> float:
    """Seconds of a fresh interpreter that runs `code`, its own start included."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    return time.perf_counter() - began


def main() -> int:
    """Measure, print, compare with the limits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="a few runs, to see that the script works")
    smoke = parser.parse_args().smoke
    runs = 3 if smoke else 41
    measures = {
        "import numpy": lambda: printed(IMPORT.format("numpy")),
        "import tinyllm": lambda: printed(IMPORT.format("tinyllm")),
        "import tinyllm, after numpy": lambda: printed(AFTER_NUMPY),
        "python -c pass": lambda: wall("pass"),
        "tinyllm --help": lambda: wall(HELP),
    }
    times: dict[str, list[float]] = {name: [] for name in measures}
    for _ in range(runs):
        for name, measure in measures.items():
            times[name].append(measure())
    median = {name: statistics.median(values) for name, values in times.items()}
    for name, values in times.items():
        print(f"{name:<28} {1e3 * median[name]:7.1f} ms   (best {1e3 * min(values):.1f}, {runs} runs)")
    within = median["import tinyllm, after numpy"] <= LIMIT_IMPORT and median["tinyllm --help"] <= LIMIT_HELP
    print("within the limits of 40 and 300 ms" if within else "ABOVE the limits of 40 and 300 ms")
    return 0 if within or smoke else 1


if __name__ == "__main__":
    sys.exit(main())
