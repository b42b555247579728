"""What a check found, as a line of a table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Verdict(NamedTuple):
    """One comparison: what was done, whether the outcome is what it should be, and what was found."""

    what: str
    good: bool
    found: str


def table(verdicts: Iterable[Verdict]) -> str:
    """One line each: ok or FAIL, what, found."""
    rows = list(verdicts)
    width = max((len(row.what) for row in rows), default=0)
    return "\n".join(f"{'ok  ' if row.good else 'FAIL'}  {row.what:<{width}}  {row.found}" for row in rows)
