"""The training loop and what it leaves behind: logs, curves, checkpoints.

    from tinyllm import config
    from tinyllm.training import train

    result = train(config.preset("cpu"))

Names are imported at first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .checkpoint import Checkpoint
    from .loop import Runtime, Trainer, evaluate, learning_rate
    from .run import Result, train
    from .store import Store, load_model

_WHERE = {
    "Checkpoint": "checkpoint",
    "Store": "store",
    "load_model": "store",
    "Runtime": "loop",
    "Trainer": "loop",
    "evaluate": "loop",
    "learning_rate": "loop",
    "Result": "run",
    "train": "run",
}
__all__ = ["Checkpoint", "Result", "Runtime", "Store", "Trainer", "evaluate", "learning_rate", "load_model", "train"]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
    globals()[name] = value
    return value
