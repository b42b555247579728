"""Functions of each element: arithmetic, comparison, selection."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .. import ops
from ..autograd import Variable, apply
from ..op import Op
from .promote import as_dtype, floating, pair, result_type

if TYPE_CHECKING:
    from .._tensor import Tensor


# -----------------


def _unary(op: type[Op]) -> Callable[[Tensor], Tensor]:
    def function(input: Tensor) -> Tensor:
        return apply(op, floating(input) if op.kinds == "f" else input)

    function.__name__ = function.__qualname__ = op.kernel  # type: ignore[attr-defined]
    function.__doc__ = op.__doc__
    return function


neg, abs, sign, square = _unary(ops.Neg), _unary(ops.Abs), _unary(ops.Sign), _unary(ops.Square)
exp, expm1, log, log1p, log2 = _unary(ops.Exp), _unary(ops.Expm1), _unary(ops.Log), _unary(ops.Log1p), _unary(ops.Log2)
sqrt, rsqrt, reciprocal, erf = _unary(ops.Sqrt), _unary(ops.Rsqrt), _unary(ops.Reciprocal), _unary(ops.Erf)
sin, cos, tan, asin, acos, atan = (
    _unary(ops.Sin),
    _unary(ops.Cos),
    _unary(ops.Tan),
    _unary(ops.Asin),
    _unary(ops.Acos),
    _unary(ops.Atan),
)
sinh, cosh, tanh, sigmoid, relu = (
    _unary(ops.Sinh),
    _unary(ops.Cosh),
    _unary(ops.Tanh),
    _unary(ops.Sigmoid),
    _unary(ops.Relu),
)
floor, ceil, round, trunc = _unary(ops.Floor), _unary(ops.Ceil), _unary(ops.Round), _unary(ops.Trunc)
isnan, isinf, isfinite, logical_not = _unary(ops.Isnan), _unary(ops.Isinf), _unary(ops.Isfinite), _unary(ops.LogicalNot)


def _binary(op: type[Op], to_float: bool = False) -> Callable[[Any, Any], Tensor]:
    def function(input: Any, other: Any) -> Tensor:
        a, b = pair(input, other)
        return apply(op, floating(a), floating(b)) if to_float else apply(op, a, b)

    function.__name__ = function.__qualname__ = op.kernel  # type: ignore[attr-defined]
    function.__doc__ = op.__doc__
    return function


maximum, minimum, remainder, fmod = (
    _binary(ops.Maximum),
    _binary(ops.Minimum),
    _binary(ops.Remainder),
    _binary(ops.Fmod),
)
floor_divide, atan2 = _binary(ops.FloorDivide), _binary(ops.Atan2, to_float=True)
eq, ne, lt, le, gt, ge = (
    _binary(ops.Eq),
    _binary(ops.Ne),
    _binary(ops.Lt),
    _binary(ops.Le),
    _binary(ops.Gt),
    _binary(ops.Ge),
)
logical_and, logical_or, logical_xor = _binary(ops.LogicalAnd), _binary(ops.LogicalOr), _binary(ops.LogicalXor)
mul = _binary(ops.Mul)


def add(input: Any, other: Any, *, alpha: float = 1) -> Tensor:
    """input + alpha * other."""
    a, b = pair(input, other if alpha == 1 else mul(other, alpha))
    return apply(ops.Add, a, b)


def sub(input: Any, other: Any, *, alpha: float = 1) -> Tensor:
    """input - alpha * other."""
    a, b = pair(input, other if alpha == 1 else mul(other, alpha))
    return apply(ops.Sub, a, b)


def div(input: Any, other: Any, *, rounding_mode: str | None = None) -> Tensor:
    """input / other: true division, integers become float32; rounding_mode "floor" or "trunc" rounds the quotient."""
    if rounding_mode == "floor":
        return floor_divide(input, other)
    if rounding_mode not in (None, "trunc"):
        raise ValueError(f'div: rounding_mode must be None, "floor" or "trunc", got {rounding_mode!r}')
    a, b = pair(input, other)
    quotient = apply(ops.Div, floating(a), floating(b))
    return quotient if rounding_mode is None else as_dtype(trunc(quotient), a.array.dtype)


def pow(input: Any, exponent: Any) -> Tensor:
    """input ** exponent; 2 and 0.5 take the square and the root."""
    if isinstance(exponent, (int, float)) and exponent in (2, 0.5) and isinstance(input, Variable):
        return (square if exponent == 2 else sqrt)(input)  # type: ignore[arg-type]
    a, b = pair(input, exponent)
    return apply(ops.Pow, a, b)


def where(condition: Tensor, input: Any, other: Any) -> Tensor:
    """input where condition, else other."""
    a, b = pair(input, other)
    return apply(ops.Where, condition, a, b)


def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """input with `value` where mask."""
    return apply(ops.Where, mask, as_dtype(value, input.array.dtype), input)


def clamp(input: Tensor, min: float | None = None, max: float | None = None) -> Tensor:
    """input limited to [min, max]; None leaves a side open."""
    return apply(
        ops.Clamp, as_dtype(input, result_type(input, *[b for b in (min, max) if b is not None])), low=min, high=max
    )
