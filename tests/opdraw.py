"""The `draw` protocol of Op.samples, backed by hypothesis: shapes and choices are drawn (and shrink), values come from
a drawn seed.
"""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from tinyllm.op import Sample


class HypothesisDraw:
    def __init__(self, data, dtype):
        self.data, self.dtype = data, np.dtype(dtype)
        self.rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))

    def shape(self, min_dims=0, max_dims=4, min_side=0, max_side=5):
        sides = st.integers(max(min_side, 1), max_side) | st.integers(
            min_side, max_side
        )  # zero is possible, not frequent
        return tuple(self.data.draw(st.lists(sides, min_size=min_dims, max_size=max_dims)))

    def part_of(self, shape):
        kept = [s if self.data.draw(st.booleans()) else 1 for s in shape]
        return tuple(kept[self.data.draw(st.integers(0, len(kept))) :])

    def array(self, shape, low=-2.0, high=2.0, avoid=()):
        a = self.rng.uniform(low, high, shape)
        for (
            point
        ) in avoid:  # at least 0.05 away from kinks and poles, where neither differences nor gradients mean anything
            near = np.abs(a - point) < 0.05
            a = np.where(near, point + np.where(a < point, -0.05, 0.05), a)
        return self._stored(a.astype(self.dtype))

    def distinct(self, shape):
        n = int(np.prod(shape, dtype=int))
        return self._stored((self.rng.permutation(n).reshape(shape) * 0.1 - n * 0.05).astype(self.dtype), ties=False)

    def ints(self, shape, low, high):
        return self._stored(self.rng.integers(low, high, shape))

    def bools(self, shape):
        return self._stored(self.rng.random(shape) < 0.6)

    def integer(self, low, high):
        return self.data.draw(st.integers(low, high))

    def choice(self, options):
        return options[self.data.draw(st.integers(0, len(options) - 1))]

    def _stored(self, a, ties=True):
        """The same values in one of several layouts: C order, transposed, every other element, reversed, broadcast."""
        layout = self.data.draw(st.integers(0, 5))
        if layout == 1:
            return np.array(a.T, order="C").T
        if layout == 2 and a.ndim:
            wide = np.zeros((*a.shape[:-1], 2 * a.shape[-1]), a.dtype)
            wide[..., ::2] = a
            return wide[..., ::2]
        if layout == 3 and a.ndim:
            return np.flip(np.array(np.flip(a), order="C"))
        if ties and layout == 4 and a.ndim and a.shape[0] > 1 and a.dtype.kind == "f":
            return np.broadcast_to(np.array(a[:1]), a.shape)  # stride 0: equal rows
        return np.array(a)


def sample(op, data, dtype=np.float64) -> Sample:
    return op.samples(HypothesisDraw(data, dtype))


def errors(op, data, dtype=np.float64) -> list[Sample]:
    return op.errors(HypothesisDraw(data, dtype))
