"""Tokenizers beside their peers: one thread, the same texts, contestants taking turns, medians.

    python benchmarks/tokenizers.py                     every group
    python benchmarks/tokenizers.py encode decode       these groups
    python benchmarks/tokenizers.py --smoke             a little of each, to see that the script works
    python benchmarks/tokenizers.py --json FILE         the figures, and what they depend on

A group is the file _tokenizers_<group>.py, with `rows(smoke) -> list of dict`; results are compared before they are
timed. Texts and vocabularies come from packages (tests/oracle/packages.py says from where); a group whose packages are
missing is left out, and the reason printed.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
GROUPS = ("encode", "decode", "wordpiece", "likelihood", "bpe-train", "unigram")


def taking_turns(contestants: dict[str, Callable[[], object]], runs: int) -> dict[str, float]:
    """The median seconds of each; one untimed round first, then `runs` rounds in which each has one turn.

    Python's collector begins each turn afresh, or a full collection, long with all these ids, would fall to whose turn
    it is when it's due, in each round the same one.
    """
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(runs + 1):
        for name, work in contestants.items():
            gc.collect()
            began = time.perf_counter()
            result = work()
            seconds = time.perf_counter() - began
            del result  # outside the time: what it costs to free the result is the caller's
            if turn:
                times[name].append(seconds)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> int:
    """Run the groups that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(GROUPS)}; all of them if none")
    parser.add_argument("--smoke", action="store_true", help="small texts, one run")
    parser.add_argument("--json", metavar="FILE", help="write the figures there, too")
    arguments = parser.parse_args()
    if unknown := [group for group in arguments.groups if group not in GROUPS]:
        parser.error(f"no group {unknown[0]!r}; there are {', '.join(GROUPS)}")
    # This file is called like Hugging Face's package, so its folder must not be where modules are looked for first.
    sys.path[:] = [path for path in sys.path if Path(path or ".").resolve() != HERE] + [str(HERE)]
    import _shared

    sys.modules["tokenizers_benchmark"] = sys.modules["__main__"]
    import packages

    result: dict[str, Any] = {"machine": _shared.machine()}
    for group in arguments.groups or GROUPS:
        try:
            rows = importlib.import_module(f"_tokenizers_{group.replace('-', '_')}").rows(arguments.smoke)
        except (packages.Missing, ImportError) as error:
            print(f"{group}: left out, {error}")
            continue
        print(f"{group}:")
        _shared.show(rows)
        result[group] = rows
    _shared.write_json(arguments.json, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
