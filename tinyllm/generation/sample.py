"""From logits to the next token, and the loop that feeds it back.

What happens to the logits of a token, in the order of Hugging Face's generate (logits processors first, then
warpers, as in `GenerationMixin._get_logits_processor`):

1. repetition_penalty r (Keskar et al. 2019, "CTRL", section 4.1): the logit of every token of the context,
   prompt included, is divided by r if positive and multiplied by r if negative;
2. temperature: logits are divided by it; 0 takes the most probable token;
3. top_k (Fan et al. 2018, "Hierarchical neural story generation"): the k most probable tokens are kept;
4. top_p (Holtzman et al. 2020, "The curious case of neural text degeneration"): the fewest most probable
   tokens whose probabilities, of those kept so far, reach top_p;
5. min_p (Nguyen et al. 2024, "Turning up the heat"): tokens at least min_p times as probable as the most
   probable one.

Of equally probable tokens the one with the lower id counts as more probable. A token of probability 0 is
never returned.

Every draw is a pure function of (seed, row, number of the token): the same text comes out whatever was
generated before, whichever rows stand beside it, and however the process is threaded.

Shapes: V vocabulary, B rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from .. import backend
from ..errors import ConfigError
from ..models.gpt import GPT
from ..random import Generator
from .decode import Decoder


@dataclass(frozen=True)
class Sampling:
    """How a token is chosen. temperature 0 is greedy; top_k 0, top_p 1 and min_p 0 keep every token, and
    repetition_penalty 1 changes nothing.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise ConfigError(f"temperature is a finite number, 0 or more, got {self.temperature}")
        if self.top_k < 0:
            raise ConfigError(f"top_k is a number of tokens, or 0 for all, got {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p is a probability above 0 and up to 1, got {self.top_p}")
        if not 0 <= self.seed < 1 << 32:
            raise ConfigError(f"seed is an integer from 0 to 2**32 - 1, got {self.seed}")
        if not 0 <= self.min_p <= 1:
            raise ConfigError(f"min_p is a part of the largest probability, 0 to 1, got {self.min_p}")
        if not 0 < self.repetition_penalty < float("inf"):
            raise ConfigError(f"repetition_penalty is a finite number above 0 (1: none), got {self.repetition_penalty}")


def candidates(logits: np.ndarray, sampling: Sampling, context: Sequence[int] = ()) -> tuple[np.ndarray, np.ndarray]:
    """The ids that may come next, ascending, and their probabilities (float64, sum 1, none 0).

    logits: (V,); context: the ids so far, for the repetition penalty. Raises ValueError for NaN or +inf
    logits and where every token is excluded (all -inf).
    """
    x = np.array(logits, np.float64)
    if x.ndim != 1 or not x.size:
        raise ValueError(f"logits of one token have the shape (V,), got {x.shape}")
    if sampling.repetition_penalty != 1 and len(context):
        seen = np.asarray(context)
        x[seen] = np.where(x[seen] > 0, x[seen] / sampling.repetition_penalty, x[seen] * sampling.repetition_penalty)
    most = x.max()
    if np.isnan(most) or np.isinf(most):
        raise ValueError("logits hold NaN or +inf, or exclude every token: the model has diverged, or a mask hides all")
    if sampling.temperature == 0:
        return np.argmax(x, keepdims=True), np.ones(1)
    ids = largest(x, sampling.top_k or x.size)
    with np.errstate(over="ignore"):  # a tiny temperature: exp(-inf) is 0
        p = np.exp((x[ids] - most) / sampling.temperature)
    p /= p.sum()
    if sampling.top_p < 1:
        keep = _nucleus(p, sampling.top_p)
        ids, p = ids[keep], p[keep]
    keep = (p > 0) & (p >= sampling.min_p * p.max())
    return ids[keep], p[keep] / p[keep].sum()


def largest(x: np.ndarray, k: int) -> np.ndarray:
    """Where the k largest of x (V,) are, ascending; of equal ones the first."""
    if k >= x.size:
        return np.arange(x.size)
    least = np.partition(x, x.size - k)[x.size - k]
    above, equal = np.flatnonzero(x > least), np.flatnonzero(x == least)
    return np.sort(np.concatenate([above, equal[: k - above.size]]))


def _nucleus(p: np.ndarray, top_p: float) -> np.ndarray:
    # All that are less probable than (1 - top_p) / V have together less than what may be left out, so they are,
    # and need not be sorted (half of it: sums round).
    likely = np.flatnonzero(p >= (1 - top_p) / (2 * p.size))
    order = likely[np.argsort(-p[likely], kind="stable")]
    before = np.cumsum(p[order]) - p[order]  # the mass of the more probable ones
    return np.sort(order[before < top_p])


def next_token(logits: np.ndarray, sampling: Sampling, number: int, row: int = 0, context: Sequence[int] = ()) -> int:
    """Draw token `number` (0 for the first new one) of `row` from logits (V,); context as in `candidates`."""
    ids, p = candidates(logits, sampling, context)
    if len(ids) == 1:
        return int(ids[0])
    key, stream = Generator(sampling.seed, number).next("sample")
    u = float(backend.uniform((1,), np.dtype(np.float64), key, stream, base=row)[0])
    edges = np.cumsum(p)
    # The first edge above u: an interval of width p, hence never a token whose p vanished in the sum.
    return int(ids[min(int(np.searchsorted(edges, u * edges[-1], side="right")), len(ids) - 1)])


def draw(decoder: Decoder, sampling: Sampling, number: int, rows: Sequence[int]) -> list[int]:
    """Extend each context of `decoder` by its token `number`, from the random stream of rows[b]; the tokens."""
    logits = decoder.logits()
    tokens = [next_token(logits[b], sampling, number, row, decoder.contexts[b]) for b, row in enumerate(rows)]
    decoder.extend([[token] for token in tokens])
    return tokens


def generate(
    model: GPT, ids: Sequence[int], count: int, sampling: Sampling | None = None, row: int = 0
) -> Iterator[int]:
    """Yield `count` tokens that continue `ids` (at least one id), as in evaluation mode whatever the model's is.

    Keys and values are cached; when the model's n_positions are full, the older half of them is forgotten.
    `row` r gives what `generate_batch` gives in row r, without the others.
    """
    decoder = Decoder(model, [ids], _counted(count))
    return (draw(decoder, sampling or Sampling(), number, [row])[0] for number in range(count))


def generate_batch(
    model: GPT, prompts: Sequence[Sequence[int]], count: int, sampling: Sampling | None = None
) -> Iterator[list[int]]:
    """Yield `count` times the next token of each prompt, B ids. Prompts may differ in length.

    Row r is what `generate(model, prompts[r], count, sampling, row=r)` yields. Give a prompt n times for n
    samples; what is equal is computed once.
    """
    decoder = start(model, prompts, count)
    return (draw(decoder, sampling or Sampling(), number, range(len(prompts))) for number in range(count))


def start(model: GPT, prompts: Sequence[Sequence[int]], count: int) -> Decoder:
    """A decoder of `prompts` with room for `count` more tokens, which has computed equal prompts once."""
    each = list(map(tuple, prompts))
    different = list(dict.fromkeys(each))
    decoder = Decoder(model, different, _counted(count))
    if len(different) < len(each):
        if count:
            decoder.logits()
        decoder.select([different.index(prompt) for prompt in each])
    return decoder


def _counted(count: int) -> int:
    if count < 0:
        raise ConfigError(f"the number of tokens to generate is not negative, got {count}")
    return count
