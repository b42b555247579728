"""Several pre-tokenizers as one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from tinyllm.tokenizers.aligned import Aligned
from tinyllm.tokenizers.pretokenizers import patterns
from tinyllm.tokenizers.pretokenizers.spaces import ByteLevel
from tinyllm.tokenizers.stage import PreTokenizer


@dataclass(frozen=True)
class Sequence(PreTokenizer):
    """Each cuts the pieces of the one before it."""

    pretokenizers: tuple[PreTokenizer, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "pretokenizers", tuple(self.pretokenizers))

    @property
    def scanner(self) -> str | None:
        # files write "by this pattern, as bytes" as a Split and a ByteLevel that cuts no more
        cutting = [one for one in self.pretokenizers if not isinstance(one, ByteLevel) or one.changes]
        return cutting[0].scanner if len(cutting) == 1 else None

    @property
    def heeds_first(self) -> bool:
        return any(one.heeds_first for one in self.pretokenizers)

    def pieces(self, text: Aligned, first: bool = True) -> list[Aligned]:
        pieces = [text] if text.text else []
        for one in self.pretokenizers:
            pieces = [part for piece in pieces for part in one.pieces(piece, first and piece.starts[0] == 0)]
        return pieces

    def texts(self, text: str, first: bool = True) -> Iterator[str | bytes]:
        if self.scanner:
            return patterns.texts(text, self.scanner)
        if self.heeds_first:  # which only the aligned text says of what comes out of a stage
            return super().texts(text, first)
        pieces: Iterator[str | bytes] = iter([text] if text else [])
        for one in self.pretokenizers:
            pieces = chain.from_iterable(map(one.texts, map(as_str, pieces)))
        return pieces


def as_str(piece: str | bytes) -> str:
    return piece if isinstance(piece, str) else piece.decode()
