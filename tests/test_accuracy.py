"""Largest errors of the vector functions in ulp of float32, as csrc/simd_math.h and simd_trig.h state them, on every
instruction set. `pytest -s tests/test_accuracy.py` prints what is found.

Inputs: 128 numbers of each sign and binary exponent, denormals and infinities with them, and many in the interval where
a function does what is interesting. The formulas are float64's, whose errors do not count here.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from tinyllm import backend

pytestmark = pytest.mark.skipif(not backend.compiled(), reason="the C kernels are not built")

erf, erfc = np.vectorize(math.erf, otypes=[float]), np.vectorize(math.erfc, otypes=[float])
UNARY = {  # function: (float64 formula, largest error in ulp, interval to look at closely)
    "exp": (np.exp, 1.1, (-104, 89)),
    "expm1": (np.expm1, 1.7, (-20, 89)),
    "log": (np.log, 1, (0.3, 3)),
    "log1p": (np.log1p, 2.5, (-1, 8)),
    "log2": (np.log2, 1.5, (0.3, 3)),
    "tanh": (np.tanh, 1.5, (-10, 10)),
    "sigmoid": (lambda x: 1 / (1 + np.exp(-x)), 2.5, (-88, 20)),
    "erf": (erf, 1.5, (-4.5, 4.5)),
    "sin": (np.sin, 1.7, (-1000, 1000)),
    "cos": (np.cos, 1.7, (-1000, 1000)),
    "tan": (np.tan, 4, (-1000, 1000)),
    "sinh": (np.sinh, 1.8, (-90, 90)),
    "cosh": (np.cosh, 1.6, (-90, 90)),
    "asin": (np.arcsin, 2.5, (-1, 1)),
    "acos": (np.arccos, 1.5, (-1, 1)),
    "atan": (np.arctan, 2, (-8, 8)),
    "softplus": (lambda x: np.logaddexp(x, 0), 2.8, (-88, 30)),
    "gelu": (lambda x: 0.5 * x * erfc(-x / math.sqrt(2)), 7, (-12.8, 8)),
}
LEAST = {"gelu": -12.8}  # below, its factor erfc is denormal and has few digits


@pytest.fixture(params=backend.available_isas())
def instruction_set(request):
    before = backend.isa()
    backend.use_isa(request.param)
    with backend.use("cpu"):
        yield request.param
    backend.use_isa(before)


def all_exponents(rng, count=128):
    """float32 of both signs and all 256 exponents; those of the last are infinite (NaN has a test of its own)."""
    mantissa = rng.integers(0, 2**23, (512, count), dtype=np.uint32)
    mantissa[:, 0], mantissa[:, 1] = 0, 2**23 - 1
    mantissa[[255, 511]] = 0
    return (mantissa | np.arange(512, dtype=np.uint32)[:, None] << 23).view(np.float32).reshape(-1)


def error(got, expected):
    """Error in ulp of float32, 0 where both are NaN or the same infinity, inf where only one is."""
    rounded = expected.astype(np.float32)
    ulp = np.spacing(np.minimum(np.abs(rounded), np.finfo(np.float32).max)).astype(np.float64)
    difference = np.where(got == rounded, 0, np.abs(got - expected) / ulp)
    difference[np.isnan(got) & np.isnan(expected)] = 0
    return np.where(np.isnan(difference), np.inf, difference)


@pytest.mark.parametrize("name", UNARY)
@np.errstate(all="ignore")
def test_errors_in_ulp(name, instruction_set):
    formula, most, (low, high) = UNARY[name]
    rng = np.random.default_rng(5)
    x = np.concatenate([all_exponents(rng), rng.uniform(low, high, 100_000).astype(np.float32)])
    x = x[~(x < LEAST.get(name, -np.inf))]
    found = error(backend.unary(name, x), formula(x.astype(np.float64)))
    worst = found.argmax()
    print(f"\n{name:8} {instruction_set:8} {found[worst]:5.2f} ulp (stated: {most}) at {x[worst]}")
    assert found[worst] <= most, f"{found[worst]:.2f} ulp at {x[worst]}"


@np.errstate(all="ignore")
def test_errors_of_powers_in_ulp(instruction_set):
    rng = np.random.default_rng(6)
    ends = np.array([0, 1, 2, 0.5, 3, np.inf, 1e38, 1e-40, 16777217, 8388609], np.float32)
    ends = np.concatenate([ends, -ends, [np.nan]])
    cases = [(a.reshape(-1), b.reshape(-1)) for a, b in [np.meshgrid(ends, ends)]]
    cases.append((np.exp2(rng.uniform(-149, 128, 20_000)), rng.uniform(-4, 4, 20_000)))
    cases.append((1 + rng.uniform(-0.01, 0.01, 20_000), rng.uniform(-8000, 8000, 20_000)))
    cases.append((-np.exp2(rng.uniform(-20, 20, 20_000)), rng.integers(-6, 7, 20_000)))
    cases.append((all_exponents(rng), rng.permutation(all_exponents(rng))))
    x, y = (np.concatenate(part).astype(np.float32) for part in zip(*cases, strict=True))
    got, expected = backend.binary("pow", x, y), np.power(x.astype(np.float64), y.astype(np.float64))
    found = error(got, expected)
    worst = found.argmax()
    print(f"\npow      {instruction_set:8} {found[worst]:5.2f} ulp (stated: 0.8) at {x[worst]}, {y[worst]}")
    assert found[worst] <= 0.8, f"{found[worst]:.2f} ulp at {x[worst]}, {y[worst]}"
    np.testing.assert_array_equal(
        np.signbit(got), np.signbit(expected) & ~np.isnan(got) | np.isnan(got) & np.signbit(got)
    )
    whole = np.arange(-12, 13, dtype=np.float32)
    assert np.array_equal(backend.binary("pow", whole, np.full(25, 3, np.float32)), whole**3)


@pytest.mark.parametrize("name", ["sin", "tan", "asin", "atan", "sinh", "tanh", "erf", "expm1"])
def test_odd_functions_keep_the_sign_of_zero(name, instruction_set):
    y = backend.unary(name, np.array([0.0, -0.0] * 9, np.float32))
    assert not y.any() and np.array_equal(np.signbit(y), [False, True] * 9)


@np.errstate(all="ignore")
def test_ends_of_the_range(instruction_set):
    inf, nan = np.inf, np.nan
    cases = {
        "exp": ([-inf, -110, -0.0, 88.8, inf, nan], [0, 0, 1, inf, inf, nan]),
        "log": ([-1, -0.0, 0, 1, inf, nan, 1e-45], [nan, -inf, -inf, 0, inf, nan, np.log(np.float32(1e-45))]),
        "tanh": ([-inf, -100, -0.0, 100, inf, nan], [-1, -1, -0.0, 1, 1, nan]),
        "sigmoid": ([-inf, inf, nan], [0, 1, nan]),
        "erf": ([-inf, -9, 9, inf, nan], [-1, -1, 1, 1, nan]),
        "sin": ([inf, nan, 3e38], [nan, nan, np.sin(np.float64(np.float32(3e38)))]),
        "gelu": ([1e30, inf, nan, -13, -1e30, -inf, 0.0, -0.0], [1e30, inf, nan, 0, 0, 0, 0, 0]),
        "gelu_tanh": ([1e30, inf, nan, -1e30], [1e30, inf, nan, 0]),
        "relu": ([nan, -inf, inf, -1], [nan, 0, inf, 0]),
        "round": ([-0.5, 0.5, 1.5, 2.5, -2.5, 1e30, nan], [0, 0, 2, 2, -2, 1e30, nan]),
        "floor": ([-0.5, 0.5, -1, 1e30, -inf], [-1, 0, -1, 1e30, -inf]),
    }
    for name, (x, y) in cases.items():
        got = backend.unary(name, np.array(x * 5, np.float32))
        np.testing.assert_allclose(got, np.array(y * 5, np.float32), rtol=1e-6, err_msg=name)
    for name in UNARY:
        assert np.isnan(backend.unary(name, np.array([1.0, nan], np.float32))).tolist() == [False, True], name


def test_a_lane_that_is_rare_leaves_its_neighbours_alone(instruction_set):
    x = np.linspace(-3, 3, 16, dtype=np.float32)
    for name in ("sin", "cos", "tan"):
        with_far = x.copy()
        with_far[5] = 1e20
        assert np.array_equal(np.delete(backend.unary(name, with_far), 5), np.delete(backend.unary(name, x), 5))
    y = np.abs(x)
    y[3] = 0
    assert np.array_equal(np.delete(backend.binary("pow", y, x), 3), np.delete(backend.binary("pow", np.abs(x), x), 3))


def test_probabilities_of_attention_in_ulp(instruction_set):
    """Two keys with the scores 0 and -x: the share of the second is p / (1 + p) with p = exp(-x)."""
    x = np.linspace(0, 40, 4001, dtype=np.float32)
    k = np.stack([np.zeros_like(x), -x], 1)[:, None, :, None]
    v = np.broadcast_to(np.float32([[[[0], [1]]]]), k.shape)
    share = backend.attention(np.ones((len(x), 1, 1, 1), np.float32), k, v, scale=1.0)[0].ravel()
    true = 1 / (1 + np.exp(x.astype(float)))
    # a power of two is within 2 ulp; rounding x LOG2E and adding up, dividing by and rounding the total come on top
    assert (np.abs(share / true - 1) <= (7 + x) * 2.0**-24).all()


def test_scores_at_the_least_number_are_equal_shares(instruction_set):
    """What hides everything from a query by a large finite mask, as some models do, leaves the mean of all values."""
    q, k, v = (np.random.default_rng(i).standard_normal((1, 1, 40, 8), np.float32) for i in range(3))
    mask = np.full((40, 40), np.finfo(np.float32).min)
    mask[1, 3] = 0
    o = backend.attention(q, k, v, scale=1.0, mask=mask)[0][0, 0]
    np.testing.assert_allclose(o[0], v[0, 0].mean(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(o[1], v[0, 0, 3])
