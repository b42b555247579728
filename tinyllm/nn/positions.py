"""Positions: how a model learns where a token stands. One protocol with three hooks, each the identity by
default.

    embed(x, positions)             add to the token vectors, once, before the first block (learned, sinusoidal)
    rotate(q, k, positions)         change queries and keys in each attention (rotary)
    scores(n_query, n_key, n_head)  arguments for the attention kernel, never a T x T array (ALiBi, relative tables)

A model asks ``where = scheme.at(positions)`` once per forward pass and hands `where` on; attention calls
its hooks and has no branch on the kind.

Legend: x (B, T, d); q (B, H, T, D), k (B, Hk, T, D); positions int64 (T,), or (B, T) when sequences are
packed or padded on the left.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .._tensor import Tensor
from ..autograd import no_grad
from ..errors import ShapeError
from ..functions import stack
from . import functional as F
from . import init
from .module import Module
from .parameter import Parameter


class Positions(Module):
    """Base of the schemes: every hook the identity. On its own it is a model without positions."""

    def embed(self, x: Tensor, positions: np.ndarray) -> Tensor:
        """Token vectors (B, T, d) with what the scheme adds to them."""
        return x

    def rotate(self, q: Tensor, k: Tensor, positions: np.ndarray) -> tuple[Tensor, Tensor]:
        """Queries and keys as the scores should see them."""
        return q, k

    def scores(self, n_query: int, n_key: int, n_head: int) -> dict[str, Any]:
        """Keyword arguments for `F.attention.attend`, such as {"slopes": (H,)}."""
        return {}

    def at(self, positions: Any) -> Where:
        """The scheme at given positions: integers of shape (T,) or (B, T)."""
        array = positions.array if isinstance(positions, Tensor) else np.asarray(positions)
        if array.dtype.kind not in "iu":
            raise TypeError(f"positions must be integers, got {array.dtype}")
        if array.ndim not in (1, 2):
            raise ShapeError(f"positions have the shape (T,) or (B, T), got {array.shape}")
        if array.size and array.min() < 0:
            raise ValueError(f"positions count from 0, got {array.min()}")
        return Where(self, array.astype(np.int64))


class Where:
    """A position scheme at the positions of one forward pass."""

    def __init__(self, scheme: Positions, positions: np.ndarray):
        self.scheme, self.positions = scheme, positions

    def embed(self, x: Tensor) -> Tensor:
        """Positions.embed at these positions."""
        return self.scheme.embed(x, self.positions)

    def rotate(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """Positions.rotate at these positions."""
        return self.scheme.rotate(q, k, self.positions)

    def scores(self, n_query: int, n_key: int, n_head: int) -> dict[str, Any]:
        """Positions.scores."""
        return self.scheme.scores(n_query, n_key, n_head)


class NoPositions(Positions):
    """No position information: permuting the tokens of an encoder then permutes its outputs."""


class LearnedPositions(Positions):
    """A table of `max_len` vectors, the row of its position added to each token (GPT-2, BERT). Raises
    beyond the table.
    """

    def __init__(self, max_len: int, d_model: int):
        super().__init__()
        self.max_len, self.d_model = max_len, d_model
        self.weight = Parameter.empty(max_len, d_model)
        init.normal_(self.weight)

    def embed(self, x: Tensor, positions: np.ndarray) -> Tensor:
        """x + weight[positions]. IndexError for a position that the table does not have."""
        if positions.size and positions.max() >= self.max_len:
            raise IndexError(
                f"position {positions.max()} is beyond the {self.max_len} learned positions (n_positions in a config); "
                "shorten the input, or use positions that extrapolate"
            )
        return x + F.embedding(Tensor(positions), self.weight)

    def extra_repr(self) -> str:
        """Sizes."""
        return f"{self.max_len}, {self.d_model}"


class SinusoidalPositions(Positions):
    """PE(p, 2i) = sin(p / base^(2i/d)), PE(p, 2i+1) = cos of the same (Vaswani et al. 2017, section 3.5),
    for any length and any d.

    Sine and cosine alternate, as in the paper. tensor2tensor concatenates a half of each and divides by d/2
    - 1 instead of d/2: checkpoints of the two do not fit each other. Computed in float64, then converted.
    """

    def __init__(self, d_model: int, base: float = 10000.0):
        super().__init__()
        self.d_model, self.base = d_model, base
        self._last: tuple[np.ndarray, Tensor] | None = (
            None  # what the last batch added; the next one mostly adds the same
        )

    def table(self, positions: np.ndarray) -> Tensor:
        """The vectors of `positions` (...), float64 (..., d)."""
        with no_grad():
            pairs = -(-self.d_model // 2)
            rate = -2.0 * math.log(self.base) / max(self.d_model, 1)
            exponents = Tensor(np.arange(pairs, dtype=np.float64)) * rate
            angle = Tensor(positions).to(np.dtype(np.float64)).unsqueeze(-1) * exponents.exp()
            both = stack([angle.sin(), angle.cos()], -1)
            return both.reshape(*positions.shape, 2 * pairs)[..., : self.d_model]

    def embed(self, x: Tensor, positions: np.ndarray) -> Tensor:
        """x + PE(positions)."""
        if self._last is None or self._last[1].dtype != x.dtype or not np.array_equal(self._last[0], positions):
            self._last = positions.copy(), self.table(positions).to(x.dtype)
        return x + self._last[1]

    def extra_repr(self) -> str:
        """Width and base."""
        return f"{self.d_model}, base={self.base}"
