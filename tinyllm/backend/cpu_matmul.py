"""The matrix product in C, with what follows it: scale, bias, residual, activation or an activation's slope."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyllm.backend import reference
from tinyllm.backend._call import (
    _ARRAY,
    ACT,
    NULL,
    Array,
    _from_buffer,
    check,
    dense,
    destination,
    ffi,
    int64s,
    kernels,
    ptr,
    writable,
)
from tinyllm.backend.cpu_arrays import broadcast, copy, dense_copy, spread
from tinyllm.backend.memory import empty

__all__ = ["matmul"]

_MATMUL = {dtype: (function, _ARRAY[dtype], dtype.itemsize) for dtype, function in kernels("matmul").items()}
_EPILOGUE = ffi.typeof("tl_epilogue *")


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
    """alpha (a @ b) + beta add + bias and what follows it. Any strides: packing reads them.

    For small matrices this function takes as long as the product itself: what two plain matrices don't need is skipped.
    """
    known = _MATMUL.get(a.dtype)
    if known is None:
        return reference.matmul(
            a, b, bias, out, alpha=alpha, beta=beta, add=add, act=act, pre=pre, grad_of=grad_of, value=value
        )
    function, kind, size = known
    if a.ndim == 2 and b.ndim == 2:
        (m, k), n = a.shape, b.shape[1]
        shape: tuple[int, ...] = (m, n)
    else:
        m, k, n = a.shape[-2], a.shape[-1], b.shape[-1]
        shape = (*broadcast(a.shape[:-2], b.shape[:-2]), m, n)
    result = empty(shape, a.dtype) if out is None else _target(out, shape, a, b)
    epilogue, held, dims = NULL, None, NULL
    if act is not None or beta != 0.0 or alpha != 1.0:
        assert beta == 0.0 or add is not None or out is not None
        epilogue, held = _epilogue(out, alpha, beta, add, act, pre, grad_of, value)
    ndim = len(shape)
    if ndim > 2:
        over_a, over_b, over_c = spread(a, ndim), spread(b, ndim), spread(result, ndim)
        dims = int64s([*shape[:-2], *over_a[:-2], *over_b[:-2], *over_c[:-2]])
    row_a, column_a = a.strides[-2:]
    row_b, column_b = b.strides[-2:]
    status = function(
        ndim - 2, dims, m, n, k, _matrix(kind, a, column_a == size), row_a // size, column_a // size,
        _matrix(kind, b, column_b == size), row_b // size, column_b // size, NULL if bias is None else ptr(dense(bias)),
        _matrix(kind, result, True), result.strides[-2] // size, epilogue,
    )  # fmt: skip
    if status:
        check(status)
    if held is not None:
        for target, written in ((pre, held[0]), (value, held[1])):
            if target is not None and target is not written:
                target[...] = written
    if out is None or out is result:
        return result
    out[...] = result
    return out


def _target(out: Array, shape: tuple[int, ...], a: Array, b: Array) -> Array:
    """What C writes to: `out`, or a copy where it would be read meanwhile, or where its rows are not contiguous."""
    destination(out, shape, a.dtype)
    apart = out.strides[-1] != out.itemsize and shape[-1] > 1
    return copy(out) if apart or np.may_share_memory(out, a) or np.may_share_memory(out, b) else out


def _matrix(kind: Any, x: Array, rows: bool) -> Any:
    """A pointer to x, which is probably contiguous by rows or else by columns: `ptr` would find out by failing."""
    try:
        return _from_buffer(kind, x if rows else x.T)
    except (ValueError, BufferError):
        return ptr(x)


def _epilogue(
    out: Array | None,
    alpha: float,
    beta: float,
    add: Array | None,
    act: str | None,
    pre: Array | None,
    grad_of: Array | None,
    value: Array | None,
) -> tuple[Any, tuple[Array | None, ...]]:
    """What follows the product, for C, and the arrays that it points to: pre and value, or what stands in for them."""
    if beta == 0.0 or add is out:
        add = None
    elif add is not None:
        add = copy(add) if out is not None and np.may_share_memory(add, out) else dense_copy(add)
    dense_pre, dense_value = [
        x if x is None or writable(x).flags.c_contiguous else empty(x.shape, x.dtype) for x in (pre, value)
    ]
    h = None if grad_of is None else dense_copy(grad_of)
    pointers = (ptr(add), ptr(h), ptr(dense_pre), ptr(dense_value))
    number = -1 if act is None else ACT[act]
    return ffi.new(_EPILOGUE, (alpha, beta, number, *pointers)), (dense_pre, dense_value, add, h)
