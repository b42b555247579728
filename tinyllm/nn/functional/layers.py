"""Functional forms of layers: linear, embedding, activations, softmax, normalisation, dropout, padding.

Every function takes and returns tensors; `...` in a shape stands for any leading axes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import ops
from ..._tensor import Tensor
from ...autograd import apply
from ...errors import ShapeError
from ...functions import where
from ...random import default_generator


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None, *, residual: Tensor | None = None) -> Tensor:
    """y = x W^T + b: input (..., in), weight (out, in), bias (out,) -> (..., out). `residual` (..., out) is added at
    no cost.
    """
    return apply(ops.Linear, input, weight, bias, residual)


def feed_forward(
    input: Tensor,
    w1: Tensor,
    b1: Tensor | None,
    w2: Tensor,
    b2: Tensor | None,
    activation: str = "gelu",
    *,
    residual: Tensor | None = None,
) -> Tensor:
    """activation(input w1^T + b1) w2^T + b2, fused: input (..., d), w1 (n, d), b1 (n,), w2 (m, n), b2 (m,) ->
    (..., m). `residual` (..., m) is added at no cost.

    activation: gelu, gelu_tanh, relu, sigmoid or silu. Of the hidden layer only what the activation takes is kept for
    backward.
    """
    return apply(ops.FeedForward, input, w1, b1, w2, b2, residual, act=activation)


def embedding(input: Tensor, weight: Tensor, padding_idx: int | None = None) -> Tensor:
    """Rows of `weight` (n, d) by integer ids of any shape -> (*ids, d). The row `padding_idx` gets no
    gradient.

    Raises IndexError for an id outside 0..n-1.
    """
    if padding_idx is not None:
        n = weight.shape[0]
        if not -n <= padding_idx < n:
            raise ValueError(f"padding_idx must be within num_embeddings: from {-n} to {n - 1}, got {padding_idx}")
        padding_idx %= n
    return apply(ops.Embedding, weight, input, padding_idx=padding_idx)


# -- activations -------------------------------------------------------------------------------------------


def relu(input: Tensor) -> Tensor:
    """max(x, 0)."""
    return apply(ops.Relu, input)


def relu6(input: Tensor) -> Tensor:
    """min(max(x, 0), 6)."""
    return apply(ops.Relu6, input)


def leaky_relu(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    """x where x > 0, else negative_slope * x."""
    if negative_slope == 0.01:
        return apply(ops.LeakyRelu, input)
    return where(input > 0, input, input * negative_slope)


def elu(input: Tensor, alpha: float = 1.0) -> Tensor:
    """x where x > 0, else alpha * (e^x - 1)."""
    if alpha == 1.0:
        return apply(ops.Elu, input)
    return relu(input) + alpha * input.clamp(max=0.0).expm1()


def selu(input: Tensor) -> Tensor:
    """scale * elu(x, alpha) with the constants of Klambauer et al. 2017, which keep mean 0 and variance 1."""
    return 1.0507009873554804934193349852946 * elu(input, 1.6732632423543772848170429916717)


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """x * Phi(x) (Hendrycks & Gimpel 2016); approximate="tanh" is the form that GPT-2 uses."""
    if approximate not in ("none", "tanh"):
        raise RuntimeError(f"approximate argument must be either none or tanh, got {approximate!r}")
    return apply(ops.Gelu if approximate == "none" else ops.GeluTanh, input)


def silu(input: Tensor) -> Tensor:
    """x * sigmoid(x), also called swish."""
    return apply(ops.Silu, input)


def mish(input: Tensor) -> Tensor:
    """x * tanh(softplus(x))."""
    return apply(ops.Mish, input)


def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """ln(1 + e^(beta x)) / beta. `threshold` is PyTorch's guard against overflow; here every x is safe, it
    changes nothing.
    """
    return apply(ops.Softplus, input) if beta == 1.0 else apply(ops.Softplus, input * beta) / beta


def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + e^-x)."""
    return apply(ops.Sigmoid, input)


def logsigmoid(input: Tensor) -> Tensor:
    """ln sigmoid(x), without cancellation."""
    return -apply(ops.Softplus, -input)


def tanh(input: Tensor) -> Tensor:
    """Hyperbolic tangent."""
    return apply(ops.Tanh, input)


def softsign(input: Tensor) -> Tensor:
    """x / (1 + |x|)."""
    return input / (1.0 + input.abs())


def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """x limited to [min_val, max_val]."""
    return input.clamp(min_val, max_val)


def hardswish(input: Tensor) -> Tensor:
    """x * relu6(x + 3) / 6."""
    return apply(ops.Hardswish, input)


def hardsigmoid(input: Tensor) -> Tensor:
    """relu6(x + 3) / 6."""
    return apply(ops.Hardsigmoid, input)


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """a * sigmoid(b), a and b the halves of the input along `dim` (Dauphin et al. 2016)."""
    a, b = _halves(input, dim)
    return apply(ops.Gated, b, a, act="sigmoid")


def swiglu(input: Tensor, dim: int = -1) -> Tensor:
    """silu(a) * b, a and b the halves of the input along `dim` (Shazeer 2020)."""
    a, b = _halves(input, dim)
    return apply(ops.Gated, a, b, act="silu")


def _halves(input: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    if input.ndim == 0:
        raise ShapeError("glu does not support 0-dimensional tensors")
    n = input.shape[dim]
    if n % 2:
        raise ShapeError(f"halving dimension must be even, but dimension {dim} is size {n}")
    a, b = input.split(n // 2, dim) if n else (input, input)
    return a, b


# -- softmax and normalisation -----------------------------------------------------------------------------


def softmax(input: Tensor, dim: int, dtype: Any = None) -> Tensor:
    """e^x / sum(e^x) along `dim`; with `dtype` the input is converted first. A row that is all -inf gives
    NaN, as in PyTorch.
    """
    return apply(ops.Softmax, input if dtype is None else input.to(dtype), dim=dim)


def log_softmax(input: Tensor, dim: int, dtype: Any = None) -> Tensor:
    """x - ln(sum(e^x)) along `dim`; with `dtype` the input is converted first."""
    return apply(ops.LogSoftmax, input if dtype is None else input.to(dtype), dim=dim)


def _flat_rows(name: str, input: Tensor, normalized_shape: int | Sequence[int], **params: Tensor | None) -> tuple:
    """The input with the normalised axes flattened into one, the parameters likewise."""
    shape = (normalized_shape,) if isinstance(normalized_shape, (int, np.integer)) else tuple(normalized_shape)
    if input.array.shape[-1:] == shape and all([p is None or p.array.shape == shape for p in params.values()]):
        return input, *params.values()
    if not shape:
        raise ShapeError(f"{name}: normalized_shape must have at least one dimension, got ()")
    if tuple(input.shape[-len(shape) :]) != shape or input.ndim < len(shape):
        raise ShapeError(
            f"{name}: given normalized_shape={list(shape)}, expected input with shape "
            f"[*, {', '.join(map(str, shape))}], but got input of size {list(input.shape)}"
        )
    for key, p in params.items():
        if p is not None and tuple(p.shape) != shape:
            raise ShapeError(
                f"{name}: expected {key} to be of same shape as normalized_shape {list(shape)}, got {list(p.shape)}"
            )
    if len(shape) == 1:
        return input, *params.values()
    n = math.prod(shape)
    lead = tuple(input.shape[: input.ndim - len(shape)])
    return input.reshape(*lead, n), *[None if p is None else p.reshape(n) for p in params.values()]


def layer_norm(
    input: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """(x - mean) / sqrt(var + eps) * w + b over the last axes, which have `normalized_shape` (Ba et al.
    2016).
    """
    x, w, b = _flat_rows("layer_norm", input, normalized_shape, weight=weight, bias=bias)
    y = apply(ops.LayerNorm, x, w, b, eps=eps)
    return y if x is input else y.reshape(input.shape)


def rms_norm(
    input: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * w over the last axes (Zhang & Sennrich 2019); eps=None is the dtype's
    epsilon.
    """
    x, w = _flat_rows("rms_norm", input, normalized_shape, weight=weight)
    eps = float(np.finfo(x.dtype).eps) if eps is None else eps
    y = apply(ops.RmsNorm, x, w, eps=eps)
    return y if x is input else y.reshape(input.shape)


def normalize(input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Tensor:
    """x / max(norm_p(x), eps) along `dim`."""
    if p == 2:  # clamped before the root, whose gradient is infinite at 0
        size = (input * input).sum(dim, keepdim=True).clamp(min=eps * eps).sqrt()
    elif p == 1:
        size = input.abs().sum(dim, keepdim=True).clamp(min=eps)
    else:
        raise NotImplementedError(f"normalize: p must be 1 or 2, got {p}")
    return input / size


# -- dropout, padding, one-hot -----------------------------------------------------------------------------


def dropout(input: Tensor, p: float = 0.5, training: bool = True, *, stream: str = "dropout") -> Tensor:
    """Zero each element with probability p and scale the others by 1 / (1 - p); the input itself if not
    training.

    The mask is a function of (seed, step, `stream`, how often that stream was used in this step, element
    index).
    """
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
    if not training or p == 0.0:
        return input
    draw = default_generator.next(stream)
    base = default_generator.first_row * math.prod(input.shape[1:])  # elements of earlier rows of the whole batch
    return apply(ops.Dropout, input, p=p, key=draw.key, stream=draw.stream, base=base)


def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """Grow (or, with negative numbers, cut) axes: `pad` is (left, right) of the last axis, then of the one
    before, ...

    Only mode="constant" is implemented; the others raise NotImplementedError.
    """
    if mode != "constant":
        raise NotImplementedError(f"pad: only mode='constant' is supported, got {mode!r}")
    return apply(ops.Pad, input, pad=tuple(pad), value=0.0 if value is None else value)


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """Integer classes (...) -> int64 (..., num_classes) with a single 1 in each row; -1 takes the largest
    class plus 1.
    """
    if tensor.dtype.kind != "i":
        raise RuntimeError(f"one_hot is only applicable to index tensors of type int64, got {tensor.dtype}")
    array = tensor.array
    if array.size == 0 and num_classes <= 0:
        raise RuntimeError("Can not infer total number of classes from empty tensor.")
    if array.size and array.min() < 0:
        raise RuntimeError(f"Class values must be non-negative, got {array.min()}")
    if num_classes == -1:
        num_classes = int(array.max()) + 1
    elif array.size and array.max() >= num_classes:
        raise RuntimeError(f"Class values must be smaller than num_classes={num_classes}, got {array.max()}")
    return (tensor.unsqueeze(-1) == Tensor(np.arange(num_classes, dtype=array.dtype))).to(np.dtype(np.int64))
