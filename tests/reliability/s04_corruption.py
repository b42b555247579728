"""S4: every damage of a checkpoint is found, and named: each single byte changed, each length cut, blocks exchanged.

A checkpoint of about 64 kB is damaged in place and loaded, in this process. What must come of it is a CheckpointError
that names the file, and where the damage lies in the bytes of a tensor, the tensor. From a run the checkpoint before
is then used, with a warning. The same without hashes (a control) must let damage through.
"""

from __future__ import annotations

import os
import random
import shutil
import warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from unittest import mock

from common import Bar, run_bar
from micro import Small, fast_folder, prepare

from tinyllm.errors import CheckpointError
from tinyllm.formats import safetensors
from tinyllm.training import Store, checkpoint

BLOCK = 512
Names = list[tuple[int, int, str]]
"""The bytes of a file that belong to a tensor: begin, end, name."""


def tensors_of(path: str) -> Names:
    """Where the tensors of a safetensors file lie; of another file none."""
    if not path.endswith(".safetensors"):
        return []
    arrays, _ = safetensors.read(path)
    start = min(x.ctypes.data for x in arrays.values()) - first_byte(path)
    return [(x.ctypes.data - start, x.ctypes.data - start + x.nbytes, name) for name, x in arrays.items()]


def first_byte(path: str) -> int:
    with open(path, "rb") as file:
        return 8 + int.from_bytes(file.read(8), "little")


class Target:
    """One file of a checkpoint that is damaged and made whole again."""

    def __init__(self, directory: str, name: str) -> None:
        self.directory, self.name = directory, name
        self.path = os.path.join(directory, name)
        self.tensors = tensors_of(self.path)
        self.file = os.open(self.path, os.O_RDWR)
        self.data = os.pread(self.file, os.path.getsize(self.path), 0)

    def problem(self, at: int | None, what: str) -> str | None:
        """What is wrong with loading it now; `at`: a damaged byte, if there is but one."""
        try:
            checkpoint.load(self.directory)
        except CheckpointError as error:
            message = str(error)
        except Exception as error:
            return f"{self.name}, {what}: {error!r}"
        else:
            return f"{self.name}, {what}: not noticed"
        tensor = next((name for begin, end, name in self.tensors if at is not None and begin <= at < end), None)
        if self.name not in message or (tensor is not None and repr(tensor) not in message):
            return f"{self.name}, {what}: it says {message!r}, expected the name of {tensor or 'the file'}"
        return None

    def flips(self, first: int, stride: int, seed: int) -> tuple[int, list[str]]:
        """One bit of every byte, and of every 16th any other change."""
        draw, problems, places = random.Random(seed), [], range(first, len(self.data), stride)
        for at in places:
            mask = 1 << draw.randrange(8) if draw.randrange(16) else draw.randrange(1, 256)
            os.pwrite(self.file, bytes([self.data[at] ^ mask]), at)
            problems.append(self.problem(at, f"byte {at} XOR {mask}"))
            os.pwrite(self.file, self.data[at : at + 1], at)
        return len(places), [x for x in problems if x]

    def cuts(self, first: int, stride: int) -> tuple[int, list[str]]:
        lengths = range(len(self.data) - 1 - first, -1, -stride)
        problems = []
        for length in lengths:
            os.ftruncate(self.file, length)
            problems.append(self.problem(None, f"cut to {length} bytes"))
        os.pwrite(self.file, self.data, 0)
        return len(lengths), [x for x in problems if x]

    def blocks(self, count: int, draw: random.Random) -> list[str]:
        """Blocks exchanged or zeroed, bytes appended; each a real change."""
        problems: list[str | None] = []
        while len(problems) < count:
            a, b = (draw.randrange(len(self.data) // BLOCK) * BLOCK for _ in range(2))
            changed = bytearray(self.data)
            match draw.choice(("exchanged", "zeroed", "copied", "longer")):
                case "exchanged":
                    changed[a : a + BLOCK], changed[b : b + BLOCK] = self.data[b : b + BLOCK], self.data[a : a + BLOCK]
                case "zeroed":
                    changed[a : a + BLOCK] = bytes(BLOCK)
                case "copied":
                    changed[a : a + BLOCK] = self.data[b : b + BLOCK]
                case "longer":
                    changed += bytes(draw.randrange(1, BLOCK))
            if changed != self.data:
                os.pwrite(self.file, changed, 0)
                problems.append(self.problem(None, f"blocks at {a} and {b}"))
                os.ftruncate(self.file, len(self.data))
                os.pwrite(self.file, self.data, 0)
        return [x for x in problems if x]


def every_byte(directory: str, worker: int, workers: int, stride: int, seed: int) -> list[tuple[str, int, list[str]]]:
    """A worker's part of flips and cuts, in a checkpoint of its own."""
    mine = shutil.copytree(directory, f"{directory}-{worker}")
    results = []
    for name in sorted(os.listdir(mine)):
        target = Target(mine, name)
        first, step = worker * stride, workers * stride
        results.append(("bytes changed", *target.flips(first, step, seed)))
        results.append(("lengths that a file was cut to", *target.cuts(first, step)))
    checkpoint.load(mine)  # whole again
    return results


def count(bar: Bar, what: str, results: list[tuple[int, list[str]]]) -> None:
    for problem in [problem for _, problems in results for problem in problems][:10]:
        bar.failed(problem)
    bar.passed(sum(number for number, _ in results), what)


def bytes_and_lengths(bar: Bar, directory: str) -> None:
    workers = os.cpu_count() or 1
    with ProcessPoolExecutor(workers, get_context("fork")) as pool:
        parts = [pool.submit(every_byte, directory, n, workers, bar.share, bar.seed) for n in range(workers)]
        results = [row for part in parts for row in part.result()]
    for what in dict.fromkeys(row[0] for row in results):
        count(bar, what, [row[1:] for row in results if row[0] == what])


def blocks(bar: Bar, directory: str) -> None:
    draw = random.Random(bar.seed)
    names = sorted(name for name in os.listdir(directory) if os.path.getsize(os.path.join(directory, name)) > BLOCK)
    each = bar.scaled(1000) // len(names)
    count(bar, "blocks exchanged, zeroed, copied, added",
          [(each, Target(directory, name).blocks(each, draw)) for name in names])  # fmt: skip


def other_files(bar: Bar, one: str, other: str) -> None:
    """A whole and right file of another checkpoint is the wrong one here."""
    results = []
    for name in ("manifest.json", "model.safetensors"):
        data, target = Target(other, name).data, Target(one, name)
        os.pwrite(target.file, data, 0)
        results.append((1, [x for x in [target.problem(None, "that of another checkpoint")] if x and "says" not in x]))
        os.pwrite(target.file, target.data, 0)
    count(bar, "files of another checkpoint", results)


def goes_back(bar: Bar, store: Store) -> None:
    """The newest is damaged: the one before is used, and the warning names the file."""
    draw, cases = random.Random(bar.seed), 0
    for name in sorted(os.listdir(store.path(2))):
        target = Target(store.path(2), name)
        for _ in range(bar.scaled(200)):
            at = draw.randrange(len(target.data))
            os.pwrite(target.file, bytes([target.data[at] ^ 1]), at)
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                step = store.newest().step
            if step != 1 or len(said) != 1 or target.path not in str(said[0].message):
                bar.failed(f"{name}, byte {at}: step {step}, warnings {[str(w.message) for w in said]}")
            os.pwrite(target.file, target.data[at : at + 1], at)
            cases += 1
    bar.passed(cases, "damaged newest checkpoints: the one before is used, with a warning")


class Same:
    """What equals everything: a hash that is not looked at."""

    def __ne__(self, other: object) -> bool:
        return False


def controls(bar: Bar, directory: str) -> None:
    """Without the hashes of tensors, or of files, damage must pass."""
    for name, function in (("model.safetensors", "_hash"), ("config.toml", "_describe")):
        with mock.patch.object(checkpoint, function, lambda *args: Same()):
            _, problems = Target(directory, name).flips(0, 8 * bar.share, bar.seed)
        if any("not noticed" in problem for problem in problems):
            bar.passed(1, f"control: without hashes damage of {name} passes")
        else:
            bar.failed(f"without hashes no damage of {name} passes: this test sees nothing")


def test(bar: Bar) -> None:
    prepare()
    with fast_folder() as root:
        small, store = Small(), Store(root, keep_last=2)
        one, two = small.save(store, 1), small.save(store, 2)
        spare = shutil.copytree(two, os.path.join(root, "spare"))
        size = sum(os.path.getsize(os.path.join(two, name)) for name in os.listdir(two))
        print(f"  a checkpoint of {size:,} bytes in {len(os.listdir(two))} files")
        bytes_and_lengths(bar, spare)
        blocks(bar, spare)
        other_files(bar, spare, one)
        goes_back(bar, store)
        controls(bar, spare)


if __name__ == "__main__":
    run_bar("S4", test)
