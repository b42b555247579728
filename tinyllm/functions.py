"""PyTorch's functions over tensors: promotion of dtypes, then one op or a short composition of them.

Each function is also the Tensor method of the same name. Names, argument order and defaults are PyTorch's. What is not here: creation and the
class itself (_tensor.py), and what neural networks add (nn/functional.py).
"""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from . import ops
from .autograd import Variable, apply
from .errors import ShapeError
from .op import Op, axis_index, axis_tuple

if TYPE_CHECKING:
    from ._tensor import Tensor

Dims = int | Sequence[int] | None
_FLOAT, _LONG, _BOOL = np.dtype(np.float32), np.dtype(np.int64), np.dtype(bool)


class Extremum(NamedTuple):
    """What max, min, sort and topk with a dim give: values, and their indices along it."""

    values: Tensor
    indices: Tensor


# -- dtypes ----------------------------------------------------------------------------------------------------------------------------


def _priority(x: Any) -> int:
    """A tensor with axes outranks one without, which outranks a Python number."""
    return 0 if not isinstance(x, Variable) else 1 + (x.array.ndim > 0)


def _dtype_of(x: Any) -> np.dtype:
    if isinstance(x, Variable):
        return x.array.dtype
    return _BOOL if isinstance(x, bool) else _LONG if isinstance(x, (int, np.integer)) else _FLOAT


def result_type(*xs: Any) -> np.dtype:
    """PyTorch's promotion: the widest dtype of the highest category (bool < integer < float), where a number or a tensor without axes
    counts only if it raises the category. int64 with float32 is float32."""
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
    return best if best is not None else _FLOAT


def _as(x: Any, dtype: np.dtype) -> Tensor:
    """`x`, a tensor, array or number, as a tensor of `dtype`; differentiable if it is one."""
    if isinstance(x, Variable):
        return x if x.array.dtype == dtype else apply(ops.Cast, x, dtype=dtype)  # type: ignore[return-value]
    return Variable.tensor_class(np.asarray(x, dtype))  # type: ignore[return-value]


def _pair(a: Any, b: Any) -> tuple[Tensor, Tensor]:
    a, b = (Variable.tensor_class(x) if isinstance(x, np.ndarray) else x for x in (a, b))
    dtype = result_type(a, b)
    return _as(a, dtype), _as(b, dtype)


def _floating(x: Tensor) -> Tensor:
    return x if x.array.dtype.kind == "f" else _as(x, _FLOAT)


# -- elementwise -----------------------------------------------------------------------------------------------------------------------


def _unary(op: type[Op]) -> Callable[[Tensor], Tensor]:
    def function(input: Tensor) -> Tensor:
        return apply(op, _floating(input) if op.kinds == "f" else input)

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


def _binary(op: type[Op], floating: bool = False) -> Callable[[Any, Any], Tensor]:
    def function(input: Any, other: Any) -> Tensor:
        a, b = _pair(input, other)
        return apply(op, _floating(a), _floating(b)) if floating else apply(op, a, b)

    function.__name__ = function.__qualname__ = op.kernel  # type: ignore[attr-defined]
    function.__doc__ = op.__doc__
    return function


maximum, minimum, remainder, fmod = (
    _binary(ops.Maximum),
    _binary(ops.Minimum),
    _binary(ops.Remainder),
    _binary(ops.Fmod),
)
floor_divide, atan2 = _binary(ops.FloorDivide), _binary(ops.Atan2, floating=True)
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
    a, b = _pair(input, other if alpha == 1 else mul(other, alpha))
    return apply(ops.Add, a, b)


def sub(input: Any, other: Any, *, alpha: float = 1) -> Tensor:
    """input - alpha * other."""
    a, b = _pair(input, other if alpha == 1 else mul(other, alpha))
    return apply(ops.Sub, a, b)


def div(input: Any, other: Any, *, rounding_mode: str | None = None) -> Tensor:
    """input / other: true division, integers become float32; rounding_mode "floor" or "trunc" rounds the quotient."""
    if rounding_mode == "floor":
        return floor_divide(input, other)
    if rounding_mode not in (None, "trunc"):
        raise ValueError(f'div: rounding_mode must be None, "floor" or "trunc", got {rounding_mode!r}')
    a, b = _pair(input, other)
    quotient = apply(ops.Div, _floating(a), _floating(b))
    return quotient if rounding_mode is None else _as(trunc(quotient), a.array.dtype)


def pow(input: Any, exponent: Any) -> Tensor:
    """input ** exponent; 2 and 0.5 take the square and the root."""
    if isinstance(exponent, (int, float)) and isinstance(input, Variable):
        if exponent == 2:
            return square(input)
        if exponent == 0.5:
            return sqrt(input)
    a, b = _pair(input, exponent)
    return apply(ops.Pow, a, b)


def where(condition: Tensor, input: Any, other: Any) -> Tensor:
    """input where condition, else other."""
    a, b = _pair(input, other)
    return apply(ops.Where, condition, a, b)


def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """input with `value` where mask."""
    return apply(ops.Where, mask, _as(value, input.array.dtype), input)


def clamp(input: Tensor, min: float | None = None, max: float | None = None) -> Tensor:
    """input limited to [min, max]; None leaves a side open."""
    return apply(
        ops.Clamp, _as(input, result_type(input, *[b for b in (min, max) if b is not None])), low=min, high=max
    )


# -- reductions ------------------------------------------------------------------------------------------------------------------------


def sum(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Sum over `dim` (an int, several, None for all). Integers and bools sum as int64."""
    x = input if input.array.dtype.kind == "f" else _as(input, _LONG)
    return apply(ops.Sum, x, dim=_dims(dim), keepdim=keepdim)


def _dims(dim: Dims) -> Any:
    return dim if dim is None or isinstance(dim, int) else tuple(dim) or None


def mean(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Mean over `dim`; the input must be floating point."""
    return apply(ops.Mean, input, dim=_dims(dim), keepdim=keepdim)


def prod(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Product over `dim`. Integers and bools multiply as int64."""
    x = input if input.array.dtype.kind == "f" else _as(input, _LONG)
    return apply(ops.Prod, x, dim=dim, keepdim=keepdim)


def amax(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Largest element over `dim`; equal ones share the gradient."""
    return apply(ops.Amax, input, dim=_dims(dim), keepdim=keepdim)


def amin(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Smallest element over `dim`; equal ones share the gradient."""
    return apply(ops.Amin, input, dim=_dims(dim), keepdim=keepdim)


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


def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Index of the largest element along `dim` (None: in the flattened input), the first of equals."""
    return apply(ops.Argmax, flatten(input) if dim is None else input, dim=0 if dim is None else dim, keepdim=keepdim)


def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Index of the smallest element along `dim` (None: in the flattened input), the first of equals."""
    return apply(ops.Argmin, flatten(input) if dim is None else input, dim=0 if dim is None else dim, keepdim=keepdim)


def any(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Whether any element over `dim` is not zero."""
    return apply(ops.Any, input, dim=_dims(dim), keepdim=keepdim)


def all(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Whether all elements over `dim` are not zero."""
    return apply(ops.All, input, dim=_dims(dim), keepdim=keepdim)


def var(input: Tensor, dim: Dims = None, *, correction: int = 1, keepdim: bool = False) -> Tensor:
    """Variance over `dim`, the sum of squares divided by (n - correction)."""
    axes = axis_tuple("var", dim, input.array.ndim)
    n = math.prod(input.array.shape[a] for a in axes)
    squares = sum(square(sub(input, mean(input, axes, keepdim=True))), axes, keepdim)
    return div(squares, builtins.max(n - correction, 0)) if n > correction else mul(squares, math.nan)


def std(input: Tensor, dim: Dims = None, *, correction: int = 1, keepdim: bool = False) -> Tensor:
    """Square root of `var`."""
    return sqrt(var(input, dim, correction=correction, keepdim=keepdim))


def norm(input: Tensor, p: float = 2, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """(sum |x|^p)^(1/p) over `dim`; p may be inf."""
    if p == math.inf:
        return amax(abs(input), dim, keepdim)
    if p == 2:
        return sqrt(sum(square(input), dim, keepdim))
    return pow(sum(pow(abs(input), p), dim, keepdim), 1 / p)


def logsumexp(input: Tensor, dim: int, keepdim: bool = False) -> Tensor:
    """ln sum e^x along `dim`, without overflow."""
    out = apply(ops.Logsumexp, _floating(input), dim=dim)
    return unsqueeze(out, axis_index("logsumexp", dim, input.array.ndim)) if keepdim else out


def softmax(input: Tensor, dim: int) -> Tensor:
    """e^x / sum e^x along `dim`."""
    return apply(ops.Softmax, _floating(input), dim=dim)


def log_softmax(input: Tensor, dim: int) -> Tensor:
    """Logarithm of softmax along `dim`, without underflow."""
    return apply(ops.LogSoftmax, _floating(input), dim=dim)


def cumsum(input: Tensor, dim: int) -> Tensor:
    """Running sum along `dim`. Integers and bools sum as int64."""
    return apply(ops.Cumsum, input if input.array.dtype.kind == "f" else _as(input, _LONG), dim=dim)


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


# -- shapes ----------------------------------------------------------------------------------------------------------------------------


def _sizes(shape: tuple) -> tuple[int, ...]:
    """`f(2, 3)` and `f((2, 3))` alike."""
    return tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else tuple(shape)


def reshape(input: Tensor, *shape: Any) -> Tensor:
    """The same elements in another shape, a view where possible; one size may be -1."""
    return apply(ops.Reshape, input, shape=_sizes(shape))


def view(input: Tensor, *shape: Any) -> Tensor:
    """`reshape`, but never a copy: raises where the strides do not allow a view."""
    out = reshape(input, *shape)
    if out.array.size and not np.shares_memory(out.array, input.array):
        raise ShapeError(
            f"view: a tensor of shape {input.array.shape} with these strides has no view of shape {_sizes(shape)}; use reshape"
        )
    return out


def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Join the axes from start_dim to end_dim into one."""
    s = input.array.shape
    a, b = axis_index("flatten", start_dim, len(s)), axis_index("flatten", end_dim, len(s))
    if a > b:
        raise ShapeError(f"flatten: start_dim {start_dim} comes after end_dim {end_dim}")
    return apply(ops.Reshape, input, shape=(*s[:a], math.prod(s[a : b + 1]), *s[b + 1 :]))


def unflatten(input: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    """Split one axis into several; one size may be -1."""
    s, a = input.array.shape, axis_index("unflatten", dim, input.array.ndim)
    rest = math.prod(n for n in sizes if n != -1)
    full = tuple(s[a] // rest if n == -1 and rest else n for n in sizes)
    if math.prod(full) != s[a]:
        raise ShapeError(
            f"unflatten: sizes {tuple(sizes)} must multiply to {s[a]}, the size of axis {dim} of shape {s}"
        )
    return apply(ops.Reshape, input, shape=(*s[:a], *full, *s[a + 1 :]))


def squeeze(input: Tensor, dim: Dims = None) -> Tensor:
    """Drop axes of size 1: all of them, or those of `dim`."""
    axes = axis_tuple("squeeze", dim, input.array.ndim)
    return apply(ops.Reshape, input, shape=tuple(s for i, s in enumerate(input.array.shape) if s != 1 or i not in axes))


def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """A new axis of size 1 before axis `dim` of the result."""
    s = input.array.shape
    a = axis_index("unsqueeze", dim, len(s) + 1)
    return apply(ops.Reshape, input, shape=(*s[:a], 1, *s[a:]))


def permute(input: Tensor, *dims: Any) -> Tensor:
    """The axes in another order: a view."""
    return apply(ops.Permute, input, dims=_sizes(dims))


def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Two axes exchanged: a view."""
    dims = list(range(input.array.ndim))
    a, b = axis_index("transpose", dim0, len(dims)), axis_index("transpose", dim1, len(dims))
    if dims:
        dims[a], dims[b] = dims[b], dims[a]
    return apply(ops.Permute, input, dims=tuple(dims))


def movedim(input: Tensor, source: int, destination: int) -> Tensor:
    """One axis moved to another place: a view."""
    n = input.array.ndim
    a, b = axis_index("movedim", source, n), axis_index("movedim", destination, n)
    dims = [d for d in range(n) if d != a]
    dims.insert(b, a)
    return apply(ops.Permute, input, dims=tuple(dims))


def expand(input: Tensor, *shape: Any) -> Tensor:
    """Axes of size 1 repeated to `shape`: a view."""
    return apply(ops.Expand, input, shape=_sizes(shape))


broadcast_to = expand


def expand_as(input: Tensor, other: Tensor) -> Tensor:
    """`expand` to the shape of another tensor."""
    return apply(ops.Expand, input, shape=other.array.shape)


def repeat(input: Tensor, *repeats: Any) -> Tensor:
    """The whole tensor repeated along each axis (new axes lead)."""
    counts = _sizes(repeats)
    s = (1,) * (len(counts) - input.array.ndim) + input.array.shape
    if len(s) != len(counts):
        raise ShapeError(f"repeat: one count for each of {len(s)} axes, got {counts}")
    inner = [n for size in s for n in (1, size)]
    outer = [n for c, size in zip(counts, s, strict=True) for n in (c, size)]
    return reshape(expand(reshape(input, inner), outer), [c * size for c, size in zip(counts, s, strict=True)])


def repeat_interleave(input: Tensor, repeats: int, dim: int) -> Tensor:
    """Each element repeated along `dim`."""
    ids = Variable.tensor_class(np.repeat(np.arange(input.array.shape[dim]), repeats))
    return index_select(input, dim, ids)  # type: ignore[arg-type]


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors one after another along an axis they have."""
    if not tensors:
        raise ValueError("cat: expected at least one tensor, got none")
    dtype = result_type(*tensors)
    return apply(ops.Cat, *[_as(t, dtype) for t in tensors], dim=dim)


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors of one shape along a new axis."""
    for i, t in enumerate(tensors):
        if t.array.shape != tensors[0].array.shape:
            raise ShapeError(
                f"stack: all shapes must be equal, tensor 0 has {tensors[0].array.shape}, tensor {i} has {t.array.shape}"
            )
    return cat([unsqueeze(t, dim) for t in tensors], dim)


def split(tensor: Tensor, split_size_or_sections: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """Views of consecutive parts along `dim`: of one size (the last may be smaller), or of the sizes given."""
    n = tensor.array.shape[axis_index("split", dim, tensor.array.ndim)]
    if isinstance(split_size_or_sections, int):
        step = split_size_or_sections
        if step <= 0:
            raise ValueError(f"split: the size of a part must be positive, got {step}")
        sizes = [builtins.min(step, n - i) for i in range(0, n, step)] or [0]
    else:
        sizes = list(split_size_or_sections)
    return apply(ops.Split, tensor, sizes=sizes, dim=dim)


def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most `chunks` views of equal size along `dim` (the last may be smaller)."""
    n = input.array.shape[axis_index("chunk", dim, input.array.ndim)]
    return split(input, builtins.max(-(-n // chunks), 1), dim)


def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """A view for each index along `dim`."""
    return tuple(squeeze(part, dim) for part in split(input, 1, dim)) if input.array.shape[dim] else ()


def flip(input: Tensor, *dims: Any) -> Tensor:
    """Axes reversed: a view."""
    return apply(ops.Flip, input, dims=_sizes(dims))


def roll(input: Tensor, shifts: int, dims: int) -> Tensor:
    """Elements moved along an axis, the last ones coming first."""
    n = input.array.shape[axis_index("roll", dims, input.array.ndim)]
    k = shifts % n if n else 0
    return cat(split(input, [n - k, k], dims)[::-1], dims)


def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """The diagonal of two axes as the last axis: a view."""
    return apply(ops.Diagonal, input, offset=offset, dim1=dim1, dim2=dim2)


def _triangle(input: Tensor, k: int, lower: bool) -> Tensor:
    rows, columns = input.array.shape[-2:]
    keep = np.tri(rows, columns, k, dtype=bool)
    mask = Variable.tensor_class(keep if lower else ~keep)
    return where(mask, input, 0)  # type: ignore[arg-type]


def tril(input: Tensor, diagonal: int = 0) -> Tensor:
    """The last two axes' lower triangle, up to a diagonal; zeros above."""
    return _triangle(input, diagonal, True)


def triu(input: Tensor, diagonal: int = 0) -> Tensor:
    """The last two axes' upper triangle, from a diagonal on; zeros below."""
    return _triangle(input, diagonal - 1, False)


# -- indexing --------------------------------------------------------------------------------------------------------------------------


def getitem(input: Tensor, key: Any) -> Tensor:
    """input[key]: ints, slices, None and Ellipsis give a view, integer tensors, lists and bool masks a copy (PyTorch's order of axes)."""
    basic, lists = _split_key(key if isinstance(key, tuple) else (key,), input.array.shape)
    out = apply(ops.Slice, input, key=tuple(basic)) if basic else input
    if not lists:
        return out
    axes = list(lists)
    sizes = [out.array.shape[a] for a in axes]
    flat = np.zeros((), np.int64)
    for ids, size in zip(np.broadcast_arrays(*lists.values()), sizes, strict=True):
        if ids.size and (ids.min() < -size or ids.max() >= size):
            bad = ids[(ids < -size) | (ids >= size)].flat[0]
            raise IndexError(
                f"index {bad} is out of range for an axis of size {size}, in an index of a tensor of shape {input.array.shape}"
            )
        flat = flat * size + np.where(ids < 0, ids + size, ids)
    rest = [a for a in range(out.array.ndim) if a not in axes]
    table = permute(out, axes + rest)
    table = reshape(table, (math.prod(sizes), *[out.array.shape[a] for a in rest]))
    picked = apply(ops.Embedding, table, Variable.tensor_class(flat), padding_idx=None)
    if axes != list(range(axes[0], axes[0] + len(axes))) or axes[0] == 0:
        return picked  # indices apart from each other: their axes come first
    front = list(range(flat.ndim, flat.ndim + axes[0]))
    return permute(picked, front + list(range(flat.ndim)) + list(range(flat.ndim + axes[0], picked.array.ndim)))


def _split_key(key: tuple, shape: tuple[int, ...]) -> tuple[list, dict[int, np.ndarray]]:
    """The key as a basic part for a view, and integer arrays for axes of that view. A bool mask becomes the integers it selects."""
    items: list[Any] = []
    for k in key:
        k = k.array if isinstance(k, Variable) else k
        if isinstance(k, (list, range)):
            k = np.asarray(k, None if len(k) else np.int64)
        if isinstance(k, (bool, np.bool_)):
            k = np.asarray(k)
        if isinstance(k, np.ndarray) and k.dtype == bool:
            items.append(k)
        elif isinstance(k, np.ndarray):
            if k.dtype.kind != "i":
                raise IndexError(f"tensors used as indices must be integer or bool, got {k.dtype}")
            items.append(k)
        elif k is None or k is Ellipsis or isinstance(k, slice):
            if isinstance(k, slice) and k.step is not None and k.step <= 0:
                raise ValueError(f"slice steps must be positive, got {k.step}; use flip for a reversed view")
            items.append(k)
        elif isinstance(k, (int, np.integer)):
            items.append(int(k))
        else:
            raise TypeError(
                f"a tensor is indexed by ints, slices, None, Ellipsis, integer or bool tensors, got {type(k).__name__}"
            )
    used = builtins.sum(
        k.ndim if isinstance(k, np.ndarray) and k.dtype == bool else k is not None and k is not Ellipsis for k in items
    )
    dots = builtins.sum(k is Ellipsis for k in items)
    if used > len(shape) or dots > 1:
        raise IndexError(
            f"an index of {used} axes"
            + (" and several ..." if dots > 1 else "")
            + f" does not fit a tensor of shape {shape}"
        )
    basic: list[Any] = []
    lists: dict[int, np.ndarray] = {}
    axis = at = 0  # of the input, of the view
    for k in items:
        if k is Ellipsis:
            skip = len(shape) - used
            basic += [slice(None)] * skip
            axis, at = axis + skip, at + skip
        elif k is None:
            basic.append(None)
            at += 1
        elif isinstance(k, np.ndarray):
            if k.dtype == bool and k.ndim == 0:  # a new axis of size 1 or 0
                basic.append(None)
                lists[at] = np.zeros(int(k), np.int64)
                at += 1
                continue
            if k.dtype == bool and k.shape != shape[axis : axis + k.ndim]:
                raise IndexError(
                    f"a mask of shape {k.shape} does not fit axes {axis} to {axis + k.ndim - 1} of a tensor of shape {shape}"
                )
            for ids in k.nonzero() if k.dtype == bool else (k,):
                basic.append(slice(None))
                lists[at] = ids
                axis, at = axis + 1, at + 1
        else:
            if isinstance(k, int) and not -shape[axis] <= k < shape[axis]:
                raise IndexError(f"index {k} is out of range for axis {axis} of size {shape[axis]}")
            basic.append(k)
            axis, at = axis + 1, at + (not isinstance(k, int))
    return (basic if builtins.any(k != slice(None) for k in basic) else []), lists


def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """The slices of `input` along `dim` with the numbers in `index`, one axis."""
    a = axis_index("index_select", dim, input.array.ndim)
    picked = apply(ops.Embedding, movedim(input, a, 0), index, padding_idx=None)
    return movedim(picked, 0, a)


def gather(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """out[i][j] = input[index[i][j]][j] for dim 0, and so on; index has as many axes as input."""
    return apply(ops.Gather, input, index, dim=dim)


def take_along_dim(input: Tensor, indices: Tensor, dim: int) -> Tensor:
    """`gather` with the other axes broadcast."""
    shape = list(
        np.broadcast_shapes(
            *[tuple(1 if i == dim % s.array.ndim else n for i, n in enumerate(s.array.shape)) for s in (input, indices)]
        )
    )
    a = axis_index("take_along_dim", dim, len(shape))
    full_input, full_index = list(shape), list(shape)
    full_input[a], full_index[a] = input.array.shape[a], indices.array.shape[a]
    return gather(expand(input, full_input), a, expand(indices, full_index))


def scatter(input: Tensor, dim: int, index: Tensor, src: Any) -> Tensor:
    """A copy with src written at the places of `index` along `dim`, none of them twice; src may be a number."""
    value = src if isinstance(src, Variable) else expand(_as(src, input.array.dtype), index.array.shape)
    return apply(ops.Scatter, input, index, value, dim=dim)


def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """A copy with src added at the places of `index` along `dim`."""
    return apply(ops.ScatterAdd, input, index, src, dim=dim)


def index_add(input: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """A copy with the slices of `source` along `dim` added to those of `input` numbered by `index`."""
    a = axis_index("index_add", dim, input.array.ndim)
    shape = [-1 if i == a else 1 for i in range(input.array.ndim)]
    return scatter_add(input, a, expand(reshape(index, shape), source.array.shape), source)


def masked_select(input: Tensor, mask: Tensor) -> Tensor:
    """The elements where mask, as one axis."""
    shape = np.broadcast_shapes(input.array.shape, mask.array.shape)
    return getitem(expand(input, shape), expand(mask, shape))


def nonzero(input: Tensor) -> Tensor:
    """The indices of elements that are not zero: int64 (count, axes)."""
    return Variable.tensor_class(np.argwhere(input.array))  # type: ignore[return-value]


# -- products --------------------------------------------------------------------------------------------------------------------------


def matmul(input: Tensor, other: Tensor) -> Tensor:
    """Product of the last two axes, the others broadcast; a tensor of one axis is a row (left) or a column (right)."""
    return apply(ops.Matmul, input, other)


def _product(name: str, a_dims: int, b_dims: int) -> Callable[[Tensor, Tensor], Tensor]:
    def function(input: Tensor, other: Tensor) -> Tensor:
        if (input.array.ndim, other.array.ndim) != (a_dims, b_dims):
            raise ShapeError(
                f"{name}: expected tensors of {a_dims} and {b_dims} axes, got {input.array.shape} and {other.array.shape}"
            )
        return matmul(input, other)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"`matmul` of tensors with {a_dims} and {b_dims} axes only."
    return function


mm, mv, bmm, dot = _product("mm", 2, 2), _product("mv", 2, 1), _product("bmm", 3, 3), _product("dot", 1, 1)


def outer(input: Tensor, other: Tensor) -> Tensor:
    """Every product of an element of one with an element of the other, both of one axis."""
    return mul(unsqueeze(input, 1), other)
