"""S17: kernels hold no lock that Python needs.

While kernels of more than a millisecond run, a thread that counts in pure Python keeps at least 40 % of the rate that
it has alone, and an interrupt is served within 200 ms (a signal waits for the kernel in progress: those of a step of
the example take less). Two threads of matrix products do 1.6 times the work of one. No kernel can call Python: the
driver links them without it, and nothing in csrc/ or in the tokenizers asks for it or gives the lock away by hand.

Rates are ratios on one machine, best of several tries, since a busy neighbour can only lower them. Run it on an idle
machine all the same.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from common import ROOT, Bar, run_bar

from tinyllm import backend

SHARE, SERVED, SCALING, TRIES = 0.4, 0.2, 1.6, 5
SHORTEST = 1e-3  # seconds: what takes less may keep the lock


def kernels() -> dict[str, Callable[[], Any]]:
    """Calls that take more than a millisecond each, one of every family."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4096, 1024)).astype(np.float32)
    w = rng.standard_normal((1024, 1024)).astype(np.float32)
    q = rng.standard_normal((4, 8, 512, 64)).astype(np.float32)
    ids = rng.integers(0, 2048, 4096)
    y, g = backend.softmax(x), np.ones(1024, np.float32)
    return {
        "matmul": lambda: backend.matmul(x[:512], w),
        "attention": lambda: backend.attention(q, q, q, scale=0.125),
        "softmax": lambda: backend.softmax(x),
        "softmax_grad": lambda: backend.softmax_grad(x, y),
        "layer_norm": lambda: backend.layer_norm(x, g, g, 1e-5),
        "unary": lambda: backend.unary("gelu", x),
        "unary_grad": lambda: backend.unary_grad("gelu", x, x, None),
        "binary": lambda: backend.binary("pow", x, x),
        "arg_reduce": lambda: backend.reduce("argmax", x, (0,)),
        "cumsum": lambda: backend.cumsum(x, 1),
        "take": lambda: backend.take(x, ids),
        "take_grad": lambda: backend.take_grad(x, ids, 2048),
        "copy": lambda: backend.copy(x.T),
        "uniform": lambda: backend.uniform((4096, 1024), np.dtype(np.float32), (1, 2), 3),
    }


class Counter(threading.Thread):
    """Counts in pure Python until it is stopped."""

    def __init__(self) -> None:
        super().__init__()
        self.count, self.stopped = 0, False

    def run(self) -> None:
        while not self.stopped:
            self.count += 1


def rate(counter: Counter, seconds: float, work: Callable[[], Any]) -> tuple[float, float]:
    """Counts a second while `work` is repeated, and the seconds that one call of it takes of the caller's own time."""
    calls, began, before, own = 0, time.perf_counter(), counter.count, time.thread_time()
    while time.perf_counter() - began < seconds:
        work()
        calls += 1
    return (counter.count - before) / (time.perf_counter() - began), (time.thread_time() - own) / calls


def best_share(counter: Counter, seconds: float, call: Callable[[], Any]) -> tuple[float, float]:
    """The part of its lone rate that the counter keeps beside `call`, and the seconds of one call."""
    share = took = 0.0
    for _ in range(TRIES):
        alone, _ = rate(counter, seconds, lambda: time.sleep(seconds))
        beside, took = rate(counter, seconds, call)
        share = max(share, beside / alone)
        if share >= SHARE:
            break
    return share, took


def heartbeat(bar: Bar) -> None:
    seconds = 0.1 if bar.quick else 0.3
    counter, lowest = Counter(), 9.0
    counter.start()
    measured = 0
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)  # by default whoever waits 5 ms gets the lock, which hides calls that hold it for less
    try:
        control, _ = best_share(counter, seconds, lambda: sum(range(2_000_000)))
        if control >= SHARE:
            bar.skip("heartbeat", f"beside a call that holds the lock a thread keeps {control:.0%}: it shows nothing")
            return
        for name, call in kernels().items():
            share, took = best_share(counter, seconds, call)
            if took < SHORTEST:
                bar.skip(f"heartbeat beside {name}", f"it takes {1e3 * took:.2f} ms here")
            elif share < SHARE:
                bar.failed(f"{name} leaves a thread of Python {share:.0%} of its rate, expected {SHARE:.0%}")
            else:
                measured, lowest = measured + 1, min(lowest, share)
    finally:
        counter.stopped = True
        counter.join()
        sys.setswitchinterval(interval)
    bar.passed(measured, f"kernels beside a counting thread, which keeps {lowest:.0%} or more of its rate (beside a "
                         f"call that holds the lock {control:.0%})")  # fmt: skip


def interrupts(bar: Bar) -> None:
    """An interrupt at a random moment of a loop of kernels, as training is one."""
    calls = list(kernels().values())
    rng, count = random.Random(bar.seed), bar.scaled(100)
    waits: list[float] = []
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job starts with it ignored
    for _ in range(count):
        sent: list[float] = []

        def send(sent: list[float] = sent) -> None:
            sent.append(time.perf_counter())
            os.kill(os.getpid(), signal.SIGINT)

        timer = threading.Timer(rng.uniform(0.01, 0.1), send)
        try:
            timer.start()
            while True:
                for call in calls:
                    call()
        except KeyboardInterrupt:
            waits.append(time.perf_counter() - sent[0])
        timer.join()
    waits.sort()
    most, worst = waits[len(waits) * 9 // 10], waits[-1]  # the last tenth is what a busy neighbour may take
    if most > SERVED:
        bar.failed(f"interrupts were served after {1e3 * most:.0f} ms, expected {1e3 * SERVED:.0f} ms")
    bar.passed(count, f"interrupts among kernels, served within {1e3 * most:.0f} ms, the slowest {1e3 * worst:.0f} ms")


def scaling(bar: Bar) -> None:
    """Two threads of Python with a product each, the pool at one thread."""
    if (os.cpu_count() or 1) < 2:
        bar.skip("two threads of matmul", "this machine has one core")
        return
    a = np.random.default_rng(0).standard_normal((512, 512)).astype(np.float32)

    def work() -> None:
        for _ in range(100):
            backend.matmul(a, a)

    def seconds(threads: int) -> float:
        workers = [threading.Thread(target=work) for _ in range(threads)]
        began = time.perf_counter()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return time.perf_counter() - began

    work()
    best = max(2 * seconds(1) / seconds(2) for _ in range(TRIES))
    if best < SCALING:
        bar.failed(f"two threads of matmul do {best:.2f} times the work of one, expected {SCALING}")
    bar.passed(1, f"two threads of matmul do {best:.2f} times the work of one")


def source(bar: Bar) -> None:
    """Nothing that a kernel reaches is Python's, so releasing the lock around each call is safe.

    cffi releases it around the kernels; in the tokenizers' cores Cython does, and refuses to compile what touches an
    object there.
    """
    paths = sorted((ROOT / "csrc").rglob("*.[ch]"))
    for path in paths:
        for found in re.findall(r"\bPy(?!Torch)[A-Z_]\w*|Python\.h", path.read_text()):
            bar.failed(f"{path.relative_to(ROOT)} names {found}: kernels run without the lock")
    package = sorted(path for end in ("py", "pyx", "pxi", "pxd") for path in (ROOT / "tinyllm").rglob(f"*.{end}"))
    for path in package:
        for found in re.findall(r"\bwith gil\b|\bdef_extern\b|\bffi\.callback\b", path.read_text()):
            bar.failed(f"{path.relative_to(ROOT)} has {found}: what runs without the lock never calls back")
    linked = 1 if bar.driver_built("plain", []) else 0
    bar.passed(len(paths) + len(package) + linked, "sources without Python below the lock, and a link without it")


def free_threaded(bar: Bar) -> None:
    names = ("python3.14t", "python3.13t")
    found = next(filter(shutil.which, names), None)
    why = f"there is no {' or '.join(names)}" if found is None else f"{found} has no build of tinyllm"
    bar.skip("the suite under an interpreter without the lock", why)


def test(bar: Bar) -> None:
    threads = backend.num_threads()
    source(bar)
    backend.set_num_threads(1)
    heartbeat(bar)
    if not bar.quick:
        scaling(bar)
    backend.set_num_threads(threads)
    interrupts(bar)
    free_threaded(bar)


if __name__ == "__main__":
    run_bar("S17", test)
