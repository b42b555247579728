"""Normalizers against Hugging Face's: the text they give, and the span of each character of it."""

from __future__ import annotations

import random
import unicodedata

import pytest

from tinyllm.tokenizers import normalizers as ours
from tinyllm.tokenizers.aligned import Aligned
from tinyllm.tokenizers.normalizers.precompiled import table

hf = pytest.importorskip("tokenizers")
pytestmark = pytest.mark.oracle

# Characters that both sides know: assigned in Unicode 8, the version of some of Hugging Face's tables.
WORDS = "Héllo wörld  naïve ÅNGSTRÖM İstanbul ΟΔΥΣΣΕΥΣ Straße ﬁne ①② ｶﾞｷﾞ がぎ 한국어 中文字 हिन्दी ไทย\t\r\n\x01 x"
POOL = [*WORDS, *"abcXYZ '-.,\u0301\u0323\u0327\u200b\u200d\u2028\ufeff\u2581\u3000", "e\u0301", "🤗", "a\u0323\u0301"]


def drawn(n: int, seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    known = [p for p in range(0x21, 0xFFF0) if unicodedata.category(chr(p)) in ("Lu", "Ll", "Lo", "Po", "Nd", "So")]
    texts = []
    for _ in range(n):
        parts = [rng.choice(POOL) if rng.random() < 0.85 else chr(rng.choice(known)) for _ in range(rng.randint(1, 20))]
        texts.append("".join(parts))
    return texts


def theirs(stage, text: str) -> tuple[str, list[tuple[int, int]]]:
    """The normalized text, and the span of each character: every character of it is split off as a token."""
    tokenizer = hf.Tokenizer(hf.models.WordLevel({"?": 0}, unk_token="?"))
    tokenizer.normalizer = stage
    tokenizer.pre_tokenizer = hf.pre_tokenizers.Split(hf.Regex(r"[\s\S]"), "isolated")
    normalized = stage.normalize_str(text)
    spans = tokenizer.encode(text).offsets
    assert len(spans) == len(normalized)
    return normalized, spans


def mine(stage, text: str) -> tuple[str, list[tuple[int, int]]]:
    done = stage.normalize(Aligned.of(text))
    return done.text, list(zip(done.starts, done.ends, strict=True))


H = hf.normalizers
SAME = [
    (ours.Lowercase(), H.Lowercase()),
    (ours.Nmt(), H.Nmt()),
    (ours.StripAccents(), H.StripAccents()),
    (ours.Strip(), H.Strip()),
    (ours.Strip(strip_left=False), H.Strip(left=False)),
    (ours.Prepend("▁"), H.Prepend("▁")),
    (ours.Prepend("ab"), H.Prepend("ab")),
    (ours.ByteLevel(), H.ByteLevel()),
    (ours.Replace(" ", "▁"), H.Replace(" ", "▁")),
    (ours.Replace("a", "xyz"), H.Replace("a", "xyz")),
    (ours.Replace("aa", ""), H.Replace("aa", "")),
    (ours.BertNormalizer(strip_accents=False), H.BertNormalizer(strip_accents=False)),
    (ours.BertNormalizer(clean_text=False, strip_accents=False), H.BertNormalizer(False, True, False, True)),
    (
        ours.Sequence([ours.Strip(), ours.Replace(" ", "__"), ours.Lowercase(), ours.Prepend("_")]),
        H.Sequence([H.Strip(), H.Replace(" ", "__"), H.Lowercase(), H.Prepend("_")]),
    ),
]


@pytest.mark.parametrize(("stage", "peer"), SAME, ids=lambda stage: repr(stage)[:50])
def test_same_text_and_same_span_of_every_character(stage, peer):
    for text in drawn(1500):
        assert mine(stage, text) == theirs(peer, text), text.encode("unicode-escape")


WIDER = [
    (ours.NFC(), H.NFC()),
    (ours.NFD(), H.NFD()),
    (ours.NFKC(), H.NFKC()),
    (ours.NFKD(), H.NFKD()),
    (ours.BertNormalizer(), H.BertNormalizer()),
    (ours.BertNormalizer(lowercase=False, strip_accents=True), H.BertNormalizer(lowercase=False, strip_accents=True)),
    (
        ours.Sequence([ours.NFD(), ours.StripAccents(), ours.Lowercase()]),
        H.Sequence([H.NFD(), H.StripAccents(), H.Lowercase()]),
    ),
    (ours.Replace("ab", "x"), H.Replace("ab", "x")),
    (ours.Replace({"Regex": " {2,}"}, "▁"), H.Replace(hf.Regex(" {2,}"), "▁")),
    (ours.Replace({"Regex": r"\s+"}, "▁"), H.Replace(hf.Regex(r"\s+"), "▁")),
]


@pytest.mark.parametrize(("stage", "peer"), WIDER, ids=lambda stage: repr(stage)[:50])
def test_same_text_and_spans_that_contain_theirs(stage, peer):
    """Where several characters become one, theirs is the span of the first (of the last in Replace), ours of all.

    And where marks change places theirs numbers them as if they had not.
    """
    same = total = 0
    for text in drawn(1500, 1):
        (got, got_spans), (expected, expected_spans) = mine(stage, text), theirs(peer, text)
        assert got == expected, text.encode("unicode-escape")
        for (start, end), (first, last) in zip(got_spans, expected_spans, strict=True):
            assert start <= first and last <= end, text.encode("unicode-escape")
            same += (start, end) == (first, last)
            total += 1
    assert same > 0.93 * total
    if isinstance(stage, (ours.BertNormalizer, ours.Sequence)):
        assert same == total


NAMES = ["nmt_nfkc", "nmt_nfkc_cf"]
EVERY = [chr(p) for p in range(1, 0x110000) if not 0xD800 <= p < 0xE000]


@pytest.mark.parametrize("name", NAMES)
def test_precompiled_is_hugging_faces(name):
    stage, peer = ours.Precompiled(table(name)), H.Precompiled(table(name))
    assert [c for c in EVERY if mine(stage, c)[0] != peer.normalize_str(c)] == []
    same = total = 0
    for text in drawn(3000, 2):
        got, spans = mine(stage, text)
        assert got == peer.normalize_str(text), text.encode("unicode-escape")
        if "\x01" in text or "İ" in text:
            continue  # theirs loses count after a rule that gives nothing
        for span, expected in zip(spans, theirs(peer, text)[1], strict=True):
            assert span[0] <= expected[0] and expected[1] <= span[1]
            same += span == expected
            total += 1
    assert same > 0.95 * total


def sentencepiece_proto(data: bytes) -> bytes:
    """A model file with a table of rules, in protobuf: pieces <unk> and a, a trainer_spec, and the normalizer_spec."""

    def field(number: int, value: bytes | int) -> bytes:
        if isinstance(value, int):
            return bytes([number << 3, value])
        size, length = len(value), b""
        while size >= 0x80:
            length += bytes([size & 0x7F | 0x80])
            size >>= 7
        return bytes([number << 3 | 2]) + length + bytes([size]) + value

    pieces = field(1, field(1, b"<unk>") + field(3, 2)) + field(1, field(1, b"a"))
    spec = field(1, b"ours") + field(2, data) + field(3, 0) + field(4, 0) + field(5, 0)
    return pieces + field(3, spec)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("written", [True, False])
def test_rules_are_sentencepieces(name, written):
    """All code points and texts with damaged UTF-8: its own rules against our table, and our table read by it."""
    spm = pytest.importorskip("sentencepiece")
    core = pytest.importorskip("tinyllm.tokenizers._normalize").CharacterRules(table(name))
    plain = dict(add_dummy_prefix=False, escape_whitespaces=False, remove_extra_whitespaces=False)
    which = {"model_proto": sentencepiece_proto(table(name))} if written else {"rule_name": name}
    peer = spm.SentencePieceNormalizer(**which, **plain)
    assert [c for c in EVERY if core.apply(c.encode()).decode() != peer.normalize(c)] == []
    rng = random.Random(3)
    for text in drawn(5000, 3):
        data = bytearray(text.encode())
        if rng.random() < 0.5:
            data[rng.randrange(len(data))] = rng.randrange(256)
        assert core.apply(bytes(data)) == peer.normalize(bytes(data)), bytes(data)
    jamo = [c for c in EVERY if "HANGUL" in unicodedata.name(c, "")][:400]
    text = "".join(rng.choice(jamo) for _ in range(20000))
    assert core.apply(text.encode()) == peer.normalize(text.encode())
