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
from tinyllm.tokenizers.pretokenizers.split import Behavior, cut, known_behavior
from tinyllm.tokenizers.pretokenizers.translate import ranges, word
from tinyllm.tokenizers.stage import PreTokenizer

PUNCTUATION = ("Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po")


@cache
def SPACE() -> re.Pattern[str]:
    return re.compile(f"[{ranges('white_space', True)}]")


@cache
def PUNCTUATION_MARK() -> re.Pattern[str]:
    return re.compile(rf"[!-/:-@\[-`{{-~{ranges('category', *PUNCTUATION)}]")


@cache
def DIGIT() -> re.Pattern[str]:
    return re.compile(f"[{ranges('category', 'Nd', 'Nl', 'No')}]")


@cache
def INSIDE() -> re.Pattern[str]:
    return re.compile(rf"[{word()}\u200c\u200d]")


@cache
def WORD() -> re.Pattern[str]:
    inside = INSIDE().pattern[1:-1]
    return re.compile(f"[{inside}]+|[^{inside}{ranges('white_space', True)}]+")


def at(text: Aligned, pattern: re.Pattern[str], behavior: Behavior, invert: bool = False) -> list[Aligned]:
    return cut(text, (found.span() for found in pattern.finditer(text.text)), behavior, invert)


@dataclass(frozen=True)
class WhitespaceSplit(PreTokenizer):
    """What stands between white space."""

    def pieces(self, text: Aligned, first: bool = True) -> list[Aligned]:
        return at(text, SPACE(), "Removed")


@dataclass(frozen=True)
class Whitespace(PreTokenizer):
    r"""Runs of word characters, and runs of other characters but white space: \w+|[^\w\s]+."""

    def pieces(self, text: Aligned, first: bool = True) -> list[Aligned]:
        return at(text, WORD(), "Removed", invert=True)


@dataclass(frozen=True)
class BertPreTokenizer(PreTokenizer):
    """What stands between white space, with each punctuation mark a piece of its own."""

    def pieces(self, text: Aligned, first: bool = True) -> list[Aligned]:
        words = at(text, SPACE(), "Removed")
        return [piece for word in words for piece in at(word, PUNCTUATION_MARK(), "Isolated")]


@dataclass(frozen=True)
class Punctuation(PreTokenizer):
    """Cuts at each punctuation mark; `behavior` as in `cut`."""

    behavior: Behavior = "Isolated"

    def __post_init__(self) -> None:
        known_behavior(self.behavior, "Punctuation")

    def pieces(self, text: Aligned, first: bool = True) -> list[Aligned]:
        return at(text, PUNCTUATION_MARK(), self.behavior)


@dataclass(frozen=True)
class Digits(PreTokenizer):
    """A number is a piece of its own, or with `individual_digits` each of its digits."""

    individual_digits: bool = False

    def pieces(self, text: Aligned, first: bool = True) -> list[Aligned]:
        return at(text, DIGIT(), "Isolated" if self.individual_digits else "Contiguous")


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
