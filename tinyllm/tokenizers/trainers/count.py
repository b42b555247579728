"""How often each piece of a text occurs: what every trainer starts from.

    words = count_words(texts, pre_tokenizer=ByteLevel(), threads=2, max_memory=1 << 30)
    words.items()     # [(piece, count), ...] in order of first appearance

Texts are read once, as they come, and not kept. The result is a function of the texts and their order alone: not of the
number of threads, nor of hash seeds, nor of where a text was cut to share the work. The counts don't depend on the
order either. Two counters have one interface: `WordCounter` of the compiled core, and the one in this file.
"""

from __future__ import annotations

import re
import struct
import warnings
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, Protocol

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers.aligned import Aligned
from tinyllm.tokenizers.base import as_texts, utf8
from tinyllm.tokenizers.engine import choose, core
from tinyllm.tokenizers.pretokenizers.patterns import split
from tinyllm.tokenizers.stage import Normalizer, PreTokenizer
from tinyllm.tokenizers.trainers.spill import Spill

LONGEST = 1 << 24  # bytes of a piece that is counted
SHARE = 1 << 22  # bytes of text that a thread takes at once; Ctrl-C is heard in between
MOST = 1 << 62  # occurrences times bytes: sums over pieces then stay within 64 signed bits
RECORD = struct.Struct("<qqq")  # of a dump: count, first appearance, bytes of the piece that follows
# Between a newline and one of these a piece ends in every pattern that has a compiled scanner, whatever is around.
BORDER = re.compile(rb"\n(?=[A-Za-z\xe4-\xe9])")

Range = tuple[bytes, int, int, int]  # a text, the part of it that is meant, and where that stands among all texts


class Words(Protocol):
    """What counters have in common."""

    total: int  # occurrences times bytes
    skipped: int  # pieces left out because they were too long,
    longest: int  # the longest of which had so many bytes

    @property
    def memory(self) -> int: ...

    def __len__(self) -> int: ...
    def add(self, data: bytes) -> None: ...
    def add_range(self, data: bytes, start: int, end: int, at: int) -> None: ...
    def add_piece(self, piece: bytes, n: int = 1) -> None: ...
    def items(self) -> list[tuple[bytes, int]]: ...
    def flat(self) -> tuple[bytes, bytes, bytes]: ...
    def merge(self, other: Any, least: int = 0) -> None: ...
    def dump(self, parts: int) -> list[bytes]: ...
    def load(self, data: bytes) -> None: ...
    def clear(self) -> None: ...


def word_counter(scanner: str | None = None, max_bytes: int = LONGEST, engine: str | None = None) -> Words:
    """An empty counter. `add` cuts a text with the scanner of that name; with None a text is one piece."""
    return (core("count").WordCounter if choose(engine) == "c" else WordCounter)(scanner, max_bytes)


def count_words(
    texts: str | bytes | Iterable[str | bytes],
    normalizer: Normalizer | None = None,
    pre_tokenizer: PreTokenizer | None = None,
    *,
    threads: int = 1,
    max_memory: int | None = None,
    max_word_bytes: int = LONGEST,
    progress: Callable[[int], object] | None = None,
    engine: str | None = None,
) -> Words:
    """Count the pieces of `texts`.

    `threads` share the work where a compiled scanner cuts the text (`pre_tokenizer.scanner`, without a normalizer);
    everything else is Python and runs in one. `max_memory`, in bytes, covers the counters and a BPE training that
    follows, not the texts: see spill.py. A piece of more than `max_word_bytes` is left out, with a UserWarning.
    `progress` is called with the bytes of text counted so far.
    """
    scanner = pre_tokenizer.scanner if pre_tokenizer is not None and normalizer is None else None
    counters = [word_counter(scanner, max_word_bytes, engine) for _ in range(max(threads, 1) if scanner else 1)]
    with Spill(max_memory, len(counters)) as spill:
        if scanner or (pre_tokenizer is None and normalizer is None):
            size = SHARE if max_memory is None else min(SHARE, max_memory // 64)
            cut = scanner is not None and choose(engine) == "c"
            count_shares(shares(map(utf8, as_texts(texts)), size, cut), counters, spill, progress)
        else:
            count_stages(as_texts(texts), normalizer, pre_tokenizer, counters[0], spill, progress)
        words = counters.pop(0)
        while counters:
            words.merge(counters.pop(0))
        spill.collect(words, lambda: word_counter(None, engine=engine))
    if words.skipped:
        warnings.warn(
            f"{words.skipped} pieces of more than {max_word_bytes} bytes were left out, the longest of "
            f"{words.longest}; a pre-tokenizer that cuts them, or a larger max_word_bytes, keeps them",
            stacklevel=2,
        )
    return words


def shares(texts: Iterable[bytes], size: int, cut: bool) -> Iterator[list[Range]]:
    """The texts in lists of about `size` bytes. Longer ones are divided, with `cut`, where a piece surely ends."""
    share: list[Range] = []
    have = at = 0
    for text in texts:
        start = 0
        while True:
            end = len(text)
            if cut and end - start > size - have and (border := BORDER.search(text, start + size - have)):
                end = border.end()
            share.append((text, start, end, at + start))
            have += end - start
            if have >= size:
                yield share
                share, have = [], 0
            start = end
            if start >= len(text):
                break
        at += len(text)
    if share:
        yield share


def count_shares(
    shares: Iterable[list[Range]],
    counters: Sequence[Words],
    spill: Spill,
    progress: Callable[[int], object] | None,
) -> None:
    """Each share goes to a counter that is free; one counter alone needs no thread."""

    def add(counter: Words, share: list[Range]) -> int:
        for data, start, end, at in share:
            counter.add_range(data, start, end, at)
        return at + end - start

    def finished(counter: Words, bytes_so_far: int) -> None:
        spill.relieve(counter)
        if progress:
            progress(bytes_so_far)

    if len(counters) == 1:
        for share in shares:
            finished(counters[0], add(counters[0], share))
        return
    free = list(counters)
    running: dict[Future[int], Words] = {}
    with ThreadPoolExecutor(len(counters)) as pool:
        for share in shares:
            counter = free.pop()
            running[pool.submit(add, counter, share)] = counter
            while running and not free:
                for done in wait(running, return_when=FIRST_COMPLETED).done:
                    counter = running.pop(done)
                    finished(counter, done.result())
                    free.append(counter)
        for future, counter in running.items():
            finished(counter, future.result())


def count_stages(
    texts: Iterable[str | bytes],
    normalizer: Normalizer | None,
    pre_tokenizer: PreTokenizer | None,
    counter: Words,
    spill: Spill,
    progress: Callable[[int], object] | None,
) -> None:
    """Through the stages, one after another, as a pipeline does."""
    quick = normalizer.quick if normalizer is not None and pre_tokenizer is None else None
    done = told = 0
    for text in texts:
        data = utf8(text)
        if quick:
            counter.add_piece(quick(data))
        else:
            aligned = Aligned.of(data.decode("utf-8", "surrogateescape"))
            if normalizer is not None:
                aligned = normalizer.normalize(aligned)
            for piece, n in Counter(_texts(aligned, normalizer, pre_tokenizer)).items():  # in order of appearance
                counter.add_piece(piece if isinstance(piece, bytes) else piece.encode("utf-8", "surrogateescape"), n)
        done += len(data)
        if done - told >= 1 << 16:
            spill.relieve(counter)
            if progress:
                progress(done)
            told = done


def _texts(text: Aligned, normalizer: Normalizer | None, pre_tokenizer: PreTokenizer | None) -> Iterable[str | bytes]:
    """The pieces of a text that is normalized."""
    if pre_tokenizer is None:
        return [text.text]
    if normalizer is not None and pre_tokenizer.heeds_first:  # which only the aligned text says
        return [piece.text for piece in pre_tokenizer.pieces(text)]
    return pre_tokenizer.texts(text.text)


class WordCounter:
    """The counter in plain Python; _count.pyx has the same one compiled."""

    def __init__(self, scanner: str | None = None, max_bytes: int = LONGEST) -> None:
        self._scanner, self._max_bytes = scanner, max_bytes
        self._found: dict[bytes, list[int]] = {}  # piece: [count, first appearance]
        self._at = 0  # where the next text stands among all
        self.total = self.skipped = self.longest = 0

    def __len__(self) -> int:
        return len(self._found)

    @property
    def memory(self) -> int:
        """Bytes that the tables take, about."""
        return sum(map(len, self._found)) + 300 * len(self._found)

    def add(self, data: bytes) -> None:
        """Count the pieces of one text."""
        self.add_range(data, 0, len(data), self._at)

    def add_range(self, data: bytes, start: int, end: int, at: int) -> None:
        """Count the pieces of data[start:end], which stands at byte `at` of all text, as a text of its own."""
        self._at = max(self._at, at + end - start)
        data = data[start:end]
        for piece in split(data, self._scanner, "python") if self._scanner else [data] if data else []:
            self._count(piece, 1, at)
            at += len(piece)

    def add_piece(self, piece: bytes, n: int = 1) -> None:
        """Count one piece n times."""
        if n < 0:
            raise TokenizerError(f"the count of {piece[:40]!r} is {n}; it can't be negative")
        if n:
            self._count(piece, n, self._at)
        self._at += 1

    def _count(self, piece: bytes, n: int, first: int) -> None:
        if len(piece) > self._max_bytes:
            self.skipped += n
            self.longest = max(self.longest, len(piece))
            return
        self.total += n * len(piece)
        if self.total > MOST:
            raise TokenizerError("the pieces, each as often as it occurs, have more than 2^62 bytes; divide the counts")
        known = self._found.setdefault(piece, [0, first])
        known[0] += n
        known[1] = min(known[1], first)

    def items(self) -> list[tuple[bytes, int]]:
        """(piece, count) of each distinct piece, in order of first appearance."""
        return [(piece, n) for piece, (n, _) in sorted(self._found.items(), key=lambda item: item[1][1])]

    def flat(self) -> tuple[bytes, bytes, bytes]:
        """The same for a compiled trainer: all pieces joined, where each ends and its count (packed int64)."""
        return flattened(self.items())

    def merge(self, other: WordCounter, least: int = 0) -> None:
        """Take in the pieces that another counter has counted `least` times or more."""
        for piece, (n, first) in other._found.items():
            if n >= least:
                self._count(piece, n, first)
        self.skipped += other.skipped
        self.longest = max(self.longest, other.longest)
        self._at = max(self._at, other._at)

    def dump(self, parts: int) -> list[bytes]:
        """All as `parts` strings of bytes for `load`; a piece is in the same part in every counter of a process."""
        found = [bytearray() for _ in range(parts)]
        for piece, (n, first) in self._found.items():
            found[hash(piece) % parts] += RECORD.pack(n, first, len(piece)) + piece
        return [bytes(part) for part in found]

    def load(self, data: bytes) -> None:
        """Take in what `dump` gave."""
        i = 0
        while i < len(data):
            n, first, size = RECORD.unpack_from(data, i)
            i += RECORD.size + size
            self._count(data[i - size : i], n, first)

    def clear(self) -> None:
        """Forget all pieces, not how many were left out."""
        self._found = {}
        self.total = 0


def flattened(items: Iterable[tuple[bytes, int]]) -> tuple[bytes, bytes, bytes]:
    """Pieces and counts as `flat` gives them."""
    pieces: list[bytes] = []
    ends, counts = array("q"), array("q")
    end = 0
    for piece, n in items:
        pieces.append(piece)
        end += len(piece)
        ends.append(end)
        counts.append(n)
    return b"".join(pieces), ends.tobytes(), counts.tobytes()
