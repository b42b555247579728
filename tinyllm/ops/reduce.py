"""Reductions over axes, cumulative sums, sorting.

Legend: x input; y output; dy its gradient; dim an int or a tuple of them (None: all axes); keepdim keeps reduced axes
as size 1.
"""

from __future__ import annotations

import math
import typing
from typing import ClassVar

import numpy as np

from .. import backend
from ..errors import ShapeError
from ..op import Draw, Op, Sample, axis_index, axis_tuple


def reduced_shape(op, x, dim, keepdim):
    """The shape of `x` after reducing `dim`."""
    axes = axis_tuple(op, dim, len(x))
    if not isinstance(keepdim, bool):
        raise TypeError(f"{op}: keepdim must be a bool, got {type(keepdim).__name__}")
    return tuple(1 if i in axes else s for i, s in enumerate(x) if keepdim or i not in axes)


def spread(g: np.ndarray, shape: tuple[int, ...], axes: tuple[int, ...]) -> np.ndarray:
    """View a reduced array as the shape before the reduction (stride 0 along `axes`)."""
    kept = tuple(1 if i in axes else s for i, s in enumerate(shape))
    return np.broadcast_to(g.reshape(kept), shape)


class Reduction(Op, abstract=True):
    """y = the backend's `reduce` of the class's name, over `dim`."""

    kinds = "n"
    kernel: ClassVar[str]
    empty_ok: ClassVar[bool] = True  # whether the reduction of no elements has a value

    def __init_subclass__(cls, **kwargs: typing.Any):
        super().__init_subclass__(**kwargs)
        cls.kernel = (
            cls.__name__.lower().removeprefix("a") if cls.__name__ in ("Amax", "Amin") else cls.__name__.lower()
        )

    @classmethod
    def shape(cls, x, *, dim=None, keepdim=False):
        out = reduced_shape(cls.__name__, x, dim, keepdim)
        if not cls.empty_ok and math.prod(x) == 0 and math.prod(out):
            raise IndexError(f"{cls.__name__}: the reduced axes of shape {x} hold no elements; give it at least one")
        return out

    @classmethod
    def flops(cls, x, **attrs):
        return math.prod(x)

    @staticmethod
    def forward(ctx, x, *, dim=None, keepdim=False):
        axes = axis_tuple(ctx.op.__name__, dim, x.ndim)
        ctx.axes, ctx.x_shape = axes, x.shape
        y = backend.reduce(ctx.op.kernel, x, axes, keepdim)
        ctx.op.remember(ctx, x, y)
        return y

    @staticmethod
    def remember(ctx, x, y):
        """What backward needs besides the shapes: nothing for linear reductions."""

    @classmethod
    def samples(cls, draw: Draw) -> Sample:
        x = draw.distinct(draw.shape(min_side=0 if cls.empty_ok else 1))
        dims = [None, *range(-x.ndim, x.ndim)] + ([(0, -1)] if x.ndim > 1 else [])
        return Sample((x,), {"dim": draw.choice(dims), "keepdim": draw.choice([False, True])})

    @classmethod
    def errors(cls, draw: Draw) -> list[Sample]:
        return [Sample((draw.array((2, 3)),), {"dim": d}) for d in (2, -3, (0, 0))]


class Sum(Reduction):
    """y = sum of x over dim.    dx = dy."""

    oracle = "torch.sum"

    @staticmethod
    def backward(ctx, dy):
        return spread(dy, ctx.x_shape, ctx.axes)


class Mean(Reduction):
    """y = mean of x over dim.    dx = dy / n. The mean of no elements is NaN."""

    kinds, oracle = "f", "torch.mean"

    @staticmethod
    def backward(ctx, dy):
        n = math.prod(ctx.x_shape[a] for a in ctx.axes)
        scaled = backend.binary("mul", dy, np.asarray(1 / n if n else math.nan, dy.dtype))
        return spread(scaled, ctx.x_shape, ctx.axes)


class Prod(Reduction):
    """y = product of x over dim.    dx_i = dy * product of the others, right also where some are 0."""

    @staticmethod
    def oracle(torch, x, *, dim=None, keepdim=False):
        axes = sorted(
            range(x.ndim) if dim is None else {d % x.ndim for d in (dim if isinstance(dim, tuple) else (dim,))}
        )
        for a in reversed(axes):
            x = torch.prod(x, a, keepdim=keepdim)
        return x

    @staticmethod
    def remember(ctx, x, y):
        ctx.save(x)

    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved
        zero, one = np.zeros((), x.dtype), np.ones((), x.dtype)
        is_zero = backend.binary("eq", x, zero)
        zeros = backend.reduce("sum", backend.copy(is_zero, x.dtype), ctx.axes, keepdims=True)
        rest = backend.reduce("prod", backend.where(is_zero, one, x), ctx.axes, keepdims=True)
        # no zero: rest / x_i; one zero: rest at its place, 0 elsewhere; more: 0
        others = backend.where(is_zero, rest, backend.binary("div", rest, backend.where(is_zero, one, x)))
        mine = backend.where(is_zero, one, zero)
        others = backend.where(backend.binary("eq", zeros, mine), others, zero)
        return backend.binary("mul", spread(dy, x.shape, ctx.axes), others)

    @classmethod
    def samples(cls, draw: Draw) -> Sample:
        x = draw.distinct(draw.shape(max_dims=2, max_side=4))  # few factors: their product keeps a moderate slope
        dims = [None, *range(-x.ndim, x.ndim)]
        x = np.where(np.abs(x) < 0.3, 0, x).astype(x.dtype)
        return Sample((x,), {"dim": draw.choice(dims), "keepdim": draw.choice([False, True])})


class Extreme(Reduction, abstract=True):
    """The largest or smallest element; equal ones share the gradient evenly (torch.amax)."""

    empty_ok = False

    @staticmethod
    def remember(ctx, x, y):
        ctx.save(x, y)

    @staticmethod
    def backward(ctx, dy):
        x, y = ctx.saved
        mine = backend.copy(backend.binary("eq", x, spread(y, x.shape, ctx.axes)), x.dtype)
        share = backend.binary("div", dy.reshape(y.shape), backend.reduce("sum", mine, ctx.axes).reshape(y.shape))
        return backend.binary("mul", mine, spread(share, x.shape, ctx.axes))


class Amax(Extreme):
    """y = largest x over dim; NaN wins.    dx = dy / (number of equals) where x = y."""

    @staticmethod
    def oracle(torch, x, *, dim=None, keepdim=False):
        return torch.amax(x, () if dim is None else dim, keepdim)


class Amin(Extreme):
    """y = smallest x over dim; NaN wins.    dx = dy / (number of equals) where x = y."""

    @staticmethod
    def oracle(torch, x, *, dim=None, keepdim=False):
        return torch.amin(x, () if dim is None else dim, keepdim)


class Any(Reduction):
    """y = whether any x over dim is not 0."""

    differentiable = False

    @staticmethod
    def oracle(torch, x, *, dim=None, keepdim=False):
        return (
            torch.any(x, dim if dim is not None else tuple(range(x.ndim)), keepdim=keepdim) if x.ndim else torch.any(x)
        )


class All(Reduction):
    """y = whether all x over dim are not 0."""

    differentiable = False

    @staticmethod
    def oracle(torch, x, *, dim=None, keepdim=False):
        return (
            torch.all(x, dim if dim is not None else tuple(range(x.ndim)), keepdim=keepdim) if x.ndim else torch.all(x)
        )


class ArgReduction(Op, abstract=True):
    """The index of an extreme element along one axis: the first of equals, a NaN if there is one."""

    kinds, differentiable = "n", False
    kernel: ClassVar[str]

    @classmethod
    def shape(cls, x, *, dim, keepdim=False):
        axis = axis_index(cls.__name__, dim, len(x))
        if x and x[axis] == 0:
            raise IndexError(f"{cls.__name__}: axis {axis} of shape {x} holds no elements; give it at least one")
        return reduced_shape(cls.__name__, x, axis, keepdim)

    @staticmethod
    def forward(ctx, x, *, dim, keepdim=False):
        if x.ndim == 0:
            return backend.full((), 0, np.dtype(np.int64))
        return backend.reduce(ctx.op.__name__.lower(), x, (axis_index(ctx.op.__name__, dim, x.ndim),), keepdim)

    @classmethod
    def samples(cls, draw: Draw) -> Sample:
        x = draw.distinct(draw.shape(min_dims=1, min_side=1))
        return Sample((x,), {"dim": draw.integer(-x.ndim, x.ndim - 1), "keepdim": draw.choice([False, True])})

    @classmethod
    def errors(cls, draw: Draw) -> list[Sample]:
        return [Sample((draw.array((2, 3)),), {"dim": 2}), Sample((draw.array((2, 0)),), {"dim": 1})]


class Argmax(ArgReduction):
    """y = index of the largest x along dim."""

    oracle = "torch.argmax"


class Argmin(ArgReduction):
    """y = index of the smallest x along dim."""

    oracle = "torch.argmin"


class Cumsum(Op):
    """y_i = x_0 + ... + x_i along dim.    dx_i = dy_i + ... + dy_n."""

    kinds, oracle = "n", "torch.cumsum"

    @staticmethod
    def shape(x, *, dim):
        axis_index("Cumsum", dim, len(x))
        return x

    @staticmethod
    def forward(ctx, x, *, dim):
        ctx.axis = axis_index("Cumsum", dim, x.ndim)
        return backend.cumsum(x, ctx.axis) if x.ndim else backend.copy(x)

    @staticmethod
    def backward(ctx, dy):
        if dy.ndim == 0:
            return dy
        return np.flip(backend.cumsum(np.flip(dy, ctx.axis), ctx.axis), ctx.axis)

    @staticmethod
    def samples(draw: Draw) -> Sample:
        x = draw.array(draw.shape(min_dims=1))
        return Sample((x,), {"dim": draw.integer(-x.ndim, x.ndim - 1)})

    @staticmethod
    def errors(draw: Draw) -> list[Sample]:
        return [Sample((draw.array((2,)),), {"dim": 1})]


class Sort(Op):
    """(values, indices) of x sorted along dim, equal elements in their order.    dx[indices] = dvalues."""

    kinds, cost = "n", "compute"

    @staticmethod
    def oracle(torch, x, *, dim, descending):
        return tuple(torch.sort(x, dim=dim, descending=descending, stable=True))

    @staticmethod
    def shape(x, *, dim, descending):
        axis_index("Sort", dim, len(x))
        if len(x) > 32:  # the limit of NumPy's iterators
            raise ShapeError(f"Sort: at most 32 axes, got {len(x)}")
        return [x, x]

    @staticmethod
    def forward(ctx, x, *, dim, descending):
        ctx.axis = axis_index("Sort", dim, x.ndim)
        if x.ndim == 0:
            return backend.copy(x), backend.full((), 0, np.dtype(np.int64))
        values, indices = backend.sort(x, ctx.axis, descending)
        ctx.save(indices)
        return values, indices

    @staticmethod
    def backward(ctx, dvalues, _):
        if dvalues.ndim == 0:
            return dvalues
        return backend.gather_grad(dvalues, ctx.axis, ctx.saved[0], dvalues.shape[ctx.axis])

    @staticmethod
    def samples(draw: Draw) -> Sample:
        x = draw.distinct(draw.shape(min_dims=1))
        return Sample((x,), {"dim": draw.integer(-x.ndim, x.ndim - 1), "descending": draw.choice([False, True])})

    @staticmethod
    def errors(draw: Draw) -> list[Sample]:
        return [Sample((draw.array((2,)),), {"dim": 1, "descending": False})]
