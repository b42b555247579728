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
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from struct import pack, unpack
from typing import Any

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers import _unicode
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
from tinyllm.tokenizers.normalizers.literal import byte_alphabet
from tinyllm.tokenizers.reference import bpe_train as reference
from tinyllm.tokenizers.stage import Trainer
from tinyllm.tokenizers.trainers.count import MOST, flattened

SPACE, RARE, BOUNDARY = "\u2581", "\u2585", "\x1f"  # of SentencePiece: a space, an unknown character, a special token
CUT = b"\xff"  # a byte that is in no UTF-8
DROPPED, WALL = -1, -2  # instead of an id, as in _bpe_train.pyx
NEVER, NOT_RIGHT, NOT_LAST = 1, 2, 4
ENDLESS = 0x7FFFFFFF

Learned = tuple[list[tuple[int, int]], int]  # the merges, and how many there could have been


@dataclass
class Alphabet:
    """`tokens` are special tokens and symbols by id. ids[form][i] is the id of points[i] (None: of byte i) in a form:
    neither first nor last in a word, last, first, or both; with one form it is for all. `absent`: that of all others.
    """

    tokens: list[bytes]
    points: list[int] | None
    ids: list[list[int]]
    absent: int = DROPPED

    def words(self, items: Iterable[tuple[bytes, int]]) -> Iterator[tuple[list[int], int]]:
        """Pieces as symbols; cut where nothing is merged across."""
        of_symbols = range(256) if self.points is None else self.points
        known = [dict(zip(of_symbols, ids, strict=True)) for ids in self.ids]
        for piece, n in items:
            points = list(piece) if self.points is None else [ord(character) for character in characters(piece)]
            symbols: list[int] = []
            for i, point in enumerate(points):
                form = 2 * (i == 0) + (i == len(points) - 1) if len(known) > 1 else 0
                symbol = known[form].get(point, self.absent)
                if symbol >= 0:
                    symbols.append(symbol)
                elif symbol == WALL:
                    yield symbols, n
                    symbols = []
            yield symbols, n


@dataclass(frozen=True)
class BPETrainer(Trainer):
    """`vocab_size`: at most so many ids, special tokens included. A pair is merged if it occurs `min_frequency` times.

    byte_level: symbols are bytes, and all 256 are tokens; else characters, those of the text and of `initial_alphabet`,
    of which the most frequent `limit_alphabet` are kept (those of initial_alphabet first) or so many as make up
    `character_coverage` of the text (SentencePiece's own default is 0.9995). `continuing_subword_prefix` is put before
    every symbol but the first of a piece, `end_of_word_suffix` after the last. `unk_token` is the special token for
    other characters.

    The fields from user_defined_symbols on are SentencePiece's and for tie="spm", which takes sentences as its
    normalizer leaves them, with U+2581 for spaces, and cuts them itself.
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
            marks = [(0, 0, 0)] * given + [self._mark(token.decode()) for token in alphabet.tokens[given:]]
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
            return length <= most and (self.tie != "spm" or self.is_piece(spelling.decode()))

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
            order = range(256) if self.tie == "minbpe" else sorted(range(256), key=byte_alphabet().__getitem__)
            ids = [len(tokens) + i for _, i in sorted(zip(order, range(256), strict=True))]
            alphabet = Alphabet(tokens + [bytes([byte]) for byte in order], None, [ids])
        else:
            forms = count_characters(words, self.engine)
            alphabet = self._spm_alphabet(tokens, forms) if self.tie == "spm" else self._hf_alphabet(tokens, forms)
        if twice := next((token for token, n in Counter(alphabet.tokens).items() if n > 1), None):
            raise TokenizerError(f"special token {twice!r} is also a symbol of the alphabet; rename it")
        return alphabet

    def _hf_alphabet(self, tokens: list[bytes], forms: list[dict[int, int]]) -> Alphabet:
        counts = sum(map(Counter, forms), Counter[int]())
        initial = set(map(ord, self.initial_alphabet))
        ranked = sorted({*counts, *initial}, key=lambda point: (point not in initial, -counts[point], point))
        points = sorted(ranked[: self.limit_alphabet])
        plain = list(range(len(tokens), len(tokens) + len(points)))
        tokens += [chr(point).encode() for point in points]
        prefix, suffix = self.continuing_subword_prefix or "", self.end_of_word_suffix or ""
        if not prefix and not suffix:
            return Alphabet(tokens, points, [plain])
        ids = [[DROPPED] * len(points) for _ in range(4)]
        known = {token: i for i, token in enumerate(tokens)}
        for k, point in enumerate(points):
            for form in range(4):
                if point in forms[form]:
                    spelling = (prefix * (form < 2) + chr(point) + suffix * (form % 2)).encode()
                    if spelling not in known:
                        known[spelling] = len(tokens)
                        tokens.append(spelling)
                    ids[form][k] = known[spelling]
        return Alphabet(tokens, points, ids)

    def _spm_alphabet(self, tokens: list[bytes], forms: list[dict[int, int]]) -> Alphabet:
        counts = sum(map(Counter, forms), Counter[int]())
        del counts[0], counts[0x20]
        total, covered = counts.total(), 0
        points = []
        for point, n in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
            if single(covered / total) >= single(self.character_coverage):
                break
            covered += n
            if chr(point) not in (BOUNDARY, RARE):
                points.append(point)
        points = points[: self.limit_alphabet]
        ids = list(range(len(tokens), len(tokens) + len(points)))
        return Alphabet(tokens + [chr(point).encode() for point in points], points, [ids], WALL)

    # What SentencePiece takes for a piece: IsValidSentencePiece of its src/trainer_interface.cc.

    def is_piece(self, text: str) -> bool:
        """Whether several characters may be one piece."""
        before = 1
        for i, character in enumerate(text):
            first, last, flags = self._mark(character)
            if flags & NEVER or (i and flags & NOT_RIGHT) or (i == len(text) - 1 and flags & NOT_LAST):
                return False
            if first > 1 and before > 1 and first != before:
                return False
            before = last or before
        return True

    def _mark(self, character: str) -> tuple[int, int, int]:
        """The script that the character begins with and ends with (0: its neighbour's, 1: none), and what it may not
        do.
        """
        if character == SPACE:
            return 0, 0, NOT_RIGHT if self.split_by_whitespace else NOT_LAST
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

    def _cut(self, words: Any) -> Counter[bytes]:
        """Sentences cut before each space; a special token in one is a character that nothing is merged with."""
        by_count = defaultdict(list)
        for sentence, n in words.items():
            by_count[n].append(sentence)
        cut: Counter[bytes] = Counter()
        for n, sentences in by_count.items():
            text = CUT.join(sentence.replace(CUT, "\ufffd".encode()) for sentence in sentences)
            for name in sorted((name for name, _ in self._given()), key=len, reverse=True):
                text = text.replace(name.encode(), BOUNDARY.encode())
            for word, k in Counter(text.replace(SPACE.encode(), CUT + SPACE.encode()).split(CUT)).items():
                cut[word] += n * k
        del cut[b""]
        return cut


def single(number: float) -> float:
    """Rounded to 32 bits, in which SentencePiece compares."""
    return unpack("f", pack("f", number))[0]


def characters(piece: bytes) -> str:
    """A piece as text; each byte that is no UTF-8 is U+FFFD."""
    text = piece.decode("utf-8", "surrogateescape")
    return "".join("\ufffd" if "\udc80" <= one <= "\udcff" else one for one in text) if not text.isascii() else text


def flat(words: Any) -> tuple[bytes, bytes, bytes]:
    """What a counter's `flat` gives, also of a mapping."""
    if hasattr(words, "flat"):
        return words.flat()
    for piece, n in words.items():
        if not -MOST <= n <= MOST:
            raise TokenizerError(f"the count of {piece[:40]!r} is {n}, which has more than 62 bits")
    return flattened(words.items())


def count_characters(words: Any, engine: str | None) -> list[dict[int, int]]:
    """How often each code point occurs, by its form: see Alphabet."""
    if choose(engine) == "c":
        return core("bpe_train").characters(*flat(words))
    forms: list[dict[int, int]] = [{}, {}, {}, {}]
    for piece, n in words.items():
        text = characters(piece)
        for i, character in enumerate(text if n else ""):
            form = forms[2 * (i == 0) + (i == len(text) - 1)]
            form[ord(character)] = form.get(ord(character), 0) + n
    return forms
