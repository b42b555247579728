"""Every registered op through the same properties. There is no code per op here: an op brings its own samples.

Gradients are compared with five-point differences in float64, where truncation (h^4) and rounding (eps/h) are both
near 1e-12.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from opdraw import errors, sample

import tinyllm.ops  # noqa: F401  (fills the registry)
from tinyllm import Tensor, backend
from tinyllm.autograd import apply, grad
from tinyllm.op import registry
from tinyllm.ops.shape import Movement

OPS = sorted(registry)
STEP = 3e-4
DIFFERENTIABLE = [name for name in OPS if registry[name].differentiable]
every_op = pytest.mark.parametrize("name", OPS)
every_differentiable_op = pytest.mark.parametrize("name", DIFFERENTIABLE)


def cases(n):
    phases = (Phase.explicit, Phase.generate, Phase.shrink)
    health = list(HealthCheck)
    return settings(
        max_examples=n, deadline=None, derandomize=True, database=None, phases=phases, suppress_health_check=health
    )


def run(op, s, requires_grad=False):
    """The op's outputs as a tuple of tensors, and its inputs."""
    inputs = [None if a is None else Tensor(a) for a in s.args]
    for v in inputs:
        if v is not None and requires_grad and v.dtype.kind == "f":
            v.requires_grad_()
    out = apply(op, *inputs, **s.attrs)
    return (out if isinstance(out, tuple) else (out,)), inputs


def tolerance(s, dtype):
    return s.tol * (1e-12 if dtype == np.float64 else 2e-5)


def assert_near(a, b, tol):
    scale = max(1.0, float(np.abs(b[np.isfinite(b)]).max())) if b.size and np.isfinite(b).any() else 1.0
    np.testing.assert_allclose(a, b, rtol=tol, atol=tol * scale)


@every_op
@cases(20)
@given(data=st.data())
def test_shape_rule_and_determinism(name, data):
    op = registry[name]
    s = sample(op, data)
    before = [None if a is None else a.copy() for a in s.args]
    ruled = op.check(s.args, s.attrs)
    first, _ = run(op, s)
    again, _ = run(op, s)
    assert [v.shape for v in first] == (ruled if isinstance(ruled, list) else [ruled])
    for a, b in zip(first, again, strict=True):
        assert a.array.tobytes() == b.array.tobytes()
    for a, b in zip(s.args, before, strict=True):
        np.testing.assert_array_equal(a, b)  # inputs are left as they were


@every_op
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@cases(12)
@given(data=st.data())
def test_forward_and_backward_equal_the_reference_on_every_instruction_set(name, dtype, data):
    op = registry[name]
    s = sample(op, data, dtype)

    def everything():
        outs, inputs = run(op, s, requires_grad=op.differentiable)
        wanted = [v for v in inputs if v is not None and v.requires_grad]
        floats = [v for v in outs if v.requires_grad]
        seeds = [Tensor(np.random.default_rng(0).uniform(0.5, 1, v.shape).astype(v.dtype)) for v in floats]
        grads = grad(floats, wanted, seeds) if floats else ()
        return [v.array for v in outs] + [g.array for g in grads]

    with backend.use("reference"):
        expected = everything()
    if not backend.compiled():
        pytest.skip("nothing is compiled: only the reference ran")
    before = backend.isa()
    try:
        for isa in backend.available_isas():
            backend.use_isa(isa)
            with backend.use("cpu"):
                for got, want in zip(everything(), expected, strict=True):
                    assert got.dtype == want.dtype and got.shape == want.shape
                    assert_near(got, want, tolerance(s, dtype))
    finally:
        backend.use_isa(before)


@pytest.mark.parametrize("name", [n for n in OPS if "n" in registry[n].kinds])
@cases(12)
@given(data=st.data())
def test_integers_and_bools_equal_the_reference(name, data):
    """Ops of any number: the same samples rounded to integers, or to bools where nothing is computed with them."""
    op = registry[name]
    s = sample(op, data)
    kinds = op.kinds + op.kinds[-1] * len(s.args)
    dtype = data.draw(st.sampled_from([np.int64, np.int32] + [bool] * issubclass(op, Movement)))
    args = [np.rint(3 * np.abs(a)).astype(dtype) if k == "n" and a is not None else a for a, k in zip(s.args, kinds)]  # noqa: B905
    s.args = tuple(args)
    results = []
    for name in ("reference", "cpu") if backend.compiled() else ("reference",):
        with backend.use(name):
            results.append([v.array for v in run(op, s)[0]])
    for got, want in zip(results[-1], results[0], strict=True):
        assert got.dtype == want.dtype
        np.testing.assert_array_equal(got, want)


def five_points(f, h):
    """The derivative of f at 0 from four values around it."""
    return (8 * (f(h) - f(-h)) - (f(2 * h) - f(-2 * h))) / (12 * h)


@every_differentiable_op
@cases(20)
@given(data=st.data())
def test_gradient_along_random_directions(name, data):
    op = registry[name]
    s = sample(op, data)
    rng = np.random.default_rng(1)
    outs, inputs = run(op, s, requires_grad=True)
    places = [i for i, v in enumerate(inputs) if v is not None and v.requires_grad]
    outs_used = [v for v in outs if v.requires_grad]
    if not outs_used or not s.numeric:
        return
    seeds = [rng.uniform(-1, 1, v.shape) for v in outs_used]
    grads = grad(outs_used, [inputs[i] for i in places], [Tensor(c) for c in seeds])
    for place, g in zip(places, grads, strict=True):
        x = s.args[place]
        assert g.shape == x.shape and g.dtype == x.dtype
        if not x.size:
            continue
        direction = rng.uniform(-1, 1, x.shape)

        def moved(t, place=place, x=x, direction=direction):
            args = list(s.args)
            args[place] = x + t * direction
            outs = op.forward(_quiet(op, s), *args, **s.attrs)
            outs = [o for o in (outs if isinstance(outs, tuple) else (outs,)) if o.dtype.kind == "f"]
            return sum(float(np.sum(o * c)) for o, c in zip(outs, seeds, strict=True))

        numeric, analytic = five_points(moved, STEP), float(np.sum(g.array * direction))
        scale = 1 + abs(moved(0)) + float(np.sum(np.abs(g.array * direction)))
        assert abs(numeric - analytic) <= 1e-9 * s.tol * scale, (
            f"input {place}: difference {numeric}, gradient {analytic}"
        )


def _quiet(op, s):
    from tinyllm.autograd import Node

    return Node(op, [False] * len(s.args), s.attrs, [])


@every_differentiable_op
@cases(15)
@given(data=st.data())
def test_full_jacobian_when_small(name, data):
    op = registry[name]
    s = sample(op, data)
    outs, inputs = run(op, s, requires_grad=True)
    y = next((v for v in outs if v.requires_grad), None)
    if y is None or y.array.size > 8 or not s.numeric:
        return
    for place, v in enumerate(inputs):
        if v is None or not v.requires_grad or v.array.size > 12:
            continue
        rows = []
        for j in range(y.array.size):
            seed = np.zeros(y.array.size)
            seed[j] = 1
            rows.append(grad(y, v, Tensor(seed.reshape(y.shape)), retain_graph=True)[0].array.ravel())
        x = s.args[place]
        for k in range(v.array.size):
            unit = np.zeros(v.array.size)
            unit[k] = 1

            def moved(t, place=place, x=x, unit=unit):
                args = list(s.args)
                args[place] = x + t * unit.reshape(x.shape)
                out = op.forward(_quiet(op, s), *args, **s.attrs)
                return (out[0] if isinstance(out, tuple) else out).ravel().astype(float)

            column = np.array([r[k] for r in rows])
            scale = 1 + np.abs(moved(0)) + np.abs(column)
            assert (np.abs(five_points(moved, STEP) - column) <= 1e-9 * s.tol * scale).all()


@every_differentiable_op
@cases(10)
@given(data=st.data())
def test_gradients_asked_for_one_by_one_are_the_same_and_belong_to_the_caller(name, data):
    op = registry[name]
    s = sample(op, data)
    outs, inputs = run(op, s, requires_grad=True)
    outs = [v for v in outs if v.requires_grad]
    wanted = [v for v in inputs if v is not None and v.requires_grad]
    if not outs:
        return
    seeds = [Tensor(np.random.default_rng(2).uniform(-1, 1, v.shape)) for v in outs]
    together = grad(outs, wanted, seeds, retain_graph=True)
    for v, g in zip(wanted, together, strict=True):
        (alone,) = grad(outs, v, seeds, retain_graph=True)
        assert alone.array.tobytes() == g.array.tobytes()
        for other in [*s.args, *[c.array for c in seeds], *[o.array for o in outs]]:
            assert other is None or not np.shares_memory(g.array, other)


@pytest.mark.parametrize("name", [n for n in OPS if registry[n].remake is not None and registry[n].differentiable])
@cases(10)
@given(data=st.data())
def test_an_output_made_again_has_the_same_bits(name, data):
    op = registry[name]
    (y,), _ = run(op, sample(op, data), requires_grad=True)
    if y.node is not None and y.node._can_remake():
        assert op.remake(y.node, *y.node.saved).tobytes() == y.array.tobytes()


@every_op
@cases(3)
@given(data=st.data())
def test_invalid_inputs_raise(name, data):
    op = registry[name]
    for s in errors(op, data):
        with pytest.raises((ValueError, TypeError, RuntimeError, IndexError)) as caught:
            run(op, s)
        assert len(str(caught.value)) > 20, "an error says what was expected, what came and what to do"


def test_every_op_names_its_oracle():
    """Dropout's numbers are our own stream; everything else is compared with PyTorch in tests/oracle."""
    assert [n for n in OPS if registry[n].oracle is None] == ["Dropout"]


def test_gradients_side_by_side_are_joined_without_a_copy():
    x = Tensor(np.random.default_rng(0).standard_normal((2, 5, 8 * 6)), True)
    heads = (4, 2, 2)
    whole = np.random.default_rng(1).standard_normal((2, 5, 8, 6))
    parts = np.split(whole, (4, 6), axis=2)
    node = apply(registry["SplitHeads"], x, heads=heads)[0].node
    joined = node.op.backward(node, *[p.transpose(0, 2, 1, 3) for p in parts])
    assert np.shares_memory(joined, whole) and np.array_equal(joined, whole.reshape(2, 5, 48))
    swapped = [parts[0], parts[2], parts[1]]
    other = whole.copy()
    for strangers in (
        swapped,
        [*parts[:2], other[:, :, 6:]],
        [p.copy() for p in parts],
        [parts[0], parts[1], parts[1]],
    ):
        joined = node.op.backward(node, *[p.transpose(0, 2, 1, 3) for p in strangers])
        assert not np.shares_memory(joined, whole)
        assert np.array_equal(joined, np.concatenate(strangers, 2).reshape(2, 5, 48))
