"""nn and optim against PyTorch, in float64 with the same numbers: values and gradients of functionals, layers, losses
and attention with each of its options; state dicts that load across; optimizers and schedules over many steps; gpt2's
arithmetic from torch's parts.
"""

from __future__ import annotations

import copy
import math
import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import tinyllm as tl  # noqa: E402
from tinyllm import nn, optim  # noqa: E402
from tinyllm.nn import functional as F  # noqa: E402

pytestmark = pytest.mark.oracle
TF = torch.nn.functional
TOL = {"rtol": 1e-9, "atol": 1e-10}


def rand(*shape, seed=0, low=-2.0, high=2.0):
    return np.random.default_rng([seed, *shape]).uniform(low, high, shape)


def classes(*shape, n, seed=0):
    return np.random.default_rng([seed, *shape]).integers(0, n, shape)


def both(ours, theirs, *arrays, tol=TOL, **kwargs):
    """Compare f(*arrays) and the gradients of every floating input, for a fixed direction."""
    results = []
    for function, make in ((ours, tl.tensor), (theirs, torch.tensor)):
        inputs = [None if a is None else make(a) for a in arrays]
        floats = [x for x, a in zip(inputs, arrays, strict=True) if a is not None and a.dtype.kind == "f"]
        for x in floats:
            x.requires_grad_()
        out = function(*inputs, **kwargs)
        direction = np.cos(np.arange(math.prod(out.shape))).reshape(tuple(out.shape))
        if floats and out.requires_grad:
            (out * make(direction)).sum().backward()
        results.append((out.detach().numpy(), [None if x.grad is None else x.grad.numpy() for x in floats]))
    (a, ga), (b, gb) = results
    assert a.shape == b.shape and a.dtype == b.dtype
    np.testing.assert_allclose(a, b, **tol)
    for x, y in zip(ga, gb, strict=True):
        if x is None or y is None:
            assert (x is None or not x.any()) and (y is None or not y.any())
        else:
            np.testing.assert_allclose(x, y, **tol)


# -- functionals -----------------------------------------------------------------------------------------

ACTIVATIONS = [
    ("relu", {}),
    ("relu6", {}),
    ("leaky_relu", {}),
    ("leaky_relu", {"negative_slope": 0.3}),
    ("elu", {}),
    ("elu", {"alpha": 0.7}),
    ("selu", {}),
    ("gelu", {}),
    ("gelu", {"approximate": "tanh"}),
    ("silu", {}),
    ("mish", {}),
    ("softplus", {}),
    ("softplus", {"beta": 3.0}),
    ("sigmoid", {}),
    ("logsigmoid", {}),
    ("tanh", {}),
    ("softsign", {}),
    ("hardtanh", {"min_val": -0.5, "max_val": 1.5}),
    ("hardswish", {}),
    ("hardsigmoid", {}),
    ("glu", {}),
    ("glu", {"dim": 0}),
    ("softmax", {"dim": 1}),
    ("softmax", {"dim": -1, "dtype": "float64"}),
    ("log_softmax", {"dim": 0}),
    ("normalize", {}),
    ("normalize", {"p": 1.0, "dim": -1}),
    ("pad", {"pad": (1, 2)}),
    ("pad", {"pad": (-1, 0, 2, 1), "value": 3.0}),
]


@pytest.mark.parametrize(("name", "kwargs"), ACTIVATIONS, ids=str)
def test_functional(name, kwargs):
    theirs = {k: torch.float64 if v == "float64" else v for k, v in kwargs.items()}
    x = rand(4, 3, 6, low=-5, high=5)
    # torch writes hardsigmoid's 1/6 as a float32
    tol = {"rtol": 1e-7, "atol": 1e-8} if name == "hardsigmoid" else TOL
    both(lambda x: getattr(F, name)(x, **kwargs), lambda x: getattr(TF, name)(x, **theirs), x, tol=tol)


def test_extreme_inputs_do_not_overflow():
    x = np.array([-1000.0, -80.0, -0.0, 80.0, 1000.0])
    for name, kwargs in ACTIVATIONS[:20]:
        if "glu" not in name or name == "gelu":
            kwargs = dict(kwargs)
            both(
                lambda x, n=name, k=kwargs: getattr(F, n)(x, **k),
                lambda x, n=name, k=kwargs: getattr(TF, n)(x, **k),
                x,
                tol={"rtol": 1e-7, "atol": 1e-8},
            )


@pytest.mark.parametrize("bias", [True, False])
def test_linear(bias):
    both(F.linear, TF.linear, rand(2, 3, 4), rand(5, 4), rand(5) if bias else None)


def test_embedding_with_padding_and_repeats():
    ids = np.array([[0, 3, 3], [1, 0, 4]])
    for padding in (None, 3, -1):
        both(
            lambda w, i, p=padding: F.embedding(i, w, p), lambda w, i, p=padding: TF.embedding(i, w, p), rand(5, 3), ids
        )


@pytest.mark.parametrize("shape", [(6,), (3, 6)])
@pytest.mark.parametrize("affine", [True, False])
def test_norms(shape, affine):
    x = rand(2, 3, 6)
    w, b = (rand(*shape, seed=s) if affine else None for s in (1, 2))
    both(
        lambda x, w, b: F.layer_norm(x, shape, w, b, 1e-3), lambda x, w, b: TF.layer_norm(x, shape, w, b, 1e-3), x, w, b
    )
    for eps in (None, 1e-2):
        both(lambda x, w, e=eps: F.rms_norm(x, shape, w, e), lambda x, w, e=eps: TF.rms_norm(x, shape, w, e), x, w)


def test_one_hot_and_similarity():
    ids = classes(2, 3, n=5)
    assert np.array_equal(F.one_hot(tl.tensor(ids), 5), TF.one_hot(torch.tensor(ids), 5).numpy())
    assert np.array_equal(F.one_hot(tl.tensor(ids)), TF.one_hot(torch.tensor(ids)).numpy())
    both(F.cosine_similarity, TF.cosine_similarity, rand(3, 4), rand(3, 4, seed=1))


# -- losses ----------------------------------------------------------------------------------------------

REDUCTIONS = ["mean", "sum", "none"]


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("shape", [(), (6,), (3, 4), (2, 3, 2)])
def test_cross_entropy(reduction, weighted, smoothing, shape):
    target = classes(*shape, n=5)
    logits = rand(*shape[:1], 5, *shape[1:], low=-6, high=6)
    if shape:
        target.flat[0] = -100
    w = np.abs(rand(5, seed=3)) + 0.1

    def loss(lib, functional, make):
        return lambda x, t: functional.cross_entropy(
            x, t, make(w) if weighted else None, reduction=reduction, label_smoothing=smoothing
        )

    both(loss(tl, F, tl.tensor), loss(torch, TF, torch.tensor), logits, target)
    if shape:
        target.flat[1] = 2
        both(
            lambda x, t: F.cross_entropy(x, t, ignore_index=2, reduction=reduction),
            lambda x, t: TF.cross_entropy(x, t, ignore_index=2, reduction=reduction),
            logits,
            np.where(target == -100, 0, target),
        )


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", [(), (6,)])
def test_linear_cross_entropy(reduction, weighted, shape):
    target = classes(*shape, n=5)
    x, w, b, scale = rand(*shape, 4), rand(5, 4, seed=1), rand(5, seed=2), np.abs(rand(5, seed=3)) + 0.1
    if shape:
        target.flat[0] = -100

    def loss(functional, make):
        return lambda x, w, b, t: functional.linear_cross_entropy(
            x, w, t, linear_bias=b, weight=make(scale) if weighted else None, reduction=reduction, label_smoothing=0.1
        )

    both(loss(F, tl.tensor), loss(TF, torch.tensor), x, w, b, target)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("shape", [(5,), (4, 5), (2, 5, 3)])
def test_cross_entropy_of_probabilities(reduction, smoothing, shape):
    x, t, w = rand(*shape), np.abs(rand(*shape, seed=1)), np.abs(rand(5, seed=2))
    for weight in (None, w):
        both(
            lambda x, t, v=weight: F.cross_entropy(
                x, t, None if v is None else tl.tensor(v), reduction=reduction, label_smoothing=smoothing
            ),
            lambda x, t, v=weight: TF.cross_entropy(
                x, t, None if v is None else torch.tensor(v), reduction=reduction, label_smoothing=smoothing
            ),
            x,
            t,
        )


def test_cross_entropy_with_everything_ignored_is_nan_as_in_torch():
    x, t = rand(2, 3), np.full(2, -100)
    assert math.isnan(F.cross_entropy(tl.tensor(x), tl.tensor(t)).item())
    assert math.isnan(TF.cross_entropy(torch.tensor(x), torch.tensor(t)).item())
    assert F.cross_entropy(tl.tensor(x), tl.tensor(t), reduction="sum").item() == 0.0


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(), (6,), (3, 4)])
def test_nll(reduction, shape):
    target, x = classes(*shape, n=5), rand(*shape[:1], 5, *shape[1:], low=-6, high=0)
    w = np.abs(rand(5, seed=3)) + 0.1
    if shape:
        target.flat[0] = -100
    for weight in (None, w):
        both(
            lambda x, t, v=weight: F.nll_loss(x, t, None if v is None else tl.tensor(v), reduction=reduction),
            lambda x, t, v=weight: TF.nll_loss(x, t, None if v is None else torch.tensor(v), reduction=reduction),
            x,
            target,
        )


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(
    ("name", "kwargs"),
    [
        ("mse_loss", {}),
        ("l1_loss", {}),
        ("smooth_l1_loss", {}),
        ("smooth_l1_loss", {"beta": 0.3}),
        ("smooth_l1_loss", {"beta": 0}),
        ("huber_loss", {"delta": 0.5}),
    ],
)
def test_regression_losses(name, kwargs, reduction):
    ours, theirs = getattr(F, name), getattr(TF, name)
    x, t = rand(3, 4), rand(3, 4, seed=1)
    both(
        lambda x, t: ours(x, t, reduction=reduction, **kwargs),
        lambda x, t: theirs(x, t, reduction=reduction, **kwargs),
        x,
        t,
    )


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_binary_losses(reduction):
    x, t = rand(3, 4, low=-9, high=9), rand(3, 4, seed=1, low=0, high=1)
    w, pw = np.abs(rand(4, seed=2)), np.abs(rand(4, seed=3))
    both(
        lambda x, t: F.binary_cross_entropy_with_logits(
            x, t, tl.tensor(w), reduction=reduction, pos_weight=tl.tensor(pw)
        ),
        lambda x, t: TF.binary_cross_entropy_with_logits(
            x, t, torch.tensor(w), reduction=reduction, pos_weight=torch.tensor(pw)
        ),
        x,
        t,
    )
    p = rand(3, 4, low=0.01, high=0.99)
    both(
        lambda x: F.binary_cross_entropy(x, tl.tensor(t), tl.tensor(w), reduction=reduction),
        lambda x: TF.binary_cross_entropy(x, torch.tensor(t), torch.tensor(w), reduction=reduction),
        p,
    )
    edge = np.array([0.0, 1.0, 0.0, 1.0])
    one = F.binary_cross_entropy(tl.tensor(edge), tl.tensor(edge[::-1].copy()), reduction="none")
    two = TF.binary_cross_entropy(torch.tensor(edge), torch.tensor(edge[::-1].copy()), reduction="none")
    assert np.array_equal(one, two.numpy())


@pytest.mark.parametrize("reduction", [*REDUCTIONS, "batchmean"])
def test_kl_div(reduction):
    x = np.log(np.random.default_rng(0).dirichlet(np.ones(4), 3))
    t = np.random.default_rng(1).dirichlet(np.ones(4), 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch advises batchmean
        both(lambda x, t: F.kl_div(x, t, reduction=reduction), lambda x, t: TF.kl_div(x, t, reduction=reduction), x, t)
        both(
            lambda x, t: F.kl_div(x, t, reduction=reduction, log_target=True),
            lambda x, t: TF.kl_div(x, t, reduction=reduction, log_target=True),
            x,
            np.log(t),
        )
        t[0, 0] = 0.0
        one = F.kl_div(tl.tensor(x), tl.tensor(t), reduction=reduction)
        two = TF.kl_div(torch.tensor(x), torch.tensor(t), reduction=reduction)
        np.testing.assert_allclose(one, two.numpy(), **TOL)


@pytest.mark.parametrize(
    ("name", "settings", "x", "t"),
    [
        ("CrossEntropyLoss", {"label_smoothing": 0.1, "reduction": "sum"}, rand(4, 5), classes(4, n=5)),
        ("NLLLoss", {"ignore_index": 1}, rand(4, 5), classes(4, n=5)),
        ("MSELoss", {}, rand(4, 5), rand(4, 5, seed=1)),
        ("L1Loss", {"reduction": "none"}, rand(4, 5), rand(4, 5, seed=1)),
        ("SmoothL1Loss", {"beta": 0.4}, rand(4, 5), rand(4, 5, seed=1)),
        ("HuberLoss", {"delta": 0.4}, rand(4, 5), rand(4, 5, seed=1)),
        ("KLDivLoss", {"reduction": "batchmean"}, rand(4, 5), rand(4, 5, seed=1, low=0.1)),
        ("BCELoss", {}, rand(4, 5, low=0.1, high=0.9), rand(4, 5, seed=1, low=0, high=1)),
        ("BCEWithLogitsLoss", {}, rand(4, 5), rand(4, 5, seed=1, low=0, high=1)),
    ],
)
def test_loss_modules(name, settings, x, t):
    both(getattr(nn, name)(**settings), getattr(torch.nn, name)(**settings), x, t)


# -- attention -------------------------------------------------------------------------------------------


def qkv(b=2, h=4, hk=None, length=5, source=7, width=6, width_v=3):
    hk = h if hk is None else hk
    return rand(b, h, length, width), rand(b, hk, source, width, seed=1), rand(b, hk, source, width_v, seed=2)


SDPA = [
    {},
    {"is_causal": True},
    {"scale": 0.3},
    {"scale": -1.5, "is_causal": True},
]


@pytest.mark.parametrize("kwargs", SDPA, ids=str)
@pytest.mark.parametrize(("length", "source"), [(5, 7), (7, 5), (4, 4), (1, 3), (3, 1)])
def test_sdpa(kwargs, length, source):
    run = [lambda q, k, v, f=f: f.scaled_dot_product_attention(q, k, v, **kwargs) for f in (F, TF)]
    both(*run, *qkv(length=length, source=source))


@pytest.mark.parametrize("ndim", [2, 3, 5])
def test_sdpa_other_numbers_of_axes(ndim):
    shapes = {2: ((), ()), 3: ((3,), (3,)), 5: ((2, 3, 4), (2, 3, 4))}[ndim]
    arrays = rand(*shapes[0], 5, 6), rand(*shapes[1], 7, 6, seed=1), rand(*shapes[1], 7, 3, seed=2)
    for kwargs in SDPA[:2]:
        both(*[lambda q, k, v, f=f, a=kwargs: f.scaled_dot_product_attention(q, k, v, **a) for f in (F, TF)], *arrays)


def test_sdpa_broadcasts_batch_and_heads():
    both(
        F.scaled_dot_product_attention,
        TF.scaled_dot_product_attention,
        rand(2, 4, 5, 6),
        rand(1, 4, 7, 6),
        rand(2, 4, 7, 3),
    )
    both(
        F.scaled_dot_product_attention,
        TF.scaled_dot_product_attention,
        rand(2, 4, 5, 6),
        rand(2, 1, 7, 6),
        rand(2, 1, 7, 3),
    )


@pytest.mark.parametrize("hk", [1, 2, 4])
def test_sdpa_grouped_heads(hk):
    run = [
        lambda q, k, v, f=f: f.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True) for f in (F, TF)
    ]
    both(*run, *qkv(hk=hk))
    q, k, v = (a[0] for a in qkv(hk=hk))
    both(*[lambda q, k, v, f=f: f.scaled_dot_product_attention(q, k, v, enable_gqa=True) for f in (F, TF)], q, k, v)


@pytest.mark.parametrize(
    "shape", [(5, 7), (1, 7), (5, 1), (2, 1, 5, 7), (1, 4, 5, 7), (4, 5, 7), (2, 4, 5, 7), (2, 1, 1, 7)]
)
@pytest.mark.parametrize("kind", ["bool", "float"])
def test_sdpa_masks(shape, kind):
    mask = rand(*shape, seed=5) > -0.8 if kind == "bool" else rand(*shape, seed=5)
    run = [lambda q, k, v, m, f=f: f.scaled_dot_product_attention(q, k, v, m) for f in (F, TF)]
    both(*run, *qkv(), mask)
    if kind == "float":  # a float32 mask serves float64 queries too
        both(*run, *qkv(), mask.astype(np.float32), tol={"rtol": 1e-6, "atol": 1e-7})


def test_sdpa_masks_with_other_numbers_of_axes():
    q, k, v = rand(5, 6), rand(7, 6, seed=1), rand(7, 3, seed=2)
    run = [lambda q, k, v, m, f=f: f.scaled_dot_product_attention(q, k, v, m) for f in (F, TF)]
    both(*run, q, k, v, rand(5, 7, seed=3))
    q, k, v = rand(2, 3, 4, 5, 6), rand(2, 3, 4, 7, 6, seed=1), rand(2, 3, 4, 7, 3, seed=2)
    for shape in [(5, 7), (4, 5, 7), (3, 1, 5, 7), (2, 1, 4, 5, 7), (1, 1, 1, 5, 7)]:
        both(*run, q, k, v, rand(*shape, seed=3))


def test_sdpa_rows_that_see_nothing_give_zero():
    q, k, v = qkv()
    mask = np.ones((5, 7), bool)
    mask[2] = False
    run = [lambda q, k, v, m, f=f: f.scaled_dot_product_attention(q, k, v, m) for f in (F, TF)]
    both(*run, q, k, v, mask)
    out = F.scaled_dot_product_attention(*[tl.tensor(a) for a in (q, k, v)], tl.tensor(mask))
    assert not np.array(out)[:, :, 2].any()


def test_sdpa_strided_views():
    packed = rand(2, 5, 3, 4, 6)  # (B, T, 3, H, D)

    def run(f):
        def call(x):
            q, k, v = (x[:, :, i].transpose(1, 2) for i in range(3))
            return f.scaled_dot_product_attention(q, k, v, is_causal=True)

        return call

    both(run(F), run(TF), packed)


def reference_attention(q, k, v, bias, softcap=0.0):
    s = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    s = softcap * torch.tanh(s / softcap) if softcap else s
    return torch.softmax(s + bias, -1) @ v


@pytest.mark.parametrize("alignment", ["top-left", "bottom-right"])
@pytest.mark.parametrize("window", [(2, 0), (1, 2), (None, 0), (2, None)])
def test_window_and_alignment(alignment, window):
    length, source = 5, 7
    q, k, v = qkv(length=length, source=source)
    at = np.arange(length)[:, None] + (source - length if alignment == "bottom-right" else 0)
    j = np.arange(source)[None]
    keep = np.ones((length, source), bool)
    if window[0] is not None:
        keep &= j >= at - window[0]
    if window[1] is not None:
        keep &= j <= at + window[1]
    bias = np.where(keep, 0.0, -math.inf)
    both(
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, window=window, causal_alignment=alignment),
        lambda q, k, v: reference_attention(q, k, v, torch.tensor(bias)),
        q,
        k,
        v,
    )
    if alignment == "bottom-right":
        causal = np.where(keep & (j <= at), 0.0, -math.inf)
        both(
            lambda q, k, v: F.scaled_dot_product_attention(
                q, k, v, is_causal=True, window=window, causal_alignment=alignment
            ),
            lambda q, k, v: reference_attention(q, k, v, torch.tensor(causal)),
            q,
            k,
            v,
        )


def test_softcap_and_alibi():
    q, k, v = qkv()
    slopes = np.array([0.5, 0.25, 0.125, 0.0625])
    distance = np.arange(7)[None] - (np.arange(5)[:, None] + 2)
    bias = slopes[:, None, None] * distance
    both(
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, softcap=0.7, alibi_slopes=slopes),
        lambda q, k, v: reference_attention(q, k, v, torch.tensor(bias), 0.7),
        q,
        k,
        v,
    )


def test_sdpa_errors_are_of_torchs_types():
    q, k, v = qkv()

    def call(f, make, q, k, v, m=None, **kwargs):
        f.scaled_dot_product_attention(make(q), make(k), make(v), None if m is None else make(m), **kwargs)

    mask = np.ones((5, 7), bool)
    bad = [
        ((q[..., :4], k, v), {}),
        ((q, k[:, :, :3], v), {}),
        ((q, k, v), {"m": mask, "is_causal": True}),
        ((q, k, v), {"m": np.ones((5, 7), np.int64)}),
        ((q, k, v), {"m": np.ones((4, 7), bool)}),
        ((q, k[:, :2], v[:, :2]), {}),
        ((q, k[:, :3], v[:, :3]), {"enable_gqa": True}),
        ((q.astype(np.float32), k, v), {}),
        ((q[0, 0, 0], k, v), {}),
        ((q, k, v), {"dropout_p": 1.5}),
    ]
    for arrays, kwargs in bad:
        with pytest.raises(RuntimeError):
            call(TF, torch.tensor, *arrays, **kwargs)
        with pytest.raises(RuntimeError):
            call(F, tl.tensor, *arrays, **kwargs)


# -- layers ----------------------------------------------------------------------------------------------


def load(ours, theirs):
    """Give ours the parameters of theirs, strictly: the names and shapes agree."""
    state = {k: v.numpy() for k, v in theirs.state_dict().items()}
    assert list(state) == list(ours.state_dict())
    ours.load_state_dict(state)
    assert [n for n, _ in ours.named_parameters()] == [n for n, _ in theirs.named_parameters()]


def compare(ours, theirs, *arrays, **masks):
    """Same outputs, same gradients of inputs and of every parameter."""
    load(ours, theirs)
    both(
        lambda *x: ours(*x, **{k: tl.tensor(m) if isinstance(m, np.ndarray) else m for k, m in masks.items()}),
        lambda *x: theirs(*x, **{k: torch.tensor(m) if isinstance(m, np.ndarray) else m for k, m in masks.items()}),
        *arrays,
    )
    for (name, p), (_, q) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        if q.grad is None:
            assert p.grad is None or not p.grad.numpy().any(), name
        else:
            np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), **TOL, err_msg=name)


D = torch.float64


def test_simple_layers():
    compare(nn.Linear(4, 5, dtype=tl.float64), torch.nn.Linear(4, 5, dtype=D), rand(2, 3, 4))
    compare(nn.Linear(4, 5, bias=False, dtype=tl.float64), torch.nn.Linear(4, 5, bias=False, dtype=D), rand(4))
    ids = classes(2, 3, n=5)
    compare(nn.Embedding(5, 4, padding_idx=0, dtype=tl.float64), torch.nn.Embedding(5, 4, padding_idx=0, dtype=D), ids)
    for shape in (6, (3, 6)):
        compare(nn.LayerNorm(shape, dtype=tl.float64), torch.nn.LayerNorm(shape, dtype=D), rand(2, 3, 6))
        compare(nn.RMSNorm(shape, dtype=tl.float64), torch.nn.RMSNorm(shape, dtype=D), rand(2, 3, 6))
    compare(nn.LayerNorm(6, bias=False, dtype=tl.float64), torch.nn.LayerNorm(6, bias=False, dtype=D), rand(2, 6))
    compare(nn.LayerNorm(6, elementwise_affine=False), torch.nn.LayerNorm(6, elementwise_affine=False), rand(2, 6))
    compare(nn.Flatten(), torch.nn.Flatten(), rand(2, 3, 4))


@pytest.mark.parametrize(
    "name",
    "ReLU ReLU6 LeakyReLU ELU SELU GELU SiLU Mish Softplus Sigmoid LogSigmoid Tanh Softsign Hardtanh Hardswish "
    "Hardsigmoid GLU".split(),
)
def test_activation_modules(name):
    tol = {"rtol": 1e-7, "atol": 1e-8} if name == "Hardsigmoid" else TOL
    both(getattr(nn, name)(), getattr(torch.nn, name)(), rand(3, 4, low=-4, high=4), tol=tol)


MHA = [
    {},
    {"bias": False},
    {"kdim": 3, "vdim": 5},
    {"add_bias_kv": True},
    {"add_zero_attn": True},
    {"add_bias_kv": True, "add_zero_attn": True},
]


@pytest.mark.parametrize("settings", MHA, ids=str)
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("need_weights", [False, True])
def test_multihead(settings, batch_first, need_weights):
    n, length, source = 2, 3, 5
    shape = (lambda t, w: (n, t, w)) if batch_first else (lambda t, w: (t, n, w))
    q = rand(*shape(length, 8))
    k = rand(*shape(source, settings.get("kdim", 8)), seed=1)
    v = rand(*shape(source, settings.get("vdim", 8)), seed=2)
    padding = np.zeros((n, source), bool)
    padding[1, 3:] = True
    attn = np.triu(np.ones((length, source), bool), 2)
    full = np.tile(attn, (n * 2, 1, 1))
    for masks in [
        {},
        {"key_padding_mask": padding},
        {"attn_mask": attn},
        {"attn_mask": full, "key_padding_mask": padding},
        {"attn_mask": rand(length, source, seed=3)},
        {"attn_mask": rand(n * 2, length, source, seed=3), "key_padding_mask": np.where(padding, -np.inf, 0.5)},
    ]:
        ours = nn.MultiheadAttention(8, 2, batch_first=batch_first, dtype=tl.float64, **settings)
        theirs = torch.nn.MultiheadAttention(8, 2, batch_first=batch_first, dtype=D, **settings)
        load(ours, theirs)
        made = [{a: f(m) for a, m in masks.items()} for f in (tl.tensor, torch.tensor)]
        for part in (0, 1) if need_weights else (0,):
            both(
                lambda q, k, v, p=part, m=made[0], o=ours: o(q, k, v, need_weights=need_weights, **m)[p],
                lambda q, k, v, p=part, m=made[1], o=theirs: o(q, k, v, need_weights=need_weights, **m)[p],
                q,
                k,
                v,
            )
        for (name, a), (_, b) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
            np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), **TOL, err_msg=name)


def test_multihead_unbatched_self_attention_and_weights_per_head():
    ours, theirs = nn.MultiheadAttention(8, 2, dtype=tl.float64), torch.nn.MultiheadAttention(8, 2, dtype=D)
    load(ours, theirs)
    for part in (0, 1):
        both(
            lambda x, p=part: ours(x, x, x, average_attn_weights=False)[p],
            lambda x, p=part: theirs(x, x, x, average_attn_weights=False)[p],
            rand(4, 8),
        )
    causal = np.triu(np.ones((4, 4), bool), 1)
    both(
        lambda x: ours(x, x, x, attn_mask=tl.tensor(causal), is_causal=True, need_weights=False)[0],
        lambda x: theirs(x, x, x, attn_mask=torch.tensor(causal), is_causal=True, need_weights=False)[0],
        rand(4, 2, 8),
    )


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_transformer_layers_load_torchs_state(norm_first, batch_first, activation):
    settings = {"dropout": 0.0, "norm_first": norm_first, "batch_first": batch_first, "activation": activation}
    x = rand(2, 4, 8) if batch_first else rand(4, 2, 8)
    memory = rand(2, 5, 8) if batch_first else rand(5, 2, 8)
    causal = np.triu(np.ones((4, 4), bool), 1)
    padding = np.array([[False] * 4, [False, False, True, True]])
    for masks in ({}, {"src_mask": causal}, {"src_key_padding_mask": padding}, {"src_mask": causal, "is_causal": True}):
        ours = nn.TransformerEncoderLayer(8, 2, 16, dtype=tl.float64, **settings)
        theirs = torch.nn.TransformerEncoderLayer(8, 2, 16, dtype=D, **settings)
        compare(ours, theirs, x, **masks)
    for masks in ({}, {"tgt_mask": causal, "memory_key_padding_mask": np.pad(padding, ((0, 0), (0, 1)))}):
        ours = nn.TransformerDecoderLayer(8, 2, 16, dtype=tl.float64, **settings)
        theirs = torch.nn.TransformerDecoderLayer(8, 2, 16, dtype=D, **settings)
        compare(ours, theirs, x, memory, **masks)


def test_whole_transformer():
    settings = {"d_model": 8, "nhead": 2, "num_encoder_layers": 2, "num_decoder_layers": 2, "dim_feedforward": 12}
    ours = nn.Transformer(**settings, dropout=0.0, dtype=tl.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch talks about nested tensors
        theirs = torch.nn.Transformer(**settings, dropout=0.0, dtype=D)
    mask = nn.Transformer.generate_square_subsequent_mask(3, dtype=tl.float64)
    assert np.array_equal(mask, torch.nn.Transformer.generate_square_subsequent_mask(3, dtype=D).numpy())
    compare(ours, theirs, rand(5, 2, 8), rand(3, 2, 8), tgt_mask=np.array(mask), tgt_is_causal=True)


# -- init ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kwargs"),
    [
        ("uniform_", {"a": -1.0, "b": 3.0}),
        ("normal_", {"mean": 1.0, "std": 0.3}),
        ("trunc_normal_", {"std": 0.02}),
        ("trunc_normal_", {"mean": 0.5, "std": 2.0, "a": -1.0, "b": 0.7}),
        ("trunc_normal_", {"std": 1.0, "a": 2.0, "b": 5.0}),
        ("xavier_uniform_", {"gain": 2.0}),
        ("xavier_normal_", {}),
        ("kaiming_uniform_", {"a": math.sqrt(5)}),
        ("kaiming_uniform_", {"mode": "fan_out", "nonlinearity": "relu"}),
        ("kaiming_normal_", {"nonlinearity": "tanh"}),
    ],
)
def test_initialisers_have_torchs_distribution(name, kwargs):
    ours = nn.Parameter.empty(300, 200, dtype=tl.float64)
    assert getattr(nn.init, name)(ours, **kwargs) is ours
    torch.manual_seed(0)
    theirs = getattr(torch.nn.init, name)(torch.empty(300, 200, dtype=D), **kwargs).numpy()
    a, b = np.sort(ours.array.ravel()), np.sort(theirs.ravel())
    gap = np.abs(np.searchsorted(a, b) / a.size - np.arange(b.size) / b.size).max()  # Kolmogorov-Smirnov
    assert gap < 1.63 * math.sqrt(2 / a.size)  # the 1 % point


# -- optimizers ------------------------------------------------------------------------------------------

OPTIMIZERS = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "maximize": True}),
    ("Adam", {}),
    ("Adam", {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.1}),
    ("Adam", {"maximize": True, "weight_decay": 0.1}),
    ("AdamW", {}),
    ("AdamW", {"lr": 0.05, "weight_decay": 0.2, "betas": (0.9, 0.95)}),
]


@pytest.mark.parametrize(("name", "settings"), OPTIMIZERS, ids=str)
def test_optimizers_over_steps(name, settings):
    shapes = [(3, 4), (5,), ()]
    ours = [nn.Parameter(tl.tensor(rand(*s, seed=i))) for i, s in enumerate(shapes)]
    theirs = [torch.nn.Parameter(torch.tensor(rand(*s, seed=i))) for i, s in enumerate(shapes)]
    groups = [[{"params": p[:1], "lr": 0.03}, {"params": p[1:]}] for p in (ours, theirs)]
    a, b = getattr(optim, name)(groups[0], **settings), getattr(torch.optim, name)(groups[1], **settings)
    for key, value in b.defaults.items():
        assert a.defaults.get(key, value) == value
    for step in range(6):
        for i, (p, q) in enumerate(zip(ours, theirs, strict=True)):
            g = rand(*shapes[i], seed=100 * step + i)
            p.grad, q.grad = tl.tensor(g), torch.tensor(g)
        if step == 2:
            ours[1].grad = theirs[1].grad = None  # a parameter that got no gradient stands still
        a.step()
        b.step()
        for p, q in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), rtol=1e-12, atol=1e-13)
    # our state loads what torch saved
    fresh = getattr(optim, name)([{"params": ours[:1], "lr": 0.03}, {"params": ours[1:]}], **settings)
    state = b.state_dict()
    state["state"] = {
        i: {k: v.numpy() if isinstance(v, torch.Tensor) else v for k, v in s.items() if v is not None}
        for i, s in state["state"].items()
    }
    fresh.load_state_dict(state)
    for p, q in zip(ours, theirs, strict=True):
        g = rand(*p.shape, seed=7)
        p.grad, q.grad = tl.tensor(g), torch.tensor(g)
    fresh.step()
    b.step()
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), rtol=1e-12, atol=1e-13)


SCHEDULES = [
    ("LambdaLR", {"lr_lambda": lambda t: 0.9**t}),
    ("LambdaLR", {"lr_lambda": [lambda t: 1 / (t + 1), lambda t: 1.0 + t]}),
    ("StepLR", {"step_size": 3, "gamma": 0.5}),
    ("MultiStepLR", {"milestones": [2, 5, 5], "gamma": 0.3}),
    ("ExponentialLR", {"gamma": 0.8}),
    ("ConstantLR", {"factor": 0.25, "total_iters": 4}),
    ("LinearLR", {"start_factor": 0.2, "end_factor": 0.9, "total_iters": 6}),
    ("CosineAnnealingLR", {"T_max": 7, "eta_min": 0.01}),
]


@pytest.mark.parametrize(("name", "settings"), SCHEDULES, ids=[f"{n}-{name}" for n, (name, _) in enumerate(SCHEDULES)])
def test_schedules(name, settings):
    rates = []
    for lib, module, make in ((optim, nn, tl.tensor), (torch.optim, torch.nn, torch.tensor)):
        groups = [
            {"params": [module.Parameter(make(rand(2)))]},
            {"params": [module.Parameter(make(rand(3)))], "lr": 0.5},
        ]
        optimizer = lib.SGD(groups, lr=0.1)
        schedule = getattr(lib.lr_scheduler, name)(optimizer, **settings)
        row = [schedule.get_last_lr()]
        for _ in range(16):
            optimizer.step()
            schedule.step()
            row.append(schedule.get_last_lr())
        rates.append(row)
    np.testing.assert_allclose(*rates, rtol=1e-9, atol=1e-12)


def test_sequential_schedule():
    rates = []
    for lib, module, make in ((optim, nn, tl.tensor), (torch.optim, torch.nn, torch.tensor)):
        optimizer = lib.SGD([module.Parameter(make(rand(2)))], lr=0.1)
        s = lib.lr_scheduler
        parts = [
            s.LinearLR(optimizer, 0.1, total_iters=4),
            s.CosineAnnealingLR(optimizer, 8),
            s.ExponentialLR(optimizer, 0.5),
        ]
        schedule = s.SequentialLR(optimizer, parts, [4, 12])
        row = [schedule.get_last_lr()]
        for _ in range(18):
            optimizer.step()
            schedule.step()
            row.append(schedule.get_last_lr())
        rates.append(row)
    np.testing.assert_allclose(*rates, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.0, math.inf])
@pytest.mark.parametrize("max_norm", [0.5, 1e6])
def test_clipping(norm_type, max_norm):
    grads = [rand(3, 4), rand(5, seed=1)]
    ours, theirs = [], []
    for g in grads:
        p, q = nn.Parameter(tl.tensor(g)), torch.nn.Parameter(torch.tensor(g))
        p.grad, q.grad = tl.tensor(g), torch.tensor(g)
        ours.append(p)
        theirs.append(q)
    a = optim.clip_grad_norm_(ours, max_norm, norm_type)
    b = torch.nn.utils.clip_grad_norm_(theirs, max_norm, norm_type)
    np.testing.assert_allclose(a.item(), b.item(), rtol=1e-12)
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-12)
    optim.clip_grad_value_(ours, 0.05)
    torch.nn.utils.clip_grad_value_(theirs, 0.05)
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-12)


# -- a whole model ---------------------------------------------------------------------------------------


class TorchGPT(torch.nn.Module):
    """GPT from torch's parts, with parameters named as ours: an independent reading of the architecture."""

    def __init__(self, c, eps=1e-5):
        super().__init__()
        block = {
            "ln_1": lambda: torch.nn.LayerNorm(c.n_embd, eps, bias=c.bias, dtype=D),
            "ln_2": lambda: torch.nn.LayerNorm(c.n_embd, eps, bias=c.bias, dtype=D),
            "attn": lambda: torch.nn.ModuleDict(
                {
                    "qkv": torch.nn.Linear(c.n_embd, 3 * c.n_embd, c.bias, dtype=D),
                    "out": torch.nn.Linear(c.n_embd, c.n_embd, c.bias, dtype=D),
                }
            ),
            "mlp": lambda: torch.nn.ModuleDict(
                {
                    "up": torch.nn.Linear(c.n_embd, 4 * c.n_embd, c.bias, dtype=D),
                    "down": torch.nn.Linear(4 * c.n_embd, c.n_embd, c.bias, dtype=D),
                }
            ),
        }
        order = ("ln_1", "attn", "ln_2", "mlp")
        self.transformer = torch.nn.ModuleDict(
            {
                "wte": torch.nn.Embedding(c.vocab_size, c.n_embd, dtype=D),
                "wpe": torch.nn.Embedding(c.n_positions, c.n_embd, dtype=D),
                "h": torch.nn.ModuleList(torch.nn.ModuleDict({k: block[k]() for k in order}) for _ in range(c.n_layer)),
                "ln_f": torch.nn.LayerNorm(c.n_embd, eps, bias=c.bias, dtype=D),
            }
        )
        self.lm_head = torch.nn.Linear(c.n_embd, c.vocab_size, bias=False, dtype=D)
        self.lm_head.weight = self.transformer["wte"].weight
        self.c = c

    def forward(self, ids, targets):
        b, t = ids.shape
        n = self.transformer
        x = n["wte"](ids) + n["wpe"](torch.arange(t))
        for block in n["h"]:
            heads = block["attn"]["qkv"](block["ln_1"](x)).view(b, t, 3, self.c.n_head, -1).permute(2, 0, 3, 1, 4)
            q, k, v = heads
            scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
            scores = scores.masked_fill(torch.triu(torch.ones(t, t, dtype=torch.bool), 1), -math.inf)
            o = (torch.softmax(scores, -1) @ v).transpose(1, 2).reshape(b, t, -1)
            x = x + block["attn"]["out"](o)
            approximate = "tanh" if self.c.activation_function == "gelu_new" else "none"
            x = x + block["mlp"]["down"](TF.gelu(block["mlp"]["up"](block["ln_2"](x)), approximate=approximate))
        logits = self.lm_head(n["ln_f"](x))
        return logits, TF.cross_entropy(logits.flatten(0, 1), targets.flatten())


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("activation", ["gelu", "gelu_new"])
def test_gpt_trains_as_torchs(bias, activation):
    from tinyllm.models import GPT, GPTConfig

    c = GPTConfig(
        vocab_size=19,
        n_positions=8,
        n_embd=16,
        n_layer=2,
        n_head=2,
        bias=bias,
        activation_function=activation,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
    )
    ours, theirs = GPT(c).double(), TorchGPT(c)
    state = {k: torch.tensor(np.array(v)) for k, v in ours.state_dict().items()}
    assert sorted(state) == sorted(theirs.state_dict())
    theirs.load_state_dict(state)
    a = optim.AdamW(optim.weight_decay_groups(ours.named_parameters(), 0.1), lr=1e-2, betas=(0.9, 0.99))
    named = list(theirs.named_parameters())
    b = torch.optim.AdamW(
        [
            {"params": [p for _, p in named if p.ndim >= 2], "weight_decay": 0.1},
            {"params": [p for _, p in named if p.ndim < 2], "weight_decay": 0.0},
        ],
        lr=1e-2,
        betas=(0.9, 0.99),
    )
    for step in range(5):
        ids, targets = classes(3, 8, n=19, seed=step), classes(3, 8, n=19, seed=50 + step)
        targets[0, 0] = -100
        logits, loss = ours(tl.tensor(ids), tl.tensor(targets))
        their_logits, their_loss = theirs(torch.tensor(ids), torch.tensor(targets))
        np.testing.assert_allclose(logits.detach().numpy(), their_logits.detach().numpy(), rtol=1e-9, atol=1e-11)
        assert loss.item() == pytest.approx(their_loss.item(), rel=1e-11)
        a.zero_grad()
        b.zero_grad()
        loss.backward()
        their_loss.backward()
        optim.clip_grad_norm_(ours.parameters(), 1.0)
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
        their = dict(theirs.named_parameters())
        for name, p in ours.named_parameters():
            np.testing.assert_allclose(p.grad.numpy(), their[name].grad.numpy(), rtol=1e-7, atol=1e-11, err_msg=name)
        a.step()
        b.step()


def test_deepcopy_of_a_torch_encoder_starts_equal():
    layer = nn.TransformerEncoderLayer(8, 2, 16)
    encoder = nn.TransformerEncoder(layer, 2)
    theirs = torch.nn.TransformerEncoder(torch.nn.TransformerEncoderLayer(8, 2, 16), 2, enable_nested_tensor=False)
    assert list(encoder.state_dict()) == list(theirs.state_dict())
    one, two = (copy.deepcopy(layer).state_dict() for _ in range(2))
    for k in one:
        assert np.array_equal(one[k], two[k]) and one[k].array is not two[k].array
