"""The command line: one function a command, in runs, text and tokenizer.

`tinyllm` alone, or with --help, prints the list below without loading NumPy, the kernels or tyro. Each
command parses its own arguments and imports what it needs. Exit codes: 0 done, 1 an error that the message
explains, 2 wrong arguments, 130 interrupted (143 by SIGTERM).
"""

from __future__ import annotations

import signal
import sys
import warnings
from collections.abc import Callable, Sequence

from tinyllm.cli import runs, text, tokenizer
from tinyllm.cli.arguments import parser
from tinyllm.errors import CheckpointError, ConfigError, TokenizerError


def doctor(args: Sequence[str]) -> int:
    """Say what this installation runs on, and test it for two seconds."""
    parser("doctor", doctor).parse_args(args)
    from tinyllm.doctor import report

    return 0 if report() else 1


COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "train": runs.train,
    "replay": runs.replay,
    "plan": runs.plan,
    "check": runs.check,
    "resume-check": runs.resume_check,
    "runs": runs.runs,
    "plot": runs.plot,
    "generate": text.generate,
    "chat": text.chat,
    "tokenizer train": tokenizer.train,
    "tokenizer encode": tokenizer.encode,
    "tokenizer decode": tokenizer.decode,
    "tokenizer trace": tokenizer.trace,
    "tokenizer convert": tokenizer.convert,
    "doctor": doctor,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    args = list(sys.argv[1:] if argv is None else argv)
    if not args or args[0] in ("-h", "--help", "help") or args in (["tokenizer", "-h"], ["tokenizer", "--help"]):
        print(_help())
        return 0
    if args[0] == "--version":
        from tinyllm import __version__

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
