"""Learns BPE's merges from counted pieces. The algorithm is reference/bpe_train.py in plain Python and _bpe_train.pyx
compiled, with the same merges.

    words = count_words(texts, pre_tokenizer=ByteLevel(), threads=2)
    model = BPETrainer(vocab_size=32000, special_tokens=("<|endoftext|>",)).train(words)

Three trainers that people compare with differ where counts are equal, and `tie` says which one is followed, in all:

- "hf", Hugging Face's BpeTrainer. Ties: the smaller pair of ids. Ids: special tokens, the alphabet by code point (a
  byte by that of GPT-2's printable character), then with a prefix or suffix the forms of each character, then the
  merges. A character that is not in the alphabet is left out, so that its neighbours meet. `max_token_length`: two
  characters may always be joined, what is longer must be shorter than this.
- "spm", SentencePiece. Ties: fewer characters, then the order of bytes. Ids: special tokens, merges, then the alphabet
  by falling count. Nothing is merged across a character that is not in the alphabet. max_token_length is 16 there, and
  a token may have that length. Pieces keep to one script, as the split_by_... fields say.
- "minbpe". Ties: the pair that comes first in the words, in order of first appearance: the one case in which the order
  of the texts matters. Ids: special tokens, bytes in their own order, merges.

The result follows from the counts alone (with "minbpe", from their order too): not from hash seeds, threads, or the
engine. Counts are exact: that of a pair is at most the number of symbols in the text, which is refused above 2^62, and
it is at all times the number of places that the pair has, so it can't fall below zero.

Unlike Hugging Face's, a merge that would make a token that is there already (a special token, or with a prefix or
suffix one that text spelled like these would make) is left out; the order of the forms of characters is fixed, and so
is which characters of equal count `limit_alphabet` keeps (the smaller code points). Unlike SentencePiece's, training
ends when no pair occurs any more.
"""

from __future__ import annotations

import warnings
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers.base import number_specials
from tinyllm.tokenizers.engine import choose, core
from tinyllm.tokenizers.models.bpe import BPE
from tinyllm.tokenizers.models.sentencepiece_bpe import (
    BYTE,
    CONTROL,
    NORMAL,
    UNKNOWN,
    USER_DEFINED,
    SentencePieceBPE,
)
from tinyllm.tokenizers.reference import bpe_train as reference
from tinyllm.tokenizers.stage import Trainer
from tinyllm.tokenizers.trainers.alphabet import (
    Alphabet,
    bytes_alphabet,
    count_characters,
    flat,
    hf_alphabet,
    spm_alphabet,
)
from tinyllm.tokenizers.trainers.count import MOST
from tinyllm.tokenizers.trainers.pieces import BOUNDARY, SPACE, PieceRule

CUT = b"\xff"  # a byte that is in no UTF-8
ENDLESS = 0x7FFFFFFF

Learned = tuple[list[tuple[int, int]], int]  # the merges, and how many there could have been


@dataclass(frozen=True)
class BPETrainer(Trainer):
    """`vocab_size`: at most so many ids, special tokens included. A pair is merged if it occurs `min_frequency` times.

    byte_level: symbols are bytes, and all 256 are tokens; else characters, those of the text and of `initial_alphabet`,
    of which the most frequent `limit_alphabet` are kept (those of initial_alphabet first) or so many as make up
    `character_coverage` of the text (SentencePiece's own default is 0.9995). `continuing_subword_prefix` is put before
    every symbol but the first of a piece, `end_of_word_suffix` after the last. `unk_token` is the special token for
    other characters.

    The fields from user_defined_symbols on are SentencePiece's and for tie="spm", which takes sentences as its
    normalizer leaves them, with U+2581 for spaces, and cuts them itself; before each space, or after it with
    `treat_whitespace_as_suffix`, which the normalizer must have too.
    """

    vocab_size: int = 30000
    min_frequency: int = 0
    special_tokens: tuple[str, ...] = ()
    byte_level: bool = True
    tie: str = "hf"
    initial_alphabet: tuple[str, ...] = ()
    limit_alphabet: int | None = None
    character_coverage: float = 1.0
    continuing_subword_prefix: str | None = None
    end_of_word_suffix: str | None = None
    max_token_length: int | None = None
    unk_token: str | None = None
    user_defined_symbols: tuple[str, ...] = ()
    byte_fallback: bool = False
    split_by_unicode_script: bool = True
    split_by_number: bool = True
    split_by_whitespace: bool = True
    split_digits: bool = False
    treat_whitespace_as_suffix: bool = False
    engine: str | None = None

    def __post_init__(self) -> None:
        for name in "special_tokens", "user_defined_symbols":
            object.__setattr__(self, name, tuple(number_specials(getattr(self, name))))
        if self.unk_token is not None and self.unk_token not in self.special_tokens:
            raise TokenizerError(f"unk_token {self.unk_token!r} must be one of special_tokens")
        if self.tie not in reference.TIES:
            raise TokenizerError(f"tie is {self.tie!r}; it must be one of {', '.join(reference.TIES)}")
        if isinstance(self.initial_alphabet, str) or any(len(one) != 1 for one in self.initial_alphabet):
            raise TokenizerError(f"initial_alphabet is {self.initial_alphabet!r}; it must be a tuple of characters")
        if not 0 < self.character_coverage <= 1:
            raise TokenizerError(f"character_coverage is {self.character_coverage}; it is a share, above 0 and up to 1")
        affixed = self.continuing_subword_prefix or self.end_of_word_suffix
        if self.byte_level and (affixed or self.limit_alphabet is not None or self.character_coverage < 1):
            raise TokenizerError(
                "limit_alphabet, character_coverage, a prefix and a suffix are for characters (byte_level=False)"
            )
        if self.tie != "spm" and (self.user_defined_symbols or self.byte_fallback):
            raise TokenizerError('user_defined_symbols and byte_fallback are for tie="spm"')
        if self.tie == "spm" and (self.byte_level or affixed or self.initial_alphabet):
            raise TokenizerError(
                'tie="spm" is for characters (byte_level=False), without prefix, suffix and initial_alphabet'
            )
        if self.treat_whitespace_as_suffix and (self.tie != "spm" or not self.split_by_whitespace):
            raise TokenizerError('treat_whitespace_as_suffix is for tie="spm" with split_by_whitespace')

    def train(self, words: Any, progress: Callable[[int, int], object] | None = None) -> BPE | SentencePieceBPE:
        """The model. `words`: pieces and their counts, a mapping or a WordCounter.

        `progress` is called with how many merges are done and how many there will be at most. Before that, a
        UserWarning says if the text can't fill the vocabulary, and after it, if it didn't. TokenizerError if special
        tokens and alphabet alone are more than vocab_size.
        """
        tokens, merges = self.learn(words, progress)
        if self.byte_level:
            return BPE.from_ids(tokens, merges, engine=self.engine)
        names = [token.decode() for token in tokens]
        if self.tie == "spm":
            return self._sentencepiece(names)
        return BPE(
            {name: i for i, name in enumerate(names)},
            [(names[a], names[b]) for a, b in merges],
            unk_token=self.unk_token,
            continuing_subword_prefix=self.continuing_subword_prefix,
            end_of_word_suffix=self.end_of_word_suffix,
            engine=self.engine,
        )

    def _sentencepiece(self, names: list[str]) -> SentencePieceBPE:
        """Scores fall by 1 from the first merge on."""
        given = self._given()
        scores = [0.0] * len(given) + [float(-i) for i in range(len(names) - len(given))]
        return SentencePieceBPE(
            list(zip(names, scores, strict=True)),
            None if self.unk_token is None else names.index(self.unk_token),
            self.byte_fallback,
            [kind for _, kind in given] + [NORMAL] * (len(names) - len(given)),
            engine=self.engine,
        )

    def _given(self) -> list[tuple[str, int]]:
        """The tokens that are not learned, and their kinds in SentencePiece."""
        given = [(name, UNKNOWN if name == self.unk_token else CONTROL) for name in self.special_tokens]
        given += [(name, USER_DEFINED) for name in self.user_defined_symbols]
        return given + [(f"<0x{byte:02X}>", BYTE) for byte in range(256 if self.byte_fallback else 0)]

    def learn(
        self, words: Any, progress: Callable[[int, int], object] | None = None
    ) -> tuple[list[bytes], list[tuple[int, int]]]:
        """The tokens, by id, and the merges as pairs of ids, in order."""
        if self.tie == "spm" and self.split_by_whitespace:
            words = self._cut(words)
        alphabet = self._alphabet(words)
        n_first, n_merges = len(alphabet.tokens), self.vocab_size - len(alphabet.tokens)
        if n_merges < 0:
            raise TokenizerError(
                f"vocab_size is {self.vocab_size}; the alphabet and {len(self._given())} special tokens need {n_first}"
            )
        learn = self._compiled if choose(self.engine) == "c" else self._python
        merges, reach = learn(alphabet, words, n_merges, progress)
        if len(merges) < min(reach, n_merges):  # else all is said
            warnings.warn(
                f"the text has no further pair that occurs {max(self.min_frequency, 1)} times: "
                f"the vocabulary has {n_first + len(merges)} tokens, not {self.vocab_size}",
                stacklevel=3,
            )
        tokens = list(alphabet.tokens)
        skipped = len((self.continuing_subword_prefix or "").encode())
        for a, b in merges:
            tokens.append(tokens[a] + tokens[b][skipped:])
        if self.tie != "spm":
            return tokens, merges
        given = len(self._given())
        order = [*range(given), *range(n_first, len(tokens)), *range(given, n_first)]
        new = {old: i for i, old in enumerate(order)}
        return [tokens[old] for old in order], [(new[a], new[b]) for a, b in merges]

    def _compiled(self, alphabet: Alphabet, words: Any, n_merges: int, progress: Any) -> Learned:
        marks = None
        if self.tie == "spm":
            given = len(self._given())
            marks = [(0, 0, 0)] * given + [self.rule.mark(token.decode()) for token in alphabet.tokens[given:]]
        trainer = core("bpe_train").Trainer(
            alphabet.tokens,
            n_merges,
            self.tie,
            self.min_frequency,
            self._most_length(),
            (self.continuing_subword_prefix or "").encode(),
            marks,
        )
        trainer.fill(*flat(words), alphabet.points, alphabet.ids, alphabet.absent)
        reach = self._reach(trainer.joints, trainer.occurrences, n_merges, len(alphabet.tokens))
        return trainer.run(None if progress is None else lambda done, _: progress(done, reach)), reach

    def _python(self, alphabet: Alphabet, words: Any, n_merges: int, progress: Any) -> Learned:
        most = self._most_length()

        def may_join(spelling: bytes, length: int) -> bool:
            return length <= most and (self.tie != "spm" or self.rule.is_piece(spelling.decode()))

        spelled = list(alphabet.words(words.items()))
        if any(n < 0 for _, n in spelled) or sum(len(symbols) * n for symbols, n in spelled) > MOST:
            raise TokenizerError("counts must not be negative, and words with them not exceed 2^62 bytes")
        reach = self._reach(
            sum(len(symbols) - 1 for symbols, _ in spelled if symbols),
            sum((len(symbols) - 1) * n for symbols, n in spelled if symbols),
            n_merges,
            len(alphabet.tokens),
        )
        prefix = (self.continuing_subword_prefix or "").encode()
        found = reference.train(spelled, alphabet.tokens, n_merges, self.tie, self.min_frequency, may_join, prefix)
        merges = []
        for pair in found:
            merges.append(pair)
            if progress is not None:
                progress(len(merges), reach)
        return merges, reach

    @property
    def rule(self) -> PieceRule:
        """What SentencePiece takes for a piece."""
        return PieceRule(
            self.split_by_unicode_script,
            self.split_by_number,
            self.split_by_whitespace,
            self.split_digits,
            self.treat_whitespace_as_suffix,
        )

    def _most_length(self) -> int:
        if self.tie == "spm":
            return 16 if self.max_token_length is None else self.max_token_length
        return ENDLESS if self.max_token_length is None else max(self.max_token_length - 1, 2)

    def _reach(self, joints: int, occurrences: int, n_merges: int, n_first: int) -> int:
        """How many merges there can be: each one closes a joint of two symbols in a distinct word, and min_frequency of
        them in the text.
        """
        most = min(joints, occurrences // max(self.min_frequency, 1))
        if most < n_merges:
            warnings.warn(
                f"vocab_size is {n_first + n_merges}, but this text can give at most {n_first + most} tokens",
                stacklevel=5,
            )
        return min(most, n_merges)

    # The alphabet.

    def _alphabet(self, words: Any) -> Alphabet:
        tokens = [name.encode() for name, _ in self._given()]
        if self.byte_level:
            alphabet = bytes_alphabet(tokens, self.tie == "minbpe")
        elif self.tie == "spm":
            forms = count_characters(words, self.engine)
            alphabet = spm_alphabet(tokens, forms, self.character_coverage, self.limit_alphabet)
        else:
            forms = count_characters(words, self.engine)
            prefix, suffix = self.continuing_subword_prefix or "", self.end_of_word_suffix or ""
            alphabet = hf_alphabet(tokens, forms, self.initial_alphabet, self.limit_alphabet, prefix, suffix)
        if twice := next((token for token, n in Counter(alphabet.tokens).items() if n > 1), None):
            raise TokenizerError(f"special token {twice!r} is also a symbol of the alphabet; rename it")
        return alphabet

    def _cut(self, words: Any) -> Counter[bytes]:
        """Sentences cut before each space, or after it where it is a suffix; a special token in one is a character that
        nothing is merged with.
        """
        by_count = defaultdict(list)
        for sentence, n in words.items():
            by_count[n].append(sentence)
        cut: Counter[bytes] = Counter()
        cut_at = SPACE.encode() + CUT if self.treat_whitespace_as_suffix else CUT + SPACE.encode()
        for n, sentences in by_count.items():
            text = CUT.join(sentence.replace(CUT, "\ufffd".encode()) for sentence in sentences)
            for name in sorted((name for name, _ in self._given()), key=len, reverse=True):
                text = text.replace(name.encode(), BOUNDARY.encode())
            text = text.replace(SPACE.encode(), cut_at)
            for word, k in Counter(text.split(CUT)).items():
                cut[word] += n * k
        del cut[b""]
        return cut
