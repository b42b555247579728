"""The first number that is not finite is found, named, and found again by `tinyllm replay`."""

from __future__ import annotations

import numpy as np
import pytest

from tinyllm import cli, config, ops
from tinyllm.errors import NonFinite
from tinyllm.recording import Observer
from tinyllm.training import failure, log, loop, nan_guard, train
from tinyllm.training.resume_check import identity
from tinyllm.training.runs import read_run
from tinyllm.training.store import Store, find


@pytest.fixture
def settings(tmp_path) -> config.Config:
    (tmp_path / "text").write_text("the cat sat on the mat and the dog sat on the log; " * 40)
    return config.replace(
        config.preset("cpu"), data__text=str(tmp_path / "text"), training__out=str(tmp_path / "run"),
        training__steps=12, training__eval_every=20, training__save_every=5, training__log_every=1,
        training__accumulation=2, training__batch_size=3, model__n_layer=2, model__n_embd=16, model__n_head=2,
        model__n_positions=16, model__dropout=0.1, optimizer__warmup_steps=2,
    )  # fmt: skip


def poison(op: type, direction: str, call: int, monkeypatch, value: float = np.nan) -> None:
    """From its `call`-th call on in a step whose loss is asked for, let an op put NaN into its result."""
    inner, count = getattr(op, direction), 0

    def outer(node, *arrays, **attrs):
        nonlocal count
        out = inner(node, *arrays, **attrs)
        count += 1
        if count >= call:
            first = next(x for x in (out if isinstance(out, tuple) else (out,)) if x is not None)
            first.flat[3] = value  # not a copy, whatever its strides
        return out

    monkeypatch.setattr(op, direction, staticmethod(outer))


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(
    ("op", "direction", "where"),
    [
        (ops.LayerNorm, "forward", "transformer.h.0.ln_1"),
        (ops.Attention, "forward", "transformer.h.0.attn"),
        (ops.FeedForward, "forward", "transformer.h.0.mlp"),
        (ops.Attention, "backward", "transformer.h.1.attn"),
        (ops.FeedForward, "backward", "transformer.h.1.mlp"),
        (ops.LayerNorm, "backward", "transformer.ln_f"),
    ],
)
def test_the_first_bad_op_is_named(settings, monkeypatch, op, direction, where, value):
    made = loop.accumulate

    def from_the_third_step(*args):
        if args[3] == 3:
            poison(op, direction, 1, monkeypatch, value)
        return made(*args)

    monkeypatch.setattr(loop, "accumulate", from_the_third_step)
    with np.errstate(all="ignore"), pytest.raises(NonFinite) as error:
        train(settings, quiet=True)
    found = error.value
    assert (found.step, found.phase, found.op, found.where) == (3, direction, op.__name__, where)
    message = str(found)
    for part in ("step 3: loss", f"of {op.__name__} in {where}", "weights are still those of step 2", "first at [",
                 "windows 0 to 5", "1 NaN and 0 infinite" if np.isnan(value) else "0 NaN and 1 infinite"):  # fmt: skip
        assert part in message, (part, message)


def test_a_bad_parameter_is_named_and_never_saved(settings, monkeypatch):
    step = loop.AdamW.step

    def spoiled(self, *args, **keywords):
        step(self, *args, **keywords)
        if self.state_dict(by_name=True)["state"]["transformer.ln_f.weight"]["step"] == 7:
            self.param_groups[1]["params"][-1].array[2] = np.inf

    monkeypatch.setattr(loop.AdamW, "step", spoiled)
    with np.errstate(all="ignore"), pytest.raises(NonFinite, match="the parameter transformer.ln_f.weight") as error:
        train(settings, quiet=True)
    assert (error.value.step, error.value.phase, error.value.where) == (8, "parameter", "transformer.ln_f.weight")
    assert Store(settings.training.out).steps() == [5]


def test_a_gradient_whose_squares_overflow_is_told_from_a_bad_one(settings, monkeypatch):
    monkeypatch.setattr(loop.Runtime, "gradient_norm", lambda self, gradients: np.inf)
    with pytest.raises(NonFinite, match="made again, the step is finite") as error:
        train(settings, quiet=True)
    assert error.value.phase == "unknown"


def test_replay_makes_the_step_again_and_the_run_goes_on_once_the_cause_is_gone(settings, capsys):
    whole = config.replace(settings, training__out=settings.training.out + "-whole")
    train(whole, quiet=True)
    with pytest.MonkeyPatch.context() as patch, np.errstate(all="ignore"):
        forward = ops.FeedForward.forward

        def bad_at_step_eight(node, *arrays, **attrs):
            out = forward(node, *arrays, **attrs)
            if loop.random.default_generator.step == 8:
                out[0, 0] = np.nan
            return out

        patch.setattr(ops.FeedForward, "forward", staticmethod(bad_at_step_eight))
        with pytest.raises(NonFinite, match="tinyllm replay") as error:
            train(settings, quiet=True)
        assert find(settings.training.out).step == 7 == error.value.step - 1
        assert read_run(settings.training.out).state == "failed"
        note = failure.read(settings.training.out)
        assert note["step"] == 8 and note["op"] == "FeedForward" and note["where"] == "transformer.h.0.mlp"
        before = identity(settings.training.out)
        assert cli.main(["replay", settings.training.out]) == 0
        said = capsys.readouterr().out
        assert "step 8: loss nan" in said and "as before" in said
        assert identity(settings.training.out) == before
    assert cli.main(["replay", settings.training.out]) == 1
    assert "steps 8 to 8 came through this time" in capsys.readouterr().out
    train(settings, start=find(settings.training.out), quiet=True)
    assert read_run(settings.training.out).state == "finished"
    assert identity(settings.training.out)["weights"] == identity(whole.training.out)["weights"]
    assert cli.main(["replay", settings.training.out]) == 1
    assert "nothing to replay" in capsys.readouterr().err
    assert [r["step"] for r in log.read_log(settings.training.out) if "loss" in r] == list(range(1, 13))


def test_an_infinity_that_was_meant_is_no_finding():
    import tinyllm as tl

    watch = nan_guard.Watch()
    x = tl.tensor(np.zeros((2, 3)), requires_grad=True)
    with watch:
        hidden = tl.where(tl.tensor(np.array([True, False, True])), x, tl.tensor(-np.inf))
        hidden.softmax(-1).sum().backward()
    assert watch.found is None
    with watch, np.errstate(all="ignore"):
        (x * 0 / tl.tensor(0.0)).sum()
    assert watch.found is not None and watch.found.op == "Div" and "6 NaN" in watch.found.what


def test_observers_see_ops_and_modules_and_nest():
    import tinyllm as tl

    class Names(Observer):
        def __init__(self):
            self.seen: list[str] = []

        def forward(self, node, arrays, results):
            self.seen.append(node.op.__name__)

        def enter(self, module):
            self.seen.append(f"<{type(module).__name__}")

        def leave(self, module):
            self.seen.append(">")

    layer = tl.nn.Linear(3, 2)
    with Names() as outer:
        with Names() as inner:
            layer(tl.tensor(np.zeros((1, 3), np.float32)))
        with pytest.raises(tl.errors.ShapeError):
            layer(tl.tensor(np.zeros((1, 4), np.float32)))
    assert inner.seen == ["<Linear", "Linear", ">"] and outer.seen == ["<Linear", ">"]
