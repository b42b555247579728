"""The list of planted defects (defects.py) fits the code: each would change exactly one place."""

from __future__ import annotations

import pytest
from defects import DEFECTS, ROOT


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda d: d.what)
def test_defect_can_be_planted(defect):
    assert (ROOT / defect.file).read_text().count(defect.old) == 1
    assert defect.new != defect.old and all((ROOT / "tests" / name).exists() for name in defect.first.split())
