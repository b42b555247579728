"""Token files: ids on disk, mapped into memory, in two or four bytes each.

Layout: the line `tinyllm tokens 1`, a line of JSON (dtype, count, text_bytes, tokenizer, sha256 of the ids), spaces up
to byte 512, then the ids, little-endian. `tokenizer` is the fingerprint of the tokenizer that made them, so that a
model never trains on another one's ids; `text_bytes`, the length of the text in UTF-8, turns nats per token
into bits per byte.

A window is read by a system call of its own, a few microseconds from the page cache. A mapped file would become
part of the process's resident memory page by page, in the end all of it, and giving its pages back after each
window costs ten times the read.
"""

from __future__ import annotations

import hashlib
import json
import os
import weakref
from collections.abc import Iterable, Sequence

import numpy as np

from .. import _io

_MAGIC = b"tinyllm tokens 1\n"
_HEADER = 512
_CHUNK = 1 << 20


def write_tokens(
    path: str | os.PathLike[str],
    chunks: Iterable[Sequence[int] | np.ndarray],
    *,
    vocab_size: int,
    text_bytes: int,
    tokenizer: str,
) -> int:
    """Write ids, given in pieces, to a token file; returns how many. Two bytes an id if `vocab_size` allows
    it.
    """
    dtype = np.dtype("<u2" if vocab_size <= 1 << 16 else "<u4")
    count, digest = 0, hashlib.sha256()
    with _io.AtomicFile(path) as file:
        file.write(bytes(_HEADER))
        for chunk in chunks:
            ids = np.asarray(chunk, np.int64)
            if ids.size and not (0 <= ids.min() and ids.max() < vocab_size):
                raise ValueError(f"{os.fspath(path)}: ids from {ids.min()} to {ids.max()}, vocab_size is {vocab_size}")
            data = ids.astype(dtype).tobytes()
            file.write(data)
            digest.update(data)
            count += ids.size
        header = {
            "dtype": dtype.str, "count": count, "text_bytes": text_bytes, "tokenizer": tokenizer,
            "sha256": digest.hexdigest(),
        }  # fmt: skip
        text = _MAGIC + json.dumps(header).encode() + b"\n"
        if len(text) > _HEADER:
            raise ValueError(f"a tokenizer fingerprint of {len(tokenizer)} characters does not fit the header")
        file.rewrite(text.ljust(_HEADER), 0)
    return count


class TokenFile:
    """A token file, opened for reading. `len(tokens)` is the number of ids; `read(start, n)` gives n of them
    as int64.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = os.fspath(path)
        with _io.open_file(path) as file:
            head = file.read(_HEADER)
            size = os.fstat(file.fileno()).st_size
            if len(head) < _HEADER or not head.startswith(_MAGIC):
                raise ValueError(f"{self.path} is not a token file (it does not start with {_MAGIC!r})")
            try:
                header = json.loads(head[len(_MAGIC) :])
                dtype, self._count = header["dtype"], header["count"]
                self.text_bytes: int = header["text_bytes"]
                self.tokenizer: str = header["tokenizer"]
                self.sha256: str = header["sha256"]
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise ValueError(f"{self.path}: damaged header of a token file: {error!r}") from error
            if dtype not in ("<u2", "<u4") or type(self._count) is not int or type(self.text_bytes) is not int:
                raise ValueError(f"{self.path}: damaged header of a token file: {header}")
            self.dtype = np.dtype(dtype)
            if self._count < 0 or size != _HEADER + self._count * self.dtype.itemsize:
                raise ValueError(
                    f"{self.path}: {size} bytes do not hold {self._count} ids of {self.dtype.itemsize} bytes"
                )
            self._descriptor = os.dup(file.fileno())
            weakref.finalize(self, os.close, self._descriptor)

    def __len__(self) -> int:
        return self._count

    def intact(self) -> bool:
        """Whether the ids still have the SHA-256 of the header; reads the whole file."""
        digest, size = hashlib.sha256(), self._count * self.dtype.itemsize
        for at in range(0, size, _CHUNK):
            digest.update(self._bytes(at, min(_CHUNK, size - at)))
        return digest.hexdigest() == self.sha256

    def read(self, start: int, count: int) -> np.ndarray:
        """Ids start .. start + count - 1, as a fresh int64 array."""
        if not 0 <= start <= start + count <= self._count:
            raise IndexError(f"{self.path}: ids {start} to {start + count} of {self._count}")
        size = self.dtype.itemsize
        return np.frombuffer(self._bytes(start * size, count * size), self.dtype).astype(np.int64)

    def _bytes(self, start: int, count: int) -> bytes:
        """Bytes of the ids; raises ValueError if the file has become shorter since."""
        data = b""
        while len(data) < count:  # a call gives 2 GiB at most
            part = os.pread(self._descriptor, count - len(data), _HEADER + start + len(data))
            if not part:
                raise ValueError(f"{self.path} was cut off after it was opened: byte {start + len(data)} is missing")
            data = data + part if data else part
        return data
