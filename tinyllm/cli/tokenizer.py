"""Commands about tokenizers: train, encode, decode, trace, convert."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from tinyllm.cli.arguments import parser, read
from tinyllm.errors import ConfigError, TokenizerError

if TYPE_CHECKING:
    import argparse

    from tinyllm.tokenizers import Tokenizer

KINDS = ("bpe", "wordpiece", "unigram", "word", "char")


def train(args: Sequence[str]) -> int:
    """Train a tokenizer on text files and write it as JSON."""
    options = parser("tokenizer train", train)
    options.add_argument("files", nargs="+", help='UTF-8 text files, or "shakespeare"')
    options.add_argument("--out", default="tokenizer.json", help="where to write it (default: tokenizer.json)")
    options.add_argument("--kind", choices=KINDS, default="bpe", help="default: bpe")
    options.add_argument("--vocab-size", type=int, default=1024, help="largest vocabulary (default: 1024)")
    options.add_argument(
        "--special", action="append", default=[], metavar="TOKEN", help="a special token (may be given repeatedly)"
    )
    options.add_argument("--threads", type=int, default=1, help="threads that count words (default: 1)")
    options.add_argument(
        "--max-memory", type=int, metavar="MB", help="for counting words, 17 or more; others wait on disk"
    )
    given = options.parse_args(args)
    if not given.out.endswith(".json"):
        raise ConfigError(
            f"--out is {given.out!r}; it must end in .json, and `tinyllm tokenizer convert` writes other formats of it"
        )
    from tinyllm.data import read_text

    counting = {"threads": given.threads, "max_memory": given.max_memory and given.max_memory * 10**6}
    texts = (read_text(name) for name in given.files)
    made = _trained(given.kind, texts, given.vocab_size, given.special, **counting)
    made.save(given.out)
    print(f"{given.out}: {made.vocab_size} tokens, fingerprint {made.fingerprint()}")
    return 0


def _trained(
    kind: str, texts: Iterable[str], vocab_size: int, special_tokens: Sequence[str] = (), **counting: Any
) -> Tokenizer:
    """A tokenizer of one of KINDS; of Unigram's kind it is SentencePiece's pipeline. A terminal shows how far it is."""
    from tinyllm import tokenizers as t
    from tinyllm.tokenizers.trainers.progress import Progress

    if kind == "char":
        return t.CharTokenizer.train(texts, special_tokens)
    kinds: dict[str, Callable[..., Tokenizer]] = {
        "bpe": t.BPETokenizer.train,
        "wordpiece": t.WordPieceTokenizer.train,
        "unigram": t.SentencePieceTokenizer.train,
        "word": t.WordTokenizer.train,
    }
    progress = Progress() if sys.stderr.isatty() else None
    return kinds[kind](texts, vocab_size, special_tokens=special_tokens, progress=progress, **counting)


def trace(args: Sequence[str]) -> int:
    """Print step by step how a text becomes tokens: merges, matches, or the lattice and its best path."""
    options = parser("tokenizer trace", trace)
    options.add_argument("text", help="a sentence or a word")
    options.add_argument(
        "--tokenizer", metavar="FILE", help="default: BPE, WordPiece and Unigram of 1,000 tokens, of Shakespeare"
    )
    options.add_argument("--json", action="store_true", help="print a list of JSON objects instead, one a tokenizer")
    _pattern(options)
    given = options.parse_args(args)
    import json

    from tinyllm.data import read_text
    from tinyllm.tokenizers.trace import trace as traced

    if given.tokenizer:
        tokenizers = [_loaded(given)]
    else:
        text = read_text("shakespeare")
        tokenizers = [_trained(kind, [text], 1000) for kind in ("bpe", "wordpiece", "unigram")]
    traces = [traced(tokenizer, given.text) for tokenizer in tokenizers]
    print(json.dumps([one.json() for one in traces]) if given.json else "\n\n".join(one.text() for one in traces))
    return 0


def encode(args: Sequence[str]) -> int:
    """Print the token ids of a file or of standard input."""
    options = parser("tokenizer encode", encode)
    options.add_argument("tokenizer", help="a tokenizer file")
    options.add_argument("file", nargs="?", help="text to encode (default: standard input)")
    _pattern(options)
    given = options.parse_args(args)
    print(*_loaded(given).encode(read(given.file)))
    return 0


def decode(args: Sequence[str]) -> int:
    """Print the text of token ids (numbers apart by spaces) from a file or from standard input."""
    options = parser("tokenizer decode", decode)
    options.add_argument("tokenizer", help="a tokenizer file")
    options.add_argument("file", nargs="?", help="ids to decode (default: standard input)")
    _pattern(options)
    given = options.parse_args(args)
    words = read(given.file).split()
    if bad := next((word for word in words if not word.isdigit() or len(word) > 10), None):
        raise TokenizerError(f"expected token ids, numbers apart by spaces; got {bad[:40]!r}")
    sys.stdout.buffer.write(_loaded(given).decode_bytes(int(word) for word in words))
    return 0


def convert(args: Sequence[str]) -> int:
    """Write a tokenizer in another format, and show what differs on a text."""
    options = parser("tokenizer convert", convert)
    options.add_argument("tokenizer", help="a tokenizer file, of any format")
    options.add_argument(
        "out", help="the file to write: .json, .model, .tiktoken, vocab.json (and merges.txt) or vocab.txt"
    )
    options.add_argument("--text", metavar="FILE", help="a text on which both are compared")
    _pattern(options)
    given = options.parse_args(args)
    from tinyllm.tokenizers.formats.convert import compare
    from tinyllm.tokenizers.formats.convert import convert as converted

    one = _loaded(given)
    other, names, notes = converted(one, given.out)
    print(f"{', '.join(names)}: {other.vocab_size} tokens" + "".join(f"\nnote: {note}" for note in notes))
    if given.text:
        print(compare(one, other, read(given.text).decode("utf-8", "surrogateescape")).report())
    return 0


def _pattern(options: argparse.ArgumentParser) -> None:
    options.add_argument("--pattern", help="how a .tiktoken file cuts text: gpt2, cl100k, o200k ...")


def _loaded(given: argparse.Namespace) -> Tokenizer:
    from tinyllm.tokenizers import load

    return load(given.tokenizer, **({"pattern": given.pattern} if given.pattern else {}))
