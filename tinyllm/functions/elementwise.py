"""Functions of each element: arithmetic, comparison, selection."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import ops
from ..autograd import Variable, apply
from ..errors import DtypeError
from ..op import Op
from ..ops.unary import Step
from .promote import as_dtype, floating, pair, result_type

if TYPE_CHECKING:
    from .._tensor import Tensor

__all__ = [
    "abs",
    "acos",
    "add",
    "allclose",
    "asin",
    "atan",
    "atan2",
    "bitwise_and",
    "bitwise_not",
    "bitwise_or",
    "bitwise_xor",
    "ceil",
    "clamp",
    "cos",
    "cosh",
    "div",
    "eq",
    "equal",
    "erf",
    "exp",
    "expm1",
    "floor",
    "floor_divide",
    "fmod",
    "ge",
    "gt",
    "isclose",
    "isfinite",
    "isinf",
    "isnan",
    "le",
    "log",
    "log1p",
    "log2",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "lt",
    "masked_fill",
    "maximum",
    "minimum",
    "mul",
    "ne",
    "neg",
    "pow",
    "reciprocal",
    "relu",
    "remainder",
    "round",
    "rsqrt",
    "sigmoid",
    "sign",
    "sin",
    "sinh",
    "sqrt",
    "square",
    "sub",
    "tan",
    "tanh",
    "trunc",
    "where",
]


# -----------------


def _unary(op: type[Op]) -> Callable[[Tensor], Tensor]:
    def function(input: Tensor) -> Tensor:
        if issubclass(op, Step) and not _is_float(input):
            return input.clone()  # integers are rounded already
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


def _is_float(x: Variable) -> bool:
    return x.array.dtype.kind == "f"


def _of_bools(name: str, function: Callable) -> Callable[..., Tensor]:
    def bitwise(*inputs: Any) -> Tensor:
        for x in inputs:
            if not isinstance(x, bool) and not (isinstance(x, Variable) and x.array.dtype == bool):
                came = x.array.dtype if isinstance(x, Variable) else type(x).__name__
                raise DtypeError(f"{name}: only bool tensors have bitwise operations here, got {came}; compare first")
        return function(*inputs)

    bitwise.__name__ = bitwise.__qualname__ = name
    bitwise.__doc__ = f"`{function.__name__}` of bool tensors; others raise DtypeError."
    return bitwise


bitwise_and, bitwise_or = _of_bools("bitwise_and", logical_and), _of_bools("bitwise_or", logical_or)
bitwise_xor, bitwise_not = _of_bools("bitwise_xor", logical_xor), _of_bools("bitwise_not", logical_not)


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
    if rounding_mode == "trunc" and not _is_float(a):
        return floor_divide(sub(a, fmod(a, b)), b)  # exact: through floats, large integers would be rounded
    quotient = apply(ops.Div, floating(a), floating(b))
    return quotient if rounding_mode is None else trunc(quotient)


def pow(input: Any, exponent: Any) -> Tensor:
    """input ** exponent; 2 and 0.5 take the square and the root."""
    if isinstance(exponent, (int, float)) and exponent in (2, 0.5) and isinstance(input, Variable) and _is_float(input):
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


def isclose(input: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Tensor:
    """Where |input - other| <= atol + rtol * |other|; equal infinities are close, NaN to NaN only if `equal_nan`."""
    a, b = pair(input, other)
    return Variable.tensor_class(np.isclose(a.array, b.array, rtol, atol, equal_nan))  # type: ignore[return-value]


def allclose(input: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> bool:
    """Whether all elements are close (see `isclose`), after broadcasting."""
    return bool(isclose(input, other, rtol, atol, equal_nan).array.all())


def equal(input: Tensor, other: Tensor) -> bool:
    """Whether shapes and all elements are the same."""
    return input.array.shape == other.array.shape and bool((input.array == other.array).all())


def clamp(input: Tensor, min: float | None = None, max: float | None = None) -> Tensor:
    """input limited to [min, max]; None leaves a side open."""
    return apply(
        ops.Clamp, as_dtype(input, result_type(input, *[b for b in (min, max) if b is not None])), low=min, high=max
    )
