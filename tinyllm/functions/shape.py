"""Functions that rearrange: views where strides allow it, copies where not."""

from __future__ import annotations

import builtins
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import ops
from ..autograd import Variable, apply
from ..errors import ShapeError
from ..op import axis_index, axis_tuple
from .elementwise import where
from .promote import Dims, as_dtype, result_type, sizes_of

if TYPE_CHECKING:
    from .._tensor import Tensor

__all__ = [
    "broadcast_to",
    "cat",
    "chunk",
    "diagonal",
    "expand",
    "expand_as",
    "flatten",
    "flip",
    "movedim",
    "permute",
    "repeat",
    "reshape",
    "roll",
    "split",
    "squeeze",
    "stack",
    "t",
    "transpose",
    "tril",
    "triu",
    "unbind",
    "unflatten",
    "unsqueeze",
    "view",
]


# -----------------


def reshape(input: Tensor, *shape: Any) -> Tensor:
    """The same elements in another shape, a view where possible; one size may be -1."""
    return apply(ops.Reshape, input, shape=sizes_of(shape))


def view(input: Tensor, *shape: Any) -> Tensor:
    """`reshape`, but never a copy: raises where the strides do not allow a view."""
    out = reshape(input, *shape)
    if out.array.size and not np.shares_memory(out.array, input.array):
        raise ShapeError(
            f"view: strides of this {input.array.shape} tensor allow no view of shape {sizes_of(shape)}; use reshape"
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
    return apply(ops.Permute, input, dims=sizes_of(dims))


def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Two axes exchanged: a view."""
    dims = list(range(input.array.ndim))
    a, b = axis_index("transpose", dim0, len(dims)), axis_index("transpose", dim1, len(dims))
    if dims:
        dims[a], dims[b] = dims[b], dims[a]
    return apply(ops.Permute, input, dims=tuple(dims))


def t(input: Tensor) -> Tensor:
    """The transpose of a tensor of at most two axes: a view."""
    if input.array.ndim > 2:
        raise ShapeError(f"t: expected at most two axes, got shape {input.array.shape}; use mT or permute")
    return permute(input, tuple(range(input.array.ndim))[::-1])


def movedim(input: Tensor, source: int, destination: int) -> Tensor:
    """One axis moved to another place: a view."""
    n = input.array.ndim
    a, b = axis_index("movedim", source, n), axis_index("movedim", destination, n)
    dims = [d for d in range(n) if d != a]
    dims.insert(b, a)
    return apply(ops.Permute, input, dims=tuple(dims))


def expand(input: Tensor, *shape: Any) -> Tensor:
    """Axes of size 1 repeated to `shape`: a view."""
    return apply(ops.Expand, input, shape=sizes_of(shape))


broadcast_to = expand


def expand_as(input: Tensor, other: Tensor) -> Tensor:
    """`expand` to the shape of another tensor."""
    return apply(ops.Expand, input, shape=other.array.shape)


def repeat(input: Tensor, *repeats: Any) -> Tensor:
    """The whole tensor repeated along each axis (new axes lead)."""
    counts = sizes_of(repeats)
    s = (1,) * (len(counts) - input.array.ndim) + input.array.shape
    if len(s) != len(counts):
        raise ShapeError(f"repeat: one count for each of {len(s)} axes, got {counts}")
    inner = [n for size in s for n in (1, size)]
    outer = [n for c, size in zip(counts, s, strict=True) for n in (c, size)]
    return reshape(expand(reshape(input, inner), outer), [c * size for c, size in zip(counts, s, strict=True)])


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors one after another along an axis they have."""
    if not tensors:
        raise ValueError("cat: expected at least one tensor, got none")
    dtype = result_type(*tensors)
    return apply(ops.Cat, *[as_dtype(t, dtype) for t in tensors], dim=dim)


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors of one shape along a new axis."""
    for i, t in enumerate(tensors):
        if t.array.shape != tensors[0].array.shape:
            raise ShapeError(
                f"stack: shapes must be equal, tensor 0 has {tensors[0].array.shape}, tensor {i} {t.array.shape}"
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
    return apply(ops.Flip, input, dims=sizes_of(dims))


def roll(input: Tensor, shifts: int | Sequence[int], dims: Dims = None) -> Tensor:
    """Elements moved along one axis or several, the last ones coming first; without dims, in the flattened input."""
    if dims is None:
        return reshape(roll(flatten(input), shifts, 0), input.array.shape)
    if not isinstance(dims, int) or not isinstance(shifts, int):
        for shift, dim in zip(shifts, dims, strict=True):  # type: ignore[arg-type]
            input = roll(input, shift, dim)
        return input
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
