"""What every tokenizer of tinyllm can do: text to ids and back, with offsets, in batches, and as a stream.

A tokenizer is a list of byte strings, the tokens, and a way to cut ordinary text into them
(`_encode_ordinary`, `_widths`, which a kind of tokenizer defines). Everything about special tokens is here,
once:

- In text, the name of a special token is text like any other. Only names passed as `allowed_special` are
  recognised; otherwise whoever writes a prompt could write control tokens into it.
- Of two names that start at the same place the longer one wins.
"""

from __future__ import annotations

import codecs
import hashlib
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from operator import index
from os import PathLike
from typing import Any, NamedTuple

from tinyllm.errors import TokenizerError


class Encoding(NamedTuple):
    """ids[i] stands for text[offsets[i][0] : offsets[i][1]]: code points of a str, bytes of a bytes object.

    Counted in bytes the spans are a partition of the text. Counted in code points, tokens that share a
    character both span it.
    """

    ids: list[int]
    offsets: list[tuple[int, int]]


class Stream:
    """Ids in, one at a time; text out as soon as it is certain.

    Joined, it is what `decode` gives for all ids. A token may end inside a
    character: its bytes are held back until the rest comes or `finish` is called.
    """

    def __init__(self, tokenizer: Tokenizer, skip_special_tokens: bool = False) -> None:
        self._tokenizer = tokenizer
        self._skip = skip_special_tokens
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token: int) -> str:
        """The text that `token` completes, often several characters, sometimes none."""
        return self._decoder.decode(self._tokenizer.decode_bytes([token], self._skip))

    def finish(self) -> str:
        """What was held back: an unfinished character comes out as U+FFFD. The stream is then as new."""
        return self._decoder.decode(b"", final=True)


class Tokenizer(ABC):
    """The common part; see the top of the file. `tokens[i]` is the bytes of token i, `special_tokens` maps
    names to ids.
    """

    kind: str

    def __init__(self, tokens: Sequence[bytes], special_tokens: Mapping[str, int]) -> None:
        self.tokens = list(tokens)
        self.special_tokens = dict(special_tokens)
        self._special_ids = frozenset(self.special_tokens.values())
        for name, token in self.special_tokens.items():
            if not name:
                raise TokenizerError("the name of a special token is empty; it must have at least one character")
            if not 0 <= token < len(self.tokens) or self.tokens[token] != utf8(name):
                raise TokenizerError(f"special token {name!r} has id {token}, which is not the id of its text")
        if len(self._special_ids) != len(self.special_tokens):
            raise TokenizerError("two special tokens share an id; each needs its own")

    @abstractmethod
    def _encode_ordinary(self, text: str | bytes) -> list[int]:
        """The ids of text in which nothing is special."""

    @abstractmethod
    def _widths(self, text: str | bytes, ids: list[int]) -> Iterator[int]:
        """How many bytes of `text` each of its ids covers."""

    @abstractmethod
    def _identity(self) -> Any:
        """All that ids depend on, as JSON values."""

    @property
    def vocab_size(self) -> int:
        """The number of ids, special tokens included: ids are 0 ... vocab_size - 1."""
        return len(self.tokens)

    def encode(self, text: str | bytes, allowed_special: str | Iterable[str] = ()) -> list[int]:
        """The ids of `text`. `allowed_special`: names of special tokens to recognise in it, or "all".

        Raises TokenizerError for a lone surrogate in a str, a name that is no special token, and, in
        tokenizers that don't know every character, an unknown one.
        """
        ids: list[int] = []
        for part, special in self._parts(text, allowed_special):
            if special is None:
                ids += self._encode_ordinary(part)
            else:
                ids.append(special)
        return ids

    def encode_batch(self, texts: Iterable[str | bytes], allowed_special: str | Iterable[str] = ()) -> list[list[int]]:
        """`encode` of each text."""
        if isinstance(texts, (str, bytes)):
            raise TypeError(f"encode_batch takes several texts, not one {type(texts).__name__}; use encode")
        allowed = allowed_special if isinstance(allowed_special, str) else tuple(allowed_special)
        return [self.encode(text, allowed) for text in texts]

    def encode_with_offsets(self, text: str | bytes, allowed_special: str | Iterable[str] = ()) -> Encoding:
        """The ids of `text` and the span of text that each came from."""
        ids: list[int] = []
        ends = [0]  # in bytes
        for part, special in self._parts(text, allowed_special):
            new = self._encode_ordinary(part) if special is None else [special]
            widths = self._widths(part, new) if special is None else [len(self.tokens[special])]
            for width in widths:
                ends.append(ends[-1] + width)
            ids += new
        spans = list(zip(ends, ends[1:], strict=False))
        return Encoding(ids, spans if isinstance(text, bytes) else _character_spans(text, spans))

    def decode_bytes(self, ids: Iterable[int], skip_special_tokens: bool = False) -> bytes:
        """The bytes of the tokens, joined. TokenizerError for an id outside 0 ... vocab_size - 1, TypeError
        for no integer.
        """
        tokens, n, out = self.tokens, len(self.tokens), []
        for position, token in enumerate(ids):
            if not 0 <= (i := index(token)) < n:
                raise TokenizerError(f"ids[{position}] is {i}; this tokenizer has the ids 0 to {n - 1}")
            if not (skip_special_tokens and i in self._special_ids):
                out.append(tokens[i])
        return b"".join(out)

    def decode(self, ids: Iterable[int], skip_special_tokens: bool = False) -> str:
        """The text of the ids. Bytes that are no UTF-8 (a character cut in two, say) become U+FFFD, as in
        `bytes.decode`.
        """
        return self.decode_bytes(ids, skip_special_tokens).decode("utf-8", "replace")

    def stream(self, skip_special_tokens: bool = False) -> Stream:
        """A new incremental decoder, for text that is generated token by token."""
        return Stream(self, skip_special_tokens)

    def fingerprint(self) -> str:
        """A SHA-256 (hex) over everything that ids depend on: two tokenizers with the same one give the same
        ids.
        """
        identity = {
            "kind": self.kind,
            "tokens": [token.hex() for token in self.tokens],
            "special": self.special_tokens,
            "model": self._identity(),
        }
        text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode("ascii")).hexdigest()

    def save(self, path: str | PathLike[str]) -> None:
        """Write tokenizer.json, whole or not at all; `path` is the file, or a folder that is there to put it
        in.
        """
        from tinyllm.tokenizers import formats

        formats.save(self, path)

    def _parts(
        self, text: str | bytes, allowed_special: str | Iterable[str]
    ) -> Iterator[tuple[str | bytes, int | None]]:
        """The text cut at the allowed special tokens: (part, id of the special token that it is, or None)."""
        if not isinstance(text, (str, bytes)):
            raise TypeError(f"text must be str or bytes, not {type(text).__name__}")
        names = self._allowed(allowed_special)
        if not names:
            yield text, None
            return
        done = 0
        for found in _finder(names, isinstance(text, bytes)).finditer(text):
            if found.start() > done:
                yield text[done : found.start()], None
            name = found.group()
            yield name, self.special_tokens[name.decode() if isinstance(name, bytes) else name]
            done = found.end()
        if done < len(text):
            yield text[done:], None

    def _allowed(self, allowed_special: str | Iterable[str]) -> frozenset[str]:
        if allowed_special == "all":
            return frozenset(self.special_tokens)
        if isinstance(allowed_special, str):
            raise TokenizerError(f'allowed_special is {allowed_special!r}; it must be "all" or a collection of names')
        names = frozenset(allowed_special)
        if unknown := sorted(names - self.special_tokens.keys()):
            known = ", ".join(map(repr, self.special_tokens)) or "none"
            raise TokenizerError(f"{unknown[0]!r} is no special token of this tokenizer, which has {known}")
        return names

    def __repr__(self) -> str:
        return f"{type(self).__name__}(vocab_size={self.vocab_size}, special_tokens={list(self.special_tokens)})"


def utf8(text: str | bytes) -> bytes:
    """`text` as bytes; TokenizerError for a str with a lone surrogate, which no UTF-8 stands for."""
    if isinstance(text, bytes):
        return text
    if not isinstance(text, str):
        raise TypeError(f"text must be str or bytes, not {type(text).__name__}")
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise TokenizerError(
            f"character {error.start} of the text is the lone surrogate U+{ord(text[error.start]):04X}, "
            "which is not text; replace it, or pass bytes"
        ) from None


def as_texts(texts: str | bytes | Iterable[str | bytes]) -> Iterable[str | bytes]:
    """What `train` was given as an iterable of texts: one text alone stands for itself, not for its
    characters.
    """
    return [texts] if isinstance(texts, (str, bytes)) else texts


def number_specials(names: Iterable[str]) -> dict[str, int]:
    """Special tokens have the first ids, in the order given."""
    if isinstance(names, str):
        raise TypeError(f"special_tokens takes several names, not one str: [{names!r}]")
    names = list(names)
    if twice := [name for i, name in enumerate(names) if name in names[:i]]:
        raise TokenizerError(f"special token {twice[0]!r} is given twice")
    return {name: i for i, name in enumerate(names)}


@lru_cache(maxsize=64)
def _finder(names: frozenset[str], for_bytes: bool) -> re.Pattern[Any]:
    longest_first = sorted(names, key=lambda name: (-len(name.encode()), name))
    pattern = "|".join(map(re.escape, longest_first))
    return re.compile(pattern.encode() if for_bytes else pattern)


def _character_spans(text: str, spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans of the UTF-8 of `text` as spans of its code points, widened to whole characters."""
    if text.isascii():
        return spans
    character = []  # the code point that each byte belongs to
    for i, c in enumerate(text):
        character += [i] * len(c.encode())
    return [(character[start], character[end - 1] + 1) for start, end in spans]
