"""What every command needs: a parser of its own, and a file or standard input."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse


def parser(name: str, run: Callable[..., int]) -> argparse.ArgumentParser:
    """The parser of the command `name`, whose help begins with the docstring of `run`."""
    import argparse

    return argparse.ArgumentParser(f"tinyllm {name}", description=run.__doc__, allow_abbrev=False)


def read(path: str | None) -> bytes:
    """A file, whole; None is standard input."""
    if path is None:
        return sys.stdin.buffer.read()
    with open(path, "rb") as file:
        return file.read()
