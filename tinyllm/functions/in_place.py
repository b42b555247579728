"""Methods of Tensor that write in place. A write is never recorded: it raises where a gradient would go through it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import backend
from ..autograd import Variable, is_grad_enabled
from ..errors import DtypeError
from .elementwise import add, clamp, div, masked_fill, mul, sub

if TYPE_CHECKING:
    from .._tensor import Tensor

_INTS = (int, np.integer)


def _check_writable(self: Tensor, what: str) -> None:
    """Note a write to `self`; raises where a gradient would be lost."""
    if is_grad_enabled() and self.requires_grad:
        raise RuntimeError(
            f"{what} writes in place, which is not recorded: use no_grad(), or make a new tensor (where, scatter)"
        )
    self.written()


def setitem(self: Tensor, key: Any, value: Any) -> None:
    _check_writable(self, "item assignment")
    plain = tuple(k.array if isinstance(k, Variable) else k for k in (key if isinstance(key, tuple) else (key,)))
    new = value.array if isinstance(value, Variable) else value
    basic = (k is None or k is Ellipsis or isinstance(k, slice) or type(k) in _INTS for k in plain)
    if all(basic):
        view = self.array[plain if Ellipsis in plain else (*plain, ...)]
        new = np.asarray(new, self.dtype)
        while new.ndim > view.ndim and new.shape[0] == 1:
            new = new[0]
        backend.assign(view, np.broadcast_to(new, view.shape))
    else:
        self.array[plain] = new  # scattered places: index arithmetic


def copy_(self: Tensor, src: Any) -> Tensor:
    """Overwrite with the elements of `src` (broadcast), in place."""
    _check_writable(self, "copy_")
    new = src.array if isinstance(src, Variable) else np.asarray(src)
    backend.assign(
        self.array, np.broadcast_to(new if new.dtype == self.dtype else backend.copy(new, self.dtype), self.shape)
    )
    return self


def _in_place(self: Tensor, function: Callable, *args: Any) -> Tensor:
    """`function(self, *args)` written into self, as PyTorch's methods with an underscore."""
    if _is_recorded(self, *args):
        raise RuntimeError(
            f"{function.__name__}_ writes in place, which is not recorded: use x = {function.__name__}(x, ...), "
            "or no_grad()"
        )
    new = function(self, *args)
    if new.shape != self.shape or "bif".index(new.dtype.kind) > "bif".index(self.dtype.kind):
        raise DtypeError(
            f"in place: a result of shape {new.shape} and dtype {new.dtype} cannot be stored in a tensor of shape "
            f"{self.shape} and dtype {self.dtype}; write x = x + y instead"
        )
    return copy_(self, new)


def _is_recorded(self: Tensor, *args: Any) -> bool:
    return is_grad_enabled() and any(isinstance(t, Variable) and t.requires_grad for t in (self, *args))


def _augmented(self: Tensor, function: Callable, other: Any) -> Tensor:
    """x += y: in place, or where a gradient is recorded and x is not a leaf a new tensor under the old name."""
    if _is_recorded(self, other) and not (self.requires_grad and self.node is None):
        return function(self, other)
    return _in_place(self, function, other)


def add_(self: Tensor, other: Any, *, alpha: float = 1) -> Tensor:
    """self + alpha * other, in place."""
    return _in_place(self, add, other if alpha == 1 else mul(other, alpha))


def sub_(self: Tensor, other: Any, *, alpha: float = 1) -> Tensor:
    """self - alpha * other, in place."""
    return _in_place(self, sub, other if alpha == 1 else mul(other, alpha))


def mul_(self: Tensor, other: Any) -> Tensor:
    """self * other, in place."""
    return _in_place(self, mul, other)


def div_(self: Tensor, other: Any) -> Tensor:
    """self / other, in place."""
    return _in_place(self, div, other)


def clamp_(self: Tensor, min: float | None = None, max: float | None = None) -> Tensor:
    """Limit to [min, max], in place."""
    return _in_place(self, clamp, min, max)


def masked_fill_(self: Tensor, mask: Tensor, value: Any) -> Tensor:
    """Write `value` where mask."""
    return _in_place(self, masked_fill, mask, value)


def iadd(self: Tensor, other: Any) -> Tensor:
    return _augmented(self, add, other)


def isub(self: Tensor, other: Any) -> Tensor:
    return _augmented(self, sub, other)


def imul(self: Tensor, other: Any) -> Tensor:
    return _augmented(self, mul, other)


def itruediv(self: Tensor, other: Any) -> Tensor:
    return _augmented(self, div, other)


def fill_(self: Tensor, value: Any) -> Tensor:
    """Overwrite every element with one number, in place."""
    return copy_(self, np.asarray(value, self.dtype))


def zero_(self: Tensor) -> Tensor:
    """Overwrite with zeros, in place."""
    return fill_(self, 0)
