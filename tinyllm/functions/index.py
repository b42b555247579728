"""Functions that pick and place elements by number, and `x[key]`."""

from __future__ import annotations

import builtins
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import ops
from ..autograd import Variable, apply
from ..errors import ShapeError
from ..op import axis_index
from .promote import as_dtype
from .shape import expand, movedim, permute, reshape

if TYPE_CHECKING:
    from .._tensor import Tensor

__all__ = [
    "gather",
    "getitem",
    "index_add",
    "index_select",
    "masked_select",
    "nonzero",
    "repeat_interleave",
    "scatter",
    "scatter_add",
    "take_along_dim",
]


# -----------------


def getitem(input: Tensor, key: Any) -> Tensor:
    """input[key]: ints, slices, None and Ellipsis give a view, integer tensors, lists and bool masks a copy (PyTorch's
    order of axes).
    """
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
                f"index {bad} is out of range for an axis of size {size} of a tensor of shape {input.array.shape}"
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
    """The key as a basic part for a view, and integer arrays for axes of that view. A bool mask becomes the integers
    it selects.
    """
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
                    f"a mask of shape {k.shape} does not fit axes {axis} to {axis + k.ndim - 1} of shape {shape}"
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
    value = src if isinstance(src, Variable) else expand(as_dtype(src, input.array.dtype), index.array.shape)
    return apply(ops.Scatter, input, index, value, dim=dim)


def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """A copy with src added at the places of `index` along `dim`."""
    return apply(ops.ScatterAdd, input, index, src, dim=dim)


def index_add(input: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """A copy with the slices of `source` along `dim` added to those of `input` numbered by `index`."""
    a = axis_index("index_add", dim, input.array.ndim)
    want = list(input.array.shape)
    want[a : a + 1] = index.array.shape
    if index.array.ndim != 1 or list(source.array.shape) != want:
        raise ShapeError(
            f"index_add: source must have the input's shape with {index.array.shape} numbers along axis {a}, "
            f"{tuple(want)}, got {source.array.shape}"
        )
    shape = [-1 if i == a else 1 for i in range(input.array.ndim)]
    return scatter_add(input, a, expand(reshape(index, shape), source.array.shape), source)


def masked_select(input: Tensor, mask: Tensor) -> Tensor:
    """The elements where mask, as one axis."""
    shape = np.broadcast_shapes(input.array.shape, mask.array.shape)
    return getitem(expand(input, shape), expand(mask, shape))


def nonzero(input: Tensor) -> Tensor:
    """The indices of elements that are not zero: int64 (count, axes)."""
    return Variable.tensor_class(np.argwhere(input.array))  # type: ignore[return-value]


def repeat_interleave(input: Tensor, repeats: int, dim: int | None = None) -> Tensor:
    """Each element repeated along `dim`, or in the flattened input."""
    if dim is None:
        input, dim = reshape(input, (-1,)), 0
    ids = Variable.tensor_class(np.repeat(np.arange(input.array.shape[dim]), repeats))
    return index_select(input, dim, ids)  # type: ignore[arg-type]
