"""Where arithmetic happens: one interface of flat functions, implemented by `cpu` (C) and `reference` (NumPy).

Ops call `backend.matmul(...)` through this module: the functions of the backend in use stand in its globals, and `use`
exchanges them. The first call settles on the compiled kernels where they exist, else on NumPy with one warning;
`TINYLLM_BACKEND=cpu|reference`, `TINYLLM_ISA` and `TINYLLM_NUM_THREADS` decide from outside. `reference` says what each
function computes.
"""

from __future__ import annotations

import functools
import importlib
import os
import warnings
from types import TracebackType
from typing import TYPE_CHECKING, Any

from tinyllm.errors import ConfigError

if TYPE_CHECKING:
    from tinyllm.backend.reference import *  # noqa: F403

BACKENDS = ("cpu", "reference")

_current: str | None = None


class _Use:
    """The result of `use`: nothing to do after a plain call; as a context manager it puts back what was before."""

    def __init__(self, before: str | None) -> None:
        self._before = before

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _install(self._before or _default())


@functools.cache
def why_not_compiled() -> str:
    """Why the C kernels cannot run and what to do about it, as half a sentence; "" where they can."""
    library = "tinyllm.backend._kernels"
    try:
        importlib.import_module(library)
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and error.name == library:
            return (
                "the C kernels of tinyllm are not built: install a C compiler and reinstall with `pip install -v .` "
                "to see why"
            )
        return f"the C kernels of tinyllm are built but cannot be loaded ({error}): reinstall tinyllm on this machine"
    return ""


def compiled() -> bool:
    """Whether the C kernels were built and can be loaded."""
    return not why_not_compiled()


def current() -> str:
    """The backend in use: "cpu" or "reference"."""
    if _current is None:
        _install(_default())
    assert _current is not None
    return _current


def use(name: str) -> _Use:
    """Run on backend `name` from now on, or only inside `with use(name):`. ConfigError if it cannot run."""
    before = _current
    _install(name)
    return _Use(before)


def isa() -> str:
    """The instruction set of the C kernels: "generic", "neon", "avx2" or "avx512"; "none" where they were not built."""
    return _library().ffi.string(_library().lib.tl_isa()).decode() if compiled() else "none"


def available_isas() -> tuple[str, ...]:
    """Instruction sets that this machine runs, narrowest first."""
    return _library().ISAS if compiled() else ()


def use_isa(name: str) -> None:
    """Switch the C kernels to instruction set `name`. Raises ConfigError where this machine lacks it."""
    if not compiled():
        raise ConfigError(why_not_compiled())
    _library().use_isa(name)


def num_threads() -> int:
    """Threads that the kernels use, the calling one included."""
    return _library().lib.tl_num_threads() if compiled() else 1


def set_num_threads(n: int) -> None:
    """Use n threads from now on. Results don't depend on it."""
    if n < 1:
        raise ConfigError(f"number of threads: expected at least 1, got {n}")
    if compiled():
        _library().lib.tl_set_num_threads(n)


def _library() -> Any:
    return importlib.import_module("tinyllm.backend._call")


def _default() -> str:
    chosen = os.environ.get("TINYLLM_BACKEND")
    if chosen:
        return chosen
    if compiled():
        return "cpu"
    warnings.warn(f"{why_not_compiled()}; running on NumPy, which is many times slower", RuntimeWarning, stacklevel=4)
    return "reference"


def _install(name: str) -> None:
    global _current
    if name not in BACKENDS:
        raise ConfigError(f"backend: expected one of {', '.join(BACKENDS)}, got {name!r}")
    if name == "cpu" and not compiled():
        raise ConfigError(f"backend 'cpu': {why_not_compiled()}")
    module = importlib.import_module(f"tinyllm.backend.{name}")
    globals().update({function: getattr(module, function) for function in module.__all__})
    _current = name


def __getattr__(name: str) -> Any:
    """Settle on a backend when the first of its functions is asked for."""
    if name == "memory":
        return importlib.import_module("tinyllm.backend.memory")
    if _current is None and name in importlib.import_module("tinyllm.backend.reference").__all__:
        _install(_default())
        return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
