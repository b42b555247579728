"""The ids of a tokenizer: those of its model, and the added tokens under theirs; which are special, and how those that
are looked for in a text are found.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers.added import AddedToken, Finder
from tinyllm.tokenizers.aligned import Aligned
from tinyllm.tokenizers.base import utf8
from tinyllm.tokenizers.stage import Normalizer

Added = Iterable[str | AddedToken] | Mapping[str | AddedToken, int]
FARTHEST = 1 << 20  # ids between a vocabulary and an added token
KEPT = 64  # finders


class Vocabulary:
    """`tokens[i]` is the spelling of id i as bytes, b"" for an id that is none (`gaps`). `added`: id to added token.
    `special`: name to id of the special ones. It is never changed: `extended` makes another.
    """

    def __init__(
        self,
        tokens: Sequence[bytes],
        normalizer: Normalizer | None = None,
        added: Mapping[int, AddedToken] | None = None,
    ) -> None:
        self.tokens = list(tokens)
        self.added = dict(added or {})
        self.special = {token.content: i for i, token in self.added.items() if token.special}
        self.special_ids = frozenset(self.special.values())
        self.gaps = frozenset(i for i, token in enumerate(self.tokens) if not token)
        self._normalizer = normalizer
        self._ids: dict[bytes, int] = {}
        for i, token in enumerate(self.tokens):
            self._ids.setdefault(token, i)
        self._finders: dict[frozenset[str], tuple[Finder | None, Finder | None]] = {}

    def id_of(self, token: bytes) -> int | None:
        """The id of a token by its spelling (of several the first), or None."""
        return self._ids.get(token) if token else None

    def extended(self, more: Added) -> Vocabulary:
        """With more added tokens. Without an id given, those that are tokens keep theirs, others get the next ones."""
        if isinstance(more, str):
            raise TypeError(f"added tokens are several names, not one str: [{more!r}]")
        tokens, added = list(self.tokens), dict(self.added)
        ids = {token.content: i for i, token in added.items()}
        wanted = more.items() if isinstance(more, Mapping) else ((token, None) for token in more)
        for token, number in wanted:
            token = AddedToken(token) if isinstance(token, str) else token
            name, spelled = token.content, utf8(token.content)
            if name in ids:
                raise TokenizerError(f"added token {name!r} is given twice")
            number = self._ids.get(spelled, len(tokens)) if number is None else number
            if not 0 <= number <= len(tokens) + FARTHEST:
                raise TokenizerError(f"added token {name!r} has id {number}, far from the {len(tokens)} others")
            tokens += [b""] * (number + 1 - len(tokens))
            if tokens[number] not in (b"", spelled) or number in added:
                raise TokenizerError(f"added token {name!r} has id {number}, which is the id of {tokens[number]!r}")
            tokens[number], added[number], ids[name] = spelled, token, number
        return Vocabulary(tokens, self._normalizer, added)

    def finders(self, allowed_special: str | Iterable[str]) -> tuple[Finder | None, Finder | None]:
        """What finds the added tokens before normalization, and what finds those that are looked for after it."""
        names = self._allowed(allowed_special)
        if names not in self._finders:
            if len(self._finders) >= KEPT:
                self._finders.clear()
            active = [(t, i) for i, t in self.added.items() if not t.special or t.content in names]
            before = [(t.content, t, i) for t, i in active if not t.normalized]
            after = [(self._normalized(t.content), t, i) for t, i in active if t.normalized]
            self._finders[names] = Finder(before) if before else None, Finder(after) if after else None
        return self._finders[names]

    def _normalized(self, name: str) -> str:
        return name if self._normalizer is None else self._normalizer.normalize(Aligned.of(name)).text

    def _allowed(self, allowed_special: str | Iterable[str]) -> frozenset[str]:
        if allowed_special == "all":
            return frozenset(self.special)
        if isinstance(allowed_special, str):
            raise TokenizerError(f'allowed_special is {allowed_special!r}; it must be "all" or a collection of names')
        names = frozenset(allowed_special)
        if unknown := sorted(names - self.special.keys()):
            known = ", ".join(map(repr, self.special)) or "none"
            raise TokenizerError(f"{unknown[0]!r} is no special token of this tokenizer, which has {known}")
        return names
