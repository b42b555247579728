"""Fused kernels in C: rows, losses, random numbers and optimizer steps. `reference` says what each computes.

They read C-contiguous arrays; a view that isn't is copied.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence

import numpy as np

from tinyllm.backend._call import (
    LONG_WORD,
    NULL,
    WORD,
    Array,
    check,
    dense,
    dense_or_none,
    ffi,
    int64s,
    kernels,
    pointers,
    ptr,
    writable,
)
from tinyllm.backend.memory import empty

__all__ = [
    "adam_",
    "cross_entropy",
    "cross_entropy_grad",
    "dropout",
    "layer_norm",
    "layer_norm_grad",
    "log_softmax",
    "log_softmax_grad",
    "logsumexp",
    "normal",
    "rms_norm",
    "rms_norm_grad",
    "sgd_",
    "softmax",
    "softmax_grad",
    "sum_squares",
    "uniform",
]

Key = tuple[int, int]

_softmax, _softmax_grad = kernels("softmax"), kernels("softmax_grad")
_log_softmax, _log_softmax_grad = kernels("log_softmax"), kernels("log_softmax_grad")
_logsumexp = kernels("logsumexp")
_layer_norm, _layer_norm_grad = kernels("layer_norm"), kernels("layer_norm_grad")
_rms_norm, _rms_norm_grad = kernels("rms_norm"), kernels("rms_norm_grad")
_cross_entropy, _cross_entropy_grad = kernels("cross_entropy"), kernels("cross_entropy_grad")
_uniform, _normal, _dropout = kernels("uniform"), kernels("normal"), kernels("dropout")
_sgd, _adam, _sum_squares = kernels("sgd"), kernels("adam"), kernels("sum_squares")

_DOUBLES = ffi.typeof("double[]")


# ---- rows ----


def _shape(x: Array) -> tuple[int, int]:
    """(rows, columns); of no columns there may be rows all the same."""
    return math.prod(x.shape[:-1]), x.shape[-1]


def softmax(x: Array) -> Array:
    """Softmax over the last axis."""
    x, y = dense(x), empty(x.shape, x.dtype)
    _softmax[x.dtype](ptr(x), ptr(y), *_shape(x))
    return y


def softmax_grad(dy: Array, y: Array) -> Array:
    """dx from the output y."""
    dy, y, dx = dense(dy), dense(y), empty(y.shape, y.dtype)
    _softmax_grad[y.dtype](ptr(dy), ptr(y), ptr(dx), *_shape(y))
    return dx


def log_softmax(x: Array) -> Array:
    """Log-softmax over the last axis."""
    x, y = dense(x), empty(x.shape, x.dtype)
    _log_softmax[x.dtype](ptr(x), ptr(y), *_shape(x))
    return y


def log_softmax_grad(dy: Array, y: Array) -> Array:
    """dx from the output y."""
    dy, y, dx = dense(dy), dense(y), empty(y.shape, y.dtype)
    _log_softmax_grad[y.dtype](ptr(dy), ptr(y), ptr(dx), *_shape(y))
    return dx


def logsumexp(x: Array) -> Array:
    """log(sum(exp(x))) over the last axis."""
    x, lse = dense(x), empty(x.shape[:-1], x.dtype)
    _logsumexp[x.dtype](ptr(x), ptr(lse), *_shape(x))
    return lse


def layer_norm(x: Array, w: Array | None, b: Array | None, eps: float) -> tuple[Array, Array, Array]:
    """(y, mean, rstd)."""
    x, w, b = dense(x), dense_or_none(w), dense_or_none(b)
    y = empty(x.shape, x.dtype)
    mean, rstd = empty(x.shape[:-1], x.dtype), empty(x.shape[:-1], x.dtype)
    _layer_norm[x.dtype](ptr(x), ptr(w), ptr(b), eps, ptr(y), ptr(mean), ptr(rstd), *_shape(x))
    return y, mean, rstd


def layer_norm_grad(
    dy: Array,
    x: Array,
    w: Array | None,
    mean: Array,
    rstd: Array,
    want: tuple[bool, bool, bool] = (True, True, True),
) -> tuple[Array | None, Array | None, Array | None]:
    """(dx, dw, db), None where not wanted."""
    dy, x, w, mean, rstd = dense(dy), dense(x), dense_or_none(w), dense(mean), dense(rstd)
    dx = empty(x.shape, x.dtype) if want[0] else None
    dw, db = (empty(x.shape[-1:], x.dtype) if wanted else None for wanted in want[1:])
    call = _layer_norm_grad[x.dtype]
    check(call(ptr(dy), ptr(x), ptr(w), ptr(mean), ptr(rstd), ptr(dx), ptr(dw), ptr(db), *_shape(x)))
    return dx, dw, db


def rms_norm(x: Array, w: Array | None, eps: float) -> tuple[Array, Array]:
    """(y, rstd)."""
    x, w = dense(x), dense_or_none(w)
    y, rstd = empty(x.shape, x.dtype), empty(x.shape[:-1], x.dtype)
    _rms_norm[x.dtype](ptr(x), ptr(w), eps, ptr(y), ptr(rstd), *_shape(x))
    return y, rstd


def rms_norm_grad(
    dy: Array, x: Array, w: Array | None, rstd: Array, want: tuple[bool, bool] = (True, True)
) -> tuple[Array | None, Array | None]:
    """(dx, dw), None where not wanted."""
    dy, x, w, rstd = dense(dy), dense(x), dense_or_none(w), dense(rstd)
    dx = empty(x.shape, x.dtype) if want[0] else None
    dw = empty(x.shape[-1:], x.dtype) if want[1] else None
    check(_rms_norm_grad[x.dtype](ptr(dy), ptr(x), ptr(w), ptr(rstd), ptr(dx), ptr(dw), *_shape(x)))
    return dx, dw


# ---- loss ----


def cross_entropy(
    logits: Array, targets: Array, weight: Array | None, ignore_index: int, label_smoothing: float
) -> tuple[Array, Array]:
    """(loss, lse), a number a row."""
    logits, targets, weight = dense(logits), dense(targets), dense_or_none(weight)
    loss, lse = empty(targets.shape, logits.dtype), empty(targets.shape, logits.dtype)
    _cross_entropy[logits.dtype](
        ptr(logits), ptr(targets), ptr(weight), ignore_index, label_smoothing, ptr(loss), ptr(lse), *_shape(logits)
    )
    return loss, lse


def cross_entropy_grad(
    dloss: Array,
    logits: Array,
    targets: Array,
    lse: Array,
    weight: Array | None,
    ignore_index: int,
    label_smoothing: float,
    out: Array | None = None,
) -> Array:
    """dlogits; `out` may be logits."""
    dloss, logits, targets, lse, weight = dense(dloss), dense(logits), dense(targets), dense(lse), dense_or_none(weight)
    dlogits = empty(logits.shape, logits.dtype) if out is None else dense(writable(out))
    _cross_entropy_grad[logits.dtype](
        ptr(dloss), ptr(logits), ptr(targets), ptr(lse), ptr(weight), ignore_index, label_smoothing, ptr(dlogits),
        *_shape(logits),
    )  # fmt: skip
    if out is None or out is dlogits:
        return dlogits
    out[...] = dlogits
    return out


# ---- random numbers ----


def uniform(shape: tuple[int, ...], dtype: np.dtype | type, key: Key, stream: int, base: int = 0) -> Array:
    """Uniform in [0, 1); element i in C order is element base + i of the stream."""
    out = empty(shape, dtype)
    _uniform[out.dtype](ptr(out), out.size, key[0] & WORD, key[1] & WORD, stream & LONG_WORD, base)
    return out


def normal(shape: tuple[int, ...], dtype: np.dtype | type, key: Key, stream: int, base: int = 0) -> Array:
    """Standard normal; element i in C order is element base + i of the stream."""
    out = empty(shape, dtype)
    _normal[out.dtype](ptr(out), out.size, key[0] & WORD, key[1] & WORD, stream & LONG_WORD, base)
    return out


def dropout(x: Array, p: float, key: Key, stream: int, base: int = 0) -> Array:
    """x / (1 - p) where uniform(element) >= p, else 0."""
    x, out = dense(x), empty(x.shape, x.dtype)
    _dropout[x.dtype](ptr(x), ptr(out), x.size, p, key[0] & WORD, key[1] & WORD, stream & LONG_WORD, base)
    return out


# ---- optimizers ----


def sgd_(
    p: Array,
    g: Array,
    buf: Array | None,
    lr: float,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
    first: bool,
    grad_scale: float,
) -> None:
    """One step of torch.optim.SGD."""
    own = [p] if momentum == 0.0 or buf is None else [p, buf]
    with _dense_copies(own) as packed:
        state = ptr(packed[1]) if len(packed) > 1 else NULL
        settings = lr, momentum, dampening, weight_decay, nesterov, first, grad_scale
        _sgd[p.dtype](ptr(packed[0]), ptr(dense(g)), state, p.size, *settings)


def adam_(
    params: Sequence[Array],
    grads: Sequence[Array],
    means: Sequence[Array],
    squares: Sequence[Array],
    steps: Sequence[int],
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
    grad_scale: float,
) -> None:
    """One step of torch.optim.Adam, or of AdamW where decoupled, on many parameters at once."""
    n = len(params)
    with _dense_copies([*params, *means, *squares]) as packed:
        for dtype in {p.dtype: None for p in params}:
            which = [i for i in range(n) if params[i].dtype == dtype]
            p, m, v = ([packed[i + k] for i in which] for k in (0, n, 2 * n))
            g = [dense(grads[i]) for i in which]
            sizes, counts = int64s([x.size for x in p]), int64s([steps[i] for i in which])
            settings = lr, beta1, beta2, eps, weight_decay, decoupled, grad_scale
            _adam[dtype](len(which), pointers(p), pointers(g), pointers(m), pointers(v), sizes, counts, *settings)


@contextlib.contextmanager
def _dense_copies(arrays: list[Array]) -> Iterator[list[Array]]:
    """Arrays to update in place, dense: a view with gaps is copied there and back. Raises if one is read-only."""
    packed = [x if x.flags.carray else dense(writable(x)) for x in arrays]
    yield packed
    for own, copy in zip(arrays, packed, strict=True):
        if own is not copy:
            own[...] = copy


def sum_squares(arrays: Sequence[Array]) -> float:
    """The sum of squares of all elements of all arrays, in float64."""
    sums: list[float] = []
    for dtype in {x.dtype: None for x in arrays}:
        packed = [dense(x) for x in arrays if x.dtype == dtype]
        totals = ffi.new(_DOUBLES, len(packed))
        check(_sum_squares[dtype](len(packed), pointers(packed), int64s([x.size for x in packed]), totals))
        sums += ffi.unpack(totals, len(packed))
    return math.fsum(sums)
