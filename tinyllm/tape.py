"""The tape: variables, and the nodes that ops leave on it.

Running an op on variables that require a gradient leaves a `Node`: what backward needs, and edges to the nodes that
made the inputs. Nodes are numbered as they are made, so descending numbers are a topological order. What walks the
tape is autograd.py; whether anything is recorded is recording.py's.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .backend import memory
from .op import Op
from .recording import recorder

_number = itertools.count()

REMAKE_FROM = 4 << 20
"""Bytes from which an op's output is made again in backward rather than saved by its reader, where the op can
(`Op.remake`). Below it memory is no concern and the pass over it is."""


class RemovableHandle:
    """Returned by the `register_*hook` methods; `remove()` takes the hook away."""

    _ids = itertools.count()

    def __init__(self, hooks: dict[int, Callable], hook: Callable):
        self._hooks, self._id = hooks, next(self._ids)
        hooks[self._id] = hook

    def remove(self) -> None:
        """Take the hook away; calling it twice is harmless."""
        self._hooks.pop(self._id, None)


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
        self.version = [0]  # bumped by `written`; views of one array share the cell
        self.hooks: dict[int, Callable] | None = None  # called with a leaf's complete gradient; may return another
        self.accumulate_hooks: dict[int, Callable] | None = None  # called with the leaf once its .grad is complete

    def written(self) -> None:
        """Note a write in place, which what was saved of the array before doesn't survive."""
        self.version[0] += 1
        writes[0] += 1


Kept = Any
"""What a node keeps of an array: the array, a leaf that has it, the node that can make it again, or None for None."""

Edge = tuple["Node | Variable", int]
"""Where a gradient goes: what made the input (a leaf made itself), and which of its outputs that is."""

writes = [0]
"""Writes in place so far, of any variable: what was saved after the last one need not be looked at."""


class Node:
    """One application of an op: `ctx` for the op's forward and backward, an edge of the graph for everybody else.

    An op may set attributes of its own on it. `needs[i]` says whether the gradient of input i is wanted; `attrs` are
    the op's attributes.
    """

    number = -1
    flops = 0
    edges: Sequence[Edge | None] = ()
    outputs: Sequence[tuple[tuple[int, ...], np.dtype]] = ()
    hooks: dict[int, dict[int, Callable]] | None = None
    _readers = 0  # nodes that count on this one to make its output again
    _done = False

    def __init__(self, op: type[Op], needs: Sequence[bool], attrs: dict[str, Any], inputs: Sequence[Variable | None]):
        self.op, self.needs, self.attrs = op, needs, attrs
        self._inputs: Sequence[Variable | None] = inputs  # only while forward runs
        self._saved: list[Kept] | None = []  # None once it was freed
        self._guards: list[tuple[list[int], int]] = []  # the cells of what was saved, and their versions at that time
        self._writes = writes[0]

    def save(self, *arrays: np.ndarray | None) -> None:
        """Keep arrays for backward: a leaf by reference to the variable, so that its storage can be swapped meanwhile;
        a large output of an op that can remake it by reference to that op's node, so that nobody stores it.
        """
        if True in self.needs:
            for a in arrays:
                self._saved.append(None if a is None else self._keep(a))  # type: ignore[union-attr]

    def _keep(self, a: np.ndarray) -> Kept:
        for v in self._inputs:
            if v is not None and v.array is a:
                self._guards.append((v.version, v.version[0]))
                if v.node is None:
                    if v.requires_grad:
                        return v
                elif a.nbytes >= REMAKE_FROM and v.node._can_remake() and v.version[0] == 0:
                    v.node._readers += 1
                    return v.node
                break
        return memory.retag(a, "activation", of="workspace")

    def _can_remake(self) -> bool:
        """Whether the output can be had from what this node saved itself, without asking a third node."""
        if self.op.remake is None or not self._saved:
            return False
        kinds = [type(kept) for kept in self._saved]
        return Node not in kinds and any(kind is not type(None) for kind in kinds)

    def check_saved(self) -> None:
        """Raise if what was saved was freed, or written to since."""
        if self._done:
            raise RuntimeError(
                "backward ran through this graph before and freed what it had saved; "
                "pass retain_graph=True to the first call, or run forward again"
            )
        if self._writes != writes[0]:
            self._check_unwritten()

    def _check_unwritten(self) -> None:
        for cell, seen in self._guards:
            if cell[0] != seen:
                raise RuntimeError(
                    f"a tensor that {self.op.__name__} saved for backward was modified in place afterwards; "
                    "clone it before writing, or write after backward"
                )
        for kept in self._saved or ():
            if type(kept) is Node:
                kept._check_unwritten()

    @property
    def saved(self) -> list:
        """The arrays given to `save`, in order; raises if they were freed or written to since. Those to be remade are
        made at each access: read it once, and drop what is not needed.
        """
        self.check_saved()
        return self._arrays()

    def _arrays(self) -> list:
        return [kept if type(kept) is np.ndarray else _array(kept) for kept in self._saved or ()]

    def release(self) -> None:
        """Free what was saved, or leave that to the last node that reads it. A node that saved nothing can run again;
        one that did will raise.
        """
        for kept in self._saved or ():
            if kept is not None:
                self._done = True
                self._free()
                return

    def _free(self) -> None:
        if self._done and not self._readers:
            saved, self._saved = self._saved, None
            for kept in saved or ():
                if type(kept) is Node:
                    kept._readers -= 1
                    kept._free()


def _array(kept: Kept) -> np.ndarray | None:
    """What was kept, as the array again."""
    if isinstance(kept, Variable):
        return kept.array
    if type(kept) is Node:
        return kept.op.remake(kept, *kept._arrays())  # type: ignore[misc]
    return kept


def apply(op: type[Op], *inputs: Variable | None, **attrs: Any) -> Any:
    """Run `op` and record it if a gradient can be asked for. Returns a Tensor, or a tuple of them for an op with
    several outputs.
    """
    arrays, needs = [], []
    edges: list[Edge | None] = []
    recording = op.differentiable and recorder.enabled
    for v in inputs:
        arrays.append(None if v is None else v.array)
        if v is not None and v.requires_grad and recording:
            needs.append(True)
            edges.append((v.node or v, v.index))
        else:
            needs.append(False)
            edges.append(None)
    op.check(arrays, attrs)
    record = True in needs
    node = Node(op, needs, attrs, inputs)
    out = op.forward(node, *arrays, **attrs)
    several = isinstance(out, tuple)
    if recorder.observer is not None:
        recorder.observer.forward(node, arrays, out if several else (out,))
    node._inputs = ()
    results = [_result(a, inputs, record) for a in out] if several else [_result(out, inputs, record)]
    if record:
        _connect(node, edges, results)
    return tuple(results) if several else results[0]


def _result(array: np.ndarray, inputs: Sequence[Variable | None], record: bool) -> Variable:
    """The Tensor of an output; one that is a view of an input shares its version, so that writes are seen."""
    make = Variable.tensor_class
    v = make.__new__(make)
    Variable.__init__(v, array, record and array.dtype.kind == "f")
    base = array.base
    if isinstance(base, np.ndarray):
        for u in inputs:
            if u is not None and (base is u.array or base is u.array.base):
                v.version = u.version
    return v


def _connect(node: Node, edges: Sequence[Edge | None], results: Sequence[Variable]) -> None:
    """Put the node of a recorded op on the tape."""
    node.number, node.edges, node.outputs = next(_number), edges, []
    for i, v in enumerate(results):
        node.outputs.append((v.array.shape, v.array.dtype))
        if v.requires_grad:
            v.node, v.index = node, i
        for kept in node._saved or ():
            if kept is v.array:
                node._guards.append((v.version, v.version[0]))
