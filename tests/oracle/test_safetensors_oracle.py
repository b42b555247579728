"""Our safetensors codec against the safetensors package: each reads what the other wrote."""

from __future__ import annotations

import numpy as np
import pytest

from tinyllm.formats import safetensors

pytestmark = pytest.mark.oracle

DTYPES = "f8 f4 f2 i8 i4 i2 i1 u8 u4 u2 u1 bool".split()


def some_tensors() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = [(), (3,), (2, 0), (2, 3, 5)]
    return {f"{d} {s}": np.array(rng.random(s) * 100, d) for d in DTYPES for s in shapes}


def test_the_package_reads_ours_and_we_read_its(tmp_path):
    theirs = pytest.importorskip("safetensors.numpy")
    tensors = some_tensors()
    safetensors.write(tmp_path / "ours", tensors, {"format": "np"})
    theirs.save_file(tensors, tmp_path / "theirs", {"format": "np"})
    for back in (theirs.load_file(tmp_path / "ours"), safetensors.read(tmp_path / "theirs")[0]):
        assert back.keys() == tensors.keys()
        for name, x in tensors.items():
            assert back[name].dtype == x.dtype
            np.testing.assert_array_equal(back[name], x)
    assert safetensors.read(tmp_path / "theirs")[1] == {"format": "np"}


def test_bf16_rounds_as_torch_does(tmp_path):
    torch = pytest.importorskip("torch")
    theirs = pytest.importorskip("safetensors.torch")
    bits = np.random.default_rng(0).integers(0, 2**32, 100_000, dtype=np.uint32)
    x = bits.view(np.float32)
    expected = torch.from_numpy(x.copy()).to(torch.bfloat16)
    theirs.save_file({"x": expected}, tmp_path / "theirs")
    np.testing.assert_array_equal(safetensors.read(tmp_path / "theirs")[0]["x"], expected.float().numpy())
    safetensors.write(tmp_path / "ours", {"x": x}, bf16=True)
    np.testing.assert_array_equal(theirs.load_file(tmp_path / "ours")["x"].float().numpy(), expected.float().numpy())
