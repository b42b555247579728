r"""Cutting text into pieces: the step before byte-pair encoding. No merge ever crosses the border of a piece.

A split pattern is written once, as the regular expression its authors published. Two engines run it:

- "python": the standard library's `re`, which has no \p{L}, so each class becomes the list of its ranges in
  the Unicode table;
- "c": a scanner in _segment.pxi, one function a pattern, over the same table.

Both read bytes. A byte that is no part of well-formed UTF-8 counts as one character that is neither letter,
number nor space, so any bytes have exactly one segmentation. The pieces are a partition: joined, they are the
input.
"""

from __future__ import annotations

import re
from functools import cache
from itertools import groupby

from tinyllm.tokenizers import _unicode as unicode
from tinyllm.tokenizers.engine import core

# The scanner of a pattern is next_<name> in _segment.pxi. GPT-2's: https://github.com/openai/gpt-2, src/encoder.py.
PATTERNS = {
    "gpt2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
}

LETTERS = (unicode.LU, unicode.LL, unicode.LT, unicode.LM, unicode.LO)
CLASSES = {r"\p{L}": LETTERS, r"\p{N}": (unicode.NUMBER,), r"\s": (unicode.SPACE,)}


def split(data: bytes, pattern: str = "gpt2", engine: str = "c") -> list[bytes]:
    """The pieces of `data` (UTF-8, or any bytes) in order; `pattern` is a key of PATTERNS."""
    if engine == "c":
        if pattern != "gpt2":
            raise ValueError(f'engine "c" has a scanner for the pattern "gpt2" only, not for {pattern!r}; use "python"')
        return core("segment").split(data)
    text = data.decode("utf-8", "surrogateescape")  # an invalid byte becomes one lone surrogate, and back
    return [piece.encode("utf-8", "surrogateescape") for piece in compiled(pattern).findall(text)]


@cache
def compiled(pattern: str) -> re.Pattern[str]:
    r"""PATTERNS[pattern] with explicit ranges for `re`, which lacks \p and whose \s is not White_Space."""
    source = PATTERNS[pattern].replace(r"\S", r"[^\s]")
    source = re.sub(r"\[[^\]]*\]", lambda found: expand(found.group(), "{}"), source)
    return re.compile(expand(source, "[{}]"))


def expand(source: str, form: str) -> str:
    for name, numbers in CLASSES.items():
        source = source.replace(name, form.format(ranges(numbers)))
    return source


@cache
def ranges(numbers: tuple[int, ...]) -> str:
    r"""The code points whose class is in `numbers`, as they stand inside [...]: \U00000041-\U0000005A..."""
    table = (unicode.STAGE2[block << 7 : block + 1 << 7] for block in unicode.STAGE1)
    member = bytes(number in numbers for number in range(256))
    runs, point = [], 0
    for inside, run in groupby(b"".join(table).translate(member)):
        length = sum(1 for _ in run)
        if inside:
            runs.append(f"\\U{point:08X}-\\U{point + length - 1:08X}")
        point += length
    return "".join(runs)
