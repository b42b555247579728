"""Transformer blocks composed of an attention, an MLP and two norms, whichever they are.

Legend: B batch, T tokens, d d_model.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import ops
from .._tensor import Tensor
from ..autograd import apply
from . import functional as F
from .activations import gelu_tanh
from .attention import Attention
from .cache import LayerCache
from .layers import Dropout, Linear, is_linear
from .masks import Mask
from .module import Module
from .positions import Where

_FUSED: dict[Callable[[Tensor], Tensor], str] = {
    F.gelu: "gelu",
    gelu_tanh: "gelu_tanh",
    F.relu: "relu",
    F.sigmoid: "sigmoid",
    F.silu: "silu",
}


class MLP(Module):
    """down(activation(up(x))): (..., d) -> (..., d_hidden) -> (..., d). `d_hidden` is 4 d unless given.

    One fused op where it can be: for the activations above, as long as `up` and `down` are what was made here. Another
    module put in their place, or a hook on one of them, is called as ever.
    """

    def __init__(
        self,
        d_model: int,
        d_hidden: int | None = None,
        activation: Callable[[Tensor], Tensor] = F.gelu,
        bias: bool = True,
    ):
        super().__init__()
        d_hidden = 4 * d_model if d_hidden is None else d_hidden
        self.up = Linear(d_model, d_hidden, bias)
        self.down = Linear(d_hidden, d_model, bias)
        self.activation = activation

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """(..., d) -> (..., d). `residual`, of the result's shape, is added to it."""
        act = _FUSED.get(self.activation)
        if act is None or not (is_linear(self.up) and is_linear(self.down)):
            y = self.down(self.activation(self.up(x)))
            return y if residual is None else residual + y
        up, down = self.up, self.down
        return F.feed_forward(x, up.weight, up.bias, down.weight, down.bias, act, residual=residual)


class GatedMLP(Module):
    """down(act(gate(x)) * up(x)), SwiGLU and its kin (Shazeer 2020).

    `gate_up.weight` is (2 d_hidden, d): the gate's rows, then the up-projection's. act: sigmoid, relu,
    gelu, gelu_tanh or silu.
    """

    def __init__(self, d_model: int, d_hidden: int, act: str = "silu", bias: bool = False):
        super().__init__()
        self.gate_up = Linear(d_model, 2 * d_hidden, bias)
        self.down = Linear(d_hidden, d_model, bias)
        self.d_hidden, self.act = d_hidden, act

    def forward(self, x: Tensor) -> Tensor:
        """(..., d) -> (..., d)."""
        gate, up = self.gate_up(x).split(self.d_hidden, -1)
        return self.down(apply(ops.Gated, gate, up, act=self.act))

    def extra_repr(self) -> str:
        """The gate's activation."""
        return f"act={self.act!r}"


class Block(Module):
    """Pre-norm: x + attn(ln_1(x)), then x + mlp(ln_2(x)), with dropout on each branch (GPT-2, LLaMA; Xiong
    et al. 2020).

    Our own attention and MLP add x themselves, in their last product, where nothing stands between: no dropout to
    apply, and no hook that would see another output.
    """

    def __init__(self, ln_1: Module, attn: Attention, ln_2: Module, mlp: Module, dropout: float = 0.0):
        super().__init__()
        self.ln_1, self.attn, self.ln_2, self.mlp = ln_1, attn, ln_2, mlp
        self.drop_1, self.drop_2 = Dropout(dropout), Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        mask: Mask | None = None,
        where: Where | None = None,
        cache: LayerCache | None = None,
    ) -> Tensor:
        """(B, T, d) -> (B, T, d)."""
        x = _add(x, self.drop_1, self.attn, self.ln_1(x), mask=mask, where=where, cache=cache)
        return _add(x, self.drop_2, self.mlp, self.ln_2(x))


def _add(x: Tensor, drop: Dropout, branch: Module, *args: Any, **kwargs: Any) -> Tensor:
    """x + drop(branch(...))."""
    idle = type(drop) is Dropout and not drop.has_hooks and not (drop.training and drop.p)
    if idle and type(branch) in (Attention, MLP) and not branch.has_hooks:
        return branch(*args, residual=x, **kwargs)
    return x + drop(branch(*args, **kwargs))
