"""Matrix and vector products."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .. import ops
from ..autograd import apply
from ..errors import ShapeError
from .elementwise import mul
from .shape import unsqueeze

if TYPE_CHECKING:
    from .._tensor import Tensor

__all__ = [
    "bmm",
    "dot",
    "matmul",
    "mm",
    "mv",
    "outer",
]


# -----------------


def matmul(input: Tensor, other: Tensor) -> Tensor:
    """Product of the last two axes, the others broadcast; a tensor of one axis is a row (left) or a column (right)."""
    return apply(ops.Matmul, input, other)


def _product(name: str, a_dims: int, b_dims: int) -> Callable[[Tensor, Tensor], Tensor]:
    def function(input: Tensor, other: Tensor) -> Tensor:
        if (input.array.ndim, other.array.ndim) != (a_dims, b_dims):
            raise ShapeError(
                f"{name}: expected {a_dims} and {b_dims} axes, got shapes {input.array.shape} and {other.array.shape}"
            )
        return matmul(input, other)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"`matmul` of tensors with {a_dims} and {b_dims} axes only."
    return function


mm, mv, bmm, dot = _product("mm", 2, 2), _product("mv", 2, 1), _product("bmm", 3, 3), _product("dot", 1, 1)


def outer(input: Tensor, other: Tensor) -> Tensor:
    """Every product of an element of one with an element of the other, both of one axis."""
    return mul(unsqueeze(input, 1), other)
