"""The backend in C: what `reference` specifies, through the kernels of csrc/.

Integer and boolean arithmetic, casts and sorting run on NumPy: they are index arithmetic, without a speed bar. Kernels
read float32 and float64; where one needs C-contiguous input, a view that isn't is copied.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyllm.backend import cpu_fused, reference
from tinyllm.backend._call import (
    _ARRAY,
    NULL,
    Array,
    _from_buffer,
    check,
    dense,
    ffi,
    int64s,
    kernels,
    lib,
    ptr,
    strides,
    writable,
)
from tinyllm.backend.cpu_fused import *  # noqa: F403
from tinyllm.backend.memory import empty
from tinyllm.backend.reference import GRAD_NEEDS, sort

__all__ = [
    "GRAD_NEEDS",
    "add_",
    "assign",
    "binary",
    "copy",
    "cumsum",
    "empty",
    "full",
    "gated",
    "gated_grad",
    "gather",
    "gather_grad",
    "matmul",
    "reduce",
    "sort",
    "take",
    "take_grad",
    "unary",
    "unary_grad",
    "where",
    *cpu_fused.__all__,
]

BOOL = np.dtype(np.bool_)
INT64 = np.dtype(np.int64)


def _numbers(prefix: str) -> dict[str, int]:
    """The C enum whose constants start with `prefix`, by lower-case name."""
    return {name[len(prefix) :].lower(): getattr(lib, name) for name in dir(lib) if name.startswith(prefix)}


_UNARY, _BINARY, _COMPARE = _numbers("TL_UNARY_"), _numbers("TL_BINARY_"), _numbers("TL_COMPARE_")
_ACT, _REDUCE = _numbers("TL_ACT_"), _numbers("TL_REDUCE_")

_unary, _unary_grad = kernels("unary"), kernels("unary_grad")
_binary, _binary_flat = kernels("binary"), kernels("binary_flat")
_compare, _where = kernels("compare"), kernels("where")
_add, _copy = kernels("add"), kernels("copy")
_gated, _gated_grad = kernels("gated"), kernels("gated_grad")
_reduce, _arg_reduce, _cumsum = kernels("reduce"), kernels("arg_reduce"), kernels("cumsum")
_take, _take_grad = kernels("take"), kernels("take_grad")
_gather, _gather_grad = kernels("gather"), kernels("gather_grad")
_MATMUL = {dtype: (function, _ARRAY[dtype], dtype.itemsize) for dtype, function in kernels("matmul").items()}
_EPILOGUE = ffi.typeof("tl_epilogue *")


# ---- making arrays ----


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
    if dst.dtype in _copy and dst.size and dst.flags.writeable:
        if np.may_share_memory(dst, src):
            src = copy(src)
        _copy[dst.dtype](dst.ndim, int64s([*dst.shape, *strides(src), *strides(dst)]), ptr(src), ptr(dst))
    else:
        dst[...] = src
    return dst


def _broadcast(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    """The common shape of two that broadcast (the op has checked): a fifth of the time of np.broadcast_shapes."""
    if len(a) < len(b):
        a, b = b, a
    lead = len(a) - len(b)
    return a[:lead] + tuple([n if m == 1 else m for m, n in zip(a[lead:], b, strict=True)])


def _spread(x: Array, ndim: int) -> list[int]:
    """The strides of x, in elements, over ndim axes that it broadcasts to: 0 where it repeats."""
    size = x.itemsize
    own = [0 if n == 1 else step // size for n, step in zip(x.shape, x.strides, strict=True)]
    return [0] * (ndim - len(own)) + own


def _dense(x: Array) -> Array:
    return x if x.flags.c_contiguous else copy(x)


# ---- elementwise ----


def unary(name: str, x: Array, out: Array | None = None) -> Array:
    """y = f(x) elementwise."""
    if x.dtype not in _unary or name not in _UNARY:
        return reference.unary(name, x, out)
    if out is not None and not out.flags.c_contiguous:
        out[...] = unary(name, x)
        return out
    y = empty(x.shape, x.dtype) if out is None else writable(out)
    _unary[x.dtype](_UNARY[name], ptr(_dense(x)), ptr(y), x.size)
    return y


def unary_grad(name: str, dy: Array, x: Array | None, y: Array | None) -> Array:
    """dx = dy f'(x); reads x or y as GRAD_NEEDS says."""
    needs = GRAD_NEEDS[name]
    dx = empty(dy.shape, dy.dtype)
    x = _dense(x) if needs == "x" and x is not None else None
    y = _dense(y) if needs == "y" and y is not None else None
    _unary_grad[dy.dtype](_UNARY[name], ptr(_dense(dy)), ptr(x), ptr(y), ptr(dx), dy.size)
    return dx


def binary(name: str, a: Array, b: Array, out: Array | None = None) -> Array:
    """f(a, b) with broadcasting; comparisons and logical functions give bool."""
    if a.dtype not in _binary:
        return reference.binary(name, a, b, out)
    if out is not None and not out.flags.c_contiguous:
        out[...] = binary(name, a, b)
        return out
    op = _BINARY.get(name)
    same = a.shape == b.shape
    shape = a.shape if same else _broadcast(a.shape, b.shape)
    if op is not None and (same or not a.ndim or not b.ndim) and a.flags.c_contiguous and b.flags.c_contiguous:
        y = empty(shape, a.dtype) if out is None else writable(out)
        _binary_flat[a.dtype](op, y.size, ptr(a), same or a.ndim > 0, ptr(b), same or b.ndim > 0, ptr(y))
        return y
    ndim = len(shape)
    dims = int64s([*shape, *_spread(a, ndim), *_spread(b, ndim)])
    if op is None:
        y = empty(shape, BOOL) if out is None else writable(out)
        _compare[a.dtype](_COMPARE[name], ndim, dims, ptr(a), ptr(b), ptr(y))
    else:
        y = empty(shape, a.dtype) if out is None else writable(out)
        _binary[a.dtype](op, ndim, dims, ptr(a), ptr(b), ptr(y))
    return y


def where(cond: Array, a: Array, b: Array) -> Array:
    """a where cond (bool) is true, else b; all three broadcast."""
    if a.dtype not in _where or a.dtype != b.dtype:
        return reference.where(cond, a, b)
    shape = _broadcast(cond.shape, _broadcast(a.shape, b.shape))
    ndim = len(shape)
    y = empty(shape, a.dtype)
    dims = int64s([*shape, *_spread(cond, ndim), *_spread(a, ndim), *_spread(b, ndim)])
    _where[a.dtype](ndim, dims, ptr(cond), ptr(a), ptr(b), ptr(y))
    return y


def add_(dst: Array, src: Array) -> Array:
    """dst += src in place, same shape and dtype; returns dst."""
    if dst.dtype in _add and dst.flags.c_contiguous:
        _add[dst.dtype](ptr(writable(dst)), ptr(_dense(src)), dst.size)
        return dst
    return reference.add_(dst, src)


def _rows(x: Array) -> tuple[Array, int]:
    """x as rows with one stride between them, and that stride: halves of a fused projection need no copy."""
    if x.flags.c_contiguous:
        return x, x.shape[-1] if x.ndim else 1
    if x.strides[-1] == x.itemsize and x.size:
        step = strides(x)
        if all(step[i] == step[i + 1] * x.shape[i + 1] for i in range(x.ndim - 2)) and step[-2] > 0:
            return x, step[-2]
    return copy(x), x.shape[-1]


def gated(act: str, gate: Array, up: Array) -> Array:
    """act(gate) * up."""
    y = empty(gate.shape, gate.dtype)
    gate, gate_step = _rows(gate)
    up, up_step = _rows(up)
    cols = gate.shape[-1] if gate.ndim else 1
    rows = gate.size // cols if cols else 0
    _gated[gate.dtype](_ACT[act], rows, cols, ptr(gate), gate_step, ptr(up), up_step, ptr(y))
    return y


def gated_grad(act: str, dy: Array, gate: Array, up: Array) -> tuple[Array, Array]:
    """(dgate, dup)."""
    dgate, dup = empty(gate.shape, gate.dtype), empty(gate.shape, gate.dtype)
    gate, gate_step = _rows(gate)
    up, up_step = _rows(up)
    cols = gate.shape[-1] if gate.ndim else 1
    rows = gate.size // cols if cols else 0
    call = _gated_grad[gate.dtype]
    call(_ACT[act], rows, cols, ptr(_dense(dy)), ptr(gate), gate_step, ptr(up), up_step, ptr(dgate), ptr(dup))
    return dgate, dup


# ---- reductions ----


def _three(x: Array, axes: list[int]) -> tuple[Array, int, int, int]:
    """x dense as (outer, count, inner), reduced over count: the axes are moved last where they don't lie together."""
    if axes != list(range(axes[0], axes[0] + len(axes))):
        x = np.moveaxis(x, axes, range(-len(axes), 0))
        axes = list(range(x.ndim - len(axes), x.ndim))
    x = _dense(x)
    outer = count = inner = 1
    for i, size in enumerate(x.shape):
        if i < axes[0]:
            outer *= size
        elif i > axes[-1]:
            inner *= size
        else:
            count *= size
    return x, outer, count, inner


def reduce(name: str, x: Array, axis: tuple[int, ...], keepdims: bool = False) -> Array:
    """sum mean prod max min any all, or argmax argmin over one axis (int64)."""
    if x.dtype not in _reduce or name in ("any", "all"):
        return reference.reduce(name, x, axis, keepdims)
    axes = sorted(a % x.ndim for a in axis)
    shape = tuple(1 if i in axes else n for i, n in enumerate(x.shape) if keepdims or i not in axes)
    if not axes:
        return copy(x) if name not in ("argmax", "argmin") else reference.reduce(name, x, axis, keepdims)
    x, outer, count, inner = _three(x, axes)
    if count == 0:
        return reference.reduce(name, x.reshape(outer, 0, inner), (1,)).reshape(shape)
    if name in ("argmax", "argmin"):
        indices = empty(shape, INT64)
        _arg_reduce[x.dtype](int(name == "argmin"), ptr(x), ptr(indices), outer, count, inner)
        return indices
    y = empty(shape, x.dtype)
    check(_reduce[x.dtype](_REDUCE[name], ptr(x), ptr(y), outer, count, inner))
    return y


def cumsum(x: Array, axis: int) -> Array:
    """Running sums along the axis."""
    if x.dtype not in _cumsum or x.ndim == 0:
        return reference.cumsum(x, axis)
    x, outer, count, inner = _three(x, [axis % x.ndim])
    y = empty(x.shape, x.dtype)
    _cumsum[x.dtype](ptr(x), ptr(y), outer, count, inner)
    return y


# ---- indexing ----


def _ids(ids: Array) -> Array:
    return np.ascontiguousarray(ids, dtype=INT64)


def take(x: Array, ids: Array) -> Array:
    """Rows of x (N, D...) by ids of any shape: ids.shape + D..."""
    if x.dtype not in _take:
        return reference.take(x, ids)
    x, index = _dense(x), _ids(ids)
    y = empty((*ids.shape, *x.shape[1:]), x.dtype)
    _take[x.dtype](ptr(x), ptr(index), ptr(y), ids.size, y.size // ids.size if ids.size else 0)
    return y


def take_grad(dy: Array, ids: Array, n: int) -> Array:
    """The rows of dy added up by id, into (n, D...)."""
    if dy.dtype not in _take_grad:
        return reference.take_grad(dy, ids, n)
    dy, index = _dense(dy), _ids(ids)
    dx = empty((n, *dy.shape[ids.ndim :]), dy.dtype)
    check(_take_grad[dy.dtype](ptr(dy), ptr(index), ptr(dx), ids.size, n, dx.size // n if n else 0))
    return dx


def gather(x: Array, axis: int, index: Array) -> Array:
    """torch.gather."""
    if x.dtype not in _gather or x.ndim == 0:
        return reference.gather(x, axis, index)
    axis %= x.ndim
    corner = tuple(slice(None) if a == axis else slice(size) for a, size in enumerate(index.shape))
    x, outer, n, inner = _three(x[corner], [axis])
    y = empty(index.shape, x.dtype)
    _gather[x.dtype](ptr(x), ptr(_ids(index)), ptr(y), outer, n, index.shape[axis], inner)
    return y


def gather_grad(dy: Array, axis: int, index: Array, n: int) -> Array:
    """dy added up at the places that `gather` read, into dy's shape with n on the axis."""
    if dy.dtype not in _gather_grad or dy.ndim == 0:
        return reference.gather_grad(dy, axis, index, n)
    axis %= dy.ndim
    dy, outer, count, inner = _three(dy, [axis])
    dx = empty((*dy.shape[:axis], n, *dy.shape[axis + 1 :]), dy.dtype)
    check(_gather_grad[dy.dtype](ptr(dy), ptr(_ids(index)), ptr(dx), outer, n, count, inner))
    return dx


# ---- matrix products ----


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
        shape = (*_broadcast(a.shape[:-2], b.shape[:-2]), m, n)
    if out is None:
        result, row_c = empty(shape, a.dtype), n * size
    else:
        result = writable(out)
        row_c, column_c = result.strides[-2:]
        if column_c != size and n > 1:
            result, row_c = copy(result), n * size
    epilogue, held, dims = NULL, None, NULL
    if act is not None or beta != 0.0 or alpha != 1.0:
        assert beta == 0.0 or add is not None or out is not None
        epilogue, held = _epilogue(result, alpha, beta, None if add is out else add, act, pre, grad_of, value)
    ndim = len(shape)
    if ndim > 2:
        over_a, over_b, over_c = _spread(a, ndim), _spread(b, ndim), _spread(result, ndim)
        dims = int64s([*shape[:-2], *over_a[:-2], *over_b[:-2], *over_c[:-2]])
    row_a, column_a = a.strides[-2:]
    row_b, column_b = b.strides[-2:]
    status = function(
        ndim - 2, dims, m, n, k, _matrix(kind, a, column_a == size), row_a // size, column_a // size,
        _matrix(kind, b, column_b == size), row_b // size, column_b // size, NULL if bias is None else ptr(dense(bias)),
        _matrix(kind, result, True), row_c // size, epilogue,
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


def _matrix(kind: Any, x: Array, rows: bool) -> Any:
    """A pointer to x, which is probably contiguous by rows or else by columns: `ptr` would find out by failing."""
    try:
        return _from_buffer(kind, x if rows else x.T)
    except (ValueError, BufferError):
        return ptr(x)


def _epilogue(
    out: Array,
    alpha: float,
    beta: float,
    add: Array | None,
    act: str | None,
    pre: Array | None,
    grad_of: Array | None,
    value: Array | None,
) -> tuple[Any, tuple[Array | None, ...]]:
    """What follows the product, for C, and the arrays that it points to: pre and value, or what stands in for them."""
    if beta == 0.0:
        add = None
    elif add is not None:
        add = copy(add) if np.may_share_memory(add, out) else _dense(add)
    dense_pre, dense_value = (
        x if x is None or writable(x).flags.c_contiguous else empty(x.shape, x.dtype) for x in (pre, value)
    )
    h = None if grad_of is None else _dense(grad_of)
    pointers = (ptr(add), ptr(h), ptr(dense_pre), ptr(dense_value))
    number = -1 if act is None else _ACT[act]
    return ffi.new(_EPILOGUE, (alpha, beta, number, *pointers)), (dense_pre, dense_value, add, h)
