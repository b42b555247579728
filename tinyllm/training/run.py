"""One run from text to checkpoint: what `tinyllm train` and the example do, in the order it happens.

Text -> split -> tokenizer -> token files -> model -> Trainer -> checkpoints, logs, curves, all in
`config.training.out`. Each step is a function of its own, for those who want only some of them. A run goes on from a
checkpoint as if it had never stopped; what must be equal for that is checked here.
"""

from __future__ import annotations

import hashlib
import os
import stat
import sys
import time
import warnings
from dataclasses import dataclass
from typing import Any, NamedTuple

from .. import _io, backend, random
from ..config import Config, DataConfig, ModelConfig, to_dict
from ..data import TokenFile, WindowSampler, read_text, split, write_tokens
from ..errors import CheckpointError, ConfigError
from ..models.gpt import GPT, GPTConfig
from ..tokenizers import BPETokenizer, CharTokenizer, Tokenizer
from . import checkpoint, failure, plot
from .checkpoint import Checkpoint
from .log import CSV, JSONL, Progress, RunLog, read_log
from .loop import Trainer
from .signals import on_interrupt
from .store import Store


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


def reopen_split(path: str, text: str, tokenizer: Tokenizer, sha256: str) -> TokenFile:
    """The token file of a run that goes on: the one at `path` if its ids have this SHA-256, else made again. Raises
    CheckpointError if that does not give them.
    """
    try:
        found = TokenFile(path)
        if found.sha256 == sha256 and found.intact():
            return found
    except (OSError, ValueError):
        pass  # absent or damaged
    made = write_split(path, text, tokenizer)
    if made.sha256 != sha256:
        raise CheckpointError(f"{path}: the tokenizer gives other ids than it gave before: {made.sha256} for {sha256}")
    return made


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


def train(
    config: Config, *, start: Checkpoint | None = None, weights_only: bool = False, quiet: bool = False
) -> Result:
    """Train by a configuration; what it leaves lies in `config.training.out`. `quiet` prints nothing.

    With `start`, go on from a checkpoint of the same data, tokenizer, architecture and seed, exactly as if the run had
    not stopped; `weights_only` takes its weights and tokenizer alone, and starts at step 0. Raises CheckpointError that
    says what differs. SIGINT and SIGTERM save a checkpoint after the step and then raise KeyboardInterrupt.
    """
    began = time.perf_counter()
    out = config.training.out
    resumed = None if weights_only else start
    text = read_text(config.data.text)
    text_sha256 = hashlib.sha256(text.encode("utf-8")).hexdigest()
    if start is not None:
        check_same(config, start, text_sha256, weights_only)
    if resumed is None:
        check_replaceable(out, start)
    else:
        check_files(out)
    _io.make_directory(out)
    with _open_log(out, resumed) as log:
        _io.remove_leftovers(out)  # no other process writes there: the log is locked
        if resumed is not None:
            Store(out, config.training.keep_last).tidy(resumed.step)  # a kill may have come before
        parts = prepare(config, text, start, resumed)
        data = {"text": text_sha256, "train": parts.tokens.sha256, "val": parts.validation.sha256}
        if not quiet:
            print(_summary(config, parts), file=sys.stderr, flush=True)
        with Progress(config.training.steps, quiet) as progress:

            def record(values: dict) -> None:
                log.write(values)
                progress.update(values)

            def save(trainer: Trainer) -> None:
                _save(trainer, config, parts.tokenizer, {"data": data, "log": log.position()})

            trainer = make_trainer(config, parts, resumed, on_record=record, on_save=save)
            with on_interrupt(trainer.stop) as interrupted, failure.noted(trainer, out):
                val_loss = trainer.run()
    interrupted.raise_if_any(f"saved at step {trainer.step}; go on with: tinyllm train --resume {out}")
    draw_curves(out)
    bits, seconds = trainer.bits_per_byte(val_loss), time.perf_counter() - began
    return Result(parts.model, parts.tokenizer, val_loss, bits, seconds, out)


def make_trainer(config: Config, parts: Parts, resumed: Checkpoint | None, **hooks: Any) -> Trainer:
    """The loop on a run's parts, at step 0 or where `resumed` was saved; `hooks` as Trainer's."""
    trainer = Trainer(
        parts.model, WindowSampler(parts.tokens, config.model.n_positions, config.training.seed), parts.validation,
        config.optimizer, config.training, bytes_per_token=parts.validation.text_bytes / len(parts.validation), **hooks,
    )  # fmt: skip
    if resumed is not None and resumed.optimizer is not None:
        try:
            trainer.optimizer.load_state_dict(resumed.optimizer)
            trainer.load_state_dict(resumed.state["trainer"])
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise CheckpointError(
                f"{resumed.directory}: the optimizer's or the loop's state is none: {error!r}"
            ) from error
    return trainer


class Parts(NamedTuple):
    """What a run is made of."""

    model: GPT
    tokenizer: Tokenizer
    tokens: TokenFile
    """To train on."""
    validation: TokenFile


def prepare(config: Config, text: str, start: Checkpoint | None, resumed: Checkpoint | None) -> Parts:
    """Tokenizer, token files in `config.training.out`, and model: fresh, with the weights of `start`, or all those of
    the run that `resumed` is of.
    """
    texts = split(text, config.data.val_fraction)
    tokenizer = make_tokenizer(config.data, *texts) if start is None else start.tokenizer
    tokens = []
    for name, part in zip(("train", "val"), texts, strict=True):
        path = os.path.join(config.training.out, f"{name}.tokens")
        if resumed is None:
            tokens.append(write_split(path, part, tokenizer))
        else:
            tokens.append(reopen_split(path, part, tokenizer, resumed.state["data"][name]))
    model = build_model(config.model, tokenizer.vocab_size, config.training.seed)
    if start is not None:
        checkpoint.load_weights(model, start.tensors, start.directory)
    if resumed is None:
        Store(config.training.out).clear()
    return Parts(model, tokenizer, *tokens)


def _save(trainer: Trainer, config: Config, tokenizer: Tokenizer, state: dict[str, Any]) -> None:
    """Save a checkpoint. One that fails on the way costs a warning: the next may succeed, and the last one stands."""
    metrics = {}
    if trainer.evaluated == trainer.step:
        metrics = {"val_loss": trainer.val_loss, "bits_per_byte": trainer.bits_per_byte(trainer.val_loss)}
    try:
        Store(config.training.out, config.training.keep_last).save(
            trainer.step, model=trainer.model, tokenizer=tokenizer, config=config, optimizer=trainer.optimizer,
            state={"trainer": trainer.state_dict(), **state}, metrics=metrics,
        )  # fmt: skip
    except OSError as error:
        if trainer.finishing:
            raise
        warnings.warn(f"step {trainer.step} is not saved: {error}; training goes on", stacklevel=2)


def check_same(config: Config, start: Checkpoint, text_sha256: str, weights_only: bool = False) -> None:
    """Raise CheckpointError, which lists what differs, unless a run by `config` can go on from `start`. For the weights
    alone only the architecture and the kind of tokenizer must be equal.
    """
    ours, theirs = to_dict(config), to_dict(start.config)
    keys = [("model", key) for key in ours["model"]]
    keys += [("data", "tokenizer"), ("data", "vocab_size")]
    if not weights_only:
        keys += [("data", "val_fraction"), ("training", "seed")]
    differ = [
        f"{section}.{key}: the checkpoint has {theirs[section][key]!r}, the configuration {ours[section][key]!r}"
        for section, key in keys
        if theirs[section][key] != ours[section][key]
    ]
    if not weights_only:
        if start.optimizer is None or not start.state:
            differ.append("the checkpoint holds weights alone, neither optimizer nor cursor")
        elif not _has_form(start.state, _STATE) or start.state["trainer"]["step"] != start.step:
            differ.append("its state is not that of a run of this version of tinyllm")
        elif (known := start.state["data"]["text"]) != text_sha256:
            differ.append(f"the text {config.data.text!r} has SHA-256 {text_sha256}, the checkpoint's had {known}")
        if start.step > config.training.steps:
            differ.append(f"training.steps = {config.training.steps}: the checkpoint has made {start.step} already")
    if differ:
        hint = "" if weights_only else "\n  (a new run from its weights: add --weights-only)"
        raise CheckpointError(f"{start.directory} cannot be continued:\n  " + "\n  ".join(differ) + hint)


_STATE = {
    "data": dict.fromkeys(("text", "train", "val"), str),
    "log": dict.fromkeys(("jsonl", "csv"), int),
    "trainer": {
        "step": int, "tokens": int, "seconds": float, "evaluated": int,
        "sampler": dict.fromkeys(("seed", "step", "length", "tokens"), int),
        "random": dict.fromkeys(("seed", "step", "first_row"), int),
    },
}  # fmt: skip
"""What the state of a checkpoint must have for a run to go on from it."""


def _has_form(value: Any, form: Any) -> bool:
    """Whether a nested table has the keys of `form`, with values of its types; integers are counts."""
    if isinstance(form, dict):
        return isinstance(value, dict) and all(key in value and _has_form(value[key], x) for key, x in form.items())
    return isinstance(value, (int, float) if form is float else form) and (form is not int or 0 <= value < 2**63)


def check_replaceable(run: str, start: Checkpoint | None) -> None:
    """Raise ConfigError if a new run would wipe out one that has not finished, or the one that it starts from."""
    if start is not None and os.path.realpath(start.directory).startswith(os.path.realpath(run) + os.sep):
        raise ConfigError(
            f"training.out = {run!r}: the new run would replace the checkpoint that it starts from; choose another one"
        )
    try:
        found = Store(run).newest()
    except CheckpointError:
        return
    steps = found.config.training.steps
    if found.step < steps:
        raise ConfigError(
            f"training.out = {run!r} holds a run that stopped at step {found.step} of {steps}: go on with "
            f"tinyllm train --resume {run}, choose another directory, or delete this one"
        )


def check_files(run: str) -> None:
    """Raise CheckpointError if a file that a run would write to is a link, a pipe or a device: the directory may come
    from anywhere, and what lies elsewhere is not the run's.
    """
    for name in (JSONL, CSV, "train.tokens", "val.tokens", "loss.svg", "loss.png"):
        path = os.path.join(run, name)
        if os.path.lexists(path) and not stat.S_ISREG(os.lstat(path).st_mode):
            raise CheckpointError(f"{path} is not a regular file: the run cannot go on and write to it")


def _open_log(out: str, resumed: Checkpoint | None) -> RunLog:
    try:
        return RunLog(out, None if resumed is None else resumed.state["log"])
    except BlockingIOError as error:
        raise ConfigError(f"training.out = {out!r}: another process trains there; choose another directory") from error
    except ValueError as error:
        assert resumed is not None
        warnings.warn(f"{error}: the log starts anew at step {resumed.step}", stacklevel=3)
        return RunLog(out)


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


def _summary(config: Config, parts: Parts) -> str:
    t, tokens = config.training, len(parts.tokens)
    step = t.batch_size * t.accumulation * config.model.n_positions
    return (
        f"{parts.model.num_parameters():,} parameters; {parts.tokenizer.vocab_size} tokens in the vocabulary; "
        f"{tokens:,} tokens to train on, {len(parts.validation):,} to validate\n"
        f"{t.steps} steps of {step:,} tokens ({t.steps * step / tokens:.1f} times the text); "
        f"{_machine()}; writing to {t.out}"
    )


def _machine() -> str:
    if backend.current() != "cpu":
        return f"backend {backend.current()}"
    threads = backend.num_threads()
    return f"C kernels, {backend.isa()}, {threads} thread{'s' if threads > 1 else ''}"
