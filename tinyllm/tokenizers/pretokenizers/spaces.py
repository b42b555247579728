"""Cutting before words, with the space kept: GPT-2's way (ByteLevel) and SentencePiece's (Metaspace)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers.aligned import Aligned
from tinyllm.tokenizers.pretokenizers import patterns
from tinyllm.tokenizers.pretokenizers.kinds import Kinds, delimited
from tinyllm.tokenizers.pretokenizers.split import one_character
from tinyllm.tokenizers.stage import PreTokenizer


@dataclass(frozen=True)
class ByteLevel(PreTokenizer):
    """Cuts by the pattern "gpt2" (with `use_regex`), after a space was put before text that does not start with
    one (with `add_prefix_space`).

    The pieces are text as it was: models see its bytes, and GPT-2's alphabet for them is a matter of files.
    `trim_offsets` is that of the post-processor of the same name.
    """

    add_prefix_space: bool = True
    trim_offsets: bool = True
    use_regex: bool = True

    @property
    def changes(self) -> bool:
        """Whether it does anything to any text."""
        return self.use_regex or self.add_prefix_space

    @property
    def scanner(self) -> str | None:
        return "gpt2" if self.use_regex and not self.add_prefix_space else None

    def pieces(self, text: Aligned, first: bool = True) -> list[Aligned]:
        if not text.text:
            return []
        if self.add_prefix_space and text.text[0] != " ":
            text = text.edited([(0, 0, " ")])
        if not self.use_regex:
            return [text]
        return [text.cut(*found.span()) for found in patterns.compiled("gpt2").finditer(text.text)]

    def texts(self, text: str, first: bool = True) -> Iterator[str | bytes]:
        if self.add_prefix_space and text and text[0] != " ":
            text = " " + text
        return patterns.texts(text, "gpt2") if self.use_regex else iter([text] if text else [])


@dataclass(frozen=True)
class Metaspace(PreTokenizer):
    """Each " " becomes `replacement`, and with `split` a piece starts at each.

    `prepend_scheme`: text that does not start with the replacement gets one "always", "never", or if it is the
    "first" of the input.
    """

    replacement: str = "▁"
    prepend_scheme: Literal["always", "first", "never"] = "always"
    split: bool = True

    def __post_init__(self) -> None:
        one_character(self.replacement, "the replacement of Metaspace")
        if self.prepend_scheme not in ("always", "first", "never"):
            raise TokenizerError(
                f"the prepend_scheme of Metaspace must be always, first or never; it is {self.prepend_scheme!r}"
            )

    @property
    def heeds_first(self) -> bool:
        return self.prepend_scheme == "first"

    def pieces(self, text: Aligned, first: bool = True) -> list[Aligned]:
        if not text.text:
            return []
        text = text._replace(text=text.text.replace(" ", self.replacement))
        if self._lacks(text.text, first):
            text = text.edited([(0, 0, self.replacement)])
        if not self.split:
            return [text]
        return [text.cut(*found.span()) for found in self._words().pattern.finditer(text.text)]

    def texts(self, text: str, first: bool = True) -> Iterator[str | bytes]:
        text = text.replace(" ", self.replacement)
        if text and self._lacks(text, first):
            text = self.replacement + text
        return self._words().texts(text) if self.split else iter([text] if text else [])

    def _lacks(self, text: str, first: bool) -> bool:
        """Whether it is to begin with a replacement, and does not."""
        wanted = self.prepend_scheme == "always" or (self.prepend_scheme == "first" and first)
        return wanted and not text.startswith(self.replacement)

    def _words(self) -> Kinds:
        return delimited(re.escape(self.replacement), "MergedWithNext")
