"""The manifest of a checkpoint as text: JSON in one canonical form, with its own SHA-256 in it.

A text is accepted only if writing what it says gives the same bytes again, so any change of a byte is found: a changed
value no longer has the hash, and a changed space is not the canonical form. Hashes find damage, not malice: whoever can
edit the files can edit the manifest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from ..errors import CheckpointError

FORMAT = "tinyllm checkpoint"
VERSION = 1
NAME = "manifest.json"
LIMIT = 16 << 20
"""Largest manifest in bytes; a larger one is refused before it is parsed."""


def render(content: Mapping[str, Any]) -> str:
    """The text of a manifest that holds `content`: plain values, no NaN."""
    plain = {"format": FORMAT, "version": VERSION, **content}
    return _dump({**plain, "sha256": hashlib.sha256(_dump(plain).encode()).hexdigest()})


def read(path: str) -> dict[str, Any]:
    """The content of the manifest at `path`. Raises CheckpointError that names it if it is absent, damaged or of
    another format."""
    try:
        with open(path, "rb") as file:
            text = file.read(LIMIT + 1)
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be read ({error.strerror}): not a checkpoint, or an unfinished one"
        ) from error
    if len(text) > LIMIT:
        raise CheckpointError(f"{path}: larger than {LIMIT} bytes")
    try:
        manifest = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: damaged manifest: {str(error)[:200]}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise CheckpointError(f"{path}: not the manifest of a {FORMAT}")
    if manifest.get("version") != VERSION:
        raise CheckpointError(
            f"{path}: version {manifest.get('version')!r} of the format; this tinyllm reads version {VERSION}"
        )
    content = {key: value for key, value in manifest.items() if key not in ("format", "version", "sha256")}
    try:
        whole = render(content).encode() == text
    except (ValueError, RecursionError):
        whole = False
    if not whole:
        raise CheckpointError(f"{path}: damaged manifest: its SHA-256 is not that of what it says")
    return content


def _dump(values: Mapping[str, Any]) -> str:
    return json.dumps(values, indent=1, allow_nan=False) + "\n"
