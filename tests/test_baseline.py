"""The kernels that attention is compared with: equal values, and counters that the formulas predict word for word."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from tinyllm import backend
from tinyllm.backend import reference

if not backend.compiled():
    pytest.skip("the C kernels are not built", allow_module_level=True)

from tinyllm.backend import baseline

BLOCK = 96
PANEL = {"generic": 8, "neon": 8, "avx2": 16, "avx512": 32}  # queries a time, float32: two vectors
SCALE = 0.3


@pytest.fixture(params=backend.available_isas())
def panel(request: pytest.FixtureRequest) -> Iterator[int]:
    before = backend.isa()
    backend.use_isa(request.param)
    yield PANEL[request.param]
    backend.use_isa(before)


def inputs(rows: int, d: int, dv: int, dtype: str = "float32", heads: int = 2) -> list[np.ndarray]:
    """q, k, v and the gradient of o, heads last in memory."""
    widths = (d, d, dv, dv)
    return [
        reference.normal((2, rows, heads, width), np.dtype(dtype), (5, 0), i).transpose(0, 2, 1, 3)
        for i, width in enumerate(widths)
    ]


def close(mine: np.ndarray, theirs: np.ndarray) -> None:
    bound = 200 * np.finfo(theirs.dtype).eps
    np.testing.assert_allclose(mine, theirs, rtol=bound, atol=bound)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rows, d, dv", [(32, 16, 48), (160, 48, 32), (224, 32, 16)])
def test_baselines_equal_the_reference(panel: int, causal: bool, dtype: str, rows: int, d: int, dv: int) -> None:
    q, k, v, do = inputs(rows, d, dv, dtype)
    hi = baseline.causal_hi(rows) if causal else None
    o, lse = reference.attention(q, k, v, scale=SCALE, hi=hi)
    gradients = reference.attention_grad(do, q, k, v, o, lse, scale=SCALE, hi=hi)[:3]
    naive_o, p, _ = baseline.naive(q, k, v, SCALE, causal)
    flash_o, m, total, _ = baseline.flash1(q, k, v, SCALE, causal)
    naive = (naive_o, *baseline.naive_grad(do, q, k, v, p, SCALE))
    flash = (flash_o, *baseline.flash1_grad(do, q, k, v, flash_o, m, total, SCALE, causal))
    for mine in (naive, flash):
        for x, y in zip(mine, (o, *gradients), strict=True):
            close(x, y)
    close(m + np.log(total), lse)


def test_sizes_that_do_not_fill_the_tiles_are_refused() -> None:
    q = np.zeros((1, 1, 40, 16), np.float32)
    with pytest.raises(ValueError, match="multiples of 32"):
        baseline.naive(q, q, q, SCALE, False)


def blocks(rows: int, panel: int, causal: bool) -> list[tuple[int, int, int]]:
    """(first query, first key, keys) of every panel and block that meet."""
    return [
        (i, j, min(BLOCK, rows - j))
        for i in range(0, rows, panel)
        for j in range(0, rows, BLOCK)
        if not causal or i + panel > j
    ]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("rows, d, dv", [(96, 16, 16), (160, 32, 48), (416, 64, 16)])
def test_counters_are_what_the_formulas_say(panel: int, causal: bool, rows: int, d: int, dv: int) -> None:
    """Dao et al. 2022, theorem 2, as exact counts: N rows, widths d and dv, blocks of BLOCK keys by `panel` queries."""
    q, k, v, _ = inputs(rows, d, dv)
    heads = q.shape[0] * q.shape[1]
    met = blocks(rows, panel, causal)
    if not causal:
        assert len(met) == rows // panel * -(-rows // BLOCK)

    # Every key block once; with each panel it meets, q, O, m and l, of which O, m and l are written back.
    expected = {
        "blocks": len(met),
        "exponentials": sum(panel * (n + 2) for _, _, n in met),
        "rescaled": 2 * panel * dv * len(met),
        "divisions": 2 * panel * len(met),
        "words_read": rows * (d + dv) + panel * (d + dv + 2) * len(met),
        "words_written": panel * (dv + 2) * len(met),
    }
    assert baseline.flash1(q, k, v, SCALE, causal)[-1] == {name: heads * n for name, n in expected.items()}

    # Every panel once; with it the keys that it sees, and a causal panel sees none past its own end. A vector of
    # queries computes the keys that it sees itself, one more exponential rescales what it has, and nothing is divided
    # before the end.
    seen = [(i, j, min(n, i + panel - j) if causal else n) for i, j, n in met]
    half = panel // 2
    halves = [min(n, max(0, i + side + half - j)) if causal else n for i, j, n in met for side in (0, half)]
    expected = {
        "blocks": len(met),
        "exponentials": sum(half * (n + 1) for n in halves if n),
        "rescaled": sum(half * dv for n in halves if n),
        "divisions": rows,
        "words_read": rows * d + sum(n * (d + dv) for _, _, n in seen),
        "words_written": rows * (dv + 1),
    }
    assert baseline.flash2_cost(q, k, v, SCALE, causal) == {name: heads * n for name, n in expected.items()}

    # The textbook order: each operand and each N x N matrix once a pass, whatever is masked.
    expected = {
        "blocks": 0,
        "exponentials": rows * rows,
        "rescaled": 0,
        "divisions": rows * rows,
        "words_read": rows * (2 * d + dv) + 2 * rows * rows,
        "words_written": 2 * rows * rows + rows * dv,
    }
    assert baseline.naive(q, k, v, SCALE, causal)[-1] == {name: heads * n for name, n in expected.items()}


def test_costs_do_not_depend_on_the_number_of_threads() -> None:
    q, k, v, _ = inputs(416, 32, 32)
    threads = backend.num_threads()
    try:
        costs = []
        for count in (1, 2, 3):
            backend.set_num_threads(count)
            costs.append((baseline.flash2_cost(q, k, v, SCALE, True), baseline.flash1(q, k, v, SCALE, True)[-1]))
    finally:
        backend.set_num_threads(threads)
    assert costs[0] == costs[1] == costs[2]
