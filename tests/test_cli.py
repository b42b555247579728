"""The command line: output, exit codes, and what is not imported."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from typing import NamedTuple

import numpy as np
import pytest

from tinyllm import cli, doctor

TEXT = "the cat sat on the mat and the dog sat on the log; " * 12


class Done(NamedTuple):
    returncode: int
    stdout: bytes
    stderr: bytes


def run(*args: str, stdin: bytes = b"", cwd: str = ".") -> Done:
    """The command in this process: what it prints, byte for byte, and its exit code."""
    files = [io.TextIOWrapper(io.BytesIO(data), encoding="utf-8") for data in (stdin, b"", b"")]
    before = os.getcwd(), sys.stdin, sys.stdout, sys.stderr
    os.chdir(cwd)
    sys.stdin, sys.stdout, sys.stderr = files
    try:
        code = cli.main(args)
    except SystemExit as exit:  # argparse and tyro
        code = exit.code
    finally:
        os.chdir(before[0])
        sys.stdin, sys.stdout, sys.stderr = before[1:]
    for file in files:
        file.flush()
    return Done(code, files[1].buffer.getvalue(), files[2].buffer.getvalue())


def test_python_m_tinyllm_is_the_command():
    done = subprocess.run([sys.executable, "-m", "tinyllm", "trian"], capture_output=True, text=True)
    assert done.returncode == 2 and "did you mean train?" in done.stderr


def test_help_lists_the_commands():
    for args in ((), ("--help",), ("-h",), ("help",), ("tokenizer", "--help")):
        done = run(*args)
        assert done.returncode == 0 and done.stderr == b""
        for name in cli.COMMANDS:
            assert f"\n  {name}" in done.stdout.decode()
    assert run("--version").stdout.startswith(b"tinyllm ")


def test_help_loads_neither_numpy_nor_kernels():
    code = "import sys; from tinyllm.cli import main; main(['--help'])\nprint(*sorted(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stderr.split()
    heavy = {"numpy", "tyro", "rich", "cffi", "matplotlib", "tinyllm.backend", "argparse"}
    assert not heavy & set(loaded)
    assert not [name for name in loaded if "_kernels" in name or "tokenizers" in name]


@pytest.mark.parametrize("name", list(cli.COMMANDS))
def test_each_command_has_help(name):
    done = run(*name.split(), "--help")
    assert done.returncode == 0
    assert f"tinyllm {name}" in done.stdout.decode()


def test_unknown_commands_and_arguments_exit_with_2():
    done = run("trian")
    assert done.returncode == 2 and b"unknown command 'trian'; did you mean train?" in done.stderr
    assert run("tokenizer").returncode == 2
    assert b"unknown command 'tokenizer enc'; did you mean tokenizer encode?" in run("tokenizer", "enc").stderr
    assert run("generate").returncode == 2
    assert run("doctor", "--fast").returncode == 2
    assert run("train", "--training.setps", "3").returncode == 2


def test_train_then_generate(tmp_path):
    (tmp_path / "text").write_text(TEXT)
    (tmp_path / "run.toml").write_text("[training]\nsteps = 9999\nbatch_size = 4\n[data]\ntokenizer = 'char'\n")
    done = run(
        "train", "--preset", "cpu", "--config", "run.toml", "--data.text", "text", "--training.out", "run",
        "--training.steps", "12", "--model.n-layer", "1", "--model.n_embd", "16", "--model.n-positions", "8",
        cwd=str(tmp_path),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    assert b"validation loss" in done.stdout and b"checkpoints: run/checkpoints" in done.stdout
    manifest = json.loads((tmp_path / "run" / "checkpoints" / "step-00000012" / "manifest.json").read_text())
    assert manifest["config"]["training"] | {"steps": 12, "batch_size": 4} == manifest["config"]["training"]

    args = ("generate", "run", "--prompt", "the ", "--tokens", "20", "--seed", "3")
    one = run(*args, cwd=str(tmp_path))
    assert one.returncode == 0, one.stderr.decode()
    assert one.stdout.startswith(b"the ") and len(one.stdout) == 25
    assert one.stdout == run(*args, cwd=str(tmp_path)).stdout
    assert one.stdout != run(*args[:-1], "4", cwd=str(tmp_path)).stdout

    three = run(*args, "--samples", "3", cwd=str(tmp_path)).stdout
    assert three.startswith(b"--- 1 of 3\n" + one.stdout + b"--- 2 of 3\nthe ") and three.count(b"---") == 3
    beams = run(*args, "--beams", "2", "--stop", "zz", cwd=str(tmp_path))
    assert beams.returncode == 0 and beams.stdout.startswith(b"the ") and len(beams.stdout) == 25
    cut = run(*args, "--stop", one.stdout[10:12].decode(), cwd=str(tmp_path)).stdout
    assert cut == one.stdout[: one.stdout.index(one.stdout[10:12], 4)] + b"\n"
    assert run(*args, "--beams", "2", "--samples", "2", cwd=str(tmp_path)).returncode == 1

    said = run("chat", "run", "--tokens", "6", stdin=b"the cat\n\n/quit\nno", cwd=str(tmp_path))
    assert said.returncode == 0 and said.stdout.startswith(b"A base model:") and len(said.stdout) > 190

    refused = run("generate", "run", "--prompt", "\u4e2d", cwd=str(tmp_path))  # no such character in the text
    assert refused.returncode == 1 and refused.stderr.startswith(b"tinyllm generate: ") and not refused.stdout
    assert b"Traceback" not in refused.stderr


@pytest.mark.filterwarnings("always:.*can give at most:UserWarning", "always:.*no further pair:UserWarning")
def test_tokenizers_on_the_command_line(tmp_path):
    (tmp_path / "text").write_text(TEXT)
    done = run("tokenizer", "train", "text", "--vocab-size", "270", cwd=str(tmp_path))
    assert done.returncode == 0 and b"tokenizer.json: 270 tokens" in done.stdout
    data = "the cat \u4e2d\n".encode() + b"\xff\x00"
    ids = run("tokenizer", "encode", "tokenizer.json", stdin=data, cwd=str(tmp_path))
    assert ids.returncode == 0 and all(word.isdigit() for word in ids.stdout.split())
    back = run("tokenizer", "decode", "tokenizer.json", stdin=ids.stdout, cwd=str(tmp_path))
    assert back.returncode == 0 and back.stdout == data
    (tmp_path / "ids").write_bytes(ids.stdout)
    assert run("tokenizer", "decode", "tokenizer.json", "ids", cwd=str(tmp_path)).stdout == data
    bad = run("tokenizer", "decode", "tokenizer.json", stdin=b"1 x", cwd=str(tmp_path))
    assert bad.returncode == 1 and b"got b'x'" in bad.stderr
    long = run("tokenizer", "decode", "tokenizer.json", stdin=b"1" * 5000, cwd=str(tmp_path))
    assert long.returncode == 1 and b"expected token ids" in long.stderr
    large = run("tokenizer", "train", "text", "--vocab-size", "9999", "--out", "l.json", cwd=str(tmp_path))
    assert large.returncode == 0 and large.stderr.startswith(
        b"tinyllm tokenizer train: warning: vocab_size is 9999, but this text can give at most"
    )
    assert b".py" not in large.stderr
    chars = run("tokenizer", "train", "text", "--kind", "char", "--out", "chars.json", cwd=str(tmp_path))
    assert f"chars.json: {len(set(TEXT))} tokens".encode() in chars.stdout


@pytest.mark.filterwarnings("always:.*the vocabulary has:UserWarning", "always:.*can give at most:UserWarning")
@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "unigram", "word", "char"])
def test_special_tokens_and_threads_on_the_command_line(kind, tmp_path):
    (tmp_path / "text").write_text(TEXT)
    size = {"bpe": "270", "unigram": "19"}.get(kind, "40")
    command = ("tokenizer", "train", "text", "text", "--kind", kind, "--vocab-size", size, "--special", "<|a|>")
    made = []
    for more in (), ("--threads", "2", "--max-memory", "40"):
        assert run(*command, *more, cwd=str(tmp_path)).returncode == 0
        made.append((tmp_path / "tokenizer.json").read_bytes())
    assert made[0] == made[1]
    assert json.loads(made[0])["added_tokens"][-1]["content"] == "<|a|>"
    refused = run(*command, "--out", "x.model", cwd=str(tmp_path))
    assert refused.returncode == 1 and b"must end in .json, and `tinyllm tokenizer convert` writes" in refused.stderr
    assert not (tmp_path / "x.model").exists()


@pytest.mark.filterwarnings("always:.*can give at most:UserWarning")
def test_a_pattern_for_tiktoken_on_the_command_line(tmp_path):
    (tmp_path / "text").write_text(TEXT)
    run("tokenizer", "train", "text", "--vocab-size", "260", cwd=str(tmp_path))
    run("tokenizer", "convert", "tokenizer.json", "x.tiktoken", cwd=str(tmp_path))
    asked = run("tokenizer", "encode", "x.tiktoken", stdin=b"the cat", cwd=str(tmp_path))
    assert asked.returncode == 1 and b"pattern" in asked.stderr
    ids = run("tokenizer", "encode", "tokenizer.json", stdin=b"the cat", cwd=str(tmp_path)).stdout
    given = run("tokenizer", "encode", "x.tiktoken", "--pattern", "gpt2", stdin=b"the cat", cwd=str(tmp_path))
    assert given.returncode == 0 and len(given.stdout.split()) == len(ids.split())


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "unigram"])
def test_a_trace_on_the_command_line_ends_with_the_ids(kind, tmp_path):
    (tmp_path / "text").write_text(TEXT)
    size = {"bpe": "270", "wordpiece": "30", "unigram": "18"}[kind]
    assert run("tokenizer", "train", "text", "--kind", kind, "--vocab-size", size, cwd=str(tmp_path)).returncode == 0
    traced = run("tokenizer", "trace", "the cat sat", "--tokenizer", "tokenizer.json", "--json", cwd=str(tmp_path))
    pieces = json.loads(traced.stdout)[0]["pieces"]
    ids = run("tokenizer", "encode", "tokenizer.json", stdin=b"the cat sat", cwd=str(tmp_path)).stdout.split()
    assert [i for piece in pieces for i in piece["ids"]] == [int(i) for i in ids]
    shown = run("tokenizer", "trace", "the cat sat", "--tokenizer", "tokenizer.json", cwd=str(tmp_path)).stdout.decode()
    assert all(f"{token} {i}" in shown for piece in pieces for token, i in zip(piece["tokens"], piece["ids"]))  # noqa: B905


def test_the_example_runs_on_any_text(tmp_path):
    (tmp_path / "text").write_text(TEXT * 3)
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

    def example(*args: str) -> subprocess.CompletedProcess:
        command = [sys.executable, os.path.join(root, "examples", "train_shakespeare.py"), *args]
        env = os.environ | {
            "PYTHONPATH": root,
            "PYTHONWARNINGS": "ignore::UserWarning",
        }  # a text too short for 1,024 tokens
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)

    done = example("--data", "text", "--preset", "cpu", "--tokenizer", "bpe", "--steps", "2", "--out", "here")
    assert done.returncode == 0, done.stderr
    for part in (
        "validation loss over the whole split: ",
        " bits per byte",
        "curve: here/loss.svg",
        "--- a sample ---",
    ):
        assert part in done.stdout
    assert "expected" not in done.stdout  # that is for the recipe as it stands
    (tmp_path / "line").write_text("abcdefgh" * 100)  # no newline to start the sample with
    done = example("--data", "line", "--preset", "cpu", "--steps", "1")
    assert done.returncode == 0 and (tmp_path / "runs" / "shakespeare-cpu" / "loss.svg").exists()
    for args, message in (
        (("--data", "no"), "error: "),
        (("--steps", "0"), "error: training.steps is at least 1, got 0"),
    ):
        done = example(*args)
        assert done.returncode == 1 and done.stderr.startswith(message) and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("train", "--preset", "babe"), b"unknown preset 'babe'; did you mean baby?"),
        (("train", "--config", "absent.toml"), b"absent.toml"),
        (("train", "--data.text", "absent.txt"), b"absent.txt"),
        (("generate", "absent"), b"absent/manifest.json cannot be read"),
        (("generate", "absent", "--temperature", "-1"), b"temperature"),
        (("tokenizer", "encode", "absent.json"), b"absent.json"),
    ],
)
def test_errors_are_one_message_and_exit_code_1(tmp_path, args, message):
    done = run(*args, cwd=str(tmp_path))
    assert done.returncode == 1
    assert message in done.stderr and b"Traceback" not in done.stderr


def test_an_interrupt_exits_with_130(monkeypatch, capsys):
    def interrupted(args):
        raise KeyboardInterrupt

    monkeypatch.setitem(cli.COMMANDS, "doctor", interrupted)
    assert cli.main(["doctor"]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_doctor_passes_here(capsys):
    assert cli.main(["doctor"]) == 0
    out = capsys.readouterr().out
    for fact in ("backend", "instruction set", "threads", "compiler", "C kernels", "tokenizer core", "CUDA"):
        assert f"\n{fact} " in out
    assert out.count("ok    ") == 6 and out.endswith("all checks passed\n")


def test_doctor_fails_when_something_is_wrong(monkeypatch, capsys):
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    monkeypatch.setattr(doctor.safetensors, "parse", lambda *args: ({"x": x}, {}))  # reads anything
    monkeypatch.setattr(doctor, "CHECKS", (doctor.files, doctor.random_numbers))
    assert cli.main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "files                      FAIL  AssertionError: a truncated file was read" in out
    assert out.count("ok    ") == 1 and "some checks FAILED" in out
