"""The rungs of csrc/ladder.c compute the product that they teach, whatever the sizes, on every instruction set."""

from __future__ import annotations

import numpy as np
import pytest

from tinyllm import backend

call = pytest.importorskip("tinyllm.backend._call", reason="the C kernels are not built")


@pytest.mark.parametrize("isa", backend.available_isas())
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rung", range(7))
def test_a_rung_is_the_product(rung, dtype, isa):
    before, run = backend.isa(), call.kernel("ladder_matmul", np.dtype(dtype))
    backend.use_isa(isa)
    try:
        for m, n, k in [(1, 1, 1), (6, 32, 5), (13, 67, 70), (25, 130, 520), (3, 5, 0)]:
            rng = np.random.default_rng([m, n, k])
            a, b = rng.standard_normal((m, k)).astype(dtype), rng.standard_normal((k, n)).astype(dtype)
            c = np.full((m, n), np.nan, dtype)
            call.check(run(rung, m, n, k, call.ptr(a), call.ptr(b), call.ptr(c)))
            tol = 1e-4 if dtype == np.float32 else 1e-12
            np.testing.assert_allclose(c, a @ b, rtol=tol, atol=tol * max(k, 1) ** 0.5)
    finally:
        backend.use_isa(before)
