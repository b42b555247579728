"""Which code runs the tokenizers: "c" (the cores _*.pyx, compiled by Cython, one extension module a family) or
"python" (reference/). Both give the same ids.

"c" is the default where it was built. Where it was not, "python" runs, and says so once with a
RuntimeWarning.
"""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from functools import cache
from types import ModuleType

ENGINES = ("c", "python")


@cache
def compiled() -> bool:
    """Whether the "c" engine is there."""
    return importlib.util.find_spec("tinyllm.tokenizers._bpe") is not None


@cache
def core(name: str) -> ModuleType:
    """The compiled core `name`: "bpe" is _bpe.pyx. ImportError where the package was installed without a C compiler."""
    return importlib.import_module(f"tinyllm.tokenizers._{name}")


def choose(engine: str | None) -> str:
    """The engine to run: the one asked for (ValueError if it is not there), else the fastest there is."""
    if engine is None:
        if not compiled():
            warn_once()
        return "c" if compiled() else "python"
    if engine not in ENGINES:
        raise ValueError(f"engine must be one of {', '.join(ENGINES)} or None, not {engine!r}")
    if engine == "c" and not compiled():
        raise ValueError(
            'engine "c" is not there: tinyllm was installed without a C compiler. '
            'Install it again with one, or use "python"'
        )
    return engine


@cache
def warn_once() -> None:
    warnings.warn(
        "tinyllm's tokenizers run in pure Python, many times slower than compiled: "
        "install tinyllm again where a C compiler is available",
        RuntimeWarning,
        stacklevel=4,
    )
