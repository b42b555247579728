"""The fastest ways from a text to its ids; where no compiled function runs a pipeline whole, pieces are remembered.

Most of a text are words that it has had already. So where offsets are not asked for, the pre-tokenizer's pieces go
through the later stages and the model once each, and from then on are looked up. What is remembered is forgotten, all
at once, when it takes more than ROOM bytes; a piece of more than LONGEST characters is not remembered at all. The ids
are the same as stage by stage: a piece's ids depend on nothing else, but for models that draw them (`Model.random`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

from tinyllm.tokenizers.aligned import Aligned
from tinyllm.tokenizers.pretokenizers.sequence import Sequence, as_str
from tinyllm.tokenizers.stage import Model, Normalizer, PreTokenizer

Encode = Callable[[str | bytes], list[int]]
LONGEST = 64
ROOM = 1 << 23
ONE = 250  # bytes that an entry takes beside its piece and its ids, about


class Known(dict[str | bytes, list[int]]):
    """The ids of pieces, by `encode` where they are not known."""

    def __init__(self, encode: Encode) -> None:
        self._encode, self._room = encode, ROOM

    def __missing__(self, piece: str | bytes) -> list[int]:
        ids = self._encode(piece)
        if len(piece) <= LONGEST:
            self._room -= ONE + 4 * len(piece) + 8 * len(ids)
            if self._room < 0:
                self.clear()
                self._room = ROOM
            self[piece] = ids
        return ids


Fused = Callable[[Any], list[int]]  # of bytes; a compiled one of a str, too, if the model reads_str


class Ways(NamedTuple):
    """From bytes to ids by one compiled function; by whatever is fastest; from a str that is normalized already."""

    compiled: Fused | None
    whole: Fused | None
    rest: Callable[[str], list[int]] | None


def ways(model: Model, normalizer: Normalizer | None, pre_tokenizer: PreTokenizer | None) -> Ways:
    """What there is; None where it must go stage by stage."""
    compiled = model.fused(normalizer, pre_tokenizer)
    if normalizer is not None and pre_tokenizer is not None and pre_tokenizer.heeds_first:
        return Ways(compiled, compiled, None)  # what is first, only the aligned text says
    fused = compiled if normalizer is None else model.fused(None, pre_tokenizer)
    rest = remembering(model, pre_tokenizer) if fused is None else lambda text: fused(as_bytes(text))
    if compiled is not None or rest is None:
        return Ways(compiled, compiled, rest)

    quick = None if normalizer is None else normalizer.quick

    def whole(data: bytes) -> list[int]:
        if normalizer is None or quick:
            return rest((quick(data) if quick else data).decode("utf-8", "surrogateescape"))
        return rest(normalizer.normalize(Aligned.of(data.decode("utf-8", "surrogateescape"))).text)

    return Ways(None, whole, rest)


def remembering(model: Model, pre_tokenizer: PreTokenizer | None) -> Encode | None:
    """A function from a text that is normalized to its ids, if there are pieces to remember."""
    if model.random or pre_tokenizer is None:
        return None
    stages: tuple[PreTokenizer, ...] = (pre_tokenizer,)
    if isinstance(pre_tokenizer, Sequence) and not pre_tokenizer.scanner and not pre_tokenizer.heeds_first:
        stages = pre_tokenizer.pretokenizers
    encode: Encode = partial(_encoded, model)
    for stage in reversed(stages):
        encode = _looking_up(stage, Known(encode))
    return encode


def _encoded(model: Model, piece: str | bytes) -> list[int]:
    return model.encode(piece if isinstance(piece, bytes) else as_bytes(piece))


def _looking_up(stage: PreTokenizer, known: Known) -> Encode:
    def encode(text: str | bytes) -> list[int]:
        pieces = stage.texts(as_str(text))
        del text  # its pieces may be of another one
        return list(chain.from_iterable(map(known.__getitem__, pieces)))

    return encode


def as_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
