"""What a run will take, before it is made: time of a step, memory, and the whole, from a few seconds of calibration.

Every block of a model costs the same, so time and memory are a constant and a multiple of the number of blocks. Both
are measured with real steps of the same model with one block and with two, on the real batch, and drawn out to n_layer;
a model of one or two blocks is measured itself. Evaluations are counted in batches. `tinyllm plan` leaves what it found
in the run's directory, and `tinyllm train` says at its end by how much it was wrong.
"""

from __future__ import annotations

import gc
import json
import math
import os
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass

from .. import _io
from ..backend import memory
from ..config import Config, replace, to_dict
from ..data import TokenFile, WindowSampler, read_text
from .log import read_log
from .loop import Trainer, evaluate
from .run import Parts, prepare

NAME = "plan.json"
BUDGET_S = 5.0


@dataclass(frozen=True)
class Plan:
    """Predictions for a run. Seconds and bytes; `peak_bytes` is the most that the allocator gives out at once."""

    parameters: int
    step_seconds: float
    evaluation_seconds: float
    """All evaluations together."""
    total_seconds: float
    peak_bytes: int

    def lines(self, config: Config) -> str:
        """The plan for people."""
        t = config.training
        tokens = t.batch_size * t.accumulation * config.model.n_positions
        return "\n".join(
            (
                f"{self.parameters:,} parameters",
                f"{1000 * self.step_seconds:,.1f} ms a step of {tokens:,} tokens, "
                f"{tokens / self.step_seconds:,.0f} tokens/s",
                f"{self.peak_bytes / 2**20:,.0f} MB at once from the allocator",
                f"{_clock(self.total_seconds)} for {t.steps} steps, {_clock(self.evaluation_seconds)} of it evaluation",
            )
        )


@dataclass(frozen=True)
class Cost:
    """What one model was measured to take; `evaluation`: seconds a batch."""

    parameters: float
    step: float
    evaluation: float
    peak: float

    def at(self, blocks: int, two: Cost) -> Cost:
        """This one of a model with one block, drawn out through that of `two` blocks."""
        ours, theirs = asdict(self), asdict(two)
        return Cost(**{key: x + (blocks - 1) * (theirs[key] - x) for key, x in ours.items()})


def plan(config: Config) -> Plan:
    """Measure and predict. Raises ConfigError as a run would for a text that is too short."""
    blocks = config.model.n_layer
    with tempfile.TemporaryDirectory(prefix="tinyllm-") as folder:
        config = replace(config, training__out=folder)
        text = read_text(config.data.text)
        few = [measure(replace(config, model__n_layer=n), text) for n in ((1, 2) if blocks > 2 else (blocks,))]
        windows = math.ceil((_validation_tokens(folder) - 1) / config.model.n_positions)
    cost = few[0].at(blocks, few[1]) if blocks > 2 else few[0]
    t = config.training
    whole = math.ceil(windows / t.batch_size)
    some = min(t.eval_batches, whole) if t.eval_batches else whole
    evaluation = cost.evaluation * (whole + some * ((t.steps - 1) // t.eval_every))
    return Plan(round(cost.parameters), cost.step, evaluation, cost.step * t.steps + evaluation, round(cost.peak))


def measure(config: Config, text: str) -> Cost:
    """The cost of a model as it stands, from two steps or more."""
    gc.collect()
    before = memory.live_bytes()
    parts = prepare(config, text, None, None)
    trainer = _trainer(config, parts)
    memory.reset_peak()
    trainer.train_step()  # slow, its pages are fresh, and without the optimizer's state until its end
    times: list[float] = []
    while len(times) < 1 or (sum(times) < BUDGET_S / 3 and len(times) < 200):
        began = time.perf_counter()
        trainer.train_step()
        times.append(time.perf_counter() - began)
    began, batches = time.perf_counter(), 2
    evaluate(parts.model, parts.validation, config.model.n_positions, config.training.batch_size, batches)
    evaluation = (time.perf_counter() - began) / batches
    return Cost(parts.model.num_parameters(), statistics.median(times), evaluation, memory.peak_bytes() - before)


def _trainer(config: Config, parts: Parts) -> Trainer:
    sampler = WindowSampler(parts.tokens, config.model.n_positions, config.training.seed)
    parts.model.train()
    return Trainer(parts.model, sampler, parts.validation, config.optimizer, config.training)


def _validation_tokens(folder: str) -> int:
    return len(TokenFile(os.path.join(folder, "val.tokens")))


def write(made: Plan, config: Config) -> str:
    """Leave a plan in the directory of its run; returns the path."""
    _io.make_directory(config.training.out)
    path = os.path.join(config.training.out, NAME)
    _io.write_atomic(path, json.dumps({"plan": asdict(made), "config": to_dict(config)}, indent=1) + "\n")
    return path


def error(config: Config) -> str | None:
    """How far the plan that lies with a finished run was off, as a line; None if there is no plan of this one."""
    try:
        with open(os.path.join(config.training.out, NAME), encoding="utf-8") as file:
            found = json.load(file)
        if found["config"] != to_dict(config):
            return None
        made = Plan(**found["plan"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    t = config.training
    records = read_log(t.out)
    rates = [r["tokens_per_second"] for r in records[1:] if "tokens_per_second" in r]
    step = t.batch_size * t.accumulation * config.model.n_positions / statistics.median(rates)
    facts = (
        ("step", made.step_seconds, step, lambda x: f"{1000 * x:,.1f} ms"),
        ("total", made.total_seconds, records[-1]["seconds"], _clock),
        ("memory", made.peak_bytes, max(r.get("peak_bytes", 0) for r in records), lambda x: f"{x / 2**20:,.0f} MB"),
    )
    parts = [f"{name} {show(x)}, was {show(was)} ({100 * (x / was - 1):+.1f} %)" for name, x, was, show in facts]
    return "planned: " + "; ".join(parts)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"
