"""Who may import whom, read from the source: every import of the package, at the top or inside a function, is checked
against the layers of docs/architecture.md. And what importing costs, read from sys.modules: never a timing.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import tinyllm

PACKAGE = Path(tinyllm.__file__).parent
MODULES = {".".join(p.relative_to(PACKAGE.parent).with_suffix("").parts): p for p in sorted(PACKAGE.rglob("*.py"))}

# Lowest first; a room is a module or a package directly below tinyllm. A room imports from the layers below its own,
# and from its own layer what LEVEL allows.
LAYERS = [
    ["errors", "_version", "_io", "random", "config"],
    ["formats", "dtypes"],
    ["backend"],
    ["op", "recording", "tape", "autograd"],
    ["ops"],
    ["functions", "_tensor", "creation", "tokenizers"],
    ["optim", "nn"],
    ["models", "data"],
    ["generation"],
    ["training"],
    ["doctor", "cli", "__main__"],
]
HEIGHT = {room: height for height, layer in enumerate(LAYERS) for room in layer}
LEVEL = {
    "config": {"errors", "_io"},
    "tape": {"op", "recording"},
    "recording": {"tape"},  # by name only
    "autograd": {"op", "recording", "tape"},
    "functions": {"_tensor"},  # one thing in two rooms
    "_tensor": {"functions"},
    "creation": {"functions", "_tensor"},
    "nn": {"optim"},
    "cli": {"doctor"},
    "__main__": {"cli"},
}
# Tokenizers stand beside the engine: they need the floor alone.
ONLY = {"tokenizers": {"errors", "_io", "random", "config"}}

# Other people's packages, and the rooms that may import them.
OUTSIDE = {
    "cffi": {"backend"},
    "rich": {"training"},
    "tyro": {"config"},
    "matplotlib": {"training"},
    "regex": {"tokenizers"},
    "unicodedata2": {"tokenizers"},
    "snowballstemmer": {"tokenizers"},
    "simplemma": {"tokenizers"},
    "numpy": set(HEIGHT) - {"errors", "_version", "_io", "random", "config", "cli", "__main__"},
}
FORBIDDEN_CALLS = {"eval", "exec", "__import__"}
FORBIDDEN_MODULES = {"pickle", "marshal", "shelve", "dbm", "socket", "urllib", "http", "ftplib"}


def room(module: str) -> str:
    """`tinyllm.nn.layers` is in the room nn; `tinyllm` itself is the room of whatever name is asked of it."""
    return module.split(".")[1]


def imports(name: str, path: Path) -> Iterator[tuple[int, str]]:
    """(line, full name of the module) of each import, also those by `import_module` with a plain string."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    package = package.removesuffix(".__init__")
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            above = parts[: len(parts) - node.level + 1] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            for alias in node.names:
                if base == "tinyllm":  # a room, or a name that the package looks up in one
                    yield node.lineno, f"tinyllm.{tinyllm._home(alias.name) or alias.name}"
                else:
                    yield node.lineno, base
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            if isinstance(node.args[0], ast.Constant):
                yield node.lineno, node.args[0].value


ROOMS = {name: path for name, path in MODULES.items() if name != "tinyllm.__init__"}


def test_every_room_has_a_layer():
    assert {room(name) for name in ROOMS} == set(HEIGHT)


@pytest.mark.parametrize("name", ROOMS)
def test_imports_go_downward(name):
    own = room(name)
    for line, target in imports(name, ROOMS[name]):
        if not target.startswith("tinyllm."):
            continue
        other = room(target)
        if other in (own, "__version__"):
            continue
        allowed = ONLY.get(own) or {r for r in HEIGHT if HEIGHT[r] < HEIGHT[own]} | LEVEL.get(own, set())
        assert other in allowed, f"{ROOMS[name]}:{line}: {own} imports {other}, which is not below it"


@pytest.mark.parametrize("name", MODULES)
def test_only_the_chosen_packages_are_imported_and_each_in_its_room(name):
    own = "" if name == "tinyllm.__init__" else room(name)
    for line, target in imports(name, MODULES[name]):
        top = target.split(".")[0]
        where = f"{MODULES[name]}:{line}"
        assert top not in FORBIDDEN_MODULES, f"{where}: {top} is not used here"
        if top != "tinyllm" and top not in sys.stdlib_module_names:
            assert own in OUTSIDE.get(top, ()), f"{where}: {own or 'tinyllm'} imports {top}"


@pytest.mark.parametrize("name", MODULES)
def test_nothing_is_evaluated_or_unpickled(name):
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name):
                assert node.func.id not in FORBIDDEN_CALLS, f"{MODULES[name]}:{node.lineno}: {node.func.id}"
            for keyword in node.keywords:
                pickles = keyword.arg == "allow_pickle" and not (
                    isinstance(keyword.value, ast.Constant) and keyword.value.value is False
                )
                assert not pickles, f"{MODULES[name]}:{node.lineno}: allow_pickle"


def test_the_walk_sees_what_it_should(tmp_path):
    """The checks above can fail: each form of an import is seen."""
    path = tmp_path / "layers.py"
    path.write_text(
        "import torch.nn\nfrom .. import Tensor, models\nfrom ..training import loop\nfrom .cache import KVCache\n"
        "def f():\n    import_module('pickle')\n    from tinyllm.cli import main\n"
    )
    expected = ["torch.nn", "tinyllm._tensor", "tinyllm.models", "tinyllm.training", "tinyllm.nn.cache", "pickle"]
    assert sorted(target for _, target in imports("tinyllm.nn.layers", path)) == sorted([*expected, "tinyllm.cli"])


def loaded_by(code: str) -> set[str]:
    """The modules that `code` adds in a fresh interpreter, which must print nothing."""
    script = f"import sys\nbefore = set(sys.modules)\n{code}\nprint(*(set(sys.modules) - before), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    return set(done.stderr.split())


def test_importing_tinyllm_loads_nothing_else():
    """Two small modules; over `import numpy` nothing more. That is what keeps the cost below its limit of 40 ms."""
    new = loaded_by("import tinyllm")
    ours = {"tinyllm", "tinyllm._version"}
    assert {name for name in new if name.split(".")[0] not in sys.stdlib_module_names} == ours
    assert loaded_by("import numpy, importlib, typing; before = set(sys.modules); import tinyllm") == ours


def test_importing_every_room_prints_nothing_and_starts_no_thread():
    rooms = sorted({room(name) for name in ROOMS} - {"__main__"})
    code = "import os, numpy\n"
    code += "def threads(): return len(os.listdir('/proc/self/task')) if os.path.isdir('/proc/self/task') else 1\n"
    code += f"count = threads()\nimport {', '.join(f'tinyllm.{name}' for name in rooms)}\nassert threads() == count"
    new = loaded_by(code)
    assert "tinyllm.training" in new
    assert not {"rich", "tyro", "matplotlib", "regex"} & new


@pytest.mark.parametrize("name", [n for n in dir(tinyllm) if n != "__version__"])
def test_every_public_name_is_found(name):
    assert getattr(tinyllm, name) is not None
    assert name in vars(tinyllm), "looked up once, then an ordinary attribute"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'tensro'"):
        tinyllm.tensro  # noqa: B018


def test_tests_have_no_network():
    import socket

    with pytest.raises(RuntimeError, match="looks up 'localhost'"):
        socket.getaddrinfo("localhost", 80)
    with socket.socket() as one, pytest.raises(RuntimeError, match="connects to"):
        one.connect(("127.0.0.1", 9))
