"""Adam (Kingma & Ba 2015) and AdamW, its form with decoupled weight decay (Loshchilov & Hutter 2019);
torch.optim's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .. import backend
from .._tensor import Tensor
from .optimizer import Group, Optimizer, zeros_like


class Adam(Optimizer):
    """m and v are running means of g and g^2;  p -= lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps).

    weight_decay adds weight_decay p to g; AdamW instead shrinks p by 1 - lr weight_decay.
    """

    decoupled = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        *,
        maximize: bool = False,
    ):
        defaults = {"lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        super().__init__(params, defaults)

    def _check(self, group: Group) -> None:
        for key, label in (("lr", "learning rate"), ("eps", "epsilon value"), ("weight_decay", "weight_decay value")):
            if not group[key] >= 0:
                raise ValueError(f"Invalid {label}: {group[key]}")
        for i, beta in enumerate(group["betas"]):
            if not 0.0 <= beta < 1.0:
                raise ValueError(f"Invalid beta parameter at index {i}: {beta}")

    def _update(self, params: list[Tensor], group: Group, grad_scale: float) -> None:
        states = [self.state[p] for p in params]
        for p, state in zip(params, states, strict=True):
            if not state:
                state.update(step=0, exp_avg=zeros_like(p), exp_avg_sq=zeros_like(p))
            state["step"] = int(state["step"]) + 1
        beta1, beta2 = group["betas"]
        backend.adam_(
            [p.array for p in params],
            [p.grad.array for p in params],
            [state["exp_avg"].array for state in states],
            [state["exp_avg_sq"].array for state in states],
            [state["step"] for state in states],
            group["lr"],
            beta1,
            beta2,
            group["eps"],
            group["weight_decay"],
            self.decoupled,
            -grad_scale if group["maximize"] else grad_scale,
        )


class AdamW(Adam):
    """Adam with decoupled weight decay, 0.01 by default."""

    decoupled = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        *,
        maximize: bool = False,
    ):
        super().__init__(params, lr, betas, eps, weight_decay, maximize=maximize)
