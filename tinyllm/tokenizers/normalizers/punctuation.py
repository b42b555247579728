"""Punctuation removed or set apart, by Unicode category, except where it is part of a word or a number.

    PrunePunctuation().normalize(Aligned.of("(Don't pay 3.50!)")).text == "Don't pay 3.50"

Punctuation is every character of a category P*, the full-width and ideographic forms among them, and what BERT adds
to it: $ + < = > ^ ` | ~. Contractions and anything else that needs apostrophes come before this stage.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers.aligned import Aligned
from tinyllm.tokenizers.normalizers._characters import in_categories
from tinyllm.tokenizers.stage import Normalizer

ACTIONS = ("remove", "space", "isolate", "merge_prev", "merge_next")
# What is kept, by name: a pattern that looks around one character. {inside}: a letter, its mark, or a digit.
KEPT = {
    "apostrophe": r"(?<={inside})['\u2019](?=[^\W_])",  # don't, O'Brien
    "hyphen": r"(?<={inside})[-\u2010\u2011](?=[^\W_])",  # well-known
    "number": r"(?<=\d)[.,\u066b\u066c\uff0e\uff0c](?=\d)",  # 3.14, 1,000,000, and Arabic's and full-width ones
}
# Addresses, without the punctuation that a sentence ends with.
URL = (
    r"(?:https?|ftp)://[^\s<>]{1,2000}(?<![.,;:!?)\]}'\"])|(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}"
)


@dataclass(frozen=True)
class PrunePunctuation(Normalizer):
    """`action`: "remove" it, put a "space" instead, or keep it and put spaces around it ("isolate"), after it
    ("merge_prev": it stays with the word before) or before it ("merge_next"); none beside another or at an end.

    `keep`: any of "apostrophe" and "hyphen" (within a word), "number" (decimal points and separators of thousands) and
    "url" (web and mail addresses). `symbols`: treat the categories S* (currency, arithmetic, emoji) as punctuation too.
    """

    action: Literal["remove", "space", "isolate", "merge_prev", "merge_next"] = "remove"
    keep: tuple[str, ...] = ("apostrophe", "hyphen", "number")
    symbols: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "keep", tuple(self.keep))
        known = (*KEPT, "url")
        if self.action not in ACTIONS:
            raise TokenizerError(
                f"the action of PrunePunctuation must be one of {', '.join(ACTIONS)}, not {self.action!r}"
            )
        if unknown := [name for name in self.keep if name not in known]:
            raise TokenizerError(f"PrunePunctuation can keep {', '.join(known)}, not {unknown[0]!r}")

    def normalize(self, text: Aligned) -> Aligned:
        return text.edited(self._edits(text.text))

    def _edits(self, text: str) -> Iterator[tuple[int, int, str]]:
        after = -1  # where a space was put last
        for found in _pattern(self.keep, self.symbols).finditer(text):
            at = found.start("mark")
            if at < 0:
                continue  # an address
            if self.action == "remove":
                yield at, at + 1, ""
            elif self.action == "space":
                yield at, at + 1, " "
            else:
                if self.action != "merge_prev" and at and at != after and not text[at - 1].isspace():
                    yield at, at, " "
                if self.action != "merge_next" and at + 1 < len(text) and not text[at + 1].isspace():
                    yield at + 1, at + 1, " "
                    after = at + 1


@lru_cache(maxsize=16)
def _pattern(keep: tuple[str, ...], symbols: bool) -> re.Pattern[str]:
    marks = f"[{in_categories('P', 'S') if symbols else in_categories('P')}$+<=>^`|~]"
    inside = f"(?:[^\\W_]|[{in_categories('M')}])"  # Python's \w has no marks
    unless = "".join(f"(?!{KEPT[name].replace('{inside}', inside)})" for name in keep if name in KEPT)
    return re.compile((f"{URL}|" if "url" in keep else "") + f"{unless}(?P<mark>{marks})")
