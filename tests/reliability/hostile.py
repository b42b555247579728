"""What may be wrong with an input, an attribute, or an array to write to: tables by name, for S11."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np


class Unfit(Exception):
    """This cannot be done to that array."""


def _axis(rng: np.random.Generator, x: np.ndarray) -> int:
    if not x.ndim:
        raise Unfit
    return int(rng.integers(x.ndim))


def _side(rng: np.random.Generator, x: np.ndarray, size: int) -> np.ndarray:
    """x with another size on one axis, its rows repeated."""
    axis = _axis(rng, x)
    if not x.shape[axis]:
        raise Unfit
    return np.take(x, np.arange(size) % x.shape[axis], axis)


def _long(rng: np.random.Generator, x: np.ndarray, size: int) -> np.ndarray:
    """x with `size` on one axis, all of it the same element in memory."""
    axis = _axis(rng, x)
    if not x.size:
        raise Unfit
    shape = list(x.shape)
    shape[axis] = size
    try:
        return np.broadcast_to(np.take(x, [0], axis), shape)
    except ValueError:
        raise Unfit from None  # NumPy itself has no such array


def _at(x: np.ndarray, offset: int) -> np.ndarray:
    """x at an address that is `offset` beyond a multiple of 64."""
    memory = np.zeros(x.nbytes + 128, np.uint8)
    start = -memory.ctypes.data % 64 + offset
    moved = memory[start : start + x.nbytes].view(x.dtype).reshape(x.shape)
    moved[...] = x
    return moved


def _field(x: np.ndarray, padding: int) -> np.ndarray:
    """x as one field of records: strides that are no multiples of its elements."""
    records = np.zeros(x.shape, np.dtype([("value", x.dtype), ("rest", f"V{padding}")]))
    records["value"] = x
    return records["value"]


def _doubled(x: np.ndarray) -> np.ndarray:
    if not x.ndim:
        raise Unfit
    wide = np.full((*x.shape[:-1], 2 * x.shape[-1]), 7).astype(x.dtype)
    wide[..., ::2] = x
    return wide[..., ::2]


def _repeated(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    axis = _axis(rng, x)
    if not x.shape[axis]:
        raise Unfit
    return np.broadcast_to(np.take(x, [0], axis), x.shape)


def _read_only(x: np.ndarray) -> np.ndarray:
    x = x.copy()
    x.setflags(write=False)
    return x


def _index(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """An index out of bounds, in one place."""
    if x.dtype.kind != "i" or not x.size:
        raise Unfit
    x = x.astype(np.int64)
    bad = [-1, -100, x.max() + 1, 1 << 20, 1 << 31, 1 << 40, (1 << 63) - 1, -(1 << 63), -(1 << 31)]
    x.flat[int(rng.integers(x.size))] = bad[rng.integers(len(bad))]
    return x


def _matrix(x: np.ndarray) -> np.ndarray:
    if x.ndim != 2:
        raise Unfit
    return np.asmatrix(x)


INPUTS: dict[str, Callable[[np.random.Generator, np.ndarray], np.ndarray]] = {
    "without elements": lambda rng, x: _side(rng, x, 0),
    "of side 1": lambda rng, x: _side(rng, x, 1),
    "of side 7": lambda rng, x: _side(rng, x, 7),
    "of side 61": lambda rng, x: _side(rng, x, 61),
    "of side 257": lambda rng, x: _side(rng, x, 257),
    "of 2^31 - 1": lambda rng, x: _long(rng, x, (1 << 31) - 1),
    "of 2^31": lambda rng, x: _long(rng, x, 1 << 31),
    "of 2^40": lambda rng, x: _long(rng, x, 1 << 40),
    "with an axis more": lambda rng, x: x[None],
    "with an axis less": lambda rng, x: np.take(x, 0, _axis(rng, x)) if x.size else x.reshape(-1),
    "of 33 axes": lambda rng, x: x.reshape((1,) * (33 - x.ndim) + x.shape),
    "of 64 axes": lambda rng, x: x.reshape(x.shape + (1,) * (64 - x.ndim)),
    "with gaps": lambda rng, x: _doubled(x),
    "reversed": lambda rng, x: np.flip(np.array(np.flip(x), order="C")),
    "transposed": lambda rng, x: np.array(x.T, order="C").T,
    "repeated": _repeated,
    "off by 1 byte": lambda rng, x: _at(x, 1),
    "off by an element": lambda rng, x: _at(x, x.itemsize),
    "in records": lambda rng, x: _field(x, 1),
    "in even records": lambda rng, x: _field(x, 2),
    "read-only": lambda rng, x: _read_only(x),
    "byte-swapped": lambda rng, x: x.astype(x.dtype.newbyteorder()),
    "of objects": lambda rng, x: x.astype(object),
    "of text": lambda rng, x: x.astype(str),
    "a matrix": lambda rng, x: _matrix(x),
    "masked": lambda rng, x: np.ma.masked_array(x, np.zeros(x.shape, bool)),
    "out of bounds": _index,
    **{
        f"as {name}": lambda rng, x, name=name: x.astype(name)  # type: ignore[misc]
        for name in ("float16", "float32", "float64", "int8", "int32", "int64", "uint64", "bool")
    },
    "as complex": lambda rng, x: x.astype(complex),
}

SIDES = [-1, -(1 << 31), 1 << 16, (1 << 31) - 1, 1 << 31, 1 << 32, 1 << 33, 1 << 40, 1 << 62, (1 << 63) - 1, 1 << 63]
SIDES += [1 << 64, (1 << 64) + 1]

ATTRIBUTES: list[Any] = [
    *SIDES, -(1 << 63), 0, 1, 2, 7, 100, True, None, 1.5, math.nan, math.inf, -math.inf, "", "gelu", b"x", object(),
    (), (0,), (0, 0), (-1, -1), (1, -1), (1 << 40, 1 << 40), ("a",), (None,), (1.5,), [], [0], [-1], [1 << 63],
    (0,) * 33, (1,) * 65, slice(None), np.float32(1), np.int64(0), np.zeros(3), np.zeros(3, np.float32), {},
]  # fmt: skip


def _window(x: np.ndarray, shift: int) -> tuple[np.ndarray, np.ndarray]:
    """An array to write to and one to read that overlap in all elements but `shift` of them."""
    memory = np.concatenate([x.reshape(-1), x.reshape(-1)[:shift]])
    return memory[shift : shift + x.size].reshape(x.shape), memory[: x.size].reshape(x.shape)


Pair = tuple[np.ndarray, np.ndarray]
OUTPUTS: dict[str, Callable[[np.random.Generator, np.ndarray], Pair]] = {
    "of its own": lambda rng, x: (np.ones_like(x), x),
    "that is the input": lambda rng, x: (x, x),
    "that overlaps with the input": lambda rng, x: _window(x, int(rng.integers(1, x.size + 1))),
    "that is the input transposed": lambda rng, x: (x, x.T),
    "that is the input reversed": lambda rng, x: (x, x[::-1]),
    "that is read-only": lambda rng, x: (_read_only(x), x),
    "with repeats": lambda rng, x: (np.broadcast_to(x[:1], x.shape), x),
    "with gaps": lambda rng, x: (_doubled(x), x),
    "reversed": lambda rng, x: (x.copy()[::-1], x),
    "transposed": lambda rng, x: (x.copy().T, x),
    "off by 1 byte": lambda rng, x: (_at(x, 1), x),
    "in records": lambda rng, x: (_field(x, 1), x),
    "too small": lambda rng, x: (np.ones((max(len(x) - 1, 0), len(x)), x.dtype), x),
    "too large": lambda rng, x: (np.ones((len(x) + 1, len(x)), x.dtype), x),
    "without elements": lambda rng, x: (np.ones((0, len(x)), x.dtype), x),
    "of one axis": lambda rng, x: (np.ones(len(x), x.dtype), x),
    "of three axes": lambda rng, x: (np.ones((2, *x.shape), x.dtype), x),
    "of another dtype": lambda rng, x: (np.ones(x.shape, np.float32 if x.itemsize == 8 else np.float64), x),
    "of integers": lambda rng, x: (np.ones(x.shape, np.int64), x),
    "of bytes": lambda rng, x: (np.ones(x.shape, bool), x),
    "byte-swapped": lambda rng, x: (x.astype(x.dtype.newbyteorder()), x),
    "of objects": lambda rng, x: (x.astype(object), x),
}
