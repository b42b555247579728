"""One run from text to checkpoint: what `tinyllm train` and the example do, in the order it happens.

Text -> split -> tokenizer -> token files -> model -> Trainer -> checkpoint, logs, curves, all in
`config.training.out`. Each step is a function of its own, for those who want only some of them.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass

from .. import _io, backend, random
from ..config import Config, DataConfig, ModelConfig
from ..data import TokenFile, WindowSampler, read_text, split, write_tokens
from ..models.gpt import GPT, GPTConfig
from ..tokenizers import BPETokenizer, CharTokenizer
from ..tokenizers.base import Tokenizer
from . import checkpoint, plot
from .log import Progress, RunLog, read_log
from .loop import Trainer


@dataclass
class Result:
    """What a run ends with. val_loss: nats per token over the whole validation split; seconds: training and
    evaluation.
    """

    model: GPT
    tokenizer: Tokenizer
    val_loss: float
    bits_per_byte: float
    seconds: float
    directory: str


def make_tokenizer(config: DataConfig, train_text: str, val_text: str) -> Tokenizer:
    """BPE learns from the training split alone; a character tokenizer takes every character that occurs, or
    it could not encode the validation split (as nanoGPT does)."""
    if config.tokenizer == "char":
        return CharTokenizer.train([train_text, val_text])
    return BPETokenizer.train([train_text], config.vocab_size)


def write_split(path: str, text: str, tokenizer: Tokenizer) -> TokenFile:
    """Encode a text into a token file and open it."""
    write_tokens(
        path,
        [tokenizer.encode(text)],
        vocab_size=tokenizer.vocab_size,
        text_bytes=len(text.encode("utf-8")),
        tokenizer=tokenizer.fingerprint(),
    )
    return TokenFile(path)


def build_model(config: ModelConfig, vocab_size: int, seed: int) -> GPT:
    """A GPT with fresh weights that follow from `seed` alone."""
    random.manual_seed(seed)
    return GPT(
        GPTConfig(
            vocab_size=vocab_size,
            n_positions=config.n_positions,
            n_embd=config.n_embd,
            n_layer=config.n_layer,
            n_head=config.n_head,
            embd_pdrop=config.dropout,
            attn_pdrop=config.dropout,
            resid_pdrop=config.dropout,
            activation_function="gelu",  # the exact one, as nanoGPT
            bias=config.bias,
        )
    )


def train(config: Config, *, quiet: bool = False) -> Result:
    """Train by a configuration; what it leaves lies in `config.training.out`. `quiet` prints nothing."""
    began = time.perf_counter()
    out = config.training.out
    _io.make_directory(out)

    train_text, val_text = split(read_text(config.data.text), config.data.val_fraction)
    tokenizer = make_tokenizer(config.data, train_text, val_text)
    train_tokens = write_split(os.path.join(out, "train.tokens"), train_text, tokenizer)
    val_tokens = write_split(os.path.join(out, "val.tokens"), val_text, tokenizer)
    model = build_model(config.model, tokenizer.vocab_size, config.training.seed)
    sampler = WindowSampler(train_tokens, config.model.n_positions, config.training.seed)
    if not quiet:
        print(
            _summary(config, model, tokenizer, len(train_tokens), len(val_tokens)),
            file=sys.stderr,
            flush=True,
        )

    def keep(trainer: Trainer, val_loss: float) -> None:
        checkpoint.save(
            os.path.join(out, "checkpoint"),
            model=model,
            tokenizer=tokenizer,
            config=config,
            step=trainer.step,
            metrics={"val_loss": val_loss, "bits_per_byte": trainer.bits_per_byte(val_loss)},
        )

    log = RunLog(out)
    with Progress(config.training.steps, quiet) as progress:

        def record(values: dict) -> None:
            log.write(values)
            progress.update(values)

        trainer = Trainer(
            model, sampler, val_tokens, config.optimizer, config.training,
            bytes_per_token=val_tokens.text_bytes / len(val_tokens), on_record=record, on_evaluation=keep,
        )  # fmt: skip
        try:
            val_loss = trainer.run()
        finally:
            log.close()
    draw_curves(out)
    return Result(model, tokenizer, val_loss, trainer.bits_per_byte(val_loss), time.perf_counter() - began, out)


def draw_curves(directory: str) -> None:
    """loss.svg, and loss.png where matplotlib is installed, from a run's log."""
    records = read_log(directory)
    series = {
        "training (one batch)": [(r["step"], r["loss"]) for r in records if "loss" in r],
        "validation": [(r["step"], r["val_loss"]) for r in records if "val_loss" in r],
    }
    words = {
        "title": os.path.basename(os.path.abspath(directory)),
        "x_label": "step",
        "y_label": "loss (nats per token)",
    }
    plot.write_svg(os.path.join(directory, "loss.svg"), series, **words)
    plot.write_png(os.path.join(directory, "loss.png"), series, **words)


def _summary(config: Config, model: GPT, tokenizer: Tokenizer, train_tokens: int, val_tokens: int) -> str:
    t = config.training
    step = t.batch_size * t.accumulation * config.model.n_positions
    return (
        f"{model.num_parameters():,} parameters; {tokenizer.vocab_size} tokens in the vocabulary; "
        f"{train_tokens:,} tokens to train on, {val_tokens:,} to validate\n"
        f"{t.steps} steps of {step:,} tokens ({t.steps * step / train_tokens:.1f} times the text); "
        f"{_machine()}; writing to {t.out}"
    )


def _machine() -> str:
    if backend.current() != "cpu":
        return f"backend {backend.current()}"
    threads = backend.num_threads()
    return f"C kernels, {backend.isa()}, {threads} thread{'s' if threads > 1 else ''}"
