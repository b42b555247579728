"""Tokenizers to files and back: which format a file has is told by its content.

    tok = load("tokenizer.model");  save(tok, "tokenizer.json")

tokenizer_json.py, sentencepiece.py (.model), gpt2.py (vocab.json with merges.txt), tiktoken.py and bert.py (vocab.txt)
each `read` bytes into a Tokenizer and `write` one; convert.py goes from one to another.
"""

from __future__ import annotations

import re
from os import PathLike
from pathlib import Path
from typing import Any

from tinyllm import _io
from tinyllm.errors import TokenizerError
from tinyllm.tokenizers.formats import files, tokenizer_json
from tinyllm.tokenizers.formats.nodes import parse
from tinyllm.tokenizers.pipeline import Tokenizer

__all__ = ["load", "recognised", "save"]

NAMES = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt")
"""What is looked for in a folder, in this order."""


def load(path: str | PathLike[str], engine: str | None = None, **options: Any) -> Tokenizer:
    """The tokenizer of the file `path`, or of the first of NAMES in the folder `path`. `engine` as the models have it.

    `options` say what a format leaves open: `special_tokens` and `pattern` (.tiktoken; it must be given),
    `special_tokens` (vocab.json), `lowercase` and `unk_token` (vocab.txt), `allow_regex` (tokenizer.json). Raises
    TokenizerError for a file that is damaged, or that describes a tokenizer tinyllm doesn't have, and FileNotFoundError
    if there is none.
    """
    file = Path(path)
    if file.is_dir():
        file = next((file / name for name in NAMES if (file / name).exists()), file / NAMES[0])
    data = files.read(file)
    try:
        return _read(file, data, engine, options)
    except TokenizerError as error:
        raise TokenizerError(f"{file}: {error}") from None


def save(tokenizer: Tokenizer, path: str | PathLike[str]) -> None:
    """Write tokenizer.json, whole or not at all: the file `path`, or in the folder `path`."""
    file = Path(path)
    _io.write_atomic(file / NAMES[0] if file.is_dir() else file, tokenizer_json.write(tokenizer))


def recognised(data: bytes, name: str = "") -> str:
    """The format of a file: "json", "merges.txt", "tiktoken", "model" or "vocab.txt". Only where the content is none of
    them does the name count.
    """
    start = data[:8192].lstrip()
    if re.match(rb'\{\s*["}]', start):
        return "json"
    if data.startswith(b"#version"):
        return "merges.txt"
    if re.match(rb"[A-Za-z0-9+/]+={0,2} \d+\r?(\n|$)", start):
        return "tiktoken"
    if data[:1] in (b"\x0a", b"\x12", b"\x1a"):  # the key of a ModelProto's field; no token begins like that
        return "model"
    return "json" if name.endswith(".json") else "vocab.txt"


OPTIONS = {
    "json": {"allow_regex"},
    "vocab.json": {"special_tokens"},
    "merges.txt": {"special_tokens"},
    "tiktoken": {"special_tokens", "pattern"},
    "vocab.txt": {"lowercase", "unk_token"},
}


def _read(file: Path, data: bytes, engine: str | None, options: dict[str, Any]) -> Tokenizer:
    kind = recognised(data, file.name)
    if kind == "json":
        document = parse(data)
        if not _is_vocab(document) and options.keys() <= OPTIONS[kind]:
            return tokenizer_json.from_document(document, engine, **options)
        kind = "vocab.json" if _is_vocab(document) else kind
    if unknown := sorted(options.keys() - OPTIONS.get(kind, set())):
        raise TokenizerError(f"{unknown[0]} was given, but a file of the format {kind} does not leave that open")
    from tinyllm.tokenizers.formats import bert, gpt2, sentencepiece, tiktoken

    if kind == "model":
        return sentencepiece.read(data, engine, **options)
    if kind == "tiktoken":
        if "pattern" not in options:
            raise TokenizerError('a .tiktoken file does not say how text is cut; give pattern, such as "cl100k"')
        return tiktoken.read(data, engine=engine, **options)
    if kind == "vocab.txt":
        return bert.read(data, engine=engine, **options)
    other = file.with_name("vocab.json" if kind == "merges.txt" else "merges.txt")
    if not other.is_file():
        raise TokenizerError(f"this is one of two files, {kind}; {other.name} must lie beside it")
    both = (files.read(other), data) if kind == "merges.txt" else (data, files.read(other))
    return gpt2.read(*both, engine=engine, **options)


def _is_vocab(document: Any) -> bool:
    return type(document) is dict and "model" not in document and all(type(i) is int for i in document.values())
