"""Functions over axes: sums, extremes, softmax, sorting."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .. import ops
from ..autograd import Variable, apply
from ..errors import ShapeError
from ..op import Op, axis_index, axis_tuple
from .elementwise import abs, div, gt, maximum, minimum, mul, pow, sqrt, square, sub, where
from .index import gather
from .promote import LONG, Dims, as_dtype, floating
from .shape import flatten, reshape, squeeze, unsqueeze

if TYPE_CHECKING:
    from .._tensor import Tensor

__all__ = [
    "Extremum",
    "all",
    "amax",
    "amin",
    "any",
    "argmax",
    "argmin",
    "argsort",
    "cumsum",
    "log_softmax",
    "logsumexp",
    "max",
    "mean",
    "min",
    "norm",
    "prod",
    "softmax",
    "sort",
    "std",
    "sum",
    "topk",
    "var",
]


class Extremum(NamedTuple):
    """What max, min, sort and topk with a dim give: values, and their indices along it."""

    values: Tensor
    indices: Tensor


def _axes(dim: Dims) -> Any:
    return dim if dim is None or isinstance(dim, int) else tuple(dim) or None


# -----------------


def _cast(input: Tensor, dtype: Any) -> Tensor:
    return input if dtype is None else as_dtype(input, np.dtype(dtype))


def sum(input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Sum over `dim` (an int, several, None for all). Integers and bools sum as int64 unless a dtype is given."""
    x = _cast(input, dtype if input.array.dtype.kind == "f" else dtype or LONG)
    return apply(ops.Sum, x, dim=_axes(dim), keepdim=keepdim)


def mean(input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Mean over `dim`; the input must be floating point, or dtype be given."""
    return apply(ops.Mean, _cast(input, dtype), dim=_axes(dim), keepdim=keepdim)


def prod(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Product over `dim`. Integers and bools multiply as int64."""
    x = input if input.array.dtype.kind == "f" else as_dtype(input, LONG)
    return apply(ops.Prod, x, dim=dim, keepdim=keepdim)


def amax(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Largest element over `dim`; equal ones share the gradient."""
    return apply(ops.Amax, input, dim=_axes(dim), keepdim=keepdim)


def amin(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Smallest element over `dim`; equal ones share the gradient."""
    return apply(ops.Amin, input, dim=_axes(dim), keepdim=keepdim)


def _extreme(input: Tensor, dim: Any, keepdim: bool, arg: type[Op], elementwise: Callable, all_of: Callable) -> Any:
    if dim is None:
        return all_of(input)
    if isinstance(dim, Variable):
        return elementwise(input, dim)
    if input.array.ndim == 0:
        return Extremum(input, argmax(input, 0))
    indices = apply(arg, input, dim=dim, keepdim=True)
    values = gather(input, dim, indices)
    return Extremum(values, indices) if keepdim else Extremum(squeeze(values, dim), squeeze(indices, dim))


def max(input: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """The largest element; with a dim, the pair (values, indices) along it; with a tensor, the elementwise maximum."""
    return _extreme(input, dim, keepdim, ops.Argmax, maximum, amax)


def min(input: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """The smallest element; with a dim, the pair (values, indices) along it; with a tensor, the elementwise minimum."""
    return _extreme(input, dim, keepdim, ops.Argmin, minimum, amin)


def _arg(op: type[Op], input: Tensor, dim: int | None, keepdim: bool) -> Tensor:
    if dim is not None:
        return apply(op, input, dim=dim, keepdim=keepdim)
    out = apply(op, flatten(input), dim=0)
    return reshape(out, (1,) * input.array.ndim) if keepdim else out


def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Index of the largest element along `dim` (None: in the flattened input), the first of equals."""
    return _arg(ops.Argmax, input, dim, keepdim)


def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Index of the smallest element along `dim` (None: in the flattened input), the first of equals."""
    return _arg(ops.Argmin, input, dim, keepdim)


def any(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Whether any element over `dim` is not zero."""
    return apply(ops.Any, input, dim=_axes(dim), keepdim=keepdim)


def all(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Whether all elements over `dim` are not zero."""
    return apply(ops.All, input, dim=_axes(dim), keepdim=keepdim)


def var(
    input: Tensor, dim: Dims = None, unbiased: bool = True, keepdim: bool = False, *, correction: int | None = None
) -> Tensor:
    """Variance over `dim`: the sum of squares divided by n - correction, which is 1 if `unbiased` and else 0."""
    if isinstance(dim, bool):  # x.var(False), PyTorch's other order
        unbiased, dim = dim, None
    axes = axis_tuple("var", _axes(dim), input.array.ndim)
    rest = math.prod(input.array.shape[a] for a in axes) - (int(unbiased) if correction is None else correction)
    squares = sum(square(sub(input, mean(input, axes, keepdim=True))), axes, keepdim)
    return div(squares, rest) if rest > 0 else mul(squares, math.nan)


def std(
    input: Tensor, dim: Dims = None, unbiased: bool = True, keepdim: bool = False, *, correction: int | None = None
) -> Tensor:
    """Square root of `var`; its gradient is 0 where it is 0."""
    return _root(var(input, dim, unbiased, keepdim, correction=correction))


def norm(input: Tensor, p: float = 2, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """(sum |x|^p)^(1/p) over `dim`; p may be inf. The gradient of the 2-norm is 0 where it is 0."""
    if p == math.inf:
        return amax(abs(input), dim, keepdim)
    if p == 2:
        return _root(sum(square(input), dim, keepdim))
    return pow(sum(pow(abs(input), p), dim, keepdim), 1 / p)


def _root(x: Tensor) -> Tensor:
    """sqrt of a sum of squares, with the gradient 1 rather than infinite at 0: there that of the squares is 0."""
    positive = gt(x, 0)
    return where(positive, sqrt(where(positive, x, 1)), x)


def logsumexp(input: Tensor, dim: int | Sequence[int], keepdim: bool = False) -> Tensor:
    """ln sum e^x over `dim`, without overflow."""
    out = floating(input)
    axes = axis_tuple("logsumexp", dim, input.array.ndim)
    for a in axes[::-1]:
        out = apply(ops.Logsumexp, out, dim=a)
    for a in axes if keepdim else ():
        out = unsqueeze(out, a)
    return out


def softmax(input: Tensor, dim: int, dtype: Any = None) -> Tensor:
    """e^x / sum e^x along `dim`."""
    return apply(ops.Softmax, floating(_cast(input, dtype)), dim=dim)


def log_softmax(input: Tensor, dim: int, dtype: Any = None) -> Tensor:
    """Logarithm of softmax along `dim`, without underflow."""
    return apply(ops.LogSoftmax, floating(_cast(input, dtype)), dim=dim)


def cumsum(input: Tensor, dim: int) -> Tensor:
    """Running sum along `dim`. Integers and bools sum as int64."""
    return apply(ops.Cumsum, input if input.array.dtype.kind == "f" else as_dtype(input, LONG), dim=dim)


def sort(input: Tensor, dim: int = -1, descending: bool = False) -> Extremum:
    """(values, indices) sorted along `dim`, stable."""
    return Extremum(*apply(ops.Sort, input, dim=dim, descending=descending))


def argsort(input: Tensor, dim: int = -1, descending: bool = False) -> Tensor:
    """Indices that sort along `dim`, stable."""
    return sort(input, dim, descending).indices


def topk(input: Tensor, k: int, dim: int = -1, largest: bool = True) -> Extremum:
    """The k largest (or smallest) elements along `dim` in order, and their indices."""
    size = input.array.shape[axis_index("topk", dim, input.array.ndim)]
    if not 0 <= k <= size:
        raise ShapeError(f"topk: k must be from 0 to {size}, the size of axis {dim}, got {k}")
    values, indices = sort(input, dim, largest)
    key = (slice(None),) * axis_index("topk", dim, input.array.ndim) + (slice(0, k),)
    return Extremum(apply(ops.Slice, values, key=key), apply(ops.Slice, indices, key=key))
