"""S15: no data race, in the pool or in any kernel.

Under ThreadSanitizer eight threads call kernels drawn at random and change the number of threads, each process from a
pool that has not started. Every result has the bits that one thread got alone. Then the same without the sanitizer,
at the speed at which races happen.
"""

from __future__ import annotations

from common import Bar, run_bar

PROCESSES = 8


def test(bar: Bar) -> None:
    if bar.has("libtsan.so", "ThreadSanitizer") and (program := bar.driver_built("tsan", ["-O1", "-fsanitize=thread"])):
        sets = bar.sets(program)
        for process in range(len(sets) if bar.quick else PROCESSES):
            cycles, one = bar.scaled(4000 // PROCESSES), sets[process % len(sets)]
            options = "halt_on_error=1:exitcode=66"
            bar.driver("cycles, sanitized", program, "threads", cycles, bar.seed + process, one, TSAN_OPTIONS=options)
    if program := bar.driver_built("plain", []):
        for one in bar.sets(program):
            bar.driver("cycles at full speed", program, "threads", bar.scaled(10000), bar.seed, one)


if __name__ == "__main__":
    run_bar("S15", test)
