"""Stochastic gradient descent (torch.optim.SGD)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .. import backend
from .._tensor import Tensor
from .optimizer import Group, Optimizer, zeros_like


class SGD(Optimizer):
    """d = g + weight_decay p;  with momentum: b = momentum b + (1 - dampening) d, d = d + momentum b if
    nesterov else b;  p -= lr d.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ):
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def _check(self, group: Group) -> None:
        for key, label in (
            ("lr", "learning rate"),
            ("momentum", "momentum value"),
            ("weight_decay", "weight_decay value"),
        ):
            if not group[key] >= 0:
                raise ValueError(f"Invalid {label}: {group[key]}")
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")

    def _update(self, params: list[Tensor], group: Group, grad_scale: float) -> None:
        for p in params:
            state = self.state[p]
            first = "momentum_buffer" not in state
            if first and group["momentum"]:
                state["momentum_buffer"] = zeros_like(p)
            backend.sgd_(
                p.array,
                p.grad.array,
                state["momentum_buffer"].array if group["momentum"] else None,
                group["lr"],
                group["momentum"],
                group["dampening"],
                group["weight_decay"],
                group["nesterov"],
                first,
                -grad_scale if group["maximize"] else grad_scale,
            )
