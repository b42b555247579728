"""Matrix products.

Legend: a (..., M, K), b (..., K, N), y (..., M, N); x (..., K) input rows, w (N, K) weight, bias (N,).
"""

from __future__ import annotations

import math

import numpy as np

from .. import backend
from ..op import Draw, Op, Sample, broadcast, shape_error
from .binary import unbroadcast
from .shape import reshaped


def rows(x: np.ndarray) -> np.ndarray:
    """x (..., K) as a matrix (rows, K): a view if the strides allow it."""
    return x if x.ndim == 2 else reshaped(x, (math.prod(x.shape[:-1]), x.shape[-1]))


def plus(residual: np.ndarray | None, a: np.ndarray, b: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
    """a @ b + bias + residual, the product of two matrices; the residual has as many elements, or is None."""
    if residual is None:
        return backend.matmul(a, b, bias)
    return backend.matmul(a, b, bias, beta=1.0, add=rows(residual))


def check_residual(op: str, residual: tuple[int, ...] | None, y: tuple[int, ...]) -> None:
    """Raise ShapeError unless the residual has the shape of what it is added to."""
    if residual is not None and residual != y:
        raise shape_error(
            op, "the residual must have the shape of the output", output=(y, "..."), residual=(residual, "...")
        )


class Matmul(Op):
    """y = a @ b: the product of the last two axes, the others broadcast; a single axis is a row (a) or a column (b).

    da = dy @ b^T, db = a^T @ dy, each summed over its broadcast axes.
    """

    kinds, cost, oracle = "ff", "compute", "torch.matmul"

    @staticmethod
    def shape(a, b):
        if not a or not b:
            raise shape_error("Matmul", "both inputs need at least one axis", a=(a, "... M K"), b=(b, "... K N"))
        if a[-1] != b[-2 if len(b) > 1 else -1]:
            names = "K" if len(a) == 1 else "... M K", "K" if len(b) == 1 else "... K N"
            hint = "transpose one of them?" if len(a) > 1 and len(b) > 1 and a[-1] == b[-1] else ""
            raise shape_error(
                "Matmul", "the last axis of a must equal the second last of b", hint, a=(a, names[0]), b=(b, names[1])
            )
        batch = broadcast("Matmul (axes before the last two)", a=a[:-2], b=b[:-2])
        return batch + (a[-2:-1] if len(a) > 1 else ()) + (b[-1:] if len(b) > 1 else ())

    @classmethod
    def flops(cls, a, b):
        return 2 * math.prod(cls.shape(a, b)) * a[-1]

    @staticmethod
    def forward(ctx, a, b):
        ctx.save(a, b)
        if b.ndim == 2 and a.ndim > 2:  # one tall product instead of many
            return backend.matmul(rows(a), b).reshape(*a.shape[:-1], b.shape[-1])
        y = backend.matmul(a if a.ndim > 1 else a[None], b if b.ndim > 1 else b[:, None])
        return y.reshape(Matmul.shape(a.shape, b.shape))

    @staticmethod
    def backward(ctx, dy):
        a, b = ctx.saved
        a2, b2 = (a if a.ndim > 1 else a[None]), (b if b.ndim > 1 else b[:, None])
        batch = dy.shape[: dy.ndim - (a.ndim > 1) - (b.ndim > 1)]
        dy2 = dy.reshape(*batch, a2.shape[-2], b2.shape[-1])
        da = db = None
        if ctx.needs[0]:
            da = unbroadcast(backend.matmul(dy2, b2.swapaxes(-1, -2)), a2.shape).reshape(a.shape)
        if ctx.needs[1]:
            if b2.ndim == 2 and a2.ndim > 2:
                db = backend.matmul(rows(a2).T, rows(dy2)).reshape(b.shape)
            else:
                db = unbroadcast(backend.matmul(a2.swapaxes(-1, -2), dy2), b2.shape).reshape(b.shape)
        return da, db

    @staticmethod
    def samples(draw: Draw) -> Sample:
        m, k, n = draw.integer(1, 5), draw.integer(0, 6), draw.integer(1, 5)
        batch = draw.shape(max_dims=2, max_side=3)
        a = draw.choice([(k,), (m, k), draw.part_of(batch) + (m, k), (*batch, m, k)])
        b = draw.choice([(k,), (k, n), draw.part_of(batch) + (k, n), (*batch, k, n)])
        return Sample((draw.array(a), draw.array(b)))

    @staticmethod
    def errors(draw: Draw) -> list[Sample]:
        pairs = [((2, 3), (2, 3)), ((), (2,)), ((2, 2, 3), (3, 3, 2)), ((3,), (2,))]
        return [Sample((draw.array(a), draw.array(b))) for a, b in pairs] + [Sample((draw.ints((2, 2), 0, 3),) * 2)]


class Linear(Op):
    """y = x @ w^T + bias + residual.    dx = dy @ w, dw = dy^T @ x, dbias = sum of dy over rows, dresidual = dy.

    The residual, which may be None, is added while the product is still in registers.
    """

    kinds, cost = "ffff", "compute"

    @staticmethod
    def oracle(torch, x, w, bias, residual):
        y = torch.nn.functional.linear(x, w, bias)
        return y if residual is None else y + residual

    @staticmethod
    def shape(x, w, bias, residual):
        if len(w) != 2 or not x or x[-1] != w[1]:
            hint = "the weight may be transposed" if len(w) == 2 and x and x[-1] == w[0] else ""
            rule = "the last axis of the input must equal the last of the weight"
            raise shape_error("Linear", rule, hint, input=(x, "... in"), weight=(w, "out in"))
        if bias is not None and bias != w[:1]:
            raise shape_error(
                "Linear", "bias must have one element per output", weight=(w, "out in"), bias=(bias, "out")
            )
        y = x[:-1] + w[:1]
        check_residual("Linear", residual, y)
        return y

    @classmethod
    def flops(cls, x, w, bias, residual):
        return 2 * math.prod(x) * w[0]

    @staticmethod
    def forward(ctx, x, w, bias, residual):
        ctx.save(x, w)
        return plus(residual, rows(x), w.T, bias).reshape(*x.shape[:-1], w.shape[0])

    @staticmethod
    def backward(ctx, dy):
        x, w = ctx.saved
        dy2 = rows(dy)
        dx = backend.matmul(dy2, w).reshape(x.shape) if ctx.needs[0] else None
        dw = backend.matmul(dy2.T, rows(x)) if ctx.needs[1] else None
        return dx, dw, backend.reduce("sum", dy2, (0,)) if ctx.needs[2] else None, dy

    @staticmethod
    def samples(draw: Draw) -> Sample:
        x = draw.array(draw.shape(min_dims=1, max_dims=3))
        n = draw.integer(1, 6)
        bias, residual = draw.choice([None, draw.array((n,))]), draw.choice([None, draw.array((*x.shape[:-1], n))])
        return Sample((x, draw.array((n, x.shape[-1])), bias, residual))

    @staticmethod
    def errors(draw: Draw) -> list[Sample]:
        x, w = draw.array((2, 3)), draw.array((4, 3))
        return [
            Sample((x, w.T, None, None)),
            Sample((x, w, draw.array((3,)), None)),
            Sample((draw.array(()), w, None, None)),
            Sample((x, w[0], None, None)),
            Sample((x, w, None, draw.array((1, 4)))),
        ]
