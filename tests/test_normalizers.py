"""Normalizers: what they make of text, and that every character still knows where it came from."""

from __future__ import annotations

import dataclasses
import random
import re
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers import engine, regexes
from tinyllm.tokenizers.aligned import Aligned
from tinyllm.tokenizers.charsmap import LEAF, Charsmap, charsmap
from tinyllm.tokenizers.normalizers import (
    NFC,
    NFD,
    NFKC,
    NFKD,
    BertNormalizer,
    ByteLevel,
    CaseFold,
    CollapseWhitespace,
    Lowercase,
    Nmt,
    Precompiled,
    Prepend,
    RemoveAccents,
    Replace,
    Sequence,
    Strip,
    StripAccents,
    precompiled,
    unicode,
)
from tinyllm.tokenizers.normalizers.darts import compiled
from tinyllm.tokenizers.normalizers.graphemes import clusters
from tinyllm.tokenizers.normalizers.literal import byte_alphabet
from tinyllm.tokenizers.normalizers.precompiled import table

EVERY = [
    NFC(),
    NFD(),
    NFKC(),
    NFKD(),
    Nmt(),
    Lowercase(),
    CaseFold(),
    StripAccents(),
    RemoveAccents(),
    RemoveAccents(letters=True),
    BertNormalizer(),
    BertNormalizer(strip_accents=False, lowercase=False),
    Replace("a", "bc"),
    Replace("ab", ""),
    Replace("  ", " "),
    Prepend("▁"),
    Strip(),
    Strip(strip_right=False),
    ByteLevel(),
    CollapseWhitespace(),
    CollapseWhitespace(keep_lines=True, leading=False),
    Precompiled(table("nmt_nfkc")),
]


def name(stage: object) -> str:
    return repr(stage)[:40]


# Normalizing twice is normalizing once; not for what adds or repeats by design.
IDEMPOTENT = [
    stage for stage in EVERY if not isinstance(stage, (Replace, Prepend, ByteLevel, BertNormalizer, Precompiled))
]
IDEMPOTENT += [BertNormalizer(handle_chinese_chars=False)]

NASTY = "aAbB zZ\t\n\r\v\x85\xa0\u3000.,'-éÉİıßẞﬁﬀΣσς①²ｶﾞが가각\u1100\u1161\u11a8\u0301\u0323\u0327\u093f\u0c46\u0c56"
NASTY += "中文字\u200b\u200d\ufeff\ufffd\u2581\0\x01\x7f🤗👩Å\u212b\u1e9b\u0345ǅ\u0344\u0f73\udc80\udcff"
texts = st.text(st.one_of(st.sampled_from(NASTY), st.characters(exclude_categories=["Cs"])), max_size=30)


def of(text: str | bytes) -> Aligned:
    return Aligned.of(text.decode("utf-8", "surrogateescape") if isinstance(text, bytes) else text)


def spans(text: Aligned) -> list[tuple[int, int]]:
    return list(zip(text.starts, text.ends, strict=True))


def check(text: Aligned, size: int) -> None:
    """Every character has a span in a text of `size` characters, and spans never step back."""
    assert len(text.starts) == len(text.ends) == len(text.text)
    for start, end in spans(text):
        assert 0 <= start < end <= size
    assert all(a <= b for a, b in zip(text.starts, text.starts[1:], strict=False))
    assert all(a <= b for a, b in zip(text.ends, text.ends[1:], strict=False))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from([b"a", b"b", b" ", b"\xe2", b"\x96\x81", "▁é".encode(), b"\xff"]), max_size=12))
def test_the_quick_way_is_the_slow_one(parts):
    data = b"".join(parts)
    text = data.decode("utf-8", "surrogateescape")
    stages = [Prepend("▁"), Replace(" ", "▁"), Replace("aa", "b"), Replace("▁", "éé"), Replace("é", " ")]
    for stage in [*stages, Sequence(stages), Sequence([])]:
        assert stage.quick(data).decode("utf-8", "surrogateescape") == stage.normalize(Aligned.of(text)).text
    for stage in (
        Replace("a", ""),
        Replace("\udcff", "a"),
        Replace({"Regex": " +"}, "a"),
        Sequence([NFC(), Prepend("a")]),
    ):
        assert stage.quick is None


@pytest.mark.parametrize("form", [NFC(), NFD(), NFKC(), NFKD()], ids=lambda form: form.form)
def test_forms_agree_with_unicodedata_on_every_code_point(form):
    """Thirty thousand at a time, each after a letter that nothing combines with: that is also what is compared."""
    points = [p for p in range(0x110000) if not 0xD800 <= p < 0xE000]
    for i in range(0, len(points), 30000):
        text = "".join(f"x{chr(p)}" for p in points[i : i + 30000])
        assert form.normalize(of(text)).text == unicodedata.normalize(form.form, text)


@pytest.mark.parametrize("form", [NFC(), NFD(), NFKC(), NFKD()], ids=lambda form: form.form)
def test_forms_agree_with_unicodedata_on_stretches_of_what_combines(form):
    rng = random.Random(0)
    assigned = [*range(0x40, 0x40000), *range(0xAC00, 0xD7A4, 5), *range(0x1100, 0x1200)]
    pool = [p for p in assigned if unicodedata.decomposition(chr(p)) or unicodedata.combining(chr(p))]
    pool += [*range(0x61, 0x7B)] * 9 + [*range(0x1100, 0x1200)]
    marks = [p for p in pool if unicodedata.combining(chr(p))]
    for _ in range(8000):
        text = "".join(chr(rng.choice(pool if rng.random() < 0.6 else marks)) for _ in range(rng.randint(1, 9)))
        assert form.normalize(of(text)).text == unicodedata.normalize(form.form, text), text.encode("unicode-escape")


def test_a_character_stands_for_all_that_it_was_made_of():
    assert spans(NFC().normalize(of("xe\u0301y"))) == [(0, 1), (1, 3), (3, 4)]
    assert spans(NFD().normalize(of("xéy"))) == [(0, 1), (1, 2), (1, 2), (2, 3)]
    assert spans(NFKC().normalize(of("ﬁﾊﾞ"))) == [(0, 1), (0, 1), (1, 3)]
    assert spans(NFC().normalize(of("\u1112\u1161\u11ab한"))) == [(0, 3), (3, 4)]
    # a mark that composes from behind another: that one's span ends no earlier
    composed = NFC().normalize(of("a\u0323\u0301"))
    assert (composed.text, spans(composed)) == ("\u1ea1\u0301", [(0, 2), (2, 3)])
    swapped = NFD().normalize(of("a\u0301\u0323b"))
    assert (swapped.text, spans(swapped)) == ("a\u0323\u0301b", [(0, 1), (1, 3), (1, 3), (3, 4)])


@pytest.mark.parametrize("stage", EVERY, ids=name)
@settings(max_examples=25)
@given(text=texts)
def test_spans_are_monotone_and_within_the_text(stage, text):
    check(stage.normalize(of(text)), len(text))


@pytest.mark.parametrize("stage", IDEMPOTENT, ids=name)
@settings(max_examples=25)
@given(text=texts)
def test_twice_is_once(stage, text):
    once = stage.normalize(of(text)).text
    assert stage.normalize(of(once)).text == once


@given(st.lists(st.sampled_from(EVERY), max_size=6), texts)
def test_any_order_composes(stages, text):
    composed = Sequence(stages).normalize(of(text))
    check(composed, len(text))
    step = of(text)
    for stage in stages:
        fresh = stage.normalize(of(step.text))  # aligned with the step before; carried back, with the original
        expected = [step.span(start, end) for start, end in spans(fresh)]
        step = stage.normalize(step)
        assert (fresh.text, expected) == (step.text, spans(step))
    assert (step.text, spans(step)) == (composed.text, spans(composed))


@pytest.mark.parametrize("stage", EVERY, ids=name)
def test_nothing_stays_nothing_and_plain_text_keeps_its_spans(stage):
    assert stage.normalize(of("")).text == ""
    kept = stage.normalize(Aligned.of("xyz", base=7))
    assert kept.text.endswith("xyz")
    assert spans(kept)[-3:] == [(7, 8), (8, 9), (9, 10)]


@pytest.mark.parametrize("stage", EVERY, ids=name)
def test_bytes_that_are_no_text_pass_or_vanish_whole(stage):
    for raw in b"\xff", b"a\xc3", b"\xed\xa0\x80", b"\xf0\x9f\xa4", b"e\xcc\x81\x80\xcc":
        text = of(raw)
        done = stage.normalize(text)
        check(done, len(text.text))
        lone = [c for c in text.text if "\udc80" <= c <= "\udcff"]
        if isinstance(stage, ByteLevel):
            assert len(done.text) == len(raw)
        elif not (isinstance(stage, BertNormalizer) and stage.clean_text):
            assert [c for c in done.text if "\udc80" <= c <= "\udcff"] == lone


def test_lowercase_looks_at_no_neighbour():
    assert Lowercase().normalize(of("ΟΔΟΣ ΌΣΟΣ")).text == "οδοσ όσοσ"
    dotted = Lowercase().normalize(of("aİb"))
    assert (dotted.text, spans(dotted)) == ("ai̇b", [(0, 1), (1, 2), (1, 2), (2, 3)])
    every = "".join(map(chr, range(0x110000)))
    assert Lowercase().normalize(of(every)).text == "".join([c.lower() for c in every])


def test_case_folding_is_for_comparing():
    assert CaseFold().normalize(of("Straße ὈΔΥΣΣΕΎΣ ﬃ")).text == "strasse ὀδυσσεύσ ffi"
    assert spans(CaseFold().normalize(of("aßb"))) == [(0, 1), (1, 2), (1, 2), (2, 3)]
    every = "".join(map(chr, range(0x110000)))
    assert CaseFold().normalize(of(every)).text == every.casefold()


def test_accents():
    assert StripAccents().normalize(of("é e\u0301 कि")).text == "é e क"
    assert RemoveAccents().normalize(of("Crème, ὀδυσσεύς, Лёд, Tiếng")).text == "Creme, οδυσσευς, Лед, Tieng"
    assert RemoveAccents().normalize(of("हिन्दी ไทยที่ שָׁלוֹם مَرحَبا が ø")).text == "हिन्दी ไทยที่ שָׁלוֹם مَرحَبا が ø"
    assert RemoveAccents(letters=True).normalize(of("Łódź Ærø Straße Đà")).text == "Lodz AEro Strasse Da"
    bare = RemoveAccents().normalize(of("xe\u0301\u0323y"))
    assert (bare.text, spans(bare)) == ("xey", [(0, 1), (1, 4), (4, 5)])


def test_bert():
    def bert(text, **options):
        return BertNormalizer(**options).normalize(of(text)).text

    assert bert("Héllo\tWORLD\0\ufffd\u200b\n中文!") == "hello world  中  文 !"
    assert bert("Héllo", lowercase=False) == "Héllo"  # accents go with case unless said otherwise
    assert bert("Héllo", strip_accents=False) == "héllo"
    assert bert("Héllo", strip_accents=True, lowercase=False) == "Hello"
    assert bert("中\x01", clean_text=False) == " 中 \x01"
    assert bert("中", handle_chinese_chars=False) == "中"
    assert spans(BertNormalizer().normalize(of("a中"))) == [(0, 1), (1, 2), (1, 2), (1, 2)]
    ranges = [(0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x2A6DF), (0x2A700, 0x2B81F)]
    for first, last in [*ranges, (0x2B920, 0x2CEAF), (0x2F800, 0x2FA1F)]:
        for point, wide in (first - 1, 1), (first, 3), (last, 3), (last + 1, 1):
            assert len(bert(chr(point), strip_accents=False, clean_text=False)) == wide, hex(point)
    for outside in 0x3042, 0x30A2, 0xAC00, 0x2B820, 0x30000:
        assert len(bert(chr(outside), strip_accents=False)) == 1


def test_replace():
    assert Replace("aa", "b").normalize(of("aaaaa")).text == "bba"
    assert Replace({"String": "."}, "").normalize(of("a.b")).text == "ab"  # no wildcard
    two = Replace("ab", "xyz").normalize(of("cabd"))
    assert (two.text, spans(two)) == ("cxyzd", [(0, 1), (1, 3), (1, 3), (1, 3), (3, 4)])
    assert Replace("a", "b") == Replace({"String": "a"}, "b")
    for pattern in "", {"Glob": "a"}, {}, {"String": "a", "Regex": "b"}, {"String": ""}:
        with pytest.raises(TokenizerError, match="the pattern of Replace must be"):
            Replace(pattern, "b")


def test_a_regular_expression_runs_only_when_simple_or_asked_for_and_not_for_long(monkeypatch):
    for pattern in " {2,}", " +", r"\s{1,9}":
        found = Replace({"Regex": pattern}, r"\1").normalize(of("a   b"))
        assert (found.text, spans(found)) == (r"a\1b", [(0, 1), (1, 4), (1, 4), (4, 5)])  # the content is no template
    assert Replace({"Regex": r"\s+"}, "").normalize(of("a\x1c\x85\u3000")).text == "a\x1c"
    for pattern in " {2,}+", "a*", "[ab]+", "a+b+", r"\w+", "(a+)+", "a.", "^a", "a|b", "a{2", "a{0,}":
        with pytest.raises(TokenizerError, match="allow_regex=True"):
            Replace({"Regex": pattern}, " ").normalize(of("a  b"))
    pytest.importorskip("regex")
    found = Replace({"Regex": "[ab]+"}, "", allow_regex=True).normalize(of("xaby"))
    assert (found.text, spans(found)) == ("xy", [(0, 1), (3, 4)])
    with pytest.raises(TokenizerError, match="is no regular expression"):
        Replace({"Regex": "("}, "", allow_regex=True)
    monkeypatch.setattr(regexes, "seconds", lambda length: 0.05)
    with pytest.raises(TokenizerError, match="it backtracks"):
        Replace({"Regex": r"(a|aa)+$"}, "", allow_regex=True).normalize(of("a" * 100 + "!"))


def test_prepend_stands_for_the_first_character():
    assert spans(Prepend("▁▁").normalize(of("ab"))) == [(0, 1), (0, 1), (0, 1), (1, 2)]


def test_byte_level():
    assert ByteLevel().normalize(of("a é\n")).text == "aĠÃ©Ċ"
    alphabet = [ByteLevel().normalize(of(bytes([b]))).text for b in range(256) if b < 128]
    assert "".join(alphabet[33:127]) == "".join(map(chr, range(33, 127)))
    every = byte_alphabet()
    assert len(set(every)) == 256 and all(c.isprintable() and not c.isspace() for c in every)


def test_whitespace():
    white = [chr(p) for p in range(0x10000) if re.match(r"(?![\x1c-\x1f])\s", chr(p))]
    assert len(white) == 25
    text = "a" + "".join(white) + "b"
    assert CollapseWhitespace().normalize(of(text)).text == "a b"
    assert Strip().normalize(of("".join(white) + text + "".join(white))).text == text
    kept = CollapseWhitespace().normalize(of(" \ta \n b\u3000"))
    assert (kept.text, spans(kept)) == ("a b", [(2, 3), (3, 6), (6, 7)])
    assert CollapseWhitespace(keep_lines=True).normalize(of("a \r\n\n b \t c d")).text == "a\nb c d"
    assert CollapseWhitespace(leading=False, trailing=False).normalize(of("  a  ")).text == " a "
    assert CollapseWhitespace(duplicates=False).normalize(of("  a  b\t")).text == "a  b"
    assert Strip(strip_left=False).normalize(of(" a ")).text == " a"
    assert Strip().normalize(of("  \n")).text == ""
    assert Strip().normalize(of("\x1c a \x1f")).text == "\x1c a \x1f"  # spaces to Python, not to Unicode


@pytest.mark.parametrize("stage", EVERY, ids=name)
def test_a_long_run_of_combining_marks_costs_no_more_than_sorting_it(stage, monkeypatch):
    """Counted, not timed: how many characters are looked up and compared for 2,000 and for 4,000 marks."""
    Sequence([stage]).normalize(of("e\u0301\u0323中ßΣ"))  # tables are made once
    counts = []
    for n in 2000, 4000:
        work = [0]

        def combining(character, work=work):
            work[0] += 1
            return unicodedata.combining(character)

        def normalize(form, text, work=work):
            work[0] += len(text)
            classes = [unicodedata.combining(c) for c in text]
            # unicodedata sorts by insertion: never hand it a long run that is out of order
            assert len(text) < 9 or all(a <= b for a, b in zip(classes[1:], classes[2:], strict=False))
            return unicodedata.normalize(form, text)

        monkeypatch.setattr(unicode, "combining", combining)
        monkeypatch.setattr(unicode, "normalize", normalize)
        stage.normalize(of("e" + "\u0301\u0323" * (n // 2)))
        counts.append(work[0])
    assert counts[1] <= 2.1 * counts[0]


@pytest.mark.parametrize("stage", EVERY, ids=name)
def test_stages_are_values(stage):
    fields = {field.name: getattr(stage, field.name) for field in dataclasses.fields(stage)}
    assert type(stage)(**fields) == stage
    assert hash(type(stage)(**fields)) == hash(stage)
    with pytest.raises(dataclasses.FrozenInstanceError):
        stage.anything = 1


# Character rules: the writer, the reader, and the compiled reader.

RULES = {"ﬁ": "fi", "\t": " ", "e\u0301": "é", "e\u0301\u0301": "E", "\x01": "", "日": "x y", "AB": "c", "B": "b"}
some_rules = st.dictionaries(
    st.text("abé日🤗\u0301", min_size=1, max_size=5), st.text("xy日🤗", max_size=3), min_size=1, max_size=40
)


def longest_first(rules: dict[str, str], text: str) -> str:
    """The rules by their definition."""
    out = []
    while text:
        key = max((key for key in rules if text.startswith(key)), key=len, default="")
        out.append(rules[key] if key else "\ufffd" if "\udc80" <= text[0] <= "\udcff" else text[0])
        text = text[len(key) or 1 :]
    return "".join(out)


def by_the_reader(rules: Charsmap, text: str) -> str:
    out, start = [], 0
    while start < len(text):
        if "\udc80" <= text[start] <= "\udcff":
            out.append("\ufffd")
            start += 1
            continue
        start, new = rules.match(text, start)
        out.append(new)
    return "".join(out)


@given(some_rules, st.binary(max_size=3), st.text("abé日🤗\u0301xy", max_size=12))
def test_a_written_table_is_read_back(rules, invalid, text):
    rules = {key: new for key, new in rules.items() if key != new} or {"a": "b"}
    data = compiled(rules)
    assert data == compiled(dict(reversed(rules.items())))
    read = Charsmap(data)
    text = (text.encode() + invalid + text.encode()).decode("utf-8", "surrogateescape").replace("\0", "")
    assert by_the_reader(read, text) == longest_first(rules, text)
    for key in rules:
        assert read.shortest(key + "z") == rules[min((k for k in rules if key.startswith(k)), key=len)]
    if engine.compiled():
        core = engine.core("normalize").CharacterRules(data)
        assert core.apply(text.encode("utf-8", "surrogateescape")).decode() == longest_first(rules, text)


def edges(rules: Charsmap) -> int:
    """How many prefixes of any bytes a table leads on for: none by a unit that only happens to have the label."""
    count, todo = 0, [rules.units[0] >> 10]
    while todo:
        base = todo.pop()
        for byte in range(1, 256):
            unit = rules.units[base ^ byte]
            if unit & (LEAF | 0xFF) == byte:
                count += 1
                if count > 1_000_000:
                    return count
                todo.append(base ^ byte ^ unit >> 10)
    return count


def test_tables_with_many_rules():
    """Enough for several blocks of units, and nodes that are shared between rules."""
    rules = {chr(a) + chr(b): chr(b) for a in range(0x4E00, 0x4E40) for b in range(0xAC00, 0xAC40)}
    read = Charsmap(compiled(rules))
    assert all(read.match(key, 0) == (2, new) for key, new in rules.items())
    assert len(read.units) == 256  # 64 x 64 rules are 64 + 64 characters here
    rules = {chr(p): f"{p}" for p in range(0x3400, 0x9FFF, 3)}
    read = Charsmap(compiled(rules))
    assert all(read.match(key, 0) == (1, new) for key, new in rules.items())
    assert all(read.match(chr(p), 0) == (1, chr(p)) for p in range(0x3401, 0x9FFF, 3))
    assert edges(read) == len({key.encode()[:i] for key in rules for i in (1, 2, 3)})


@pytest.mark.parametrize("rules", [{}, {"": "a"}, {"a": "a"}, {"a\0": "b"}, {"a": "\0"}, {"a" * 32: "b"}], ids=repr)
def test_rules_that_no_table_can_hold(rules):
    with pytest.raises(TokenizerError, match="must change|at least one rule"):
        compiled(rules)


@pytest.mark.parametrize("name", ["nmt_nfkc", "nmt_nfkc_cf"])
def test_sentencepieces_tables(name):
    rules = charsmap(table(name))
    fold = str.casefold if name.endswith("cf") else str
    for text, expected in {
        "①²ﬁ": "12fi",
        "e\u0301": "é",
        "\u1100\u1161\u11a8": "각",
        "か\u3099ｶﾞ": "がガ",
        "\t\n\u200b\u2581": "    ",
        "\u200d～": "\u200d～",  # both left alone by design
        "\x01\x7f": "",
        "ÅΣ": fold("ÅΣ"),
    }.items():
        assert by_the_reader(rules, text) == expected
    assert table("identity") == b""
    with pytest.raises(TokenizerError, match="nmt_nfkc_cf"):
        table("nfkd")


def test_precompiled_replaces_short_clusters_by_their_shortest_rule():
    stage = Precompiled(compiled(RULES))
    assert stage.normalize(of("ﬁt\t日")).text == "fit x y"
    assert stage.normalize(of("e\u0301\u0301")).text == "é"  # not "E": a cluster, and the shortest rule wins
    assert stage.normalize(of("ABB")).text == "Abb"  # three clusters
    assert spans(stage.normalize(of("ae\u0301\x01日"))) == [(0, 1), (1, 3), (4, 5), (4, 5), (4, 5)]
    nmt = Precompiled(table("nmt_nfkc"))
    assert nmt.normalize(of("a\r\nb")).text == "a b"
    assert nmt.normalize(of("か\u3099")).text == "か\u3099"  # six bytes: looked up one by one
    plain = of("Plain text.")
    assert nmt.normalize(plain) is plain


@given(texts)
def test_precompiled_may_pass_over_letters(text):
    nmt = Precompiled(table("nmt_nfkc"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(precompiled, "_not_plain", lambda _: re.compile(r"[\s\S]+"))
        everything = nmt.normalize(of(text))
    found = nmt.normalize(of(text))
    assert (found.text, spans(found)) == (everything.text, spans(everything))


@pytest.mark.parametrize("stage", EVERY, ids=name)
@given(texts)
def test_a_character_above_ffff_changes_nothing_before_it(stage, text):
    """Patterns are others where there is one."""
    text = "".join(c for c in text if c < "\U00010000") + "x"
    found, wide = stage.normalize(of(text)), stage.normalize(of(text + "\U0001f917"))
    assert wide.text.startswith(found.text) and spans(wide)[: len(found.text)] == spans(found)


def test_grapheme_clusters():
    wanted = ["e\u0301", "\r\n", "\n", "\u0301", "각", "\u1100\u1161\u11a8", "🇩🇪", "🇫", "👩🏽\u200d👩\u200d👧"]
    wanted += ["क\u094dषि", "कः", "\u0600a", "\u0600", "\x01", "\u0301", "x\u0308\u200d", "中"]
    text = "".join(wanted)
    assert [found.group() for found in clusters().finditer(text)] == wanted


@pytest.mark.skipif(not engine.compiled(), reason="tinyllm was built without a C compiler")
@given(st.integers(0, 10**6), st.integers(1, 255), st.binary(max_size=12))
def test_a_damaged_table_is_refused_or_harmless(at, flips, text):
    data = bytearray(compiled(RULES))
    data[at % len(data)] ^= flips
    core = engine.core("normalize")
    try:
        rules = core.CharacterRules(bytes(data))
    except TokenizerError:
        return
    rules.apply(text)
    rules.apply("ﬁ\te\u0301\u0301日ABB".encode())


@pytest.mark.skipif(not engine.compiled(), reason="tinyllm was built without a C compiler")
def test_bytes_without_rules():
    core = engine.core("normalize").CharacterRules(b"")
    assert core.apply(b"") == b""
    assert core.apply(b"a\xffb\xc3") == "a\ufffdb\ufffd".encode()
    with pytest.raises(TokenizerError, match="are no table"):
        engine.core("normalize").CharacterRules(b"12345")


@pytest.mark.parametrize("stage", EVERY, ids=name)
@pytest.mark.parametrize(
    "unit", ["\u0301\u0323", "e\u0301", " \n", "İ", "\x01", "中", "\udcff", "각\u11a8", "👩\u200d", "\u0600", "\u1100"]
)
def test_hostile_text_of_one_kind(stage, unit):
    """Ten thousand characters of it, between letters."""
    text = f"a{unit * (10_000 // len(unit))}b"
    check(stage.normalize(of(text)), len(text))


def test_a_megabyte_of_combining_marks():
    text = "e" + "\u0301\u0323" * 250_000
    done = NFC().normalize(of(text))
    assert done.text == "ẹ" + "\u0323" * 249_999 + "\u0301" * 250_000
    check(done, len(text))
