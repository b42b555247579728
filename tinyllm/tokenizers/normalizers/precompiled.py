"""A table of character rules as Hugging Face applies it, and the tables that SentencePiece brings.

    Precompiled(table("nmt_nfkc")).normalize(Aligned.of("ﬁ²")).text == "fi2"

`Precompiled` is the stage of that name in tokenizer.json, with its habits: a grapheme cluster below six bytes is
replaced whole by the shortest rule that it begins with, and only where there is none are its characters looked up one
by one. SentencePiece itself applies the longest rule at each place: that is `SentencePieceNormalizer`. They differ,
for instance, on "\\r\\n" (one space here, two there) and on か with U+3099 (composed there, but six bytes here).
"""

from __future__ import annotations

import base64
import lzma
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers.aligned import Aligned
from tinyllm.tokenizers.charsmap import Charsmap, charsmap
from tinyllm.tokenizers.normalizers._characters import ranges
from tinyllm.tokenizers.normalizers.graphemes import PREPENDED, clusters
from tinyllm.tokenizers.stage import Normalizer

# Printable ASCII, and letters (Latin, Greek, Cyrillic; kana; Chinese) of which each is a cluster, if no mark follows.
LETTERS = [*range(0x20, 0x7F), *range(0xC0, 0x250), *range(0x386, 0x482), *range(0x48A, 0x530)]
LETTERS += [*range(0x3041, 0x3097), *range(0x30A1, 0x30FB), *range(0x4E00, 0xA000)]
SHORT = 6  # bytes: a cluster of so many or more is looked up character by character


@cache
def table(name: str) -> bytes:
    """SentencePiece's table "nmt_nfkc" or "nmt_nfkc_cf" (with case folding); "identity" is none, b""."""
    from tinyllm.tokenizers.normalizers import _nmt_nfkc

    tables = {"nmt_nfkc": _nmt_nfkc.NMT_NFKC, "nmt_nfkc_cf": _nmt_nfkc.NMT_NFKC_CF}
    if name == "identity":
        return b""
    if name not in tables:
        raise TokenizerError(f'character rules are "identity", "nmt_nfkc" or "nmt_nfkc_cf", not {name!r}')
    return lzma.decompress(base64.b85decode(tables[name]))


class Alone(dict[str, str]):
    """What each character becomes by itself; of so many it is kept when it was asked for once."""

    def __init__(self, rules: Charsmap) -> None:
        self._rules = rules

    def __missing__(self, character: str) -> str:
        new = self._rules.match(character, 0)[1]
        if len(self) < 1 << 14:
            self[character] = new
        return new


@dataclass(frozen=True)
class Precompiled(Normalizer):
    """The rules of the table `precompiled_charsmap`.

    What one rule replaces is the span of every character that it gives (Hugging Face counts them off one by one, and
    loses count where a rule gives nothing). TokenizerError for a table that is none.
    """

    precompiled_charsmap: bytes

    def __post_init__(self) -> None:
        self.charsmap  # noqa: B018  (a table that is none is an error now)

    @cached_property
    def charsmap(self) -> Charsmap:
        """The rules, read once."""
        return charsmap(self.precompiled_charsmap)

    def normalize(self, text: Aligned) -> Aligned:
        return text.edited(self._edits(text.text))

    @cached_property
    def _alone(self) -> Alone:
        return Alone(self.charsmap)

    def _edits(self, text: str) -> Iterator[tuple[int, int, str]]:
        rules = self.charsmap
        for start, end in self._places(text):
            short = end - start > 1 and len(text[start:end].encode("utf-8", "surrogateescape")) < SHORT
            new = rules.shortest(text[start:end]) if short else None
            if new is not None:
                yield start, end, new
                continue
            for at in range(start, end):
                new = self._alone[text[at]]
                if new != text[at]:
                    yield at, at + 1, new

    def _places(self, text: str) -> Iterator[tuple[int, int]]:
        """The clusters, but for those of one of the LETTERS that no rule changes."""
        for found in _not_plain(self.precompiled_charsmap).finditer(text):
            start, end = found.span()
            start -= start > 0  # what a mark may stand on
            end += end < len(text) and ord(text[end - 1]) in PREPENDED
            for cluster in clusters().finditer(text, start, end):
                yield cluster.span()


@lru_cache(maxsize=16)
def _not_plain(precompiled_charsmap: bytes) -> re.Pattern[str]:
    """Characters that are none of the LETTERS or that a rule changes by themselves."""
    rules = charsmap(precompiled_charsmap)
    plain = [p for p in LETTERS if rules.match(chr(p), 0)[1] == chr(p)]
    return re.compile(f"[^{ranges(plain)}]+" if plain else r"[\s\S]+")
