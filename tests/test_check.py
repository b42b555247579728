"""`tinyllm check` passes a right model and catches wrong ones: each question is answered wrongly on purpose."""

from __future__ import annotations

import numpy as np
import pytest

from tinyllm import cli, config, nn, ops
from tinyllm.models.gpt import GPT
from tinyllm.training import check, checkpoint, loop, train
from tinyllm.training.check import subject
from tinyllm.training.run import build_model

SMALL = config.replace(
    config.preset("cpu"), model__n_layer=1, model__n_embd=32, model__n_head=2, model__n_positions=24,
    model__dropout=0.1, optimizer__warmup_steps=1,
)  # fmt: skip


def fresh() -> GPT:
    return build_model(SMALL.model, 65, 1)


def answers() -> dict[str, bool]:
    return {verdict.what: verdict.good for verdict in check.check(SMALL, fresh)}


def test_a_right_model_passes_and_the_command_says_so(tmp_path, capsys):
    assert set(answers().values()) == {True} and len(answers()) == 6
    (tmp_path / "small.toml").write_text(config.dumps(SMALL))
    assert cli.main(["check", str(tmp_path / "small.toml")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6 and all(line.startswith("ok  ") for line in lines)
    assert cli.main(["check", "no such thing"]) == 1 and "unknown preset" in capsys.readouterr().err


def test_the_weights_of_a_run_are_what_is_asked(tmp_path):
    (tmp_path / "text").write_text("the cat sat on the mat; " * 40)
    settings = config.replace(
        SMALL, training__steps=5, training__out=str(tmp_path / "run"), data__text=str(tmp_path / "text")
    )
    model = train(settings, quiet=True).model
    found, make, weights = subject(settings.training.out)
    assert found == settings and weights is not None
    assert weights.lm_head.weight.array.tobytes() == model.lm_head.weight.array.tobytes()
    assert make().lm_head.weight.array.tobytes() != model.lm_head.weight.array.tobytes()
    assert all(verdict.good for verdict in check.check(found, make, weights))


class Leaky(GPT):
    """Its attention sees everything."""

    def features(self, ids, **keywords):
        causal, nn.Causal = nn.Causal, Everything
        try:
            return super().features(ids, **keywords)
        finally:
            nn.Causal = causal


class Everything(nn.Mask):
    def __new__(cls):
        return None


def leaky() -> GPT:
    model = fresh()
    model.__class__ = Leaky
    return model


@pytest.mark.parametrize(
    ("question", "broken"),
    [
        (check.loss_at_init, "big"),
        (check.causality, "leaky"),
        (check.gradients, "backward"),
        (check.cache, "positions"),
        (check.one_batch, "frozen"),
    ],
)
def test_a_wrong_model_is_caught(question, broken, monkeypatch):
    def ask():
        model = fresh().eval()
        if question is not check.loss_at_init and question is not check.one_batch:
            model.to(np.dtype(np.float64))
        if broken_now == "big":
            model.transformer.ln_f.weight.array[...] = 60.0
        elif broken_now == "leaky":
            model.__class__ = Leaky
        return question(model)

    broken_now = ""
    assert ask().good
    broken_now = broken
    if broken == "backward":
        backward = ops.LayerNorm.backward
        monkeypatch.setattr(ops.LayerNorm, "backward", staticmethod(lambda *a: tuple(
            None if g is None else g * 1.001 for g in backward(*a))))  # fmt: skip
    elif broken == "positions":
        features = GPT.features

        def from_zero(self, ids, **keywords):
            return features(self, ids, **keywords | {"positions": np.arange(ids.shape[1])})

        monkeypatch.setattr(GPT, "features", from_zero)
    elif broken == "frozen":
        monkeypatch.setattr(check.AdamW, "step", lambda self: None)
    verdict = ask()
    assert not verdict.good, verdict


@pytest.mark.parametrize("part", ["sampler", "optimizer"])
def test_a_resume_that_forgets_is_caught(part, monkeypatch):
    if part == "optimizer":
        monkeypatch.setattr(check, "checkpoint", Forgetful())
    else:
        monkeypatch.setattr(loop.WindowSampler, "load_state_dict", lambda self, state: None)
    verdict = check.resume(SMALL, fresh)
    assert not verdict.good and "parameters differ" in verdict.found


class Forgetful:
    """The module checkpoint, but for the optimizer's state."""

    def __getattr__(self, name):
        return getattr(checkpoint, name)

    def save(self, path, *, optimizer, **keywords):
        checkpoint.save(path, **keywords)
