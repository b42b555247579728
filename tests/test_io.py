"""`_io`: whole files or none, whole lines or none, whatever system call fails."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyllm import _io


def fail_at(n: int, code: int, forever: bool = False):
    """A fault hook under which the n-th system call (1-based), and with `forever` every later one, fails."""
    calls: list[str] = []

    def hook(name: str, path: str) -> None:
        calls.append(name)
        if len(calls) == n or (forever and len(calls) > n):
            raise OSError(code, os.strerror(code))

    return hook, calls


@given(st.lists(st.binary(max_size=300), max_size=4))
@settings(max_examples=30)
def test_write_atomic_writes_all_chunks(tmp_path_factory, chunks):
    path = tmp_path_factory.mktemp("io") / "file"
    _io.write_atomic(path, chunks)
    assert path.read_bytes() == b"".join(chunks)
    _io.write_atomic(path, b"other")
    assert path.read_bytes() == b"other"
    assert [p.name for p in path.parent.iterdir()] == ["file"]


def test_text_is_utf8_and_strided_buffers_are_refused(tmp_path):
    _io.write_atomic(tmp_path / "text", "na\u00efve \u20ac")
    assert (tmp_path / "text").read_text(encoding="utf-8") == "na\u00efve \u20ac"
    with pytest.raises((TypeError, ValueError)):
        _io.write_atomic(tmp_path / "text", memoryview(bytes(10))[::2])
    assert (tmp_path / "text").read_text(encoding="utf-8") == "na\u00efve \u20ac"


def test_the_order_of_calls_makes_it_durable(tmp_path):
    hook, calls = fail_at(10**9, 0)
    with _io.inject(hook):
        _io.write_atomic(tmp_path / "a", b"x")
    assert calls == ["open", "write", "fsync", "close", "rename", "open", "fsync"]


@pytest.mark.parametrize("forever", [False, True])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_every_failing_call_leaves_old_or_new_and_no_temporary_file(tmp_path, code, forever):
    path = tmp_path / "file"
    for n in range(1, 20):
        _io.write_atomic(path, b"old")
        hook, calls = fail_at(n, code, forever)
        try:
            with _io.inject(hook):
                _io.write_atomic(path, [b"ne", b"w"])
        except OSError as error:
            assert error.errno == code
            assert str(tmp_path) in str(error)
            # Before the rename: the old file. After it (only the directory's fsync failed): the new one.
            assert path.read_bytes() == (b"new" if "rename" in calls[: n - 1] else b"old")
        else:
            break
        assert [p.name for p in tmp_path.iterdir()] == ["file"]
    else:
        pytest.fail("write_atomic makes more than 20 system calls")
    assert n == 9  # eight calls: each of them was made to fail


def test_an_exception_inside_keeps_the_old_file(tmp_path):
    path = tmp_path / "file"
    _io.write_atomic(path, b"old")
    with pytest.raises(KeyboardInterrupt), _io.AtomicFile(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_short_writes_are_continued(tmp_path, monkeypatch):
    write, pwrite = os.write, os.pwrite
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[: max(1, len(data) // 3)]))
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: pwrite(fd, data[:1], at))
    with _io.AtomicFile(tmp_path / "file") as file:
        file.write(bytes(range(256)))
        file.rewrite(b"abc", 2)
    assert (tmp_path / "file").read_bytes() == b"\0\1abc" + bytes(range(5, 256))


def test_a_real_full_disk_names_the_path():
    with pytest.raises(OSError) as error, _io.LineWriter("/dev/full") as log:
        log.write("x")
    assert error.value.errno == errno.ENOSPC
    assert "/dev/full" in str(error.value)


def test_missing_directory_and_symbolic_link(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"):
        _io.write_atomic(tmp_path / "absent" / "file", b"")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    _io.write_atomic(tmp_path / "link", b"x")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"x"


def test_new_files_follow_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        _io.write_atomic(tmp_path / "file", b"")
    finally:
        os.umask(old)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


def test_lines_are_appended_one_write_each(tmp_path):
    hook, calls = fail_at(10**9, 0)
    with _io.inject(hook), _io.LineWriter(tmp_path / "log") as log:
        for i in range(3):
            log.write(f"line {i}")
    assert calls == ["open", "open", "fsync", "write", "write", "write", "close"]  # the name is durable, too
    with _io.LineWriter(tmp_path / "log") as log:
        log.write("again")
        with pytest.raises(ValueError, match="one line"):
            log.write("a\nb")
    assert (tmp_path / "log").read_text() == "line 0\nline 1\nline 2\nagain\n"
    with _io.LineWriter(tmp_path / "log", keep=7) as log:
        assert log.size == 7
        log.write("one")
    assert (tmp_path / "log").read_text() == "line 0\none\n"
    with pytest.raises(ValueError, match="has 11 bytes, expected 12 or more"):
        _io.LineWriter(tmp_path / "log", keep=12)
    with _io.LineWriter(tmp_path / "log", keep=0):
        pass
    assert (tmp_path / "log").read_text() == ""


def test_a_line_cut_short_is_undone(tmp_path, monkeypatch):
    write = os.write
    with _io.LineWriter(tmp_path / "log") as log:
        log.write("whole")
        monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:3]))
        with pytest.raises(OSError, match="wrote 3 of 5"):
            log.write("torn")
    assert (tmp_path / "log").read_text() == "whole\n"


def test_two_processes_never_mix_their_lines(tmp_path):
    code = (
        "import sys\nfrom tinyllm._io import LineWriter\nlog = LineWriter(sys.argv[1])\n"
        "for _ in range(200): log.write(sys.argv[2] * 50)"
    )
    jobs = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "log"), c]) for c in "ab"]
    assert [job.wait() for job in jobs] == [0, 0]
    lines = (tmp_path / "log").read_text().splitlines()
    assert sorted(lines) == ["a" * 50] * 200 + ["b" * 50] * 200


def test_directories(tmp_path):
    _io.make_directory(tmp_path / "a" / "b" / "c")
    _io.make_directory(tmp_path / "a" / "b" / "c")
    assert (tmp_path / "a" / "b" / "c").is_dir()
    _io.write_atomic(tmp_path / "a" / "file", b"")
    with pytest.raises(FileExistsError):
        _io.make_directory(tmp_path / "a" / "file")
    _io.remove(tmp_path / "a" / "file")
    _io.remove(tmp_path / "a" / "file")
    assert not (tmp_path / "a" / "file").exists()


def test_what_killed_processes_left_is_removed_and_nothing_else(tmp_path):
    mine = [".train.tokens.12-0123abcd.tmp", ".a.b.9-ffffffff.tmp"]
    others = ["train.tokens", ".hidden", ".x.tmp", "a.12-0123abcd.tmp"]
    for name in mine + others:
        (tmp_path / name).write_text("")
    _io.remove_leftovers(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(others)
