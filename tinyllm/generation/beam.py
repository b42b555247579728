"""Beam search: the most probable continuations that keeping the `n_beam` best at each token finds.

A hypothesis of n new tokens, its end token counted, scores (sum of their log probabilities) / n^length_penalty:
0 is the plain sum, which favours short ones, and 1 the mean. That is Hugging Face's rule; Wu et al. 2016
("Google's neural machine translation system", section 7) divide by ((5 + n) / 6)^alpha. Without an end token
all have the same length and the rule changes no order.

The search ends early only when no open hypothesis can overtake the worst of n_beam finished ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import ConfigError
from ..models.gpt import GPT
from .decode import Decoder
from .sample import largest


@dataclass(frozen=True)
class Beam:
    """A continuation: its new ids, the end token included, the sum of their log probabilities, the score."""

    ids: list[int]
    log_prob: float
    score: float


def beam_search(
    model: GPT, ids: Sequence[int], count: int, n_beam: int, *, end: int | None = None, length_penalty: float = 1.0
) -> list[Beam]:
    """Up to n_beam continuations of `ids` by at most `count` tokens, best score first.

    `end`: the id after which a hypothesis is finished; None: all have `count` tokens. As in fairseq and Hugging
    Face a hypothesis finishes where the end token is among the n_beam best extensions of all open ones.
    """
    if count < 1 or n_beam < 1:
        raise ConfigError(f"beam search needs at least one token and one beam, got count {count} and n_beam {n_beam}")
    if not 0 <= length_penalty < float("inf"):
        raise ConfigError(f"length_penalty is a finite number, 0 or more, got {length_penalty}")
    decoder, log_probs, finished = Decoder(model, [ids], count), np.zeros(1), list[Beam]()
    prompt = len(decoder.contexts[0])
    for _ in range(count):
        rows, tokens, log_probs = _best(log_probs[:, None] + _log_softmax(decoder.logits()), 2 * n_beam)
        contexts = [decoder.contexts[row][prompt:] for row in rows]
        ends = [i for i in range(min(n_beam, len(tokens))) if tokens[i] == end]
        finished += [_beam([*contexts[i], int(tokens[i])], log_probs[i], length_penalty) for i in ends]
        open_ = [i for i in range(len(tokens)) if tokens[i] != end][:n_beam]
        rows, tokens, log_probs = rows[open_], tokens[open_], log_probs[open_]
        finished = sorted(finished, key=lambda beam: -beam.score)[:n_beam]
        if not open_ or _decided(finished, n_beam, log_probs[0] / count**length_penalty):
            return finished
        decoder.select(rows.tolist())
        decoder.extend([[token] for token in tokens.tolist()])
    finished += [
        _beam(context[prompt:], log_prob, length_penalty)
        for context, log_prob in zip(decoder.contexts, log_probs, strict=True)
    ]
    return sorted(finished, key=lambda beam: -beam.score)[:n_beam]


def _best(totals: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(row, token, total) of the k largest totals (B, V), largest first, without those of probability 0."""
    flat = totals.reshape(-1)
    at = largest(flat, k)
    at = at[np.argsort(-flat[at], kind="stable")]
    at = at[flat[at] > -np.inf]
    return at // totals.shape[1], at % totals.shape[1], flat[at]


def _beam(ids: list[int], log_prob: float, length_penalty: float) -> Beam:
    return Beam(ids, float(log_prob), float(log_prob) / len(ids) ** length_penalty)


def _decided(finished: list[Beam], n_beam: int, bound: float) -> bool:
    """Whether an open hypothesis, whose log probability only falls and whose length is `count` at most, comes
    too late.
    """
    return len(finished) == n_beam and bound <= finished[-1].score


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    """Of each row, in float64. ValueError for NaN, +inf, and rows that exclude every token."""
    x = logits.astype(np.float64)
    most = x.max(1, keepdims=True)
    if not np.isfinite(most).all():
        raise ValueError("logits hold NaN or +inf, or exclude every token: the model has diverged, or a mask hides all")
    x -= most
    return x - np.log(np.exp(x).sum(1, keepdims=True))
