"""Elementwise ops that choose, limit, gate, drop or convert: those with a condition or an attribute.

Legend: x, a, b inputs; y output; dy its gradient.
"""

from __future__ import annotations

import numpy as np

from .. import backend
from ..op import Draw, Op, Sample, broadcast, shape_error
from .binary import unbroadcast

GATES = ("sigmoid", "relu", "gelu", "gelu_tanh", "silu")


class Where(Op):
    """y = a where cond, else b, broadcasting all three.    da = dy where cond, db = dy elsewhere."""

    kinds, oracle = "bnn", "torch.where"

    @staticmethod
    def shape(cond, a, b):
        return broadcast("Where", cond=cond, a=a, b=b)

    @staticmethod
    def forward(ctx, cond, a, b):
        ctx.save(cond)
        ctx.shapes = a.shape, b.shape
        return backend.where(cond, a, b)

    @staticmethod
    def backward(ctx, dy):
        (cond,) = ctx.saved
        zero = np.zeros((), dy.dtype)
        da = unbroadcast(backend.where(cond, dy, zero), ctx.shapes[0]) if ctx.needs[1] else None
        return None, da, unbroadcast(backend.where(cond, zero, dy), ctx.shapes[1]) if ctx.needs[2] else None

    @staticmethod
    def samples(draw: Draw) -> Sample:
        shape = draw.shape()
        return Sample((draw.bools(draw.part_of(shape)), draw.array(shape), draw.array(draw.part_of(shape))))

    @staticmethod
    def errors(draw: Draw) -> list[Sample]:
        x = draw.array((3,))
        return [Sample((draw.bools((2,)), x, x)), Sample((x, x, x))]


class Clamp(Op):
    """y = min(max(x, low), high), either bound None for none.    dx = dy where low <= x <= high. NaN stays."""

    kinds = "n"

    @staticmethod
    def oracle(torch, x, *, low, high):
        return torch.clamp(x, low, high)

    @staticmethod
    def shape(x, *, low, high):
        if low is None and high is None:
            raise ValueError("Clamp: at least one of min and max must be given")
        for bound in (low, high):
            if bound is not None and np.ndim(bound):
                raise TypeError(f"Clamp: min and max must be numbers, got {type(bound).__name__}")
        return x

    @staticmethod
    def forward(ctx, x, *, low, high):
        ctx.save(x)
        y = x if low is None else backend.binary("maximum", x, np.asarray(low, x.dtype))
        return y if high is None else backend.binary("minimum", y, np.asarray(high, x.dtype))

    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved
        zero = np.zeros((), dy.dtype)
        for bound, inside in ((ctx.attrs["low"], "ge"), (ctx.attrs["high"], "le")):
            if bound is not None:
                dy = backend.where(backend.binary(inside, x, np.asarray(bound, x.dtype)), dy, zero)
        return dy

    @staticmethod
    def samples(draw: Draw) -> Sample:
        low, high = draw.choice([(-1.0, 1.0), (None, 0.5), (-0.5, None)])
        return Sample((draw.array(draw.shape(), avoid=(-1.0, -0.5, 0.5, 1.0)),), {"low": low, "high": high})

    @staticmethod
    def errors(draw: Draw) -> list[Sample]:
        return [Sample((draw.array((2,)),), {"low": None, "high": None})]


class Gated(Op):
    """y = act(gate) * up: GLU, ReGLU, GEGLU, SwiGLU (Shazeer 2020).    dgate = dy * up * act'(gate), dup = dy *
    act(gate).
    """

    kinds = "ff"

    @staticmethod
    def oracle(torch, gate, up, *, act):
        f = torch.nn.functional
        table = {"sigmoid": torch.sigmoid, "relu": f.relu, "gelu": f.gelu, "silu": f.silu}
        return (f.gelu(gate, approximate="tanh") if act == "gelu_tanh" else table[act](gate)) * up

    @staticmethod
    def shape(gate, up, *, act):
        if act not in GATES:
            raise ValueError(f"Gated: act must be one of {', '.join(GATES)}, got {act!r}")
        if gate != up:
            raise shape_error("Gated", "gate and up must have the same shape", gate=(gate, "..."), up=(up, "..."))
        return gate

    @staticmethod
    def forward(ctx, gate, up, *, act):
        ctx.save(gate, up)
        return backend.gated(act, gate, up)

    @staticmethod
    def backward(ctx, dy):
        return backend.gated_grad(ctx.attrs["act"], dy, *ctx.saved)

    @staticmethod
    def remake(ctx, gate, up):
        return backend.gated(ctx.attrs["act"], gate, up)

    @staticmethod
    def samples(draw: Draw) -> Sample:
        shape = draw.shape()
        return Sample((draw.array(shape, avoid=(0.0,)), draw.array(shape)), {"act": draw.choice(GATES)})

    @staticmethod
    def errors(draw: Draw) -> list[Sample]:
        x = draw.array((2, 3))
        return [Sample((x, draw.array((2, 1))), {"act": "silu"}), Sample((x, x), {"act": "step"})]


class Cast(Op):
    """y = x as another dtype.    dx = dy as x's dtype."""

    kinds = "n"

    @staticmethod
    def oracle(torch, x, *, dtype):
        return x.to(getattr(torch, np.dtype(dtype).name))

    @staticmethod
    def shape(x, *, dtype):
        return x

    @staticmethod
    def forward(ctx, x, *, dtype):
        ctx.dtype = x.dtype
        return backend.copy(x, np.dtype(dtype))

    @staticmethod
    def backward(ctx, dy):
        return backend.copy(dy, ctx.dtype)

    @staticmethod
    def samples(draw: Draw) -> Sample:
        return Sample((draw.array(draw.shape()),), {"dtype": draw.choice(["float64", "int64", "int32", "bool"])})

    @staticmethod
    def errors(draw: Draw) -> list[Sample]:
        return [Sample((draw.array((2,)),), {"dtype": "no such type"})]


class Dropout(Op):
    """y = x / (1 - p) where a uniform number of the stream is >= p, else 0.    dx = dy through the same numbers.

    Nothing is saved: backward draws the numbers again. `base` is the global index of the first element (Srivastava
    2014).
    """

    kinds, cost = "f", "random"

    @staticmethod
    def shape(x, *, p, key, stream, base=0):
        if not 0 <= p <= 1:
            raise ValueError(f"Dropout: the probability p must be from 0 to 1, got {p}")
        if not 0 <= base < 1 << 64:
            raise ValueError(f"Dropout: base counts elements, in 64 bits, got {base}")
        return x

    @staticmethod
    def forward(ctx, x, *, p, key, stream, base=0):
        return backend.dropout(x, p, key, stream, base)

    @staticmethod
    def backward(ctx, dy):
        a = ctx.attrs
        return backend.dropout(dy, a["p"], a["key"], a["stream"], a.get("base", 0))

    @staticmethod
    def samples(draw: Draw) -> Sample:
        attrs = {"p": draw.choice([0.0, 0.3, 1.0]), "key": (draw.integer(0, 9), 1), "stream": draw.integer(0, 1 << 40)}
        return Sample((draw.array(draw.shape()),), attrs | {"base": draw.integer(0, 1 << 33)})

    @staticmethod
    def errors(draw: Draw) -> list[Sample]:
        return [Sample((draw.array((2,)),), {"p": p, "key": (0, 0), "stream": 0}) for p in (-0.1, 1.5)]
