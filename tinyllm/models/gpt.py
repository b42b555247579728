"""GPT: the decoder-only transformer of GPT-2 (Radford et al. 2019) and nanoGPT.

A token embedding plus positions, `n_layer` pre-norm blocks (causal attention, MLP), a final norm, and a
projection to the vocabulary that shares the embedding's weight. The model is written for one process in
full precision; parallelism, quantization and adapters are applied from outside.

Names: `transformer.wte`, `wpe`, `h.<i>.ln_1`, `h.<i>.attn`, `h.<i>.ln_2`, `h.<i>.mlp`, `ln_f`, `lm_head` as
in Hugging Face's GPT-2, and inside a block our `attn.qkv`, `attn.out`, `mlp.up`, `mlp.down` for its
`attn.c_attn`, `attn.c_proj`, `mlp.c_fc`, `mlp.c_proj` (`hf_name`). Those four are Conv1D there, whose
weight is (in, out): transpose it. nanoGPT's weights fit without.

Legend: B batch, T tokens, d n_embd, V vocab_size.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import nn
from .._tensor import Tensor
from ..errors import ConfigError, ShapeError
from ..nn import functional as F
from ..nn import init
from ..nn.layers import is_linear


@dataclass(frozen=True)
class GPTConfig:
    """A model's shape, in the keys of Hugging Face's GPT-2 config.json; `bias` and
    `position_embedding_type` are ours.
    """

    vocab_size: int = 50257
    n_positions: int = 1024
    n_embd: int = 768
    n_layer: int = 12
    n_head: int = 12
    n_inner: int | None = None
    """Width of the MLP's hidden layer; None is 4 n_embd."""
    activation_function: str = "gelu_new"
    resid_pdrop: float = 0.1
    embd_pdrop: float = 0.1
    attn_pdrop: float = 0.1
    layer_norm_epsilon: float = 1e-5
    initializer_range: float = 0.02
    tie_word_embeddings: bool = True
    bias: bool = True
    """Whether linear layers and norms have a bias. GPT-2 has; nanoGPT trains without."""
    position_embedding_type: str = "learned"
    """learned, sinusoidal or none."""

    def __post_init__(self) -> None:
        for key in ("vocab_size", "n_positions", "n_embd", "n_layer", "n_head"):
            if getattr(self, key) < 1:
                raise ConfigError(f"{key} must be at least 1, got {getattr(self, key)}")
        if self.n_embd % self.n_head:
            raise ConfigError(f"n_embd must be divisible by n_head, got {self.n_embd} and {self.n_head}")
        for key in ("resid_pdrop", "embd_pdrop", "attn_pdrop"):
            if not 0.0 <= getattr(self, key) < 1.0:
                raise ConfigError(f"{key} must be at least 0 and below 1, got {getattr(self, key)}")
        if self.activation_function not in nn.activations.ACTIVATIONS:
            known = ", ".join(nn.activations.ACTIVATIONS)
            raise ConfigError(f"activation_function must be one of {known}, got {self.activation_function!r}")
        if self.position_embedding_type not in _POSITIONS:
            raise ConfigError(
                f"position_embedding_type must be one of {', '.join(_POSITIONS)}, got {self.position_embedding_type!r}"
            )

    def to_dict(self) -> dict[str, Any]:
        """The settings by name, for config.json."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> GPTConfig:
        """From a dict such as `to_dict` gives; ConfigError for an unknown key, with the nearest name."""
        known = {f.name for f in dataclasses.fields(cls)}
        for key in settings:
            if key not in known:
                near = difflib.get_close_matches(key, known, 1)
                raise ConfigError(
                    f"GPTConfig has no setting {key!r}" + (f"; did you mean {near[0]!r}?" if near else "")
                )
        return cls(**settings)


_POSITIONS = {
    "learned": lambda c: nn.LearnedPositions(c.n_positions, c.n_embd),
    "sinusoidal": lambda c: nn.SinusoidalPositions(c.n_embd),
    "none": lambda c: nn.NoPositions(),
}

_NANO = {"activation_function": "gelu", "bias": False, "vocab_size": 65}
PRESETS: dict[str, dict[str, Any]] = {
    "gpt2": {},  # 124,439,808 parameters
    "gpt2-medium": {"n_embd": 1024, "n_layer": 24, "n_head": 16},  # 354,823,168
    "gpt2-large": {"n_embd": 1280, "n_layer": 36, "n_head": 20},  # 774,030,080
    "gpt2-xl": {"n_embd": 1600, "n_layer": 48, "n_head": 25},  # 1,557,611,200
    # nanoGPT's Shakespeare recipes: characters, on a CPU and on a GPU ("baby")
    "nanogpt-cpu": _NANO
    | {"n_embd": 128, "n_layer": 4, "n_head": 4, "n_positions": 64}
    | {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0},
    "nanogpt-baby": _NANO
    | {"n_embd": 384, "n_layer": 6, "n_head": 6, "n_positions": 256}
    | {"resid_pdrop": 0.2, "embd_pdrop": 0.2, "attn_pdrop": 0.2},
}


def preset(name: str, **changes: Any) -> GPTConfig:
    """A named configuration, with changes: ``preset("nanogpt-cpu", vocab_size=1024)``."""
    if name not in PRESETS:
        raise ConfigError(f"unknown preset {name!r}; known: {', '.join(PRESETS)}")
    return GPTConfig.from_dict(PRESETS[name] | changes)


class GPT(nn.Module):
    """Token ids (B, T) to logits (B, T, V). Starts from GPT-2's initialisation, drawn from the default
    generator.
    """

    def __init__(self, config: GPTConfig):
        super().__init__()
        self.config = c = config
        with init.deferred():
            self.transformer = nn.ModuleDict(
                {
                    "wte": nn.Embedding(c.vocab_size, c.n_embd),
                    "wpe": _POSITIONS[c.position_embedding_type](c),
                    "drop": nn.Dropout(c.embd_pdrop),
                    "h": nn.ModuleList(_block(c) for _ in range(c.n_layer)),
                    "ln_f": nn.LayerNorm(c.n_embd, c.layer_norm_epsilon, bias=c.bias),
                }
            )
            self.lm_head = nn.Linear(c.n_embd, c.vocab_size, bias=False)
            if c.tie_word_embeddings:
                self.lm_head.weight = self.transformer.wte.weight
            self._init_weights()
        if not init.is_deferred():
            init.materialize(self)

    def _init_weights(self) -> None:
        """N(0, 0.02^2); the projections into the residual stream 1/sqrt(2 n_layer) of that, as it sums 2
        n_layer of them; biases 0.
        """
        c = self.config
        for name, p in self.named_parameters():
            if p.ndim >= 2:
                residual = name.endswith((".attn.out.weight", ".mlp.down.weight"))
                init.normal_(p, 0.0, c.initializer_range / (math.sqrt(2 * c.n_layer) if residual else 1.0))
            elif name.endswith(".bias"):
                init.zeros_(p)

    def features(
        self,
        ids: Tensor | np.ndarray,
        *,
        mask: nn.Mask | None = None,
        positions: Any = None,
        cache: nn.KVCache | None = None,
    ) -> Tensor:
        """Token ids (B, T) -> the vectors (B, T, d) that `lm_head` turns into logits.

        Attention is causal; `mask` narrows it further (`nn.Padding`, `nn.Segments`). `positions` (T,) or
        (B, T) default to counting on from what `cache` holds of each row; give `segments.offsets` for packed
        documents. With a `cache` (under no_grad) ids are the new tokens alone; rows with fewer of them are
        padded on the right, and `cache.truncate` takes the padding off again.
        """
        ids = ids if isinstance(ids, Tensor) else Tensor(np.asarray(ids))
        if ids.ndim != 2:
            raise ShapeError(
                f"token ids have the shape (B, T), got {tuple(ids.shape)}; add a batch axis with ids[None]"
            )
        past = 0 if cache is None else cache.lengths[:, None]
        where = self.transformer.wpe.at(past + np.arange(ids.shape[1]) if positions is None else positions)
        causal = nn.Causal() if cache is None else nn.Causal(cache.lengths)
        seen = causal if mask is None else causal & mask
        x = self.transformer.drop(where.embed(self.transformer.wte(ids)))
        for i, block in enumerate(self.transformer.h):
            x = block(x, mask=seen, where=where, cache=None if cache is None else cache[i])
        return self.transformer.ln_f(x)

    def forward(
        self,
        ids: Tensor | np.ndarray,
        targets: Tensor | np.ndarray | None = None,
        *,
        reduction: str = "mean",
        mask: nn.Mask | None = None,
        positions: Any = None,
        cache: nn.KVCache | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """(logits (B, T, V), loss), the pair that nanoGPT returns; the loss is None without targets. Other
        arguments as in `features`.

        targets (B, T) are the ids that should follow (the ids shifted by one); those that are -100 count
        for nothing. The loss is the mean over the others. For accumulation over micro-batches or ranks take
        reduction="sum" and divide by the number of targets in the whole batch, which is not the mean of
        means. Logits are for all T positions; to generate, `lm_head(features(...)[:, -1:])` projects one.
        """
        logits = self.lm_head(self.features(ids, mask=mask, positions=positions, cache=cache))
        if targets is None:
            return logits, None
        loss = F.cross_entropy(
            logits.reshape(-1, logits.shape[-1]), self._targets(targets, logits), reduction=reduction
        )
        return logits, loss if reduction != "none" else loss.reshape(logits.shape[:2])

    def loss(
        self,
        ids: Tensor | np.ndarray,
        targets: Tensor | np.ndarray,
        *,
        reduction: str = "mean",
        mask: nn.Mask | None = None,
        positions: Any = None,
    ) -> Tensor:
        """The loss of `forward` alone. For reduction mean or sum logits are never held whole, which for a large
        vocabulary is most of the memory.
        """
        if reduction not in ("mean", "sum") or not is_linear(self.lm_head):
            loss = self(ids, targets, reduction=reduction, mask=mask, positions=positions)[1]
            assert loss is not None
            return loss
        x = self.features(ids, mask=mask, positions=positions)
        rows, head = x.reshape(-1, x.shape[-1]), self.lm_head
        return F.linear_cross_entropy(
            rows, head.weight, self._targets(targets, x), linear_bias=head.bias, reduction=reduction
        )

    @staticmethod
    def _targets(targets: Tensor | np.ndarray, x: Tensor) -> Tensor:
        """Targets (B, T) one after another."""
        ids = targets.array if isinstance(targets, Tensor) else np.asarray(targets)
        if ids.shape != x.shape[:2]:
            raise ShapeError(f"targets have the shape of the ids, {x.shape[:2]}, got {ids.shape}")
        return Tensor(ids.reshape(-1))

    def make_cache(self, batch: int, max_len: int | None = None) -> nn.KVCache:
        """An empty key/value cache for `batch` sequences of up to `max_len` (by default n_positions) tokens."""
        c = self.config
        dtype = self.transformer.wte.weight.dtype
        return nn.KVCache(c.n_layer, batch, c.n_head, max_len or c.n_positions, c.n_embd // c.n_head, dtype)


def _block(c: GPTConfig) -> nn.Block:
    def norm() -> nn.LayerNorm:
        return nn.LayerNorm(c.n_embd, c.layer_norm_epsilon, bias=c.bias)

    attn = nn.Attention(c.n_embd, c.n_head, bias=c.bias, dropout=c.attn_pdrop)
    mlp = nn.MLP(c.n_embd, c.n_inner, nn.activation(c.activation_function), c.bias)
    return nn.Block(norm(), attn, norm(), mlp, c.resid_pdrop)


_HF = {"attn.qkv": "attn.c_attn", "attn.out": "attn.c_proj", "mlp.up": "mlp.c_fc", "mlp.down": "mlp.c_proj"}


def hf_name(name: str) -> tuple[str, bool]:
    """Hugging Face's name for a parameter of GPT, and whether its matrix is stored transposed there (Conv1D)."""
    for ours, theirs in _HF.items():
        if f".{ours}." in name:
            return name.replace(ours, theirs), name.endswith(".weight")
    return name, False
