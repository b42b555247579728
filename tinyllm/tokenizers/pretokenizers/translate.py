r"""Regular expressions in the syntax of Hugging Face's files (Oniguruma's), for Python's `re`, where that is linear.

`re` has no \p{...}, its \s is not White_Space, and nothing stops it when it backtracks. So classes become the ranges
of our own table, and a pattern is only taken if it cannot go back over more than one run of characters: `simple` says
which are written so plainly that this is seen. \w is Oniguruma's: Alphabetic, marks, decimal digits, connectors, and
outside [...] also ²³¹¼½¾ (but no other such number).
"""

from __future__ import annotations

import re
from functools import cache
from itertools import groupby

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers import _unicode as unicode

GENERAL = {
    "L": ("Lu", "Ll", "Lt", "Lm", "Lo"),
    "M": ("Mn", "Mc", "Me"),
    "N": ("Nd", "Nl", "No"),
    "P": ("Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po"),
    "S": ("Sm", "Sc", "Sk", "So"),
}
CATEGORIES = {record.category for record in unicode.RECORDS} - {"Cn"} | GENERAL.keys()
NAMED = re.compile(r"\\(?:p\{(\w+)\}|([sdw]))|\\.", re.DOTALL)  # or any other escape, which is left alone
SET = re.compile(r"\[(?:\\.|[^\]\\])*\]|\\[SDW]", re.DOTALL)

ESCAPE = r"\\(?:[sdwnrt]|p\{\w+\}|[^\w\s])"
MEMBER = rf"(?:{ESCAPE}|[^\\\[\]&~|^-]|(?<![\\\[^}}-])(?<!\\.)-(?![\]\\-]))"
ATOM = rf"(?:{ESCAPE}|\\[SDW]|\[\^?{MEMBER}+\]|[^\\\[\](){{}}*+?|^$.#])"
RUN = rf"(?:{ATOM}\?)?{ATOM}{{1,8}}(?:\+|\{{1(?:,\d{{1,3}})?\}})?"
SIMPLE = re.compile(rf"{RUN}(?:\|{RUN})*")


def simple(pattern: str) -> bool:
    """Whether the pattern is made of alternatives like " ?[a-z]+": an optional character, some characters, of which the
    last may be repeated. Where the first of a repetition matches, all of it does, so none goes back.
    """
    named = [found[1] for found in NAMED.finditer(pattern) if found[1]]
    return SIMPLE.fullmatch(pattern) is not None and CATEGORIES.issuperset(named)


@cache
def translated(pattern: str) -> re.Pattern[str]:
    """The pattern with explicit ranges."""

    def whole(found: re.Match[str]) -> str:  # "[...]", or \S as [^\s]
        part = found.group()
        return expanded(part, "{}") if part[0] == "[" else expanded(part.lower(), "[^{}]")

    parts: list[str] = []
    done = 0
    for found in SET.finditer(pattern):
        parts += expanded(pattern[done : found.start()], "[{}]"), whole(found)
        done = found.end()
    try:
        return re.compile("".join([*parts, expanded(pattern[done:], "[{}]")]))
    except re.error as error:
        raise TokenizerError(f"{pattern!r} is no regular expression: {error}") from None


def expanded(source: str, form: str) -> str:
    r"""`source` with each \s, \d, \w and \p{...} as ranges in `form`."""

    def one(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        if not name:
            return found.group()
        if name == "s":
            return form.format(ranges("white_space", True))
        if name == "w":
            return form.format(word() + ("" if form == "{}" else "²³¹¼½¾"))
        return form.format(ranges("category", *GENERAL.get(name, ("Nd" if name == "d" else name,))))

    return NAMED.sub(one, source)


def word() -> str:
    return ranges("alphabetic", True) + ranges("category", *GENERAL["M"], "Nd", "Pc")


@cache
def ranges(field: str, *values: object) -> str:
    r"""The code points whose `field` (of _unicode.Record) is one of `values`, as they stand inside [...]."""
    runs, point = [], 0
    for inside, run in groupby(unicode.flat().translate(unicode.members(field, *values))):
        length = sum(1 for _ in run)
        if inside:
            runs.append(f"\\U{point:08X}-\\U{point + length - 1:08X}")
        point += length
    return "".join(runs)
