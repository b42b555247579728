"""Byte-pair encoding against tiktoken, Hugging Face and SentencePiece, with vocabularies from packages."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import cache

import packages
import peers
import pytest

from tinyllm.tokenizers import compiled
from tinyllm.tokenizers.engine import core
from tinyllm.tokenizers.formats.sentencepiece import read_proto, write_proto
from tinyllm.tokenizers.models import BPE, SentencePieceBPE

hf = pytest.importorskip("tokenizers")
tiktoken = pytest.importorskip("tiktoken")
spm = pytest.importorskip("sentencepiece")
pytestmark = [pytest.mark.oracle, pytest.mark.skipif(not compiled(), reason="tinyllm was built without a C compiler")]

OPENAI = ("r50k", "cl100k", "o200k")
END = "<|endoftext|>"


def needed(find, *arguments):
    """What comes from a package; the test is skipped where that is missing."""
    try:
        return find(*arguments)
    except packages.Missing as missing:
        pytest.skip(str(missing))


CHARACTERS = [
    *map(chr, range(0x20, 0x7F)),
    *"\t\n\r\x00\xa0\u2003\u3000áüßñçøİſKабвяіλωאבده日本語中文字かなカナ한국어①½٣🙂🎉👍\u0301\u200d",
]


@cache
def generated(n: int = 2000) -> list[str]:
    """Strings of words, random characters, repeats, and the names of special tokens."""
    rng = random.Random(11)
    words = packages.mixed(200_000).split(" ")
    parts = [
        lambda: rng.choice(words) + rng.choice(["", " ", "  ", "\n"]),
        lambda: "".join(rng.choices(CHARACTERS, k=rng.randint(1, 12))),
        lambda: rng.choice(CHARACTERS) * rng.choice([1, 2, 3, 17, 64]),
        lambda: END,
        lambda: "".join(map(chr, rng.choices([*range(0x20, 0xD800), *range(0xE000, 0x30000)], k=3))),
    ]
    return ["".join(rng.choices(parts, [8, 4, 2, 1, 1])[0]() for _ in range(rng.randint(0, 12))) for _ in range(n)]


def chunks(text: str, size: int) -> list[str]:
    return [text[i : i + size] for i in range(0, len(text), size)]


# ---- OpenAI's vocabularies ----


@pytest.mark.parametrize("name", OPENAI)
def test_ids_of_tiktoken(name):
    needed(packages.ranks, name)
    theirs, ours = peers.tiktoken(name), peers.ours(name)
    text = needed(packages.mixed)
    assert len(text.encode()) >= 5_000_000
    assert ours(text) == theirs.encode_ordinary(text)
    for one in generated():
        assert ours(one) == theirs.encode_ordinary(one)


@pytest.mark.parametrize("name", OPENAI)
def test_special_tokens_of_tiktoken(name):
    needed(packages.ranks, name)
    theirs, ours = peers.tiktoken(name), peers.tokenizer(name)
    for one in generated():
        assert ours.encode(one, {END}) == theirs.encode(one, allowed_special={END})
        assert ours.encode(one) == theirs.encode(one, disallowed_special=())


@pytest.mark.parametrize("name", OPENAI)
def test_ids_of_hugging_face(name):
    needed(packages.ranks, name)
    theirs, ours = peers.hugging_face(name), peers.ours(name)
    texts = [*chunks(needed(packages.mixed), 100_000), *generated()]
    for one, encoding in zip(texts, theirs.encode_batch_fast(texts, add_special_tokens=False), strict=True):
        assert ours(one) == encoding.ids


@pytest.mark.parametrize("name", OPENAI)
def test_merging_finds_what_linear_finds(name):
    needed(packages.ranks, name)
    rules, pattern = peers.model(name).rules, peers.Scanned(name).scanner
    merging = core("bpe").Encoder(rules, pattern, linear=False)
    linear = core("bpe").Encoder(rules, pattern, cached=False)
    assert linear.linear and not merging.linear
    text = needed(packages.mixed)
    assert merging.encode(text) == linear.encode(text) == peers.ours(name)(text)
    rng = random.Random(3)
    for _ in range(300):
        piece = rng.randbytes(rng.randint(1, 200)) if rng.random() < 0.5 else rng.choice([b" ", b"a", b"=-"]) * 200
        assert merging.encode_piece(piece) == linear.encode_piece(piece)


@pytest.mark.parametrize("name", OPENAI)
def test_all_short_byte_strings(name):
    needed(packages.ranks, name)
    ours, tokens = peers.ours(name), peers.model(name).tokens
    for data in [*(bytes([a]) for a in range(256)), *(bytes([a, b]) for a in range(256) for b in range(256))]:
        assert b"".join(tokens[i] for i in ours(data)) == data


# ---- Models of Hugging Face's kind, with every option ----


def drawn_model(rng: random.Random):
    """A vocabulary, merges and options as Hugging Face takes them, and a text."""
    alphabet = rng.choice(["abc", "abcé", "abé北"])
    prefix, suffix = rng.choice([(None, None)] * 3 + [("##", None), (None, "</w>"), ("##", "</w>")])
    tokens = [a for a in alphabet if rng.random() < 0.9] or ["a"]
    if prefix:
        tokens += [prefix + a for a in tokens if rng.random() < 0.9]
    if suffix:
        tokens += [a + suffix for a in tokens if rng.random() < 0.9]
    skipped = len(prefix or "")
    merges: list[tuple[str, str]] = []
    for _ in range(rng.randint(0, 15)):
        left, right = rng.choice(tokens), rng.choice(tokens)
        if (suffix and left.endswith(suffix)) or (prefix and not right.startswith(prefix)) or (left, right) in merges:
            continue
        merges.append((left, right))
        if left + right[skipped:] not in tokens:
            tokens.append(left + right[skipped:])
    if rng.random() < 0.3:
        rng.shuffle(merges)
    unk = rng.choice([None, "<unk>"])
    tokens.append("<unk>")
    if fallback := rng.random() < 0.4:
        tokens += [f"<0x{byte:02X}>" for byte in range(256) if rng.random() < rng.choice([1, 0.99])]
    options = {
        "unk_token": unk,
        "continuing_subword_prefix": prefix,
        "end_of_word_suffix": suffix,
        "fuse_unk": rng.random() < 0.5,
        "byte_fallback": fallback,
        "ignore_merges": rng.random() < 0.3,
    }
    text = "".join(rng.choices(alphabet + "x日", k=rng.randint(1, 60)))
    return {token: i for i, token in enumerate(tokens)}, merges, options, text


def test_every_option_of_hugging_face():
    rng = random.Random(5)
    for _ in range(4000):
        vocab, merges, options, text = drawn_model(rng)
        given = {name: value for name, value in options.items() if value is not None}
        theirs = hf.models.BPE(vocab, merges, **given)
        for engine in "c", "python":
            ours = BPE(vocab, merges, **options, engine=engine)
            expected = [token.id for token in theirs.tokenize(text)]
            assert ours.encode(text.encode()) == expected, (vocab, merges, options, text)


# ---- SentencePiece ----


def both(data: bytes):
    proto = read_proto(data)
    pieces = [(piece.text, piece.score) for piece in proto.pieces]
    kinds = [piece.kind for piece in proto.pieces]
    return spm.SentencePieceProcessor(model_proto=data), SentencePieceBPE(pieces, 0, proto.byte_fallback, kinds)


MODELS = [
    "tokenizer.model.v1",
    *(f"mistral_instruct_tokenizer_{end}" for end in ("240216.model.v2", "240323.model.v3")),
]


@pytest.mark.parametrize("name", [*MODELS, "mistral_instruct_tokenizer_241114.model.v7m1"])
def test_ids_of_sentencepiece(name):
    theirs, ours = both(needed(packages.sentencepiece_models)[name])
    for text in [*chunks(needed(packages.mixed), 10_000), *generated()]:
        assert ours.encode(theirs.normalize(text).encode()) == theirs.encode(text), text


def test_bpe_models_of_sentencepiece_itself():
    data = needed(packages.packed, "sentencepiece", "test/botchan_en_bpe_1000.model")
    theirs, ours = both(data)
    for text in [*chunks(needed(packages.mixed, 1_000_000), 10_000), *generated()]:
        assert ours.encode(theirs.normalize(text).encode()) == theirs.encode(text), text


def altered(rng: random.Random, data: bytes) -> bytes:
    """The model with some pieces made unused, and some of one score."""
    proto = read_proto(data)
    pieces = []
    for piece in proto.pieces:
        if piece.kind == 1 and len(piece.text) > 1 and rng.random() < 0.3:
            piece = piece._replace(kind=5)
        if piece.kind == 1 and rng.random() < 0.3:
            piece = piece._replace(score=-float(rng.randint(0, 5)))
        pieces.append(piece)
    return write_proto(replace(proto, pieces=pieces))


def test_unused_and_user_defined_pieces_and_equal_scores(tmp_path):
    rng = random.Random(9)
    for _ in range(30):
        words = ["".join(rng.choices("abcdé", k=rng.randint(1, 8))) for _ in range(200)]
        spm.SentencePieceTrainer.train(
            sentence_iterator=iter([" ".join(rng.choices(words, k=20)) for _ in range(200)]),
            model_prefix=str(tmp_path / "model"),
            model_type="bpe",
            vocab_size=60,
            user_defined_symbols=["cab", "cabé"],
            hard_vocab_limit=False,
            minloglevel=2,
        )
        theirs, ours = both(altered(rng, (tmp_path / "model.model").read_bytes()))
        assert {4, 5} <= set(ours.kinds)
        for _ in range(200):
            text = "".join(rng.choices("abcdéx ", k=rng.randint(0, 40)))
            assert ours.encode(theirs.normalize(text).encode()) == theirs.encode(text), text
