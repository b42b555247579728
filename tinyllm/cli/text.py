"""Commands that write text with a trained model: generate, chat."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tinyllm.cli.arguments import parser
from tinyllm.errors import ConfigError

if TYPE_CHECKING:
    import argparse

    from tinyllm.generation import Sampling


def generate(args: Sequence[str]) -> int:
    """Continue a prompt with a trained model, streaming the text."""
    options = parser("generate", generate)
    _generation_options(options)
    options.add_argument("--prompt", default="\n", help="text to continue (default: a newline)")
    options.add_argument("--samples", type=int, default=1, help="how many texts to draw (default: 1)")
    options.add_argument(
        "--beams", type=int, default=0, help="search for the most probable text with this many beams, drawing nothing"
    )
    given = options.parse_args(args)
    from tinyllm.generation import TextStream, beam_search, complete, stream_text
    from tinyllm.training import load_model

    if given.samples < 1 or given.beams < 0 or (given.samples > 1 and given.beams):
        raise ConfigError("--samples is 1 or more, --beams 0 or more, and beam search gives one text: use one of them")
    sampling = _sampling(given)
    model, tokenizer, _ = load_model(given.checkpoint)
    if given.samples > 1:
        texts = complete(model, tokenizer, [given.prompt] * given.samples, given.tokens, sampling, given.stop)
        for number, text in enumerate(texts, 1):
            print(f"--- {number} of {given.samples}\n{given.prompt}{text}")
        return 0
    if given.beams:
        found = TextStream(tokenizer, given.stop)
        best = beam_search(model, tokenizer.encode(given.prompt), given.tokens, given.beams)[0]
        print(given.prompt + "".join(map(found.push, best.ids)) + found.finish())
        return 0
    pieces = stream_text(model, tokenizer, given.prompt, given.tokens, sampling, given.stop)
    sys.stdout.write(given.prompt)
    for piece in pieces:
        sys.stdout.write(piece)
        sys.stdout.flush()
    sys.stdout.write("\n")
    return 0


def chat(args: Sequence[str]) -> int:
    """Write and let a trained model go on, in turns, in the terminal."""
    options = parser("chat", chat)
    _generation_options(options)
    given = options.parse_args(args)
    from tinyllm.generation.chat import converse
    from tinyllm.training import load_model

    sampling = _sampling(given)
    model, tokenizer, _ = load_model(given.checkpoint)
    print(
        "A base model: it goes on with your lines as with any text, and has not learned to answer.\n"
        "An empty line lets it go on, /reset forgets all, Ctrl-C stops its text, /quit or Ctrl-D leaves.",
        flush=True,
    )

    def write(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    mark = "> " if sys.stdin.isatty() else ""
    converse(model, tokenizer, lambda: input(mark), write, given.tokens, sampling, given.stop)
    return 0


def _generation_options(options: argparse.ArgumentParser) -> None:
    options.add_argument("checkpoint", help="a checkpoint, or the directory of a run (its newest one)")
    options.add_argument("--tokens", type=int, default=256, help="how many tokens to generate, at most (default: 256)")
    options.add_argument("--temperature", type=float, default=0.8, help="0 is greedy (default: 0.8)")
    options.add_argument("--top-k", type=int, default=0, help="keep the k most probable tokens (default: all)")
    options.add_argument(
        "--top-p", type=float, default=1.0, help="keep the most probable tokens up to this mass (default: 1)"
    )
    options.add_argument(
        "--min-p", type=float, default=0.0, help="keep tokens this part as probable as the best (default: 0)"
    )
    options.add_argument(
        "--repetition-penalty", type=float, default=1.0, help="above 1: shun tokens of the context (default: 1)"
    )
    options.add_argument("--stop", action="append", default=[], help="end before this text (may be given repeatedly)")
    options.add_argument("--seed", type=int, default=0, help="the same seed gives the same text (default: 0)")


def _sampling(given: argparse.Namespace) -> Sampling:
    from tinyllm.generation import Sampling

    return Sampling(given.temperature, given.top_k, given.top_p, given.seed, given.min_p, given.repetition_penalty)
