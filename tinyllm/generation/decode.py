"""Contexts that grow token by token, many at a time, and the logits of what comes next in each.

A `Decoder` computes what is new and caches keys and values, so that a token costs the same however many came
before, attention aside. A model sees n_positions tokens at most: whenever a context has filled them, its older
half is forgotten and the rest computed again at its new positions (llama.cpp's "context shift"). Each token
thus sees more than n_positions / 2 tokens before it. Sliding by one token instead, as nanoGPT's sample does,
would change every position and so compute the whole window for each token.

Every row gets the numbers that it would get alone, whatever stands beside it, to the last bit on the C
kernels: prompts of different lengths are padded on the right, where no token of the prompt looks, and the
cache has a length for each row.

Shapes: B rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .._tensor import Tensor
from ..autograd import no_grad
from ..errors import ConfigError
from ..models.gpt import GPT
from ..nn import KVCache


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
        self._room = model.config.n_positions if room is None else room
        self._groups: list[_Group] = []

    def logits(self) -> np.ndarray:
        """(B, V), what may follow each context."""
        limit = self.model.config.n_positions
        begins = [window_start(len(context), limit) for context in self.contexts]
        moved = set(range(len(begins)))
        for group in self._groups:
            group.keep([i for i, row in enumerate(group.rows) if group.begins[i] == begins[row]])
            moved -= set(group.rows)
        self._groups = [group for group in self._groups if group.rows]
        if moved:
            rows = sorted(moved)
            longest = max(len(self.contexts[row]) - begins[row] for row in rows)
            cache = self.model.make_cache(len(rows), min(limit, longest + self._room))
            self._groups.append(_Group(rows, [begins[row] for row in rows], [0] * len(rows), cache))
        parts = [self._advance(group) for group in self._groups]
        if len(parts) == 1:
            return parts[0]
        return np.concatenate(parts)[np.argsort([row for group in self._groups for row in group.rows])]

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
        for group in self._groups:
            place = {row: i for i, row in enumerate(group.rows)}
            new = [i for i, row in enumerate(rows) if row in place]
            group.keep([place[rows[i]] for i in new])
            group.rows = new
        self.contexts = [list(self.contexts[row]) for row in rows]

    def _advance(self, group: _Group) -> np.ndarray:
        """Logits after the contexts of a group."""
        windows = [self.contexts[row][begin:] for row, begin in zip(group.rows, group.begins, strict=True)]
        # The last token is computed always: whoever asks twice gets the same answer twice.
        starts = [min(done, len(window) - 1) for done, window in zip(group.done, windows, strict=True)]
        new = [window[start:] for start, window in zip(starts, windows, strict=True)]
        ids = np.zeros((len(new), max(map(len, new))), np.int64)
        for row, tokens in zip(ids, new, strict=True):
            row[: len(tokens)] = tokens
        group.cache.truncate(starts)  # forgets padding, and what a pass that broke off left
        out = self._forward(ids, group.cache, [len(tokens) - 1 for tokens in new])
        group.done = [len(window) for window in windows]
        return out

    def _forward(self, ids: np.ndarray, cache: KVCache, last: list[int]) -> np.ndarray:
        """Logits (B, V) after token last[b] of each row of ids."""
        was_training = self.model.training
        if was_training:
            self.model.eval()
        try:
            with no_grad():
                x = self.model.features(ids, cache=cache)
                return self.model.lm_head(x[Tensor(np.arange(len(last))), Tensor(np.array(last))]).numpy()
        finally:
            if was_training:
                self.model.train()

    @staticmethod
    def _checked(ids: Sequence[int], model: GPT) -> list[int]:
        tokens, size = [int(i) for i in ids], model.config.vocab_size
        if tokens and not (0 <= min(tokens) and max(tokens) < size):
            raise ConfigError(f"token ids are from 0 to {size - 1}, got {min(tokens)} to {max(tokens)}")
        return tokens


@dataclass
class _Group:
    """Rows whose windows share a cache: `done[i]` tokens of row rows[i], from its token begins[i] on, are in it."""

    rows: list[int]
    begins: list[int]
    done: list[int]
    cache: KVCache

    def keep(self, places: list[int]) -> None:
        """Drop, reorder and repeat rows, by their place in the cache."""
        if places != list(range(len(self.rows))):
            self.cache.select(places)
            self.rows = [self.rows[i] for i in places]
            self.begins = [self.begins[i] for i in places]
            self.done = [self.done[i] for i in places]


def window_start(length: int, n_positions: int) -> int:
    """The first token of a context of `length` that the model sees: it follows from the length alone, so that a
    text is the same whether it came token by token or at once.
    """
    step = max(1, n_positions // 2)
    return max(0, -(-(length - n_positions) // step) * step)
