"""Regular expressions that come from a file: run only where they are allowed, by the package `regex`, for so long.

Such a pattern can backtrack for longer than anybody waits ("(a+)+b"), and Python's `re` cannot be stopped. So whoever
loads a file that has one says that it is trusted (`allow_regex`), and even then a text gets a second, and a second
more for each 100,000 characters. The syntax is Oniguruma's, as in Hugging Face's files, where `regex` has it too: ^ and
$ are those of a line.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from tinyllm.errors import TokenizerError


def seconds(length: int) -> float:
    """How long a pattern may look at a text of that many characters."""
    return 1 + length / 100_000


def find(pattern: str, text: str, allowed: bool) -> list[tuple[int, int]]:
    """The (start, end) of each match, in order."""
    if not allowed:
        raise TokenizerError(
            f"the regular expression {pattern!r} is none of those that tinyllm has code for, and could take forever on "
            "some text; if you trust it, pass allow_regex=True (needs the package regex)"
        )
    try:
        return [found.span() for found in compiled(pattern).finditer(text, timeout=seconds(len(text)))]
    except TimeoutError:
        raise TokenizerError(
            f"the regular expression {pattern!r} took more than {seconds(len(text)):.3g} s on a text of {len(text)} "
            "characters; it backtracks, write it another way"
        ) from None


@cache
def compiled(pattern: str) -> Any:
    try:
        import regex
    except ImportError:
        raise TokenizerError(
            f"the regular expression {pattern!r} needs the package regex: pip install tinyllm[regex]"
        ) from None
    if re.search(r"\{\d*,?\d*\}\+", pattern):
        raise TokenizerError(
            f"the regular expression {pattern!r} repeats a repetition, {{...}}+: it would not go back here, but does "
            "for Hugging Face's tokenizers; put the inner one in (?:...)"
        )
    try:
        return regex.compile(pattern, regex.MULTILINE)
    except regex.error as error:
        raise TokenizerError(f"{pattern!r} is no regular expression: {error}") from None
