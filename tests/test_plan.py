"""A plan says beforehand what a run takes; memory is counted, so it can be held to the byte."""

from __future__ import annotations

import pytest

from tinyllm import cli, config
from tinyllm.training import log, plan


@pytest.fixture
def settings(tmp_path, monkeypatch) -> config.Config:
    monkeypatch.setattr(plan, "BUDGET_S", 0.1)
    (tmp_path / "text").write_text("the cat sat on the mat and the dog sat on the log; " * 40)
    return config.replace(
        config.preset("cpu"), data__text=str(tmp_path / "text"), training__out=str(tmp_path / "run"),
        training__steps=12, training__eval_every=5, training__eval_batches=2, training__log_every=1,
        model__n_layer=4, model__n_embd=64, model__n_positions=32,
    )  # fmt: skip


@pytest.mark.parametrize("blocks", [1, 2, 4])
def test_memory_is_predicted_to_five_percent_and_the_run_says_so(settings, tmp_path, capsys, blocks):
    settings = config.replace(settings, model__n_layer=blocks)
    (tmp_path / "run.toml").write_text(config.dumps(settings))
    assert cli.main(["plan", "--config", str(tmp_path / "run.toml")]) == 0
    out = capsys.readouterr().out
    assert f"of {12 * 32:,} tokens" in out and "for 12 steps" in out and "plan.json" in out
    assert cli.main(["train", "--config", str(tmp_path / "run.toml")]) == 0
    said = capsys.readouterr().out.splitlines()[-1]
    assert said.startswith("planned: step ") and "total " in said
    made = plan.plan(settings)
    peak = max(r["peak_bytes"] for r in log.read_log(settings.training.out) if "peak_bytes" in r)
    assert made.peak_bytes == pytest.approx(peak, rel=0.05)
    vocab = len(set((tmp_path / "text").read_text()))
    assert made.parameters == 64 * (vocab + 32) + blocks * (12 * 64 * 64 + 2 * 64) + 64


def test_a_plan_of_another_configuration_is_not_compared(settings):
    plan.write(plan.Plan(1, 1.0, 1.0, 1.0, 1), settings)
    other = config.replace(settings, training__batch_size=3)
    assert plan.error(other) is None
    assert plan.error(config.replace(settings, training__out="absent")) is None


def test_evaluations_are_counted(settings, monkeypatch):
    monkeypatch.setattr(plan, "measure", lambda c, text: plan.Cost(1, 2.0, 3.0, 4.0))
    monkeypatch.setattr(plan, "_validation_tokens", lambda folder: 1 + 32 * 50)
    made = plan.plan(settings)  # 50 windows are 5 batches; evaluations after steps 5, 10 (2 batches each) and 12
    assert made.evaluation_seconds == 3.0 * (5 + 2 * 2) and made.total_seconds == 12 * 2.0 + made.evaluation_seconds
