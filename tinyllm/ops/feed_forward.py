"""The feed-forward half of a transformer block as one op, so that its activation costs no pass over memory.

Legend: x (..., d) input; w1 (n, d), b1 (n,) and w2 (m, n), b2 (m,) the two linear maps, biases may be None;
h = x w1^T + b1 (..., n) what the activation takes, a = act(h) what it gives; y (..., m), and r, a residual of y's
shape or None.
"""

from __future__ import annotations

import math
from typing import Any

from .. import backend
from ..op import Draw, Op, Sample, shape_error
from .linalg import check_residual, plus, rows

ACTIVATIONS = ("gelu", "gelu_tanh", "relu", "sigmoid", "silu")


class FeedForward(Op):
    """y = act(x w1^T + b1) w2^T + b2 + r.

    da = dy w2, dh = da * act'(h), dw2 = dy^T a, dw1 = dh^T x, dx = dh w1, dr = dy.

    The first product writes h and a from its registers; a is dropped after the second. Backward makes dh, and a
    again from h, in the registers of da: only x and h are kept.
    """

    kinds, cost = "ffffff", "compute"

    @staticmethod
    def oracle(torch, x, w1, b1, w2, b2, r, *, act):
        linear = torch.nn.functional.linear
        function = {
            "gelu": torch.nn.functional.gelu,
            "gelu_tanh": lambda h: torch.nn.functional.gelu(h, approximate="tanh"),
            "relu": torch.relu,
            "sigmoid": torch.sigmoid,
            "silu": torch.nn.functional.silu,
        }[act]
        y = linear(function(linear(x, w1, b1)), w2, b2)
        return y if r is None else y + r

    @staticmethod
    def shape(x, w1, b1, w2, b2, r, *, act):
        if act not in ACTIVATIONS:
            raise ValueError(f"FeedForward: act must be one of {', '.join(ACTIVATIONS)}, got {act!r}")
        if not x or len(w1) != 2 or len(w2) != 2 or x[-1] != w1[1] or w1[0] != w2[1]:
            rule = "each weight's last axis must be the width of what it multiplies"
            shapes: dict[str, Any] = {"input": (x, "... d"), "w1": (w1, "n d"), "w2": (w2, "m n")}
            raise shape_error("FeedForward", rule, "weights are (out, in), as in linear", **shapes)
        for name, bias, weight in (("b1", b1, w1), ("b2", b2, w2)):
            if bias is not None and bias != weight[:1]:
                pair: dict[str, Any] = {"weight": (weight, "out in"), name: (bias, "out")}
                raise shape_error("FeedForward", "a bias must have one element per output", **pair)
        y = x[:-1] + w2[:1]
        check_residual("FeedForward", r, y)
        return y

    @classmethod
    def flops(cls, x, w1, b1, w2, b2, r, *, act):
        return 2 * math.prod(x[:-1]) * (w1[0] * w1[1] + w2[0] * w2[1])

    @staticmethod
    def forward(ctx, x, w1, b1, w2, b2, r, *, act):
        x2, h = rows(x), None
        if any(ctx.needs):
            h = backend.empty((x2.shape[0], w1.shape[0]), x.dtype)
        a = backend.matmul(x2, w1.T, b1, act=act, pre=h)
        ctx.save(x, w1, w2, h)
        return plus(r, a, w2.T, b2).reshape(*x.shape[:-1], w2.shape[0])

    @staticmethod
    def backward(ctx, dy):
        (x, w1, w2, h), needs, act = ctx.saved, ctx.needs, ctx.attrs["act"]
        x2, dy2 = rows(x), rows(dy)
        dx = dw1 = db1 = dw2 = None
        a: Any = backend.empty(h.shape, h.dtype) if needs[3] else None
        dh = backend.matmul(dy2, w2, act=act, grad_of=h, value=a)
        if needs[3]:
            dw2, a = backend.matmul(dy2.T, a), None
        if needs[0]:
            dx = backend.matmul(dh, w1).reshape(x.shape)
        if needs[1]:
            dw1 = backend.matmul(dh.T, x2)
        if needs[2]:
            db1 = backend.reduce("sum", dh, (0,))
        return dx, dw1, db1, dw2, backend.reduce("sum", dy2, (0,)) if needs[4] else None, dy

    @staticmethod
    def samples(draw: Draw) -> Sample:
        x = draw.array(draw.shape(min_dims=1, max_dims=3))
        n, m = draw.integer(1, 6), draw.integer(1, 5)
        w1, w2 = draw.array((n, x.shape[-1])), draw.array((m, n))
        b1, b2 = draw.choice([None, draw.distinct((n,))]), draw.choice([None, draw.array((m,))])
        r = draw.choice([None, draw.array((*x.shape[:-1], m))])
        # relu has a kink, which finite differences would straddle
        return Sample((x, w1, b1, w2, b2, r), {"act": draw.choice([a for a in ACTIVATIONS if a != "relu"])})

    @staticmethod
    def errors(draw: Draw) -> list[Sample]:
        x, w1, w2, b = draw.array((2, 3)), draw.array((4, 3)), draw.array((2, 4)), draw.array((2,))
        wrong = [(x, w1.T, None, w2, None), (x, w1, None, w2.T, None), (x, w1, b, w2, None), (x, w1, None, w2, w1)]
        return [
            *(Sample((*args, None), {"act": "gelu"}) for args in wrong),
            Sample((x, w1, None, w2, None, draw.array((1, 2))), {"act": "gelu"}),
            Sample((x, w1, None, w2, None, None), {"act": "tanh"}),
        ]
