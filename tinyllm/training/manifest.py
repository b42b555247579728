"""The manifest of a checkpoint as text: JSON in one canonical form, a line a tensor, with its own SHA-256 in it.

The hash is that of the bytes before it, and is checked before anything is parsed: a changed byte is found whatever it
says. A text must also be the canonical form of what it says, so no key occurs twice. Hashes find damage, not malice:
whoever can edit the files can edit the manifest.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from .. import _io
from ..errors import CheckpointError

FORMAT = "tinyllm checkpoint"
VERSION = 1
NAME = "manifest.json"
LIMIT = 4 << 20
"""Largest manifest in bytes, enough for twenty thousand tensors; a larger one is refused before it is parsed."""

_HEAD = re.compile(rb'\{\n"format": "tinyllm checkpoint",\n"version": (\d{1,9}),\n')
_WHOLE = re.compile(rb'\{\n(.*),\n"sha256": "([0-9a-f]{64})"\n\}\n', re.DOTALL)


def render(content: Mapping[str, Any]) -> str:
    """The text of a manifest that holds `content`: plain values, no NaN."""
    everything = {"format": FORMAT, "version": VERSION, **content}
    body = ",\n".join(f"{_dump(key)}: {_table(value)}" for key, value in everything.items())
    return f'{{\n{body},\n"sha256": "{hashlib.sha256(body.encode()).hexdigest()}"\n}}\n'


def read(path: str) -> dict[str, Any]:
    """The content of the manifest at `path`. Raises CheckpointError that names it if it is absent, damaged or of
    another format."""
    try:
        with _io.open_file(path, follow=False) as file:
            text = file.read(LIMIT + 1)
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be read ({error.strerror}): not a checkpoint, or an unfinished one"
        ) from error
    return parse(text, path)


def parse(text: bytes, path: str) -> dict[str, Any]:
    """The content of a manifest's text; `path` is named in errors."""
    if len(text) > LIMIT:
        raise CheckpointError(f"{path}: larger than {LIMIT} bytes")
    head, whole = _HEAD.match(text), _WHOLE.fullmatch(text)
    if head is None:
        raise CheckpointError(f"{path}: not the manifest of a {FORMAT}, or damaged")
    if int(head[1]) != VERSION:
        raise CheckpointError(f"{path}: version {int(head[1])} of the format; this tinyllm reads version {VERSION}")
    if whole is None or hashlib.sha256(whole[1]).hexdigest().encode() != whole[2]:
        raise CheckpointError(f"{path}: damaged manifest: its SHA-256 is not that of what it says")
    try:
        content = json.loads(text)
        content = {key: value for key, value in content.items() if key not in ("format", "version", "sha256")}
        canonical = render(content).encode() == text
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: damaged manifest: {str(error)[:200]}") from error
    if not canonical:
        raise CheckpointError(f"{path}: damaged manifest: not in the form that this tinyllm writes")
    return content


def _table(value: Any) -> str:
    """A list with a line for each item, anything else in one line."""
    return "[\n" + ",\n".join(map(_dump, value)) + "\n]" if isinstance(value, list) and value else _dump(value)


def _dump(value: Any) -> str:
    return json.dumps(value, allow_nan=False)
