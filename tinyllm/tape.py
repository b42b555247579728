"""The tape: variables, the nodes that ops leave on it, and whether anything is recorded.

Running an op on variables that require a gradient leaves a `Node`: what backward needs, and edges to the nodes that
made the inputs. Nodes are numbered as they are made, so descending numbers are a topological order. What walks the
tape is autograd.py.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .backend import memory
from .op import Op

_number = itertools.count()


class RemovableHandle:
    """Returned by the `register_*hook` methods; `remove()` takes the hook away."""

    _ids = itertools.count()

    def __init__(self, hooks: dict[int, Callable], hook: Callable):
        self._hooks, self._id = hooks, next(self._ids)
        hooks[self._id] = hook

    def remove(self) -> None:
        """Take the hook away; calling it twice is harmless."""
        self._hooks.pop(self._id, None)


recorder = threading.local()


class Variable:
    """An array in the graph: what autograd needs to know of a Tensor. `node` is None for a leaf."""

    __slots__ = (
        "__weakref__",
        "accumulate_hooks",
        "array",
        "grad",
        "hooks",
        "index",
        "node",
        "requires_grad",
        "version",
    )
    tensor_class: type[Variable]

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        if Variable in cls.__bases__:  # Tensor, the class that results of ops are made of
            Variable.tensor_class = cls

    def __init__(self, array: np.ndarray, requires_grad: bool = False):
        self.array = array
        self.requires_grad = requires_grad
        self.grad: Any = None
        self.node: Node | None = None
        self.index = 0
        self.version = [0]  # bumped by in-place writes; views of one array share the cell
        self.hooks: dict[int, Callable] | None = None  # called with a leaf's complete gradient; may return another
        self.accumulate_hooks: dict[int, Callable] | None = None  # called with the leaf once its .grad is complete


class Node:
    """One application of an op: `ctx` for the op's forward and backward, an edge of the graph for everybody else.

    An op may set attributes of its own on it. `needs[i]` says whether the gradient of input i is wanted; `attrs` are
    the op's attributes.
    """

    def __init__(self, op: type[Op], needs: Sequence[bool], attrs: dict[str, Any], inputs: Sequence[Variable | None]):
        self.op, self.needs, self.attrs = op, needs, attrs
        self._inputs: Sequence[Variable | None] = inputs  # only while forward runs
        self._saved: list[tuple] | None = []
        self.edges: list[tuple[Node | Variable, int] | None] = []
        self.number = -1
        self.flops = 0
        self.outputs: list[tuple[tuple[int, ...], np.dtype]] = []
        self.hooks: dict[int, dict[int, Callable]] | None = None

    def save(self, *arrays: np.ndarray | None) -> None:
        """Keep arrays for backward. A leaf is kept by reference to the variable, so that its storage can be swapped
        meanwhile.
        """
        if not any(self.needs):
            return
        for a in arrays:
            owner = next((v for v in self._inputs if v is not None and v.array is a), None) if a is not None else None
            if owner is None:
                self._saved.append((a, None, 0))  # type: ignore[union-attr]
            else:
                kept = owner if owner.node is None and owner.requires_grad else a
                self._saved.append((kept, owner.version, owner.version[0]))  # type: ignore[union-attr]

    @property
    def saved(self) -> list:
        """The arrays given to `save`, in order; raises if they were freed or written to since."""
        if self._saved is None:
            raise RuntimeError(
                "backward ran through this graph before and freed what it had saved; "
                "pass retain_graph=True to the first call, or run forward again"
            )
        out = []
        for kept, cell, seen in self._saved:
            if cell is not None and cell[0] != seen:
                raise RuntimeError(
                    f"a tensor that {self.op.__name__} saved for backward was modified in place afterwards; "
                    "clone it before writing, or write after backward"
                )
            out.append(kept.array if isinstance(kept, Variable) else kept)
        return out

    def release(self) -> None:
        """Free what was saved. A node that saved nothing can run again; one that did will raise."""
        if any(kept is not None for kept, _, _ in self._saved or ()):
            self._saved = None


def is_grad_enabled() -> bool:
    """Whether ops are being recorded in this thread."""
    return getattr(recorder, "enabled", True)


class _Mode:
    """Context manager and decorator (of generators too) that sets whether ops are recorded."""

    mode: bool

    def __init__(self) -> None:
        self.before: list[bool] = []

    def __enter__(self) -> None:
        self.before.append(is_grad_enabled())
        recorder.enabled = self.mode

    def __exit__(self, *exc: object) -> None:
        recorder.enabled = self.before.pop()

    def __call__(self, function: Callable) -> Callable:
        if inspect.isgeneratorfunction(function):

            @functools.wraps(function)
            def generator(*args: Any, **kwargs: Any) -> Any:
                inner = function(*args, **kwargs)
                while True:
                    with type(self)():
                        try:
                            value = next(inner)
                        except StopIteration as stop:
                            return stop.value
                    yield value

            return generator

        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with type(self)():  # one for each call: threads share the decorated function
                return function(*args, **kwargs)

        return wrapped


class no_grad(_Mode):
    """Do not record: results do not require gradients, and nothing is saved."""

    mode = False


class enable_grad(_Mode):
    """Record again inside `no_grad`."""

    mode = True


class set_grad_enabled(_Mode):
    """Record or don't from here on; as a context manager, until its end."""

    def __init__(self, mode: bool):
        super().__init__()
        self.mode, self._first = mode, is_grad_enabled()
        recorder.enabled = mode

    def __enter__(self) -> None:
        self.before.append(self._first)
        recorder.enabled = self.mode

    def __call__(self, function: Callable) -> Callable:
        recorder.enabled = self._first  # a decorator changes nothing where it stands
        return (enable_grad if self.mode else no_grad)()(function)


class profile:
    """Count the work of a block: ``with tinyllm.profile() as p`` gives p.flops, p.saved_bytes and p.peak (bytes above
    the start).
    """

    def __init__(self) -> None:
        self.flops = self.saved_bytes = self.peak = 0

    def __enter__(self) -> profile:
        self._outer, recorder.profile = getattr(recorder, "profile", None), self
        self._start, self._before = memory.live_bytes(), memory.peak_bytes()
        memory.reset_peak()
        return self

    def __exit__(self, *exc: object) -> None:
        self.peak = max(memory.peak_bytes() - self._start, self.peak)
        recorder.profile = self._outer
        if self._outer is not None:  # the outer block's peak lasts from its start
            self._outer.peak = max(self._outer.peak, max(self._before, self._start + self.peak) - self._outer._start)

    def count(self, node: Node, arrays: Sequence[np.ndarray | None]) -> None:
        """Add one run of forward (with `arrays`) to the counts."""
        node.flops = node.op.flops(*[None if a is None else a.shape for a in arrays], **node.attrs)
        self.flops += node.flops
        self.saved_bytes += sum(kept.nbytes for kept, _, _ in node._saved or () if isinstance(kept, np.ndarray))

    def count_backward(self, node: Node) -> None:
        """Each wanted gradient of a compute-bound op is about one forward's work."""
        if node.op.cost == "compute":
            self.flops += node.flops * sum(node.needs)


def apply(op: type[Op], *inputs: Variable | None, **attrs: Any) -> Any:
    """Run `op` and record it if a gradient can be asked for. Returns a Tensor, or a tuple of them for an op with
    several outputs.
    """
    arrays = [None if v is None else v.array for v in inputs]
    op.check(arrays, attrs)
    recording = op.differentiable and is_grad_enabled()
    needs = [recording and v is not None and v.requires_grad for v in inputs]
    node = Node(op, needs, attrs, inputs)
    out = op.forward(node, *arrays, **attrs)
    several = isinstance(out, tuple)
    outs = out if several else (out,)
    counter = getattr(recorder, "profile", None)
    if counter is not None:
        counter.count(node, arrays)
    record = any(needs)
    make = Variable.tensor_class
    results = []
    for i, a in enumerate(outs):
        v = make.__new__(make)
        Variable.__init__(v, a, record and a.dtype.kind == "f")
        if v.requires_grad:
            v.node, v.index = node, i
        if a.base is not None:  # a view shares its base's version cell, so that writes through either are seen
            for u in inputs:
                if u is not None and (a.base is u.array or a.base is u.array.base):
                    v.version = u.version
        results.append(v)
    node._inputs = ()
    if record:
        node.number = next(_number)
        node.outputs = [(a.shape, a.dtype) for a in outs]
        node.edges = [
            None if v is None or not n else (v.node, v.index) if v.node is not None else (v, 0)
            for v, n in zip(inputs, needs, strict=True)
        ]
        for j, (kept, cell, _) in enumerate(node._saved or ()):  # an output that was saved is guarded by its own cell
            if cell is None:
                for v in results:
                    if kept is v.array:
                        node._saved[j] = (kept, v.version, v.version[0])  # type: ignore[index]
    return tuple(results) if several else results[0]
