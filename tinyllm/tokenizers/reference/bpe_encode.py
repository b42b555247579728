"""Encoding by byte-pair encoding in plain Python, as _bpe.pyx does it, to be read and to be tested against.

A piece is spelled in symbols, its bytes or its characters. Then, again and again, of all neighbours that have a merge
the pair of the lowest rank is made one symbol, the leftmost if there are several. That isn't the longest match.

`Rules` is all that the ids of a piece depend on, for every kind of byte-pair encoding (models/bpe.py makes them):

- merges are pairs of symbols; a symbol is named by its id. SentencePiece joins any neighbours whose joined text is a
  piece, and some of its models merge characters that are no pieces themselves: those are symbols without an id
  ("hidden", numbered after the ids), which are unknown characters if they are left in the end.
- An unknown character is spelled in the tokens of its bytes (`byte_ids`, all of them or nothing), else is `unk`, or is
  left out where there is no `unk`. `fuse_unk` makes one token of unknown characters in a row.
- With dropout (Provilkov et al. 2020, arXiv:1910.13267, algorithm 1) each pair of neighbours is left out of each step
  with probability p, on its own; when all are left out, the piece is done. Two others do it differently:
  Hugging Face also draws for entries of its heap that are outdated, and whenever one is kept, takes up again what was
  left out; SentencePiece leaves a merge out for good when its turn comes.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from tinyllm.tokenizers.base import is_utf8

Pair = tuple[int, int]
Ranks = Mapping[Pair, tuple[int, int]]  # (left id, right id) -> (rank, id of the merged token)

UNKNOWN = -1  # the symbol of an unknown character until the end, in SentencePiece's order of things
REPLACEMENT = "\ufffd".encode()  # what a byte that is no UTF-8 counts as, where symbols are characters
MASK = (1 << 64) - 1
CACHED = 1 << 15  # short pieces


class Symbol(NamedTuple):
    """A token of a piece in the making, and how many bytes of the piece it covers."""

    id: int
    width: int
    frozen: bool = False  # takes part in no merge


@dataclass(frozen=True, eq=False)
class Rules:
    """tokens[i] is the spelling of symbol i, b"" if text never has it; the first n_ids of them are tokens."""

    tokens: Sequence[bytes]
    n_ids: int
    merges: Sequence[tuple[int, int, int, int]]  # (left, right, rank, merged)
    characters: bool = False  # the symbols are characters, not bytes
    unk: int = -1
    fuse_unk: bool = False
    byte_ids: Sequence[int] = ()  # of all 256 bytes, -1 for one that has none; empty: no fallback
    prefix: bytes = b""  # of the spelling of each symbol but the first
    suffix: bytes = b""  # of the spelling of the last symbol
    ignore_merges: bool = False  # a piece that is a token is that token, whatever merges would make of it
    late: bool = False  # unknown characters are resolved after the merges, and merge with nothing
    atomic: Mapping[bytes, int] = field(default_factory=dict)  # found first (the longest), and never merged
    unused: frozenset[int] = frozenset()  # taken apart again in the end

    @property
    def ids(self) -> dict[bytes, int]:
        """The symbol of each spelling."""
        return {token: i for i, token in enumerate(self.tokens) if token}


class Reference:
    """Encodes pieces by some Rules; the same interface as the compiled Encoder's."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self._ids = rules.ids
        self._ranks: Ranks = {(a, b): (rank, new) for a, b, rank, new in rules.merges}
        self._atomic = sorted(rules.atomic, key=len, reverse=True)
        self._state = 0
        self._cache: dict[bytes, list[int]] = {}

    def seed(self, seed: int) -> None:
        """Begin the random numbers of dropout anew."""
        self._state = seed & MASK

    def encode_piece(self, piece: bytes, p: float = 0.0) -> list[int]:
        if (known := self._cache.get(piece)) is not None and p == 0:
            return list(known)
        ids = [token for token, _ in self.tokenize(piece, p)]
        if len(self._cache) < CACHED and p == 0 and len(piece) <= 32:
            self._cache[piece] = ids
        return list(ids)

    def tokenize(self, piece: bytes, p: float = 0.0) -> list[tuple[int, int]]:
        """(id, width) of each token; `p` is the probability of dropout."""
        rules = self.rules
        if rules.ignore_merges and p == 0 and 0 <= (whole := self._ids.get(piece, -1)) < rules.n_ids:
            return [(whole, len(piece))]
        symbols = list(self.spelled(piece))
        seen: dict[int, Pair] = {}
        merged = merge(symbols, self._ranks, p, self._coin, seen)
        if rules.unused:
            merged = [part for symbol in merged for part in self._apart(symbol, seen)]
        return list(self._resolved(piece, merged))

    def _apart(self, symbol: Symbol, seen: Mapping[int, Pair]) -> Iterator[Symbol]:
        """An unused symbol as the two that it could last have been put together of, and so on."""
        if symbol.frozen or symbol.id not in self.rules.unused or symbol.id not in seen:
            yield symbol
        else:
            for part in seen[symbol.id]:
                yield from self._apart(Symbol(part, len(self.rules.tokens[part])), seen)

    def _coin(self) -> float:
        """A number from [0, 1): splitmix64 (Steele, Lea and Flood 2014)."""
        self._state = (self._state + 0x9E3779B97F4A7C15) & MASK
        z = self._state
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & MASK
        z = (z ^ z >> 27) * 0x94D049BB133111EB & MASK
        return ((z ^ z >> 31) >> 11) / (1 << 53)

    def spelled(self, piece: bytes) -> Iterator[Symbol]:
        """The symbols of a piece before any merge."""
        rules, ids = self.rules, self._ids
        held: Symbol | None = None  # an unk that may grow
        for start, end in self._units(piece):
            unit = piece[start:end]
            if unit in rules.atomic:
                yield Symbol(rules.atomic[unit], end - start, frozen=True)
                continue
            spelling = REPLACEMENT if rules.characters and not is_utf8(unit) else unit
            name = (rules.prefix if start else b"") + spelling + (rules.suffix if end == len(piece) else b"")
            if name in ids:
                if held:
                    yield held
                held = None
                yield Symbol(ids[name], end - start)
            elif rules.late:
                yield Symbol(UNKNOWN, end - start, frozen=True)
            elif fallback := self._fallback(rules.prefix * bool(start) + unit + rules.suffix * (end == len(piece))):
                yield from fallback  # as in Hugging Face, before an unk that is held
            elif rules.unk >= 0:
                if held and not rules.fuse_unk:
                    yield held
                held = Symbol(rules.unk, end - start + (held.width if held and rules.fuse_unk else 0))
        if held:
            yield held

    def _units(self, piece: bytes) -> Iterator[tuple[int, int]]:
        """Where the symbols are: bytes, or characters (a byte that is no UTF-8 is one), or atomic tokens."""
        start = 0
        while start < len(piece):
            found = next((token for token in self._atomic if piece.startswith(token, start)), b"")
            end = start + (len(found) or (character_size(piece, start) if self.rules.characters else 1))
            yield start, end
            start = end

    def _fallback(self, unit: bytes) -> list[Symbol]:
        """The tokens of the bytes of an unknown character, or nothing if one of them has none."""
        if not self.rules.byte_ids or any(self.rules.byte_ids[byte] < 0 for byte in unit):
            return []
        return [Symbol(self.rules.byte_ids[byte], 1) for byte in unit]

    def _resolved(self, piece: bytes, symbols: Iterable[Symbol]) -> Iterator[tuple[int, int]]:
        """Symbols without an id as unknown characters."""
        start = 0
        held = 0  # the width of an unk that may grow
        for symbol in symbols:
            end = start + symbol.width
            if 0 <= symbol.id < self.rules.n_ids:
                if held:
                    yield self.rules.unk, held
                held = 0
                yield symbol.id, symbol.width
            elif fallback := self._fallback(piece[start:end]):
                yield from ((byte.id, 1) for byte in fallback)
            elif self.rules.unk >= 0:
                if held and not self.rules.fuse_unk:
                    yield self.rules.unk, held
                    held = 0
                held += symbol.width
            start = end
        if held:
            yield self.rules.unk, held


def naive(symbols: Sequence[int], ranks: Ranks) -> list[int]:
    """The definition, step by step."""
    symbols = list(symbols)
    while True:
        found = [(*ranks[pair], i) for i, pair in enumerate(pairwise(symbols)) if pair in ranks]
        if not found:
            return symbols
        _, new, at = min(found, key=lambda one: (one[0], one[2]))
        symbols[at : at + 2] = [new]


class Chain:
    """Symbols linked to their neighbours, and a heap of (rank, position, merged id) of those that can merge."""

    def __init__(self, symbols: Sequence[Symbol], ranks: Ranks, seen: dict[int, Pair]) -> None:
        self.ids = [UNKNOWN if symbol.frozen else symbol.id for symbol in symbols]  # of the living; dead: UNKNOWN
        self.widths = [symbol.width for symbol in symbols]
        self.after = list(range(1, len(symbols) + 1))
        self.before = list(range(-1, len(symbols) - 1))
        self.ranks = ranks
        self.seen = seen
        self.heap: list[tuple[int, int, int]] = []
        for i in range(len(symbols) - 1):
            self.consider(i)

    def consider(self, i: int) -> None:
        """The pair that starts at position i into the heap, if it has a merge."""
        if i >= 0 and self.after[i] < len(self.ids):
            pair = self.ids[i], self.ids[self.after[i]]
            if found := self.ranks.get(pair):
                heapq.heappush(self.heap, (found[0], i, found[1]))
                self.seen[found[1]] = pair

    def pop(self) -> tuple[int, int, int] | None:
        """The first entry of the heap that still is as it was; the others are dropped."""
        while self.heap:
            rank, i, new = heapq.heappop(self.heap)
            j = self.after[i]
            if j < len(self.ids) and self.ranks.get((self.ids[i], self.ids[j])) == (rank, new):
                return rank, i, new
        return None

    def merge(self, i: int, new: int) -> None:
        """Make the pair that starts at position i the symbol `new`."""
        j = self.after[i]
        self.ids[i], self.ids[j] = new, UNKNOWN
        self.widths[i] += self.widths[j]
        self.widths[j] = 0
        self.after[i] = self.after[j]
        if self.after[i] < len(self.ids):
            self.before[self.after[i]] = i
        self.consider(self.before[i])
        self.consider(i)

    def symbols(self, original: Sequence[Symbol]) -> list[Symbol]:
        """What is there now."""
        alive = [i for i, width in enumerate(self.widths) if width]
        return [original[i] if original[i].frozen else Symbol(self.ids[i], self.widths[i]) for i in alive]


def merge(
    symbols: Sequence[Symbol],
    ranks: Ranks,
    p: float = 0.0,
    coin: Callable[[], float] = float,
    seen: dict[int, Pair] | None = None,
) -> list[Symbol]:
    """The same as `naive` in O(n log n), and with dropout: going through the pairs of a step in order, the first that
    is kept is the one to merge. `seen[merged]` becomes the pair that could last have been merged to it.
    """
    chain = Chain(symbols, ranks, {} if seen is None else seen)
    dropped: list[tuple[int, int, int]] = []
    while found := chain.pop():
        if p and coin() < p:
            dropped.append(found)
            continue
        while dropped:
            heapq.heappush(chain.heap, dropped.pop())
        _, i, new = found
        chain.merge(i, new)
    return chain.symbols(symbols)


def merges_of(ranks: Mapping[bytes, int]) -> list[tuple[bytes, bytes]]:
    """The merges that give the same ids as tiktoken's rule: join the neighbours whose joined bytes have the best rank.

    A token is only ever put together in one way, the last step of its own encoding; so it has one merge, or none if
    its bytes alone become other tokens.
    """
    merges = []
    for token in sorted((token for token in ranks if len(token) > 1), key=ranks.__getitem__):
        parts = [bytes([byte]) for byte in token]
        while len(parts) > 2:
            rank, at = min((ranks.get(a + b, 1 << 62), i) for i, (a, b) in enumerate(pairwise(parts)))
            if rank == 1 << 62:
                break
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
        if len(parts) == 2:
            merges.append((parts[0], parts[1]))
    return merges


def character_size(piece: bytes, start: int) -> int:
    """The size of the character at `start`; 1 for a byte that is no UTF-8."""
    for size in range(1, 5):
        if is_utf8(piece[start : start + size]):
            return size
    return 1
