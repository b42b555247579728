"""What the README and the pages of docs/ say, held to the code: each page's Python runs, commands and files exist.

The Python fences of a page are one program, run from top to bottom in an empty folder with warnings as errors. A fence
```text right below one is what it prints.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tinyllm import cli

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(?P<kind>\w+)\n(?P<body>.*?)^```\n", re.M | re.S)
MARK = "\0next fence\0"
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def fences(page: Path, kind: str) -> list[str]:
    return [m["body"] for m in FENCE.finditer(page.read_text()) if m["kind"] == kind]


def programs(page: Path) -> list[tuple[str, str | None]]:
    """(a Python fence, the text that follows it directly or None)."""
    text = page.read_text()
    found = []
    for m in FENCE.finditer(text):
        if m["kind"] == "python":
            below = FENCE.match(text[m.end() :].lstrip("\n"))
            found.append((m["body"], below["body"] if below and below["kind"] == "text" else None))
    return found


WITH_PYTHON = [page for page in PAGES if programs(page)]


@pytest.mark.parametrize("page", WITH_PYTHON, ids=lambda page: page.name)
def test_the_python_of_a_page_runs_and_prints_what_it_says(page, tmp_path):
    parts = programs(page)
    script = tmp_path / f"{page.stem}.py"
    script.write_text(f"\nprint({MARK!r}, end='')\n".join(code for code, _ in parts))
    done = subprocess.run(
        [sys.executable, "-W", "error", script.name],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    for (code, expected), printed in zip(parts, done.stdout.split(MARK), strict=True):
        if expected is not None:
            assert printed == expected, f"after\n{code}"


@each_page
def test_commands_and_files_in_a_page_exist(page):
    for body in fences(page, "sh"):
        for name in re.findall(r"\btinyllm ((?:tokenizer )?[\w-]+)", body):
            assert name in cli.COMMANDS, f"tinyllm {name}"
        for path in re.findall(r"\b(?:examples|benchmarks|docs|tests)/[\w/.]+", body):
            assert (ROOT / path).exists() or path.startswith("docs/_build"), path
        for module in re.findall(r"python -m tinyllm[.\w]+", body):
            pytest.fail(f"{module}: the command is tinyllm")


@each_page
def test_links_in_a_page_lead_somewhere(page):
    prose = re.sub(r"`[^`]*`", "", FENCE.sub("", page.read_text()))
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", prose):
        if not re.match(r"\w+:", target):
            assert (page.parent / target).exists(), target


def test_the_map_of_files_is_whole():
    """Each path on the map exists, and what lies at the top of the project and of the package is on it."""
    text = (ROOT / "README.md").read_text()
    listed = text[text.index("## Map") :]
    listed = listed[: listed.index("\n## ")]
    paths = {m.rstrip("/") for m in re.findall(r"^ *([\w./-]+)", FENCE.search(listed)["body"], re.M)}
    for path in paths:
        assert (ROOT / path).exists() or (ROOT / "tinyllm" / path).exists(), path
    skipped = {"__init__.py", "__main__.py", "__pycache__", "py.typed"}
    package = {p.name for p in (ROOT / "tinyllm").iterdir() if not p.name.endswith((".so", ".c"))} - skipped
    top = {"tinyllm", "csrc", "tests", "examples", "benchmarks", "docs", "pyproject.toml", "setup.py", ".ci/run"}
    assert package | top <= paths


def test_ci_runs_the_command_of_the_readme():
    """The script takes the command out of the README, so that the two cannot drift; here it takes what is shown."""
    shown = [body for body in fences(ROOT / "README.md", "sh") if "pytest" in body]
    taken = subprocess.run(
        ["bash", ROOT / ".ci" / "run", "--print-test-command"], capture_output=True, text=True, check=True
    )
    assert len(shown) == 1
    assert taken.stdout == shown[0]
