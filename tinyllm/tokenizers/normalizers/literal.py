"""The plain ones: several stages as one, one string for another, a prefix, bytes as characters."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, reduce

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers import regexes
from tinyllm.tokenizers.aligned import Aligned
from tinyllm.tokenizers.normalizers._characters import WHITE_SPACE, replaced
from tinyllm.tokenizers.stage import Normalizer

# Literal characters, then perhaps a repetition of the last one.
SIMPLE = re.compile(r"(?:[^\\.\[\]{}()*+?^$|#&~-]|\\[nrts])+(?:\+|\{[1-9]\d{0,3},(?:\d{1,4})?\})?")


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

    @property
    def quick(self) -> Callable[[bytes], bytes] | None:
        steps = [normalizer.quick for normalizer in self.normalizers]
        return None if None in steps else lambda data: reduce(lambda done, step: step(done), steps, data)  # type: ignore[misc]


@dataclass(frozen=True)
class Prepend(Normalizer):
    """`prepend` before a text that is not empty; it stands for the text's first character."""

    prepend: str

    def normalize(self, text: Aligned) -> Aligned:
        return text.edited([(0, 0, self.prepend)]) if text.text and self.prepend else text

    @property
    def quick(self) -> Callable[[bytes], bytes]:
        before = self.prepend.encode("utf-8", "surrogateescape")
        return lambda data: before + data if data else data


@dataclass(frozen=True)
class Replace(Normalizer):
    """`content` for every match of `pattern`, a str or {"String": str}, left to right; "" removes.

    {"Regex": str} is run if it is literal text with at most one repetition, at its end (" {2,}", "\\s+": linear), else
    only where it is trusted (`allow_regex`, see regexes.py). `content` is no template.
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
        if "Regex" in spelled and self.allow_regex and not SIMPLE.fullmatch(spelled["Regex"]):
            regexes.compiled(spelled["Regex"])

    def __hash__(self) -> int:
        return hash((*self.pattern.items(), self.content))  # type: ignore[union-attr]

    def normalize(self, text: Aligned) -> Aligned:
        kind, pattern = next(iter(self.pattern.items()))  # type: ignore[union-attr]
        if kind == "String":
            return replaced(text, re.compile(re.escape(pattern)), self.content) if pattern in text.text else text
        if SIMPLE.fullmatch(pattern):
            return replaced(text, re.compile(pattern.replace("\\s", f"[{WHITE_SPACE}]")), self.content)
        spans = regexes.find(pattern, text.text, self.allow_regex)
        return text.edited((start, end, self.content) for start, end in spans)

    @property
    def quick(self) -> Callable[[bytes], bytes] | None:
        kind, pattern = next(iter(self.pattern.items()))  # type: ignore[union-attr]
        if kind != "String" or not self.content or re.search("[\ud800-\udfff]", pattern + self.content):
            return None  # bytes that are no character, also those that a removal would bring together
        old, new = pattern.encode(), self.content.encode()
        return lambda data: data.replace(old, new)


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
