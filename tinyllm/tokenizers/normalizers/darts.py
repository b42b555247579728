"""Writes SentencePiece's table of character rules, `precompiled_charsmap`; charsmap.py reads it and says its layout.

    blob = compiled({"ﬁ": "fi", "e\\u0301": "é"})      # bytes, as in the .model file

The rules become the smallest automaton in which equal tails are one (225,000 rules of NFKC, most of them ways to
spell Hangul, have 17,000 nodes), and its nodes are laid into a double array: the children of a node at base ^ byte,
for the first base where all of those units are free. The same rules give the same bytes.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Mapping

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers.charsmap import LEAF

BLOCK = 256  # units; a base and its children lie in one block
OPEN_BLOCKS = 16  # the last ones, where free units are looked for
MOST_UNITS = 1 << 21  # what a unit's offset can span
LONGEST = 31  # rules that begin one another, and bytes of a key: SentencePiece's limit, and more than any rule needs

Node = tuple[int, tuple[tuple[int, int], ...]]  # value or -1; (byte, number of the child) of each edge


def compiled(rules: Mapping[str, str]) -> bytes:
    """The table of `rules`. TokenizerError for a rule that such a table cannot hold."""
    for key, new in rules.items():
        if not key or "\0" in key + new or key == new or len(key.encode()) > LONGEST:
            raise TokenizerError(
                f"the rule {key!r} -> {new!r} must change 1 to {LONGEST} bytes of text without U+0000 to something else"
            )
    if not rules:
        raise TokenizerError("a table of character rules needs at least one rule")
    results = sorted({new.encode() for new in rules.values()})
    places, pool = {}, b""
    for result in results:
        places[result] = len(pool)
        pool += result + b"\0"
    ordered = sorted((key.encode(), places[new.encode()]) for key, new in rules.items())
    units = _laid_out(_automaton([key for key, _ in ordered], [value for _, value in ordered]))
    return struct.pack(f"<I{len(units)}I", 4 * len(units), *units) + pool


def _automaton(keys: list[bytes], values: list[int]) -> list[Node]:
    """The nodes, children before parents, the root last; equal ones once."""
    numbers: dict[Node, int] = {}

    def node(low: int, high: int, depth: int) -> int:
        """The number of the node of keys low ... high - 1, which have their first `depth` bytes in common."""
        value = -1
        if len(keys[low]) == depth:
            value = values[low]
            low += 1
        edges = []
        while low < high:
            byte = keys[low][depth]
            end = bisect_left(keys, keys[low][:depth] + bytes([byte + 1]), low, high)
            edges.append((byte, node(low, end, depth + 1)))
            low = end
        return numbers.setdefault((value, tuple(edges)), len(numbers))

    node(0, len(keys), 0)
    return list(numbers)


def _laid_out(nodes: list[Node]) -> list[int]:
    """The double array's units."""
    array = _Units()
    bases: dict[int, int] = {}  # of the nodes that have a place already
    todo = [(0, len(nodes) - 1)]  # (unit, node that it leads to)
    while todo:
        unit, number = todo.pop()
        value, edges = nodes[number]
        placed = number in bases
        if not placed:
            bases[number] = array.room_for([0] * (value >= 0) + [byte for byte, _ in edges])
        base = bases[number]
        array.units[unit] |= (unit ^ base) << 10 | (value >= 0) << 8
        if placed:
            continue
        if value >= 0:
            array.units[base] = LEAF | value
        for byte, child in reversed(edges):
            array.units[base ^ byte] = byte
            todo.append((base ^ byte, child))
    array.close()
    return array.units


class _Units:
    """A growing array of units, and which of them are taken."""

    def __init__(self) -> None:
        self.units: list[int] = []
        self.free: list[dict[int, None]] = []  # by block, in order
        self.bases: list[set[int]] = []
        self._grow()
        del self.free[0][0]  # the root
        self.bases[0].add(0)  # no offset, which would mean no children

    def _grow(self) -> None:
        start = len(self.units)
        if start >= MOST_UNITS:
            raise TokenizerError(f"these character rules need more than {MOST_UNITS} units, which no table can hold")
        self.units += [0] * BLOCK
        self.free.append(dict.fromkeys(range(start, start + BLOCK)))
        self.bases.append(set())

    def room_for(self, labels: list[int]) -> int:
        """A base for children of these labels, whose units are now taken."""
        for block in range(max(0, len(self.free) - OPEN_BLOCKS), len(self.free)):
            free, bases = self.free[block], self.bases[block]
            if len(free) < len(labels):
                continue
            for unit in free:
                base = unit ^ labels[0]
                if base not in bases and all(base ^ label in free for label in labels):
                    for label in labels:
                        del free[base ^ label]
                    bases.add(base)
                    return base
        self._grow()
        return self.room_for(labels)

    def close(self) -> None:
        """Free units get a label that no base of their block leads to them by."""
        for block, (free, bases) in enumerate(zip(self.free, self.bases, strict=True)):
            unused = next((base for base in range(block * BLOCK, (block + 1) * BLOCK) if base not in bases), 0)
            for unit in free:
                self.units[unit] = (unit ^ unused) & 0xFF
