"""vocab.txt, the file of BERT's vocabularies: one token a line, whose id is the number of the line, from 0.

    vocab = read("vocab.txt");  model = WordPiece(vocab);  write(model.vocab, "vocab.txt")

The file holds nothing else: not the prefix, not the name of the unknown token, not what comes before the model. What
libraries read differently is refused, so that ids are the same everywhere or there is an error: a byte order mark,
white space at the end of a token (Hugging Face's drop it), a token given twice (there the last one counts). Lines end
in a newline, or all in carriage return and newline.
"""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path

from tinyllm import _io
from tinyllm.errors import TokenizerError
from tinyllm.tokenizers.formats import files


def read(path: str | PathLike[str], unk_token: str = "[UNK]") -> dict[str, int]:
    """Token to id. TokenizerError, with the number of the line (from 1), for a file that is no such vocabulary."""
    try:
        return parse(files.read(path), unk_token)
    except TokenizerError as error:
        raise TokenizerError(f"{path}: {error}") from None


def write(vocab: Mapping[str, int], path: str | PathLike[str], unk_token: str = "[UNK]") -> None:
    """Write the file, whole or not at all. TokenizerError if `read` would not give `vocab` back."""
    tokens = sorted(vocab, key=vocab.__getitem__)
    data = "".join(f"{token}\n" for token in tokens).encode("utf-8", "surrogatepass")
    if parse(data, unk_token) != vocab:
        raise TokenizerError(f"the ids of {len(tokens)} tokens in a vocab.txt must be 0 to {len(tokens) - 1}")
    _io.write_atomic(Path(path), data)


def parse(data: bytes, unk_token: str = "[UNK]") -> dict[str, int]:
    if data.startswith(b"\xef\xbb\xbf"):
        raise TokenizerError("line 1 begins with a byte order mark; save the file without it")
    lines = data.split(b"\n", files.MAX_VOCAB + 1)
    if not lines[-1]:
        lines.pop()
    if len(lines) > files.MAX_VOCAB:
        raise TokenizerError(f"line {files.MAX_VOCAB + 1}: a vocabulary has at most {files.MAX_VOCAB} tokens")
    end = b"\r" if lines and lines[0].endswith(b"\r") else b""
    vocab: dict[str, int] = {}
    for i, line in enumerate(lines):
        if not line.endswith(end) or line.endswith(b"\r") != bool(end):
            raise TokenizerError(f"line {i + 1} ends in another way than line 1: with or without a carriage return")
        try:
            token = line.removesuffix(end).decode("utf-8")
        except UnicodeDecodeError as error:
            raise TokenizerError(f"line {i + 1} is no UTF-8: {error.reason} at byte {error.start}") from None
        if token != token.rstrip() or "\r" in token:
            raise TokenizerError(
                f"line {i + 1} is {files.short(token)}, a token that has white space at its end or \\r"
            )
        files.check_size(f"line {i + 1}", token)
        if vocab.setdefault(token, i) != i:
            raise TokenizerError(f"line {i + 1} is {files.short(token)}, as is line {vocab[token] + 1}")
    if unk_token not in vocab:
        raise TokenizerError(f"no line is {unk_token!r}, the unknown token; give its name as unk_token")
    return vocab
