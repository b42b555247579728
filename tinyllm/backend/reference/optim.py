"""Optimizer steps, in place, with PyTorch's formulas.

Legend: p parameter, g gradient, buf momentum, m and v first and second moments: all of one shape and dtype.
The gradient used is grad_scale * g, so that clipping a norm costs no pass over memory. g is not modified.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

Array = np.ndarray


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
    """torch.optim.SGD. buf is written only when momentum is not 0, and may be None otherwise.

    d = grad_scale*g + weight_decay*p
    with momentum: buf = d if first else momentum*buf + (1 - dampening)*d
                   d = d + momentum*buf if nesterov else buf
    p -= lr*d
    """
    with np.errstate(all="ignore"):
        d = grad_scale * g.astype(np.float64)
        if weight_decay != 0.0:
            d = d + weight_decay * p.astype(np.float64)
        if momentum != 0.0:
            assert buf is not None
            moved = d if first else momentum * buf.astype(np.float64) + (1.0 - dampening) * d
            buf[...] = moved
            d = d + momentum * moved if nesterov else moved
        p[...] = p - lr * d


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
    """torch.optim.Adam on many parameters, or AdamW (arXiv:1711.05101) where weight decay is decoupled. Steps count
    from 1.

    d = grad_scale*g;   decoupled: p *= 1 - lr*weight_decay,   else: d += weight_decay*p
    m = beta1*m + (1-beta1)*d,   v = beta2*v + (1-beta2)*d*d
    p -= lr/(1-beta1^step) * m / (sqrt(v/(1-beta2^step)) + eps)
    """
    for p, g, m, v, step in zip(params, grads, means, squares, steps, strict=True):
        with np.errstate(all="ignore"):
            value, d = p.astype(np.float64), grad_scale * g.astype(np.float64)
            if decoupled:
                value = value * (1.0 - lr * weight_decay)
            elif weight_decay != 0.0:
                d = d + weight_decay * value
            mean = beta1 * m.astype(np.float64) + (1.0 - beta1) * d
            square = beta2 * v.astype(np.float64) + (1.0 - beta2) * d * d
            denominator = np.sqrt(square / (1.0 - beta2**step)) + eps
            p[...] = value - lr / (1.0 - beta1**step) * mean / denominator
            m[...], v[...] = mean, square


def sum_squares(arrays: Sequence[Array]) -> float:
    """The sum of squares of all elements of all arrays, in float64. Its square root is the gradient norm."""
    with np.errstate(all="ignore"):
        return math.fsum(float(np.sum(np.square(x.astype(np.float64)))) for x in arrays)
