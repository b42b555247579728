"""Where in a text the names of a set are: of those that begin at a place the longest, in linear time for any names.

Along a trie, names are tried where one may begin. Few texts have more than a letter or two in common with a name that
isn't there; but a text of one letter and a name of that letter, 2,000 times, and another one have 2,000 at each place.
So where trying costs much more than the text is long, the text is read once, a block at a time, from its end to its
beginning, by the automaton of Aho and Corasick (1975) of the names read backwards: of the names that end where it
stands, which are those that begin there, it knows the longest.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from functools import cached_property
from typing import Any, Generic, TypeVar

V = TypeVar("V")
FEW = 16  # first characters, each tried in turn
END = ""  # the key under which a node of the trie has the value of the name that ends there
TRIED = 4  # characters tried for each one of the text, before it is read backwards
BLOCK = 1 << 16  # characters, at least as many as the longest name has


class Names(Generic[V]):
    """`values`: each name, not empty, and what `Search.next` gives for it; of the same name the first one counts."""

    def __init__(self, values: Iterable[tuple[str, V]]) -> None:
        self.trie: dict[str, Any] = {}
        self.values: dict[str, V] = {}
        for name, value in values:
            if name in self.values or not name:
                continue
            self.values[name] = value
            node = self.trie
            for character in name:
                node = node.setdefault(character, {})
            node[END] = value
        self.first = re.compile(beginnings(self.trie))
        self.longest = max(map(len, self.values), default=0)

    @cached_property
    def backwards(self) -> Backwards[V]:
        return Backwards(self.values)


class Search(Generic[V]):
    """One text, searched from left to right."""

    def __init__(self, names: Names[V], text: str) -> None:
        self._names, self._text, self._first = names, text, names.first.search
        self._tried = 0
        self._read: dict[int, tuple[int, V]] = {}  # by where it begins: the end of a name, and its value
        self._read_to = 0

    def next(self, at: int) -> tuple[int, int, V] | None:
        """The first place from `at` on where names begin: where the longest of them begins and ends, and its value.
        `at` may not be less than in the call before.
        """
        while begin := self._first(self._text, at):
            start = begin.start()
            found = self._try(start) if start >= self._read_to else self._read.get(start)
            if found:
                return start, *found
            at = start + 1
        return None

    def _try(self, start: int) -> tuple[int, V] | None:
        if self._tried > TRIED * start + BLOCK:
            self._read_to = start + max(BLOCK, self._names.longest)
            self._read = self._names.backwards.found(self._text, start, self._read_to, self._names.longest)
            return self._read.get(start)
        node: Any = self._names.trie
        found, text, at = None, self._text, start
        for at in range(start, len(text)):
            node = node.get(text[at])
            if node is None:
                break
            if END in node:
                found = at + 1, node[END]
        self._tried += at - start
        return found


class Backwards(Generic[V]):
    """The automaton. A state is a node of the trie of the reversed names: what was read last is the way to it, and of
    all ways in the trie it is the longest.
    """

    def __init__(self, values: dict[str, V]) -> None:
        self.below: list[dict[str, int]] = [{}]  # by state: the states that a character leads to
        self.shorter = [0]  # the state of the longest end of the way that is another way
        self.name: list[tuple[int, V] | None] = [None]  # the length and value of the longest name that the way ends in
        for name, value in values.items():
            state = 0
            for character in reversed(name):
                following = self.below[state].setdefault(character, len(self.below))
                if following == len(self.below):
                    self.below.append({})
                    self.shorter.append(0)
                    self.name.append(None)
                state = following
            self.name[state] = len(name), value
        waiting = deque(self.below[0].values())
        while waiting:  # short ways first
            state = waiting.popleft()
            self.name[state] = self.name[state] or self.name[self.shorter[state]]
            for character, following in self.below[state].items():
                self.shorter[following] = self._step(self.shorter[state], character)
                waiting.append(following)

    def _step(self, state: int, character: str) -> int:
        while state and character not in self.below[state]:
            state = self.shorter[state]
        return self.below[state].get(character, 0)

    def found(self, text: str, start: int, end: int, longest: int) -> dict[int, tuple[int, V]]:
        """The longest name, by its end and value, that begins at each place from `start` up to `end`, where one does.
        `longest`: the length of the longest name.
        """
        state, found = 0, {}
        for at in reversed(range(start, min(end + longest, len(text)))):
            state = self._step(state, text[at])
            if (name := self.name[state]) and at < end:
                found[at] = at + name[0], name[1]
        return found


def beginnings(trie: dict[str, Any]) -> str:
    """A regular expression for where a name may begin: its first two characters, if not too many names differ there."""
    if not trie:
        return r"(?!)"  # nowhere
    if len(trie) > FEW:
        return characters(trie)
    return "|".join(re.escape(c) + ("" if END in below else characters(below)) for c, below in trie.items())


def characters(several: Iterable[str]) -> str:
    """The class of these characters."""
    return f"[{''.join(map(re.escape, several))}]"
