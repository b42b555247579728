"""Byte-pair encoding of one piece in plain Python, for pieces whose bytes are all tokens.

Encoding replays the merges: always the lowest rank present, at its leftmost place. That isn't the longest match. A word
of the training text gets the symbols that training left it with (a test checks this).
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from itertools import pairwise

Pair = tuple[int, int]
Ranks = Mapping[Pair, tuple[int, int]]  # (left id, right id) -> (rank, id of the merged token)

SHORT = 32  # symbols; the simple loop takes time with the square of the length, so longer pieces use a heap


def encode_piece(symbols: list[int], ranks: Ranks) -> list[int]:
    """The tokens of one piece, given as the ids of its bytes."""
    if len(symbols) > SHORT:
        return encode_long_piece(symbols, ranks)
    nothing = (len(ranks), -1)
    while len(symbols) > 1:
        (rank, new), at = min((ranks.get(pair, nothing), i) for i, pair in enumerate(pairwise(symbols)))
        if rank == len(ranks):
            break
        symbols = [*symbols[:at], new, *symbols[at + 2 :]]
    return symbols


def encode_long_piece(symbols: list[int], ranks: Ranks) -> list[int]:
    """The same in O(n log n): a heap of (rank, position, merged id) over a linked list of symbols."""
    symbols = list(symbols)
    end = len(symbols)
    after = list(range(1, end + 1))
    before = list(range(-1, end))
    heap = []
    for i, pair in enumerate(pairwise(symbols)):
        if pair in ranks:
            rank, new = ranks[pair]
            heap.append((rank, i, new))
    heapq.heapify(heap)
    while heap:
        rank, i, new = heapq.heappop(heap)
        j = after[i]
        if j == end or ranks.get((symbols[i], symbols[j])) != (rank, new):
            continue  # one of the two has been merged into something else; a dead symbol is -1
        symbols[i], symbols[j] = new, -1
        after[i] = after[j]
        before[after[j]] = i
        for left in before[i], i:
            if left >= 0 and after[left] < end:
                found = ranks.get((symbols[left], symbols[after[left]]))
                if found:
                    heapq.heappush(heap, (found[0], left, found[1]))
    return [symbol for symbol in symbols if symbol >= 0]
