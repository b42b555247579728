"""Words and sentences by Unicode's rules: Unicode Standard Annex #29, sections 4 and 5, without tailoring.

The rules see a text as its classes, one letter a character (WORD_LETTERS, SENTENCE_LETTERS), and are named below as
there. They know no language: Thai and Chinese are not cut into words, "Mr. Smith" is cut into sentences (punkt.py
learns what an abbreviation is). Both take time linear in the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from tinyllm.tokenizers import _unicode as unicode
from tinyllm.tokenizers.aligned import Aligned
from tinyllm.tokenizers.pretokenizers.classes import SPACE
from tinyllm.tokenizers.stage import PreTokenizer

WORD_LETTERS = {
    "Other": "x",
    "CR": "R",
    "LF": "L",
    "Newline": "N",
    "Extend": "e",
    "Format": "e",
    "ZWJ": "z",
    "Regional_Indicator": "r",
    "Katakana": "k",
    "Hebrew_Letter": "h",
    "ALetter": "a",
    "Single_Quote": "'",
    "Double_Quote": '"',
    "MidNumLet": ".",
    "MidLetter": ":",
    "MidNum": ",",
    "Numeric": "n",
    "ExtendNumLet": "_",
    "WSegSpace": "s",
}
PICTOGRAPHIC = {"x": "p", "a": "A"}  # of what can be Extended_Pictographic besides
SENTENCE_LETTERS = {
    "Other": "x",
    "CR": "R",
    "LF": "L",
    "Sep": "P",
    "Extend": "e",
    "Format": "e",
    "Sp": "s",
    "Lower": "l",
    "Upper": "u",
    "OLetter": "o",
    "Numeric": "n",
    "ATerm": "A",
    "SContinue": "c",
    "STerm": "T",
    "Close": "C",
}


class Letters(dict[int, str]):
    """The letter of each code point, as str.translate asks for it; what was asked before is kept."""

    def __init__(self, of_record: Iterable[str]) -> None:
        super().__init__()
        self.of_record = list(of_record)

    def __missing__(self, point: int) -> str:
        letter = self[point] = self.of_record[unicode.record(point)]
        return letter


def word_letter(record: unicode.Record) -> str:
    letter = WORD_LETTERS[record.word_break]
    return PICTOGRAPHIC[letter] if record.pictographic else letter


WORDS = Letters(map(word_letter, unicode.RECORDS))
SENTENCES = Letters(SENTENCE_LETTERS[record.sentence_break] for record in unicode.RECORDS)


def pairs(*parts: tuple[str, str]) -> frozenset[str]:
    return frozenset(left + right for lefts, rights in parts for left in lefts for right in rights)


# Pairs of letters that are not cut, whatever is around them: WB5, WB7a, WB8, WB9, WB10, WB13, WB13a, WB13b.
JOINED = pairs(("aAh", "aAhn"), ("h", "'"), ("n", "naAh"), ("k", "k"), ("aAhnk_", "_"), ("_", "aAhnk"))
# What is not cut between which two: WB6 and WB7, WB7b and WB7c, WB11 and WB12.
LETTERS, NUMBERS = ("aAh", "aAh"), ("n", "n")
MIDDLE = {
    ":": pairs(LETTERS),
    ".": pairs(LETTERS, NUMBERS),
    "'": pairs(LETTERS, NUMBERS),
    ",": pairs(NUMBERS),
    '"': pairs(("h", "h")),
}


def word_starts(letters: str) -> Iterator[int]:
    """Where a word begins, but for the first: before letters[i]."""
    older = last = before = ""  # the last two letters that WB4 leaves, and the very last
    flags = 0  # how many Regional_Indicators end in `last`
    for i, here in enumerate(letters):
        if here in "ez" and before not in "RLN":  # WB4; "" is in any str
            before = here
            continue
        if before and not goes_on(letters, i, older, last, before, flags):
            yield i
        flags = flags + 1 if here == "r" else 0
        older, last, before = last, here, here


def goes_on(letters: str, i: int, older: str, last: str, before: str, flags: int) -> bool:
    """Whether there is no word boundary before letters[i]."""
    here = letters[i]
    if before in "RLN" or here in "RLN":
        return before == "R" and here == "L"  # WB3, WB3a, WB3b
    if before == "z" and here in "pA":
        return True  # WB3c
    if before == "s" and here == "s":
        return True  # WB3d
    if here in MIDDLE and last + following(letters, i) in MIDDLE[here]:
        return True  # WB6, WB7b, WB12
    if last in MIDDLE and older + here in MIDDLE[last]:
        return True  # WB7, WB7c, WB11
    if here == "r":
        return flags % 2 == 1  # WB15, WB16
    return last + here in JOINED


def following(letters: str, i: int) -> str:
    """The letter after letters[i] that WB4 leaves, "" at the end."""
    i += 1
    while i < len(letters) and letters[i] in "ez":
        i += 1
    return letters[i : i + 1]


# A place where a sentence may end: SB4, or SATerm Close* Sp* ParaSep? with SB5 in between.
END = re.compile(
    r"RL|[RLP]|(?P<letter>[ul]e*+)?(?P<term>[AT])e*+(?P<after>(?:Ce*+)*+(?:se*+)*+)(?P<separator>RL|[RLP])?"
)
LOWER_NEXT = re.compile(r"[^oulRLPAT]*+l")


def sentence_ends(letters: str) -> Iterator[int]:
    """Where a sentence ends; at the end of the text too."""
    for found in END.finditer(letters):
        if found.end() < len(letters) and (not found["term"] or found["separator"] or not continues(letters, found)):
            yield found.end()
    if letters:
        yield len(letters)


def continues(letters: str, found: re.Match[str]) -> bool:
    """Whether the sentence goes on after SATerm Close* Sp*; `found` is one of END with a term and no separator."""
    following = letters[found.end()]
    if found["term"] == "A" and not found["after"]:
        if following == "n" or (following == "u" and found["letter"]):
            return True  # SB6, SB7
    if found["term"] == "A" and LOWER_NEXT.match(letters, found.end()):
        return True  # SB8
    return following in "cAT"  # SB8a


@dataclass(frozen=True)
class Words(PreTokenizer):
    """Words, numbers, and what lies between them character by character; a run of spaces is one piece.

    A piece of white space alone is dropped unless `keep_space`.
    """

    keep_space: bool = False

    def pieces(self, text: Aligned, first: bool = True) -> list[Aligned]:
        if not text.text:
            return []
        borders = [0, *word_starts(text.text.translate(WORDS)), len(text.text)]
        words = [text.cut(*span) for span in pairwise(borders)]
        return words if self.keep_space else [word for word in words if SPACE().sub("", word.text)]


@dataclass(frozen=True)
class Sentences(PreTokenizer):
    """Sentences, each with the white space after it."""

    def pieces(self, text: Aligned, first: bool = True) -> list[Aligned]:
        borders = [0, *sentence_ends(text.text.translate(SENTENCES))]
        return [text.cut(*span) for span in pairwise(borders)]
