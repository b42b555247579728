"""The training loop: batches, gradients that count every token once, a schedule, clipping, evaluation.

The loss of a step is the sum over its tokens divided by their number, and the number is known before the
first micro-batch: k micro-batches of b sequences give the gradient of one batch of k*b, also where they hold
unequal numbers of tokens (a mean of means would not). The same holds over processes: what a loop must ask of
them is the `Runtime`, whose default is one process. Not here: what to train on (run.py), files
(checkpoint.py, log.py).

Shapes: B sequences of a micro-batch, T tokens, V vocabulary. Targets of -100 are not counted.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import Tensor, backend, random
from ..autograd import no_grad
from ..config import OptimizerConfig, TrainingConfig
from ..data import WindowSampler, windows
from ..data.sampler import Tokens
from ..errors import NonFinite
from ..nn import Module
from ..optim import AdamW, clip_scale, weight_decay_groups
from ..optim.lr_scheduler import warmup_cosine
from . import nan_guard
from .log import memory_by_kind, resident_bytes

IGNORE = -100
MicroBatch = tuple[np.ndarray, np.ndarray]


class Runtime:
    """What the loop asks of the processes it runs on; this one is a single process. Parallel engines subclass
    it.
    """

    rank = 0
    world_size = 1

    def total(self, value: float) -> float:
        """The sum of `value` over all processes."""
        return value

    def no_sync(self) -> contextlib.AbstractContextManager[Any]:
        """Within it a backward pass need not exchange gradients: another micro-batch of the step follows."""
        return contextlib.nullcontext()

    def gradient_norm(self, gradients: Sequence[np.ndarray]) -> float:
        """The 2-norm of the whole gradient, whichever process holds which part."""
        return math.sqrt(self.total(backend.sum_squares(gradients)))


def learning_rate(step: int, steps: int, config: OptimizerConfig) -> float:
    """Linear warmup, then cosine decay to min_lr, for step 0 .. steps - 1 (nanoGPT's lr_decay_iters is `steps`)."""
    return warmup_cosine(step, config.learning_rate, config.warmup_steps, steps, config.min_lr)


def make_optimizer(model: Module, config: OptimizerConfig) -> AdamW:
    """AdamW that decays parameters of two or more dimensions (matrices and embeddings), not the rest."""
    groups = weight_decay_groups(model.named_parameters(), config.weight_decay)
    return AdamW(groups, lr=config.learning_rate, betas=(config.beta1, config.beta2), eps=config.eps)


def summed_loss(model: Module, inputs: np.ndarray, targets: np.ndarray) -> Tensor:
    """The sum of -log p(target) over the counted targets of a micro-batch, in nats; 0-d."""
    return model.loss(inputs, targets, reduction="sum")


def accumulate(
    model: Module, micro_batches: Sequence[MicroBatch], runtime: Runtime, step: int = 0, first_row: int = 0
) -> tuple[float, int]:
    """Add the gradient of the mean loss over all tokens of the step to `.grad`; return that loss and the number of
    tokens.

    The micro-batches are rows `first_row` on of the step's whole batch, and random streams are those of `step`: a
    micro-batch sees its part of the dropout masks of the whole.
    """
    tokens = int(runtime.total(sum(int(np.count_nonzero(targets != IGNORE)) for _, targets in micro_batches)))
    if tokens == 0:
        raise ValueError("a step without a single target: every one of its targets is ignored")
    loss = 0.0
    for i, (inputs, targets) in enumerate(micro_batches):
        last = i == len(micro_batches) - 1
        random.set_step(step, first_row)
        first_row += len(inputs)
        with contextlib.nullcontext() if last else runtime.no_sync():
            part = summed_loss(model, inputs, targets) / tokens
            part.backward()
        loss += part.item()
    random.set_step(step)  # whatever is drawn next is no micro-batch
    return runtime.total(loss), tokens


class _Stopped(Exception):
    """Leaves an evaluation whose run is to stop."""


def evaluate(
    model: Module,
    tokens: Tokens,
    length: int,
    batch_size: int,
    batches: int = 0,
    before_batch: Callable[[], None] = lambda: None,
) -> float:
    """Mean loss in nats per token over consecutive windows: the whole split, each token once, or `batches`
    batches spread over it. `before_batch` is called before each and may raise.
    """
    was_training = model.training
    model.eval()
    stride = 1
    if batches:
        stride = max(1, math.ceil((len(tokens) - 1) / (length * batch_size)) // batches)
    total, count = 0.0, 0
    try:
        with no_grad():
            for inputs, targets in itertools.islice(windows(tokens, length, batch_size, stride), batches or None):
                before_batch()
                total += summed_loss(model, inputs, targets).item()
                count += targets.size
    finally:
        model.train(was_training)
    if not count:
        raise ValueError("nothing to evaluate: a split holds two tokens at least")
    return total / count


class Trainer:
    """Steps of one model on one sampler. `step` counts what has been done; `run` goes on to the last one.

    `on_record` is called with each log record (see log.py), and `on_save` when a checkpoint is due, after the records
    of its step. `stop` makes `run` return early, after a save.
    """

    def __init__(
        self,
        model: Module,
        sampler: WindowSampler,
        validation: Tokens,
        optimizer: OptimizerConfig,
        training: TrainingConfig,
        *,
        runtime: Runtime | None = None,
        bytes_per_token: float | None = None,
        on_record: Callable[[dict[str, Any]], None] | None = None,
        on_save: Callable[[Trainer], None] | None = None,
    ):
        self.model, self.sampler, self.validation = model, sampler, validation
        self.schedule, self.training = optimizer, training
        self.optimizer = make_optimizer(model, optimizer)
        self.runtime = runtime or Runtime()
        self.bytes_per_token = bytes_per_token
        self.on_record, self.on_save = on_record, on_save
        self.step = 0
        self.tokens = 0
        """Targets trained on so far."""
        self.seconds = 0.0
        """Time spent in `run` so far, over all processes that the training went through."""
        self.val_loss = math.nan
        """The last evaluation, in nats per token; `evaluated` is its step."""
        self.evaluated = 0
        self._saved = 0
        self._stopping = False
        self.parameters = [p for p in model.parameters() if p.requires_grad]

    @property
    def first_row(self) -> int:
        """The number, in the step's whole batch, of the first window that this process takes."""
        return self.runtime.rank * self.training.accumulation * self.training.batch_size

    def micro_batches(self) -> list[MicroBatch]:
        """This process's share of the step's windows, cut into micro-batches."""
        size = self.training.batch_size
        return [self.sampler.next_batch(self.first_row + i * size, size) for i in range(self.training.accumulation)]

    def train_step(self) -> dict[str, Any]:
        """One optimizer step. Returns loss (nats per token), gradient norm before clipping, learning rate,
        tokens.

        Raises NonFinite before the weights are touched if the loss or the gradient is not finite.
        """
        lr = learning_rate(self.step, self.training.steps, self.schedule)
        # Step 0 of the random streams is for initial weights; training step n draws from n + 1.
        batches = self.micro_batches()
        loss, tokens = accumulate(self.model, batches, self.runtime, self.step + 1, self.first_row)
        gradients = [p.grad.array for p in self.parameters if p.grad is not None]
        norm = self.runtime.gradient_norm(gradients)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            self.optimizer.zero_grad()
            raise self._non_finite(batches, loss, norm, lr)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.step(grad_scale=clip_scale(norm, self.schedule.grad_clip) if self.schedule.grad_clip else 1.0)
        self.optimizer.zero_grad()
        self.sampler.advance()
        self.step += 1
        self.tokens += tokens
        return {"loss": loss, "grad_norm": norm, "lr": lr, "tokens": tokens}

    def _non_finite(self, batches: list[MicroBatch], loss: float, norm: float, lr: float) -> NonFinite:
        finding = nan_guard.find(
            self.model, lambda: accumulate(self.model, batches, self.runtime, self.step + 1, self.first_row)
        )
        rows = sum(len(inputs) for inputs, _ in batches)
        batch = f"windows {self.first_row} to {self.first_row + rows - 1} of the sampler's step {self.sampler.step}"
        advice = f"A smaller learning rate or more warmup usually helps (now {lr:.2e})"
        return nan_guard.error(finding, self.step + 1, loss, norm, batch, advice)

    def evaluate(self, batches: int = 0) -> float:
        """Validation loss in nats per token: the whole split, or `batches` batches spread over it."""
        return evaluate(
            self.model, self.validation, self.sampler.length, self.training.batch_size, batches, self._check_stop
        )

    def _check_stop(self) -> None:
        if self._stopping:
            raise _Stopped

    def run(self) -> float:
        """Train to the last step, with records, evaluations and saves on the way; returns the loss on the whole
        validation split, or NaN if `stop` came first.

        What is due after a step follows from the state alone, so that a run that goes on from a checkpoint makes up
        for what the one before was kept from.
        """
        config, clock = self.training, time.perf_counter
        began = clock() - self.seconds
        since, tokens_since = clock(), self.tokens
        self.model.train()
        while True:
            last = self.step >= config.steps
            paused = clock()
            if self.evaluated != self.step and (last or self.step % config.eval_every == 0) and not self._stopping:
                self._evaluate(last, began)
            self.seconds = clock() - began
            if self.finishing or self.step % config.save_every == 0:
                self.save()
            if self.finishing:
                return self.val_loss if self.evaluated == config.steps else math.nan
            since += clock() - paused  # neither counts as training time
            result = self.train_step()
            if self.step == config.steps or self.step == 1 or self.step % config.log_every == 0:
                now = clock()
                rate = (self.tokens - tokens_since) / max(now - since, 1e-9)
                since, tokens_since = now, self.tokens
                self._record(began, loss=result["loss"], lr=result["lr"], grad_norm=result["grad_norm"],
                             tokens_per_second=rate, rss_bytes=resident_bytes(), **memory_by_kind())  # fmt: skip

    def stop(self) -> None:
        """Make `run` save and return after the step, or within the evaluation, that it is in. A signal handler may
        call it.
        """
        self._stopping = True

    @property
    def finishing(self) -> bool:
        """Whether no step follows in this call of `run`."""
        return self._stopping or self.step >= self.training.steps

    def _evaluate(self, last: bool, began: float) -> None:
        with contextlib.suppress(_Stopped):
            self.val_loss = self.evaluate(0 if last else self.training.eval_batches)
            self.evaluated = self.step
            bits = {} if self.bytes_per_token is None else {"bits_per_byte": self.bits_per_byte(self.val_loss)}
            self._record(began, val_loss=self.val_loss, **bits)

    def save(self) -> None:
        """Have a checkpoint of this step saved, unless that was done."""
        if self._saved != self.step:
            self._saved = self.step
            if self.on_save is not None:
                self.on_save(self)

    def state_dict(self) -> dict[str, Any]:
        """All that decides how the run goes on, but for the model and the optimizer: counters, cursor, streams."""
        return {
            "step": self.step,
            "tokens": self.tokens,
            "seconds": self.seconds,
            "evaluated": self.evaluated,
            "val_loss": self.val_loss if self.evaluated else None,
            "sampler": self.sampler.state_dict(),
            "random": random.default_generator.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on exactly where `state_dict` was taken. Raises ValueError if the data is other data."""
        self.sampler.load_state_dict(state["sampler"])
        random.default_generator.load_state_dict(state["random"])
        self.step = self._saved = state["step"]
        self.tokens, self.seconds, self.evaluated = state["tokens"], state["seconds"], state["evaluated"]
        self.val_loss = math.nan if state["val_loss"] is None else state["val_loss"]

    def bits_per_byte(self, nats_per_token: float) -> float:
        """Loss that does not depend on the tokenizer: nats per token / ln 2 / bytes per token."""
        if self.bytes_per_token is None:
            raise ValueError("bits per byte need the number of bytes per token of the validation text")
        return nats_per_token / math.log(2) / self.bytes_per_token

    def _record(self, began: float, **values: Any) -> None:
        if self.on_record is not None:
            seconds = round(time.perf_counter() - began, 3)
            self.on_record({"step": self.step, "tokens": self.tokens, "seconds": seconds, **values})
