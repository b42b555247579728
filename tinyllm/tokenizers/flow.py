"""What decoders are made of: flows of tokens, that work on what has come so far.

Hugging Face's decoders map a list of tokens to a list of tokens. Here a list is a stream: the bytes of a token, in one
part or several, then END. So a sequence of decoders can be streamed, and decoding all at once is the same stream
folded; nothing is held back but what a later token can still change (the end of a text that `Strip` looks at, a run of
byte tokens, which is text only as a whole).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import ClassVar

from tinyllm.tokenizers.base import is_utf8
from tinyllm.tokenizers.stage import Decoder, DecodeStep

END = None
Item = bytes | None  # a part of a token, or END


class Flow(ABC):
    """One decoder at work: items in, items out. `local`: every token but the first becomes the same wherever it is."""

    local: ClassVar[bool] = False

    def alone(self) -> Flow | None:
        """A local flow that gives the same bytes, provided that all of it is UTF-8, as tokens are."""
        return None

    @abstractmethod
    def push(self, item: Item) -> Iterable[Item]:
        """What follows from one more item."""

    def finish(self) -> Iterable[Item]:
        """What was held back."""
        return ()


class Whole(Flow):
    """Looks at whole tokens: one that comes in parts is put together first. `number`: how many came before."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.number = 0

    def push(self, item: Item) -> Iterable[Item]:
        if item is not END:
            self.parts.append(item)
            return ()
        token = b"".join(self.parts)
        self.parts.clear()
        out = [part for text in self.tokens(token) for part in (text, END)]
        self.number += 1
        return out

    @abstractmethod
    def tokens(self, token: bytes) -> Iterable[bytes]:
        """The tokens that one becomes."""


class Chain(DecodeStep):
    """Flows one after another."""

    def __init__(self, flows: list[Flow]) -> None:
        self.flows = flows

    def push(self, token: bytes) -> bytes:
        return self._through([token, END], 0)

    def finish(self) -> bytes:
        return b"".join([self._through(flow.finish(), i + 1) for i, flow in enumerate(self.flows)])

    def _through(self, items: Iterable[Item], first: int) -> bytes:
        for flow in self.flows[first:]:
            items = [out for item in items for out in flow.push(item)]
        return b"".join([item for item in items if item is not END])


class FlowDecoder(Decoder):
    """A decoder that is made of flows, so that a Sequence can have it."""

    @abstractmethod
    def flows(self) -> list[Flow]:
        """New ones."""

    def begin(self) -> DecodeStep:
        return Chain(self.flows())

    def later(self, tokens: Sequence[bytes]) -> list[bytes] | None:
        """What each token becomes where it is not the first, to be joined; None if that depends on more."""
        head, tail, checked = self._halves()
        if not all(flow.local for flow in head) or (checked and not all(map(is_utf8, tokens))):
            return None
        step = Chain(head)
        step.push(b"")
        return [step.push(token) for token in tokens]

    def joined(self, text: bytes, tokens: Iterable[bytes]) -> bytes | None:
        """The text of `tokens` from what `later` makes of them, joined; None if it depends on more."""
        head, tail, checked = self._halves()
        if head:
            first = next(iter(tokens), None)
            if first is None:
                return None
            step = Chain(self._halves()[0])
            step.push(b"")
            begins, usual = Chain(head).push(first), step.push(first)
            text = text if begins == usual else begins + text[len(usual) :]
        if checked and not is_utf8(text):
            return None
        if not tail:
            return text
        chain = Chain(tail)
        return chain.push(text) + chain.finish()

    def _halves(self) -> tuple[list[Flow], list[Flow], bool]:
        """The flows before all tokens are one, those after it, and whether the first ones are only right for UTF-8."""
        flows = self.flows()
        at = next((i for i, flow in enumerate(flows) if isinstance(flow, Joining)), len(flows))
        head, tail = flows[:at], flows[at + 1 :]
        last = head[-1].alone() if head else None
        return ([*head[:-1], last] if last else head), tail, last is not None


class Joining(Flow):
    local = True

    def push(self, item: Item) -> Iterable[Item]:
        return () if item is END else (item,)

    def finish(self) -> Iterable[Item]:
        return (END,)
