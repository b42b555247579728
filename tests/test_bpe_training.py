"""Training BPE: two engines and a naive recount give the same merges, in each tie rule, whatever the order, the threads
or the hash seed.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import warnings
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers.engine import compiled
from tinyllm.tokenizers.reference.bpe_train import merged
from tinyllm.tokenizers.trainers.bpe import BPETrainer
from tinyllm.tokenizers.trainers.count import count_words, word_counter
from tinyllm.tokenizers.trainers.pieces import PieceRule

BOTH = ["python", "c"] if compiled() else ["python"]
ENGINES = ["python", pytest.param("c", marks=pytest.mark.skipif(not compiled(), reason="no compiled core"))]

words = st.dictionaries(st.text("ab", max_size=12).map(str.encode), st.integers(1, 4), max_size=12)
texts = st.dictionaries(st.text("abé日本1２▁\u0301カ", max_size=8).map(str.encode), st.integers(1, 3), max_size=8)


SPLITS = ("split_by_unicode_script", "split_by_number", "split_by_whitespace", "split_digits")


def learn(words, vocab_size, **settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return BPETrainer(vocab_size, **settings).learn(words)


def naive(words, tokens, n_merges, tie, min_frequency, allowed=lambda spelling, length: True):
    """The definition: count everything anew for each merge. `words`: a list of (symbols, count)."""
    tokens, length, merges = list(tokens), [1] * len(tokens), []
    while len(merges) < n_merges:
        counts: Counter[tuple[int, int]] = Counter()
        for symbols, n in words:
            for pair in pairwise(symbols):
                counts[pair] += n
        found = []
        for place, (pair, n) in enumerate(counts.items()):
            spelling, size = tokens[pair[0]] + tokens[pair[1]], length[pair[0]] + length[pair[1]]
            if n >= max(min_frequency, 1) and spelling not in tokens and allowed(spelling, size):
                found.append((-n, {"hf": pair, "spm": (size, spelling), "minbpe": place}[tie], pair))
        if not found:
            break
        pair = min(found)[2]
        merges.append(pair)
        words = [([*merged(symbols, pair, len(tokens))], n) for symbols, n in words]
        tokens.append(tokens[pair[0]] + tokens[pair[1]])
        length.append(length[pair[0]] + length[pair[1]])
    return merges


@pytest.mark.parametrize("tie", ["hf", "minbpe"])
@given(words=words, n_merges=st.integers(0, 20), min_frequency=st.integers(0, 3), most=st.none() | st.integers(1, 6))
@example(words={b"aaabdaaabac": 1}, n_merges=10, min_frequency=1, most=None)
@example(words={b"aaaa": 1, b"aaa": 2, b"baaab": 1}, n_merges=10, min_frequency=0, most=None)
@example(words={b"ababab": 2, b"abaabab": 1}, n_merges=10, min_frequency=0, most=None)
def test_bytes_are_merged_as_the_definition_says(tie, words, n_merges, min_frequency, most):
    limit = 1 << 30 if most is None else max(most - 1, 2)
    results = [
        learn(
            words,
            257 + n_merges,
            min_frequency=min_frequency,
            special_tokens=("ab",),
            tie=tie,
            engine=engine,
            max_token_length=most,
        )
        for engine in BOTH
    ]
    tokens, merges = results[0]
    assert all(result == results[0] for result in results)
    ids = {token: i for i, token in enumerate(tokens[1:257], 1)}
    spelled = [([ids[bytes([byte])] for byte in word], n) for word, n in words.items()]
    assert merges == naive(spelled, tokens[:257], n_merges, tie, min_frequency, lambda _, length: length <= limit)
    assert tokens[257:] == [tokens[a] + tokens[b] for a, b in merges] and len(set(tokens)) == len(tokens)


@given(
    words=texts,
    n_merges=st.integers(0, 20),
    most=st.integers(2, 6),
    settings=st.fixed_dictionaries(
        {
            name: st.booleans()
            for name in ("split_by_unicode_script", "split_by_number", "split_by_whitespace", "split_digits")
        }
    ),
)
@example({"a日a日\u0301a".encode(): 2, "1a\u03011".encode(): 2}, 9, 6, {})
def test_sentencepiece_rules_are_those_of_whole_pieces(words, n_merges, most, settings):
    """The core joins what it knows of two parts; is_piece looks at the characters of the whole."""
    common = dict(byte_level=False, tie="spm", max_token_length=most, **settings)
    results = [learn(words, 20 + n_merges, engine=engine, **common) for engine in BOTH]
    tokens, merges = results[0]
    assert all(result == results[0] for result in results)
    trainer = BPETrainer(20 + n_merges, **common)
    n = len(merges)
    assert tokens[:n] == [tokens[a] + tokens[b] for a, b in merges]
    assert all(trainer.rule.is_piece(token.decode()) and len(token.decode()) <= most for token in tokens[:n])
    counts = Counter(character for word, n in words.items() for character in word.decode() * n)
    assert [token.decode() for token in tokens[n:]] == sorted(counts, key=lambda one: (-counts[one], one))
    ids = {token: i for i, token in enumerate(tokens)}
    cut = trainer._cut(words) if trainer.split_by_whitespace else words
    spelled = [([ids[one.encode()] - n for one in word.decode()], k) for word, k in cut.items()]
    wanted = naive(
        spelled,
        tokens[n:],
        n_merges + 20 - len(tokens[n:]),
        "spm",
        1,
        lambda spelling, length: length <= most and trainer.rule.is_piece(spelling.decode()),
    )
    assert merges == [tuple(i + n if i < len(tokens) - n else i - (len(tokens) - n) for i in pair) for pair in wanted]


@given(words=texts, n_merges=st.integers(1, 20))
@example({"ab▁ab▁".encode(): 3, "▁b▁▁ab".encode(): 2}, 9)
def test_a_space_comes_last_where_it_is_a_suffix(words, n_merges):
    common = dict(byte_level=False, tie="spm", treat_whitespace_as_suffix=True)
    results = [learn(words, 20 + n_merges, engine=engine, **common) for engine in BOTH]
    assert all(result == results[0] for result in results)
    tokens = [token.decode() for token in results[0][0]]
    assert all("▁" not in token[:-1] for token in tokens)
    cut = [part.encode() for word in words for part in re.findall("[^▁]*▁|[^▁]+$", word.decode())]
    assert set(BPETrainer(30, **common)._cut(words)) == set(cut)
    if words == {"ab▁ab▁".encode(): 3, "▁b▁▁ab".encode(): 2}:
        assert tokens[:3] == ["ab", "ab▁", "b▁"]


@pytest.mark.parametrize(
    ("text", "allowed"),
    [("ab", True), ("aб", False), ("日カ本", True), ("ー日", True), ("a1", False), ("11", True), ("▁a", True),
     ("a▁", False), ("▁日", True), ("a\u0301", True), ("\u0301日", True), ("a\u0301日", False), ("a-", False)],
)  # fmt: skip
def test_what_is_a_piece(text, allowed):
    assert PieceRule().is_piece(text) == allowed


def test_settings_of_sentencepiece():
    assert PieceRule(split_by_number=False).is_piece("a1")
    assert not PieceRule(split_digits=True).is_piece("11")
    assert PieceRule(split_by_unicode_script=False).is_piece("aб1")
    assert PieceRule(split_by_whitespace=False).is_piece("a▁b")
    assert not PieceRule(split_by_whitespace=False).is_piece("a▁")


@pytest.mark.parametrize("engine", ENGINES)
@given(words=texts, limit=st.integers(1, 6), prefix=st.sampled_from(["", "##"]), suffix=st.sampled_from(["", "</w>"]))
def test_characters_prefix_and_suffix(engine, words, limit, prefix, suffix):
    settings = dict(limit_alphabet=limit, continuing_subword_prefix=prefix, end_of_word_suffix=suffix, byte_level=False)
    tokens, merges = learn(words, 60, initial_alphabet=("q",), engine=engine, **settings)
    assert (tokens, merges) == learn(words, 60, initial_alphabet=("q",), engine="python", **settings)
    counts = Counter(character for word, n in words.items() for character in word.decode() * n)
    kept = sorted(sorted(counts, key=lambda one: (-counts[one], one))[: limit - 1] + ["q"])
    assert [token.decode() for token in tokens[: len(kept)]] == kept
    known = set(kept)
    for word in words:
        whole = [*enumerate(word.decode())]
        for i, one in whole:
            if one in kept:
                known.add(prefix * (i > 0) + one + suffix * (i == len(whole) - 1))
    assert {token.decode() for token in tokens[: len(tokens) - len(merges)]} == known
    for (a, b), token in zip(merges, tokens[len(known) :], strict=True):
        assert token == tokens[a] + tokens[b].removeprefix(prefix.encode())


@pytest.mark.parametrize("engine", ENGINES)
def test_overlaps_and_counts_beyond_32_bits(engine):
    """Hugging Face's 32 bits overflow here; a count that fell below zero would be read as a huge one."""
    huge = 1 << 33
    tokens, merges = learn({b"aaa": huge, b"aab": huge + 1, b"cd": 2 * huge + 2}, 260, engine=engine)
    assert [tokens[256 + i] for i in range(4)] == [b"aa", b"cd", b"aab", b"aaa"]
    many = (1 << 59) + 1
    tokens, merges = learn({b"xy": many, b"xz": many - 1, b"zzzz": 3}, 400, engine=engine)
    assert tokens[256:] == [b"xy", b"xz", b"zz", b"zzzz"]
    for bad in {b"ab": -1}, {b"ab": 1 << 63}, {b"ab": 1 << 61, b"c": 1 << 61}:
        with pytest.raises(TokenizerError, match="62|negative"):
            learn(bad, 300, engine=engine)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_merge_that_occurs_too_rarely_is_none(engine):
    with pytest.warns(UserWarning, match="no further pair .* 3 times: the vocabulary has 258 tokens, not 259"):
        tokens, _ = BPETrainer(259, min_frequency=3, engine=engine).learn({b"abc": 3, b"xy": 2, b"xz": 2})
    assert tokens[256:] == [b"ab", b"abc"]


@pytest.mark.parametrize("engine", ENGINES)
def test_the_reachable_vocabulary_is_told_before_training(engine):
    told = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        BPETrainer(400, engine=engine).learn({b"abcd": 9, b"x": 5}, lambda *at: told.append((at, len(caught))))
    assert "vocab_size is 400, but this text can give at most 259 tokens" in str(caught[0].message)
    assert told[-1][0] == (3, 3) and all(n == 1 for _, n in told) and len(caught) == 1


def sample(seed=0, n=3000):
    choose = random.Random(seed).choice
    return " ".join("".join(choose("abcde") for _ in range(choose([2, 3, 5, 8]))) for _ in range(n))


@pytest.mark.parametrize("tie", ["hf", "spm"])
def test_order_threads_and_engine_do_not_matter(tie, monkeypatch):
    lines = [line + "\n" for line in sample().split(" ")]
    wanted = None
    for shuffle in range(4):
        random.Random(shuffle).shuffle(lines)
        monkeypatch.setattr("tinyllm.tokenizers.trainers.count.SHARE", 1000 * (shuffle + 1))
        words = count_words(lines, threads=1 + shuffle % 3)
        for engine in BOTH:
            result = learn(words, 500, tie=tie, byte_level=tie == "hf", engine=engine)
            wanted = wanted or result
            assert result == wanted


def test_a_hundred_trainings_under_different_hash_seeds_give_one_result():
    """The sentence of huggingface/tokenizers#1794, which gave several."""
    script = (
        "import os, sys, warnings; warnings.simplefilter('ignore')\n"
        "from tinyllm.tokenizers.trainers.bpe import BPETrainer\n"
        "sentence = 'The quick brown fox jumps over the lazy dog and the quick cat'\n"
        "words = {word.encode(): 1 for word in set(sentence.split())}\n"
        "for i in range(10):\n"
        "    for engine in sys.argv[1:]:\n"
        "        print(BPETrainer(60, byte_level=False, engine=engine, continuing_subword_prefix='##').learn(words))\n"
    )
    found = set()
    for seed in range(10):
        run = subprocess.run(
            [sys.executable, "-c", script, *BOTH],
            env=os.environ | {"PYTHONHASHSEED": str(seed), "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert len(run.stdout.splitlines()) == 10 * len(BOTH)
        found |= set(run.stdout.splitlines())
    assert len(found) == 1


@pytest.mark.skipif(not compiled(), reason="no compiled core")
@pytest.mark.parametrize("tie", ["hf", "minbpe"])
def test_one_word_of_a_megabyte_does_not_stall(tie):
    """In time that grows as the square of the word this would be hours."""
    word = bytes(random.Random(1).choices(b"abcdefgh", k=1_000_000))
    tokens, merges = learn({word: 1}, 1256, tie=tie)
    assert len(merges) == 1000
    assert learn({b"a" * 1_000_000: 1}, 300)[0][256:262] == [b"a" * (2 << i) for i in range(6)]


@pytest.mark.parametrize("engine", ENGINES)
def test_interruption_and_progress(engine):
    words = word_counter(engine=engine)
    words.add_piece(sample(n=500).encode())
    told = []
    trainer = BPETrainer(400, engine=engine)
    trainer.learn(words, lambda done, goal: told.append((done, goal)))
    assert told == sorted(told) and told[-1] == (144, 144)

    def stop(done, goal):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer.learn(words, stop)


def test_bad_settings_are_refused():
    for settings, message in [
        ({"tie": "gpt"}, "one of hf, spm, minbpe"),
        ({"special_tokens": ("a", "a")}, "twice"),
        ({"limit_alphabet": 5}, "for characters"),
        ({"tie": "spm"}, "for characters"),
        ({"byte_level": False, "initial_alphabet": ("ab",)}, "characters"),
        ({"byte_level": False, "character_coverage": 2.0}, "share"),
        ({"treat_whitespace_as_suffix": True}, 'for tie="spm" with split_by_whitespace'),
        (
            {"tie": "spm", "byte_level": False, "treat_whitespace_as_suffix": True, "split_by_whitespace": False},
            'for tie="spm" with split_by_whitespace',
        ),
    ]:
        with pytest.raises(TokenizerError, match=message):
            BPETrainer(300, **settings)
    with pytest.raises(TokenizerError, match="special tokens need 257"):
        BPETrainer(256, special_tokens=("<s>",)).learn({})
    with pytest.raises(TokenizerError, match="also a symbol"):
        BPETrainer(300, special_tokens=("a",)).learn({})
    with pytest.raises(TokenizerError, match="also a symbol"):
        BPETrainer(300, special_tokens=("a",), byte_level=False).learn({b"ab": 1})


@pytest.mark.skipif(not compiled() or not sys.platform.startswith("linux"), reason="measured on Linux, compiled")
def test_training_takes_the_memory_that_spill_reckons_with():
    program = """
import random, re, sys, warnings
from pathlib import Path
from tinyllm.tokenizers.trainers import spill
from tinyllm.tokenizers.trainers.bpe import BPETrainer
from tinyllm.tokenizers.trainers.count import word_counter
warnings.simplefilter("ignore")
n, length, symbols = map(int, sys.argv[1:])
choose, words = random.Random(1), word_counter()
for _ in range(n):
    words.add_piece(bytes(choose.choices(range(symbols), k=length)), 2)
Path("/proc/self/clear_refs").write_text("5")
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) << 10
before = peak()
BPETrainer(4000, min_frequency=1).learn(words)
print(peak() - before + words.memory, sum(spill.costs(words).values()))
"""
    for arguments in (100_000, 8, 20), (25, 40_000, 200):
        run = subprocess.run(
            [sys.executable, "-c", program, *map(str, arguments)],
            env=os.environ | {"PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        )
        used, reckoned = map(int, run.stdout.split())
        assert reckoned / 4 < used < reckoned + (4 << 20), arguments
