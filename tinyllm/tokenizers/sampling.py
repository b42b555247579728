"""Other ways to spell a text than that of `encode`, through the whole pipeline: random ones, the best ones.

    tok.sample(text, random.Random(1), alpha=0.2) -> ids;  tok.nbest(text, 5) -> [(ids, log probability), ...]

A language model that sees a text spelled in other ways each time suffers less from odd spellings later. A Unigram
knows how probable each way is (subword regularization, Kudo 2018, arXiv:1804.10959): the lattices of the pieces of a
text, in a row, are the lattice of the text, and the algorithms are those of reference/unigram.py. A BPE knows no
probabilities; its random way is that of dropout (Provilkov et al. 2020, arXiv:1910.13267). Both give the same ids for
the same `rng` in both engines. Other models have one way only.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from random import Random

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers.aligned import Aligned
from tinyllm.tokenizers.models.bpe import Merging
from tinyllm.tokenizers.models.unigram import Unigram, characters
from tinyllm.tokenizers.reference import unigram as reference
from tinyllm.tokenizers.reference.unigram import Arc, Lattice
from tinyllm.tokenizers.remember import as_bytes
from tinyllm.tokenizers.stage import Model

Text = str | bytes
Part = tuple[Aligned, int | None]  # a piece for the model, or an added token and its id
MOST = 1024  # ways


class Sampling:
    """What Tokenizer (pipeline.py) can do by this file."""

    model: Model

    def _parts(self, text: Text, allowed_special: str | Iterable[str]) -> Iterator[Part]:
        raise NotImplementedError

    def sample(
        self,
        text: Text,
        rng: Random,
        alpha: float = 0.1,
        nbest_size: int = -1,
        allowed_special: str | Iterable[str] = (),
    ) -> list[int]:
        """The ids of a random way, with SentencePiece's parameters. Unigram: drawn with probability proportional to
        its own ** alpha, of all ways if `nbest_size` is negative, else of so many best ones; alpha 0: all alike, large:
        the best. BPE: with dropout `alpha`, and the random numbers of `model.seed` begin anew.

        TokenizerError for other models, an alpha out of range, and whatever `encode` refuses.
        """
        if isinstance(self.model, Merging):
            if nbest_size >= 0:
                raise TokenizerError(
                    f"nbest_size is {nbest_size}; a BPE has no best ways to draw from, only -1 will do"
                )
            return self._dropped(text, rng, alpha, allowed_special)
        if nbest_size >= 0:
            best = self.nbest(text, max(nbest_size, 1), allowed_special)
            weights = [math.exp(checked(alpha) * (score - best[0][1])) for _, score in best]
            return rng.choices(best, weights)[0][0]
        lattice = self._lattice(text, allowed_special)
        return lattice.ids(reference.sample(lattice.arcs, checked(alpha), rng))

    def sample_distinct(
        self, text: Text, n: int, rng: Random, alpha: float = 0.1, allowed_special: str | Iterable[str] = ()
    ) -> list[tuple[list[int], float]]:
        """n different ways (all, if there are fewer), in the order in which they are drawn: one after another, as
        `sample` draws them, each from the ways that are left. Ids, and the log of the probability that `sample` has for
        them. n is at most 1024. TokenizerError as in `nbest`.
        """
        lattice = self._lattice(text, allowed_special)
        found = reference.distinct(lattice.arcs, counted(n), checked(alpha), rng)
        return [(lattice.ids(path), log) for path, log in found]

    def nbest(self, text: Text, n: int, allowed_special: str | Iterable[str] = ()) -> list[tuple[list[int], float]]:
        """The n most probable ways (all, if there are fewer), best first: ids and log probability. n is at most 1024.

        TokenizerError for a model that is no Unigram, and whatever `encode` refuses.
        """
        lattice = self._lattice(text, allowed_special)
        return [(lattice.ids(path), score) for path, score in reference.nbest(lattice.arcs, counted(n))]

    def _lattice(self, text: Text, allowed_special: str | Iterable[str]) -> TextLattice:
        if not isinstance(self.model, Unigram):
            raise TokenizerError(f"a {type(self.model).__name__} doesn't say how probable each way is; a Unigram does")
        return TextLattice(self.model, self._parts(text, allowed_special))

    def _dropped(self, text: Text, rng: Random, p: float, allowed_special: str | Iterable[str]) -> list[int]:
        assert isinstance(self.model, Merging)
        if not 0 <= p <= 1:
            raise TokenizerError(f"alpha is {p}; of a BPE it is the probability of dropout, from 0 to 1")
        self.model.seed(rng.getrandbits(64))
        ids: list[int] = []
        for piece, token in self._parts(text, allowed_special):
            ids += self.model.dropped(as_bytes(piece.text), p) if token is None else [token]
        return ids


class TextLattice:
    """All ways to spell a text by a Unigram. `arcs` go over the characters of its pieces, one piece after another."""

    def __init__(self, model: Unigram, parts: Iterable[Part]) -> None:
        self.arcs: Lattice = []
        self._model = model
        self._parts: list[tuple[str, int | None]] = []
        for piece, token in parts:
            text = characters(as_bytes(piece.text))[0] if token is None else ""
            at = len(self.arcs)
            for here in model.lattice(text):
                self.arcs.append([Arc(at + arc.start, at + arc.end, arc.id, arc.score) for arc in here])
            self._parts.append((text, token))

    def ids(self, path: list[Arc]) -> list[int]:
        """Of a path over `arcs`; what is unknown is taken together within a piece."""
        ids: list[int] = []
        start = done = 0
        for text, token in self._parts:
            own = []
            while done < len(path) and path[done].end <= start + len(text):
                arc = path[done]
                own.append(Arc(arc.start - start, arc.end - start, arc.id, arc.score))
                done += 1
            ids += self._model.spelled(text, own) if token is None else [token]
            start += len(text)
        return ids


def checked(alpha: float) -> float:
    if not (math.isfinite(alpha) and alpha >= 0):
        raise TokenizerError(f"alpha is {alpha}; it must be a finite number of at least 0")
    return alpha


def counted(n: int) -> int:
    if not 1 <= n <= MOST:
        raise TokenizerError(f"n is {n}; it must be from 1 to {MOST} ways")
    return n
