"""Text that remembers where it came from.

    text = Aligned.of("ﬁt").edited([(0, 1, "fi")])
    text.text == "fit";  text.span(0, 2) == (0, 1)      # both letters come from the ligature

Character i of `text` comes from original[starts[i] : ends[i]]. Spans are monotone: starts never fall, ends neither.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Aligned(NamedTuple):
    """`text`, and for each of its characters the span of the original that it stands for."""

    text: str
    starts: Sequence[int]
    ends: Sequence[int]

    @classmethod
    def of(cls, text: str, base: int = 0) -> Aligned:
        """An original text, unchanged; its first character is number `base`. Costs no memory a character."""
        return cls(text, range(base, base + len(text)), range(base + 1, base + len(text) + 1))

    def cut(self, start: int, end: int) -> Aligned:
        """The characters from `start` to `end`."""
        return Aligned(self.text[start:end], self.starts[start:end], self.ends[start:end])

    def span(self, start: int, end: int) -> tuple[int, int]:
        """The span of the original that characters start ... end - 1 (at least one) came from."""
        return self.starts[start], self.ends[end - 1]

    def edited(self, edits: Iterable[tuple[int, int, str]]) -> Aligned:
        """The text with each (start, end, replacement) done; edits ascend and do not overlap.

        Each character of a replacement stands for all that was replaced. What is inserted (start == end) stands for
        the character before it, at the beginning of the text for the one after it.
        """
        parts: list[str] = []
        starts: list[int] = []
        ends: list[int] = []
        done = copied = 0  # how far the text is done, and the spans: those of characters exchanged one for one stay
        for start, end, new in edits:
            parts.append(self.text[done:start])
            parts.append(new)
            done = end
            if len(new) == end - start == 1:
                continue
            starts += self.starts[copied:start]
            ends += self.ends[copied:start]
            copied = end
            if not new:
                continue
            first, last = (start, end - 1) if start < end else (max(start - 1, 0),) * 2
            if self.text:
                starts += [self.starts[first]] * len(new)
                ends += [self.ends[last]] * len(new)
            else:
                starts += [0] * len(new)
                ends += [0] * len(new)
        if not parts:
            return self
        parts.append(self.text[done:])
        if not copied and not starts:
            return Aligned("".join(parts), self.starts, self.ends)
        starts += self.starts[copied:]
        ends += self.ends[copied:]
        return Aligned("".join(parts), starts, ends)
