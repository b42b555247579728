"""The Unigram model and its trainer against SentencePiece and Hugging Face, on texts and models from packages."""

from __future__ import annotations

import io
import math
import random
from collections import Counter
from functools import cache

import packages
import pytest

from tinyllm.tokenizers import compiled
from tinyllm.tokenizers.formats.sentencepiece import read
from tinyllm.tokenizers.models.unigram import Unigram
from tinyllm.tokenizers.presets import SentencePieceTokenizer

hf = pytest.importorskip("tokenizers")
spm = pytest.importorskip("sentencepiece")
pytestmark = [pytest.mark.oracle, pytest.mark.skipif(not compiled(), reason="tinyllm was built without a C compiler")]

SHIPPED = ("botchan_en_unigram_1000", "kyoto_ja_unigram_8000")
TRAINED = {"plays": 4000, "code": 4000, "chinese": 4000}


def needed(find, *arguments):
    """What comes from a package; the test is skipped where that is missing."""
    try:
        return find(*arguments)
    except packages.Missing as missing:
        pytest.skip(str(missing))


def corpus(name: str, characters: int = 1_000_000) -> list[str]:
    find = {"plays": packages.english, "code": packages.code, "chinese": packages.chinese}[name]
    text = needed(find)[:characters]
    if name == "chinese":  # by the clause: over a long line SentencePiece's float32 sums are 1 % off
        text = text.replace("。", "。\n").replace("，", "，\n")
    return [line for line in text.split("\n") if 0 < len(line.encode()) <= 4192]  # it leaves longer ones out


def train(lines: list[str], vocab_size: int, **options: object) -> bytes:
    """SentencePiece's model of the lines, with its own settings; one thread."""
    model = io.BytesIO()
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=model,
        vocab_size=vocab_size,
        num_threads=1,
        minloglevel=2,
        **options,
    )
    return model.getvalue()


@cache
def model(name: str) -> bytes:
    if name in SHIPPED:
        return needed(packages.packed, "sentencepiece", f"test/{name}.model")
    if name == "bytes":
        return train(corpus("plays", 200_000), 1000, byte_fallback=True)
    return train(corpus(name, 500_000), TRAINED[name])


def generated(n: int = 2000) -> list[str]:
    """Strings of words, random characters, repeats, spaces of all kinds, and names of special tokens."""
    rng = random.Random(12)
    words = needed(packages.mixed, 200_000).split(" ")
    odd = [
        *map(chr, range(0x20, 0x7F)),
        *"\t\n\r\x00\x1f\xa0\u2003\u3000áüñſİ日本語中文カナか\u3099한①½٣🙂\u0301\u200d▁▁ﬁ",
    ]
    parts = [
        lambda: rng.choice(words) + rng.choice(["", " ", "  ", "\n"]),
        lambda: "".join(rng.choices(odd, k=rng.randint(1, 12))),
        lambda: rng.choice(odd) * rng.choice([1, 2, 3, 17, 64]),
        lambda: rng.choice(["<unk>", "<s>", "</s>", "<0x41>"]),
        lambda: "".join(map(chr, rng.choices([*range(0x20, 0xD800), *range(0xE000, 0x30000)], k=3))),
    ]
    return ["".join(rng.choices(parts, [8, 4, 2, 1, 1])[0]() for _ in range(rng.randint(0, 12))) for _ in range(n)]


@pytest.mark.parametrize("name", [*SHIPPED, *TRAINED, "bytes"])
def test_ids_are_sentencepieces(name: str) -> None:
    """5 MB of plays, code, Chinese, Spanish and Japanese: by the line, and in one; 2,000 strings; bytes that are no
    UTF-8.
    """
    theirs = spm.SentencePieceProcessor(model_proto=model(name))
    ours = read(model(name))
    text = needed(packages.mixed)
    lines = [line.encode("utf-8", "replace") for line in [*text.split("\n"), *generated()]]
    rng = random.Random(3)
    lines += [rng.randbytes(rng.randint(1, 40)) for _ in range(500)]
    wrong = [line for line in lines if ours.encode(line) != theirs.encode(line)]
    assert wrong == []
    whole = text[:2_000_000].encode("utf-8", "replace")
    assert ours.encode(whole) == theirs.encode(whole)


@pytest.mark.parametrize("name", ["plays", "kyoto_ja_unigram_8000"])
def test_the_n_best_are_sentencepieces(name: str) -> None:
    theirs = spm.SentencePieceProcessor(model_proto=model(name))
    ours = read(model(name))
    assert isinstance(ours.model, Unigram)
    for line in [*corpus("plays", 4000), "東京は日本の首都です。", "Hello, world"]:
        normal = theirs.normalize(line).encode()
        found = ours.model.nbest(normal, 5)
        scores = {tuple(ids): score for ids, score in found}
        for ids in theirs.nbest_encode(line, nbest_size=5, out_type=int):
            if tuple(ids) not in scores:  # as good as the fifth, but for the rounding of theirs
                score = sum(theirs.get_score(i) if i != theirs.unk_id() else ours.model._unknown[1] for i in ids)
                assert score == pytest.approx(found[-1][1], abs=1e-3)


@pytest.mark.parametrize("name", ["plays", "kyoto_ja_unigram_8000"])
def test_the_n_best_of_a_text_are_sentencepieces(name: str) -> None:
    """The same list with the same scores, but for ways that are equal within the rounding of theirs."""
    theirs = spm.SentencePieceProcessor(model_proto=model(name))
    ours = read(model(name))
    for text in [*corpus("plays", 4000), "東京は日本の首都です。", "  Hello,   world \u00bd"]:
        found = ours.nbest(text, 8)
        expected = theirs.nbest_encode(text, nbest_size=8, out_type=int)
        assert len(found) == len(expected)
        scores = {tuple(ids): score for ids, score in found}
        for (_, score), ids in zip(found, expected, strict=True):
            if theirs.unk_id() in ids:  # which doesn't say how many characters that are
                assert tuple(ids) in scores
                continue
            other = sum(map(theirs.get_score, ids))
            assert scores.get(tuple(ids), found[-1][1]) == pytest.approx(other, abs=1e-3) == score


@pytest.mark.parametrize(("alpha", "nbest_size"), [(0.1, -1), (0.5, -1), (0.5, 8)])
def test_a_text_is_drawn_as_sentencepiece_draws_it(alpha: float, nbest_size: int) -> None:
    """Both fit the probabilities of all ways, by chi-square: beyond the bound is about one draw in ten thousand."""
    theirs = spm.SentencePieceProcessor(model_proto=model("plays"))
    ours = read(model("plays"))
    text, n, rng = " Be not  afraid", 20_000, random.Random(6)
    spm.set_random_generator_seed(6)
    every = ours.nbest(text, 1024)
    assert len(every) < 1024
    best = every[:nbest_size] if nbest_size > 0 else every
    weights = [math.exp(alpha * (score - best[0][1])) for _, score in best]
    expected = {tuple(ids): n * weight / sum(weights) for (ids, _), weight in zip(best, weights, strict=True)}
    often = [ids for ids, count in expected.items() if count >= 5]
    assert len(often) >= 5
    options = {"enable_sampling": True, "alpha": alpha, "nbest_size": nbest_size}
    for draw in (lambda: ours.sample(text, rng, alpha, nbest_size)), (lambda: theirs.encode(text, **options)):
        seen = Counter(tuple(draw()) for _ in range(n))
        assert set(seen) <= set(expected)
        chi = sum((seen[ids] - expected[ids]) ** 2 / expected[ids] for ids in often)
        rest = n - sum(seen[ids] for ids in often), n - sum(expected[ids] for ids in often)
        chi += (rest[0] - rest[1]) ** 2 / max(rest[1], 5)
        assert chi < len(often) + 4 * (2 * len(often)) ** 0.5


@pytest.mark.parametrize("name", ["plays", "chinese"])
def test_ids_are_hugging_faces(name: str) -> None:
    """The same vocabulary by its rules: float64, piece by piece, every piece read out of text."""
    theirs_of = spm.SentencePieceProcessor(model_proto=model(name))
    vocab = [(theirs_of.id_to_piece(i), theirs_of.get_score(i)) for i in range(theirs_of.vocab_size())]
    ours = Unigram(vocab, 0)
    theirs = hf.Tokenizer(hf.models.Unigram(vocab, 0, False))
    theirs.pre_tokenizer = cut = hf.pre_tokenizers.Metaspace()
    for text in [*needed(packages.mixed).split("\n"), *generated()]:
        text = text.encode("utf-8", "replace").decode()
        expected = theirs.encode(text).ids
        assert [i for piece, _ in cut.pre_tokenize_str(text) for i in ours.encode(piece.encode())] == expected


@pytest.mark.parametrize(
    ("name", "vocab_size", "options"),
    [
        ("plays", 4000, {}),
        ("plays", 8000, {}),
        ("plays", 4000, {"byte_fallback": True}),
        ("code", 8000, {}),
        ("chinese", 8000, {}),
    ],
)
def test_training_gives_sentencepieces_pieces(name: str, vocab_size: int, options: dict[str, bool]) -> None:
    lines = corpus(name)
    theirs = spm.SentencePieceProcessor(model_proto=train(lines, vocab_size, **options))
    expected = {theirs.id_to_piece(i): theirs.get_score(i) for i in range(vocab_size)}
    ours = SentencePieceTokenizer.train(lines, vocab_size, byte_fallback=bool(options))
    assert isinstance(ours.model, Unigram)
    found = dict(ours.model.vocab)
    assert len(found) == vocab_size
    common = set(found) & set(expected)
    assert len(common) >= 0.99 * vocab_size
    near = [piece for piece in common if abs(found[piece] - expected[piece]) <= 1e-3]
    assert len(near) >= 0.99 * vocab_size
    line = "".join(lines[:50]).encode()
    assert theirs.normalize("x  y") == "▁x▁y" and ours.decode(ours.encode(line)) == theirs.decode(theirs.encode(line))
