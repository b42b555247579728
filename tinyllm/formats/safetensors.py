"""Safetensors: a JSON header and raw little-endian arrays. Our own codec, strict where the format is.

Layout: 8 bytes header length (u64), the header `{"name": {"dtype", "shape", "data_offsets": [begin, end]},
"__metadata__": {str: str}}`, then the data; offsets count from the end of the header and tile it without hole
or overlap. `read` maps the file and returns views of it: nothing is copied and nothing is allocated before
the bytes are known to be there. Every defect of a file is a `CheckpointError`.

BF16 has no NumPy dtype: it is read as float32 (its bits are the upper half of a float32's, so the values are
exact, at the price of a copy) and written from float32 on demand, rounding to nearest even. Format:
https://github.com/huggingface/safetensors.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from .. import _io
from ..errors import CheckpointError

HEADER_LIMIT = 1 << 20
"""Largest header in bytes: room for ten thousand tensors. A larger one is refused before it is parsed."""

_DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2",
    "I8": "|i1", "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1", "BOOL": "|b1",
}  # fmt: skip
_NAMES = {np.dtype(code): name for name, code in _DTYPES.items() if name != "BF16"}


def read(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The tensors of a file, as read-only views of the mapped file (BF16: copies), and its metadata."""
    name = os.fspath(path)
    try:
        with _io.open_file(path) as file:
            size = os.fstat(file.fileno()).st_size
            buffer = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{name}: cannot be read: {error}") from error
    return parse(buffer, name)


def parse(buffer: bytes | mmap.mmap, source: str = "safetensors") -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The tensors and metadata of a whole file in memory; the arrays are views of `buffer`. `source` is named
    in errors.
    """
    if len(buffer) < 8:
        raise CheckpointError(f"{source}: {len(buffer)} bytes are too few for a safetensors file")
    (length,) = struct.unpack("<Q", buffer[:8])
    if length > HEADER_LIMIT or length > len(buffer) - 8:
        raise CheckpointError(
            f"{source}: header of {length} bytes, expected at most {min(HEADER_LIMIT, len(buffer) - 8)}: "
            "not a safetensors file, or cut off"
        )
    header = _parse_header(buffer[8 : 8 + length], source)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise CheckpointError(f"{source}: __metadata__ is not a table of strings")

    start, entries = 8 + length, []
    for name, entry in header.items():
        entries.append((name, *_parse_entry(name, entry, source)))
    end = 0
    for name, _, _, begin, stop in sorted(entries, key=lambda e: (e[3], e[4])):
        if begin != end:
            kind = "overlaps the tensor before it" if begin < end else "leaves a hole before it"
            raise CheckpointError(f"{source}: tensor {name!r} at offset {begin} {kind} (expected {end})")
        end = stop
    if end != len(buffer) - start:
        raise CheckpointError(
            f"{source}: tensors take {end} bytes, the file has {len(buffer) - start}: cut off, or longer"
        )

    tensors = {}
    for name, dtype, shape, begin, stop in entries:
        flat = np.frombuffer(buffer, np.uint8, stop - begin, start + begin) if stop > begin else np.empty(0, np.uint8)
        values = flat.view(_DTYPES[dtype])
        if dtype == "BOOL" and flat.size and flat.max() > 1:
            raise CheckpointError(f"{source}: tensor {name!r} is BOOL but holds a byte other than 0 and 1")
        if dtype == "BF16":
            values = (values.astype(np.uint32) << 16).view(np.float32)
        array = values.reshape(shape)
        if not array.flags.aligned:  # a file of another writer, without padding
            array = array.copy()
        array.flags.writeable = False
        tensors[name] = array
    return tensors, metadata


def write(
    path: str | os.PathLike[str],
    tensors: Mapping[str, np.ndarray],
    metadata: Mapping[str, str] | None = None,
    bf16: bool = False,
) -> int:
    """Write tensors (and string metadata) to `path`, whole or not at all; returns how many bytes precede their data.
    `bf16` stores float32 tensors as BF16.
    """
    header: dict[str, Any] = {}
    if metadata:
        header["__metadata__"] = dict(metadata)
    # Widest elements first, so that each tensor starts at a multiple of its item size; then by name, so that
    # equal content gives equal files.
    order, offset = [], 0
    for name in sorted(tensors, key=lambda n: (-tensors[n].dtype.itemsize, n)):
        array = tensors[name]
        code = _NAMES.get(array.dtype.newbyteorder("<"))
        if code is None:
            raise CheckpointError(f"{os.fspath(path)}: safetensors has no dtype for {name!r}, which is {array.dtype}")
        if name == "__metadata__" or not name.isprintable():
            raise CheckpointError(f"{os.fspath(path)}: {name!r} is no name for a tensor")
        code = "BF16" if bf16 and code == "F32" else code
        size = array.size * np.dtype(_DTYPES[code]).itemsize
        header[name] = {"dtype": code, "shape": list(array.shape), "data_offsets": [offset, offset + size]}
        order.append((array, code))
        offset += size
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode("utf-8")
    text += b" " * (-len(text) % 8)  # aligned data
    if len(text) > HEADER_LIMIT:
        raise CheckpointError(f"{os.fspath(path)}: the header takes {len(text)} bytes, the limit is {HEADER_LIMIT}")

    def chunks() -> Iterator[memoryview]:
        yield memoryview(struct.pack("<Q", len(text)) + text)
        for array, code in order:
            flat = np.ascontiguousarray(array).reshape(-1)
            flat = to_bf16(flat) if code == "BF16" else flat.astype(_DTYPES[code], copy=False)
            if flat.size:
                yield flat.view(np.uint8).data

    _io.write_atomic(path, chunks())
    return 8 + len(text)


def to_bf16(x: np.ndarray) -> np.ndarray:
    """float32 to the upper 16 bits of it (uint16), rounded to nearest, ties to even; NaN stays NaN."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> 16) & 1)) >> 16
    quiet = (bits >> 16) | np.uint32(0x40)
    return np.where(np.isnan(x), quiet, rounded).astype(np.uint16)


def _parse_header(text: bytes, source: str) -> dict[str, Any]:
    def no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        table = dict(pairs)
        if len(table) != len(pairs):
            ((twice, _),) = Counter(key for key, _ in pairs).most_common(1)
            raise CheckpointError(f"{source}: the key {twice[:80]!r} occurs twice in the header")
        return table

    def no_constant(name: str) -> None:
        raise CheckpointError(f"{source}: {name} in the header")

    if text[:1] != b"{":
        raise CheckpointError(f"{source}: the header does not start with '{{': not a safetensors file")
    try:
        return json.loads(text.decode("utf-8"), object_pairs_hook=no_duplicates, parse_constant=no_constant)
    except CheckpointError:
        raise
    except (
        ValueError,
        RecursionError,
    ) as error:  # bad UTF-8 or JSON, an integer of 5,000 digits; nesting too deep
        raise CheckpointError(f"{source}: the header is not JSON: {str(error)[:200]}") from error


def _parse_entry(name: str, entry: Any, source: str) -> tuple[str, tuple[int, ...], int, int]:
    where = f"{source}: tensor {name[:80]!r}"
    if not name.isprintable():
        raise CheckpointError(f"{where}: a name with control characters or half characters")
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise CheckpointError(f"{where}: expected dtype, shape and data_offsets, got {str(entry)[:80]}")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise CheckpointError(f"{where}: unknown dtype {str(dtype)[:40]!r}; known are {', '.join(_DTYPES)}")
    for what, numbers in (("shape", shape), ("data_offsets", offsets)):
        if not isinstance(numbers, list) or not all(type(n) is int and 0 <= n < 2**63 for n in numbers):
            raise CheckpointError(f"{where}: {what} is not a list of non-negative integers: {str(numbers)[:80]}")
    if len(shape) > 32:
        raise CheckpointError(f"{where}: {len(shape)} dimensions; at most 32")
    if len(offsets) != 2:
        raise CheckpointError(f"{where}: data_offsets has {len(offsets)} numbers, expected 2")
    size = np.dtype(_DTYPES[dtype]).itemsize
    for n in shape:  # Python integers: a product that wraps 2**64 in C does not wrap here
        size *= max(n, 1)
    if size >= 2**63:
        raise CheckpointError(f"{where}: shape {shape} is larger than memory can be")
    size = 0 if 0 in shape else size
    if offsets[1] - offsets[0] != size:
        raise CheckpointError(
            f"{where}: {dtype} {shape} takes {size} bytes, its data_offsets span {offsets[1] - offsets[0]}"
        )
    return dtype, tuple(shape), offsets[0], offsets[1]
