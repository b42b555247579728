"""Fifty steps of nanoGPT's CPU recipe against PyTorch: same initial weights, same batches, same losses.

The PyTorch side is written here from nanoGPT's description (pre-norm blocks, exact GELU, tied embedding, no
biases), in PyTorch's own functions, AdamW and clipping, and shares nothing with tinyllm but the numbers it
starts from.
"""

from __future__ import annotations

import argparse
import inspect

import numpy as np
import pytest

from tinyllm import config
from tinyllm.data import ArrayTokens, WindowSampler
from tinyllm.tokenizers import CharTokenizer
from tinyllm.training.loop import Trainer, learning_rate
from tinyllm.training.run import build_model

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.oracle
STEPS = 50


def torch_loss(w: dict, ids, targets, n_layer: int, n_head: int):
    F = torch.nn.functional
    x = w["transformer.wte.weight"][ids] + w["transformer.wpe.weight"][: ids.shape[1]]
    for i in range(n_layer):
        h = f"transformer.h.{i}."
        y = F.layer_norm(x, x.shape[-1:], w[h + "ln_1.weight"])
        q, k, v = (y @ w[h + "attn.qkv.weight"].T).unflatten(-1, (3, n_head, -1)).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
        x = x + y @ w[h + "attn.out.weight"].T
        y = F.layer_norm(x, x.shape[-1:], w[h + "ln_2.weight"])
        x = x + F.gelu(y @ w[h + "mlp.up.weight"].T) @ w[h + "mlp.down.weight"].T
    x = F.layer_norm(x, x.shape[-1:], w["transformer.ln_f.weight"])
    logits = x @ w["transformer.wte.weight"].T
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def test_fifty_steps_of_the_cpu_recipe_equal_pytorchs():
    settings = config.preset("cpu")
    text = inspect.getsource(argparse)  # a text that every Python has
    tokenizer = CharTokenizer.train([text])
    tokens = ArrayTokens(tokenizer.encode(text))
    model = build_model(settings.model, tokenizer.vocab_size, seed=1)
    weights = {n: torch.tensor(p.array.copy(), requires_grad=True) for n, p in model.named_parameters()}
    sampler = WindowSampler(tokens, settings.model.n_positions, seed=1)
    trainer = Trainer(model, sampler, tokens, settings.optimizer, settings.training)

    o = settings.optimizer
    groups = [
        {"params": [p for p in weights.values() if p.ndim >= 2], "weight_decay": o.weight_decay},
        {"params": [p for p in weights.values() if p.ndim < 2], "weight_decay": 0.0},
    ]
    adam = torch.optim.AdamW(groups, lr=o.learning_rate, betas=(o.beta1, o.beta2), eps=o.eps)
    ours, theirs = [], []
    for step in range(STEPS):
        x, y = (torch.from_numpy(a) for a in sampler.next_batch(0, settings.training.batch_size))
        ours.append(trainer.train_step()["loss"])
        for group in adam.param_groups:
            group["lr"] = learning_rate(step, settings.training.steps, o)
        adam.zero_grad()
        loss = torch_loss(weights, x, y, settings.model.n_layer, settings.model.n_head)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights.values(), o.grad_clip)
        adam.step()
        theirs.append(loss.item())
    assert theirs[0] - theirs[-1] > 0.5  # it does train
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)
