"""The substrings that a text repeats, by its suffix array, in plain Python: what Unigram training starts from.

A suffix array is the order of a text's suffixes. All suffixes that begin with some string stand together there, so
where neighbours begin alike with d bytes, and those around them with fewer, the d bytes are a substring that occurs
as often as the run is long, and is followed by different bytes. There are at most as many such substrings as bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate

SYMBOL = "▁".encode()


def suffix_array(text: bytes) -> list[int]:
    """The starts of all suffixes in order: sorted by 1 byte, then, as the order of the suffixes 1 byte on is known,
    by 2, then 4, 8 ... (Manber and Myers 1990): O(n log(n)**2) whatever the text.
    """
    n, width = len(text), 1
    rank = list(text)
    order = sorted(range(n), key=rank.__getitem__)
    while width < n:
        keys = [(rank[i], rank[i + width] if i + width < n else -1) for i in range(n)]
        order.sort(key=keys.__getitem__)
        at, before = -1, None
        for i in order:
            if keys[i] != before:
                at, before = at + 1, keys[i]
            rank[i] = at
        if at == n - 1:
            break
        width *= 2
    return order


def common_prefixes(text: bytes, order: Sequence[int], apart: bool) -> list[int]:
    """For each suffix in order, how many bytes it begins alike with the one before (Kasai et al. 2001).

    `apart`: a zero byte is like nothing, not even another one.
    """
    n, alike = len(text), 0
    rank = [0] * n
    for i, start in enumerate(order):
        rank[start] = i
    common = [0] * n
    for i in range(n):
        if not rank[i]:
            alike = 0
            continue
        j = order[rank[i] - 1]
        while max(i, j) + alike < n and text[i + alike] == text[j + alike] and not (apart and not text[i + alike]):
            alike += 1
        common[rank[i]] = alike
        alike = max(alike - 1, 0)
    return common


def repeated(text: bytes, apart: bool) -> Iterator[tuple[int, int, int, int]]:
    """(start, size, first, last) of each substring that occurs more than once and is followed by different bytes:
    text[start : start + size], the suffixes number first to last in order (inclusive) begin with it.
    """
    order = suffix_array(text)
    common = common_prefixes(text, order, apart)
    open_runs: list[tuple[int, int]] = [(0, 0)]  # (size, first), each inside the one before
    for i in range(1, len(order) + 1):
        size = common[i] if i < len(order) else 0
        first = i - 1
        while size < open_runs[-1][0]:
            inner, first = open_runs.pop()
            yield order[first], inner, first, i - 1
        if size > open_runs[-1][0]:
            open_runs.append((size, first))


# What a character may be in a piece; from SCRIPTS on: the number of its script. As in _unigram_words.pxi.
BAD, SPACE, ANY, INHERITED, SCRIPTS, ALONE = 0, 1, 2, 3, 4, 0x8000


def may_be_piece(kinds: Sequence[int], inner_spaces: bool, space_runs: bool) -> bool:
    """Whether characters of these kinds make a piece: none that is in no piece, or in none but its own (flag ALONE);
    all of one script (ANY goes with each; INHERITED has that of the character before); spaces only as the first
    character, or anywhere but last (`inner_spaces`), or nothing but spaces (`space_runs`).
    """
    script = ANY
    for kind in kinds:
        if kind == BAD or kind & ALONE:
            return False
        if kind not in (SPACE, INHERITED):
            if kind != ANY and script not in (ANY, kind):
                return False
            script = kind
    if space_runs and set(kinds) == {SPACE}:
        return True
    return SPACE not in (kinds[-1:] if inner_spaces else kinds[1:])


def first_pieces(
    words: Sequence[tuple[bytes, int, int]],
    characters: Sequence[tuple[int, int]],
    kinds: Mapping[int, int],
    max_length: int,
    seed_size: int,
    apart: bool,
    inner_spaces: bool,
    space_runs: bool,
) -> list[tuple[str, float]]:
    """The pieces that training starts from, with scores: the characters, then of the repeated substrings those with
    the highest count * characters; of equal ones the longer in bytes, then the one that sorts first.

    `words`: (UTF-8, count, how many of them no other word follows). A word stands in the text once with U+2581 after
    it and once without, as far as it occurs so. `characters`: (code point, count), the most frequent first.
    """
    text, weights = bytearray(), []
    for word, count, ends in words:
        for weight, after in (count - ends, SYMBOL), (ends, b""):
            if weight:
                weights += [weight] * (len(word) + len(after) + 1)
                text += word + after + b"\0"
    found = []
    before = list(accumulate((weights[i] for i in suffix_array(bytes(text))), initial=0))
    for start, size, first, last in repeated(bytes(text), apart):
        spelling = bytes(text[start : start + size])
        if before[last + 1] - before[first] < 2 or b"\0" in spelling or size > 4 * max_length:
            continue
        if text[start] & 0xC0 == 0x80 or text[start + size] & 0xC0 == 0x80:
            continue  # not whole characters
        piece = spelling.decode()
        if 2 <= len(piece) <= max_length and may_be_piece([kinds[ord(c)] for c in piece], inner_spaces, space_runs):
            found.append((-(before[last + 1] - before[first]) * len(piece), -size, spelling))
    pieces = [(chr(point), count) for point, count in characters]
    pieces += [(spelling.decode(), -score) for score, _, spelling in sorted(found)[:seed_size]]
    total = math.log(sum(score for _, score in pieces))
    return [(piece, math.log(score) - total) for piece, score in pieces]
