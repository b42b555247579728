"""Tokenizers ready to train: each is a pipeline of the usual stages, and `train`.

    tok = BPETokenizer.train(texts, vocab_size=1024, special_tokens=["<|endoftext|>"])

Ids after training: special tokens first, in the order given, then what the model's trainer says. `threads`,
`max_memory` (bytes) and `progress` of every `train` are those of Tokenizer.train_from_iterator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers import decoders
from tinyllm.tokenizers.added import AddedToken
from tinyllm.tokenizers.base import as_texts, number_specials, utf8
from tinyllm.tokenizers.engine import choose
from tinyllm.tokenizers.models.bpe import BPE
from tinyllm.tokenizers.models.wordlevel import CHARACTERS, WordLevel
from tinyllm.tokenizers.models.wordlevel import text as characters
from tinyllm.tokenizers.normalizers.bert import BertNormalizer
from tinyllm.tokenizers.normalizers.case import Lowercase
from tinyllm.tokenizers.normalizers.precompiled import table
from tinyllm.tokenizers.pipeline import Tokenizer
from tinyllm.tokenizers.postprocess import TemplateProcessing
from tinyllm.tokenizers.pretokenizers.classes import BertPreTokenizer
from tinyllm.tokenizers.pretokenizers.patterns import PATTERNS, PORTABLE, split
from tinyllm.tokenizers.pretokenizers.sequence import Sequence as PreTokenizers
from tinyllm.tokenizers.pretokenizers.spaces import ByteLevel
from tinyllm.tokenizers.pretokenizers.split import Split
from tinyllm.tokenizers.pretokenizers.words import Words
from tinyllm.tokenizers.sentencepiece import SentencePieceDecoder, SentencePieceNormalizer
from tinyllm.tokenizers.stage import PreTokenizer, Trainer
from tinyllm.tokenizers.trainers.bpe import BPETrainer
from tinyllm.tokenizers.trainers.count import count_words
from tinyllm.tokenizers.trainers.progress import heard
from tinyllm.tokenizers.trainers.unigram import UnigramTrainer
from tinyllm.tokenizers.trainers.wordlevel import WordLevelTrainer
from tinyllm.tokenizers.trainers.wordpiece import WordPieceTrainer

Texts = str | bytes | Iterable[str | bytes]
Progress = Callable[[str, int, int | None], object]


def special(names: Mapping[str, int]) -> dict[str | AddedToken, int]:
    """Names and ids of special tokens as a Tokenizer takes them."""
    return {AddedToken(name, special=True): i for name, i in names.items()}


# ---- Bytes ----


def byte_alphabet() -> dict[int, str]:
    """GPT-2's printable character for each byte: Latin-1's if it has one, else the next from U+0100 on."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) if byte in printable else chr(0x100 + others.index(byte)) for byte in range(256)}


# BYTE_ORDER[i]: the byte of the i-th token after the special ones, as Hugging Face's trainer lays them out
BYTE_ORDER = sorted(range(256), key=byte_alphabet().__getitem__)


def byte_level(pattern: str) -> PreTokenizer:
    """The pre-tokenizer that cuts by one of PATTERNS and leaves bytes to the model."""
    if pattern not in PATTERNS:
        raise TokenizerError(f"pattern is {pattern!r}; it must be one of {', '.join(PATTERNS)}")
    if pattern == "gpt2":
        return ByteLevel(add_prefix_space=False)
    regex = PORTABLE.get(pattern, PATTERNS[pattern])
    cut = Split({"Regex": regex}, "Isolated")
    return PreTokenizers((cut, ByteLevel(add_prefix_space=False, use_regex=False)))


class BPETokenizer(Tokenizer):
    """Byte-level byte-pair encoding: GPT-2's tokenizer, and that of most language models since.

    `tokens[i]` is the bytes of id i, among them every single byte, so that any text and any bytes have ids, and
    decode_bytes(encode(b)) == b always. `merges` are pairs of ids, lowest rank first; the joined bytes of a pair are a
    token too. `special_tokens`: names and ids, which are in `tokens` too. `pattern` is one of patterns.PATTERNS.
    `engine` is "c", "python", or None for the faster one that is there.
    """

    def __init__(
        self,
        tokens: Sequence[bytes],
        merges: Sequence[tuple[int, int]] = (),
        special_tokens: Mapping[str, int] | None = None,
        pattern: str = "gpt2",
        engine: str | None = None,
    ) -> None:
        special_tokens = special_tokens or {}
        for name, i in special_tokens.items():
            if name and (not 0 <= i < len(tokens) or tokens[i] != utf8(name)):
                raise TokenizerError(f"special token {name!r} has id {i}, which is not the id of its text")
        self.merges = [(a, b) for a, b in merges]
        self.pattern, self.engine = pattern, choose(engine)
        pre_tokenizer = byte_level(pattern)
        taken = set(special_tokens.values())
        ordinary = [b"" if i in taken else token for i, token in enumerate(tokens)]
        ranks: dict[tuple[int, int], int] = {}
        for rank, pair in enumerate(self.merges):
            if ranks.setdefault(pair, rank) != rank:
                raise TokenizerError(f"merges {ranks[pair]} and {rank} are the same")
        known = set(ordinary)
        if missing := [byte for byte in range(256) if bytes([byte]) not in known]:
            raise TokenizerError(
                f"byte 0x{missing[0]:02X} is no token, nor are {len(missing) - 1} others; all 256 must be"
            )
        super().__init__(
            BPE.from_ids(ordinary, self.merges, engine=self.engine),
            pre_tokenizer=pre_tokenizer,
            decoder=decoders.ByteLevel(),
            added_tokens=special(special_tokens),
        )

    @classmethod
    def train(
        cls,
        texts: Texts,
        vocab_size: int,
        special_tokens: Sequence[str] = (),
        min_frequency: int = 2,
        progress: Progress | None = None,
        engine: str | None = None,
        threads: int = 1,
        max_memory: int | None = None,
    ) -> BPETokenizer:
        """Learn merges until there are `vocab_size` tokens or no pair is left that occurs often enough.

        `texts` is read once, text by text (no merge crosses the end of one). Where the text can't fill the vocabulary,
        a UserWarning says so, before training if that is certain then. A pair must occur
        `min_frequency` times to be merged; ties go to the smaller pair of ids. Raises TokenizerError for a vocab_size
        below 256 + special tokens, and for a special token that is spelled like a word. Ids: the special tokens, the
        256 bytes in the order of GPT-2's alphabet, one token a merge.
        """
        engine = choose(engine)
        specials = number_specials(special_tokens)
        first_id = len(specials) + 256
        if vocab_size < first_id:
            raise TokenizerError(
                f"vocab_size is {vocab_size}; 256 bytes and {len(specials)} special tokens need {first_id}"
            )
        for name in specials:
            if len(split(utf8(name), engine=engine)) < 2:
                raise TokenizerError(
                    f"special token {name!r} is spelled like an ordinary word, so merges could make the same "
                    f"token; use something like '<|{name}|>'"
                )
        counting, training = heard(progress)
        cut = byte_level("gpt2")
        words = count_words(texts, None, cut, threads=threads, max_memory=max_memory, progress=counting, engine=engine)
        tokens, merges = BPETrainer(vocab_size, min_frequency, tuple(specials), engine=engine).learn(words, training)
        return cls(tokens, merges, specials, engine=engine)


class ByteTokenizer(BPETokenizer):
    """The 256 bytes and nothing else, after the special tokens: id = number of special tokens + byte. Nothing to learn,
    no unknown text, the longest sequences.
    """

    def __init__(self, special_tokens: Sequence[str] = (), engine: str | None = None) -> None:
        specials = number_specials(special_tokens)
        tokens = [utf8(name) for name in specials] + [bytes([byte]) for byte in range(256)]
        super().__init__(tokens, (), specials, engine=engine)


# ---- Whole units: characters, words ----


class CharTokenizer(Tokenizer):
    """A token for each character (code point), as in nanoGPT's data/shakespeare_char: small vocabulary, long sequences,
    the baseline that subword tokenizers are compared with. A character is a code point, not a byte and not what a
    reader sees as one letter (e + combining accent are two).

    `tokens` in the order of their ids: single characters, and the names of special tokens. `unk` names the special
    token that stands for every unknown character; without one these raise TokenizerError. Bytes are read as UTF-8; each
    byte that is none is read as U+FFFD.
    """

    def __init__(
        self, tokens: Sequence[str], special_tokens: Mapping[str, int] | None = None, unk: str | None = None
    ) -> None:
        special_tokens = special_tokens or {}
        vocab: dict[str, int] = {}
        for i, token in enumerate(tokens):
            utf8(token)
            if len(token) != 1 and special_tokens.get(token) != i:
                raise TokenizerError(f"token {i} is {token!r}; it must be one character or a special token")
            if vocab.setdefault(token, i) != i:
                raise TokenizerError(f"tokens {vocab[token]} and {i} are both {token!r}")
        if unk is not None and unk not in special_tokens:
            raise TokenizerError(f"unk is {unk!r}, which must be one of the special tokens: {[*special_tokens]}")
        super().__init__(
            WordLevel(vocab, unk or ""),
            pre_tokenizer=CHARACTERS,
            decoder=decoders.Fuse(),
            added_tokens=special(special_tokens),
        )

    @classmethod
    def train(cls, texts: Texts, special_tokens: Sequence[str] = (), unk: str | None = None) -> CharTokenizer:
        """The special tokens first, in the order given, then every character of the texts by code point."""
        found: set[str] = set()
        for text in as_texts(texts):
            found.update(characters(utf8(text)))
        specials = number_specials(special_tokens)
        return cls([*specials, *sorted(found)], specials, unk)


class WordTokenizer(Tokenizer):
    """A token for each word, as UAX #29 or `pre_tokenizer` finds words; `unk` for all others. Large vocabularies, and
    still unknown words: what subword tokenizers are there to better. Text comes back with one space between tokens.
    """

    @classmethod
    def train(
        cls,
        texts: Texts,
        vocab_size: int | None = 30_000,
        special_tokens: Sequence[str] = (),
        unk: str = "<unk>",
        min_frequency: int = 1,
        lowercase: bool = False,
        pre_tokenizer: PreTokenizer | None = None,
        progress: Progress | None = None,
        threads: int = 1,
        max_memory: int | None = None,
    ) -> Tokenizer:
        """`unk`, the other special tokens, then the words that occur `min_frequency` times by falling count (equal ones
        in string order), at most vocab_size tokens in all; None: every word.
        """
        trainer = WordLevelTrainer(vocab_size, (unk, *special_tokens), min_frequency, unk)
        normalizer = Lowercase() if lowercase else None
        return cls.train_from_iterator(
            texts,
            trainer,
            normalizer,
            pre_tokenizer or Words(),
            threads=threads,
            max_memory=max_memory,
            progress=progress,
        )


# ---- Subwords of characters ----


class WordPieceTokenizer(Tokenizer):
    """BERT's pipeline: its normalizer, its split, WordPiece, [CLS] and [SEP] around what `prepare` gives."""

    @classmethod
    def train(
        cls,
        texts: Texts,
        vocab_size: int = 30_000,
        min_frequency: int = 2,
        lowercase: bool = True,
        special_tokens: Sequence[str] = (),
        progress: Progress | None = None,
        engine: str | None = None,
        threads: int = 1,
        max_memory: int | None = None,
    ) -> Tokenizer:
        """The tokens [PAD] [UNK] [CLS] [SEP] [MASK], then `special_tokens`, the alphabet, and what raises the
        likelihood of the text most.
        """
        trainer = WordPieceTrainer(
            vocab_size, min_frequency, (*WordPieceTrainer.special_tokens, *special_tokens), engine=engine
        )
        ids = {name: trainer.special_tokens.index(name) for name in ("[CLS]", "[SEP]")}
        return cls.train_from_iterator(
            texts,
            trainer,
            BertNormalizer(lowercase=lowercase),
            BertPreTokenizer(),
            TemplateProcessing.of("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", ids),
            decoders.WordPiece(),
            threads=threads,
            max_memory=max_memory,
            progress=progress,
        )


class SentencePieceTokenizer(Tokenizer):
    """SentencePiece's pipeline: raw text, spaces as U+2581, a Unigram or BPE model, and no cut into words, which would
    have to know a language.
    """

    @classmethod
    def train(
        cls,
        texts: Texts,
        vocab_size: int = 8000,
        model_type: str = "unigram",
        character_coverage: float = 0.9995,
        byte_fallback: bool = False,
        rules: str = "nmt_nfkc",
        user_defined_symbols: Sequence[str] = (),
        special_tokens: Sequence[str] = (),
        progress: Progress | None = None,
        engine: str | None = None,
        threads: int = 1,
        max_memory: int | None = None,
    ) -> Tokenizer:
        """<unk>, <s>, </s>, the special tokens, the symbols, then the pieces. Texts are read line by line, each line a
        sentence.

        `model_type`: "unigram" or "bpe". `rules`: "nmt_nfkc", "nmt_nfkc_cf" or "identity". `special_tokens` are
        SentencePiece's control symbols, which no text holds; `user_defined_symbols` are always pieces of their own.
        """
        control, symbols = ("<s>", "</s>", *special_tokens), tuple(user_defined_symbols)
        fields: dict[str, Any] = {
            "vocab_size": vocab_size,
            "special_tokens": ("<unk>", *control),
            "unk_token": "<unk>",
            "user_defined_symbols": symbols,
            "byte_fallback": byte_fallback,
            "character_coverage": character_coverage,
            "engine": engine,
        }
        if model_type not in ("unigram", "bpe"):
            raise TokenizerError(f'model_type is {model_type!r}; it must be "unigram" or "bpe"')
        trainer: Trainer = UnigramTrainer(**fields)
        if model_type == "bpe":
            trainer = BPETrainer(tie="spm", byte_level=False, max_token_length=16, **fields)
        return cls.train_from_iterator(
            lines(texts),
            trainer,
            SentencePieceNormalizer(table(rules), user_defined_symbols=symbols),
            decoder=SentencePieceDecoder(byte_fallback=byte_fallback, control_symbols=control),
            special_tokens=control,
            threads=threads,
            max_memory=max_memory,
            progress=progress,
        )


def lines(texts: Texts) -> Iterator[str | bytes]:
    """The lines of the texts without their ends, none empty."""
    for text in as_texts(texts):
        yield from (line for line in (text.split(b"\n") if isinstance(text, bytes) else text.split("\n")) if line)
