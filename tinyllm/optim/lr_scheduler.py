"""Learning-rate schedules (torch.optim.lr_scheduler).

Each schedule is a function of the step number alone, `lr_at(base_lr, t)`, so a run that resumes at step t
has exactly the rate of one that never stopped. Making a scheduler sets the rates for step 0; each `step()`
moves on by one. `base_lr` of a group is its "initial_lr", the rate it had when the first scheduler was
made.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Sequence
from typing import Any

from .optimizer import Optimizer


class LRScheduler:
    """Base: a subclass defines `lr_at(base_lr, t, group)`. `last_epoch` is the step the rates now stand at."""

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1):
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{type(optimizer).__name__} is not an Optimizer")
        self.optimizer = optimizer
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise KeyError(f"param 'initial_lr' is not specified in param_groups[{i}] when resuming an optimizer")
        self.base_lrs = [float(group["initial_lr"]) for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self.step()

    def lr_at(self, base_lr: float, t: int, group: int) -> float:
        """The rate of parameter group number `group` at step t >= 0."""
        raise NotImplementedError

    def step(self) -> None:
        """Move on to the next step and set the rates."""
        self.last_epoch += 1
        self._apply()

    def _apply(self) -> None:
        for i, (group, base) in enumerate(zip(self.optimizer.param_groups, self.base_lrs, strict=True)):
            group["lr"] = self.lr_at(base, self.last_epoch, i)

    def get_last_lr(self) -> list[float]:
        """The rate of each group now."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """What a resume needs: the step and the base rates. Settings come from the constructor."""
        return {"last_epoch": self.last_epoch, "base_lrs": list(self.base_lrs)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Stand where `state_dict` was taken, and set the rates."""
        self.last_epoch, self.base_lrs = state_dict["last_epoch"], list(state_dict["base_lrs"])
        self._apply()


class LambdaLR(LRScheduler):
    """base_lr * lr_lambda(t); one function, or one for each group."""

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]],
        last_epoch: int = -1,
    ):
        n = len(optimizer.param_groups)
        self.lr_lambdas = [lr_lambda] * n if callable(lr_lambda) else list(lr_lambda)
        if len(self.lr_lambdas) != n:
            raise ValueError(f"Expected {n} lr_lambdas, but got {len(self.lr_lambdas)}")
        super().__init__(optimizer, last_epoch)

    def lr_at(self, base_lr: float, t: int, group: int) -> float:
        """base_lr * lambda(t)."""
        return base_lr * self.lr_lambdas[group](t)


class StepLR(LRScheduler):
    """base_lr * gamma^(t // step_size)."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1):
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def lr_at(self, base_lr: float, t: int, group: int) -> float:
        """base_lr * gamma^(t // step_size)."""
        return base_lr * self.gamma ** (t // self.step_size)


class MultiStepLR(LRScheduler):
    """base_lr * gamma^(how many milestones are at or before t)."""

    def __init__(self, optimizer: Optimizer, milestones: Sequence[int], gamma: float = 0.1, last_epoch: int = -1):
        self.milestones, self.gamma = sorted(milestones), gamma
        super().__init__(optimizer, last_epoch)

    def lr_at(self, base_lr: float, t: int, group: int) -> float:
        """base_lr * gamma^(milestones passed)."""
        return base_lr * self.gamma ** bisect.bisect_right(self.milestones, t)


class ExponentialLR(LRScheduler):
    """base_lr * gamma^t."""

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1):
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def lr_at(self, base_lr: float, t: int, group: int) -> float:
        """base_lr * gamma^t."""
        return base_lr * self.gamma**t


class ConstantLR(LRScheduler):
    """base_lr * factor for total_iters steps, then base_lr."""

    def __init__(self, optimizer: Optimizer, factor: float = 1.0 / 3, total_iters: int = 5, last_epoch: int = -1):
        if not 0 <= factor <= 1:
            raise ValueError(f"Constant multiplicative factor expected to be between 0 and 1, got {factor}")
        self.factor, self.total_iters = factor, total_iters
        super().__init__(optimizer, last_epoch)

    def lr_at(self, base_lr: float, t: int, group: int) -> float:
        """base_lr * factor before total_iters."""
        return base_lr * (self.factor if t < self.total_iters else 1.0)


class LinearLR(LRScheduler):
    """base_lr times a factor that runs linearly from start_factor to end_factor over total_iters steps,
    then stays.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ):
        if not 0 < start_factor <= 1:
            raise ValueError(
                f"Starting multiplicative factor expected to be greater than 0 and at most 1, got {start_factor}"
            )
        if not 0 <= end_factor <= 1:
            raise ValueError(f"Ending multiplicative factor expected to be between 0 and 1, got {end_factor}")
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer, last_epoch)

    def lr_at(self, base_lr: float, t: int, group: int) -> float:
        """Linear in min(t, total_iters)."""
        done = min(t, self.total_iters) / self.total_iters if self.total_iters else 1.0
        return base_lr * (self.start_factor + (self.end_factor - self.start_factor) * done)


class CosineAnnealingLR(LRScheduler):
    """eta_min + (base_lr - eta_min) (1 + cos(pi t / T_max)) / 2 (Loshchilov & Hutter 2017); rises again
    beyond T_max, as PyTorch's does.
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1):
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def lr_at(self, base_lr: float, t: int, group: int) -> float:
        """Half a cosine."""
        return self.eta_min + (base_lr - self.eta_min) * (1 + math.cos(math.pi * t / self.T_max)) / 2


class WarmupCosine(LRScheduler):
    """Linear warmup to base_lr over `warmup` steps, half a cosine down to `min_lr` at `total`, then min_lr:
    nanoGPT's get_lr.

    Step t of the warmup has base_lr (t + 1) / (warmup + 1), so the first step is not lost on a rate of 0.
    `min_lr` is absolute.
    """

    def __init__(self, optimizer: Optimizer, warmup: int, total: int, min_lr: float = 0.0, last_epoch: int = -1):
        if not 0 <= warmup <= total:
            raise ValueError(f"need 0 <= warmup <= total steps, got warmup={warmup}, total={total}")
        self.warmup, self.total, self.min_lr = warmup, total, min_lr
        super().__init__(optimizer, last_epoch)

    def lr_at(self, base_lr: float, t: int, group: int) -> float:
        """Warmup, cosine, floor."""
        return warmup_cosine(t, base_lr, self.warmup, self.total, self.min_lr)


def warmup_cosine(t: int, lr: float, warmup: int, total: int, min_lr: float = 0.0) -> float:
    """The rate of WarmupCosine at step t."""
    if t < warmup:
        return lr * (t + 1) / (warmup + 1)
    if t >= total:
        return min_lr
    done = (t - warmup) / (total - warmup)
    return min_lr + 0.5 * (1.0 + math.cos(math.pi * done)) * (lr - min_lr)


class SequentialLR(LRScheduler):
    """Schedulers one after another: the one at position i takes over at milestones[i - 1] and counts from
    there.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: Sequence[LRScheduler],
        milestones: Sequence[int],
        last_epoch: int = -1,
    ):
        if not schedulers:
            raise ValueError("SequentialLR expects at least one scheduler to be chained, but got no scheduler.")
        if any(s.optimizer is not optimizer for s in schedulers):
            raise ValueError("SequentialLR expects all schedulers to belong to its own optimizer")
        if len(milestones) != len(schedulers) - 1:
            raise ValueError(
                f"{len(schedulers)} schedulers need {len(schedulers) - 1} milestones, got {len(milestones)}"
            )
        if list(milestones) != sorted(milestones):
            raise ValueError(f"milestones must not decrease, got {list(milestones)}")
        self.schedulers, self.milestones = list(schedulers), list(milestones)
        super().__init__(optimizer, last_epoch)

    def lr_at(self, base_lr: float, t: int, group: int) -> float:
        """The rate of the scheduler in charge at t."""
        i = bisect.bisect_right(self.milestones, t)
        return self.schedulers[i].lr_at(base_lr, t - (self.milestones[i - 1] if i else 0), group)
