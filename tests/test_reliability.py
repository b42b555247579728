"""A fifth of the bars of files and texts: kill, power, I/O errors, corruption, hostile bytes, no code from data.

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
    ("script", "share"),  # the longest first: the others run beside it
    [
        ("s08_hostile_text", 5),
        ("s07_hostile_files", 5),
        ("s05_fuzz", 5),
        ("s01_kill", 5),
        ("s02_power", 5),
        ("s03_io_errors", 5),
        ("s04_corruption", 5),
        ("s06_no_code", 1),
    ],
)
def test_a_bar_of_files_and_texts(script, share):
    command = [sys.executable, str(SCRIPTS / f"{script}.py"), "--share", str(share)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stdout + done.stderr
    assert ": passed" in done.stdout.splitlines()[-1]
