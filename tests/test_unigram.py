"""The Unigram model: the best, the n best and random segmentations against all segmentations, enumerated."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_formats_sentencepiece import RULES
from test_formats_sentencepiece import table as table_of

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers import compiled
from tinyllm.tokenizers.aligned import Aligned
from tinyllm.tokenizers.models.unigram import BYTE, CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED, Unigram
from tinyllm.tokenizers.normalizers.precompiled import table
from tinyllm.tokenizers.reference import unigram as reference
from tinyllm.tokenizers.sentencepiece import SentencePieceNormalizer

ENGINES = ["c", "python"] if compiled() else ["python"]

SCORES = st.integers(-800, -1).map(lambda n: n / 64)  # sums of these are exact in float32 and float64
PIECES = st.dictionaries(st.text("abé▁", min_size=1, max_size=4), SCORES, min_size=1, max_size=14)
TEXTS = st.text("abé▁c", min_size=1, max_size=9)


def model(pieces: dict[str, float], **options: object) -> Unigram:
    return Unigram([("<unk>", 0.0), *pieces.items()], 0, **options)  # type: ignore[arg-type]


def ways(text: str, pieces: dict[str, float], unknown: float) -> Iterator[tuple[list[str], float]]:
    """All segmentations and their scores; an unknown character is one where it alone is no piece."""
    if not text:
        yield [], 0.0
    for end in range(1, len(text) + 1):
        head = text[:end]
        score = pieces.get(head, unknown if end == 1 else None)
        if score is not None:
            for tail, rest in ways(text[end:], pieces, unknown):
                yield [head, *tail], score + rest


def all_ways(text: str, pieces: dict[str, float]) -> dict[tuple[str, ...], float]:
    unknown = min(0.0, *pieces.values()) - 10.0
    return {tuple(path): score for path, score in ways(text, pieces, unknown)}


def arcs_of(text: str, pieces: dict[str, float]) -> reference.Lattice:
    names = list(pieces)
    root = reference.trie({name: i for i, name in enumerate(names)})
    unknown = (len(names), min(0.0, *pieces.values()) - 10.0)
    return reference.lattice(text, root, [*pieces.values(), 0.0], unknown)


def spelled(path: list[reference.Arc], text: str) -> tuple[str, ...]:
    return tuple(text[arc.start : arc.end] for arc in path)


def fused(path: tuple[str, ...], pieces: dict[str, float]) -> list[int]:
    """The ids of a path; neighbours that are unknown are one token."""
    ids = {name: i + 1 for i, name in enumerate(pieces)}
    out: list[int] = []
    for name in path:
        token = ids.get(name, 0)
        if token or out[-1:] != [0]:
            out.append(token)
    return out


@given(PIECES, TEXTS)
def test_viterbi_and_nbest_are_the_best_of_all_ways(pieces: dict[str, float], text: str) -> None:
    every = all_ways(text, pieces)
    order = sorted(every.values(), reverse=True)
    arcs = arcs_of(text, pieces)
    assert every[spelled(reference.viterbi(arcs), text)] == order[0]
    found = reference.nbest(arcs, 7)
    paths = [spelled(path, text) for path, _ in found]
    assert len(set(paths)) == len(paths) == min(7, len(every))
    assert [score for _, score in found] == [every[path] for path in paths] == order[:7]


@given(PIECES, TEXTS, st.sampled_from([0.0, 0.3, 1.0, 2.5]))
def test_forward_posteriors_and_entropy_are_sums_over_all_ways(
    pieces: dict[str, float], text: str, power: float
) -> None:
    every = all_ways(text, pieces)
    arcs = arcs_of(text, pieces)
    total = math.log(sum(math.exp(power * score) for score in every.values()))
    assert reference.forward(arcs, power)[-1] == pytest.approx(total, rel=1e-9, abs=1e-9)
    probability = {path: math.exp(power * score - total) for path, score in every.items()}
    for arc, share in reference.posteriors(arcs, power):
        over = 0.0
        for path, p in probability.items():
            ends = [sum(map(len, path[:i])) for i in range(len(path) + 1)]
            over += p * ((arc.start, arc.end) in zip(ends, ends[1:], strict=False))
        assert share == pytest.approx(over, rel=1e-9, abs=1e-12)
    entropy = -sum(p * math.log(p) for p in probability.values() if p)
    assert reference.entropy(arcs, power) == pytest.approx(entropy, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("nbest_size", [-1, 5])
@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_samples_come_as_often_as_they_are_probable(nbest_size: int, alpha: float) -> None:
    """Chi-square against the enumerated probabilities: beyond the 1e-6 quantile this is no chance."""
    pieces = {"a": -1.0, "b": -1.5, "ab": -1.7, "ba": -2.53, "aba": -3.01, "bb": -2.07}
    text = "ababba"
    unigram = model(pieces)
    every = sorted(all_ways(text, pieces).items(), key=lambda item: -item[1])[: nbest_size if nbest_size > 0 else None]
    total = sum(math.exp(alpha * score) for _, score in every)
    n, rng = 4000, random.Random(1)
    seen = Counter(tuple(unigram.sample(text.encode(), rng, alpha, nbest_size)) for _ in range(n))
    expected = {tuple(fused(path, pieces)): n * math.exp(alpha * score) / total for path, score in every}
    assert set(seen) <= set(expected) and len(expected) == len(every)
    chi_square = sum((seen[ids] - mean) ** 2 / mean for ids, mean in expected.items())
    freedom = len(expected) - 1
    bound = freedom * (1 - 2 / (9 * freedom) + 4.75 * math.sqrt(2 / (9 * freedom))) ** 3  # Wilson and Hilferty
    assert chi_square < bound
    again = random.Random(1)
    assert unigram.sample(text.encode(), again, alpha, nbest_size) in map(list, seen)
    assert unigram.sample(b"", again) == []


@pytest.mark.parametrize("engine", ENGINES)
@settings(max_examples=200)
@given(PIECES, st.text("abé▁c", max_size=40), st.booleans())
def test_the_model_takes_the_best_way(engine: str, pieces: dict[str, float], text: str, float32: bool) -> None:
    unigram = model(pieces, kinds=[UNKNOWN] + [NORMAL] * len(pieces) if float32 else None, engine=engine)
    path = spelled(reference.viterbi(arcs_of(text, pieces)), text)
    tokens = unigram.tokenize(text.encode())
    score = sum(pieces.get(name, min(0.0, *pieces.values()) - 10.0) for name in path)
    if not float32:  # the unknown piece's own score, 0, counts as a score there
        assert [token for token, _ in tokens] == fused(path, pieces), score
    assert sum(width for _, width in tokens) == len(text.encode())
    assert unigram.encode(text.encode()) == [token for token, _ in tokens]
    assert tokens == model(pieces, kinds=unigram.kinds, engine="python").tokenize(text.encode())


@pytest.mark.parametrize("engine", ENGINES)
def test_the_longer_last_piece_wins_where_two_ways_are_equal(engine: str) -> None:
    unigram = model({"a": -1.0, "aa": -2.0, "b": -1.0, "ab": -2.0}, engine=engine)
    assert unigram.encode(b"aaa") == [1, 2] and unigram.encode(b"aab") == [1, 4] and unigram.encode(b"aa") == [2]


@pytest.mark.parametrize("engine", ENGINES)
def test_what_is_unknown_is_one_token_or_bytes(engine: str) -> None:
    pieces = [("<unk>", 0.0), ("a", -1.0), *((f"<0x{byte:02X}>", 0.0) for byte in range(256))]
    kinds = [UNKNOWN, NORMAL] + [BYTE] * 256
    with_bytes = Unigram(pieces, 0, True, kinds, engine=engine)
    assert with_bytes.tokenize("aé".encode()) == [(1, 1), (2 + 0xC3, 1), (2 + 0xA9, 1)]
    assert with_bytes.tokenize(b"\xe9a") == [(2 + 0xEF, 1), (2 + 0xBF, 0), (2 + 0xBD, 0), (1, 1)]
    without = model({"a": -1.0}, engine=engine)
    assert without.tokenize("éé\U0001f600a☃".encode()) == [(0, 8), (1, 1), (0, 3)]
    assert without.tokenize(b"\xff\xe2\x96a") == [(0, 3), (1, 1)]
    with pytest.raises(TokenizerError, match="no piece of the vocabulary spells 'é'"):
        Unigram([("a", -1.0)], engine=engine).encode("aé".encode())


@pytest.mark.parametrize("engine", ENGINES)
def test_kinds_say_what_is_read_out_of_text(engine: str) -> None:
    pieces = [("<unk>", 0.0), ("<s>", 0.0), ("a", -1.0), ("b", -1.0), ("ab", -0.5), ("bab", -9.0)]
    kinds = [UNKNOWN, CONTROL, NORMAL, NORMAL, UNUSED, USER_DEFINED]
    assert Unigram(pieces, 0, False, kinds, engine=engine).encode(b"ab<s>babb") == [2, 3, 0, 5, 3]
    every = Unigram(pieces, 0, engine=engine)
    assert every.encode(b"ab<s>b") == [4, 1, 3]
    assert every.reserving(frozenset({1})).encode(b"ab<s>b") == [4, 0, 3]
    assert every.reserving(frozenset()) is every


def test_what_a_text_cannot_be_scores_ten_less_than_the_worst_and_a_symbol_a_tenth_a_byte() -> None:
    """SentencePiece's two constants, which ids alone seldom show."""
    pieces = [("<unk>", 0.0), ("<s>", -99.0), ("a", -1.0), ("b", -7.5), ("日b", -30.0)]
    arcs = Unigram(pieces, 0, False, [UNKNOWN, CONTROL, NORMAL, NORMAL, USER_DEFINED]).lattice("a?日b")
    assert arcs[0] == [(0, 1, 2, -1.0)] and arcs[1] == [(1, 2, 0, -17.5)]
    assert arcs[2] == [(2, 3, 0, -17.5), (2, 4, 4, reference.single(0.1 * 3))]
    assert Unigram(pieces, 0).lattice("?")[0][0].score == -109.0  # of Hugging Face's every piece is normal


def test_what_cannot_be_a_vocabulary_is_refused() -> None:
    for vocab, words in [
        ([], "empty"),
        ([("a", math.nan)], "finite"),
        ([("a", 1.0), ("a", 2.0)], "pieces 0 and 1 are both 'a'"),
        ([("", 1.0)], "piece 0 is empty"),
        ([("\ud800", 1.0)], "surrogate"),
    ]:
        with pytest.raises(TokenizerError, match=words):
            Unigram(vocab)
    with pytest.raises(TokenizerError, match="unk_id is 1"):
        Unigram([("a", 0.0)], 1)
    with pytest.raises(TokenizerError, match="kinds must be 1 numbers"):
        Unigram([("a", 0.0)], kinds=[1, 1])
    with pytest.raises(TokenizerError, match="there is no <0x00>"):
        Unigram([("a", 0.0)], byte_fallback=True)
    with pytest.raises(ValueError, match="alpha"):
        Unigram([("a", 0.0)]).sample(b"a", random.Random(0), math.inf)
    with pytest.raises(ValueError, match="n must be"):
        Unigram([("a", 0.0)]).nbest(b"a", 0)


WORDS = ["the", "them", "then", "a", "an", "and", ",", ".", "don't", "x", "été", "日本", "日", "本", "<", "7", "77"]
BETWEEN = [" ", "  ", "\t", "▁", "é", "☃", "e", "\u0301", "a \u0301", "日本語", "~", "\u3000", "ﬁ", "y" * 60, "a" * 30]
BETWEEN += ["，", "；", "ａ", "か\u3099", "か", "\U0001f600", "\U00020000"]
PARTS = st.sampled_from(WORDS + BETWEEN)


def sentencepiece_model(engine: str, inside: bool) -> Unigram:
    rng = random.Random(5)
    pieces = dict.fromkeys([*WORDS, *("▁" + word for word in WORDS), "▁", *"themandxy.,'é"])
    vocab = [("<unk>", 0.0), *((piece, reference.single(-rng.uniform(1, 9))) for piece in pieces)]
    vocab += [("a▁the", -2.0)] * inside
    kinds = [UNKNOWN] + [NORMAL] * (len(vocab) - 1)
    if inside:
        vocab += [(f"<0x{byte:02X}>", 0.0) for byte in range(256)]
        kinds += [BYTE] * 256
    return Unigram(vocab, 0, inside, kinds, engine=engine)


@pytest.mark.skipif(not compiled(), reason="the compiled core was not built")
@pytest.mark.parametrize("rules", [{}, {**RULES, " \u0301": "!"}, None], ids=["none", "few", "nmt_nfkc"])
@pytest.mark.parametrize("inside", [False, True])
def test_one_pass_gives_what_the_stages_give(rules: dict[str, str] | None, inside: bool) -> None:
    """`inside`: a piece has U+2581 inside, so that nothing is certain at spaces; and what is unknown becomes bytes."""
    fast, plain = sentencepiece_model("c", inside), sentencepiece_model("python", inside)
    charsmap = table("nmt_nfkc") if rules is None else table_of(rules) if rules else b""
    passes = {
        flags: (normalizer, fast.fused(normalizer, None))
        for flags in itertools.product([True, False], repeat=4)
        for normalizer in [SentencePieceNormalizer(charsmap, *flags)]
    }

    def agree(text: bytes, flags: tuple[bool, ...]) -> None:
        normalizer, fused = passes[flags]
        assert fused is not None
        normal = normalizer.normalize(Aligned.of(text.decode("utf-8", "surrogateescape"))).text.encode()
        ids = plain.encode(normal)
        assert fused(text) == ids == fast.encode(normal)
        with suppress(UnicodeDecodeError):
            assert fused(text.decode()) == ids

    @settings(max_examples=40, deadline=None)
    @given(st.sampled_from(list(passes)), st.lists(PARTS, max_size=50), st.integers(1, 12))
    def check(flags: tuple[bool, ...], parts: list[str], times: int) -> None:
        data = "".join(parts * times).encode()
        for text in data, data[1:], data + b"\xe6\x97", data + b"\n":
            agree(text, flags)

    check()
    for flags in passes:
        for first, second in itertools.product(BETWEEN, repeat=2):
            agree(f"the{first}{second}the".encode(), flags)
    assert fast.fused(SentencePieceNormalizer(user_defined_symbols=("x",)), None) is None


@pytest.mark.skipif(not compiled(), reason="the compiled core was not built")
def test_one_pass_takes_a_str_as_it_takes_its_bytes() -> None:
    fused = sentencepiece_model("c", False).fused(SentencePieceNormalizer(), None)
    assert fused is not None
    for text in "", "日本 the\0 an", "日本，the " * 10_000:
        assert fused(text) == fused(text) == fused(text.encode())
    for text in "a\ud800", "a" * 100_000 + "\ud800":
        with pytest.raises(TokenizerError, match="is the lone surrogate U\\+D800"):
            fused(text)
    with pytest.raises(TypeError, match="must be str or bytes, not int"):
        fused(3)


@pytest.mark.skipif(not compiled(), reason="the compiled core was not built")
@pytest.mark.parametrize("float32", [False, True])
def test_sums_are_rounded_as_over_the_whole_text(float32: bool) -> None:
    """Two ways that differ by less than float32 can tell, after sums of all sizes, over the reset too."""
    vocab = [("<unk>", 0.0), ("▁", -3.0), ("▁ab", -4.2), ("▁a", -2.1), ("b", -2.1000003), ("c", -9.7), ("▁c", -11.3)]
    kinds = [UNKNOWN] + [NORMAL] * 6 if float32 else None
    fast, plain = (Unigram(vocab, 0, kinds=kinds, engine=engine) for engine in ("c", "python"))
    rng = random.Random(2)
    text = "".join(rng.choices(["▁ab", "▁c", "▁abc", "▁x"], [5, 3, 2, 1], k=40_000)).encode()
    expected = plain.encode(text)
    assert fast.encode(text) == expected
    assert len(set(zip(expected, expected[1:], strict=False)) & {(3, 4), (1, 2)}) == (1 if float32 else 0)
    fused = fast.fused(SentencePieceNormalizer(), None)
    assert fused is not None and fused(text.decode().replace("▁", " ").encode()) == expected


@pytest.mark.parametrize("engine", ENGINES)
def test_ways_that_never_meet_are_kept_apart(engine: str) -> None:
    """No single "a" is a piece: ways over even and over odd places never have a place in common."""
    unigram = model({"aa": -1.0, "b": -2.0}, engine=engine)
    assert unigram.encode(b"a" * 20_001) == [0] + [1] * 10_000
    assert unigram.encode(b"a" * 20_000 + b"b") == [1] * 10_000 + [2]


@pytest.mark.skipif(not compiled(), reason="the compiled core was not built")
def test_long_ways_leave_in_parts() -> None:
    """Ways that never meet, of so many tokens that memory is given back while they leave; and the widths of these."""
    unigram = model({"éé": -1.0, "b": -2.0}, engine="c")
    n = 300_000
    data = ("b" + "é" * (2 * n + 1) + "b" * 9).encode() + b"\xff"
    tokens = [(2, 1), (0, 2), *[(1, 4)] * n, *[(2, 1)] * 9, (0, 1)]
    assert unigram.tokenize(data) == tokens
    assert unigram.encode(data) == [token for token, _ in tokens]
    assert unigram.encode(b"bb") == [2, 2]
