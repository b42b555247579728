"""S5: a million hostile files give a CheckpointError or a valid result, never anything else, and cost little.

Mutants keep the structure of what they come from: headers of safetensors files whose entries are changed one field
at a time by values that have broken other readers, bytes changed in whole files, manifests changed and given the right
hash again (else nothing behind the hash would be tried), and those loaded with the files that they describe. Two
processes with 2 GB of address space. Each parse may take 50 ms of processor time and 8 MB and twice the file's
size of memory. Then the vectors by name, each of which must be refused, or is known to be valid.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import os
import random
import resource
import shutil
import struct
import time
import traceback
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import Any

import numpy as np
from common import SANITIZED, Bar, run_bar
from micro import Small, fast_folder, prepare

from tinyllm.errors import CheckpointError
from tinyllm.formats import safetensors
from tinyllm.training import Store, checkpoint, manifest

SECONDS, BYTES = 0.05, 8 << 20
WORKERS = 2
ADDRESS_SPACE = 2 << 30

NUMBERS = (0, 1, 2, 3, 4, 7, 8, 16, 24, 31, 32, 33, 127, 128, 255, 256, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**32,
           2**40, 2**53, 2**62, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**30, -1, -8, -(2**63))  # fmt: skip
ODD = (None, True, False, "", "2", "F32", 1.5, 1e30, 1e-30, -0.0, [], {}, [[]], [0], [1, 2, 3], {"a": 1}, "\0",
       "\ud800", "é" * 50, "__metadata__", "x" * 1000)  # fmt: skip
TOKENS = (b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"\\u0000", b"NaN", b"Infinity", b"-", b"1e999", b"null",
          b"true", b"\xff", b"\xef\xbb\xbf", b"\0", b"9" * 40, b'"a":1,', b"[[[[", b"    ")  # fmt: skip


class Fuzz:
    """Draws mutants from a seed and parses them; what goes wrong is in `problems`."""

    def __init__(self, seed: int) -> None:
        self.draw, self.problems = random.Random(seed), list[str]()
        self.cases = self.valid = 0
        self.slowest = 0.0

    def parse(self, what: str, size: int, call: Callable[[], object]) -> bool:
        """Whether `call` gives a result; anything but that and a CheckpointError is a problem."""
        self.cases += 1
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # of this process, so far
        began, valid = time.thread_time(), False
        try:
            call()
            valid = True
        except CheckpointError:
            pass
        except BaseException as error:
            self.problems.append(f"{what}: {error!r}\n{traceback.format_exc(limit=-3)}")
        seconds = time.thread_time() - began
        grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory)
        self.timed(what, seconds, SECONDS, call)
        if grown > BYTES + 2 * size and not SANITIZED:
            self.problems.append(f"{what}: {grown / 2**20:.1f} MB for a file of {size} bytes")
        self.valid += valid
        return valid

    def timed(self, what: str, seconds: float, limit: float, call: Callable[[], object]) -> None:
        """A problem if `call`, which took `seconds`, takes more than `limit` twice more: once may be a busy machine."""
        for _ in range(2):
            if seconds > limit:
                began = time.thread_time()
                with contextlib.suppress(Exception):
                    call()
                seconds = min(seconds, time.thread_time() - began)
        self.slowest = max(self.slowest, seconds)
        if seconds > limit and not SANITIZED:
            self.problems.append(f"{what}: {1000 * seconds:.0f} ms")

    # --- safetensors ---

    def header(self) -> tuple[dict[str, Any], int]:
        """A valid header of up to five tensors, and the size of their data."""
        header: dict[str, Any] = {}
        at = 0
        if self.draw.random() < 0.3:
            header["__metadata__"] = {"format": "pt"}
        for name in self.draw.sample(("a", "b.weight", "layer/0", "x", "naïve"), self.draw.randrange(1, 6)):
            dtype = self.draw.choice(("F64", "F32", "BF16", "I8", "U8", "BOOL", "I64"))
            shape = [self.draw.randrange(4) for _ in range(self.draw.randrange(4))]
            size = int(np.prod(shape, dtype=np.int64)) * {"F64": 8, "I64": 8, "F32": 4, "BF16": 2}.get(dtype, 1)
            header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
            at += size
        return header, at

    def changed(self, value: Any) -> Any:
        """Another value in the place of one: near it, of another type, or one with a history."""
        if type(value) is int and self.draw.random() < 0.5:
            return value + self.draw.choice((-8, -1, 1, 8, 2**32, 2**64))
        return copy.deepcopy(self.draw.choice(NUMBERS if self.draw.random() < 0.6 else ODD))

    def spoil(self, tree: Any) -> None:
        """Change one place of a tree of lists and tables: a value, a key, an item more or less."""
        parent: Any = None
        while isinstance(tree, dict | list) and tree and (parent is None or self.draw.random() < 0.85):
            key = self.draw.choice(list(tree)) if isinstance(tree, dict) else self.draw.randrange(len(tree))
            parent, tree = tree, tree[key]
        if parent is None:
            return
        how = self.draw.randrange(6)
        if how == 0:
            del parent[key]
        elif how == 1 and isinstance(parent, dict):
            parent[str(self.draw.choice(ODD))] = parent.pop(key)
        elif how == 2 and isinstance(parent, list):
            parent.insert(key, self.changed(tree))
        elif how == 3 and isinstance(parent, dict):
            parent[f"{key}2"] = copy.deepcopy(tree)
        else:
            parent[key] = self.changed(tree)

    def bytes_changed(self, data: bytes) -> bytes:
        """Bytes of a file exchanged, cut, doubled, or replaced by pieces of JSON."""
        changed = bytearray(data)
        for _ in range(self.draw.choice((1, 1, 1, 2, 4))):
            at = self.draw.randrange(len(changed) + 1)
            how = self.draw.randrange(5)
            if how == 0 and at < len(changed):
                changed[at] ^= 1 << self.draw.randrange(8)
            elif how == 1:
                changed[at : at + self.draw.randrange(4)] = self.draw.choice(TOKENS)
            elif how == 2:
                del changed[at : at + self.draw.randrange(1, 9)]
            elif how == 3:
                changed[at:at] = changed[at : at + self.draw.randrange(1, 60)]
            elif how == 4 and len(changed) >= 8:
                changed[:8] = struct.pack("<Q", self.draw.choice([n for n in NUMBERS if 0 <= n < 2**64]))
        return bytes(changed)

    def safetensors(self) -> None:
        header, size = self.header()
        data = self.draw.randbytes(size) if self.draw.random() < 0.5 else bytes(size)
        how = self.draw.random()
        if how < 0.6:
            for _ in range(self.draw.choice((1, 1, 2, 3))):
                self.spoil(header)
        if how < 0.6 and self.draw.random() < 0.1:
            data = data[: self.draw.randrange(len(data) + 1)]
        blob = encode(header, data)
        if how >= 0.6:
            blob = self.bytes_changed(blob)
        self.parse(f"safetensors {blob[:300]!r}", len(blob), lambda: self.whole(blob))

    def whole(self, blob: bytes) -> None:
        """What is accepted must be what the header says, within the file."""
        tensors, metadata = safetensors.parse(blob)
        length = int.from_bytes(blob[:8], "little")
        header = json.loads(blob[8 : 8 + length])
        assert header.pop("__metadata__", {}) == metadata and header.keys() == tensors.keys()
        for name, entry in header.items():
            assert list(tensors[name].shape) == entry["shape"], name
        assert sum(e["data_offsets"][1] - e["data_offsets"][0] for e in header.values()) == len(blob) - 8 - length

    # --- manifests ---

    def manifest(self, text: bytes) -> None:
        changed = self.bytes_changed(text)
        if self.draw.random() < 0.5:  # the right hash for what it says now
            changed = rehashed(changed)
        self.parse(f"manifest {changed[:300]!r}", len(changed), lambda: manifest.parse(changed, "manifest"))

    def loaded(self, directory: str, good: dict[str, Any]) -> None:
        """A manifest that says something else, with the files of a whole checkpoint."""
        content = copy.deepcopy(good)
        for _ in range(self.draw.choice((1, 1, 2))):
            self.spoil(content)
        with open(os.path.join(directory, manifest.NAME), "wb") as file:
            try:
                file.write(manifest.render(content).encode())
            except ValueError:  # NaN: no manifest has it
                return
        differ = {key: content.get(key) for key in good if content.get(key) != good[key]}
        self.parse(f"checkpoint with {str(differ)[:500]}", 100_000, lambda: self.used(directory))

    def used(self, directory: str) -> None:
        found = checkpoint.load(directory)
        assert type(found.step) is int and found.step >= 0, found.step
        assert all(type(x) in (int, float) for x in found.metrics.values()), found.metrics
        checkpoint.build_model(found)


def encode(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(text)) + text + data


def rehashed(text: bytes) -> bytes:
    """A manifest's text with the hash that it should have."""
    body = text[2:].rpartition(b',\n"sha256": "')[0]
    return b"{\n" + body + b',\n"sha256": "' + hashlib.sha256(body).hexdigest().encode() + b'"\n}\n'


def work(seed: int, counts: dict[str, int], directory: str) -> tuple[int, int, float, list[str]]:
    """One process's share: cases, how many of them were valid, the slowest, problems."""
    if not SANITIZED:
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    warnings.simplefilter("error")
    fuzz = Fuzz(seed)
    path = os.path.join(directory, manifest.NAME)
    good, text = manifest.read(path), manifest.render(manifest.read(path)).encode()
    small = text[: text.index(b'"tensors": [')] + text[text.rindex(b'{"name"') :]  # short enough to be hit often
    draws = {"safetensors": fuzz.safetensors, "manifests": lambda: fuzz.manifest(rehashed(small)),
             "checkpoints": lambda: fuzz.loaded(directory, good)}  # fmt: skip
    fuzz.used(directory)  # what the first call allocates is not the second's
    for what, draw in draws.items():
        for _ in range(counts[what]):
            draw()
            if len(fuzz.problems) > 20:
                break
    return fuzz.cases, fuzz.valid, fuzz.slowest, fuzz.problems


ENTRY = {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}


def vectors() -> dict[str, tuple[bytes, bool]]:
    """Files that have broken readers, by name, and whether they are valid."""

    def shape(*numbers: Any, size: int = 1, dtype: str = "U8") -> bytes:
        return encode({"a": {"dtype": dtype, "shape": list(numbers), "data_offsets": [0, size]}}, bytes(size))

    one = json.dumps(ENTRY).encode()
    many = {f"{n:x}": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for n in range(10**5)}
    return {
        "a shape whose product wraps 2**64": (shape(4194305, 4194305, 211106198978564, size=4), False),
        "a shape whose bytes wrap 2**64": (shape(2**61 + 1, size=8, dtype="F64"), False),
        "a dimension of -1": (shape(-1), False),
        "a dimension of 1e30": (shape(1e30), False),
        "a dimension '2'": (shape("2"), False),
        "a dimension true": (shape(True), False),
        "a dimension null": (shape(None), False),
        "a dimension of 2**63": (shape(2**63, 0, size=0), False),
        "dimensions of 0 and 2**62": (shape(0, 2**62, size=0), True),
        "dimensions of 0 and twice 2**62": (shape(0, 2**62, 2**62, size=0), False),
        "33 dimensions": (shape(*[1] * 33), False),
        "the same key twice": (encode(b'{"a":' + one + b',"a":' + one + b"}", b"\0"), False),
        "the same field twice": (encode(b'{"a":' + one[:-1] + b',"dtype":"U8"}}', b"\0"), False),
        "tensors that overlap": (encode({"a": ENTRY, "b": ENTRY}, b"\0"), False),
        "a hole": (encode({"a": {**ENTRY, "data_offsets": [1, 2]}}, b"\0\0"), False),
        "bytes after the last": (encode({"a": ENTRY}, b"\0\0"), False),
        "offsets backwards": (encode({"a": {**ENTRY, "data_offsets": [1, 0]}}, b"\0"), False),
        "tensors without bytes at one offset": (encode(dict(list(many.items())[:9])), True),
        "a tensor without bytes inside another": (
            encode(
                {
                    "a": {**ENTRY, "shape": [2], "data_offsets": [0, 2]},
                    "b": {**ENTRY, "shape": [0], "data_offsets": [1, 1]},
                },
                b"\0\0",
            ),
            False,
        ),
        "a header of 10**5 entries": (encode(many), False),
        "10**5 brackets": (encode(b'{"a":' + b"[" * 10**5), False),
        "10**5 braces": (encode(b'{"a":' * 10**5), False),
        "a number of 5,000 digits": (encode(b'{"a":{"dtype":"U8","shape":[' + b"9" * 5000 + b"]}}"), False),
        "NaN": (encode(b'{"a":NaN}'), False),
        "NaN in __metadata__": (encode(b'{"__metadata__":{"a":NaN}}'), False),
        "-Infinity": (encode(b'{"a":{"dtype":"U8","shape":[-Infinity],"data_offsets":[0,1]}}'), False),
        "a byte order mark": (encode(b"\xef\xbb\xbf{}"), False),
        "UTF-16": (encode("{}".encode("utf-16")), False),
        "a name with NUL": (encode({"a\0b": ENTRY}, b"\0"), False),
        "a name of half a character": (encode(b'{"\\ud800":' + one + b"}", b"\0"), False),
        "__metadata__ of numbers": (encode({"__metadata__": {"a": 1}}), False),
        "__metadata__ of a list": (encode({"__metadata__": []}), False),
        "a header longer than is allowed": (encode(b'{"a":' + b" " * safetensors.HEADER_LIMIT + b"}"), False),
        "a header of 2**63 bytes": (struct.pack("<Q", 2**63) + b"{}", False),
        "a header of 2**64 - 1 bytes": (struct.pack("<Q", 2**64 - 1) + b"{}", False),
        "an empty file": (b"", False),
        "a boolean of 2": (encode({"a": {**ENTRY, "dtype": "BOOL"}}, b"\2"), False),
        "a dtype that is a list": (encode({"a": {**ENTRY, "dtype": []}}, b"\0"), False),
    }


def named(bar: Bar, directory: str) -> None:
    fuzz = Fuzz(0)
    for what, (blob, valid) in vectors().items():
        if fuzz.parse(what, len(blob), partial(fuzz.whole, blob)) != valid:
            fuzz.problems.append(f"{what}: {'refused' if valid else 'accepted'}")
    sparse = os.path.join(directory, "sparse")
    with open(sparse, "wb") as file:
        file.truncate(1 << 40)
    if fuzz.parse("a sparse file of 1 TB", 0, lambda: safetensors.read(sparse)):
        fuzz.problems.append("a sparse file of 1 TB: accepted")
    for what, text in {
        "too long": b"{" * (manifest.LIMIT + 1),
        "deep": rehashed(b"{\n" + b"[" * 10**5 + b',\n"sha256": "'),
    }.items():
        if fuzz.parse(f"a manifest that is {what}", len(text), partial(manifest.parse, text, "manifest")):
            fuzz.problems.append(f"a manifest that is {what}: accepted")
    for problem in fuzz.problems:
        bar.failed(problem)
    bar.passed(fuzz.cases, f"vectors by name (slowest {1000 * fuzz.slowest:.1f} ms)")


def dense(bar: Bar) -> None:
    """Headers as long as is allowed. What they cost is bounded by that limit and not by the marks for other files."""
    room = safetensors.HEADER_LIMIT
    entries = {f"{n:x}": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for n in range(16000)}
    headers = {
        "empty lists": b'{"a":[' + b"[]," * (room // 3 - 9) + b"0]}",
        "numbers": b'{"a":[' + b"999," * (room // 4 - 9) + b"0]}",
        "valid entries": json.dumps(entries).encode(),
    }
    del entries
    for what, header in headers.items():
        blob = encode(header)
        before, began = reset_peak(), time.thread_time()
        with contextlib.suppress(CheckpointError):
            safetensors.parse(blob)
        seconds, grown = time.thread_time() - began, peak() - before
        bar.passed(1, f"header of 1 MB of {what}: {1000 * seconds:.0f} ms, {grown / 2**20:.0f} MB")
        if seconds > 1 or grown > 100 << 20:
            bar.failed(f"header of 1 MB of {what}: more than 1 s or 100 MB")


def peak() -> int:
    """The most memory that was resident, in bytes, since `reset_peak`."""
    with open("/proc/self/status") as file:
        return next(1024 * int(line.split()[1]) for line in file if line.startswith("VmHWM"))


def reset_peak() -> int:
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    return peak()


def test(bar: Bar) -> None:
    prepare()
    with fast_folder() as root:
        directory = Small().save(Store(root), 1)
        shares = {"safetensors": 800_000, "manifests": 180_000, "checkpoints": 20_000}
        counts = {what: bar.scaled(count) // WORKERS for what, count in shares.items()}
        with ProcessPoolExecutor(WORKERS, get_context("fork")) as pool:
            copies = [shutil.copytree(directory, f"{directory}-{n}") for n in range(WORKERS)]
            parts = [pool.submit(work, 1000 * bar.seed + n, counts, copies[n]) for n in range(WORKERS)]
            results = [part.result() for part in parts]
        for problem in [problem for result in results for problem in result[3]][:10]:
            bar.failed(problem)
        cases, valid = sum(r[0] for r in results), sum(r[1] for r in results)
        bar.passed(
            cases,
            f"mutants: {cases - valid:,} refused, {valid:,} valid (slowest {1000 * max(r[2] for r in results):.1f} ms)",
        )
        named(bar, root)
        dense(bar)


if __name__ == "__main__":
    run_bar("S5", test)
