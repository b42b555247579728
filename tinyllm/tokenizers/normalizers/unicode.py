"""Unicode normalization forms (UAX #15) and Hugging Face's `Nmt`, aligned.

Most text is in its form already, or nearly. A regular expression finds the stretches that may not be (a character
that decomposes, or one that combines with what is before it); each is normalized by itself and the rest is not
touched. A stretch is decomposed character by character, its combining marks are sorted by class (Python's sort:
n log n, where `unicodedata.normalize` is quadratic in the length of a run of marks), and recomposed.

Spans: a character stands for all that it was made of, é for both e and its accent. Marks that changed places stand
for the whole stretch that they moved in, so that spans stay monotone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import accumulate
from typing import ClassVar, Literal, NamedTuple
from unicodedata import combining, normalize

from tinyllm.tokenizers.aligned import Aligned
from tinyllm.tokenizers.normalizers._characters import assigned, matches, ranges, replaced, translated
from tinyllm.tokenizers.stage import Normalizer

FormName = Literal["NFC", "NFD", "NFKC", "NFKD"]
DECOMPOSED: dict[FormName, FormName] = {"NFC": "NFD", "NFKC": "NFKD", "NFD": "NFD", "NFKD": "NFKD"}


class _Form(Normalizer):
    """The common part; `form` is the name that unicodedata knows."""

    form: ClassVar[FormName]

    def normalize(self, text: Aligned) -> Aligned:
        if text.text.isascii():
            return text
        return _edited(text, _changes(text.text, self.form))


@dataclass(frozen=True)
class NFC(_Form):
    """Canonical composition: é is one character."""

    form: ClassVar[FormName] = "NFC"


@dataclass(frozen=True)
class NFD(_Form):
    """Canonical decomposition: é is e and U+0301."""

    form: ClassVar[FormName] = "NFD"


@dataclass(frozen=True)
class NFKC(_Form):
    """Compatibility composition: as NFC, and ﬁ is fi, ² is 2."""

    form: ClassVar[FormName] = "NFKC"


@dataclass(frozen=True)
class NFKD(_Form):
    """Compatibility decomposition: as NFD, and ﬁ is fi, ² is 2."""

    form: ClassVar[FormName] = "NFKD"


class Stretch(NamedTuple):
    """Characters, and the places in the text that each was made of: firsts[i] ... lasts[i] - 1."""

    characters: list[str]
    firsts: list[int]
    lasts: list[int]


def _edited(text: Aligned, changes: Iterator[tuple[int, int, Stretch]]) -> Aligned:
    """`Aligned.edited`, where each character of a replacement has a span of its own."""
    parts: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    done = 0
    for start, end, new in changes:
        parts.append(text.text[done:start])
        parts += new.characters
        starts += text.starts[done:start]
        starts += [text.starts[first] for first in new.firsts]
        ends += text.ends[done:start]
        ends += [text.ends[last - 1] for last in new.lasts]
        done = end
    if not done:
        return text
    parts.append(text.text[done:])
    starts += text.starts[done:]
    ends += text.ends[done:]
    return Aligned("".join(parts), starts, ends)


def _changes(text: str, form: FormName) -> Iterator[tuple[int, int, Stretch]]:
    """The stretches that normalization changes: start, end, and what they become."""
    joins, suspicious = _patterns(form)
    composes = form != DECOMPOSED[form]
    for found in matches(suspicious, text):
        start, end = found.span()
        if composes and start and joins.match(text, start):
            start -= 1  # what it combines with
        if end - start == 1:  # most are
            alone = _alone(text[start], form)
            if alone != text[start]:
                yield start, end, Stretch(list(alone), [start] * len(alone), [end] * len(alone))
            continue
        new = _decomposed(text, start, end, DECOMPOSED[form])
        if composes:
            new = _composed(new)
        if "".join(new.characters) != text[start:end]:
            yield start, end, _monotone(new)


@lru_cache(maxsize=1 << 12)
def _alone(character: str, form: FormName) -> str:
    return normalize(form, character)


def _decomposed(text: str, start: int, end: int, form: FormName) -> Stretch:
    """Every character decomposed, and the combining marks of each run in the order of their classes."""
    characters: list[str] = []
    places: list[int] = []
    for place in range(start, end):
        new = normalize(form, text[place])
        characters += new
        places += [place] * len(new)
    classes = [combining(character) for character in characters]
    done = 0
    for starter in [*(i for i, c in enumerate(classes) if not c), len(classes)]:
        run = classes[done:starter]
        if len(run) > 1 and run != sorted(run):
            order = sorted(range(done, starter), key=classes.__getitem__)
            characters[done:starter] = [characters[i] for i in order]
            places[done:starter] = [places[i] for i in order]
        done = starter + 1
    return Stretch(characters, places, [place + 1 for place in places])


def _composed(old: Stretch) -> Stretch:
    """Canonical composition of what `_decomposed` gives. unicodedata knows what composes; that its result is made of
    the old characters in their order, of each kind the first ones first, says which were taken.
    """
    new = Stretch([], [], [])
    taken = bytearray(len(old.characters))
    following = 0
    for character in normalize("NFC", "".join(old.characters)):  # sorted already: linear
        while taken[following]:
            following += 1
        at = following
        first, last = old.firsts[at], old.lasts[at]
        for part in normalize("NFD", character)[1:]:
            at += 1
            while taken[at] or old.characters[at] != part:
                at += 1
            taken[at] = True
            first, last = min(first, old.firsts[at]), max(last, old.lasts[at])
        following += 1
        new.characters.append(character)
        new.firsts.append(first)
        new.lasts.append(last)
    return new


def _monotone(new: Stretch) -> Stretch:
    """Spans widened just so far that neither starts nor ends ever fall."""
    firsts = list(accumulate(reversed(new.firsts), min))[::-1]
    return Stretch(new.characters, firsts, list(accumulate(new.lasts, max)))


@cache
def _patterns(form: FormName) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """(a character that combines with the one before it, a stretch that may not be normalized).

    The second: one that changes or combines, and all that combine after it. Vowels and finals of Hangul and some
    thirty other characters combine though their combining class is 0.
    """
    decomposing = DECOMPOSED[form]
    after = {p for p in assigned() if 0x300 <= p and combining(normalize(decomposing, chr(p))[0])}
    if form != DECOMPOSED[form]:
        second = {normalize("NFD", chr(p))[-1] for p in assigned() if _is_composite(chr(p))}
        after |= {p for p in assigned() if 0x300 <= p and normalize(decomposing, chr(p))[0] in second}
    changing = {p for p in assigned() if normalize(form, chr(p)) != chr(p)}
    joins = ranges(sorted(after))
    return re.compile(f"[{joins}]"), re.compile(f"[{ranges(sorted(after | changing))}][{joins}]*")


def _is_composite(character: str) -> bool:
    return normalize("NFD", character) != character == normalize("NFC", character)


@dataclass(frozen=True)
class Nmt(Normalizer):
    """Hugging Face's part of SentencePiece's rules: some controls are removed, some spaces and marks become a space.

    Not the rules of SentencePiece itself, which keep U+200D and map U+061C too: those are in `nmt_nfkc`.
    """

    def normalize(self, text: Aligned) -> Aligned:
        return translated(replaced(text, _REMOVED, ""), _SPACES)


_REMOVED = re.compile("[\x01-\x08\x0b\x0e-\x1f\x7f\x8f\x9f]")
_SPACES = dict.fromkeys([*b"\t\n\f\r", 0x1680, *range(0x200B, 0x2010), 0x2028, 0x2029, 0x2581, 0xFEFF, 0xFFFD], " ")
