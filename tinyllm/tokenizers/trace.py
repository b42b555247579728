"""How a text becomes tokens, step by step, to be read: `tinyllm tokenizer trace "text" --tokenizer FILE`.

    print(trace(tokenizer, "hugging").text());  json.dumps(trace(tokenizer, "hugging").json())

BPE: every merge, with its rank and what the piece is after it. WordPiece: what is tried at each position, longest
first, and what fits. Unigram: the lattice, every piece of the vocabulary at every position with its log probability,
and the best path through it. All of it by the definitions (reference/), so a trace is for a sentence, not for a book.
Special tokens are text here, as in `encode`; added tokens that are not special are found, and have no steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers.aligned import Aligned
from tinyllm.tokenizers.base import utf8
from tinyllm.tokenizers.models.bpe import Merging
from tinyllm.tokenizers.models.unigram import Unigram
from tinyllm.tokenizers.models.wordpiece import WordPiece
from tinyllm.tokenizers.pipeline import Tokenizer
from tinyllm.tokenizers.reference import unigram as lattices
from tinyllm.tokenizers.reference.bpe_encode import Reference
from tinyllm.tokenizers.stage import Model

LIMIT = 10_000  # characters


@dataclass(frozen=True)
class Merge:
    """Two neighbours become one; `at` is the number of the left one, `symbols` the piece after it."""

    rank: int
    left: str
    right: str
    at: int
    symbols: list[str]

    def __str__(self) -> str:
        return f"rank {self.rank}: {self.left} + {self.right}  ->  {' '.join(self.symbols)}"


@dataclass(frozen=True)
class Match:
    """At character `at`, `tried` are no tokens; `found` is one, or nothing is ("")."""

    at: int
    tried: list[str]
    found: str

    def __str__(self) -> str:
        shown = self.tried if len(self.tried) <= 6 else [*self.tried[:5], f"... ({len(self.tried)} in all)"]
        no = f"not {', '.join(shown)}; " if shown else ""
        return f"character {self.at}: {no}{self.found or 'nothing fits: the whole word is unknown'}"


@dataclass(frozen=True)
class Arc:
    """A token that the piece has from character `start` to `end`; `best`: on the best path."""

    start: int
    end: int
    token: str
    score: float
    best: bool

    def __str__(self) -> str:
        return f"{'*' if self.best else ' '} {self.start:>3} to {self.end:<3} {self.score:9.4f}  {self.token}"


@dataclass(frozen=True)
class Piece:
    """What happened to one piece of the text: characters `start` to `end` of it, as `piece` after normalization."""

    piece: str
    start: int
    end: int
    begins: list[str]
    steps: list[Any] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    score: float | None = None

    def lines(self) -> Iterator[str]:
        yield f"{self.piece!r}  (characters {self.start} to {self.end})"
        if self.begins:
            yield f"    {' '.join(self.begins)}"
        for step in self.steps:
            yield f"    {step}"
        total = "" if self.score is None else f"  (log probability {self.score:.4f})"
        yield f"    = {'  '.join(f'{token} {i}' for token, i in zip(self.tokens, self.ids, strict=True))}{total}"


@dataclass(frozen=True)
class Trace:
    """All pieces of a text, in order."""

    source: str
    normalized: str
    model: str
    pieces: list[Piece]

    def text(self) -> str:
        """For people: a paragraph a piece."""
        head = [f"{self.model}: {self.source!r}"]
        if self.normalized != self.source:
            head.append(f"normalized: {self.normalized!r}")
        return "\n".join([*head, *(line for piece in self.pieces for line in piece.lines())])

    def json(self) -> dict[str, Any]:
        """The same as JSON values."""
        return asdict(self)


def trace(tokenizer: Tokenizer, text: str) -> Trace:
    """The steps from `text`, at most 10,000 characters, to its ids. Raises TokenizerError for a longer text, and for a
    model that has no steps to show.
    """
    if len(text) > LIMIT:
        raise TokenizerError(f"the text has {len(text)} characters; a trace shows at most {LIMIT}")
    utf8(text)
    model = tokenizer.model
    steps = _steps(model)
    pieces = []
    for part, known in tokenizer._parts(text):
        start, end = part.span(0, len(part.text))
        ids = [known] if known is not None else model.encode(part.text.encode())
        names = [shown(tokenizer.tokens[i]) for i in ids]
        found = {"begins": ["an added token"]} if known is not None else steps(part.text)
        pieces.append(Piece(part.text, start, end, tokens=names, ids=ids, **found))
    normal = Aligned.of(text)
    if tokenizer.normalizer is not None:
        normal = tokenizer.normalizer.normalize(normal)
    return Trace(text, normal.text, type(tokenizer.model).__name__, pieces)


def shown(token: bytes) -> str:
    """A token as text; bytes that are no character as \\xNN, spaces as in GPT-2's alphabet, so that they are seen."""
    return token.decode("utf-8", "backslashreplace").replace(" ", "Ġ").replace("\n", "Ċ").replace("\t", "ĉ")


def _steps(model: Model) -> Callable[[str], dict[str, Any]]:
    if isinstance(model, Merging):
        return lambda piece: _merges(model, piece)
    if isinstance(model, WordPiece):
        return lambda piece: _matches(model, piece)
    if isinstance(model, Unigram):
        return lambda piece: _lattice(model, piece)
    raise TokenizerError(f"a {type(model).__name__} has no steps to show: a piece is looked up whole")


def _merges(model: Merging, piece: str) -> dict[str, Any]:
    rules = model.rules
    ranks = {(left, right): (rank, new) for left, right, rank, new in rules.merges}
    symbols = list(Reference(rules).spelled(piece.encode()))
    names = [shown(rules.tokens[s.id]) if s.id >= 0 else "?" for s in symbols]
    ids = [-1 if s.frozen else s.id for s in symbols]
    begins, steps = list(names), []
    while found := [(*ranks[pair], at) for at, pair in enumerate(pairwise(ids)) if pair in ranks]:
        rank, new, at = min(found, key=lambda one: (one[0], one[2]))
        left, right = names[at : at + 2]
        ids[at : at + 2], names[at : at + 2] = [new], [shown(rules.tokens[new])]
        steps.append(Merge(rank, left, right, at, list(names)))
    return {"begins": begins, "steps": steps}


def _matches(model: WordPiece, piece: str) -> dict[str, Any]:
    steps: list[Match] = []
    if len(piece) > model.max_input_chars_per_word:
        return {"begins": [f"more than {model.max_input_chars_per_word} characters: unknown"]}
    at = 0
    while at < len(piece):
        lead = model.continuing_subword_prefix if at else ""
        tried = []
        for end in range(len(piece), at, -1):
            name = lead + piece[at:end]
            if model.vocab.get(name, -1) >= 0 and model.vocab[name] not in model.reserved:
                break
            tried.append(name)
        else:
            return {"begins": [], "steps": [*steps, Match(at, tried, "")]}
        steps.append(Match(at, tried, name))
        at = end
    return {"begins": [], "steps": steps}


def _lattice(model: Unigram, piece: str) -> dict[str, Any]:
    arcs = model.lattice(piece)
    best = lattices.viterbi(arcs, float32=model.kinds is not None)
    steps = [
        Arc(arc.start, arc.end, shown(model.tokens[arc.id]) if arc.id >= 0 else "?", arc.score, arc in best)
        for here in arcs
        for arc in here
    ]
    return {"begins": [], "steps": steps, "score": sum(arc.score for arc in best)}
