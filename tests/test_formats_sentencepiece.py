"""SentencePiece around its model: what the stages make of spaces, bytes and symbols, and its file."""

from __future__ import annotations

import struct
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers.aligned import Aligned
from tinyllm.tokenizers.charsmap import LEAF, charsmap
from tinyllm.tokenizers.sentencepiece import SentencePieceDecoder, SentencePieceNormalizer


def table(rules: dict[str, str]) -> bytes:
    """A precompiled_charsmap of the rules, by the simplest double array: each node has 256 units of its own."""
    children: list[dict[int, int]] = [{}]
    results: dict[int, bytes] = {}
    for key, value in rules.items():
        node = 0
        for byte in key.encode():
            if byte not in children[node]:
                children[node][byte] = len(children)
                children.append({})
            node = children[node][byte]
        results[node] = value.encode()
    n = len(children)
    units = [0xFF] * (256 * (n + 1))  # a label that a unit has where none leads: not its own last byte, and no leaf
    place = {0: 0}  # the unit of each node
    text = b""

    def offset(i: int, base: int) -> int:
        low = i ^ base
        return low << 10 if low < 1 << 21 else low >> 8 << 10 | 0x200

    for node in range(n):
        i, base = place[node], 256 * (node + 1)
        units[i] |= offset(i, base)
        for byte, child in children[node].items():
            units[base ^ byte] = byte
            place[child] = base ^ byte
        if node in results:
            units[i] |= 0x100
            units[base] = LEAF | len(text)
            text += results[node] + b"\0"
    for i, unit in enumerate(units):
        if unit == 0xFF:
            units[i] = 0xFF | offset(i, 0)
    units[0] &= ~0xFF
    return struct.pack(f"<I{len(units)}I", 4 * len(units), *units) + text


RULES = {"ﬁ": "fi", "\t": " ", "e\u0301": "é", "e\u0301\u0301": "E", "\x01": "", "日": "x y"}
TABLE = table(RULES)


def normalized(text: str, **options) -> str:
    return SentencePieceNormalizer(**options).normalize(Aligned.of(text)).text


def test_the_longest_rule_wins_and_its_result_is_not_read_again():
    rules = charsmap(TABLE)
    assert rules.match("ﬁt", 0) == (1, "fi")
    assert rules.match("xe\u0301", 1) == (3, "é")
    assert rules.match("e\u0301\u0301\u0301", 0) == (3, "E")
    assert rules.match("ea", 0) == (1, "e")
    assert rules.match("\x01", 0) == (1, "")


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        ("two  words", {}, "▁two▁words"),
        ("  two ", {}, "▁two"),
        ("   ", {}, ""),
        ("", {}, ""),
        (" a  b ", {"remove_extra_whitespaces": False}, "▁▁a▁▁b▁"),
        ("a b", {"add_dummy_prefix": False}, "a▁b"),
        ("a b", {"escape_whitespaces": False}, " a b"),
        ("a b ", {"treat_whitespace_as_suffix": True}, "a▁b▁"),
        ("a▁", {}, "▁a"),  # as the library does
        ("\t\ta\t b", {"precompiled_charsmap": TABLE}, "▁a▁b"),
        ("\x01", {"precompiled_charsmap": TABLE}, ""),
        ("日 ﬁ", {"precompiled_charsmap": TABLE}, "▁x▁y▁fi"),
        ("日ﬁ", {"precompiled_charsmap": TABLE, "user_defined_symbols": ("日",)}, "▁日fi"),
        ("a<x>  <x> b", {"user_defined_symbols": ("<x>", "<x> ")}, "▁a<x>▁<x>▁b"),
        ("\udcffa", {}, "▁\ufffda"),
    ],
)
def test_normalization(text, options, expected):
    assert normalized(text, **options) == expected


def test_characters_know_where_they_came_from():
    found = SentencePieceNormalizer(TABLE).normalize(Aligned.of("  a  ﬁ e\u0301"))
    assert found.text == "▁a▁fi▁é"
    spans = list(zip(found.starts, found.ends, strict=True))
    assert spans == [(2, 2), (2, 3), (3, 4), (5, 6), (5, 6), (6, 7), (7, 9)]


@given(
    text=st.text("ab \t▁ﬁ\u0301e日\x01\udc80", max_size=12),
    squeeze=st.booleans(),
    prefix=st.booleans(),
    suffix=st.booleans(),
)
def test_spans_are_monotone(text, squeeze, prefix, suffix):
    found = SentencePieceNormalizer(TABLE, prefix, squeeze, True, suffix, ("a ", "▁e")).normalize(Aligned.of(text))
    assert len(found.text) == len(found.starts) == len(found.ends)
    assert list(found.starts) == sorted(found.starts)
    assert list(found.ends) == sorted(found.ends)
    assert all(0 <= start <= end <= len(text) for start, end in zip(found.starts, found.ends, strict=True))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"abc", "no table"),
        (struct.pack("<I", 1024) + bytes(1024), "no table"),
        (struct.pack("<I", 1025) + bytes(2000), "no table"),
        (struct.pack("<I", 1024) + bytes(1025), "unit 0 of its trie leads nowhere"),
        (TABLE[:-1] + b"\xff", "is no UTF-8"),
    ],
)
def test_tables_that_are_none(data, message):
    with pytest.raises(TokenizerError, match=message):
        SentencePieceNormalizer(data)


@given(at=st.integers(0, 10**6), flips=st.integers(1, 255), text=st.text("ﬁe\u0301日\x01 \udcff", max_size=6))
def test_no_table_makes_a_lookup_leave_it(at, flips, text):
    data = bytearray(TABLE)
    data[at % len(data)] ^= flips
    try:
        stage = SentencePieceNormalizer(bytes(data))
    except TokenizerError:
        return
    stage.normalize(Aligned.of(text))


def decoded(pieces: list[str], **options) -> str:
    step = SentencePieceDecoder(**options).begin()
    return b"".join([*(step.push(piece.encode()) for piece in pieces), step.finish()]).decode()


@pytest.mark.parametrize(
    ("pieces", "options", "expected"),
    [
        (["▁two", "▁words"], {}, "two words"),
        (["▁", "▁", "a"], {}, "a"),
        (["▁", "▁", "a"], {"remove_extra_whitespaces": False}, " a"),
        (["▁", "<s>", "▁a"], {"remove_extra_whitespaces": False, "control_symbols": ("<s>",)}, " a"),
        (["▁a"], {"remove_extra_whitespaces": False, "add_dummy_prefix": False}, " a"),
        (["<s>", "▁a", "</s>"], {"control_symbols": ("<s>", "</s>")}, "a"),
        (["▁a", "<unk>", "▁b"], {}, "a \u2047  b"),
        (["<unk>"], {"unk_surface": "?"}, "?"),
        (["<0x41>", "▁a"], {}, "<0x41> a"),
        (["<0x41>", "▁a"], {"byte_fallback": True}, "A a"),
        (["<0xE6>", "<0x97>", "<0xA5>"], {"byte_fallback": True}, "日"),
        (["<0xE6>", "<0x97>", "▁a"], {"byte_fallback": True}, "\ufffd\ufffd a"),
        (["<0xE6>", "<0x97>"], {"byte_fallback": True}, "\ufffd\ufffd"),
    ],
)
def test_decoding(pieces, options, expected):
    assert decoded(pieces, **options) == expected


@pytest.mark.parametrize("rules", [b"", TABLE])
@pytest.mark.parametrize("flags", list(product([False, True], repeat=4)))
def test_the_quick_way_does_the_same_with_spaces(flags, rules):
    stage = SentencePieceNormalizer(rules, *flags)
    if stage.quick is None:
        assert rules
        return
    texts = ["".join(text) for n in range(5) for text in product(" ▁a\x01", repeat=n)]  # the rules drop \x01
    for text in [*texts, " " * 7, "a" + " " * 6 + "b" + " " * 5, "▁ " * 3]:
        assert stage.quick(text.encode()).decode() == stage.normalize(Aligned.of(text)).text, text


@given(
    data=st.one_of(st.binary(max_size=12), st.text("ab  \t▁ﬁ\u0301e日\x01", max_size=12).map(str.encode)),
    flags=st.tuples(*[st.booleans()] * 4),
    rules=st.sampled_from([b"", TABLE]),
    symbols=st.sampled_from([(), ("a▁", "ab"), ("a ",)]),
)
def test_the_quick_way_gives_the_same(data, flags, rules, symbols):
    stage = SentencePieceNormalizer(rules, *flags, symbols)
    if stage.quick is None:
        assert "a " in symbols or rules
        return
    slow = stage.normalize(Aligned.of(data.decode("utf-8", "surrogateescape"))).text
    assert stage.quick(data).decode() == slow
