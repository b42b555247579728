"""Counting the pieces of text: two engines, any number of threads, any cut of the texts, any memory give one result."""

from __future__ import annotations

import warnings
from collections import Counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tinyllm import _io
from tinyllm.errors import TokenizerError
from tinyllm.tokenizers.aligned import Aligned
from tinyllm.tokenizers.engine import compiled
from tinyllm.tokenizers.normalizers import BertNormalizer, Strip
from tinyllm.tokenizers.pretokenizers import (
    BertPreTokenizer,
    ByteLevel,
    Digits,
    Metaspace,
    Sequence,
    Whitespace,
    WhitespaceSplit,
    patterns,
)
from tinyllm.tokenizers.stage import PreTokenizer
from tinyllm.tokenizers.trainers import count, spill
from tinyllm.tokenizers.trainers.count import count_words, flattened, word_counter

ENGINES = ["python", pytest.param("c", marks=pytest.mark.skipif(not compiled(), reason="no compiled core"))]


class Cut(PreTokenizer):
    """A pattern as a stage."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern

    @property
    def scanner(self) -> str:
        return self.pattern

    def pieces(self, text, first=True):
        raise AssertionError("a compiled scanner cuts this")


class Spaces(PreTokenizer):
    """A stage without a scanner: pieces end before each space."""

    def pieces(self, text, first=True):
        starts = sorted({0, *(i for i, char in enumerate(text.text) if char == " "), len(text.text)})
        return [text.cut(a, b) for a, b in zip(starts, starts[1:], strict=False)]


texts = st.lists(st.text("ab \n'!1é中\u3000\r/s", max_size=60), max_size=8)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("pattern", patterns.PATTERNS)
@given(texts=texts, threads=st.integers(1, 3), size=st.integers(1, 40))
@example(texts=["ab \n\n\nab"], threads=1, size=3)
@example(texts=["a!\n\nb!\n/ab"], threads=1, size=1)
def test_counts_are_those_of_the_pieces_in_order(engine, pattern, texts, threads, size):
    wanted = Counter(piece for text in texts for piece in patterns.split(text.encode(), pattern, "python"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(count, "SHARE", size)
        words = count_words(texts, pre_tokenizer=Cut(pattern), threads=threads, engine=engine)
    assert words.items() == list(wanted.items())  # a Counter is in order of first appearance
    assert len(words) == len(wanted) and words.total == sum(len(piece) * n for piece, n in wanted.items())
    assert words.flat() == flattened(wanted.items())


@pytest.mark.parametrize("engine", ENGINES)
@given(texts=texts)
def test_stages_and_whole_texts(engine, texts):
    wanted = Counter(b" " * (i > 0) + part for text in texts for i, part in enumerate(text.encode().split(b" ")))
    wanted.pop(b"", None)
    assert dict(count_words(texts, pre_tokenizer=Spaces(), engine=engine).items()) == wanted
    assert dict(count_words(texts, engine=engine).items()) == Counter(text.encode() for text in texts if text)


STAGES = [
    (BertNormalizer(), BertPreTokenizer()),
    (None, Whitespace()),
    (Strip(), Metaspace(prepend_scheme="first")),
    (Strip(), Sequence([WhitespaceSplit(), Metaspace(prepend_scheme="first")])),
    (None, Sequence([Digits(), ByteLevel()])),
]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("normalizer, pre_tokenizer", STAGES)
@given(texts=st.lists(st.one_of(st.text(" ab,\n1é中", max_size=40), st.just(b"\xc3 a\xc3\xa9"))))
def test_counts_are_those_of_the_stages(engine, normalizer, pre_tokenizer, texts):
    wanted: Counter[bytes] = Counter()
    for text in texts:
        whole = Aligned.of(text if isinstance(text, str) else text.decode("utf-8", "surrogateescape"))
        pieces = pre_tokenizer.pieces(normalizer.normalize(whole) if normalizer else whole)
        wanted.update(piece.text.encode("utf-8", "surrogateescape") for piece in pieces)
    words = count_words(texts, normalizer, pre_tokenizer, engine=engine)
    assert words.items() == list(wanted.items())  # in order of first appearance


@pytest.mark.parametrize("engine", ENGINES)
@given(pieces=st.lists(st.tuples(st.binary(max_size=3), st.integers(0, 1 << 40)), max_size=30))
def test_pieces_with_counts(engine, pieces):
    words = word_counter(engine=engine)
    wanted: Counter[bytes] = Counter()
    for piece, n in pieces:
        words.add_piece(piece, n)
        if n:
            wanted[piece] += n
    assert words.items() == list(wanted.items())
    other = word_counter(engine=engine)
    for part in words.dump(5):
        other.load(part)
    assert other.items() == words.items()
    other.merge(words, least=1000)
    assert dict(other.items()) == {piece: 2 * n if n >= 1000 else n for piece, n in wanted.items()}


@pytest.mark.parametrize("engine", ENGINES)
def test_counts_that_would_overflow_are_refused(engine):
    words = word_counter(engine=engine)
    words.add_piece(b"ab", (1 << 61) - 1)
    with pytest.raises(TokenizerError, match="2\\^62"):
        words.add_piece(b"c", 3)
    with pytest.raises(TokenizerError, match="negative"):
        words.add_piece(b"c", -1)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_piece_that_is_too_long_is_left_out_with_a_warning(engine):
    with pytest.warns(UserWarning, match="2 pieces of more than 5 bytes were left out, the longest of 8"):
        words = count_words("ab abcdefg ab abcdef", pre_tokenizer=Spaces(), max_word_bytes=5, engine=engine)
    assert dict(words.items()) == {b"ab": 1, b" ab": 1}


def numbered(n, times=1):
    return (f"{i:x} " * (1 + i % times) for i in range(n))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("threads", [1, 2])
def test_a_full_counter_is_emptied_into_a_file_and_nothing_is_lost(engine, threads, monkeypatch):
    monkeypatch.setattr(spill, "PER_PIECE", 0)
    monkeypatch.setattr(spill, "PER_BYTE", 1)
    monkeypatch.setattr(spill, "LEAST", 1)
    monkeypatch.setattr(count, "SHARE", 1000)
    calls = []
    with warnings.catch_warnings(), _io.inject(lambda call, path: calls.append(call)):
        warnings.simplefilter("error")
        words = count_words(
            numbered(5000, 3), pre_tokenizer=Cut("gpt2"), threads=threads, max_memory=100_000, engine=engine
        )
    assert calls.count("open") == 1 and calls.count("write") >= 128
    assert words.items() == count_words(numbered(5000, 3), pre_tokenizer=Cut("gpt2"), engine=engine).items()


@pytest.mark.parametrize("engine", ENGINES)
def test_what_memory_cannot_hold_is_left_out_by_count_and_said(engine, monkeypatch):
    monkeypatch.setattr(spill, "PER_PIECE", 0)
    monkeypatch.setattr(spill, "PER_BYTE", 1)
    monkeypatch.setattr(spill, "LEAST", 1)
    whole = count_words(numbered(3000, 3), pre_tokenizer=Cut("gpt2"), engine=engine)
    wanted = [(piece, n) for piece, n in whole.items() if n >= 3]
    share = 100 * sum(len(piece) * n for piece, n in wanted) / whole.total
    limit = sum(len(piece) for piece, n in whole.items() if n >= 2) - 1
    with pytest.warns(UserWarning, match=f"occur 3 times or more: {share:.2f} % of the text"):
        words = count_words(numbered(3000, 3), pre_tokenizer=Cut("gpt2"), max_memory=limit, engine=engine)
    assert words.items() == wanted
    with pytest.raises(TokenizerError, match="max_memory is 2 bytes, but .* alone need 3"):
        count_words("abc", pre_tokenizer=Cut("gpt2"), max_memory=2, engine=engine)


def test_a_full_disk_is_an_error_and_leaves_nothing_behind(monkeypatch, tmp_path):
    monkeypatch.setattr(spill, "LEAST", 1)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def full(call, path):
        if call == "write":
            raise OSError(28, "No space left on device", path)

    with _io.inject(full), pytest.raises(OSError, match="No space"):
        count_words(numbered(3000), pre_tokenizer=Cut("gpt2"), max_memory=1000)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(TokenizerError, match="at least"):
        monkeypatch.undo()
        count_words("a", max_memory=1000)


def test_progress_and_interruption(monkeypatch):
    monkeypatch.setattr(count, "SHARE", 100)
    told: list[int] = []
    count_words(["ab cd\n" * 100, "x"], pre_tokenizer=Cut("gpt2"), progress=told.append)
    assert told == sorted(told) and told[-1] == 601 and len(told) > 5
    for threads in 1, 2:

        def stop(done):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            count_words("ab cd\n" * 100, pre_tokenizer=Cut("gpt2"), threads=threads, progress=stop)
