"""The element types of tensors: NumPy's dtype objects under PyTorch's names. Everything is float32 unless it says
otherwise.
"""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np

from .errors import DtypeError

__all__ = ["bool", "double", "float", "float32", "float64", "int", "int32", "int64", "long"]

float32 = float = np.dtype(np.float32)
float64 = double = np.dtype(np.float64)
int32 = int = np.dtype(np.int32)
int64 = long = np.dtype(np.int64)
bool = np.dtype(builtins.bool)

_ALL = (float32, float64, int32, int64, bool)


def is_known(dtype: np.dtype) -> builtins.bool:
    """Whether tensors can have it."""
    return dtype in _ALL


def as_dtype(dtype: Any) -> np.dtype:
    """`dtype` as a np.dtype; DtypeError unless it is one that tensors can have."""
    found = np.dtype(dtype)
    if not is_known(found):
        raise DtypeError(f"dtype must be one of {', '.join(d.name for d in _ALL)}, got {found.name}")
    return found
