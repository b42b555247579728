"""The presets, and training a pipeline: each learns, encodes with offsets, and gives its text back."""

from __future__ import annotations

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers import (
    BPETokenizer,
    ByteTokenizer,
    CharTokenizer,
    SentencePieceTokenizer,
    Tokenizer,
    WordPieceTokenizer,
    WordTokenizer,
    decoders,
)
from tinyllm.tokenizers.normalizers import Lowercase
from tinyllm.tokenizers.pretokenizers import Metaspace, WhitespaceSplit
from tinyllm.tokenizers.trainers import WordLevelTrainer, progress

few = settings(max_examples=60)
TEXT = "To be, or not to be: that is the question. Whether 'tis nobler in the mind to suffer\nnaïve café 北京\n" * 20
SENTENCES = st.text(st.sampled_from("tobe quiswhrna,.ïé北京T\n"), max_size=40)

BPE = BPETokenizer.train(TEXT, 300)
BYTES = ByteTokenizer(["<|end|>"])
CHARS = CharTokenizer.train(TEXT, ["<unk>"], unk="<unk>")
WORDS = WordTokenizer.train([TEXT], None)
WORDPIECE = WordPieceTokenizer.train([TEXT], 79)
SENTENCEPIECE = SentencePieceTokenizer.train([TEXT, TEXT.encode()], 43)
MERGED = SentencePieceTokenizer.train([TEXT], 60, "bpe", byte_fallback=False)
ALL = [BPE, BYTES, CHARS, WORDS, WORDPIECE, SENTENCEPIECE, MERGED]


@few
@given(st.sampled_from(ALL), SENTENCES)
def test_one_way_or_the_other_the_ids_are_the_same(tokenizer, text):
    """A compiled pipeline, the stages one by one, offsets, and what stands between special tokens."""
    ids = tokenizer.encode(text)
    encoding = tokenizer.encode_with_offsets(text)
    assert encoding.ids == ids == tokenizer.encode(text.encode()) == tokenizer.encode_with_offsets(text.encode()).ids
    assert encoding.offsets == sorted(encoding.offsets)
    assert all(0 <= start <= end <= len(text) for start, end in encoding.offsets)
    stream = tokenizer.stream()
    assert "".join(map(stream.push, ids)) + stream.finish() == tokenizer.decode(ids)


@few
@given(SENTENCES)
def test_text_comes_back(text):
    assert BPE.decode(BPE.encode(text)) == text == BYTES.decode(BYTES.encode(text))
    assert CHARS.decode(CHARS.encode(text)) == text.translate({ord(c): "<unk>" for c in set(text) - set(TEXT)})
    known = "".join(c for c in text if c in TEXT and c != "\n")
    for tokenizer in SENTENCEPIECE, MERGED:
        assert tokenizer.decode(tokenizer.encode(known)) == " ".join(known.split())


def test_what_each_learns():
    assert WORDS.tokens[:4] == [b"<unk>", b"be", b"the", b"to"]  # twice in each sentence, in string order
    assert WORDS.decode(WORDS.encode("to be, or nothing")) == "to be , or <unk>"
    assert WORDPIECE.decode(WORDPIECE.prepare("To be, or not").ids) == "[CLS] to be , or not [SEP]"
    assert WORDPIECE.decode(WORDPIECE.prepare("To be", "or not").ids, skip_special_tokens=True) == "to be or not"
    assert SENTENCEPIECE.tokens[:3] == [b"<unk>", b"<s>", b"</s>"] and SENTENCEPIECE.vocab_size == 43
    assert BYTES.encode("a<|end|>", "all") == [98, 0] and BYTES.vocab_size == 257
    lower = WordTokenizer.train(TEXT, 10, lowercase=True, pre_tokenizer=WhitespaceSplit())
    assert lower.vocab_size == 10 and b"to" in lower.tokens and b"To" not in lower.tokens


def test_any_stages_can_be_trained():
    tokenizer = Tokenizer.train_from_iterator(
        iter(["A b\u3000b", b"c  B"]),
        WordLevelTrainer(None, ("<unk>",)),
        normalizer=Lowercase(),
        pre_tokenizer=Metaspace(prepend_scheme="first"),
        decoder=decoders.Metaspace(prepend_scheme="first"),
    )
    assert tokenizer.special_tokens == {"<unk>": 0}
    assert tokenizer.decode(tokenizer.encode("a b")) == "a b"
    with pytest.raises(TokenizerError, match="lone surrogate"):
        Tokenizer.train_from_iterator(["a\ud800"], WordLevelTrainer(None))


def test_progress_is_shown_with_the_time_that_is_left():
    file = io.StringIO()
    SentencePieceTokenizer.train([TEXT], 43, progress=progress.Progress(file))
    assert file.getvalue().startswith("\rtrain: 1 of 1, ")
    assert progress.line("train", 250, 1000, 2.0) == "train: 250 of 1,000, 6 s left"
    assert progress.line("train", 1000, 1000, 2.0) == "train: 1,000 of 1,000, 2.0 s"
    assert progress.line("count", 5_000_000, None, 2.0) == "count: 5.0 MB, 2.5 MB/s"
