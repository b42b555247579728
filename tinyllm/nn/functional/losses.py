"""Functional losses (torch.nn.functional): `reduction` is "mean", "sum" or "none", shapes and denominators
are PyTorch's.

Legend: N examples, C classes, d1... further axes (the classes are axis 1). The deprecated `size_average`
and `reduce` are left out; what follows them in PyTorch's signatures is therefore taken by keyword only.
"""

from __future__ import annotations

import warnings

from ... import ops
from ..._tensor import Tensor
from ...autograd import apply
from ...errors import DtypeError, ShapeError
from ...functions import where
from .layers import linear, log_softmax


def _check_reduction(reduction: str) -> None:
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"{reduction!r} is not a valid value for reduction; expected 'mean', 'sum' or 'none'")


def _reduce(loss: Tensor, reduction: str) -> Tensor:
    _check_reduction(reduction)
    return loss.mean() if reduction == "mean" else loss.sum() if reduction == "sum" else loss


def _rows(name: str, input: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """(N, C, d1...) scores and (N, d1...) classes as (M, C) and (M,); raises for shapes that don't belong
    together.
    """
    if input.ndim == 0:
        raise ShapeError(f"{name}: input needs an axis of classes, got a 0-dimensional tensor")
    expected = () if input.ndim == 1 else (input.shape[0], *input.shape[2:])
    if tuple(target.shape) != expected:
        if target.ndim and input.ndim > 1 and target.shape[0] != input.shape[0]:
            raise ShapeError(
                f"{name}: expected input batch_size ({input.shape[0]}) to match target batch_size "
                f"({target.shape[0]}); input {tuple(input.shape)}, target {tuple(target.shape)}"
            )
        raise ShapeError(
            f"{name}: an input (N, C, d1...) of {tuple(input.shape)} needs a target (N, d1...) of {expected}, "
            f"got {tuple(target.shape)}"
        )
    if target.dtype.kind != "i":
        raise DtypeError(f"{name}: expected target of an integer dtype (class indices), got {target.dtype}")
    classes = input.shape[0] if input.ndim == 1 else input.shape[1]
    rows = input if input.ndim < 3 else input.movedim(1, -1)
    return rows.reshape(-1 if classes else target.numel(), classes), target.reshape(-1)


def _check_weight(name: str, weight: Tensor | None, classes: int) -> None:
    if weight is not None and tuple(weight.shape) != (classes,):
        raise ShapeError(
            f"{name}: weight tensor should be defined either for all {classes} classes or no classes, "
            f"got {tuple(weight.shape)}"
        )


def _weighted_mean(total: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int) -> Tensor:
    """The sum of the losses over the sum of the weights of the targets that are not ignored (NaN if there is
    none).
    """
    counted = target != ignore_index
    if weight is None:
        return total / counted.sum()
    picked = weight.detach()[where(counted, target, 0)]
    return total / (picked * counted).sum()


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """-sum_c t_c w_c log softmax(x)_c, t one-hot of the class (or the probabilities given), smoothed to t
    (1 - s) + s / C.

    input (C,), (N, C) or (N, C, d1...) logits; target integer classes (), (N,) or (N, d1...), or
    probabilities of the input's shape and dtype. Classes equal to `ignore_index` count for nothing; "mean"
    divides by the sum of the weights of those that count. With probabilities it divides by the number of
    examples. To divide by a count of your own, take reduction="sum".
    """
    _check_reduction(reduction)
    if not 0.0 <= label_smoothing <= 1.0:
        raise RuntimeError(f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing}")
    if target.dtype.kind == "f" and tuple(target.shape) == tuple(input.shape) and input.ndim:
        return _soft_cross_entropy(input, target, weight, reduction, label_smoothing)
    rows, classes = _rows("cross_entropy", input, target)
    _check_weight("cross_entropy", weight, rows.shape[1])
    loss = apply(
        ops.CrossEntropy,
        rows,
        classes,
        weight=None if weight is None else weight.array,
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
    )
    if reduction == "mean":
        return _weighted_mean(loss.sum(), classes, weight, ignore_index)
    return loss.sum() if reduction == "sum" else loss.reshape(target.shape)


def linear_cross_entropy(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    linear_bias: Tensor | None = None,
    weight: Tensor | None = None,
    reduction: str = "mean",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
) -> Tensor:
    """cross_entropy(linear(input, linear_weight, linear_bias), target, ...) that never holds all logits.

    input (in,) or (N, in), linear_weight (C, in), linear_bias (C,); the rest as in `cross_entropy`, ignore_index
    -100 where it is None. Logits exist a block of rows at a time, and their gradients are made in forward: a fraction
    of the memory for a large C. Where every loss has a gradient of its own (reduction="none"), and for
    probabilities, it computes what it says, logits and all.
    """
    _check_reduction(reduction)
    ignore = -100 if ignore_index is None else ignore_index
    if reduction == "none" or target.dtype.kind == "f" or input.ndim != 2 or linear_weight.ndim != 2:
        return cross_entropy(
            linear(input, linear_weight, linear_bias),
            target,
            weight,
            ignore_index=ignore,
            reduction=reduction,
            label_smoothing=label_smoothing,
        )
    _check_weight("linear_cross_entropy", weight, linear_weight.shape[0])
    loss = apply(
        ops.LinearCrossEntropy,
        input,
        linear_weight,
        linear_bias,
        target,
        weight=None if weight is None else weight.array,
        ignore_index=ignore,
        label_smoothing=label_smoothing,
    )
    return _weighted_mean(loss, target, weight, ignore) if reduction == "mean" else loss


def _soft_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None, reduction: str, smoothing: float
) -> Tensor:
    axis = 0 if input.ndim == 1 else 1
    classes = input.shape[axis]
    _check_weight("cross_entropy", weight, classes)
    if smoothing:
        target = target * (1.0 - smoothing) + smoothing / classes
    if weight is not None:
        target = target * weight.reshape(classes, *[1] * (input.ndim - axis - 1))
    loss = -(target * log_softmax(input, axis)).sum(axis)
    return loss.sum() / max(1, loss.numel()) if reduction == "mean" else _reduce(loss, reduction)


def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """-w_t * x_t for log-probabilities x: shapes, `ignore_index` and "mean" as in `cross_entropy`."""
    _check_reduction(reduction)
    rows, classes = _rows("nll_loss", input, target)
    _check_weight("nll_loss", weight, rows.shape[1])
    counted = classes != ignore_index
    safe = where(counted, classes, 0)
    if safe.array.size and not 0 <= safe.array.min() <= safe.array.max() < rows.shape[1]:
        raise IndexError(f"nll_loss: a target is out of bounds: classes run from 0 to {rows.shape[1] - 1}")
    loss = -rows.gather(1, safe.unsqueeze(1)).squeeze(1)
    if weight is not None:
        loss = loss * weight[safe]
    loss = where(counted, loss, 0)
    if reduction == "mean":
        return _weighted_mean(loss.sum(), classes, weight, ignore_index)
    return loss.sum() if reduction == "sum" else loss.reshape(target.shape)


def _warn_broadcast(name: str, input: Tensor, target: Tensor) -> None:
    if tuple(input.shape) != tuple(target.shape):
        warnings.warn(
            f"{name}: using a target size ({tuple(target.shape)}) that is different to the input size "
            f"({tuple(input.shape)}). This will likely lead to incorrect results due to broadcasting. "
            "Please ensure they have the same size.",
            stacklevel=3,
        )


def _same_shape(name: str, input: Tensor, target: Tensor) -> None:
    if tuple(input.shape) != tuple(target.shape):
        raise ShapeError(
            f"{name}: target size ({tuple(target.shape)}) must be the same as input size ({tuple(input.shape)})"
        )


def mse_loss(input: Tensor, target: Tensor, *, reduction: str = "mean") -> Tensor:
    """(x - t)^2. Different shapes broadcast with a warning, as in PyTorch."""
    _warn_broadcast("mse_loss", input, target)
    return _reduce((input - target).square(), reduction)


def l1_loss(input: Tensor, target: Tensor, *, reduction: str = "mean") -> Tensor:
    """|x - t|."""
    _warn_broadcast("l1_loss", input, target)
    return _reduce((input - target).abs(), reduction)


def huber_loss(input: Tensor, target: Tensor, *, reduction: str = "mean", delta: float = 1.0) -> Tensor:
    """(x - t)^2 / 2 within delta of the target, delta * (|x - t| - delta / 2) beyond."""
    if delta <= 0:
        raise RuntimeError(f"huber_loss does not support non-positive values for delta, got {delta}")
    _warn_broadcast("huber_loss", input, target)
    size = (input - target).abs()
    near = size.clamp(max=delta)
    return _reduce(near * (size - 0.5 * near), reduction)


def smooth_l1_loss(input: Tensor, target: Tensor, *, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """huber_loss with delta = beta, divided by beta; beta = 0 is `l1_loss`."""
    if beta < 0:
        raise RuntimeError(f"smooth_l1_loss does not support negative values for beta, got {beta}")
    if beta == 0:
        return l1_loss(input, target, reduction=reduction)
    return huber_loss(input, target, reduction=reduction, delta=beta) / beta


def binary_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, *, reduction: str = "mean"
) -> Tensor:
    """-w (t ln x + (1 - t) ln(1 - x)) for probabilities x; logarithms are cut at -100, as in PyTorch."""
    _same_shape("binary_cross_entropy", input, target)
    if input.array.size and not (input.array.min() >= 0 and input.array.max() <= 1):
        raise RuntimeError(
            "binary_cross_entropy: all elements of input should be between 0 and 1; "
            "for logits use binary_cross_entropy_with_logits"
        )
    loss = apply(ops.BinaryCrossEntropy, input, target)
    return _reduce(loss if weight is None else loss * weight, reduction)


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """-w (p t ln s + (1 - t) ln(1 - s)), s = sigmoid(x) and p = pos_weight, in a form that does not overflow."""
    _same_shape("binary_cross_entropy_with_logits", input, target)
    softplus = apply(ops.Softplus, -input)  # -ln s
    loss = (1 - target) * input + (softplus if pos_weight is None else (1 + (pos_weight - 1) * target) * softplus)
    return _reduce(loss if weight is None else loss * weight, reduction)


def kl_div(input: Tensor, target: Tensor, *, reduction: str = "mean", log_target: bool = False) -> Tensor:
    """t (ln t - x) for log-probabilities x, 0 where t = 0; reduction "batchmean" divides the sum by the
    first axis.

    "mean" divides by the number of elements, which is PyTorch's default and not the divergence: prefer
    "batchmean".
    """
    _same_shape("kl_div", input, target)
    if log_target:
        loss = target.exp() * (target - input)
    else:
        zero = target == 0
        log = where(zero, 1, target).log()
        loss = target * log - target * input
    if reduction == "batchmean":
        return loss.sum() / input.shape[0] if input.ndim else loss.sum()
    return _reduce(loss, reduction)


def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """x1 . x2 / (max(|x1|, eps) * max(|x2|, eps)) along `dim`."""
    sizes = [(x * x).sum(dim).clamp(min=eps * eps).sqrt() for x in (x1, x2)]
    return (x1 * x2).sum(dim) / (sizes[0] * sizes[1])
