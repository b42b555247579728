"""Where each kind of stage is defined: its name, which is its "type" in tokenizer.json, to the module that has it.

A package of stages says so in one table, and imports a module when a name of it is first asked for (a module with a
dot before it lies beside the package):

    STAGES = {"NFC": "unicode", "Lowercase": "case"}
    __getattr__ = lazy(__name__, STAGES)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy(package: str, where: Mapping[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` of a package whose names lie in the modules that `where` says."""

    def find(name: str) -> Any:
        if name not in where:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f".{where[name]}", package), name)

    return find
