"""The run that tests of training make: small, and done in a blink."""

from __future__ import annotations

from tinyllm import config

T = 8
TEXT = "the cat sat on the mat and the dog sat on the log; " * 12


def micro(**changes) -> config.Config:
    """A GPT of one block, 40 steps; `changes` as in config.replace."""
    base = {
        "model__n_layer": 1, "model__n_head": 2, "model__n_embd": 16, "model__n_positions": T,
        "optimizer__learning_rate": 1e-2, "optimizer__warmup_steps": 5, "training__steps": 40,
        "training__batch_size": 4, "training__eval_every": 20,
    }  # fmt: skip
    return config.replace(config.Config(), **base | changes)
