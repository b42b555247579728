r"""Sentences where periods also end abbreviations: Punkt, which learns them from raw text.

    punkt = Punkt.train(["Mr. Smith lives in the U.S. now. ...", ...])
    punkt.pieces(Aligned.of("Mr. Smith left. He ..."))    # "Mr. Smith left. ", "He ..."

Kiss and Strunk, Unsupervised Multilingual Sentence Boundary Detection, Computational Linguistics 32 (4), 2006; their
sections are named below. An abbreviation is a word that its period follows more firmly than periods follow words
(a log-likelihood ratio, Dunning's), the firmer the shorter it is and the more periods it has inside. What follows a
period then decides: the case that a word has elsewhere, words that go together across a period, words that often
begin a sentence. Ours beside the paper: a sentence does not go on in lower case after "." (nor begins so after "!" or
"?"), a small letter with a period is an abbreviation, an empty line ends a sentence, and 。！？ end one without a space
after them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from itertools import pairwise
from math import exp, log
from typing import NamedTuple

from tinyllm.tokenizers.aligned import Aligned
from tinyllm.tokenizers.stage import PreTokenizer

# What can end a sentence, with the quotes and brackets after it; an ellipsis; or a word. Possessive throughout.
TOKEN = re.compile(
    r"""(?P<dots>\.(?:[ \xa0]?\.)++|…)
      | (?P<end>[!?]++|[。！？]++|\.(?=\s|$))
      | (?P<word>(?:[^\s"“”„‘«»‹›()\[\]{}<>!?…。！？,;:*/—–|=~^`'’.-]
                  | \.(?!\.) | -(?!-) | (?<=\w)['’](?=\w) | (?<=\d)[,:](?=\d))++)""",
    re.VERBOSE,
)
CLOSING = re.compile(r"""["'”’»›)\]}」』）】]*+""")
GAP = re.compile(r"\s*+")
EMPTY_LINE = re.compile(r"\n[^\S\n]*+\n\s*+")
NUMBER = re.compile(r"[-+$€£#]?\d+(?:[.,:]\d+)*+%?")
NUMBER_TYPE = "##number##"
# Where a type was seen, times its case.
BEGIN, INSIDE, UNKNOWN = 1, 2, 4
UPPER, LOWER = 1, 8


class Token(NamedTuple):
    kind: str  # "word", "dots" or "end"
    type: str  # in lower case and without its last period
    period: bool
    case: int  # UPPER, LOWER or 0, of the first letter
    end: int  # in the text
    paragraph: int  # where the empty line before it ends, 0 if there is none

    @property
    def initial(self) -> bool:
        return self.period and len(self.type) == 1 and self.type.isalpha()

    @property
    def ordinal(self) -> bool:
        return self.period and self.type == NUMBER_TYPE


def tokens(text: str) -> Iterator[Token]:
    done = 0
    for found in TOKEN.finditer(text):
        word = found.group()
        period = found.lastgroup == "word" and word.endswith(".")
        core = word[:-1] if period else word
        case = UPPER if word[0].isupper() else LOWER if word[0].islower() else 0
        kind = NUMBER_TYPE if NUMBER.fullmatch(core) else core.lower()
        empty = EMPTY_LINE.search(text, done, found.start())
        yield Token(str(found.lastgroup), kind, period, case, found.end(), empty.end() if empty else 0)
        done = found.end()


@dataclass(frozen=True)
class Punkt(PreTokenizer):
    """Sentences, each with the white space after it. Types are in lower case, `abbreviations` without the last period;
    `orthography`: where and in which case each type was seen (BEGIN, INSIDE, UNKNOWN times UPPER or LOWER).
    """

    abbreviations: tuple[str, ...] = ()
    collocations: tuple[tuple[str, str], ...] = ()
    starters: tuple[str, ...] = ()
    orthography: Mapping[str, int] = field(default_factory=dict, hash=False)

    @classmethod
    def train(cls, texts: Iterable[str]) -> Punkt:
        """Learned from raw text, some 10,000 words at least; a newspaper's 100,000 words take a second.

        The order of the texts changes nothing. All tokens are in memory while it lasts.
        """
        texts = [texts] if isinstance(texts, str) else texts
        return learned([list(tokens(text)) for text in texts])

    def pieces(self, text: Aligned, first: bool = True) -> list[Aligned]:
        borders = [0, *self.ends(text.text)]
        return [text.cut(*span) for span in pairwise(borders)]

    def ends(self, text: str) -> Iterator[int]:
        """Where a sentence ends, with what space follows; at the end of the text too."""
        known = set(self.abbreviations)
        pairs, starters = set(self.collocations), set(self.starters)
        done = 0
        for token, following in pairwise(tokens(text)):
            closed = CLOSING.match(text, token.end)
            assert closed is not None
            gap = GAP.match(text, closed.end())
            assert gap is not None
            apart = gap.end() > gap.start() or text[token.end - 1] in "。！？"
            if following.paragraph or (apart and self.breaks(token, following, known, pairs, starters)):
                done = following.paragraph or gap.end()
                yield done
        if done < len(text):
            yield len(text)

    def breaks(
        self, token: Token, following: Token, known: Set[str], pairs: Set[tuple[str, str]], starters: Set[str]
    ) -> bool:
        """Whether a sentence ends between the two, which white space parts."""
        if token.kind == "end":
            return following.case != LOWER
        if (token.kind == "word" and not token.period) or following.case == LOWER:
            return False
        small = token.initial and token.case == LOWER  # "p. 5"
        abbreviation = token.kind == "dots" or token.type in known or small
        if (token.type, following.type) in pairs:
            return False  # 4.1.2
        begins = self.begins(following)
        if small or (abbreviation and not token.initial):  # 4.2
            return begins is True or (following.case == UPPER and following.type in starters)
        if token.initial or token.ordinal:  # 4.3
            unseen = not self.orthography.get(following.type, 0) & (BEGIN | INSIDE | UNKNOWN) * LOWER
            if begins is False or (begins is None and token.initial and following.case == UPPER and unseen):
                return False
        return not abbreviation or begins is True

    def begins(self, token: Token) -> bool | None:
        """Whether a sentence begins with the token, by the case that its type has elsewhere (4.1.1); None: unknown."""
        seen = self.orthography.get(token.type, 0)
        anywhere = BEGIN | INSIDE | UNKNOWN
        if token.case == UPPER and seen & anywhere * LOWER and not seen & INSIDE * UPPER:
            return True
        if token.case == LOWER and (seen & anywhere * UPPER or not seen & BEGIN * LOWER):
            return False
        return None


# ---- Training ----


def likelihood(k: int, n: int, p: float) -> float:
    """The logarithm of p ** k * (1 - p) ** (n - k)."""
    return (k * log(p) if k else 0.0) + ((n - k) * log(1 - p) if n > k else 0.0)


def ratio(both: int, first: int, second: int, n: int) -> float:
    """Dunning's ratio of two events among n, counted alone and together: how surely the first changes the second; 0 if
    it makes it rarer (3.2).
    """
    if both * n <= first * second or first == n:
        return 0.0
    alone = likelihood(both, first, second / n) + likelihood(second - both, n - first, second / n)
    tied = likelihood(both, first, both / first)
    return 2 * (tied + likelihood(second - both, n - first, (second - both) / (n - first)) - alone)


def abbreviations(words: list[Token]) -> set[str]:
    """The types that score at least 0.3 (3.1)."""
    with_period = Counter(word.type for word in words if word.period)
    without = Counter(word.type for word in words if not word.period)
    p = sum(with_period.values()) / max(len(words), 1)
    found = set()
    for kind, k in with_period.items():
        if kind == NUMBER_TYPE or not any(map(str.isalpha, kind)):
            continue
        n = k + without[kind]
        score = 2 * (likelihood(k, n, 0.99) - likelihood(k, n, p)) if p < 1 else 0.0
        inside = kind.count(".")
        length = len(kind) - inside
        score *= exp(-length) * (inside + 1) * float(length) ** -without[kind]
        if score >= 0.3:
            found.add(kind)
    return found


def after(token: Token, known: Set[str]) -> int:
    """Where the token after this one stands, as far as the types alone tell."""
    if token.kind == "dots" or token.initial or token.ordinal or (token.period and token.type in known):
        return UNKNOWN
    return BEGIN if token.period or token.kind == "end" else INSIDE


def learned(texts: list[list[Token]]) -> Punkt:
    words = [token for text in texts for token in text if token.kind == "word"]
    counts = Counter(word.type for word in words)
    known = abbreviations(words)
    orthography: dict[str, int] = {}
    starts: Counter[str] = Counter()  # how often a sentence begins with a type
    ties: Counter[tuple[str, str]] = Counter()  # how often two types have a period between them that ends no sentence
    for text in texts:
        where = BEGIN
        for token in text:
            where = BEGIN if token.paragraph else where
            if token.kind == "word" and token.case:
                orthography[token.type] = orthography.get(token.type, 0) | where * token.case
            where = after(token, known)
        for token, following in pairwise(text):
            if following.kind != "word" or following.paragraph:
                continue
            if token.initial or token.ordinal or (token.period and token.type in known):
                ties[token.type, following.type] += 1
            elif after(token, known) == BEGIN:
                starts[following.type] += 1
    n, ends = len(words), starts.total()
    starters = {
        kind for kind, k in starts.items() if kind != NUMBER_TYPE and ratio(k, ends, counts[kind], n) >= 30
    }  # 4.1.3
    pairs = {
        (one, two)
        for (one, two), k in ties.items()
        if k > 1 and two not in starters and ratio(k, counts[one], counts[two], n) >= 7.88
    }
    return Punkt(tuple(sorted(known)), tuple(sorted(pairs)), tuple(sorted(starters)), dict(sorted(orthography.items())))
