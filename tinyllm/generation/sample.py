"""From logits to the next token: greedy, temperature, top-k, top-p; and the loop that feeds it back.

Filters apply in the order temperature, top-k, top-p (Holtzman et al. 2020, "The curious case of neural text
degeneration"), as in Hugging Face's generate. Every draw is a pure function of (seed, number of the token):
the same text comes out whatever was generated before, and however the process is threaded. A token of
probability 0 is never returned. Not here: beam search, stop strings.

Shapes: V vocabulary, T tokens of context.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from .. import backend
from ..autograd import no_grad
from ..errors import ConfigError
from ..models.gpt import GPT
from ..nn import KVCache
from ..random import Generator


@dataclass(frozen=True)
class Sampling:
    """How a token is chosen. temperature 0 is greedy; top_k 0 and top_p 1 keep every token."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise ConfigError(f"temperature is a finite number, 0 or more, got {self.temperature}")
        if self.top_k < 0:
            raise ConfigError(f"top_k is a number of tokens, or 0 for all, got {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p is a probability above 0 and up to 1, got {self.top_p}")


def candidates(logits: np.ndarray, sampling: Sampling) -> tuple[np.ndarray, np.ndarray]:
    """The ids that may come next, most probable first (ties: lower id first), and their probabilities
    (float64, sum 1).

    logits: (V,). top_p keeps the fewest tokens whose probabilities reach top_p, at least one. Raises
    ValueError for NaN or +inf logits and where every token is excluded (all -inf).
    """
    x = np.asarray(logits, np.float64)
    if x.ndim != 1 or not x.size:
        raise ValueError(f"logits of one token have the shape (V,), got {x.shape}")
    if np.isnan(x).any() or x.max() == np.inf or x.max() == -np.inf:
        raise ValueError("logits hold NaN or +inf, or exclude every token: the model has diverged, or a mask hides all")
    order = np.argsort(-x, kind="stable")
    if sampling.temperature == 0:
        return order[:1], np.ones(1)
    if sampling.top_k:
        order = order[: sampling.top_k]
    p = np.exp((x[order] - x[order[0]]) / sampling.temperature)
    p /= p.sum()
    if sampling.top_p < 1:
        before = np.cumsum(p) - p  # the mass of the more probable ones
        keep = before < sampling.top_p
        order, p = order[keep], p[keep]
    order, p = order[p > 0], p[p > 0]
    return order, p / p.sum()


def next_token(logits: np.ndarray, sampling: Sampling, number: int) -> int:
    """Draw token `number` (0 for the first new one) from logits (V,)."""
    ids, p = candidates(logits, sampling)
    if len(ids) == 1:
        return int(ids[0])
    key, stream = Generator(sampling.seed, number).next("sample")
    u = float(backend.uniform((1,), np.dtype(np.float64), key, stream)[0])
    edges = np.cumsum(p)
    # The first edge above u: an interval of width p, hence never a token whose p vanished in the sum.
    return int(ids[min(int(np.searchsorted(edges, u * edges[-1], side="right")), len(ids) - 1)])


def generate(model: GPT, ids: Sequence[int], count: int, sampling: Sampling | None = None) -> Iterator[int]:
    """Yield `count` tokens that continue `ids` (at least one id), as in evaluation mode whatever the model's is.

    Keys and values are cached until the context of the model (n_positions) is full; from then on each token
    sees the last n_positions tokens, which move, so that the window is computed anew.
    """
    context = [int(i) for i in ids]
    size = model.config.vocab_size
    if not context:
        raise ConfigError("generation continues a prompt: give at least one token")
    if not all(0 <= i < size for i in context):
        raise ConfigError(f"prompt ids are from 0 to {size - 1}, got {min(context)} to {max(context)}")
    if count < 0:
        raise ConfigError(f"the number of tokens to generate is not negative, got {count}")
    return _generate(model, context, count, sampling or Sampling())


def _generate(model: GPT, context: list[int], count: int, sampling: Sampling) -> Iterator[int]:
    cache, length = None, model.config.n_positions
    for number in range(count):
        if len(context) > length:
            cache, new = None, context[-length:]
        elif cache is None:
            cache, new = model.make_cache(1), context
        else:
            new = context[-1:]
        context.append(next_token(_last_logits(model, new, cache), sampling, number))
        yield context[-1]


def _last_logits(model: GPT, ids: list[int], cache: KVCache | None) -> np.ndarray:
    """Logits (V,) after the last of `ids`. The mode is switched for this pass alone: in between it is the caller's."""
    was_training = model.training
    model.eval()
    try:
        with no_grad():
            return model.lm_head(model.features(np.array([ids]), cache=cache)[:, -1]).numpy()[0]
    finally:
        model.train(was_training)
