"""The symbols that a BPE training starts from: bytes, or characters in the forms that prefix and suffix give them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from struct import pack, unpack
from typing import Any

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers.engine import choose, core
from tinyllm.tokenizers.normalizers.literal import byte_alphabet
from tinyllm.tokenizers.trainers.count import MOST, flattened
from tinyllm.tokenizers.trainers.pieces import BOUNDARY, RARE

DROPPED, WALL = -1, -2  # instead of an id, as in _bpe_train.pyx


@dataclass
class Alphabet:
    """`tokens` are special tokens and symbols by id. ids[form][i] is the id of points[i] (None: of byte i) in a form:
    neither first nor last in a word, last, first, or both; with one form it is for all. `absent`: that of all others.
    """

    tokens: list[bytes]
    points: list[int] | None
    ids: list[list[int]]
    absent: int = DROPPED

    def words(self, items: Iterable[tuple[bytes, int]]) -> Iterator[tuple[list[int], int]]:
        """Pieces as symbols; cut where nothing is merged across."""
        of_symbols = range(256) if self.points is None else self.points
        known = [dict(zip(of_symbols, ids, strict=True)) for ids in self.ids]
        for piece, n in items:
            points = list(piece) if self.points is None else [ord(character) for character in characters(piece)]
            symbols: list[int] = []
            for i, point in enumerate(points):
                form = 2 * (i == 0) + (i == len(points) - 1) if len(known) > 1 else 0
                symbol = known[form].get(point, self.absent)
                if symbol >= 0:
                    symbols.append(symbol)
                elif symbol == WALL:
                    yield symbols, n
                    symbols = []
            yield symbols, n


def bytes_alphabet(tokens: list[bytes], by_value: bool) -> Alphabet:
    """Special tokens, then the bytes, `by_value` or in the order of GPT-2's printable characters."""
    order = sorted(range(256), key=range(256).__getitem__ if by_value else byte_alphabet().__getitem__)
    ids = [len(tokens) + i for _, i in sorted(zip(order, range(256), strict=True))]
    return Alphabet(tokens + [bytes([byte]) for byte in order], None, [ids])


def hf_alphabet(
    tokens: list[bytes],
    forms: list[dict[int, int]],
    initial_alphabet: Iterable[str],
    limit: int | None,
    prefix: str,
    suffix: str,
) -> Alphabet:
    """Special tokens, characters by code point, then their forms with prefix and suffix."""
    counts = sum(map(Counter, forms), Counter[int]())
    initial = set(map(ord, initial_alphabet))
    ranked = sorted({*counts, *initial}, key=lambda point: (point not in initial, -counts[point], point))
    points = sorted(ranked[:limit])
    plain = list(range(len(tokens), len(tokens) + len(points)))
    tokens += [chr(point).encode() for point in points]
    if not prefix and not suffix:
        return Alphabet(tokens, points, [plain])
    ids = [[DROPPED] * len(points) for _ in range(4)]
    known = {token: i for i, token in enumerate(tokens)}
    for k, point in enumerate(points):
        for form in range(4):
            if point in forms[form]:
                spelling = (prefix * (form < 2) + chr(point) + suffix * (form % 2)).encode()
                if spelling not in known:
                    known[spelling] = len(tokens)
                    tokens.append(spelling)
                ids[form][k] = known[spelling]
    return Alphabet(tokens, points, ids)


def spm_alphabet(tokens: list[bytes], forms: list[dict[int, int]], coverage: float, limit: int | None) -> Alphabet:
    """Special tokens, then the most frequent characters that make up a share of the text."""
    counts = sum(map(Counter, forms), Counter[int]())
    del counts[0], counts[0x20]
    total, covered = counts.total(), 0
    points = []
    for point, n in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        if single(covered / total) >= single(coverage):
            break
        covered += n
        if chr(point) not in (BOUNDARY, RARE):
            points.append(point)
    points = points[:limit]
    ids = list(range(len(tokens), len(tokens) + len(points)))
    return Alphabet(tokens + [chr(point).encode() for point in points], points, [ids], WALL)


def single(number: float) -> float:
    """Rounded to 32 bits, in which SentencePiece compares."""
    return unpack("f", pack("f", number))[0]


def characters(piece: bytes) -> str:
    """A piece as text; each byte that is no UTF-8 is U+FFFD."""
    text = piece.decode("utf-8", "surrogateescape")
    return "".join("\ufffd" if "\udc80" <= one <= "\udcff" else one for one in text) if not text.isascii() else text


def flat(words: Any) -> tuple[bytes, bytes, bytes]:
    """What a counter's `flat` gives, also of a mapping."""
    if hasattr(words, "flat"):
        return words.flat()
    for piece, n in words.items():
        if not -MOST <= n <= MOST:
            raise TokenizerError(f"the count of {piece[:40]!r} is {n}, which has more than 62 bits")
    return flattened(words.items())


def count_characters(words: Any, engine: str | None) -> list[dict[int, int]]:
    """How often each code point occurs, by its form: see Alphabet."""
    if choose(engine) == "c":
        return core("bpe_train").characters(*flat(words))
    forms: list[dict[int, int]] = [{}, {}, {}, {}]
    for piece, n in words.items():
        text = characters(piece)
        for i, character in enumerate(text if n else ""):
            form = forms[2 * (i == 0) + (i == len(text) - 1)]
            form[ord(character)] = form.get(ord(character), 0) + n
    return forms
