"""`exact`: evaluate a formula in float64 and round the result once to the dtype that came in."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import numpy as np

P = ParamSpec("P")
R = TypeVar("R")


def exact(formula: Callable[P, R]) -> Callable[P, R]:
    """Give `formula` its float32 arrays as float64, silence floating-point warnings, and round what it
    returns.

    Results become C-contiguous arrays (0-d ones included: NumPy returns scalars there). Where any input was
    float32, float64 results are rounded to float32; results of other dtypes (indices, booleans) keep theirs.
    """

    @functools.wraps(formula)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        single = any(_is_single(value) for value in (*args, *kwargs.values()))
        with np.errstate(all="ignore"):
            result: Any = formula(
                *(_widen(value) for value in args),
                **{name: _widen(value) for name, value in kwargs.items()},
            )
            if isinstance(result, tuple):
                rounded: Any = tuple(_round(value, single) for value in result)
            else:
                rounded = _round(result, single)
        return rounded

    return call


def _is_single(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype == np.float32


def _widen(value: Any) -> Any:
    return value.astype(np.float64) if _is_single(value) else value


def _round(value: Any, single: bool) -> Any:
    if value is None:
        return None
    array = np.asarray(value)
    dtype = np.dtype(np.float32) if single and array.dtype == np.float64 else array.dtype
    return np.asarray(array, dtype=dtype, order="C")
