r"""The split patterns of GPT-2 and its kin: the step before byte-pair encoding. No merge crosses the border of a piece.

A pattern is written once, as the regular expression its authors published. Two engines run it:

- "python": the standard library's `re`, which has no \p{L}, so each class becomes the list of its ranges in
  the Unicode table;
- "c": a scanner in _segment.pxi, one function a pattern, over the same table.

Both read bytes. A byte that is no part of well-formed UTF-8 counts as one character that is neither letter,
number nor space, so any bytes have exactly one segmentation. The pieces are a partition: joined, they are the
input. Both take linear time: there is nothing in these patterns for `re` to go back over more than once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from operator import itemgetter

from tinyllm.tokenizers import regexes
from tinyllm.tokenizers.engine import compiled as there
from tinyllm.tokenizers.engine import core
from tinyllm.tokenizers.pretokenizers.translate import simple, translated

CASED = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
SMALL = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
SUFFIX = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"

# The scanner of a pattern is next_<name> in _segment.pxi. gpt2: https://github.com/openai/gpt-2, src/encoder.py;
# cl100k and o200k: tiktoken_ext/openai_public.py of tiktoken; llama3, qwen2 and tekken (Mistral): tokenizer.json of
# those models.
PATTERNS = {
    "gpt2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "cl100k": r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"
    r"|\s++$|\s*[\r\n]|\s+(?!\S)|\s",
    "llama3": SUFFIX + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "qwen2": SUFFIX + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "o200k": rf"[^\r\n\p{{L}}\p{{N}}]?{CASED}*{SMALL}+{SUFFIX}?|[^\r\n\p{{L}}\p{{N}}]?{CASED}+{SMALL}*{SUFFIX}?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "tekken": rf"[^\r\n\p{{L}}\p{{N}}]?{CASED}*{SMALL}+|[^\r\n\p{{L}}\p{{N}}]?{CASED}+{SMALL}*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
}

# As tokenizer.json has them. \p{N}{1,3}+ does not go back for tiktoken, but is (\p{N}{1,3})+ for Hugging Face.
PORTABLE = {**PATTERNS, "cl100k": PATTERNS["cl100k"].replace("{1,3}+", "{1,3}")}

# All spellings of a pattern. The first of the last three is tiktoken's, for gpt2, r50k and p50k.
SPELLINGS = {pattern: name for known in (PATTERNS, PORTABLE) for name, pattern in known.items()} | {
    r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s": "gpt2",
    r"'s|'t|'re|'ve|'m|'ll|'d| ?[\p{L}]+| ?[\p{N}]+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+": "gpt2",
    r"(?:'s|'t|'re|'ve|'m|'ll|'d)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+": "gpt2",
}

EACH_CHARACTER = r"[\s\S]"

# Patterns that have no scanner and are linear for `re` too: DeepSeek's V3, Qwen's 3.5.
LINEAR = (
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"""
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
    SUFFIX + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
)


def split(data: bytes, pattern: str = "gpt2", engine: str = "c") -> list[bytes]:
    """The pieces of `data` (UTF-8, or any bytes) in order; `pattern` is a key of PATTERNS, else ValueError."""
    if pattern not in PATTERNS:
        raise ValueError(f"no split pattern is named {pattern!r}; there are {', '.join(PATTERNS)}")
    if engine == "c":
        return core("segment").split(data, pattern)
    text = data.decode("utf-8", "surrogateescape")  # an invalid byte becomes one lone surrogate, and back
    return [piece.encode("utf-8", "surrogateescape") for piece in compiled(pattern).findall(text)]


def texts(text: str, pattern: str) -> Iterator[str | bytes]:
    """The pieces of `text` under PATTERNS[pattern], one after another, by the faster engine that is there."""
    try:
        if there():
            return core("segment").Pieces(text.encode(), pattern)
    except UnicodeEncodeError:  # bytes that are no UTF-8 may be some together, where they are two characters in `text`
        pass
    return map(itemgetter(0), compiled(pattern).finditer(text))


def find(pattern: str, text: str, allow_regex: bool = False) -> Iterable[tuple[int, int]]:
    """The (start, end) of each match of a regular expression as its authors spelled it, in order; regexes.py runs
    those that have no code here, if they are allowed.
    """
    if pattern == EACH_CHARACTER:
        return ((i, i + 1) for i in range(len(text)))
    plain = pattern.replace("\r", r"\r").replace("\n", r"\n")  # some files have the characters themselves
    if plain in SPELLINGS:
        return (found.span() for found in compiled(SPELLINGS[plain]).finditer(text))
    if plain in LINEAR or simple(plain):
        return (found.span() for found in translated(plain).finditer(text))
    return regexes.find(pattern, text, allow_regex)


def compiled(pattern: str) -> re.Pattern[str]:
    """PATTERNS[pattern] for `re`."""
    return translated(PATTERNS[pattern])
