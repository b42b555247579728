"""The compiled backend against the reference: a table of inputs, and generic checks without code per function.

For every function, instruction set and float dtype: the same values within rounding, in any layout and size; inputs
left alone; NaN carried as the reference carries it; the same bits for any number of threads, anywhere in a batch.
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opdraw import HypothesisDraw

from tinyllm import backend
from tinyllm.backend import reference
from tinyllm.backend.reference import elementwise

if not backend.compiled():
    pytest.skip("the C kernels are not built", allow_module_level=True)

from tinyllm.backend import cpu

Array = np.ndarray
ISAS = backend.available_isas()


class Draw(HypothesisDraw):
    """Inputs of one function; `large` makes them worth several threads."""

    def __init__(self, data: st.DataObject, dtype: str, large: bool = False) -> None:
        super().__init__(data, dtype)
        self.large = large

    def shape(self, min_dims=0, max_dims=3, min_side=0, max_side=37):  # type: ignore[no-untyped-def]
        if self.large:
            return (3, 130, 131)[-max(min_dims, 2) :] if max_dims > 1 else (70001,)
        return super().shape(min_dims, max_dims, min_side, max_side)

    def small(self, min_dims: int, max_dims: int) -> tuple[int, ...]:
        return super().shape(min_dims, max_dims)

    def side(self, low: int = 0, high: int = 40) -> int:
        return self.integer(150, 250) if self.large else self.integer(low, high)

    def normal(self, *shape: int) -> Array:
        return self._stored(np.asarray(self.rng.standard_normal(shape), self.dtype))

    def maybe(self, x: Array) -> Array | None:
        return self.choice([None, x])

    def flag(self) -> bool:
        return self.choice([False, True])

    def fresh(self, *shape: int) -> Array:
        """A contiguous array for a function to write to."""
        return np.asarray(self.rng.standard_normal(shape), self.dtype)


@dataclass
class Call:
    """Arguments of one call; `writes` names those that it may change, `length` the terms in its longest sum."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)
    writes: tuple[int | str, ...] = ()
    length: int = 1
    gaps: bool = False  # what it writes to is a view with gaps
    nan: tuple[int, ...] | None = None  # arguments that may hold NaN; None: all


DOMAIN = {
    **dict.fromkeys(("log", "log2", "sqrt", "rsqrt", "reciprocal"), (0.1, 4.0)),
    **dict.fromkeys(("asin", "acos", "log1p"), (-0.9, 0.9)),
    "tan": (-1.2, 1.2),
}
ROWS = ("softmax", "log_softmax", "logsumexp")


def unary(d: Draw) -> Call:
    name, shape = d.choice(sorted(elementwise.UNARY)), d.shape()
    x = d.array(shape, *DOMAIN.get(name, (-5.0, 5.0)))
    floating = name not in ("logical_not", "isnan", "isinf", "isfinite")
    kwargs = {"out": d.fresh(*shape)} if floating and d.flag() else {}
    return Call((name, x), kwargs, writes=("out",) if kwargs else (), length=8, gaps=d.flag())


def unary_grad(d: Draw) -> Call:
    name, shape = d.choice(sorted(reference.GRAD_NEEDS)), d.shape()
    x = d.array(shape, *DOMAIN.get(name, (-4.0, 4.0)))
    return Call((name, d.normal(*shape), x, reference.unary(name, x)), length=100)


def binary(d: Draw) -> Call:
    name, shape = d.choice(sorted(elementwise.BINARY)), d.shape()
    low = 0.3 if name in ("pow", "div", "fmod", "remainder", "floor_divide") else -3.0
    a, b = d.array(d.part_of(shape), low, 3.0), d.array(d.part_of(shape), low, 3.0)
    if name in ("eq", "ne", "le", "ge", "logical_and", "logical_or", "logical_xor"):
        a, b = np.rint(a), np.rint(b)
    if name in ("fmod", "remainder", "floor_divide") and d.flag():
        a = -a
    kwargs = {}
    if d.flag():
        out = d.fresh(*np.broadcast_shapes(a.shape, b.shape))
        kwargs["out"] = out.astype(reference.binary(name, a, b).dtype)
    return Call((name, a, b), kwargs, writes=("out",) if kwargs else (), length=8, gaps=d.flag())


def where(d: Draw) -> Call:
    shape = d.shape()
    return Call((d.bools(d.part_of(shape)), d.normal(*d.part_of(shape)), d.normal(*d.part_of(shape))))


def gated(d: Draw) -> Call:
    shape = d.shape(1)
    wide = d.normal(*shape[:-1], 2 * shape[-1])
    return Call((d.choice(elementwise.GATES), *np.split(wide, 2, axis=-1)), length=8)


def gated_grad(d: Draw) -> Call:
    name, gate, up = gated(d).args
    return Call((name, d.normal(*gate.shape), gate, up), length=16)


def reduce(d: Draw) -> Call:
    name = d.choice(["sum", "mean", "prod", "max", "min", "any", "all", "argmax", "argmin"])
    shape = d.shape(1, min_side=0 if name in ("sum", "mean", "prod", "any", "all") else 1)
    axes = tuple(axis for axis in range(len(shape)) if d.flag())
    if name.startswith("arg"):
        axes = (d.integer(-len(shape), len(shape) - 1),)
    x = d.array(shape, 0.9, 1.1) if name == "prod" else d.normal(*shape)
    return Call((name, x, axes, d.flag()), length=int(np.prod([shape[a] for a in axes], dtype=int)))


def cumsum(d: Draw) -> Call:
    shape = d.shape(1)
    axis = d.integer(-len(shape), len(shape) - 1)
    return Call((d.normal(*shape), axis), length=shape[axis])


def sort(d: Draw) -> Call:
    shape = d.shape(1)
    return Call((np.rint(2 * d.normal(*shape)), d.integer(-len(shape), len(shape) - 1), d.flag()))


def take(d: Draw) -> Call:
    n, tail = d.side(1), d.small(0, 2)
    return Call((d.normal(n, *tail), d.ints(d.shape(0, 2), 0, n)))


def take_grad(d: Draw) -> Call:
    n, ids = d.side(1, 5), d.shape(0, 2)
    return Call((d.normal(*ids, *d.small(0, 2)), d.ints(ids, 0, n), n), length=int(np.prod(ids)))


def gather(d: Draw) -> Call:
    shape = d.shape(1, min_side=1)
    axis = d.integer(0, len(shape) - 1)
    index = [d.integer(0, size) for size in shape]
    index[axis] = d.side()
    return Call((d.normal(*shape), axis, d.ints(tuple(index), 0, shape[axis])))


def gather_grad(d: Draw) -> Call:
    shape = d.shape(1)
    axis, n = d.integer(0, len(shape) - 1), d.side(1, 5)
    return Call((d.normal(*shape), axis, d.ints(shape, 0, n), n), length=shape[axis])


def matmul(d: Draw) -> Call:
    m, n, k = d.side(), d.side(), d.side()
    batch = () if d.large else d.shape(0, 2, max_side=3)
    a, b = d.normal(*d.part_of(batch), m, k), d.normal(*d.part_of(batch), k, n)
    shape = (*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), m, n)
    kwargs: dict[str, Any] = {"bias": d.maybe(d.normal(n)), "alpha": d.choice([1.0, 1.0, -0.5])}
    if d.flag():
        kwargs |= {"out": d.fresh(*shape)}
    kwargs["beta"] = d.choice([0.0, 1.0, 0.5])
    if "out" not in kwargs or d.flag():
        kwargs["add"] = d.normal(*shape)
    kwargs["act"] = d.choice([None, *elementwise.GATES])
    if kwargs["act"] and d.flag():
        kwargs |= {"grad_of": 2 * d.normal(*shape), "value": d.maybe(d.fresh(*shape))}
    elif kwargs["act"]:
        kwargs["pre"] = d.maybe(d.fresh(*shape))
    writes = tuple(name for name in ("out", "pre", "value") if kwargs.get(name) is not None)
    return Call((a, b), kwargs, writes, length=k + 50, gaps=d.flag())


def row_function(d: Draw) -> Call:
    x = 3 * d.normal(*d.shape(1))
    return Call((x,), length=x.shape[-1])


def softmax_grad(d: Draw) -> Call:
    y = reference.softmax(d.normal(*d.shape(1)))
    return Call((d.normal(*y.shape), y), length=y.shape[-1])


def log_softmax_grad(d: Draw) -> Call:
    y = reference.log_softmax(d.normal(*d.shape(1)))
    return Call((d.normal(*y.shape), y), length=y.shape[-1])


def layer_norm(d: Draw) -> Call:
    x = d.normal(*d.shape(1)) + d.dtype.type(0.5)
    columns = x.shape[-1]
    return Call((x, d.maybe(d.normal(columns)), d.maybe(d.normal(columns)), 1e-2), length=4 * columns)


def rms_norm(d: Draw) -> Call:
    x, w, _, eps = layer_norm(d).args
    return Call((x, w, eps), length=2 * x.shape[-1])


def layer_norm_grad(d: Draw) -> Call:
    x, w, b, eps = layer_norm(d).args
    _, mean, rstd = reference.layer_norm(x, w, b, eps)
    want = (d.flag(), d.flag(), d.flag())
    return Call((d.normal(*x.shape), x, w, mean, rstd, want), length=8 * sum(x.shape) + x.size)


def rms_norm_grad(d: Draw) -> Call:
    x, w, eps = rms_norm(d).args
    rstd = reference.rms_norm(x, w, eps)[1]
    return Call((d.normal(*x.shape), x, w, rstd, (d.flag(), d.flag())), length=8 * sum(x.shape) + x.size)


def cross_entropy(d: Draw) -> Call:
    n, classes = d.side(), d.side(1)
    targets = d.ints((n,), 0, classes)
    targets = np.where(d.rng.random(n) < 0.2, -100, targets)
    weight = d.maybe(d.array((classes,), 0.1, 2.0))
    smoothing = d.choice([0.0, 0.1])
    return Call((d.normal(n, classes), targets, weight, -100, smoothing), length=4 * classes)


def cross_entropy_grad(d: Draw) -> Call:
    logits, *rest = cross_entropy(d).args
    lse = reference.cross_entropy(logits, *rest)[1]
    kwargs = {"out": d.fresh(*logits.shape)} if d.flag() else {}
    args = (d.normal(len(logits)), logits, rest[0], lse, *rest[1:])
    return Call(args, kwargs, writes=("out",) if kwargs else (), length=2 * logits.shape[1], gaps=d.flag())


def joined_heads(x: Array, heads: int, kv_heads: int) -> list[Array]:
    """q, k, v as parts of one projection (B, T, heads + 2 kv_heads, D)."""
    return np.split(x.transpose(0, 2, 1, 3), [heads, heads + kv_heads], axis=1)


def attention(d: Draw) -> Call:
    batch, kv_heads, group = d.integer(0 if not d.large else 1, 2), d.integer(1, 2), d.integer(1, 3)
    heads, dim, dim_v = kv_heads * group, d.integer(1, 40), d.integer(1, 40)
    tq, tk = d.side(), d.choice([d.side(), 300, 600]) if not d.large else d.side()
    q, k, v = (
        d.normal(batch, rows, count, size).transpose(0, 2, 1, 3)
        for rows, count, size in ((tq, heads, dim), (tk, kv_heads, dim), (tk, kv_heads, dim_v))
    )
    if d.flag():
        q, k, v = joined_heads(d.normal(batch, tq, heads + 2 * kv_heads, dim), heads, kv_heads)
        tk = tq
    kwargs: dict[str, Any] = {"scale": dim**-0.5}
    kind = d.choice(["none", "causal", "window", "random"])
    causal = np.arange(tq)[None] + 1 + tk - tq
    if kind == "random":
        lanes = (d.choice([1, batch]), tq)
        kwargs |= {"lo": d.ints(lanes, -2, tk + 3), "hi": d.ints(lanes, -2, tk + 3)}
    elif kind != "none":
        kwargs |= {"hi": causal, "lo": causal - 7 if kind == "window" else None}
    full = (batch, heads, tq, tk)
    kind = d.choice(["none", "bool", "additive", "-inf"])
    if kind == "bool":
        kwargs["mask"] = d.bools(d.part_of(full))
    elif kind != "none":
        bias = d.normal(*d.part_of(full))
        kwargs["mask"] = np.where(bias > 0.5, -np.inf, bias).astype(d.dtype) if kind == "-inf" else bias
    kwargs["softcap"] = d.choice([0.0, 2.0])
    kwargs["slopes"] = d.maybe(d.array((heads,), 0.0, 0.2))
    kwargs["dropout"] = d.choice([None, (0.3, (d.integer(0, 9), 5), d.integer(0, 2**64 - 1), d.integer(0, 2**40))])
    return Call((q, k, v), kwargs, length=4 * (tk + dim) + 50, nan=(0,))


def attention_grad(d: Draw) -> Call:
    call = attention(d)
    o, lse = reference.attention(*call.args, **call.kwargs)
    mask = call.kwargs.get("mask")
    call.kwargs["want_mask"] = mask is not None and mask.dtype != np.bool_ and d.flag()
    grad = d.normal(o.shape[0], o.shape[2], o.shape[1], o.shape[3]).transpose(0, 2, 1, 3)
    group = o.shape[1] // call.args[1].shape[1]
    length = 8 * (call.length + group * o.shape[2]) + (o.size if call.kwargs["want_mask"] else 0)
    return Call((grad, *call.args, o, lse), call.kwargs, length=length, nan=())


def stream(d: Draw) -> tuple[Any, ...]:
    key = (d.integer(0, 2**32 - 1), d.integer(0, 2**32 - 1))
    return key, d.integer(0, 2**64 - 1), d.choice([0, d.integer(0, 2**48)])


def random(d: Draw) -> Call:
    return Call((d.shape(), d.dtype, *stream(d)))


def dropout(d: Draw) -> Call:
    return Call((d.normal(*d.shape()), d.choice([0.0, 0.1, 0.5, 1.0]), *stream(d)))


def add(d: Draw) -> Call:
    shape = d.shape()
    return Call((d.fresh(*shape), d.normal(*shape)), writes=(0,))


def assign(d: Draw) -> Call:
    shape = d.shape()
    return Call((d.fresh(*shape), d.normal(*shape)), writes=(0,), gaps=d.flag())


def sgd(d: Draw) -> Call:
    n, momentum = d.shape(0, 1), d.choice([0.0, 0.9])
    buf = d.fresh(*n) if momentum else None
    arrays = (d.fresh(*n), d.normal(*n), buf)
    settings = (0.1, momentum, d.choice([0.0, 0.2]), d.choice([0.0, 0.1]), d.flag(), d.flag(), d.choice([1.0, 0.3]))
    return Call((*arrays, *settings), writes=(0, 2), length=16, gaps=d.flag())


def adam(d: Draw) -> Call:
    shapes = [d.shape() for _ in range(d.integer(0, 3))]
    params, means = ([d.fresh(*s) for s in shapes] for _ in range(2))
    grads, squares = [d.normal(*s) for s in shapes], [np.asarray(np.abs(d.fresh(*s))) for s in shapes]
    steps = [d.integer(1, 9) for _ in shapes]
    settings = (0.1, 0.9, 0.99, 1e-3, d.choice([0.0, 0.1]), d.flag(), d.choice([1.0, 0.3]))
    return Call((params, grads, means, squares, steps, *settings), writes=(0, 2, 3), length=200, gaps=d.flag())


def sum_squares(d: Draw) -> Call:
    return Call(([d.normal(*d.shape()) for _ in range(d.integer(0, 3))],))


CASES: dict[str, Callable[[Draw], Call]] = {
    "unary": unary,
    "unary_grad": unary_grad,
    "binary": binary,
    "where": where,
    "add_": add,
    "assign": assign,
    "gated": gated,
    "gated_grad": gated_grad,
    "reduce": reduce,
    "cumsum": cumsum,
    "sort": sort,
    "take": take,
    "take_grad": take_grad,
    "gather": gather,
    "gather_grad": gather_grad,
    "matmul": matmul,
    **dict.fromkeys(ROWS, row_function),
    "softmax_grad": softmax_grad,
    "log_softmax_grad": log_softmax_grad,
    "layer_norm": layer_norm,
    "layer_norm_grad": layer_norm_grad,
    "rms_norm": rms_norm,
    "rms_norm_grad": rms_norm_grad,
    "cross_entropy": cross_entropy,
    "cross_entropy_grad": cross_entropy_grad,
    "attention": attention,
    "attention_grad": attention_grad,
    "uniform": random,
    "normal": random,
    "dropout": dropout,
    "sgd_": sgd,
    "adam_": adam,
    "sum_squares": sum_squares,
    "copy": lambda d: Call((d.normal(*d.shape()), d.choice([None, np.float32, np.float64, np.int64]))),
    "full": lambda d: Call((d.shape(), 1.5, d.dtype)),
}
WITHOUT_VALUES = {"GRAD_NEEDS", "empty"}


def arrays_in(value: Any) -> Iterator[Array]:
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from arrays_in(item)
    elif isinstance(value, float):
        yield np.array(value)


def with_gaps(x: Array) -> Array:
    view = np.zeros([2 * size for size in x.shape], x.dtype)[(..., *(slice(None, None, 2),) * x.ndim)]
    view[...] = x
    return view


def to_write(value: Any, gaps: bool) -> Any:
    """A copy of an array, or of each in a list, for the function to write to."""
    if isinstance(value, list):
        return [to_write(x, gaps) for x in value]
    return value if value is None else with_gaps(value) if gaps else value.copy()


def run(module: Any, name: str, call: Call) -> list[Array]:
    """What the function returns and what it wrote; everything else must be as it was."""
    args, kwargs = list(call.args), dict(call.kwargs)
    written: list[Array] = []
    for place in call.writes:
        holder: Any = args if isinstance(place, int) else kwargs
        holder[place] = to_write(holder[place], call.gaps)
        written += arrays_in(holder[place])
    readable = [x for x in arrays_in([*args, *kwargs.values()]) if not any(x is w for w in written)]
    before = [x.tobytes() for x in readable]
    result = getattr(module, name)(*args, **kwargs)
    assert [x.tobytes() for x in readable] == before, f"{name} changed an input"
    results = list(arrays_in(result))
    for x in results:
        assert not any(np.shares_memory(x, y) for y in readable), f"{name} returns a view of an input"
    return results + written


def compare(name: str, call: Call, got: list[Array], expected: list[Array]) -> None:
    assert len(got) == len(expected)
    for mine, theirs in zip(got, expected, strict=True):
        assert mine.shape == theirs.shape and mine.dtype == theirs.dtype
        if mine.dtype.kind != "f":
            np.testing.assert_array_equal(mine, theirs)
            continue
        bound = np.finfo(mine.dtype).eps * (8 + 2 * call.length)
        np.testing.assert_allclose(mine, theirs, rtol=bound, atol=bound, err_msg=name)


@pytest.fixture(params=ISAS)
def instruction_set(request: pytest.FixtureRequest) -> Iterator[str]:
    before = backend.isa()
    backend.use_isa(request.param)
    yield request.param
    backend.use_isa(before)


def examples(count: int) -> settings:
    return settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


def test_both_backends_have_one_interface() -> None:
    assert set(cpu.__all__) == set(reference.__all__)
    assert set(CASES) == set(reference.__all__) - WITHOUT_VALUES
    for name in set(reference.__all__) - {"GRAD_NEEDS"}:
        theirs, mine = (inspect.signature(getattr(m, name)).parameters for m in (reference, cpu))
        assert [(p.name, p.default, p.kind) for p in mine.values()] == [
            (p.name, p.default, p.kind) for p in theirs.values()
        ], name


@pytest.mark.parametrize("name", CASES)
@examples(30)
@given(data=st.data(), dtype=st.sampled_from(["float32", "float64"]))
def test_compiled_equals_reference(name: str, instruction_set: str, data: st.DataObject, dtype: str) -> None:
    call = CASES[name](Draw(data, dtype))
    compare(name, call, run(cpu, name, call), run(reference, name, call))


@pytest.mark.parametrize("name", CASES)
@examples(3)
@given(data=st.data(), dtype=st.sampled_from(["float32", "float64"]))
def test_same_bits_for_any_number_of_threads(name: str, data: st.DataObject, dtype: str) -> None:
    call = CASES[name](Draw(data, dtype, large=True))
    threads = backend.num_threads()
    try:
        bits = []
        for count in (1, 2, 3, 4):
            backend.set_num_threads(count)
            bits.append([x.tobytes() for x in run(cpu, name, call)])
    finally:
        backend.set_num_threads(threads)
    assert all(other == bits[0] for other in bits[1:])


@pytest.mark.parametrize("name", CASES)
@examples(6)
@given(data=st.data(), dtype=st.sampled_from(["float32", "float64"]))
def test_nan_goes_where_the_reference_sends_it(
    name: str, instruction_set: str, data: st.DataObject, dtype: str
) -> None:
    call = CASES[name](Draw(data, dtype))
    call.args = copy.deepcopy(call.args)
    places = [x for i, x in enumerate(call.args) if call.nan is None or i in call.nan]
    arrays = arrays_in([x for x in places if not isinstance(x, float)])
    spoilable = [x for x in arrays if x.dtype.kind == "f" and x.size]
    if not spoilable:
        return
    spoiled = data.draw(st.sampled_from(spoilable))
    spoiled[np.unravel_index(data.draw(st.integers(0, spoiled.size - 1)), spoiled.shape)] = np.nan
    for mine, theirs in zip(run(cpu, name, call), run(reference, name, call), strict=True):
        np.testing.assert_array_equal(mine != mine, theirs != theirs)


WRITERS = [
    name
    for name in CASES
    if name.endswith("_") or name == "assign" or "out" in inspect.signature(getattr(cpu, name)).parameters
]


@pytest.mark.parametrize("module", [cpu, reference])
@pytest.mark.parametrize("name", WRITERS)
@examples(20)
@given(data=st.data(), dtype=st.sampled_from(["float32", "float64"]))
def test_what_is_read_only_is_not_written(name: str, module: Any, data: st.DataObject, dtype: str) -> None:
    call = CASES[name](Draw(data, dtype))
    arguments: dict[int | str, Any] = {**dict(enumerate(call.args)), **call.kwargs}
    for place in call.writes:
        arguments[place] = to_write(arguments[place], call.gaps)
    written = list(arrays_in([arguments[place] for place in call.writes]))
    if not written:
        return
    data.draw(st.sampled_from(written)).flags.writeable = False
    before = [x.tobytes() for x in arrays_in(list(arguments.values()))]
    args, kwargs = [arguments.pop(i) for i in range(len(call.args))], arguments
    with pytest.raises(ValueError, match="read-only"):
        getattr(module, name)(*args, **kwargs)
    if module is cpu:
        assert [x.tobytes() for x in arrays_in([*args, *kwargs.values()])] == before


@pytest.mark.parametrize(
    "rows, seen, d", [((900, 900), 900, 24), ((900, 900), 100, 24), ((130, 1000), 1000, 24), ((580, 1100), 1100, 128)]
)
def test_one_long_head_is_shared_between_threads(
    instruction_set: str, rows: tuple[int, int], seen: int, d: int
) -> None:
    """So few heads and so many keys that threads share a head in backward; and more keys than a cache of its own holds,
    which several panels of queries pass together in forward."""
    tq, tk = rows
    q, do = (reference.normal((1, 2, tq, d), np.float32, (1, 0), i) for i in range(2))
    k, v = (reference.normal((1, 1, tk, d), np.float32, (2, 0), i) for i in range(2))
    hi = np.arange(tq)[None] + 1 + tk - tq
    kwargs: dict[str, Any] = {"scale": 0.2, "lo": hi - seen, "hi": hi, "dropout": (0.2, (3, 4), 5, 6)}
    results, threads = [], backend.num_threads()
    try:
        for count in (1, 2, 3):
            backend.set_num_threads(count)
            o, lse = cpu.attention(q, k, v, **kwargs)
            results.append([o, lse, *cpu.attention_grad(do, q, k, v, o, lse, **kwargs)[:3]])
    finally:
        backend.set_num_threads(threads)
    o, lse = reference.attention(q, k, v, **kwargs)
    call = Call((), length=4 * tk)
    compare("attention", call, results[0], [o, lse, *reference.attention_grad(do, q, k, v, o, lse, **kwargs)[:3]])
    for other in results[1:]:
        assert [x.tobytes() for x in other] == [x.tobytes() for x in results[0]]


@pytest.mark.parametrize("kv_heads", [2, 4])
def test_gradients_of_one_projection_are_parts_of_one_array(kv_heads: int) -> None:
    x = reference.normal((2, 5, 4 + 2 * kv_heads, 8), np.float32, (1, 0), 0)
    q, k, v = joined_heads(x, 4, kv_heads)
    o, lse = cpu.attention(q, k, v, scale=0.3)
    gradients = cpu.attention_grad(o, q, k, v, o, lse, scale=0.3)[:3]
    for gradient, part in zip(gradients, (q, k, v), strict=True):
        offsets = [y.__array_interface__["data"][0] for y in (gradient, gradients[0], part, q)]
        assert gradient.strides == part.strides and offsets[0] - offsets[1] == offsets[2] - offsets[3]


@pytest.mark.parametrize("module", [cpu, reference])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_gradient_of_logits_may_take_their_place(module: Any, smoothing: float, instruction_set: str) -> None:
    logits = reference.normal((7, 37), np.float32, (1, 0), 0)
    dloss, targets = logits[:, 0] + 1, np.array([0, 36, 5, -100, 17, 1, 2])
    lse = module.logsumexp(logits)
    apart = module.cross_entropy_grad(dloss, logits, targets, lse, None, -100, smoothing)
    module.cross_entropy_grad(dloss, logits, targets, lse, None, -100, smoothing, out=logits)
    assert logits.tobytes() == apart.tobytes()


@examples(10)
@given(data=st.data(), dtype=st.sampled_from(["float32", "float64"]))
def test_many_parameters_at_once_are_each_by_itself(data: st.DataObject, dtype: str) -> None:
    d = Draw(data, dtype)
    sizes = [d.integer(0, 40_000) for _ in range(d.integer(1, 4))]
    lists = [[np.abs(d.normal(n)) for n in sizes] for _ in range(4)]
    settings = (0.1, 0.9, 0.99, 1e-3, 0.1, True, 0.5)
    together = copy.deepcopy(lists)
    cpu.adam_(*together, list(range(1, len(sizes) + 1)), *settings)
    for i in range(len(sizes)):
        cpu.adam_(*[[x[i]] for x in lists], [i + 1], *settings)
    assert [x.tobytes() for x in arrays_in(together)] == [x.tobytes() for x in arrays_in(lists)]
    assert cpu.sum_squares(lists[0]) == math.fsum(cpu.sum_squares([x]) for x in lists[0])


ROW_BY_ROW: dict[str, Callable[[Array], Any]] = {
    **{name: getattr(cpu, name) for name in ROWS},
    "layer_norm": lambda x: cpu.layer_norm(x, None, None, 1e-5),
    "rms_norm": lambda x: cpu.rms_norm(x, None, 1e-5),
    "cross_entropy": lambda x: cpu.cross_entropy(x, np.zeros(len(x), np.int64), None, -100, 0.1),
    "matmul": lambda x: cpu.matmul(x, np.ones((x.shape[1], 5), x.dtype)),
    "attention": lambda x: cpu.attention(x[None, None], FIXED[None, None], FIXED[None, None], scale=0.3)[0][0, 0],
}
FIXED = reference.normal((290, 33), np.float32, (0, 0), 0)


@pytest.mark.parametrize("name", ROW_BY_ROW)
@examples(10)
@given(start=st.integers(0, 60), count=st.integers(1, 20))
def test_a_row_has_the_same_bits_anywhere(name: str, instruction_set: str, start: int, count: int) -> None:
    x = reference.normal((80, 33), np.float32, (1, 0), 0)
    for whole, part in zip(
        arrays_in(ROW_BY_ROW[name](x)), arrays_in(ROW_BY_ROW[name](x[start : start + count])), strict=True
    ):
        assert whole[start : start + count].tobytes() == part.tobytes()
