"""Where did the first NaN come from? A step that went wrong is made again, with every op watched.

A step changes nothing before its gradient is known to be finite, and all that it depends on (weights, batch, random
streams) is there once more; so the second time shows what the first one did not look at, and looking costs nothing as
long as all is well.

An infinity is not wrong by itself: a mask may be one. What counts is a NaN or infinity that an op made of inputs
without.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..errors import NonFinite
from ..nn import Module
from ..recording import Observer

if TYPE_CHECKING:
    from ..tape import Node


class Finding(NamedTuple):
    """The first bad array: in which phase, of what op or parameter, in which module, and what it looks like."""

    phase: str
    op: str
    where: str
    what: str


class Watch(Observer):
    """Remembers the first op whose result is not finite though what it came from is."""

    def __init__(self) -> None:
        self.found: Finding | None = None
        self._path: list[str] = []
        self._places: dict[Node, str] = {}

    def enter(self, module: Any) -> None:
        self._path.append(module.path or type(module).__name__)

    def leave(self, module: Any) -> None:
        self._path.pop()

    def forward(self, node: Node, arrays: Sequence[np.ndarray | None], results: Sequence[np.ndarray]) -> None:
        self._places[node] = self._path[-1] if self._path else ""
        given = [x for x in node.attrs.values() if isinstance(x, float)]
        self._look("forward", node, [*arrays, *map(np.asarray, given)], results)

    def backward(
        self, node: Node, needs: Sequence[bool], incoming: Sequence[np.ndarray], results: Sequence[np.ndarray | None]
    ) -> None:
        self._look("backward", node, incoming, results)

    def _look(self, phase: str, node: Node, before: Iterable[Any], after: Iterable[np.ndarray | None]) -> None:
        if self.found is None:
            bad = next((x for x in after if x is not None and not finite(x)), None)
            if bad is not None and all(x is None or finite(x) for x in before):
                self.found = Finding(phase, node.op.__name__, self._places.get(node, ""), describe(bad))


def finite(x: np.ndarray) -> bool:
    """Whether no element is NaN or infinite."""
    return x.dtype.kind != "f" or bool(np.isfinite(x).all())


def describe(x: np.ndarray) -> str:
    """Shape, how many elements are NaN or infinite, and the first of them."""
    bad = ~np.isfinite(x)
    nan = int(np.isnan(x).sum())
    first = [int(i) for i in np.unravel_index(int(bad.argmax()), x.shape)]
    return f"shape {x.shape}, {nan} NaN and {int(bad.sum()) - nan} infinite of {x.size}, first at {first}"


def find(model: Module, again: Callable[[], Any]) -> Finding:
    """Where a step goes wrong first. `again` makes its gradient once more; no gradients are left behind."""
    for name, p in model.named_parameters():
        if not finite(p.array):
            return Finding("parameter", "", name, describe(p.array))
    watch = Watch()
    with np.errstate(all="ignore"), watch:
        again()
    sums = {name: p.grad.array for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    if watch.found is not None:
        return watch.found
    for name, gradient in sums.items():
        if not finite(gradient):
            return Finding("backward", "", name, f"a sum of finite gradients, {describe(gradient)}")
    with np.errstate(over="ignore"):
        squares = sum(float(np.square(x).sum()) for x in sums.values())
    if not math.isfinite(squares):
        return Finding("norm", "", "", "every gradient is finite, and the sum of their squares is not")
    return Finding("unknown", "", "", "made again, the step is finite: the machine's memory may be at fault")


def error(finding: Finding, step: int, loss: float, norm: float, batch: str, advice: str) -> NonFinite:
    """The error that a run ends with."""
    place = {
        "parameter": f"the parameter {finding.where} is not finite before the step",
        "forward": f"the first number that is not finite is in the forward of {finding.op}",
        "backward": f"the first number that is not finite is a gradient in the backward of {finding.op or 'a sum'}",
        "norm": "the norm of the gradient overflows",
        "unknown": "where is not known",
    }[finding.phase]
    inside = f" in {finding.where}" if finding.where and finding.phase != "parameter" else ""
    message = (
        f"step {step}: loss {loss}, gradient norm {norm}; {place}{inside} ({finding.what}). The batch was {batch}. "
        f"The weights are still those of step {step - 1}. {advice}"
    )
    return NonFinite(message, step, finding.phase, finding.op, finding.where)
