"""Configuration: TOML in and out is the identity, and every mistake is named."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyllm import config
from tinyllm.config import Config
from tinyllm.errors import ConfigError

positive = st.integers(1, 10**12)
probability = st.floats(0, 1, exclude_max=True)
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
trees = st.builds(
    Config,
    model=st.builds(
        lambda head, times, **rest: config.ModelConfig(n_head=head, n_embd=head * times, **rest),
        st.integers(1, 64),
        st.integers(1, 64),
        n_layer=positive,
        n_positions=positive,
        dropout=probability,
        bias=st.booleans(),
    ),
    data=st.builds(
        config.DataConfig,
        text=texts,
        tokenizer=st.sampled_from(["bpe", "char"]),
        vocab_size=st.integers(256, 10**6),
        val_fraction=st.floats(0, 1, exclude_min=True, exclude_max=True),
    ),
    optimizer=st.builds(
        config.OptimizerConfig,
        learning_rate=st.floats(1e-4, 1e9),
        min_lr=st.floats(0, 1e-4),
        beta2=probability,
        weight_decay=st.floats(0, 1e300),
    ),
    training=st.builds(
        config.TrainingConfig,
        steps=positive,
        seed=st.integers(0, 2**32 - 1),
        out=texts,
        eval_batches=st.integers(0, 9),
    ),
)


@given(trees)
@settings(max_examples=60)
def test_toml_round_trip(tree):
    assert config.loads(config.dumps(tree), Config()) == tree
    assert config.from_dict(config.to_dict(tree), Config()) == tree


def test_files(tmp_path):
    path = str(tmp_path / "run.toml")
    with open(path, "w", encoding="utf-8") as file:
        file.write(config.dumps(config.preset("baby")))
    assert config.load(path, Config()) == config.preset("baby")
    (tmp_path / "part.toml").write_text("[training]\nsteps = 7\n")
    assert config.load(str(tmp_path / "part.toml"), config.preset("cpu")) == config.replace(
        config.preset("cpu"), training__steps=7
    )
    (tmp_path / "bad.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="bad.toml is not UTF-8"):
        config.load(str(tmp_path / "bad.toml"), Config())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[modle]", "unknown key modle; did you mean model?"),
        ("[model]\nn_layers = 3", "unknown key model.n_layers; did you mean model.n_layer?"),
        ("[model]\nzzz = 3", "unknown key model.zzz"),
        ("[model]\nn_layer = true", "model.n_layer: expected an integer, got True"),
        ("[model]\nn_layer = 1.0", "model.n_layer: expected an integer, got the number 1.0"),
        ("[model]\nbias = 1", "model.bias: expected true or false, got the integer 1"),
        ("[model]\ndropout = '0.1'", "model.dropout: expected a number, got the string '0.1'"),
        ("[model.n_layer]", "model.n_layer: expected an integer, got a dict"),
        ("[training]\nout = 2020-01-01", "training.out: expected a string, got a date"),
        ("model = 3", "model: expected a table, got the integer 3"),
        ("[data]\ntokenizer = 'chars'", "got the string 'chars'; did you mean char?"),
        ("[data]\ntokenizer = []", "data.tokenizer: expected 'bpe' or 'char', got a list"),
        ("[optimizer]\nlearning_rate = nan", "optimizer.learning_rate: expected a finite number"),
        ("[optimizer]\nlearning_rate = 1e999", "optimizer.learning_rate: expected a finite number"),
        ("[model]\nn_head = 3", "model.n_embd = 128 is not a multiple of model.n_head = 3"),
        ("[model]\nn_layer = 0", "model.n_layer is at least 1, got 0"),
        ("[model]\ndropout = 1", "model.dropout is a probability below 1, got 1.0"),
        ("[optimizer]\nmin_lr = 1", "optimizer.min_lr lies between 0 and learning_rate"),
        ("[optimizer]\nbeta2 = 1", "optimizer.beta2 is at least 0 and below 1"),
        ("[optimizer]\ngrad_clip = -1", "optimizer.grad_clip is not negative"),
        ("[data]\nvocab_size = 10", "data.vocab_size holds the 256 bytes"),
        ("[data]\nval_fraction = 1", "data.val_fraction is between 0 and 1"),
        ("[training]\nseed = -1", "training.seed is from 0"),
        ("[training]\nsteps = " + "9" * 5000, "is not TOML"),
        ("x = ", "run.toml is not TOML"),
        ("a = " + "[" * 100_000, "is not TOML"),
    ],
)  # fmt: skip
def test_mistakes_are_named(text, message):
    with pytest.raises(ConfigError) as error:
        config.loads(text, Config(), "run.toml")
    assert str(error.value).startswith("run.toml")
    assert message in str(error.value)


@given(st.text(max_size=60))
@settings(max_examples=200)
def test_any_text_gives_a_config_or_a_config_error(text):
    try:
        config.loads(text, Config())
    except ConfigError:
        pass


def test_presets_are_the_published_recipes():
    cpu, baby = config.preset("cpu"), config.preset("baby")
    assert (cpu.model.n_layer, cpu.model.n_head, cpu.model.n_embd, cpu.model.n_positions) == (4, 4, 128, 64)
    assert (cpu.training.batch_size, cpu.training.steps, cpu.model.dropout, cpu.model.bias) == (
        12,
        2000,
        0.0,
        False,
    )
    assert (baby.model.n_layer, baby.model.n_head, baby.model.n_embd, baby.model.n_positions) == (
        6,
        6,
        384,
        256,
    )
    assert (baby.training.batch_size, baby.training.steps, baby.model.dropout) == (64, 5000, 0.2)
    for recipe in (cpu, baby):
        o = recipe.optimizer
        assert (o.learning_rate, o.min_lr, o.warmup_steps, o.beta1, o.beta2) == (1e-3, 1e-4, 100, 0.9, 0.99)
        assert (o.weight_decay, o.grad_clip, o.eps) == (0.1, 1.0, 1e-8)
    with pytest.raises(ConfigError, match="unknown preset 'babe'; did you mean baby"):
        config.preset("babe")


def test_the_tree_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().model.n_layer = 2  # type: ignore[misc]


def test_command_line_overrides():
    pytest.importorskip("tyro")
    changed = config.override(config.preset("cpu"), ["--model.n_layer", "2", "--optimizer.learning-rate", "1e-2"])
    assert changed == config.replace(config.preset("cpu"), model__n_layer=2, optimizer__learning_rate=1e-2)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--model.n-layers", "3"], "--model.n-layer"),
        (["--training.steps", "x"], "--training.steps"),
        (["--model.n_head", "3"], "not a multiple"),
    ],
)
def test_command_line_mistakes_exit_with_a_message(args, message, capsys):
    pytest.importorskip("tyro")
    with pytest.raises(SystemExit) as exit:
        config.override(Config(), args)
    assert exit.value.code == 2
    assert message in capsys.readouterr().err


def test_no_numpy_and_no_tyro_until_needed():
    code = "import sys, tinyllm.config as c\nc.loads('', c.Config())\n"
    code += "print({'numpy', 'tyro', 'rich'} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout == "set()\n"
