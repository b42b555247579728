"""Initialisers (torch.nn.init), as rules that can make any slice of a parameter again.

Each function draws a random stream, records on the parameter the `Rule` that its numbers follow, and makes
them. Element i of a rule depends on the stream and on i alone, i counting in the whole parameter (C order):
a process that holds rows 100 to 200 makes just those, and they are the rows that one process would have.

Inside ``with deferred():`` parameters get their rule and no storage; `materialize(module)` makes the
numbers later.

fan_in and fan_out of a weight (out, in, *kernel) are in * prod(kernel) and out * prod(kernel).
Sources: Glorot & Bengio 2010 (xavier), He et al. 2015 (kaiming).
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import backend
from .._tensor import Tensor
from ..autograd import no_grad
from ..random import Draw, Generator, default_generator
from .parameter import Parameter

if TYPE_CHECKING:
    from .module import Module

_ELEMENTS_AT_ONCE = 1 << 20  # elements made at a time for a slice, so that no process needs the whole
_local = threading.local()


@dataclass(frozen=True)
class Rule:
    """How a parameter's first numbers are made.

    kind "constant": a. "uniform": from [a, b). "normal": mean a, standard deviation b. "trunc_normal":
    that, cut to [low, high]. `shape` is the global shape; `draw` is None for a constant. Row `zero_row` of
    the first axis, if any, is 0 (an embedding's padding).
    """

    kind: str
    shape: tuple[int, ...]
    a: float = 0.0
    b: float = 1.0
    low: float = -math.inf
    high: float = math.inf
    draw: Draw | None = None
    zero_row: int | None = None

    def make(self, index: Sequence[slice] = (), dtype: Any = np.float32) -> np.ndarray:
        """The slice `index` (slices of step 1, one an axis; missing ones mean all) of the parameter, as a
        fresh array.
        """
        dtype = np.dtype(dtype)
        spans = [slice(None)] * len(self.shape)
        spans[: len(index)] = index
        bounds = [s.indices(n) for s, n in zip(spans, self.shape, strict=True)]
        if any(step != 1 for _, _, step in bounds):
            raise ValueError(f"a slice of a parameter has step 1, got {tuple(index)}")
        want = tuple(max(0, stop - start) for start, stop, _ in bounds)
        out = self._make(bounds, want, dtype)
        if self.zero_row is not None and bounds[0][0] <= self.zero_row < bounds[0][1]:
            row = out[self.zero_row - bounds[0][0] :][:1]
            backend.assign(row, backend.full(row.shape, 0, dtype))
        return out

    def _make(self, bounds: list[tuple[int, int, int]], want: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        if self.kind == "constant":
            return backend.full(want, self.a, dtype)
        if not self.shape or want[1:] == self.shape[1:]:  # whole rows: one run of the stream
            first = bounds[0][0] * math.prod(self.shape[1:]) if self.shape else 0
            return self._run(want, first, dtype)
        out = backend.empty(want, dtype)
        row = math.prod(self.shape[1:])
        at_once = max(1, _ELEMENTS_AT_ONCE // max(row, 1))
        inner = tuple(slice(start, start + n) for (start, _, _), n in zip(bounds[1:], want[1:], strict=True))
        for done in range(0, want[0], at_once):
            n = min(at_once, want[0] - done)
            rows = self._run((n, *self.shape[1:]), (bounds[0][0] + done) * row, dtype)
            backend.assign(out[done : done + n], rows[(slice(None), *inner)])
        return out

    def _run(self, shape: tuple[int, ...], base: int, dtype: np.dtype) -> np.ndarray:
        assert self.draw is not None
        with no_grad():
            if self.kind == "normal":
                x = Tensor(backend.normal(shape, dtype, *self.draw, base=base))
                return (x * self.b + self.a).array
            if self.kind == "uniform":
                x = Tensor(backend.uniform(shape, dtype, *self.draw, base=base))
                return (x * (self.b - self.a) + self.a).array
            u = Tensor(backend.uniform(shape, np.dtype(np.float64), *self.draw, base=base))
            return backend.copy(self._truncated(u).array, dtype)

    def _truncated(self, u: Tensor) -> Tensor:
        """Inverse of the normal distribution between the cuts: Winitzki's approximation of erfinv, then
        Newton's method on erf.
        """
        lo, hi = (math.erf((cut - self.a) / (self.b * math.sqrt(2))) for cut in (self.low, self.high))
        y = u * (hi - lo) + (lo + 2.0**-25 * (hi - lo))  # off the ends, where erfinv is infinite
        ln = ((1 - y) * (1 + y)).log()
        t = 2 / (math.pi * 0.147) + ln / 2
        x = y.sign() * ((t * t - ln / 0.147).sqrt() - t).clamp(0.0).sqrt()
        for _ in range(3):
            x = x - (x.erf() - y) * (x * x).exp() * (math.sqrt(math.pi) / 2)
        return (x * (self.b * math.sqrt(2)) + self.a).clamp(self.low, self.high)


@contextmanager
def deferred() -> Iterator[None]:
    """Inside, new parameters get a rule and no storage (see `materialize`)."""
    before, _local.deferred = is_deferred(), True
    try:
        yield
    finally:
        _local.deferred = before


def is_deferred() -> bool:
    """Whether this thread is inside `deferred()`."""
    return getattr(_local, "deferred", False)


def materialize(module: Module) -> None:
    """Give every deferred parameter of `module` the numbers its rule describes."""
    for p in module.parameters():
        p.materialize()


def _fill(tensor: Tensor, rule: Rule) -> Tensor:
    if isinstance(tensor, Parameter):
        tensor.rule = rule
        if tensor.deferred:
            return tensor if is_deferred() else tensor.materialize()
    with no_grad():
        tensor[...] = Tensor(rule.make(dtype=tensor.array.dtype))
    return tensor


def _draw(generator: Generator | None) -> Draw:
    return (generator or default_generator).next("init")


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Fill with `val`."""
    return _fill(tensor, Rule("constant", tensor.array.shape, val))


def zeros_(tensor: Tensor) -> Tensor:
    """Fill with 0."""
    return constant_(tensor, 0.0)


def ones_(tensor: Tensor) -> Tensor:
    """Fill with 1."""
    return constant_(tensor, 1.0)


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Draw from U[a, b)."""
    return _fill(tensor, Rule("uniform", tensor.array.shape, a, b, draw=_draw(generator)))


def normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    generator: Generator | None = None,
    *,
    zero_row: int | None = None,
) -> Tensor:
    """Draw from N(mean, std^2); row `zero_row`, if given, is 0."""
    return _fill(tensor, Rule("normal", tensor.array.shape, mean, std, draw=_draw(generator), zero_row=zero_row))


def trunc_normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Generator | None = None,
) -> Tensor:
    """Draw from N(mean, std^2) conditioned on [a, b] (absolute bounds, not multiples of std)."""
    if not a < b or std <= 0:
        raise ValueError(f"trunc_normal_ needs a < b and std > 0, got a={a}, b={b}, std={std}")
    return _fill(tensor, Rule("trunc_normal", tensor.array.shape, mean, std, a, b, _draw(generator)))


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor by which `nonlinearity` shrinks the standard deviation of its input (PyTorch's table)."""
    if nonlinearity in ("linear", "sigmoid") or nonlinearity.startswith("conv"):
        return 1.0
    if nonlinearity == "tanh":
        return 5.0 / 3
    if nonlinearity == "relu":
        return math.sqrt(2.0)
    if nonlinearity == "leaky_relu":
        return math.sqrt(2.0 / (1 + (0.01 if param is None else param) ** 2))
    if nonlinearity == "selu":
        return 3.0 / 4
    raise ValueError(f"unsupported nonlinearity {nonlinearity!r}; known: linear, sigmoid, tanh, relu, leaky_relu, selu")


def fans(tensor: Tensor) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight with at least two axes."""
    shape = tensor.array.shape
    if len(shape) < 2:
        raise ValueError(
            f"fan in and fan out can not be computed for a tensor with fewer than 2 dimensions, got shape {shape}"
        )
    kernel = math.prod(shape[2:])
    return shape[1] * kernel, shape[0] * kernel


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """U(-a, a) with a = gain * sqrt(6 / (fan_in + fan_out))."""
    bound = gain * math.sqrt(6.0 / max(1, sum(fans(tensor))))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """N(0, std^2) with std = gain * sqrt(2 / (fan_in + fan_out))."""
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / max(1, sum(fans(tensor)))), generator)


def _kaiming_std(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"mode must be 'fan_in' or 'fan_out', got {mode!r}")
    return calculate_gain(nonlinearity, a) / math.sqrt(max(1, fans(tensor)[mode == "fan_out"]))


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """U(-b, b) with b = gain * sqrt(3 / fan)."""
    bound = math.sqrt(3.0) * _kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """N(0, std^2) with std = gain / sqrt(fan)."""
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity), generator)
