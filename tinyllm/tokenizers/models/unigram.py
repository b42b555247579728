"""The Unigram language model of one piece of text: of all ways to put it together from the vocabulary, the most
probable. The algorithms are reference/unigram.py in plain Python and _unigram.pyx compiled.

    Unigram([("<unk>", 0.0), ("▁a", -1.2), ("a", -1.9), ("▁", -2.3)], unk_id=0).encode("▁aa".encode()) == [1, 2]

There are two dialects, and they give different ids where two ways are equally probable but for rounding:

- Hugging Face's: every piece of the vocabulary is read out of text, sums are float64.
- SentencePiece's, with `kinds`: what isn't NORMAL or USER_DEFINED is not read out of text, a USER_DEFINED piece scores
  0.1 a byte after its first (so it nearly always wins), sums are float32.

A character that no piece has is unknown, neighbours together are one token; with `byte_fallback` they become the
pieces <0x00> ... <0xFF> of their bytes. A byte that is no UTF-8 counts as U+FFFD.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers.engine import choose, core
from tinyllm.tokenizers.reference import unigram as reference
from tinyllm.tokenizers.reference.unigram import UNKNOWN_PENALTY, Arc, Lattice
from tinyllm.tokenizers.sentencepiece import SentencePieceNormalizer
from tinyllm.tokenizers.stage import Model, Normalizer, PreTokenizer

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6  # as in SentencePiece's .model


@dataclass(frozen=True, eq=False)
class Unigram(Model):
    """`vocab[i]` is the spelling and the score (log probability) of id i. Ids in `reserved` are never read out of text.

    `kinds[i]`, if given, is one of NORMAL ... BYTE: SentencePiece's dialect. Raises TokenizerError for a vocabulary
    that cannot be used, and for text with an unknown character where there is neither `unk_id` nor `byte_fallback`.
    """

    vocab: Sequence[tuple[str, float]]
    unk_id: int | None = None
    byte_fallback: bool = False
    kinds: Sequence[int] | None = None
    reserved: frozenset[int] = frozenset()
    engine: str | None = None
    tokens: list[bytes] = field(init=False, repr=False)
    _ids: dict[str, int] = field(init=False, repr=False)  # of the pieces that are read out of text
    _scores: list[float] = field(init=False, repr=False)
    _unknown: tuple[int, float] = field(init=False, repr=False)
    _byte_ids: list[int] = field(init=False, repr=False)
    _trie: dict = field(init=False, repr=False)
    _encoder: Any = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        def put(name: str, value: object) -> None:
            object.__setattr__(self, name, value)

        put("engine", choose(self.engine))
        put("tokens", _spelled(self.vocab))
        if self.unk_id is not None and not 0 <= self.unk_id < len(self.vocab):
            raise TokenizerError(f"unk_id is {self.unk_id}; the ids are 0 to {len(self.vocab) - 1}")
        if self.kinds is not None and (len(self.kinds) != len(self.vocab) or not set(self.kinds) <= set(range(1, 7))):
            raise TokenizerError(f"kinds must be {len(self.vocab)} numbers from 1 (NORMAL) to 6 (BYTE), one an id")
        kinds = self.kinds or [NORMAL] * len(self.vocab)
        put("_scores", [0.1 * (len(token) - 1) if kind == USER_DEFINED else float(score)
                        for (_, score), token, kind in zip(self.vocab, self.tokens, kinds, strict=True)])  # fmt: skip
        if self.kinds is not None:
            put("_scores", [reference.single(score) for score in self._scores])
        normal = [score for score, kind in zip(self._scores, kinds, strict=True) if kind == NORMAL]
        unknown_score = min(normal, default=0.0) - UNKNOWN_PENALTY
        put("_unknown", (-1 if self.unk_id is None else self.unk_id, unknown_score))
        put("_ids", {piece: i for i, ((piece, _), kind) in enumerate(zip(self.vocab, kinds, strict=True))
                     if kind in (NORMAL, USER_DEFINED) and i not in self.reserved})  # fmt: skip
        put("_byte_ids", _byte_ids(self.tokens) if self.byte_fallback else [])
        put("_trie", {})
        if self.engine == "c":
            read = set(self._ids.values())
            tokens = [token if i in read else None for i, token in enumerate(self.tokens)]
            put("_encoder", core("unigram").Encoder(
                tokens, self._scores, *self._unknown, self._byte_ids, self.kinds is not None))  # fmt: skip

    def encode(self, piece: bytes) -> list[int]:
        if self._encoder is not None:
            return self._encoder.encode_piece(piece)
        return super().encode(piece)

    def fused(
        self, normalizer: Normalizer | None, pre_tokenizer: PreTokenizer | None
    ) -> Callable[[bytes], list[int]] | None:
        if self._encoder is None or pre_tokenizer is not None:
            return None
        if normalizer is None:
            return self._encoder.encode_piece
        if not isinstance(normalizer, SentencePieceNormalizer) or normalizer.user_defined_symbols:
            return None
        rules = normalizer.charsmap
        return self._encoder.encode_text(
            core("unigram").Normalizer(
                rules.units.tobytes() if rules else b"",
                rules.results if rules else b"",
                normalizer.add_dummy_prefix,
                normalizer.remove_extra_whitespaces,
                normalizer.escape_whitespaces,
                normalizer.treat_whitespace_as_suffix,
            )
        )

    @property
    def reads_str(self) -> bool:
        return self._encoder is not None

    def tokenize(self, piece: bytes) -> list[tuple[int, int]]:
        if self._encoder is not None:
            return self._encoder.tokenize(piece)
        text, widths = characters(piece)
        return list(self._tokens(text, widths, reference.viterbi(self.lattice(text), self.kinds is not None)))

    def nbest(self, piece: bytes, n: int) -> list[tuple[list[int], float]]:
        """The n most probable ways (all, if there are fewer), best first: ids and log probability."""
        if not 1 <= n <= 1024:
            raise ValueError(f"n must be from 1 to 1024, not {n}")
        text = characters(piece)[0]
        return [(self.spelled(text, path), score) for path, score in reference.nbest(self.lattice(text), n)]

    def sample(self, piece: bytes, rng: Random, alpha: float = 0.1, nbest_size: int = -1) -> list[int]:
        """The ids of a way drawn with probability proportional to its own ** alpha (subword regularization, Kudo
        2018): of all ways if `nbest_size` is -1, else of that many best ones. alpha 0: all alike; large: the best.
        """
        if not (math.isfinite(alpha) and alpha >= 0):
            raise ValueError(f"alpha must be a finite number of at least 0, not {alpha}")
        text = characters(piece)[0]
        arcs = self.lattice(text)
        if nbest_size < 0:
            path = reference.sample(arcs, alpha, rng)
        else:
            best = reference.nbest(arcs, max(nbest_size, 1))
            [(path, _)] = rng.choices(best, [math.exp(alpha * (score - best[0][1])) for _, score in best])
        return self.spelled(text, path)

    def entropy(self, piece: bytes, alpha: float = 1.0) -> float:
        """Of the distribution that `sample` draws from, in nats."""
        return reference.entropy(self.lattice(characters(piece)[0]), alpha)

    def reserving(self, ids: frozenset[int]) -> Unigram:
        read = ids & frozenset(self._ids.values())
        return replace(self, reserved=self.reserved | read) if read else self

    def lattice(self, text: str) -> Lattice:
        """The arcs over the characters of `text` (reference/unigram.py); an unknown character has id -1 or unk_id."""
        if not self._trie:
            self._trie.update(reference.trie(self._ids))
        return reference.lattice(text, self._trie, self._scores, self._unknown)

    def spelled(self, text: str, path: list[Arc]) -> list[int]:
        """The ids of a path over the characters of `text`."""
        return [token for token, _ in self._tokens(text, [0] * len(text), path)]

    def _tokens(self, text: str, widths: list[int], path: list[Arc]) -> Iterator[tuple[int, int]]:
        """(id, width in bytes) of each token of a path; what is unknown taken together."""
        unknown = self._unknown[0]
        at = 0
        while at < len(path):
            start, end = path[at].start, path[at].end
            token = path[at].id
            at += 1
            if token != unknown:
                yield token, sum(widths[start:end])
                continue
            while at < len(path) and path[at].id == unknown:
                end = path[at].end
                at += 1
            yield from self._unknown_tokens(text[start:end], widths[start:end])

    def _unknown_tokens(self, text: str, widths: list[int]) -> Iterator[tuple[int, int]]:
        if self.byte_fallback:
            for character, width in zip(text, widths, strict=True):
                for i, byte in enumerate(character.encode()):
                    yield self._byte_ids[byte], int(i < width)
        elif self.unk_id is not None:
            yield self.unk_id, sum(widths)
        else:
            raise TokenizerError(f"no piece of the vocabulary spells {text[0]!r}, and there is no unknown piece")


def _byte_ids(tokens: Sequence[bytes]) -> list[int]:
    ids = {token: i for i, token in enumerate(tokens)}
    missing = [name for byte in range(256) if (name := b"<0x%02X>" % byte) not in ids]
    if missing:
        raise TokenizerError(f"byte_fallback needs the pieces <0x00> to <0xFF>; there is no {missing[0].decode()}")
    return [ids[b"<0x%02X>" % byte] for byte in range(256)]


def _spelled(vocab: Sequence[tuple[str, float]]) -> list[bytes]:
    """The pieces in UTF-8, all checked."""
    if not vocab:
        raise TokenizerError("the vocabulary is empty; it must have at least one piece")
    tokens: dict[bytes, int] = {}
    for i, (piece, score) in enumerate(vocab):
        try:
            token = piece.encode()
        except UnicodeEncodeError:
            raise TokenizerError(f"piece {i}, {piece!r}, has a lone surrogate") from None
        if not token:
            raise TokenizerError(f"piece {i} is empty")
        if tokens.setdefault(token, i) != i:
            raise TokenizerError(f"pieces {tokens[token]} and {i} are both {piece!r}")
        if not math.isfinite(score):
            raise TokenizerError(f"the score of piece {i}, {piece!r}, is {score}; it must be a finite number")
    return list(tokens)


def characters(piece: bytes) -> tuple[str, list[int]]:
    """The text, with U+FFFD for a byte that is no UTF-8, and how many bytes of the piece each character is."""
    text = piece.decode("utf-8", "surrogateescape")
    widths = [1 if "\ud800" <= c <= "\udfff" else len(c.encode()) for c in text]
    return "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text), widths
