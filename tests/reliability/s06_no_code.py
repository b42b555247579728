"""S6: files are data. Nothing in a checkpoint, tokenizer, configuration, data set or log is executed or followed.

The package's source has none of the functions that would (an AST gate, tried on sources that have them). While files
are loaded, an audit hook sees every import, compilation, execution, process, socket and library, and every file that is
opened: none but those of the directory. Then hostile directories: files replaced by links, pipes, devices and
folders, manifests that name files elsewhere; each is refused, by a CheckpointError, before anything is opened.
"""

from __future__ import annotations

import ast
import contextlib
import json
import os
import shutil
import signal
import stat
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from common import ROOT, Bar, run_bar
from micro import Small, fast_folder, prepare, run_config

from tinyllm import config, tokenizers
from tinyllm.data import TokenFile, read_text
from tinyllm.errors import CheckpointError
from tinyllm.tokenizers.formats import sentencepiece
from tinyllm.tokenizers.formats.convert import convert
from tinyllm.training import Store, checkpoint, load_model, manifest, train
from tinyllm.training.log import read_log
from tinyllm.training.store import find

MODULES = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "yaml", "socket", "urllib", "http", "ftplib",
           "ctypes", "requests"}  # fmt: skip
CALLS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "yaml.load", "np.load", "numpy.load",
         "runpy.run_path"}  # fmt: skip
KEYWORDS = {"shell", "allow_pickle"}
PROCESSES = {"tinyllm/training/resume_check.py", "tinyllm/backend/_build.py"}
"""Modules that start programs: this Python, or the compiler."""


def offences(source: str) -> list[str]:
    """What a source has that could run what a file says."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [x.name for x in node.names if x.name.split(".")[0] in MODULES]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in MODULES:
            found.append(str(node.module))
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name in CALLS:
                found.append(name)
            given = {k.arg: k.value for k in node.keywords if k.arg in KEYWORDS}
            found += [f"{k}=" for k, x in given.items() if not (isinstance(x, ast.Constant) and x.value is False)]
    return found


def source(bar: Bar) -> None:
    paths = sorted((ROOT / "tinyllm").rglob("*.py"))
    for path in paths:
        name = path.relative_to(ROOT).as_posix()
        for offence in offences(path.read_text()):
            bar.failed(f"{name} uses {offence}")
        if "subprocess" in path.read_text() and name not in PROCESSES:
            bar.failed(f"{name} starts processes")
    bar.passed(len(paths), "modules without eval, pickle, sockets and the like")
    bad = ["import pickle", "from urllib import request", "import yaml\nyaml.load(x)", "eval(x)", "exec(x)",
           "np.load(f, allow_pickle=True)", "run(x, shell=True)", "os.system(x)", "def f():\n  import marshal",
           "compile(x, '', 'exec')", "__import__(x)", "import ctypes"]  # fmt: skip
    for text in bad:
        if not offences(text):
            bar.failed(f"the gate lets {text!r} pass")
    bar.passed(len(bad), "control: sources that the gate must refuse")


class Audit:
    """What Python did while it was on that loading data must not do. A hook can't be removed, only be idle."""

    FORBIDDEN = ("import", "compile", "exec", "subprocess.", "os.system", "os.exec", "os.fork", "os.posix_spawn",
                 "socket.", "ctypes.", "code.", "marshal.", "pickle.", "urllib.", "os.remove", "os.rename", "os.mkdir",
                 "os.truncate", "shutil.")  # fmt: skip

    def __init__(self) -> None:
        self.inside, self.seen = "", list[str]()
        sys.addaudithook(self.hook)

    def hook(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.inside:
            return
        if event.startswith(self.FORBIDDEN):
            self.seen.append(f"{event} {str(args[0] if args else '')[:80]}")
        elif event == "open" and isinstance(args[0], str | bytes | os.PathLike):
            path, flags = os.path.abspath(os.fsdecode(args[0])), args[2] or 0
            folder, name = os.path.split(path)
            path = os.path.join(os.path.realpath(folder), name) if flags & os.O_NOFOLLOW else os.path.realpath(path)
            if not path.startswith(self.inside + os.sep) or flags & (os.O_WRONLY | os.O_RDWR):
                self.seen.append(f"open {path}")

    @contextlib.contextmanager
    def of(self, directory: str) -> Iterator[list[str]]:
        """Within it the list that it gives collects what is forbidden: `directory` alone may be read."""
        self.seen, self.inside = [], os.path.realpath(directory)
        try:
            yield self.seen
        finally:
            self.inside = ""


def tokenizer_files(folder: str) -> dict[str, dict[str, Any]]:
    """Tokenizers in every format, written to `folder`: the names of the files, and what `load` must be told."""
    gpt = tokenizers.BPETokenizer.train("to be or not to be", 260, ["<s>"])
    fallback = [sentencepiece.Piece(f"<0x{byte:02X}>", 0.0, sentencepiece.BYTE) for byte in range(256)]
    proto = sentencepiece.ModelProto(fallback, sentencepiece.BPE, byte_fallback=True)
    for name in "gpt.json", "vocab.json", "gpt.tiktoken":
        convert(gpt, os.path.join(folder, name))
    Path(folder, "spm.model").write_bytes(sentencepiece.write_proto(proto))
    Path(folder, "vocab.txt").write_text("[UNK]\nto\nbe\n")
    special: dict[str, Any] = {"special_tokens": ["<s>"]}
    return {"gpt.json": {}, "vocab.json": special, "merges.txt": special, "gpt.tiktoken": {"pattern": "gpt2"},
            "spm.model": {}, "vocab.txt": {}}  # fmt: skip


def loads(bar: Bar, audit: Audit, root: str) -> str:
    """Load everything that a run leaves; the run's directory."""
    settings = run_config(root, training__steps=10)
    train(settings, quiet=True)
    out = settings.training.out
    shutil.move(settings.data.text, os.path.join(out, "text"))
    step = Store(out).path(10)
    ways: dict[str, Callable[[], object]] = {
        "a model, by its run": lambda: load_model(out),
        "a model, by its checkpoint": lambda: load_model(step),
        "a checkpoint": lambda: find(out),
        "a tokenizer": lambda: tokenizers.load(os.path.join(step, "tokenizer.json")),
        "a configuration": lambda: config.load(os.path.join(step, "config.toml"), config.Config()),
        "a data set": lambda: TokenFile(os.path.join(out, "train.tokens")).read(0, 100),
        "a text": lambda: read_text(os.path.join(out, "text")),
        "a log": lambda: read_log(out),
    }
    for name, options in tokenizer_files(out).items():
        ways[f"a tokenizer, {name}"] = partial(tokenizers.load, os.path.join(out, name), **options)
    for load in ways.values():  # what is imported at first use is not the files' doing
        load()
    for what, load in ways.items():
        with audit.of(out) as seen:
            load()
        if seen:
            bar.failed(f"loading {what}: {', '.join(dict.fromkeys(seen))}")
    bar.passed(len(ways), "kinds of files loaded under an audit hook")
    with audit.of(out) as seen:
        eval("1 + 1")
        open(os.devnull).close()
    if len(seen) < 3:
        bar.failed(f"the audit hook saw only {seen}")
    return out


ELSEWHERE = ("../x", "../../x", "/etc/passwd", "//etc/passwd", "./model.safetensors", "x/../model.safetensors", "..",
             ".", "", "~/x", "$HOME", "file:///etc/passwd", "model.safetensors/", "model.safetensors\0",
             "MODEL.SAFETENSORS", "manifest.json", "..\\x", "C:\\x", "\udc80", "model.safetensors\n")  # fmt: skip
"""Names of files that are none of a checkpoint's."""


def names_elsewhere(small: Small, root: str) -> Iterator[tuple[str, str]]:
    """Checkpoints whose manifest, hash and all, names something else: what it is, and the directory."""
    store = Store(os.path.join(root, "named"))
    path = small.save(store, 1)
    file = os.path.join(path, manifest.NAME)
    good = manifest.read(file)
    facts = good["files"][checkpoint.WEIGHTS]

    def changes(name: str) -> Iterator[tuple[str, Callable[[dict[str, Any]], object]]]:
        yield "one more file", lambda m: m["files"].update({name: facts})
        yield "a renamed file", lambda m: m["files"].update({name: m["files"].pop(checkpoint.WEIGHTS)})
        yield "a tensor's file", lambda m: m["tensors"][0].update(file=name)
        yield "a tensor's name", lambda m: m["tensors"][0].update(name=name)

    for name in ELSEWHERE:
        for what, change in changes(name):
            content = json.loads(json.dumps(good))
            change(content)
            Path(file).write_text(manifest.render(content))
            yield f"{what} is {name!r}", path
    Path(file).write_text(manifest.render(good))


def placed(path: str, elsewhere: str) -> Iterator[str]:
    """Put things that are no regular file of the directory in the place of a file, one after another."""
    whole = os.path.join(elsewhere, "whole")
    shutil.move(path, whole)

    def device() -> None:
        os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 5))  # /dev/zero

    makers: dict[str, Callable[[], object]] = {
        "a link to the file elsewhere": lambda: os.symlink(whole, path),
        "a relative link": lambda: os.symlink(os.path.relpath(whole, os.path.dirname(path)), path),
        "a link to a device": lambda: os.symlink("/dev/zero", path),
        "a link to nothing": lambda: os.symlink(os.path.join(elsewhere, "nothing"), path),
        "a link to itself": lambda: os.symlink(path, path),
        "a pipe": lambda: os.mkfifo(path),
        "a folder": lambda: os.mkdir(path),
        "a device": device,
        "nothing": lambda: None,
    }
    for what, make in makers.items():
        try:
            make()
        except PermissionError:  # devices are for root
            continue
        yield what
        if os.path.lexists(path):
            os.rmdir(path) if os.path.isdir(path) and not os.path.islink(path) else os.unlink(path)
    shutil.move(whole, path)


def refused(bar: Bar, audit: Audit, directory: str, what: str, load: Callable[[], object]) -> None:
    """Loading must end, soon, with a CheckpointError, and open nothing but what is in the directory."""
    signal.alarm(10)
    with audit.of(directory) as seen:
        try:
            load()
            bar.failed(f"{what}: accepted")
        except CheckpointError:
            pass
        except Exception as error:
            bar.failed(f"{what}: {error!r}")
    signal.alarm(0)
    if seen:
        bar.failed(f"{what}: {', '.join(seen)}")


def hostile(bar: Bar, audit: Audit, root: str, out: str) -> None:
    small, elsewhere = Small(), os.path.join(root, "elsewhere")
    os.mkdir(elsewhere)
    cases = 0
    for what, path in names_elsewhere(small, root):
        refused(bar, audit, path, what, partial(checkpoint.load, path))
        cases += 1
    bar.passed(cases, "manifests that name files elsewhere")

    run = os.path.join(root, "placed")
    path = small.save(Store(run), 1)
    loads = {"load": lambda: checkpoint.load(path), "find": lambda: find(run), "load_model": lambda: load_model(run)}
    cases = 0
    for name in sorted(os.listdir(path)):
        for what in placed(os.path.join(path, name), elsewhere):
            for how, load in loads.items():
                refused(bar, audit, run, f"{how}: {name} is {what}", load)
                cases += 1
    checkpoint.load(path)
    whole = os.path.join(elsewhere, "step")
    shutil.move(path, whole)
    os.symlink(whole, path)
    refused(bar, audit, run, "the checkpoint is a link", loads["find"])
    bar.passed(cases + 1, "links, pipes, devices and folders in the place of a checkpoint's files")

    start, cases = find(out), 0
    settings = config.replace(start.config, training__steps=20, data__text=os.path.join(out, "text"))
    for name in ("log.jsonl", "log.csv", "train.tokens", "val.tokens"):
        for what in placed(os.path.join(out, name), elsewhere):
            if what != "nothing":  # a file that is lost is made again
                refused(bar, audit, out, f"a run goes on, its {name} is {what}",
                        partial(train, settings, start=start, quiet=True))  # fmt: skip
                cases += 1
    bar.passed(cases, "links, pipes, devices and folders in the place of a run's files")


def alarm(signum: int, frame: FrameType | None) -> None:
    raise TimeoutError("no end after 10 s")


def test(bar: Bar) -> None:
    prepare()
    signal.signal(signal.SIGALRM, alarm)
    source(bar)
    audit = Audit()
    with fast_folder() as root:
        out = loads(bar, audit, root)
        hostile(bar, audit, root, out)


if __name__ == "__main__":
    run_bar("S6", test)
