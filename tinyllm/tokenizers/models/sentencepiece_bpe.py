"""Byte-pair encoding as in SentencePiece: neighbours whose joined text is a piece are joined, best score first.

There are no merges in its files, only pieces with scores; and no pre-tokenizer, the piece to encode is a whole text.
Source: google/sentencepiece 0.2.3, src/bpe_model.cc and PopulateSentencePieceText of sentencepiece_processor.cc.

Of equal scores the leftmost pair goes first. A user-defined piece is found before anything else (the longest one), and
never merged. A piece that is UNUSED is merged, and in the end taken apart again, into the two it was last seen to come
from. Characters may be merged that are no pieces themselves. Unknown characters fall back to their bytes, or else are
one unknown piece for all that stand in a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers.engine import choose
from tinyllm.tokenizers.models.bpe import BPE, Merging
from tinyllm.tokenizers.reference.bpe_encode import Rules

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6  # SentencePiece's types of pieces


@dataclass(frozen=True)
class SentencePieceBPE(Merging):
    """`vocab`: (piece, score) of each id; `kinds`: SentencePiece's type of each, where not all are NORMAL but unk_id.

    byte_fallback: unknown characters become the BYTE pieces <0x00> to <0xFF> of their bytes. dropout as in BPE.
    """

    vocab: Sequence[tuple[str, float]]
    unk_id: int | None = None
    byte_fallback: bool = False
    kinds: Sequence[int] | None = None
    dropout: float | None = None
    engine: str | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if self.kinds is not None and len(self.kinds) != len(self.vocab):
            raise TokenizerError(f"kinds has {len(self.kinds)} entries, vocab {len(self.vocab)}; each piece has one")
        if self.unk_id is not None and not 0 <= self.unk_id < len(self.vocab):
            raise TokenizerError(f"unk_id is {self.unk_id}; the ids are 0 to {len(self.vocab) - 1}")
        if self.dropout is not None and not 0 <= self.dropout <= 1:
            raise TokenizerError(f"dropout is {self.dropout}; it is a probability, from 0 to 1")
        choose(self.engine)
        self.rules  # noqa: B018  (bad input is an error now)

    @cached_property
    def tokens(self) -> list[bytes]:  # type: ignore[override]
        """tokens[i] is piece i in UTF-8."""
        return [piece.encode("utf-8", "surrogatepass") for piece, _ in self.vocab]

    def _kind(self, i: int) -> int:
        if self.kinds is not None:
            return self.kinds[i]
        return UNKNOWN if i == self.unk_id else NORMAL

    @cached_property
    def rules(self) -> Rules:
        kinds = [self._kind(i) for i in range(len(self.vocab))]
        ids: dict[str, int] = {}
        for i, (piece, score) in enumerate(self.vocab):
            if score != score:
                raise TokenizerError(f"piece {i}, {piece!r}, has the score {score}; it must be a number")
            if kinds[i] in (NORMAL, USER_DEFINED, UNUSED) and (not piece or ids.setdefault(piece, i) != i):
                raise TokenizerError(
                    f"piece {i} is {piece!r}, as piece {ids[piece]}" if piece else f"piece {i} is empty"
                )
        spellings = [
            token if kinds[i] in (NORMAL, USER_DEFINED, UNUSED) else b"" for i, token in enumerate(self.tokens)
        ]
        for i in self._reserved:
            spellings[i] = b""
        byte_ids = self._byte_ids(kinds) if self.byte_fallback else []
        symbols = dict(ids)
        for piece in ids:  # characters that are no pieces, but are merged
            for character in piece:
                symbols.setdefault(character, len(self.vocab) + len(symbols) - len(ids))
        hidden = list(symbols)[len(ids) :]
        return Rules(
            tokens=[*spellings, *(character.encode("utf-8", "surrogatepass") for character in hidden)],
            n_ids=len(self.vocab),
            merges=self._merges(ids, symbols),
            characters=True,
            unk=-1 if self.unk_id is None else self.unk_id,
            fuse_unk=True,
            byte_ids=byte_ids,
            late=True,
            atomic={self.tokens[i]: i for i in ids.values() if kinds[i] == USER_DEFINED and i not in self._reserved},
            unused=frozenset(i for i in ids.values() if kinds[i] == UNUSED),
        )

    def _byte_ids(self, kinds: Sequence[int]) -> list[int]:
        names = {piece: i for i, (piece, _) in enumerate(self.vocab) if kinds[i] == BYTE}
        missing = [name for name in map("<0x{:02X}>".format, range(256)) if name not in names]
        if missing:
            raise TokenizerError(
                f"byte_fallback needs the piece {missing[0]} of type BYTE, and {len(missing) - 1} others"
            )
        return [names[f"<0x{byte:02X}>"] for byte in range(256)]

    def _merges(self, ids: dict[str, int], symbols: dict[str, int]) -> list[tuple[int, int, int, int]]:
        """Every way to put a piece together of two symbols; equal scores have equal ranks."""
        scores = sorted({self.vocab[i][1] for i in ids.values()}, reverse=True)
        rank_of = {score: rank for rank, score in enumerate(scores)}
        merges = []
        for piece, i in ids.items():
            rank = rank_of[self.vocab[i][1]]
            for cut in range(1, len(piece)):
                left, right = symbols.get(piece[:cut]), symbols.get(piece[cut:])
                if left is not None and right is not None:
                    merges.append((left, right, rank, i))
        return merges

    def plain(self) -> BPE:
        """The same model as a BPE, which tokenizer.json can hold; TokenizerError if there is none with these ids."""
        rules = self.rules
        ranks = sorted((merge[2], merge[3]) for merge in rules.merges)
        reason = (
            "it has user-defined pieces"
            if rules.atomic
            else "it has unused pieces"
            if rules.unused
            else "it merges characters that are no pieces"
            if len(rules.tokens) > rules.n_ids
            else "two of its pieces have the same score"
            if any(a[0] == b[0] and a[1] != b[1] for a, b in pairwise(ranks))
            else ""
        )
        if reason:
            raise TokenizerError(f"this model can't be a BPE of merges: {reason}")
        text = [piece for piece, _ in self.vocab]
        merges = [(text[a], text[b]) for a, b, _, _ in sorted(rules.merges, key=lambda merge: merge[2])]
        vocab = {piece: i for i, piece in enumerate(text)}
        unk = None if self.unk_id is None else text[self.unk_id]
        return BPE(vocab, merges, unk_token=unk, fuse_unk=True, byte_fallback=self.byte_fallback, dropout=self.dropout)
