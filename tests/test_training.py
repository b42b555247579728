"""The training loop, and what a run leaves: every token counts once, every file is whole, every record can be
read back.
"""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_run import TEXT, T, micro

from tinyllm import config, random
from tinyllm.data import ArrayTokens, TokenFile, WindowSampler, windows
from tinyllm.errors import ConfigError, NonFinite
from tinyllm.models.gpt import GPT
from tinyllm.training import load_model, log, loop, plot, train
from tinyllm.training.loop import IGNORE, Runtime, Trainer, accumulate, evaluate, learning_rate, summed_loss
from tinyllm.training.run import build_model

V = 11


def tiny(dropout: float = 0.0, dtype: str = "f8", **changes) -> GPT:
    shape = {"n_layer": 1, "n_head": 2, "n_embd": 16, "n_positions": T, "dropout": dropout} | changes
    return build_model(config.ModelConfig(**shape), V, seed=3).to(np.dtype(dtype))


def some_ids(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, V, n)


def gradients(model: GPT) -> dict[str, np.ndarray]:
    return {name: p.grad.numpy().copy() for name, p in model.named_parameters()}


def trainer(settings: config.Config | None = None, model: GPT | None = None, **keywords) -> Trainer:
    settings = settings or micro()
    tokens = ArrayTokens(np.arange(400) * 3 % V)
    sampler = WindowSampler(tokens, T, seed=settings.training.seed)
    return Trainer(model or tiny(), sampler, tokens, settings.optimizer, settings.training, **keywords)


# --- the loop ---


def test_schedule_is_nanogpts():
    o = config.OptimizerConfig(learning_rate=1e-3, min_lr=1e-4, warmup_steps=100)
    assert learning_rate(0, 2000, o) == pytest.approx(1e-3 / 101)
    assert learning_rate(99, 2000, o) == pytest.approx(1e-3 * 100 / 101)
    assert learning_rate(100, 2000, o) == pytest.approx(1e-3)
    assert learning_rate(1050, 2000, o) == pytest.approx((1e-3 + 1e-4) / 2)
    assert learning_rate(2000, 2000, o) == learning_rate(5000, 2000, o) == 1e-4
    rates = [learning_rate(s, 2000, o) for s in range(2000)]
    assert max(rates) == rates[100] and all(a > b for a, b in zip(rates[100:], rates[101:], strict=False))


@given(st.integers(0, 300), st.integers(1, 200), st.integers(0, 200))
@settings(deadline=None)
def test_schedule_stays_between_its_ends(step, steps, warmup):
    o = config.OptimizerConfig(learning_rate=1.0, min_lr=0.1, warmup_steps=warmup)
    assert 0 < learning_rate(step, steps, o) <= 1.0
    if step >= max(warmup, steps):
        assert learning_rate(step, steps, o) == 0.1


@given(st.lists(st.integers(0, 3 * T), min_size=2, max_size=4), st.integers(0, 1000), st.sampled_from([0.0, 0.3]))
@settings(max_examples=20, deadline=None)
def test_accumulation_equals_one_batch_with_unequal_token_counts(kept, seed, dropout):
    """k micro-batches of b sequences, of which only kept[i] targets count, against one batch of k*b, dropout too."""
    k, b = len(kept), 3
    ids, targets = some_ids(k * b * T, seed).reshape(k, b, T), some_ids(k * b * T, seed + 1).reshape(k, b, T)
    for part, n in zip(targets, kept, strict=True):
        part.reshape(-1)[n:] = IGNORE
    if sum(kept) == 0:
        with pytest.raises(ValueError, match="without a single target"):
            accumulate(tiny(), list(zip(ids, targets, strict=True)), Runtime())
        return
    small, big = tiny(dropout), tiny(dropout)
    loss, tokens = accumulate(small, list(zip(ids, targets, strict=True)), Runtime())
    whole, whole_tokens = accumulate(big, [(ids.reshape(-1, T), targets.reshape(-1, T))], Runtime())
    assert tokens == whole_tokens == sum(kept)
    assert loss == pytest.approx(whole, rel=1e-12)
    for name, g in gradients(big).items():
        np.testing.assert_allclose(gradients(small)[name], g, rtol=1e-9, atol=1e-12, err_msg=name)


def test_the_loss_is_the_mean_over_tokens_not_over_micro_batches():
    ids, targets = some_ids(2 * T).reshape(2, 1, T), some_ids(2 * T, 1).reshape(2, 1, T)
    targets[1, 0, 2:] = IGNORE
    model = tiny()
    sums = [summed_loss(model, i, t).item() for i, t in zip(ids, targets, strict=True)]
    loss, _ = accumulate(model, list(zip(ids, targets, strict=True)), Runtime())
    assert loss == pytest.approx(sum(sums) / (T + 2), rel=1e-12)
    assert abs(loss - (sums[0] / T + sums[1] / 2) / 2) > 1e-4  # a mean of means is another number


def test_gradients_of_a_step_are_synchronised_once():
    class Recording(Runtime):
        events: list[str] = []

        def no_sync(self):
            self.events.append("skip")
            return super().no_sync()

        def total(self, value):
            self.events.append("total")
            return value

    runtime = Recording()
    batch = (some_ids(T).reshape(1, T), some_ids(T).reshape(1, T))
    accumulate(tiny(), [batch] * 3, runtime)
    assert runtime.events == ["total", "skip", "skip", "total"]  # tokens, two passes without, the loss


def test_ranks_and_micro_batches_share_out_the_batch_of_one_process():
    whole = trainer(micro(training__batch_size=8)).micro_batches()
    parts = []
    for rank in (0, 1):
        runtime = Runtime()
        runtime.rank, runtime.world_size = rank, 2
        cut = trainer(micro(training__batch_size=2, training__accumulation=2), runtime=runtime)
        parts += cut.micro_batches()
    np.testing.assert_array_equal(np.concatenate([x for x, _ in parts]), whole[0][0])
    np.testing.assert_array_equal(np.concatenate([y for _, y in parts]), whole[0][1])


def test_accumulated_training_equals_big_batch_training():
    one = trainer(micro(training__batch_size=8))
    two = trainer(micro(training__batch_size=2, training__accumulation=4))
    for _ in range(5):
        a, b = one.train_step(), two.train_step()
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-10)
        assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=1e-9)
        assert a["tokens"] == b["tokens"] == 8 * T
    for (name, p), (_, q) in zip(one.model.named_parameters(), two.model.named_parameters(), strict=True):
        np.testing.assert_allclose(p.array, q.array, rtol=1e-7, atol=1e-10, err_msg=name)


@given(st.integers(2, 60), st.integers(1, 5))
@settings(max_examples=15, deadline=None)
def test_evaluation_is_the_mean_over_every_token(n, batch_size):
    model, ids = tiny(dropout=0.5), some_ids(n)
    model.train()
    got = evaluate(model, ArrayTokens(ids), T, batch_size)
    assert model.training
    model.eval()
    total = 0.0
    for start in range(0, n - 1, T):  # one window at a time, from the logits
        window, target = ids[start : start + T + 1][:-1], ids[start + 1 : start + T + 1]
        logits = model(window[None])[0].detach().numpy()[0]
        total += (np.log(np.exp(logits).sum(-1)) - logits[np.arange(len(target)), target]).sum()
    assert got == pytest.approx(total / (n - 1), rel=1e-10)


def test_evaluation_on_some_batches_is_spread_over_the_split():
    class Counting(ArrayTokens):
        reads = 0

        def read(self, start, count):
            self.reads += 1
            return super().read(start, count)

    ids = np.repeat(np.arange(10), 2 * T)  # the k-th tenth holds nothing but k
    losses = {k: evaluate(tiny(), ArrayTokens(np.full(2 * T + 1, k)), T, 2) for k in (0, 5)}
    assert losses[0] != losses[5]
    counting = Counting(np.append(ids, 0))
    got = evaluate(tiny(), counting, T, 2, batches=2)
    assert counting.reads == 2  # what is skipped is not read
    # batches 0 and 5 of ten, whose last target belongs to the next tenth
    batches = [b for i, b in enumerate(windows(ArrayTokens(np.append(ids, 0)), T, 2)) if i in (0, 5)]
    want = sum(summed_loss(tiny(), *b).item() for b in batches) / (4 * T)
    assert got == pytest.approx(want, rel=1e-12)
    assert evaluate(tiny(), ArrayTokens(ids), T, 2, batches=99) == evaluate(tiny(), ArrayTokens(ids), T, 2)
    with pytest.raises(ValueError, match="nothing to evaluate"):
        evaluate(tiny(), ArrayTokens([1]), T, 2)


def test_the_loss_falls_and_records_tell():
    records: list[dict] = []
    run = trainer(micro(training__log_every=10), on_record=records.append, bytes_per_token=2.0)
    final = run.run()
    train_records = [r for r in records if "loss" in r]
    assert [r["step"] for r in train_records] == [1, 10, 20, 30, 40]
    assert train_records[0]["loss"] == pytest.approx(math.log(V), abs=0.1)
    assert final < 1.2 and train_records[-1]["loss"] < 1.2
    evaluations = [r for r in records if "val_loss" in r]
    assert [r["step"] for r in evaluations] == [20, 40]
    assert evaluations[-1]["val_loss"] == final
    assert evaluations[-1]["bits_per_byte"] == pytest.approx(final / math.log(2) / 2)
    assert train_records[-1]["tokens"] == 40 * 4 * T
    assert train_records[-1]["lr"] == learning_rate(39, 40, run.schedule)


def test_a_run_repeats_bit_for_bit_and_another_seed_does_not():
    def weights(seed: int) -> bytes:
        model = tiny(dropout=0.2, dtype="f4")
        random.manual_seed(seed)
        run = trainer(micro(training__seed=seed), model)
        for _ in range(3):
            run.train_step()
        return b"".join(p.array.tobytes() for p in model.parameters())

    assert weights(1) == weights(1) != weights(2)


def test_clipping_bounds_the_update_and_reports_the_norm_before():
    def update(limit: float) -> tuple[float, np.ndarray]:
        run = trainer(micro(optimizer__grad_clip=limit, optimizer__eps=1.0))  # large eps: the step is about lr * g
        before = run.parameters[0].array.copy()
        return run.train_step()["grad_norm"], run.parameters[0].array - before

    free, change = update(0.0)
    clipped, smaller = update(free / 4)
    assert free == clipped
    decay = 1e-2 / 6 * 0.1  # lr of the first step times weight decay, the same in both
    assert np.abs(smaller).max() < 0.5 * np.abs(change).max() + decay
    assert update(free * 2)[1] == pytest.approx(change)


def test_a_loss_that_is_no_number_stops_before_the_weights_change():
    run = trainer()
    run.train_step()
    run.model.lm_head.weight.array[...] = np.nan
    before = [p.array.copy() for p in run.parameters]
    with pytest.raises(NonFinite, match="step 2: loss nan.*transformer.wte.weight is not.*still those of step 1"):
        run.train_step()
    assert all(np.array_equal(p.array, x, equal_nan=True) for p, x in zip(run.parameters, before, strict=True))


def test_bits_per_byte_need_the_bytes():
    with pytest.raises(ValueError, match="bytes per token"):
        trainer().bits_per_byte(1.0)


# --- logs ---


def test_records_come_back_from_jsonl_and_csv(tmp_path):
    records = [{"step": 1, "loss": 2.5, "lr": 1e-05}, {"step": 2, "val_loss": math.nan, "tokens": 7}]
    writer = log.RunLog(str(tmp_path))
    for record in records:
        writer.write(record)
    with pytest.raises(ValueError, match="got los$"):
        writer.write({"step": 3, "los": 1.0})
    writer.close()
    assert str(log.read_log(str(tmp_path))) == str(records)
    for line in (tmp_path / "log.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)  # JSON has no NaN
    head, one, two = (tmp_path / "log.csv").read_text().splitlines()
    assert head.split(",") == list(log.COLUMNS)
    assert dict(zip(head.split(","), one.split(","), strict=True)) | {
        "loss": "2.5",
        "step": "1",
        "lr": "1e-05",
    } == dict(zip(head.split(","), one.split(","), strict=True))
    log.RunLog(str(tmp_path)).close()  # another run starts anew
    assert log.read_log(str(tmp_path)) == [] and (tmp_path / "log.csv").read_text().splitlines() == [head]


def test_plain_progress_is_a_line_a_record(capsys):
    with log.Progress(100) as progress:
        progress.update({"step": 1, "loss": 4.0, "lr": 1e-3, "tokens_per_second": 12345.0, "rss_bytes": 50 << 20})
        progress.update({"step": 50, "loss": 3.0})
        progress.update({"step": 50, "val_loss": 2.5, "bits_per_byte": 1.5})
        progress.update({"step": 51})
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "step   1/100  loss 4.0000  lr 1.00e-03  12,345 tokens/s  50 MB"
    assert re.fullmatch(r"step  50/100  loss 3.0000  0:00 left", lines[1])
    assert lines[2:] == ["step  50/100  validation loss 2.5000, 1.5000 bits per byte"]
    with log.Progress(100, quiet=True) as progress:
        progress.update({"step": 1, "loss": 4.0})
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar(monkeypatch, capsys):
    pytest.importorskip("rich")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    with log.Progress(100) as progress:
        progress.update({"step": 1, "loss": 4.0, "tokens_per_second": 12345.0, "rss_bytes": 50 << 20})
        progress.update({"step": 2, "val_loss": 2.5})
        assert progress._status({}) == "loss 4.000  val 2.500  12,345 tokens/s  50 MB"
    assert "validation loss 2.5000" in capsys.readouterr().err


def test_resident_bytes_are_plausible():
    assert 1 << 20 < log.resident_bytes() < 1 << 40


# --- curves ---

LABELS = {"title": "a < b & c", "x_label": "step", "y_label": "loss"}


@given(
    st.lists(
        st.tuples(st.floats(-1e9, 1e9), st.floats(-1e300, 1e300) | st.sampled_from([math.nan, math.inf, -math.inf])),
        max_size=60,
    ),
    st.text(max_size=5),
)
@settings(max_examples=60, deadline=None)
def test_svg_is_well_formed_and_inside_its_frame(points, name):
    name = "".join(c for c in name if c.isprintable())
    with np.errstate(all="ignore"):
        text = plot.svg({name: points}, **LABELS)
    root = ElementTree.fromstring(text)
    drawn = [p for p in root.iter("{http://www.w3.org/2000/svg}path") if p.get("fill") == "none"]
    finite = [(x, y) for x, y in points if math.isfinite(y)]
    numbers = [float(n) for n in re.findall(r"-?\d+\.?\d*", drawn[0].get("d") or "")]
    assert len(numbers) == 2 * len(finite)
    assert all(-0.1 <= n <= plot.WIDTH + 0.1 for n in numbers)
    assert ("nothing to show" in text) == (not finite)


def test_a_gap_breaks_the_line():
    text = plot.svg({"x": [(0, 1), (1, math.nan), (2, 1), (3, 2)]}, **LABELS)
    (line,) = re.findall(r'd="(M[^"]*)" fill="none"', text)
    assert line.count("M") == 2 and line.count("L") == 1


@given(st.floats(-1e12, 1e12), st.floats(-1e12, 1e12))
@settings(deadline=None)
def test_ticks_enclose_and_are_few(a, b):
    low, high = min(a, b), max(a, b)
    marks = plot.ticks(low, high)
    slack = 1e-9 * (marks[-1] - marks[0])
    assert marks[0] <= low + slack and marks[-1] >= high - slack
    assert 2 <= len(marks) <= 10 and all(x < y for x, y in zip(marks, marks[1:], strict=False))


def test_png_where_matplotlib_is_installed(tmp_path, monkeypatch):
    path = str(tmp_path / "loss.png")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert plot.write_png(path, {"x": [(0, 1)]}, **LABELS) is False
    assert not os.path.exists(path)
    monkeypatch.undo()
    pytest.importorskip("matplotlib")
    assert plot.write_png(path, {"x": [(0, 1), (1, 2)]}, **LABELS) is True
    with open(path, "rb") as file:
        assert file.read(8) == b"\x89PNG\r\n\x1a\n"


# --- a whole run ---


@pytest.mark.parametrize("kind", ["char", "bpe"])
def test_a_run_leaves_checkpoint_logs_and_curves(tmp_path, kind, capsys):
    (tmp_path / "text").write_text(TEXT)
    settings = micro(
        data__text=str(tmp_path / "text"), data__tokenizer=kind, data__vocab_size=270,
        training__out=str(tmp_path / "run"), training__steps=25, training__eval_every=10, training__eval_batches=2,
    )  # fmt: skip
    result = train(settings)
    out = capsys.readouterr()
    assert out.out == "" and "25 steps of 32 tokens" in out.err and "validation loss" in out.err
    run = tmp_path / "run"
    assert {"checkpoints", "log.jsonl", "log.csv", "loss.svg", "train.tokens", "val.tokens"} <= set(os.listdir(run))
    records = log.read_log(str(run))
    assert [r["step"] for r in records if "val_loss" in r] == [10, 20, 25]
    assert records[-1]["val_loss"] == result.val_loss < math.log(result.tokenizer.vocab_size)

    model, tokenizer, saved = load_model(str(run))
    assert saved.step == 25 and saved.config == settings and saved.metrics["val_loss"] == result.val_loss
    tokens = TokenFile(run / "val.tokens")
    assert tokens.tokenizer == tokenizer.fingerprint() and tokens.text_bytes == len(TEXT) - int(len(TEXT) * 0.9)
    assert evaluate(model, tokens, T, 4) == result.val_loss
    bits = result.val_loss / math.log(2) * len(tokens) / tokens.text_bytes
    assert result.bits_per_byte == pytest.approx(bits)
    ElementTree.parse(run / "loss.svg")


def test_a_text_too_short_is_explained(tmp_path):
    (tmp_path / "text").write_text("ab")
    with pytest.raises(ConfigError, match="too few for windows"):
        train(micro(data__text=str(tmp_path / "text"), data__tokenizer="char", training__out=str(tmp_path / "run")))


def test_the_loop_needs_no_package_for_logs_or_curves():
    code = "import sys, tinyllm.training.loop; print({'rich', 'tyro', 'matplotlib'} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout == "set()\n" and loop.IGNORE == -100
