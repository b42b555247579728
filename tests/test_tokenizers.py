"""Tokenizers: lossless, deterministic, both engines alike, special tokens only where allowed."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import warnings
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers import BPETokenizer, CharTokenizer, Encoding, compiled, engine
from tinyllm.tokenizers.models import wordlevel
from tinyllm.tokenizers.pretokenizers.patterns import split

ENGINES = ["c", "python"] if compiled() else ["python"]
needs_core = pytest.mark.skipif(not compiled(), reason="tinyllm was built without a C compiler")
fixed = settings(max_examples=200)
few = settings(max_examples=40)

WORDS = (
    "to be or not to be that is the question whether 'tis nobler in the mind to suffer we'll they're I'd it's "
    "naïve café 北京 東京 привет 12 1984 3.14 -- ... !? don't  \n\n\t end"
).split(" ")
SPECIAL = ["<|endoftext|>", "<|user|>", "<|user|>!"]

# Text that is dense in what the split pattern tells apart, beside text of any characters.
TRICKY = st.text(
    st.sampled_from(" \t\n\r\x0b\x85\xa0\u2003\u3000'sdmtrevlSTab1٣²é\u0301北🙂\u200d\x1c\x00.,-"), max_size=40
)
TEXT = st.one_of(TRICKY, st.text(max_size=40), st.text("ab ", max_size=80))
UTF8_PARTS = [
    b"\xc3",
    b"\xa9",
    b"\xe2\x82",
    b"\xac",
    b"\xf0\x9f\x99",
    b"\x82",
    b"\xed\xa0\x80",
    b"\xe0\x80",
    b"\xf4\x90",
]
BYTES = st.one_of(
    st.binary(max_size=40),
    st.lists(st.sampled_from([*UTF8_PARTS, b" ", b"a", b"1", b"'s", b"\xff", b"\xc2\x85"]), max_size=16).map(b"".join),
)


def sample_text(n_words: int = 4000) -> str:
    return " ".join(random.Random(5).choices(WORDS, k=n_words))


def quietly(texts, vocab_size, special_tokens=(), **options) -> BPETokenizer:
    """`train` where the text may be too small for the vocabulary."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return BPETokenizer.train(texts, vocab_size, special_tokens, **options)


TRAINED = {name: quietly(sample_text(), 420, SPECIAL, engine=name) for name in ENGINES}
CHARS = CharTokenizer.train(sample_text(), ["<unk>", "<|end|>"], unk="<unk>")


def byte_ids(tokenizer: BPETokenizer) -> list[int]:
    """The id of each byte."""
    return [tokenizer.id_of(bytes([byte])) for byte in range(256)]


def ranks(tokenizer: BPETokenizer) -> dict[tuple[int, int], tuple[int, int]]:
    """(left id, right id) -> (rank, id of the merged token)."""
    joined = {pair: tokenizer.tokens[pair[0]] + tokenizer.tokens[pair[1]] for pair in tokenizer.merges}
    return {pair: (rank, tokenizer.id_of(joined[pair])) for rank, pair in enumerate(tokenizer.merges)}


@pytest.fixture(params=ENGINES)
def bpe(request) -> BPETokenizer:
    return TRAINED[request.param]


# ---- Training ----


def naive_merges(words: Counter[bytes], byte_ids: list[int], first_id: int, n: int, min_frequency: int) -> list:
    """BPE by its definition: count all pairs anew before every merge."""
    spelled = [([byte_ids[byte] for byte in word], count) for word, count in words.items()]
    merges = []
    while len(merges) < n:
        counts: Counter[tuple[int, int]] = Counter()
        for symbols, count in spelled:
            for pair in pairwise(symbols):
                counts[pair] += count
        best = min(counts, key=lambda pair: (-counts[pair], pair), default=None)
        if best is None or counts[best] < min_frequency:
            break
        for symbols, _ in spelled:
            i = 0
            while i + 1 < len(symbols):
                if (symbols[i], symbols[i + 1]) == best:
                    symbols[i : i + 2] = [first_id + len(merges)]
                i += 1
        merges.append(best)
    return merges


CORPUS = st.one_of(
    st.lists(st.text("ab", min_size=1, max_size=30), max_size=12).map(" ".join),
    st.lists(st.text("aabc'é", min_size=1, max_size=8), max_size=30).map(" ".join),
    TEXT,
)


@pytest.mark.parametrize("name", ENGINES)
@fixed
@given(text=CORPUS, n=st.integers(0, 60), min_frequency=st.integers(0, 3))
def test_training_is_the_definition(name, text, n, min_frequency):
    trained = quietly(text, 256 + n, min_frequency=min_frequency, engine=name)
    words = Counter(split(text.encode(), engine="python"))
    assert trained.merges == naive_merges(words, byte_ids(trained), 256, n, max(min_frequency, 1))
    assert len(set(trained.tokens)) == len(trained.tokens) == trained.vocab_size == 256 + len(trained.merges)


@pytest.mark.parametrize("name", ENGINES)
def test_the_example_of_the_textbooks(name):
    # aaabdaaabac: aa (4 times, overlaps counted), then ab (tie with aa+a: the smaller ids win), then aa+ab
    trained = BPETokenizer.train("aaabdaaabac", 259, engine=name)
    assert [trained.tokens[256 + i] for i in range(3)] == [b"aa", b"ab", b"aaab"]
    ids = trained.encode("aaabdaaabac")
    assert [trained.tokens[i] for i in ids] == [b"aaab", b"d", b"aaab", b"a", b"c"]


def test_ids_are_laid_out_as_documented(bpe):
    assert bpe.special_tokens == {name: i for i, name in enumerate(SPECIAL)}
    assert bpe.tokens[3:6] == [b"!", b'"', b"#"]
    assert bpe.tokens[3 + 94] == b"\xa1"  # Latin-1 after ASCII, with a gap at the soft hyphen
    assert bpe.tokens[3 + 188 : 3 + 191] == [b"\x00", b"\x01", b"\x02"]
    assert sorted(bpe.tokens[3:259]) == [bytes([byte]) for byte in range(256)]
    for i, (a, b) in enumerate(bpe.merges):
        assert bpe.tokens[259 + i] == bpe.tokens[a] + bpe.tokens[b]


@needs_core
def test_engines_count_and_train_alike():
    texts = [sample_text(500), "a" * 100, "", "ümlaut " * 7]
    counter = engine.core("count").WordCounter("gpt2")
    for text in texts:
        counter.add(text.encode())
    assert dict(counter.items()) == Counter(piece for text in texts for piece in split(text.encode(), engine="python"))
    assert TRAINED["c"].merges == TRAINED["python"].merges
    assert TRAINED["c"].fingerprint() == TRAINED["python"].fingerprint()


def test_order_of_texts_does_not_matter(bpe):
    texts = [sample_text(50 + i)[i:] for i in range(20)]
    expected = quietly(texts, 400, engine=bpe.engine).fingerprint()
    for seed in range(5):
        shuffled = random.Random(seed).sample(texts, len(texts))
        assert quietly(iter(shuffled), 400, engine=bpe.engine).fingerprint() == expected


def test_same_result_in_every_process_and_every_time(bpe):
    sentence = "the the there their they 'them' then, thence: a rose is a rose is a rose"
    prints = {quietly(sentence, 300, engine=bpe.engine).fingerprint() for _ in range(100)}
    program = (
        "import sys, warnings; warnings.simplefilter('ignore')\n"
        "from tinyllm.tokenizers import BPETokenizer\n"
        f"print(BPETokenizer.train({sentence!r}, 300, engine={bpe.engine!r}).fingerprint())"
    )
    for seed in "0", "1":
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
        )
        prints.add(done.stdout.strip())
    assert len(prints) == 1


def test_what_the_text_cannot_support_is_said(bpe):
    with pytest.warns(UserWarning) as said:
        small = BPETokenizer.train("ab ab cd", 300, engine=bpe.engine)
    assert small.vocab_size == 257
    assert "at most 258 tokens" in str(said[0].message)
    assert "occurs 2 times: the vocabulary has 257 tokens, not 300" in str(said[1].message)
    with pytest.warns(UserWarning) as said:
        BPETokenizer.train(["ab ab", " cd"], 300, min_frequency=1, engine=bpe.engine)  # ab, " ab", cd, " cd"
    assert "at most 261 tokens" in str(said[0].message)
    assert "occurs 1 times: the vocabulary has 260 tokens, not 300" in str(said[1].message)
    with pytest.warns(UserWarning, match="vocab_size is 257, but this text can give at most 256 tokens"):
        assert BPETokenizer.train([], 257, engine=bpe.engine).encode("é") == [127, 102]


def test_progress_reaches_the_end_and_can_stop(bpe):
    seen = []
    quietly(sample_text(), 420, engine=bpe.engine, progress=lambda *told: seen.append(told))
    counted, trained = ([told[1:] for told in seen if told[0] == stage] for stage in ("count", "train"))
    assert counted[-1] == (len(sample_text().encode()), None) and len(counted) + len(trained) == len(seen)
    assert trained == sorted(trained) and trained[-1][1] <= 164 and trained[-1][0] == len(bpe.merges)

    def stop(stage, done, wanted):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quietly(sample_text(), 420, engine=bpe.engine, progress=stop)


def test_training_refuses_what_cannot_work(bpe):
    with pytest.raises(TokenizerError, match="vocab_size is 256; 256 bytes and 1 special tokens need 257"):
        BPETokenizer.train("a", 256, ["<|x|>"], engine=bpe.engine)
    with pytest.raises(TokenizerError, match="given twice"):
        BPETokenizer.train("a", 300, ["<|x|>", "<|x|>"], engine=bpe.engine)
    for name in "word", " word", "!!", "a":
        with pytest.raises(TokenizerError, match="spelled like an ordinary word"):
            BPETokenizer.train("a", 300, [name], engine=bpe.engine)
    with pytest.raises(TypeError, match="several names"):
        BPETokenizer.train("a", 300, "<|x|>", engine=bpe.engine)
    with pytest.raises(TokenizerError, match="character 1 of the text is the lone surrogate U\\+D800"):
        BPETokenizer.train(["a\ud800"], 300, engine=bpe.engine)


@pytest.mark.parametrize(("name", "size"), [("c", 1 << 20), ("python", 1 << 15)])
@pytest.mark.parametrize("alphabet", ["a", "abcdefgh"])
def test_one_huge_word_stalls_nothing(name, size, alphabet):
    """With time that grows as the square of the size, each of these would take minutes or hours."""
    if name not in ENGINES:
        pytest.skip("tinyllm was built without a C compiler")
    word = "".join(random.Random(0).choices(alphabet, k=size))
    trained = quietly(word, 1000, engine=name)
    ids = trained.encode(word)
    assert trained.decode(ids) == word
    assert len(ids) < size / 2


# ---- Encoding and decoding ----


@fixed
@given(text=TEXT, data=BYTES)
def test_round_trip_and_engines_agree(text, data):
    encoded = []
    for tokenizer in TRAINED.values():
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        assert tokenizer.encode(text.encode()) == ids
        assert tokenizer.decode_bytes(tokenizer.encode(data)) == data
        assert all(type(i) is int and 0 <= i < tokenizer.vocab_size for i in ids)
        encoded.append((ids, tokenizer.encode(data)))
    assert all(other == encoded[0] for other in encoded)


def test_every_string_of_one_or_two_bytes_survives(bpe):
    for first in range(256):
        assert bpe.decode_bytes(bpe.encode(bytes([first]))) == bytes([first])
        for second in range(0, 256, 1 if bpe.engine == "c" else 7):
            data = bytes([first, second])
            assert bpe.decode_bytes(bpe.encode(data)) == data


def replay(symbols: list[int], ranks) -> list[int]:
    """Encoding by its definition: lowest rank first, leftmost first."""
    while True:
        found = [(ranks[pair][0], i) for i, pair in enumerate(pairwise(symbols)) if pair in ranks]
        if not found:
            return symbols
        _, i = min(found)
        symbols = [*symbols[:i], ranks[symbols[i], symbols[i + 1]][1], *symbols[i + 2 :]]


@few
@given(piece=st.text("abcd", min_size=1, max_size=150), corpus=st.text("abcd", min_size=50, max_size=400))
def test_short_and_long_pieces_follow_the_definition(piece, corpus):
    for name in ENGINES:
        tokenizer = quietly(corpus, 340, engine=name)
        symbols = [byte_ids(tokenizer)[byte] for byte in piece.encode()]
        expected = replay(symbols, ranks(tokenizer))
        assert tokenizer.encode(piece) == expected
        assert tokenizer.model.encode(piece.encode()) == expected


def test_encoding_a_training_word_gives_the_symbols_training_left(bpe):
    words = set(split(sample_text().encode(), engine="python"))
    spelled = {word: [byte_ids(bpe)[byte] for byte in word] for word in words}
    for rank, pair in enumerate(bpe.merges):
        for word, symbols in spelled.items():
            spelled[word] = [*merged(symbols, pair, 259 + rank)]
    assert all(bpe.encode(word) == symbols for word, symbols in spelled.items())


def merged(symbols, pair, new):
    i = 0
    while i < len(symbols):
        both = tuple(symbols[i : i + 2]) == pair
        yield new if both else symbols[i]
        i += 1 + both


def test_the_cache_changes_nothing():
    """More distinct pieces than a cache holds, each met twice."""
    for name in ENGINES:
        tokenizer = TRAINED[name]
        rng = random.Random(1)
        n = 100_000 if name == "c" else 2_000
        words = ["".join(rng.choices("thebeorn", k=rng.randint(1, 12))) for _ in range(n)]
        once = tokenizer.encode(" ".join(words))
        assert tokenizer.encode(" ".join(words)) == once
        start = " ".join(words[:2_000])
        assert TRAINED[ENGINES[-1]].encode(start) == once[: len(tokenizer.encode(start))]


@fixed
@given(st.lists(st.integers(0, 419), max_size=30))
def test_stream_gives_what_decode_gives(ids):
    tokenizer = next(iter(TRAINED.values()))
    ids = [i % tokenizer.vocab_size for i in ids]
    for skip in False, True:
        stream = tokenizer.stream(skip)
        for _ in range(2):  # after finish, as new
            text = "".join(map(stream.push, ids)) + stream.finish()
            assert text == tokenizer.decode(ids, skip)


def test_stream_holds_back_only_what_is_incomplete(bpe):
    stream = bpe.stream()
    assert [stream.push(byte_ids(bpe)[byte]) for byte in "é🙂".encode()] == ["", "é", "", "", "", "🙂"]
    assert stream.push(byte_ids(bpe)[0xE2]) == ""
    assert stream.finish() == "\ufffd"
    assert stream.finish() == ""


@fixed
@given(st.one_of(TEXT, BYTES))
def test_offsets(text):
    for tokenizer in [*TRAINED.values(), CHARS]:
        encoding = tokenizer.encode_with_offsets(text)
        ids, offsets = encoding.ids, encoding.offsets
        assert ids == tokenizer.encode(text)
        assert len(ids) == len(offsets)
        assert [0, *(end for _, end in offsets)][-1] == len(text)
        if isinstance(text, bytes):  # a partition
            assert [start for start, _ in offsets] == [0, *(end for _, end in offsets)][:-1]
        else:  # monotone and without holes; tokens that share a character both span it
            assert all(0 <= start < end for start, end in offsets)
            assert all(b[0] in (a[1], a[1] - 1) for a, b in pairwise(offsets))
        for i, (start, end) in zip(ids, offsets, strict=True):
            part = text[start:end] if isinstance(text, bytes) else text[start:end].encode()
            assert tokenizer.tokens[i] in part or i == 0


def test_offsets_around_special_tokens(bpe):
    encoding = bpe.encode_with_offsets("é<|user|>x", {"<|user|>"})
    assert [("é<|user|>x")[start:end] for start, end in encoding.offsets[-2:]] == ["<|user|>", "x"]
    assert bpe.encode_with_offsets("") == Encoding([], [])


def test_batch(bpe):
    texts = ["to be", b"or", "", "<|user|>"]
    assert bpe.encode_batch(texts) == [bpe.encode(text) for text in texts]
    assert bpe.encode_batch(iter(texts), iter(["<|user|>"]))[3] == [1]
    with pytest.raises(TypeError, match="several texts"):
        bpe.encode_batch("to be")


# ---- Special tokens ----


def test_special_tokens_are_text_unless_allowed(bpe):
    text = "a<|user|>!<|endoftext|>"
    assert not set(bpe.encode(text)) & {0, 1, 2}
    assert bpe.decode(bpe.encode(text)) == text
    a, mark = bpe.encode("a") + bpe.encode("!")
    assert bpe.encode(text, "all") == [a, 2, 0]  # <|user|>! is longer than <|user|>
    assert bpe.encode(text, ["<|user|>", "<|endoftext|>"]) == [a, 1, mark, 0]
    assert bpe.encode(text.encode(), "all") == [a, 2, 0]
    assert bpe.decode(bpe.encode(text, "all")) == text
    assert bpe.decode([a, 2, 0], skip_special_tokens=True) == "a"


@fixed
@given(st.lists(st.one_of(st.sampled_from(SPECIAL), TEXT), max_size=6))
def test_allowed_special_tokens_cut_the_text(parts):
    text = "".join(parts)
    for tokenizer in TRAINED.values():
        ids = tokenizer.encode(text, "all")
        assert tokenizer.decode(ids) == text
        # what lies between the special tokens is encoded as if it stood alone
        expected, rest = [], text
        while rest:
            starts = [(rest.find(name), -len(name), name) for name in SPECIAL if name in rest]
            at, _, name = min(starts, default=(len(rest), 0, ""))
            expected += tokenizer.encode(rest[:at])
            if name:
                expected.append(tokenizer.special_tokens[name])
            rest = rest[at + len(name) :]
        assert ids == expected


def test_unknown_special_names_are_refused(bpe):
    with pytest.raises(TokenizerError, match="'<|nobody|>' is no special token of this tokenizer, which has '<|end"):
        bpe.encode("x", ["<|nobody|>"])
    with pytest.raises(TokenizerError, match='must be "all" or a collection'):
        bpe.encode("x", "<|user|>")


# ---- Bad input ----


def test_bad_ids(bpe):
    n = bpe.vocab_size
    for bad in n, -1, 2**40:
        for place in range(3):
            ids = [5, 5, 5]
            ids[place] = bad
            with pytest.raises(
                TokenizerError, match=rf"ids\[{place}\] is {bad}; this tokenizer has the ids 0 to {n - 1}"
            ):
                bpe.decode(ids)
    for bad in 5.0, "5", None:
        with pytest.raises(TypeError):
            bpe.decode([bad])
    assert bpe.decode(np.array(bpe.encode("to be"))) == "to be"


def test_bad_text(bpe):
    with pytest.raises(TokenizerError, match="character 2 of the text is the lone surrogate U\\+DC80"):
        bpe.encode("ab\udc80")
    for bad in 5, None, ["a"], bytearray(b"a"):
        with pytest.raises(TypeError, match="text must be str or bytes"):
            bpe.encode(bad)


def test_bad_vocabularies():
    alphabet = [bytes([byte]) for byte in range(256)]
    for tokens, merges, special, message in [
        (alphabet[:-2], [], {}, "byte 0xFE is no token, nor are 1 others"),
        ([*alphabet, b"a"], [], {}, "tokens 97 and 256 are both b'a'"),
        ([*alphabet, b"ab"], [(97, 300)], {}, "merge 0 joins id 300"),
        ([*alphabet, b"ab"], [(97, -1)], {}, "merge 0 joins id -1"),
        (alphabet, [(97, 98)], {}, "merge 0, of b'a' and b'b', needs b'ab', which is no token"),
        ([*alphabet, b"ab"], [(97, 98)] * 2, {}, "merges 0 and 1 are the same"),
        ([*alphabet, b"ab"], [(97, 98)], {"ab": 256}, "merge 0, of b'a' and b'b', needs b'ab', which is no token"),
        ([*alphabet, b"<x>"], [(256, 98)], {"<x>": 256}, "merge 0, of b'' and b'b', needs b'b', which is no token"),
        ([*alphabet, b"<x>"], [], {"<x>": 5}, "special token '<x>' has id 5"),
        ([*alphabet, b"<x>"], [], {"<x>": 500}, "special token '<x>' has id 500"),
        ([*alphabet, b""], [], {"": 256}, "the name of an added token is empty"),
    ]:
        with pytest.raises(TokenizerError, match=message):
            BPETokenizer(tokens, merges, special, engine="python")
    with pytest.raises(TokenizerError, match="pattern is 'gpt9'; it must be one of gpt2"):
        BPETokenizer(alphabet, [], pattern="gpt9", engine="python")


# ---- Characters ----


def test_characters_are_numbered_as_nanogpt_numbers_them():
    text = "hello\nWorld é北🙂"
    tokenizer = CharTokenizer.train(text)
    characters = sorted(set(text))
    assert tokenizer.vocab_size == len(characters)
    assert tokenizer.encode(text) == [characters.index(c) for c in text]
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.encode(text.encode()) == tokenizer.encode(text)
    assert CharTokenizer.train(["hello\nWor", "ld é北🙂".encode()]).fingerprint() == tokenizer.fingerprint()


def test_unknown_characters():
    plain = CharTokenizer.train("abc")
    with pytest.raises(TokenizerError, match=r"character 2 of the text is 'é' \(U\+00E9\), which is not among the 3"):
        plain.encode("abécé")
    with pytest.raises(TokenizerError, match="U\\+FFFD"):
        plain.encode(b"a\xff")
    with pytest.raises(TokenizerError, match="lone surrogate"):
        plain.encode("a\ud800")
    known = CharTokenizer.train("abc", ["<pad>", "<unk>"], unk="<unk>")
    assert known.encode("aé<unk>") == [2, 1, 1, 1, 1, 1, 1]
    assert known.encode("aé<unk>", "all") == [2, 1, 1]
    encoding = known.encode_with_offsets(b"\xff\xc3\xa9a")
    assert (encoding.ids, encoding.offsets) == ([1, 1, 2], [(0, 1), (1, 3), (3, 4)])
    with pytest.raises(TokenizerError, match="unk is '\\?', which must be one of the special tokens"):
        CharTokenizer.train("abc", unk="?")


def test_bad_character_vocabularies():
    for tokens, special, message in [
        (["a", "bc"], {}, "token 1 is 'bc'; it must be one character"),
        (["a", "a"], {}, "tokens 0 and 1 are both 'a'"),
        (["a", "b", "a"], {"a": 0}, "tokens 0 and 2 are both 'a'"),
        (["\ud800"], {}, "lone surrogate"),
    ]:
        with pytest.raises(TokenizerError, match=message):
            CharTokenizer(tokens, special)


@fixed
@given(st.text(max_size=60))
def test_characters_round_trip(text):
    tokenizer = CharTokenizer.train(text)
    assert tokenizer.decode(tokenizer.encode(text)) == text


@fixed
@given(data=st.lists(BYTES, max_size=4).map(b"".join), size=st.integers(4, 9))
def test_long_texts_are_read_as_characters_block_by_block(data, size):
    tokenizer = CharTokenizer.train([data, "ab"])
    whole = tokenizer.encode(data)
    with pytest.MonkeyPatch.context() as changed:
        changed.setattr(wordlevel, "BLOCK", size)
        assert tokenizer.encode(data) == whole
        with pytest.raises(TokenizerError, match=f"character {len(whole)} of the text is 'Ω'"):
            tokenizer.encode(data.replace("Ω".encode(), b"") + "Ωa".encode())


# ---- Engines ----


def test_without_the_core_python_runs_and_says_so(monkeypatch):
    monkeypatch.setattr(engine, "compiled", lambda: False)
    engine.warn_once.cache_clear()
    with pytest.warns(RuntimeWarning, match="pure Python"):
        tokenizer = BPETokenizer(TRAINED["python"].tokens, TRAINED["python"].merges, TRAINED["python"].special_tokens)
    assert tokenizer.engine == "python"  # and no second warning, which would be an error here
    assert BPETokenizer(tokenizer.tokens, tokenizer.merges, tokenizer.special_tokens).encode(
        "to be"
    ) == tokenizer.encode("to be")
    with pytest.raises(ValueError, match='engine "c" is not there'):
        BPETokenizer.train("a", 300, engine="c")
    with pytest.raises(ValueError, match="engine must be one of c, python or None, not 'rust'"):
        BPETokenizer.train("a", 300, engine="rust")


def test_importing_the_package_loads_no_tokenizer():
    program = (
        "import sys, tinyllm.tokenizers as t; assert 'load' in dir(t)\n"
        "loaded = [m for m in sys.modules if m.startswith('tinyllm.tokenizers.') or m == 'numpy']\n"
        "assert not loaded, loaded\n"
        "try: t.nothing\n"
        "except AttributeError: pass\n"
        "else: raise SystemExit('an unknown name must be an AttributeError')\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
