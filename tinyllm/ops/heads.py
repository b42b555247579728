"""From the layout of projections, (B, T, H D), to that of attention's inputs, (B, H, T, D): views, in backward as well
where gradients lie as the kernel of attention leaves them.

Legend: B batch, T tokens, H heads, D width of a head; x input; y output; dy its gradient.
"""

from __future__ import annotations

import numpy as np

from .. import backend
from ..op import Draw, Sample, shape_error
from .shape import Movement, reshaped


class SplitHeads(Movement):
    """y_i (B, H_i, T, D) = the next H_i of the heads in x (B, T, sum(H_i) D).    dx = the dy_i side by side."""

    @staticmethod
    def oracle(torch, x, *, heads):
        return torch.split(x.unflatten(-1, (sum(heads), -1)).transpose(1, 2), heads, 1)

    @staticmethod
    def shape(x, *, heads):
        total = sum(heads)
        if len(x) != 3 or min(heads) < 1 or x[2] % total:
            rule = f"{' + '.join(map(str, heads))} heads must divide the last of three axes"
            raise shape_error("SplitHeads", rule, "give positive numbers of heads", x=(x, "B T H*D"))
        return [(x[0], h, x[1], x[2] // total) for h in heads]

    @staticmethod
    def forward(ctx, x, *, heads):
        return tuple(_parts(reshaped(x, (*x.shape[:2], sum(heads), x.shape[2] // sum(heads))), heads))

    @staticmethod
    def backward(ctx, *dys):
        heads, (batch, _, length, width) = ctx.attrs["heads"], dys[0].shape
        total = sum(heads)
        dx = _whole([dy.transpose(0, 2, 1, 3) for dy in dys])
        if dx is None:
            dx = backend.empty((batch, length, total, width), dys[0].dtype)
            for part, dy in zip(_parts(dx, heads), dys, strict=True):
                backend.assign(part, dy)
        return dx.reshape(batch, length, total * width)

    @staticmethod
    def samples(draw: Draw) -> Sample:
        heads = [draw.integer(1, 3) for _ in range(draw.integer(1, 3))]
        shape = (draw.integer(0, 2), draw.integer(1, 4), sum(heads) * draw.integer(1, 3))
        return Sample((draw.array(shape),), {"heads": heads})

    @staticmethod
    def errors(draw: Draw) -> list[Sample]:
        x = draw.array((2, 3, 4))
        return [Sample((x,), {"heads": [3]}), Sample((x,), {"heads": [4, 0]}), Sample((x[0],), {"heads": [2]})]


def _parts(x: np.ndarray, heads: list[int]) -> list[np.ndarray]:
    """(B, T, H, D) as views (B, H_i, T, D)."""
    x, first, parts = x.transpose(0, 2, 1, 3), 0, []
    for h in heads:
        parts.append(x[:, first : first + h])
        first += h
    return parts


def _whole(parts: list[np.ndarray]) -> np.ndarray | None:
    """The array (B, T, H, D) that the parts (B, T, H_i, D), in this order, are all of; None if there is none."""
    base = parts[0].base
    if not isinstance(base, np.ndarray) or base.ndim != 4 or base.shape[2] != sum(part.shape[2] for part in parts):
        return None
    place = _address(base)
    for part in parts:
        if part.base is not base or part.strides != base.strides or _address(part) != place:
            return None
        place += part.shape[2] * base.strides[2]
    return base if base.shape[:2] == parts[0].shape[:2] and base.shape[3] == parts[0].shape[3] else None


def _address(x: np.ndarray) -> int:
    return x.__array_interface__["data"][0]
