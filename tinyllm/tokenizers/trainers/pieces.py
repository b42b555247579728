"""What SentencePiece takes for a piece: IsValidSentencePiece of its src/trainer_interface.cc.

Whether two parts make a piece follows from a few marks of each, so the compiled trainer needs no text for it: the
script that a part begins with, the one it ends with, and what it may not do.
"""

from __future__ import annotations

from dataclasses import dataclass

from tinyllm.tokenizers import _unicode

SPACE, RARE, BOUNDARY = "\u2581", "\u2585", "\x1f"  # a space, an unknown character, a special token
NEVER, NOT_RIGHT, NOT_LAST = 1, 2, 4  # flags, as in _bpe_train.pyx


@dataclass(frozen=True)
class PieceRule:
    """A piece keeps to one script (kana count as Han), where digits are a script of their own (`split_by_number`) or
    even stand alone (`split_digits`). A space only comes first in it (`split_by_whitespace`), or anywhere but last; or
    with `treat_whitespace_as_suffix` where it stands in the words, which are cut after it.
    """

    split_by_unicode_script: bool = True
    split_by_number: bool = True
    split_by_whitespace: bool = True
    split_digits: bool = False
    treat_whitespace_as_suffix: bool = False

    def is_piece(self, text: str) -> bool:
        """Whether several characters may be one piece."""
        before = 1
        for i, character in enumerate(text):
            first, last, flags = self.mark(character)
            if flags & NEVER or (i and flags & NOT_RIGHT) or (i == len(text) - 1 and flags & NOT_LAST):
                return False
            if first > 1 and before > 1 and first != before:
                return False
            before = last or before
        return True

    def mark(self, character: str) -> tuple[int, int, int]:
        """The script that the character begins with and ends with (0: its neighbour's, 1: none), and what it may not
        do.
        """
        if character == SPACE:
            flags = NOT_RIGHT if self.split_by_whitespace else NOT_LAST
            return 0, 0, 0 if self.treat_whitespace_as_suffix else flags
        digit = "0" <= character <= "9" or "\uff10" <= character <= "\uff19"
        flags = NEVER if digit and self.split_digits else 0
        script = _unicode.SCRIPTS[_unicode.script(ord(character))]
        if not self.split_by_unicode_script or (digit and not self.split_by_number):
            return 1, 1, flags
        if script == "INHERITED":
            return 0, 0, flags
        if script in ("HIRAGANA", "KATAKANA") or character == "\u30fc":
            script = "HAN"
        elif script == "UNKNOWN":
            script = "COMMON"
        return 2 + _unicode.SCRIPTS.index(script), 2 + _unicode.SCRIPTS.index(script), flags
