"""Elementwise functions, one line each: name -> formula, name -> gradient.

Legend: x any shape; y = f(x); dy, dx the gradients, same shape. A new activation is one line in UNARY and one
in UNARY_GRAD. Integer and boolean arrays go through the same formulas as far as NumPy defines them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinyllm.backend.reference._exact import exact

Array = np.ndarray

SQRT_2 = 2.0**0.5
SQRT_2_OVER_PI = (2.0 / np.pi) ** 0.5
GELU_CUBIC = 0.044715  # Hendrycks & Gimpel 2016 (arXiv:1606.08415), section 2
LEAKY_SLOPE = 0.01

# W. J. Cody, "Rational Chebyshev approximations for the error function", Math. Comp. 23 (1969): coefficients
# by falling power. erf(x) = x * NEAR(x^2) for |x| <= 0.46875, erfc(x) = exp(-x^2) * MID(x) up to 4, and
# beyond it erfc(x) = exp(-x^2)/x * (1/sqrt(pi) - TAIL(1/x^2)/x^2).
_NEAR = (
    (
        1.85777706184603153e-1, 3.16112374387056560, 1.13864154151050156e2, 3.77485237685302021e2,
        3.20937758913846947e3,
    ),
    (
        1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3, 2.84423683343917062e3,
    ),
)  # fmt: skip
_MID = (
    (
        2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594, 6.61191906371416295e1,
        2.98635138197400131e2, 8.81952221241769090e2, 1.71204761263407058e3, 2.05107837782607147e3,
        1.23033935479799725e3,
    ),
    (
        1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2, 1.62138957456669019e3,
        3.29079923573345963e3, 4.36261909014324716e3, 3.43936767414372164e3, 1.23033935480374942e3,
    ),
)  # fmt: skip
_TAIL = (
    (
        1.63153871373020978e-2, 3.05326634961232344e-1, 3.60344899949804439e-1, 1.25781726111229246e-1,
        1.60837851487422766e-2, 6.58749161529837803e-4,
    ),
    (
        1.0, 2.56852019228982242, 1.87295284992346725, 5.27905102951428412e-1, 6.05183413124413191e-2,
        2.33520497626869185e-3,
    ),
)  # fmt: skip


def _ratio(coefficients: tuple[tuple[float, ...], tuple[float, ...]], x: Array) -> Array:
    return np.polyval(coefficients[0], x) / np.polyval(coefficients[1], x)


def erf(x: Array) -> Array:
    """The error function to float64 accuracy (Cody 1969). NumPy has none."""
    a = np.minimum(np.abs(x), 6.0)  # erf(6) is 1 in float64; NaN stays NaN
    decay, far = np.exp(-a * a), np.maximum(a, 4.0)
    near = a * _ratio(_NEAR, a * a)
    mid = 1.0 - decay * _ratio(_MID, a)
    tail = 1.0 - decay / far * (1.0 / np.sqrt(np.pi) - _ratio(_TAIL, far**-2) * far**-2)
    return np.sign(x) * np.where(a <= 0.46875, near, np.where(a <= 4.0, mid, tail))


def _sigmoid(x: Array) -> Array:
    return 1.0 / (1.0 + np.exp(-x))


def _softplus(x: Array) -> Array:
    return np.logaddexp(x, 0.0)


def _normal_cdf(x: Array) -> Array:
    return 0.5 * (1.0 + erf(x / SQRT_2))


def _normal_pdf(x: Array) -> Array:
    return np.exp(-0.5 * x * x) / np.sqrt(2.0 * np.pi)


FAR = 50.0
"""Where GELU has long come to its limits in float64; beyond it infinity times 0 would stand in their place."""


def _gelu_tanh_inner(x: Array) -> Array:
    return np.tanh(SQRT_2_OVER_PI * (x + GELU_CUBIC * x**3))


def _gelu_tanh_slope(x: Array) -> Array:
    x = np.clip(x, -FAR, FAR)
    t = _gelu_tanh_inner(x)
    return 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * SQRT_2_OVER_PI * (1.0 + 3.0 * GELU_CUBIC * x * x)


def _silu_slope(x: Array) -> Array:
    s = _sigmoid(x)
    return s * (1.0 + x * (1.0 - s))


def _mish_slope(x: Array) -> Array:
    t = np.tanh(_softplus(x))
    return t + x * (1.0 - t * t) * _sigmoid(x)


UNARY: dict[str, Callable[[Array], Array]] = {
    "neg": np.negative,
    "abs": np.abs,
    "sign": np.sign,
    "exp": np.exp,
    "expm1": np.expm1,
    "log": np.log,
    "log1p": np.log1p,
    "log2": np.log2,
    "sqrt": np.sqrt,
    "rsqrt": lambda x: 1.0 / np.sqrt(x),
    "reciprocal": lambda x: 1.0 / x,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "tanh": np.tanh,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "sigmoid": _sigmoid,
    "erf": erf,
    "floor": np.floor,
    "ceil": np.ceil,
    "round": np.rint,  # half to even
    "trunc": np.trunc,
    "relu": lambda x: np.maximum(x, x.dtype.type(0)),
    "gelu": lambda x: np.maximum(x, -FAR) * _normal_cdf(x),
    "gelu_tanh": lambda x: 0.5 * x * (1.0 + _gelu_tanh_inner(x)),
    "silu": lambda x: x * _sigmoid(x),
    "softplus": _softplus,
    "mish": lambda x: x * np.tanh(_softplus(x)),
    "elu": lambda x: np.where(x > 0, x, np.expm1(x)),
    "leaky_relu": lambda x: np.where(x > 0, x, LEAKY_SLOPE * x),
    "relu6": lambda x: np.clip(x, 0, 6),
    "hardswish": lambda x: x * (np.clip(x + 3.0, 0, 6) / 6.0),
    "hardsigmoid": lambda x: np.clip(x + 3.0, 0, 6) / 6.0,
    "square": np.square,
    "logical_not": np.logical_not,
    "isnan": np.isnan,
    "isinf": np.isinf,
    "isfinite": np.isfinite,
}

# name -> (what the gradient reads: "x" the input, "y" the output, "" neither; dx from (dy, x or y)).
# At a kink the value is PyTorch's: relu'(0) = 0, leaky_relu'(0) = slope.
UNARY_GRAD: dict[str, tuple[str, Callable[[Array, Any], Array]]] = {
    "neg": ("", lambda dy, _: -dy),
    "abs": ("x", lambda dy, x: dy * np.sign(x)),
    "sign": ("", lambda dy, _: dy * 0.0),
    "exp": ("y", lambda dy, y: dy * y),
    "expm1": ("y", lambda dy, y: dy * (y + 1.0)),
    "log": ("x", lambda dy, x: dy / x),
    "log1p": ("x", lambda dy, x: dy / (x + 1.0)),
    "log2": ("x", lambda dy, x: dy / (x * np.log(2.0))),
    "sqrt": ("y", lambda dy, y: dy / (2.0 * y)),
    "rsqrt": ("y", lambda dy, y: -0.5 * dy * y * y * y),
    "reciprocal": ("y", lambda dy, y: -dy * y * y),
    "sin": ("x", lambda dy, x: dy * np.cos(x)),
    "cos": ("x", lambda dy, x: -dy * np.sin(x)),
    "tan": ("y", lambda dy, y: dy * (1.0 + y * y)),
    "tanh": ("y", lambda dy, y: dy * (1.0 - y * y)),
    "sinh": ("x", lambda dy, x: dy * np.cosh(x)),
    "cosh": ("x", lambda dy, x: dy * np.sinh(x)),
    "asin": ("x", lambda dy, x: dy / np.sqrt(1.0 - x * x)),
    "acos": ("x", lambda dy, x: -dy / np.sqrt(1.0 - x * x)),
    "atan": ("x", lambda dy, x: dy / (1.0 + x * x)),
    "sigmoid": ("y", lambda dy, y: dy * y * (1.0 - y)),
    "erf": ("x", lambda dy, x: dy * (2.0 / np.sqrt(np.pi)) * np.exp(-x * x)),
    "floor": ("", lambda dy, _: dy * 0.0),
    "ceil": ("", lambda dy, _: dy * 0.0),
    "round": ("", lambda dy, _: dy * 0.0),
    "trunc": ("", lambda dy, _: dy * 0.0),
    "relu": ("y", lambda dy, y: np.where(y <= 0, 0.0, dy)),
    "gelu": ("x", lambda dy, x: dy * (_normal_cdf(x) + np.clip(x, -FAR, FAR) * _normal_pdf(x))),
    "gelu_tanh": ("x", lambda dy, x: dy * _gelu_tanh_slope(x)),
    "silu": ("x", lambda dy, x: dy * _silu_slope(x)),
    "softplus": ("x", lambda dy, x: dy * _sigmoid(x)),
    "mish": ("x", lambda dy, x: dy * _mish_slope(x)),
    "elu": ("y", lambda dy, y: np.where(y > 0, dy, dy * (y + 1.0))),
    "leaky_relu": ("y", lambda dy, y: np.where(y > 0, dy, LEAKY_SLOPE * dy)),
    "relu6": ("y", lambda dy, y: np.where((y <= 0) | (y >= 6), 0.0, dy)),
    "hardswish": ("x", lambda dy, x: np.where(x <= -3, 0.0, np.where(x < 3, dy * (x / 3.0 + 0.5), dy))),
    "hardsigmoid": ("x", lambda dy, x: np.where((x <= -3) | (x >= 3), 0.0, dy / 6.0)),
    "square": ("x", lambda dy, x: 2.0 * dy * x),
}

GRAD_NEEDS: dict[str, str] = {name: needs for name, (needs, _) in UNARY_GRAD.items()}

BINARY: dict[str, Callable[[Array, Array], Array]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.true_divide,
    "pow": np.power,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "fmod": np.fmod,  # sign of a
    "remainder": np.remainder,  # sign of b
    "floor_divide": np.floor_divide,
    "atan2": np.arctan2,
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
    "logical_xor": np.logical_xor,
}

GATES = ("sigmoid", "relu", "gelu", "gelu_tanh", "silu")


def empty(shape: tuple[int, ...], dtype: np.dtype | type) -> Array:
    """A C-contiguous array with undefined contents."""
    return np.empty(shape, dtype)


def full(shape: tuple[int, ...], value: float, dtype: np.dtype | type) -> Array:
    """A C-contiguous array filled with value."""
    return np.full(shape, value, dtype)


def copy(x: Array, dtype: np.dtype | type | None = None) -> Array:
    """A fresh C-contiguous copy of x, cast to dtype if given."""
    with np.errstate(all="ignore"):
        return np.array(x, dtype=dtype, order="C", copy=True)


def unary(name: str, x: Array, out: Array | None = None) -> Array:
    """y = f(x) elementwise; f is UNARY[name]. logical_not, isnan, isinf and isfinite give bool."""
    return deliver(exact(UNARY[name])(x), out)


def unary_grad(name: str, dy: Array, x: Array | None, y: Array | None) -> Array:
    """dx = dy * f'(x). Of x and y only the one named by GRAD_NEEDS[name] is read; the other may be None."""
    needs, formula = UNARY_GRAD[name]
    return exact(formula)(dy, x if needs == "x" else y)


def binary(name: str, a: Array, b: Array, out: Array | None = None) -> Array:
    """f(a, b) with NumPy broadcasting, a and b of one dtype; comparisons and logical functions give bool."""
    return deliver(exact(BINARY[name])(a, b), out)


def where(cond: Array, a: Array, b: Array) -> Array:
    """a where cond (bool) is true, else b; all three broadcast."""
    return np.array(np.where(cond, a, b), order="C")


def add_(dst: Array, src: Array) -> Array:
    """dst += src in place, same shape and dtype; returns dst."""
    with np.errstate(all="ignore"):
        dst += src
    return dst


def assign(dst: Array, src: Array) -> Array:
    """dst[...] = src in place, same shape and dtype, dst a view with any strides; returns dst."""
    dst[...] = src
    return dst


@exact
def gated(act: str, gate: Array, up: Array) -> Array:
    """act(gate) * up, same shapes: the gated linear units of Shazeer 2020 (arXiv:2002.05202).

    act is one of GATES.
    """
    return UNARY[act](gate) * up


@exact
def gated_grad(act: str, dy: Array, gate: Array, up: Array) -> tuple[Array, Array]:
    """(dgate, dup) = (dy * up * act'(gate), dy * act(gate))."""
    value = UNARY[act](gate)
    needs, formula = UNARY_GRAD[act]
    return dy * up * formula(np.ones_like(dy), gate if needs == "x" else value), dy * value


def deliver(result: Array, out: Array | None) -> Array:
    if out is None:
        return result
    out[...] = result
    return out
