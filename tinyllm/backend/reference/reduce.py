"""Reductions, sorting, indexing and matrix products.

Legend: axis is a tuple of axes for `reduce`, one axis elsewhere; negative axes count from the end.
"""

from __future__ import annotations

import math

import numpy as np

from tinyllm.backend.reference._exact import exact
from tinyllm.backend.reference.elementwise import UNARY, UNARY_GRAD

Array = np.ndarray

_REDUCE = {
    "sum": np.sum,
    "mean": np.mean,
    "prod": np.prod,
    "max": np.max,
    "min": np.min,
    "any": np.any,
    "all": np.all,
}
_ARG = {"argmax": np.argmax, "argmin": np.argmin}


@exact
def reduce(name: str, x: Array, axis: tuple[int, ...], keepdims: bool = False) -> Array:
    """Reduce x over the axes: sum mean prod max min any all, or argmax argmin over one axis (int64).

    sum and prod of integers and booleans are int64. The mean of nothing is NaN. max and min propagate NaN;
    argmax and argmin count NaN as the extreme, and of equal elements give the first.
    """
    if name in _ARG:
        (only,) = axis
        return _ARG[name](x, axis=only, keepdims=keepdims)
    if name == "mean":
        count = np.prod([x.shape[a] for a in axis], dtype=np.int64)
        return np.sum(x, axis=axis, keepdims=keepdims) / np.float64(count)
    return _REDUCE[name](x, axis=axis, keepdims=keepdims)  # type: ignore[operator]


@exact
def cumsum(x: Array, axis: int) -> Array:
    """y[..., i, ...] = x[..., 0, ...] + ... + x[..., i, ...] along the axis.

    Integers and booleans give int64.
    """
    return np.cumsum(x, axis=axis)


def sort(x: Array, axis: int, descending: bool) -> tuple[Array, Array]:
    """(values, indices int64) of a stable sort along the axis; NaN comes last ascending, first descending."""
    if descending:  # a stable descending sort is a stable ascending sort of the reversed sequence, reversed
        indices = x.shape[axis] - 1 - np.flip(np.argsort(np.flip(x, axis), axis=axis, kind="stable"), axis)
    else:
        indices = np.argsort(x, axis=axis, kind="stable")
    indices = np.asarray(indices, dtype=np.int64, order="C")
    return np.asarray(np.take_along_axis(x, indices, axis), order="C"), indices


def take(x: Array, ids: Array) -> Array:
    """Rows of x (N, D...) by integer ids of any shape, 0 <= id < N: shape ids.shape + D... (an embedding)."""
    return np.asarray(np.take(x, ids, axis=0), order="C")


@exact
def take_grad(dy: Array, ids: Array, n: int) -> Array:
    """Gradient of `take`: dx (n, D...), dx[r] = sum of dy[i] over all i with ids[i] == r."""
    tail = dy.shape[ids.ndim :]
    dx = np.zeros((n, *tail), dy.dtype)
    width = math.prod(tail)
    np.add.at(dx.reshape(n, width), ids.reshape(-1), dy.reshape(ids.size, width))
    return dx


def gather(x: Array, axis: int, index: Array) -> Array:
    """y[i, j, k] = x[i, index[i, j, k], k] (for axis 1): torch.gather.

    index has as many axes as x and is no longer than x on the others; y has the shape of index.
    """
    axis %= x.ndim
    corner = tuple(slice(None) if a == axis else slice(size) for a, size in enumerate(index.shape))
    return np.asarray(np.take_along_axis(x[corner], index, axis), order="C")


@exact
def gather_grad(dy: Array, axis: int, index: Array, n: int) -> Array:
    """Gradient of `gather`.

    dy's shape with n on the axis, dx[i, index[i, j, k], k] += dy[i, j, k] (for axis 1).
    """
    axis %= dy.ndim
    dx = np.zeros((*dy.shape[:axis], n, *dy.shape[axis + 1 :]), dy.dtype)
    where: list[Array] = list(np.indices(dy.shape, sparse=True))
    where[axis] = index
    np.add.at(dx, tuple(where), dy)
    return dx


def matmul(
    a: Array,
    b: Array,
    bias: Array | None = None,
    out: Array | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 0.0,
    add: Array | None = None,
    act: str | None = None,
    pre: Array | None = None,
    grad_of: Array | None = None,
    value: Array | None = None,
) -> Array:
    """z = alpha (a @ b) + beta add + bias for a (..., M, K), b (..., K, N), bias (N,); batch axes broadcast.

    All else has the shape (..., M, N) of z; add is `out` where only beta is given, and is not read where beta is 0.
    With act, one of GATES, the result is act(z) and z itself is stored to `pre`; with grad_of = h too, the result is
    z act'(h), the gradient of act's input, and act(h) is stored to `value`, which may be h.
    """
    z, y, h = _product(a, b, bias, alpha, beta, out if add is None else add, act, grad_of)
    for target, result in ((pre, z), (value, h)):
        if target is not None:
            target[...] = result
    if out is None:
        return y
    out[...] = y
    return out


@exact
def _product(
    a: Array,
    b: Array,
    bias: Array | None,
    alpha: float,
    beta: float,
    add: Array | None,
    act: str | None,
    grad_of: Array | None,
) -> tuple[Array, Array, Array | None]:
    """(z, the result, act(h) or None)."""
    z = alpha * np.matmul(a, b)
    if beta != 0:
        assert add is not None
        z = z + beta * add
    if bias is not None:
        z = z + bias
    if act is None:
        return z, z, None
    if grad_of is None:
        return z, UNARY[act](z), None
    h = UNARY[act](grad_of)
    needs, formula = UNARY_GRAD[act]
    return z, formula(z, grad_of if needs == "x" else h), h
