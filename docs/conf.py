"""Sphinx + MyST. Docstrings are shown as they are written: formulas and tables of shapes keep their columns."""

from __future__ import annotations

from typing import Any

from tinyllm import __version__

project = "tinyllm"
author = "The tinyllm authors"
copyright = "2026, The tinyllm authors"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
html_theme = "alabaster"
html_theme_options = {"description": "Language models in NumPy and C", "page_width": "60em", "fixed_sidebar": True}
nitpicky = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"


def as_written(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """A docstring is plain text, not reST: show it as a literal block."""
    text = list(lines)
    lines[:] = ["::", "", *(f"    {line}" for line in text), ""] if any(text) else []


def setup(app: Any) -> None:
    """Register the hook above."""
    app.connect("autodoc-process-docstring", as_written)
