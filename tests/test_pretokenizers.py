"""Cutting text into pieces: what each rule says, both engines alike, every split a partition, offsets that hold."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyllm.tokenizers import _unicode, compiled
from tinyllm.tokenizers.pretokenizers import patterns

ENGINES = ["c", "python"] if compiled() else ["python"]
needs_core = pytest.mark.skipif(not compiled(), reason="tinyllm was built without a C compiler")
fixed = settings(max_examples=200)

# Text that is dense in what the split patterns tell apart, beside text of any characters.
TRICKY = st.text(
    st.sampled_from(" \t\n\r\x0b\x85\xa0\u2003\u3000'sdmtrevlSTLſab1٣²é\u0301\u0903ʰª北ǅÀ🙂\u200d\x1c\x00.,-/"),
    max_size=40,
)
TEXT = st.one_of(TRICKY, st.text(max_size=40), st.text("ab ", max_size=80))
UTF8_PARTS = [
    b"\xc3",
    b"\xa9",
    b"\xe2\x82",
    b"\xac",
    b"\xf0\x9f\x99",
    b"\x82",
    b"\xed\xa0\x80",
    b"\xe0\x80",
    b"\xf4\x90",
]
BYTES = st.one_of(
    st.binary(max_size=40),
    st.lists(st.sampled_from([*UTF8_PARTS, b" ", b"a", b"1", b"'s", b"\xff", b"\xc2\x85"]), max_size=16).map(b"".join),
)
EVERY = "".join(chr(point) + "a" for point in range(0x110000) if not 0xD800 <= point < 0xE000).encode()


# ---- The patterns of GPT-2 and its kin ----


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("pattern", "text", "pieces"),
    [
        ("gpt2", "Hello world", ["Hello", " world"]),
        ("gpt2", "we'll they're 'tis", ["we", "'ll", " they", "'re", " '", "tis"]),
        ("gpt2", "WE'LL", ["WE", "'", "LL"]),
        ("gpt2", "a  b", ["a", " ", " b"]),
        ("gpt2", "a \n b", ["a", " \n", " b"]),
        ("gpt2", "a\nb", ["a", "\n", "b"]),
        ("gpt2", "a   ", ["a", "   "]),
        ("gpt2", "x1²٣!?", ["x", "1²٣", "!?"]),
        ("gpt2", "''s", ["''", "s"]),
        ("gpt2", "\x1cx", ["\x1c", "x"]),  # a space for Python, not for Unicode
        ("gpt2", "a\x85\u3000b", ["a", "\x85", "\u3000", "b"]),
        ("gpt2", "e\u0301", ["e", "\u0301"]),  # a combining mark is no letter
        ("cl100k", "WE'LL IT'ſ", ["WE", "'LL", " IT", "'ſ"]),
        ("cl100k", "12345\ta$b", ["123", "45", "\ta", "$b"]),
        ("cl100k", "a!\n\n b\n  ", ["a", "!\n\n", " b", "\n  "]),
        ("llama3", "a!\n\n b\n  ", ["a", "!\n\n", " b", "\n", "  "]),
        ("qwen2", "123 \r\n x", ["1", "2", "3", " \r\n", " x"]),
        ("o200k", "HTTPServer it'S", ["HTTPServer", " it'S"]),
        ("o200k", "helloWorld中AB", ["hello", "World中", "AB"]),
        ("o200k", "e\u0301 \u0301A !/\n/x", ["e\u0301", " \u0301", "A", " !/\n/", "x"]),
        ("tekken", "it's 12", ["it", "'s", " ", "1", "2"]),
    ],
)
def test_what_a_pattern_cuts(engine, pattern, text, pieces):
    assert [piece.decode() for piece in patterns.split(text.encode(), pattern, engine)] == pieces


@pytest.mark.parametrize("engine", ENGINES)
def test_a_pattern_that_is_not_known_is_refused(engine):
    with pytest.raises(ValueError, match="no split pattern is named 'gpt4'; there are gpt2, cl100k"):
        patterns.split(b"a b", "gpt4", engine)


@fixed
@given(st.sampled_from(sorted(patterns.PATTERNS)), st.one_of(BYTES, TEXT.map(str.encode)))
def test_a_split_is_a_partition_and_engines_agree(pattern, data):
    pieces = patterns.split(data, pattern, "python")
    assert b"".join(pieces) == data
    assert all(pieces)
    if compiled():
        assert patterns.split(data, pattern, "c") == pieces


@needs_core
@pytest.mark.parametrize("pattern", ["gpt2", "cl100k", "o200k"])
def test_engines_classify_every_character_alike(pattern):
    assert patterns.split(EVERY, pattern, "c") == patterns.split(EVERY, pattern, "python")


@needs_core
def test_engines_agree_on_every_pair_of_bytes():
    for first in range(256):
        for second in range(256):
            for data in bytes([first, second]), bytes([65, first, second, 0x80, 65]):
                assert patterns.split(data, "gpt2", "c") == patterns.split(data, "gpt2", "python")


def test_unicode_table_agrees_with_python_where_both_know_the_character():
    differ = 0
    for point in range(0x110000):
        category = unicodedata.category(chr(point))
        if category not in ("Cn", "Cs", "Co"):
            differ += category != _unicode.RECORDS[_unicode.record(point)].category
    assert differ <= 20  # Unicode moves a character to another category once in a while
