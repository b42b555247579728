"""Row-wise functions over the last axis: softmax family and normalisation.

Legend: x (..., C) rows; dy, dx the same; mean, rstd, lse (...,): one number a row; w, b (C,). Gradients
overwrite.
"""

from __future__ import annotations

import numpy as np

from tinyllm.backend.reference._exact import exact

Array = np.ndarray


def _shifted(x: Array) -> tuple[Array, Array]:
    """(x - max(row), max(row)), so that exp cannot overflow.

    A row of -inf gives NaN, as it should in a softmax.
    """
    top = np.max(x, axis=-1, keepdims=True, initial=-np.inf)
    return x - top, top


@exact
def softmax(x: Array) -> Array:
    """y = exp(x) / sum(exp(x)). A row that is all -inf gives NaN (as in PyTorch)."""
    e = np.exp(_shifted(x)[0])
    return e / e.sum(-1, keepdims=True)


@exact
def softmax_grad(dy: Array, y: Array) -> Array:
    """dx = y * (dy - sum(dy * y))."""
    return y * (dy - (dy * y).sum(-1, keepdims=True))


@exact
def log_softmax(x: Array) -> Array:
    """y = x - log(sum(exp(x)))."""
    shifted, _ = _shifted(x)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


@exact
def log_softmax_grad(dy: Array, y: Array) -> Array:
    """dx = dy - exp(y) * sum(dy)."""
    return dy - np.exp(y) * dy.sum(-1, keepdims=True)


@exact
def logsumexp(x: Array) -> Array:
    """log(sum(exp(x))), shape x.shape[:-1].

    -inf for a row of -inf or of no elements, inf if there is an inf.
    """
    top = np.max(x, axis=-1, keepdims=True, initial=-np.inf)
    top = np.where(np.isinf(top), 0.0, top)
    return np.log(np.exp(x - top).sum(-1)) + top[..., 0]


@exact
def layer_norm(x: Array, w: Array | None, b: Array | None, eps: float) -> tuple[Array, Array, Array]:
    """(y, mean, rstd): y = (x - mean) * rstd * w + b, rstd = 1 / sqrt(mean((x - mean)^2) + eps).

    Ba, Kiros & Hinton 2016 (arXiv:1607.06450). The variance is the biased one.
    """
    mean = _mean(x)
    rstd = 1.0 / np.sqrt(_mean((x - mean) ** 2) + eps)
    return _affine((x - mean) * rstd, w, b), mean[..., 0], rstd[..., 0]


@exact
def layer_norm_grad(
    dy: Array,
    x: Array,
    w: Array | None,
    mean: Array,
    rstd: Array,
    want: tuple[bool, bool, bool] = (True, True, True),
) -> tuple[Array | None, Array | None, Array | None]:
    """(dx, dw, db), None where not wanted. With n = (x - mean) * rstd and g = dy * w:

    dx = rstd * (g - mean(g) - n * mean(g * n)),   dw = sum over rows of dy * n,   db = sum over rows of dy.
    """
    n = (x - mean[..., None]) * rstd[..., None]
    g = _affine(dy, w, None)
    dx = rstd[..., None] * (g - _mean(g) - n * _mean(g * n)) if want[0] else None
    return dx, _sum_rows(dy * n) if want[1] else None, _sum_rows(dy) if want[2] else None


@exact
def rms_norm(x: Array, w: Array | None, eps: float) -> tuple[Array, Array]:
    """(y, rstd): y = x * rstd * w, rstd = 1 / sqrt(mean(x^2) + eps).

    Zhang & Sennrich 2019 (arXiv:1910.07467).
    """
    rstd = 1.0 / np.sqrt(_mean(x * x) + eps)
    return _affine(x * rstd, w, None), rstd[..., 0]


@exact
def rms_norm_grad(
    dy: Array, x: Array, w: Array | None, rstd: Array, want: tuple[bool, bool] = (True, True)
) -> tuple[Array | None, Array | None]:
    """(dx, dw), None where not wanted. With n = x * rstd and g = dy * w.

    dx = rstd * (g - n * mean(g * n)), dw = sum(dy * n).
    """
    n = x * rstd[..., None]
    g = _affine(dy, w, None)
    dx = rstd[..., None] * (g - n * _mean(g * n)) if want[0] else None
    return dx, _sum_rows(dy * n) if want[1] else None


def _mean(x: Array) -> Array:
    return x.sum(-1, keepdims=True) / np.float64(x.shape[-1])  # NaN, and no warning, for rows of no elements


def _affine(x: Array, w: Array | None, b: Array | None) -> Array:
    x = x if w is None else x * w
    return x if b is None else x + b


def _sum_rows(x: Array) -> Array:
    return x.sum(axis=tuple(range(x.ndim - 1)))
