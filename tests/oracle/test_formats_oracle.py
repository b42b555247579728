"""Tokenizer files against the libraries they are from: SentencePiece's models, Hugging Face's tokenizer.json."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tinyllm.tokenizers.aligned import Aligned
from tinyllm.tokenizers.formats.sentencepiece import read_proto, stages, write_proto

spm = pytest.importorskip("sentencepiece")
pytestmark = pytest.mark.oracle

ODD = " \t\n\u3000aａﬁé\u0301e\u0301カﾞ①㍻한\u1100\u1161\u2581\u200d\ufeff\ufffd\x01\u0344日𝒜🙂"


def drawn(n: int, seed: int, characters: str = ODD) -> list[str]:
    """Short strings of characters that normalizers change, a third of them of any characters at all."""
    rng = random.Random(seed)
    texts = ["".join(rng.choices(characters, k=rng.randrange(12))) for _ in range(n)]
    for i in range(0, n, 3):
        points = (rng.choice([rng.randrange(1, 0xD800), rng.randrange(0xE000, 0x110000)]) for _ in range(8))
        texts[i] = "".join(map(chr, points))
    return texts


def trained(tmp_path: Path, **options) -> Path:
    """A model that the real library trains, at test time, on text of its own options."""
    corpus = ["to be or not to be, that is the question: 1984 naïve café", "日本語 ﬁne ｗｉｄｅ  spaces <x> <y>"] * 50
    settings = {
        "vocab_size": 60, "hard_vocab_limit": False, "model_type": "bpe", "character_coverage": 1.0, **options,
        "sentence_iterator": iter(corpus), "model_prefix": str(tmp_path / "m"), "minloglevel": 2,
    }  # fmt: skip
    spm.SentencePieceTrainer.train(**settings)
    return tmp_path / "m.model"


SETTINGS = [
    {"normalization_rule_name": "nmt_nfkc"},
    {"normalization_rule_name": "nfkc_cf", "add_dummy_prefix": False},
    {"normalization_rule_name": "identity", "remove_extra_whitespaces": False},
    {"remove_extra_whitespaces": False, "add_dummy_prefix": False, "user_defined_symbols": ["<x>", "<x> ", "  ", "ﬁ"]},
    {"treat_whitespace_as_suffix": True, "user_defined_symbols": [" <y>", "日a"]},
    {"byte_fallback": True, "vocab_size": 330, "remove_extra_whitespaces": False},
    {"byte_fallback": True, "vocab_size": 330, "unk_surface": "▁??", "control_symbols": ["<c>"]},
]


@pytest.mark.parametrize("options", SETTINGS)
def test_the_stages_around_a_model_are_sentencepieces(options, tmp_path):
    path = trained(tmp_path, **options)
    theirs = spm.SentencePieceProcessor(str(path))
    proto = read_proto(path.read_bytes())
    normalizer, decoder = stages(proto)
    rng = random.Random(0)
    for text in drawn(3000, 0, ODD + "<x><y>  "):
        assert normalizer.normalize(Aligned.of(text)).text == theirs.normalize(text), text
    for _ in range(3000):
        ids = rng.choices(range(len(proto.pieces)), k=rng.randrange(8))
        step = decoder.begin()
        found = b"".join([*(step.push(proto.pieces[i].text.encode()) for i in ids), step.finish()])
        assert found.decode() == theirs.decode(ids), ids


@pytest.mark.parametrize("options", SETTINGS)
def test_sentencepiece_opens_what_is_written(options, tmp_path):
    path = trained(tmp_path, **options)
    theirs, again = spm.SentencePieceProcessor(str(path)), spm.SentencePieceProcessor()
    proto = read_proto(path.read_bytes())
    again.LoadFromSerializedProto(write_proto(proto))
    assert read_proto(write_proto(proto)) == proto
    for text in drawn(1000, 1, ODD + "<x><y>  "):
        ids = theirs.encode(text)
        assert again.encode(text) == ids
        assert again.decode(ids) == theirs.decode(ids)
    for name in "unk_id", "bos_id", "eos_id", "pad_id":
        assert getattr(again, name)() == getattr(theirs, name)()
