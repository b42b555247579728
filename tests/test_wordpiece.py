"""WordPiece: both encoders against the definition, the compiled pipeline against its stages, the trainer against
counting everything again."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyllm.tokenizers.engine import compiled
from tinyllm.tokenizers.models.wordpiece import WordPiece
from tinyllm.tokenizers.reference.wordpiece import LinMaxMatch, longest_match
from tinyllm.tokenizers.trainers.wordpiece import SCORES, WordPieceTrainer

ENGINES = ["python", pytest.param("c", marks=pytest.mark.skipif(not compiled(), reason="no compiled core"))]
ALPHABETS = ["ab", "ab#", "aé漢#", "a😀\u0301 "]
PREFIXES = ["##", "", "#", "a", "##é"]


@st.composite
def vocabularies(draw: st.DrawFn) -> tuple[dict[str, int], str, str]:
    """A vocabulary, its prefix, and the alphabet of its words; continuations may be many or few."""
    letters = draw(st.sampled_from(ALPHABETS))
    prefix = draw(st.sampled_from(PREFIXES))
    pieces = st.text(letters, min_size=1, max_size=6)
    begin = draw(st.lists(pieces, max_size=8))
    go_on = [prefix + piece for piece in draw(st.lists(pieces, max_size=8))]
    literal = draw(st.lists(st.sampled_from([prefix or "a", "#", "##", "###", "##a"]), max_size=3))
    tokens = dict.fromkeys(["[UNK]", *begin, *go_on, *literal])
    return {token: i for i, token in enumerate(tokens)}, prefix, letters


@given(vocabularies(), st.data())
@settings(max_examples=400, deadline=None)
def test_linear_time_encoders_give_the_longest_match(case, data):
    vocab, prefix, letters = case
    engines = ["python", "c"] if compiled() else ["python"]
    models = [WordPiece(vocab, "[UNK]", prefix, 12, engine=engine) for engine in engines]
    linear = LinMaxMatch(vocab, prefix)
    for word in data.draw(st.lists(st.text(letters + "x", max_size=14), min_size=1, max_size=30)):
        expected = longest_match(word, vocab, prefix)
        assert linear(word) == expected
        ids = [0] if expected is None or len(word) > 12 else expected
        for model in models:
            assert model.encode(word.encode()) == ids
            spans = model.tokenize(word.encode())
            assert [token for token, _ in spans] == ids
            assert sum(width for _, width in spans) == len(word.encode())


WORDS = st.dictionaries(st.text("ab#é", min_size=1, max_size=8), st.integers(1, 40), min_size=1, max_size=12)


@pytest.mark.skipif(not compiled(), reason="no compiled core")
@given(WORDS, st.sampled_from(SCORES), st.integers(1, 3), st.sampled_from(["##", "", "a"]), st.integers(0, 30))
@settings(max_examples=300, deadline=None)
def test_trainers_agree_merge_by_merge(words, score, min_frequency, prefix, room):
    def trained(engine):
        trainer = WordPieceTrainer(
            len(specials) + 8 + room, min_frequency, specials, score, continuing_subword_prefix=prefix, engine=engine
        )
        return list(trainer.train({word.encode(): count for word, count in words.items()}).vocab)

    specials = ("[UNK]", "ab")
    assert trained("c") == trained("python")
