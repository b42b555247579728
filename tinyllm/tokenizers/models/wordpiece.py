"""WordPiece: the longest token at each position of a word, as in BERT. The algorithms are reference/wordpiece.py in
plain Python and _wordpiece.pyx compiled.

A token that does not begin a word is written with a prefix. A word that no tokens spell is the unknown token as a
whole, and so is a word of too many characters. Nothing here lowercases or splits: that is for the stages before; with
BERT's two stages (BertNormalizer, BertPreTokenizer) the three run compiled in one pass.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers.aligned import Aligned
from tinyllm.tokenizers.base import is_utf8
from tinyllm.tokenizers.engine import choose, core
from tinyllm.tokenizers.reference.wordpiece import LinMaxMatch
from tinyllm.tokenizers.stage import Model, Normalizer, PreTokenizer


@dataclass(frozen=True, eq=False)
class WordPiece(Model):
    """`vocab`: token to id; the ids are 0 ... len(vocab) - 1, and the unknown token is one of the tokens.

    `reserved`: ids that text never gives, whatever it spells, but for the unknown token standing for an unknown word.
    A byte that is no UTF-8 counts as the character U+FFFD.
    """

    vocab: Mapping[str, int]
    unk_token: str = "[UNK]"
    continuing_subword_prefix: str = "##"
    max_input_chars_per_word: int = 100
    reserved: frozenset[int] = field(default=frozenset(), compare=False)
    engine: str | None = field(default=None, compare=False)
    tokens: list[bytes] = field(init=False, repr=False)
    _match: Callable[[str], list[int] | None] = field(init=False, repr=False)
    _matcher: Any = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        tokens = sorted(self.vocab, key=self.vocab.__getitem__)
        for i, token in enumerate(tokens):
            if self.vocab[token] != i:
                raise TokenizerError(
                    f"the ids of {len(tokens)} tokens must be 0 to {len(tokens) - 1}; {i} has no token"
                )
            if not token or not token.isascii() and any("\ud800" <= c <= "\udfff" for c in token):
                raise TokenizerError(f"token {i} is {token!r}; a token is one or more characters, no surrogates")
        if self.unk_token not in self.vocab:
            raise TokenizerError(f"unk_token is {self.unk_token!r}, which is not in the vocabulary")
        if self.max_input_chars_per_word < 0:
            raise TokenizerError(f"max_input_chars_per_word is {self.max_input_chars_per_word}; it must be 0 or more")
        longest = len(self.continuing_subword_prefix) + self.max_input_chars_per_word  # no word has a longer one
        readable = {t: i for t, i in self.vocab.items() if i not in self.reserved and len(t) <= longest}
        object.__setattr__(self, "tokens", [token.encode() for token in tokens])
        object.__setattr__(self, "engine", choose(self.engine))
        if self.engine == "python":
            object.__setattr__(self, "_match", LinMaxMatch(readable, self.continuing_subword_prefix))
            return
        matcher = core("wordpiece").Matcher(
            sorted((token.encode(), i) for token, i in readable.items()),
            self.continuing_subword_prefix.encode(),
            self.vocab[self.unk_token],
            min(self.max_input_chars_per_word, 1 << 62),
            len(tokens),
        )
        object.__setattr__(self, "_matcher", matcher)

    def encode(self, piece: bytes) -> list[int]:
        if self._matcher is not None and (piece.isascii() or is_utf8(piece)):
            return self._matcher.encode(piece)
        word = "".join("\ufffd" if "\udc80" <= c <= "\udcff" else c for c in piece.decode("utf-8", "surrogateescape"))
        if self._matcher is not None:
            return self._matcher.encode(word.encode())
        ids = None if len(word) > self.max_input_chars_per_word else self._match(word)
        return [self.vocab[self.unk_token]] if ids is None else ids

    def tokenize(self, piece: bytes) -> list[tuple[int, int]]:
        ids = self.encode(piece)
        if len(ids) <= 1:
            return [(token, len(piece)) for token in ids]
        lead = len(self.continuing_subword_prefix.encode())
        sizes = [len(self.tokens[token]) - (lead if i else 0) for i, token in enumerate(ids)]
        if sum(sizes) != len(piece):  # there are bytes that are no UTF-8
            sizes = raw_sizes(piece, sizes)
        return list(zip(ids, sizes, strict=True))

    def fused(
        self, normalizer: Normalizer | None, pre_tokenizer: PreTokenizer | None
    ) -> Callable[[bytes], list[int]] | None:
        if self._matcher is None or pre_tokenizer is None or type(pre_tokenizer).__name__ != "BertPreTokenizer":
            return None
        if normalizer is not None and type(normalizer).__name__ != "BertNormalizer":
            return None

        def stages(run: bytes) -> list[int]:
            text = Aligned.of(run.decode("utf-8", "surrogateescape"))
            pieces = pre_tokenizer.pieces(normalizer.normalize(text) if normalizer else text)
            return [i for piece in pieces for i in self.encode(piece.text.encode("utf-8", "surrogateescape"))]

        bert = core("wordpiece").Bert(self._matcher, lambda page: describe(normalizer, pre_tokenizer, page), stages)
        return bert.encode

    def reserving(self, ids: frozenset[int]) -> WordPiece:
        return self if ids == self.reserved else replace(self, reserved=ids)


def raw_sizes(piece: bytes, sizes: list[int]) -> list[int]:
    """How many bytes of `piece` each token covers, from how many where an invalid byte is U+FFFD, which has three."""
    widths = [(1, 3) if "\udc80" <= c <= "\udcff" else (len(c.encode()),) * 2 for c in as_text(piece)]
    out, at = [], 0
    for size in sizes:
        raw = 0
        while size > 0:
            raw += widths[at][0]
            size -= widths[at][1]
            at += 1
        out.append(raw)
    return out


def as_text(piece: bytes) -> str:
    return piece.decode("utf-8", "surrogateescape")


# What the compiled pipeline asks of the stages; the kinds are those of _wordpiece_bert.pxi

INSIDE, SPACE, ALONE, ODD = range(4)


@lru_cache(maxsize=512)
def describe(normalizer: Normalizer | None, pre_tokenizer: PreTokenizer, page: int) -> list[tuple[int, bytes]]:
    """Of each character 128 * page + 0 ... 127 its kind, and the bytes that it becomes."""
    texts = [chr(point) for point in range(128 * page, 128 * (page + 1))]
    if normalizer is not None:
        between = "zqz"  # nothing becomes that, nor changes beside it
        texts = normalizer.normalize(Aligned.of(between.join(texts))).text.split(between)
        assert len(texts) == 128, page
    pieces: list[list[str]] = [[] for _ in texts]
    owner = [i for i, text in enumerate(texts) for _ in f"a{text}a "]
    for piece in pre_tokenizer.pieces(Aligned.of(" ".join(f"a{text}a" for text in texts))):
        pieces[owner[piece.starts[0]]].append(piece.text)
    return [kind(text, found) for text, found in zip(texts, pieces, strict=True)]


def kind(text: str, pieces: list[str]) -> tuple[int, bytes]:
    """Of a character that becomes `text`, which between two letters is cut into `pieces`."""
    if any("\ud800" <= c <= "\udfff" or unicodedata.combining(c) for c in text):
        return ODD, b""  # NFD may move it behind the one that follows; bytes that are no UTF-8 may become some
    if pieces == [f"a{text}a"]:
        return INSIDE, text.encode()
    if pieces == ["a", "a"]:
        return SPACE, b""
    if pieces == ["a", text.strip(), "a"]:
        return ALONE, text.strip().encode()
    return ODD, b""
