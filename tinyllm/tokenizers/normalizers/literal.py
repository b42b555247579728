"""The plain ones: several stages as one, one string for another, a prefix, bytes as characters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers.aligned import Aligned
from tinyllm.tokenizers.normalizers._characters import replaced
from tinyllm.tokenizers.stage import Normalizer

REGEX_SECONDS = 1.0  # how long a pattern may look at one text; backtracking can take forever


@dataclass(frozen=True)
class Sequence(Normalizer):
    """One normalizer after another."""

    normalizers: tuple[Normalizer, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "normalizers", tuple(self.normalizers))

    def normalize(self, text: Aligned) -> Aligned:
        for normalizer in self.normalizers:
            text = normalizer.normalize(text)
        return text


@dataclass(frozen=True)
class Prepend(Normalizer):
    """`prepend` before a text that is not empty; it stands for the text's first character."""

    prepend: str

    def normalize(self, text: Aligned) -> Aligned:
        return text.edited([(0, 0, self.prepend)]) if text.text and self.prepend else text


LINEAR = (" {2,}",)  # expressions that cannot go back over text, and mean the same to `re`


@dataclass(frozen=True)
class Replace(Normalizer):
    """`content` for every match of `pattern`, a str or {"String": str}, left to right; "" removes.

    {"Regex": str} runs as it is if it is one of LINEAR. Any other needs the package `regex` and `allow_regex`: such a
    pattern can backtrack for very long, so whoever loads a file that has one must say that it is trusted. It gets a
    second a text, then TokenizerError.
    """

    pattern: str | Mapping[str, str]
    content: str
    allow_regex: bool = field(default=False, compare=False)

    def __post_init__(self) -> None:
        spelled = {"String": self.pattern} if isinstance(self.pattern, str) else dict(self.pattern)
        if len(spelled) != 1 or not spelled.keys() <= {"String", "Regex"} or not all(spelled.values()):
            raise TokenizerError(
                f'the pattern of Replace must be a str, {{"String": str}} or {{"Regex": str}}, not empty; '
                f"it is {self.pattern!r}"
            )
        object.__setattr__(self, "pattern", spelled)
        if "Regex" in spelled and self.allow_regex:
            _compiled(spelled["Regex"])

    def __hash__(self) -> int:
        return hash((*self.pattern.items(), self.content))  # type: ignore[union-attr]

    def normalize(self, text: Aligned) -> Aligned:
        kind, pattern = next(iter(self.pattern.items()))  # type: ignore[union-attr]
        if kind == "String":
            return replaced(text, re.compile(re.escape(pattern)), self.content) if pattern in text.text else text
        if pattern in LINEAR:
            return replaced(text, re.compile(pattern), self.content)
        if not self.allow_regex:
            raise TokenizerError(
                f"this normalizer replaces by the regular expression {pattern!r}, which can take forever on some "
                "text; pass allow_regex=True to run it (a second a text at most)"
            )
        try:
            spans = [found.span() for found in _compiled(pattern).finditer(text.text, timeout=REGEX_SECONDS)]
        except TimeoutError:
            raise TokenizerError(
                f"the regular expression {pattern!r} took more than {REGEX_SECONDS:g} s on a text of "
                f"{len(text.text)} characters; it backtracks, write it another way"
            ) from None
        return text.edited((start, end, self.content) for start, end in spans)


@cache
def _compiled(pattern: str) -> Any:
    try:
        import regex
    except ImportError:
        raise TokenizerError(
            f"the pattern {pattern!r} is a regular expression, and the package regex is not there: pip install regex"
        ) from None
    try:
        return regex.compile(pattern)
    except regex.error as error:
        raise TokenizerError(f"the pattern {pattern!r} is no regular expression: {error}") from None


@dataclass(frozen=True)
class ByteLevel(Normalizer):
    """Each byte of the UTF-8 as one visible character, in GPT-2's alphabet: a space is Ġ, é is Ã©."""

    def normalize(self, text: Aligned) -> Aligned:
        alphabet = byte_alphabet()
        pattern = re.compile("[^!-~]")
        return replaced(
            text, pattern, lambda c: "".join([alphabet[byte] for byte in c.encode("utf-8", "surrogateescape")])
        )


@cache
def byte_alphabet() -> tuple[str, ...]:
    """The character of each byte: itself where it is printable in Latin-1, else the next one from U+0100 on."""
    visible = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return tuple(chr(byte if byte in visible else next(others)) for byte in range(256))
