"""Byte-pair encoding in plain Python: training and encoding, as the compiled cores do them, to be read and to be
tested against.

Training (Sennrich et al. 2016, arXiv:1508.07909): count the words; start from single symbols; again and again
take the pair of neighbours that occurs most often and make it one symbol. Counts are corrected where a merge
changed something, never counted anew, and the next pair comes from a heap whose outdated entries are noticed
when they surface.

Encoding replays the merges on one piece: always the lowest rank present, at its leftmost place. That isn't
the longest match.

Two different merges never give the same string: a stretch of text whose borders no merge crossed was merged
exactly as it would have been alone, so equal strings were always put together in the same way. Hence encoding
a training word gives the symbols that training left it with (a test checks this).
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise

from tinyllm.tokenizers.pretokenizers.patterns import split

Pair = tuple[int, int]
Ranks = Mapping[Pair, tuple[int, int]]  # (left id, right id) -> (rank, id of the merged token)
Progress = Callable[[int, int], object]

SHORT = 32  # symbols; the simple loop takes time with the square of the length, so longer pieces use a heap


def count_words(texts: Iterable[bytes], pattern: str = "gpt2") -> Counter[bytes]:
    words: Counter[bytes] = Counter()
    for text in texts:
        words.update(split(text, pattern, engine="python"))
    return words


def train(
    words: Mapping[bytes, int],
    byte_ids: list[int],
    first_id: int,
    n_merges: int,
    min_frequency: int = 1,
    progress: Progress | None = None,
) -> list[Pair]:
    """The merges in order; merge i makes token first_id + i.

    Higher count first, then the smaller (left id, right id). Fewer than n_merges come back
    when no pair is left that occurs min_frequency times.
    """
    symbols: list[int] = []  # of all words, one after another; -1 once merged into the symbol to the left
    before: list[int] = []  # the position of the neighbour inside the word, or -1
    after: list[int] = []
    weight: list[int] = []  # how often the word occurs that the position belongs to
    counts: Counter[Pair] = Counter()
    places: defaultdict[Pair, list[int]] = defaultdict(list)  # where the pair starts, or once started, ascending
    for word, n in words.items():
        start, end = len(symbols), len(symbols) + len(word)
        symbols += [byte_ids[byte] for byte in word]
        before += [-1, *range(start, end - 1)][: len(word)]
        after += [*range(start + 1, end), -1][: len(word)]
        weight += [n] * len(word)
        for i in range(start, end - 1):
            counts[symbols[i], symbols[i + 1]] += n
            places[symbols[i], symbols[i + 1]].append(i)

    heap = [(-n, pair) for pair, n in counts.items()]
    heapq.heapify(heap)
    merges: list[Pair] = []
    while heap and len(merges) < n_merges:
        n, pair = heapq.heappop(heap)
        if -n != counts[pair]:  # other merges have taken some of its occurrences since it was pushed
            heapq.heappush(heap, (-counts[pair], pair))
            continue
        if counts[pair] < max(min_frequency, 1):
            break
        a, b = pair
        new = first_id + len(merges)
        merges.append(pair)
        made: set[Pair] = set()
        for i in places.pop(pair):
            j = after[i]
            if symbols[i] != a or j < 0 or symbols[j] != b:
                continue  # gone by now; in "aaa" the second (a, a) goes with the first
            left, right, n = before[i], after[j], weight[i]
            symbols[i], symbols[j] = new, -1
            after[i] = right
            if left >= 0:
                counts[symbols[left], a] -= n
                counts[symbols[left], new] += n
                places[symbols[left], new].append(left)
                made.add((symbols[left], new))
            if right >= 0:
                before[right] = i
                counts[b, symbols[right]] -= n
                counts[new, symbols[right]] += n
                places[new, symbols[right]].append(i)
                made.add((new, symbols[right]))
        counts[pair] = 0
        for neighbours in made:
            heapq.heappush(heap, (-counts[neighbours], neighbours))
        if progress:
            progress(len(merges), n_merges)
    return merges


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
