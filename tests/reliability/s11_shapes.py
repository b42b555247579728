"""S11: hostile shapes and buffers get the right answer or an error that says so, at once.

Each example is one registered op on inputs that its samples draw, with one thing about them made hostile: a layout, an
alignment, a size, a dtype, an index, an attribute. What comes out must equal the reference on plain copies of the same
values, or be a ValueError, TypeError, MemoryError or IndexError; and within 100 ms. Then the shape rules with sizes
whose products wrap, the functions that make tensors of a size, and those of the backend that write to an array given
to them. All of it in child processes, so that a crash or a hang has a name and the next example still runs.
"""

from __future__ import annotations

import math
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from common import ROOT, Bar, python, run_bar
from draws import OPS, RandomDraw, drawn, everything
from hostile import ATTRIBUTES, INPUTS, OUTPUTS, SIDES, Unfit

import tinyllm
from tinyllm import backend
from tinyllm.op import Sample, registry

ERRORS = (ValueError, TypeError, MemoryError, IndexError)
EXAMPLES = 20_000
SECONDS = 0.1
ADDRESSES = 3 << 30  # bytes a child may add to its address space: what does not fit is refused at once
HANG = 30  # seconds


class Wrong(Exception):
    """Neither the right answer nor a permitted error."""


def outcome(call: Callable[[], Any]) -> Any:
    """What the call gives, or the error that it may raise; Wrong for another error, or if it took too long."""
    for _ in range(3):  # a busy machine is no hang
        began = time.perf_counter()
        try:
            result = call()
        except ERRORS as error:
            result = error.with_traceback(None)
            if not str(error) and not isinstance(error, MemoryError):
                raise Wrong(f"{type(error).__name__} without a message") from None
        except Exception as error:
            raise Wrong(f"{type(error).__name__}: {error}") from None
        seconds = time.perf_counter() - began
        if seconds <= SECONDS:
            return result
    raise Wrong(f"{1000 * seconds:.0f} ms")


def equal(got: list[np.ndarray], expected: list[np.ndarray], values: bool = True) -> None:
    """Raise Wrong unless shapes and dtypes are the same, and values near (if they are asked for)."""
    for number, (a, b) in enumerate(zip(got, expected, strict=True)):
        if a.shape != b.shape or a.dtype != b.dtype:
            raise Wrong(f"output {number} is {a.dtype} {a.shape}, the reference's {b.dtype} {b.shape}")
        if not values:
            continue
        if a.dtype.kind != "f":
            near = np.array_equal(a, b)
        else:
            scale = float(np.abs(b[np.isfinite(b)]).max(initial=1.0))
            tol = 1e-3 if a.dtype == np.float32 else 1e-9
            near = np.allclose(a, b, rtol=tol, atol=tol * scale, equal_nan=True)
        if not near:
            raise Wrong(f"output {number} is not the reference's")


# ---- ops ----


def op_example(seed: int, say: Callable[[str], None]) -> str:
    """One op with one hostile input or attribute; "right", or the name of the error."""
    rng = np.random.default_rng(seed)
    name = OPS[seed % len(OPS)]
    sample = drawn(name, seed, np.float64 if rng.random() < 0.3 else np.float32)
    args, attrs = list(sample.args), dict(sample.attrs)
    if attrs and rng.random() < 0.25:
        key, what = sorted(attrs)[rng.integers(len(attrs))], int(rng.integers(len(ATTRIBUTES)))
        attrs[key] = ATTRIBUTES[what]
        changed = f"{key} = {ATTRIBUTES[what]!r:.60}"
    else:
        changed = hostile_input(rng, args)
    isa = backend.available_isas()[seed % len(backend.available_isas())]
    say(f"{name}, {isa}, {changed}")
    backend.use_isa(isa)
    hostile = Sample(tuple(args), attrs)
    if any(a is not None and a.size > 1 << 24 for a in args):
        return huge(name, hostile)
    got = outcome(lambda: everything(name, hostile))
    if isinstance(got, Exception):
        return type(got).__name__
    with backend.use("reference"):
        plain = [None if a is None else np.array(a, order="C", subok=False) for a in args]
        expected = outcome(lambda: everything(name, Sample(tuple(plain), attrs)))
    if isinstance(expected, Exception):
        raise Wrong(f"gives something where the reference raises {expected!r}")
    decided_by_rounding = any(isinstance(v, (int, float)) and abs(v) > 1e6 for v in attrs.values())
    equal(got, expected, values=not decided_by_rounding)
    return "right"


def hostile_input(rng: np.random.Generator, args: list) -> str:
    """Make one input hostile, in place; says how."""
    places = [i for i, a in enumerate(args) if a is not None]
    names = sorted(INPUTS)
    while True:
        place, what = places[rng.integers(len(places))], names[rng.integers(len(names))]
        try:
            args[place] = INPUTS[what](rng, np.asarray(args[place]))
        except Unfit:
            continue
        return f"input {place} {what}"


def huge(name: str, sample: Sample) -> str:
    """More elements than memory holds, by strides of 0: the shape rule alone where the answer would be a small one,
    which would take as long as it takes.
    """
    ruled = outcome(lambda: registry[name].check(sample.args, sample.attrs))
    if isinstance(ruled, Exception):
        return type(ruled).__name__
    shapes = ruled if isinstance(ruled, list) else [ruled]
    if max(map(math.prod, shapes)) < ADDRESSES:
        return "right"
    got = outcome(lambda: everything(name, sample, gradients=False))
    if isinstance(got, Exception):
        return type(got).__name__
    if [a.shape for a in got] != shapes:
        raise Wrong(f"shapes {[a.shape for a in got]}, the rule says {shapes}")
    return "right"


def rule_example(seed: int, say: Callable[[str], None]) -> str:
    """A shape rule on sizes whose products wrap: shapes of whole numbers, none negative, or an error."""
    rng = np.random.default_rng(seed)
    name = OPS[seed % len(OPS)]
    sample = registry[name].samples(RandomDraw(seed))
    shapes = [None if a is None else list(a.shape) for a in sample.args]
    one = [s for s in shapes if s]
    if one:
        shape = one[rng.integers(len(one))]
        shape[rng.integers(len(shape))] = SIDES[rng.integers(len(SIDES))]
    say(f"{name}, shape rule, shapes {shapes}, {sample.attrs!r:.60}")
    fixed = [None if s is None else tuple(s) for s in shapes]
    negative = any(n < 0 for s in fixed for n in s or ())
    ruled = outcome(lambda: registry[name].shape(*fixed, **sample.attrs))
    if isinstance(ruled, Exception):
        return type(ruled).__name__
    for shape in ruled if isinstance(ruled, list) else [ruled]:
        if not all(isinstance(n, (int, np.integer)) for n in shape) or (min(shape, default=0) < 0 and not negative):
            raise Wrong(f"the rule gives {shape}")
    return "right"


# ---- functions that take a size, and functions that write ----

MAKERS: dict[str, Callable[[tuple], Any]] = {
    "zeros": lambda s: tinyllm.zeros(*s),
    "ones": lambda s: tinyllm.ones(s),
    "empty": lambda s: tinyllm.empty(*s),
    "full": lambda s: tinyllm.full(s, 3.0),
    "rand": lambda s: tinyllm.rand(*s),
    "randn": lambda s: tinyllm.randn(*s),
    "randint": lambda s: tinyllm.randint(0, 5, s),
    "reshape": lambda s: tinyllm.ones(4, 6).reshape(*s),
    "expand": lambda s: tinyllm.ones(1).expand(*s),
}


def maker_example(seed: int, say: Callable[[str], None]) -> str:
    """A tensor of a hostile size."""
    rng = np.random.default_rng(seed)
    name = sorted(MAKERS)[seed % len(MAKERS)]
    sizes: list[Any] = [*SIDES, 0, 1, 2, 3, 1.5, "3", None, np.int64(3), 3.0, math.nan]
    shape = tuple(sizes[rng.integers(len(sizes))] for _ in range(rng.integers(1, 4)))
    if rng.random() < 0.1:
        shape = (1,) * int(rng.choice([32, 33, 64, 65, 100]))
    say(f"{name} of the size {shape}")
    got = outcome(lambda: MAKERS[name](shape))
    if isinstance(got, Exception):
        return type(got).__name__
    wanted = tuple(shape)
    if name in ("reshape", "expand") and -1 in wanted:
        wanted = tuple(math.prod(got.shape) // -math.prod(wanted) if n == -1 else n for n in wanted)
    if got.shape != wanted:
        raise Wrong(f"gives the shape {got.shape}")
    return "right"


def writer_example(seed: int, say: Callable[[str], None]) -> str:
    """A function that writes to an array given to it, which is hostile or overlaps with what is read."""
    rng = np.random.default_rng(seed)
    dtype = np.float64 if rng.random() < 0.3 else np.float32
    x, y = (rng.standard_normal((int(rng.integers(1, 9)),) * 2).astype(dtype) for _ in range(2))
    y = np.resize(y, x.shape)
    calls: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
        "unary": (lambda out, a: backend.unary("exp", a, out=out), lambda out, a: np.exp(a)),
        "binary": (lambda out, a: backend.binary("sub", a, y, out=out), lambda out, a: a - y),
        "matmul": (lambda out, a: backend.matmul(a, y, out=out), lambda out, a: a @ y),
        "add_": (lambda out, a: backend.add_(out, a), lambda out, a: out + a),
        "assign": (lambda out, a: backend.assign(out, a), lambda out, a: a + np.zeros_like(out)),
    }
    name = sorted(calls)[seed % len(calls)]
    what = sorted(OUTPUTS)[rng.integers(len(OUTPUTS))]
    try:
        out, a = OUTPUTS[what](rng, x)
    except Unfit:
        return "right"
    isa = backend.available_isas()[seed % len(backend.available_isas())]
    say(f"backend.{name}, {isa}, {x.shape}, {dtype.__name__}, to an array {what}")
    backend.use_isa(isa)
    function, formula = calls[name]
    before, before_a = out.copy(), a.copy()

    def once() -> np.ndarray:
        if out.flags.writeable:
            out[...] = before
            a[...] = before_a
        return function(out, a)

    got = outcome(once)
    if isinstance(got, Exception):
        if out.tobytes() != before.tobytes():
            raise Wrong(f"raised {got!r} and wrote")
        return type(got).__name__
    try:
        expected = np.asarray(formula(before, before_a), dtype)
    except ValueError:
        raise Wrong("writes where NumPy raises") from None
    equal([np.array(out, dtype=dtype)], [expected])
    return "right"


# ---- child processes ----

KINDS = {
    "ops": op_example,
    "shape rules": rule_example,
    "functions of a size": maker_example,
    "functions that write": writer_example,
}


def child(kind: str, first: int, last: int, note: Path) -> None:
    """Run examples first .. last - 1; a line each: its number, and what came of it. `note` holds what now runs."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + ADDRESSES, used + ADDRESSES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with open(note, "w") as file:
        for seed in range(first, last):
            label = [""]

            def say(text: str, label: list[str] = label, seed: int = seed) -> None:
                label[0] = text
                file.seek(0)
                file.write(f"{seed} {text}\n".ljust(200))
                file.flush()

            with np.errstate(all="ignore"):
                try:
                    print(seed, KINDS[kind](seed, say))
                except Wrong as wrong:
                    print(seed, "FAILED", f"{label[0]}: {wrong}".replace("\n", " "))
            sys.stdout.flush()


def run_kind(bar: Bar, kind: str, count: int) -> None:
    """`count` examples in child processes, each going on after the one that crashed the one before."""
    bar.build.mkdir(parents=True, exist_ok=True)
    note = bar.build / "example"
    first, last = bar.seed * 1_000_000, bar.seed * 1_000_000 + count
    found: dict[str, int] = {}
    while first < last:
        command = python(__file__, "--child", kind, str(first), str(last), note)
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            output, errors = process.communicate(timeout=HANG + count / 20)
            ended = f"ended with {process.returncode}"
        except subprocess.TimeoutExpired:
            process.kill()
            output, errors = process.communicate()
            ended = "did not end"
        for line in output.splitlines():
            number, result, *rest = line.split(" ", 2)
            found[result] = found.get(result, 0) + 1
            first = int(number) + 1
            if result == "FAILED":
                bar.failed(f"example {number}: {rest[0]}")
        if first < last:
            bar.failed(f"example {note.read_text().strip() if note.exists() else first}: {ended} {errors[-2000:]}")
            first += 1
    shown = ", ".join(f"{n} {what}" for what, n in sorted(found.items(), key=lambda item: -item[1]))
    bar.passed(sum(found.values()) - found.get("FAILED", 0), f"examples, {kind} ({shown})")


def test(bar: Bar) -> None:
    shares = {"ops": 0.7, "shape rules": 0.1, "functions of a size": 0.1, "functions that write": 0.1}
    for kind, share in shares.items():
        run_kind(bar, kind, round(bar.scaled(EXAMPLES) * share))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), Path(sys.argv[5]))
    else:
        run_bar("S11", test)
