"""Gradient norms and clipping (torch.nn.utils.clip_grad_norm_, clip_grad_value_).

`clip_grad_norm_` rewrites every gradient. In a training loop the same costs nothing:

    norm = grad_norm(parameters)
    optimizer.step(grad_scale=clip_scale(norm, max_norm))
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from .. import backend
from .._tensor import Tensor

_EPS = 1e-6  # PyTorch's, added to the norm before dividing


def _gradients(parameters: Tensor | Iterable[Tensor]) -> list[np.ndarray]:
    params = [parameters] if isinstance(parameters, Tensor) else parameters
    return [p.grad.array for p in params if p.grad is not None]


def grad_norm(parameters: Tensor | Iterable[Tensor], norm_type: float = 2.0) -> float:
    """The norm of all gradients as one vector (0 if there are none). The 2-norm is summed in float64, in
    the order of the parameters.
    """
    grads = _gradients(parameters)
    if norm_type == 2:
        return math.sqrt(backend.sum_squares(grads))
    largest = [float(backend.reduce("max", backend.unary("abs", g.reshape(-1)), (0,))) for g in grads if g.size]
    if norm_type == math.inf:
        return math.nan if any(map(math.isnan, largest)) else max(largest, default=0.0)
    if norm_type <= 0:
        raise ValueError(f"norm_type must be positive, got {norm_type}")
    powers = [backend.binary("pow", backend.unary("abs", g), np.asarray(norm_type, g.dtype)) for g in grads]
    total = sum(float(backend.reduce("sum", x.reshape(-1), (0,))) for x in powers)
    return total ** (1.0 / norm_type)


def clip_scale(norm: float, max_norm: float) -> float:
    """The factor that brings a gradient of `norm` down to `max_norm`, at most 1; NaN for a norm that is not
    a number.
    """
    scale = max_norm / (norm + _EPS)
    return 1.0 if scale > 1.0 else scale


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> Tensor:
    """Scale all gradients in place so that their common norm is at most `max_norm`; returns the norm before."""
    params = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    norm = grad_norm(params, norm_type)
    if error_if_nonfinite and not math.isfinite(norm):
        raise RuntimeError(
            f"The total norm of order {norm_type} for gradients from `parameters` is non-finite, so it cannot be "
            "clipped. To disable this error and scale the gradients by the non-finite norm anyway, set "
            "error_if_nonfinite=False"
        )
    scale = clip_scale(norm, max_norm)
    grads = _gradients(params)
    if scale != 1.0:
        for g in grads:
            backend.binary("mul", g, np.asarray(scale, g.dtype), out=g)
    return Tensor(np.asarray(norm, grads[0].dtype if grads else np.float32))


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Limit every element of every gradient to [-clip_value, clip_value], in place."""
    for g in _gradients(parameters):
        backend.binary("maximum", g, np.asarray(-clip_value, g.dtype), out=g)
        backend.binary("minimum", g, np.asarray(clip_value, g.dtype), out=g)
