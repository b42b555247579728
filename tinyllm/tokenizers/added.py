"""Tokens that are found in the text before a model sees it: special tokens, and whatever a vocabulary was extended by.

At each place the longest name that begins there is found, from left to right, without overlap. What an added token
asks for beside (to stand alone, to take the space around it) is as in Hugging Face's `tokenizers`. How names are looked
for is in names.py: hundreds cost no more than a few, and long ones no more than short ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers.names import Names, Search
from tinyllm.tokenizers.pretokenizers.classes import INSIDE

SPACES = "\t\n\v\f\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"  # White_Space, as a class of `re`
SPACE, SPACE_RUN = re.compile(f"[{SPACES}]"), re.compile(f"[{SPACES}]*")


@dataclass(frozen=True)
class AddedToken:
    """`content` is the name. `single_word`: not inside a word. `lstrip`, `rstrip`: takes the white space before, after
    it. `normalized`: looked for in the normalized text (and normalized itself); by default unless it is special.
    `special`: found only where `allowed_special` says so, and left out by `skip_special_tokens`.
    """

    content: str
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool | None = None
    special: bool = False

    def __post_init__(self) -> None:
        if not self.content:
            raise TokenizerError("the name of an added token is empty; it must have at least one character")
        if self.normalized is None:
            object.__setattr__(self, "normalized", not self.special)


class Finder:
    """Finds names in a text. `names`: each as it stands in the text, its token, its id."""

    def __init__(self, names: Iterable[tuple[str, AddedToken, int]]) -> None:
        self._names = Names((name, (token, number)) for name, token, number in names)

    def cut(self, text: str) -> Iterator[tuple[int, int, int | None]]:
        """The text as (start, end, id of the token found there, or None): a partition, no part empty."""
        done, at = 0, 0
        search = Search(self._names, text)
        while found := search.next(at):
            start, at, (token, number) = found
            if token.single_word and (in_word(text[start - 1 : start]) or in_word(text[at : at + 1])):
                continue
            while token.lstrip and start > done and SPACE.match(text, start - 1):
                start -= 1
            if token.rstrip:
                at = SPACE_RUN.match(text, at).end()  # type: ignore[union-attr]
            if start > done:
                yield done, start, None
            yield start, at, number
            done = at
        if done < len(text):
            yield done, len(text), None


def in_word(character: str) -> bool:
    """Whether this is a character ("" is none) of a word, as classes.Whitespace sees words."""
    return INSIDE().match(character) is not None
