"""Checkpoints: whole or not at all, every damage found, the right ones kept, and a run that goes on from one as if it
had never stopped.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest
from small_run import TEXT, micro

from tinyllm import _io, cli, config, optim
from tinyllm.backend import memory
from tinyllm.errors import CheckpointError, ConfigError
from tinyllm.models.gpt import GPT
from tinyllm.tokenizers import CharTokenizer
from tinyllm.training import Store, checkpoint, load_model, log, loop, manifest, train
from tinyllm.training.resume_check import CONTROLS, check, drop, identity
from tinyllm.training.run import build_model
from tinyllm.training.runs import find_runs, read_run
from tinyllm.training.signals import Interrupted
from tinyllm.training.store import find

TOKENIZER = CharTokenizer.train([TEXT[:51]])


def save(directory, step: int = 1, model: GPT | None = None, **more) -> GPT:
    settings = micro()
    model = model or build_model(settings.model, TOKENIZER.vocab_size, seed=step)
    metrics = {"val_loss": 1.5}
    checkpoint.save(
        str(directory), model=model, tokenizer=TOKENIZER, config=settings, step=step, metrics=metrics, **more
    )
    return model


def stepped_optimizer(model: GPT) -> optim.AdamW:
    """An optimizer that has made a step, so that it has state."""
    optimizer = loop.make_optimizer(model, micro().optimizer)
    loss = model.loss(np.array([TOKENIZER.encode("the cat ")]), np.array([TOKENIZER.encode("he cat s")]))
    loss.backward()
    optimizer.step()
    return optimizer


def test_a_checkpoint_comes_back(tmp_path):
    model = save(tmp_path / "c", step=7)
    back, tokenizer, saved = load_model(str(tmp_path / "c"))
    assert not back.training
    assert (saved.step, saved.config, saved.metrics) == (7, micro(), {"val_loss": 1.5})
    assert saved.optimizer is None and saved.state == {}
    assert tokenizer.fingerprint() == TOKENIZER.fingerprint() and back.config == model.config
    for (name, p), (other, q) in zip(model.named_parameters(), back.named_parameters(), strict=True):
        assert name == other and p.array.tobytes() == q.array.tobytes()
    ids = np.array([TOKENIZER.encode("the cat ")])
    np.testing.assert_array_equal(model(ids)[0].detach().numpy(), back(ids)[0].detach().numpy())


def test_optimizer_and_state_come_back(tmp_path):
    model = build_model(micro().model, TOKENIZER.vocab_size, seed=1)
    optimizer = stepped_optimizer(model)
    state = {"cursor": {"step": 3}, "rate": 0.1}
    save(tmp_path, 1, model, optimizer=optimizer, state=state)
    saved = checkpoint.load(str(tmp_path))
    assert saved.state == state
    other = loop.make_optimizer(checkpoint.build_model(saved), micro().optimizer)
    other.load_state_dict(saved.optimizer)
    mine, back = optimizer.state_dict(by_name=True), other.state_dict(by_name=True)
    assert mine["state"].keys() == back["state"].keys() and len(mine["state"]) == len(list(model.parameters()))
    for name, values in mine["state"].items():
        assert values["step"] == back["state"][name]["step"] == 1
        for key in ("exp_avg", "exp_avg_sq"):
            assert values[key].array.any()
            assert values[key].array.tobytes() == back["state"][name][key].array.tobytes()


def test_the_manifest_names_shape_slice_file_and_hash_of_each_tensor_once(tmp_path):
    model = save(tmp_path / "c")
    content = manifest.read(str(tmp_path / "c" / "manifest.json"))
    assert sorted(e["name"] for e in content["tensors"]) == sorted(n for n, _ in model.named_parameters())
    entry = content["tensors"][0]
    assert entry.keys() == {"name", "dtype", "shape", "slice", "file", "sha256"}
    assert entry["slice"] == [[0, n] for n in entry["shape"]] and entry["file"] in content["files"]
    assert config.load(str(tmp_path / "c" / "config.toml"), config.Config()) == micro()


def test_a_second_save_replaces_the_first_and_leaves_nothing_over(tmp_path):
    save(tmp_path, 1, optimizer=stepped_optimizer(build_model(micro().model, TOKENIZER.vocab_size, seed=1)))
    second = save(tmp_path, 2)
    assert set(os.listdir(tmp_path)) == {"manifest.json", "model.safetensors", "tokenizer.json", "config.toml"}
    back, _, saved = load_model(str(tmp_path))
    assert saved.step == 2
    assert back.lm_head.weight.array.tobytes() == second.lm_head.weight.array.tobytes()


def test_removing_a_checkpoint_leaves_the_files_of_others(tmp_path):
    save(tmp_path)
    (tmp_path / ".model.safetensors.12-0123abcd.tmp").write_text("cut off")
    (tmp_path / "notes.txt").write_text("mine")
    checkpoint.remove(str(tmp_path))
    assert os.listdir(tmp_path) == ["notes.txt"]
    checkpoint.remove(str(tmp_path / "absent"))


def test_removing_a_link_leaves_what_it_points_to(tmp_path):
    save(tmp_path / "mine")
    (tmp_path / "step-00000001").symlink_to(tmp_path / "mine")
    checkpoint.remove(str(tmp_path / "step-00000001"))
    assert os.listdir(tmp_path) == ["mine"] and load_model(str(tmp_path / "mine"))


def test_a_manifest_that_is_no_file_is_refused(tmp_path):
    save(tmp_path)
    text = (tmp_path / "manifest.json").rename(tmp_path / "elsewhere")
    os.mkfifo(tmp_path / "manifest.json")
    with pytest.raises(CheckpointError, match="not a regular file"):
        checkpoint.load(str(tmp_path))
    (tmp_path / "manifest.json").unlink()
    (tmp_path / "manifest.json").symlink_to(text)
    with pytest.raises(CheckpointError, match="symbolic link"):
        checkpoint.load(str(tmp_path))


# --- the checkpoints of a run ---


def put(store: Store, step: int, model: GPT, **metrics: float) -> str:
    return store.save(step, model=model, tokenizer=TOKENIZER, config=micro(), metrics=metrics)


def test_the_newest_few_and_the_best_are_kept(tmp_path):
    store, model = Store(str(tmp_path), keep_last=2), build_model(micro().model, TOKENIZER.vocab_size, seed=1)
    with pytest.raises(CheckpointError, match="no run has saved"):
        store.newest()
    for step, loss in enumerate([3.0, 1.0, 1.0, 2.0, 4.0], 1):
        put(store, step, model, val_loss=loss)
    assert (store.steps(), store.best()) == ([2, 4, 5], 2)
    put(store, 6, model)  # not evaluated
    assert (store.steps(), store.best()) == ([2, 5, 6], 2)
    assert store.newest().step == load_model(str(tmp_path))[2].step == 6
    store.clear()
    assert store.steps() == [] and store.best() is None


def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_is_used(tmp_path):
    store, model = Store(str(tmp_path), keep_last=3), build_model(micro().model, TOKENIZER.vocab_size, seed=1)
    paths = [put(store, step, model) for step in (1, 2, 3)]
    with open(os.path.join(paths[2], "model.safetensors"), "r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\xff")
    os.unlink(os.path.join(paths[1], "tokenizer.json"))
    with pytest.warns(UserWarning) as warned:
        assert store.newest().step == 1
    assert [re.search("step-0000000[0-9]", str(w.message))[0] for w in warned] == ["step-00000003", "step-00000002"]
    assert all("going back to step 1" in str(w.message) for w in warned)
    os.unlink(os.path.join(paths[0], "config.toml"))
    with pytest.raises(CheckpointError, match="no whole checkpoint") as error:
        store.newest()
    assert all(path in str(error.value) for path in paths)


@pytest.mark.parametrize("forever", [False, True])
def test_whatever_call_fails_a_whole_checkpoint_stands(tmp_path, forever):
    folder, old = tmp_path / "run", tmp_path / "old"
    model = build_model(micro().model, TOKENIZER.vocab_size, seed=1)
    put(Store(str(old), keep_last=1), 1, model)
    failed = 0
    for n in range(1, 100):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(old, folder)
        store, calls = Store(str(folder), keep_last=1), 0

        def hook(name: str, path: str, n: int = n) -> None:
            nonlocal calls
            calls += 1
            if calls == n or (forever and calls > n):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        try:
            with _io.inject(hook), warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                put(store, 2, model)
        except OSError as error:
            assert error.errno == errno.ENOSPC and str(folder) in str(error)
        else:
            if calls < n:
                break
            assert "step 2 is saved, but step 1 cannot be removed" in str(said[0].message)
        failed += 1
        assert store.newest().step in (1, 2)
        assert not [name for _, _, names in os.walk(folder) for name in names if name.endswith(".tmp")]
        put(store, 2, model)  # what is left over never blocks the next save
        assert store.steps() == [2]
    assert failed > 25


def test_any_damage_is_found(tmp_path):
    save(tmp_path / "good", optimizer=stepped_optimizer(build_model(micro().model, TOKENIZER.vocab_size, seed=1)))
    rng = np.random.default_rng(0)
    for name in os.listdir(tmp_path / "good"):
        data = bytearray((tmp_path / "good" / name).read_bytes())
        for _ in range(10):
            folder = tmp_path / "bad"
            shutil.copytree(tmp_path / "good", folder, dirs_exist_ok=True)
            at = int(rng.integers(len(data)))
            changed = data.copy()
            changed[at] ^= 1 << int(rng.integers(8))
            (folder / name).write_bytes(changed)
            with pytest.raises(CheckpointError, match=re.escape(name)):
                checkpoint.load(str(folder))
            (folder / name).write_bytes(data[:at])
            with pytest.raises(CheckpointError, match=re.escape(name)):
                checkpoint.load(str(folder))
        folder = tmp_path / "lost"
        shutil.copytree(tmp_path / "good", folder, dirs_exist_ok=True)
        (folder / name).unlink()
        with pytest.raises(CheckpointError, match=re.escape(name)):
            checkpoint.load(str(folder))


def edit(path, change) -> None:
    content = manifest.read(str(path))
    change(content)
    path.write_text(manifest.render(content))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(format="x"), "not the manifest"),
        (lambda m: m.update(version=2), "version 2 of the format"),
        (lambda m: m["files"].pop("tokenizer.json"), "damaged manifest: KeyError 'tokenizer.json'"),
        (lambda m: m.pop("tensors"), "damaged manifest: KeyError 'tensors'"),
        (lambda m: m.update(files=[]), "damaged manifest"),
        (lambda m: m.update(tensors=5), "damaged manifest"),
        (lambda m: m["tensors"].append({}), "damaged manifest"),
        (lambda m: m["files"].update({"../x": {"bytes": 1, "hashed": 1, "sha256": ""}}), "none of a checkpoint's"),
        (lambda m: m["files"].update({"/etc/passwd": {"bytes": 1}}), "none of a checkpoint's"),
        (lambda m: m.update(tokenizer="0"), "fingerprint"),
        (lambda m: m["config"]["model"].update(n_layers=1), "did you mean model.n_layer"),
        (lambda m: m["tensors"][0].update(sha256="0"), "damaged"),
        (lambda m: m["tensors"][0].update(name="nobody"), "'nobody' is not in"),
        (lambda m: m["tensors"][0].update(shape=[1, 2]), "is a part"),
        (lambda m: m["tensors"][0].update(dtype="float64"), "expected float64"),
        (lambda m: m["model"].update(type="llama"), "'llama'; this version of tinyllm builds 'gpt'"),
        (lambda m: m["model"].update(n_layer="1"), "n_layer: expected an integer"),
        (lambda m: m["model"].update(n_head=3), "n_embd must be divisible"),
        (lambda m: m["model"].update(n_layer=2), "the model wants transformer.h.1.ln_1.weight"),
        (lambda m: m["model"].update(vocab_size=10**30), "it asks for 16000000.* parameters or more"),
        (lambda m: m["model"].update(n_layer=10**9), "it asks for .* parameters or more"),
        (lambda m: m["model"].update(n_layer=127), "it asks for 127 layers, the checkpoint has .* tensors"),
        (lambda m: m.update(step="7"), "damaged manifest: TypeError step '7'"),
        (lambda m: m.update(metrics={"val_loss": "low"}), "damaged manifest: TypeError step 1, metrics"),
        (lambda m: m.update(state="ab"), "damaged manifest: ValueError"),
        (lambda m: m["model"].update(n_embd=8), r"file has transformer.wte.weight \(\d+, 16\), the model wants"),
        (lambda m: m["tensors"].pop(), "the file lacks it"),
    ],
)  # fmt: skip
def test_a_manifest_that_cannot_be_is_refused(tmp_path, change, message):
    save(tmp_path)
    edit(tmp_path / "manifest.json", change)
    with pytest.raises(CheckpointError, match=message):
        load_model(str(tmp_path))


def test_what_is_no_manifest_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="manifest.json cannot be read"):
        checkpoint.load(str(tmp_path / "absent"))
    for text in (b"", b"[]", b"{", b"\xff", b"[" * 100_000, b"9" * 5000):
        (tmp_path / "manifest.json").write_bytes(text)
        with pytest.raises(CheckpointError, match="manifest"):
            checkpoint.load(str(tmp_path))


# --- a run that goes on ---


class Killed(BaseException):
    """Stands for the end of the process: nothing catches it."""


def run_settings(tmp_path, name: str = "run", **changes) -> config.Config:
    (tmp_path / "text").write_text(TEXT)
    base = {
        "data__text": str(tmp_path / "text"), "data__tokenizer": "char", "training__out": str(tmp_path / name),
        "training__steps": 25, "training__eval_every": 10, "training__eval_batches": 2, "training__save_every": 5,
        "training__log_every": 3, "training__accumulation": 2, "model__dropout": 0.1,
    }  # fmt: skip
    return micro(**base | changes)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> config.Config:
    """The settings of a run that has ended."""
    settings = run_settings(tmp_path_factory.mktemp("unbroken"))
    train(settings, quiet=True)
    return settings


@pytest.fixture(scope="module")
def unbroken(finished) -> dict[str, str]:
    return identity(finished.training.out)


def killed_at(calls: int):
    """A hook that ends the process, in effect, at a system call: every later one fails too, as there is none."""
    count = 0

    def hook(name: str, path: str) -> None:
        nonlocal count
        count += 1
        if count >= calls:
            raise Killed

    return hook


def resume(settings: config.Config, **keywords):
    return train(settings, start=find(settings.training.out), quiet=True, **keywords)


@pytest.mark.parametrize("calls", [104, 121, 134, 155, 174, 198, 215, 264])
def test_a_run_killed_at_a_system_call_ends_as_the_unbroken_one(tmp_path, unbroken, calls):
    settings = run_settings(tmp_path)
    with pytest.raises(Killed), _io.inject(killed_at(calls)):
        train(settings, quiet=True)
    resume(settings)
    assert identity(settings.training.out) == unbroken
    lines = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    assert len(lines) == len(set(lines)) and [json.loads(line)["step"] for line in lines] == sorted(
        r["step"] for r in log.read_log(settings.training.out)
    )


def test_the_check_of_identity_bites(tmp_path, unbroken):
    settings = run_settings(tmp_path)
    with pytest.raises(Killed), _io.inject(killed_at(200)):
        train(settings, quiet=True)
    assert 0 < find(settings.training.out).step < 25
    for part in CONTROLS:
        copy = config.replace(settings, training__out=str(tmp_path / f"without {part}"))
        shutil.copytree(settings.training.out, copy.training.out)
        drop(copy.training.out, part)
        resume(copy)
        assert identity(copy.training.out)["weights"] != unbroken["weights"], part


def test_resume_check_runs_processes_and_reports(tmp_path):
    rows = check(run_settings(tmp_path, training__log_every=1), str(tmp_path), kills=1)
    assert [row.good for row in rows] == [True] * 4, rows
    assert rows[0].found == "every byte equal" and all("seen in weights" in row.found for row in rows[1:])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model__n_layer": 2}, "model.n_layer: the checkpoint has 1, the configuration 2"),
        ({"data__tokenizer": "bpe"}, "data.tokenizer: the checkpoint has 'char', the configuration 'bpe'"),
        ({"training__seed": 3}, "training.seed: the checkpoint has 1337, the configuration 3"),
        ({"data__val_fraction": 0.2}, "data.val_fraction"),
        ({"training__steps": 24}, "the checkpoint has made 25 already"),
    ],
)
def test_another_run_is_not_a_continuation(tmp_path, changes, message):
    settings = run_settings(tmp_path)
    train(settings, quiet=True)
    with pytest.raises(CheckpointError, match=re.escape(message)):
        resume(config.replace(settings, **changes))
    train(settings, start=find(settings.training.out), quiet=True)  # nothing left to do: the same run


def test_another_text_is_refused_and_named(tmp_path):
    settings = run_settings(tmp_path)
    train(settings, quiet=True)
    (tmp_path / "text").write_text(TEXT.replace("cat", "cow"))
    with pytest.raises(CheckpointError, match="has SHA-256 .*, the checkpoint's had"):
        resume(settings)


def test_a_longer_run_goes_on_from_a_finished_one(tmp_path):
    settings = run_settings(tmp_path)
    train(settings, quiet=True)
    assert train(config.replace(settings, training__steps=30), start=find(settings.training.out), quiet=True)
    assert [r["step"] for r in log.read_log(settings.training.out) if "val_loss" in r] == [10, 20, 25, 30]


def test_weights_only_starts_a_new_run(tmp_path):
    settings = run_settings(tmp_path)
    train(settings, quiet=True)
    start = find(settings.training.out)
    fresh = run_settings(tmp_path, "fresh", training__steps=1)
    fresh = config.replace(fresh, optimizer=config.OptimizerConfig(learning_rate=1e-9, min_lr=0.0))
    result = train(fresh, start=start, weights_only=True, quiet=True)
    np.testing.assert_allclose(result.model.lm_head.weight.array, start.tensors["transformer.wte.weight"], atol=1e-6)
    assert find(fresh.training.out).step == 1
    with pytest.raises(CheckpointError, match=re.escape("model.n_embd")):
        train(config.replace(fresh, model__n_embd=32), start=start, weights_only=True)
    with pytest.raises(ConfigError, match="would replace the checkpoint that it starts from"):
        train(settings, start=start, weights_only=True)


def test_an_unfinished_run_is_not_replaced_by_a_new_one(tmp_path):
    settings = run_settings(tmp_path)
    with pytest.raises(Killed), _io.inject(killed_at(200)):
        train(settings, quiet=True)
    before = identity(settings.training.out)
    with pytest.raises(ConfigError, match="holds a run that stopped at step .* of 25: go on with tinyllm train"):
        train(settings, quiet=True)
    assert identity(settings.training.out) == before


def test_what_a_kill_kept_from_being_removed_is_removed_when_the_run_goes_on(tmp_path):
    settings = run_settings(tmp_path, training__keep_last=1)
    train(settings, quiet=True)
    store = Store(settings.training.out)
    for step in (15, 20):
        shutil.copytree(store.path(25), store.path(step))
    (tmp_path / "run" / "checkpoints" / "step-00000015" / "manifest.json").unlink()
    edit(tmp_path / "run" / "checkpoints" / "step-00000020" / "manifest.json", lambda m: m.update(metrics={}))
    (tmp_path / "run" / ".train.tokens.12-0123abcd.tmp").write_text("cut off")
    resume(settings)
    assert not (tmp_path / "run" / ".train.tokens.12-0123abcd.tmp").exists()
    assert os.listdir(store.directory) == ["step-00000025"]


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m["state"].pop("data"),
        lambda m: m["state"]["data"].update(text=1),
        lambda m: m["state"]["log"].update(jsonl=-1),
        lambda m: m["state"]["trainer"].update(step=24),
        lambda m: m["state"]["trainer"].update(sampler=[]),
        lambda m: m["state"]["trainer"]["sampler"].update(seed=10**30),
        lambda m: m["state"]["trainer"]["random"].update(seed=2**40),
        lambda m: m["state"]["trainer"]["random"].update(counts=5),
        lambda m: m["optimizer"].pop("param_groups"),
        lambda m: m["optimizer"]["param_groups"].pop(),
        lambda m: m["optimizer"]["param_groups"][0].update(params=None),
        lambda m: m["optimizer"]["state"].update(nobody={}),
    ],
)
def test_a_state_that_cannot_be_is_refused(tmp_path_factory, finished, change):
    folder = tmp_path_factory.mktemp("state")
    settings = config.replace(finished, training__out=str(folder / "run"))
    shutil.copytree(finished.training.out, settings.training.out)
    path = folder / "run" / "checkpoints" / "step-00000025"
    edit(path / "manifest.json", change)
    with pytest.raises(CheckpointError):
        train(settings, start=checkpoint.load(str(path)), quiet=True)


def test_a_run_does_not_go_on_into_files_of_others(tmp_path):
    settings = run_settings(tmp_path)
    train(settings, quiet=True)
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "run" / "log.csv").unlink()
    (tmp_path / "run" / "log.csv").symlink_to(tmp_path / "mine")
    with pytest.raises(CheckpointError, match="log.csv is not a regular file"):
        resume(settings)
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_link_is_no_checkpoint_of_a_run(tmp_path):
    store, model = Store(str(tmp_path)), build_model(micro().model, TOKENIZER.vocab_size, seed=1)
    put(store, 1, model)
    os.symlink(store.path(1), store.path(2))
    assert store.steps() == [1]
    store.tidy(1)
    assert store.newest().step == 1


def test_a_checkpoint_that_cannot_be_read_is_passed_over(tmp_path, monkeypatch):
    store, model = Store(str(tmp_path)), build_model(micro().model, TOKENIZER.vocab_size, seed=1)
    paths = [put(store, step, model) for step in (1, 2)]
    real = _io.open_file

    def bad_sector(path, *follow):
        if path == os.path.join(paths[1], "tokenizer.json"):
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)
        return real(path, *follow)

    monkeypatch.setattr(_io, "open_file", lambda path, follow=True: bad_sector(path, follow))
    with pytest.warns(UserWarning, match="tokenizer.json cannot be read: Input/output error; going back to step 1"):
        assert store.newest().step == 1


def test_token_files_that_are_lost_or_damaged_are_made_again(tmp_path, unbroken):
    settings = run_settings(tmp_path)
    with pytest.raises(Killed), _io.inject(killed_at(200)):
        train(settings, quiet=True)
    (tmp_path / "run" / "val.tokens").unlink()
    with open(tmp_path / "run" / "train.tokens", "r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\1")
    resume(settings)
    assert identity(settings.training.out) == unbroken


def test_a_log_that_is_gone_is_started_anew_with_a_warning(tmp_path):
    settings = run_settings(tmp_path)
    with pytest.raises(Killed), _io.inject(killed_at(200)):
        train(settings, quiet=True)
    (tmp_path / "run" / "log.jsonl").unlink()
    with pytest.warns(UserWarning, match="the log starts anew"):
        resume(settings)
    assert log.read_log(settings.training.out)[-1]["step"] == 25


def test_a_save_that_fails_on_the_way_is_a_warning_and_the_last_one_an_error(tmp_path):
    settings = run_settings(tmp_path)

    def full(name: str, path: str) -> None:
        if name == "write" and "step-00000010" in path:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with _io.inject(full), pytest.warns(UserWarning, match="step 10 is not saved.*training goes on"):
        train(settings, quiet=True)

    def full_at_the_end(name: str, path: str) -> None:
        if name == "write" and "step-00000025" in path:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    other = run_settings(tmp_path, "other")
    with _io.inject(full_at_the_end), pytest.raises(OSError, match="step-00000025"):
        train(other, quiet=True)
    assert find(other.training.out).step == 20


# --- signals ---


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("place", ["step", "evaluation"])
def test_a_signal_saves_and_stops_and_the_run_goes_on(tmp_path, unbroken, monkeypatch, number, place):
    settings = run_settings(tmp_path)
    inside, calls = loop.summed_loss, 0

    def interrupted(model, *batch):
        nonlocal calls
        calls += model.training == (place == "step")
        if calls == (13 if place == "step" else 2):
            calls += 100
            os.kill(os.getpid(), number)
        return inside(model, *batch)

    outside = signal.signal(number, signal.default_int_handler)  # a shell's background job starts with SIGINT ignored
    try:
        monkeypatch.setattr(loop, "summed_loss", interrupted)
        with pytest.raises(Interrupted, match="go on with: tinyllm train --resume") as error:
            train(settings, quiet=True)
        assert error.value.signum == number and signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, outside)
    assert find(settings.training.out).step == (7 if place == "step" else 10)
    monkeypatch.undo()
    resume(settings)
    assert identity(settings.training.out) == unbroken


def test_a_signal_that_is_ignored_stays_ignored(tmp_path, monkeypatch):
    inside = loop.summed_loss

    def interrupted(*args):
        os.kill(os.getpid(), signal.SIGINT)
        return inside(*args)

    monkeypatch.setattr(loop, "summed_loss", interrupted)
    outside = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        train(run_settings(tmp_path, training__steps=3), quiet=True)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, outside)


def test_training_in_another_thread_leaves_signals_alone(tmp_path):
    before, errors = signal.getsignal(signal.SIGTERM), []
    settings = run_settings(tmp_path, training__steps=1)

    def work() -> None:
        try:
            train(settings, quiet=True)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not errors and signal.getsignal(signal.SIGTERM) is before


def test_the_command_line_says_how_to_go_on(tmp_path):
    settings = run_settings(tmp_path, training__steps=100_000, training__log_every=1)
    (tmp_path / "run.toml").write_text(config.dumps(settings))
    command = [sys.executable, "-m", "tinyllm", "train"]
    with subprocess.Popen([*command, "--config", str(tmp_path / "run.toml")], stderr=subprocess.PIPE) as process:
        while b"loss" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert f"go on with: tinyllm train --resume {settings.training.out}".encode() in errors
    made = find(settings.training.out).step
    done = subprocess.run([*command, "--resume", settings.training.out, "--training.steps", str(made + 2)])
    assert done.returncode == 0 and find(settings.training.out).step == made + 2


# --- which runs there are ---


def test_runs_are_listed_with_their_state(tmp_path, capsys):
    finished, stopped = run_settings(tmp_path, "runs/a"), run_settings(tmp_path, "runs/b/c")
    train(finished, quiet=True)
    with pytest.raises(Killed), _io.inject(killed_at(200)):
        train(stopped, quiet=True)
    shown = {run.directory: run for run in find_runs(str(tmp_path / "runs"))}
    a, c = shown[finished.training.out], shown[stopped.training.out]
    assert (a.state, a.step, a.steps) == ("finished", 25, 25) and c.state == "stopped" and 5 <= c.step < 25
    records = log.read_log(a.directory)
    assert a.best_val_loss == min(r["val_loss"] for r in records if "val_loss" in r) and a.loss == records[-2]["loss"]
    path = next(iter((tmp_path / "runs" / "a" / "checkpoints").glob("*25/manifest.json")))
    path.write_text("{}")
    assert read_run(a.directory).state == "damaged"
    assert cli.main(["runs", str(tmp_path / "runs")]) == 0
    assert "damaged" in (out := capsys.readouterr().out) and "25/?" in out
    assert cli.main(["runs", str(tmp_path / "run")]) == 1 and "no runs in" in capsys.readouterr().err


def test_a_run_is_running_while_a_process_writes_its_log_and_no_other_may(tmp_path):
    settings = run_settings(tmp_path)
    _io.make_directory(settings.training.out)
    with log.RunLog(settings.training.out) as held:
        held.write({"step": 1, "loss": 2.0})
        assert read_run(settings.training.out).state == "running"
        with pytest.raises(ConfigError, match="another process trains there"):
            train(settings, quiet=True)
        assert log.read_log(settings.training.out) == [{"step": 1, "loss": 2.0}]
    assert read_run(settings.training.out).state == "stopped"


def test_curves_of_runs_are_compared(tmp_path, capsys):
    for name in ("one", "two"):
        train(run_settings(tmp_path, name), quiet=True)
    picture = tmp_path / "both.svg"
    assert cli.main(["plot", str(tmp_path / "one"), str(tmp_path / "two"), "--out", str(picture)]) == 0
    text = picture.read_text()
    assert "one (validation)" in text and "two (validation)" in text and text.count("<circle") == 6


def test_half_a_line_that_a_power_cut_left_is_no_record(tmp_path):
    with log.RunLog(str(tmp_path)) as writer:
        writer.write({"step": 1, "loss": 2.0})
    with open(tmp_path / "log.jsonl", "a") as file:
        file.write('{"step": 2, "lo')
    assert log.read_log(str(tmp_path)) == [{"step": 1, "loss": 2.0}]


def test_the_log_says_what_the_memory_was_for(tmp_path):
    settings = run_settings(tmp_path, model__n_embd=64, model__dropout=0.0)
    result = train(settings, quiet=True)
    record = next(r for r in log.read_log(settings.training.out) if r["step"] == 24)
    big = sum(p.array.nbytes for p in result.model.parameters() if p.array.nbytes >= memory.SMALL)
    assert record["parameter_bytes"] >= big > 0 and record["optimizer_bytes"] >= 2 * big
    assert record["activation_bytes"] > 0 and record["gradient_bytes"] > 0
    assert record["peak_bytes"] <= sum(record[f"{kind}_bytes"] for kind in memory.KINDS if kind != "communication")
