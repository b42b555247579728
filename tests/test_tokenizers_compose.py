"""Any stages put together: ids by every way alike, offsets monotone and true to the text, text back as normalized."""

from __future__ import annotations

from unicodedata import normalize

from hypothesis import given, settings
from hypothesis import strategies as st

from tinyllm.tokenizers import AddedToken, BPETokenizer, Tokenizer, decoders
from tinyllm.tokenizers import normalizers as N
from tinyllm.tokenizers import pretokenizers as P
from tinyllm.tokenizers.aligned import Aligned
from tinyllm.tokenizers.models import WordLevel

some = settings(max_examples=150)

MODEL = BPETokenizer.train("to be or not to be: the café's Straße, NAÏVE ﬁsh 北京 3,14\n" * 4, 300).model
CHARACTERS = "ab toBE. ,'é\u0301ﬁßİ北々\u3000\t\n3Ⅳ½🙂\u200d\x00\u00a0-_<X>"
TEXT = st.one_of(st.text(st.sampled_from(CHARACTERS), max_size=25), st.text(max_size=12))
NORMALIZERS = st.lists(
    st.sampled_from(
        [
            N.NFC(),
            N.NFD(),
            N.NFKC(),
            N.NFKD(),
            N.Lowercase(),
            N.CaseFold(),
            N.StripAccents(),
            N.RemoveAccents(),
            N.BertNormalizer(),
            N.Strip(),
            N.CollapseWhitespace(),
            N.Replace("t", "ﬁ"),
            N.Replace("b", ""),
            N.Prepend("_"),
            N.Nmt(),
        ]
    ),
    max_size=3,
)
CUTTERS = st.lists(
    st.sampled_from(
        [
            P.Whitespace(),
            P.WhitespaceSplit(),
            P.BertPreTokenizer(),
            P.Punctuation(),
            P.Digits(individual_digits=True),
            P.UnicodeScripts(),
            P.Metaspace(),
            P.Metaspace(prepend_scheme="first"),
            P.ByteLevel(),
            P.ByteLevel(add_prefix_space=False),
            P.Words(),
            P.Sentences(),
            P.FixedLength(2),
        ]
    ),
    max_size=2,
)
ADDED = [AddedToken("<X>", special=True), AddedToken("be t", normalized=True), AddedToken("toB", lstrip=True)]


def composed(parts, cutters, added=(), **stages) -> Tokenizer:
    normalizer = N.Sequence(tuple(parts)) if parts else None
    cutter = (P.Sequence(tuple(cutters)) if len(cutters) > 1 else cutters[0]) if cutters else None
    return Tokenizer(MODEL, normalizer, cutter, decoder=decoders.ByteLevel(), added_tokens=added, **stages)


@some
@given(NORMALIZERS, CUTTERS, TEXT, st.booleans())
def test_every_way_gives_the_same_ids_and_monotone_offsets(parts, cutters, text, extended):
    tokenizer = composed(parts, cutters, ADDED if extended else ())
    allowed = "all" if extended else ()
    ids = tokenizer.encode(text, allowed)
    for one in text, text.encode():
        encoding = tokenizer.encode_with_offsets(one, allowed)
        assert encoding.ids == ids == tokenizer.encode(one, allowed)
        starts, ends = [span[0] for span in encoding.offsets], [span[1] for span in encoding.offsets]
        assert starts == sorted(starts) and ends == sorted(ends)
        assert all(0 <= start <= end <= len(one) for start, end in encoding.offsets)
    in_bytes = encoding.offsets
    for i, (start, end) in enumerate(tokenizer.encode_with_offsets(text, allowed).offsets):
        # what is counted in bytes lies within what is counted in characters
        first, last = len(text[:start].encode()), len(text[:end].encode())
        assert first <= in_bytes[i][0] <= in_bytes[i][1] <= last


@some
@given(NORMALIZERS, TEXT)
def test_text_comes_back_as_normalized(parts, text):
    tokenizer = composed(parts, [])
    expected = Aligned.of(text)
    for part in parts:
        expected = part.normalize(expected)
    assert tokenizer.decode(tokenizer.encode(text)) == expected.text


@some
@given(st.binary(max_size=30))
def test_bytes_come_back(data):
    for cutters in [], [P.ByteLevel(add_prefix_space=False)], [P.Digits(), P.Punctuation()]:
        tokenizer = composed([], cutters)
        encoding = tokenizer.encode_with_offsets(data)
        assert tokenizer.decode_bytes(encoding.ids) == data and encoding.ids == tokenizer.encode(data)
        assert b"".join(data[start:end] for start, end in encoding.offsets) == data


@some
@given(TEXT)
def test_spans_are_what_a_token_came_from(text):
    """One token a character, through normalizers that change each character by itself: its span, normalized, has it."""
    letters = "".join(map(chr, range(32, 0x250)))
    vocab = {c: i for i, c in enumerate(dict.fromkeys(["\ufffd", *letters, *CHARACTERS, *CHARACTERS.casefold()]))}
    stages = N.Sequence((N.NFD(), N.StripAccents(), N.CaseFold()))
    tokenizer = Tokenizer(WordLevel(vocab, "\ufffd"), stages, P.FixedLength(1))
    encoding = tokenizer.encode_with_offsets(text)
    for i, (start, end) in zip(encoding.ids, encoding.offsets, strict=True):
        assert 0 <= start < end <= len(text)
        source = normalize("NFD", text[start:end]).casefold()
        assert i == 0 or tokenizer.tokens[i].decode() in source
