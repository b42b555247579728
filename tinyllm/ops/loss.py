"""Cross-entropy: of logits and class numbers, fused so that probabilities are never stored, and of probabilities.

Legend: logits (N, C); targets (N,) integers; weight (C,) of the logits' dtype, a constant, or None; loss (N,), one
number a row (reduction="none" in PyTorch).
"""

from __future__ import annotations

import numpy as np

from .. import backend
from ..op import Draw, Op, Sample, shape_error


class CrossEntropy(Op):
    """loss = (1-s) w[t] (lse - z[t]) + s/C sum_c w[c] (lse - z[c]), z logits, s label_smoothing, lse = ln sum e^z; 0
    where t = ignore_index.

    With g = dloss, p = e^(z - lse) and q[c] = (1-s) w[t] [c = t] + s/C w[c]:    dlogits[c] = g * (p[c] * sum(q) -
    q[c]).
    """

    kinds = "fi"

    @staticmethod
    def oracle(torch, logits, targets, *, weight=None, ignore_index, label_smoothing):
        return torch.nn.functional.cross_entropy(
            logits, targets, weight, ignore_index=ignore_index, reduction="none", label_smoothing=label_smoothing
        )

    @staticmethod
    def shape(logits, targets, *, weight=None, ignore_index, label_smoothing):
        if len(logits) != 2 or targets != logits[:1]:
            rule = "logits must have two axes, and targets one element per row"
            raise shape_error("CrossEntropy", rule, logits=(logits, "N C"), targets=(targets, "N"))
        if weight is not None and weight.shape != logits[1:]:
            raise shape_error(
                "CrossEntropy", "weight needs one element per class", logits=(logits, "N C"), weight=(weight.shape, "C")
            )
        if not 0 <= label_smoothing <= 1:
            raise ValueError(f"CrossEntropy: label_smoothing must be from 0 to 1, got {label_smoothing}")
        return targets

    @classmethod
    def flops(cls, logits, *rest, **attrs):
        return 4 * logits[0] * logits[1]

    @staticmethod
    def forward(ctx, logits, targets, *, weight=None, ignore_index, label_smoothing):
        targets = targets if targets.dtype == np.int64 else backend.copy(targets, np.dtype(np.int64))
        real = targets[targets != ignore_index]
        if real.size and (real.min() < 0 or real.max() >= logits.shape[1]):
            bad = real[(real < 0) | (real >= logits.shape[1])][0]
            raise IndexError(
                f"CrossEntropy: target {bad} is out of range: {logits.shape[1]} classes, ignore_index {ignore_index}"
            )
        loss, lse = backend.cross_entropy(logits, targets, weight, ignore_index, label_smoothing)
        ctx.save(logits, targets, lse)
        return loss

    @staticmethod
    def backward(ctx, dloss):
        logits, targets, lse = ctx.saved
        a = ctx.attrs
        dlogits = backend.cross_entropy_grad(
            dloss, logits, targets, lse, a.get("weight"), a["ignore_index"], a["label_smoothing"]
        )
        return dlogits, None

    @staticmethod
    def samples(draw: Draw) -> Sample:
        n, c = draw.integer(0, 6), draw.integer(1, 7)
        attrs = {"weight": draw.choice([None, draw.array((c,), 0.5, 2.0)]), "label_smoothing": draw.choice([0.0, 0.1])}
        attrs["ignore_index"] = draw.choice([-100, 0])
        return Sample((draw.array((n, c), -4.0, 4.0), draw.ints((n,), 0, c)), attrs)

    @staticmethod
    def errors(draw: Draw) -> list[Sample]:
        z, t, ok = draw.array((2, 3)), draw.ints((2,), 0, 3), {"ignore_index": -100, "label_smoothing": 0.0}
        bad = [Sample(a, ok) for a in ((z, t + 3), (z, t - 4), (z[0], t), (z, t[:1]), (z, z[0]))]
        return [*bad, Sample((z, t), ok | {"label_smoothing": 1.5}), Sample((z, t), ok | {"weight": draw.array((2,))})]


class BinaryCrossEntropy(Op):
    """loss = -(t ln x + (1 - t) ln(1 - x)), logarithms at least -100.    dx = g (x - t) / max(x (1 - x), 1e-12).

    dt = g (ln(1 - x) - ln x). x probabilities, t targets, g = dloss, all of one shape; the bounds are PyTorch's.
    """

    kinds = "ff"

    @staticmethod
    def oracle(torch, x, t):
        return torch.nn.functional.binary_cross_entropy(x, t, reduction="none")

    @staticmethod
    def shape(x, t):
        if x != t:
            raise shape_error(
                "BinaryCrossEntropy", "input and target must have one shape", input=(x, "..."), target=(t, "...")
            )
        return x

    @staticmethod
    def logs(x):
        floor, one = np.asarray(-100, x.dtype), np.ones((), x.dtype)
        both = x, backend.binary("sub", one, x)
        return [backend.binary("maximum", backend.unary("log", v), floor) for v in both]

    @staticmethod
    def forward(ctx, x, t):
        ctx.save(x, t)
        ln, ln_rest = BinaryCrossEntropy.logs(x)
        rest = backend.binary("sub", np.ones((), t.dtype), t)
        total = backend.binary("add", backend.binary("mul", t, ln), backend.binary("mul", rest, ln_rest))
        return backend.unary("neg", total)

    @staticmethod
    def backward(ctx, g):
        x, t = ctx.saved
        dx = dt = None
        if ctx.needs[0]:
            slope = backend.binary("mul", x, backend.binary("sub", np.ones((), x.dtype), x))
            slope = backend.binary("maximum", slope, np.asarray(1e-12, x.dtype))
            dx = backend.binary("mul", g, backend.binary("div", backend.binary("sub", x, t), slope))
        if ctx.needs[1]:
            ln, ln_rest = BinaryCrossEntropy.logs(x)
            dt = backend.binary("mul", g, backend.binary("sub", ln_rest, ln))
        return dx, dt

    @staticmethod
    def samples(draw: Draw) -> Sample:
        shape = draw.shape()
        return Sample((draw.array(shape, 0.1, 0.9), draw.array(shape, 0.0, 1.0)))

    @staticmethod
    def errors(draw: Draw) -> list[Sample]:
        return [Sample((draw.array((2,), 0.1, 0.9), draw.array((3,), 0.1, 0.9)))]
