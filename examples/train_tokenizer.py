"""Train a tokenizer on a text and look at what it has learned: `python examples/train_tokenizer.py`.

Without arguments: byte-pair encoding with 2,000 tokens on Shakespeare, in a second. It prints what was learned first
and what last, the longest tokens, how a few lines are cut, and how much shorter a text becomes; the tokenizer goes to
runs/tokenizer.json, which `tinyllm tokenizer encode` and `trace` read, and Hugging Face's `tokenizers`, too.

    --kind wordpiece      pieces that raise the likelihood of the text; BERT's pipeline
    --kind unigram        a probability for each piece; SentencePiece's pipeline, raw text
    --data FILE ...       UTF-8 texts of your own
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from tinyllm.data import read_text, split
from tinyllm.errors import ConfigError, TokenizerError
from tinyllm.tokenizers import BPETokenizer, SentencePieceTokenizer, Tokenizer, WordPieceTokenizer
from tinyllm.tokenizers.trace import shown

KINDS = {"bpe": BPETokenizer, "wordpiece": WordPieceTokenizer, "unigram": SentencePieceTokenizer}
COLOURS = ("\x1b[48;5;153m", "\x1b[48;5;223m", "\x1b[48;5;157m", "\x1b[48;5;225m")


def cut(tokenizer: Tokenizer, line: str) -> str:
    """A line with its tokens marked, as stretches of the original text: by colour, or with bars where that is none."""
    parts = [line[start:end] for start, end in tokenizer.encode_with_offsets(line).offsets]
    if not sys.stdout.isatty():
        return "|".join(parts)
    return "".join(f"\x1b[30m{COLOURS[i % len(COLOURS)]}{part}\x1b[0m" for i, part in enumerate(parts))


def report(tokenizer: Tokenizer, rest: str) -> None:
    """What the vocabulary holds, and what it does to text that it has not seen."""
    every = [token for i, token in enumerate(tokenizer.tokens) if i not in tokenizer.added_tokens]
    learned = [token for token in every if len(token.removeprefix(b"##").removeprefix("▁".encode())) > 1]
    longest = sorted(learned, key=lambda token: (-len(token), token))
    for name, tokens in ("first", learned[:12]), ("last", learned[-12:]), ("longest", longest[:12]):
        print(f"{name:>8}: {'  '.join(shown(token) for token in tokens)}")
    ids = tokenizer.encode(rest)
    print(
        f"\nthe last tenth of the text, which it has not seen: {len(rest):,} characters, {len(ids):,} tokens, "
        f"{len(rest) / len(ids):.2f} characters each\n"
    )
    for line in [line for line in rest.splitlines() if len(line) > 30][:6]:
        print(f"    {cut(tokenizer, line)}")


def main() -> int:
    """Parse arguments, train, report, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=list(KINDS), default="bpe")
    parser.add_argument("--vocab-size", type=int, default=2000)
    parser.add_argument("--data", nargs="+", default=["shakespeare"], metavar="FILE")
    parser.add_argument("--out", default="runs/tokenizer.json")
    given = parser.parse_args()

    learn, rest = zip(*(split(read_text(name)) for name in given.data), strict=True)
    began = time.perf_counter()
    tokenizer = KINDS[given.kind].train(learn, given.vocab_size)
    size = sum(len(text.encode()) for text in learn)
    print(f"{tokenizer.vocab_size:,} tokens from {size / 1e6:.1f} MB in {time.perf_counter() - began:.2f} s")
    report(tokenizer, "\n".join(rest))
    Path(given.out).parent.mkdir(parents=True, exist_ok=True)
    tokenizer.save(given.out)
    print(f"\nwritten: {given.out}; watch it at work: tinyllm tokenizer trace 'a word' --tokenizer {given.out}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (ConfigError, TokenizerError, OSError) as error:
        sys.exit(f"error: {error}")
