"""Which dtype an operation on mixed arguments has, and how arguments become tensors of it."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import ops
from ..autograd import Variable, apply
from ..dtypes import bool as BOOL
from ..dtypes import float32 as FLOAT
from ..dtypes import int64 as LONG

if TYPE_CHECKING:
    from .._tensor import Tensor

__all__ = ["result_type"]

Dims = int | Sequence[int] | None


# -----------------


def _priority(x: Any) -> int:
    """A tensor with axes outranks one without, which outranks a Python number."""
    return 0 if not isinstance(x, Variable) else 1 + (x.array.ndim > 0)


def _dtype_of(x: Any) -> np.dtype:
    if isinstance(x, Variable):
        return x.array.dtype
    return BOOL if isinstance(x, bool) else LONG if isinstance(x, (int, np.integer)) else FLOAT


def result_type(*xs: Any) -> np.dtype:
    """PyTorch's promotion: the widest dtype of the highest category (bool < integer < float), where a number or a
    tensor without axes counts only if it raises the category. int64 with float32 is float32.
    """
    best: np.dtype | None = None
    for level in (2, 1, 0):
        for x in xs:
            if _priority(x) != level:
                continue
            d = _dtype_of(x)
            order = "bif"
            if best is None or order.index(d.kind) > order.index(best.kind):
                best = d
                best_level = level
            elif d.kind == best.kind and level == best_level and d.itemsize > best.itemsize:
                best = d
    return best if best is not None else FLOAT


def as_dtype(x: Any, dtype: np.dtype) -> Tensor:
    """`x`, a tensor, array or number, as a tensor of `dtype`; differentiable if it is one."""
    if isinstance(x, Variable):
        return x if x.array.dtype == dtype else apply(ops.Cast, x, dtype=dtype)  # type: ignore[return-value]
    return Variable.tensor_class(np.asarray(x, dtype))  # type: ignore[return-value]


def pair(a: Any, b: Any) -> tuple[Tensor, Tensor]:
    if isinstance(a, Variable) and isinstance(b, Variable) and a.array.dtype == b.array.dtype:
        return a, b  # type: ignore[return-value]
    a, b = (Variable.tensor_class(x) if isinstance(x, np.ndarray) else x for x in (a, b))
    dtype = result_type(a, b)
    return as_dtype(a, dtype), as_dtype(b, dtype)


def floating(x: Tensor) -> Tensor:
    return x if x.array.dtype.kind == "f" else as_dtype(x, FLOAT)


def sizes_of(shape: tuple) -> tuple[int, ...]:
    """`f(2, 3)` and `f((2, 3))` alike. Raises TypeError unless all are whole numbers."""
    sizes = shape[0] if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
    return tuple(map(operator.index, sizes))
