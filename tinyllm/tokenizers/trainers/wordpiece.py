"""Learns WordPiece's vocabulary from counted words, by merges that raise the likelihood of the text the most.

The algorithm is reference/wordpiece.py in plain Python and _wordpiece_train.pyx compiled, with the same merges. Google
has not published the trainer of its vocabularies, and Hugging Face's `WordPieceTrainer` counts pairs as BPE does; this
one follows the definition of Schuster and Nakajima (2012): of all merges the one that raises the likelihood of the
text under a unigram model of the tokens. `score="pmi"` gives the simpler rule of Hugging Face's course instead.

Ids after training: special tokens in the order given; the characters that begin words, then those that continue them,
both by code point; then one token a merge. Which merge comes first never depends on hash seeds, on the order of the
words, or on the engine.
"""

from __future__ import annotations

import warnings
from array import array
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers.engine import choose, core
from tinyllm.tokenizers.models.wordpiece import WordPiece
from tinyllm.tokenizers.reference import wordpiece as reference
from tinyllm.tokenizers.stage import Trainer

SCORES = ("loglik", "pmi")


@dataclass(frozen=True)
class WordPieceTrainer(Trainer):
    """`vocab_size`: at most so many tokens, special tokens included; fewer if no merge is left.

    `min_frequency`: pairs that can be merged less often are left alone; "pmi" needs it, since it likes rare ones best.
    `score`: "loglik" is the exact change of the log-likelihood of the text, sum of c log(c / N) over the tokens, and
    training ends where none raises it; "pmi" is n / (c_a c_b) for n merges of tokens that occur c_a and c_b times.
    Ties go to the greater n, then to the smaller ids. Equal neighbours that overlap count once. Merges that would spell
    a special token are left out.
    `initial_alphabet`: characters that are tokens in any case, as beginning and as continuation.
    `limit_alphabet`: only so many characters: the initial ones, and the most frequent; of equal ones the smaller.

    Words that could not be encoded teach nothing and are left out: those of more than `max_input_chars_per_word`
    characters (a UserWarning says how many), or with a character that is not in the alphabet. So are words that begin
    with the prefix, whose beginnings would look like continuations.
    """

    vocab_size: int = 30000
    min_frequency: int = 2
    special_tokens: tuple[str, ...] = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    score: str = "loglik"
    limit_alphabet: int | None = None
    initial_alphabet: tuple[str, ...] = ()
    unk_token: str = "[UNK]"
    continuing_subword_prefix: str = "##"
    max_input_chars_per_word: int = 100
    engine: str | None = None

    def __post_init__(self) -> None:
        if self.score not in SCORES:
            raise TokenizerError(f"score is {self.score!r}; it must be one of {', '.join(SCORES)}")
        if isinstance(self.special_tokens, str) or isinstance(self.initial_alphabet, str):
            raise TypeError("special_tokens and initial_alphabet take several strings, not one")
        if any(len(character) != 1 for character in self.initial_alphabet):
            raise TokenizerError(f"initial_alphabet is {self.initial_alphabet!r}; it must be single characters")
        if self.unk_token not in self.special_tokens:
            raise TokenizerError(f"unk_token is {self.unk_token!r}, which is not in special_tokens")
        if len(set(self.special_tokens)) < len(self.special_tokens):
            raise TokenizerError(f"special_tokens are {self.special_tokens!r}; each must be given once")

    def train(self, words: Any, progress: Callable[[int, int], object] | None = None) -> WordPiece:
        """The model. `words`: pieces (UTF-8) and their counts, a mapping or a WordCounter.

        `progress` is called with how many tokens have been made and how many are wanted. Before that, a UserWarning
        says if the text can't fill the vocabulary, and after it, if it didn't. TokenizerError if the special tokens and
        the characters alone are more than `vocab_size`.
        """
        return WordPiece(
            {token: i for i, token in enumerate(self.learn(words, progress)[0])},
            self.unk_token,
            self.continuing_subword_prefix,
            self.max_input_chars_per_word,
            engine=self.engine,
        )

    def learn(
        self, words: Any, progress: Callable[[int, int], object] | None = None
    ) -> tuple[list[str], list[tuple[str, str]]]:
        """The tokens by id, and the merges that made the last of them."""
        tokens, merges = self._learn(words, progress)
        if len(tokens) < self.vocab_size:
            what = "raises the likelihood of the text and occurs" if self.score == "loglik" else "occurs"
            warnings.warn(
                f"no further merge {what} {max(self.min_frequency, 1)} times: the vocabulary has {len(tokens)} tokens, "
                f"not {self.vocab_size}",
                stacklevel=3,
            )
        return tokens, merges

    def _learn(
        self, words: Any, progress: Callable[[int, int], object] | None
    ) -> tuple[list[str], list[tuple[str, str]]]:
        kept = self._usable(words)
        tokens = self._first_tokens(kept)
        if len(tokens) > self.vocab_size:
            raise TokenizerError(
                f"vocab_size is {self.vocab_size}, but special tokens and characters are {len(tokens)} already; "
                "raise it, or set limit_alphabet"
            )
        reach = self._reach(kept, len(tokens))
        prefix = self.continuing_subword_prefix
        if choose(self.engine) == "python":
            merges = reference.train(kept, tokens, self.vocab_size, self.score, self.min_frequency, prefix)
            if progress is not None:
                progress(len(merges), reach)
            return tokens + [a + b.removeprefix(prefix) for a, b in merges], merges
        given = frozenset(tokens)
        merges = []

        def accept(a: int, b: int) -> bool:
            token = tokens[a] + tokens[b].removeprefix(prefix)
            if token in given:
                return False
            merges.append((tokens[a], tokens[b]))
            tokens.append(token)
            return True

        self._compiled(tokens, kept).run(
            self.vocab_size, accept, None if progress is None else lambda done, _: progress(done, reach)
        )
        return tokens, merges

    def _reach(self, words: Mapping[str, int], n_first: int) -> int:
        """How many merges there can be: each one closes a joint of two symbols in a distinct word, and min_frequency of
        them in the text.
        """
        joints = sum(len(word) - 1 for word in words)
        occurrences = sum((len(word) - 1) * count for word, count in words.items())
        most = min(joints, occurrences // max(self.min_frequency, 1))
        if n_first + most < self.vocab_size:
            warnings.warn(
                f"vocab_size is {self.vocab_size}, but this text can give at most {n_first + most} tokens", stacklevel=5
            )
        return min(most, self.vocab_size - n_first)

    def _usable(self, words: Any) -> dict[str, int]:
        """The words that take part in training, as str."""
        counts: Counter[str] = Counter()
        skipped = longest = 0
        for piece, count in words.items():
            word = piece.decode("utf-8", "replace")
            if count < 0:
                raise TokenizerError(f"the count of {word!r} is {count}; it must not be negative")
            begins = self.continuing_subword_prefix and word.startswith(self.continuing_subword_prefix)
            if count and 0 < len(word) <= self.max_input_chars_per_word and not begins:
                counts[word] += count
            elif len(word) > self.max_input_chars_per_word:
                skipped, longest = skipped + count, max(longest, len(word) if count else 0)
        if skipped:
            warnings.warn(
                f"{skipped} words of more than {self.max_input_chars_per_word} characters were left out, the longest "
                f"of {longest}; a pre-tokenizer that cuts them, or a larger max_input_chars_per_word, keeps them",
                stacklevel=5,
            )
        if sum(len(word) * count for word, count in counts.items()) >= 1 << 53:
            raise TokenizerError("the words have 2**53 characters or more in all; train on a part of the text")
        if self.limit_alphabet is None:
            return dict(counts)
        characters = Counter(dict.fromkeys(self.initial_alphabet, 0))
        for word, count in counts.items():
            for character in word:
                characters[character] += count
        ranked = sorted(characters, key=lambda c: (c not in self.initial_alphabet, -characters[c], c))
        alphabet = {*ranked[: self.limit_alphabet], *self.initial_alphabet}
        return {word: count for word, count in counts.items() if alphabet.issuperset(word)}

    def _first_tokens(self, words: Mapping[str, int]) -> list[str]:
        """Special tokens and characters."""
        prefix = self.continuing_subword_prefix
        begin = {word[0] for word in words}.union(self.initial_alphabet)
        go_on = {c for word in words for c in word[1:]}.union(self.initial_alphabet)
        return list(dict.fromkeys([*self.special_tokens, *sorted(begin), *(prefix + c for c in sorted(go_on))]))

    def _compiled(self, tokens: list[str], words: Mapping[str, int]) -> Any:
        ids = {token: i for i, token in enumerate(tokens)}
        symbols, sizes, counts = array("i"), array("q"), array("q")
        for word, count in words.items():
            symbols.append(ids[word[0]])
            symbols.extend([ids[self.continuing_subword_prefix + c] for c in word[1:]])
            sizes.append(len(word))
            counts.append(count)
        return core("wordpiece_train").Trainer(
            len(tokens),
            symbols.tobytes(),
            sizes.tobytes(),
            counts.tobytes(),
            self.score == "pmi",
            self.min_frequency,
        )
