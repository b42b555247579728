"""Byte-pair encoding of one piece: merges join neighbours, lowest rank first. The algorithm is reference/bpe.py in
plain Python and _bpe.pyx compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers.engine import choose, core
from tinyllm.tokenizers.reference import bpe as reference
from tinyllm.tokenizers.stage import Model, Normalizer, PreTokenizer


@dataclass(frozen=True, eq=False)
class BPE(Model):
    """`tokens[i]` is the bytes of id i, among them each single byte; `merges` are pairs of ids, lowest rank first.

    The joined bytes of a merge are a token too. Ids that no merge makes (special tokens) are never read out of text.
    """

    tokens: Sequence[bytes]
    merges: Sequence[tuple[int, int]] = ()
    engine: str | None = field(default=None, compare=False)
    _byte_ids: list[int] = field(init=False, repr=False)
    _ranks: dict[tuple[int, int], tuple[int, int]] = field(init=False, repr=False)
    _encoder: Any = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        ids: dict[bytes, int] = {}
        for i, token in enumerate(self.tokens):
            if ids.setdefault(token, i) != i:
                raise TokenizerError(f"tokens {ids[token]} and {i} are both {token!r}")
        missing = [byte for byte in range(256) if bytes([byte]) not in ids]
        if missing:
            raise TokenizerError(f"byte 0x{missing[0]:02X} is no token, nor are {len(missing) - 1} others; all must be")
        ranks: dict[tuple[int, int], tuple[int, int]] = {}
        for rank, (a, b) in enumerate(self.merges):
            for part in a, b:
                if not 0 <= part < len(self.tokens):
                    raise TokenizerError(f"merge {rank} joins id {part}; the ids are 0 to {len(self.tokens) - 1}")
            new = ids.get(self.tokens[a] + self.tokens[b])
            if new is None:
                raise TokenizerError(f"merge {rank} makes {self.tokens[a] + self.tokens[b]!r}, which is no token")
            if ranks.setdefault((a, b), (rank, new))[0] != rank:
                raise TokenizerError(f"merges {ranks[a, b][0]} and {rank} are the same")
        object.__setattr__(self, "engine", choose(self.engine))
        object.__setattr__(self, "_byte_ids", [ids[bytes([byte])] for byte in range(256)])
        object.__setattr__(self, "_ranks", ranks)
        if self.engine == "c":
            object.__setattr__(self, "_encoder", core("bpe").Encoder(self._byte_ids, ranks, len(self.tokens)))

    def tokenize(self, piece: bytes) -> list[tuple[int, int]]:
        return [(token, len(self.tokens[token])) for token in self.encode(piece)]

    def encode(self, piece: bytes) -> list[int]:
        if self._encoder is not None:
            return self._encoder.encode_piece(piece)
        return reference.encode_piece([self._byte_ids[byte] for byte in piece], self._ranks)

    def fused(
        self, normalizer: Normalizer | None, pre_tokenizer: PreTokenizer | None
    ) -> Callable[[bytes], list[int]] | None:
        if self._encoder is None or normalizer is not None:
            return None
        if pre_tokenizer is None:
            return self._encoder.encode_piece
        return self._encoder.encode if pre_tokenizer.scanner == "gpt2" else None

    def reserving(self, ids: frozenset[int]) -> BPE:
        for rank, new in self._ranks.values():
            if new in ids:
                raise TokenizerError(f"merge {rank} makes the special token {self.tokens[new]!r}; rename that")
        return self
