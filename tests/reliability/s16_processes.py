"""S16: forked, spawned and exiting processes work like the first one.

The C driver forks, twice deep, while two other threads are inside kernels. In Python: the pool is used, then a fork
uses ops and forks again; the ways of multiprocessing; each way to exit. A child's results have the parent's bits.
Whatever hangs is ended by an alarm and fails; whatever is printed fails, too.
"""

from __future__ import annotations

from common import Bar, python, run_bar

PRELUDE = """
import os, signal, sys, threading, time
import numpy as np
import tinyllm
from tinyllm import backend
from tinyllm.nn import functional as F

def work(n=300):
    x = tinyllm.tensor(np.random.default_rng(0).standard_normal((n, n)).astype(np.float32), requires_grad=True)
    y = F.softmax(x @ x.T / 20, -1) @ F.gelu(x)
    q = x.reshape(1, 4, n, n // 4)
    z = F.scaled_dot_product_attention(q, q, q, is_causal=True).sum() + y.sum()
    z.backward()
    return x.grad.numpy().tobytes() + y.detach().numpy().tobytes()

def ended(child):
    _, status = os.waitpid(child, 0)
    assert status == 0, f"a child ended with status {status}"

backend.set_num_threads(3)
"""

FORKS = """
def fork(depth):
    child = os.fork()
    if not child:
        signal.alarm(5)
        ok = work() == expected
        if ok and depth > 1:
            fork(depth - 1)
        os._exit(0 if ok else 1)
    ended(child)

expected = work()
for _ in range(ROUNDS):
    assert work() == expected
    fork(2)
"""

FORKS_IN_A_KERNEL = """
expected = work()
a = np.ones((400, 400), np.float32)
stop = False

def multiply():
    while not stop:
        backend.matmul(a, a)

threads = [threading.Thread(target=multiply) for _ in range(2)]
for thread in threads:
    thread.start()
for _ in range(ROUNDS):
    child = os.fork()
    if not child:
        signal.alarm(5)
        os._exit(0 if work() == expected else 1)
    ended(child)
stop = True
for thread in threads:
    thread.join()
"""

MULTIPROCESSING = """
import multiprocessing

def task(number):
    return number, work()

if __name__ == "__main__":
    expected = work()
    with multiprocessing.get_context("METHOD").Pool(2) as pool:
        for number, got in pool.imap(task, range(ROUNDS)):
            assert got == expected, number
        pool.close()
        pool.join()
"""

EXITS = {
    "at the end": "work()",
    "by sys.exit": "work(); sys.exit(0)",
    "by os._exit": "work(); os._exit(0)",
    "with a daemon thread in a kernel": """
def forever():
    while True:
        work()

threading.Thread(target=forever, daemon=True).start()
time.sleep(0.2)
""",
    "in an atexit function": "import atexit; atexit.register(work); work()",
    "with live arrays": "kept = [backend.matmul(np.ones((300, 300)), np.ones((300, 300))) for _ in range(9)]",
    "before anything ran": "",
    "in a child of a fork": "work(); child = os.fork(); work(); child and ended(child)",
    "in a thread's last call": "t = threading.Thread(target=work); t.start(); t.join()",
}


def silent(bar: Bar, what: str, lines: str, count: int, rounds: int = 1) -> None:
    """Run a program as a file, with warnings as errors; nothing may be printed."""
    path = bar.build / "program.py"
    path.write_text(PRELUDE + lines.replace("ROUNDS", str(rounds)))
    # Python 3.12 and later warn of any fork in a process with threads, which is what is tested here.
    flags = ["-W", "error", "-W", "ignore:This process:DeprecationWarning"]
    output = bar.command(["/bin/sh", "-c", '"$@" 2>&1', "sh", *python(*flags, path)], 120, PYTHONPATH=".")
    if output:
        bar.failed(f"{what} printed:\n{output}")
    elif output is not None:
        bar.passed(count, what)


def test(bar: Bar) -> None:
    bar.build.mkdir(parents=True, exist_ok=True)
    if program := bar.driver_built("plain", []):
        for one in bar.sets(program):
            bar.driver("forks while kernels run", program, "forks", bar.scaled(200), bar.seed, one, timeout=300)
    rounds = bar.scaled(100)
    silent(bar, "forks of a process that used the pool, nested", FORKS, 2 * rounds, rounds)
    silent(bar, "forks while a thread is in a kernel", FORKS_IN_A_KERNEL, rounds, rounds)
    for method in ("fork", "forkserver", "spawn"):
        tasks = bar.scaled(40)
        silent(bar, f"tasks by multiprocessing, {method}", MULTIPROCESSING.replace("METHOD", method), tasks, tasks)
    for how, lines in EXITS.items():
        silent(bar, f"exit {how}", lines, 1)


if __name__ == "__main__":
    run_bar("S16", test)
