"""Byte-pair encoding: compiled == reference == definition, for every kind of vocabulary, and dropout by enumeration."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers import compiled
from tinyllm.tokenizers.engine import core
from tinyllm.tokenizers.models import BPE, SentencePieceBPE
from tinyllm.tokenizers.reference.bpe_encode import Reference, naive

needs_core = pytest.mark.skipif(not compiled(), reason="tinyllm was built without a C compiler")
some = settings(max_examples=300)
ENGINES = ["c", "python"] if compiled() else ["python"]


@st.composite
def trained(draw, alphabet="abc", most=12):
    """Merges as training makes them: of tokens that are there already."""
    tokens = list(alphabet)
    merges = []
    for _ in range(draw(st.integers(0, most))):
        left, right = (draw(st.sampled_from(tokens)) for _ in range(2))
        if (left, right) not in merges:
            merges.append((left, right))
            if left + right not in tokens:
                tokens.append(left + right)
    return tokens, merges


def byte_level(tokens, merges, **fields) -> BPE:
    vocab = {token.encode(): i for i, token in enumerate(tokens)}
    return BPE(vocab, [(a.encode(), b.encode()) for a, b in merges], **fields)


def engines(model):
    """Every way to run a model."""
    yield Reference(model.rules)
    if compiled():
        for cached in True, False:
            for linear in True, False:
                yield core("bpe").Encoder(model.rules, cached=cached, linear=linear)


def agree(model, piece: bytes, p: float = 0.0) -> list[tuple[int, int]]:
    """The tokens, which are the same every way, the second time as well."""
    first, *others = engines(model)
    first.seed(5)
    expected = first.tokenize(piece, p)
    for other in others:
        for _ in range(2):
            other.seed(5)
            assert other.tokenize(piece, p) == expected
            other.seed(5)
            assert other.encode_piece(piece, p) == [token for token, _ in expected]
    return expected


# ---- Merges ----


@some
@given(trained(), st.text("abc", max_size=60))
def test_every_way_follows_the_definition(rules, piece):
    model = byte_level(*rules)
    ranks = {(a, b): (rank, new) for a, b, rank, new in model.rules.merges}
    ids = [model.vocab[bytes([byte])] for byte in piece.encode()]
    tokens = agree(model, piece.encode())
    assert [token for token, _ in tokens] == naive(ids, ranks)
    assert b"".join(model.tokens[token] for token, _ in tokens) == piece.encode()
    assert sum(width for _, width in tokens) == len(piece)


@some
@given(trained(), st.randoms(use_true_random=False), st.text("abc", max_size=60))
def test_merges_in_any_order_follow_the_definition(rules, rng, piece):
    """Here a merge can come before those that make its parts, so what `linear` relies on does not hold."""
    tokens, merges = rules
    rng.shuffle(merges)
    test_every_way_follows_the_definition.hypothesis.inner_test((tokens, merges), piece)


@needs_core
@pytest.mark.parametrize("characters", ["abc", "北京", "a北é"])
def test_many_drawn_vocabularies(characters):
    """Longer texts than hypothesis likes to draw; tokens that end within a character."""
    rng = random.Random(8)
    alphabet = [bytes([byte]) for byte in sorted(set(characters.encode()))]
    for _ in range(600):
        tokens, merges = list(alphabet), []
        for _ in range(rng.randint(0, 14)):
            pair = rng.choice(tokens), rng.choice(tokens)
            if rng.random() < 0.7 and b"".join(pair) not in characters.encode() * 9:
                continue  # mostly what occurs in text
            if b"".join(pair) not in tokens:
                tokens.append(b"".join(pair))
                merges.append(pair)
        rules = BPE({token: i for i, token in enumerate(tokens)}, merges).rules
        encoder = core("bpe").Encoder(rules)
        for _ in range(2):
            piece = "".join(rng.choices(characters, k=rng.randint(1, 40))).encode()
            assert encoder.encode_piece(piece) == Reference(rules).encode_piece(piece), (merges, piece)


def test_tokens_that_end_within_a_character():
    north, capital = "北京".encode()[:3], "北京".encode()[3:]
    parts = [bytes([byte]) for byte in north + capital]
    merges = [(parts[0], parts[1]), (north[:2], parts[2]), (north, parts[3])]
    tokens = [*parts, north[:2], north, north + parts[3]]
    model = BPE({token: i for i, token in enumerate(tokens)}, merges)
    assert [token for token, _ in agree(model, north + capital + north)] == [8, 4, 5, 7]


@needs_core
def test_the_cache_tells_pieces_apart_that_end_in_zeros():
    model = BPE.from_ids([b"a", b"\0", b"a\0"], [(0, 1)])
    encoder = core("bpe").Encoder(model.rules)
    for _ in range(2):
        for piece, ids in (b"a", [0]), (b"a\0", [2]), (b"a\0\0", [2, 1]), (b"\0", [1]), (b"a" * 8, [0] * 8):
            assert encoder.encode_piece(piece) == ids


@needs_core
def test_only_vocabularies_that_allow_it_are_encoded_in_linear_time():
    in_order = [("a", "b"), ("ab", "c")]
    tokens = ["a", "b", "c", "ab", "abc"]
    assert core("bpe").Encoder(byte_level(tokens, in_order).rules).linear
    assert not core("bpe").Encoder(byte_level(tokens, in_order[::-1]).rules).linear


@some
@given(st.lists(st.text("abc", min_size=2, max_size=5), max_size=12, unique=True), st.text("abc", max_size=40))
def test_ranks_join_the_neighbours_whose_bytes_have_the_best_rank(tokens, piece):
    """In any order: a token can have a rank before those that it is put together of."""
    ranks = {bytes([byte]): byte for byte in range(256)} | {t.encode(): 256 + i for i, t in enumerate(tokens)}
    parts = [bytes([byte]) for byte in piece.encode()]
    while len(parts) > 1:
        rank, at = min((ranks.get(a + b, 1000), i) for i, (a, b) in enumerate(pairwise(parts)))
        if rank == 1000:
            break
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    expected = [ranks[piece.encode()]] if piece.encode() in ranks else [ranks[part] for part in parts]
    models = [BPE.from_ranks(ranks, engine=name) for name in ENGINES]
    assert models[0].merges == models[-1].merges
    assert [token for token, _ in agree(models[0], piece.encode())] == expected


@needs_core
@pytest.mark.parametrize("text", ["a" * 3000, "ab" * 1500, "aab" * 1000 + "b", "abcabd" * 500])
def test_long_pieces(text):
    rng = random.Random(7)
    tokens = ["a", "b", "c", "d"]
    merges = []
    while len(merges) < 60:
        pair = rng.choice(tokens[-12:]), rng.choice(tokens)
        if "".join(pair) not in tokens and len("".join(pair)) < 40:
            merges.append(pair)
            tokens.append("".join(pair))
    agree(byte_level(tokens, merges), text.encode())


@needs_core
def test_a_text_longer_than_a_batch_is_the_sum_of_its_pieces():
    model = byte_level(["a", "b", " ", "ab", " a"], [("a", "b"), (" ", "a")])
    text = b" ab a ba" * 14_000
    expected = Reference(model.rules).encode_piece(text)
    assert len(expected) > 1 << 16
    for scanner in None, "gpt2":
        encoder = core("bpe").Encoder(model.rules, scanner)
        assert encoder.encode(text) == encoder.encode(text.decode()) == expected


# ---- What is no token ----


@some
@given(
    trained("aé北"),
    st.text("aé北b日\ufffd", max_size=30),
    st.booleans(),
    st.sampled_from([None, "<unk>"]),
    st.sampled_from(["", "all", "some"]),
)
def test_unknown_characters(rules, piece, fuse, unk, fallback):
    tokens, merges = rules
    tokens = [*tokens, "<unk>"]
    if fallback:
        tokens += [f"<0x{byte:02X}>" for byte in range(0, 256, 1 if fallback == "all" else 3)]
    vocab = {token: i for i, token in enumerate(tokens)}
    model = BPE(vocab, merges, unk_token=unk, fuse_unk=fuse, byte_fallback=bool(fallback))
    data = piece.encode()
    widths = agree(model, data)
    if unk or fallback == "all":
        assert sum(width for _, width in widths) == len(data)
    agree(model, data[1:] + data[:1])  # no UTF-8, at times


def test_kinds_of_unknown():
    vocab = {"a": 0, "<unk>": 1, "ab": 2, "b": 3, **{f"<0x{byte:02X}>": 4 + byte for byte in range(256)}}
    merges = [("a", "b")]
    data = "é北abé".encode()
    assert BPE(vocab, merges).encode(data) == [2]
    assert BPE(vocab, merges, unk_token="<unk>").tokenize(data) == [(1, 2), (1, 3), (2, 2), (1, 2)]
    assert BPE(vocab, merges, unk_token="<unk>", fuse_unk=True).tokenize(data) == [(1, 5), (2, 2), (1, 2)]
    fallback = BPE(vocab, merges, unk_token="<unk>", byte_fallback=True)
    assert fallback.encode("éab".encode()) == [4 + 0xC3, 4 + 0xA9, 2]
    assert fallback.encode(b"a\xffb") == [0, 4 + 0xFF, 3]
    replaced = BPE(vocab | {"\ufffd": 300}, merges, byte_fallback=True)
    assert agree(replaced, b"a\xffb") == [(0, 1), (300, 1), (3, 1)]


def test_prefix_and_suffix():
    vocab = {"a": 0, "##a": 1, "##b</w>": 2, "aa": 3, "##ab</w>": 4, "a</w>": 5}
    model = BPE(vocab, [("a", "##a"), ("##a", "##b</w>")], continuing_subword_prefix="##", end_of_word_suffix="</w>")
    assert agree(model, b"aab") == [(3, 2), (2, 1)]
    assert agree(model, b"a") == [(5, 1)]
    assert agree(model, b"aa") == [(0, 1)]  # ##a</w> is no token, and there is no unk


def test_a_piece_that_is_a_token():
    model = byte_level(["a", "b", "c", "ab", "bc", "abc"], [("b", "c"), ("a", "b")], ignore_merges=True)
    assert agree(model, b"abc") == [(5, 3)]
    assert agree(replace(model, ignore_merges=False), b"abc") == [(0, 1), (4, 2)]
    kept = model.reserving(frozenset({5, 99}))
    assert agree(kept, b"abc") == [(0, 1), (4, 2)]
    assert model.reserving(frozenset({99})) is model
    with pytest.raises(TokenizerError, match="merge 1 makes the special token b'ab'"):
        model.reserving(frozenset({3}))


# ---- SentencePiece ----


@st.composite
def pieces(draw):
    """Pieces of any scores, many of them equal, some unused, user-defined, or of characters that are no pieces."""
    texts = draw(st.lists(st.text("abcé", min_size=1, max_size=4), max_size=14, unique=True))
    kinds = [2, *(draw(st.sampled_from([1, 1, 1, 1, 4, 5])) for _ in texts)]
    vocab = [("<unk>", 0.0), *((text, float(draw(st.integers(-6, 0)))) for text in texts)]
    byte_fallback = draw(st.booleans())
    if byte_fallback:
        vocab += [(f"<0x{byte:02X}>", 0.0) for byte in range(256)]
        kinds += [6] * 256
    return SentencePieceBPE(vocab, 0, byte_fallback, kinds)


def by_strings(model: SentencePieceBPE, text: str) -> list[str]:
    """SentencePiece's rule on strings, without unused pieces."""
    scores = {piece: score for i, (piece, score) in enumerate(model.vocab) if model._kind(i) in (1, 4)}
    frozen = sorted((piece for i, (piece, _) in enumerate(model.vocab) if model._kind(i) == 4), key=len)
    parts: list[tuple[str, bool]] = []
    while text:
        found = [piece for piece in frozen if text.startswith(piece)]
        parts.append((found[-1], True) if found else (text[0], False))
        text = text[len(parts[-1][0]) :]
    while True:
        joined = [(scores.get(a + b), i) for i, ((a, x), (b, y)) in enumerate(pairwise(parts)) if not (x or y)]
        ranked = [(-score, i) for score, i in joined if score is not None]
        if not ranked:
            return [part for part, _ in parts]
        _, at = min(ranked)
        parts[at : at + 2] = [(parts[at][0] + parts[at + 1][0], False)]


@some
@given(pieces(), st.text("abcéx", max_size=25))
def test_sentencepiece(model, text):
    tokens = agree(model, text.encode())
    assert sum(width for _, width in tokens) == len(text.encode())
    if 5 in model.kinds:
        return
    ids = {piece: i for i, (piece, _) in enumerate(model.vocab)}
    expected: list[int] = []
    for part in by_strings(model, text):
        if part in ids:
            expected.append(ids[part])
        elif model.byte_fallback:
            expected += [ids[f"<0x{byte:02X}>"] for byte in part.encode()]
        elif expected[-1:] != [0]:
            expected.append(0)
    assert [token for token, _ in tokens] == expected
    try:
        plain = model.plain()
    except TokenizerError:
        return
    assert plain.encode(text.encode()) == expected


def test_unused_pieces_are_taken_apart_again():
    vocab = [("<unk>", 0.0), ("a", -9.0), ("b", -9.0), ("ab", -1.0), ("abab", -2.0), ("c", -9.0)]
    model = SentencePieceBPE(vocab, 0, kinds=[2, 1, 1, 5, 5, 1])
    assert [token for token, _ in agree(model, b"ababc")] == [1, 2, 1, 2, 5]
    assert [token for token, _ in agree(replace(model, kinds=[2, 1, 1, 1, 5, 1]), b"ababc")] == [3, 3, 5]


# ---- Dropout ----


@some
@given(trained(), st.text("abc", max_size=60), st.sampled_from([0.1, 0.5, 0.9]))
def test_dropout_is_the_same_in_both_engines(rules, piece, p):
    agree(byte_level(*rules), piece.encode(), p)


@some
@given(trained(), st.text("abc", max_size=60))
def test_dropout_of_all_and_of_nothing(rules, piece):
    model = byte_level(*rules)
    assert replace(model, dropout=1.0).encode(piece.encode()) == [model.vocab[bytes([b])] for b in piece.encode()]
    assert replace(model, dropout=0.0).encode(piece.encode()) == model.encode(piece.encode())


def probabilities(symbols: tuple[int, ...], ranks, p: float) -> Counter:
    """Of each outcome, by algorithm 1 of the paper: the first pair in order of (rank, place) that is kept is merged."""
    found = sorted((*ranks[pair], i) for i, pair in enumerate(pairwise(symbols)) if pair in ranks)
    found.sort(key=lambda one: (one[0], one[2]))
    result: Counter = Counter({symbols: p ** len(found)})
    for before, (_, new, at) in enumerate(found):
        for outcome, chance in probabilities((*symbols[:at], new, *symbols[at + 2 :]), ranks, p).items():
            result[outcome] += p**before * (1 - p) * chance
    return result


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("p", [0.1, 0.5])
def test_dropout_has_the_distribution_of_the_paper(name, p):
    tokens = ["a", "b", "ab", "aba", "abab", "bb", "ba"]
    model = byte_level(tokens, [("a", "b"), ("b", "b"), ("b", "a"), ("ab", "a"), ("ab", "ab")], dropout=p, engine=name)
    ranks = {(a, b): (rank, new) for a, b, rank, new in model.rules.merges}
    expected = probabilities(tuple(model.vocab[bytes([byte])] for byte in b"abbabab"), ranks, p)
    assert sum(expected.values()) == pytest.approx(1)
    n = 20_000
    model.seed(3)
    seen = Counter(tuple(model.encode(b"abbabab")) for _ in range(n))
    assert set(seen) <= set(expected)
    often = [outcome for outcome, chance in expected.items() if chance * n >= 5]
    rest = n - sum(seen[outcome] for outcome in often), n * (1 - sum(expected[outcome] for outcome in often))
    chi = sum((seen[outcome] - n * expected[outcome]) ** 2 / (n * expected[outcome]) for outcome in often)
    chi += (rest[0] - rest[1]) ** 2 / max(rest[1], 5)
    degrees = len(often)
    assert degrees >= 8
    assert chi < degrees + 4 * (2 * degrees) ** 0.5  # about one in ten thousand is beyond
    model.seed(3)
    assert [model.encode(b"abbabab") for _ in range(20)] == again(model)


def again(model) -> list[list[int]]:
    model.seed(3)
    return [model.encode(b"abbabab") for _ in range(20)]


# ---- Errors ----


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BPE({"a": 0}, [("a", "b")]), "merge 0, of 'a' and 'b', needs 'b', which is no token"),
        (lambda: BPE({"a": 0}, [("a", "a")]), "needs 'aa', which is no token"),
        (lambda: BPE({"a": 0, b"b": 1}), "is no str as the first one"),
        (lambda: BPE({"a": -1}), "has id -1; ids are integers from 0"),
        (lambda: BPE({"a": 1 << 31}), "ids are integers from 0"),
        (lambda: BPE({"a": 0, "b": 0}), "both have id 0"),
        (lambda: BPE({"a": 0}, dropout=1.5), "it is a probability"),
        (lambda: BPE({"a": 0}, unk_token="b"), "which is not in the vocabulary"),
        (lambda: BPE({"\ud800": 0}), "is not text"),
        (lambda: BPE({b"a": 0}, byte_fallback=True), "byte_fallback is for vocabularies of characters"),
        (lambda: BPE.from_ranks({b"a": 0}), "byte 0x00 has no rank, nor have 254 others"),
        (lambda: BPE.from_ids([b"a", b"a"]), "tokens 0 and 1 are both b'a'"),
        (lambda: BPE.from_ids([b"a"], [(0, 1)]), "merge 0 joins id 1; the ids are 0 to 0"),
        (lambda: SentencePieceBPE([("a", 0.0), ("a", 1.0)]), "piece 1 is 'a', as piece 0"),
        (lambda: SentencePieceBPE([("a", float("nan"))]), "it must be a number"),
        (lambda: SentencePieceBPE([("a", 0.0)], 3), "unk_id is 3"),
        (lambda: SentencePieceBPE([("a", 0.0)], byte_fallback=True), "byte_fallback needs the piece <0x00>"),
        (lambda: SentencePieceBPE([("a", 0.0)], kinds=[]), "kinds has 0 entries"),
    ],
)
def test_bad_input_is_an_error_that_says_what_is_wrong(make, message):
    with pytest.raises(TokenizerError, match=message.replace("(", r"\(")):
        make()
