"""Whitespace at the ends, and too much of it inside. Whitespace is Unicode's White_Space: 25 characters, tabs, line
ends, the no-break space and the ideographic one among them; not U+200B, not the separators U+001C to U+001F.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from tinyllm.tokenizers.aligned import Aligned
from tinyllm.tokenizers.normalizers._characters import WHITE_SPACE, replaced
from tinyllm.tokenizers.stage import Normalizer

LINE_ENDS = "\n\v\f\r\x85\u2028\u2029"
_SPACES = "".join(chr(p) for p in range(0x3001) if re.match(f"[{WHITE_SPACE}]", chr(p)))


@dataclass(frozen=True)
class Strip(Normalizer):
    """Removes whitespace at the beginning and the end."""

    strip_left: bool = True
    strip_right: bool = True

    def normalize(self, text: Aligned) -> Aligned:
        start, end = 0, len(text.text)
        if self.strip_left:
            start = end - len(text.text.lstrip(_SPACES))
        if self.strip_right:
            end = max(start, len(text.text.rstrip(_SPACES)))
        return text if (start, end) == (0, len(text.text)) else text.cut(start, end)


@dataclass(frozen=True)
class CollapseWhitespace(Normalizer):
    """A run of whitespace becomes one space; at the beginning and the end of the text it goes.

    That destroys code and verse: leave the stage out where text must come back as it was. `leading`, `trailing`,
    `duplicates`: which of the three to do. `keep_lines`: a run with a line end becomes one "\\n" instead.
    """

    leading: bool = True
    trailing: bool = True
    duplicates: bool = True
    keep_lines: bool = False

    def normalize(self, text: Aligned) -> Aligned:
        text = Strip(self.leading, self.trailing).normalize(text)
        if not self.duplicates:
            return text
        return replaced(text, _run(self.keep_lines), lambda run: "\n" if self.keep_lines and _has_line(run) else " ")


def _has_line(run: str) -> bool:
    return any(character in LINE_ENDS for character in run)


@cache
def _run(keep_lines: bool) -> re.Pattern[str]:
    """A run of whitespace that is not already as it should be."""
    one = " |\n" if keep_lines else " "
    return re.compile(f"(?!(?:{one})(?![{WHITE_SPACE}]))[{WHITE_SPACE}]+")
