"""The NumPy backend against things that are independent of it: published vectors, finite differences, plain
loops.

tests/test_backend.py then holds the compiled backend to this one.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyllm.backend import reference
from tinyllm.backend.reference import elementwise
from tinyllm.backend.reference.random import philox, words

Array = np.ndarray

# Random123 1.14, tests/kat_vectors, philox 4x32 with 10 rounds: counter, key, result.
KNOWN_ANSWERS = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN_ANSWERS)
def test_philox_known_answers(counter: tuple[int, ...], key: tuple[int, int], expected: tuple[int, ...]) -> None:
    c0, c1, c2, c3 = (np.array([word], np.uint64) for word in counter)
    assert tuple(int(word[0]) for word in philox((c0, c1, c2, c3), key)) == expected
    block, stream = counter[0] | counter[1] << 32, counter[2] | counter[3] << 32
    if block < 2**62:
        assert tuple(words(4, key, stream, 4 * block)) == expected


@given(
    base=st.integers(0, 2**40),
    skip=st.integers(0, 9),
    count=st.integers(0, 17),
    stream=st.integers(0, 2**64 - 1),
)
def test_an_element_depends_on_its_index_alone(base: int, skip: int, count: int, stream: int) -> None:
    for draw in (reference.uniform, reference.normal):
        whole = draw((skip + count,), np.float64, (3, 4), stream, base)
        assert np.array_equal(whole[skip:], draw((count,), np.float64, (3, 4), stream, base + skip))


def test_distributions() -> None:
    u = reference.uniform((200, 500), np.float32, (1, 2), 3)
    z = reference.normal((200, 500), np.float64, (1, 2), 3)
    assert 0.0 <= u.min() and u.max() < 1.0
    assert np.array_equal(u, reference.uniform((200, 500), np.float64, (1, 2), 3))
    n = u.size
    for moment, value, spread in [(1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)]:
        assert abs((z**moment).mean() - value) < 4.5 * math.sqrt(spread / n)
    assert abs(u.mean(dtype=np.float64) - 0.5) < 4.5 * math.sqrt(1 / 12 / n)
    kept = reference.dropout(np.ones((200, 500), np.float32), 0.2, (1, 2), 3)
    assert set(np.unique(kept)) == {np.float32(0), np.float32(1 / 0.8)}
    assert np.array_equal(kept > 0, u >= 0.2)


def test_erf_to_float64_accuracy() -> None:
    x = np.concatenate([np.linspace(-7, 7, 5001), [0.0, 1e-300, -0.46875, 4.0, np.inf, -np.inf]])
    exact = np.array([math.erf(value) for value in x])
    assert np.abs(reference.unary("erf", x) - exact).max() <= 4e-16
    assert np.isnan(reference.unary("erf", np.array([np.nan])))


def five_point(f: Callable[[Array], float], x: Array, direction: Array, h: float = 1e-3) -> float:
    """The derivative of f at x along the direction, error O(h^4)."""
    a, b, c, d = (f(x + step * h * direction) for step in (-2, -1, 1, 2))
    return (a - 8 * b + 8 * c - d) / (12 * h)


# Where a formula's domain or kinks need it: (low, high, points to keep away from). Elsewhere x is in [-2.5,
# 2.5].
DOMAIN: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("log", "log2", "sqrt", "rsqrt", "reciprocal"), (0.5, 3.0)),
    **dict.fromkeys(("asin", "acos", "tan", "log1p"), (-0.7, 0.7)),
    **dict.fromkeys(("hardswish", "relu6"), (-5.0, 8.0)),
}
KINKS = np.array([-3.0, 0.0, 1.0, 2.0, 3.0, 6.0, -1.0, -2.0, 0.5, -0.5, 1.5, -1.5, 2.5, -2.5])


@pytest.mark.parametrize("name", sorted(reference.GRAD_NEEDS))
def test_unary_gradients(name: str) -> None:
    low, high = DOMAIN.get(name, (-2.4, 2.4))
    x = np.linspace(low, high, 63)
    x = x[np.abs(x[:, None] - KINKS).min(1) > 0.01]
    y = reference.unary(name, x)
    dx = reference.unary_grad(name, np.ones_like(x), x, y)
    steps = [reference.unary(name, x + s * 1e-3) for s in (-2, -1, 1, 2)]
    slope = (steps[0] - 8 * steps[1] + 8 * steps[2] - steps[3]) / 12e-3
    np.testing.assert_allclose(dx, slope, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "x", "y", "slope"),
    [
        ("gelu", math.inf, math.inf, 1.0),
        ("gelu", -math.inf, 0.0, 0.0),
        ("gelu_tanh", 1e308, 1e308, 1.0),
        ("gelu_tanh", math.inf, math.inf, 1.0),
        ("gelu_tanh", -1e308, 0.0, 0.0),
        ("hardswish", 1e308, 1e308, 1.0),
        ("hardswish", -1e308, 0.0, 0.0),
    ],
)
def test_limits_far_out(name: str, x: float, y: float, slope: float) -> None:
    far = np.array([x])
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(reference.unary(name, far), [y])
        np.testing.assert_array_equal(reference.unary_grad(name, np.ones(1), far, None), [slope])


def test_every_real_function_has_a_gradient() -> None:
    predicates = {"logical_not", "isnan", "isinf", "isfinite"}
    assert set(elementwise.UNARY) - predicates == set(reference.GRAD_NEEDS)


def normal(*shape: int, stream: int = 0) -> Array:
    return reference.normal(shape, np.float64, (11, 0), stream)


TARGETS = np.array([0, 3, -100, 4, 3])
CE = {"weight": np.array([1.0, 0.5, 2.0, 0.25, 3.0]), "ignore_index": -100, "label_smoothing": 0.1}
INDEX = np.array([[0, 3, 3], [2, 2, 0]])
ATTENTION = {
    "scale": 0.4,
    "lo": np.array([[0, 0, 1, 2], [3, 0, 9, 1]]),
    "hi": np.array([[1, 2, 4, 5], [3, 5, 5, 4]]),
    "softcap": 1.5,
    "slopes": np.array([0.5, 0.25, 0.125, 0.06]),
    "dropout": (0.3, (5, 6), 7, 13),
}


def ce_grad(dy: Array, x: Array, lse: Array) -> Array:
    return reference.cross_entropy_grad(dy, x, TARGETS, lse, **CE)  # type: ignore[arg-type]


def attend(q: Array, k: Array, v: Array, mask: Array) -> tuple[Array, Array]:
    return reference.attention(q, k, v, mask=mask, **ATTENTION)  # type: ignore[arg-type]


def attend_grad(do: Array, q: Array, k: Array, v: Array, mask: Array, o: Array, lse: Array) -> tuple:
    extra = {**ATTENTION, "mask": mask, "want_mask": True}
    return reference.attention_grad(do, q, k, v, o, lse, **extra)  # type: ignore[arg-type]


def as_tuple(value: Array | tuple) -> tuple:
    return value if isinstance(value, tuple) else (value,)


# name: inputs, forward (its first result is differentiated), gradient of (dy, *inputs, *results) in the order
# of the inputs.
GRADIENTS: dict[str, tuple[tuple[Array, ...], Callable, Callable]] = {
    "softmax": ((normal(3, 5),), reference.softmax, lambda dy, x, y: reference.softmax_grad(dy, y)),
    "log_softmax": (
        (normal(3, 5),),
        reference.log_softmax,
        lambda dy, x, y: reference.log_softmax_grad(dy, y),
    ),
    "layer_norm": (
        (normal(3, 5), normal(5, stream=1), normal(5, stream=2)),
        lambda x, w, b: reference.layer_norm(x, w, b, 1e-2),
        lambda dy, x, w, b, y, mean, rstd: reference.layer_norm_grad(dy, x, w, mean, rstd),
    ),
    "rms_norm": (
        (normal(2, 3, 5), normal(5, stream=1)),
        lambda x, w: reference.rms_norm(x, w, 1e-2),
        lambda dy, x, w, y, rstd: reference.rms_norm_grad(dy, x, w, rstd),
    ),
    "cross_entropy": (
        (normal(5, 5),),
        lambda x: reference.cross_entropy(x, TARGETS, **CE),  # type: ignore[arg-type]
        lambda dy, x, loss, lse: ce_grad(dy, x, lse),
    ),
    "take": (
        (normal(4, 3),),
        lambda x: reference.take(x, INDEX),
        lambda dy, x, y: reference.take_grad(dy, INDEX, 4),
    ),
    "gather": (
        (normal(2, 4),),
        lambda x: reference.gather(x, 1, INDEX),
        lambda dy, x, y: reference.gather_grad(dy, 1, INDEX, 4),
    ),
    "attention": (
        (
            normal(2, 4, 4, 3),
            normal(2, 2, 5, 3, stream=1),
            normal(2, 2, 5, 2, stream=2),
            normal(4, 1, 5, stream=3),
        ),
        attend,
        lambda dy, q, k, v, mask, o, lse: attend_grad(dy, q, k, v, mask, o, lse),
    ),
} | {
    f"gated {act}": (
        (normal(3, 4), normal(3, 4, stream=1)),
        lambda g, u, act=act: reference.gated(act, g, u),
        lambda dy, g, u, y, act=act: reference.gated_grad(act, dy, g, u),
    )
    for act in elementwise.GATES
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients_by_finite_differences(name: str) -> None:
    inputs, forward, gradient = GRADIENTS[name]
    results = as_tuple(forward(*inputs))
    dy = normal(*results[0].shape, stream=9)
    for position, (x, dx) in enumerate(zip(inputs, as_tuple(gradient(dy, *inputs, *results)), strict=True)):
        assert dx.shape == x.shape
        for stream in range(20, 24):
            direction = normal(*x.shape, stream=stream)

            def loss(moved: Array, position: int = position) -> float:
                arguments = (*inputs[:position], moved, *inputs[position + 1 :])
                return float((as_tuple(forward(*arguments))[0] * dy).sum())

            slope = five_point(loss, x, direction)
            assert float((dx * direction).sum()) == pytest.approx(slope, rel=1e-8, abs=1e-9)


@settings(max_examples=40)
@given(data=st.data())
def test_attention_is_a_loop_over_queries(data: st.DataObject) -> None:
    draw = data.draw
    batch, groups, kv_heads = draw(st.integers(1, 2)), draw(st.integers(1, 3)), draw(st.integers(1, 2))
    tq, tk, d, dv = (draw(st.integers(1, 5)) for _ in range(4))
    heads = groups * kv_heads
    q = normal(batch, heads, tq, d)
    k, v = normal(batch, kv_heads, tk, d, stream=1), normal(batch, kv_heads, tk, dv, stream=2)
    bounds = st.lists(st.integers(-1, tk + 1), min_size=batch * tq, max_size=batch * tq)
    lo, hi = (np.array(draw(bounds)).reshape(batch, tq) for _ in range(2))
    keep = reference.uniform((batch, 1, tq, tk), np.float64, (0, 0), 5) < 0.8
    drop = draw(st.sampled_from([0.0, 0.4]))
    kept = reference.uniform((batch, heads, tq, tk), np.float64, (1, 2), 3, 100) >= drop
    slopes = normal(heads, stream=4)
    o, lse = reference.attention(
        q,
        k,
        v,
        scale=0.7,
        lo=lo,
        hi=hi,
        mask=keep,
        softcap=2.0,
        slopes=slopes,
        dropout=(drop, (1, 2), 3, 100),
    )
    assert o.transpose(0, 2, 1, 3).flags.c_contiguous
    for b, h, i in np.ndindex(batch, heads, tq):
        expected, weights = np.zeros(dv), {}
        for j in range(max(lo[b, i], 0), min(hi[b, i], tk)):
            if keep[b, 0, i, j]:
                score = 2.0 * math.tanh(0.7 * float(q[b, h, i] @ k[b, h // groups, j]) / 2.0)
                weights[j] = math.exp(score + slopes[h] * (j - (i + tk - tq)))
        total = sum(weights.values())
        for j, weight in weights.items():
            expected += weight / total / (1.0 - drop) * kept[b, h, i, j] * v[b, h // groups, j]
        np.testing.assert_allclose(o[b, h, i], expected, rtol=1e-12, atol=1e-14)
        assert lse[b, h, i] == pytest.approx(math.log(total) if total else -math.inf, rel=1e-12, abs=1e-14)


def test_a_query_that_sees_nothing_has_zero_gradients() -> None:
    q, mask = normal(1, 1, 2, 3), np.array([[0.0, 0.0], [-np.inf, -np.inf]])
    o, lse = reference.attention(q, q, q, scale=1.0, mask=mask)
    assert not o[0, 0, 1].any() and lse[0, 0, 1] == -np.inf
    dq, dk, dv, dmask = reference.attention_grad(np.ones_like(q), q, q, q, o, lse, scale=1.0, mask=mask, want_mask=True)
    assert not dq[0, 0, 1].any() and dmask is not None and not dmask[1].any()
    assert all(np.isfinite(array).all() for array in (dq, dk, dv, dmask))


def test_special_rows() -> None:
    inf, nan = np.inf, np.nan
    x = np.array([[-inf, -inf], [0.0, -inf], [inf, 0.0], [nan, 0.0]])
    np.testing.assert_array_equal(reference.softmax(x), [[nan, nan], [1, 0], [nan, nan], [nan, nan]])
    np.testing.assert_array_equal(reference.logsumexp(x), [-inf, 0, inf, nan])
    assert reference.logsumexp(np.zeros((2, 0)))[0] == -inf
    values, indices = reference.sort(np.array([2.0, nan, 1.0, 2.0]), 0, descending=True)
    np.testing.assert_array_equal(values, [nan, 2, 2, 1])
    assert list(indices) == [1, 0, 3, 2]
    assert list(reference.sort(np.array([2.0, nan, 1.0, 2.0]), 0, descending=False)[1]) == [2, 0, 3, 1]
    assert reference.reduce("argmax", np.array([1.0, nan, 3.0, nan]), (0,)) == 1
    assert np.isnan(reference.reduce("mean", np.zeros((0,)), (0,)))


def test_float32_is_the_float64_result_rounded_once() -> None:
    x = reference.normal((40, 30), np.float32, (1, 1), 0)
    wide = x.astype(np.float64)
    for name in elementwise.UNARY:
        y = reference.unary(name, x)
        assert np.array_equal(y, reference.unary(name, wide).astype(y.dtype), equal_nan=True)
    assert np.array_equal(reference.softmax(x), reference.softmax(wide).astype(np.float32))
    assert reference.layer_norm(x, None, None, 1e-5)[1].dtype == np.float32


def test_optimizers_follow_their_recurrences() -> None:
    p, g, buf, m, v = 0.5, 0.25, 0.0, 0.0, 0.0
    sgd, adam, mean, square = np.array([p]), np.array([p]), np.zeros(1), np.zeros(1)
    trace, q = np.full(1, np.nan), p
    for step in (1, 2, 3):
        d = 2.0 * g + 0.1 * p
        buf = d if step == 1 else 0.9 * buf + 0.8 * d
        p -= 0.05 * (d + 0.9 * buf)
        reference.sgd_(sgd, np.array([g]), trace, 0.05, 0.9, 0.2, 0.1, True, step == 1, 2.0)
        m, v = 0.8 * m + 0.2 * (2.0 * g), 0.95 * v + 0.05 * (2.0 * g) ** 2
        q = q * (1 - 0.05 * 0.1) - 0.05 * (m / (1 - 0.8**step)) / (math.sqrt(v / (1 - 0.95**step)) + 1e-8)
        reference.adam_([adam], [np.array([g])], [mean], [square], [step], 0.05, 0.8, 0.95, 1e-8, 0.1, True, 2.0)
        g = -g
    assert sgd[0] == pytest.approx(p, rel=1e-14) and adam[0] == pytest.approx(q, rel=1e-14)
    assert reference.sum_squares([np.full((3, 2), 2.0, np.float32), np.zeros(0)]) == 24.0
