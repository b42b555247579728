"""Functions of one number: arithmetic, activations, rounding, predicates.

Legend: x input; y output; dy its gradient. The arithmetic of every op here is one entry in the backend's table of that
name, so a new function is a class of three lines and an entry there.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

from .. import backend
from ..op import Draw, Op, Sample


def snake_case(name: str) -> str:
    """GeluTanh -> gelu_tanh: the name of an op's kernel."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


class Unary(Op, abstract=True):
    """y = f(x), f the backend's `unary` of the class's name in snake case."""

    kinds = "f"
    kernel: ClassVar[str]
    domain: ClassVar[tuple[float, float]] = (-2.0, 2.0)
    avoid: ClassVar[tuple[float, ...]] = ()  # kinks and poles

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        cls.kernel = snake_case(cls.__name__)

    @classmethod
    def shape(cls, x, **attrs):
        return x

    @staticmethod
    def forward(ctx, x):
        y = backend.unary(ctx.op.kernel, x)
        needs = backend.GRAD_NEEDS.get(ctx.op.kernel, "")
        ctx.save(x if "x" in needs else None, y if "y" in needs else None)
        return y

    @staticmethod
    def backward(ctx, dy):
        return backend.unary_grad(ctx.op.kernel, dy, *ctx.saved)

    @staticmethod
    def remake(ctx, x, y):
        return backend.unary(ctx.op.kernel, x) if y is None else y

    @classmethod
    def samples(cls, draw: Draw) -> Sample:
        return Sample((draw.array(draw.shape(), *cls.domain, avoid=cls.avoid),))

    @classmethod
    def errors(cls, draw: Draw) -> list[Sample]:
        return (
            [Sample((draw.ints((2,), 0, 3),))] if cls.kinds == "f" else [Sample((draw.array((2,)), draw.array((2,))))]
        )


class Neg(Unary):
    """y = -x.    dx = -dy."""

    kinds = "n"
    oracle = "torch.neg"


class Abs(Unary):
    """y = |x|.    dx = dy * sign(x)."""

    kinds = "n"
    oracle, avoid = "torch.abs", (0.0,)


class Sign(Unary):
    """y = sign(x).    dx = 0."""

    kinds = "n"
    oracle, avoid = "torch.sign", (0.0,)


class Exp(Unary):
    """y = e^x.    dx = dy * y."""

    oracle = "torch.exp"


class Expm1(Unary):
    """y = e^x - 1.    dx = dy * (y + 1)."""

    oracle = "torch.expm1"


class Log(Unary):
    """y = ln x.    dx = dy / x."""

    oracle, domain = "torch.log", (0.3, 4.0)


class Log1p(Unary):
    """y = ln(1 + x).    dx = dy / (1 + x)."""

    oracle, domain = "torch.log1p", (-0.8, 4.0)


class Log2(Unary):
    """y = log2 x.    dx = dy / (x ln 2)."""

    oracle, domain = "torch.log2", (0.3, 4.0)


class Sqrt(Unary):
    """y = sqrt(x).    dx = dy / (2y)."""

    oracle, domain = "torch.sqrt", (0.3, 4.0)


class Rsqrt(Unary):
    """y = 1/sqrt(x).    dx = -dy * y^3 / 2."""

    oracle, domain = "torch.rsqrt", (0.3, 4.0)


class Reciprocal(Unary):
    """y = 1/x.    dx = -dy * y^2."""

    oracle, domain = "torch.reciprocal", (0.3, 4.0)


class Square(Unary):
    """y = x^2.    dx = 2 dy * x."""

    kinds = "n"
    oracle = "torch.square"


class Sin(Unary):
    """y = sin x.    dx = dy * cos x."""

    oracle = "torch.sin"


class Cos(Unary):
    """y = cos x.    dx = -dy * sin x."""

    oracle = "torch.cos"


class Tan(Unary):
    """y = tan x.    dx = dy * (1 + y^2)."""

    oracle, domain = "torch.tan", (-1.2, 1.2)


class Tanh(Unary):
    """y = tanh x.    dx = dy * (1 - y^2)."""

    oracle = "torch.tanh"


class Sinh(Unary):
    """y = sinh x.    dx = dy * cosh x."""

    oracle = "torch.sinh"


class Cosh(Unary):
    """y = cosh x.    dx = dy * sinh x."""

    oracle = "torch.cosh"


class Asin(Unary):
    """y = arcsin x.    dx = dy / sqrt(1 - x^2)."""

    oracle, domain = "torch.asin", (-0.8, 0.8)


class Acos(Unary):
    """y = arccos x.    dx = -dy / sqrt(1 - x^2)."""

    oracle, domain = "torch.acos", (-0.8, 0.8)


class Atan(Unary):
    """y = arctan x.    dx = dy / (1 + x^2)."""

    oracle = "torch.atan"


class Erf(Unary):
    """y = 2/sqrt(pi) * integral of e^(-t^2) from 0 to x.    dx = dy * 2/sqrt(pi) * e^(-x^2)."""

    oracle = "torch.erf"


class Sigmoid(Unary):
    """y = 1 / (1 + e^-x).    dx = dy * y * (1 - y)."""

    oracle = "torch.sigmoid"


class Relu(Unary):
    """y = max(x, 0).    dx = dy where x > 0."""

    oracle, avoid = "torch.relu", (0.0,)


class Gelu(Unary):
    """y = x * Phi(x), Phi(x) = (1 + erf(x/sqrt 2))/2 (Hendrycks 2016).    dx = dy * (Phi(x) + x phi(x))."""

    oracle = "torch.nn.functional.gelu"


class GeluTanh(Unary):
    """y = x/2 * (1 + tanh(u)), u = sqrt(2/pi) (x + 0.044715 x^3).    dx = dy * ((1 + t)/2 + x/2 (1 - t^2) u'), t =
    tanh(u).
    """

    @staticmethod
    def oracle(torch, x):
        return torch.nn.functional.gelu(x, approximate="tanh")


class Silu(Unary):
    """y = x * sigmoid(x).    dx = dy * s * (1 + x (1 - s)), s = sigmoid(x)."""

    oracle = "torch.nn.functional.silu"


class Softplus(Unary):
    """y = ln(1 + e^x).    dx = dy * sigmoid(x)."""

    oracle = "torch.nn.functional.softplus"


class Mish(Unary):
    """y = x * tanh(softplus(x)).    dx = dy * (t + x (1 - t^2) sigmoid(x)), t = tanh(softplus(x))."""

    oracle = "torch.nn.functional.mish"


class Elu(Unary):
    """y = x for x > 0, else e^x - 1.    dx = dy for x > 0, else dy * (y + 1)."""

    oracle, avoid = "torch.nn.functional.elu", (0.0,)


class LeakyRelu(Unary):
    """y = x for x > 0, else x/100.    dx = dy for x > 0, else dy/100."""

    oracle, avoid = "torch.nn.functional.leaky_relu", (0.0,)


class Relu6(Unary):
    """y = min(max(x, 0), 6).    dx = dy where 0 < x < 6."""

    oracle, avoid, domain = "torch.nn.functional.relu6", (0.0, 6.0), (-2.0, 8.0)


class Hardswish(Unary):
    """y = x * min(max(x + 3, 0), 6) / 6.    dx = dy * (0 below -3, 1 above 3, else (2x + 3)/6)."""

    oracle, avoid, domain = "torch.nn.functional.hardswish", (-3.0, 3.0), (-5.0, 5.0)


class Hardsigmoid(Unary):
    """y = min(max(x + 3, 0), 6) / 6.    dx = dy/6 where -3 < x < 3."""

    avoid, domain = (-3.0, 3.0), (-5.0, 5.0)

    @staticmethod
    def oracle(torch, x):  # torch's own rounds its 1/6 to float32, in float64 too
        return torch.nn.functional.relu6(x + 3) / 6


class Step(Unary, abstract=True):
    """Piecewise constant functions: their gradient is zero wherever it exists."""

    domain = (-4.0, 4.0)
    avoid = tuple(i / 2 for i in range(-8, 9))

    @staticmethod
    def backward(ctx, dy):
        return backend.full(dy.shape, 0, dy.dtype)


class Floor(Step):
    """y = largest integer <= x.    dx = 0."""

    oracle = "torch.floor"


class Ceil(Step):
    """y = smallest integer >= x.    dx = 0."""

    oracle = "torch.ceil"


class Round(Step):
    """y = nearest integer, ties to the even one.    dx = 0."""

    oracle = "torch.round"


class Trunc(Step):
    """y = x rounded towards 0.    dx = 0."""

    oracle = "torch.trunc"


class Predicate(Unary, abstract=True):
    """Functions to bool."""

    kinds, differentiable = "n", False


class LogicalNot(Predicate):
    """y = (x == 0)."""

    oracle = "torch.logical_not"


class Isnan(Predicate):
    """y = x is not a number."""

    oracle = "torch.isnan"


class Isinf(Predicate):
    """y = x is +inf or -inf."""

    oracle = "torch.isinf"


class Isfinite(Predicate):
    """y = x is neither infinite nor NaN."""

    oracle = "torch.isfinite"
