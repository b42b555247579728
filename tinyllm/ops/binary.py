"""Functions of two numbers, with broadcasting: arithmetic, extremes, remainders, comparisons.

Legend: a, b inputs; y output; dy its gradient. A gradient is summed over the axes that broadcasting had stretched.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from .. import backend
from ..op import Draw, Op, Sample, broadcast
from .unary import snake_case


def unbroadcast(g: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Sum `g` over the axes that broadcasting to its shape had stretched: the gradient of an input of `shape`."""
    if g.shape == shape:
        return g
    extra = g.ndim - len(shape)
    axes = tuple(range(extra)) + tuple(i + extra for i, s in enumerate(shape) if s == 1 and g.shape[i + extra] != 1)
    return backend.reduce("sum", g, axes, keepdims=True).reshape(shape)


class Binary(Op, abstract=True):
    """y = f(a, b) with broadcasting, f the backend's `binary` of the class's name in snake case."""

    kinds = "nn"
    kernel: ClassVar[str]

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        cls.kernel = snake_case(cls.__name__)

    @classmethod
    def shape(cls, a, b):
        return a if a == b else broadcast(cls.__name__, a=a, b=b)

    @staticmethod
    def forward(ctx, a, b):
        return backend.binary(ctx.op.kernel, a, b)

    @classmethod
    def samples(cls, draw: Draw) -> Sample:
        shape = draw.shape()
        a, b = draw.choice([(shape, draw.part_of(shape)), (draw.part_of(shape), shape), (shape, shape)])
        return Sample((draw.array(a), draw.array(b, 0.5, 2.0)))

    @classmethod
    def errors(cls, draw: Draw) -> list[Sample]:
        return [Sample((draw.array((2, 3)), draw.array((2, 4)))), Sample((draw.array((3,)), draw.ints((3,), 0, 3)))]


class Add(Binary):
    """y = a + b.    da = dy, db = dy (summed over broadcast axes, here and below)."""

    oracle = "torch.add"

    @staticmethod
    def forward(ctx, a, b):
        ctx.shapes = a.shape, b.shape
        return backend.binary("add", a, b)

    @staticmethod
    def backward(ctx, dy):
        return [unbroadcast(dy, s) if n else None for s, n in zip(ctx.shapes, ctx.needs, strict=True)]


class Sub(Binary):
    """y = a - b.    da = dy, db = -dy."""

    oracle = "torch.sub"

    @staticmethod
    def forward(ctx, a, b):
        ctx.shapes = a.shape, b.shape
        return backend.binary("sub", a, b)

    @staticmethod
    def backward(ctx, dy):
        da = unbroadcast(dy, ctx.shapes[0]) if ctx.needs[0] else None
        return da, backend.unary("neg", unbroadcast(dy, ctx.shapes[1])) if ctx.needs[1] else None


class Mul(Binary):
    """y = a * b.    da = dy * b, db = dy * a."""

    oracle = "torch.mul"

    @staticmethod
    def forward(ctx, a, b):
        ctx.save(a, b)
        return backend.binary("mul", a, b)

    @staticmethod
    def backward(ctx, dy):
        a, b = ctx.saved
        da = unbroadcast(backend.binary("mul", dy, b), a.shape) if ctx.needs[0] else None
        return da, unbroadcast(backend.binary("mul", dy, a), b.shape) if ctx.needs[1] else None


class Div(Binary):
    """y = a / b.    da = dy / b, db = -dy * a / b^2."""

    kinds, oracle = "ff", "torch.div"

    @staticmethod
    def forward(ctx, a, b):
        ctx.save(a, b)
        return backend.binary("div", a, b)

    @staticmethod
    def backward(ctx, dy):
        a, b = ctx.saved
        q = backend.binary("div", dy, b)
        da = unbroadcast(q, a.shape) if ctx.needs[0] else None
        if not ctx.needs[1]:
            return da, None
        db = backend.binary("mul", q, backend.binary("div", a, b))
        return da, backend.unary("neg", unbroadcast(db, b.shape))


class Pow(Binary):
    """y = a^b.    da = dy * b * a^(b-1), db = dy * y * ln a (0 where a = 0)."""

    oracle = "torch.pow"

    @staticmethod
    def forward(ctx, a, b):
        y = backend.binary("pow", a, b)
        ctx.save(a, b, y)
        return y

    @staticmethod
    def backward(ctx, dy):
        a, b, y = ctx.saved
        one, zero = np.ones((), a.dtype), np.zeros((), a.dtype)
        da = db = None
        if ctx.needs[0]:
            slope = backend.binary("mul", b, backend.binary("pow", a, backend.binary("sub", b, one)))
            slope = backend.where(backend.binary("eq", b, zero), zero, slope)
            da = unbroadcast(backend.binary("mul", dy, slope), a.shape)
        if ctx.needs[1]:
            log = backend.unary("log", backend.where(backend.binary("eq", a, zero), one, a))
            db = unbroadcast(backend.binary("mul", dy, backend.binary("mul", y, log)), b.shape)
        return da, db

    @classmethod
    def samples(cls, draw: Draw) -> Sample:
        shape = draw.shape()
        return Sample((draw.array(shape, 0.2, 2.0), draw.array(draw.part_of(shape), -2.0, 2.0)))


class Choice(Binary, abstract=True):
    """Ops that pass one of their inputs on; where both are equal each gets half of the gradient."""

    takes_a: ClassVar[str]

    @staticmethod
    def forward(ctx, a, b):
        ctx.save(a, b)
        return backend.binary(ctx.op.kernel, a, b)

    @staticmethod
    def backward(ctx, dy):
        a, b = ctx.saved
        half = backend.binary("mul", dy, np.asarray(0.5, dy.dtype))
        zero = np.zeros((), dy.dtype)
        half = backend.where(backend.binary("eq", a, b), half, zero)
        grads: list[np.ndarray | None] = []
        for x, other, need in ((a, b, ctx.needs[0]), (b, a, ctx.needs[1])):
            if need:
                won = backend.where(backend.binary(ctx.op.takes_a, x, other), dy, half)
                grads.append(unbroadcast(won, x.shape))
            else:
                grads.append(None)
        return grads

    @classmethod
    def samples(cls, draw: Draw) -> Sample:
        shape = draw.shape()
        both = draw.distinct((2, *shape))
        return Sample((both[0], both[1]))


class Maximum(Choice):
    """y = max(a, b).    da = dy where a > b, dy/2 where equal; db likewise. NaN wins."""

    oracle, takes_a = "torch.maximum", "gt"


class Minimum(Choice):
    """y = min(a, b).    da = dy where a < b, dy/2 where equal; db likewise. NaN wins."""

    oracle, takes_a = "torch.minimum", "lt"


class Atan2(Binary):
    """y = angle of the point (b, a).    da = dy * b / (a^2 + b^2), db = -dy * a / (a^2 + b^2)."""

    kinds, oracle = "ff", "torch.atan2"

    @staticmethod
    def forward(ctx, a, b):
        ctx.save(a, b)
        return backend.binary("atan2", a, b)

    @staticmethod
    def backward(ctx, dy):
        a, b = ctx.saved
        q = backend.binary("div", dy, backend.binary("add", backend.unary("square", a), backend.unary("square", b)))
        da = unbroadcast(backend.binary("mul", q, b), a.shape) if ctx.needs[0] else None
        return da, backend.unary("neg", unbroadcast(backend.binary("mul", q, a), b.shape)) if ctx.needs[1] else None


def check_divisor(b: np.ndarray) -> None:
    """ZeroDivisionError if integers are to be divided by 0, which has no value to stand for it."""
    if b.dtype.kind != "f" and not b.all():
        raise ZeroDivisionError("integer division or remainder by zero; convert to a floating dtype to get inf or nan")


class Modulo(Binary, abstract=True):
    """y = a - b * k for an integer k.    da = dy, db = -dy * k."""

    quotient: ClassVar[str]

    @staticmethod
    def forward(ctx, a, b):
        check_divisor(b)
        ctx.save(a, b)
        return backend.binary(ctx.op.kernel, a, b)

    @staticmethod
    def backward(ctx, dy):
        a, b = ctx.saved
        da = unbroadcast(dy, a.shape) if ctx.needs[0] else None
        if not ctx.needs[1]:
            return da, None
        k = backend.unary(ctx.op.quotient, backend.binary("div", a, b))
        return da, backend.unary("neg", unbroadcast(backend.binary("mul", dy, k), b.shape))

    @classmethod
    def samples(cls, draw: Draw) -> Sample:
        shape = draw.shape()
        # a / b stays between 2.06 and 2.94: at an integer the function jumps.
        return Sample((draw.array(shape, 3.2, 3.7), draw.array(draw.part_of(shape), 1.26, 1.55)))


class Remainder(Modulo):
    """y = a - b * floor(a / b): the sign of b.    da = dy, db = -dy * floor(a / b)."""

    oracle, quotient = "torch.remainder", "floor"


class Fmod(Modulo):
    """y = a - b * trunc(a / b): the sign of a.    da = dy, db = -dy * trunc(a / b)."""

    oracle, quotient = "torch.fmod", "trunc"


class FloorDivide(Binary):
    """y = floor(a / b). No gradient, as in PyTorch."""

    differentiable, oracle = False, "torch.floor_divide"

    @staticmethod
    def forward(ctx, a, b):
        check_divisor(b)
        return backend.binary("floor_divide", a, b)


class Comparison(Binary, abstract=True):
    """Functions of two numbers to bool."""

    differentiable = False

    @classmethod
    def samples(cls, draw: Draw) -> Sample:
        shape = draw.shape()
        return Sample((draw.ints(shape, -1, 2), draw.ints(draw.part_of(shape), -1, 2)))


class Eq(Comparison):
    """y = (a == b)."""

    oracle = "torch.eq"


class Ne(Comparison):
    """y = (a != b)."""

    oracle = "torch.ne"


class Lt(Comparison):
    """y = (a < b)."""

    oracle = "torch.lt"


class Le(Comparison):
    """y = (a <= b)."""

    oracle = "torch.le"


class Gt(Comparison):
    """y = (a > b)."""

    oracle = "torch.gt"


class Ge(Comparison):
    """y = (a >= b)."""

    oracle = "torch.ge"


class LogicalAnd(Comparison):
    """y = (a != 0) and (b != 0)."""

    oracle = "torch.logical_and"


class LogicalOr(Comparison):
    """y = (a != 0) or (b != 0)."""

    oracle = "torch.logical_or"


class LogicalXor(Comparison):
    """y = (a != 0) is not (b != 0)."""

    oracle = "torch.logical_xor"
