"""What a model takes: ids with all that goes with them, cut to a length, filled up to one, and joined.

As Hugging Face's `Encoding`, `truncation` and `padding`, to the last list; the fields of Truncation and Padding are
those of tokenizer.json.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from tinyllm.errors import TokenizerError

Direction = Literal["Left", "Right"]


@dataclass
class Encoding:
    """ids[i] stands for text[offsets[i][0] : offsets[i][1]]: code points of a str, bytes of a bytes object.

    Spans are monotone. Counted in bytes those of a byte-level tokenizer are a partition of the text; counted in code
    points, tokens that share a character both span it. `type_ids[i]`: which part of a template (0 or 1);
    `attention_mask[i]`: 0 for padding; `special_tokens_mask[i]`: 1 for what a template or padding added;
    `sequence_ids[i]`: the text (0, or 1 for the second of a pair), None for what was added. `overflowing`: what was
    cut off, in windows of the same length.
    """

    ids: list[int]
    offsets: list[tuple[int, int]]
    type_ids: list[int] = field(default_factory=list)
    attention_mask: list[int] = field(default_factory=list)
    special_tokens_mask: list[int] = field(default_factory=list)
    sequence_ids: list[int | None] = field(default_factory=list)
    overflowing: list[Encoding] = field(default_factory=list)

    @classmethod
    def of(cls, ids: list[int], offsets: list[tuple[int, int]], sequence: int = 0) -> Encoding:
        """The ids of one text, all attended to."""
        n = len(ids)
        return cls(ids, offsets, [0] * n, [1] * n, [0] * n, [sequence] * n)

    @classmethod
    def special(cls, ids: Sequence[int], type_id: int) -> Encoding:
        """Special tokens, which stand for no text."""
        n = len(ids)
        return cls(list(ids), [(0, 0)] * n, [type_id] * n, [1] * n, [1] * n, [None] * n)

    def __len__(self) -> int:
        return len(self.ids)

    def numbered(self, sequence: int, type_id: int) -> Encoding:
        """As text number `sequence`, of this type throughout; so is what overflows."""
        self.type_ids = [type_id] * len(self)
        self.sequence_ids = [sequence] * len(self)
        for other in self.overflowing:
            other.numbered(sequence, type_id)
        return self

    def cut(self, start: int, end: int) -> Encoding:
        """Tokens `start` to `end`, without what overflows."""
        return Encoding(*(column[start:end] for column in self._columns()))

    def _columns(self) -> tuple[list, ...]:
        return (
            self.ids, self.offsets, self.type_ids, self.attention_mask, self.special_tokens_mask, self.sequence_ids,
        )  # fmt: skip

    def truncated(self, length: int, stride: int = 0, direction: Direction = "Right") -> Encoding:
        """At most `length` tokens, the rest in `overflowing`: windows of that length that share `stride` tokens."""
        n = len(self)
        if n <= length:
            return self
        if length == 0:
            return Encoding([], [], overflowing=[self])
        if stride >= length:
            raise TokenizerError(
                f"windows of {length} tokens can't share {stride}: stride must be less than max_length, without "
                "the special tokens that the template adds"
            )
        step = length - stride
        if direction == "Right":
            windows = [(start, min(start + length, n)) for start in range(0, n, step)]
            last = next(i for i, (_, end) in enumerate(windows) if end == n)
        else:
            windows = [(max(end - length, 0), end) for end in range(n, 0, -step)]
            last = next(i for i, (start, _) in enumerate(windows) if start == 0)
        first, *rest = [self.cut(*window) for window in windows[: last + 1]]
        first.overflowing = rest
        return first

    def padded(self, length: int, padding: Padding) -> Encoding:
        """Filled up to `length` tokens, in place; so is what overflows."""
        for other in self.overflowing:
            other.padded(length, padding)
        n = length - len(self)
        if n > 0:
            fill: tuple = (padding.pad_id, (0, 0), padding.pad_type_id, 0, 1, None)
            for column, value in zip(self._columns(), fill, strict=True):
                at = len(column) if padding.direction == "Right" else 0
                column[at:at] = [value] * n
        return self


def joined(parts: Sequence[Encoding]) -> Encoding:
    """One after another. Overflowing windows are combined each with each, as Hugging Face combines them."""
    if not parts:
        return Encoding([], [])
    whole = parts[0]
    for part in parts[1:]:
        windows = []
        for window in whole.overflowing:
            windows.append(_both(window, part))
            windows += [_both(window, other) for other in part.overflowing]
        windows += [_both(whole, other) for other in part.overflowing]
        whole = _both(whole, part)
        whole.overflowing = windows
    return whole


def _both(one: Encoding, other: Encoding) -> Encoding:
    return Encoding(*(a + b for a, b in zip(one._columns(), other._columns(), strict=True)))


@dataclass(frozen=True)
class Truncation:
    """At most `max_length` tokens, with those that the template adds. `strategy`: of a pair, cut the longer text first,
    or one of them only. `direction`: the end that is cut off. `stride`: how many tokens overflowing windows share.
    """

    max_length: int
    strategy: Literal["LongestFirst", "OnlyFirst", "OnlySecond"] = "LongestFirst"
    stride: int = 0
    direction: Direction = "Right"

    def __post_init__(self) -> None:
        if self.max_length < 0 or self.stride < 0:
            raise TokenizerError(f"max_length is {self.max_length} and stride {self.stride}; neither may be negative")

    def apply(self, parts: list[Encoding], added: int) -> list[Encoding]:
        """One or two texts, cut so that with `added` tokens more they are no longer than max_length."""
        limit = self.max_length - added
        if limit < 0:
            raise TokenizerError(
                f"max_length is {self.max_length}, less than the {added} tokens that the template adds"
            )
        sizes = [len(part) for part in parts]
        excess = sum(sizes) - limit
        if excess <= 0:
            return parts
        if limit == 0:
            sizes = [0 for _ in sizes]
        elif self.strategy == "LongestFirst":
            sizes = [limit] if len(sizes) == 1 else _longest_first(sizes[0], sizes[1], limit)
        else:
            at = 0 if self.strategy == "OnlyFirst" else 1
            if at >= len(parts):
                raise TokenizerError("truncation cuts the second text only (OnlySecond), and there is no second text")
            if sizes[at] <= excess:
                raise TokenizerError(
                    f"{excess} tokens are too many for max_length {self.max_length}, and the text to cut "
                    f"({self.strategy}) has {sizes[at]}"
                )
            sizes[at] -= excess
        return [part.truncated(n, self.stride, self.direction) for part, n in zip(parts, sizes, strict=True)]


def _longest_first(first: int, second: int, limit: int) -> list[int]:
    """Two lengths that add up to at most `limit`: the longer one is cut first, at the end both alike."""
    short, long = sorted((first, second))
    long = short if short > limit else max(short, limit - short)
    if short + long > limit:
        short, long = limit // 2, limit // 2 + limit % 2
    return [long, short] if first > second else [short, long]


@dataclass(frozen=True)
class Padding:
    """Filled up with `pad_id` to `length`, or if that is None to the longest of a batch; then to a multiple of
    `pad_to_multiple_of`. `direction`: the end that is filled.
    """

    length: int | None = None
    pad_to_multiple_of: int | None = None
    direction: Direction = "Right"
    pad_id: int = 0
    pad_type_id: int = 0
    pad_token: str = "[PAD]"

    def apply(self, encodings: Iterable[Encoding]) -> list[Encoding]:
        """All of a batch, filled up in place."""
        encodings = list(encodings)
        length = max(map(len, encodings), default=0) if self.length is None else self.length
        if self.pad_to_multiple_of and length % self.pad_to_multiple_of:
            length += self.pad_to_multiple_of - length % self.pad_to_multiple_of
        return [encoding.padded(length, self) for encoding in encodings]
