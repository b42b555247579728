"""From tokens to the spans of text that they came from: code points of a str, bytes of a bytes object."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from itertools import accumulate

from tinyllm.tokenizers.aligned import Aligned


class Spans:
    """The ids of a text and the span of each, added from left to right. `text` is the text as a str."""

    def __init__(self, text: str | bytes) -> None:
        self.in_bytes = isinstance(text, bytes)
        self.text = text.decode("utf-8", "surrogateescape") if isinstance(text, bytes) else text
        self.ids: list[int] = []
        self.spans: list[tuple[int, int]] = []
        self._at: Sequence[int] = range(len(self.text) + 1)  # where each character begins
        if self.in_bytes and len(text) != len(self.text):
            self._at = array("Q", accumulate(map(utf8_width, self.text), initial=0))

    def aligned(self, start: int, end: int) -> Aligned:
        """Characters `start` to `end` of the text; their spans are as those that come out."""
        return Aligned(self.text[start:end], self._at[start:end], self._at[start + 1 : end + 1])

    def add_token(self, token: int, start: int, end: int, done: bool = False) -> None:
        """A token for the characters `start` to `end`; `done`: these are a span already."""
        self.ids.append(token)
        self.spans.append((start, end) if done else (self._at[start], self._at[end]))

    def add_parts(self, ids: list[int], parts: list[bytes]) -> None:
        """Tokens whose bytes, joined, are the whole text."""
        ends = [0, *accumulate(map(len, parts))]
        spans = list(zip(ends, ends[1:], strict=False))
        if not self.in_bytes and not self.text.isascii():
            character = character_of_bytes(map(utf8_width, self.text))
            spans = [(character[start], character[end - 1] + 1) for start, end in spans]
        self.ids += ids
        self.spans += spans

    def add_piece(self, piece: Aligned, data: bytes, tokens: Iterable[tuple[int, int]]) -> None:
        """The tokens of a piece, whose UTF-8 is `data`, as (id, how many bytes it covers)."""
        simple = len(data) == len(piece.text)
        widths = b"" if simple else bytes(map(utf8_width, piece.text))
        character = character_of_bytes(widths)
        begins = array("Q", accumulate(widths, initial=0))  # byte of each character
        at = 0
        for token, width in tokens:
            first, last = at, max(at, at + width - 1)
            at += width
            self.ids.append(token)
            if simple:
                self.spans.append(piece.span(first, last + 1))
                continue
            i, j = character[first], character[last]
            start, end = piece.span(i, j + 1)
            if self.in_bytes and piece.ends[i] - piece.starts[i] == widths[i]:  # as wide as it was in the text
                start += first - begins[i]
            if self.in_bytes and piece.ends[j] - piece.starts[j] == widths[j]:
                end -= begins[j + 1] - 1 - last
            if self.spans:  # what was inserted before a character stands for all of it, and comes first
                start, end = max(start, self.spans[-1][0]), max(end, self.spans[-1][1])
            self.spans.append((start, end))


def character_of_bytes(widths: Iterable[int]) -> array[int]:
    """The number of the character that each byte is of. An array, four bytes a byte: texts can be long."""
    return array("I", (i for i, width in enumerate(widths) for _ in range(width)))


def utf8_width(character: str) -> int:
    """How many bytes a character has in UTF-8; a byte that is no UTF-8 (a lone surrogate) is one."""
    point = ord(character)
    if 0xDC80 <= point <= 0xDCFF:
        return 1
    return 1 + (point >= 0x80) + (point >= 0x800) + (point >= 0x10000)
