"""Byte-pair encoding of one piece: merges join neighbours, lowest rank first (Sennrich et al. 2016, arXiv:1508.07909).

    BPE({"h": 0, "u": 1, "g": 2, "hu": 3, "hug": 4}, [("h", "u"), ("hu", "g")]).encode(b"hug") == [4]

A vocabulary of bytes objects is byte-level, its symbols are bytes; one of str is character-level. Its fields are those
of Hugging Face's BPE and do what they do there. This file reads vocabularies into the `Rules` that the algorithm goes
by: reference/bpe_encode.py in plain Python, _bpe.pyx compiled. SentencePiece's kind is in sentencepiece_bpe.py.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers.base import is_utf8
from tinyllm.tokenizers.engine import choose, core
from tinyllm.tokenizers.reference.bpe_encode import MASK, Reference, Rules, merges_of
from tinyllm.tokenizers.stage import Model, Normalizer, PreTokenizer

MAX_ID = 1 << 22


class Merging(Model):
    """A model whose ids follow from `rules`: what BPE and SentencePieceBPE share.

    The engine is made when first needed; `engine` is "c", "python", or None for the faster one that is there.
    """

    engine: str | None
    dropout: float | None
    _reserved: frozenset[int] = frozenset()
    _seed = 0

    @property
    def rules(self) -> Rules:
        """All that ids depend on."""
        raise NotImplementedError

    @cached_property
    def _encoders(self) -> dict[str | None, Any]:
        """Encoders by the scanner that they cut texts with."""
        return {}

    def _encoder(self, scanner: str | None) -> Any:
        if scanner not in self._encoders:
            if choose(self.engine) == "c":
                self._encoders[scanner] = core("bpe").Encoder(self.rules, scanner)
            else:
                self._encoders[scanner] = Reference(self.rules)
            self._encoders[scanner].seed(self._seed)
        return self._encoders[scanner]

    @property
    def _any_encoder(self) -> Any:
        return next(iter(self._encoders.values()), None) or self._encoder(None)

    def seed(self, seed: int) -> None:
        """Begin the random numbers of dropout anew; they follow from the seed and the pieces since then."""
        self.__dict__["_seed"] = seed = seed & MASK
        for encoder in self._encoders.values():
            encoder.seed(seed)

    def tokenize(self, piece: bytes) -> list[tuple[int, int]]:
        return self._any_encoder.tokenize(piece, self.dropout or 0.0)

    def encode(self, piece: bytes) -> list[int]:
        return self.dropped(piece, self.dropout or 0.0)

    def dropped(self, piece: bytes, p: float) -> list[int]:
        """The ids with `p` in place of `dropout`."""
        return self._any_encoder.encode_piece(piece, p)

    def fused(
        self, normalizer: Normalizer | None, pre_tokenizer: PreTokenizer | None
    ) -> Callable[[bytes], list[int]] | None:
        quick = None if normalizer is None else normalizer.quick
        return self._fused(pre_tokenizer, quick) if normalizer is None or quick else None

    def _fused(
        self, pre_tokenizer: PreTokenizer | None, normalize: Callable[[bytes], bytes] | None = None
    ) -> Callable[[bytes], list[int]] | None:
        """One compiled function from bytes, which `normalize` changes first, to ids."""
        scanner = None if pre_tokenizer is None else pre_tokenizer.scanner
        if choose(self.engine) != "c" or (pre_tokenizer is not None and scanner is None):
            return None
        encode = self._encoder(scanner).encode
        return partial(encode, p=self.dropout or 0.0, normalize=normalize) if self.dropout or normalize else encode

    @property
    def random(self) -> bool:
        return bool(self.dropout)

    def reserving(self, ids: frozenset[int]) -> Merging:
        taken = ids & frozenset(range(len(self.tokens))) | self._reserved
        if taken == self._reserved:
            return self
        for _, _, rank, new in self.rules.merges:
            if new in taken:
                raise TokenizerError(f"merge {rank} makes the special token {self.tokens[new]!r}; rename that")
        other = copy.copy(self)
        for name in ("_encoders", "rules"):
            other.__dict__.pop(name, None)
        other.__dict__["_reserved"] = taken
        return other

    def _spellings(self) -> list[bytes]:
        """`tokens`, but b"" for the reserved ones."""
        if not self._reserved:
            return list(self.tokens)
        return [b"" if i in self._reserved else token for i, token in enumerate(self.tokens)]


@dataclass(frozen=True)
class BPE(Merging):
    """`vocab`: tokens and their ids; `merges`: pairs of tokens, lowest rank first, whose joined text is a token too.

    dropout: the probability with which each possible merge is left out of each step (none by default); see `seed`.
    unk_token stands for a character that is no token (without it such characters are left out), for several in a row
    with fuse_unk. continuing_subword_prefix is part of the spelling of every symbol but the first of a piece, and
    end_of_word_suffix of the last one. byte_fallback: an unknown character becomes the tokens <0x00> to <0xFF> of its
    bytes, if these are there. ignore_merges: a piece that is a token is that token. Where symbols are characters, a
    byte that is no UTF-8 counts as U+FFFD, and falls back to its own token.
    """

    vocab: Mapping[str, int] | Mapping[bytes, int]
    merges: Sequence[tuple[str, str]] | Sequence[tuple[bytes, bytes]] = ()
    dropout: float | None = None
    unk_token: str | None = None
    continuing_subword_prefix: str | None = None
    end_of_word_suffix: str | None = None
    fuse_unk: bool = False
    byte_fallback: bool = False
    ignore_merges: bool = False
    engine: str | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if self.dropout is not None and not 0 <= self.dropout <= 1:
            raise TokenizerError(f"dropout is {self.dropout}; it is a probability, from 0 to 1")
        choose(self.engine)
        self.rules  # noqa: B018  (bad input is an error now)

    @classmethod
    def from_ids(cls, tokens: Sequence[bytes], merges: Sequence[tuple[int, int]] = (), **fields: Any) -> BPE:
        """Byte-level, of the tokens in order of their ids (b"" where there is none) and merges as pairs of ids."""
        vocab: dict[bytes, int] = {}
        for i, token in enumerate(tokens):
            if token and vocab.setdefault(token, i) != i:
                raise TokenizerError(f"tokens {vocab[token]} and {i} are both {token!r}")
        for rank, pair in enumerate(merges):
            for part in pair:
                if not 0 <= part < len(tokens):
                    raise TokenizerError(f"merge {rank} joins id {part}; the ids are 0 to {len(tokens) - 1}")
        return cls(vocab, [(tokens[a], tokens[b]) for a, b in merges], **fields)

    @classmethod
    def from_ranks(cls, ranks: Mapping[bytes, int], **fields: Any) -> BPE:
        """Byte-level, of tiktoken's mergeable ranks, which are the ids: neighbours whose joined bytes have the lowest
        rank are joined, and a piece that is a token is that token. All 256 bytes must have a rank.
        """
        missing = [byte for byte in range(256) if bytes([byte]) not in ranks]
        if missing:
            raise TokenizerError(f"byte 0x{missing[0]:02X} has no rank, nor have {len(missing) - 1} others; all must")
        compiled = choose(fields.get("engine")) == "c"
        merges = core("bpe").merges_of(ranks) if compiled else merges_of(ranks)
        return cls(ranks, merges, ignore_merges=True, **fields)

    @cached_property
    def tokens(self) -> list[bytes]:  # type: ignore[override]
        """tokens[i] is the spelling of id i, b"" where the ids have a gap."""
        tokens = [b""] * (max(self.vocab.values(), default=-1) + 1)
        for token, i in self.vocab.items():
            if tokens[i]:
                raise TokenizerError(f"tokens {tokens[i]!r} and {token!r} both have id {i}")
            tokens[i] = token.encode("utf-8") if isinstance(token, str) else token
        return tokens

    @property
    def characters(self) -> bool:
        """Whether symbols are characters, not bytes."""
        return isinstance(next(iter(self.vocab), b""), str)

    @cached_property
    def rules(self) -> Rules:
        kind = str if self.characters else bytes
        for token, i in self.vocab.items():
            if type(token) is not kind:
                raise TokenizerError(f"token {token!r} is no {kind.__name__} as the first one; all must be alike")
            if type(i) is not int or not 0 <= i < MAX_ID:
                raise TokenizerError(f"token {token!r} has id {i!r}; ids are integers from 0 to {MAX_ID - 1}")
            if not token or (kind is str and not is_utf8(token.encode("utf-8", "surrogatepass"))):  # type: ignore
                raise TokenizerError(f"token {token!r} of id {i} is not text, or empty")
        if self.byte_fallback and kind is bytes:
            raise TokenizerError("byte_fallback is for vocabularies of characters; here every byte can be a token")
        byte_ids = [self.vocab.get(f"<0x{byte:02X}>", -1) for byte in range(256)] if self.byte_fallback else []  # type: ignore
        return Rules(
            tokens=self._spellings(),
            n_ids=len(self.tokens),
            merges=self._merges(),
            characters=self.characters,
            unk=self._unk(),
            fuse_unk=self.fuse_unk,
            byte_ids=byte_ids if max(byte_ids, default=-1) >= 0 else (),
            prefix=(self.continuing_subword_prefix or "").encode(),
            suffix=(self.end_of_word_suffix or "").encode(),
            ignore_merges=self.ignore_merges,
        )

    def _unk(self) -> int:
        if self.unk_token is None:
            return -1
        found = self.vocab.get(self.unk_token if self.characters else self.unk_token.encode())  # type: ignore
        if found is None:
            raise TokenizerError(f"unk_token is {self.unk_token!r}, which is not in the vocabulary")
        return found

    def _merges(self) -> list[tuple[int, int, int, int]]:
        """(left id, right id, rank, merged id); of two merges of the same pair the later one counts, as in HF."""
        ids: Any = self.vocab
        prefix: Any = self.continuing_subword_prefix or ""
        skipped = len(prefix if self.characters else prefix.encode())
        merges: dict[tuple[int, int], tuple[int, int, int, int]] = {}
        pairs: Sequence[tuple[Any, Any]] = self.merges
        for rank, (left, right) in enumerate(pairs):
            try:
                merged = ids[left + right[skipped:]]
                a, b = ids[left], ids[right]
            except (KeyError, TypeError):
                missing = next((one for one in (left, right) if one not in ids), None) or left + right[skipped:]
                raise TokenizerError(
                    f"merge {rank}, of {left!r} and {right!r}, needs {missing!r}, which is no token"
                ) from None
            merges[a, b] = (a, b, rank, merged)
        return list(merges.values())
