"""The command line: one function a command.

`tinyllm` alone, or with --help, prints the list below without loading NumPy, the kernels or tyro. Each
command parses its own arguments and imports what it needs. Exit codes: 0 done, 1 an error that the message
explains, 2 wrong arguments, 130 interrupted (143 by SIGTERM).
"""

from __future__ import annotations

import signal
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from .errors import CheckpointError, ConfigError, TokenizerError

if TYPE_CHECKING:
    import argparse

    from .config import Config
    from .generation import Sampling
    from .tokenizers import Tokenizer


def train(args: Sequence[str]) -> int:
    """Train a GPT on a text: [--preset NAME | --resume RUN [--weights-only]] [--config FILE] [--section.key VALUE]"""
    from . import config

    start = None

    def base(chosen: argparse.Namespace) -> Config:
        nonlocal start
        if chosen.resume is None:
            if chosen.weights_only:
                raise ConfigError("--weights-only says what to take from a checkpoint: add --resume RUN")
            return config.preset(chosen.preset)
        from .training.store import Store, find

        if chosen.weights_only:
            start = find(chosen.resume)
            return start.config
        start = Store(chosen.resume).newest()
        return config.replace(start.config, training__out=chosen.resume)

    settings, chosen = _settings(
        "train",
        args,
        base,
        "Train a GPT on a text. Start from --preset quick, cpu or baby (the defaults below are those of "
        "the preset), lay a TOML file over it with --config FILE, and change single values with the options below. "
        "--resume RUN goes on from the newest checkpoint of a run, exactly as if it had not stopped; with "
        "--weights-only a new run starts from its weights, or from those of a checkpoint.",
        {"--resume": {}, "--weights-only": {"action": "store_true"}},
    )
    from .training import train as run
    from .training.plan import error

    result = run(settings, start=start, weights_only=chosen.weights_only)
    print(f"validation loss {result.val_loss:.4f} nats per token, {result.bits_per_byte:.4f} bits per byte")
    print(f"checkpoints: {result.directory}/checkpoints   curve: {result.directory}/loss.svg")
    if said := error(settings):
        print(said)
    return 0


def generate(args: Sequence[str]) -> int:
    """Continue a prompt with a trained model, streaming the text."""
    parser = _parser("generate", generate)
    _generation_options(parser)
    parser.add_argument("--prompt", default="\n", help="text to continue (default: a newline)")
    parser.add_argument("--samples", type=int, default=1, help="how many texts to draw (default: 1)")
    parser.add_argument(
        "--beams", type=int, default=0, help="search for the most probable text with this many beams, drawing nothing"
    )
    given = parser.parse_args(args)
    from .generation import TextStream, beam_search, complete, stream_text
    from .training import load_model

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
    parser = _parser("chat", chat)
    _generation_options(parser)
    given = parser.parse_args(args)
    from .generation.chat import converse
    from .training import load_model

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


def runs(args: Sequence[str]) -> int:
    """List runs: how far each has come, and whether it is running, stopped or finished."""
    parser = _parser("runs", runs)
    parser.add_argument("folder", nargs="?", default="runs", help="where to look (default: runs)")
    given = parser.parse_args(args)
    from .training.runs import find_runs, table

    found = find_runs(given.folder)
    if not found:
        raise ConfigError(f"no runs in {given.folder!r}: expected a folder below which `tinyllm train` has written")
    print(table(found))
    return 0


def plot(args: Sequence[str]) -> int:
    """Compare the curves of runs in one picture (SVG)."""
    parser = _parser("plot", plot)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="the directory of a run")
    parser.add_argument("--out", default="runs.svg", help="where to write it (default: runs.svg)")
    given = parser.parse_args(args)
    from .training.runs import compare

    compare(given.runs, given.out)
    print(given.out)
    return 0


def tokenizer_train(args: Sequence[str]) -> int:
    """Train a tokenizer on text files and write it as JSON."""
    parser = _parser("tokenizer train", tokenizer_train)
    parser.add_argument("files", nargs="+", help='UTF-8 text files, or "shakespeare"')
    parser.add_argument("--out", default="tokenizer.json", help="where to write it (default: tokenizer.json)")
    parser.add_argument("--kind", choices=KINDS, default="bpe", help="default: bpe")
    parser.add_argument("--vocab-size", type=int, default=1024, help="largest vocabulary (default: 1024)")
    given = parser.parse_args(args)
    from .data import read_text

    made = _tokenizer(given.kind, [read_text(name) for name in given.files], given.vocab_size)
    made.save(given.out)
    print(f"{given.out}: {made.vocab_size} tokens, fingerprint {made.fingerprint()}")
    return 0


KINDS = ("bpe", "wordpiece", "unigram", "word", "char")


def _tokenizer(kind: str, texts: list[str], vocab_size: int) -> Tokenizer:
    """A tokenizer of one of KINDS, trained; of Unigram's kind it is SentencePiece's pipeline."""
    from . import tokenizers as t

    if kind == "char":
        return t.CharTokenizer.train(texts)
    made = {"bpe": t.BPETokenizer, "wordpiece": t.WordPieceTokenizer, "unigram": t.SentencePieceTokenizer,
            "word": t.WordTokenizer}  # fmt: skip
    return made[kind].train(texts, vocab_size)  # type: ignore[attr-defined]


def tokenizer_trace(args: Sequence[str]) -> int:
    """Print step by step how a text becomes tokens: merges, matches, or the lattice and its best path."""
    parser = _parser("tokenizer trace", tokenizer_trace)
    parser.add_argument("text", help="a sentence or a word")
    parser.add_argument(
        "--tokenizer", metavar="FILE", help="default: BPE, WordPiece and Unigram of 1,000 tokens, of Shakespeare"
    )
    parser.add_argument("--json", action="store_true", help="print a list of JSON objects instead, one a tokenizer")
    given = parser.parse_args(args)
    import json

    from .data import read_text
    from .tokenizers import load
    from .tokenizers.trace import trace

    if given.tokenizer:
        tokenizers = [load(given.tokenizer)]
    else:
        text = read_text("shakespeare")
        tokenizers = [_tokenizer(kind, [text], 1000) for kind in ("bpe", "wordpiece", "unigram")]
    traces = [trace(tokenizer, given.text) for tokenizer in tokenizers]
    print(json.dumps([one.json() for one in traces]) if given.json else "\n\n".join(one.text() for one in traces))
    return 0


def tokenizer_encode(args: Sequence[str]) -> int:
    """Print the token ids of a file or of standard input."""
    parser = _parser("tokenizer encode", tokenizer_encode)
    parser.add_argument("tokenizer", help="a tokenizer file")
    parser.add_argument("file", nargs="?", help="text to encode (default: standard input)")
    given = parser.parse_args(args)
    from .tokenizers import load

    print(*load(given.tokenizer).encode(_read(given.file)))
    return 0


def tokenizer_decode(args: Sequence[str]) -> int:
    """Print the text of token ids (numbers apart by spaces) from a file or from standard input."""
    parser = _parser("tokenizer decode", tokenizer_decode)
    parser.add_argument("tokenizer", help="a tokenizer file")
    parser.add_argument("file", nargs="?", help="ids to decode (default: standard input)")
    given = parser.parse_args(args)
    from .tokenizers import load

    words = _read(given.file).split()
    if bad := next((word for word in words if not word.isdigit()), None):
        raise TokenizerError(f"expected token ids, numbers apart by spaces; got {bad[:40]!r}")
    sys.stdout.buffer.write(load(given.tokenizer).decode_bytes(int(word) for word in words))
    return 0


def tokenizer_convert(args: Sequence[str]) -> int:
    """Write a tokenizer in another format, and show what differs on a text."""
    parser = _parser("tokenizer convert", tokenizer_convert)
    parser.add_argument("tokenizer", help="a tokenizer file, of any format")
    parser.add_argument(
        "out", help="the file to write: .json, .model, .tiktoken, vocab.json (and merges.txt) or vocab.txt"
    )
    parser.add_argument("--text", help="a text on which both are compared")
    parser.add_argument("--pattern", help="how a .tiktoken file cuts text: gpt2, cl100k, o200k ...")
    given = parser.parse_args(args)
    from .tokenizers import load
    from .tokenizers.formats.convert import compare, convert

    options = {"pattern": given.pattern} if given.pattern else {}
    one = load(given.tokenizer, **options)
    other, names, notes = convert(one, given.out)
    print(f"{', '.join(names)}: {other.vocab_size} tokens" + "".join(f"\nnote: {note}" for note in notes))
    if given.text:
        print(compare(one, other, _read(given.text).decode("utf-8", "surrogateescape")).report())
    return 0


def doctor(args: Sequence[str]) -> int:
    """Say what this installation runs on, and test it for two seconds."""
    _parser("doctor", doctor).parse_args(args)
    from .doctor import report

    return 0 if report() else 1


def resume_check(args: Sequence[str]) -> int:
    """Show that a run killed at random steps and resumed ends byte for byte as one that is not."""
    import tempfile

    from . import config

    def base(chosen: argparse.Namespace) -> Config:
        found = config.preset(chosen.preset)
        if chosen.config is not None:
            return found
        return config.replace(  # enough to be killed a few times, and every part of the state in use
            found, model__dropout=0.1, training__steps=60, training__save_every=7, training__eval_every=20,
            training__eval_batches=2, training__log_every=1,
        )  # fmt: skip

    settings, chosen = _settings(
        "resume-check",
        args,
        base,
        "Train once unbroken and once killed --kills N times (default 3) at random steps and resumed, each "
        "in processes of its own, and compare every byte; then resume without random streams, cursor and optimizer "
        "state in turn, which must be noticed. --preset, --config FILE and the options below as in tinyllm train; "
        "without a file, 60 steps of the preset.",
        {"--kills": {"type": int, "default": 3}},
    )
    from .training.resume_check import check
    from .training.verdict import table

    with tempfile.TemporaryDirectory(prefix="tinyllm-") as directory:
        found = check(settings, directory, chosen.kills)
    print(table(found))
    return 0 if all(verdict.good for verdict in found) else 1


def replay(args: Sequence[str]) -> int:
    """Make the step again at which a run met NaN or infinity, and say where it arose."""
    parser = _parser("replay", replay)
    parser.add_argument("run", help="the directory of a run that failed")
    given = parser.parse_args(args)
    from .training.replay import replay as run

    said, same = run(given.run)
    print(said)
    return 0 if same else 1


def plan(args: Sequence[str]) -> int:
    """Predict time and memory of a run from a few seconds of it; options as for train."""
    from . import config

    settings, _ = _settings(
        "plan",
        args,
        lambda chosen: config.preset(chosen.preset),
        "Predict the time of a step, the memory and the total time of tinyllm train with the same options. "
        "What is found is left in training.out, and the run says at its end how far it was off.",
    )
    from .training.plan import plan as run
    from .training.plan import write

    made = run(settings)
    print(made.lines(settings))
    print(write(made, settings))
    return 0


def check(args: Sequence[str]) -> int:
    """Ask a model, or a configuration, the questions that a wrong one answers wrongly."""
    parser = _parser("check", check)
    parser.add_argument("model", help="a preset, a TOML file, a checkpoint, or the directory of a run (its newest one)")
    given = parser.parse_args(args)
    from .training.check import check as run
    from .training.check import subject
    from .training.verdict import table

    found = list(run(*subject(given.model)))
    print(table(found))
    return 0 if all(verdict.good for verdict in found) else 1


COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "train": train,
    "replay": replay,
    "plan": plan,
    "check": check,
    "resume-check": resume_check,
    "runs": runs,
    "plot": plot,
    "generate": generate,
    "chat": chat,
    "tokenizer train": tokenizer_train,
    "tokenizer encode": tokenizer_encode,
    "tokenizer decode": tokenizer_decode,
    "tokenizer trace": tokenizer_trace,
    "tokenizer convert": tokenizer_convert,
    "doctor": doctor,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    args = list(sys.argv[1:] if argv is None else argv)
    if not args or args[0] in ("-h", "--help", "help"):
        print(_help())
        return 0
    if args[0] == "--version":
        from . import __version__

        print(f"tinyllm {__version__}")
        return 0
    words = 2 if args[0] == "tokenizer" else 1
    name = " ".join(args[:words])
    if name not in COMMANDS:
        import difflib

        close = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        print(f"tinyllm: unknown command {name!r}{hint}\n\n{_help()}", file=sys.stderr)
        return 2
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_: print(f"tinyllm {name}: warning: {message}", file=sys.stderr)
            return COMMANDS[name](args[words:])
    except (ConfigError, CheckpointError, TokenizerError, OSError, FloatingPointError) as error:
        print(f"tinyllm {name}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as error:  # a run that was stopped says by which signal, and that it has saved
        print(f"\ntinyllm {name}: {str(error) or 'interrupted'}", file=sys.stderr)
        return 128 + getattr(error, "signum", signal.SIGINT)


def _help() -> str:
    lines = ["usage: tinyllm COMMAND [options]      tinyllm COMMAND --help", "", "commands:"]
    lines += [f"  {name:<18} {str(run.__doc__).splitlines()[0]}" for name, run in COMMANDS.items()]
    return "\n".join(lines)


def _parser(name: str, run: Callable[..., int], add_help: bool = True) -> argparse.ArgumentParser:
    import argparse

    return argparse.ArgumentParser(f"tinyllm {name}", description=run.__doc__, add_help=add_help, allow_abbrev=False)


def _generation_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", help="a checkpoint, or the directory of a run (its newest one)")
    parser.add_argument("--tokens", type=int, default=256, help="how many tokens to generate, at most (default: 256)")
    parser.add_argument("--temperature", type=float, default=0.8, help="0 is greedy (default: 0.8)")
    parser.add_argument("--top-k", type=int, default=0, help="keep the k most probable tokens (default: all)")
    parser.add_argument(
        "--top-p", type=float, default=1.0, help="keep the most probable tokens up to this mass (default: 1)"
    )
    parser.add_argument(
        "--min-p", type=float, default=0.0, help="keep tokens this part as probable as the best (default: 0)"
    )
    parser.add_argument(
        "--repetition-penalty", type=float, default=1.0, help="above 1: shun tokens of the context (default: 1)"
    )
    parser.add_argument("--stop", action="append", default=[], help="end before this text (may be given repeatedly)")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same text (default: 0)")


def _sampling(given: argparse.Namespace) -> Sampling:
    from .generation import Sampling

    return Sampling(given.temperature, given.top_k, given.top_p, given.seed, given.min_p, given.repetition_penalty)


def _settings(
    name: str,
    args: Sequence[str],
    base: Callable[[argparse.Namespace], Config],
    description: str,
    options: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> tuple[Config, argparse.Namespace]:
    """The configuration that a command line asks for: `base`, a file of --config over it, single values over that; and
    the command's own options.
    """
    from . import config

    parser = _parser(name, COMMANDS[name], add_help=False)
    for option, how in {"--preset": {"default": "quick"}, "--config": {}, **options}.items():
        parser.add_argument(option, **how)
    chosen, rest = parser.parse_known_args(args)
    settings = base(chosen)
    if chosen.config is not None:
        settings = config.load(chosen.config, settings)
    return config.override(settings, rest, prog=f"tinyllm {name}", description=description), chosen


def _read(path: str | None) -> bytes:
    if path is None:
        return sys.stdin.buffer.read()
    with open(path, "rb") as file:
        return file.read()
