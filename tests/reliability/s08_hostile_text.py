"""S8: any text and any bytes have ids, soon, in little memory, and no id but a valid one is decoded.

For every family of models: all strings of one and two bytes, every way in which UTF-8 can be cut short, spelled too
long or be a surrogate, and 50,000 random strings. Byte-level tokenizers give the bytes back exactly; the others the
text with U+FFFD for each byte that is no UTF-8, as far as their vocabulary goes. Names of special tokens in a text are
text. An id that is none raises wherever it stands.

A single line of 100 MB (one letter, random letters, Chinese, spaces, joined emoji) takes at most 60 s, and memory
of 8 bytes an id, which is what a list of them takes, a bit a byte and 24 MB; without the ids at most 8 MB are left.
SentencePiece's BPE merges across the whole line, so where the normalized line (3 bytes a space) and 4 bytes an id are
more than a list, it takes these. A pipeline whose stages no compiled function runs whole takes two such lists, four
times the line and 16 MB, and leaves 16 MB at most. With dropout a line of BPE takes 32 times its size, and nothing of
that is kept. Twice the text takes at most 2.3 times as long in whole tokenizers, 8 times the text at most 24 times as
long in each stage and each scanner that cuts one.
"""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable, Iterator
from ctypes import CDLL
from dataclasses import replace
from itertools import product
from multiprocessing import get_context
from typing import Any, NamedTuple

from common import Bar, run_bar
from s05_fuzz import peak, reset_peak
from s07_hostile_files import RULES

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers import (
    AddedToken,
    BPETokenizer,
    CharTokenizer,
    Tokenizer,
    decoders,
    engine,
    models,
    pretokenizers,
)
from tinyllm.tokenizers import normalizers as norm
from tinyllm.tokenizers.added import Finder
from tinyllm.tokenizers.aligned import Aligned
from tinyllm.tokenizers.formats import bert, sentencepiece
from tinyllm.tokenizers.formats.sentencepiece import BPE, BYTE, CONTROL, UNIGRAM, UNKNOWN, ModelProto, Piece
from tinyllm.tokenizers.pretokenizers import patterns

SAMPLE = "To be, or not to be: that is the question. 天地玄黄宇宙洪荒 éàü 👩‍👩‍👧 def f(x):\n    return x + 1\n" * 20
SPECIAL = "<|end|>"
EIGHT = 24 ** (1 / 3)  # a doubling, where eight times the text may take 24 times as long
STAGES, SENTENCEPIECE_BPE = "characters, BPE", "SentencePiece, BPE"
libc, M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = CDLL(None), -1, -3, -4  # as glibc names them
CUTTERS = [
    pretokenizers.ByteLevel(),
    pretokenizers.WhitespaceSplit(),
    pretokenizers.Whitespace(),
    pretokenizers.BertPreTokenizer(),
    pretokenizers.Punctuation("Contiguous"),
    pretokenizers.Digits(),
    pretokenizers.UnicodeScripts(),
    pretokenizers.FixedLength(),
    pretokenizers.Metaspace(),
    pretokenizers.Words(),
    pretokenizers.Words(keep_space=True),
    pretokenizers.Sentences(),
    pretokenizers.Punkt(("mr", "u.s"), (("jan", "##number##"),), ("the",), {"smith": 2}),
    pretokenizers.Split(" ", "MergedWithNext"),
    *(pretokenizers.Split({"Regex": pattern}, "Isolated") for pattern in patterns.PORTABLE.values()),
    pretokenizers.Sequence(
        [pretokenizers.WhitespaceSplit(), pretokenizers.Punctuation(), pretokenizers.ByteLevel()],
    ),
]
UNITS = ["a", "A", " ", "\n ", " " * 1000 + "a", "1", "\u0301", ".", "'", '."', "-", "A. ", "1.", "\udcff"]
UNITS += ["中", "カ\u0301A", "a:\u0301\u0301", "🇦", "👩\u200d"]


def family() -> dict[str, Tokenizer]:
    """One of each kind, small vocabularies: long texts are many tokens."""
    words = ["[UNK]", "[CLS]", "[SEP]", SPECIAL, *(c for c in sorted(set(SAMPLE.lower())) if not c.isspace())]
    words += ["##" + word for word in words[4:]] + ["to", "be", "##ion", "##est", "that"]
    control = [Piece("<unk>", 0.0, UNKNOWN), Piece(SPECIAL, 0.0, CONTROL)]
    fallback = [Piece(f"<0x{byte:02X}>", 0.0, BYTE) for byte in range(256)]
    letters = ["▁", "a", *(c for c in sorted(set(SAMPLE)) if c not in " a\n")]
    merged = ["aa", "▁t", "to", "▁to", "be", "aaaa", "▁▁", "th", "at", "天地"]
    pieces = [
        *(Piece(text, -1.5 - i) for i, text in enumerate(merged)),
        *(Piece(text, -50.0 - i) for i, text in enumerate(letters)),
    ]
    bpe = ModelProto([*control, *fallback, *pieces], BPE, True, remove_extra_whitespaces=False)
    unigram = ModelProto([*control, *pieces], UNIGRAM, precompiled_charsmap=RULES)
    ids = {text: i for i, text in enumerate(["<unk>", *letters, *merged])}
    merges = [("a", "a"), ("aa", "aa"), ("t", "o"), ("b", "e")]
    characters = models.BPE(ids, merges, unk_token="<unk>", fuse_unk=True)
    return {
        "bytes, BPE": BPETokenizer.train(SAMPLE, 320, [SPECIAL]),
        STAGES: Tokenizer(characters, norm.NFC(), pretokenizers.Metaspace(), None, decoders.Metaspace(),
                                     [AddedToken(SPECIAL, special=True)]),
        SENTENCEPIECE_BPE: sentencepiece.read(sentencepiece.write_proto(bpe)),
        "SentencePiece, Unigram": sentencepiece.read(sentencepiece.write_proto(unigram)),
        "BERT, WordPiece": bert.read("\n".join(words).encode()),
        "characters": CharTokenizer.train(SAMPLE, ["<unk>", SPECIAL], unk="<unk>"),
    }  # fmt: skip


def malformed() -> Iterator[bytes]:
    """What is no UTF-8: characters cut short, spelled with too many bytes, surrogates, beyond the last one."""
    for text in "é", "天", "👩", "\uffff", "\U0010ffff":
        data = text.encode()
        yield from (data[:n] for n in range(1, len(data)))
        yield from (data[n:] for n in range(1, len(data)))
        yield from (data[:n] + b"a" + data[n:] for n in range(1, len(data)))
    yield from (bytes([0xC0 | c >> 6, 0x80 | c & 63]) for c in range(128))
    yield from (bytes([0xE0, 0x80 | c >> 6, 0x80 | c & 63]) for c in range(0, 0x800, 7))
    yield from (bytes([0xF0, 0x80, 0x80 | c >> 6, 0x80 | c & 63]) for c in range(0, 0x1000, 77))
    yield from (chr(c).encode("utf-8", "surrogatepass") for c in range(0xD800, 0xE000))
    yield from (bytes([lead, *rest]) for lead in range(0xF4, 0x100) for rest in product((0x80, 0x90, 0xBF), repeat=3))
    yield from (bytes([lead, 0x80]) + b"\x80" * n for lead in range(0xF8, 0x100) for n in range(5))


def strings(bar: Bar, tokenizers: dict[str, Tokenizer]) -> None:
    """Short strings through every tokenizer."""
    rng = random.Random(bar.seed)
    short = [bytes([a]) for a in range(256)] + [bytes(pair) for pair in product(range(256), repeat=2)]
    bad = [data for form in malformed() for data in (form, b"a" + form + b" b")]
    drawn = []
    for _ in range(50_000):
        data = rng.randbytes(rng.randrange(40)) if rng.random() < 0.5 else "".join(
            chr(rng.choice((rng.randrange(0xD800), rng.randrange(0xE000, 0x110000), rng.randrange(128))))
            for _ in range(rng.randrange(20))).encode()  # fmt: skip
        drawn.append(data)
    sets = {"of one and two bytes": short, "of malformed UTF-8": bad, "at random": drawn}
    for name, tokenizer in tokenizers.items():
        for what, texts in sets.items():
            chosen = texts if not bar.quick else rng.sample(texts, bar.scaled(len(texts)))
            for data in chosen:
                try:
                    problem = checked(name, tokenizer, data)
                except Exception as error:
                    problem = repr(error)
                if problem:
                    bar.failed(f"{name}: {data!r}: {problem}")
                    break
            bar.passed(len(chosen), f"strings {what}: {name}")


def checked(name: str, tokenizer: Tokenizer, data: bytes) -> str:
    """What is wrong with the ids of some bytes, if anything."""
    ids = tokenizer.encode(data)
    if ids and not 0 <= min(ids) <= max(ids) < tokenizer.vocab_size:
        return f"the ids {ids} are not all valid"
    back = tokenizer.decode_bytes(ids)
    if name == "bytes, BPE" and back != data:
        return f"decoded it is {back!r}"
    if name == SENTENCEPIECE_BPE:
        text = data.decode("utf-8", "surrogateescape")
        text = "".join("\ufffd" if "\udc80" <= c <= "\udcff" else c for c in text).replace("▁", " ")
        if back.decode() != text:
            return f"decoded it is {back!r}, not {text!r}"
    if name == "characters" and tokenizer.encode(back.replace(b"<unk>", b"\xff")) != ids:
        return "decoded and encoded it has other ids"
    if tokenizer.special_tokens.get(SPECIAL) in ids:
        return "it has the id of a special token"
    return ""


def special_names(bar: Bar, tokenizers: dict[str, Tokenizer]) -> None:
    """The name of a special token is text, unless it is allowed."""
    for name, tokenizer in tokenizers.items():
        special = tokenizer.special_tokens
        for token, number in special.items():
            for text in token, f"a {token} b", token * 3, f"{token[:-1]}{token}", token.encode():
                if number in tokenizer.encode(text) and token not in ("[UNK]", "<unk>"):
                    bar.failed(f"{name}: {text!r} gives the id of {token}")
        allowed = tokenizer.encode(f"a{SPECIAL}b", [SPECIAL]) if SPECIAL in special else [0]
        if SPECIAL in special and allowed.count(special[SPECIAL]) != 1:
            bar.failed(f"{name}: an allowed {SPECIAL} is not found")
        bar.passed(5 * len(special), f"names of special tokens in a text: {name}")


def wrong_ids(bar: Bar, tokenizers: dict[str, Tokenizer]) -> None:
    """An id that is none, at every place of a list."""
    for name, tokenizer in tokenizers.items():
        good = tokenizer.encode("to be or not to be")[:8]
        cases = 0
        for at, wrong in product(range(len(good) + 1), (-1, tokenizer.vocab_size, 2**31, 2**64, -(2**63))):
            ids = [*good[:at], wrong, *good[at:]]
            for decode in tokenizer.decode, tokenizer.decode_bytes:
                cases += 1
                try:
                    decode(ids)
                    bar.failed(f"{name}: decoded the id {wrong} at {at}")
                except TokenizerError as error:
                    if f"ids[{at}] is {wrong}" not in str(error):
                        bar.failed(f"{name}: the error does not say where: {error}")
        bar.passed(cases, f"wrong ids in every place: {name}")


LINES: dict[str, Callable[[int], str]] = {
    "one letter": lambda n: "a" * n,
    "random letters": lambda n: (
        random.Random(1).randbytes(n // 2 + 1).hex()[:n].translate({c: c + 49 for c in range(48, 58)})
    ),
    "Chinese": lambda n: ("天地玄黄宇宙洪荒" * (n // 24 + 1))[: n // 3],
    "spaces": lambda n: " " * n,
    "joined emoji": lambda n: "👩\u200d" * (n // 7),
}


class Taken(NamedTuple):
    """What it took to encode a line: processor time, memory, and what was left of that without the ids."""

    seconds: float
    grown: int
    kept: int
    n: int  # ids
    size: int  # of the line, in bytes
    spaces: int

    def __str__(self) -> str:
        times = f"{self.seconds:.1f} s, {self.grown / self.size:.1f} times its size"
        return f"{times}, {self.n:,} ids, {self.kept:,} bytes kept"


def encoded(tokenizer: Tokenizer, make: Callable[[int], str], size: int, send: Any) -> None:
    """In a process of its own, whose memory is in one piece: the C library keeps nothing of what is freed."""
    for threshold in M_TRIM_THRESHOLD, M_MMAP_THRESHOLD:  # they grow, and then up to 64 MB that were freed are kept
        libc.mallopt(threshold, 1 << 17)
    line = make(size).encode()
    libc.malloc_trim(0)
    before, began = reset_peak(), time.process_time()
    ids = tokenizer.encode(line)
    seconds, grown, n = time.process_time() - began, peak() - before, len(ids)
    del ids
    libc.malloc_trim(0)
    send.send(Taken(seconds, grown, reset_peak() - before, n, len(line), line.count(b" ")))


def measured(bar: Bar, name: str, tokenizer: Tokenizer, make: Callable[[int], str], size: int) -> Taken | None:
    """What `encoded` sends; None, and it failed, if it sends nothing."""
    receive, send = get_context("fork").Pipe(False)
    process = get_context("fork").Process(target=encoded, args=(tokenizer, make, size, send))
    process.start()
    send.close()
    if not receive.poll(120):
        process.kill()
        bar.failed(f"{name}: no end after 120 s")
        return None
    try:
        return receive.recv()
    except EOFError:
        bar.failed(f"{name}: the process died")
        return None
    finally:
        process.join()


def allowed_memory(name: str, taken: Taken) -> int:
    """How many bytes the ids of a line may take."""
    if name == STAGES:
        return 16 * taken.n + 4 * taken.size + (16 << 20)
    normalized = 4 * taken.n + taken.size + 2 * taken.spaces if name == SENTENCEPIECE_BPE else 0
    return max(8 * taken.n, normalized) + taken.size // 8 + (24 << 20)


def long_lines(bar: Bar, tokenizers: dict[str, Tokenizer]) -> None:
    """Each kind of line through each tokenizer."""
    for name, tokenizer in tokenizers.items():
        size = 100_000_000 // min(bar.share, 20)
        worst_time = worst_memory = 0.0
        for what, make in LINES.items():
            taken = measured(bar, f"{name}: {what}", tokenizer, make, size)
            if taken is None:
                continue
            worst_time = max(worst_time, taken.seconds)
            worst_memory = max(worst_memory, taken.grown / taken.size)
            too_much = taken.grown > allowed_memory(name, taken) or taken.kept > (16 if name == STAGES else 8) << 20
            if taken.seconds > 60 * size / 1e8 + 1 or too_much:
                bar.failed(f"{name}: {what}: {taken}")
        bar.passed(
            len(LINES),
            f"lines of {size / 1e6:.0f} MB: {name}: at most {worst_time:.1f} s, {worst_memory:.1f} times its size",
        )


def merged_line(bar: Bar, tokenizers: dict[str, Tokenizer]) -> None:
    """With dropout merges are made one by one, with a heap of them: what that takes is not kept for the next text."""
    plain = tokenizers[SENTENCEPIECE_BPE]
    tokenizer = Tokenizer(replace(plain.model, dropout=0.1), plain.normalizer, decoder=plain.decoder)  # type: ignore
    if taken := measured(bar, "dropout", tokenizer, LINES["random letters"], 5_000_000):
        if taken.grown > 32 * taken.size or taken.kept > 8 << 20:
            bar.failed(f"dropout: {taken}")
        bar.passed(1, f"a line of 5 MB with dropout: {taken}")


def slowest_doubling(work: Callable[[Any], object], make: Callable[[int], Any], size: int) -> float:
    """How often the time for a text of n characters is in the time for 2 n, at the worst of n and 2 n.

    n is `size`, or as many times twice that as it takes to work for 10 ms. Of each the best of a few runs, more where
    that is not enough. Python's collector is off meanwhile: what it takes depends on all that is alive.
    """

    def seconds(text: Any) -> float:
        gc.collect()
        gc.disable()
        began = time.thread_time()
        work(text)
        took = time.thread_time() - began
        gc.enable()
        return took

    while seconds(make(size)) < 0.01:
        size *= 2
    texts = [make(size), make(2 * size), make(4 * size)]
    best = [float("inf")] * 3
    for _ in range(7):
        best = [min(before, seconds(text)) for before, text in zip(best, texts, strict=True)]
        ratio = max(best[1] / best[0], best[2] / best[1])
        if ratio < 2.15:
            break
    return ratio


def half_as_long(n: int) -> tuple[Finder, str]:
    """A text of a letter, and a name of half as many of it and another one."""
    name = "a" * (n // 2) + "b"
    return Finder([(name, AddedToken(name), 0)]), "a" * n


def growth(bar: Bar, tokenizers: dict[str, Tokenizer]) -> None:
    """Twice the text, at most 2.3 times the time in whole tokenizers. In what cuts a text, alone, a text of 8 times the
    size takes at most 24 times as long: the longest, and the objects made of it, are more than caches hold. Memory that
    was freed is kept meanwhile: new pages from 32 MB on would cost the longest text alone.
    """
    libc.mallopt(M_MMAP_MAX, 0)
    libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)

    def hold(
        name: str, work: Callable[[Any], object], makes: list[Callable[[int], Any]], size: int, limit: float = 2.3
    ) -> None:
        worst = max(slowest_doubling(work, make, size) for make in makes)
        if worst > limit:
            bar.failed(f"{name}: twice the text takes {worst:.2f} times as long")
        bar.passed(len(makes), f"texts of {size:,} and more: {name}: twice the text takes {worst:.2f} times as long")

    lines = [lambda n, make=make: make(n).encode() for make in LINES.values()]
    for name, tokenizer in tokenizers.items():
        hold(name, tokenizer.encode, lines, 1_000_000)
    named = BPETokenizer.train(SAMPLE, 320, [SPECIAL])
    named.add_tokens(["a" * 2000 + "b"])
    almost = [lambda n: "a" * n, lambda n: ("a" * 1999 + "-") * (n // 2000), lambda n: ("a" * 2000 + "b") * (n // 2001)]
    hold("an added token of 2,001 letters", named.encode, almost, 100_000)
    hold("an added token half as long as the text", lambda one: list(one[0].cut(one[1])), [half_as_long], 2_000)
    texts = [lambda n, unit=unit: Aligned.of(unit * (n // len(unit))) for unit in UNITS]
    for stage in CUTTERS:
        hold(type(stage).__name__, stage.pieces, texts, 40_000, EIGHT)
    data = [lambda n, unit=unit: (unit * (n // len(unit))).encode("utf-8", "surrogateescape") for unit in UNITS]
    count = engine.core("segment").count
    for pattern in patterns.PATTERNS:
        hold(f"scanner {pattern}", lambda text, pattern=pattern: count(text, pattern), data, 1_000_000, EIGHT)


def test(bar: Bar) -> None:
    tokenizers = family()
    long_lines(bar, tokenizers)  # first, while little memory has been used and freed
    merged_line(bar, tokenizers)
    strings(bar, tokenizers)
    special_names(bar, tokenizers)
    wrong_ids(bar, tokenizers)
    if not bar.quick:
        growth(bar, tokenizers)


if __name__ == "__main__":
    run_bar("S8", test)
