"""Training of the Unigram model: its parts against their definitions, the compiled core against the reference."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers import compiled
from tinyllm.tokenizers.models.unigram import BYTE, CONTROL, NORMAL, UNKNOWN, USER_DEFINED
from tinyllm.tokenizers.reference import substrings
from tinyllm.tokenizers.reference import unigram as reference
from tinyllm.tokenizers.trainers.unigram import UnigramTrainer

ENGINES = ["c", "python"] if compiled() else ["python"]
needs_core = pytest.mark.skipif(not compiled(), reason="the compiled core was not built")


def sentences(n: int, seed: int = 0, alphabet: str = "etaoinshré") -> dict[bytes, int]:
    """Sentences of words drawn by Zipf's law, some with digits, in two scripts, unlike in length."""
    rng = random.Random(seed)
    words = ["".join(rng.choices(alphabet, k=rng.randint(1, 7))) for _ in range(60)]
    words += ["12", "2024", "3rd", "été,", "мир", "мира", "日本", "日本の", "x" * 30]
    weights = [1 / (i + 2) for i in range(len(words))]
    drawn = ("▁" + "▁".join(rng.choices(words, weights, k=rng.randint(1, 12))) for _ in range(n))
    return dict(Counter(sentence.encode() for sentence in drawn))


@given(st.one_of(st.binary(max_size=40), st.text("ab", max_size=60).map(str.encode)))
def test_the_suffix_array_sorts_all_suffixes(text: bytes) -> None:
    order = substrings.suffix_array(text)
    assert order == sorted(range(len(text)), key=lambda i: text[i:])
    common = substrings.common_prefixes(text, order, False)
    for i in range(1, len(order)):
        a, b = text[order[i - 1] :], text[order[i] :]
        assert a[: common[i]] == b[: common[i]] and a[common[i] : common[i] + 1] != b[common[i] : common[i] + 1]


@given(st.text("ab", min_size=1, max_size=40))
def test_repeated_substrings_are_those_that_different_bytes_follow(text: str) -> None:
    data = text.encode()
    expected = {}
    for size in range(1, len(text)):
        counts = Counter(text[i : i + size] for i in range(len(text) - size + 1))
        for part, n in counts.items():
            after = {text[i + size : i + size + 1] for i in range(len(text) - size + 1) if text.startswith(part, i)}
            if n > 1 and len(after) > 1:
                expected[part] = n
    found = {
        text[start : start + size]: last - first + 1 for start, size, first, last in substrings.repeated(data, False)
    }
    assert found == expected


def training_of(words: dict[bytes, int], engine: str, **options: object):
    trainer = UnigramTrainer(engine=engine, vocab_size=10_000, **options)  # type: ignore[arg-type]
    counts = trainer._cut(words)
    return trainer._training(counts, trainer._alphabet(counts))


@pytest.mark.parametrize("engine", ENGINES)
def test_the_probability_never_falls_with_the_plain_step(engine: str) -> None:
    training = training_of(sentences(60), engine, character_coverage=1.0)  # unknown characters are not in the model
    assert len(training) > 100
    values: list[float] = []
    while len(values) < 8:
        size = len(training)
        values.append(training.step(sparse=False))
        if len(training) < size:
            values.clear()  # a piece that is dropped takes probability with it
    assert all(b >= a - 1e-12 for a, b in zip(values, values[1:], strict=False)) and values[-1] > values[0]
    assert sum(math.exp(score) for _, score in training.spellings()) == pytest.approx(1)


@needs_core
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"split_by_whitespace": False},
        {"allow_whitespace_only_pieces": True},
        {"split_digits": True, "max_piece_length": 5},
        {"split_by_number": False, "split_by_unicode_script": False, "seed_size": 50},
        {"character_coverage": 0.98},
    ],
)
def test_the_core_trains_as_the_reference(options: dict[str, object]) -> None:
    words = sentences(80) | {"▁▁▁x▁▁▁ab".encode(): 3, b"\xffab\xc3": 2, "ab\0ab▅".encode(): 9}
    ours, plain = training_of(words, "c", **options), training_of(words, "python", **options)

    def same() -> None:
        a, b = ours.spellings(), plain.spellings()
        assert [spelling for spelling, _ in a] == [spelling for spelling, _ in b]
        assert [score for _, score in a] == pytest.approx([score for _, score in b], rel=1e-9)

    same()
    while len(plain) > 60:
        assert ours.step() == pytest.approx(plain.step(), rel=1e-9)
        same()
        size = int(0.75 * len(plain))
        ours.prune(size)
        plain.prune(size)
        same()
    ours.drop_unreachable()
    plain.drop_unreachable()
    same()


@needs_core
@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text("ab▁", min_size=1, max_size=30).map(str.encode), st.integers(1, 4), min_size=1))
def test_small_texts_train_alike(words: dict[bytes, int]) -> None:
    ours, plain = training_of(words, "c"), training_of(words, "python")
    for _ in range(3):
        assert [piece for piece, _ in ours.spellings()] == [piece for piece, _ in plain.spellings()]
        assert ours.step() == pytest.approx(plain.step(), rel=1e-9)
        ours.prune(4)
        plain.prune(4)


@pytest.mark.parametrize("engine", ENGINES)
def test_expected_counts_are_sums_over_all_segmentations_however_long(engine: str) -> None:
    """A word whose probability is far below the least float64: its sums are scaled."""
    words = {("▁" + "ab" * n).encode(): 1 for n in (1, 2, 3, 700)}
    training = training_of(words, engine, character_coverage=1.0)
    plain = reference.Training(
        [(word.decode(), n) for word, n in words.items()], [(p.decode(), s) for p, s in training.spellings()]
    )
    for _ in range(3):
        value = training.step()
        assert value == pytest.approx(plain.step(), rel=1e-9)
    assert dict(training.spellings()) == pytest.approx({p.encode(): s for p, s in plain.pieces}, rel=1e-7)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_result_depends_on_the_counts_alone(engine: str) -> None:
    words = sentences(60)
    shuffled = list(words.items())
    random.Random(3).shuffle(shuffled)
    trainer = UnigramTrainer(vocab_size=70, engine=engine)
    model = trainer.train(words)
    assert trainer.train(dict(shuffled)).vocab == model.vocab
    assert len(model.vocab) == 70
    assert model.kinds == [UNKNOWN, CONTROL, CONTROL] + [NORMAL] * 67
    assert model.vocab[3:] == sorted(model.vocab[3:], key=lambda item: (-item[1], item[0]))


def test_pruning_leaves_three_quarters_until_a_tenth_more_than_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    prune = reference.Training.prune

    def spied(training: reference.Training, size: int) -> None:
        sizes.append((len(training), size))
        prune(training, size)

    monkeypatch.setattr(reference.Training, "prune", spied)
    UnigramTrainer(vocab_size=60, engine="python").train(sentences(80))
    assert len(sizes) >= 2 and sizes[-1][1] == 66, sizes
    for before, size in sizes:
        assert size == max(66, int(0.75 * before))


@pytest.mark.parametrize("engine", ENGINES)
def test_characters_that_are_covered_are_in_the_vocabulary_and_no_others(engine: str) -> None:
    """Of 100 characters 98 are a, and that is enough for a share of 0.98."""
    trainer = UnigramTrainer(vocab_size=4, character_coverage=0.98, engine=engine)
    assert [piece for piece, _ in trainer.train({b"a" * 49: 2, b"b": 1, b"c": 1}).vocab[3:]] == ["a"]


def test_characters_that_em_drops_come_back_just_above_the_least_score() -> None:
    learned = [(b"ab", -1.0), (b"c", -5.0), (b"cab", -3.0), (b"ba", -3.0), (b"bb", -4.0)]
    final = UnigramTrainer()._final(learned, ["q", "c", "u"], 6)
    expected = {"ab": -1.0, "ba": -3.0, "cab": -3.0, "u": reference.single(-4.9999), "c": -5.0, "q": -5.0}
    assert final == list(expected.items())


def test_pieces_keep_to_the_rules() -> None:
    words = sentences(300) | {b"\xe2\x96\x81<s>et<s>": 200, "▁1a1a".encode(): 90}
    model = UnigramTrainer(vocab_size=75, user_defined_symbols=("et",), max_piece_length=6).train(words)
    assert model.kinds is not None and model.kinds[3] == USER_DEFINED
    learned = [piece for (piece, _), kind in zip(model.vocab, model.kinds, strict=True) if kind == NORMAL]
    for piece in learned:
        assert "▁" not in piece[1:] and len(piece) <= 6 and "<" not in piece and "et" not in piece
        letters = [c.isdecimal() for c in piece.lstrip("▁") if c.isalnum()]
        assert len(set(letters)) <= 1, piece
    assert any(len(piece) == 6 for piece in learned)
    with pytest.warns(UserWarning, match="at most .* fewer than vocab_size 2000"):
        model = UnigramTrainer(vocab_size=2000, byte_fallback=True).train(words)
    assert model.kinds is not None and model.kinds.count(BYTE) == 256


def test_settings_that_make_no_sense_are_refused() -> None:
    for options, words in [
        ({"character_coverage": 2}, "character_coverage is 2"),
        ({"special_tokens": ("<s>",)}, "must be in special_tokens"),
        ({"special_tokens": ("<unk>", "<unk>")}, "twice"),
        ({"user_defined_symbols": "ab"}, "several strings"),
    ]:
        with pytest.raises(TokenizerError, match=words):
            UnigramTrainer(**options)  # type: ignore[arg-type]
    with pytest.raises(TokenizerError, match="no text"):
        UnigramTrainer().train({})
    with pytest.raises(TokenizerError, match="vocab_size is 5, but the text has"):
        UnigramTrainer(vocab_size=5).train(sentences(10))


@needs_core
def test_a_text_that_repeats_itself_takes_no_square_of_time() -> None:
    """A square of 300,000 would be minutes."""
    with pytest.warns(UserWarning):
        model = UnigramTrainer(vocab_size=100, split_by_whitespace=False).train({b"a" * 300_000: 1, b"ab" * 100_000: 1})
    assert "a" * 16 in dict(model.vocab)
