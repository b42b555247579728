"""What an op is: one class that holds its formula, its gradient, its shape rule, and inputs to test it with.

An op sees arrays, never Tensors. It is registered by being defined, and `tests/test_ops.py` runs every registered op
through the same properties, so that a new op is tested the moment it exists. What an op defines:

- `shape(*shapes, **attrs)`: the shape of the output, or a list of them. Pure; raises ShapeError.
- `forward(ctx, *arrays, **attrs)`: the output array, or a tuple of them. Keeps on ctx what backward needs.
- `backward(ctx, *grads)`: one array per input, None where ctx.needs says that nobody asks. Every array is fresh, or a
  view of a gradient that came in; it never aliases an input or something saved.
- `remake(ctx, *saved)`, of a cheap op: the output once more, from what forward saved, so that nobody need store it
  (`Node.save`).
- `samples(draw)`: a valid Sample. `errors(draw)`: a list of Samples that must raise.
- `flops(*shapes, **attrs)`: floating-point operations of forward.

Not here: how gradients flow between ops (autograd.py), and arithmetic itself (backend/).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np

from .errors import DtypeError, ShapeError

Shape = tuple[int, ...]
registry: dict[str, type[Op]] = {}


@dataclass
class Sample:
    """Inputs for one call of an op: arrays (or None) and attributes.

    `tol` scales the test's tolerance where the op is ill-conditioned; `numeric` is False where the gradient is by
    convention not the derivative (a padding row), so that only the oracle can check it.
    """

    args: tuple
    attrs: dict[str, Any] = field(default_factory=dict)
    tol: float = 1.0
    numeric: bool = True


class Draw(Protocol):
    """What `samples` may ask for. Backed by hypothesis in the tests, so the package itself never imports it."""

    def shape(self, min_dims: int = 0, max_dims: int = 4, min_side: int = 0, max_side: int = 5) -> Shape: ...
    def part_of(self, shape: Shape) -> Shape: ...  # a shape that broadcasts to `shape`
    def array(self, shape: Shape, low: float = -2.0, high: float = 2.0, avoid: Sequence[float] = ()) -> np.ndarray: ...
    def distinct(self, shape: Shape) -> np.ndarray: ...  # values at least 0.1 apart: no ties for max and sort
    def ints(self, shape: Shape, low: int, high: int) -> np.ndarray: ...  # low <= i < high
    def bools(self, shape: Shape) -> np.ndarray: ...
    def integer(self, low: int, high: int) -> int: ...  # low <= i <= high
    def choice(self, options: Sequence) -> Any: ...


class Op:
    """Base of every op. Families (`Unary`, `Binary`) are marked `abstract=True` and stay out of the registry."""

    kinds: ClassVar[str]
    """One letter an input: f floating, n any number or bool, i integer, b bool, m bool or floating. Inputs of kind f,
    n and floating m share one dtype; the last letter repeats for further inputs.
    """
    cost: ClassVar[str] = "memory"
    """What bounds it: "compute", "memory", "communication" or "random". Selective recomputation and benchmarks read
    it.
    """
    differentiable: ClassVar[bool] = True
    oracle: ClassVar[str | Callable | None] = None
    """The PyTorch function with the same arguments and attributes, or a function of (torch, *args, **attrs)."""

    _accepted: ClassVar[set[tuple[np.dtype | None, ...]]]  # dtypes of inputs that have passed the check
    shape: ClassVar[Callable[..., Any]]
    forward: ClassVar[Callable[..., Any]]
    backward: ClassVar[Callable[..., Any]]
    remake: ClassVar[Callable[..., np.ndarray] | None] = None
    samples: ClassVar[Callable[..., Sample]]
    errors: ClassVar[Callable[..., list[Sample]]]

    def __init_subclass__(cls, abstract: bool = False, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        cls._accepted = set()
        if not abstract:
            registry[cls.__name__] = cls

    @classmethod
    def flops(cls, *shapes: Any, **attrs: Any) -> int:
        """One operation per output element unless the op says otherwise."""
        out = cls.shape(*shapes, **attrs)
        return math.prod(out[0] if isinstance(out, list) else out)

    @classmethod
    def check(cls, arrays: Sequence[np.ndarray | None], attrs: dict[str, Any]) -> Shape | list[Shape]:
        """Raise DtypeError for dtypes and ShapeError for shapes that do not fit; return the output's shape."""
        dtypes = tuple([None if a is None else a.dtype for a in arrays])
        if dtypes not in cls._accepted:
            cls._check_dtypes(dtypes)
            cls._accepted.add(dtypes)
        return cls.shape(*[None if a is None else a.shape for a in arrays], **attrs)

    @classmethod
    def _check_dtypes(cls, dtypes: Sequence[np.dtype | None]) -> None:
        common = None
        for i, dtype in enumerate(dtypes):
            if dtype is None:
                continue
            kind = cls.kinds[min(i, len(cls.kinds) - 1)]
            if dtype.kind not in _KINDS[kind]:
                raise DtypeError(
                    f"{cls.__name__}: input {i} must be {_KIND_NAMES[kind]}, got {dtype}; convert it with .to(dtype)"
                )
            if kind in "fn" or (kind == "m" and dtype.kind == "f"):
                if common is not None and dtype != common:
                    raise DtypeError(
                        f"{cls.__name__}: inputs must share a dtype, got {common} and {dtype}; convert one with .to()"
                    )
                common = dtype


_KINDS = {"f": "f", "n": "fib", "i": "i", "b": "b", "m": "bf"}
_KIND_NAMES = {"f": "floating point", "n": "a number", "i": "an integer", "b": "bool", "m": "bool or floating point"}


def shape_error(op: str, rule: str, hint: str = "", **args: tuple[Shape | None, str]) -> ShapeError:
    """A ShapeError that names the op, each argument with its axes, the broken rule, and what to do.

    Each keyword is an argument: its shape and the names of its last axes, as in ``weight=((4, 5), "out in")``; a
    leading "..." in the names stands for any further axes.
    """
    lines = [f"{op}: {rule}"]
    for name, (shape, axes) in args.items():
        if shape is None:
            continue
        names = axes.replace("...", "").split()
        names = ["..."] * (len(shape) - len(names)) + names if len(shape) >= len(names) else ["?"] * len(shape)
        inside = ", ".join(f"{n}={s}" if n != "..." else str(s) for n, s in zip(names, shape, strict=True))
        lines.append(f"  {name}: ({inside})" + (f", expected axes ({axes})" if "?" in names else ""))
    if hint:
        lines.append(f"  hint: {hint}")
    return ShapeError("\n".join(lines))


def broadcast(op: str, **args: Shape) -> Shape:
    """The shape that `args` broadcast to, as NumPy and PyTorch do; ShapeError if they don't."""
    out: list[int] = []
    width = max(len(s) for s in args.values())
    for i in range(-width, 0):
        sizes = {s[i] for s in args.values() if len(s) >= -i} - {1}
        if len(sizes) > 1:
            shapes: dict[str, Any] = {k: (v, "...") for k, v in args.items()}
            raise shape_error(
                op, f"sizes {sorted(sizes)} in axis {i} do not broadcast", "equal sizes, or 1, on each axis", **shapes
            )
        out.append(sizes.pop() if sizes else 1)
    return tuple(out)


def axis_index(op: str, dim: int, ndim: int) -> int:
    """`dim` as a non-negative axis of an array with `ndim` axes; IndexError (PyTorch's type) if there is none."""
    if type(dim) is int and 0 <= dim < ndim:
        return dim
    width = max(ndim, 1)
    if not isinstance(dim, (int, np.integer)) or isinstance(dim, bool):
        raise TypeError(f"{op}: dim must be an int, got {type(dim).__name__}")
    if not -width <= dim < width:
        raise IndexError(f"{op}: dim must be from {-width} to {width - 1} for a tensor of {ndim} axes, got {dim}")
    return int(dim) % width


def axis_tuple(op: str, dim: int | Sequence[int] | None, ndim: int) -> Shape:
    """`dim` (an int, several, or None for all) as sorted non-negative axes; ShapeError if one is named twice."""
    if dim is None:
        return tuple(range(ndim))
    axes = tuple(axis_index(op, d, ndim) for d in (dim if isinstance(dim, (tuple, list)) else (dim,)))
    if len(set(axes)) != len(axes):
        raise ShapeError(f"{op}: dim {dim} names an axis twice")
    return tuple(sorted(a for a in axes if ndim))
