"""A preallocated key/value cache for generation.

One `KVCache` holds a `LayerCache` for each layer; attention appends to its own and reads back everything so
far, as views. Storage is (B, Hk, max_len, D), so the keys of one head lie together. It is for inference:
appending what requires grad raises.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import backend
from .._tensor import Tensor
from ..autograd import no_grad
from ..errors import ShapeError


class LayerCache:
    """Keys and values of one layer: two arrays (B, Hk, max_len, D) of which the first `length` places are
    filled.
    """

    def __init__(self, batch: int, n_kv_head: int, max_len: int, head_dim: int, dtype: Any = np.float32):
        shape = (batch, n_kv_head, max_len, head_dim)
        self.k, self.v = (
            Tensor(backend.empty(shape, np.dtype(dtype))),
            Tensor(backend.empty(shape, np.dtype(dtype))),
        )
        self.max_len, self.length = max_len, 0

    def update(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Append k, v (B, Hk, T, D); return all keys and values so far, (B, Hk, length, D), as views."""
        if k.requires_grad or v.requires_grad:
            raise RuntimeError("a key/value cache is for inference; run the model under tinyllm.no_grad()")
        want = (*self.k.shape[:2], k.shape[2], self.k.shape[3])
        if tuple(k.shape) != want or tuple(v.shape) != want:
            raise ShapeError(
                f"the cache is for {self.k.shape[0]} sequences, {self.k.shape[1]} heads, width {self.k.shape[3]}; "
                f"got keys {tuple(k.shape)} and values {tuple(v.shape)} (batch, heads, tokens, width)"
            )
        end = self.length + k.shape[2]
        if end > self.max_len:
            raise ShapeError(
                f"the cache holds {self.max_len} tokens: {self.length} are filled and {k.shape[2]} more came; "
                "make it longer, or start again with reset()"
            )
        with no_grad():
            self.k[:, :, self.length : end] = k
            self.v[:, :, self.length : end] = v
        self.length = end
        return self.k[:, :, :end], self.v[:, :, :end]


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
    def length(self) -> int:
        """How many tokens are cached."""
        return self.layers[0].length if self.layers else 0

    @property
    def nbytes(self) -> int:
        """Bytes of all keys and values, filled or not."""
        return sum(layer.k.array.nbytes + layer.v.array.nbytes for layer in self.layers)

    def truncate(self, length: int) -> None:
        """Forget all tokens from `length` on."""
        if not 0 <= length <= self.length:
            raise ValueError(f"the cache has {self.length} tokens and cannot be cut to {length}")
        for layer in self.layers:
            layer.length = length

    def reset(self) -> None:
        """Forget all tokens; the memory stays."""
        self.truncate(0)
