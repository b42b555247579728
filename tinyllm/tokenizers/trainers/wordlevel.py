"""Training a word-level vocabulary: the most frequent words, of equally frequent ones the first in string order."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers.base import number_specials
from tinyllm.tokenizers.models.wordlevel import WordLevel, text
from tinyllm.tokenizers.stage import Trainer


@dataclass(frozen=True)
class WordLevelTrainer(Trainer):
    """At most `vocab_size` tokens (None: every word): first `special_tokens` in the order given, then the words that
    occur `min_frequency` times by falling count, or `by_name` in string order. `unk_token` is the special token for all
    other words.
    """

    vocab_size: int | None = 30_000
    special_tokens: tuple[str, ...] = ()
    min_frequency: int = 0
    unk_token: str = "<unk>"
    by_name: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "special_tokens", tuple(number_specials(self.special_tokens)))
        if self.vocab_size is not None and self.vocab_size < len(self.special_tokens):
            raise TokenizerError(
                f"vocab_size is {self.vocab_size}, less than the {len(self.special_tokens)} special tokens"
            )

    def train(self, words: Any, progress: Callable[[int, int], object] | None = None) -> WordLevel:
        counts: dict[str, int] = {}
        for piece, count in words.items():
            word = text(piece)
            counts[word] = counts.get(word, 0) + count
        for name in self.special_tokens:
            counts.pop(name, None)
        found = [word for word, count in counts.items() if count >= self.min_frequency]
        found.sort(key=lambda word: (-counts[word], word))
        if self.vocab_size is not None:
            room = self.vocab_size - len(self.special_tokens)
            if len(found) < room:
                warnings.warn(
                    f"the text has {len(found)} words that occur {max(self.min_frequency, 1)} times: the vocabulary "
                    f"has {len(found) + len(self.special_tokens)} tokens, not {self.vocab_size}",
                    stacklevel=2,
                )
            del found[room:]
        if self.by_name:
            found.sort()
        vocab = {word: i for i, word in enumerate([*self.special_tokens, *found])}
        return WordLevel(vocab, self.unk_token)
