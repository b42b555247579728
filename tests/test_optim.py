"""Optimizers, schedules, clipping: properties, saving, errors. tests/oracle compares their numbers with PyTorch's."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinyllm as tl
from tinyllm import nn, optim
from tinyllm.errors import CheckpointError
from tinyllm.optim import lr_scheduler as lrs


def cases(n):
    return settings(max_examples=n)


def params(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [nn.Parameter(tl.tensor(rng.normal(size=s))) for s in shapes]


def give_grads(ps, seed):
    rng = np.random.default_rng(seed)
    for p in ps:
        p.grad = tl.tensor(rng.normal(size=p.shape))


def values(ps):
    return [np.array(p.detach()) for p in ps]


MAKERS = [
    lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    lambda p: optim.Adam(p, lr=0.1, weight_decay=0.1),
    lambda p: optim.AdamW(p, lr=0.1),
]


def sgd(p, g, s, lr, momentum=0, dampening=0, weight_decay=0, nesterov=False, maximize=False):
    g = (-g if maximize else g) + weight_decay * p
    if momentum:
        s["b"] = momentum * s["b"] + (1 - dampening) * g if "b" in s else g
        g = g + momentum * s["b"] if nesterov else s["b"]
    return p - lr * g


def adam(p, g, s, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0, maximize=False, decoupled=False):
    g = -g if maximize else g
    if decoupled:
        p = p * (1 - lr * weight_decay)
    else:
        g = g + weight_decay * p
    s["t"] = t = s.get("t", 0) + 1
    s["m"] = betas[0] * s.get("m", 0) + (1 - betas[0]) * g
    s["v"] = betas[1] * s.get("v", 0) + (1 - betas[1]) * g**2
    return p - lr * (s["m"] / (1 - betas[0] ** t)) / (np.sqrt(s["v"] / (1 - betas[1] ** t)) + eps)


def adamw(p, g, s, lr, weight_decay=0.01, **settings):
    return adam(p, g, s, lr, weight_decay=weight_decay, decoupled=True, **settings)


@pytest.mark.parametrize(
    ("kind", "formula", "settings"),
    [
        (optim.SGD, sgd, {}),
        (optim.SGD, sgd, {"momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1}),
        (optim.SGD, sgd, {"momentum": 0.9, "nesterov": True, "maximize": True, "weight_decay": 0.1}),
        (optim.Adam, adam, {"weight_decay": 0.1}),
        (optim.Adam, adam, {"betas": (0.7, 0.9), "eps": 1e-2, "maximize": True}),
        (optim.AdamW, adamw, {}),
        (optim.AdamW, adamw, {"weight_decay": 0.5, "betas": (0.9, 0.95)}),
    ],
)
def test_steps_follow_the_formulas(kind, formula, settings):
    ps = params((3, 2), (4,))
    o, expected, states = kind(ps, lr=0.1, **settings), values(ps), [{}, {}]
    for step in range(4):
        give_grads(ps, step)
        o.step()
        for i, p in enumerate(ps):
            expected[i] = formula(expected[i], p.grad.array, states[i], 0.1, **settings)
            np.testing.assert_allclose(values(ps)[i], expected[i], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("make", MAKERS)
def test_minimises_a_quadratic(make):
    (p,) = params((5,))
    target = tl.tensor(np.arange(5.0))
    o = make([p])
    for _ in range(300):
        o.zero_grad()
        loss = (p - target).square().sum()
        loss.backward()
        o.step()
    assert loss.item() < 0.5


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("by_name", [False, True])
def test_resuming_from_a_saved_state_is_bitwise_the_same(make, by_name):
    a, b = params((3, 2), (4,)), params((3, 2), (4,))
    for ps in (a, b):
        for i, p in enumerate(ps):
            p.name = f"layer.{i}"
    one, two = make(a), make(b)
    for step in range(3):
        give_grads(a, step)
        one.step()
    state = one.state_dict(by_name=by_name)
    assert list(state["state"]) == (["layer.0", "layer.1"] if by_name else [0, 1])
    for p, q in zip(a, b, strict=True):
        q.assign(p.detach())
    two.load_state_dict(state)
    for step in range(3, 6):
        for ps, o in ((a, one), (b, two)):
            give_grads(ps, step)
            o.step()
    assert all(x.tobytes() == y.tobytes() for x, y in zip(values(a), values(b), strict=True))
    assert one.state[a[0]] is not two.state[b[0]]


def test_names_survive_another_order_and_other_groups_do_not_fit():
    a, b = params((2,), (3,)), params((2,), (3,))
    one = optim.AdamW([("x", a[0]), ("y", a[1])], lr=0.5)
    give_grads(a, 0)
    one.step()
    two = optim.AdamW([("y", b[1]), ("x", b[0])])
    two.load_state_dict(one.state_dict(by_name=True))
    assert two.param_groups[0]["lr"] == 0.5
    assert np.array_equal(two.state[b[1]]["exp_avg"], one.state[a[1]]["exp_avg"])
    with pytest.raises(CheckpointError, match=r"missing \['z'\], unexpected \['x'\]"):
        optim.AdamW([("y", b[1]), ("z", b[0])]).load_state_dict(one.state_dict(by_name=True))
    with pytest.raises(ValueError, match="parameter groups"):
        optim.AdamW([{"params": [b[0]]}, {"params": [b[1]]}]).load_state_dict(one.state_dict())
    with pytest.raises(ValueError, match="size of optimizer's group"):
        optim.AdamW([b[0]]).load_state_dict(one.state_dict())
    with pytest.raises(CheckpointError, match="file has"):
        optim.AdamW([b[1], b[0]]).load_state_dict(one.state_dict())
    with pytest.raises(ValueError, match="has no name"):
        optim.SGD(params((2,))).state_dict(by_name=True)
    with pytest.raises(ValueError, match="'x' is not unique"):
        optim.SGD([("x", b[0]), ("x", b[1])]).state_dict(by_name=True)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("scale", [0.25, 2.0])
def test_grad_scale_equals_scaling_the_gradients(make, scale):
    a, b = params((4, 3)), params((4, 3))
    one, two = make(a), make(b)
    for step in range(3):
        give_grads(a, step)
        give_grads(b, step)
        b[0].grad = b[0].grad * scale
        one.step(grad_scale=scale)
        two.step()
    np.testing.assert_allclose(values(a)[0], values(b)[0], rtol=1e-13)


def test_step_changes_in_place_bumps_the_version_and_skips_missing_gradients():
    ps = params((3,), (2,))
    memory, before = ps[0].array, values(ps)
    o = optim.Adam(ps, lr=0.1)
    give_grads(ps[:1], 0)
    version = ps[0].version[0]
    assert o.step(lambda: 7.0) == 7.0
    assert ps[0].array is memory and ps[0].version[0] > version
    assert not np.array_equal(values(ps)[0], before[0]) and np.array_equal(values(ps)[1], before[1])
    out = (ps[0] * ps[0]).sum()
    o.step()
    with pytest.raises(RuntimeError, match="in place"):  # the graph would use the new values for the old loss
        out.backward()
    o.zero_grad(set_to_none=False)
    assert not ps[0].grad.array.any()
    o.zero_grad()
    assert ps[0].grad is None
    assert "lr: 0.1" in repr(o)


def test_groups_and_their_errors():
    ps = params((2,), (3,), (4,))
    o = optim.SGD([{"params": ps[:1]}, {"params": ps[1], "lr": 0.5}], lr=0.1)
    o.add_param_group({"params": [ps[2]], "momentum": 0.9})
    assert [g["lr"] for g in o.param_groups] == [0.1, 0.5, 0.1] and o.param_groups[2]["momentum"] == 0.9
    with pytest.raises(ValueError, match="more than once"):
        o.add_param_group({"params": [ps[0]]})
    for error, call in [
        (TypeError, lambda: optim.SGD(ps[0])),
        (TypeError, lambda: optim.SGD([1.0])),
        (TypeError, lambda: o.add_param_group([ps[0]])),
        (ValueError, lambda: optim.SGD([])),
        (ValueError, lambda: optim.SGD([ps[0] * 1.0])),
        (ValueError, lambda: optim.SGD(ps, lr=-1.0)),
        (ValueError, lambda: optim.SGD(ps, momentum=-1.0)),
        (ValueError, lambda: optim.SGD(ps, nesterov=True)),
        (ValueError, lambda: optim.Adam(ps, betas=(1.0, 0.9))),
        (ValueError, lambda: optim.Adam(ps, eps=-1.0)),
        (ValueError, lambda: optim.AdamW(ps, weight_decay=-1.0)),
        (ValueError, lambda: optim.AdamW(ps, lr=math.nan)),
    ]:
        with pytest.raises(error):
            call()


def test_weight_decay_groups():
    m = nn.Sequential(nn.Embedding(3, 2), nn.LayerNorm(2), nn.Linear(2, 2))
    decay, rest = optim.weight_decay_groups(m.named_parameters(), 0.1)
    assert [n for n, _ in decay["params"]] == ["0.weight", "2.weight"] and decay["weight_decay"] == 0.1
    assert [n for n, _ in rest["params"]] == ["1.weight", "1.bias", "2.bias"] and rest["weight_decay"] == 0.0
    m.requires_grad_(False)
    assert optim.weight_decay_groups(m.named_parameters(), 0.1) == []


# -- clipping --------------------------------------------------------------------------------------------


@cases(40)
@given(
    scale=st.floats(1e-6, 1e6),
    max_norm=st.floats(1e-3, 1e3),
    norm_type=st.sampled_from([1.0, 2.0, 3.0, math.inf]),
    seed=st.integers(0, 99),
)
def test_clipping_limits_the_norm_and_keeps_the_direction(scale, max_norm, norm_type, seed):
    ps = params((3, 2), (4,), ())
    give_grads(ps[:2], seed)
    for p in ps[:2]:
        p.grad = p.grad * scale
    before = np.concatenate([p.grad.array.ravel() for p in ps[:2]])
    norm = optim.clip_grad_norm_(ps, max_norm, norm_type).item()
    assert norm == pytest.approx(np.linalg.norm(before, norm_type), rel=1e-12)
    after = np.concatenate([p.grad.array.ravel() for p in ps[:2]])
    assert np.linalg.norm(after, norm_type) <= max_norm * (1 + 1e-9)
    np.testing.assert_allclose(after, before * optim.clip_scale(norm, max_norm), rtol=1e-12)
    if norm < max_norm * (1 - 1e-6) - 1e-6:
        assert np.array_equal(after, before)


def test_clipping_edges():
    (p,) = params((3,))
    assert optim.grad_norm([p]) == 0.0 and optim.clip_grad_norm_(p, 1.0).item() == 0.0
    assert optim.grad_norm([p], math.inf) == 0.0
    p.grad = tl.tensor([1.0, math.nan, 2.0], dtype=tl.float64)
    assert math.isnan(optim.grad_norm(p)) and math.isnan(optim.grad_norm(p, math.inf))
    with pytest.raises(RuntimeError, match="non-finite"):
        optim.clip_grad_norm_([p], 1.0, error_if_nonfinite=True)
    optim.clip_grad_norm_([p], 1.0)
    assert np.isnan(p.grad.array).all()  # a NaN is never hidden
    with pytest.raises(ValueError):
        optim.grad_norm(p, -1.0)
    p.grad = tl.tensor([-3.0, 0.5, 2.0])
    nn.utils.clip_grad_value_(p, 1.0)
    assert p.grad.tolist() == [-1.0, 0.5, 1.0]


# -- schedules -------------------------------------------------------------------------------------------


def optimizer(*rates):
    return optim.SGD([{"params": params((1,)), "lr": r} for r in rates])


SCHEDULES = [
    lambda o: lrs.LambdaLR(o, lambda t: 1 / (1 + t)),
    lambda o: lrs.StepLR(o, 2, 0.5),
    lambda o: lrs.MultiStepLR(o, [1, 4]),
    lambda o: lrs.ExponentialLR(o, 0.9),
    lambda o: lrs.ConstantLR(o),
    lambda o: lrs.LinearLR(o, 0.1),
    lambda o: lrs.CosineAnnealingLR(o, 5),
    lambda o: lrs.WarmupCosine(o, 2, 7, 0.01),
    lambda o: lrs.SequentialLR(o, [lrs.LinearLR(o, 0.1), lrs.ExponentialLR(o, 0.5)], [3]),
]


@pytest.mark.parametrize("make", SCHEDULES)
@pytest.mark.parametrize("at", [0, 1, 3, 8])
def test_a_resumed_schedule_is_the_same_schedule(make, at):
    def follow(schedule, n):
        rates = []
        for _ in range(n):
            rates.append(schedule.get_last_lr())
            schedule.step()
        return rates

    whole = follow(make(optimizer(0.1, 0.4)), 10)
    first = make(optimizer(0.1, 0.4))
    before = follow(first, at)
    second = make(optimizer(0.1, 0.4))
    second.load_state_dict(first.state_dict())
    assert before + follow(second, 10 - at) == whole
    o = optimizer(0.1, 0.4)
    for group in o.param_groups:
        group["initial_lr"] = group["lr"]
    if at and make is not SCHEDULES[-1]:
        code = lrs.StepLR(o, 2, 0.5, last_epoch=at - 1)
        assert code.get_last_lr() == follow(lrs.StepLR(optimizer(0.1, 0.4), 2, 0.5), at + 1)[at]


def test_warmup_cosine_is_nanogpts_formula():
    lr, warmup, total, floor = 6e-4, 10, 100, 6e-5

    def get_lr(it):
        if it < warmup:
            return lr * (it + 1) / (warmup + 1)
        if it > total:
            return floor
        ratio = (it - warmup) / (total - warmup)
        return floor + 0.5 * (1.0 + math.cos(math.pi * ratio)) * (lr - floor)

    o = optimizer(lr)
    schedule = lrs.WarmupCosine(o, warmup, total, floor)
    for t in range(120):
        assert o.param_groups[0]["lr"] == pytest.approx(get_lr(t), rel=1e-12)
        assert o.param_groups[0]["lr"] == lrs.warmup_cosine(t, lr, warmup, total, floor)
        schedule.step()
    assert lrs.warmup_cosine(0, 1.0, 0, 0) == 0.0


def test_schedule_errors():
    o = optimizer(0.1)
    for error, call in [
        (TypeError, lambda: lrs.StepLR(3, 2)),
        (KeyError, lambda: lrs.StepLR(optimizer(0.1), 2, last_epoch=4)),
        (ValueError, lambda: lrs.LambdaLR(o, [abs, abs])),
        (ValueError, lambda: lrs.LinearLR(o, 0.0)),
        (ValueError, lambda: lrs.LinearLR(o, 0.5, 2.0)),
        (ValueError, lambda: lrs.ConstantLR(o, 2.0)),
        (ValueError, lambda: lrs.WarmupCosine(o, 5, 4)),
        (ValueError, lambda: lrs.SequentialLR(o, [], [])),
        (ValueError, lambda: lrs.SequentialLR(o, [lrs.StepLR(o, 1)], [1])),
        (ValueError, lambda: lrs.SequentialLR(optimizer(0.1), [lrs.StepLR(o, 1)], [])),
        (ValueError, lambda: lrs.SequentialLR(o, [lrs.StepLR(o, 1)] * 3, [4, 2])),
    ]:
        with pytest.raises(error):
            call()
