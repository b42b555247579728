"""A trace tells what the model did: its last step is the model's own result, each step follows from the one before."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers import normalizers, pretokenizers
from tinyllm.tokenizers.added import AddedToken
from tinyllm.tokenizers.models.bpe import BPE
from tinyllm.tokenizers.models.unigram import Unigram
from tinyllm.tokenizers.models.wordlevel import WordLevel
from tinyllm.tokenizers.models.wordpiece import WordPiece
from tinyllm.tokenizers.normalizers import BertNormalizer
from tinyllm.tokenizers.pipeline import Tokenizer
from tinyllm.tokenizers.pretokenizers import BertPreTokenizer
from tinyllm.tokenizers.trace import LIMIT, Arc, Match, Merge, trace

MERGES = [("a", "b"), ("b", "c"), ("ab", "c"), ("a", "a"), ("aa", "aa"), ("bc", "a")]
TOKENS = ["a", "b", "c", *(left + right for left, right in MERGES)]
BYTE_PAIRS = Tokenizer(BPE({token: i for i, token in enumerate(TOKENS)}, MERGES))
WORD_PIECES = Tokenizer(
    WordPiece({token: i for i, token in enumerate(["[UNK]", "a", "ab", "##b", "##bc", "##c", "##abc", "b"])}),
    BertNormalizer(),
    BertPreTokenizer(),
)
UNIGRAM = Tokenizer(
    Unigram(
        [("<unk>", 0.0), ("a", -3.0), ("b", -3.1), ("c", -2.9), ("ab", -4.0), ("abc", -6.9), ("bca", -5.0)], unk_id=0
    )
)
letters = st.text("abc", min_size=1, max_size=30)


@given(letters)
def test_merges_end_with_the_tokens_and_each_has_the_lowest_rank(text):
    (piece,) = trace(BYTE_PAIRS, text).pieces
    assert piece.ids == BYTE_PAIRS.encode(text)
    before = piece.begins
    assert before == [*text]
    for step in piece.steps:
        assert isinstance(step, Merge) and (step.left, step.right) == MERGES[step.rank]
        pairs = list(pairwise(before))
        assert pairs.index((step.left, step.right)) == step.at  # the leftmost
        assert all(pair not in MERGES[: step.rank] for pair in pairs)
        before = [*before[: step.at], step.left + step.right, *before[step.at + 2 :]]
        assert step.symbols == before
    assert before == piece.tokens


@given(letters)
def test_matches_are_the_tokens_and_longer_ones_were_tried(text):
    (piece,) = trace(WORD_PIECES, text).pieces
    assert all(isinstance(step, Match) for step in piece.steps)
    vocab = WORD_PIECES.model.vocab
    for step in piece.steps:
        assert not [name for name in step.tried if name in vocab]
        assert [len(a) - len(b) for a, b in pairwise([*step.tried, *filter(None, [step.found])])] == [1] * (
            len(step.tried) - (not step.found)
        )
    found = [step.found for step in piece.steps]
    assert piece.tokens == (found if all(found) else ["[UNK]"])


@given(letters)
def test_the_best_path_is_the_tokens_and_no_other_scores_more(text):
    (piece,) = trace(UNIGRAM, text).pieces
    arcs = piece.steps
    assert all(isinstance(arc, Arc) and text[arc.start : arc.end] == arc.token for arc in arcs)
    path = sorted((arc for arc in arcs if arc.best), key=lambda arc: arc.start)
    assert [arc.token for arc in path] == piece.tokens
    assert piece.score == pytest.approx(sum(arc.score for arc in path))
    best = [0.0, *[float("-inf")] * len(text)]
    for arc in sorted(arcs, key=lambda arc: arc.start):
        best[arc.end] = max(best[arc.end], best[arc.start] + arc.score)
    assert piece.score == pytest.approx(best[-1])


NAMES = [AddedToken("</s>", special=True), AddedToken("ba"), AddedToken("cc", normalized=False, lstrip=True)]
PIECES = ["<unk>", "</s>", "a", "b", "ab", "<", "/s", ">", "/", "s", "▁", "▁a"]
WITH_NAMES = [
    Tokenizer(
        Unigram([(piece, -float(i)) for i, piece in enumerate(PIECES)], unk_id=0),
        normalizers.Lowercase(),
        pretokenizers.Metaspace(prepend_scheme="first"),
        added_tokens=NAMES,
    ),
    Tokenizer(BPE({token: i for i, token in enumerate([*TOKENS, *"</s>"])}, MERGES), added_tokens=NAMES),
    Tokenizer(WORD_PIECES.model, WORD_PIECES.normalizer, WORD_PIECES.pre_tokenizer, added_tokens=NAMES),
]


@pytest.mark.parametrize("tokenizer", WITH_NAMES, ids=["Unigram", "BPE", "WordPiece"])
@given(text=st.lists(st.sampled_from(["a", "b", "c", "B", " ", "</s>", "ba"]), max_size=12).map("".join))
def test_the_ids_of_a_trace_are_those_of_encode(tokenizer, text):
    pieces = trace(tokenizer, text).pieces
    assert [i for piece in pieces for i in piece.ids] == tokenizer.encode(text)
    assert all(piece.begins == ["an added token"] for piece in pieces if "ba" in piece.tokens)
    assert all(piece.tokens == [piece.piece.strip().lower()] for piece in pieces if piece.begins == ["an added token"])


def test_a_trace_reads_well_and_is_json():
    found = trace(WORD_PIECES, "ABC  acx")
    assert found.text() == (
        "WordPiece: 'ABC  acx'\n"
        "normalized: 'abc  acx'\n"
        "'abc'  (characters 0 to 3)\n"
        "    character 0: not abc; ab\n"
        "    character 2: ##c\n"
        "    = ab 2  ##c 5\n"
        "'acx'  (characters 5 to 8)\n"
        "    character 0: not acx, ac; a\n"
        "    character 1: not ##cx; ##c\n"
        "    character 2: not ##x; nothing fits: the whole word is unknown\n"
        "    = [UNK] 0"
    )
    pieces = json.loads(json.dumps(found.json()))["pieces"]
    assert pieces[0]["steps"][0] == {"at": 0, "tried": ["abc"], "found": "ab"} and pieces[1]["tokens"] == ["[UNK]"]


def test_what_cannot_be_traced_is_said():
    with pytest.raises(TokenizerError, match=f"at most {LIMIT}"):
        trace(BYTE_PAIRS, "a" * (LIMIT + 1))
    with pytest.raises(TokenizerError, match="WordLevel has no steps"):
        trace(Tokenizer(WordLevel({"a": 0})), "a")
    with pytest.raises(TokenizerError, match="surrogate"):
        trace(BYTE_PAIRS, "\ud800")
