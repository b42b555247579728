"""A preallocated key/value cache for generation.

One `KVCache` holds a `LayerCache` for each layer; attention appends to its own and reads back everything so
far, as views. Storage is (B, Hk, max_len, D), so the keys of one head lie together. It is for inference:
appending what requires grad raises.

Each row has a length of its own, and its token t lies at place t whatever the other rows hold: a batch of
prompts of different lengths is computed padded on the right, and `truncate` takes the padding off. So a row
adds the same numbers in the same order as it would alone. Places that a row has not reached are zeros or what
was forgotten there; a mask must hide them (`nn.Causal(cache.lengths)` does).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import backend
from .._tensor import Tensor
from ..errors import DtypeError, ShapeError


class LayerCache:
    """Keys and values of one layer: two arrays (B, Hk, max_len, D) of which row b has filled the first
    `lengths[b]` places.
    """

    def __init__(self, batch: int, n_kv_head: int, max_len: int, head_dim: int, dtype: Any = np.float32):
        shape = (batch, n_kv_head, max_len, head_dim)
        # Zeros, not what the memory held: a hidden NaN, times the weight 0, would be one.
        self.k, self.v = (Tensor(backend.full(shape, 0, np.dtype(dtype))) for _ in range(2))
        self.max_len, self.lengths = max_len, [0] * batch

    @property
    def length(self) -> int:
        """How many tokens the longest row has."""
        return max(self.lengths, default=0)

    def update(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Append k, v (B, Hk, T, D) to each row; return all places up to the longest row's end,
        (B, Hk, length, D), as views.
        """
        if k.requires_grad or v.requires_grad:
            raise RuntimeError("a key/value cache is for inference; run the model under tinyllm.no_grad()")
        want = (*self.k.shape[:2], k.shape[2], self.k.shape[3])
        if tuple(k.shape) != want or tuple(v.shape) != want:
            raise ShapeError(
                f"the cache is for {self.k.shape[0]} sequences, {self.k.shape[1]} heads, width {self.k.shape[3]}; "
                f"got keys {tuple(k.shape)} and values {tuple(v.shape)} (batch, heads, tokens, width)"
            )
        if not k.dtype == v.dtype == self.k.dtype:
            raise DtypeError(f"the cache holds {self.k.dtype}, got keys of {k.dtype} and values of {v.dtype}")
        start, new = self.length, k.shape[2]
        end = start + new
        if end > self.max_len:
            raise ShapeError(
                f"the cache holds {self.max_len} tokens: {start} are filled and {new} more came; "
                "make it longer, or start again with reset()"
            )
        for kept, given in ((self.k.array, k.array), (self.v.array, v.array)):
            if min(self.lengths, default=0) == start:
                backend.assign(kept[:, :, start:end], given)
            else:
                rows = np.arange(len(self.lengths))[:, None]
                places = np.array(self.lengths)[:, None] + np.arange(new)
                kept[rows, :, places] = given.swapaxes(1, 2)
        self.lengths = [length + new for length in self.lengths]
        return Tensor(self.k.array[:, :, :end]), Tensor(self.v.array[:, :, :end])

    def select(self, rows: Sequence[int]) -> None:
        """Row i becomes what rows[i] was; the batch may shrink or grow."""
        index, end = np.asarray(rows, np.int64), self.length
        for name in ("k", "v"):
            old = getattr(self, name).array
            new = backend.full((len(index), *old.shape[1:]), 0, old.dtype)
            new[:, :, :end] = old[index, :, :end]
            setattr(self, name, Tensor(new))
        self.lengths = [self.lengths[row] for row in index]


class KVCache:
    """The caches of all layers, for sequences of up to `max_len` tokens. Index it by layer."""

    def __init__(self, n_layer: int, batch: int, n_kv_head: int, max_len: int, head_dim: int, dtype: Any = np.float32):
        self.layers = [LayerCache(batch, n_kv_head, max_len, head_dim, dtype) for _ in range(n_layer)]
        self.max_len = max_len

    def __getitem__(self, layer: int) -> LayerCache:
        return self.layers[layer]

    def __len__(self) -> int:
        return len(self.layers)

    @property
    def lengths(self) -> np.ndarray:
        """How many tokens of each row are cached, int64 (B,)."""
        return np.array(self.layers[0].lengths if self.layers else [], np.int64)

    @property
    def length(self) -> int:
        """How many tokens of the longest row are cached."""
        return self.layers[0].length if self.layers else 0

    @property
    def nbytes(self) -> int:
        """Bytes of all keys and values, filled or not."""
        return sum(layer.k.array.nbytes + layer.v.array.nbytes for layer in self.layers)

    def truncate(self, length: int | Sequence[int]) -> None:
        """Forget all tokens from `length` on; one number for all rows, or one for each."""
        held = self.lengths.tolist()
        lengths = [int(n) for n in np.broadcast_to(np.asarray(length), len(held))]
        if not all(0 <= n <= have for n, have in zip(lengths, held, strict=True)):
            raise ValueError(f"the cache has {held} tokens a row and cannot be cut to {lengths}")
        for layer in self.layers:
            layer.lengths = list(lengths)

    def select(self, rows: Sequence[int]) -> None:
        """Row i becomes what row rows[i] was, in every layer: rows can be dropped, reordered (beam search)
        and repeated (several samples of one prompt).
        """
        batch = len(self.lengths)
        if not all(0 <= row < batch for row in rows):
            raise ValueError(f"the cache has the rows 0 to {batch - 1}, got {list(rows)}")
        for layer in self.layers:
            layer.select(rows)

    def reset(self) -> None:
        """Forget all tokens; the memory stays."""
        self.truncate(0)
