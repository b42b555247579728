"""Accents: Hugging Face's removal of every mark, and one that knows an accent from a vowel sign.

`StripAccents` removes combining marks and only those: put NFD before it, or é stays é. In Devanagari, Thai, Hebrew
and Arabic that removes vowels. `RemoveAccents` decomposes by itself, removes marks only from letters of scripts in
which they are accents, and composes the rest again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from unicodedata import name

from tinyllm.tokenizers.aligned import Aligned
from tinyllm.tokenizers.normalizers._characters import assigned, in_categories, ranges, replaced
from tinyllm.tokenizers.normalizers.unicode import NFC, NFD
from tinyllm.tokenizers.stage import Normalizer

# Letters with a stroke and ligatures, which no decomposition takes apart.
LETTERS = dict(
    zip(
        "ØøŁłĐđĦħŦŧıȷÆæŒœßẞÞþÐð",
        "O o L l D d H h T t i j AE ae OE oe ss SS Th th D d".split(),
        strict=True,
    )
)


@dataclass(frozen=True)
class StripAccents(Normalizer):
    """Removes every mark (categories Mn, Mc, Me), vowel signs too, as Hugging Face does. It does not decompose."""

    def normalize(self, text: Aligned) -> Aligned:
        if text.text.isascii():
            return text
        return replaced(text, _marks(), "")


@dataclass(frozen=True)
class RemoveAccents(Normalizer):
    """Removes nonspacing marks (Mn) on Latin, Greek and Cyrillic letters; й, a letter of its own, becomes и too.

    `letters`: also ø to o, ł to l, đ to d, ß to ss, æ to ae and their like, which are letters and no accents.
    Text comes out in the form NFC.
    """

    letters: bool = False

    def normalize(self, text: Aligned) -> Aligned:
        if text.text.isascii():
            return text
        text = replaced(NFD().normalize(text), _accented(), lambda found: found[0])
        if self.letters:
            text = replaced(text, _LETTERS, LETTERS.__getitem__)
        return NFC().normalize(text)


_LETTERS = re.compile(f"[{''.join(LETTERS)}]")


@cache
def _marks() -> re.Pattern[str]:
    return re.compile(f"[{in_categories('M')}]+")


@cache
def _accented() -> re.Pattern[str]:
    letters = ranges(p for p in assigned() if name(chr(p), "").startswith(("LATIN ", "GREEK ", "CYRILLIC ")))
    return re.compile(f"[{letters}][{in_categories('Mn')}]+")
