"""Word-level vocabularies: frequency, then string order; unknown words; what is reserved is never read out of text."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers.models import WordLevel
from tinyllm.tokenizers.trainers import WordLevelTrainer

COUNTS = {b"the": 5, b"a": 3, "é".encode(): 3, b"rare": 1, b"<unk>": 9, b"\xff": 2}


def trained(vocab_size, **options) -> list[str]:
    model = WordLevelTrainer(vocab_size, **options).train(COUNTS)
    return [token.decode() for token in model.tokens]


def test_the_most_frequent_words_then_string_order():
    assert trained(5, special_tokens=["<unk>", "<s>"]) == ["<unk>", "<s>", "the", "a", "é"]
    assert trained(None, special_tokens=["<unk>"], min_frequency=2) == ["<unk>", "the", "a", "é", "\ufffd"]
    assert trained(None, by_name=True) == ["<unk>", "a", "rare", "the", "é", "\ufffd"]
    with pytest.warns(UserWarning, match="6 words that occur 1 times: the vocabulary has 7 tokens, not 100"):
        trained(100, special_tokens=["<s>"])
    with pytest.raises(TokenizerError, match="vocab_size is 1, less than the 2 special tokens"):
        WordLevelTrainer(1, ["a", "b"])


@given(st.lists(st.text("ab", min_size=1, max_size=3)), st.randoms())
def test_order_of_words_does_not_matter(words, rng):
    counts = Counter(word.encode() for word in words)
    other = dict(rng.sample(sorted(counts.items()), len(counts)))
    assert WordLevelTrainer(None).train(counts).vocab == WordLevelTrainer(None).train(other).vocab


def test_unknown_words():
    plain = WordLevel({"a": 0, "b\ufffd": 1})
    assert plain.encode(b"a") == [0] and plain.tokenize(b"b\xff") == [(1, 2)] and plain.encode(b"") == []
    with pytest.raises(TokenizerError, match="'é' is not among the 2 words"):
        plain.encode("é".encode())
    known = WordLevel({"a": 0, "[UNK]": 1, "[SEP]": 2}, "[UNK]")
    assert known.encode(b"x") == [1] and known.encode(b"[SEP]") == [2]
    assert known.reserving(frozenset({1, 2})).encode(b"[SEP]") == [1] == known.encode(b"[UNK]")


def test_bad_vocabularies():
    for vocab, message in [
        ({"a": 0, "b": 2}, "the ids of 2 words must be 0 to 1; none has id 1"),
        ({"": 0}, "token 0 is ''"),
        ({"\udc80": 0}, "no lone surrogate"),
    ]:
        with pytest.raises(TokenizerError, match=message):
            WordLevel(vocab)
