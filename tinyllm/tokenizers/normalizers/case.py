"""Case: every character by itself, as Hugging Face does it; no context, no language.

So a final Σ becomes σ, not ς (`str.lower` looks at its neighbours), and İ becomes i with a dot above (two
characters, both from the one). Case folding is for comparing: ß and ẞ become ss, ς becomes σ, ﬁ becomes fi.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from tinyllm.tokenizers.aligned import Aligned
from tinyllm.tokenizers.normalizers._characters import assigned, ranges, replaced
from tinyllm.tokenizers.stage import Normalizer

DOTTED_I = re.compile("İ")


@dataclass(frozen=True)
class Lowercase(Normalizer):
    """Lower case by Unicode's full mapping of each character."""

    def normalize(self, text: Aligned) -> Aligned:
        if "İ" in text.text:  # the only character with more than one character of lower case
            text = replaced(text, DOTTED_I, "i̇")
        return text._replace(text="σ".join(part.lower() for part in text.text.split("Σ")))


@dataclass(frozen=True)
class CaseFold(Normalizer):
    """Unicode's full case folding (`str.casefold`); 104 characters become two or three."""

    def normalize(self, text: Aligned) -> Aligned:
        folded = text.text.casefold()
        if len(folded) == len(text.text):  # none becomes shorter
            return text._replace(text=folded)
        text = replaced(text, _growing(), str.casefold)
        return text._replace(text=text.text.casefold())


@cache
def _growing() -> re.Pattern[str]:
    """The characters whose case folding is longer than they are."""
    return re.compile(f"[{ranges(p for p in assigned() if len(chr(p).casefold()) > 1)}]")
