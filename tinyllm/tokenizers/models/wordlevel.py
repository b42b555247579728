"""A token for each word, whole: the baseline that subword tokenizers are compared with. Words are what the
pre-tokenizer gives; where it gives single characters this is a character tokenizer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers.pretokenizers.patterns import EACH_CHARACTER
from tinyllm.tokenizers.pretokenizers.split import Split
from tinyllm.tokenizers.stage import Model, Normalizer, PreTokenizer, short

CHARACTERS = Split({"Regex": EACH_CHARACTER}, "Isolated")  # every character is a piece

BLOCK = 1 << 18  # bytes; at least 4, as a character may have

INVALID = {0xDC00 + byte: "\ufffd" for byte in range(128, 256)}  # what surrogateescape makes of a byte that is no UTF-8


@dataclass(frozen=True, eq=False)
class WordLevel(Model):
    """`vocab`: word to id; the ids are 0 ... len(vocab) - 1. `unk_token` stands for a word that is none of them; if it
    is none of them itself, such a word raises TokenizerError. Ids in `reserved` are never read out of text. A byte
    that is no UTF-8 counts as U+FFFD.
    """

    vocab: Mapping[str, int]
    unk_token: str = "<unk>"
    reserved: frozenset[int] = frozenset()
    tokens: list[bytes] = field(init=False, repr=False)
    _ids: dict[str, int] = field(init=False, repr=False)
    _unknown: int | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        words = sorted(self.vocab, key=self.vocab.__getitem__)
        for i, word in enumerate(words):
            if self.vocab[word] != i:
                raise TokenizerError(f"the ids of {len(words)} words must be 0 to {len(words) - 1}; none has id {i}")
            if not word or any("\ud800" <= c <= "\udfff" for c in word):
                raise TokenizerError(f"token {i} is {word!r}; a word is one or more characters, no lone surrogate")
        object.__setattr__(self, "tokens", [word.encode("utf-8") for word in words])
        object.__setattr__(self, "_ids", {word: i for word, i in self.vocab.items() if i not in self.reserved})
        object.__setattr__(self, "_unknown", self.vocab.get(self.unk_token))

    def encode(self, piece: bytes) -> list[int]:
        return [self._id(text(piece))] if piece else []

    def tokenize(self, piece: bytes) -> list[tuple[int, int]]:
        return [(self._id(text(piece)), len(piece))] if piece else []

    def _id(self, word: str) -> int:
        found = self._ids.get(word, self._unknown)
        if found is None:
            raise TokenizerError(
                f"{short(word)} is not among the {len(self.tokens)} words of this tokenizer, which has no token for "
                "unknown ones; train it with one (unk)"
            )
        return found

    def fused(
        self, normalizer: Normalizer | None, pre_tokenizer: PreTokenizer | None
    ) -> Callable[[bytes], list[int]] | None:
        return self._characters if normalizer is None and pre_tokenizer == CHARACTERS else None

    def _characters(self, data: bytes) -> list[int]:
        """The ids of a text that is cut into characters."""
        ids: list[int] = []
        get, unknown = self._ids.get, self._unknown
        for characters in blocks(data):
            found = [get(c, unknown) for c in characters]
            if unknown is None and None in found:
                at = found.index(None)
                raise TokenizerError(
                    f"character {len(ids) + at} of the text is {characters[at]!r} (U+{ord(characters[at]):04X}), which "
                    f"is not among the {len(self._ids)} characters of this tokenizer; train it on text that has it, or "
                    "give it unk="
                )
            ids += found  # type: ignore[arg-type]
        return ids

    def reserving(self, ids: frozenset[int]) -> WordLevel:
        return replace(self, reserved=self.reserved | ids)


def blocks(data: bytes) -> Iterator[str]:
    """`text` of all of it, part by part: as characters at once it can be four times as large."""
    start = 0
    while start < len(data):
        end = start + BLOCK
        for back in range(4 if end < len(data) else 0):  # between two characters, of which none has more bytes
            if data[end - back] & 0xC0 != 0x80:
                end -= back
                break
        yield text(data[start:end])
        start = end


def text(piece: bytes) -> str:
    """The characters of a piece."""
    try:
        return piece.decode("utf-8")
    except UnicodeDecodeError:
        return piece.decode("utf-8", "surrogateescape").translate(INVALID)
