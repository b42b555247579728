"""Cutting text into pieces: what each rule says, both engines alike, every split a partition, offsets that hold."""

from __future__ import annotations

import math
import sys
import unicodedata
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers import _unicode, compiled, regexes
from tinyllm.tokenizers import pretokenizers as P
from tinyllm.tokenizers.aligned import Aligned
from tinyllm.tokenizers.pretokenizers import kinds, patterns, punkt, split, translate
from tinyllm.tokenizers.pretokenizers.patterns import PATTERNS, PORTABLE
from tinyllm.tokenizers.pretokenizers.split import Behavior
from tinyllm.tokenizers.stage import PreTokenizer, as_json, from_json

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
        ("cl100k", "it'Sx", ["it", "'S", "x"]),
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
def test_engines_classify_characters_alike(pattern):
    """Those at the borders of classes and blocks of the table; all of them are compared in the oracle's tests."""
    flat = _unicode.flat()
    borders = [i for i in range(1, len(flat)) if flat[i - 1] != flat[i] or i % 1024 == 0]
    points = sorted({point for border in borders for point in (border - 1, border)} - {*range(0xD800, 0xE000)})
    assert len(points) > 5000
    data = "".join(chr(point) + "a" for point in points).encode()
    assert patterns.split(data, pattern, "c") == patterns.split(data, pattern, "python")


@needs_core
def test_engines_agree_on_every_pair_of_bytes():
    for first in range(256):
        for second in range(256):
            data = bytes([65, first, second, 0x80, 65])
            assert patterns.split(data, "gpt2", "c") == patterns.split(data, "gpt2", "python")


def test_unicode_table_agrees_with_python_where_both_know_the_character():
    differ = 0
    for point in range(0x110000):
        category = unicodedata.category(chr(point))
        if category not in ("Cn", "Cs", "Co"):
            differ += category != _unicode.RECORDS[_unicode.record(point)].category
    assert differ <= 20  # Unicode moves a character to another category once in a while


# ---- Stages ----


def cut(stage, text: str) -> list[str]:
    return [piece.text for piece in stage.pieces(Aligned.of(text))]


@pytest.mark.parametrize(
    ("behavior", "pieces", "inverted"),
    [
        ("Removed", "a b c", "- - - - - - -"),
        ("Isolated", "- - a - - b - c - -", "- - a - - b - c - -"),
        ("MergedWithPrevious", "- - a- - b- c- -", "- -a - -b -c - -"),
        ("MergedWithNext", "- -a - -b -c - -", "- - a- - b- c- -"),
        ("Contiguous", "-- a -- b - c --", "-- a -- b - c --"),
    ],
)
def test_the_behaviors_of_split(behavior, pieces, inverted):
    assert cut(P.Split("-", behavior), "--a--b-c--") == pieces.split(" ")
    assert cut(P.Split({"String": "-"}, behavior, invert=True), "--a--b-c--") == inverted.split(" ")


@pytest.mark.parametrize(
    ("stage", "text", "pieces"),
    [
        (P.ByteLevel(), "hi you", [" hi", " you"]),
        (P.ByteLevel(), " hi", [" hi"]),
        (P.ByteLevel(), "\thi", [" ", "\t", "hi"]),
        (P.ByteLevel(use_regex=False), "hi you", [" hi you"]),
        (P.ByteLevel(), "", []),
        (P.WhitespaceSplit(), " a\u3000b.c \x1cd", ["a", "b.c", "\x1cd"]),
        (P.Whitespace(), "naïve_1 a!? ไทย\u200c.", ["naïve_1", "a", "!?", "ไทย\u200c", "."]),
        (P.BertPreTokenizer(), "can't $1… «x»", ["can", "'", "t", "$", "1", "…", "«", "x", "»"]),
        (P.Punctuation("MergedWithPrevious"), "a, b.c", ["a,", " b.", "c"]),
        (P.Digits(), "a12²b", ["a", "12²", "b"]),
        (P.Digits(True), "a12b", ["a", "1", "2", "b"]),
        (P.UnicodeScripts(), " ab京都ーはカЖ1 .", ["ab", "京都ーはカ", "Ж", "1 ."]),
        (P.CharDelimiterSplit("|"), "|a||b c", ["a", "b c"]),
        (P.FixedLength(2), "abcde", ["ab", "cd", "e"]),
        (P.Words(), "It's 3.5 km (2,000 m), naïve!", ["It's", "3.5", "km", "(", "2,000", "m", ")", ",", "naïve", "!"]),
        (P.Words(True), "a  b\r\n", ["a", "  ", "b", "\r\n"]),
        (P.Words(True), " \u0301 a", [" \u0301", " ", "a"]),
        (P.Words(), "👍🏽🇦🇧🇨🇩 カタ中文 א״ב x_1", ["👍🏽", "🇦🇧", "🇨🇩", "カタ", "中", "文", "א״ב", "x_1"]),
        (P.Words(), "e\u0301a \u200d👩\u200d👧", ["e\u0301a", " \u200d👩\u200d👧"]),
        (P.Words(), "א\"ב a\"b א' a'", ['א"ב', "a", '"', "b", "א'", "a", "'"]),
        (P.Sentences(), "It rains. Yes! 3.5 km?", ["It rains. ", "Yes! ", "3.5 km?"]),
        (P.Sentences(), 'e.g. this (he said.) "So." etc', ["e.g. this (he said.) ", '"So." etc']),
        (P.Sentences(), "What?! (No?), he said. Yes.", ["What?! ", "(No?), he said. ", "Yes."]),
        (P.Sentences(), "a\r\nb。c", ["a\r\n", "b。", "c"]),
        (P.Metaspace(), "a  b ", ["▁a", "▁", "▁b", "▁"]),
        (P.Metaspace(prepend_scheme="never"), "a b", ["a", "▁b"]),
        (P.Metaspace(split=False), " a b", ["▁a▁b"]),
        (P.Split("", "Isolated"), "ab", ["a", "b"]),
        (P.Split({"Regex": PORTABLE["qwen2"]}, "Removed", True), "it's 12", ["it", "'s", " ", "1", "2"]),
        (P.Sequence([P.Digits(True), P.ByteLevel(False)]), "a b12", ["a", " b", "1", "2"]),
        (P.Sequence([P.WhitespaceSplit(), P.Metaspace(prepend_scheme="first")]), "a b", ["▁a", "b"]),
        (P.Sequence([P.WhitespaceSplit(), P.Metaspace(prepend_scheme="first")]), " a b", ["a", "b"]),
    ],
)
def test_what_a_stage_cuts(stage, text, pieces):
    assert cut(stage, text) == pieces


def test_only_the_first_text_is_first():
    stage = P.Metaspace(prepend_scheme="first")
    assert stage.heeds_first and P.Sequence([P.Digits(), stage]).heeds_first and not P.Metaspace().heeds_first
    assert [piece.text for piece in stage.pieces(Aligned.of("a b", 3), first=False)] == ["a", "▁b"]


STAGES = [
    P.ByteLevel(),
    P.ByteLevel(False),
    P.WhitespaceSplit(),
    P.Whitespace(),
    P.BertPreTokenizer(),
    P.Punctuation("Contiguous"),
    P.Digits(),
    P.UnicodeScripts(),
    P.FixedLength(),
    P.Metaspace(),
    P.Words(),
    P.Words(keep_space=True),
    P.Sentences(),
    P.Punkt(("mr", "u.s"), (("jan", "##number##"),), ("the",), {"smith": 2}),
    P.Split(" ", "MergedWithNext"),
    *(P.Split({"Regex": pattern}, "Isolated") for pattern in PORTABLE.values()),
    P.Sequence([P.WhitespaceSplit(), P.Punctuation(), P.ByteLevel()]),
]


@fixed
@given(st.sampled_from(STAGES), TEXT, st.integers(0, 5))
def test_pieces_know_where_they_come_from(stage, text, base):
    whole = Aligned.of(text, base)
    done = base
    for piece in stage.pieces(whole):
        assert piece.text
        start, end = piece.span(0, len(piece.text))
        assert done <= start < end <= base + len(text)  # in order
        kept = text[start - base : end - base]
        assert piece.text.lstrip(" ▁") in (kept.replace(" ", "▁"), kept, kept.lstrip(" "), kept.lstrip(" ▁"))
        done = start if piece.text in " ▁" else end  # what is put before a text stands for its first character


ALIKE = [
    *STAGES,
    *(P.Punctuation(behavior) for behavior in get_args(Behavior)),
    *(P.Split(",", behavior) for behavior in get_args(Behavior)),
    P.Split("ab", "Removed"),
    P.Split(" ", "Isolated", invert=True),
    P.Digits(individual_digits=True),
    P.CharDelimiterSplit("^"),
    P.Metaspace(prepend_scheme="never"),
    P.Metaspace(split=False),
    P.ByteLevel(use_regex=False),
    P.Sequence([]),
    P.Sequence([P.WhitespaceSplit(), P.Metaspace(prepend_scheme="first")]),
    P.Sequence([P.Digits(), P.Sequence([P.ByteLevel(False), P.Punctuation()])]),
]


@settings(max_examples=1000)
@given(st.sampled_from(ALIKE), st.one_of(TEXT, BYTES.map(lambda data: data.decode("utf-8", "surrogateescape"))))
def test_the_texts_of_pieces_are_those_of_the_pieces(stage, text):
    texts = [piece.decode() if isinstance(piece, bytes) else piece for piece in stage.texts(text)]
    assert texts == [piece.text for piece in stage.pieces(Aligned.of(text))]


@pytest.mark.parametrize("behavior", get_args(Behavior))
@given(text=st.text(" a,^", max_size=12))
def test_a_rule_of_kinds_is_what_cut_does(behavior, text):
    expected = split.cut(Aligned.of(text), ((i, i + 1) for i, c in enumerate(text) if c in ",^"), behavior)
    rule = kinds.delimited(r",\^", behavior)
    assert [found.group() for found in rule.pattern.finditer(text)] == [piece.text for piece in expected]


@fixed
@given(st.sampled_from([P.ByteLevel(False), P.Words(True), P.Sentences(), P.Punkt(), P.FixedLength(2)]), TEXT)
def test_a_stage_that_drops_nothing_gives_a_partition(stage, text):
    assert "".join(cut(stage, text)) == text


@fixed
@given(st.sampled_from([stage for stage in STAGES if stage.scanner]), st.one_of(BYTES, TEXT.map(str.encode)))
def test_a_stage_cuts_as_its_scanner_does(stage, data):
    pieces = stage.pieces(Aligned.of(data.decode("utf-8", "surrogateescape")))
    texts = [piece.text.encode("utf-8", "surrogateescape") for piece in pieces]
    assert texts == patterns.split(data, stage.scanner, ENGINES[0])


def test_which_stages_have_a_scanner():
    known = {"Regex": PORTABLE["o200k"]}
    assert P.Split(known, "Isolated").scanner == P.Split(known, "Removed", True).scanner == "o200k"
    assert P.Sequence([P.Split(known, "Isolated"), P.ByteLevel(False, use_regex=False)]).scanner == "o200k"
    assert P.ByteLevel(False).scanner == "gpt2"
    for stage in [
        P.ByteLevel(),
        P.Split(known, "Removed"),
        P.Split(known["Regex"], "Isolated"),
        P.Sequence([P.Split(known, "Isolated"), P.ByteLevel(use_regex=False)]),
        P.Sequence([P.Digits(), P.ByteLevel(False)]),
        P.Sequence([]),
    ]:
        assert stage.scanner is None


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: P.Split({"Glob": "a"}, "Isolated"), 'must be a str, {"String": str} or {"Regex": str}; it is'),
        (lambda: P.Split("a", "Kept"), "behavior of Split must be one of Removed, Isolated, .*; it is 'Kept'"),
        (lambda: P.Punctuation("isolated"), "behavior of Punctuation must be one of"),
        (lambda: P.Split({"Regex": PATTERNS["cl100k"]}, "Isolated"), "not the same for tiktoken"),
        (lambda: P.FixedLength(0), "length of FixedLength must be at least 1; it is 0"),
        (lambda: P.CharDelimiterSplit("ab"), "must be one character; it is 'ab'"),
        (lambda: P.Metaspace("__"), "replacement of Metaspace must be one character"),
        (lambda: P.Metaspace(prepend_scheme="last"), "must be always, first or never; it is 'last'"),
    ],
)
def test_what_a_stage_refuses(make, message):
    with pytest.raises(TokenizerError, match=message):
        make()


# ---- Punkt ----

SMITH = (
    "Mr. Smith met Dr. Jones at 5 p.m. in Rome. They talked. Then Mr. Jones left for the U.S. by ship. The ship "
    "sank there. It was old. Mr. Smith wept, for they were friends. Was he sad? He was. Dr. Brown, e.g. in a "
    "letter, told Mr. Smith so on Jan. 3 or Jan. 4 there. They wrote often. There the old ship lay, sank and went "
    "there. I met Dr. Lee in Jan. 1900, as did Dr. Brown and Mr. Brown. It rained. So they wept. The sea lay still "
    "in Rome or so. Often they went. It rained and it talked of Smith and Brown, and of the friends still there. He "
    "went away sad and wept in a letter."
)
PUNKT = P.Punkt.train([SMITH] * 20)


@pytest.mark.parametrize(
    "sentences",
    [
        ["Mr. Smith left. ", "They met Dr. Brown, e.g. in Rome. ", "It was old."],
        ['He said "They talked." ', "So? ", "(It was 3.14.) ", "They left the U.S. ", "They wept."],
        ["It was ... old. ", "He wept... ", "They left.\n\n", "a title\n \n", "yes"],
        ['"Was he sad?" he said. ', "So he was."],
        ["这是一个句子。", "这是另一个！", "好。"],
        ["See p. 5 by J. Smith. ", "It is long."],
        ["no end, \n\n", "(more"],
    ],
)
def test_sentences_with_abbreviations(sentences):
    assert cut(PUNKT, "".join(sentences)) == sentences


def test_what_punkt_learns():
    assert {"mr", "dr", "u.s", "p.m", "e.g", "jan"} == set(PUNKT.abbreviations)
    assert ("jan", "##number##") in PUNKT.collocations
    assert PUNKT.orthography["jones"] == punkt.UPPER * punkt.UNKNOWN
    assert PUNKT.orthography["ship"] == punkt.LOWER * punkt.INSIDE
    assert P.Punkt.train([SMITH] * 20) == P.Punkt.train(SMITH + "\n\n" + text for text in [SMITH] * 10) == PUNKT
    assert P.Punkt.train([]) == P.Punkt.train([""]) == P.Punkt()
    assert cut(P.Punkt(), "Mr. Smith.") == ["Mr. ", "Smith."]


def test_the_ratios_of_punkt():
    assert punkt.ratio(10, 100, 100, 1000) == 0  # as often as chance has it
    apart = 10 * math.log(0.1) + 90 * math.log(0.9)
    together = 8 * math.log(0.8) + 2 * math.log(0.2) + 2 * math.log(2 / 90) + 88 * math.log(88 / 90)
    assert punkt.ratio(8, 10, 10, 100) == pytest.approx(2 * (together - apart))
    words = [punkt.Token("word", kind, period, 0, 0, 0) for kind, period in [("ab", True)] * 3 + [("c", False)] * 7]
    assert punkt.abbreviations(words) == {"ab"}  # 2 * 3 * log(.99 / .3) * exp(-2) = 0.97
    assert not punkt.abbreviations([*words, punkt.Token("word", "ab", False, 0, 0, 0)])  # times .01 / .7 and 2 ** -1


# ---- Other people's regular expressions ----


@pytest.mark.parametrize(
    ("pattern", "pieces"),
    [
        (r"\s+", "ab12é3| \u3000|北京,|\n|゠"),
        (r"\w+|[^\w\s]+", "ab12é3| \u3000|北京|,|\n|゠"),
        (r"\w+", "a²³b|⁴,|½c"),
        (r"[\w]+", "a|²³|b|⁴,½|c"),
        (r" ?\p{L}+", "ab|12|é|3 \u3000|北京|,\n゠"),
        (r"\d{1,3}", "ab|12|é|3| \u3000北京,\n゠"),
        (r"[0-9][0-9]", "ab|12|é3 \u3000北京,\n゠"),
        ("[一-龥぀-ゟ゠-ヿ]+", "ab12é3 \u3000|北京|,\n|゠"),
        (r"\S", "a|b|1|2|é|3| \u3000|北|京|,|\n|゠"),
        (patterns.LINEAR[0].replace(r"\n", "\n"), "ab|1|2é|3| |\u3000北京|,\n|゠"),
        (patterns.LINEAR[1], "ab|1|2|é|3| |\u3000北京|,\n|゠"),
    ],
)
def test_plain_regular_expressions_run_without_the_package_regex(pattern, pieces, monkeypatch):
    monkeypatch.setitem(sys.modules, "regex", None)
    assert cut(P.Split({"Regex": pattern}, "Isolated"), pieces.replace("|", "")) == pieces.split("|")


@pytest.mark.parametrize(
    "pattern",
    [
        "(a)",
        "a*",
        "a+b+",
        "a{2,}",
        "a++",
        "^a",
        r"\p{Han}",
        "[[a]b]",
        "[a&&b]",
        "[a--b]",
        "[a-]",
        r"[\d-x]",
        "",
        "a|",
        ".+",
    ],
)
def test_which_regular_expressions_are_not_plain(pattern):
    assert not translate.simple(pattern)


def test_a_plain_regular_expression_can_be_wrong():
    with pytest.raises(TokenizerError, match="is no regular expression: bad character range"):
        cut(P.Split({"Regex": "[z-a]"}, "Isolated"), "a")


def test_an_unknown_regular_expression_needs_to_be_allowed():
    with pytest.raises(TokenizerError, match=r"none of those .* pass allow_regex=True"):
        cut(P.Split({"Regex": r"(a+)+b"}, "Isolated"), "aaa")
    assert P.Split({"Regex": "a"}, "Isolated", allow_regex=True) == P.Split({"Regex": "a"}, "Isolated")


def test_an_allowed_regular_expression():
    pytest.importorskip("regex")
    assert cut(P.Split({"Regex": r"^b|\p{Lu}"}, "Isolated", allow_regex=True), "aXb\nb") == ["a", "X", "b\n", "b"]
    with pytest.raises(TokenizerError, match="'\\(' is no regular expression: missing"):
        cut(P.Split({"Regex": "("}, "Isolated", allow_regex=True), "a")
    with pytest.raises(TokenizerError, match="repeats a repetition"):
        cut(P.Split({"Regex": "a{1,2}+"}, "Isolated", allow_regex=True), "a")


def test_a_hostile_regular_expression_is_stopped(monkeypatch):
    pytest.importorskip("regex")
    monkeypatch.setattr(regexes, "seconds", lambda length: 0.05)
    with pytest.raises(TokenizerError, match=r"took more than 0.05 s on a text of 41 characters; it backtracks"):
        cut(P.Split({"Regex": r"(a|a)+b"}, "Isolated", allow_regex=True), "a" * 40 + "c")


def test_regex_may_be_absent(monkeypatch):
    monkeypatch.setitem(sys.modules, "regex", None)
    regexes.compiled.cache_clear()
    with pytest.raises(TokenizerError, match=r"needs the package regex: pip install tinyllm\[regex\]"):
        cut(P.Split({"Regex": "a*"}, "Isolated", allow_regex=True), "a")


@pytest.mark.parametrize("stage", STAGES, ids=range(len(STAGES)))
def test_a_stage_is_written_and_read(stage):
    assert from_json(PreTokenizer, as_json(stage)) == stage
