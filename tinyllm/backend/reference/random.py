"""Counter-based random numbers: Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2,
3").

Element i of a stream is a pure function of (key, stream, i): any slice, in any order, on any number of
threads, gives the same numbers. Key = (seed, step), 32 bits each. Elements 4b .. 4b+3 are the four words that
the block function gives for the counter (b low, b high, stream low, stream high).
"""

from __future__ import annotations

import math

import numpy as np

from tinyllm.backend.reference._exact import exact

Array = np.ndarray
Key = tuple[int, int]

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = 0xFFFFFFFF


def philox(counter: tuple[Array, Array, Array, Array], key: Key) -> tuple[Array, Array, Array, Array]:
    """Ten rounds over four uint64 arrays that hold 32-bit words; the four words of each block."""
    c0, c1, c2, c3 = counter
    k0, k1 = key[0] & _LOW, key[1] & _LOW
    for _ in range(10):
        p0, p1 = c0 * np.uint64(_MULTIPLIERS[0]), c2 * np.uint64(_MULTIPLIERS[1])
        c0, c1, c2, c3 = (
            (p1 >> np.uint64(32)) ^ c1 ^ np.uint64(k0),
            p1 & np.uint64(_LOW),
            (p0 >> np.uint64(32)) ^ c3 ^ np.uint64(k1),
            p0 & np.uint64(_LOW),
        )
        k0, k1 = (k0 + _WEYL[0]) & _LOW, (k1 + _WEYL[1]) & _LOW
    return c0, c1, c2, c3


def words(count: int, key: Key, stream: int, base: int) -> Array:
    """The words of elements base .. base+count of the stream, uint32 (count,)."""
    first, last = base // 4, -(-(base + count) // 4)
    block = np.arange(last - first, dtype=np.uint64) + np.uint64(first)
    high = np.uint64(32)
    low_stream, high_stream = (np.full_like(block, half) for half in (stream & _LOW, (stream >> 32) & _LOW))
    lanes = philox((block & np.uint64(_LOW), block >> high, low_stream, high_stream), key)
    return np.stack(lanes, axis=-1).reshape(-1)[base - 4 * first :][:count].astype(np.uint32)


def uniform(shape: tuple[int, ...], dtype: np.dtype | type, key: Key, stream: int, base: int = 0) -> Array:
    """Uniform in [0, 1): (word >> 8) * 2^-24, exact in both dtypes.

    Element i in C order is element base + i of the stream.
    """
    return ((words(math.prod(shape), key, stream, base) >> 8) * 2.0**-24).astype(dtype).reshape(shape)


def normal(shape: tuple[int, ...], dtype: np.dtype | type, key: Key, stream: int, base: int = 0) -> Array:
    """Standard normal by Box-Muller over the word pairs (0, 1) and (2, 3) of a block, in float64, then cast.

    r = sqrt(-2 log((w0 + 1) / 2^32)), a = 2 pi w1 / 2^32: r cos(a) is the even element, r sin(a) the odd one.
    """
    count = math.prod(shape)
    first = base - base % 2  # start and end at a pair
    w = words(count + base % 2 + 1, key, stream, first).astype(np.float64)
    w = w[: w.size - w.size % 2].reshape(-1, 2)
    radius = np.sqrt(-2.0 * np.log((w[:, 0] + 1.0) * 2.0**-32))
    angle = 2.0 * np.pi * (w[:, 1] * 2.0**-32)
    pairs = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)
    return pairs.reshape(-1)[base - first :][:count].astype(dtype).reshape(shape)


@exact
def dropout(x: Array, p: float, key: Key, stream: int, base: int = 0) -> Array:
    """x / (1 - p) where uniform(element) >= p, else 0; elements counted in C order of x.

    It is its own gradient, on dy.
    """
    keep = uniform(x.shape, np.float64, key, stream, base) >= p
    return np.where(keep, x / np.float64(1.0 - p), 0.0)
