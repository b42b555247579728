"""nn.functional and PyTorch's transformer layers against their definitions in NumPy, with gradients by differences.
No torch here.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinyllm as tl
from tinyllm import nn, ops
from tinyllm.nn import functional as F


def cases(n):
    return settings(max_examples=n, deadline=None, derandomize=True, database=None)


def rand(*shape, seed=0, low=-2.0, high=2.0):
    return np.random.default_rng([seed, *shape]).uniform(low, high, shape)


def check(function, expected, *arrays, tol=1e-10):
    """The value equals `expected`, and the gradient five-point differences along a random direction."""
    inputs = [tl.tensor(a).requires_grad_(a.dtype.kind == "f") for a in arrays]
    out = function(*inputs)
    assert out.dtype == np.float64
    np.testing.assert_allclose(out.detach().numpy(), expected, rtol=tol, atol=tol)
    weight = np.cos(np.arange(out.numel(), dtype=float)).reshape(out.shape)
    (out * tl.tensor(weight)).sum().backward()
    rng = np.random.default_rng(1)
    for x, a in zip(inputs, arrays, strict=True):
        if not x.requires_grad:
            continue
        direction, h, values = rng.normal(size=a.shape), 1e-4, []
        for step in (-2, -1, 1, 2):
            moved = [tl.tensor(a + step * h * direction) if y is x else y.detach() for y in inputs]
            values.append(float((np.array(function(*moved)) * weight).sum()))
        slope = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * h)
        assert (x.grad.array * direction).sum() == pytest.approx(slope, rel=1e-8, abs=1e-8)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def erf(x):
    return np.vectorize(math.erf)(x)


ACTIVATIONS = {
    "relu": (lambda x: np.maximum(x, 0), {}),
    "relu6": (lambda x: np.clip(x, 0, 6), {}),
    "leaky_relu": (lambda x: np.where(x > 0, x, 0.01 * x), {}),
    "leaky_relu 0.3": (lambda x: np.where(x > 0, x, 0.3 * x), {"negative_slope": 0.3}),
    "elu": (lambda x: np.where(x > 0, x, np.expm1(x)), {}),
    "elu 0.7": (lambda x: np.where(x > 0, x, 0.7 * np.expm1(x)), {"alpha": 0.7}),
    "selu": (lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(x)), {}),
    "gelu": (lambda x: x * (1 + erf(x / math.sqrt(2))) / 2, {}),
    "gelu tanh": (
        lambda x: x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
        {"approximate": "tanh"},
    ),
    "silu": (lambda x: x * sigmoid(x), {}),
    "mish": (lambda x: x * np.tanh(np.log1p(np.exp(x))), {}),
    "softplus": (lambda x: np.log1p(np.exp(x)), {}),
    "softplus 3": (lambda x: np.log1p(np.exp(3 * x)) / 3, {"beta": 3.0}),
    "sigmoid": (sigmoid, {}),
    "logsigmoid": (lambda x: np.log(sigmoid(x)), {}),
    "tanh": (np.tanh, {}),
    "softsign": (lambda x: x / (1 + np.abs(x)), {}),
    "hardtanh": (lambda x: np.clip(x, -0.7, 1.3), {"min_val": -0.7, "max_val": 1.3}),
    "hardswish": (lambda x: x * np.clip(x + 3, 0, 6) / 6, {}),
    "hardsigmoid": (lambda x: np.clip(x + 3, 0, 6) / 6, {}),
    "glu": (lambda x: x[..., :3] * sigmoid(x[..., 3:]), {}),
    "swiglu": (lambda x: x[..., :3] * sigmoid(x[..., :3]) * x[..., 3:], {}),
    "softmax": (lambda x: np.exp(x) / np.exp(x).sum(1, keepdims=True), {"dim": 1}),
    "log_softmax": (lambda x: x - np.log(np.exp(x).sum(0)), {"dim": 0}),
    "normalize": (lambda x: x / np.sqrt((x**2).sum(1, keepdims=True)), {}),
    "normalize 1": (lambda x: x / np.abs(x).sum(-1, keepdims=True), {"p": 1.0, "dim": -1}),
    "pad": (lambda x: np.pad(x, ((0, 0), (0, 0), (1, 2)), constant_values=1.5), {"pad": (1, 2), "value": 1.5}),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name):
    formula, kwargs = ACTIVATIONS[name]
    x = rand(2, 3, 6, low=-4.03, high=4.03)  # off the kinks, by the seed
    check(lambda t: getattr(F, name.split()[0])(t, **kwargs), formula(x), x)


def test_activation_modules_call_their_functions_and_show_their_settings():
    x = tl.tensor(rand(2, 4))
    for module, function in [
        (nn.ReLU(), F.relu),
        (nn.GELU("tanh"), lambda x: F.gelu(x, "tanh")),
        (nn.LeakyReLU(negative_slope=0.5), lambda x: F.leaky_relu(x, 0.5)),
        (nn.Softmax(0), lambda x: F.softmax(x, 0)),
        (nn.LogSoftmax(dim=1), lambda x: F.log_softmax(x, 1)),
        (nn.SwiGLU(), F.swiglu),
        (nn.Identity(1, unused=2), lambda x: x),
        (nn.Flatten(0), lambda x: x.reshape(8)),
    ]:
        assert np.array_equal(module(x), function(x))
    assert repr(nn.GELU("tanh")) == "GELU(approximate='tanh')"
    assert F.softmax(tl.tensor([1, 2]), 0, dtype=tl.float64).dtype == np.float64
    for name in ("gelu_new", "gelu_pytorch_tanh"):
        assert np.array_equal(nn.activation(name)(x), F.gelu(x, "tanh"))


@cases(20)
@given(lead=st.lists(st.integers(0, 3), max_size=2), shape=st.lists(st.integers(1, 4), min_size=1, max_size=2))
def test_norms(lead, shape):
    n = tuple(range(-len(shape), 0))
    x, w, b = rand(*lead, *shape, 3)[..., 0] * 3, rand(*shape, seed=1), rand(*shape, seed=2)
    normed = (x - x.mean(n, keepdims=True)) / np.sqrt(x.var(n, keepdims=True) + 1e-2)
    check(lambda x, w, b: F.layer_norm(x, shape, w, b, 1e-2), normed * w + b, x, w, b)
    check(lambda x: F.layer_norm(x, shape, eps=1e-2), normed, x)
    size = np.sqrt((x**2).mean(n, keepdims=True) + 1e-2)
    check(lambda x, w: F.rms_norm(x, shape, w, 1e-2), x / size * w, x, w)
    layer = nn.LayerNorm(shape, eps=1e-2).double()
    np.testing.assert_allclose(layer(tl.tensor(x)).detach(), normed, rtol=1e-9, atol=1e-10)
    rms = nn.RMSNorm(shape).double()
    exact = x / np.sqrt((x**2).mean(n, keepdims=True) + np.finfo(np.float64).eps)
    np.testing.assert_allclose(rms(tl.tensor(x)).detach(), exact, rtol=1e-9, atol=1e-10)


def test_normalize_of_zero_is_zero_with_a_finite_gradient():
    x = tl.zeros(2, 3, requires_grad=True)
    F.normalize(x).sum().backward()
    assert np.isfinite(x.grad.array).all()
    a = tl.tensor(rand(2, 3))
    np.testing.assert_allclose(F.cosine_similarity(a, a), [1, 1])
    np.testing.assert_allclose(F.cosine_similarity(a, -2 * a, dim=0), [-1, -1, -1])


def test_one_hot():
    assert F.one_hot(tl.tensor([[2], [0]]), 3).tolist() == [[[0, 0, 1]], [[1, 0, 0]]]
    assert F.one_hot(tl.tensor([2, 0])).shape == (2, 3)


# -- losses ----------------------------------------------------------------------------------------------


def naive_cross_entropy(logits, target, weight, ignore, smoothing, reduction):
    """One example and class at a time, from the definition."""
    c = logits.shape[1] if logits.ndim > 1 else logits.shape[0]
    rows = np.moveaxis(logits, 1, -1).reshape(-1, c) if logits.ndim > 1 else logits[None]
    w = np.ones(c) if weight is None else weight
    losses, total = [], 0.0
    for z, t in zip(rows, target.reshape(-1), strict=True):
        if t == ignore:
            losses.append(0.0)
            continue
        logp = z - np.log(np.exp(z).sum())
        losses.append(-(1 - smoothing) * w[t] * logp[t] - smoothing / c * (w * logp).sum())
        total += w[t]
    losses = np.array(losses).reshape(target.shape)
    return losses if reduction == "none" else losses.sum() if reduction == "sum" else losses.sum() / total


@cases(40)
@given(
    shape=st.sampled_from([(), (5,), (3, 2), (2, 3, 2)]),
    weighted=st.booleans(),
    smoothing=st.sampled_from([0.0, 0.3]),
    reduction=st.sampled_from(["mean", "sum", "none"]),
    ignore=st.sampled_from([-100, 1]),
)
def test_cross_entropy_and_nll(shape, weighted, smoothing, reduction, ignore):
    x = rand(*shape[:1], 4, *shape[1:], low=-5, high=5)
    target = np.random.default_rng(3).integers(0, 4, shape)
    if target.ndim:
        target.flat[0] = ignore
        target.flat[1] = 2
    elif target == ignore:
        target = np.array(2)
    w = np.abs(rand(4, seed=1)) + 0.1 if weighted else None
    weight = None if w is None else tl.tensor(w)
    expected = naive_cross_entropy(x, target, w, ignore, smoothing, reduction)

    def loss(x, t):
        return F.cross_entropy(x, t, weight, ignore_index=ignore, label_smoothing=smoothing, reduction=reduction)

    check(loss, expected, x, target)
    module = nn.CrossEntropyLoss(weight, ignore_index=ignore, label_smoothing=smoothing, reduction=reduction)
    np.testing.assert_allclose(module(tl.tensor(x), tl.tensor(target)), expected, rtol=1e-10)
    axis = min(1, x.ndim - 1)
    logp = x - np.log(np.exp(x).sum(axis, keepdims=True))
    plain = naive_cross_entropy(x, target, w, ignore, 0.0, reduction)
    settings = {"ignore_index": ignore, "reduction": reduction}
    check(lambda x, t: F.nll_loss(x, t, weight, **settings), plain, logp, target)
    np.testing.assert_allclose(nn.NLLLoss(weight, **settings)(tl.tensor(logp), tl.tensor(target)), plain, rtol=1e-9)


@cases(20)
@given(
    shape=st.sampled_from([(4,), (3, 4), (2, 4, 3)]),
    smoothing=st.sampled_from([0.0, 0.2]),
    reduction=st.sampled_from(["mean", "sum", "none"]),
)
def test_cross_entropy_of_one_hot_probabilities_is_that_of_classes(shape, smoothing, reduction):
    x, axis = rand(*shape), min(1, len(shape) - 1)
    target = np.random.default_rng(0).integers(0, 4, shape[:axis] + shape[axis + 1 :])
    soft = np.moveaxis(np.eye(4)[target], -1, axis)
    a = F.cross_entropy(tl.tensor(x), tl.tensor(soft), label_smoothing=smoothing, reduction=reduction)
    b = F.cross_entropy(tl.tensor(x), tl.tensor(target), label_smoothing=smoothing, reduction=reduction)
    np.testing.assert_allclose(a, b, rtol=1e-12)
    w = tl.tensor(np.abs(rand(4, seed=1)))
    a = F.cross_entropy(tl.tensor(x), tl.tensor(soft), w, reduction="sum")
    b = F.cross_entropy(tl.tensor(x), tl.tensor(target), w, reduction="sum")
    np.testing.assert_allclose(a, b, rtol=1e-12)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("bias", [True, False])
def test_linear_cross_entropy_in_blocks_is_linear_then_cross_entropy(reduction, bias):
    n, classes = 300, 17_000
    assert n > 2 * ops.LinearCrossEntropy.block_rows(classes)
    x, w, b = rand(n, 3), rand(classes, 3, seed=1), rand(classes, seed=2)
    target = np.random.default_rng(3).integers(0, classes, n)
    target[::7] = -100
    settings = {"reduction": reduction, "label_smoothing": 0.1, "weight": tl.tensor(np.abs(rand(classes, seed=4)))}
    results = []
    for fused in (True, False):
        inputs = [tl.tensor(a, requires_grad=True) for a in ([x, w, b] if bias else [x, w])]
        if fused:
            biases = {"linear_bias": inputs[2]} if bias else {}
            loss = F.linear_cross_entropy(*inputs[:2], tl.tensor(target), **biases, **settings)
        else:
            loss = F.cross_entropy(F.linear(*inputs), tl.tensor(target), **settings)
        loss.sum().backward()
        results.append([loss.detach(), *[v.grad for v in inputs]])
    for got, expected in zip(*results, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-13)


def test_linear_cross_entropy_holds_a_block_of_logits():
    n, classes, row = 512, 16_384, 4 * 16_384
    x, w = tl.tensor(rand(n, 4).astype(np.float32)), tl.tensor(rand(classes, 4).astype(np.float32), requires_grad=True)
    target = tl.tensor(np.arange(n))
    with tl.profile() as p:
        F.linear_cross_entropy(x, w, target).backward()
    assert p.peak < 1.2 * ops.LinearCrossEntropy.block_rows(classes) * row


def test_all_ignored():
    x, t = tl.tensor(rand(2, 3)), tl.tensor([-100, -100])
    assert math.isnan(F.cross_entropy(x, t).item()) and F.cross_entropy(x, t, reduction="sum").item() == 0


def reduced(losses, reduction):
    return {"mean": losses.mean(), "sum": losses.sum(), "none": losses}[reduction]


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_elementwise_losses(reduction):
    x, t = rand(3, 4), rand(3, 4, seed=1)
    d = np.abs(x - t)
    p, u, w = rand(3, 4, low=0.1, high=0.9), rand(3, 4, seed=1, low=0, high=1), np.abs(rand(4, seed=2))
    entropy = -(u * np.log(p) + (1 - u) * np.log(1 - p))
    positive = -(2.5 * u * np.log(sigmoid(x)) + (1 - u) * np.log(1 - sigmoid(x))) * w
    huber = np.where(d < 0.7, d**2 / 2, 0.7 * (d - 0.35))
    cases = [
        (F.mse_loss, nn.MSELoss, {}, (x, t), d**2),
        (F.l1_loss, nn.L1Loss, {}, (x, t), d),
        (F.huber_loss, nn.HuberLoss, {"delta": 0.7}, (x, t), huber),
        (F.smooth_l1_loss, nn.SmoothL1Loss, {"beta": 0.7}, (x, t), huber / 0.7),
        (F.smooth_l1_loss, nn.SmoothL1Loss, {"beta": 0}, (x, t), d),
        (F.binary_cross_entropy, nn.BCELoss, {"weight": tl.tensor(w)}, (p, u), entropy * w),
        (
            F.binary_cross_entropy_with_logits,
            nn.BCEWithLogitsLoss,
            {"weight": tl.tensor(w), "pos_weight": tl.tensor([2.5], dtype=tl.float64)},
            (x, u),
            positive,
        ),
        (F.kl_div, nn.KLDivLoss, {}, (x, p), p * (np.log(p) - x)),
        (F.kl_div, nn.KLDivLoss, {"log_target": True}, (x, np.log(p)), p * (np.log(p) - x)),
    ]
    for function, module, kwargs, arrays, losses in cases:
        expected = reduced(losses, reduction)
        check(lambda a, b, f=function, k=kwargs: f(a, b, reduction=reduction, **k), expected, *arrays)
        made = module(reduction=reduction, **kwargs)
        np.testing.assert_allclose(made(*[tl.tensor(a) for a in arrays]), expected, rtol=1e-10)
        assert f"reduction={reduction!r}" in repr(made)


def test_kl_batchmean_and_zero_targets():
    x, t = rand(3, 4), rand(3, 4, low=0.1, high=1)
    t[0, 0] = 0.0
    losses = np.where(t == 0, 0, t * (np.log(np.where(t == 0, 1, t)) - x))
    out = F.kl_div(tl.tensor(x), tl.tensor(t), reduction="batchmean")
    assert out.item() == pytest.approx(losses.sum() / 3)


def test_binary_losses_at_the_edges():
    p = tl.tensor([0.0, 1.0, 0.0, 1.0], dtype=tl.float64)
    assert F.binary_cross_entropy(p, tl.tensor([1.0, 0.0, 0.0, 1.0], dtype=tl.float64), reduction="none").tolist() == [
        100,
        100,
        0,
        0,
    ]
    x = tl.tensor([1000.0, -1000.0, 0.0]).requires_grad_()
    loss = F.binary_cross_entropy_with_logits(x, tl.tensor([1.0, 1.0, 1.0]), reduction="none")
    np.testing.assert_allclose(loss.detach(), [0, 1000, math.log(2)], rtol=1e-6)
    loss.sum().backward()
    assert x.grad.tolist() == [0.0, -1.0, -0.5]


# -- attention -------------------------------------------------------------------------------------------


def naive_sdpa(q, k, v, mask, scale, keep, softcap, slopes):
    """q (..., H, L, E): score by score."""
    h, hk = q.shape[-3], k.shape[-3]
    out = np.zeros((*q.shape[:-1], v.shape[-1]))
    length, source = q.shape[-2], k.shape[-2]
    for lead in np.ndindex(q.shape[:-3]):
        for head in range(h):
            ks, vs = k[lead][head // (h // hk)], v[lead][head // (h // hk)]
            for i in range(length):
                s = scale * ks @ q[lead][head, i]
                s = softcap * np.tanh(s / softcap) if softcap else s
                if slopes is not None:
                    s = s + slopes[head] * (np.arange(source) - (i + source - length))
                s = np.where(keep[i], s, -np.inf)
                if mask is not None:
                    m = np.broadcast_to(mask, (*q.shape[:-1], source))[lead][head, i]
                    s = np.where(m, s, -np.inf) if m.dtype == bool else s + m
                if s.max() > -np.inf:
                    p = np.exp(s - s.max())
                    out[lead][head, i] = p / p.sum() @ vs
    return out


@cases(40)
@given(data=st.data())
def test_scaled_dot_product_attention(data):
    pick = lambda *options: data.draw(st.sampled_from(options))  # noqa: E731
    lead = pick((2,), (1,), (2, 3), ())
    h, hk = pick((2, 2), (4, 2), (3, 1))
    length, source, e, ev = (data.draw(st.integers(1, 5)) for _ in range(4))
    q, k, v = rand(*lead, h, length, e), rand(*lead, hk, source, e, seed=1), rand(*lead, hk, source, ev, seed=2)
    kwargs: dict = {"enable_gqa": True, "scale": pick(None, 0.7), "softcap": pick(0.0, 1.5)}
    kwargs["causal_alignment"] = alignment = pick("top-left", "bottom-right")
    window = kwargs["window"] = pick(None, (1, 1), (None, 0), (2, None))
    slopes = kwargs["alibi_slopes"] = pick(None, rand(h, seed=4))
    mask = pick(None, None, rand(length, source, seed=5), rand(h, length, source) > -1, rand(*lead, 1, 1, source) > -1)
    kwargs["is_causal"] = mask is None and data.draw(st.booleans())
    at = np.arange(length)[:, None] + (source - length if alignment == "bottom-right" else 0)
    j = np.arange(source)[None]
    keep = np.ones((length, source), bool) & (~np.array(kwargs["is_causal"]) | (j <= at))
    if window is not None:
        keep &= (j >= at - (99 if window[0] is None else window[0])) & (
            j <= at + (99 if window[1] is None else window[1])
        )
    scale = 1 / math.sqrt(e) if kwargs["scale"] is None else kwargs["scale"]
    expected = naive_sdpa(q, k, v, mask, scale, keep, kwargs["softcap"], slopes)
    arrays = (q, k, v) if mask is None else (q, k, v, mask)
    check(lambda *t: F.scaled_dot_product_attention(*t, **kwargs), expected, *arrays)


def test_attention_broadcasts_and_takes_two_axes():
    q, k, v = rand(2, 3, 4, 5), rand(1, 3, 6, 5, seed=1), rand(2, 1, 6, 2, seed=2)
    full = [np.broadcast_to(k, (2, 3, 6, 5)), np.broadcast_to(v, (2, 3, 6, 2))]
    keep = np.ones((4, 6), bool)
    expected = naive_sdpa(q, *full, None, 1 / math.sqrt(5), keep, 0.0, None)
    check(F.scaled_dot_product_attention, expected, q, k, v)
    flat = naive_sdpa(q[0, :1], k[0, :1], full[1][0, :1], None, 1 / math.sqrt(5), keep, 0.0, None)[0]
    check(F.scaled_dot_product_attention, flat, q[0, 0], k[0, 0], full[1][0, 0])


def test_attention_errors():
    q, k = tl.tensor(rand(1, 2, 3, 4)), tl.tensor(rand(1, 2, 5, 4))
    mask = tl.tensor(np.ones((3, 5), bool))
    sdpa = F.scaled_dot_product_attention
    for call in (
        lambda: sdpa(q, k, k, mask, is_causal=True),
        lambda: sdpa(q, k, k, mask.to(tl.int64)),
        lambda: sdpa(q.float(), k, k),
        lambda: sdpa(q, k, k, dropout_p=-0.5),
        lambda: sdpa(q, k[..., :3], k),
        lambda: sdpa(q, k, k[:, :, :4]),
        lambda: sdpa(q, tl.cat([k, k[:, :1]], 1), tl.cat([k, k[:, :1]], 1)),
        lambda: sdpa(q, tl.cat([k, k[:, :1]], 1), tl.cat([k, k[:, :1]], 1), enable_gqa=True),
        lambda: sdpa(q[0, 0, 0], k, k),
        lambda: sdpa(q, k, k, mask[:2]),
        lambda: sdpa(q, k, k, window=(-1, 0)),
        lambda: sdpa(q, k, k, is_causal=True, causal_alignment="right"),
    ):
        with pytest.raises((RuntimeError, ValueError)):
            call()
    half = sdpa(q, k, k, tl.tensor(np.zeros((3, 5), np.float32)))  # float32 masks serve float64 queries
    np.testing.assert_array_equal(half, sdpa(q, k, k))


# -- PyTorch's attention and transformer layers ----------------------------------------------------------


def naive_multihead(m, q, k, v, drop):
    """(N, L, E) through in_proj_weight's three parts, one head at a time; drop (N, L, S) is True where attention is
    not allowed.
    """
    w = m.in_proj_weight.detach().numpy().reshape(3, 8, 8)
    b = m.in_proj_bias.detach().numpy().reshape(3, 8)
    q, k, v = (x @ w[i].T + b[i] for i, x in enumerate((q, k, v)))
    out, weights = np.zeros(q.shape), np.zeros((q.shape[0], m.num_heads, q.shape[1], k.shape[1]))
    d = m.head_dim
    for head in range(m.num_heads):
        part = slice(head * d, head * d + d)
        s = np.where(drop, -np.inf, q[..., part] @ k[..., part].transpose(0, 2, 1) / math.sqrt(d))
        p = np.exp(s - s.max(-1, keepdims=True))
        weights[:, head] = p / p.sum(-1, keepdims=True)
        out[..., part] = weights[:, head] @ v[..., part]
    return out @ m.out_proj.weight.detach().numpy().T + m.out_proj.bias.detach().numpy(), weights


def test_multihead_attention():
    m = nn.MultiheadAttention(8, 2, batch_first=True).double()
    for name in ("in_proj_bias", "out_proj.bias"):
        nn.init.normal_(m.get_parameter(name))
    q, k = rand(2, 3, 8), rand(2, 5, 8, seed=1)
    attn = np.triu(np.ones((3, 5), bool), 2)
    padding = np.array([[False] * 5, [False] * 4 + [True]])
    drop = attn[None] | padding[:, None]
    expected, weights = naive_multihead(m, q, k, k, drop)
    masks = {"attn_mask": tl.tensor(attn), "key_padding_mask": tl.tensor(padding)}
    floats = {a: tl.tensor(np.where(x.array, -np.inf, 0.0)) for a, x in masks.items()}
    mixed = masks | {"attn_mask": floats["attn_mask"]}
    per_head = masks | {"attn_mask": tl.tensor(np.repeat(attn[None], 4, 0))}
    a, b = tl.tensor(q), tl.tensor(k)
    for chosen in (masks, floats, mixed, per_head):
        out, w = m(a, b, b, average_attn_weights=False, **chosen)
        np.testing.assert_allclose(out.detach(), expected, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(w.detach(), weights, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(m(a, b, b, **chosen)[1].detach(), weights.mean(1), rtol=1e-10, atol=1e-12)
        lean, none = m(a, b, b, need_weights=False, **chosen)
        np.testing.assert_allclose(lean.detach(), expected, rtol=1e-10, atol=1e-12)
        assert none is None
    causal = np.triu(np.ones((3, 3), bool), 1)
    expected, _ = naive_multihead(m, q, q, q, causal[None])
    for chosen in ({"need_weights": True}, {"need_weights": False}, {"need_weights": False, "is_causal": True}):
        out, _ = m(a, a, a, attn_mask=tl.tensor(causal), **chosen)
        np.testing.assert_allclose(out.detach(), expected, rtol=1e-10, atol=1e-12)
    one, w = m(a[0], b[0], b[0], key_padding_mask=tl.tensor(padding[1]))
    two, _ = naive_multihead(m, q[:1], k[:1], k[:1], padding[1:, None])
    np.testing.assert_allclose(one.detach(), two[0], rtol=1e-10, atol=1e-12)
    assert w.shape == (3, 5)


def test_multihead_with_other_widths_and_appended_keys():
    m = nn.MultiheadAttention(8, 2, kdim=3, vdim=5).double()
    assert [n for n, _ in m.named_parameters()][:3] == ["q_proj_weight", "k_proj_weight", "v_proj_weight"]
    packed = nn.MultiheadAttention(8, 2).double()
    q, k, v = tl.tensor(rand(3, 2, 8)), tl.tensor(rand(5, 2, 3)), tl.tensor(rand(5, 2, 5))
    wide = (F.linear(k, m.k_proj_weight), F.linear(v, m.v_proj_weight))
    state = {n: np.array(p) for n, p in m.state_dict().items() if "proj_weight" not in n}
    state["in_proj_weight"] = np.concatenate([m.q_proj_weight.detach().numpy(), np.eye(8), np.eye(8)])
    packed.load_state_dict(state)
    np.testing.assert_allclose(m(q, k, v)[0].detach(), packed(q, *wide)[0].detach(), rtol=1e-10, atol=1e-12)
    extra = nn.MultiheadAttention(8, 2, add_bias_kv=True, add_zero_attn=True).double()
    drop = tl.tensor(np.ones((3, 3), bool))
    out, weights = extra(q, q, q, attn_mask=drop)  # nothing but the appended keys is visible
    assert weights.shape == (2, 3, 5) and not weights.array[..., :3].any()
    np.testing.assert_allclose(weights.sum(-1).detach(), np.ones((2, 3)), rtol=1e-12)
    lean, _ = extra(q, q, q, attn_mask=drop, need_weights=False)
    np.testing.assert_allclose(out.detach(), lean.detach(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("norm_first", [False, True])
def test_transformer_layers_are_compositions_of_their_parts(norm_first):
    x, memory = tl.tensor(rand(4, 2, 8)), tl.tensor(rand(5, 2, 8, seed=1))
    layer = nn.TransformerEncoderLayer(8, 2, 16, 0.0, "gelu", norm_first=norm_first).double()
    decoder = nn.TransformerDecoderLayer(8, 2, 16, 0.0, norm_first=norm_first).double()
    for p in (*layer.parameters(), *decoder.parameters()):
        nn.init.normal_(p, 0.5, 0.5)  # no two norms alike

    def attend(y):
        return layer.self_attn(y, y, y)[0]

    def forward(y):
        return layer.linear2(F.gelu(layer.linear1(y)))

    if norm_first:
        y = x + attend(layer.norm1(x))
        expected = y + forward(layer.norm2(y))
    else:
        y = layer.norm1(x + attend(x))
        expected = layer.norm2(y + forward(y))
    np.testing.assert_allclose(layer(x).detach(), expected.detach(), rtol=1e-10, atol=1e-12)
    n1, n2, n3 = decoder.norm1, decoder.norm2, decoder.norm3

    def own(y):
        return decoder.self_attn(y, y, y)[0]

    def look(y):
        return decoder.multihead_attn(y, memory, memory)[0]

    def forward_2(y):
        return decoder.linear2(F.relu(decoder.linear1(y)))

    if norm_first:
        y = x + own(n1(x))
        y = y + look(n2(y))
        expected = y + forward_2(n3(y))
    else:
        y = n1(x + own(x))
        y = n2(y + look(y))
        expected = n3(y + forward_2(y))
    np.testing.assert_allclose(decoder(x, memory).detach(), expected.detach(), rtol=1e-10, atol=1e-12)
    with pytest.raises(RuntimeError):
        nn.TransformerEncoderLayer(8, 2, activation="tanh")


def test_transformer_masks_hide_what_they_hide():
    m = nn.Transformer(8, 2, 1, 2, 16, 0.0).double()
    assert len(m.decoder.layers) == 2 and m.encoder.norm is not None
    src, tgt = rand(4, 2, 8), rand(3, 2, 8, seed=1)
    padding = np.zeros((2, 4), bool)
    padding[1, 2:] = True
    causal = nn.Transformer.generate_square_subsequent_mask(3, dtype=tl.float64)

    def run(src, tgt):
        out = m(
            tl.tensor(src),
            tl.tensor(tgt),
            tgt_mask=causal,
            src_key_padding_mask=tl.tensor(padding),
            memory_key_padding_mask=tl.tensor(padding),
            tgt_is_causal=True,
        )
        return out.detach().numpy()

    base = run(src, tgt)
    hidden = src.copy()
    hidden[2:, 1] = 9.0
    np.testing.assert_array_equal(base, run(hidden, tgt))
    future = tgt.copy()
    future[2] = 9.0
    np.testing.assert_array_equal(base[:2], run(src, future)[:2])
    assert not np.allclose(base[2], run(src, future)[2])
    assert all(p.rule.kind == "uniform" for p in m.parameters() if p.ndim > 1)


def test_pytorch_spellings_that_change_nothing():
    x = tl.tensor([-1.0, 2.0])
    assert nn.ReLU(inplace=True)(x).tolist() == [0.0, 2.0] == nn.Hardtanh(0.0, 2.0, inplace=True)(
        x
    ).tolist() and x.tolist() == [-1.0, 2.0]
    assert nn.Dropout(0.5, inplace=True).eval().to("cpu")(x) is x
    assert F.cross_entropy(tl.zeros(2, 0), tl.tensor([-100, -100]), reduction="none").tolist() == [0.0, 0.0]


def test_binary_cross_entropy_has_finite_gradients_at_the_edges():
    x = tl.tensor([0.0, 1.0, 0.5, 0.0], requires_grad=True)
    F.binary_cross_entropy(x, tl.tensor([0.0, 1.0, 1.0, 1.0]), reduction="sum").backward()
    np.testing.assert_allclose(x.grad.numpy(), [0.0, 0.0, -2.0, -1e12], rtol=1e-5)
