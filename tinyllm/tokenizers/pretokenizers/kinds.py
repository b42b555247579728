"""Cutting by the kind of each character: runs of one kind, characters that stand alone, or that begin or end a piece.

    Kinds(RUN, (("0-9", ALONE), (" ", SKIP))) cuts "ab 12" into "ab", "1", "2"

A rule is written once. It is run as a regular expression where spans are asked for, and compiled (Cutter of
_segment.pyx) where the texts of the pieces are enough. Both take linear time.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from operator import itemgetter
from typing import Any

from tinyllm.tokenizers.aligned import Aligned
from tinyllm.tokenizers.engine import compiled, core
from tinyllm.tokenizers.stage import PreTokenizer

# SKIP: in no piece. ALONE: a piece by itself. LAST: ends a piece. FIRST: begins one, with the RUN that follows. RUN and
# OTHER: together with its like.
SKIP, ALONE, LAST, FIRST, RUN, OTHER = range(6)
PAGE = 128  # characters
FORMS = {
    ALONE: "[{0}]",
    LAST: "[^{1}]*[{0}]",
    FIRST: "[{0}][^{1}]*",
    RUN: "[{0}]+",
    OTHER: "[{0}]+",
}
BEHAVIORS = {"Removed": SKIP, "Isolated": ALONE, "Contiguous": OTHER}
BEHAVIORS |= {"MergedWithPrevious": LAST, "MergedWithNext": FIRST}


@dataclass(frozen=True)
class Kinds:
    """`special`: insides of classes of a regular expression, and their kinds; every other character is `usual`."""

    usual: int
    special: tuple[tuple[str, int], ...]

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """What matches the pieces."""
        known = "".join(inside for inside, _ in self.special)
        kinds = [*self.special, ("^" + known, self.usual)]
        return re.compile("|".join(FORMS[kind].format(inside, known) for inside, kind in kinds if kind != SKIP))

    @cached_property
    def cutter(self) -> Any:
        """The same compiled."""
        return core("segment").Cutter(self.page)

    def page(self, number: int) -> bytes:
        """The kinds of the characters PAGE * number + 0 ... PAGE - 1."""
        kinds = bytearray([self.usual]) * PAGE
        characters = "".join(map(chr, range(PAGE * number, PAGE * (number + 1))))
        for inside, kind in self.special:
            for found in re.finditer(f"[{inside}]", characters):
                kinds[found.start()] = kind
        return bytes(kinds)

    def texts(self, text: str) -> Iterator[str | bytes]:
        """The pieces of a text."""
        if compiled():
            try:
                return self.cutter.pieces(text)
            except UnicodeEncodeError:  # there are bytes that are no UTF-8
                pass
        return map(itemgetter(0), self.pattern.finditer(text))


class ByKind(PreTokenizer):
    """A stage that cuts so."""

    @abstractmethod
    def kinds(self) -> Kinds:
        """The rule."""

    def pieces(self, text: Aligned, first: bool = True) -> list[Aligned]:
        return [text.cut(*found.span()) for found in self.kinds().pattern.finditer(text.text)]

    def texts(self, text: str, first: bool = True) -> Iterator[str | bytes]:
        return self.kinds().texts(text)


@cache
def delimited(inside: str, behavior: str) -> Kinds:
    """The rule that does what `split.cut` does where each character of the class [inside] is a delimiter."""
    return Kinds(RUN, ((inside, BEHAVIORS[behavior]),))
