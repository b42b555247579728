"""A token for each character (code point), sorted, as in nanoGPT's data/shakespeare_char.

Small vocabulary, long sequences: the baseline that subword tokenizers are compared with. A character is a
Unicode code point, not a byte and not what a reader sees as one letter (e + combining accent are two). Text
that is not in the vocabulary has no id: encoding raises, unless the tokenizer was given a special token to
put there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers.base import Tokenizer, as_texts, number_specials, utf8


class CharTokenizer(Tokenizer):
    """`tokens` in the order of their ids: single characters, and the names of special tokens.

    `unk` names the special token that stands for every unknown character; without one these raise
    TokenizerError. Bytes are read as UTF-8; each byte that is none is read as U+FFFD.
    """

    kind = "char"

    def __init__(
        self, tokens: Sequence[str], special_tokens: Mapping[str, int] | None = None, unk: str | None = None
    ) -> None:
        special_tokens = special_tokens or {}
        super().__init__([utf8(token) for token in tokens], special_tokens)
        self.unk = unk
        if unk is not None and unk not in special_tokens:
            raise TokenizerError(f"unk is {unk!r}, which must be one of the special tokens: {[*special_tokens]}")
        self._ids: dict[str, int] = {}
        for i, token in enumerate(tokens):
            if i in self._special_ids:
                continue
            if len(token) != 1:
                raise TokenizerError(f"token {i} is {token!r}; it must be one character or a special token")
            if self._ids.setdefault(token, i) != i:
                raise TokenizerError(f"tokens {self._ids[token]} and {i} are both {token!r}")
            if token in special_tokens:
                raise TokenizerError(f"{token!r} is a character of the vocabulary and also a special token")

    @classmethod
    def train(
        cls,
        texts: str | bytes | Iterable[str | bytes],
        special_tokens: Sequence[str] = (),
        unk: str | None = None,
    ) -> CharTokenizer:
        """The special tokens first, in the order given, then every character of the texts by code point."""
        found: set[str] = set()
        for text in as_texts(texts):
            found.update(_characters(text))
        specials = number_specials(special_tokens)
        return cls([*specials, *sorted(found)], specials, unk)

    def _encode_ordinary(self, text: str | bytes) -> list[int]:
        characters = _characters(text)
        try:
            return [self._ids[c] for c in characters]
        except KeyError:
            pass
        if self.unk is not None:
            unknown = self.special_tokens[self.unk]
            return [self._ids.get(c, unknown) for c in characters]
        at, character = next((i, c) for i, c in enumerate(characters) if c not in self._ids)
        raise TokenizerError(
            f"character {at} of the text is {character!r} (U+{ord(character):04X}), which is not among the "
            f"{len(self._ids)} characters of this tokenizer; train it on text that has it, or give it unk="
        )

    def _widths(self, text: str | bytes, ids: list[int]) -> Iterator[int]:
        if isinstance(text, str):
            return (len(c.encode()) for c in text)
        return (len(c.encode("utf-8", "surrogateescape")) for c in text.decode("utf-8", "surrogateescape"))

    def _identity(self) -> Any:
        return {"unk": self.unk}


INVALID = {0xDC00 + byte: "\ufffd" for byte in range(128, 256)}  # what surrogateescape makes of a byte that is no UTF-8


def _characters(text: str | bytes) -> str:
    if isinstance(text, str):
        utf8(text)  # raises for lone surrogates
        return text
    return text.decode("utf-8", "surrogateescape").translate(INVALID)
