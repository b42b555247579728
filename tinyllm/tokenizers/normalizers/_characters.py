"""Sets of characters as regular expression classes, and the two edits that most normalizers are made of.

The classes are computed from `unicodedata` when first needed (some 20 ms each) and kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from unicodedata import category

from tinyllm.tokenizers.aligned import Aligned

WHITE_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"  # Unicode's, for a class


def assigned() -> Iterator[int]:
    """All code points that may have a name; what is above is unassigned, or for private use."""
    yield from range(0x40000)
    yield from range(0xE0000, 0xE1000)


def ranges(points: Iterable[int]) -> str:
    """Ascending code points as the inside of a regular expression's class: "\\U000000C0-\\U000000D6..."."""
    spans: list[list[int]] = []
    for point in points:
        if spans and spans[-1][1] == point - 1:
            spans[-1][1] = point
        else:
            spans.append([point, point])
    return "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in spans)


@cache
def in_categories(*prefixes: str) -> str:
    """The inside of a class of all characters whose general category starts with one of `prefixes`."""
    private = "\\U000f0000-\\U000ffffd\\U00100000-\\U0010fffd" if "Co" in prefixes else ""
    return ranges(p for p in assigned() if category(chr(p)).startswith(prefixes)) + private


def replaced(text: Aligned, pattern: re.Pattern[str], new: str | Callable[[str], str]) -> Aligned:
    """Each match of `pattern` replaced, by `new` or what it gives for the match; "" removes it."""

    def edits() -> Iterator[tuple[int, int, str]]:
        for found in pattern.finditer(text.text):
            yield found.start(), found.end(), new if isinstance(new, str) else new(found.group())

    return text.edited(edits())


def translated(text: Aligned, table: Mapping[int, str | int]) -> Aligned:
    """Characters exchanged one for one by `str.translate`."""
    return text._replace(text=text.text.translate(table))


def in_case_of(new: str, like: str) -> str:
    """`new` in the case of `like`: all capitals (of at least two letters), a capital first, or as it is."""
    letters = [c for c in like if c.isalpha()]
    if len(letters) > 1 and all(c.isupper() for c in letters):
        return new.upper()
    return new[:1].upper() + new[1:] if letters and letters[0].isupper() else new
