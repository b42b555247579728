"""Arrays over the allocator: made, copied, written into, and how two broadcast."""

from __future__ import annotations

import numpy as np

from tinyllm.backend._call import Array, destination, int64s, kernels, ptr, strides
from tinyllm.backend.memory import empty

__all__ = ["assign", "copy", "empty", "full"]

_copy = kernels("copy")


def full(shape: tuple[int, ...], value: float, dtype: np.dtype | type) -> Array:
    """A C-contiguous array filled with value."""
    out = empty(shape, dtype)
    out.fill(value)
    return out


def copy(x: Array, dtype: np.dtype | type | None = None) -> Array:
    """A fresh C-contiguous copy of x, cast to dtype if given."""
    out = empty(x.shape, x.dtype if dtype is None else dtype)
    if x.dtype == out.dtype and x.dtype in _copy:
        _copy[x.dtype](x.ndim, int64s([*x.shape, *strides(x), *strides(out)]), ptr(x), ptr(out))
    else:
        with np.errstate(all="ignore"):
            np.copyto(out, x, casting="unsafe")
    return out


def assign(dst: Array, src: Array) -> Array:
    """Copy src into dst, a view with any strides, same shape and dtype; the two may overlap. Returns dst."""
    destination(dst, src.shape, src.dtype)
    if dst.dtype in _copy and dst.size:
        if np.may_share_memory(dst, src):
            src = copy(src)
        _copy[dst.dtype](dst.ndim, int64s([*dst.shape, *strides(src), *strides(dst)]), ptr(src), ptr(dst))
    else:
        dst[...] = src
    return dst


def broadcast(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    """The common shape of two that broadcast (the op has checked): a fifth of the time of np.broadcast_shapes."""
    if len(a) < len(b):
        a, b = b, a
    lead = len(a) - len(b)
    return a[:lead] + tuple([n if m == 1 else m for m, n in zip(a[lead:], b, strict=True)])


def spread(x: Array, ndim: int) -> list[int]:
    """The strides of x, in elements, over ndim axes that it broadcasts to: 0 where it repeats."""
    size = x.itemsize
    own = [0 if n == 1 else step // size for n, step in zip(x.shape, x.strides, strict=True)]
    return [0] * (ndim - len(own)) + own


def dense_copy(x: Array) -> Array:
    """x itself if C-contiguous, else a copy over the allocator that is."""
    return x if x.flags.c_contiguous else copy(x)
