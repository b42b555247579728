"""Contexts that grow token by token, many at a time, and the logits of what comes next in each.

A `Decoder` computes what is new and caches keys and values. A context longer than the model's n_positions
leaves the cache: it then sees its last n_positions tokens, which move, so that the window is computed anew for
each token (nanoGPT's rule).

Every row gets the numbers that it would get alone, whatever stands beside it, to the last bit on the C
kernels: prompts of different lengths are padded on the right, where no token of the prompt looks, and the
cache has a length for each row.

Shapes: B rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .._tensor import Tensor
from ..autograd import no_grad
from ..errors import ConfigError
from ..models.gpt import GPT


class Decoder:
    """`contexts` are lists of token ids, one a row; `extend` and `select` change them, `logits` looks ahead.

    The model computes as in evaluation mode whatever its mode is. An exception in `logits`, Ctrl-C too, leaves
    the contexts as they are, and what was cached half is computed again.
    """

    def __init__(self, model: GPT, prompts: Sequence[Sequence[int]], room: int | None = None):
        """`room`: by how many tokens the contexts will grow at most; None is as many as n_positions allow.
        Raises ConfigError for an empty prompt and for ids that the model does not have.
        """
        self.model, self.contexts = model, [self._checked(ids, model) for ids in prompts]
        if not all(self.contexts):
            raise ConfigError("generation continues a prompt: give at least one token")
        self._limit = model.config.n_positions
        self._cached = [row for row, context in enumerate(self.contexts) if len(context) <= self._limit]
        self._done = [0] * len(self._cached)  # how many tokens of each of those rows are cached
        longest = max((len(self.contexts[row]) for row in self._cached), default=0)
        max_len = self._limit if room is None else min(self._limit, longest + room)
        self._cache = model.make_cache(len(self._cached), max_len) if self._cached else None

    def logits(self) -> np.ndarray:
        """(B, V), what may follow each context."""
        lengths = [len(context) for context in self.contexts]
        if any(lengths[row] > self._limit for row in self._cached):
            self._keep([i for i, row in enumerate(self._cached) if lengths[row] <= self._limit])
        long = [row for row, length in enumerate(lengths) if length > self._limit]
        parts = [self._cached_logits()] if self._cached else []
        if long:
            parts.append(self._last(np.array([self.contexts[row][-self._limit :] for row in long])))
        if len(parts) == 1:
            return parts[0]
        return np.concatenate(parts)[np.argsort(self._cached + long)]

    def extend(self, ids: Sequence[Sequence[int]]) -> None:
        """Append ids[b] to context b: to each the same number of tokens."""
        new = [self._checked(row, self.model) for row in ids]
        if len(new) != len(self.contexts) or len({len(row) for row in new}) > 1:
            raise ConfigError(
                f"{len(self.contexts)} contexts grow by the same number of tokens each, "
                f"got {len(new)} with {sorted({len(row) for row in new})}"
            )
        for context, row in zip(self.contexts, new, strict=True):
            context += row

    def select(self, rows: Sequence[int]) -> None:
        """Row i becomes what row rows[i] was: drops, reorders and repeats."""
        if not all(0 <= row < len(self.contexts) for row in rows):
            raise ValueError(f"the decoder has the rows 0 to {len(self.contexts) - 1}, got {list(rows)}")
        place = {row: i for i, row in enumerate(self._cached)}
        cached = [i for i, row in enumerate(rows) if row in place]
        self._keep([place[rows[i]] for i in cached])
        self._cached = cached
        self.contexts = [list(self.contexts[row]) for row in rows]

    def _keep(self, places: list[int]) -> None:
        """Rows of the cache, by their place in it."""
        if places == list(range(len(self._cached))):
            return
        if self._cache is not None:
            self._cache.select(places)
        self._cached = [self._cached[i] for i in places]
        self._done = [self._done[i] for i in places]

    def _cached_logits(self) -> np.ndarray:
        assert self._cache is not None
        # The last token is computed always: whoever asks twice gets the same answer twice.
        contexts = [self.contexts[row] for row in self._cached]
        starts = [min(done, len(context) - 1) for done, context in zip(self._done, contexts, strict=True)]
        new = [context[start:] for start, context in zip(starts, contexts, strict=True)]
        ids = np.zeros((len(new), max(map(len, new))), np.int64)
        for row, tokens in zip(ids, new, strict=True):
            row[: len(tokens)] = tokens
        self._cache.truncate(starts)
        out = self._last(ids, [len(tokens) - 1 for tokens in new], cached=True)
        self._done = [len(context) for context in contexts]
        return out

    def _last(self, ids: np.ndarray, last: Sequence[int] = (), cached: bool = False) -> np.ndarray:
        """Logits (B, V) after token last[b] of each row of ids (the last one without)."""
        was_training = self.model.training
        if was_training:
            self.model.eval()
        try:
            with no_grad():
                x = self.model.features(ids, cache=self._cache if cached else None)
                ends = [ids.shape[1] - 1] * len(ids) if not last else last
                return self.model.lm_head(x[Tensor(np.arange(len(ids))), Tensor(np.array(ends))]).numpy()
        finally:
            if was_training:
                self.model.train()

    @staticmethod
    def _checked(ids: Sequence[int], model: GPT) -> list[int]:
        tokens, size = [int(i) for i in ids], model.config.vocab_size
        if tokens and not (0 <= min(tokens) and max(tokens) < size):
            raise ConfigError(f"token ids are from 0 to {size - 1}, got {min(tokens)} to {max(tokens)}")
        return tokens
