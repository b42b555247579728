"""Inputs for every registered op, drawn from a seed by its own `samples`, and one call of it with its gradients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

import tinyllm.ops  # noqa: F401  (fills the registry)
from tinyllm import Tensor
from tinyllm.autograd import apply, grad
from tinyllm.op import Sample, registry

OPS = sorted(registry)


class RandomDraw:
    """The `draw` protocol of Op.samples from a seed; `grow` multiplies the sides of drawn shapes."""

    def __init__(self, seed: int, dtype: Any = np.float32, grow: int = 1) -> None:
        self.rng, self.dtype, self.grow = np.random.default_rng(seed), np.dtype(dtype), grow

    def shape(self, min_dims: int = 0, max_dims: int = 4, min_side: int = 0, max_side: int = 5) -> tuple[int, ...]:
        low = min_side if self.rng.random() < 0.1 else max(min_side, 1)
        ndim = self.integer(min_dims, max_dims)
        return tuple(self.grow * self.integer(low, max_side) for _ in range(ndim))

    def part_of(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        kept = [size if self.rng.random() < 0.5 else 1 for size in shape]
        return tuple(kept[self.integer(0, len(kept)) :])

    def array(
        self, shape: tuple[int, ...], low: float = -2.0, high: float = 2.0, avoid: Sequence[float] = ()
    ) -> np.ndarray:
        a = self.rng.uniform(low, high, shape)
        for point in avoid:
            a = np.where(np.abs(a - point) < 0.05, point + np.where(a < point, -0.05, 0.05), a)
        return np.asarray(a, self.dtype)

    def distinct(self, shape: tuple[int, ...]) -> np.ndarray:
        n = math.prod(shape)
        return np.asarray(self.rng.permutation(n).reshape(shape) * 0.1 - n * 0.05, self.dtype)

    def ints(self, shape: tuple[int, ...], low: int, high: int) -> np.ndarray:
        return np.asarray(self.rng.integers(low, high, shape))

    def bools(self, shape: tuple[int, ...]) -> np.ndarray:
        return np.asarray(self.rng.random(shape) < 0.6)

    def integer(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def choice(self, options: Sequence[Any]) -> Any:
        return options[self.integer(0, len(options) - 1)]


def drawn(name: str, seed: int, dtype: Any = np.float32, grow: int = 1) -> Sample:
    """A valid sample of the op."""
    return registry[name].samples(RandomDraw(seed, dtype, grow))


def everything(name: str, sample: Sample, gradients: bool = True) -> list[np.ndarray]:
    """The outputs of the op, and the gradients of its inputs for an outer gradient of ones."""
    inputs = [None if a is None else Tensor(a) for a in sample.args]
    gradients = gradients and registry[name].differentiable
    for v in inputs:
        if gradients and v is not None and v.dtype.kind == "f":
            v.requires_grad_()
    out = apply(registry[name], *inputs, **sample.attrs)
    outs = list(out) if isinstance(out, tuple) else [out]
    wanted = [v for v in inputs if v is not None and v.requires_grad]
    sources = [v for v in outs if v.requires_grad]
    seeds = [Tensor(np.ones(v.shape, v.dtype)) for v in sources]
    grads = grad(sources, wanted, seeds) if sources else ()
    return [v.array for v in outs] + [g.array for g in grads]
