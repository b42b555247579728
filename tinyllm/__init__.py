"""tinyllm: a complete engine for training and running language models in NumPy and C.

Importing it does nothing: names are looked up when they are first used, so `import tinyllm` loads neither NumPy nor the
kernels. Which names there are is written down where they are defined, in the `__all__` of the modules below.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._version import __version__ as __version__

if TYPE_CHECKING:  # what the lookup below finds, for type checkers and editors
    from ._tensor import *  # noqa: F403
    from .autograd import *  # noqa: F403
    from .creation import *  # noqa: F403
    from .dtypes import *  # noqa: F403
    from .errors import *  # noqa: F403
    from .functions import *  # noqa: F403
    from .random import *  # noqa: F403

_PACKAGES = (
    "autograd",
    "backend",
    "config",
    "data",
    "errors",
    "formats",
    "generation",
    "models",
    "nn",
    "op",
    "ops",
    "optim",
    "random",
    "tokenizers",
    "training",
)
_NAMES_IN = ("errors", "random", "dtypes", "_tensor", "functions", "creation", "autograd")


def _home(name: str) -> str | None:
    """The module that `tinyllm.<name>` is found in; None for packages and unknown names."""
    if name in _PACKAGES or name.startswith("_"):
        return None
    return next((home for home in _NAMES_IN if name in import_module(f".{home}", __name__).__all__), None)


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return import_module(f".{name}", __name__)
    home = _home(name)
    if home is None:
        raise AttributeError(f"module 'tinyllm' has no attribute {name!r}")
    globals()[name] = value = getattr(import_module(f".{home}", __name__), name)
    return value


def __dir__() -> list[str]:
    names = {name for home in _NAMES_IN for name in import_module(f".{home}", __name__).__all__}
    return sorted({*names, *_PACKAGES, "__version__"})
