"""Matrix products beyond what test_backend.py draws: every size around the edges of tiles and blocks, every layout,
every combination of what can follow a product, and the memory that outputs may share.

The reference computes in float64; small integers make products and sums exact, so that most comparisons are of bits.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyllm import backend
from tinyllm.backend import reference
from tinyllm.backend.reference.elementwise import GATES

if not backend.compiled():
    pytest.skip("the C kernels are not built", allow_module_level=True)

from tinyllm.backend import cpu

Array = np.ndarray
LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "rows": np.ascontiguousarray,
    "columns": np.asfortranarray,
    "gaps": lambda x: np.repeat(np.repeat(x, 2, 0), 3, 1)[::2, ::3],
    "window": lambda x: np.pad(x, ((1, 2), (3, 1)))[1:-2, 3:-1],
    "reversed": lambda x: x[::-1, ::-1].copy()[::-1, ::-1],
}
EDGES = (1, 2, 5, 6, 7, 11, 12, 13, 15, 16, 17, 24, 31, 32, 33, 47, 63, 64, 65)  # around every MR, W and NR, and two NR


@pytest.fixture(params=backend.available_isas(), autouse=True)
def instruction_set(request: pytest.FixtureRequest) -> Iterator[str]:
    before, threads = backend.isa(), backend.num_threads()
    backend.use_isa(request.param)
    yield request.param
    backend.use_isa(before)
    backend.set_num_threads(threads)


def integers(rng: np.random.Generator, *shape: int, dtype: str = "float32") -> Array:
    return rng.integers(-3, 4, shape).astype(dtype)


def same(got: Array, expected: Array, what: object = "") -> None:
    np.testing.assert_array_equal(got, expected, err_msg=str(what), strict=True)


# ---- sizes and layouts ----


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_size_around_the_edges_of_a_tile(dtype: str) -> None:
    rng = np.random.default_rng(0)
    for m, n, k in itertools.product(range(1, 14), range(1, 66), (1, 5)):
        a, b, bias = (integers(rng, *shape, dtype=dtype) for shape in ((m, k), (k, n), (n,)))
        same(cpu.matmul(a, b, bias), a @ b + bias, (m, n, k))
    for m, n in itertools.product(EDGES, EDGES):
        a, b = integers(rng, m, 3, dtype=dtype), integers(rng, 3, n, dtype=dtype)
        same(cpu.matmul(a, b), a @ b, (m, n))


@pytest.mark.parametrize("k", [0, 1, 2, 255, 256, 257, 511, 512, 513, 1025, 2100])
def test_every_layout_in_every_block_of_k(k: int) -> None:
    rng = np.random.default_rng(k)
    for m, n in ((1, 1), (1, 40), (13, 33), (40, 1), (100, 70)):
        a, b, add = integers(rng, m, k), integers(rng, k, n), integers(rng, m, n)
        for left, right in itertools.product(LAYOUTS, LAYOUTS):
            got = cpu.matmul(LAYOUTS[left](a), LAYOUTS[right](b), beta=1.0, add=add)
            same(got, a @ b + add, (m, n, left, right))


@pytest.mark.parametrize("rows", [(12, 3), (3, 1), (1, 7), (0, 4)])
@pytest.mark.parametrize("layout", ["row major", "heads"])
def test_batches_that_run_into_rows_and_others(rows: tuple[int, int], layout: str) -> None:
    rng = np.random.default_rng(1)
    shape = (2, 3, *rows)
    a, add, h = integers(rng, *shape), integers(rng, *shape[:-1], 9), integers(rng, *shape[:-1], 9)
    if layout == "heads":
        a = a.transpose(0, 2, 1, 3).copy().transpose(0, 2, 1, 3)
    for batch in ((), (1, 1), (3,), (2, 1), (2, 3)):
        b = integers(rng, *batch, rows[1], 9)
        out = np.zeros((2, 3, rows[0], 12), np.float32)[..., 1:10]
        pre = np.zeros_like(add)
        cpu.matmul(a, b, out=out, beta=1.0, add=add, act="relu", pre=pre)
        same(pre, a @ b + add, batch)
        same(out, np.maximum(pre, 0), batch)
        cpu.matmul(a, b, out=out, beta=-1.0)
        same(out, a @ b - np.maximum(pre, 0), batch)
        same(cpu.matmul(a, b, act="relu", grad_of=h), np.where(h > 0, a @ b, 0), batch)


def test_large_enough_to_be_cut_in_every_way() -> None:
    rng = np.random.default_rng(2)
    for m, n, k in ((600, 70, 40), (40, 5000, 20), (5, 3000, 40), (3, 4200, 600), (250, 4100, 520), (3000, 1, 50)):
        a, b, add = integers(rng, m, k), integers(rng, k, n), integers(rng, m, n)
        expected = a @ b + add
        for threads in (1, 2, 3):
            backend.set_num_threads(threads)
            same(cpu.matmul(a, b, beta=1.0, add=add), expected, (m, n, k))
            same(cpu.matmul(np.asfortranarray(a), np.asfortranarray(b), out=add.copy(), beta=1.0), expected, (m, n, k))


# ---- what follows a product ----


def arguments(rng: np.random.Generator, shape: tuple[int, int], choice: dict[str, Any]) -> dict[str, Any]:
    """The keywords of one call: arrays that are not asked for are left out."""
    kwargs = {name: choice[name] for name in ("alpha", "beta", "act")}
    if choice["beta"] != 0 and choice["add"]:
        kwargs["add"] = rng.standard_normal(shape, np.float32)
    if choice["out"] or (choice["beta"] != 0 and not choice["add"]):
        kwargs["out"] = rng.standard_normal(shape, np.float32)
    if choice["bias"]:
        kwargs["bias"] = rng.standard_normal(shape[-1], np.float32)
    if choice["act"] and choice["grad"]:
        kwargs["grad_of"] = rng.standard_normal(shape, np.float32)
        kwargs |= {"value": np.empty(shape, np.float32)} if choice["more"] else {}
    elif choice["act"] and choice["more"]:
        kwargs["pre"] = np.empty(shape, np.float32)
    return kwargs


CHOICES = {
    "alpha": (1.0, 0.5),
    "beta": (0.0, 1.0, -2.0),
    "act": (None, *GATES),
    **dict.fromkeys(("add", "out", "bias", "grad", "more"), (False, True)),
}


@pytest.mark.parametrize("shape", [(13, 37, 40), (50, 3, 600), (1, 70, 5)])
def test_every_combination_equals_the_reference(shape: tuple[int, int, int]) -> None:
    m, n, k = shape
    rng = np.random.default_rng(3)
    a, b = rng.standard_normal((m, k), np.float32) / k, rng.standard_normal((k, n), np.float32)
    for values in itertools.product(*CHOICES.values()):
        choice = dict(zip(CHOICES, values, strict=True))
        kwargs = arguments(rng, (m, n), choice)
        copies = {name: x.copy() if isinstance(x, np.ndarray) else x for name, x in kwargs.items()}
        got, expected = cpu.matmul(a, b, **kwargs), reference.matmul(a, b, **copies)
        pairs = [(got, expected)] + [(kwargs[x], copies[x]) for x in ("pre", "value") if x in kwargs]
        for mine, theirs in pairs:
            np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-5, err_msg=str(choice))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("act", GATES)
def test_fused_is_bit_for_bit_what_follows_unfused(act: str, dtype: str) -> None:
    rng = np.random.default_rng(4)
    for m, n, k in ((30, 77, 20), (3, 65, 1100), (200, 33, 600)):
        a, b, bias, h = (rng.standard_normal(s).astype(dtype) for s in ((m, k), (k, n), (n,), (m, n)))
        z = cpu.matmul(a, b, bias)
        pre, value = np.empty_like(z), np.empty_like(z)
        same(cpu.matmul(a, b, bias, act=act, pre=pre), cpu.unary(act, z))
        same(pre, z)
        y = cpu.unary(act, h)
        same(cpu.matmul(a, b, bias, act=act, grad_of=h, value=value), cpu.unary_grad(act, z, h, y))
        same(value, y)


@pytest.mark.parametrize("k", [30, 1200])
def test_outputs_over_inputs(k: int) -> None:
    rng = np.random.default_rng(5)
    a, b, h = integers(rng, 70, k), integers(rng, k, 45), integers(rng, 70, 45)
    product = a @ b
    for alpha, beta in ((1.0, 1.0), (2.0, 1.0), (1.0, -1.0), (0.5, 2.0)):
        for out in (h.copy(), h.copy("F"), np.repeat(h, 2, 0)[::2]):
            for add in (None, out, out[:]):
                target = out.copy(order="K")
                target = cpu.matmul(a, b, out=target, alpha=alpha, beta=beta, add=target if add is out else add)
                same(np.asarray(target, order="C"), alpha * product + beta * h)
        wide = np.zeros((71, 45), np.float32)
        wide[1:] = h
        cpu.matmul(a, b, out=wide[:-1], alpha=alpha, beta=beta, add=wide[1:])
        same(wide[:-1], alpha * product + beta * h, "out overlaps what is added")
    value = h.copy()
    got = cpu.matmul(a, b, act="relu", grad_of=value, value=value)
    same(got, np.where(h > 0, product, 0))
    same(value, np.maximum(h, 0))
    strided = np.repeat(h, 2, 1)[:, ::2]
    same(cpu.matmul(a, b, act="relu", grad_of=strided, value=strided), got)
    same(np.ascontiguousarray(strided), value)


@pytest.mark.parametrize("shape", [(0, 5, 3), (5, 0, 3), (0, 0, 0), (4, 40, 0)])
def test_nothing_to_multiply(shape: tuple[int, int, int]) -> None:
    m, n, k = shape
    rng = np.random.default_rng(6)
    a, b, bias, add, h = (integers(rng, *s) for s in ((m, k), (k, n), (n,), (m, n), (m, n)))
    pre, value = np.empty_like(add), np.empty_like(add)
    same(cpu.matmul(a, b), np.zeros((m, n), np.float32))
    same(cpu.matmul(a, b, bias, alpha=3.0, beta=2.0, add=add, act="relu", pre=pre), np.maximum(2 * add + bias, 0))
    same(pre, 2 * add + bias)
    got = cpu.matmul(a, b, bias, act="relu", grad_of=h, value=value)
    same(got, np.where(h > 0, bias, np.float32(0)))
    same(value, np.maximum(h, 0))
    same(cpu.matmul(np.zeros((3, m, k), np.float32), b, out=np.ones((3, m, n), np.float32), beta=2.0)[:, :, :1],
         np.full((3, m, min(n, 1)), 2, np.float32))  # fmt: skip


def test_what_is_not_asked_for_is_not_read() -> None:
    nothing = np.full((20, 40), np.nan, np.float32)
    a, b = np.ones((20, 700), np.float32), np.ones((700, 40), np.float32)
    same(cpu.matmul(a, b, out=nothing.copy(), beta=0.0), np.full((20, 40), 700, np.float32))
    same(cpu.matmul(a, b, out=nothing.copy(), alpha=0.5, add=nothing), np.full((20, 40), 350, np.float32))


# ---- the same bits ----


@settings(max_examples=40, deadline=None)
@given(
    m=st.integers(1, 300),
    n=st.integers(1, 300),
    k=st.integers(1, 1300),
    act=st.sampled_from([None, "gelu"]),
    transposed=st.tuples(st.booleans(), st.booleans()),
    seed=st.integers(0, 99),
)
def test_bits_depend_on_the_row_alone(
    m: int, n: int, k: int, act: str | None, transposed: tuple[bool, bool], seed: int
) -> None:
    """Not on the number of threads, nor on the other rows and columns, nor on how the operands lie in memory."""
    rng = np.random.default_rng(seed)
    a, b, add = (rng.standard_normal(s, np.float32) for s in ((m, k), (k, n), (m, n)))
    for isa in backend.available_isas():
        backend.use_isa(isa)
        backend.set_num_threads(1)
        whole = cpu.matmul(a, b, alpha=0.3, beta=1.0, add=add, act=act)
        for threads in (2, 3, 4):
            backend.set_num_threads(threads)
            same(cpu.matmul(a, b, alpha=0.3, beta=1.0, add=add, act=act), whole, threads)
        i, j, rows, columns = seed % m, seed % n, 1 + seed % 17, 1 + seed % 67
        left, right = a[i : i + rows], b[:, j : j + columns]
        left = np.asfortranarray(left) if transposed[0] else left
        right = np.asfortranarray(right) if transposed[1] else right
        part = add[i : i + rows, j : j + columns]
        got = cpu.matmul(left, right, alpha=0.3, beta=1.0, add=part, act=act)
        same(got, np.ascontiguousarray(whole[i : i + rows, j : j + columns]))
