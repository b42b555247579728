"""Every op against the PyTorch function that it names: values and gradients, in float64 and float32."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from opdraw import sample

import tinyllm.ops  # noqa: F401  (fills the registry)
from tinyllm import Tensor
from tinyllm.autograd import apply, grad
from tinyllm.op import registry

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.oracle

NAMED = sorted(name for name, op in registry.items() if op.oracle is not None)
cases = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)


def oracle_of(op):
    if callable(op.oracle):
        return functools.partial(op.oracle, torch)
    function = torch
    for part in op.oracle.split(".")[1:]:
        function = getattr(function, part)
    return function


def as_tuple(x):
    return tuple(x) if isinstance(x, (tuple, list)) else (x,)


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@cases
@given(data=st.data())
def test_values_and_gradients_equal_torch(name, dtype, data):
    op = registry[name]
    s = sample(op, data, dtype)
    tol = s.tol * (1e-11 if dtype == np.float64 else 3e-5)
    theirs = [None if a is None else torch.from_numpy(np.array(a)) for a in s.args]
    ours = [None if a is None else Tensor(a) for a in s.args]
    wanted = [i for i, v in enumerate(ours) if v is not None and v.dtype.kind == "f" and op.differentiable]
    for i in wanted:
        ours[i].requires_grad_()
        theirs[i].requires_grad_()
    attrs = {k: torch.from_numpy(np.array(v)) if isinstance(v, np.ndarray) else v for k, v in s.attrs.items()}
    expected = oracle_of(op)(*theirs, **attrs)
    if expected is NotImplemented:  # an extra that PyTorch does not have
        return
    expected = as_tuple(expected)
    got = as_tuple(apply(op, *ours, **s.attrs))
    assert len(got) == len(expected)
    for a, b in zip(got, expected, strict=True):
        assert str(b.dtype) == f"torch.{a.dtype.name}"
        close(a.array, b.detach().numpy(), tol)
    pairs = [(a, b) for a, b in zip(got, expected, strict=True) if a.requires_grad]
    if not pairs:
        return
    rng = np.random.default_rng(3)
    seeds = [rng.uniform(-1, 1, a.shape).astype(dtype) for a, _ in pairs]
    mine = grad([a for a, _ in pairs], [ours[i] for i in wanted], [Tensor(c) for c in seeds])
    them = torch.autograd.grad(
        [b for _, b in pairs], [theirs[i] for i in wanted], [torch.from_numpy(c) for c in seeds], allow_unused=True
    )
    for a, b in zip(mine, them, strict=True):
        close(a.array, np.zeros_like(a.array) if b is None else b.numpy(), tol)


def close(a, b, tol):
    finite = b[np.isfinite(b)]
    scale = max(1.0, float(np.abs(finite).max())) if finite.size else 1.0
    np.testing.assert_allclose(a, b, rtol=tol, atol=tol * scale)
