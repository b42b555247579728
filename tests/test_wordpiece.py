"""WordPiece: both encoders against the definition, the compiled pipeline against its stages, the trainer against
counting everything again."""

from __future__ import annotations

import math
import os
import random
import subprocess
import sys
import warnings
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers.engine import compiled
from tinyllm.tokenizers.models.wordpiece import WordPiece
from tinyllm.tokenizers.normalizers import BertNormalizer
from tinyllm.tokenizers.pipeline import Tokenizer
from tinyllm.tokenizers.pretokenizers import BertPreTokenizer
from tinyllm.tokenizers.reference import wordpiece as reference
from tinyllm.tokenizers.reference.wordpiece import LinMaxMatch, longest_match
from tinyllm.tokenizers.trainers.wordpiece import SCORES, WordPieceTrainer

pytestmark = pytest.mark.filterwarnings("ignore:.*can give at most|no further merge|.*characters were left out")
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


@st.composite
def overlapping_vocabularies(draw: st.DrawFn) -> tuple[dict[str, int], list[str]]:
    """Tokens that are stretches of one string, so that many are found before it is known that a longer one isn't
    there; and words made of its stretches.
    """
    whole = "abcdefghi"
    stretch = st.builds(
        lambda start, size, end: whole[start : start + size] + end,
        st.integers(0, 8),
        st.integers(1, 9),
        st.sampled_from(["", "", "x", "y"]),
    )
    tokens = ["[UNK]", *draw(st.lists(stretch, max_size=6)), *("##" + c for c in whole + "xy")]
    tokens += ["##" + token for token in draw(st.lists(stretch, max_size=6))]
    words = st.lists(stretch, min_size=1, max_size=3).map("".join)
    return {token: i for i, token in enumerate(dict.fromkeys(tokens))}, draw(st.lists(words, max_size=20))


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


OVERLAPPING = ["[UNK]", "a", "##b", "##c", "##d", "##e", "abcdef", "##bcdx"]


@given(overlapping_vocabularies())
@example(({token: i for i, token in enumerate(OVERLAPPING)}, ["abcde", "abcdef", "abcd", "abcdx", "abcdex"]))
@settings(max_examples=300, deadline=None)
def test_tokens_that_overlap(case):
    vocab, words = case
    models = [WordPiece(vocab, engine=engine) for engine in (["python", "c"] if compiled() else ["python"])]
    for word in words:
        expected = longest_match(word, vocab) or [0]
        assert [model.encode(word.encode()) for model in models] == [expected] * len(models)


# Of every kind: letters, white space (U+0085 is a control, too), controls, punctuation, what becomes punctuation
# or another character, nonspacing marks, marks that NFD sorts though they stay, ideographs, jamo, unassigned, private.
KINDS = (
    "aAzZé ß\u0130Σ#[]0\n\r\t\u00a0\u0085\u2028\u3000\0\x01\x7f\u00ad\u200b\ufffd\ufeff.,!$~\u2014\u3002\u037e\u2260"
)
KINDS += (
    "\u0301\u0338\u0327\u302e\u302f\U0001d165\U0001d16d\u0b95\u0bcd漢字\uf900한글\u1100\u0378\ue000\U0001f600\u0e33"
)
TEXTS = st.lists(
    st.one_of(
        st.text(KINDS, max_size=12).map(str.encode),
        st.sampled_from(
            [b"\xff", b"\xe6\xbc", b"\xc3", b"\x80", b"\xed\xa0\x80", b"a" * 30, "é".encode() * 9, b"A" * 13]
        ),
    ),
    max_size=12,
).map(b"".join)
BERT_VOCAB = ["[UNK]", *"aez#[]0.,!$~;=\u2014\u3002漢字豈s\ufffd\u302e\U0001d165\U0001d16d", "aa"]
BERT_VOCAB += ["##a", "##e", "##漢", "##\u302f", "##aaa", "##\ufffd", "##\U0001d165", "##\U0001d16d"]


@pytest.mark.skipif(not compiled(), reason="no compiled core")
@pytest.mark.parametrize(
    "normalizer",
    [None, BertNormalizer(), BertNormalizer(lowercase=False), BertNormalizer(clean_text=False)]
    + [BertNormalizer(handle_chinese_chars=False), BertNormalizer(strip_accents=False)],
)
def test_compiled_pipeline_is_its_stages(normalizer):
    model = WordPiece({token: i for i, token in enumerate(BERT_VOCAB)}, max_input_chars_per_word=12)
    fused = model.fused(normalizer, BertPreTokenizer())
    slow = Tokenizer(model, normalizer, BertPreTokenizer())

    @given(TEXTS)
    @settings(max_examples=150, deadline=None)
    def check(data):
        expected = slow.encode_with_offsets(data).ids
        assert fused(data) == expected
        assert fused(data) == expected  # now that its runs are known

    check()


@pytest.mark.skipif(not compiled(), reason="no compiled core")
def test_every_character_is_described_as_the_stages_have_it():
    """Between two letters, alone, and before a mark."""
    model = WordPiece({token: i for i, token in enumerate(BERT_VOCAB)})
    stages = BertNormalizer(), BertPreTokenizer()
    fused, slow = model.fused(*stages), Tokenizer(model, *stages)
    for first in [
        *range(0, 0x3400, 512),
        0x4C00,
        0x9E00,
        0xAA00,
        0xABC0,
        0xF8C0,
        0xFA00,
        0xFE00,
        0x11000,
        0x1D000,
        0x2F800,
    ]:
        data = "".join(f"a{chr(p)}a {chr(p)}\u0301\n" for p in range(first, first + 512)).encode()
        assert fused(data) == slow.encode_with_offsets(data).ids


@pytest.mark.skipif(not compiled(), reason="no compiled core")
@pytest.mark.parametrize("form", ["{:05}aaaaaaaaaaaaa", "aaaaaaaa{:05}aaaaa", "aaaaaaaaaaaaaaaa{:05}", "{}"])
def test_runs_that_want_the_same_slot_are_told_apart(form):
    """The table has 32,768 slots for 30,000 runs."""
    tokens = ["[UNK]", "##a", *"0123456789", *(f"##{i}" for i in range(10)), "a" * 8, "##" + "a" * 8, "##aaaaa"]
    model = WordPiece({token: i for i, token in enumerate(tokens)})
    fused = model.fused(BertNormalizer(), BertPreTokenizer())
    words = [form.format(i).encode() for i in range(30_000)]
    expected = [model.encode(word) for word in words]
    assert max(map(len, expected)) <= 9
    for _ in range(2):
        assert fused(b" ".join(words)) == [i for ids in expected for i in ids]
    assert [fused(word) for word in words] == expected


def test_a_word_is_unknown_as_a_whole_and_reserved_ids_are_never_read():
    vocab = {token: i for i, token in enumerate(["[UNK]", "a", "##b", "[CLS]", "##[CLS]"])}
    model = WordPiece(vocab, max_input_chars_per_word=6)
    assert [model.encode(word) for word in (b"ab", b"abc", b"abbbbb", b"abbbbbb", b"")] == [
        [1, 2], [0], [1, 2, 2, 2, 2, 2], [0], []
    ]  # fmt: skip
    assert model.tokenize("abé".encode()) == [(0, 4)]
    assert model.encode(b"[CLS]") == [3]
    assert model.reserving(frozenset([3, 4])).encode(b"[CLS]") == [0]
    assert model.reserving(frozenset([3, 4])).tokens == model.tokens


@pytest.mark.parametrize("engine", ENGINES)
def test_bytes_that_are_no_utf8_count_as_the_replacement_character(engine):
    vocab = {token: i for i, token in enumerate(["[UNK]", "a", "##\ufffd", "##b", "\ufffd"])}
    model = WordPiece(vocab, max_input_chars_per_word=3, engine=engine)
    assert model.tokenize(b"a\xffb") == [(1, 1), (2, 1), (3, 1)]
    assert model.tokenize(b"\xed\xa0\xff") == [(4, 1), (2, 1), (2, 1)]
    assert model.tokenize(b"a\xff\xff\xff") == [(0, 4)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (({"[UNK]": 0, "a": 2},), "must be 0 to 1; 1 has no token"),
        (({"[UNK]": 0, "a": 0},), "1 has no token"),
        (({"a": 0},), "unk_token is '\\[UNK\\]', which is not in the vocabulary"),
        (({"[UNK]": 0, "": 1},), "token 1 is ''"),
        (({"[UNK]": 0, "\ud800": 1},), "no surrogates"),
        (({"[UNK]": 0}, "[UNK]", "##", -1), "max_input_chars_per_word is -1"),
    ],
)
def test_vocabularies_that_are_none(arguments, message):
    with pytest.raises(TokenizerError, match=message):
        WordPiece(*arguments)


@pytest.mark.skipif(not compiled(), reason="no compiled core")
def test_hostile_words_take_linear_time():
    """A word of a million characters, and tokens of thousands that share their beginnings."""
    vocab = dict.fromkeys(["[UNK]", "a", "##a", *("##" + "a" * n for n in range(2, 4000, 7)), "a" * 4000 + "b"])
    model = WordPiece({token: i for i, token in enumerate(vocab)}, max_input_chars_per_word=10**7)
    word = b"a" * 1_000_000
    assert sum(width for _, width in model.tokenize(word)) == len(word)
    fused = model.fused(BertNormalizer(), BertPreTokenizer())
    assert fused(word) == model.encode(word)


# Training


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


@pytest.mark.skipif(not compiled(), reason="no compiled core")
@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("prefix", ["##", ""])
def test_trainers_agree_on_more_words(score, prefix):
    rng = random.Random(1)
    for _ in range(60):
        letters = rng.choice(["ab", "abc", "abcdefgh"])
        longest = rng.choice([4, 12, 30])
        words = {}
        for _ in range(rng.randint(10, 60)):
            word = "".join(rng.choice(letters) for _ in range(rng.randint(1, longest)))
            words[word] = rng.choice([1, 1, 2, 3, rng.randint(1, 1000), 10**9 + rng.randint(0, 3)])
        fields = {"score": score, "continuing_subword_prefix": prefix, "min_frequency": rng.choice([1, 1, 2, 5])}
        trainer = WordPieceTrainer(10**6, special_tokens=("[UNK]", "##ab", "aa"), **fields)
        first = trainer._first_tokens(words)
        size = len(first) + rng.randint(0, 60)
        trainer = replace(trainer, vocab_size=size)
        given = {word.encode(): count for word, count in words.items()}
        tokens, merges = trainer.learn(given)
        assert (tokens, merges) == replace(trainer, engine="python").learn(given)
        assert len(set(tokens)) == len(tokens)


@pytest.mark.parametrize("engine", ENGINES)
def test_no_merge_that_lowers_the_likelihood(engine):
    """b follows 50 characters once each, which is too rare, and a, which is mostly alone, twice."""
    words = {b"a": 100, b"ab": 2, **{f"{chr(0x4E00 + i)}b".encode(): 1 for i in range(50)}}
    assert "ab" not in WordPieceTrainer(100, 2, engine=engine).train(words).vocab
    assert "ab" in WordPieceTrainer(100, 2, score="pmi", engine=engine).train(words).vocab


def log_likelihood(words, segment):
    """Of a corpus, whose words are cut by `segment`, under the frequencies of its tokens: written out."""
    counts = Counter()
    for word, count in words.items():
        for token in segment(word):
            counts[token] += count
    total = sum(counts.values())
    return sum(c * math.log(c / total) for c in counts.values())


def replay(word, merges):
    """A word after the merges, by their spelling."""
    tokens = [word[0], *("##" + c for c in word[1:])]
    for a, b in merges:
        i = 0
        while i + 1 < len(tokens):
            if (tokens[i], tokens[i + 1]) == (a, b):
                tokens[i : i + 2] = [a + b[2:]]
            i += 1
    return tokens


@given(WORDS)
@settings(max_examples=60, deadline=None)
def test_each_merge_is_the_one_that_raises_the_likelihood_most(words):
    """Of all pairs there are, tried one by one with the likelihood written out."""
    words = {word: count for word, count in words.items() if not word.startswith("##")}
    first = dict.fromkeys(token for word in words for token in replay(word, []))
    merges = reference.train(words, list(first), len(first) + 6)
    for i in range(len(merges) + 1):
        now = log_likelihood(words, lambda word: replay(word, merges[:i]))  # noqa: B023
        pairs = {pair for word in words for pair in pairwise(replay(word, merges[:i]))}
        gains = {
            pair: log_likelihood(words, lambda word: replay(word, [*merges[:i], pair])) - now  # noqa: B023
            for pair in pairs
        }
        if i < len(merges):
            assert gains[merges[i]] >= max(gains.values()) - 1e-9
            assert gains[merges[i]] > -1e-9
        elif len({*first, *(a + b[2:] for a, b in merges)}) < len(first) + 6:
            assert max(gains.values(), default=0) < 1e-9


@pytest.mark.parametrize("engine", ENGINES)
def test_toy_corpus_of_the_course(engine):
    words = {b"hug": 10, b"pug": 5, b"pun": 12, b"bun": 4, b"hugs": 5}
    trained = list(WordPieceTrainer(10, 1, ("[UNK]",), "pmi", engine=engine).train(words).vocab)
    # (##g, ##s) has 5 / (20 * 5), all others n / (n * 36): of these (p, ##u) has the greatest n, 17
    assert trained == ["[UNK]", *"bhp", "##g", "##n", "##s", "##u", "##gs", "pu"]
    assert list(WordPieceTrainer(9, 1, ("[UNK]",), engine=engine).train(words).vocab)[8] == "##ug"


@pytest.mark.parametrize("score", SCORES)
def test_order_of_words_changes_nothing(score):
    words = {f"{a}{b}{c}{a}".encode(): 1 + (a < b) for a in "abcde" for b in "abcde" for c in "xyz"}
    shuffled = dict(random.Random(3).sample(sorted(words.items()), len(words)))
    trainer = WordPieceTrainer(60, 1, score=score)
    assert list(trainer.train(words).vocab) == list(trainer.train(shuffled).vocab)


def test_hash_seeds_change_nothing():
    program = (
        "from tinyllm.tokenizers.trainers.wordpiece import WordPieceTrainer as T\n"
        "words = {f'{a}{b}{c}{a}'.encode(): 1 for a in 'abcde' for b in 'fghij' for c in 'xyz'}\n"
        "print([list(T(60, 1, score=score, limit_alphabet=9).train(words).vocab) for score in ('loglik', 'pmi')])"
    )
    results = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in "12"
    }
    assert len(results) == 1


def test_logarithm():
    for x in (1, 2, 3, 10, 12345, 2**31 - 1, 10**12 + 7):
        assert reference.ln(x) == pytest.approx(math.log(x), rel=4e-16, abs=0)
    assert reference.ln(1) == 0
    counts = [3, 1, 7, 0]
    assert reference.log_likelihood(counts) == pytest.approx(sum(c * math.log(c / 11) for c in counts if c))


@pytest.mark.parametrize("engine", ENGINES)
def test_words_that_could_not_be_encoded_teach_nothing(engine):
    words = {b"ab": 9, b"ac": 9, b"abz": 1, b"b" * 101: 99, b"##b": 99, b"": 5, b"yy": 0}
    trainer = WordPieceTrainer(100, 1, ("[UNK]",), limit_alphabet=3, engine=engine)
    assert list(trainer.train(words).vocab) == ["[UNK]", "a", "##b", "##c", "ab", "ac"]
    more = WordPieceTrainer(100, 1, ("[UNK]",), initial_alphabet=("q",), limit_alphabet=4, engine=engine)
    assert list(more.train(words).vocab) == ["[UNK]", "a", "q", "##b", "##c", "##q", "ab", "ac"]


def test_trainer_takes_a_counter_and_says_how_far_it_is():
    counter = Counter({b"hug": 10, b"pug": 5, b"hugs": 5})
    seen: list[tuple[int, int]] = []
    trained = WordPieceTrainer(12).train(counter, lambda done, whole: seen.append((done, whole)))
    assert seen[-1] == (len(trained.vocab) - 10, 2)


@pytest.mark.parametrize("engine", ENGINES)
def test_what_the_text_cannot_give_is_told_before_and_after(engine):
    """The two words have 4 joints and 9 pairs, so 3 merges at most of pairs that occur 3 times; the long one is out."""
    seen = []
    with pytest.warns(UserWarning, match=r"vocab_size is 100, but this text can give at most 8 tokens") as found:
        words = {b"ab": 3, b"abcd": 2, b"x" * 6: 1}
        trainer = WordPieceTrainer(100, 3, ("[UNK]",), max_input_chars_per_word=5, engine=engine)
        vocab = trainer.train(words, lambda done, whole: seen.append((done, whole))).vocab
    assert list(vocab) == ["[UNK]", "a", "##b", "##c", "##d", "ab"]
    first, second, third = (str(warning.message) for warning in found)
    assert first.startswith("1 words of more than 5 characters were left out, the longest of 6;")
    assert third == (
        "no further merge raises the likelihood of the text and occurs 3 times: the vocabulary has 6 tokens, not 100"
    )
    assert seen[-1] == (1, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        WordPieceTrainer(6, 3, ("[UNK]",), engine=engine).train({b"ab": 3, b"abcd": 2})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"score": "bpe"}, "score is 'bpe'; it must be one of loglik, pmi"),
        ({"special_tokens": ("[PAD]",)}, "unk_token is '\\[UNK\\]', which is not in special_tokens"),
        ({"special_tokens": ("[UNK]", "[UNK]")}, "each must be given once"),
        ({"initial_alphabet": ("ab",)}, "must be single characters"),
        ({"vocab_size": 6}, "vocab_size is 6, but special tokens and characters are 7 already"),
    ],
)
def test_trainers_that_are_none(fields, message):
    with pytest.raises(TokenizerError, match=message):
        WordPieceTrainer(**fields).train({b"ab": 3})
    with pytest.raises(TokenizerError, match="the count of 'ab' is -1"):
        WordPieceTrainer().train({b"ab": -1})
