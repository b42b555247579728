"""Parameter: a leaf tensor that requires grad and knows its name and how its first numbers were made.

A parameter can exist before its numbers do: `Parameter.empty` has a shape and a dtype and no storage (one
NaN, seen through strides of zero), until an `nn.init` function or a checkpoint fills it. Counting the
parameters of GPT-2 XL therefore costs no memory, and using a parameter that nobody filled gives NaN instead
of whatever was in memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import backend
from .._tensor import Tensor
from ..autograd import no_grad

if TYPE_CHECKING:
    from .init import Rule


class Parameter(Tensor):
    """A tensor that a `Module` lists among its parameters (torch.nn.Parameter).

    `name` is the dotted path from the outermost module that holds it; `rule` says how its first numbers
    were drawn (`nn.init.Rule`), so that any slice of them can be made again; it is None for a parameter
    that `nn.init` did not fill.
    """

    name: str
    rule: Rule | None

    def __init__(self, data: Any, requires_grad: bool = True):
        array = data.array if isinstance(data, Tensor) else np.asarray(data)
        if requires_grad and array.dtype.kind != "f":
            raise RuntimeError(
                f"only floating point parameters can require gradients, got {array.dtype}; pass requires_grad=False"
            )
        super().__init__(backend.memory.retag(array, "parameter"), requires_grad)
        self.name, self.rule = "", None

    @classmethod
    def empty(cls, *shape: int, dtype: Any = np.float32) -> Parameter:
        """A parameter without storage, to be filled by an `nn.init` function."""
        if any(s < 0 for s in shape):
            raise ValueError(f"a parameter's sizes must not be negative, got {shape}")
        return cls(Tensor(np.broadcast_to(np.full((), np.nan, dtype), shape)))

    @property
    def deferred(self) -> bool:
        """Whether the parameter has no storage of its own yet."""
        return not self.array.flags.writeable and not any(self.array.strides)

    def materialize(self) -> Parameter:
        """Give a deferred parameter the numbers that its rule describes; a no-op for one that has them."""
        if self.deferred and self.rule is not None:
            self.array = backend.memory.retag(self.rule.make(dtype=self.array.dtype), "parameter")
        return self

    def assign(self, values: Tensor) -> None:
        """Overwrite the numbers in place (or, when there are none yet, take a copy), converting to the
        parameter's dtype.
        """
        assert values.array.shape == self.array.shape
        if self.deferred:
            self.array = backend.memory.retag(backend.copy(values.array, self.array.dtype), "parameter")
        else:
            with no_grad():
                self[...] = values

    def __deepcopy__(self, memo: dict) -> Parameter:
        new = Parameter(Tensor(self.array if self.deferred else backend.copy(self.array)), self.requires_grad)
        new.name, new.rule = self.name, self.rule
        memo[id(self)] = new
        return new

    def __repr__(self) -> str:
        if self.deferred:
            return f"Parameter containing:\n(no values yet: {tuple(self.array.shape)}, {self.array.dtype})"
        return f"Parameter containing:\n{super().__repr__()}"
