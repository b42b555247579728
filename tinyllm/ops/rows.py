"""Ops on rows: softmax and its kin along one axis, normalization over the last.

Legend: x input, rows along the axis named; y output; dy its gradient; w, b gain and bias of the last axis's size.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import backend
from ..op import Draw, Op, Sample, axis_index, shape_error


class Rowwise(Op, abstract=True):
    """Ops along `dim`: the axis is viewed as the last one, where the kernels work."""

    kinds = "f"

    @classmethod
    def shape(cls, x, *, dim):
        axis_index(cls.__name__, dim, len(x))
        return x

    @classmethod
    def flops(cls, x, *, dim):
        return 5 * math.prod(x)

    @classmethod
    def samples(cls, draw: Draw) -> Sample:
        x = draw.array(draw.shape(min_dims=1), -4.0, 4.0)
        return Sample((x,), {"dim": draw.integer(-x.ndim, x.ndim - 1)})

    @classmethod
    def errors(cls, draw: Draw) -> list[Sample]:
        return [Sample((draw.array((2, 3)),), {"dim": 2}), Sample((draw.ints((2,), 0, 3),), {"dim": 0})]


class Normalized(Rowwise, abstract=True):
    """Softmax and its logarithm: the backend's functions of the class's name, whose gradients need the output alone."""

    @staticmethod
    def forward(ctx, x, *, dim):
        y = _swapped(getattr(backend, ctx.op.kernel)(_swapped(x, dim)), dim, x.ndim)
        ctx.save(y)
        return y

    @staticmethod
    def backward(ctx, dy):
        (y,), dim = ctx.saved, ctx.attrs["dim"]
        grad = getattr(backend, ctx.op.kernel + "_grad")
        return _swapped(grad(_swapped(dy, dim), _swapped(y, dim)), dim, y.ndim)


def _swapped(x: np.ndarray, dim: int, ndim: int | None = None) -> np.ndarray:
    """Axis `dim` exchanged with the last; an array without axes gets one, and loses it on the way back (ndim = 0)."""
    if ndim == 0:
        return x.reshape(())
    return x.swapaxes(dim, -1) if x.ndim else x.reshape(1)


class Softmax(Normalized):
    """y = e^(x - max) / sum e^(x - max) along dim.    dx = y * (dy - sum(dy * y))."""

    kernel, oracle = "softmax", "torch.softmax"


class LogSoftmax(Normalized):
    """y = x - max - ln sum e^(x - max) along dim.    dx = dy - e^y * sum(dy)."""

    kernel, oracle = "log_softmax", "torch.log_softmax"


class Logsumexp(Rowwise):
    """y = max + ln sum e^(x - max) along dim, which disappears.    dx = dy * e^(x - y)."""

    oracle = "torch.logsumexp"

    @classmethod
    def shape(cls, x, *, dim):
        axis = axis_index("Logsumexp", dim, len(x))
        return x[:axis] + x[axis + 1 :]

    @staticmethod
    def forward(ctx, x, *, dim):
        y = backend.logsumexp(np.moveaxis(x, dim, -1)) if x.ndim else backend.copy(x)
        ctx.save(x, y)
        return y

    @staticmethod
    def backward(ctx, dy):
        x, y = ctx.saved
        if x.ndim == 0:
            return dy
        moved = np.moveaxis(x, ctx.attrs["dim"], -1)
        p = backend.unary("exp", backend.binary("sub", moved, y[..., None]))
        return np.moveaxis(backend.binary("mul", p, dy[..., None]), -1, ctx.attrs["dim"])


def _check_gain(op, x, **params):
    for name, p in params.items():
        if p is not None and (not x or p != x[-1:]):
            named: dict[str, Any] = {"input": (x, "... D"), name: (p, "D")}
            raise shape_error(op, f"{name} must have the size of the input's last axis", **named)
    if not x:
        raise shape_error(op, "the input needs at least one axis", input=(x, "... D"))
    return x


class LayerNorm(Op):
    """y = (x - mean) * r * w + b over the last axis, r = 1/sqrt(var + eps), var biased (Ba 2016). w and b may be None.

    With xh = (x - mean) * r and g = dy * w:    dx = r * (g - mean(g) - xh * mean(g * xh)), dw = sum(dy * xh), db =
    sum(dy).
    """

    kinds = "fff"

    @staticmethod
    def oracle(torch, x, w, b, *, eps):
        return torch.nn.functional.layer_norm(x, x.shape[-1:], w, b, eps)

    @staticmethod
    def shape(x, w, b, *, eps):
        return _check_gain("LayerNorm", x, weight=w, bias=b)

    @classmethod
    def flops(cls, x, w, b, *, eps):
        return 8 * math.prod(x)

    @staticmethod
    def forward(ctx, x, w, b, *, eps):
        y, mean, rstd = backend.layer_norm(x, w, b, eps)
        ctx.save(x, w, b, mean, rstd)
        return y

    @staticmethod
    def backward(ctx, dy):
        x, w, _, mean, rstd = ctx.saved
        return backend.layer_norm_grad(dy, x, w, mean, rstd, tuple(ctx.needs))

    @staticmethod
    def remake(ctx, x, w, b, mean, rstd):
        return backend.layer_norm(x, w, b, ctx.attrs["eps"])[0]

    @staticmethod
    def samples(draw: Draw) -> Sample:
        x = draw.distinct(draw.shape(min_dims=1, max_dims=3, min_side=1, max_side=9))
        w, b = (draw.array(x.shape[-1:]) for _ in range(2))
        w, b = draw.choice([(w, b), (w, None), (None, None)])
        return Sample((x, w, b), {"eps": draw.choice([1e-5, 0.1])}, tol=10.0)

    @staticmethod
    def errors(draw: Draw) -> list[Sample]:
        x, w = draw.array((2, 3)), draw.array((2,))
        return [
            Sample((x, w, None), {"eps": 1e-5}),
            Sample((x, None, w), {"eps": 1e-5}),
            Sample((x[0, 0], None, None), {"eps": 1e-5}),
        ]


class RmsNorm(Op):
    """y = x * r * w over the last axis, r = 1/sqrt(mean(x^2) + eps) (Zhang & Sennrich 2019). w may be None.

    With g = dy * w:    dx = r * (g - x * r^2 * mean(g * x)), dw = sum(dy * x * r).
    """

    kinds = "ff"

    @staticmethod
    def oracle(torch, x, w, *, eps):
        return torch.nn.functional.rms_norm(x, x.shape[-1:], w, eps)

    @staticmethod
    def shape(x, w, *, eps):
        return _check_gain("RmsNorm", x, weight=w)

    @classmethod
    def flops(cls, x, w, *, eps):
        return 4 * math.prod(x)

    @staticmethod
    def forward(ctx, x, w, *, eps):
        y, rstd = backend.rms_norm(x, w, eps)
        ctx.save(x, w, rstd)
        return y

    @staticmethod
    def backward(ctx, dy):
        x, w, rstd = ctx.saved
        return backend.rms_norm_grad(dy, x, w, rstd, tuple(ctx.needs))

    @staticmethod
    def remake(ctx, x, w, rstd):
        return backend.rms_norm(x, w, ctx.attrs["eps"])[0]

    @staticmethod
    def samples(draw: Draw) -> Sample:
        x = draw.array(draw.shape(min_dims=1, max_dims=3, min_side=1, max_side=9), avoid=(0.0,))
        return Sample((x, draw.choice([None, draw.array(x.shape[-1:])])), {"eps": draw.choice([1e-5, 0.1])})

    @staticmethod
    def errors(draw: Draw) -> list[Sample]:
        x = draw.array((2, 3))
        return [Sample((x, draw.array((2,))), {"eps": 1e-5}), Sample((x[0, 0], None), {"eps": 1e-5})]
