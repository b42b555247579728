"""What a tokenizer is composed of: normalizer -> pre-tokenizer -> model -> post-processor -> decoder.

A stage is a small frozen dataclass. Its class name is the "type" of its object in tokenizer.json, its fields are that
object's fields, in the names and with the defaults of Hugging Face's `tokenizers`; so a stage is written and read
without code of its own, and two stages are equal if they do the same.

Between the stages text is an `Aligned` (aligned.py): a str whose characters know where they came from in the text
that the caller gave. A byte that is no UTF-8 is one lone surrogate there ("surrogateescape"). Models see the UTF-8
bytes of one piece, and say how many of them each token covers.

Who needs no offsets can be faster: a model that has a compiled encoder for a whole pipeline says so in `fused`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from tinyllm.tokenizers.aligned import Aligned


class Stage:
    """The common base: the name of the class is the "type" in tokenizer.json."""


class Normalizer(Stage, ABC):
    """Changes text, character by character or by its meaning, and keeps the alignment."""

    @abstractmethod
    def normalize(self, text: Aligned) -> Aligned:
        """`text` changed."""


class PreTokenizer(Stage, ABC):
    """Cuts text into pieces; no token crosses the border of a piece."""

    @abstractmethod
    def pieces(self, text: Aligned, first: bool = True) -> list[Aligned]:
        """The pieces in order, none empty. `first`: the text begins the input (no special token before it)."""

    @property
    def scanner(self) -> str | None:
        """The name of the pattern that cuts the bytes of a text in the same way, if there is one ("gpt2")."""
        return None

    @property
    def heeds_first(self) -> bool:
        """Whether `pieces` asks where a text stands."""
        return False


class Model(Stage, ABC):
    """Pieces to ids. `tokens[i]` is the spelling of id i, as bytes: UTF-8, or any bytes in byte-level models."""

    tokens: Sequence[bytes]

    @abstractmethod
    def tokenize(self, piece: bytes) -> list[tuple[int, int]]:
        """(id, how many bytes of the piece it covers) of each token; the widths add up to len(piece)."""

    def encode(self, piece: bytes) -> list[int]:
        """The ids alone."""
        return [token for token, _ in self.tokenize(piece)]

    def fused(
        self, normalizer: Normalizer | None, pre_tokenizer: PreTokenizer | None
    ) -> Callable[[bytes], list[int]] | None:
        """A compiled function from the bytes of a text to its ids, the same as through the stages, if there is one."""
        return None

    def reserving(self, ids: frozenset[int]) -> Model:
        """This model, but one that never reads any of these ids (special tokens) out of the text of a piece."""
        return self


class Trainer(ABC):
    """Learns a model from how often each piece occurs."""

    @abstractmethod
    def train(self, words: Any, progress: Callable[[int, int], object] | None = None) -> Model:
        """The model. `words`: pieces (bytes) and their counts, a mapping or a WordCounter."""


class PostProcessor(Stage):
    """Puts special tokens around one text or a pair of texts, and numbers them (type ids)."""


class Decoder(Stage, ABC):
    """Tokens back to text, one at a time: `start()` gives a fresh `DecodeStep`."""

    @abstractmethod
    def start(self) -> DecodeStep:
        """A new state."""


class DecodeStep(ABC):
    """The state of a decoder within one sequence of tokens. What comes out, joined, is the text."""

    @abstractmethod
    def push(self, token: bytes) -> bytes:
        """The bytes of text that are certain once this token is known; often its own, sometimes none."""

    def finish(self) -> bytes:
        """What was held back."""
        return b""
