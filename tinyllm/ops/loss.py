"""Cross-entropy: of logits and class numbers, fused so that probabilities are never stored, and of probabilities.

Legend: logits (N, C); targets (N,) integers; weight (C,) of the logits' dtype, a constant, or None; loss (N,), one
number a row (reduction="none" in PyTorch). Of the fused one: x (N, K) rows, w (C, K), bias (C,) or None.
"""

from __future__ import annotations

import numpy as np

from .. import backend
from ..op import Draw, Op, Sample, shape_error
from .linalg import Linear


def _class_numbers(op: str, targets: np.ndarray, classes: int, ignore_index: int) -> np.ndarray:
    """The targets as int64; IndexError for one that is neither a class nor ignore_index, which is an int64, too."""
    if not -(1 << 63) <= ignore_index < 1 << 63:
        raise ValueError(f"{op}: ignore_index must fit an int64, got {ignore_index}")
    targets = targets if targets.dtype == np.int64 else backend.copy(targets, np.dtype(np.int64))
    if targets.size and (targets.min() < 0 or targets.max() >= classes):
        bad = targets[((targets < 0) | (targets >= classes)) & (targets != ignore_index)]
        if bad.size:
            raise IndexError(f"{op}: target {bad[0]} is out of range: {classes} classes, ignore_index {ignore_index}")
    return targets


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
        if weight is not None and not isinstance(weight, np.ndarray):
            raise TypeError(f"CrossEntropy: weight must be an array, got {type(weight).__name__}")
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
        targets = _class_numbers("CrossEntropy", targets, logits.shape[1], ignore_index)
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
        wrong = ({"label_smoothing": 1.5}, {"weight": draw.array((2,))}, {"ignore_index": 1 << 64})
        return bad + [Sample((z, t), ok | attrs) for attrs in wrong]


class LinearCrossEntropy(Op):
    """loss = sum over rows of CrossEntropy(z), a scalar, z = x @ w^T + bias.    dx = dz @ w, dw = dz^T @ x, dbias = sum
    of dz over rows, dz as in CrossEntropy.

    z is never held whole: a block of rows goes from logits to losses to gradients in one buffer, and its part of dw is
    added before the next block comes. So forward makes the gradients, for dloss = 1, and the first backward scales
    them and gives them away; computing z again there would be a fourth matrix product beside three. A second
    backward has to.
    """

    kinds, cost = "fffi", "compute"

    @staticmethod
    def oracle(torch, x, w, bias, targets, *, weight=None, **attrs):
        z = torch.nn.functional.linear(x, w, bias)
        return torch.nn.functional.cross_entropy(z, targets, weight, reduction="sum", **attrs)

    @staticmethod
    def shape(x, w, bias, targets, **attrs):
        if len(x) != 2:
            raise shape_error("LinearCrossEntropy", "the input must be a matrix of rows", input=(x, "N in"))
        CrossEntropy.shape(Linear.shape(x, w, bias, None), targets, **attrs)
        return ()

    @classmethod
    def flops(cls, x, w, *rest, **attrs):
        return Linear.flops(x, w, None, None)

    @staticmethod
    def block_rows(classes):
        """Rows whose logits are held at a time: 8 MB in float32, but not so few that the products become slow."""
        return max(128, 2**21 // max(1, classes))

    @staticmethod
    def forward(ctx, x, w, bias, targets, *, weight=None, ignore_index, label_smoothing):
        targets = _class_numbers("LinearCrossEntropy", targets, w.shape[0], ignore_index)
        ctx.save(x, w, bias, targets)
        losses, ctx.made = LinearCrossEntropy.by_blocks(ctx, x, w, bias, targets)
        return backend.reduce("sum", losses, (0,))

    @staticmethod
    def by_blocks(ctx, x, w, bias, targets):
        """The losses (N,), and the gradients that are wanted (None for others)."""
        n, classes = x.shape[0], w.shape[0]
        settings = {name: ctx.attrs.get(name) for name in ("weight", "ignore_index", "label_smoothing")}
        step = LinearCrossEntropy.block_rows(classes)
        logits, losses = backend.empty((min(n, step), classes), x.dtype), backend.empty((n,), x.dtype)
        ones = backend.full((min(n, step),), 1, x.dtype)
        dx = backend.empty(x.shape, x.dtype) if ctx.needs[0] else None  # whose rows are all written
        dw, dbias = (
            backend.full(a.shape, 0, x.dtype) if a is not None and needed else None
            for a, needed in zip((w, bias), ctx.needs[1:], strict=False)
        )
        for start in range(0, n, step):
            rows, ids = x[start : start + step], targets[start : start + step]
            z = backend.matmul(rows, w.T, bias, out=logits[: len(rows)])
            loss, lse = backend.cross_entropy(z, ids, **settings)
            backend.assign(losses[start : start + step], loss)
            if not any(ctx.needs):
                continue
            dz = backend.cross_entropy_grad(ones[: len(rows)], z, ids, lse, **settings, out=z)
            if dx is not None:
                backend.matmul(dz, w, out=dx[start : start + step])
            if dw is not None:
                backend.matmul(dz.T, rows, out=dw, beta=float(start > 0))
            if dbias is not None:
                backend.add_(dbias, backend.reduce("sum", dz, (0,)))
        return losses, (dx, dw, dbias)

    @staticmethod
    def backward(ctx, dloss):
        made, ctx.made = ctx.made or LinearCrossEntropy.by_blocks(ctx, *ctx.saved)[1], None
        scaled = [
            backend.binary("mul", g, dloss, out=g) if g is not None and needed else None
            for g, needed in zip(made, ctx.needs, strict=False)
        ]
        return *scaled, None

    @staticmethod
    def samples(draw: Draw) -> Sample:
        logits = CrossEntropy.samples(draw)
        (n, c), k = logits.args[0].shape, draw.integer(1, 5)
        bias = draw.choice([None, draw.array((c,))])
        return Sample((draw.array((n, k)), draw.array((c, k)), bias, logits.args[1]), logits.attrs)

    @staticmethod
    def errors(draw: Draw) -> list[Sample]:
        x, w, b, t = draw.array((2, 3)), draw.array((4, 3)), draw.array((4,)), draw.ints((2,), 0, 4)
        ok = {"ignore_index": -100, "label_smoothing": 0.0}
        bad = [(x[0], w, b, t), (x, w.T, b, t), (x, w, b[:3], t), (x, w, b, t[:1]), (x, w, b, t + 4), (x, w, b, x[0])]
        return [Sample(args, ok) for args in bad] + [Sample((x, w, b, t), ok | {"weight": draw.array((3,))})]


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
