"""The GPT that tinyllm's is held against: nanoGPT's architecture and training step, written in PyTorch.

Nothing here computes with tinyllm. A `TorchTrainer` reads a tinyllm `Trainer`: its configuration, its batches, and
a copy of its weights. The two then make the same steps on the same numbers, each with its own arithmetic, schedule,
clipping and optimizer. `trainers` makes such a pair for a configuration, the way `tinyllm train` would.

Parameters have tinyllm's names, so that weights move without a table. With dropout the two draw different masks:
equal in distribution and in cost, not in numbers.

Shapes: B sequences, T tokens, C width, H heads, D = C / H, V vocabulary.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import recipe
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tinyllm.config import Config, OptimizerConfig
from tinyllm.data import windows
from tinyllm.models.gpt import GPTConfig
from tinyllm.training import Trainer


class Attention(nn.Module):
    def __init__(self, c: GPTConfig):
        super().__init__()
        self.n_head, self.dropout = c.n_head, c.attn_pdrop
        self.qkv = nn.Linear(c.n_embd, 3 * c.n_embd, c.bias)
        self.out = nn.Linear(c.n_embd, c.n_embd, c.bias)

    def forward(self, x: Tensor) -> Tensor:
        b, t, width = x.shape
        q, k, v = (part.view(b, t, self.n_head, -1).transpose(1, 2) for part in self.qkv(x).split(width, 2))  # B H T D
        dropout = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True)
        return self.out(y.transpose(1, 2).reshape(b, t, width))


class MLP(nn.Module):
    def __init__(self, c: GPTConfig):
        super().__init__()
        self.up = nn.Linear(c.n_embd, 4 * c.n_embd, c.bias)
        self.down = nn.Linear(4 * c.n_embd, c.n_embd, c.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.gelu(self.up(x)))


class Block(nn.Module):
    def __init__(self, c: GPTConfig):
        super().__init__()
        self.ln_1 = nn.LayerNorm(c.n_embd, c.layer_norm_epsilon, bias=c.bias)
        self.attn = Attention(c)
        self.ln_2 = nn.LayerNorm(c.n_embd, c.layer_norm_epsilon, bias=c.bias)
        self.mlp = MLP(c)
        self.drop = nn.Dropout(c.resid_pdrop)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop(self.attn(self.ln_1(x)))
        return x + self.drop(self.mlp(self.ln_2(x)))


class TorchGPT(nn.Module):
    """Ids (B, T) and targets (B, T) -> the mean loss, or the sum of losses."""

    def __init__(self, c: GPTConfig):
        super().__init__()
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(c.vocab_size, c.n_embd),
                "wpe": nn.Embedding(c.n_positions, c.n_embd),
                "drop": nn.Dropout(c.embd_pdrop),
                "h": nn.ModuleList(Block(c) for _ in range(c.n_layer)),
                "ln_f": nn.LayerNorm(c.n_embd, c.layer_norm_epsilon, bias=c.bias),
            }
        )
        self.lm_head = nn.Linear(c.n_embd, c.vocab_size, bias=False)
        self.lm_head.weight = self.transformer["wte"].weight

    def forward(self, ids: Tensor, targets: Tensor, reduction: str = "mean") -> Tensor:
        parts: Any = self.transformer
        x = parts["drop"](parts["wte"](ids) + parts["wpe"](torch.arange(ids.shape[1])))
        for block in parts["h"]:
            x = block(x)
        logits = self.lm_head(parts["ln_f"](x))
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.reshape(-1), reduction=reduction)


class TorchTrainer:
    """nanoGPT's training step on the batches and from the weights of `trainer`, which it only reads.

    `compiled`: forward, loss and backward by torch.compile, as nanoGPT has it; compiled at the first step.
    """

    def __init__(self, trainer: Trainer, compiled: bool = False):
        self.step = 0
        self.sampler, self.validation = trainer.sampler, trainer.validation
        self.schedule, self.training = trainer.schedule, trainer.training
        self.batch = self.training.batch_size * self.training.accumulation  # micro-batches are one batch here
        state = {name: torch.from_numpy(np.array(p.detach())) for name, p in trainer.model.state_dict().items()}
        self.model = TorchGPT(trainer.model.config).to(next(iter(state.values())).dtype)
        self.model.load_state_dict(state)
        self.forward = torch.compile(self.model) if compiled else self.model
        parameters = list(self.model.parameters())
        groups = [
            {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": self.schedule.weight_decay},
            {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
        ]
        betas = (self.schedule.beta1, self.schedule.beta2)
        # fused: PyTorch's quickest on a CPU as well
        self.optimizer = torch.optim.AdamW(groups, lr=0.0, betas=betas, eps=self.schedule.eps, fused=True)

    def train_step(self) -> float:
        """One step; its loss in nats per token."""
        ids, targets = self.sampler.batch(self.step, 0, self.batch)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.step, self.training.steps, self.schedule)
        loss = self.forward(torch.from_numpy(ids), torch.from_numpy(targets))
        loss.backward()
        if self.schedule.grad_clip:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.schedule.grad_clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return loss.item()

    @torch.no_grad()
    def evaluate(self) -> float:
        """Mean loss over the whole validation split, in the windows that tinyllm takes."""
        self.model.eval()
        total = 0.0
        for ids, targets in windows(self.validation, self.sampler.length, self.training.batch_size):
            total += self.model(torch.from_numpy(ids), torch.from_numpy(targets), reduction="sum").item()
        self.model.train()
        return total / (len(self.validation) - 1)


def learning_rate(step: int, steps: int, c: OptimizerConfig) -> float:
    """nanoGPT's get_lr: up linearly, then half a cosine down to min_lr at `steps`."""
    if step < c.warmup_steps:
        return c.learning_rate * (step + 1) / (c.warmup_steps + 1)
    phase = math.pi * (step - c.warmup_steps) / (steps - c.warmup_steps)
    return c.min_lr + (c.learning_rate - c.min_lr) * (1 + math.cos(phase)) / 2


def trainers(config: Config, directory: str, *, double: bool = False) -> tuple[Trainer, TorchTrainer]:
    """Both trainers of a configuration, before their first step; token files go to `directory`.

    `double`: weights and arithmetic in float64.
    """
    ours = recipe.trainer(config, directory, double=double)
    return ours, TorchTrainer(ours)
