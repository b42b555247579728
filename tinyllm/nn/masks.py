"""Attention masks as intervals: query i of batch b sees the keys lo[b, i] <= j < hi[b, i].

Causal, sliding window, padding, packed documents and prefix-LM are all of this kind, so they cost O(T)
memory, kernels skip what lies outside, and `a & b` is the intersection of two intervals. Anything else
(random sparsity, a learned bias) is a `Dense` mask.

Queries are the last rows: with n_query queries and n_key keys (a cache holds the difference), query i
stands at key position i + n_key - n_query. That is "bottom-right" alignment; `alignment="top-left"` puts
query i at position i, which is what PyTorch's is_causal does. Integers (B,) are the key positions of the
first query of each sequence, where a cache holds more of one sequence than of another.

Legend: B batch (or 1 for all), n_query, n_key numbers of queries and keys.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .._tensor import Tensor
from ..errors import ShapeError

Bound = np.ndarray | None
_FAR = np.int64(1) << 62


def _integers(name: str, values: Any) -> np.ndarray:
    array = values.array if isinstance(values, Tensor) else np.asarray(values)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} must be integers, got {array.dtype}")
    return array.astype(np.int64)


class Mask:
    """Base: sees everything. Subclasses define `intervals`; `&` intersects. A mask does not change once it is made."""

    dense: Tensor | None = None
    last: tuple[tuple[int, int, int], tuple[Bound, Bound]] | None = None
    """The sizes that `bounds` was asked for, and its answer: each layer of a model asks the same."""

    def intervals(self, n_query: int, n_key: int) -> tuple[Bound, Bound]:
        """(lo, hi), int64 arrays of (B or 1, n_query), or None where there is no limit on that side."""
        return None, None

    def __and__(self, other: Mask) -> Mask:
        if not isinstance(other, Mask):
            return NotImplemented
        return Both(self, other)


class Both(Mask):
    """What both masks let through."""

    def __init__(self, a: Mask, b: Mask):
        if a.dense is not None and b.dense is not None:
            raise ValueError("at most one Dense mask can be part of a combination; combine the tensors first")
        self.a, self.b = a, b
        self.dense = a.dense if b.dense is None else b.dense

    def intervals(self, n_query: int, n_key: int) -> tuple[Bound, Bound]:
        """The larger of the lower bounds and the smaller of the upper ones."""
        (lo_a, hi_a), (lo_b, hi_b) = self.a.intervals(n_query, n_key), self.b.intervals(n_query, n_key)
        lo = lo_a if lo_b is None else lo_b if lo_a is None else np.maximum(lo_a, lo_b)
        hi = hi_a if hi_b is None else hi_b if hi_a is None else np.minimum(hi_a, hi_b)
        return lo, hi


class Window(Mask):
    """Keys from `left` before the query to `right` after it, both included; None means no limit on that side."""

    def __init__(self, left: int | None, right: int | None = 0, alignment: Any = "bottom-right"):
        if any(w is not None and w < 0 for w in (left, right)):
            raise ValueError(
                f"a window counts keys to the left and right of the query, got {(left, right)}; None is no limit"
            )
        if not isinstance(alignment, str):
            alignment = _integers("an alignment's positions", alignment).reshape(-1, 1)
        elif alignment not in ("bottom-right", "top-left"):
            raise ValueError(f"alignment must be 'bottom-right', 'top-left' or integers (B,), got {alignment!r}")
        self.left, self.right, self.alignment = left, right, alignment

    def positions(self, n_query: int, n_key: int) -> np.ndarray:
        """The key position at which each query stands, (B or 1, n_query)."""
        if not isinstance(self.alignment, str):
            return self.alignment + np.arange(n_query, dtype=np.int64)
        first = n_key - n_query if self.alignment == "bottom-right" else 0
        return np.arange(first, first + n_query, dtype=np.int64)[None]

    def intervals(self, n_query: int, n_key: int) -> tuple[Bound, Bound]:
        """[position - left, position + right + 1)."""
        at = self.positions(n_query, n_key)
        return None if self.left is None else at - self.left, None if self.right is None else at + (self.right + 1)


class Causal(Window):
    """Each query sees itself and the keys before it."""

    def __init__(self, alignment: Any = "bottom-right"):
        super().__init__(None, 0, alignment)


class PrefixLM(Window):
    """The first `length` keys (an int, or one for each sequence) are visible to all; after them, causal
    (Raffel et al. 2020).
    """

    def __init__(self, length: Any):
        super().__init__(None, 0)
        self.length = _integers("prefix lengths", length).reshape(-1, 1)

    def intervals(self, n_query: int, n_key: int) -> tuple[Bound, Bound]:
        """[0, max(position + 1, length))."""
        return None, np.maximum(self.positions(n_query, n_key) + 1, self.length)


class Padding(Mask):
    """Real tokens are keys start <= j < stop of each sequence; the rest is padding. Either side may be None.

    `start` and `stop` are integers of shape (B,). A row that is open to the right stays so as a cache grows.
    """

    def __init__(self, start: Any = None, stop: Any = None):
        self.start = None if start is None else _integers("padding starts", start).reshape(-1, 1)
        self.stop = None if stop is None else _integers("padding stops", stop).reshape(-1, 1)

    @classmethod
    def from_mask(cls, keep: Any) -> Padding:
        """From a bool array (B, T), True for real tokens, which must stand together in each row (padding
        left, right or both).
        """
        array = keep.array if isinstance(keep, Tensor) else np.asarray(keep)
        if array.dtype != bool or array.ndim != 2:
            raise ShapeError(
                f"a padding mask is bool of shape (B, T), True for real tokens; got {array.dtype} {array.shape}"
            )
        start, n = array.argmax(1) if array.shape[1] else np.zeros(len(array), int), array.sum(1)
        at = np.arange(array.shape[1])
        inside = (at >= start[:, None]) & (at < (start + n)[:, None])
        if (inside != array).any():
            raise ValueError("the real tokens of a row must stand together; pass a mask with holes as Dense")
        stop = start + n
        return cls(start, np.where((stop == array.shape[1]) & (n > 0), _FAR, stop))

    def intervals(self, n_query: int, n_key: int) -> tuple[Bound, Bound]:
        """[start, stop) for every query."""
        shape = (1, n_query)
        lo = None if self.start is None else np.broadcast_to(self.start, np.broadcast_shapes(self.start.shape, shape))
        hi = None if self.stop is None else np.broadcast_to(self.stop, np.broadcast_shapes(self.stop.shape, shape))
        return lo, hi


class Segments(Mask):
    """Packed documents: a token sees the tokens of its own document. `ids` is (B, T) integers, equal within
    a document.

    Documents must be contiguous. `offsets` gives each token's position within its document, for the
    position embedding.
    """

    def __init__(self, ids: Any):
        ids = np.atleast_2d(_integers("segment ids", ids))
        if ids.ndim != 2:
            raise ShapeError(f"segment ids have the shape (B, T), got {ids.shape}")
        n = ids.shape[1]
        at = np.broadcast_to(np.arange(n, dtype=np.int64), ids.shape)
        edge = np.ones(ids.shape, bool)
        edge[:, 1:] = ids[:, 1:] != ids[:, :-1]
        for row, first in zip(ids, edge, strict=True):
            if len(np.unique(row)) != first.sum():
                raise ValueError(
                    "the tokens of a document must stand together: a segment id comes back after another one"
                )
        self.start = np.maximum.accumulate(np.where(edge, at, 0), 1)
        last = np.ones(ids.shape, bool)
        last[:, :-1] = edge[:, 1:]
        self.stop = np.minimum.accumulate(np.where(last, at + 1, n)[:, ::-1], 1)[:, ::-1]

    @property
    def offsets(self) -> np.ndarray:
        """Position of each token within its document, (B, T)."""
        return np.arange(self.start.shape[1], dtype=np.int64) - self.start

    def intervals(self, n_query: int, n_key: int) -> tuple[Bound, Bound]:
        """The document of each of the last n_query tokens."""
        if n_key != self.start.shape[1] or n_query > n_key:
            raise ShapeError(
                f"segment ids describe {self.start.shape[1]} tokens; there are {n_key} keys and {n_query} queries"
            )
        return self.start[:, n_key - n_query :], self.stop[:, n_key - n_query :]


class Dense(Mask):
    """Any mask, as a tensor that broadcasts to (B, n_head, n_query, n_key): bool (True = visible), or
    floats that are added.
    """

    def __init__(self, mask: Tensor):
        if mask.dtype.kind not in "bf":
            raise RuntimeError(
                f"a dense mask is bool (True = visible) or floating point (added to the scores), got {mask.dtype}"
            )
        self.dense = mask


def bounds(mask: Mask | None, batch: int, n_query: int, n_key: int) -> tuple[Bound, Bound]:
    """The intervals of `mask`, cut to [0, n_key], as C-contiguous int64 arrays (B or 1, n_query); raises if
    B does not fit.
    """
    if mask is None:
        return None, None
    if mask.last is not None and mask.last[0] == (batch, n_query, n_key):
        return mask.last[1]
    out: list[Bound] = []
    for bound in mask.intervals(n_query, n_key):
        if bound is None:
            out.append(None)
            continue
        if bound.shape[0] not in (1, batch) or bound.shape[1] != n_query:
            raise ShapeError(
                f"a {type(mask).__name__} mask for {bound.shape[0]} sequences of {bound.shape[1]} queries "
                f"does not fit a batch of {batch} with {n_query} queries"
            )
        out.append(np.ascontiguousarray(np.clip(bound, 0, n_key)))
    mask.last = (batch, n_query, n_key), (out[0], out[1])
    return out[0], out[1]
