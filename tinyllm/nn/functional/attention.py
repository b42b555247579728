"""F.scaled_dot_product_attention: softmax(scale q k^T + mask) v, with PyTorch's arguments and errors
(Vaswani et al. 2017).

Legend: B batch (any leading axes), H heads of queries, Hk heads of keys and values, L queries, S keys, E
and Ev widths. The scores are never stored: the kernel works in tiles, and structured masks are intervals
(nn/masks.py).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ... import ops
from ..._tensor import Tensor
from ...autograd import apply
from ...errors import ShapeError
from ...random import default_generator
from ..masks import Causal, Mask, Window, bounds


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
    *,
    softcap: float = 0.0,
    window: tuple[int | None, int | None] | None = None,
    alibi_slopes: Any = None,
    causal_alignment: str = "top-left",
    stream: str = "attention",
) -> Tensor:
    """query (B..., H, L, E), key (B..., H, S, E), value (B..., H, S, Ev) -> (B..., H, L, Ev).

    attn_mask broadcasts to (B..., H, L, S): bool (True = takes part) or floats that are added to the
    scores. is_causal lets query i see keys 0..i (PyTorch's top-left alignment), or 0..i + S - L with
    causal_alignment="bottom-right", which is right with a cache. A query that sees nothing gives 0. scale
    defaults to 1/sqrt(E). enable_gqa: H is a multiple of the number of key heads, and H / Hk neighbours
    share one.

    Beyond PyTorch: softcap c > 0 replaces a score s by c tanh(s / c) (Gemma 2); window = (left, right)
    keeps the keys that many places around the query, both ends included, None for no limit, aligned as
    causal_alignment says; alibi_slopes (H,) adds slope * (j - i) to the scores (Press et al. 2022);
    `stream` names the random stream of the dropout. Raises RuntimeError (ShapeError for shapes) where
    PyTorch does.
    """
    _check(query, key, value, attn_mask, is_causal)
    if not 0.0 <= dropout_p <= 1.0:
        raise RuntimeError(f"dropout probability has to be between 0 and 1, but got {dropout_p}")
    q, k, v, lead = _four_axes(query, key, value, enable_gqa)
    mask: Mask | None = Causal(causal_alignment) if is_causal else None
    if window is not None:
        band = Window(*window, alignment=causal_alignment)
        mask = band if mask is None else mask & band
    if attn_mask is not None:
        attn_mask = attn_mask if attn_mask.dtype == bool else attn_mask.to(query.dtype)
        attn_mask = _four_axes_mask(attn_mask, lead, q.shape[1], q.shape[2], k.shape[2])
    slopes = None
    if alibi_slopes is not None:
        slopes = np.asarray(alibi_slopes.array if isinstance(alibi_slopes, Tensor) else alibi_slopes, q.dtype)
        if slopes.shape != (q.shape[1],):
            raise ShapeError(
                f"alibi_slopes must have one number for each of the {q.shape[1]} heads, got {slopes.shape}"
            )
    out = attend(
        q,
        k,
        v,
        mask,
        attn_mask,
        scale=scale,
        softcap=softcap,
        slopes=slopes,
        dropout_p=dropout_p,
        stream=stream,
    )
    out = out.reshape(*out.shape[:2], q.shape[1], v.shape[3]).transpose(1, 2)
    if query.ndim == 4:
        return out
    return out.reshape(*lead, *out.shape[1:]) if query.ndim > 4 else out.reshape(*out.shape[4 - query.ndim :])


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Mask | None = None,
    dense: Tensor | None = None,
    *,
    scale: float | None = None,
    softcap: float = 0.0,
    slopes: np.ndarray | None = None,
    dropout_p: float = 0.0,
    stream: str = "attention",
) -> Tensor:
    """Attention of q (B, H, L, E) over k (B, Hk, S, E), v (B, Hk, S, Ev), H a multiple of Hk, with a mask
    object and a dense mask -> (B, L, H Ev).
    """
    lo, hi = bounds(mask, q.shape[0], q.shape[2], k.shape[2])
    drawn = None
    if dropout_p > 0.0:
        draw = default_generator.next(stream)
        before = default_generator.first_row * q.shape[1] * q.shape[2] * k.shape[2]  # probabilities of earlier rows
        drawn = (dropout_p, draw.key, draw.stream, before)
    scale = 1.0 / math.sqrt(q.shape[-1]) if scale is None else float(scale)
    return apply(
        ops.Attention,
        q,
        k,
        v,
        dense,
        scale=scale,
        lo=lo,
        hi=hi,
        softcap=softcap,
        slopes=slopes,
        dropout=drawn,
    )


def _check(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None, is_causal: bool) -> None:
    for name, t in (("query", query), ("key", key), ("value", value)):
        if not isinstance(t, Tensor):
            raise TypeError(f"scaled_dot_product_attention: {name} must be a Tensor, got {type(t).__name__}")
        if t.ndim < 2:
            raise ShapeError(
                f"scaled_dot_product_attention: {name} needs at least 2 axes (length, width), got {tuple(t.shape)}"
            )
    if not query.dtype == key.dtype == value.dtype or query.dtype.kind != "f":
        raise RuntimeError(
            "scaled_dot_product_attention: query, key and value must have the same floating point dtype, "
            f"got {query.dtype}, {key.dtype} and {value.dtype}"
        )
    if attn_mask is not None:
        if is_causal:
            raise RuntimeError("Explicit attn_mask should not be set when is_causal=True")
        if attn_mask.dtype not in (bool, np.float32, query.dtype):
            raise RuntimeError(
                f"Expected attn_mask dtype to be bool or float or to match query dtype, but got attn_mask.dtype: "
                f"{attn_mask.dtype} and query.dtype: {query.dtype} instead."
            )


def _four_axes(
    query: Tensor, key: Tensor, value: Tensor, enable_gqa: bool
) -> tuple[Tensor, Tensor, Tensor, tuple[int, ...]]:
    """The three with four axes (leading ones merged and broadcast, missing ones added), and the leading
    axes of the result.
    """

    def fail(rule: str) -> ShapeError:
        shapes = f"query {tuple(query.shape)}, key {tuple(key.shape)}, value {tuple(value.shape)}"
        return ShapeError(f"scaled_dot_product_attention: {rule}\n  {shapes}\n  axes: (..., heads, length, width)")

    if query.shape[-1] != key.shape[-1]:
        raise fail(f"query and key must have the same width, got {query.shape[-1]} and {key.shape[-1]}")
    if key.shape[-2] != value.shape[-2]:
        raise fail(f"there must be as many values as keys, got {value.shape[-2]} and {key.shape[-2]}")
    width = max(query.ndim, key.ndim, value.ndim)
    if min(query.ndim, key.ndim, value.ndim) != width:
        raise fail("query, key and value must have the same number of axes")
    parts = (query, key, value)
    heads = [t.shape[-3] if width > 2 else 1 for t in parts]
    if enable_gqa:
        if width < 3 or heads[1] != heads[2] or not heads[1] or heads[0] % heads[1]:
            raise fail(
                f"with enable_gqa the {heads[0]} query heads must be a multiple of the {heads[1]} key and "
                f"{heads[2]} value heads"
            )
        shared = heads
    else:
        if len(set(heads) - {1}) > 1:
            raise fail(f"the numbers of heads {heads} differ; set enable_gqa=True if query heads share keys and values")
        shared = [max(heads) if 0 not in heads else 0] * 3
    try:
        lead = np.broadcast_shapes(*(tuple(t.shape[:-3]) for t in parts))
    except ValueError:
        raise fail("the leading axes do not broadcast") from None
    out = []
    for t, h in zip(parts, shared, strict=True):
        shape = (*lead, h, t.shape[-2], t.shape[-1])
        if width < 3:
            t = t.unsqueeze(0)
        if tuple(t.shape) != shape:
            t = t.expand(shape)
        out.append(t if len(lead) == 1 else t.reshape(math.prod(lead), *shape[-3:]))
    return out[0], out[1], out[2], lead


def _four_axes_mask(mask: Tensor, lead: tuple[int, ...], heads: int, n_query: int, n_key: int) -> Tensor:
    full = (*lead, heads, n_query, n_key)
    want = full if lead else full[1:] if heads == 1 and mask.ndim < 3 else full
    shape = tuple(mask.shape)
    if len(shape) > len(full) or any(s not in (1, n) for s, n in zip(reversed(shape), reversed(full), strict=False)):
        raise ShapeError(
            f"scaled_dot_product_attention: attn_mask {shape} does not broadcast to "
            f"(..., heads, queries, keys) = {want}"
        )
    if len(lead) <= 1:
        return mask.reshape(*[1] * (4 - len(shape)), *shape)
    padded = mask.reshape(*[1] * (len(full) - len(shape)), *shape)
    if all(s == 1 for s in padded.shape[: len(lead)]):
        return padded.reshape(1, *padded.shape[-3:])
    return padded.expand(*lead, *padded.shape[-3:]).reshape(math.prod(lead), *padded.shape[-3:])
