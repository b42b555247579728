"""Attention in C, forward and backward.

The kernels read strides as long as the last axis is contiguous, so the heads of a fused projection are read in place,
and gradients of such heads are written as parts of one array.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyllm.backend._call import (
    LONG_WORD,
    WORD,
    Array,
    check,
    dense,
    dense_or_none,
    ffi,
    kernels,
    ptr,
    strides,
)
from tinyllm.backend.memory import empty

__all__ = ["attention", "attention_grad"]

Dropout = tuple[float, tuple[int, int], int, int]

_attention, _attention_grad = kernels("attention"), kernels("attention_grad")
_ATTENTION = ffi.typeof("tl_attention *")


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
    lo, hi = dense_or_none(lo), dense_or_none(hi)
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
        call["key"], call["stream"] = (key[0] & WORD, key[1] & WORD), call["stream"] & LONG_WORD
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
    q, k, v, slopes = _readable(q), _readable(k), _readable(v), dense_or_none(slopes)
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
    q, k, v, do, slopes, lse = (
        _readable(q),
        _readable(k),
        _readable(v),
        _readable(do),
        dense_or_none(slopes),
        dense(lse),
    )
    o = dense(o.transpose(0, 2, 1, 3))
    dq, dk, dv = _input_gradients(q, k, v)
    call, held = _call(q, k, v, scale, lo, hi, mask, softcap, dropout, do=do, dq=dq, dk=dk, dv=dv)
    dmask = empty((*q.shape[:3], k.shape[2]), q.dtype) if want_mask and mask is not None else None
    arrays = (do, q, k, v, o, lse, slopes, dq, dk, dv, dmask)
    check(_attention_grad[q.dtype](call, *map(ptr, arrays)))
    del held
    if dmask is not None and mask is not None and dmask.shape != mask.shape:
        dmask = dmask.sum(axis=tuple(range(4 - mask.ndim)))
        axes = tuple(axis for axis, size in enumerate(mask.shape) if size == 1)
        dmask = dmask.sum(axis=axes, keepdims=True)
    return dq, dk, dv, dmask
