"""The one small run that these scripts train, kill and damage, and its checkpoints in a still smaller form."""

from __future__ import annotations

import os
import random
import tempfile
from typing import Any

import numpy as np

from tinyllm import backend, config
from tinyllm.models.gpt import GPT
from tinyllm.optim.optimizer import Optimizer
from tinyllm.tokenizers import CharTokenizer
from tinyllm.training import Store, loop, plot
from tinyllm.training.run import build_model

WORDS = "the cat and dog sat ran on over mat log naïve 猫".split()


def fast_folder() -> tempfile.TemporaryDirectory:
    """A folder in memory where the system has one: these scripts sync thousands of times, and test no disk."""
    return tempfile.TemporaryDirectory(prefix="tinyllm-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)


def prepare() -> None:
    """One thread, so that no pool is there when children are forked; and no PNG, which takes longer than the run."""
    backend.set_num_threads(1)
    plot.write_png = lambda *args, **labels: False  # type: ignore[assignment]


def run_config(directory: str, **changes: Any) -> config.Config:
    """Sixty steps of a GPT of two layers on bytes, with everything in use that a resume must bring back."""
    path = os.path.join(directory, "text")
    if not os.path.exists(path):
        draw = random.Random(0)
        with open(path, "w", encoding="utf-8") as file:
            file.write(" ".join(draw.choices(WORDS, k=4000)))
    base = {
        "data__text": path, "data__tokenizer": "bpe", "data__vocab_size": 257, "model__n_layer": 2, "model__n_head": 4,
        "model__n_embd": 32, "model__n_positions": 32, "model__dropout": 0.1, "optimizer__warmup_steps": 5,
        "training__steps": 60, "training__batch_size": 4, "training__accumulation": 2, "training__save_every": 5,
        "training__eval_every": 20, "training__eval_batches": 2, "training__log_every": 1,
        "training__out": os.path.join(directory, "run"),
    }  # fmt: skip
    return config.replace(config.Config(), **base | changes)


class Small:
    """A model with a stepped optimizer, and checkpoints of them of about 64 kB that differ in every tensor."""

    def __init__(self) -> None:
        self.config = config.replace(
            config.Config(), model__n_layer=1, model__n_head=2, model__n_embd=16, model__n_positions=8,
            data__tokenizer="char",
        )  # fmt: skip
        self.tokenizer = CharTokenizer.train(["the cat sat on the mat"])
        self.model: GPT = build_model(self.config.model, self.tokenizer.vocab_size, seed=1)
        self.optimizer: Optimizer = loop.make_optimizer(self.model, self.config.optimizer)
        ids = np.array([self.tokenizer.encode("the cat s")])
        self.model.loss(ids[:, :-1], ids[:, 1:]).backward()
        self.optimizer.step()

    def save(self, store: Store, step: int, state: dict[str, Any] | None = None) -> str:
        """Put the checkpoint of `step` into a store; its weights follow from the step."""
        for number, p in enumerate(self.model.parameters()):
            p.array[...] = np.random.default_rng((step, number)).standard_normal(p.shape)
        return store.save(
            step, model=self.model, tokenizer=self.tokenizer, config=self.config, optimizer=self.optimizer,
            state=state or {"step": step}, metrics={"val_loss": 1.0 / step},
        )  # fmt: skip
