"""Fused kernels in C: rows, losses, attention, random numbers and optimizer steps. `reference` says what each computes.

Row kernels read C-contiguous arrays (a view that isn't is copied); attention reads strides as long as the last axis is
contiguous, so the heads of a fused projection are read in place.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tinyllm.backend._call import (
    NULL,
    Array,
    check,
    dense,
    ffi,
    int64s,
    kernels,
    pointers,
    ptr,
    strides,
    writable,
)
from tinyllm.backend.memory import empty

__all__ = [
    "adam_",
    "attention",
    "attention_grad",
    "cross_entropy",
    "cross_entropy_grad",
    "dropout",
    "layer_norm",
    "layer_norm_grad",
    "log_softmax",
    "log_softmax_grad",
    "logsumexp",
    "normal",
    "rms_norm",
    "rms_norm_grad",
    "sgd_",
    "softmax",
    "softmax_grad",
    "sum_squares",
    "uniform",
]

Key = tuple[int, int]
Dropout = tuple[float, Key, int, int]

_softmax, _softmax_grad = kernels("softmax"), kernels("softmax_grad")
_log_softmax, _log_softmax_grad = kernels("log_softmax"), kernels("log_softmax_grad")
_logsumexp = kernels("logsumexp")
_layer_norm, _layer_norm_grad = kernels("layer_norm"), kernels("layer_norm_grad")
_rms_norm, _rms_norm_grad = kernels("rms_norm"), kernels("rms_norm_grad")
_cross_entropy, _cross_entropy_grad = kernels("cross_entropy"), kernels("cross_entropy_grad")
_attention, _attention_grad = kernels("attention"), kernels("attention_grad")
_uniform, _normal, _dropout = kernels("uniform"), kernels("normal"), kernels("dropout")
_sgd, _adam, _sum_squares = kernels("sgd"), kernels("adam"), kernels("sum_squares")

_ATTENTION = ffi.typeof("tl_attention *")
_DOUBLES = ffi.typeof("double[]")
_WORD, _DOUBLE_WORD = 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF


def _opt(x: Array | None) -> Array | None:
    return None if x is None else dense(x)


# ---- rows ----


def _shape(x: Array) -> tuple[int, int]:
    """(rows, columns); of no columns there may be rows all the same."""
    return math.prod(x.shape[:-1]), x.shape[-1]


def softmax(x: Array) -> Array:
    """Softmax over the last axis."""
    x, y = dense(x), empty(x.shape, x.dtype)
    _softmax[x.dtype](ptr(x), ptr(y), *_shape(x))
    return y


def softmax_grad(dy: Array, y: Array) -> Array:
    """dx from the output y."""
    dy, y, dx = dense(dy), dense(y), empty(y.shape, y.dtype)
    _softmax_grad[y.dtype](ptr(dy), ptr(y), ptr(dx), *_shape(y))
    return dx


def log_softmax(x: Array) -> Array:
    """Log-softmax over the last axis."""
    x, y = dense(x), empty(x.shape, x.dtype)
    _log_softmax[x.dtype](ptr(x), ptr(y), *_shape(x))
    return y


def log_softmax_grad(dy: Array, y: Array) -> Array:
    """dx from the output y."""
    dy, y, dx = dense(dy), dense(y), empty(y.shape, y.dtype)
    _log_softmax_grad[y.dtype](ptr(dy), ptr(y), ptr(dx), *_shape(y))
    return dx


def logsumexp(x: Array) -> Array:
    """log(sum(exp(x))) over the last axis."""
    x, lse = dense(x), empty(x.shape[:-1], x.dtype)
    _logsumexp[x.dtype](ptr(x), ptr(lse), *_shape(x))
    return lse


def layer_norm(x: Array, w: Array | None, b: Array | None, eps: float) -> tuple[Array, Array, Array]:
    """(y, mean, rstd)."""
    x, w, b = dense(x), _opt(w), _opt(b)
    y = empty(x.shape, x.dtype)
    mean, rstd = empty(x.shape[:-1], x.dtype), empty(x.shape[:-1], x.dtype)
    _layer_norm[x.dtype](ptr(x), ptr(w), ptr(b), eps, ptr(y), ptr(mean), ptr(rstd), *_shape(x))
    return y, mean, rstd


def layer_norm_grad(
    dy: Array,
    x: Array,
    w: Array | None,
    mean: Array,
    rstd: Array,
    want: tuple[bool, bool, bool] = (True, True, True),
) -> tuple[Array | None, Array | None, Array | None]:
    """(dx, dw, db), None where not wanted."""
    dy, x, w, mean, rstd = dense(dy), dense(x), _opt(w), dense(mean), dense(rstd)
    dx = empty(x.shape, x.dtype) if want[0] else None
    dw, db = (empty(x.shape[-1:], x.dtype) if wanted else None for wanted in want[1:])
    call = _layer_norm_grad[x.dtype]
    check(call(ptr(dy), ptr(x), ptr(w), ptr(mean), ptr(rstd), ptr(dx), ptr(dw), ptr(db), *_shape(x)))
    return dx, dw, db


def rms_norm(x: Array, w: Array | None, eps: float) -> tuple[Array, Array]:
    """(y, rstd)."""
    x, w = dense(x), _opt(w)
    y, rstd = empty(x.shape, x.dtype), empty(x.shape[:-1], x.dtype)
    _rms_norm[x.dtype](ptr(x), ptr(w), eps, ptr(y), ptr(rstd), *_shape(x))
    return y, rstd


def rms_norm_grad(
    dy: Array, x: Array, w: Array | None, rstd: Array, want: tuple[bool, bool] = (True, True)
) -> tuple[Array | None, Array | None]:
    """(dx, dw), None where not wanted."""
    dy, x, w, rstd = dense(dy), dense(x), _opt(w), dense(rstd)
    dx = empty(x.shape, x.dtype) if want[0] else None
    dw = empty(x.shape[-1:], x.dtype) if want[1] else None
    check(_rms_norm_grad[x.dtype](ptr(dy), ptr(x), ptr(w), ptr(rstd), ptr(dx), ptr(dw), *_shape(x)))
    return dx, dw


# ---- loss ----


def cross_entropy(
    logits: Array, targets: Array, weight: Array | None, ignore_index: int, label_smoothing: float
) -> tuple[Array, Array]:
    """(loss, lse), a number a row."""
    logits, targets, weight = dense(logits), dense(targets), _opt(weight)
    loss, lse = empty(targets.shape, logits.dtype), empty(targets.shape, logits.dtype)
    _cross_entropy[logits.dtype](
        ptr(logits), ptr(targets), ptr(weight), ignore_index, label_smoothing, ptr(loss), ptr(lse), *_shape(logits)
    )
    return loss, lse


def cross_entropy_grad(
    dloss: Array,
    logits: Array,
    targets: Array,
    lse: Array,
    weight: Array | None,
    ignore_index: int,
    label_smoothing: float,
    out: Array | None = None,
) -> Array:
    """dlogits; `out` may be logits."""
    dloss, logits, targets, lse, weight = dense(dloss), dense(logits), dense(targets), dense(lse), _opt(weight)
    dlogits = empty(logits.shape, logits.dtype) if out is None else dense(writable(out))
    _cross_entropy_grad[logits.dtype](
        ptr(dloss), ptr(logits), ptr(targets), ptr(lse), ptr(weight), ignore_index, label_smoothing, ptr(dlogits),
        *_shape(logits),
    )  # fmt: skip
    if out is None or out is dlogits:
        return dlogits
    out[...] = dlogits
    return out


# ---- attention ----


def _readable(x: Array) -> Array:
    """x itself if its last axis is contiguous, else a copy that is."""
    return x if x.strides[-1] == x.itemsize or x.shape[-1] <= 1 else np.ascontiguousarray(x)


def _heads_last(batch: int, heads: int, rows: int, dim: int, dtype: np.dtype) -> Array:
    """An empty (batch, heads, rows, dim) that lies in memory as (batch, rows, heads, dim): merging heads is a view."""
    return empty((batch, rows, heads, dim), dtype).transpose(0, 2, 1, 3)


def _input_gradients(q: Array, k: Array, v: Array) -> tuple[Array, Array, Array]:
    """dq, dk, dv, empty: parts of one array where q, k and v look like that, so that nobody has to join them."""
    batch, heads, tq, d = q.shape
    _, kv_heads, tk, dv = v.shape
    width = heads + 2 * kv_heads
    if q.strides == k.strides == v.strides and tq == tk and d == dv and q.strides[2] == width * d * q.itemsize:
        joined = _heads_last(batch, width, tq, d, q.dtype)
        return joined[:, :heads], joined[:, heads : heads + kv_heads], joined[:, heads + kv_heads :]
    return (
        _heads_last(batch, heads, tq, d, q.dtype),
        _heads_last(batch, kv_heads, tk, d, q.dtype),
        _heads_last(batch, kv_heads, tk, dv, q.dtype),
    )


def _call(
    q: Array,
    k: Array,
    v: Array,
    scale: float,
    lo: Array | None,
    hi: Array | None,
    mask: Array | None,
    softcap: float,
    dropout: Dropout | None,
    **gradients: Array,
) -> tuple[Any, tuple[Array | None, ...]]:
    """The description of a call for C, and the arrays that it points to."""
    batch, heads, tq, d = q.shape
    _, kv_heads, tk, dv = v.shape
    call: dict[str, Any] = {
        "batch": batch, "heads": heads, "kv_heads": kv_heads, "tq": tq, "tk": tk, "d": d, "dv": dv,
        "q_strides": _row_strides(q), "k_strides": _row_strides(k), "v_strides": _row_strides(v),
        "scale": scale, "softcap": softcap,
    }  # fmt: skip
    for name, x in gradients.items():
        call[name + "_strides"] = _row_strides(x)
    lo, hi = _opt(lo), _opt(hi)
    if lo is not None:
        call["lo"], call["lo_stride"] = ptr(lo), tq if lo.shape[0] > 1 else 0
    if hi is not None:
        call["hi"], call["hi_stride"] = ptr(hi), tq if hi.shape[0] > 1 else 0
    if mask is not None:
        if mask.dtype != np.bool_ and mask.dtype != q.dtype:
            mask = mask.astype(q.dtype)
        mask = np.broadcast_to(mask, (batch, heads, tq, tk))
        call["mask"], call["mask_is_bool"], call["mask_strides"] = ptr(mask), mask.dtype == np.bool_, strides(mask)
    if dropout is not None:
        call["dropout"], key, call["stream"], call["base"] = dropout
        call["key"], call["stream"] = (key[0] & _WORD, key[1] & _WORD), call["stream"] & _DOUBLE_WORD
    return ffi.new(_ATTENTION, call), (lo, hi, mask)


def _row_strides(x: Array) -> tuple[int, int, int]:
    """Strides of (batch, head, row), in elements."""
    batch, head, row, _ = x.strides
    size = x.itemsize
    return batch // size, head // size, row // size


def attention(
    q: Array,
    k: Array,
    v: Array,
    *,
    scale: float,
    lo: Array | None = None,
    hi: Array | None = None,
    mask: Array | None = None,
    softcap: float = 0.0,
    slopes: Array | None = None,
    dropout: Dropout | None = None,
) -> tuple[Array, Array]:
    """(o, lse); o lies in memory as (B, Tq, Hq, Dv). Nothing of size Tq x Tk is stored."""
    q, k, v, slopes = _readable(q), _readable(k), _readable(v), _opt(slopes)
    call, held = _call(q, k, v, scale, lo, hi, mask, softcap, dropout)
    batch, heads, tq, _ = q.shape
    o = _heads_last(batch, heads, tq, v.shape[3], q.dtype)
    lse = empty((batch, heads, tq), q.dtype)
    check(_attention[q.dtype](call, ptr(q), ptr(k), ptr(v), ptr(slopes), ptr(o), ptr(lse)))
    del held
    return o, lse


def attention_grad(
    do: Array,
    q: Array,
    k: Array,
    v: Array,
    o: Array,
    lse: Array,
    *,
    scale: float,
    lo: Array | None = None,
    hi: Array | None = None,
    mask: Array | None = None,
    softcap: float = 0.0,
    slopes: Array | None = None,
    dropout: Dropout | None = None,
    want_mask: bool = False,
) -> tuple[Array, Array, Array, Array | None]:
    """(dq, dk, dv, dmask or None). Probabilities are recomputed from lse.

    In memory dq, dk, dv are (B, T, H, D); where q, k, v are the parts of one (B, T, Hq + 2 Hk, D), so are they.
    """
    q, k, v, do, slopes, lse = _readable(q), _readable(k), _readable(v), _readable(do), _opt(slopes), dense(lse)
    o = dense(o.transpose(0, 2, 1, 3))
    dq, dk, dv = _input_gradients(q, k, v)
    call, held = _call(q, k, v, scale, lo, hi, mask, softcap, dropout, do=do, dq=dq, dk=dk, dv=dv)
    dmask = empty((*q.shape[:3], k.shape[2]), q.dtype) if want_mask and mask is not None else None
    arrays = (do, q, k, v, o, lse, slopes, dq, dk, dv, dmask)
    check(_attention_grad[q.dtype](call, *(ptr(x) for x in arrays)))
    del held
    if dmask is not None and mask is not None and dmask.shape != mask.shape:
        dmask = dmask.sum(axis=tuple(range(4 - mask.ndim)))
        axes = tuple(axis for axis, size in enumerate(mask.shape) if size == 1)
        dmask = dmask.sum(axis=axes, keepdims=True)
    return dq, dk, dv, dmask


# ---- random numbers ----


def uniform(shape: tuple[int, ...], dtype: np.dtype | type, key: Key, stream: int, base: int = 0) -> Array:
    """Uniform in [0, 1); element i in C order is element base + i of the stream."""
    out = empty(shape, dtype)
    _uniform[out.dtype](ptr(out), out.size, key[0] & _WORD, key[1] & _WORD, stream & _DOUBLE_WORD, base)
    return out


def normal(shape: tuple[int, ...], dtype: np.dtype | type, key: Key, stream: int, base: int = 0) -> Array:
    """Standard normal; element i in C order is element base + i of the stream."""
    out = empty(shape, dtype)
    _normal[out.dtype](ptr(out), out.size, key[0] & _WORD, key[1] & _WORD, stream & _DOUBLE_WORD, base)
    return out


def dropout(x: Array, p: float, key: Key, stream: int, base: int = 0) -> Array:
    """x / (1 - p) where uniform(element) >= p, else 0."""
    x, out = dense(x), empty(x.shape, x.dtype)
    _dropout[x.dtype](ptr(x), ptr(out), x.size, p, key[0] & _WORD, key[1] & _WORD, stream & _DOUBLE_WORD, base)
    return out


# ---- optimizers ----


def sgd_(
    p: Array,
    g: Array,
    buf: Array | None,
    lr: float,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
    first: bool,
    grad_scale: float,
) -> None:
    """One step of torch.optim.SGD."""
    own = [p] if momentum == 0.0 or buf is None else [p, buf]
    with _dense_copies(own) as packed:
        state = ptr(packed[1]) if len(packed) > 1 else NULL
        settings = lr, momentum, dampening, weight_decay, nesterov, first, grad_scale
        _sgd[p.dtype](ptr(packed[0]), ptr(dense(g)), state, p.size, *settings)


def adam_(
    params: Sequence[Array],
    grads: Sequence[Array],
    means: Sequence[Array],
    squares: Sequence[Array],
    steps: Sequence[int],
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
    grad_scale: float,
) -> None:
    """One step of torch.optim.Adam, or of AdamW where decoupled, on many parameters at once."""
    n = len(params)
    with _dense_copies([*params, *means, *squares]) as packed:
        for dtype in {p.dtype: None for p in params}:
            which = [i for i in range(n) if params[i].dtype == dtype]
            p, m, v = ([packed[i + k] for i in which] for k in (0, n, 2 * n))
            g = [dense(grads[i]) for i in which]
            sizes, counts = int64s([x.size for x in p]), int64s([steps[i] for i in which])
            settings = lr, beta1, beta2, eps, weight_decay, decoupled, grad_scale
            _adam[dtype](len(which), pointers(p), pointers(g), pointers(m), pointers(v), sizes, counts, *settings)


@contextlib.contextmanager
def _dense_copies(arrays: list[Array]) -> Iterator[list[Array]]:
    """Arrays to update in place, dense: a view with gaps is copied there and back. Raises if one is read-only."""
    packed = [x if x.flags.carray else dense(writable(x)) for x in arrays]
    yield packed
    for own, copy in zip(arrays, packed, strict=True):
        if own is not copy:
            own[...] = copy


def sum_squares(arrays: Sequence[Array]) -> float:
    """The sum of squares of all elements of all arrays, in float64."""
    sums: list[float] = []
    for dtype in {x.dtype: None for x in arrays}:
        packed = [dense(x) for x in arrays if x.dtype == dtype]
        totals = ffi.new(_DOUBLES, len(packed))
        check(_sum_squares[dtype](len(packed), pointers(packed), int64s([x.size for x in packed]), totals))
        sums += ffi.unpack(totals, len(packed))
    return math.fsum(sums)
