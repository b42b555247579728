"""Learns the pieces of a Unigram model and their probabilities, as SentencePiece 0.2.3 does (Kudo 2018).

Start from all characters and up to a million substrings that the text repeats; then in turns a few steps of EM, and
dropping of a quarter of the pieces: those whose loss costs the text's probability least. The algorithms are
reference/unigram.py and reference/substrings.py in plain Python, _unigram_train.pyx compiled.

What is learned from: sentences as SentencePieceNormalizer leaves them, with U+2581 for spaces, and not cut; the trainer
cuts them itself, since which substrings repeat depends on what follows a word. Words that were cut before are taken,
too. The result depends on the counts alone, not on the order of the sentences.

The same as SentencePiece, but: sums are float64, not float32; the substrings that end the very last sentence don't
count twice. Also the same: substrings are compared byte by byte, so one that is always followed by characters with the
same first byte is not among the first pieces.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers import _unicode
from tinyllm.tokenizers.engine import choose, core
from tinyllm.tokenizers.models.unigram import BYTE, CONTROL, NORMAL, UNKNOWN, USER_DEFINED, Unigram
from tinyllm.tokenizers.reference import unigram as reference
from tinyllm.tokenizers.reference.substrings import ALONE, ANY, BAD, INHERITED, SCRIPTS, SPACE, first_pieces
from tinyllm.tokenizers.reference.unigram import single
from tinyllm.tokenizers.stage import Trainer

SYMBOL = "▁"
RARE = "▅"  # U+2585 stands for a character that the model will not know
NO_PIECE = "\x1f"  # stands for a special token's name in the text
CUT, END = b"\xfe", b"\xff"  # bytes that are in no UTF-8
BATCH = 1 << 12  # sentences whose words are in memory at once
PENALTY = 0.0001  # between characters that EM dropped but the vocabulary must have

Words = list[tuple[bytes, int, int]]  # UTF-8, count, how many of them end a sentence; the most frequent first


@dataclass(frozen=True)
class UnigramTrainer(Trainer):
    """`vocab_size` counts all ids: special tokens, the user's symbols, 256 bytes with `byte_fallback`, and pieces.

    `character_coverage`: the most frequent characters that make up this share of the text are in the vocabulary, the
    others unknown. `shrinking_factor`: what pruning leaves. Pieces have at most `max_piece_length` characters, all of
    one script (kana count as Han), where digits are a script of their own (`split_by_number`) or even stand alone
    (`split_digits`); a space only comes first in one (`split_by_whitespace`), or they are all spaces
    (`allow_whitespace_only_pieces`).
    """

    vocab_size: int = 8000
    special_tokens: tuple[str, ...] = ("<unk>", "<s>", "</s>")
    unk_token: str = "<unk>"
    user_defined_symbols: tuple[str, ...] = ()
    byte_fallback: bool = False
    character_coverage: float = 0.9995
    seed_size: int = 1_000_000
    max_piece_length: int = 16
    shrinking_factor: float = 0.75
    n_sub_iterations: int = 2
    split_by_unicode_script: bool = True
    split_by_number: bool = True
    split_by_whitespace: bool = True
    split_digits: bool = False
    allow_whitespace_only_pieces: bool = False
    engine: str | None = None

    def __post_init__(self) -> None:
        for name, low, high in (
            ("character_coverage", 0.98, 1.0),
            ("max_piece_length", 1, 512),
            ("shrinking_factor", 0.5, 0.95),
            ("n_sub_iterations", 1, 10),
            ("seed_size", 1, 1 << 30),
        ):
            if not low <= getattr(self, name) <= high:
                raise TokenizerError(f"{name} is {getattr(self, name)}; it must be from {low} to {high}")
        names = [piece for piece, _ in self._given()]
        if isinstance(self.special_tokens, str) or isinstance(self.user_defined_symbols, str) or "" in names:
            raise TokenizerError("special_tokens and user_defined_symbols take several strings, none of them empty")
        if len(set(names)) < len(names):
            raise TokenizerError(f"special_tokens and user_defined_symbols have a name twice: {names!r}")
        if self.unk_token not in self.special_tokens and not self.byte_fallback:
            raise TokenizerError(f"unk_token {self.unk_token!r} must be in special_tokens, or byte_fallback be on")

    def train(self, words: Any, progress: Callable[[int, int], object] | None = None) -> Unigram:
        """The model. `words`: sentences (UTF-8) and their counts, a mapping or a WordCounter.

        `progress` is called with how many prunings are done and how many there will be. Warns, before the work, of a
        text that has fewer pieces than `vocab_size`; TokenizerError for one with more characters than that.
        """
        counts = self._cut(words)
        alphabet = self._alphabet(counts)
        training = self._training(counts, alphabet)
        given = self._given()
        warned = self._warn(len(training) + len(given), "at most ")
        desired = int(self.vocab_size * 1.1)
        turn = 0
        while True:
            for _ in range(self.n_sub_iterations):
                training.step()
            size = max(desired, int(single(single(self.shrinking_factor) * len(training))))
            training.prune(size)
            turn += 1
            if progress:
                progress(turn, turn + self._turns(len(training), desired))
            if len(training) <= desired:
                break
        training.drop_unreachable()
        pieces = self._final(training.spellings(), alphabet, self.vocab_size - len(given))
        warned = warned or self._warn(len(pieces) + len(given))
        return Unigram(
            [(piece, 0.0) for piece, _ in given] + pieces,
            self.special_tokens.index(self.unk_token) if self.unk_token in self.special_tokens else None,
            self.byte_fallback,
            [kind for _, kind in given] + [NORMAL] * len(pieces),
            engine=self.engine,
        )

    def _given(self) -> list[tuple[str, int]]:
        """The pieces that are not learned, and their kinds."""
        given = [(name, UNKNOWN if name == self.unk_token else CONTROL) for name in self.special_tokens]
        given += [(name, USER_DEFINED) for name in self.user_defined_symbols]
        return given + [(f"<0x{byte:02X}>", BYTE) for byte in range(256 if self.byte_fallback else 0)]

    def _cut(self, counted: Any) -> Counter[bytes]:
        """How often each word occurs; with END after it where no other one follows."""
        by_count = defaultdict(list)
        for sentence, n in counted.items():
            by_count[n].append(sentence)
        names = sorted((name.encode() for name, _ in self._given()), key=len, reverse=True)
        given = re.compile(b"|".join(map(re.escape, names)) or b"(?!)")
        space = SYMBOL.encode()
        words: Counter[bytes] = Counter()
        batches = ((n, same[i : i + BATCH]) for n, same in by_count.items() for i in range(0, len(same), BATCH))
        for n, sentences in batches:
            joined = _sound(sentences)
            if any(name in joined for name in names):
                joined = given.sub(NO_PIECE.encode(), joined)
            if self.split_by_whitespace and self.allow_whitespace_only_pieces:
                joined = re.sub(b"(?<!%s)%s" % (space, space), CUT + space, joined)
            elif self.split_by_whitespace:
                joined = joined.replace(space, CUT + space)
            for word, k in Counter(joined.split(CUT)).items():
                words[word] += n * k
        for nothing in b"", END:
            del words[nothing]
        if not words:
            raise TokenizerError("there is no text to learn from")
        return words

    def _alphabet(self, words: Mapping[bytes, int]) -> dict[str, int]:
        """The characters that the vocabulary must have and their counts, the most frequent first."""
        by_count = defaultdict(list)
        for word, n in words.items():
            by_count[n].append(word)
        counts: Counter[str] = Counter()
        for n, same in by_count.items():
            for character, k in Counter(b"".join(same).replace(END, b"").decode()).items():
                counts[character] += n * k
        del counts["\0"], counts[" "]
        total, covered = counts.total(), 0
        alphabet = {}
        for character, n in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
            if single(covered / total) >= single(self.character_coverage):
                break
            covered += n
            if character != NO_PIECE:
                alphabet[character] = n
        given = len(self._given())
        if len(alphabet) + given > self.vocab_size:
            raise TokenizerError(
                f"vocab_size is {self.vocab_size}, but the text has {len(alphabet)} characters and {given} pieces "
                "are given; raise it, or lower character_coverage"
            )
        return alphabet

    def _training(self, counts: dict[bytes, int], alphabet: Mapping[str, int]) -> Any:
        """The words and first pieces, in the engine's hands. Empties `counts`."""
        rare = re.compile(f"[^{re.escape(''.join(alphabet))}]")
        merged: dict[bytes, tuple[int, int]] = {}
        while counts:
            word, n = counts.popitem()
            spelling = rare.sub(RARE, word.removesuffix(END).decode()).encode()
            count, ends = merged.get(spelling, (0, 0))
            merged[spelling] = count + n, ends + n * word.endswith(END)
        words = [(word, count, ends) for word, (count, ends) in merged.items()]
        del merged
        words.sort(key=lambda item: (-item[1], item[0]))
        kinds = {ord(character): self._kind(character) for character in [*alphabet, RARE]}
        arguments = (
            words,
            [(ord(character), n) for character, n in alphabet.items()],
            kinds,
            self.max_piece_length,
            self.seed_size,
            self.split_by_whitespace and all(count == ends for _, count, ends in words),
            not self.split_by_whitespace,
            self.allow_whitespace_only_pieces,
        )
        if choose(self.engine) == "c":
            return core("unigram_train").Training(*arguments)
        return reference.Training([(word.decode(), count) for word, count, _ in words], first_pieces(*arguments))

    def _kind(self, character: str) -> int:
        """What the character may be in a piece, as reference/substrings.py has it."""
        if character in (RARE, " "):
            return BAD
        if character == SYMBOL:
            return SPACE
        digit = "0" <= character <= "9" or "０" <= character <= "９"
        flag = ALONE if digit and self.split_digits else 0
        if not self.split_by_unicode_script or (digit and not self.split_by_number):
            return ANY | flag
        script = _unicode.SCRIPTS[_unicode.script(ord(character))]
        if script == "INHERITED":
            return INHERITED
        if script in ("HIRAGANA", "KATAKANA") or character == "ー":
            script = "HAN"
        elif script == "UNKNOWN":
            script = "COMMON"
        return SCRIPTS + _unicode.SCRIPTS.index(script) | flag

    def _turns(self, size: int, desired: int) -> int:
        """How many times pruning will still be needed."""
        turns = 0
        while size > desired:
            size = max(desired, int(size * self.shrinking_factor))
            turns += 1
        return turns

    def _final(
        self, learned: Iterable[tuple[bytes, float]], alphabet: Iterable[str], room: int
    ) -> list[tuple[str, float]]:
        """The characters, a lost one just above the least score, and then the best pieces."""
        scores = {spelling.decode(): single(score) for spelling, score in learned}
        least, lost = min(scores.values()), 0.0
        final = {}
        for character in alphabet:
            if character in scores:
                final[character] = scores[character]
            else:
                final[character] = single(least + lost)
                lost = single(lost + PENALTY)
        for piece in sorted(scores, key=lambda piece: (-scores[piece], piece)):
            if len(final) >= room:
                break
            final.setdefault(piece, scores[piece])
        return sorted(final.items(), key=lambda item: (-item[1], item[0]))

    def _warn(self, size: int, most: str = "") -> bool:
        if size < self.vocab_size:
            warnings.warn(
                f"the text has {most}{size} pieces, special tokens included, fewer than vocab_size {self.vocab_size}",
                stacklevel=3,
            )
        return size < self.vocab_size


def _sound(sentences: list[bytes]) -> bytes:
    """The sentences, each with END after it and CUT between them. Bytes that are no UTF-8 become U+FFFD; sentences
    that have the character RARE are left out.
    """
    joined = CUT.join([sentence + END for sentence in sentences])
    try:
        b"\n".join(sentences).decode()
    except UnicodeDecodeError:
        texts = [re.sub("[\udc80-\udcff]", "\ufffd", text.decode("utf-8", "surrogateescape")) for text in sentences]
        joined = CUT.join([text.encode() + END for text in texts])
    if RARE.encode() in joined:
        joined = CUT.join([sentence for sentence in joined.split(CUT) if RARE.encode() not in sentence])
    return joined
