"""The Unigram language model (Kudo 2018, arXiv:1804.10959) in plain Python, to be read and to be tested against.

A text is a row of characters; a lattice has an arc for each piece of the vocabulary that the text has at some place:

    lattice[start] = [Arc(start, end, id, score), ...]        score: the log of the piece's probability

A segmentation is a path of arcs from the first character to the end, its score the sum of its arcs'. Every question
that is asked here (the best path, the n best, a random one, how often a piece is expected) goes over each arc once or
twice, although there are exponentially many paths.

Training starts from far too many pieces, and alternates: expect how often each is used under the present
probabilities, set the probabilities by that (EM), and drop those that the corpus' probability suffers from least.

What this isn't: normalization, the cutting at spaces, the ids of unknown characters (models/unigram.py), where the
first pieces come from (substrings.py, trainers/unigram.py).
"""

from __future__ import annotations

import heapq
import itertools
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import Any, NamedTuple

UNKNOWN_PENALTY = 10.0  # an unknown character scores this much less than the worst piece
RESET = 100_000.0  # a float32 sum beyond it starts again from 0, as SentencePiece's does


class Arc(NamedTuple):
    start: int
    end: int
    id: int
    score: float


Lattice = list[list[Arc]]
Piece = tuple[str, float]  # spelling, score


def trie(pieces: Mapping[str, int]) -> dict:
    """Nested dicts by character; the id of the piece that ends in a dict is at the key ""."""
    root: dict = {}
    for spelling, token in pieces.items():
        node: Any = root
        for character in spelling:
            node = node.setdefault(character, {})
        node[""] = token
    return root


def lattice(text: str, root: dict, scores: Sequence[float], unknown: tuple[int, float]) -> Lattice:
    """The arcs by the character that they start at, short ones first. Where no piece is the single character there,
    it gets an arc with the id and score of `unknown`.
    """
    arcs: Lattice = []
    for start in range(len(text)):
        here = []
        node: Any = root
        for end in range(start, len(text)):
            node = node.get(text[end])
            if node is None:
                break
            if "" in node:
                here.append(Arc(start, end + 1, node[""], scores[node[""]]))
        if not here or here[0].end > start + 1:
            here.insert(0, Arc(start, start + 1, *unknown))
        arcs.append(here)
    return arcs


def ending(arcs: Lattice) -> Lattice:
    """The same arcs by the character that they end before."""
    ends: Lattice = [[] for _ in range(len(arcs) + 1)]
    for arc in itertools.chain.from_iterable(arcs):
        ends[arc.end].append(arc)
    return ends


def single(x: float) -> float:
    """The float32 nearest to x."""
    return struct.unpack("f", struct.pack("f", x))[0]


def viterbi(arcs: Lattice, float32: bool = False) -> list[Arc]:
    """The best path. Where two are equal: the one whose last arc is longer. `float32`: each sum is rounded."""
    n = len(arcs)
    best = [0.0] + [-math.inf] * n
    last: list[Arc | None] = [None] * (n + 1)
    reached = 0
    for at, here in enumerate(arcs):
        if float32 and abs(best[at]) > RESET:
            best[at : reached + 1] = [single(score - best[at]) for score in best[at : reached + 1]]
        reached = max(reached, here[-1].end)
        for arc in here:
            score = best[at] + arc.score
            if float32:
                score = single(score)
            if last[arc.end] is None or score > best[arc.end]:
                best[arc.end], last[arc.end] = score, arc
    path: list[Arc] = []
    arc_before = last[n] if n else None
    while arc_before:
        path.append(arc_before)
        arc_before = last[arc_before.start]
    return path[::-1]


def nbest(arcs: Lattice, n: int) -> list[tuple[list[Arc], float]]:
    """The n best paths (fewer if there are no more) and their scores, best first, exactly.

    A* from the end: the score of the best way from the beginning to a character is known, so what is taken from the
    heap next is always the beginning of the next best path.
    """
    best = [0.0]
    ends = ending(arcs)
    for here in ends[1:]:
        best.append(max(best[arc.start] + arc.score for arc in here))
    order = itertools.count()
    heap: list = [(-best[-1], next(order), len(arcs), 0.0, None)]
    found: list[tuple[list[Arc], float]] = []
    while heap and len(found) < n:
        cost, _, at, score, path = heapq.heappop(heap)
        if at == 0:
            found.append((linked(path), -cost))
            continue
        for arc in ends[at]:
            tail = arc.score + score
            heapq.heappush(heap, (-(best[arc.start] + tail), next(order), arc.start, tail, (arc, path)))
    return found


def linked(path: Any) -> list[Arc]:
    """The arcs of a path as `nbest` keeps it: the first arc, and the rest of the path."""
    steps = []
    while path:
        arc, path = path
        steps.append(arc)
    return steps


def log_sum(logs: Sequence[float]) -> float:
    top = max(logs)
    return top + math.log(sum(math.exp(x - top) for x in logs))


def forward(arcs: Lattice, power: float = 1.0) -> list[float]:
    """For each character, the log of the sum of probability ** power over all ways to get there from the beginning;
    the last is that of the whole text.
    """
    alpha = [0.0]
    for here in ending(arcs)[1:]:
        alpha.append(log_sum([alpha[arc.start] + power * arc.score for arc in here]))
    return alpha


def sample(arcs: Lattice, power: float, rng: Random) -> list[Arc]:
    """A path drawn with probability proportional to its own ** power: forward filtering, backward sampling."""
    alpha, ends = forward(arcs, power), ending(arcs)
    path: list[Arc] = []
    at = len(arcs)
    while at:
        shares = [math.exp(alpha[arc.start] + power * arc.score - alpha[at]) for arc in ends[at]]
        [arc] = rng.choices(ends[at], shares)
        path.append(arc)
        at = arc.start
    return path[::-1]


def distinct(arcs: Lattice, n: int, power: float, rng: Random) -> list[tuple[list[Arc], float]]:
    """n different paths (fewer if there are no more) and the logs of their probabilities, drawn as by `sample`, one
    after another, each from the paths that are left.

    These are the n of the largest log probability plus a random number of Gumbel's distribution (Gumbel-top-k, Kool et
    al. 2019, arXiv:1903.06059). Among all paths with the same end the largest is distributed as for a single path with
    their joint probability: so ends are drawn, and split into longer ones of which the largest must be as drawn.
    """
    alpha, ends = forward(arcs, power), ending(arcs)
    order = itertools.count()
    heap: list = [(-gumbel(rng), next(order), len(arcs), 0.0, None)]
    found: list[tuple[list[Arc], float]] = []
    while heap and len(found) < n:
        cost, _, at, score, path = heapq.heappop(heap)
        if at == 0:
            found.append((linked(path), score - alpha[-1]))
            continue
        drawn = [alpha[arc.start] + power * arc.score + score - alpha[-1] + gumbel(rng) for arc in ends[at]]
        top = max(drawn)
        for arc, value in zip(ends[at], drawn, strict=True):
            largest = conditional(value, top, -cost)
            heapq.heappush(heap, (-largest, next(order), arc.start, score + power * arc.score, (arc, path)))
    return found


def gumbel(rng: Random) -> float:
    """A random number of Gumbel's distribution."""
    return -math.log(-math.log((rng.getrandbits(52) + 0.5) / (1 << 52)))


def conditional(value: float, top: float, wanted: float) -> float:
    """`value`, one of several numbers of Gumbel's distributions the largest of which is `top`, as it is distributed
    where the largest is `wanted`: -log(exp(-wanted) - exp(-top) + exp(-value)), without loss of precision.
    """
    if value == top:
        return wanted
    v = wanted - value + math.log(-math.expm1(value - top))
    return wanted - max(0.0, v) - math.log1p(math.exp(-abs(v)))


def posteriors(arcs: Lattice, power: float = 1.0) -> Iterator[tuple[Arc, float]]:
    """Each arc, and how probable it is that a path drawn as `sample` does goes over it.

    Backward over the forward sums: a path that comes by a character got there over one of the arcs that end there,
    each with its share of the sum.
    """
    alpha = forward(arcs, power)
    through = [0.0] * len(arcs) + [1.0]  # how probable it is that a path has a border before this character
    for at in reversed(range(len(arcs))):
        for arc in arcs[at]:
            share = through[arc.end] * math.exp(alpha[at] + power * arc.score - alpha[arc.end])
            through[at] += share
            yield arc, share


def entropy(arcs: Lattice, power: float = 1.0) -> float:
    """Of the distribution over paths that `sample` draws from, in nats."""
    return forward(arcs, power)[-1] - sum(share * power * arc.score for arc, share in posteriors(arcs, power))


def digamma(x: float) -> float:
    """The derivative of log(gamma(x)), x > 0: the recurrence up to 7, then the asymptotic series."""
    below = 0.0
    while x < 7:
        below += 1 / x
        x += 1
    x -= 0.5
    return (
        math.log(x) - below + (1 / 24) / x**2 - (7 / 960) / x**4 + (31 / 8064) / x**6 - (127 / 30720) / x**8
    )  # fmt: skip


class Training:
    """Words (with their counts), and the pieces that are still there, each with its score.

    As SentencePiece has it, an unknown character counts for piece 0: the most frequent one at first.
    """

    def __init__(self, words: Sequence[tuple[str, int]], pieces: Sequence[Piece]) -> None:
        self.words = words
        self.set_pieces(pieces)

    def set_pieces(self, pieces: Sequence[Piece]) -> None:
        self.pieces = list(pieces)
        self.scores = [score for _, score in self.pieces]
        self.unknown = (0, min(self.scores) - UNKNOWN_PENALTY)
        self.trie = trie({spelling: i for i, (spelling, _) in enumerate(self.pieces)})

    def __len__(self) -> int:
        return len(self.pieces)

    def spellings(self) -> list[tuple[bytes, float]]:
        """(spelling, score) of each piece that is left, in order."""
        return [(spelling.encode(), score) for spelling, score in self.pieces]

    def lattice(self, text: str) -> Lattice:
        return lattice(text, self.trie, self.scores, self.unknown)

    def step(self, sparse: bool = True) -> float:
        """One step of EM: expected counts, then new scores, without the pieces that are expected less than half a
        time. Returns the log of the words' probability under the scores before, divided by the number of words.

        `sparse`: exp(digamma(count)) takes the place of the count, which is less by about 1/2: a prior for few pieces
        (Liang and Klein 2007). Without it, if nothing is dropped or unknown, that probability never falls.
        """
        expected = [0.0] * len(self.pieces)
        objective = 0.0
        for word, n in self.words:
            arcs = self.lattice(word)
            objective += n * forward(arcs)[-1]
            for arc, share in posteriors(arcs):
                expected[arc.id] += n * share
        least = min(0.5, max(expected))  # something is left, however short the text
        kept = [(piece, n) for (piece, _), n in zip(self.pieces, expected, strict=True) if n >= least]
        log = digamma if sparse else math.log
        total = log(sum(n for _, n in kept))
        self.set_pieces([(piece, log(n) - total) for piece, n in kept])
        return objective / sum(n for _, n in self.words)

    def without(self, piece: int) -> list[Arc]:
        """The best path through a piece's own text that isn't the piece."""
        spelling = self.pieces[piece][0]
        arcs = self.lattice(spelling)
        arcs[0] = [arc for arc in arcs[0] if arc.end < len(spelling)]
        return viterbi(arcs)

    def prune(self, size: int) -> None:
        """Drop the pieces that no best path uses, and of the others those that cost least, down to `size` pieces.

        The cost of dropping a piece, as if each of its uses became the best path without it: the loss of log
        probability for each token of the text. A single character has no such path, and stays.
        """
        used = [0.0] * len(self.pieces)
        for word, n in self.words:
            for arc in viterbi(self.lattice(word)):
                used[arc.id] += n
        total = sum(used)
        kept, costs = [], []
        for i, (spelling, score) in enumerate(self.pieces):
            if not used[i]:
                continue
            if len(spelling) == 1:
                kept.append(i)
                continue
            path = self.without(i)
            if sum(arc.score for arc in path) > score:
                continue  # the piece itself is never on a best path
            log_total = math.log(total + used[i] * (len(path) - 1))
            instead = sum(math.log(used[arc.id] + used[i]) - log_total for arc in path)
            costs.append((-used[i] / total * (math.log(used[i]) - math.log(total) - instead), i))
        kept += [i for _, i in sorted(costs)[: max(size - len(kept), 0)]]
        self.set_pieces([self.pieces[i] for i in kept])

    def drop_unreachable(self) -> None:
        """Drop each piece whose text has a better path."""
        others = [self.without(i) if len(spelling) > 1 else [] for i, (spelling, _) in enumerate(self.pieces)]
        pairs = zip(self.pieces, others, strict=True)
        self.set_pieces([piece for piece, path in pairs if not path or sum(arc.score for arc in path) <= piece[1]])
