"""Other ways to spell a text: dropout and its seed, random ways and best ones, through whole pipelines."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers import BPETokenizer, Tokenizer, compiled, decoders, load, normalizers, pretokenizers
from tinyllm.tokenizers.added import AddedToken
from tinyllm.tokenizers.formats.sentencepiece import CONTROL, NORMAL, UNKNOWN
from tinyllm.tokenizers.models import BPE, SentencePieceBPE, Unigram, WordLevel, WordPiece

ENGINES = ["python", "c"] if compiled() else ["python"]
TEXT = "The quick brown fox, jumps over the lazy dog. It's 1234 o'clock! " * 3
TRAINED = BPETokenizer.train(TEXT, 290, engine="python")
END = AddedToken("<|end|>", special=True)


def dropping(engine: str, end: int, pre_tokenizer=None, normalizer=None) -> Tokenizer:
    """BPE with dropout; the special token <|end|> has the id `end`, which its vocabulary has too."""
    vocab = {token: i + (i >= end) for i, token in enumerate(TRAINED.tokens)}
    model = BPE({**vocab, b"<|end|>": end}, TRAINED.model.merges, dropout=0.4, engine=engine)
    return Tokenizer(model, normalizer, pre_tokenizer, None, decoders.ByteLevel(), [END])


def runs(tokenizer: Tokenizer, seed: int) -> list[list[int]]:
    tokenizer.model.seed(seed)
    return [tokenizer.encode(TEXT), tokenizer.encode_with_offsets(TEXT).ids, tokenizer.encode(TEXT + "<|end|>.", "all")]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("end", [0, 290])
def test_the_seed_of_the_model_is_that_of_the_tokenizer(engine, end, tmp_path):
    gpt2 = pretokenizers.ByteLevel(add_prefix_space=False)
    made = [dropping(engine, end, gpt2), dropping(engine, end), dropping(engine, end, gpt2, normalizers.NFC())]
    made[0].save(tmp_path / "tokenizer.json")
    made.append(load(tmp_path / "tokenizer.json", engine))
    for tokenizer in made:
        first = runs(tokenizer, 1)
        assert runs(tokenizer, 1) == first != runs(tokenizer, 2)
        assert first[0] != first[1]  # the numbers go on
        assert runs(tokenizer, -1) == runs(tokenizer, 2**64 - 1)
        tokenizer.add_tokens(["<new>", AddedToken("<other>", special=True)])
        assert runs(tokenizer, 1) == first
    assert runs(made[0], 1) == runs(made[3], 1) == runs(dropping(ENGINES[0], end, gpt2), 1)


def test_a_seed_given_before_the_model_is_used_counts():
    for engine in ENGINES:
        gpt2 = pretokenizers.ByteLevel(add_prefix_space=False)
        found = []
        for seed in 5, 6:
            before, after = dropping(engine, 0).model, dropping(engine, 0).model
            before.seed(seed)
            one, other = (Tokenizer(model, None, gpt2, added_tokens=[END]) for model in (before, after))
            other.model.seed(seed)
            found.append(one.encode(TEXT))
            assert other.encode(TEXT) == found[-1]
        assert found[0] != found[1]


def test_the_model_of_a_tokenizer_reads_no_special_token_and_is_the_same_in_files():
    vocab = [("<unk>", 0.0), ("<s>", -1.0), *((c, -2.0) for c in "<>sab")]
    kinds = [UNKNOWN, CONTROL, *[NORMAL] * 5]
    characters = {piece: i for i, (piece, _) in enumerate(vocab)}
    for model in (
        Unigram(vocab, 0),
        SentencePieceBPE(vocab, 0, kinds=kinds),
        WordLevel(characters, "<unk>"),
        BPE(characters, unk_token="<unk>"),
    ):
        plain = Tokenizer(model, added_tokens=[AddedToken("<s>", special=True)])
        assert 1 not in plain.model.encode(b"<s>") == plain.encode("<s>")
        again = Tokenizer(plain.model, added_tokens=[AddedToken("<s>", special=True)])
        assert again.fingerprint() == plain.fingerprint()
        assert again.model.encode(b"<s>a") == plain.encode("<s>a")
    own = Tokenizer(Unigram(vocab, 0, reserved=frozenset([5])), added_tokens=[AddedToken("<s>", special=True)])
    assert own.fingerprint() != Tokenizer(Unigram(vocab, 0), added_tokens=["<s>"]).fingerprint()


# ---- Through the whole pipeline ----

PIECES = [
    ("<unk>", 0.0),
    ("▁", -2.5),
    ("▁a", -1.5),
    ("▁ab", -2.0),
    ("a", -2.1),
    ("b", -1.9),
    ("ab", -2.8),
    ("ba", -2.7),
]
PIECES += [("<s>", -0.1), ("▁b", -2.2), ("<", -4.0), ("s", -4.0), (">", -4.0)]
START, NAME = AddedToken("<s>", special=True), AddedToken("xx")
TEXTS = ["ab ba", "AB xx b", "ab<s>ab", "", "xx", "b\u00e9\u00e9 \u00e9a", "a  b"]


def unigram(engine: str, split: bool = True, **options: object) -> Tokenizer:
    """Lowercased; each word a piece, with the space before it."""
    space = pretokenizers.Metaspace(split=split)
    model = Unigram(PIECES, 0, engine=engine, **options)
    return Tokenizer(model, normalizers.Lowercase(), space, None, decoders.Metaspace(), [START, NAME])


def ways(piece: str) -> Iterator[tuple[list[int], float]]:
    """By definition: all ways of a piece that has no special token; an unknown character scores ten less than all."""
    if not piece:
        yield [], 0.0
    for i, (token, score) in enumerate(PIECES):
        if i and token != "<s>" and piece.startswith(token):
            for ids, rest in ways(piece[len(token) :]):
                yield [i, *ids], score + rest
    if piece and piece[0] not in "▁ab<s>":
        for ids, rest in ways(piece[1:]):
            yield [0, *ids] if ids[:1] != [0] else ids, min(score for _, score in PIECES) - 10 + rest


def every(parts: Sequence[str | int]) -> dict[tuple[int, ...], float]:
    """All ways of a text that is cut into these pieces and ids."""
    found = [[([part], 0.0)] if isinstance(part, int) else list(ways(part)) for part in parts]
    return {tuple(i for ids, _ in one for i in ids): sum(score for _, score in one) for one in product(*found)}


CUT: dict[str, list[str | int]] = {
    "ab ba": ["▁ab", "▁ba"],
    "AB xx b": ["▁ab", "▁", 13, "▁b"],
    "ab<s>ab": ["▁ab<s>ab"],
    "": [],
    "xx": [13],
    "b\u00e9\u00e9 \u00e9a": ["▁b\u00e9\u00e9", "▁\u00e9a"],
    "a  b": ["▁a", "▁", "▁b"],
}


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("engine", ENGINES)
def test_the_best_ways_of_a_text_are_those_of_all(engine, text):
    tokenizer = unigram(engine)
    expected = every(CUT[text])
    order = sorted(expected.values(), reverse=True)
    for n in 1, 3, 1024:
        found = tokenizer.nbest(text, n)
        assert len({tuple(ids) for ids, _ in found}) == len(found) == min(n, len(expected))
        for (ids, score), wanted in zip(found, order, strict=False):
            assert score == pytest.approx(wanted, abs=1e-9) == expected[tuple(ids)]
    assert tokenizer.nbest(text, 1)[0][0] == tokenizer.encode(text)
    if text == "ab<s>ab":
        assert tokenizer.nbest(text, 1, "all")[0][0] == tokenizer.encode(text, "all")
        assert len(tokenizer.nbest(text, 1024, "all")) == len(every(["▁ab", 8, "▁ab"]))


def fits(seen: Counter[tuple[int, ...]], expected: dict[tuple[int, ...], float]) -> bool:
    """Chi-square of counts against probabilities; about one in ten thousand is beyond. Seldom ways are one."""
    n = seen.total()
    often = [one for one, chance in expected.items() if chance * n >= 5]
    rest = n - sum(seen[one] for one in often), n * (1 - sum(expected[one] for one in often))
    chi = sum((seen[one] - n * expected[one]) ** 2 / (n * expected[one]) for one in often)
    chi += (rest[0] - rest[1]) ** 2 / max(rest[1], 5)
    return set(seen) <= set(expected) and len(often) > 3 and chi < len(often) + 4 * (2 * len(often)) ** 0.5


def chances(scores: dict[tuple[int, ...], float], alpha: float) -> dict[tuple[int, ...], float]:
    total = sum(math.exp(alpha * score) for score in scores.values())
    return {one: math.exp(alpha * score) / total for one, score in scores.items()}


@pytest.mark.parametrize(("alpha", "nbest_size"), [(0.5, -1), (1.0, -1), (0.0, -1), (0.5, 6), (2.0, 64)])
def test_ways_of_a_text_come_as_often_as_they_are_probable(alpha, nbest_size):
    text, n = "AB xx ba", 4000
    best = sorted(every(["▁ab", "▁", 13, "▁ba"]).items(), key=lambda item: -item[1])
    expected = chances(dict(best[: nbest_size if nbest_size > 0 else None]), alpha)
    drawn = {}
    for engine in ENGINES:
        tokenizer, rng = unigram(engine), random.Random(4)
        drawn[engine] = [tuple(tokenizer.sample(text, rng, alpha, nbest_size)) for _ in range(n if not drawn else 50)]
    assert fits(Counter(drawn["python"]), expected)
    assert drawn[ENGINES[-1]][:50] == drawn["python"][:50]


@pytest.mark.parametrize("alpha", [0.3, 1.0])
def test_different_ways_come_as_often_as_one_by_one_from_those_that_are_left(alpha):
    """The first two, in order: the second as often as it is probable when the first can't come again."""
    text, n = "xx aba", 10_000
    expected = chances(every([13, "▁aba"]), alpha)
    pairs = {(a, b): p * q / (1 - p) for a, p in expected.items() for b, q in expected.items() if a != b}
    tokenizer, rng, seen = unigram("python"), random.Random(3), Counter()
    for _ in range(n):
        found = [(tuple(ids), log) for ids, log in tokenizer.sample_distinct(text, 2, rng, alpha)]
        assert all(math.exp(log) == pytest.approx(expected[ids]) for ids, log in found)
        seen[found[0][0], found[1][0]] += 1
    assert fits(seen, pairs)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", TEXTS)
def test_all_different_ways_are_drawn_and_none_twice(text):
    expected, drawn = every(CUT[text]), []
    for engine in ENGINES:
        found = unigram(engine).sample_distinct(text, 1024, random.Random(2), 0.2)
        assert sorted(tuple(ids) for ids, _ in found) == sorted(expected)
        assert sum(math.exp(log) for _, log in found) == pytest.approx(1)
        assert unigram(engine).sample_distinct(text, 2, random.Random(2), 0.2) == found[:2]
        drawn.append(found)
    assert drawn[0] == drawn[-1]


@settings(max_examples=50)
@given(st.text("abAB\u00e9x <s>", max_size=12), st.booleans(), st.sampled_from([0.0, 0.3, 2.0]))
def test_whatever_is_drawn_is_the_text(text, split, alpha):
    tokenizer = unigram(ENGINES[-1], split, byte_fallback=False)
    wanted = tokenizer.decode(tokenizer.encode(text))
    for nbest_size in -1, 1, 4:
        ids = tokenizer.sample(text, random.Random(0), alpha, nbest_size)
        assert tokenizer.decode(ids) == wanted
    assert tokenizer.sample(text, random.Random(0), alpha, 0) == tokenizer.sample(text, random.Random(0), alpha, 1)


def test_dropout_of_a_text():
    text = TEXT + "<|end|> é\xff"
    gpt2 = pretokenizers.ByteLevel(add_prefix_space=False)
    drawn = []
    for engine in ENGINES:
        tokenizer = dropping(engine, 290, gpt2)
        rng = random.Random(7)
        drawn.append([tokenizer.sample(text, rng, p, allowed_special="all") for p in (0.0, 0.3, 0.3, 1.0)])
        assert all(tokenizer.decode(ids) == text for ids in drawn[-1])
        tokenizer.model.seed(random.Random(5).getrandbits(64))
        assert tokenizer.encode(text) == tokenizer.sample(text, random.Random(5), 0.4)
        assert len(tokenizer.sample(text, rng, 1.0)) == len(text.encode())
        assert tokenizer.sample(b"\xff", rng) == [tokenizer.id_of(b"\xff")]
    whole, one, other, _ = drawn[0]
    assert drawn[0] == drawn[-1] and len(whole) < len(one) and one != other
    assert whole.count(290) == 1
    plain = Tokenizer(TRAINED.model, None, gpt2)
    assert plain.sample(TEXT, rng, 0.0) == plain.encode(TEXT)


def test_what_cannot_be_drawn_is_refused():
    rng, tokenizer = random.Random(0), unigram("python")
    bpe = dropping("python", 0)
    for model in WordLevel({"?": 0}, "?"), WordPiece({"[UNK]": 0}):
        for name, rest in ("sample", (rng,)), ("nbest", (2,)), ("sample_distinct", (2, rng)):
            with pytest.raises(TokenizerError, match=f"{type(model).__name__} doesn't say how probable each way is"):
                getattr(Tokenizer(model), name)("a", *rest)
    with pytest.raises(TokenizerError, match="BPE doesn't say how probable"):
        bpe.nbest("a", 2)
    with pytest.raises(TokenizerError, match="nbest_size is 4; a BPE has no best ways"):
        bpe.sample("a", rng, 0.1, 4)
    for alpha in -0.1, math.nan, math.inf:
        with pytest.raises(TokenizerError, match=r"alpha is .*of a BPE it is the probability of dropout"):
            bpe.sample("a", rng, alpha)
        with pytest.raises(TokenizerError, match=r"alpha is .*must be a finite number"):
            tokenizer.sample_distinct("a", 2, rng, alpha)
        for nbest_size in -1, 3:
            with pytest.raises(TokenizerError, match=r"alpha is .*must be a finite number"):
                tokenizer.sample("a", rng, alpha, nbest_size)
    for n in 0, 1025:
        with pytest.raises(TokenizerError, match=f"n is {n}; it must be from 1 to 1024 ways"):
            tokenizer.nbest("a", n)
        with pytest.raises(TokenizerError, match=f"n is {n}; it must be from 1 to 1024 ways"):
            tokenizer.sample_distinct("a", n, rng)
    with pytest.raises(TokenizerError, match="lone surrogate"):
        tokenizer.sample("a\ud800", rng)
    with pytest.raises(TokenizerError, match="no special token"):
        tokenizer.nbest("a", 2, ["<t>"])
