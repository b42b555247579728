"""Scaled dot-product attention as one op (Vaswani 2017; tiled as in FlashAttention-2, Dao 2023).

Legend: q (B, Hq, Tq, D), k (B, Hk, Tk, D), v (B, Hk, Tk, Dv), o (B, Hq, Tq, Dv); y (B, Tq, Hq Dv) is o with each
token's heads one after another. Hq is a multiple of Hk: query head h reads key/value head h // (Hq / Hk). Which keys a
query sees is an interval [lo, hi) for causal, window, padding, packed and prefix masks, so no T x T array is ever made
for them; `mask` is for everything else.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import backend
from ..op import Draw, Op, Sample, shape_error
from .binary import unbroadcast
from .shape import reshaped


class Attention(Op):
    """y: o = dropout(softmax(s)) v with s = cap(scale * q k^T) + slopes * distance, where lo <= key < hi, then mask.

    cap(s) = c tanh(s/c). With P the probabilities, rebuilt from the saved logsumexp, and D = rowsum(do * o):
    dv = P^T do,    dP = do v^T,    dS = P * (dP - D),    dq = scale * dS k,    dk = scale * dS^T q.
    A query that sees nothing gives 0 and no gradient.

    mask: bool (True = keep) or additive, broadcast to (B, Hq, Tq, Tk); lo, hi: int64 (B or 1, Tq); slopes: (Hq,);
    dropout: (p, key, stream, base), on the entries of P counted in C order from base.
    """

    kinds, cost = "fffm", "compute"

    @staticmethod
    def oracle(torch, q, k, v, mask, *, scale, lo=None, hi=None, softcap=0.0, slopes=None, dropout=None):
        if softcap or dropout:
            return NotImplemented
        (tq, tk), j = (q.shape[2], k.shape[2]), torch.arange(k.shape[2])
        bias = torch.zeros(1, 1, tq, tk, dtype=q.dtype)
        if slopes is not None:
            bias = bias + slopes[:, None, None] * (j - (torch.arange(tq)[:, None] + tk - tq))
        for hidden in (
            None if lo is None else j < lo[:, None, :, None],
            None if hi is None else j >= hi[:, None, :, None],
        ):
            bias = bias if hidden is None else bias.masked_fill(hidden, -math.inf)
        if mask is not None:
            bias = bias.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else bias + mask
        o = torch.nn.functional.scaled_dot_product_attention(q, k, v, bias, scale=scale, enable_gqa=True)
        return o.transpose(1, 2).flatten(2)

    @staticmethod
    def shape(q, k, v, mask, *, scale, lo=None, hi=None, softcap=0.0, slopes=None, dropout=None):
        axes: dict[str, Any] = {"query": (q, "B Hq Tq D"), "key": (k, "B Hk Tk D"), "value": (v, "B Hk Tk Dv")}
        if not len(q) == len(k) == len(v) == 4:
            raise shape_error("Attention", "query, key and value need four axes", **axes)
        if q[0] != k[0] or k[:3] != v[:3] or q[3] != k[3]:
            rule = "B must agree everywhere, Hk and Tk between key and value, D between query and key"
            raise shape_error("Attention", rule, **axes)
        if k[1] == 0 or q[1] % k[1]:
            raise shape_error(
                "Attention", "Hq must be a multiple of Hk", "grouped heads share one key/value head", **axes
            )
        for a in (lo, hi, slopes):
            if a is not None and not isinstance(a, np.ndarray):
                raise TypeError(f"Attention: lo, hi and slopes must be arrays, got {type(a).__name__}")
        scores = (q[0], q[1], q[2], k[2])
        if mask is not None and (
            len(mask) > 4 or any(m not in (1, s) for m, s in zip(mask[::-1], scores[::-1], strict=False))
        ):
            raise shape_error(
                "Attention", f"the mask must broadcast to (B, Hq, Tq, Tk) = {scores}", mask=(mask, "..."), **axes
            )
        for name, a in (("lo", lo), ("hi", hi)):
            if a is not None and (a.ndim != 2 or a.shape[0] not in (1, q[0]) or a.shape[1] != q[2]):
                raise shape_error("Attention", f"{name} must be (B or 1, Tq)", **(axes | {name: (a.shape, "B Tq")}))
        if slopes is not None and slopes.shape != q[1:2]:
            raise shape_error(
                "Attention", "slopes must hold one number per query head", slopes=(slopes.shape, "Hq"), **axes
            )
        if dropout is not None and not 0 <= dropout[0] <= 1:
            raise ValueError(f"Attention: the dropout probability must be from 0 to 1, got {dropout[0]}")
        return q[0], q[2], q[1] * v[3]

    @classmethod
    def flops(cls, q, k, v, mask, *, lo=None, hi=None, **attrs):
        b, h, tq, d = q
        pairs = b * h * tq * k[2]
        if lo is not None or hi is not None:
            first = 0 if lo is None else np.clip(lo, 0, k[2])
            last = k[2] if hi is None else np.clip(hi, 0, k[2])
            width = np.broadcast_to(np.maximum(last - first, 0), (b, tq))
            pairs = h * int(width.sum())
        return 2 * pairs * (d + v[3])

    @staticmethod
    def forward(ctx, q, k, v, mask, **attrs):
        wide = None if mask is None else np.broadcast_to(mask, (*q.shape[:3], k.shape[2]))
        o, lse = backend.attention(q, k, v, mask=wide, **attrs)
        y = reshaped(o.transpose(0, 2, 1, 3), (q.shape[0], q.shape[2], q.shape[1] * v.shape[3]))
        ctx.save(q, k, v, mask, y, lse)
        return y

    @staticmethod
    def backward(ctx, dy):
        q, k, v, mask, y, lse = ctx.saved
        heads = q.shape[0], q.shape[2], q.shape[1], v.shape[3]
        o, do = y.reshape(heads).transpose(0, 2, 1, 3), reshaped(dy, heads).transpose(0, 2, 1, 3)
        wide = None if mask is None else np.broadcast_to(mask, (*q.shape[:3], k.shape[2]))
        dq, dk, dv, dmask = backend.attention_grad(do, q, k, v, o, lse, mask=wide, want_mask=ctx.needs[3], **ctx.attrs)
        return dq, dk, dv, None if dmask is None else unbroadcast(dmask, mask.shape)

    @staticmethod
    def samples(draw: Draw) -> Sample:
        b, group, hk = draw.integer(0, 2), draw.integer(1, 2), draw.integer(1, 2)
        tq, tk, d, dv = draw.integer(1, 5), draw.integer(1, 5), draw.integer(1, 5), draw.integer(1, 5)
        scores = (b, group * hk, tq, tk)
        q, k, v = draw.array((b, group * hk, tq, d)), draw.array((b, hk, tk, d)), draw.array((b, hk, tk, dv))
        attrs: dict = {"scale": 1 / math.sqrt(d)}
        mask = draw.choice([None, None, draw.array(draw.part_of(scores)), draw.bools(draw.part_of(scores))])
        causal = np.arange(tq)[None] + 1 + tk - tq  # rows that see nothing when tk < tq
        extras = [
            {},
            {"hi": causal},
            {"hi": causal, "lo": causal - 2},
            {"softcap": 2.0},
            {"slopes": draw.array((group * hk,))},
        ]
        attrs |= draw.choice([*extras, {"dropout": (0.3, (1, 2), 77, draw.integer(0, 1 << 33))}])
        return Sample((q, k, v, mask), attrs)

    @staticmethod
    def errors(draw: Draw) -> list[Sample]:
        q, k = draw.array((2, 3, 4, 5)), draw.array((2, 2, 4, 5))
        ok = {"scale": 1.0}
        shapes = [(q, k, k), (q, q, k), (q[0], q, q), (q, q[..., :4], q), (q[:1], q, q)]
        bad = [Sample((*s, None), ok) for s in shapes] + [Sample((q, q, q, draw.array((4, 3))), ok)]
        return [
            *bad,
            Sample((q, q, q, draw.ints((4, 4), 0, 1)), ok),
            Sample((q, q, q, None), ok | {"dropout": (2.0, (0, 0), 0, 0)}),
        ]
