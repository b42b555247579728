"""The one module that writes files.

Two promises. `write_atomic` (and `AtomicFile` under it): whoever opens the path sees the old content or the
new one, whole, even after a power cut: write to a temporary file beside the target, fsync it, rename, fsync
the directory. `LineWriter`: a line is appended by one `write` call on an O_APPEND descriptor, so that lines
of two writers never mix and a kill leaves no half of one. `ScratchFile` promises only that nothing of it stays.

Every system call that changes the disk goes through `_call`, which asks `fault_hook` first: tests put a
function there that raises the n-th time (a full disk), kills the process, or records the calls. Reading needs
no care and is done where it is needed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO, TypeVar

Path = str | os.PathLike[str]
Buffer = bytes | bytearray | memoryview
T = TypeVar("T")
LEFTOVER = re.compile(r"\..+\.\d+-[0-9a-f]{8}\.tmp")
"""The name of a temporary file."""

# Called before each system call with its name (open write fsync rename close unlink mkdir rmdir truncate lock) and the
# path it is for.
fault_hook: Callable[[str, str], None] | None = None


@contextlib.contextmanager
def inject(hook: Callable[[str, str], None]) -> Iterator[None]:
    """Install `hook` as the fault hook within a `with` block (for tests)."""
    global fault_hook
    previous, fault_hook = fault_hook, hook
    try:
        yield
    finally:
        fault_hook = previous


def _call(name: str, path: str, function: Callable[..., T], *args: Any) -> T:
    """Make one system call. An OSError leaves with the errno it had and the path the caller knows."""
    try:
        if fault_hook is not None:
            fault_hook(name, path)
        return function(*args)
    except OSError as error:
        if error.errno is None or error.filename == path:
            raise
        raise OSError(error.errno, f"{name} failed: {os.strerror(error.errno)}", path) from error


def _close(path: str, fd: int) -> None:
    """Close a descriptor, which is closed whatever is raised: so does the system where it reports an error."""
    try:
        _call("close", path, lambda: None)
    finally:
        os.close(fd)


class AtomicFile:
    """A file that appears at `path` complete, or not at all. Use it as a context manager; an exception inside
    leaves the old file.
    """

    def __init__(self, path: Path):
        self.path = os.path.realpath(path)  # through a symbolic link: replace what it points to, not the link
        folder, name = os.path.split(self.path)
        self._temporary = os.path.join(folder, f".{name}.{os.getpid()}-{os.urandom(4).hex()}.tmp")
        self._fd = -1

    def __enter__(self) -> AtomicFile:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
        self._fd = _call("open", self.path, os.open, self._temporary, flags, 0o666)
        return self

    def write(self, data: Buffer) -> None:
        """Append `data` (all of it: a short write is continued)."""
        left = memoryview(data).cast("B")
        while len(left):
            left = left[_call("write", self.path, os.write, self._fd, left) :]

    def rewrite(self, data: Buffer, offset: int) -> None:
        """Overwrite bytes already written, starting at `offset` (a header that needs a count known only at
        the end).
        """
        left = memoryview(data).cast("B")
        while len(left):
            done = _call("write", self.path, os.pwrite, self._fd, left, offset)
            left, offset = left[done:], offset + done

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        try:
            if error is None:
                _call("fsync", self.path, os.fsync, self._fd)
                fd, self._fd = self._fd, -1
                _close(self.path, fd)
                _call("rename", self.path, os.replace, self._temporary, self.path)
        finally:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._temporary)
        if error is None:
            sync_directory(os.path.dirname(self.path))


def write_atomic(path: Path, data: str | Buffer | Iterable[Buffer]) -> None:
    """Replace the content of `path` by `data` (text is written as UTF-8; an iterable of buffers is written
    one after another).

    Raises OSError with the errno and the path; the old file then still stands, and no temporary file is left.
    """
    if isinstance(data, str):
        data = data.encode("utf-8")
    with AtomicFile(path) as file:
        for chunk in (data,) if isinstance(data, bytes | bytearray | memoryview) else data:
            file.write(chunk)


class LineWriter:
    """Appends lines to a text file, one `write` call each.

    Of a file that is there already the first `keep` bytes stay (None: all), and what follows them is cut off. With
    `lock` the file is held until it is closed or the process ends: BlockingIOError if another process holds it.
    """

    def __init__(self, path: Path, keep: int | None = None, lock: bool = False):
        self.path = os.fspath(path)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_CLOEXEC", 0)
        self._fd = _call("open", self.path, os.open, self.path, flags, 0o666)
        try:
            if lock:
                _call("lock", self.path, fcntl.flock, self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not self.size:  # perhaps made just now
                sync_directory(os.path.dirname(os.path.abspath(self.path)))
            if keep is not None and self.size != keep:
                if self.size < keep:
                    raise ValueError(f"{self.path} has {self.size} bytes, expected {keep} or more")
                _call("truncate", self.path, os.ftruncate, self._fd, keep)
        except BaseException:
            os.close(self._fd)
            raise

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return os.fstat(self._fd).st_size

    def write(self, line: str) -> None:
        """Append `line` (without its newline). A write cut short, by a full disk, is undone and raises."""
        if "\n" in line:
            raise ValueError(f"one line at a time, got {line.count(chr(10)) + 1} in {line[:40]!r}")
        data = line.encode("utf-8") + b"\n"
        done = _call("write", self.path, os.write, self._fd, data)
        if done != len(data):
            _call("truncate", self.path, os.ftruncate, self._fd, self.size - done)
            raise OSError(errno.ENOSPC, f"wrote {done} of {len(data)} bytes of a line", self.path)

    def sync(self) -> None:
        """Make what was written survive a power cut."""
        _call("fsync", self.path, os.fsync, self._fd)

    def close(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            _close(self.path, fd)

    def __enter__(self) -> LineWriter:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class ScratchFile:
    """Bytes that memory has no room for: appended, and read back by place. The file has no name where the system allows
    that, lies in the folder for temporary files, and is gone once it is closed or the process ends.
    """

    def __init__(self) -> None:
        import tempfile

        self.path = tempfile.gettempdir()
        self._file: Any = _call("open", self.path, tempfile.TemporaryFile, "w+b", 0)
        self._size = 0

    def append(self, data: Buffer) -> int:
        """Write `data` to the end (all of it: a short write is continued); where it begins."""
        start = self._size
        left = memoryview(data).cast("B")
        while len(left):
            done = _call("write", self.path, os.pwrite, self._file.fileno(), left, self._size)
            left, self._size = left[done:], self._size + done
        return start

    def read(self, offset: int, size: int) -> bytes:
        """The bytes that were appended there."""
        data = os.pread(self._file.fileno(), size, offset)
        while len(data) < size:
            more = os.pread(self._file.fileno(), size - len(data), offset + len(data))
            if not more:
                raise OSError(errno.EIO, f"{size} bytes were written at {offset}, {len(data)} can be read", self.path)
            data += more
        return data

    def close(self) -> None:
        self._file.close()


def locked(path: Path) -> bool:
    """Whether a `LineWriter` with `lock` is open on the file, in whatever process."""
    with open_file(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def open_file(path: Path, follow: bool = True) -> BinaryIO:
    """Open a regular file for reading. Raises OSError for anything else: a pipe would wait for ever, a device never
    end; without `follow`, for a symbolic link, too.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0) | (0 if follow else os.O_NOFOLLOW)
    fd = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
    return os.fdopen(fd, "rb")


def make_directory(path: Path) -> None:
    """Create the directory `path` and its parents. One that exists is made durable all the same: whoever created it may
    have been killed before that.
    """
    path = os.path.abspath(path)
    parent = os.path.dirname(path)
    if not os.path.isdir(parent):
        make_directory(parent)
    try:
        _call("mkdir", path, os.mkdir, path)
    except FileExistsError:
        if not os.path.isdir(path):
            raise
        if not os.access(parent, os.R_OK):  # nor could we have created it
            return
    sync_directory(parent)


def remove(path: Path) -> None:
    """Delete a file; nothing happens if it is absent."""
    path = os.fspath(path)
    with contextlib.suppress(FileNotFoundError):
        _call("unlink", path, os.unlink, path)


def remove_directory(path: Path) -> None:
    """Delete an empty directory; nothing happens if it is absent."""
    path = os.fspath(path)
    with contextlib.suppress(FileNotFoundError):
        _call("rmdir", path, os.rmdir, path)


def remove_leftovers(directory: Path) -> None:
    """Delete what killed processes left of unfinished `AtomicFile`s in a directory that no other process writes to."""
    for name in os.listdir(directory):
        if LEFTOVER.fullmatch(name):
            remove(os.path.join(directory, name))


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable: a rename survives a power cut only after this."""
    path = os.fspath(path)
    fd = _call("open", path, os.open, path, os.O_RDONLY)
    try:
        _call("fsync", path, os.fsync, fd)
    finally:
        os.close(fd)
