"""Tensors out of nothing: constants, ranges, random numbers (torch.zeros and its kin)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from . import backend, random
from . import functions as f
from ._tensor import Tensor, tensor
from .dtypes import as_dtype, float32, float64, int64
from .functions.promote import sizes_of

__all__ = [
    "arange",
    "empty",
    "empty_like",
    "eye",
    "from_numpy",
    "full",
    "full_like",
    "linspace",
    "ones",
    "ones_like",
    "rand",
    "rand_like",
    "randint",
    "randn",
    "randn_like",
    "zeros",
    "zeros_like",
]


def from_numpy(array: np.ndarray) -> Tensor:
    """A tensor over the memory of an array: writing to one writes to the other. ValueError if it is read-only."""
    as_dtype(array.dtype)
    if not array.flags.writeable:
        raise ValueError(
            f"from_numpy: the array of shape {array.shape} is read-only; copy it first: tinyllm.tensor(array)"
        )
    if not array.flags.aligned or any(s % array.itemsize for s in array.strides):
        raise ValueError(
            f"from_numpy: strides {array.strides} are no multiples of {array.itemsize} bytes; copy the array first"
        )
    return Tensor(array)


def full(size: Sequence[int], fill_value: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of one number."""
    target = as_dtype(f.result_type(fill_value) if dtype is None else dtype)
    return Tensor(
        backend.full(sizes_of((size,)) if not isinstance(size, int) else (size,), fill_value, target)
    ).requires_grad_(requires_grad)


def zeros(*size: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of zeros, float32 unless a dtype is given."""
    return full(sizes_of(size), 0, dtype or float32, requires_grad)


def ones(*size: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of ones, float32 unless a dtype is given."""
    return full(sizes_of(size), 1, dtype or float32, requires_grad)


def empty(*size: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of arbitrary content."""
    return Tensor(backend.empty(sizes_of(size), as_dtype(dtype or float32))).requires_grad_(requires_grad)


def full_like(input: Tensor, fill_value: Any, dtype: Any = None) -> Tensor:
    """`full` with the shape and dtype of another tensor."""
    return full(input.shape, fill_value, dtype or input.dtype)


def zeros_like(input: Tensor, dtype: Any = None) -> Tensor:
    """`zeros` with the shape and dtype of another tensor."""
    return full_like(input, 0, dtype)


def ones_like(input: Tensor, dtype: Any = None) -> Tensor:
    """`ones` with the shape and dtype of another tensor."""
    return full_like(input, 1, dtype)


def empty_like(input: Tensor, dtype: Any = None) -> Tensor:
    """`empty` with the shape and dtype of another tensor."""
    return empty(input.shape, dtype=dtype or input.dtype)


def arange(start: Any, end: Any = None, step: Any = 1, dtype: Any = None) -> Tensor:
    """Numbers from start (0 if only one is given) up to but not including end: int64 if all are ints, else float32."""
    if end is None:
        start, end = 0, start
    if dtype is None:
        dtype = int64 if all(isinstance(v, (int, np.integer)) for v in (start, end, step)) else float32
    return tensor(np.arange(start, end, step), dtype)


def linspace(start: float, end: float, steps: int, dtype: Any = None) -> Tensor:
    """`steps` numbers from start to end, evenly spaced, both included."""
    return tensor(np.linspace(start, end, steps), dtype or float32)


def eye(n: int, m: int | None = None, dtype: Any = None) -> Tensor:
    """The identity matrix (n, m)."""
    return tensor(np.eye(n, m), dtype or float32)


def rand(*size: Any, dtype: Any = None, generator: random.Generator | None = None) -> Tensor:
    """Uniform numbers in [0, 1)."""
    key, stream = (generator or random.default_generator).next("rand")
    return Tensor(backend.uniform(sizes_of(size), as_dtype(dtype or float32), key, stream))


def randn(
    *size: Any, dtype: Any = None, requires_grad: bool = False, generator: random.Generator | None = None
) -> Tensor:
    """Normal numbers of mean 0 and variance 1."""
    key, stream = (generator or random.default_generator).next("randn")
    return Tensor(backend.normal(sizes_of(size), as_dtype(dtype or float32), key, stream)).requires_grad_(requires_grad)


def rand_like(input: Tensor, dtype: Any = None) -> Tensor:
    """`rand` with the shape and dtype of another tensor."""
    return rand(input.shape, dtype=dtype or input.dtype)


def randn_like(input: Tensor, dtype: Any = None) -> Tensor:
    """`randn` with the shape and dtype of another tensor."""
    return randn(input.shape, dtype=dtype or input.dtype)


def randint(low: int, high: int, size: Sequence[int], generator: random.Generator | None = None) -> Tensor:
    """Integers low <= i < high, as int64; high - low at most 2**24, the resolution of a uniform number."""
    if not 0 < high - low <= 1 << 24:
        raise ValueError(f"randint: expected low < high and at most 2**24 numbers between them, got {low} and {high}")
    key, stream = (generator or random.default_generator).next("randint")
    u = backend.uniform(sizes_of((tuple(size),)), float64, key, stream)
    return Tensor(low + (u * (high - low)).astype(np.int64))
