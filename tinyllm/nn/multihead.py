"""nn.MultiheadAttention with PyTorch's signature, parameter names and mask convention (True = drop).

Our own `nn.Attention` is the simpler class; this one lets PyTorch code and checkpoints run as they are.
Legend: N batch, L queries, S keys, E embed_dim, H num_heads, D = E / H.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import backend
from .._tensor import Tensor
from ..errors import ShapeError
from ..functions import cat, where
from . import functional as F
from . import init
from .functional.attention import attend
from .layers import Linear
from .masks import Causal
from .module import Module
from .parameter import Parameter


class MultiheadAttention(Module):
    """Attention with input projections for query, key and value and an output projection
    (torch.nn.MultiheadAttention).

    in_proj_weight is (3 E, E): rows for q, k, v. With kdim or vdim it is three weights instead
    (q_proj_weight, ...).
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        *,
        dtype: Any = np.float32,
    ):
        super().__init__()
        if embed_dim <= 0 or num_heads <= 0:
            raise ValueError(f"embed_dim and num_heads must be greater than 0, got {embed_dim} and {num_heads}")
        if embed_dim % num_heads:
            raise ValueError(f"embed_dim must be divisible by num_heads, got {embed_dim} and {num_heads}")
        self.embed_dim, self.num_heads, self.head_dim = embed_dim, num_heads, embed_dim // num_heads
        self.dropout, self.batch_first, self.add_zero_attn = dropout, batch_first, add_zero_attn
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        packed = self.kdim == embed_dim == self.vdim
        sizes = {
            "in_proj_weight": (3 * embed_dim, embed_dim) if packed else None,
            "q_proj_weight": None if packed else (embed_dim, embed_dim),
            "k_proj_weight": None if packed else (embed_dim, self.kdim),
            "v_proj_weight": None if packed else (embed_dim, self.vdim),
            "in_proj_bias": (3 * embed_dim,) if bias else None,
            "bias_k": (1, 1, embed_dim) if add_bias_kv else None,
            "bias_v": (1, 1, embed_dim) if add_bias_kv else None,
        }
        for name, shape in sizes.items():
            self.register_parameter(name, None if shape is None else Parameter.empty(*shape, dtype=dtype))
        self.out_proj = Linear(embed_dim, embed_dim, bias, dtype=dtype)
        for name, p in self._parameters.items():
            if p is not None and name.endswith("weight"):
                init.xavier_uniform_(p)
            elif p is not None and name.startswith("bias_"):
                init.xavier_normal_(p)
        if bias:
            init.zeros_(self.in_proj_bias)
            init.zeros_(self.out_proj.bias)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """query (L, N, E), key (S, N, kdim), value (S, N, vdim); (N, L, E) ... if batch_first; without N if
        unbatched.

        key_padding_mask (N, S) and attn_mask (L, S) or (N H, L, S): bool, True = may not attend, or floats
        that are added to the scores. is_causal promises that attn_mask is the causal one, which lets the
        kernel skip half of the work. Returns the output, shaped as the query, and the weights (N, L, S),
        averaged over heads or (N, H, L, S), or None if not needed: without them nothing L x S is stored. A
        query that may attend to nothing gives weights and values of 0 (PyTorch gives NaN when weights are
        needed).
        """
        batched = query.ndim == 3
        if query.ndim not in (2, 3) or key.ndim != query.ndim or value.ndim != query.ndim:
            raise ShapeError(
                "MultiheadAttention: query, key and value must all be 3-dimensional (batched) or 2-dimensional, got "
                f"{tuple(query.shape)}, {tuple(key.shape)}, {tuple(value.shape)}"
            )
        if query.shape[-1] != self.embed_dim:
            raise ShapeError(f"was expecting embedding dimension of {self.embed_dim}, but got {query.shape[-1]}")
        if is_causal and attn_mask is None:
            raise RuntimeError("Need attn_mask if specifying the is_causal hint.")
        q, k, v = self._project(query, key, value)  # (L, N, E), (S, N, E), (S, N, E), or batch first
        if not batched:
            q, k, v = q.unsqueeze(0), k.unsqueeze(0), v.unsqueeze(0)
            key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
        elif not self.batch_first:
            q, k, v = q.transpose(0, 1), k.transpose(0, 1), v.transpose(0, 1)
        k, v, extra = self._append(k, v)
        n, length, source = q.shape[0], q.shape[1], k.shape[1]
        if k.shape[0] != n or v.shape[:2] != k.shape[:2]:
            raise ShapeError(
                f"key's sequence and batch dims {tuple(key.shape)} do not match value's {tuple(value.shape)}"
            )
        q, k, v = (
            t.reshape(n, t.shape[1], self.num_heads, self.head_dim).transpose(1, 2) for t in (q, k, v)
        )  # (N, H, L or S, D)
        p = self.dropout if self.training else 0.0
        weights = None
        if need_weights:
            mask = self._mask(attn_mask, key_padding_mask, n, length, source, extra)
            o, weights = self._with_weights(q, k, v, mask, p)
            weights = weights.mean(1) if average_attn_weights else weights
        elif is_causal and key_padding_mask is None and not extra:
            o = attend(q, k, v, Causal("top-left"), dropout_p=p, stream=self.path or "attention")
        else:
            mask = self._mask(attn_mask, key_padding_mask, n, length, source, extra)
            o = attend(q, k, v, None, mask, dropout_p=p, stream=self.path or "attention")
        out = self.out_proj(o)
        if not batched:
            return out.squeeze(0), None if weights is None else weights.squeeze(0)
        return out if self.batch_first else out.transpose(0, 1), weights

    def _project(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        e = self.embed_dim
        if self.in_proj_weight is not None and query is key and key is value:
            q, k, v = F.linear(query, self.in_proj_weight, self.in_proj_bias).split(e, -1)
            return q, k, v
        if self.in_proj_weight is not None:
            weights = self.in_proj_weight.split(e, 0)
        else:
            weights = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
        biases = (None, None, None) if self.in_proj_bias is None else self.in_proj_bias.split(e, 0)
        q, k, v = (F.linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases, strict=True))
        return q, k, v

    def _append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, int]:
        """Keys and values (N, S, E) with the learned and the zero ones at the end, and how many there are
        of those.
        """
        extra = 0
        if self.bias_k is not None:
            k = cat([k, self.bias_k.expand(k.shape[0], 1, self.embed_dim)], 1)
            v = cat([v, self.bias_v.expand(v.shape[0], 1, self.embed_dim)], 1)
            extra += 1
        if self.add_zero_attn:
            zeros = Tensor(backend.full((k.shape[0], 1, self.embed_dim), 0, k.dtype))
            k, v = cat([k, zeros], 1), cat([v, zeros], 1)
            extra += 1
        return k, v, extra

    def _mask(
        self, attn: Tensor | None, padding: Tensor | None, n: int, length: int, source: int, extra: int
    ) -> Tensor | None:
        """Both masks as one for attention: bool, True = keep, or floats to add; broadcasts to (N, H, L, S)."""
        given = source - extra
        parts = []
        if attn is not None:
            if tuple(attn.shape) == (n * self.num_heads, length, given) and attn.ndim == 3:
                attn = attn.reshape(n, self.num_heads, length, given)
            elif tuple(attn.shape) != (length, given):
                raise RuntimeError(
                    f"The shape of attn_mask is {tuple(attn.shape)}, but should be {(length, given)} "
                    f"or {(n * self.num_heads, length, given)}."
                )
            parts.append(attn)
        if padding is not None:
            if tuple(padding.shape) != (n, given):
                raise RuntimeError(f"key_padding_mask must have the shape {(n, given)}, got {tuple(padding.shape)}")
            parts.append(padding.reshape(n, 1, 1, given))
        if not parts:
            return None
        if extra:  # the appended keys are visible to all
            parts = [F.pad(m, (0, extra)) for m in parts]
        if all(m.dtype == bool for m in parts):
            keep = parts[0].logical_not()
            return keep if len(parts) == 1 else keep.logical_and(parts[1].logical_not())
        dtype = self.out_proj.weight.dtype
        added = [_additive(m, dtype) for m in parts]
        return added[0] if len(added) == 1 else added[0] + added[1]

    def _with_weights(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout_p: float
    ) -> tuple[Tensor, Tensor]:
        scores = (q * (1.0 / math.sqrt(self.head_dim))) @ k.transpose(-2, -1)  # (N, H, L, S)
        if mask is None:
            weights = F.softmax(scores, -1)
        else:
            scores = scores + (_additive(mask.logical_not(), q.dtype) if mask.dtype == bool else mask)
            alive = scores.detach().amax(-1, keepdim=True) != -math.inf
            weights = where(alive, F.softmax(where(alive, scores, 0), -1), 0)
        weights = F.dropout(weights, dropout_p, stream=self.path or "attention")
        return (weights @ v).transpose(1, 2).reshape(q.shape[0], q.shape[2], self.embed_dim), weights


def _additive(mask: Tensor, dtype: np.dtype) -> Tensor:
    """A float mask as it is; True of a bool one as -inf."""
    if mask.dtype != bool:
        return mask.to(dtype)
    return where(mask, Tensor(np.full((), -math.inf, dtype)), 0)
