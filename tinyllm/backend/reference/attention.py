"""Scaled dot-product attention with every mask kind, on the full (Tq, Tk) matrix that `cpu.py` never stores.

Legend: q, dq (B, Hq, Tq, D); k, dk (B, Hk, Tk, D); v, dv (B, Hk, Tk, Dv); o, do (B, Hq, Tq, Dv); lse (B, Hq,
Tq). Hq is a multiple of Hk, and query head h reads key/value head h // (Hq // Hk) (grouped-query attention,
arXiv:2305.13245). Scores s and probabilities p are (B, Hq, Tq, Tk). Vaswani 2017; the gradient as in
FlashAttention (arXiv:2205.14135, B.2).

    s = scale * q.k
    s = softcap * tanh(s / softcap)                 if softcap > 0 (Gemma 2)
    s = s + slopes[h] * (j - (i + Tk - Tq))         if slopes (Hq,) (ALiBi, arXiv:2108.12409)
    s = s + mask                                    if mask is additive
    key j is visible to query i   iff   lo[b, i] <= j < hi[b, i]   and   mask[b, h, i, j] if mask is bool
    p = softmax of s over the visible keys;  lse = log(sum(exp(s)));  o = p.v

lo and hi are int64 (B or 1, Tq); None means 0 and Tk. They may lie outside [0, Tk] or cross (nothing is
visible then). mask is broadcastable to (B, Hq, Tq, Tk). A query that sees nothing, by interval, bool mask or
a mask of -inf, has o = 0, lse = -inf and zero gradients. dropout = (p, key, stream, base) drops entries of
the normalised p: entry (b, h, i, j) is kept iff uniform(key, stream, base + ((b*Hq + h)*Tq + i)*Tk + j) >= p,
and then scaled by 1/(1-p). lse ignores dropout.
"""

from __future__ import annotations

import numpy as np

from tinyllm.backend.reference._exact import exact
from tinyllm.backend.reference.random import uniform

Array = np.ndarray
Dropout = tuple[float, tuple[int, int], int, int]


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
    """(o, lse) as above. In memory o is (B, Tq, Hq, Dv), so that o.transpose(0, 2, 1, 3) is contiguous.

    merging heads is a view.
    """
    o, lse = _attention(q, k, v, scale=scale, lo=lo, hi=hi, mask=mask, softcap=softcap, slopes=slopes, dropout=dropout)
    return np.ascontiguousarray(o.transpose(0, 2, 1, 3)).transpose(0, 2, 1, 3), lse


@exact
def _attention(q: Array, k: Array, v: Array, *, dropout: Dropout | None, **score: object) -> tuple[Array, Array]:
    s, _ = _scores(q, k, **score)  # type: ignore[arg-type]
    top = np.max(s, axis=-1, keepdims=True, initial=-np.inf)
    top = np.where(np.isneginf(top), 0.0, top)  # nothing visible: exp(-inf - 0) = 0, not NaN
    e = np.exp(s - top)
    total = e.sum(-1, keepdims=True)
    p = e / np.where(total == 0.0, 1.0, total)
    o = np.matmul(p * _kept(p.shape, dropout), _per_query_head(v, q))
    return o, (np.log(total) + top)[..., 0]


@exact
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
    """(dq, dk, dv, dmask or None). dmask (additive mask) has mask's shape, summed where it broadcasts.

    With p = exp(s - lse), r = keep/(1-p_drop) (1 without dropout), * elementwise and . over the shared axis:
    dv = (p*r)^T.do,   ds = p * (r * do.v^T - rowsum(do*o)),   dmask = ds,
    ds = ds * (1 - tanh^2) where softcap,   dq = scale * ds.k,   dk = scale * ds^T.q,
    and dk, dv are summed over the query heads of a group.
    """
    s, slope = _scores(q, k, scale=scale, lo=lo, hi=hi, mask=mask, softcap=softcap, slopes=slopes)
    p = np.where(np.isneginf(s), 0.0, np.exp(s - lse[..., None]))
    r = _kept(p.shape, dropout)
    dp = np.matmul(do, _per_query_head(v, q).swapaxes(-1, -2)) * r
    ds = p * (dp - (do * o).sum(-1, keepdims=True))
    dmask = _sum_to(ds, mask.shape) if want_mask and mask is not None else None
    ds = ds * slope * scale
    dq = np.matmul(ds, _per_query_head(k, q))
    dk = _sum_groups(np.matmul(ds.swapaxes(-1, -2), q), k)
    dv = _sum_groups(np.matmul((p * r).swapaxes(-1, -2), do), v)
    return dq, dk, dv, dmask


def _scores(
    q: Array,
    k: Array,
    *,
    scale: float,
    lo: Array | None,
    hi: Array | None,
    mask: Array | None,
    softcap: float,
    slopes: Array | None,
) -> tuple[Array, Array | float]:
    """(s with -inf where not visible, ds / d(scale * q.k))."""
    tq, tk = q.shape[2], k.shape[2]
    s = scale * np.matmul(q, _per_query_head(k, q).swapaxes(-1, -2))
    slope: Array | float = 1.0
    if softcap > 0.0:
        t = np.tanh(s / softcap)
        s, slope = softcap * t, 1.0 - t * t
    j = np.arange(tk)
    if slopes is not None:
        s = s + slopes[:, None, None] * (j - (np.arange(tq)[:, None] + tk - tq))
    if mask is not None and mask.dtype != np.bool_:
        s = s + mask
    if lo is not None:
        s = np.where(j >= lo[:, None, :, None], s, -np.inf)
    if hi is not None:
        s = np.where(j < hi[:, None, :, None], s, -np.inf)
    if mask is not None and mask.dtype == np.bool_:
        s = np.where(mask, s, -np.inf)
    return s, slope


def _kept(shape: tuple[int, ...], dropout: Dropout | None) -> Array | float:
    """1/(1-p) where an entry of the probabilities is kept, 0 where it is dropped."""
    if dropout is None or dropout[0] == 0.0:
        return 1.0
    p, key, stream, base = dropout
    kept = uniform(shape, np.float64, key, stream, base) >= p
    return kept / np.float64(1.0 - p) if p < 1.0 else np.zeros(shape)


def _per_query_head(kv: Array, q: Array) -> Array:
    """(B, Hk, Tk, D) repeated to (B, Hq, Tk, D)."""
    return np.repeat(kv, q.shape[1] // kv.shape[1], axis=1)


def _sum_groups(d: Array, kv: Array) -> Array:
    """(B, Hq, Tk, D) summed over the query heads of each key/value head: (B, Hk, Tk, D)."""
    batch, heads, tk, dim = d.shape
    return d.reshape(batch, kv.shape[1], heads // kv.shape[1], tk, dim).sum(2)


def _sum_to(ds: Array, shape: tuple[int, ...]) -> Array:
    """Sum ds over the axes along which an array of this shape was broadcast."""
    ds = ds.sum(axis=tuple(range(ds.ndim - len(shape))))
    return ds.sum(axis=tuple(a for a, size in enumerate(shape) if size == 1), keepdims=True)
