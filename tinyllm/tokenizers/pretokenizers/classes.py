r"""Cutting by what characters are: space, punctuation, digits, word characters, scripts.

Classes are Unicode's, from the table in _unicode.py. White space is White_Space, a digit is any of category N, and
punctuation is any of category P or one of ASCII's 32 (of which `$+<=>^`|~` are symbols for Unicode). A word character
is what \w means by UTS #18: Alphabetic, marks, decimal digits, connectors and joiners.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from tinyllm.tokenizers import _unicode as unicode
from tinyllm.tokenizers.aligned import Aligned
from tinyllm.tokenizers.pretokenizers.kinds import ALONE, OTHER, RUN, SKIP, ByKind, Kinds, delimited
from tinyllm.tokenizers.pretokenizers.split import Behavior, known_behavior
from tinyllm.tokenizers.pretokenizers.translate import ranges, word
from tinyllm.tokenizers.stage import PreTokenizer


@cache
def SPACES() -> str:
    return ranges("white_space", True)


@cache
def SPACE() -> re.Pattern[str]:
    return re.compile(f"[{SPACES()}]")


@cache
def PUNCTUATION() -> str:
    return r"!-/:-@\[-`{-~" + ranges("category", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po")


@cache
def DIGIT() -> str:
    return ranges("category", "Nd", "Nl", "No")


@cache
def INSIDE() -> re.Pattern[str]:
    return re.compile(rf"[{word()}\u200c\u200d]")


@cache
def WORDS() -> Kinds:
    return Kinds(OTHER, ((INSIDE().pattern[1:-1], RUN), (SPACES(), SKIP)))


@cache
def BERT() -> Kinds:
    return Kinds(RUN, ((PUNCTUATION(), ALONE), (SPACES(), SKIP)))


@dataclass(frozen=True)
class WhitespaceSplit(ByKind):
    """What stands between white space."""

    def kinds(self) -> Kinds:
        return delimited(SPACES(), "Removed")


@dataclass(frozen=True)
class Whitespace(ByKind):
    r"""Runs of word characters, and runs of other characters but white space: \w+|[^\w\s]+."""

    def kinds(self) -> Kinds:
        return WORDS()


@dataclass(frozen=True)
class BertPreTokenizer(ByKind):
    """What stands between white space, with each punctuation mark a piece of its own."""

    def kinds(self) -> Kinds:
        return BERT()


@dataclass(frozen=True)
class Punctuation(ByKind):
    """Cuts at each punctuation mark; `behavior` as in `cut`."""

    behavior: Behavior = "Isolated"

    def __post_init__(self) -> None:
        known_behavior(self.behavior, "Punctuation")

    def kinds(self) -> Kinds:
        return delimited(PUNCTUATION(), self.behavior)


@dataclass(frozen=True)
class Digits(ByKind):
    """A number is a piece of its own, or with `individual_digits` each of its digits."""

    individual_digits: bool = False

    def kinds(self) -> Kinds:
        return delimited(DIGIT(), "Isolated" if self.individual_digits else "Contiguous")


@cache
def script(character: str) -> str:
    """The script of a character as UnicodeScripts sees it; "" is any: it goes with what is before it."""
    name = unicode.SCRIPTS[unicode.script(ord(character))]
    if character == " " or name == "UNKNOWN":
        return ""
    return "HAN" if name in ("HIRAGANA", "KATAKANA") or character == "\u30fc" else name


@dataclass(frozen=True)
class UnicodeScripts(PreTokenizer):
    """Cuts where the script changes; Hiragana and Katakana count as Han, as they do for SentencePiece.

    A space goes with what is before it, and is dropped at the beginning. Common (digits, punctuation) and Inherited
    (combining marks) are scripts like any other: Hugging Face's tokenizers do not give them that of their neighbours,
    as SentencePiece does with Inherited.
    """

    def pieces(self, text: Aligned, first: bool = True) -> list[Aligned]:
        starts: list[int] = []
        last = None
        for i, character in enumerate(text.text):
            here = script(character)
            if here and here != last:
                starts.append(i)
                last = here
        return [text.cut(*span) for span in zip(starts, [*starts[1:], len(text.text)], strict=True)] if starts else []
