"""Sets of characters as regular expression classes, and the two edits that most normalizers are made of.

The classes are computed from `unicodedata` when first needed (some 20 ms each) and kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, lru_cache
from unicodedata import category

from tinyllm.tokenizers.aligned import Aligned

WHITE_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"  # Unicode's, for a class
_WIDE = re.compile("[\U00010000-\U0010ffff]")


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


@lru_cache(maxsize=256)
def _narrowed(pattern: re.Pattern[str]) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\U00(?:0[1-9a-f]|10)[0-9a-f]{4}-\\U[0-9a-f]{8}", "", pattern.pattern))


def matches(pattern: re.Pattern[str], text: str) -> Iterator[re.Match[str]]:
    """All of them. A class that has ranges above U+FFFF is slow to refuse a character, for `re` tries one after another
    (0.3 microseconds for a hundred): in a text without such characters it is searched for without them.
    """
    return (pattern if _WIDE.search(text) else _narrowed(pattern)).finditer(text)


def replaced(text: Aligned, pattern: re.Pattern[str], new: str | Callable[[str], str]) -> Aligned:
    """Each match of `pattern` replaced, by `new` or what it gives for the match; "" removes it."""

    def edits() -> Iterator[tuple[int, int, str]]:
        for found in matches(pattern, text.text):
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
