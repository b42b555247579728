"""Commands about runs: train, resume, plan, check, replay, list and plot."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from tinyllm.cli.arguments import parser
from tinyllm.errors import ConfigError

if TYPE_CHECKING:
    import argparse

    from tinyllm.config import Config


def train(args: Sequence[str]) -> int:
    """Train a GPT on a text: [--preset NAME | --resume RUN [--weights-only]] [--config FILE] [--section.key VALUE]"""
    from tinyllm import config

    start = None

    def base(chosen: argparse.Namespace) -> Config:
        nonlocal start
        if chosen.resume is None:
            if chosen.weights_only:
                raise ConfigError("--weights-only says what to take from a checkpoint: add --resume RUN")
            return config.preset(chosen.preset)
        from tinyllm.training.store import Store, find

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
    from tinyllm.training import train as run
    from tinyllm.training.plan import error

    result = run(settings, start=start, weights_only=chosen.weights_only)
    print(f"validation loss {result.val_loss:.4f} nats per token, {result.bits_per_byte:.4f} bits per byte")
    print(f"checkpoints: {result.directory}/checkpoints   curve: {result.directory}/loss.svg")
    if said := error(settings):
        print(said)
    return 0


def replay(args: Sequence[str]) -> int:
    """Make the step again at which a run met NaN or infinity, and say where it arose."""
    options = parser("replay", replay)
    options.add_argument("run", help="the directory of a run that failed")
    given = options.parse_args(args)
    from tinyllm.training.replay import replay as run

    said, same = run(given.run)
    print(said)
    return 0 if same else 1


def plan(args: Sequence[str]) -> int:
    """Predict time and memory of a run from a few seconds of it; options as for train."""
    from tinyllm import config

    settings, _ = _settings(
        "plan",
        args,
        lambda chosen: config.preset(chosen.preset),
        "Predict the time of a step, the memory and the total time of tinyllm train with the same options. "
        "What is found is left in training.out, and the run says at its end how far it was off.",
    )
    from tinyllm.training.plan import plan as run
    from tinyllm.training.plan import write

    made = run(settings)
    print(made.lines(settings))
    print(write(made, settings))
    return 0


def check(args: Sequence[str]) -> int:
    """Ask a model, or a configuration, the questions that a wrong one answers wrongly."""
    options = parser("check", check)
    options.add_argument(
        "model", help="a preset, a TOML file, a checkpoint, or the directory of a run (its newest one)"
    )
    given = options.parse_args(args)
    from tinyllm.training.check import check as run
    from tinyllm.training.check import subject
    from tinyllm.training.verdict import table

    found = list(run(*subject(given.model)))
    print(table(found))
    return 0 if all(verdict.good for verdict in found) else 1


def resume_check(args: Sequence[str]) -> int:
    """Show that a run killed at random steps and resumed ends byte for byte as one that is not."""
    import tempfile

    from tinyllm import config

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
    from tinyllm.training.resume_check import check
    from tinyllm.training.verdict import table

    with tempfile.TemporaryDirectory(prefix="tinyllm-") as directory:
        found = check(settings, directory, chosen.kills)
    print(table(found))
    return 0 if all(verdict.good for verdict in found) else 1


def runs(args: Sequence[str]) -> int:
    """List runs: how far each has come, and whether it is running, stopped or finished."""
    options = parser("runs", runs)
    options.add_argument("folder", nargs="?", default="runs", help="where to look (default: runs)")
    given = options.parse_args(args)
    from tinyllm.training.runs import find_runs, table

    found = find_runs(given.folder)
    if not found:
        raise ConfigError(f"no runs in {given.folder!r}: expected a folder below which `tinyllm train` has written")
    print(table(found))
    return 0


def plot(args: Sequence[str]) -> int:
    """Compare the curves of runs in one picture (SVG)."""
    options = parser("plot", plot)
    options.add_argument("runs", nargs="+", metavar="RUN", help="the directory of a run")
    options.add_argument("--out", default="runs.svg", help="where to write it (default: runs.svg)")
    given = options.parse_args(args)
    from tinyllm.training.runs import compare

    compare(given.runs, given.out)
    print(given.out)
    return 0


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
    import argparse

    from tinyllm import config

    own = argparse.ArgumentParser(f"tinyllm {name}", add_help=False, allow_abbrev=False)
    for option, how in {"--preset": {"default": "quick"}, "--config": {}, **options}.items():
        own.add_argument(option, **how)
    chosen, rest = own.parse_known_args(args)
    settings = base(chosen)
    if chosen.config is not None:
        settings = config.load(chosen.config, settings)
    return config.override(settings, rest, prog=f"tinyllm {name}", description=description), chosen
