"""Cross-entropy of logits against class indices, with PyTorch's weights, ignored rows and label smoothing.

Legend: logits, dlogits (N, C); targets (N,) int64 in [0, C) or equal to ignore_index; loss, lse, dloss (N,);
weight (C,). The caller reduces; PyTorch's "mean" divides by the sum of weight[target] over the rows that
count.
"""

from __future__ import annotations

import numpy as np

from tinyllm.backend.reference._exact import exact
from tinyllm.backend.reference.elementwise import deliver
from tinyllm.backend.reference.rows import logsumexp

Array = np.ndarray


@exact
def cross_entropy(
    logits: Array,
    targets: Array,
    weight: Array | None,
    ignore_index: int,
    label_smoothing: float,
) -> tuple[Array, Array]:
    """(loss, lse): with lp = logits - lse and w the weights (1 if None),

    loss = -(1 - s) * w[t] * lp[t] - s/C * sum_c w[c] * lp[c];   0 for an ignored row.
    """
    n, classes = logits.shape
    lse = logsumexp(logits)
    counted, t = _targets(targets, ignore_index)
    w = np.ones(classes, logits.dtype) if weight is None else weight
    log_prob = logits - lse[:, None]
    loss = -(1.0 - label_smoothing) * w[t] * log_prob[np.arange(n), t] if classes else np.zeros(n)
    if label_smoothing:
        loss = loss - label_smoothing / classes * (w * log_prob).sum(-1)
    return np.where(counted, loss, 0.0), lse


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
    """dlogits; `out` may be logits. With p = exp(logits - lse), s the smoothing and c the class,

    dlogits[c] = dloss * ((1 - s) * w[t] * (p[c] - [c == t]) + s/C * (p[c] * sum(w) - w[c]));   0 in an
    ignored row.
    """
    return deliver(_slope(dloss, logits, targets, lse, weight, ignore_index, label_smoothing), out)


@exact
def _slope(
    dloss: Array,
    logits: Array,
    targets: Array,
    lse: Array,
    weight: Array | None,
    ignore_index: int,
    label_smoothing: float,
) -> Array:
    n, classes = logits.shape
    counted, t = _targets(targets, ignore_index)
    w = np.ones(classes, logits.dtype) if weight is None else weight
    p = np.exp(logits - lse[:, None])
    onehot = np.arange(classes) == t[:, None]
    slope = (1.0 - label_smoothing) * w[t][:, None] * (p - onehot) if classes else np.zeros((n, 0))
    if label_smoothing:
        slope = slope + label_smoothing / classes * (p * w.sum() - w)
    return np.where(counted[:, None], dloss[:, None] * slope, 0.0)


def _targets(targets: Array, ignore_index: int) -> tuple[Array, Array]:
    """(rows that count, targets with 0 in place of ignored ones)."""
    counted = targets != ignore_index
    return counted, np.where(counted, targets, 0)
