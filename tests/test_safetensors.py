"""The safetensors codec: what is written comes back, and a damaged file is a CheckpointError, whatever is
wrong with it.
"""

from __future__ import annotations

import errno
import json
import os
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tinyllm import _io
from tinyllm.errors import CheckpointError
from tinyllm.formats import safetensors

DTYPES = "<f8 <f4 <f2 <i8 <i4 <i2 |i1 <u8 <u4 <u2 |u1 |b1".split()
arrays = st.sampled_from(DTYPES).flatmap(lambda d: hnp.arrays(d, hnp.array_shapes(min_dims=0, min_side=0, max_side=4)))
names = st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=8).filter(lambda n: n != "__metadata__")


def encode(header: object, data: bytes = b"", raw: bool = False) -> bytes:
    text = header if raw else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@given(
    st.dictionaries(names, arrays, max_size=5),
    st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
)
@settings(max_examples=80)
def test_round_trip(tmp_path_factory, tensors, metadata):
    metadata = {k: v for k, v in metadata.items() if (k + v).isprintable()}
    path = tmp_path_factory.mktemp("st") / "x"
    safetensors.write(path, tensors, metadata)
    back, meta = safetensors.read(path)
    assert meta == metadata
    assert back.keys() == tensors.keys()
    for name, x in tensors.items():
        assert back[name].dtype == x.dtype and back[name].shape == x.shape
        assert back[name].tobytes() == x.tobytes()
        assert not back[name].flags.writeable and back[name].flags.aligned
    assert parse_again(path) == path.read_bytes()


def parse_again(path):
    """Writing what was read gives the same bytes: the file depends on the content alone."""
    safetensors.write(path, *safetensors.read(path))
    return path.read_bytes()


def test_strided_and_byte_swapped_input(tmp_path):
    x = np.arange(24, dtype=np.float32).reshape(4, 6)
    tensors = {"t": x.T, "s": x[::2, ::-1], "swapped": x.astype(">f4"), "scalar": np.float32(3).reshape(())}
    safetensors.write(tmp_path / "x", tensors)
    back, _ = safetensors.read(tmp_path / "x")
    for name, value in tensors.items():
        np.testing.assert_array_equal(back[name], value)


def test_reading_maps_the_file_and_copies_nothing(tmp_path):
    safetensors.write(tmp_path / "x", {"a": np.zeros(1000, np.float32), "b": np.zeros(10, np.int64)})
    back, _ = safetensors.read(tmp_path / "x")
    for array in back.values():
        assert not array.flags.owndata


@given(st.lists(st.floats(width=32), min_size=1, max_size=50))
def test_bf16_rounds_to_nearest_even(values):
    x = np.array(values, np.float32)
    got = (safetensors.to_bf16(x).astype(np.uint32) << 16).view(np.float32)
    for value, rounded in zip(x, got, strict=True):
        if np.isnan(value):
            assert np.isnan(rounded)
            continue
        low = (value.view(np.uint32) >> 16 << 16).view(np.float32)  # toward zero
        high = ((value.view(np.uint32) >> 16) + 1 << 16).astype(np.uint32).view(np.float32)
        if np.isinf(low):
            assert rounded == low
            continue
        limit = np.copysign(np.float64(2.0**128), np.float64(value)) if np.isinf(high) else np.float64(high)
        below, above = abs(np.float64(value) - low), abs(limit - np.float64(value))
        even = low if (value.view(np.uint32) >> 16) % 2 == 0 else high
        assert rounded == (low if below < above else high if above < below else even)


def test_bf16_file(tmp_path):
    x = np.array([1.0, -2.5, 1 / 3], np.float32)
    safetensors.write(tmp_path / "x", {"a": x, "n": np.arange(3), "scalar": x[1].reshape(())}, bf16=True)
    back, _ = safetensors.read(tmp_path / "x")
    assert back["scalar"].shape == () and back["scalar"] == -2.5 and not back["scalar"].flags.writeable
    assert back["a"].dtype == np.float32 and back["n"].dtype == np.int64
    np.testing.assert_array_equal(back["a"], np.array([1.0, -2.5, 0.333984375], np.float32))
    assert b'"BF16"' in (tmp_path / "x").read_bytes()


def test_a_header_without_padding_still_gives_aligned_arrays():
    blob = encode({"abc": entry()}, np.array([1, 2], "<f4").tobytes())
    tensors, _ = safetensors.parse(blob if len(blob) % 8 else encode({"abcd": entry()}, bytes(8)))
    (array,) = tensors.values()
    assert array.flags.aligned


BYTE = b'{"dtype":"U8","shape":[1],"data_offsets":[0,1]}'
GOOD = {"a": entry(), "b": entry("U8", (3,), (8, 11))}
BAD = {
    "empty": b"",
    "seven bytes": bytes(7),
    "header longer than the file": struct.pack("<Q", 1000) + b"{}",
    "header of 2**63 bytes": struct.pack("<Q", 2**63) + b"{}",
    "not an object": encode([1]),
    "empty header": encode(b"", raw=True),
    "byte order mark": encode(b"\xef\xbb\xbf{}", raw=True),
    "utf-16": encode("{}".encode("utf-16"), raw=True),
    "bad utf-8": encode(b'{"\xff": 1}', raw=True),
    "trailing comma": encode(b"{,}", raw=True),
    "two values": encode(b"{} {}", raw=True),
    "deep nesting": encode(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", raw=True),
    "integer of 5,000 digits": encode(b'{"a":' + b"9" * 5000 + b"}", raw=True),
    "NaN": encode(b'{"a": NaN}', raw=True),
    "Infinity in a shape": encode(b'{"a":{"dtype":"F32","shape":[Infinity],"data_offsets":[0,8]}}', raw=True),
    "duplicate tensor": encode(b'{"a":%s,"a":%s}' % (BYTE, BYTE), b"x", raw=True),
    "duplicate field": encode(b'{"a":%s}' % BYTE.replace(b"{", b'{"dtype":"U8",'), b"x", raw=True),
    "entry is a list": encode({"a": [1]}),
    "unknown field": encode({"a": {**entry(), "x": 1}}, bytes(8)),
    "missing field": encode({"a": {"dtype": "F32", "shape": [2]}}, bytes(8)),
    "unknown dtype": encode({"a": entry("F33")}, bytes(8)),
    "dtype is a list": encode({"a": entry([])}, bytes(8)),
    "negative side": encode({"a": entry(shape=(-1, -2))}, bytes(8)),
    "side is a float": encode({"a": entry(shape=(2.0,))}, bytes(8)),
    "side is a string": encode({"a": entry(shape=("2",))}, bytes(8)),
    "side is true": encode({"a": entry("U8", (True,), (0, 1))}, bytes(1)),
    "side of 1e30": encode({"a": entry(shape=(10**30,))}, bytes(8)),
    "shape is a number": encode({"a": {**entry(), "shape": 2}}, bytes(8)),
    "product wraps 2**64 to 8 bytes": encode({"a": entry(shape=(2**62 + 1, 2))}, bytes(8)),
    "product wraps 2**64 to 0 bytes": encode({"a": entry(shape=(2**32, 2**32), offsets=(0, 0))}),
    "huge sides beside a zero": encode({"a": entry(shape=(2**62, 2**62, 0), offsets=(0, 0))}),
    "33 dimensions": encode({"a": entry(shape=(1,) * 33, offsets=(0, 4))}, bytes(4)),
    "offsets the wrong way round": encode({"a": entry(offsets=(8, 0))}, bytes(8)),
    "three offsets": encode({"a": entry(offsets=(0, 8, 8))}, bytes(8)),
    "too few bytes for the shape": encode({"a": entry(shape=(3,))}, bytes(8)),
    "data cut off": encode(GOOD, bytes(10)),
    "data added": encode(GOOD, bytes(12)),
    "overlap": encode({"a": entry(), "b": entry("U8", (4,), (4, 8))}, bytes(8)),
    "same bytes twice": encode({"a": entry(), "b": entry()}, bytes(8)),
    "hole": encode({"a": entry(), "b": entry("U8", (3,), (9, 12))}, bytes(12)),
    "hole at the start": encode({"a": entry(offsets=(8, 16))}, bytes(16)),
    "empty tensor beyond the end": encode({"a": entry(), "z": entry(shape=(0,), offsets=(99, 99))}, bytes(8)),
    "NUL in a name": encode({"a\0b": entry()}, bytes(8)),
    "half a character in a name": encode(b'{"\\ud800":%s}' % BYTE, b"x", raw=True),
    "metadata is a list": encode({"__metadata__": []}),
    "metadata holds a number": encode({"__metadata__": {"a": 1}}),
    "BOOL of 2": encode({"a": entry("BOOL", (1,), (0, 1))}, b"\2"),
}  # fmt: skip


def test_the_good_neighbour_of_the_bad_files_is_read():
    tensors, _ = safetensors.parse(encode(GOOD, bytes(11)))
    assert tensors["a"].shape == (2,) and tensors["b"].shape == (3,)
    tensors, _ = safetensors.parse(encode({"z": entry(shape=(0, 5), offsets=(0, 0)), "a": entry()}, bytes(8)))
    assert tensors["z"].shape == (0, 5)


@pytest.mark.parametrize("case", BAD)
def test_bad_files(case):
    with pytest.raises(CheckpointError, match="some.file"):
        safetensors.parse(BAD[case], "some.file")


def test_a_large_header_is_refused_before_it_is_parsed():
    text = b"{" + b" " * safetensors.HEADER_LIMIT + b"}"
    with pytest.raises(CheckpointError, match="header of"):
        safetensors.parse(encode(text, raw=True))


@given(st.data())
@settings(max_examples=300)
def test_mutated_files_are_read_or_refused(data):
    blob = bytearray(encode(GOOD, bytes(11)))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(blob) - 1))
        blob[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
        if not blob:
            break
    try:
        tensors, _ = safetensors.parse(bytes(blob))
    except CheckpointError:
        return
    assert sum(t.nbytes for t in tensors.values()) <= 2 * len(blob)


def test_every_truncation_is_refused(tmp_path):
    safetensors.write(tmp_path / "x", {"a": np.arange(5), "b": np.ones(3, np.float32)})
    blob = (tmp_path / "x").read_bytes()
    for length in range(len(blob)):
        with pytest.raises(CheckpointError):
            safetensors.parse(blob[:length])


def test_unreadable_paths(tmp_path):
    with pytest.raises(CheckpointError, match="absent"):
        safetensors.read(tmp_path / "absent")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match="not a regular file"):
        safetensors.read(tmp_path / "pipe")


def test_what_cannot_be_written(tmp_path):
    for tensors in (
        {"a": np.array(["x"])},
        {"a": np.ones(2, complex)},
        {"__metadata__": np.ones(2)},
        {"a\0b": np.ones(2)},
        {"\ud800": np.ones(2)},
    ):
        with pytest.raises(CheckpointError, match="out"):
            safetensors.write(tmp_path / "out", tensors)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_keeps_the_old_file(tmp_path):
    safetensors.write(tmp_path / "x", {"a": np.arange(5)})

    def full(name: str, path: str) -> None:
        if name == "write":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match="No space left"), _io.inject(full):
        safetensors.write(tmp_path / "x", {"a": np.arange(6)})
    assert safetensors.read(tmp_path / "x")[0]["a"].shape == (5,)
