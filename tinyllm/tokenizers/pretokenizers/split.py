"""Cutting at what matches: a string or regular expression, one character, every n characters."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers.aligned import Aligned
from tinyllm.tokenizers.pretokenizers import patterns
from tinyllm.tokenizers.pretokenizers.kinds import ByKind, Kinds, delimited
from tinyllm.tokenizers.stage import PreTokenizer

Behavior = Literal["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]


def cut(text: Aligned, matches: Iterable[tuple[int, int]], behavior: Behavior, invert: bool = False) -> list[Aligned]:
    """The pieces of `text`, none empty, where the (start, end) of the delimiters ascend.

    A delimiter is Removed, Isolated (a piece of its own), merged with the piece before or after it (of several in a
    row, one is), or, as Contiguous, one piece with the delimiters next to it. `invert`: what lies between the
    matches is the delimiter.
    """
    runs = alternate(len(text.text), matches)
    if invert:
        runs = ((start, end, not match) for start, end, match in runs)
    if behavior == "Removed":
        spans = [(start, end) for start, end, match in runs if not match]
    elif behavior == "Isolated":
        spans = [(start, end) for start, end, _ in runs]
    elif behavior == "MergedWithNext":  # as with previous, from the right to the left
        mirrored = [(-end, -start, match) for start, end, match in runs][::-1]
        spans = [(-end, -start) for start, end in merged(mirrored, behavior)][::-1]
    else:
        spans = merged(runs, behavior)
    return [text.cut(start, end) for start, end in spans if start < end]


def alternate(length: int, matches: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int, bool]]:
    """The matches (True) and what lies between them (False)."""
    done = 0
    for start, end in matches:
        if done < start:
            yield done, start, False
        yield start, end, True
        done = end
    if done < length:
        yield done, length, False


def merged(runs: Iterable[tuple[int, int, bool]], behavior: Behavior) -> list[tuple[int, int]]:
    spans: list[tuple[int, int]] = []
    before = False
    for start, end, match in runs:
        joins = match == before if behavior == "Contiguous" else match and not before
        if joins and spans:
            spans[-1] = spans[-1][0], end
        else:
            spans.append((start, end))
        before = match
    return spans


def known_behavior(behavior: str, stage: str) -> None:
    if behavior not in get_args(Behavior):
        raise TokenizerError(
            f"the behavior of {stage} must be one of {', '.join(get_args(Behavior))}; it is {behavior!r}"
        )


def one_character(value: object, what: str) -> None:
    if not isinstance(value, str) or len(value) != 1:
        raise TokenizerError(f"{what} must be one character; it is {value!r}")


@dataclass(frozen=True)
class Split(PreTokenizer):
    """Cuts at each match of `pattern`: a str or {"String": str} is searched for as it is, {"Regex": str} is a regular
    expression. `behavior` and `invert` as in `cut`.

    The regular expressions that patterns.py knows and those that are `translate.simple` ("\\s+", "[0-9]{1,3}") take
    linear time. Any other needs the package `regex` and `allow_regex`: it could backtrack for very long, so whoever
    loads a file that has one must say that it is trusted; and it has the time that regexes.seconds gives.
    """

    pattern: str | Mapping[str, str]
    behavior: Behavior
    invert: bool = False
    allow_regex: bool = field(default=False, compare=False)

    def __post_init__(self) -> None:
        spelled = {"String": self.pattern} if isinstance(self.pattern, str) else dict(self.pattern)
        if (
            len(spelled) != 1
            or not spelled.keys() <= {"String", "Regex"}
            or not isinstance(next(iter(spelled.values())), str)
        ):
            raise TokenizerError(
                f'the pattern of Split must be a str, {{"String": str}} or {{"Regex": str}}; it is {self.pattern!r}'
            )
        object.__setattr__(self, "pattern", spelled)
        if self.spelled == ("Regex", patterns.PATTERNS["cl100k"]):
            raise TokenizerError(
                r"\p{N}{1,3}+ in the pattern of Split is not the same for tiktoken and for Hugging Face's tokenizers; "
                'write patterns.PORTABLE["cl100k"] for tiktoken\'s cl100k'
            )
        known_behavior(self.behavior, "Split")

    def __hash__(self) -> int:
        return hash((*self.spelled, self.behavior, self.invert))

    @property
    def spelled(self) -> tuple[str, str]:
        """("String" or "Regex", the pattern)."""
        assert isinstance(self.pattern, Mapping)
        return next(iter(self.pattern.items()))

    @property
    def scanner(self) -> str | None:
        kind, pattern = self.spelled
        # each of these patterns matches everywhere, so there is nothing between its matches to remove
        plain = (self.behavior, self.invert) in (("Isolated", False), ("Removed", True))
        return patterns.SPELLINGS.get(pattern) if kind == "Regex" and plain else None

    def pieces(self, text: Aligned, first: bool = True) -> list[Aligned]:
        kind, pattern = self.spelled
        if kind == "String":  # "" is found before each character and at the end
            matches: Iterable[tuple[int, int]] = (found.span() for found in re.finditer(re.escape(pattern), text.text))
        else:
            matches = patterns.find(pattern, text.text, self.allow_regex)
        return cut(text, matches, self.behavior, self.invert)

    def texts(self, text: str, first: bool = True) -> Iterator[str | bytes]:
        kind, pattern = self.spelled
        if kind == "String" and len(pattern) == 1 and not self.invert:
            return delimited(re.escape(pattern), self.behavior).texts(text)
        return patterns.texts(text, self.scanner) if self.scanner else super().texts(text)


@dataclass(frozen=True)
class CharDelimiterSplit(ByKind):
    """Cuts at each `delimiter`, one character, and removes it."""

    delimiter: str

    def __post_init__(self) -> None:
        one_character(self.delimiter, "the delimiter of CharDelimiterSplit")

    def kinds(self) -> Kinds:
        return delimited(re.escape(self.delimiter), "Removed")


@dataclass(frozen=True)
class FixedLength(PreTokenizer):
    """Cuts after every `length` characters."""

    length: int = 5

    def __post_init__(self) -> None:
        if not isinstance(self.length, int) or self.length < 1:
            raise TokenizerError(f"the length of FixedLength must be at least 1; it is {self.length!r}")

    def pieces(self, text: Aligned, first: bool = True) -> list[Aligned]:
        return [text.cut(i, min(i + self.length, len(text.text))) for i in range(0, len(text.text), self.length)]
