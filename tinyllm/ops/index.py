"""Ops that pick elements by number, and their gradients: zeros with the picked places filled or summed into.

Legend: x input; ids, index integer arrays; y output; dy its gradient. Repeated ids sum their gradients, always in the
same order.
"""

from __future__ import annotations

import numpy as np

from .. import backend
from ..op import Draw, Sample, axis_index, shape_error
from .shape import Movement


def check_bounds(op: str, ids: np.ndarray, size: int, what: str) -> None:
    """IndexError unless every id is at least 0 and below `size`."""
    if 0 in ids.strides:  # what is repeated need not be read again
        ids = ids[tuple(slice(1) if step == 0 else slice(None) for step in ids.strides)]
    if ids.size and (ids.min() < 0 or ids.max() >= size):
        bad = ids[(ids < 0) | (ids >= size)].flat[0]
        raise IndexError(f"{op}: index {bad} is out of range for {what} of size {size} (0 to {size - 1})")


class Slice(Movement):
    """y = x[key], key of ints, slices, None and Ellipsis: a view.    dx = zeros with dy at the key."""

    @staticmethod
    def oracle(torch, x, *, key):
        return x[key]

    @staticmethod
    def shape(x, *, key):
        return np.broadcast_to(np.empty(()), x)[key].shape

    @staticmethod
    def forward(ctx, x, *, key):
        ctx.x_shape = x.shape
        return x[(*key, ...) if Ellipsis not in key else key]

    @staticmethod
    def backward(ctx, dy):
        dx = backend.full(ctx.x_shape, 0, dy.dtype)
        backend.assign(dx[(*ctx.attrs["key"], ...) if Ellipsis not in ctx.attrs["key"] else ctx.attrs["key"]], dy)
        return dx

    @staticmethod
    def samples(draw: Draw) -> Sample:
        x = draw.array(draw.shape(min_dims=2, min_side=2))
        keys = [
            (0,),
            (slice(1, None),),
            (None, ..., -1),
            (slice(None), slice(0, 2)),
            (..., slice(None, None, 2)),
            (slice(5, 1),),
        ]
        return Sample((x,), {"key": draw.choice(keys)})

    @staticmethod
    def errors(draw: Draw) -> list[Sample]:
        return [Sample((draw.array((2, 3)),), {"key": k}) for k in ((2,), (0, 0, 0), (..., ...))]


class Embedding(Movement):
    """y = weight[ids]: rows by number.    dweight = for each row the sum of dy where it was picked; zero for
    `padding_idx`.

    weight (N, ...), ids of any shape; y has shape ids.shape + weight.shape[1:].
    """

    kinds = "ni"

    @staticmethod
    def oracle(torch, weight, ids, *, padding_idx=None):
        return torch.nn.functional.embedding(ids, weight, padding_idx) if weight.ndim == 2 else weight[ids]

    @staticmethod
    def shape(weight, ids, *, padding_idx=None):
        if not weight:
            raise shape_error("Embedding", "weight needs at least one axis", weight=(weight, "N ..."))
        if padding_idx is not None and not 0 <= padding_idx < weight[0]:
            raise ValueError(f"Embedding: padding_idx must be from 0 to {weight[0] - 1}, got {padding_idx}")
        return ids + weight[1:]

    @staticmethod
    def forward(ctx, weight, ids, *, padding_idx=None):
        check_bounds("Embedding", ids, weight.shape[0], "a table")
        ctx.rows = weight.shape[0]
        ctx.save(ids)
        return backend.take(weight, ids)

    @staticmethod
    def backward(ctx, dy):
        (ids,) = ctx.saved
        dw = backend.take_grad(dy, ids, ctx.rows)
        pad = ctx.attrs.get("padding_idx")
        if pad is not None:
            backend.assign(dw[pad], backend.full(dw.shape[1:], 0, dw.dtype))
        return dw, None

    @staticmethod
    def samples(draw: Draw) -> Sample:
        weight = draw.array(draw.shape(min_dims=1, max_dims=3, min_side=1))
        padding = 0 if weight.ndim == 2 and draw.choice([False, True]) else None
        ids = draw.ints(draw.shape(max_dims=3), 0, len(weight))
        return Sample((weight, ids), {"padding_idx": padding}, numeric=padding is None)

    @staticmethod
    def errors(draw: Draw) -> list[Sample]:
        w, one = draw.array((3, 2)), draw.ints((1,), 0, 1)
        return [Sample((w, one + 3)), Sample((w, one - 1)), Sample((w, w)), Sample((draw.array(()), one))]


def _check_index(op, x, index, dim):
    axis = axis_index(op, dim, len(x))
    if len(index) != len(x) or any(i > s for j, (i, s) in enumerate(zip(index, x, strict=True)) if j != axis):
        raise shape_error(
            op,
            f"index must have {len(x)} axes, none but axis {axis} longer than the input's",
            input=(x, "..."),
            index=(index, "..."),
        )
    return axis


def _corner(x, index, axis):
    """The part of x that an index of a possibly smaller shape covers: all of `axis`, the beginning of every other."""
    return x[tuple(slice(None) if j == axis else slice(0, s) for j, s in enumerate(index.shape))]


class Gather(Movement):
    """y[.., i, ..] = x[.., index[.., i, ..], ..] along dim.    dx = dy summed into the places it came from."""

    kinds = "ni"

    @staticmethod
    def oracle(torch, x, index, *, dim):
        return torch.gather(x, dim, index)

    @staticmethod
    def shape(x, index, *, dim):
        _check_index("Gather", x, index, dim)
        return index

    @staticmethod
    def forward(ctx, x, index, *, dim):
        ctx.axis, ctx.x_shape = axis_index("Gather", dim, x.ndim), x.shape
        check_bounds("Gather", index, x.shape[ctx.axis], f"axis {ctx.axis}")
        ctx.save(index)
        return backend.gather(_corner(x, index, ctx.axis), ctx.axis, index)

    @staticmethod
    def backward(ctx, dy):
        (index,) = ctx.saved
        part = backend.gather_grad(dy, ctx.axis, index, ctx.x_shape[ctx.axis])
        if part.shape == ctx.x_shape:
            return part, None
        dx = backend.full(ctx.x_shape, 0, dy.dtype)
        backend.assign(_corner(dx, index, ctx.axis), part)
        return dx, None

    @staticmethod
    def samples(draw: Draw) -> Sample:
        x = draw.array(draw.shape(min_dims=1, min_side=1))
        dim = draw.integer(-x.ndim, x.ndim - 1)
        shape = list(x.shape)
        shape[dim] = draw.integer(0, 4)
        shape[0] = min(shape[0], draw.integer(1, 5))
        return Sample((x, draw.ints(tuple(shape), 0, x.shape[dim])), {"dim": dim})

    @staticmethod
    def errors(draw: Draw) -> list[Sample]:
        x, i = draw.array((2, 3)), draw.ints((2, 3), 0, 2)
        return [
            Sample((x, i + 3), {"dim": 1}),
            Sample((x, i), {"dim": 2}),
            Sample((x, draw.ints((3, 3), 0, 2)), {"dim": 1}),
        ]


class ScatterAdd(Movement):
    """y = x, with src[.., i, ..] added at place index[.., i, ..] along dim.    dx = dy, dsrc = dy gathered at index."""

    kinds = "nin"

    @staticmethod
    def oracle(torch, x, index, src, *, dim):
        return torch.scatter_add(x, dim, index, src)

    @staticmethod
    def shape(x, index, src, *, dim):
        _check_index("ScatterAdd", x, index, dim)
        if src != index:
            raise shape_error("ScatterAdd", "src must have the shape of index", index=(index, "..."), src=(src, "..."))
        return x

    @staticmethod
    def forward(ctx, x, index, src, *, dim):
        ctx.axis = axis_index("ScatterAdd", dim, x.ndim)
        check_bounds("ScatterAdd", index, x.shape[ctx.axis], f"axis {ctx.axis}")
        ctx.save(index)
        y = backend.copy(x)
        part = _corner(y, index, ctx.axis)
        backend.assign(part, backend.binary("add", part, backend.gather_grad(src, ctx.axis, index, x.shape[ctx.axis])))
        return y

    @staticmethod
    def backward(ctx, dy):
        (index,) = ctx.saved
        return dy, None, backend.gather(_corner(dy, index, ctx.axis), ctx.axis, index) if ctx.needs[2] else None

    @staticmethod
    def samples(draw: Draw) -> Sample:
        sample = Gather.samples(draw)
        x, index = sample.args
        return Sample((x, index, draw.array(index.shape)), sample.attrs)

    @staticmethod
    def errors(draw: Draw) -> list[Sample]:
        x, i = draw.array((2, 3)), draw.ints((2, 3), 0, 2)
        return [Sample((x, i, draw.array((2, 2))), {"dim": 1}), Sample((x, i + 3, x), {"dim": 1})]


class Scatter(Movement):
    """y = x, with src[.., i, ..] at place index[.., i, ..] along dim.    dx = dy elsewhere, dsrc = dy gathered.

    No place may be written twice: which value wins would depend on the order (undefined in PyTorch; here it raises).
    """

    kinds = "nin"

    @staticmethod
    def oracle(torch, x, index, src, *, dim):
        return torch.scatter(x, dim, index, src)

    shape = staticmethod(lambda x, index, src, *, dim: ScatterAdd.shape(x, index, src, dim=dim))

    @staticmethod
    def forward(ctx, x, index, src, *, dim):
        ctx.axis = axis_index("Scatter", dim, x.ndim)
        size = x.shape[ctx.axis]
        check_bounds("Scatter", index, size, f"axis {ctx.axis}")
        hits = backend.gather_grad(backend.full(index.shape, 1, np.dtype(np.float64)), ctx.axis, index, size)
        if hits.size and hits.max() > 1:
            raise ValueError(
                "Scatter: index names a place twice, which value wins is undefined; use scatter_add or unique places"
            )
        ctx.hit = hits > 0
        ctx.save(index)
        y = backend.copy(x)
        part = _corner(y, index, ctx.axis)
        backend.assign(part, backend.where(ctx.hit, backend.gather_grad(src, ctx.axis, index, size), part))
        return y

    @staticmethod
    def backward(ctx, dy):
        (index,) = ctx.saved
        dx = None
        if ctx.needs[0]:
            dx = backend.copy(dy)
            part = _corner(dx, index, ctx.axis)
            backend.assign(part, backend.where(ctx.hit, np.zeros((), dy.dtype), part))
        return dx, None, backend.gather(_corner(dy, index, ctx.axis), ctx.axis, index) if ctx.needs[2] else None

    @staticmethod
    def samples(draw: Draw) -> Sample:
        x = draw.array(draw.shape(min_dims=1, min_side=1))
        dim = draw.integer(-x.ndim, x.ndim - 1)
        index = np.argsort(draw.distinct(x.shape), axis=dim)
        keep = tuple(slice(0, draw.integer(1, s)) for s in x.shape)
        return Sample((x, index[keep], draw.array(index[keep].shape)), {"dim": dim})

    @staticmethod
    def errors(draw: Draw) -> list[Sample]:
        x, i = draw.array((2, 3)), draw.ints((2, 3), 0, 1)
        return [Sample((x, i, x), {"dim": 1}), Sample((x, i - 1, x), {"dim": 1})]
