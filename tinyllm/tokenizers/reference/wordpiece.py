"""WordPiece in plain Python, to be read: both encoders, and a trainer that counts everything again for each merge.

A word is spelled by tokens: one that begins it, then continuations, which carry a prefix in the vocabulary: "##" in
BERT. Here words and tokens are str. _wordpiece.pyx does the same in C, and is tested against this file.

- `longest_match` is the definition: the longest token at each position, quadratic in the length of the word.
- `LinMaxMatch` gives the same in linear time: Song, Salcianu, Song, Dopson, Zhou, "Fast WordPiece Tokenization",
  EMNLP 2021 (2012.15524), algorithms 1 and 2.
- `train` chooses merges by the likelihood of the corpus (Schuster and Nakajima 2012, Wu et al. 2016, 1609.08144;
  Google's own trainer was never published) or by the score of Hugging Face's course, chapter 6/6.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

# Encoding


def longest_match(word: str, vocab: Mapping[str, int], prefix: str = "##") -> list[int] | None:
    """The ids of the longest token at each position; None if no token fits at one of them."""
    ids: list[int] = []
    start = 0
    while start < len(word):
        lead = prefix if start else ""
        for end in range(len(word), start, -1):
            if (found := vocab.get(lead + word[start:end])) is not None:
                break
        else:
            return None
        ids.append(found)
        start = end
    return ids


@dataclass
class Node:
    """What has been read since the last token that is certain: a path from one of the two roots."""

    children: dict[str, Node] = field(default_factory=dict)
    token: int | None = None  # the token spelled by the path from the root, if there is one
    fail: Node | None = None  # where to go on if no child fits, having found ...
    pops: list[int] = field(default_factory=list)  # ... these tokens


class LinMaxMatch:
    """`longest_match` that reads each character once.

    The paper has one trie, in which the continuations hang below the node "##"; a word that itself begins with "##"
    then needs a rule of its own. Here the tokens that may begin a word and the continuations (without their prefix)
    have a trie each, and there is no such case.
    """

    def __init__(self, vocab: Mapping[str, int], prefix: str = "##") -> None:
        self.start, self.middle = Node(), Node()
        for token, number in vocab.items():
            add(self.start, token, number)
            if token.startswith(prefix) and token != prefix:
                add(self.middle, token.removeprefix(prefix), number)
        self._link()

    def _link(self) -> None:
        """Failure links and pops, from the roots outwards, so that those of shorter paths are there already."""
        queue = deque([self.start, self.middle])
        while queue:
            node = queue.popleft()
            for c, child in node.children.items():
                queue.append(child)
                if child.token is not None:
                    child.fail, child.pops = self.middle, [child.token]
                    continue
                at, pops = node.fail, list(node.pops)
                while at is not None and c not in at.children:
                    pops += at.pops
                    at = at.fail
                if at is not None:
                    child.fail, child.pops = at.children[c], pops

    def __call__(self, word: str) -> list[int] | None:
        """The ids of a word; None if no token fits at some position."""
        ids: list[int] = []
        at = self.start
        for c in word:
            while c not in at.children:
                if at.fail is None:
                    return None
                ids += at.pops
                at = at.fail
            at = at.children[c]
        while at is not self.middle and word:
            if at.fail is None:
                return None
            ids += at.pops
            at = at.fail
        return ids


def add(root: Node, path: str, token: int) -> None:
    """Write one token into a trie. The empty path spells nothing, so it is no token."""
    for c in path:
        root = root.children.setdefault(c, Node())
    if path:
        root.token = token


# Training

LN2 = 0.6931471805599453
ODD = [1 / (2 * k + 1) for k in range(12)]


def ln(x: float) -> float:
    """The natural logarithm of x > 0 from operations that IEEE 754 rounds correctly, so the same on any machine."""
    m, e = math.frexp(x)  # x = m * 2**e
    if m < 0.7071067811865476:
        m, e = 2 * m, e - 1
    s = (m - 1) / (m + 1)  # ln m = 2 artanh s = 2 (s + s**3 / 3 + s**5 / 5 + ...), |s| < 0.172
    z = s * s
    total = 0.0
    for term in reversed(ODD):
        total = total * z + term
    return e * LN2 + 2 * s * total


def c_log_c(c: int) -> float:
    """c log c, in nats; nothing for a count of 0."""
    return c * ln(c) if c > 1 else 0.0


def gain(c_a: int, c_b: int | None, n: int) -> float:
    """By how much merging a and b n times raises the sum of c log c over the tokens; c_b is None where a is b.

    The merged token did not occur before: no two pairs ever make the same (_wordpiece_train.pyx says why).
    """
    if c_b is None:
        return (c_log_c(c_a - 2 * n) - c_log_c(c_a)) + c_log_c(n)
    return ((c_log_c(c_a - n) - c_log_c(c_a)) + (c_log_c(c_b - n) - c_log_c(c_b))) + c_log_c(n)


def log_likelihood(counts: Iterable[int]) -> float:
    """sum of c log(c / N): the log-likelihood of a corpus under its own token frequencies, in nats."""
    counts = list(counts)
    return sum(map(c_log_c, counts)) - c_log_c(sum(counts))


def train(
    words: Mapping[str, int],
    tokens: Sequence[str],
    vocab_size: int,
    score: str = "loglik",
    min_frequency: int = 1,
    prefix: str = "##",
) -> list[tuple[str, str]]:
    """The merges that fill the vocabulary, in order.

    `tokens`: what it begins with, among them every character of `words`, as beginning and as continuation. The merge
    chosen is the one with the greatest score ("loglik": the change of `log_likelihood`, which has to be above 0;
    "pmi": n / (c_a c_b)); of equal ones that of the greater n, and then of the smaller ids. What the rounding of the
    last sum makes equal, `gain` itself decides. A merge that would spell one of `tokens` (a special one) is left out.
    """
    tokens = list(tokens)
    ids = {token: i for i, token in enumerate(tokens)}
    spelled = {word: [ids[word[0]], *(ids[prefix + c] for c in word[1:])] for word in words}
    merges: list[tuple[str, str]] = []
    while len(tokens) < vocab_size:
        counts, pairs = count(spelled, words)
        whole = sum(counts.values())
        best: tuple[float, int, float, int, int] = (0.0, 0, 0.0, 0, 0)
        for (a, b), n in pairs.items():
            if n < min_frequency or tokens[a] + tokens[b].removeprefix(prefix) in ids:
                continue
            if score == "pmi":
                own = total = n / (float(counts[a]) * float(counts[b]))
            else:
                own = gain(counts[a], None if a == b else counts[b], n)
                total = own + (c_log_c(whole) - c_log_c(whole - n))
            if total > 0:
                best = max(best, (total, n, own, -a, -b))
        if not best[1]:
            break
        pair = -best[3], -best[4]
        merges.append((tokens[pair[0]], tokens[pair[1]]))
        name = merges[-1][0] + merges[-1][1].removeprefix(prefix)
        ids[name] = len(tokens)
        tokens.append(name)
        spelled = {word: merge(symbols, pair, ids[name]) for word, symbols in spelled.items()}
    return merges


def count(spelled: Mapping[str, list[int]], words: Mapping[str, int]) -> tuple[Counter[int], Counter[tuple[int, int]]]:
    """How often each token occurs, and how often each pair of neighbours can be merged: in "aaa" (a, a) once."""
    counts: Counter[int] = Counter()
    pairs: Counter[tuple[int, int]] = Counter()
    for word, symbols in spelled.items():
        free = 0  # where a pair of equal neighbours may start
        for i, symbol in enumerate(symbols):
            counts[symbol] += words[word]
            if i + 1 == len(symbols) or (symbol == symbols[i + 1] and i < free):
                continue
            if symbol == symbols[i + 1]:
                free = i + 2
            pairs[symbol, symbols[i + 1]] += words[word]
    return counts, pairs


def merge(symbols: list[int], pair: tuple[int, int], new: int) -> list[int]:
    """The pair replaced from left to right."""
    out: list[int] = []
    i = 0
    while i < len(symbols):
        if i + 1 < len(symbols) and (symbols[i], symbols[i + 1]) == pair:
            out.append(new)
            i += 2
        else:
            out.append(symbols[i])
            i += 1
    return out
