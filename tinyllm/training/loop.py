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
from ..nn import Module
from ..optim import AdamW, clip_scale, weight_decay_groups
from ..optim.lr_scheduler import warmup_cosine
from .log import resident_bytes

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
    tokens = int(runtime.total(sum(int((targets != IGNORE).sum()) for _, targets in micro_batches)))
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


def evaluate(model: Module, tokens: Tokens, length: int, batch_size: int, batches: int = 0) -> float:
    """Mean loss in nats per token over consecutive windows: the whole split, each token once, or `batches`
    batches spread over it.
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
                total += summed_loss(model, inputs, targets).item()
                count += targets.size
    finally:
        model.train(was_training)
    if not count:
        raise ValueError("nothing to evaluate: a split holds two tokens at least")
    return total / count


class Trainer:
    """Steps of one model on one sampler. `step` counts what has been done; `run` goes on to the last one.

    `on_record` is called with each log record (see log.py) and `on_evaluation` after each evaluation, before
    its record.
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
        on_evaluation: Callable[[Trainer, float], None] | None = None,
    ):
        self.model, self.sampler, self.validation = model, sampler, validation
        self.schedule, self.training = optimizer, training
        self.optimizer = make_optimizer(model, optimizer)
        self.runtime = runtime or Runtime()
        self.bytes_per_token = bytes_per_token
        self.on_record, self.on_evaluation = on_record, on_evaluation
        self.step = 0
        self.tokens = 0
        """Targets trained on so far."""
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

        Raises FloatingPointError before the weights are touched if the loss or the gradient is not finite.
        """
        lr = learning_rate(self.step, self.training.steps, self.schedule)
        # Step 0 of the random streams is for initial weights; training step n draws from n + 1.
        loss, tokens = accumulate(self.model, self.micro_batches(), self.runtime, self.step + 1, self.first_row)
        gradients = [p.grad.array for p in self.parameters if p.grad is not None]
        norm = self.runtime.gradient_norm(gradients)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            self.optimizer.zero_grad()
            raise FloatingPointError(
                f"step {self.step + 1}: loss {loss}, gradient norm {norm}; the weights are still those of "
                f"step {self.step}. A smaller learning rate or more warmup usually helps (now {lr:.2e})"
            )
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.step(grad_scale=clip_scale(norm, self.schedule.grad_clip) if self.schedule.grad_clip else 1.0)
        self.optimizer.zero_grad()
        self.sampler.advance()
        self.step += 1
        self.tokens += tokens
        return {"loss": loss, "grad_norm": norm, "lr": lr, "tokens": tokens}

    def evaluate(self, batches: int = 0) -> float:
        """Validation loss in nats per token: the whole split, or `batches` batches spread over it."""
        return evaluate(self.model, self.validation, self.sampler.length, self.training.batch_size, batches)

    def run(self) -> float:
        """Train to the last step, with records and evaluations on the way; returns the loss on the whole
        validation split.
        """
        config, began = self.training, time.perf_counter()
        since, tokens_since, val_loss = began, self.tokens, math.nan
        self.model.train()
        while self.step < config.steps:
            result = self.train_step()
            last = self.step == config.steps
            if last or self.step == 1 or self.step % config.log_every == 0:
                now = time.perf_counter()
                rate = (self.tokens - tokens_since) / max(now - since, 1e-9)
                since, tokens_since = now, self.tokens
                self._record(began, loss=result["loss"], lr=result["lr"], grad_norm=result["grad_norm"],
                             tokens_per_second=rate, rss_bytes=resident_bytes())  # fmt: skip
            if last or self.step % config.eval_every == 0:
                paused = time.perf_counter()
                val_loss = self.evaluate(0 if last else config.eval_batches)
                bits = {} if self.bytes_per_token is None else {"bits_per_byte": self.bits_per_byte(val_loss)}
                if self.on_evaluation is not None:
                    self.on_evaluation(self, val_loss)
                self._record(began, val_loss=val_loss, **bits)
                since += time.perf_counter() - paused  # evaluation does not count as training time
        return val_loss

    def bits_per_byte(self, nats_per_token: float) -> float:
        """Loss that does not depend on the tokenizer: nats per token / ln 2 / bytes per token."""
        if self.bytes_per_token is None:
            raise ValueError("bits per byte need the number of bytes per token of the validation text")
        return nats_per_token / math.log(2) / self.bytes_per_token

    def _record(self, began: float, **values: Any) -> None:
        if self.on_record is not None:
            seconds = round(time.perf_counter() - began, 3)
            self.on_record({"step": self.step, "tokens": self.tokens, "seconds": seconds, **values})
