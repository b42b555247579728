"""BERT's normalization of text (`BasicTokenizer` before it splits), as Hugging Face's `BertNormalizer`.

The same as there for every character whose properties its older Unicode tables know.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from tinyllm.tokenizers.aligned import Aligned
from tinyllm.tokenizers.normalizers._characters import WHITE_SPACE, in_categories, replaced
from tinyllm.tokenizers.normalizers.case import Lowercase
from tinyllm.tokenizers.normalizers.unicode import NFD
from tinyllm.tokenizers.stage import Normalizer

CHINESE = "\u4e00-\u9fff\u3400-\u4dbf\U00020000-\U0002a6df\U0002a700-\U0002b81f\U0002b920-\U0002ceaf\uf900-\ufaff"
CHINESE += "\U0002f800-\U0002fa1f"


@dataclass(frozen=True)
class BertNormalizer(Normalizer):
    """`clean_text`: removes U+0000, U+FFFD, controls, formats and private use, and makes every White_Space a space.

    `handle_chinese_chars`: a space before and after each Chinese character (U+2B820 to U+2B91F, which BERT has among
    them and Hugging Face's library has not, are none here either). `strip_accents`: decomposes and removes
    nonspacing marks (Mn), in every script; None means the same as `lowercase`.
    """

    clean_text: bool = True
    handle_chinese_chars: bool = True
    strip_accents: bool | None = None
    lowercase: bool = True

    def normalize(self, text: Aligned) -> Aligned:
        if self.clean_text:
            text = replaced(replaced(text, _unwanted(), ""), _SPACE, " ")
        wide = not text.text.isascii()
        if self.handle_chinese_chars and wide:
            text = replaced(text, _CHINESE, lambda character: f" {character} ")
        if wide and (self.lowercase if self.strip_accents is None else self.strip_accents):
            text = replaced(NFD().normalize(text), _nonspacing(), "")
        return Lowercase().normalize(text) if self.lowercase else text


_SPACE = re.compile(f"(?! )[{WHITE_SPACE}]")
_CHINESE = re.compile(f"[{CHINESE}]")


@cache
def _unwanted() -> re.Pattern[str]:
    return re.compile(f"[\0\ufffd]|(?![\t\n\r])[{in_categories('Cc', 'Cf', 'Cs', 'Co')}]")


@cache
def _nonspacing() -> re.Pattern[str]:
    return re.compile(f"[{in_categories('Mn')}]+")
