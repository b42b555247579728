"""Pipelines that no compiled function runs whole: remembering pieces changes no id, and is bounded."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers import AddedToken, Tokenizer, models, remember
from tinyllm.tokenizers import normalizers as N
from tinyllm.tokenizers import pretokenizers as P
from tinyllm.tokenizers.pretokenizers.patterns import PORTABLE

LETTERS = "ab1,.é天▁ĠA\u0301"
WORDS = [*LETTERS, "ab", "ba", " a", "▁a", "▁ab", "天天", "a,b", "bab"]
PIECES = [("<unk>", 0.0), *((word, -1.5 - i % 5) for i, word in enumerate(WORDS))]
IDS = {word: i for i, word in enumerate(["?", *WORDS, *("##" + word for word in WORDS)])}
MODELS = [
    models.WordLevel(IDS, "?"),
    models.WordPiece(IDS, "?"),
    models.Unigram(PIECES, 0),
    models.BPE(IDS, [("a", "b"), ("▁", "a"), ("天", "天")], unk_token="?", fuse_unk=True),
]
NORMALIZERS = [None, N.NFD(), N.Lowercase(), N.Strip(), N.Nmt(), N.Sequence((N.Prepend(" "), N.Replace("A", "")))]
NORMALIZERS += [N.Sequence((N.Prepend("▁"), N.Replace(" ", "▁"), N.Replace("é", "天")))]
CUTS = [
    None,
    P.ByteLevel(),
    P.Whitespace(),
    P.BertPreTokenizer(),
    P.Punctuation("MergedWithPrevious"),
    P.Metaspace(),
    P.Metaspace(prepend_scheme="first"),
    P.UnicodeScripts(),
    P.Split({"Regex": PORTABLE["o200k"]}, "Isolated"),
    P.Sequence([P.WhitespaceSplit(), P.Metaspace()]),
    P.Sequence([P.WhitespaceSplit(), P.Metaspace(prepend_scheme="first")]),
    P.Sequence([P.Digits(True), P.Sequence([P.Metaspace(), P.Punctuation()])]),
    P.Sequence([]),
]
ADDED = st.lists(
    st.builds(AddedToken, st.sampled_from(["bab", "b1", "天", "<s>", "?"]), *[st.booleans()] * 5),
    max_size=2,
    unique_by=lambda token: token.content,
)
TEXT = st.one_of(
    st.text("ab1,.é天▁A \n\u0301\u3000🙂<s>?", max_size=40),
    st.lists(st.sampled_from([b"a", b"b ", b"\x01", b"\xc3", b"\xa9", b"\xff", "天".encode()])).map(b"".join),
)


@settings(max_examples=1000, deadline=None)
@given(
    st.sampled_from(MODELS), st.sampled_from(NORMALIZERS), st.sampled_from(CUTS), ADDED, st.lists(TEXT, max_size=4),
    st.sampled_from([0, 600, remember.ROOM]), st.sampled_from([1, remember.LONGEST]),
)  # fmt: skip
def test_ids_are_those_of_the_stages(model, normalizer, cut, added, texts, room, longest):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(remember, "ROOM", room)  # so little that it is forgotten again and again
        patch.setattr(remember, "LONGEST", longest)
        tokenizer = Tokenizer(model, normalizer, cut, added_tokens=added)
        for text in texts * 2:
            for allowed in (), "all":
                assert tokenizer.encode(text, allowed) == tokenizer.encode_with_offsets(text, allowed).ids


def test_what_is_remembered_is_bounded():
    asked = []

    def encode(piece):
        asked.append(piece)
        return [7] * len(piece)

    known = remember.Known(encode)
    assert known["ab"] == known["ab"] == [7, 7] and asked == ["ab"]
    long = "x" * (remember.LONGEST + 1)
    assert known[long] == known[long] and len(asked) == 3
    most = 0
    for i in range(100_000):
        known[f"{i} {'y' * 50}"]
        most = max(most, len(known))
    size = sum(sys.getsizeof(piece) + sys.getsizeof(ids) for piece, ids in known.items()) / len(known)
    assert len(known) < most < 100_000 and most * size < remember.ROOM


def test_ids_that_are_drawn_are_not_remembered():
    model = models.BPE(IDS, [("a", "b")], dropout=0.5, unk_token="?")
    tokenizer = Tokenizer(model, pre_tokenizer=P.Whitespace())
    assert len({tuple(tokenizer.encode("ab ab ab ab ab")) for _ in range(50)}) > 1


def test_an_unknown_word_is_named_each_time():
    tokenizer = Tokenizer(models.WordLevel({"a": 0}), pre_tokenizer=P.Whitespace())
    for _ in range(2):
        with pytest.raises(TokenizerError, match="'b' is not among the 1 words"):
            tokenizer.encode("a b")
