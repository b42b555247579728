"""Tensor: an array that remembers how it was computed, with PyTorch's names, arguments and behaviour.

A Tensor holds a NumPy array (`.array`) and, if a gradient can be asked for, a node of the tape. Its methods are the
functions of functions/; this file adds the class and conversions.
"""

from __future__ import annotations

import builtins
import copy
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np

from . import autograd, backend, ops
from . import functions as f
from .autograd import Variable, apply
from .dtypes import as_dtype, float32, float64, int32, int64, is_known
from .errors import DtypeError
from .functions import in_place
from .tape import RemovableHandle

__all__ = ["Tensor", "is_tensor", "tensor"]

# inside the class these names are conversions
_bool: TypeAlias = bool
_int: TypeAlias = int


class Tensor(Variable):
    """A multi-dimensional array with a gradient. Made by `tinyllm.tensor`, by functions, and by operations on other
    tensors.
    """

    def __init__(self, array: np.ndarray, requires_grad: _bool = False):
        if type(array) is not np.ndarray and isinstance(array, (np.generic, np.ndarray)):
            array = np.asarray(array)  # no scalar, and no matrix or other subclass with operators of its own
        if not isinstance(array, np.ndarray) or not is_known(array.dtype):
            came = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
            raise TypeError(f"Tensor wraps a NumPy array of a known dtype, got {came}; use tinyllm.tensor(data)")
        if not array.flags.aligned:
            raise ValueError(f"elements at odd addresses or strides {array.strides}; copy the array first")
        super().__init__(array, requires_grad)

    __array_priority__ = 1000
    __array_ufunc__ = None  # array * tensor asks the tensor
    __hash__ = object.__hash__

    # -- what it is --

    @property
    def shape(self) -> tuple[_int, ...]:
        """Sizes of the axes."""
        return self.array.shape

    @property
    def dtype(self) -> np.dtype:
        """Element type: float32, float64, int32, int64 or bool."""
        return self.array.dtype

    @property
    def ndim(self) -> _int:
        """Number of axes."""
        return self.array.ndim

    @property
    def is_leaf(self) -> _bool:
        """Whether it was made by the user rather than by an op that was recorded."""
        return self.node is None

    @property
    def grad_fn(self) -> autograd.Node | None:
        """The node of the tape that made it, None for a leaf."""
        return self.node

    @property
    def data(self) -> Tensor:
        """The same memory without history."""
        return self.detach()

    @property
    def T(self) -> Tensor:
        """All axes reversed."""
        return f.permute(self, tuple(range(self.ndim))[::-1])

    @property
    def mT(self) -> Tensor:
        """The last two axes exchanged."""
        return f.transpose(self, -2, -1)

    def size(self, dim: _int | None = None) -> Any:
        """The shape, or the size of one axis."""
        return self.shape if dim is None else self.shape[dim]

    def dim(self) -> _int:
        """Number of axes."""
        return self.ndim

    def numel(self) -> _int:
        """Number of elements."""
        return self.array.size

    nelement = numel

    def is_floating_point(self) -> _bool:
        """Whether the dtype is float32 or float64."""
        return self.dtype.kind == "f"

    def stride(self) -> tuple[_int, ...]:
        """Elements (not bytes) between neighbours along each axis."""
        return tuple(s // self.array.itemsize for s in self.array.strides)

    def is_contiguous(self) -> _bool:
        """Whether elements lie in memory in C order without gaps."""
        return self.array.flags.c_contiguous

    # -- out of tinyllm --

    def _plain(self, what: str) -> np.ndarray:
        if self.requires_grad:
            raise RuntimeError(f"{what} on a tensor that requires grad would lose its history; use .detach() first")
        return self.array

    def numpy(self) -> np.ndarray:
        """The same memory as a NumPy array; raises if the tensor requires grad."""
        return self._plain("numpy()")

    def __array__(self, dtype: Any = None, copy: _bool | None = None) -> np.ndarray:
        return np.array(self._plain("conversion to an array"), dtype, copy=copy)

    def __dlpack__(self, **kwargs: Any) -> Any:
        return self._plain("__dlpack__").__dlpack__(**kwargs)

    def __dlpack_device__(self) -> tuple[_int, _int]:
        return self.array.__dlpack_device__()

    def item(self) -> Any:
        """The only element as a Python number."""
        if self.array.size != 1:
            raise RuntimeError(
                f"item: only a tensor of one element can become a number, this one has shape {self.shape}"
            )
        return self.array.item()

    def tolist(self) -> Any:
        """Nested lists of Python numbers."""
        return self.array.tolist()

    def __bool__(self) -> _bool:
        return bool(self.item())

    def __int__(self) -> _int:
        return int(self.item())

    def __float__(self) -> builtins.float:
        return float(self.item())

    def __index__(self) -> _int:
        if self.dtype.kind not in "ib":
            raise TypeError(f"only integer tensors can be an index, got {self.dtype}")
        return int(self.item())

    def __len__(self) -> _int:
        if not self.ndim:
            raise TypeError("a tensor without axes has no len()")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        if not self.ndim:
            raise TypeError("a tensor without axes cannot be iterated over")
        return iter(f.unbind(self))

    def __contains__(self, value: Any) -> _bool:
        return bool((self.array == (value.array if isinstance(value, Tensor) else value)).any())

    def __repr__(self) -> str:
        text = np.array2string(self.array, separator=", ", prefix="tensor(")
        extra = "" if self.dtype in (float32, int64, np.dtype(_bool)) else f", dtype={self.dtype}"
        if self.node is not None:
            return f"tensor({text}{extra}, grad_fn=<{self.node.op.__name__}>)"
        return f"tensor({text}{extra}{', requires_grad=True' if self.requires_grad else ''})"

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec else repr(self)

    def __deepcopy__(self, memo: dict) -> Tensor:
        if self.node is not None:
            raise RuntimeError("only leaf tensors can be deep-copied; detach() the result of an op first")
        new = type(self).__new__(type(self))
        memo[id(self)] = new
        Variable.__init__(new, backend.copy(self.array), self.requires_grad)
        new.grad = copy.deepcopy(self.grad, memo)
        new.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return new

    # -- history --

    def requires_grad_(self, requires_grad: _bool = True) -> Tensor:
        """Ask for gradients of this leaf, or stop asking."""
        if requires_grad and self.dtype.kind != "f":
            raise DtypeError(f"only floating-point tensors can require grad, got {self.dtype}")
        if self.node is not None and not requires_grad:
            raise RuntimeError("requires_grad of the result of an op cannot be turned off; use detach()")
        self.requires_grad = requires_grad
        return self

    def detach(self) -> Tensor:
        """The same memory without history."""
        out = Tensor(self.array)
        out.version = self.version
        return out

    def backward(
        self, gradient: Any = None, retain_graph: _bool | None = None, create_graph: _bool = False, inputs: Any = None
    ) -> None:
        """Add d(self)/d(leaf) to the `.grad` of every leaf, or only of `inputs`; `gradient` (self's shape) is needed
        unless self has one element.
        """
        autograd.backward(self, gradient, retain_graph, create_graph, inputs)

    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> RemovableHandle:
        """Call `hook` with this tensor's complete gradient in each backward; what it returns, if anything, takes its
        place. The handle removes it.
        """
        if not self.requires_grad:
            raise RuntimeError("register_hook: the tensor does not require grad")
        if self.node is None:
            self.hooks = {} if self.hooks is None else self.hooks
            return RemovableHandle(self.hooks, hook)
        self.node.hooks = {} if self.node.hooks is None else self.node.hooks
        return RemovableHandle(self.node.hooks.setdefault(self.index, {}), hook)

    def register_post_accumulate_grad_hook(self, hook: Callable[[Tensor], None]) -> RemovableHandle:
        """Call `hook` with this leaf each time its `.grad` is complete. The handle removes it."""
        if self.node is not None or not self.requires_grad:
            raise RuntimeError(
                "register_post_accumulate_grad_hook: only a leaf that requires grad accumulates a gradient"
            )
        self.accumulate_hooks = {} if self.accumulate_hooks is None else self.accumulate_hooks
        return RemovableHandle(self.accumulate_hooks, hook)

    def retain_grad(self) -> None:
        """Keep the gradient of this result of an op in `.grad` too."""
        if self.node is not None:

            def keep(g: Tensor) -> None:
                self.grad = Tensor(
                    backend.copy(g.array) if self.grad is None else backend.binary("add", self.grad.array, g.array)
                )

            self.register_hook(keep)

    # -- conversions --

    def to(self, dtype: Any) -> Tensor:
        """As another dtype (or that of another tensor); itself if it has it."""
        if isinstance(dtype, Tensor):
            dtype = dtype.dtype
        if isinstance(dtype, str) and dtype == "cpu":  # the only device
            return self
        target = as_dtype(dtype)
        return self if self.dtype == target else apply(ops.Cast, self, dtype=target)

    type = to

    def type_as(self, other: Tensor) -> Tensor:
        """As the dtype of another tensor."""
        return self.to(other.dtype)

    def float(self) -> Tensor:
        """As float32."""
        return self.to(float32)

    def double(self) -> Tensor:
        """As float64."""
        return self.to(float64)

    def long(self) -> Tensor:
        """As int64."""
        return self.to(int64)

    def int(self) -> Tensor:
        """As int32."""
        return self.to(int32)

    def bool(self) -> Tensor:
        """Whether elements are not zero."""
        return self.to(np.dtype(_bool))

    def cpu(self) -> Tensor:
        """Itself: there is one device."""
        return self

    def clone(self) -> Tensor:
        """A copy that gradients pass through."""
        return apply(ops.Cast, self, dtype=self.dtype)

    def contiguous(self) -> Tensor:
        """Itself if it is contiguous, else a copy."""
        return self if self.is_contiguous() else self.clone()

    # -- writing in place --

    copy_, fill_, zero_ = in_place.copy_, in_place.fill_, in_place.zero_
    add_, sub_, mul_, div_ = in_place.add_, in_place.sub_, in_place.mul_, in_place.div_
    clamp_, masked_fill_ = in_place.clamp_, in_place.masked_fill_

    __setitem__ = in_place.setitem
    __iadd__, __isub__, __imul__, __itruediv__ = in_place.iadd, in_place.isub, in_place.imul, in_place.itruediv

    # -- functions as methods --

    neg, abs, sign, square, exp, expm1 = f.neg, f.abs, f.sign, f.square, f.exp, f.expm1
    log, log1p, log2, sqrt, rsqrt, reciprocal, erf = f.log, f.log1p, f.log2, f.sqrt, f.rsqrt, f.reciprocal, f.erf
    sin, cos, tan, asin, acos, atan = f.sin, f.cos, f.tan, f.asin, f.acos, f.atan
    sinh, cosh, tanh, sigmoid, relu = f.sinh, f.cosh, f.tanh, f.sigmoid, f.relu
    floor, ceil, round, trunc = f.floor, f.ceil, f.round, f.trunc
    isnan, isinf, isfinite, logical_not = f.isnan, f.isinf, f.isfinite, f.logical_not
    add, sub, mul, div, pow = f.add, f.sub, f.mul, f.div, f.pow
    maximum, minimum, remainder, fmod, floor_divide, atan2 = (
        f.maximum,
        f.minimum,
        f.remainder,
        f.fmod,
        f.floor_divide,
        f.atan2,
    )
    eq, ne, lt, le, gt, ge = f.eq, f.ne, f.lt, f.le, f.gt, f.ge
    logical_and, logical_or, logical_xor = f.logical_and, f.logical_or, f.logical_xor
    masked_fill, clamp, clip = f.masked_fill, f.clamp, f.clamp
    allclose, isclose, equal = f.allclose, f.isclose, f.equal
    sum, mean, prod, amax, amin, max, min = f.sum, f.mean, f.prod, f.amax, f.amin, f.max, f.min
    argmax, argmin, any, all, var, std, norm = f.argmax, f.argmin, f.any, f.all, f.var, f.std, f.norm
    logsumexp, softmax, log_softmax, cumsum = f.logsumexp, f.softmax, f.log_softmax, f.cumsum
    sort, argsort, topk = f.sort, f.argsort, f.topk
    reshape, view, flatten, unflatten, squeeze, unsqueeze = (
        f.reshape,
        f.view,
        f.flatten,
        f.unflatten,
        f.squeeze,
        f.unsqueeze,
    )
    permute, transpose, swapaxes, movedim, t = f.permute, f.transpose, f.transpose, f.movedim, f.t
    expand, expand_as, broadcast_to, repeat, repeat_interleave = (
        f.expand,
        f.expand_as,
        f.broadcast_to,
        f.repeat,
        f.repeat_interleave,
    )
    split, chunk, unbind, flip, roll, diagonal, tril, triu = (
        f.split,
        f.chunk,
        f.unbind,
        f.flip,
        f.roll,
        f.diagonal,
        f.tril,
        f.triu,
    )
    index_select, gather, scatter, scatter_add, index_add = (
        f.index_select,
        f.gather,
        f.scatter,
        f.scatter_add,
        f.index_add,
    )
    masked_select, nonzero, take_along_dim = f.masked_select, f.nonzero, f.take_along_dim
    matmul, mm, mv, bmm, dot, outer = f.matmul, f.mm, f.mv, f.bmm, f.dot, f.outer

    __getitem__ = f.getitem
    __neg__, __abs__, __invert__ = f.neg, f.abs, f.bitwise_not
    __add__, __sub__, __mul__, __truediv__, __pow__ = f.add, f.sub, f.mul, f.div, f.pow
    __floordiv__, __mod__, __matmul__ = f.floor_divide, f.remainder, f.matmul
    __radd__, __rmul__ = f.add, f.mul
    __eq__, __ne__, __lt__, __le__, __gt__, __ge__ = f.eq, f.ne, f.lt, f.le, f.gt, f.ge  # type: ignore[assignment]
    __and__, __or__, __xor__ = f.bitwise_and, f.bitwise_or, f.bitwise_xor
    __rand__, __ror__, __rxor__ = f.bitwise_and, f.bitwise_or, f.bitwise_xor

    def __rsub__(self, other: Any) -> Tensor:
        return f.sub(other, self)

    def __rtruediv__(self, other: Any) -> Tensor:
        return f.div(other, self)

    def __rpow__(self, other: Any) -> Tensor:
        return f.pow(other, self)

    def __rfloordiv__(self, other: Any) -> Tensor:
        return f.floor_divide(other, self)

    def __rmod__(self, other: Any) -> Tensor:
        return f.remainder(other, self)

    def __rmatmul__(self, other: Any) -> Tensor:
        return f.matmul(tensor(other), self)


def is_tensor(obj: Any) -> bool:
    """Whether it is a Tensor."""
    return isinstance(obj, Tensor)


def tensor(data: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """A new tensor with a copy of `data` (numbers, nested lists, an array). Python floats become float32, ints int64,
    as in PyTorch.
    """
    if isinstance(data, Variable):
        data = data.array
    array = np.asarray(data)
    if dtype is None and not isinstance(data, (np.ndarray, np.generic)) and array.dtype == float64:
        dtype = float32
    return Tensor(backend.copy(array, as_dtype(array.dtype if dtype is None else dtype))).requires_grad_(requires_grad)
