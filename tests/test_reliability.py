"""A fifth of the reliability bars of files: kill, power, I/O errors, corruption, hostile files, no code from data.

The scripts of tests/reliability are run as they are, with a share of their cases, in processes of their own: they kill,
fork and limit memory.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parent / "reliability"


@pytest.mark.parametrize(
    ("script", "share"),
    [
        ("s01_kill", 5),
        ("s02_power", 5),
        ("s03_io_errors", 5),
        ("s04_corruption", 5),
        ("s05_fuzz", 20),
        ("s06_no_code", 1),
        ("s07_hostile_files", 40),
        ("s08_hostile_text", 40),
    ],
)
def test_a_bar_of_files(script, share):
    command = [sys.executable, str(SCRIPTS / f"{script}.py"), "--share", str(share)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stdout + done.stderr
    assert ": passed" in done.stdout.splitlines()[-1]
