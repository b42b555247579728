"""Multi-head attention, one class for all of it: self or cross, any number of key/value heads, any mask,
with or without a cache.

MHA, grouped-query and multi-query attention differ in `n_kv_head` alone (Vaswani 2017, Shazeer 2019,
Ainslie 2023). Masks are objects (nn/masks.py), positions are objects (nn/positions.py), and the arithmetic
is the tiled kernel of F.scaled_dot_product_attention.

Legend: B batch, T tokens, S memory tokens, d d_model, H query heads, Hk key/value heads, D width of a head.
`qkv.weight` is ((H + 2 Hk) D, d): first the H query heads, then the Hk key heads, then the Hk value heads,
D rows each. (That is GPT-2's c_attn, transposed. Megatron interleaves per group instead.) Queries, keys and
values are views of the projection's output, not copies.
"""

from __future__ import annotations

from .. import ops
from .._tensor import Tensor
from ..autograd import apply
from ..errors import ShapeError
from .cache import LayerCache
from .functional.attention import attend
from .functional.layers import linear
from .layers import Linear, is_linear
from .masks import Mask
from .module import Module
from .positions import Where


class Attention(Module):
    """softmax(q k^T / sqrt(D)) v over H heads, then an output projection: (B, T, d) -> (B, T, d).

    With `d_memory` it is cross-attention: queries from x, keys and values from a memory (B, S, d_memory),
    by `q` and `kv` instead of `qkv`.
    """

    def __init__(
        self,
        d_model: int,
        n_head: int,
        n_kv_head: int | None = None,
        head_dim: int | None = None,
        d_memory: int | None = None,
        bias: bool = True,
        dropout: float = 0.0,
    ):
        super().__init__()
        n_kv_head = n_head if n_kv_head is None else n_kv_head
        if n_head < 1 or n_kv_head < 1 or n_head % n_kv_head:
            raise ValueError(f"n_head must be a multiple of n_kv_head, got {n_head} and {n_kv_head}")
        if head_dim is None:
            if d_model % n_head:
                raise ValueError(f"d_model must be divisible by n_head, got {d_model} and {n_head}; or give head_dim")
            head_dim = d_model // n_head
        self.n_head, self.n_kv_head, self.head_dim, self.dropout = n_head, n_kv_head, head_dim, dropout
        if d_memory is None:
            self.qkv = Linear(d_model, (n_head + 2 * n_kv_head) * head_dim, bias)
        else:
            self.q = Linear(d_model, n_head * head_dim, bias)
            self.kv = Linear(d_memory, 2 * n_kv_head * head_dim, bias)
        self.out = Linear(n_head * head_dim, d_model, bias)
        self.is_cross = d_memory is not None

    def forward(
        self,
        x: Tensor,
        memory: Tensor | None = None,
        mask: Mask | None = None,
        where: Where | None = None,
        cache: LayerCache | None = None,
        residual: Tensor | None = None,
    ) -> Tensor:
        """x (B, T, d), memory (B, S, d_memory) for cross-attention only -> (B, T, d), to which `residual` of the same
        shape is added.

        `mask` says which keys each query sees; `where` is a position scheme at the tokens' positions;
        `cache` keeps the keys and values, so that a later call needs the new tokens alone (self-attention
        under no_grad).
        """
        if x.ndim != 3:
            raise ShapeError(f"attention takes x of shape (B, T, d), got {tuple(x.shape)}")
        q, k, v = self._project(x, memory)
        if where is not None:
            q, k = where.rotate(q, k)
        if cache is not None:
            k, v = cache.update(k, v)
        extra = {} if where is None else where.scores(q.shape[2], k.shape[2], self.n_head)
        o = attend(
            q,
            k,
            v,
            mask,
            None if mask is None else mask.dense,
            dropout_p=self.dropout if self.training else 0.0,
            stream=self.path or "attention",
            **extra,
        )
        if residual is None:
            return self.out(o)
        if not is_linear(self.out):
            return residual + self.out(o)
        return linear(o, self.out.weight, self.out.bias, residual=residual)

    def _project(self, x: Tensor, memory: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """q (B, H, T, D), k and v (B, Hk, T or S, D)."""
        h, hk = self.n_head, self.n_kv_head
        if self.is_cross != (memory is not None):
            raise ValueError(
                "cross-attention (d_memory given) needs a memory"
                if self.is_cross
                else "self-attention takes no memory; give d_memory to the constructor for cross-attention"
            )
        if memory is None:
            return apply(ops.SplitHeads, self.qkv(x), heads=(h, hk, hk))
        (q,) = apply(ops.SplitHeads, self.q(x), heads=(h,))
        return (q, *apply(ops.SplitHeads, self.kv(memory), heads=(hk, hk)))

    def extra_repr(self) -> str:
        """Heads."""
        return f"n_head={self.n_head}, n_kv_head={self.n_kv_head}, head_dim={self.head_dim}, dropout={self.dropout}"
