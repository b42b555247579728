"""What attention is compared with, for tests and benchmarks: csrc/baseline.c, and what each kernel counts.

Shapes as in `backend.attention`, with as many heads of k and v as of q, Tq = Tk a multiple of 32, D and Dv of 16.
Causal or full, nothing else.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyllm.backend._call import Array, check, ffi, kernels, ptr, strides
from tinyllm.backend.cpu_attention import _call, _heads_last, _input_gradients
from tinyllm.backend.memory import empty

__all__ = ["COUNTERS", "causal_hi", "flash1", "flash1_grad", "flash2_cost", "naive", "naive_grad"]

COUNTERS = ("blocks", "exponentials", "rescaled", "divisions", "words_read", "words_written")
Cost = dict[str, int]

_naive, _naive_grad = kernels("attention_naive"), kernels("attention_naive_grad")
_flash1, _flash1_grad = kernels("attention_flash1"), kernels("attention_flash1_grad")
_flash2 = kernels("attention")


def causal_hi(rows: int) -> Array:
    """The `hi` of `backend.attention` for a causal mask: query i sees keys 0 to i."""
    return np.arange(1, rows + 1)[None]


def _described(q: Array, k: Array, v: Array, scale: float, causal: bool) -> tuple[Any, Any, Any]:
    """(call, its cost, what they point to)."""
    batch, heads, rows, d = q.shape
    if k.shape != q.shape or v.shape[:3] != q.shape[:3] or rows % 32 or d % 16 or v.shape[3] % 16:
        shapes = f"q {q.shape}, k {k.shape}, v {v.shape}"
        raise ValueError(f"expected equal shapes, rows in multiples of 32, columns of 16; got {shapes}")
    call, held = _call(q, k, v, scale, None, causal_hi(rows) if causal else None, None, 0.0, None)
    call.cost = cost = ffi.new("tl_attention_cost *")
    return call, cost, held


def _counted(cost: Any) -> Cost:
    return {name: getattr(cost, name) for name in COUNTERS}


def naive(q: Array, k: Array, v: Array, scale: float, causal: bool) -> tuple[Array, Array, Cost]:
    """(o, p, cost) with scores and probabilities p stored whole, p (B, H, T, T) in the kernel's own order."""
    call, cost, held = _described(q, k, v, scale, causal)
    batch, heads, rows, _ = q.shape
    s, p = (empty((batch, heads, rows, rows), q.dtype) for _ in range(2))
    o = _heads_last(batch, heads, rows, v.shape[3], q.dtype)
    check(_naive[q.dtype](call, *(ptr(x) for x in (q, k, v, s, p, o))))
    del held
    return o, p, _counted(cost)


def naive_grad(do: Array, q: Array, k: Array, v: Array, p: Array, scale: float) -> tuple[Array, Array, Array]:
    """(dq, dk, dv) from the probabilities of `naive`."""
    call, _, held = _described(q, k, v, scale, False)
    dq, dk, dv = _gradients(call, do, q, k, v)
    ds = empty(p.shape, p.dtype)
    check(_naive_grad[q.dtype](call, *(ptr(x) for x in (do, q, k, v, p, ds, dq, dk, dv))))
    del held
    return dq, dk, dv


def flash1(q: Array, k: Array, v: Array, scale: float, causal: bool) -> tuple[Array, Array, Array, Cost]:
    """(o, m, l, cost): FlashAttention-1, largest scores m and sums l of exp(score - m), both (B, H, T)."""
    call, cost, held = _described(q, k, v, scale, causal)
    batch, heads, rows, _ = q.shape
    o = _heads_last(batch, heads, rows, v.shape[3], q.dtype)
    m, total = empty(q.shape[:3], q.dtype), empty(q.shape[:3], q.dtype)
    check(_flash1[q.dtype](call, *(ptr(x) for x in (q, k, v, o, m, total))))
    del held
    return o, m, total, _counted(cost)


def flash1_grad(
    do: Array, q: Array, k: Array, v: Array, o: Array, m: Array, total: Array, scale: float, causal: bool
) -> tuple[Array, Array, Array]:
    """(dq, dk, dv) from the results of `flash1`."""
    call, _, held = _described(q, k, v, scale, causal)
    dq, dk, dv = _gradients(call, do, q, k, v)
    o = np.ascontiguousarray(o.transpose(0, 2, 1, 3))
    check(_flash1_grad[q.dtype](call, *(ptr(x) for x in (do, q, k, v, o, m, total, dq, dk, dv))))
    del held
    return dq, dk, dv


def flash2_cost(q: Array, k: Array, v: Array, scale: float, causal: bool) -> Cost:
    """What the kernel of `backend.attention` counts."""
    call, cost, held = _described(q, k, v, scale, causal)
    batch, heads, rows, _ = q.shape
    o, lse = _heads_last(batch, heads, rows, v.shape[3], q.dtype), empty(q.shape[:3], q.dtype)
    check(_flash2[q.dtype](call, *(ptr(x) for x in (q, k, v, None, o, lse))))
    del held
    return _counted(cost)


def _gradients(call: Any, do: Array, q: Array, k: Array, v: Array) -> tuple[Array, Array, Array]:
    dq, dk, dv = _input_gradients(q, k, v)
    call.do_strides, call.dq_strides = strides(do)[:3], strides(dq)[:3]
    call.dk_strides, call.dv_strides = strides(dk)[:3], strides(dv)[:3]
    return dq, dk, dv
