"""What every format asks of a file: that it is a regular one, of bounded size, with tokens of bounded number and size.

The limits bound what a hostile file can cost. Reading takes at most 8 MB and 96 times the file's size of memory, all
that the tokenizer holds included: a token of a few bytes is several Python objects.
"""

from __future__ import annotations

import json
import reprlib
from os import PathLike
from pathlib import Path
from typing import Any

from tinyllm.errors import TokenizerError

MAX_FILE = 64 << 20  # bytes
MAX_VOCAB = 1 << 22  # tokens
MAX_TOKEN = 4096  # bytes
MAX_GAP = 1000  # ids that a vocabulary may leave out
MAX_DEPTH = 64  # of lists and objects in JSON


def read(path: str | PathLike[str]) -> bytes:
    """The bytes of the file. FileNotFoundError if there is none, TokenizerError if it is none to read."""
    file = Path(path)
    if not file.exists():
        raise FileNotFoundError(f"no tokenizer at {file}")
    if not file.is_file():
        raise TokenizerError(f"{file}: not a regular file")
    with file.open("rb") as stream:
        data = stream.read(MAX_FILE + 1)
    if len(data) > MAX_FILE:
        raise TokenizerError(f"{file}: the file has more than {MAX_FILE} bytes")
    return data


def check_size(path: str, token: str | bytes) -> bytes:
    """The token as UTF-8. TokenizerError, with `path`, if it has no bytes, too many, or a lone surrogate."""
    try:
        data = token if isinstance(token, bytes) else token.encode("utf-8")
    except UnicodeEncodeError:
        raise TokenizerError(f"{path}: the token has a lone surrogate, which is no text") from None
    if not 1 <= len(data) <= MAX_TOKEN:
        raise TokenizerError(f"{path}: the token has {len(data)} bytes; it must have 1 to {MAX_TOKEN}")
    return data


def short(value: Any) -> str:
    """A value in an error message: as JSON, cut to a line."""
    text = reprlib.repr(value) if isinstance(value, str | bytes | list | dict) else json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."
