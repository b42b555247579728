"""S12: NaN, infinities, huge and denormal numbers do what docs/nonfinite.md says, on every instruction set.

Every op and its gradient, in float32 and float64, with such a number in one element of each input, or in all: what is
NaN or infinite must be where the reference has it, and what is finite must be right. Then the values that the page
names, the flags of the floating-point unit after each op, samplers on hostile logits, and training steps into which
NaN or an infinity is put at a drawn place: each stops within the step and names that place, or was not touched by it.
"""

from __future__ import annotations

import ctypes
import math
import platform
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from common import Bar, run_bar
from draws import OPS, drawn, everything

from tinyllm import backend, config
from tinyllm.data import ArrayTokens, WindowSampler
from tinyllm.errors import NonFinite
from tinyllm.generation.sample import Sampling, candidates, next_token
from tinyllm.op import Op, registry
from tinyllm.recording import Observer
from tinyllm.training import loop
from tinyllm.training.run import build_model

DTYPES = (np.float32, np.float64)
SEEDS = 10
# Where an input of nothing but NaN need not show: results that are no floating-point numbers, and ops that take some
# elements and leave others.
NO_NUMBERS = {"All", "Any", "Argmax", "Argmin", "Cast", "Isfinite", "Isinf", "Isnan", "LogicalNot"}
NO_NUMBERS |= {"Eq", "Ne", "Lt", "Le", "Gt", "Ge", "LogicalAnd", "LogicalOr", "LogicalXor"}
SELECTING = {
    "CrossEntropy",
    "Dropout",
    "Embedding",
    "Gather",
    "LinearCrossEntropy",
    "Slice",
    "Where",
}  # ignored targets
# Sums of huge numbers overflow in the type that a kernel sums in, which is float64 in the reference; and what a sum
# leaves may be 0 in one and tiny in the other, which times infinity is NaN or infinite.
SUMMING = {"Attention", "CrossEntropy", "FeedForward", "LayerNorm", "Linear", "LinearCrossEntropy", "Matmul", "Mean"}
SUMMING |= {"Cumsum", "Prod", "RmsNorm", "Sum"}


def extremes(dtype: Any) -> dict[str, float]:
    single = dtype == np.float32
    return {
        "NaN": math.nan, "inf": math.inf, "-inf": -math.inf, "huge": 1e38 if single else 1e308,
        "denormal": 1e-40 if single else 1e-310,
    }  # fmt: skip


# ---- every op ----


def floats(name: str, seed: int, dtype: Any) -> Iterator[int]:
    """The inputs of a drawn sample that hold floating-point numbers."""
    for i, x in enumerate(drawn(name, seed, dtype, grow=3).args):
        if x is not None and x.dtype.kind == "f" and x.size:
            yield i


def spoiled(name: str, seed: int, dtype: Any, which: int, value: float, all_of_it: bool) -> Any:
    """The sample with the value in one input."""
    sample = drawn(name, seed, dtype, grow=3)
    x = np.array(sample.args[which])
    if all_of_it:
        x[...] = value
    else:
        x.flat[np.random.default_rng(seed).integers(x.size)] = value
    sample.args = tuple(x if i == which else a for i, a in enumerate(sample.args))
    return sample


def kinds(x: np.ndarray) -> np.ndarray:
    """0 for finite, 1 and -1 for infinities, 2 for NaN."""
    return np.where(np.isnan(x), 2, np.where(np.isinf(x), np.sign(x), 0))


def difference(got: np.ndarray, want: np.ndarray, hidden: bool, either: bool) -> str:
    """What is wrong with an output, or nothing. A NaN of the reference may be finite here if `hidden`, infinite if
    `either`.
    """
    if want.dtype.kind != "f":
        return "" if np.array_equal(got, want) else f"{got.ravel()[:4]}, expected {want.ravel()[:4]}"
    a, b = kinds(got), kinds(want)
    wrong = (a != b) & ~(hidden & (a == 0) & (b == 2)) & ~(either & (a != 0) & (b != 0))
    if wrong.any():
        at = int(np.flatnonzero(wrong)[0])
        return f"element {at} is {got.flat[at]}, expected {want.flat[at]}"
    finite = (a == 0) & (b == 0)
    tolerance = 1e-4 if want.dtype == np.float32 else 1e-8
    scale = max(1.0, float(np.abs(want[finite]).max(initial=0)))
    off = np.abs(got[finite] / scale - want[finite] / scale) > tolerance
    return f"{int(off.sum())} finite elements are off" if off.any() else ""


def every_op(bar: Bar) -> None:
    cases = 0
    for name in OPS:
        for dtype in DTYPES:
            for seed in range(bar.seed, bar.seed + (1 if bar.quick else SEEDS)):
                for which in floats(name, seed, dtype):
                    for extreme, value in extremes(dtype).items():
                        if not (extreme == "huge" and name in SUMMING):
                            cases += extreme_in(bar, (name, seed, dtype, which), extreme, value)
    bar.passed(cases, f"runs of {len(OPS)} ops with NaN, infinite, huge or denormal inputs, with their gradients")


def extreme_in(bar: Bar, sample: tuple[str, int, Any, int], extreme: str, value: float) -> int:
    name, seed, dtype, which = sample
    cases = 0
    for all_of_it in (False, True):
        where = (
            f"{name} of {np.dtype(dtype)}, seed {seed}, {extreme} in {'all' if all_of_it else 'one'} of input {which}"
        )
        inputs = spoiled(name, seed, dtype, which, value, all_of_it)
        with backend.use("reference"):
            expected = everything(name, inputs)
        if extreme == "NaN" and all_of_it and name not in NO_NUMBERS | SELECTING:
            numbers = [x for x in expected if x.dtype.kind == "f" and x.size]
            if numbers and not any(np.isnan(x).any() for x in numbers):
                bar.failed(f"{where}: no output is NaN")
        # Attention skips tiles of keys that no row may see, whatever they hold, and in a tile that it computes what is
        # not finite also reaches gradients of keys that its row may not see: only outputs are compared.
        attention = name == "Attention" and extreme in ("NaN", "inf", "-inf")
        for isa in backend.available_isas():
            backend.use_isa(isa)
            got = everything(name, inputs)
            for number, (x, want) in enumerate(zip(got[:1] if attention else got, expected, strict=not attention)):
                hidden = attention and which == 2
                if wrong := difference(x, want, hidden, name in SUMMING and extreme in ("inf", "-inf")):
                    bar.failed(f"{where}, {isa}, output {number}: {wrong}")
            cases += 1
    return cases


# ---- values that the page names ----


def softmax_rows(dtype: Any) -> list[tuple[list[float], list[float]]]:
    inf, nan, huge = math.inf, math.nan, extremes(dtype)["huge"]
    third = 1 / 3
    return [
        ([-inf, -inf, -inf], [nan, nan, nan]),
        ([inf, 0, 1], [nan, nan, nan]),
        ([nan, 0, 1], [nan, nan, nan]),
        ([-inf, 2, 2], [0, 0.5, 0.5]),
        ([-inf, -inf, 5], [0, 0, 1]),
        ([huge, -huge, huge], [0.5, 0, 0.5]),
        ([-huge, -huge, -huge], [third, third, third]),
        ([extremes(dtype)["denormal"], 0, -0.0], [third, third, third]),
    ]


def named_values(bar: Bar) -> None:
    import tinyllm as tl
    from tinyllm.nn import functional as F

    inf, cases = math.inf, 0

    def hold(what: str, got: Any, want: Any) -> None:
        nonlocal cases
        cases += 1
        if not np.allclose(got, want, rtol=1e-6, atol=0, equal_nan=True):
            bar.failed(f"{what} on {backend.isa()}: {got}, expected {want}")

    for isa in backend.available_isas():
        backend.use_isa(isa)
        for dtype in DTYPES:
            rows = softmax_rows(dtype)
            for width in (3, 40):  # alone, and with further columns of -inf
                for row, want in rows:
                    x = np.full(width, -inf, dtype)
                    x[:3] = row
                    y = np.full(width, math.nan if np.isnan(want).all() else 0.0)
                    y[:3] = want
                    hold(f"softmax of {row}", F.softmax(tl.tensor(x), -1).numpy(), y)
                    if extremes(dtype)["huge"] not in map(abs, row):
                        hold(f"log_softmax of {row}", F.log_softmax(tl.tensor(x), -1).numpy(), np.log(y))
            loss = [F.cross_entropy(tl.tensor(np.array([[-inf, 0.0, 0.0]], dtype)), tl.tensor(np.array([t]))).item()
                    for t in (0, 1)]  # fmt: skip
            hold("cross entropy where the target's logit is -inf, and where another is", loss, [inf, math.log(2)])
            q = tl.tensor(np.ones((1, 1, 2, 8), dtype))
            nothing = tl.tensor(np.array([[False, False], [True, True]]))
            masked = F.scaled_dot_product_attention(q, q, q, attn_mask=nothing).numpy()
            hold("attention of a row that may see nothing", masked[0, 0], [[0.0] * 8, [1.0] * 8])
            tiny = np.full(70_000, np.finfo(dtype).smallest_subnormal, dtype)  # worth several threads
            for name in ("neg", "abs", "relu", "sin", "tanh"):
                hold(f"{name} of a denormal", np.abs(backend.unary(name, tiny)) / tiny, np.ones(len(tiny)))
            hold("denormal * 1", backend.binary("mul", tiny, np.ones_like(tiny)) / tiny, np.ones(len(tiny)))
            hold("denormal + 0", backend.binary("add", tiny, 0 * tiny) / tiny, np.ones(len(tiny)))
            hold("sum of denormals", backend.reduce("sum", tiny, (0,)) / tiny[0], float(len(tiny)))
            product = backend.matmul(tiny[:64, None], np.ones((1, 64), dtype))
            hold("product of denormals and ones", product / tiny[0], np.ones((64, 64)))
    bar.passed(cases, "values that docs/nonfinite.md names, on " + ", ".join(backend.available_isas()))


# ---- flags ----


def flushes() -> bool | None:
    """Whether this thread flushes denormals to zero or takes them for zero; None where we cannot read that."""
    places = {"x86_64": (28, 1 << 15 | 1 << 6), "aarch64": (0, 1 << 24)}  # in glibc's fenv_t: MXCSR, FPCR
    if platform.machine() not in places:
        return None
    offset, bits = places[platform.machine()]
    environment = (ctypes.c_char * 64)()
    ctypes.CDLL("libm.so.6").fegetenv(environment)
    return bool(int.from_bytes(environment[offset : offset + 4], "little") & bits)


def flags(bar: Bar) -> None:
    if flushes() is None:
        bar.skip("flags of the floating-point unit", f"where {platform.machine()} keeps them is not known here")
        return
    cases = 0
    for isa in backend.available_isas():
        backend.use_isa(isa)
        for name in OPS:
            everything(name, drawn(name, bar.seed, grow=10))
            cases += 1
            if flushes():
                bar.failed(f"{name} on {isa} leaves the thread flushing denormals to zero")
    bar.passed(cases, "ops after which denormals are still numbers")


# ---- sampling ----


def sampler(bar: Bar) -> None:
    rng = np.random.default_rng(bar.seed)
    count = bar.scaled(40_000)
    for number in range(count):
        x = rng.normal(0, 10.0 ** rng.integers(-3, 4), rng.integers(1, 60))
        for value in (-np.inf, 1e38, -1e38, 1e-310):
            if rng.random() < 0.4:
                x[rng.random(len(x)) < rng.random()] = value
        temperature = float(rng.choice([0.0, 5e-324, 1e-3, 1.0, 1e3, 1e300]))
        how = Sampling(temperature, int(rng.integers(0, 5)), float(rng.choice([1.0, 1e-300, 0.5, 0.999])), number)
        if x.max() == -np.inf:
            try:
                next_token(x, how, number)
                bar.failed(f"sampler: a token where all are excluded, seed {number}")
            except ValueError:
                continue
        chosen = next_token(x, how, number)
        with np.errstate(all="ignore"):
            p = np.exp((x[chosen] - x.max()) / temperature) if temperature and x[chosen] < x.max() else 1.0
        if x[chosen] == -np.inf or not p > 0 or chosen not in candidates(x, how)[0]:
            bar.failed(f"sampler: token {chosen} of probability {p}, {how}, logits {x}")
    bar.passed(count, "draws from hostile logits, none of probability 0")


# ---- training ----


class Place(NamedTuple):
    """One result of a step: forward or backward, which call of its kind, of which op, in which module; or a weight."""

    phase: str
    call: int
    op: str
    where: str


class Spoiler:
    """Counts the calls of forward and backward of every op in a pass, and puts a value into the result of one."""

    def __init__(self) -> None:
        self.counts = {"forward": 0, "backward": 0}
        self.target: tuple[str, int, float, int] | None = None
        self.calls: list[tuple[str, int, str]] = []
        self.accumulate = loop.accumulate
        families = {base for op in registry.values() for base in op.__mro__ if issubclass(base, Op)}
        self.originals = [(base, phase, base.__dict__[phase]) for base in families for phase in self.counts
                          if isinstance(base.__dict__.get(phase), staticmethod | classmethod)]  # fmt: skip

    def __enter__(self) -> Spoiler:
        for base, phase, descriptor in self.originals:
            setattr(base, phase, type(descriptor)(self.wrapped(phase, descriptor.__func__)))
        loop.accumulate = self.pass_through
        return self

    def __exit__(self, *exc: object) -> None:
        for base, phase, descriptor in self.originals:
            setattr(base, phase, descriptor)
        loop.accumulate = self.accumulate

    def pass_through(self, *args: Any) -> Any:
        self.counts = {"forward": 0, "backward": 0}
        return self.accumulate(*args)

    def wrapped(self, phase: str, inner: Callable) -> Callable:
        def outer(*args: Any, **attrs: Any) -> Any:
            out = inner(*args, **attrs)
            number = self.counts[phase]
            self.counts[phase] += 1
            if self.target and self.target[:2] == (phase, number):
                return self.spoil(out, *self.target[2:])
            return out

        return outer

    @staticmethod
    def spoil(out: Any, value: float, seed: int) -> Any:
        several = isinstance(out, tuple | list)
        results = list(out) if several else [out]
        at = next(i for i, x in enumerate(results) if x is not None and x.dtype.kind == "f" and x.size)
        results[at] = np.array(results[at])  # what the op returned may be a view of a weight
        results[at].flat[seed % results[at].size] = value
        return tuple(results) if several else results[0]


class Places(Observer):
    """Every result of a clean step, in the order of the calls."""

    def __init__(self) -> None:
        self.found: list[Place] = []
        self.path: list[str] = []
        self.paths: dict[Any, str] = {}
        self.counts = {"forward": 0, "backward": 0}

    def enter(self, module: Any) -> None:
        self.path.append(module.path or type(module).__name__)

    def leave(self, module: Any) -> None:
        self.path.pop()

    def note(self, phase: str, node: Any, results: Any) -> None:
        if any(x is not None and x.dtype.kind == "f" and x.size for x in results):
            self.found.append(Place(phase, self.counts[phase], node.op.__name__, self.paths[node]))
        self.counts[phase] += 1

    def forward(self, node: Any, arrays: Any, results: Any) -> None:
        self.paths[node] = self.path[-1] if self.path else ""
        self.note("forward", node, results)

    def backward(self, node: Any, needs: Any, incoming: Any, results: Any) -> None:
        self.note("backward", node, results)


def trainer() -> loop.Trainer:
    settings = config.replace(
        config.Config(), model__n_layer=2, model__n_head=2, model__n_embd=16, model__n_positions=8, model__dropout=0.1,
        training__batch_size=3, training__accumulation=2, training__steps=20, optimizer__warmup_steps=2,
    )  # fmt: skip
    tokens = ArrayTokens(np.arange(400) * 3 % 11)
    model = build_model(settings.model, 11, seed=3)
    return loop.Trainer(model, WindowSampler(tokens, 8, seed=1), tokens, settings.optimizer, settings.training)


def weights(run: loop.Trainer) -> list[bytes]:
    return [p.array.tobytes() for p in run.parameters]


def injected(bar: Bar) -> None:
    """NaN or an infinity at a drawn place of a drawn step: the step stops and names it, then goes well without."""
    rng = np.random.default_rng(bar.seed)
    run, places = trainer(), Places()
    with places:
        expected = [run.train_step()["loss"]]
    one_step = places.found
    expected += [run.train_step()["loss"] for _ in range(5)]
    names = [name for name, _ in run.model.named_parameters()]
    stopped = harmless = 0
    run = trainer()
    with Spoiler() as spoiler, np.errstate(all="ignore"):
        while stopped < bar.scaled(200):
            if run.step == len(expected):
                run = trainer()
            value, seed = float(rng.choice([math.nan, math.inf, -math.inf])), int(rng.integers(1 << 30))
            choice = int(rng.integers(len(one_step) + len(names) // 4))
            if choice < len(one_step):
                place = one_step[choice]
                found = spoiled_step(bar, run, spoiler, place, value, seed)
            else:
                found = spoiled_weight(bar, run, str(rng.choice(names)), value, seed)
            stopped, harmless = stopped + found, harmless + (not found)
            if not found:
                run = trainer()
            elif rng.random() < 0.5 and (loss := run.train_step()["loss"]) != expected[run.step - 1]:
                bar.failed(f"step {run.step} after one that stopped: loss {loss}, expected {expected[run.step - 1]}")
    bar.passed(stopped, f"steps with NaN or an infinity put in, each stopped and named ({harmless} more never felt it)")


def spoiled_step(bar: Bar, run: loop.Trainer, spoiler: Spoiler, place: Place, value: float, seed: int) -> bool:
    """Whether the step stopped. One that did not must have left all weights finite."""
    what, before = f"{value} in {place} of step {run.step + 1}, seed {seed}", weights(run)
    spoiler.target = (place.phase, place.call, value, seed)
    try:
        run.train_step()
    except NonFinite as error:
        got = (error.step, error.phase, error.op, error.where)
        if got != (run.step + 1, place.phase, place.op, place.where):
            bar.failed(f"{what}: the error names {got}")
        if weights(run) != before:
            bar.failed(f"{what}: the weights changed")
        return True
    finally:
        spoiler.target = None
    if not all(np.isfinite(p.array).all() for p in run.parameters):
        bar.failed(f"{what}: weights that are not finite, and no error")
    return False


def spoiled_weight(bar: Bar, run: loop.Trainer, name: str, value: float, seed: int) -> bool:
    p = dict(run.model.named_parameters())[name]
    good = p.array.flat[seed % p.array.size]
    p.array.flat[seed % p.array.size] = value
    try:
        run.train_step()
    except NonFinite as error:
        if (error.step, error.phase, error.where) != (run.step + 1, "parameter", name):
            bar.failed(f"{value} in {name}: the error names {(error.step, error.phase, error.where)}")
        p.array.flat[seed % p.array.size] = good
        return True
    return False  # a row of an embedding that the batch did not read


def test(bar: Bar) -> None:
    if flushes():
        bar.failed("importing tinyllm leaves the thread flushing denormals to zero")
    with np.errstate(all="ignore"):
        flags(bar)
        named_values(bar)
        sampler(bar)
        injected(bar)
        every_op(bar)


if __name__ == "__main__":
    run_bar("S12", test)
