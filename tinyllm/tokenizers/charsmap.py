"""SentencePiece's table of character rules, `precompiled_charsmap`: which strings become which.

    rules = charsmap(data);  rules.match("ﬁt", 0) == (1, "fi")     # the longest rule that begins at character 0

The table is the size of a trie in bytes (uint32, little-endian), the trie, and the results, each ended by a zero
byte. The trie is a "double array" (Aoe 1989) as darts-clone lays it out: from unit u, byte b leads to unit
i = base ^ b, where base is u's index ^ u's offset, if i's label is b; a unit with a leaf keeps in unit `base` where
its result begins. All is checked when it is read: no table makes a look-up leave it.

Rules are read as rules on characters: where a table has a rule that ends within one, that rule is never used.
"""

from __future__ import annotations

import struct
from array import array
from functools import lru_cache

from tinyllm.errors import TokenizerError

LEAF = 1 << 31
CACHED = 1 << 16  # characters


@lru_cache(maxsize=16)
def charsmap(data: bytes) -> Charsmap:
    """The table `data`, read once. TokenizerError if it is none."""
    return Charsmap(data)


class Charsmap:
    """The rules of the table `data`."""

    def __init__(self, data: bytes) -> None:
        size = struct.unpack_from("<I", data)[0] if len(data) > 4 else 0
        if size < 1024 or size % 1024 or size >= len(data) - 4:
            raise TokenizerError(f"precompiled_charsmap: {len(data)} bytes with a trie of {size} bytes are no table")
        self.units = array("I", struct.unpack_from(f"<{size // 4}I", data, 4))
        self.results = data[4 + size :]
        self._check()
        self._known: dict[str, tuple[str | None, int]] = {}

    def _check(self) -> None:
        units, n, results = self.units, len(self.units), self.results
        try:
            results.decode("utf-8")
        except UnicodeDecodeError as error:
            raise TokenizerError(f"precompiled_charsmap: byte {error.start} of its results is no UTF-8") from None
        good = units[0] & (LEAF | 0x1FF) == 0 and _offset(units[0]) != 0
        for i, unit in enumerate(units):
            if unit & LEAF:
                at = unit & ~LEAF
                good = good and i > 0 and at < len(results) and results[at] & 0xC0 != 0x80
            else:
                base = i ^ _offset(unit)
                good = good and base | 0xFF < n and (not unit & 0x100 or bool(units[base] & LEAF))
            if not good:
                raise TokenizerError(f"precompiled_charsmap: unit {i} of its trie leads nowhere")

    def match(self, text: str, start: int) -> tuple[int, str]:
        """The longest rule that begins at text[start]: where it ends and what it gives; the character itself if there
        is none.
        """
        c = text[start]
        known = self._known.get(c)
        if known is None:
            node, result = self._step(_offset(self.units[0]), c)
            known = result, node if self._goes_on(node) else 0
            if len(self._known) >= CACHED:
                self._known.clear()
            self._known[c] = known
        found, node = known
        end = at = start + 1
        while node and at < len(text):
            node, result = self._step(node, text[at])
            at += 1
            if result is not None:
                found, end = result, at
        return end, c if found is None else found

    def shortest(self, text: str) -> str | None:
        """What the shortest rule that `text` begins with gives; None if there is none."""
        node = _offset(self.units[0])
        for character in text:
            node, result = self._step(node, character)
            if result is not None or not node:
                return result
        return None

    def _step(self, base: int, character: str) -> tuple[int, str | None]:
        """From the children at `base` by the bytes of a character: (base of its children, or 0; its result)."""
        units, unit = self.units, 0
        for byte in character.encode("utf-8", "surrogateescape"):
            i = base ^ byte
            unit = units[i]
            if unit & (LEAF | 0xFF) != byte:
                return 0, None
            base = i ^ _offset(unit)
        if not unit & 0x100:
            return base, None
        at = units[base] & ~LEAF
        end = self.results.find(b"\0", at)
        return base, self.results[at : end if end >= 0 else None].decode("utf-8")

    def _goes_on(self, base: int) -> bool:
        return base > 0 and any(self.units[base ^ byte] & (LEAF | 0xFF) == byte for byte in range(1, 256))


def _offset(unit: int) -> int:
    return unit >> 10 << ((unit & 0x200) >> 6)
