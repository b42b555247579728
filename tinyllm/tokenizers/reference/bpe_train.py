"""Training byte-pair encoding (Sennrich et al. 2016, arXiv:1508.07909) in plain Python, to be read and tested against.

Count the words; start from single symbols; again and again take the pair of neighbours that occurs most often and make
it one symbol. Only the words that have the pair are counted anew, and the next pair comes from a heap whose outdated
entries are noticed when they surface. _bpe_train.pyx is the same, compiled, and takes no longer for one long word than
for many short ones; here each merge goes over the whole of every word that it changes.

Equal counts need a rule, and the trainers that people compare with have different ones. "hf": the smaller pair of ids.
"spm" (SentencePiece): the pair whose joined text has fewer characters, then the one that is first byte by byte.
"minbpe": the pair that is found first in the words as they are now, in the order given.

Two different merges of symbols without prefix or suffix never give the same string: a stretch of text whose borders no
merge crossed was merged exactly as it would have been alone. Where spellings can collide (special tokens, prefixes), a
merge that would make what is there already is left out.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

Pair = tuple[int, int]
TIES = ("hf", "spm", "minbpe")


def train(
    words: Iterable[tuple[Sequence[int], int]],
    tokens: Sequence[bytes],
    n_merges: int,
    tie: str = "hf",
    min_frequency: int = 1,
    may_join: Callable[[bytes, int], bool] = lambda spelling, length: True,
    prefix: bytes = b"",
) -> Iterator[Pair]:
    """The merges in order; merge i makes token len(tokens) + i. Fewer where no pair is left that occurs min_frequency
    times.

    `words`: ids and how often they occur. `tokens`: the spelling of each id. What is merged must be allowed by
    may_join(spelling, symbols of the alphabet in it). The right one of a pair loses `prefix`.
    """
    text = [(list(symbols), n) for symbols, n in words]
    spelling, length = list(tokens), [1] * len(tokens)
    known = set(tokens)
    counts: Counter[Pair] = Counter()
    where: defaultdict[Pair, set[int]] = defaultdict(set)  # the words that have the pair

    def spelled(pair: Pair) -> bytes:
        return spelling[pair[0]] + spelling[pair[1]].removeprefix(prefix)

    def order(pair: Pair) -> Any:
        if tie == "hf":
            return pair
        if tie == "spm":
            return length[pair[0]] + length[pair[1]], spelled(pair)
        first = min(where[pair])
        return first, list(pairwise(text[first][0])).index(pair)

    def count(word: int, sign: int) -> set[Pair]:
        symbols, n = text[word]
        for pair in pairwise(symbols):
            counts[pair] += sign * n
            (where[pair].add if sign > 0 else where[pair].discard)(word)
        return set(pairwise(symbols))

    for word in range(len(text)):
        count(word, 1)
    heap = [(-n, order(pair), pair) for pair, n in counts.items()]
    heapq.heapify(heap)
    while heap and len(spelling) < len(tokens) + n_merges:
        n, _, pair = heapq.heappop(heap)
        a, b = pair
        if -n != counts[pair]:
            continue  # outdated: it was pushed again when its count changed
        if -n < max(min_frequency, 1):
            break
        if spelled(pair) in known or not may_join(spelled(pair), length[a] + length[b]):
            continue
        new = len(spelling)
        spelling.append(spelled(pair))
        length.append(length[a] + length[b])
        known.add(spelling[new])
        changed: set[Pair] = set()
        for word in sorted(where[pair]):
            changed |= count(word, -1)
            text[word][0][:] = merged(text[word][0], pair, new)
            changed |= count(word, 1)
        for other in changed:
            if counts[other] > 0:
                heapq.heappush(heap, (-counts[other], order(other), other))
        yield pair


def merged(symbols: Sequence[int], pair: Pair, new: int) -> Iterator[int]:
    """The symbols with each `pair` replaced, from the left: of "aaa" the first two are (a, a)."""
    i = 0
    while i < len(symbols):
        both = tuple(symbols[i : i + 2]) == pair
        yield new if both else symbols[i]
        i += 1 + both
