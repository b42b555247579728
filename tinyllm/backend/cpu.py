"""The backend in C: what `reference` specifies, through the kernels of csrc/. This file has elementwise functions,
reductions and indexing; its neighbours cpu_*.py have the rest, and all of it is found here.

Integer and boolean arithmetic, casts and sorting run on NumPy: they are index arithmetic, without a speed bar. Kernels
read float32 and float64; where one needs C-contiguous input, a view that isn't is copied.
"""

from __future__ import annotations

import numpy as np

from tinyllm.backend import cpu_arrays, cpu_attention, cpu_fused, cpu_matmul, reference
from tinyllm.backend._call import ACT, Array, check, destination, int64s, kernels, numbers, overlaps, ptr, strides
from tinyllm.backend.cpu_arrays import *  # noqa: F403
from tinyllm.backend.cpu_arrays import broadcast, copy, dense_copy, empty, spread
from tinyllm.backend.cpu_attention import *  # noqa: F403
from tinyllm.backend.cpu_fused import *  # noqa: F403
from tinyllm.backend.cpu_matmul import *  # noqa: F403
from tinyllm.backend.reference import GRAD_NEEDS, sort

__all__ = [
    "GRAD_NEEDS",
    "add_",
    "binary",
    "cumsum",
    "gated",
    "gated_grad",
    "gather",
    "gather_grad",
    "reduce",
    "sort",
    "take",
    "take_grad",
    "unary",
    "unary_grad",
    "where",
    *cpu_arrays.__all__,
    *cpu_attention.__all__,
    *cpu_fused.__all__,
    *cpu_matmul.__all__,
]

BOOL = np.dtype(np.bool_)
INT64 = np.dtype(np.int64)

_UNARY, _BINARY, _COMPARE = numbers("TL_UNARY_"), numbers("TL_BINARY_"), numbers("TL_COMPARE_")
_REDUCE = numbers("TL_REDUCE_")

_unary, _unary_grad = kernels("unary"), kernels("unary_grad")
_binary, _binary_flat = kernels("binary"), kernels("binary_flat")
_compare, _where = kernels("compare"), kernels("where")
_add = kernels("add")
_gated, _gated_grad = kernels("gated"), kernels("gated_grad")
_reduce, _arg_reduce, _cumsum = kernels("reduce"), kernels("arg_reduce"), kernels("cumsum")
_take, _take_grad = kernels("take"), kernels("take_grad")
_gather, _gather_grad = kernels("gather"), kernels("gather_grad")


# ---- elementwise ----


def unary(name: str, x: Array, out: Array | None = None) -> Array:
    """y = f(x) elementwise."""
    if x.dtype not in _unary or name not in _UNARY:
        return reference.unary(name, x, out)
    y = empty(x.shape, x.dtype) if out is None else destination(out, x.shape, x.dtype)
    if out is not None and (not out.flags.c_contiguous or overlaps(out, x)):
        out[...] = unary(name, x)
        return out
    _unary[x.dtype](_UNARY[name], ptr(dense_copy(x)), ptr(y), x.size)
    return y


def unary_grad(name: str, dy: Array, x: Array | None, y: Array | None) -> Array:
    """dx = dy f'(x); reads x or y as GRAD_NEEDS says."""
    needs = GRAD_NEEDS[name]
    dx = empty(dy.shape, dy.dtype)
    x = dense_copy(x) if needs == "x" and x is not None else None
    y = dense_copy(y) if needs == "y" and y is not None else None
    _unary_grad[dy.dtype](_UNARY[name], ptr(dense_copy(dy)), ptr(x), ptr(y), ptr(dx), dy.size)
    return dx


def binary(name: str, a: Array, b: Array, out: Array | None = None) -> Array:
    """f(a, b) with broadcasting; comparisons and logical functions give bool."""
    if a.dtype not in _binary:
        return reference.binary(name, a, b, out)
    op = _BINARY.get(name)
    same = a.shape == b.shape
    shape = a.shape if same else broadcast(a.shape, b.shape)
    dtype = BOOL if op is None else a.dtype
    y = empty(shape, dtype) if out is None else destination(out, shape, dtype)
    if out is not None and (not out.flags.c_contiguous or overlaps(out, a, b)):
        out[...] = binary(name, a, b)
        return out
    if op is not None and (same or not a.ndim or not b.ndim) and a.flags.c_contiguous and b.flags.c_contiguous:
        _binary_flat[a.dtype](op, y.size, ptr(a), same or a.ndim > 0, ptr(b), same or b.ndim > 0, ptr(y))
        return y
    ndim = len(shape)
    dims = int64s([*shape, *spread(a, ndim), *spread(b, ndim)])
    if op is None:
        _compare[a.dtype](_COMPARE[name], ndim, dims, ptr(a), ptr(b), ptr(y))
    else:
        _binary[a.dtype](op, ndim, dims, ptr(a), ptr(b), ptr(y))
    return y


def where(cond: Array, a: Array, b: Array) -> Array:
    """a where cond (bool) is true, else b; all three broadcast."""
    if a.dtype not in _where or a.dtype != b.dtype:
        return reference.where(cond, a, b)
    shape = broadcast(cond.shape, broadcast(a.shape, b.shape))
    ndim = len(shape)
    y = empty(shape, a.dtype)
    dims = int64s([*shape, *spread(cond, ndim), *spread(a, ndim), *spread(b, ndim)])
    _where[a.dtype](ndim, dims, ptr(cond), ptr(a), ptr(b), ptr(y))
    return y


def add_(dst: Array, src: Array) -> Array:
    """dst += src in place, same shape and dtype; returns dst."""
    destination(dst, src.shape, src.dtype)
    if dst.dtype in _add and dst.flags.c_contiguous:
        src = copy(src) if overlaps(dst, src) else dense_copy(src)
        _add[dst.dtype](ptr(dst), ptr(src), dst.size)
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
    _gated[gate.dtype](ACT[act], rows, cols, ptr(gate), gate_step, ptr(up), up_step, ptr(y))
    return y


def gated_grad(act: str, dy: Array, gate: Array, up: Array) -> tuple[Array, Array]:
    """(dgate, dup)."""
    dgate, dup = empty(gate.shape, gate.dtype), empty(gate.shape, gate.dtype)
    gate, gate_step = _rows(gate)
    up, up_step = _rows(up)
    cols = gate.shape[-1] if gate.ndim else 1
    rows = gate.size // cols if cols else 0
    call = _gated_grad[gate.dtype]
    call(ACT[act], rows, cols, ptr(dense_copy(dy)), ptr(gate), gate_step, ptr(up), up_step, ptr(dgate), ptr(dup))
    return dgate, dup


# ---- reductions ----


def _three(x: Array, axes: list[int]) -> tuple[Array, int, int, int]:
    """x dense as (outer, count, inner), reduced over count: the axes are moved last where they don't lie together."""
    if axes != list(range(axes[0], axes[0] + len(axes))):
        x = np.moveaxis(x, axes, range(-len(axes), 0))
        axes = list(range(x.ndim - len(axes), x.ndim))
    x = dense_copy(x)
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
    x, index = dense_copy(x), _ids(ids)
    y = empty((*ids.shape, *x.shape[1:]), x.dtype)
    _take[x.dtype](ptr(x), ptr(index), ptr(y), ids.size, y.size // ids.size if ids.size else 0)
    return y


def take_grad(dy: Array, ids: Array, n: int) -> Array:
    """The rows of dy added up by id, into (n, D...)."""
    if dy.dtype not in _take_grad:
        return reference.take_grad(dy, ids, n)
    dy, index = dense_copy(dy), _ids(ids)
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
