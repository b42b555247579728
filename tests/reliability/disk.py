"""A model of a disk that loses power: what may be there after a crash, given the system calls made before it.

`Disk.record` logs every call that `_io` makes. A change of a file's bytes is certain once that file was fsynced, a
change of a name once its directory was; until then each may be there or not, whatever the order, and bytes may also
be there in half or as zeros. That is less than file systems promise. A rename is there or not, never in half.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from unittest import mock

from tinyllm import _io

Tree = dict[str, bytes | None]
"""Files by path relative to the root, with their bytes; directories with None."""


@dataclass(frozen=True)
class Change:
    """What one call changed in an inode: bytes (offset, data) or the size of a file, or names of a directory."""

    inode: int
    data: tuple[int, bytes] | None = None
    size: int | None = None
    names: tuple[tuple[str, int | None], ...] = ()

    @property
    def outcomes(self) -> int:
        """How many ways there are for it to be found: not at all, done, and for bytes as zeros or in half."""
        return 4 if self.data is not None and len(self.data[1]) > 1 else 2


NOT, DONE, ZEROS, HALF = range(4)


class Dead(BaseException):
    """There is no process any more."""


class Disk:
    """A directory `root` and the log of what was done to it. `ignored`: fsyncs of these do nothing ("file",
    "directory"): what a program without them would leave.
    """

    def __init__(self, root: str, ignored: str = "") -> None:
        self.root, self.ignored = root, ignored
        self.log: list[Change | int] = []
        """Changes, and the inode of each fsync."""
        self.paths = {root: 0}
        self.folders: dict[int, dict[str, int]] = {0: {}}
        self.files: dict[int, bytes] = {}
        self.sizes: dict[int, int] = {}
        self.open: dict[int, int] = {}
        for path, names, files in os.walk(root):
            for name in names:
                self._made(os.path.join(path, name), True)
                self.folders[self.paths[path]][name] = self.paths[os.path.join(path, name)]
            for name in files:
                inode = self._made(os.path.join(path, name), False)
                with open(os.path.join(path, name), "rb") as file:
                    self.files[inode] = file.read()
                self.sizes[inode] = len(self.files[inode])
                self.folders[self.paths[path]][name] = inode

    def _made(self, path: str, folder: bool) -> int:
        inode = self.paths[path] = len(self.folders) + len(self.files)
        if folder:
            self.folders[inode] = {}
        else:
            self.files[inode], self.sizes[inode] = b"", 0
        return inode

    # --- recording ---

    @contextlib.contextmanager
    def record(self, stop_at: int | None = None) -> Iterator[None]:
        """Log the calls within. Once the log has `stop_at` entries the process is dead: every call raises Dead."""
        real, unlink = _io._call, os.unlink

        def dead() -> bool:
            return stop_at is not None and len(self.log) >= stop_at

        def call(name: str, path: str, function: Callable[..., Any], *args: Any) -> Any:
            if dead():
                if name == "close":  # the system does that
                    function(*args)
                raise Dead
            fresh = name == "open" and not os.path.exists(args[0])
            result = real(name, path, function, *args)
            self._note(name, fresh, result, *args)
            return result

        def tidy(path: str) -> None:
            """Whoever is dead does not delete its temporary files on the way out."""
            if not dead():
                unlink(path)

        with mock.patch.object(_io, "_call", call), mock.patch.object(os, "unlink", tidy):
            with contextlib.suppress(Dead):
                yield

    def _note(self, name: str, fresh: bool, result: Any, *args: Any) -> None:
        match name:
            case "open":
                if fresh:
                    self._made(args[0], False)
                    self._name(args[0], self.paths[args[0]])
                self.open[result] = self.paths[args[0]]
            case "write":
                inode = self.open[args[0]]
                offset = args[2] if len(args) > 2 else self.sizes[inode]
                self.log.append(Change(inode, data=(offset, bytes(args[1][:result]))))
                self.sizes[inode] = max(self.sizes[inode], offset + result)
            case "truncate":
                self.log.append(Change(self.open[args[0]], size=args[1]))
                self.sizes[self.open[args[0]]] = args[1]
            case "fsync":
                inode = self.open[args[0]]
                if self.ignored != ("directory" if inode in self.folders else "file"):
                    self.log.append(inode)
            case "mkdir":
                self._made(args[0], True)
                self._name(args[0], self.paths[args[0]])
            case "unlink" | "rmdir":
                self._name(args[0], None)
            case "rename":
                old, new = args
                inode = self.paths.pop(old)
                folder = self.paths[os.path.dirname(old)]
                changes = ((os.path.basename(old), None), (os.path.basename(new), inode))
                self.paths[new] = inode
                self.log.append(Change(folder, names=changes))

    def _name(self, path: str, inode: int | None) -> None:
        folder, name = os.path.split(path)
        self.log.append(Change(self.paths[folder], names=((name, inode),)))
        if inode is None:
            del self.paths[path]

    def folders_made(self) -> list[int]:
        """The places of the log behind each new directory."""
        names = [(n, x.names) for n, x in enumerate(self.log, 1) if isinstance(x, Change)]
        return [n for n, changes in names if any(inode in self.folders for _, inode in changes)]

    # --- what may be found ---

    def crashes(self, end: int, limit: int, draw: random.Random) -> Iterator[Tree]:
        """States after a crash when `log[:end]` had been done: all of them, or, where there are more than `limit`, as
        many: those in which at most one change is there or at most one is missing, and a random choice of others.
        """
        log = self.log[:end]
        changes = [(n, x) for n, x in enumerate(log) if isinstance(x, Change)]
        open_ = [n for n, x in changes if x.inode not in log[n:]]
        ways = [log[n].outcomes for n in open_]  # type: ignore[union-attr]
        if math.prod(ways) <= limit:
            choices: Iterator[tuple[int, ...]] = itertools.product(*map(range, ways))
        else:
            n = len(ways)
            few = [(NOT,) * n, (DONE,) * n]
            few += [(a,) * i + (b,) + (a,) * (n - i - 1) for i in range(n) for a, b in ((DONE, NOT), (NOT, DONE))]
            drawn = (tuple(draw.randrange(k) for k in ways) for _ in range(limit))
            choices = itertools.islice(itertools.chain(few, drawn), limit)
        for choice in choices:
            found = dict(zip(open_, choice, strict=True))
            yield self._state([(x, found.get(n, DONE)) for n, x in changes])

    def _state(self, changes: list[tuple[Change, int]]) -> Tree:
        folders = {inode: dict(names) for inode, names in self.folders.items()}
        files: dict[int, bytearray] = {}
        for change, how in changes:
            if how == NOT:
                continue
            for name, inode in change.names:
                if inode is None:
                    folders[change.inode].pop(name, None)
                else:
                    folders[change.inode][name] = inode
            if change.data is None and change.size is None:
                continue
            content = files.setdefault(change.inode, bytearray(self.files[change.inode]))
            if change.size is not None:
                del content[change.size :]
                continue
            offset, data = change.data  # type: ignore[misc]
            if how != DONE:
                data = bytes(len(data)) if how == ZEROS else data[: len(data) // 2]
            content.extend(bytes(max(0, offset - len(content))))  # a hole reads as zeros
            content[offset : offset + len(data)] = data
        tree: Tree = {}

        def walk(inode: int, path: str) -> None:
            for name, child in folders[inode].items():
                below = os.path.join(path, name)
                if child in folders:
                    tree[below] = None
                    walk(child, below)
                else:
                    tree[below] = bytes(files.get(child, self.files[child]))

        walk(0, "")
        return tree


class Mirror:
    """A directory that shows one tree after another, and writes only what is different."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.shown: Tree = {}

    def show(self, tree: Tree) -> None:
        for path in sorted(self.shown.keys() - tree.keys(), reverse=True):
            whole = os.path.join(self.root, path)
            os.rmdir(whole) if self.shown[path] is None else os.unlink(whole)
        for path, content in tree.items():  # parents come first
            whole = os.path.join(self.root, path)
            if path in self.shown and self.shown[path] == content:
                continue
            if content is None:
                os.mkdir(whole)
            else:
                with open(whole, "wb") as file:
                    file.write(content)
        self.shown = tree
