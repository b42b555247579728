"""Ops that move elements without computing: views where strides allow it, copies where not.

Legend: x input; y output; dy its gradient. Sizes are checked with Python integers, so products cannot wrap.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from .. import backend
from ..errors import ShapeError
from ..op import Draw, Op, Sample, axis_index, shape_error
from .binary import unbroadcast


class Movement(Op, abstract=True):
    """No arithmetic: no flops."""

    kinds = "n"

    @classmethod
    def flops(cls, *shapes, **attrs):
        return 0


def reshaped(x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """x in another shape: a view if its strides allow it, else a copy made by the backend."""
    if x.flags.c_contiguous:
        return x.reshape(shape)
    try:
        return x.reshape(shape, copy=False)
    except ValueError:
        return backend.copy(x).reshape(shape)


class Reshape(Movement):
    """y = x with the same elements, in C order, as another shape; one size may be -1.    dx = dy reshaped back."""

    oracle = "torch.reshape"

    @staticmethod
    def shape(x, *, shape):
        shape = tuple(map(operator.index, shape))
        rest = math.prod(s for s in shape if s != -1)
        total = math.prod(x)
        bad = any(s < -1 for s in shape) or shape.count(-1) > 1
        if bad or (-1 in shape and (rest == 0 or total % rest)) or (-1 not in shape and rest != total):
            raise shape_error(
                "Reshape",
                f"shape {tuple(shape)} is invalid for {total} elements",
                "sizes multiply to the number of elements; one may be -1",
                x=(x, "..."),
            )
        return tuple(total // rest if s == -1 else s for s in shape)

    @staticmethod
    def forward(ctx, x, *, shape):
        ctx.x_shape = x.shape
        return reshaped(x, Reshape.shape(x.shape, shape=shape))

    @staticmethod
    def backward(ctx, dy):
        return reshaped(dy, ctx.x_shape)

    @staticmethod
    def samples(draw: Draw) -> Sample:
        x = draw.array(draw.shape(min_side=1))
        return Sample((x,), {"shape": draw.choice([(-1,), x.shape[::-1], (*x.shape, 1), (1, -1)])})

    @staticmethod
    def errors(draw: Draw) -> list[Sample]:
        return [
            Sample((draw.array((2, 3)),), {"shape": s})
            for s in ((4,), (-1, -1), (-1, 4), (-2, 3), (-1, 0), (1 << 40, 1 << 40))
        ]


class Permute(Movement):
    """y = x with its axes in the order `dims`: a view.    dx = dy with the inverse order."""

    oracle = "torch.permute"

    @staticmethod
    def shape(x, *, dims):
        axes = [axis_index("Permute", d, len(x)) for d in dims]
        if sorted(axes) != list(range(len(x))):
            raise shape_error("Permute", f"dims {tuple(dims)} must name each axis once", x=(x, "..."))
        return tuple(x[a] for a in axes)

    @staticmethod
    def forward(ctx, x, *, dims):
        ctx.axes = [d % max(x.ndim, 1) for d in dims]
        return x.transpose(ctx.axes)

    @staticmethod
    def backward(ctx, dy):
        return dy.transpose(np.argsort(ctx.axes))

    @staticmethod
    def samples(draw: Draw) -> Sample:
        x = draw.array(draw.shape())
        dims = list(range(x.ndim))
        shift = draw.integer(0, max(x.ndim - 1, 0))
        return Sample(
            (x,), {"dims": tuple(draw.choice([dims[shift:] + dims[:shift], dims[::-1], [d - x.ndim for d in dims]]))}
        )

    @staticmethod
    def errors(draw: Draw) -> list[Sample]:
        return [Sample((draw.array((2, 3)),), {"dims": d}) for d in ((0,), (0, 0), (0, 2))]


class Expand(Movement):
    """y = x with axes of size 1 (and new leading axes) repeated to `shape`: a view; -1 keeps a size.    dx = dy summed
    over them.
    """

    @staticmethod
    def oracle(torch, x, *, shape):
        return x.expand(shape)

    @staticmethod
    def shape(x, *, shape):
        extra = len(shape) - len(x)
        if extra < 0 or any(s < -1 or (s == -1 and i < extra) for i, s in enumerate(shape)):
            raise shape_error(
                "Expand",
                f"cannot expand to {tuple(shape)}",
                "give a size, or -1 to keep it, for every axis",
                x=(x, "..."),
            )
        out = tuple(shape[:extra]) + tuple(old if new == -1 else new for old, new in zip(x, shape[extra:], strict=True))
        if any(old not in (1, new) for old, new in zip(x, out[extra:], strict=True)):
            raise shape_error(
                "Expand", f"cannot expand to {tuple(shape)}", "only axes of size 1 can be expanded", x=(x, "...")
            )
        return out

    @staticmethod
    def forward(ctx, x, *, shape):
        ctx.x_shape = x.shape
        return np.broadcast_to(x, Expand.shape(x.shape, shape=shape))

    @staticmethod
    def backward(ctx, dy):
        return unbroadcast(dy, ctx.x_shape)

    @staticmethod
    def samples(draw: Draw) -> Sample:
        shape = draw.shape()
        return Sample((draw.array(draw.part_of(shape)),), {"shape": shape})

    @staticmethod
    def errors(draw: Draw) -> list[Sample]:
        return [Sample((draw.array((2, 3)),), {"shape": s}) for s in ((3,), (4, 3), (-1, 2, 3), (2, -2))]


class Flip(Movement):
    """y = x with the axes `dims` reversed: a view.    dx = dy reversed."""

    oracle = "torch.flip"

    @staticmethod
    def shape(x, *, dims):
        axes = [axis_index("Flip", d, len(x)) for d in dims]
        if len(set(axes)) != len(axes):
            raise ShapeError(f"Flip: dims {tuple(dims)} names an axis twice")
        return x

    @staticmethod
    def forward(ctx, x, *, dims):
        return np.flip(x, tuple(dims)) if x.ndim else x[...]

    @staticmethod
    def backward(ctx, dy):
        return Flip.forward(ctx, dy, dims=ctx.attrs["dims"])

    @staticmethod
    def samples(draw: Draw) -> Sample:
        x = draw.array(draw.shape(min_dims=1))
        return Sample((x,), {"dims": draw.choice([(0,), (-1,), tuple(range(x.ndim))])})

    @staticmethod
    def errors(draw: Draw) -> list[Sample]:
        return [Sample((draw.array((2, 3)),), {"dims": d}) for d in ((2,), (0, -2))]


class Cat(Movement):
    """y = the inputs one after another along dim; all other sizes are equal.    dx_i = its slice of dy."""

    @staticmethod
    def oracle(torch, *xs, dim):
        return torch.cat(xs, dim)

    @staticmethod
    def shape(*xs, dim):
        axis = axis_index("Cat", dim, len(xs[0]))
        for i, x in enumerate(xs[1:], 1):
            if len(x) != len(xs[0]) or any(a != b for j, (a, b) in enumerate(zip(x, xs[0], strict=True)) if j != axis):
                named: dict[str, Any] = {"tensor_0": (xs[0], "..."), f"tensor_{i}": (x, "...")}
                raise shape_error("Cat", f"tensors 0 and {i} must agree on every axis but {axis}", **named)
        if not xs[0]:
            raise shape_error("Cat", "tensors without axes cannot be concatenated", "use stack", tensor_0=(xs[0], ""))
        return xs[0][:axis] + (sum(x[axis] for x in xs),) + xs[0][axis + 1 :]

    @staticmethod
    def forward(ctx, *xs, dim):
        ctx.axis = axis_index("Cat", dim, xs[0].ndim)
        ctx.sizes = [x.shape[ctx.axis] for x in xs]
        out = backend.empty(Cat.shape(*[x.shape for x in xs], dim=dim), xs[0].dtype)
        for part, x in zip(_pieces(out, ctx.axis, ctx.sizes), xs, strict=True):
            backend.assign(part, x)
        return out

    @staticmethod
    def backward(ctx, dy):
        return _pieces(dy, ctx.axis, ctx.sizes)

    @staticmethod
    def samples(draw: Draw) -> Sample:
        shape = draw.shape(min_dims=1)
        dim = draw.integer(-len(shape), len(shape) - 1)
        shapes = [list(shape) for _ in range(draw.integer(1, 3))]
        for s in shapes:
            s[dim] = draw.integer(0, 4)
        return Sample(tuple(draw.array(tuple(s)) for s in shapes), {"dim": dim})

    @staticmethod
    def errors(draw: Draw) -> list[Sample]:
        x = draw.array((2, 3))
        return [
            Sample((x, draw.array((3, 2))), {"dim": 0}),
            Sample((x, x), {"dim": 2}),
            Sample((draw.array(()),), {"dim": 0}),
        ]


class Split(Movement):
    """y_i = consecutive parts of x along dim, of the sizes given: views.    dx = the dy_i one after another."""

    @staticmethod
    def oracle(torch, x, *, sizes, dim):
        return torch.split(x, sizes, dim)

    @staticmethod
    def shape(x, *, sizes, dim):
        axis = axis_index("Split", dim, len(x))
        if not x or sum(sizes) != x[axis] or any(s < 0 for s in sizes):
            raise shape_error(
                "Split", f"sizes {list(sizes)} must be non-negative and add up to the size of axis {axis}", x=(x, "...")
            )
        return [(*x[:axis], s, *x[axis + 1 :]) for s in sizes]

    @staticmethod
    def forward(ctx, x, *, sizes, dim):
        return tuple(_pieces(x, axis_index("Split", dim, x.ndim), sizes))

    @staticmethod
    def backward(ctx, *dys):
        return Cat.forward(ctx, *dys, dim=ctx.attrs["dim"])

    @staticmethod
    def samples(draw: Draw) -> Sample:
        sizes = [draw.integer(0, 3) for _ in range(draw.integer(1, 3))]
        shape = list(draw.shape(min_dims=1))
        dim = draw.integer(-len(shape), len(shape) - 1)
        shape[dim] = sum(sizes)
        return Sample((draw.array(tuple(shape)),), {"sizes": sizes, "dim": dim})

    @staticmethod
    def errors(draw: Draw) -> list[Sample]:
        return [
            Sample((draw.array((2, 3)),), {"sizes": s, "dim": d}) for s, d in (((1, 1), 1), ((4, -1), 1), ((2,), 2))
        ]


def _pieces(x, axis, sizes):
    starts = np.cumsum([0, *sizes])
    before = (slice(None),) * axis
    return [x[(*before, slice(a, b))] for a, b in zip(starts[:-1], starts[1:], strict=True)]


class Pad(Movement):
    """y = x with `value` around it; pad lists (before, after) for the last axis first, as torch.nn.functional.pad;
    negative crops.

    dx = dy without the border (zero where x was cropped).
    """

    @staticmethod
    def oracle(torch, x, *, pad, value=0.0):
        return torch.nn.functional.pad(x, pad, value=value)

    @staticmethod
    def shape(x, *, pad, value=0.0):
        if len(pad) % 2 or len(pad) > 2 * len(x):
            raise shape_error(
                "Pad", f"pad {tuple(pad)} must hold (before, after) for at most {len(x)} axes", x=(x, "...")
            )
        out = tuple(s + sum(p) for s, p in zip(x, _borders(pad, len(x)), strict=True))
        if any(s < 0 for s in out):
            raise shape_error("Pad", f"pad {tuple(pad)} crops more than there is", x=(x, "..."))
        return out

    @staticmethod
    def forward(ctx, x, *, pad, value=0.0):
        ctx.x_shape = x.shape
        y = backend.full(Pad.shape(x.shape, pad=pad), value, x.dtype)
        inner, outer = _overlap(x.shape, pad)
        backend.assign(y[outer], x[inner])
        return y

    @staticmethod
    def backward(ctx, dy):
        dx = backend.full(ctx.x_shape, 0, dy.dtype)
        inner, outer = _overlap(ctx.x_shape, ctx.attrs["pad"])
        backend.assign(dx[inner], dy[outer])
        return dx

    @staticmethod
    def samples(draw: Draw) -> Sample:
        x = draw.array(draw.shape(min_dims=1, min_side=2))
        pad = tuple(draw.integer(-1, 2) for _ in range(2 * draw.integer(1, x.ndim)))
        return Sample((x,), {"pad": pad, "value": draw.choice([0.0, 1.5])})

    @staticmethod
    def errors(draw: Draw) -> list[Sample]:
        return [Sample((draw.array((2, 3)),), {"pad": p}) for p in ((1,), (1,) * 6, (-2, -2))]


def _borders(pad, ndim):
    pairs = [(pad[i], pad[i + 1]) for i in range(0, len(pad), 2)]
    return [(0, 0)] * (ndim - len(pairs)) + pairs[::-1]


def _overlap(shape, pad):
    """Slices of the original and of the padded array that hold the same elements."""
    inner, outer = [], []
    for s, (before, after) in zip(shape, _borders(pad, len(shape)), strict=True):
        first, last = max(-before, 0), max(s + min(after, 0), 0)
        inner.append(slice(first, max(last, first)))
        outer.append(slice(max(before, 0), max(before, 0) + max(last - first, 0)))
    return (*inner, ...), (*outer, ...)


class Diagonal(Movement):
    """y[..., i] = x[.., i (+ offset), .., i, ..] along dim1 and dim2, as the last axis: a view.    dx = dy on that
    diagonal, 0 elsewhere.
    """

    @staticmethod
    def oracle(torch, x, *, offset, dim1, dim2):
        return torch.diagonal(x, offset, dim1, dim2)

    @staticmethod
    def shape(x, *, offset, dim1, dim2):
        a, b = (axis_index("Diagonal", d, len(x)) for d in (dim1, dim2))
        if a == b:
            raise shape_error("Diagonal", "dim1 and dim2 must differ", x=(x, "..."))
        if abs(offset) >= 1 << 31:  # what NumPy takes; smaller ones that miss give nothing
            raise shape_error("Diagonal", f"no diagonal has the offset {offset}", x=(x, "..."))
        return np.diagonal(np.broadcast_to(np.empty(()), x), offset, a, b).shape

    @staticmethod
    def forward(ctx, x, *, offset, dim1, dim2):
        ctx.x_shape = x.shape
        return np.diagonal(x, offset, dim1, dim2)

    @staticmethod
    def backward(ctx, dy):
        dx = backend.full(ctx.x_shape, 0, dy.dtype)
        view = np.diagonal(dx, ctx.attrs["offset"], ctx.attrs["dim1"], ctx.attrs["dim2"])
        view.flags.writeable = True  # NumPy hands the diagonal out read-only; dx is ours
        backend.assign(view, dy)
        return dx

    @staticmethod
    def samples(draw: Draw) -> Sample:
        x = draw.array(draw.shape(min_dims=2))
        dim1, dim2 = draw.choice([(0, 1), (-1, -2), (0, -1)])
        return Sample((x,), {"offset": draw.integer(-1, 2), "dim1": dim1, "dim2": dim2})

    @staticmethod
    def errors(draw: Draw) -> list[Sample]:
        return [Sample((draw.array((2, 3)),), {"offset": 0, "dim1": a, "dim2": b}) for a, b in ((0, 0), (0, 2))]
