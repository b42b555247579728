"""The trainer of a configuration before its first step, as `tinyllm train` makes it: for those who step by hand."""

from __future__ import annotations

import os

from tinyllm.config import Config
from tinyllm.data import WindowSampler, read_text, split
from tinyllm.training import Trainer
from tinyllm.training.run import build_model, make_tokenizer, write_split


def trainer(config: Config, directory: str, *, double: bool = False) -> Trainer:
    """The trainer, its model in training mode; token files go to `directory`. `double`: weights and arithmetic in
    float64.
    """
    train_text, val_text = split(read_text(config.data.text), config.data.val_fraction)
    tokenizer = make_tokenizer(config.data, train_text, val_text)
    train_tokens = write_split(os.path.join(directory, "train.tokens"), train_text, tokenizer)
    val_tokens = write_split(os.path.join(directory, "val.tokens"), val_text, tokenizer)
    model = build_model(config.model, tokenizer.vocab_size, config.training.seed)
    if double:
        model = model.double()
    sampler = WindowSampler(train_tokens, config.model.n_positions, config.training.seed)
    made = Trainer(model, sampler, val_tokens, config.optimizer, config.training)
    made.model.train()
    return made
