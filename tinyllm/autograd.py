"""Reverse-mode differentiation: the tape is walked backwards, and gradients meet.

Nodes run in the reverse of the order in which they were recorded, so no recursion is needed. First-order gradients
only, by design: it lets every fused kernel be written once.

How gradients meet: those of an intermediate value are summed as they come, those of a leaf are completed in a buffer of
their own and added once to `.grad` (the first time: moved there). One micro-batch per rank, summed in rank order, is
therefore bitwise equal to one process.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Sequence
from operator import attrgetter
from typing import Any

import numpy as np

from . import backend
from .backend import memory
from .recording import enable_grad, is_grad_enabled, no_grad, profile, recorder, set_grad_enabled
from .tape import Edge, Node, Variable, apply

__all__ = [
    "Node",
    "Variable",
    "apply",
    "backward",
    "enable_grad",
    "grad",
    "is_grad_enabled",
    "no_grad",
    "profile",
    "set_grad_enabled",
]


class _Sum:
    """A gradient being summed. A first term that others may refer to is borrowed; the sum goes into the first array of
    our own.
    """

    __slots__ = ("array", "owned")

    def __init__(self, array: np.ndarray, owned: bool):
        self.array, self.owned = array, owned

    def add(self, g: np.ndarray, owned: bool) -> None:
        if self.owned:
            backend.add_(self.array, g)
        elif owned:
            self.array, self.owned = backend.add_(g, self.array), True
        else:
            self.array, self.owned = backend.binary("add", self.array, g), True

    def through(self, hooks: dict[int, Callable] | None) -> None:
        """Let hooks see the sum, and replace it."""
        for hook in list(hooks.values()) if hooks else ():
            result = hook(Variable.tensor_class(self.array))
            if result is not None:
                self.array, self.owned = result.array, False

    def take(self) -> np.ndarray:
        """The sum as a C-contiguous array that nothing else refers to."""
        return self.array if self.owned and self.array.flags.c_contiguous else backend.copy(self.array)


class _Walk:
    """One backward pass. With `targets` (id of a node or leaf, number of the output) it computes only what leads to
    them and catches their gradients there; without, it adds to the `.grad` of every leaf.
    """

    def __init__(self, retain_graph: bool, targets: Iterable[tuple[int, int]] | None):
        self.retain_graph = retain_graph
        self.targets: dict[tuple[int, int], _Sum | None] | None = None if targets is None else dict.fromkeys(targets)
        self.plan: list[tuple[Node, Sequence[bool]]] = []  # inputs first: nodes, and the inputs they owe gradients to
        self.pending: defaultdict[int, int] = defaultdict(int)  # id of a leaf: contributions that are still to come
        self.sums: dict[tuple[int, int], _Sum] = {}  # id of a node or leaf, number of the output: its gradient

    def prepare(self, outputs: Sequence[Variable]) -> None:
        """Find the nodes that must run, and check what they saved before a gradient has been added anywhere."""
        pending, leads = self.pending, set[int]()
        nodes = {v.node for v in outputs if v.node is not None}
        for v in outputs:
            if v.node is None:
                pending[id(v)] += 1
        stack = list(nodes)
        while stack:
            for edge in stack.pop().edges:
                if edge is None:
                    continue
                source = edge[0]
                if type(source) is not Node:
                    pending[id(source)] += 1
                elif source not in nodes:
                    nodes.add(source)
                    stack.append(source)
        for node in sorted(nodes, key=attrgetter("number")):
            needs = node.needs if self.targets is None else self._wanted(node, self.targets, leads)
            self.plan.append((node, needs))
            if True in needs:
                leads.add(id(node))
                node.check_saved()

    @staticmethod
    def _wanted(node: Node, targets: Container[tuple[int, int]], leads: set[int]) -> list[bool]:
        """For each input whether it is a target or leads to one."""
        return [edge is not None and ((id(edge[0]), edge[1]) in targets or id(edge[0]) in leads) for edge in node.edges]

    def run(self) -> None:
        """Walk the planned nodes, outputs first."""
        while self.plan:
            node, needs = self.plan.pop()
            incoming = self._incoming(node)
            if True not in needs:
                continue
            results = self._backward(node, needs, incoming) if incoming else (None,) * len(needs)
            lent = [id(_memory(d)) for d in incoming]
            seen = [id(g) for g in results]
            for edge, wanted, g in zip(node.edges, needs, results, strict=True):
                if wanted:  # what was handed out once may be added into: no view of `lent`, not stretched (read-only)
                    once = g is not None and g.flags.writeable and seen.count(id(g)) == 1
                    self.send(edge, g, once and id(_memory(g)) not in lent)  # type: ignore[arg-type]

    def _incoming(self, node: Node) -> list[np.ndarray]:
        """The gradients of the node's outputs, zero where nothing used one; none if nothing used any."""
        totals = [self.sums.pop((id(node), i), None) for i in range(len(node.outputs))]
        if totals.count(None) == len(totals):
            return []
        if node.hooks is not None or self.targets is not None:
            for i, total in enumerate(totals):
                if total is None:
                    continue
                total.through((node.hooks or {}).get(i))
                if self.targets is not None and (id(node), i) in self.targets:
                    self.targets[id(node), i] = total
        return [
            backend.full(shape, 0, dtype) if total is None else total.array
            for total, (shape, dtype) in zip(totals, node.outputs, strict=True)
        ]

    def _backward(self, node: Node, needs: Sequence[bool], incoming: Sequence[np.ndarray]) -> Sequence[Any]:
        asked, node.needs = node.needs, needs
        try:
            results = node.op.backward(node, *incoming)
        finally:
            node.needs = asked
        results = results if isinstance(results, (tuple, list)) else (results,)
        if recorder.observer is not None:
            recorder.observer.backward(node, needs, incoming, results)
        if not self.retain_graph:
            node.release()
        return results

    def send(self, edge: Edge, g: np.ndarray | None, owned: bool) -> None:
        """Add a contribution to the gradient at the end of an edge; the last one completes a leaf's."""
        target, index = edge
        key = id(target), index
        if g is not None:
            total = self.sums.get(key)
            if total is None:
                self.sums[key] = _Sum(g, owned)
            else:
                total.add(g, owned)
        if type(target) is not Node:
            self.pending[id(target)] -= 1
            if not self.pending[id(target)] and key in self.sums:
                self._finish(target, self.sums.pop(key))  # type: ignore[arg-type]

    def _finish(self, leaf: Variable, total: _Sum) -> None:
        total.through(leaf.hooks)
        if self.targets is None:
            _accumulate(leaf, total)
        elif (id(leaf), 0) in self.targets:
            self.targets[id(leaf), 0] = total


def _run(
    outputs: Sequence[Variable],
    grads: Sequence[np.ndarray],
    retain_graph: bool,
    inputs: Sequence[Variable] | None,
) -> list[np.ndarray | None]:
    """Walk the graph from `outputs`. With `inputs`, return their gradients; without, add to every leaf's `.grad`."""
    keys = None if inputs is None else [(id(v.node or v), v.index) for v in inputs]
    walk = _Walk(retain_graph, keys)
    walk.prepare(outputs)
    for v, g in zip(outputs, grads, strict=True):
        walk.send((v.node or v, v.index), g, False)
    walk.run()
    caught = [(walk.targets or {})[key] for key in keys or ()]
    return [None if total is None else total.take() for total in caught]


def _memory(a: np.ndarray) -> np.ndarray:
    """The array that a is a view of: arrays of different memory share nothing."""
    while isinstance(a.base, np.ndarray):
        a = a.base
    return a


def _accumulate(leaf: Variable, grad: _Sum) -> None:
    if leaf.grad is None:
        leaf.grad = Variable.tensor_class(memory.retag(grad.take(), "gradient"))
    else:
        backend.add_(leaf.grad.array, grad.array)
    for hook in list((leaf.accumulate_hooks or {}).values()):
        hook(leaf)


def _first_grads(outputs: Sequence[Variable], grads: Sequence[Any]) -> list[np.ndarray]:
    arrays = []
    for v, g in zip(outputs, grads, strict=True):
        if not v.requires_grad:
            raise RuntimeError(
                "backward needs an output that requires grad; no leaf that requires grad led to this one"
            )
        if g is None:
            if v.array.size != 1:
                raise RuntimeError(
                    f"grad can be implicitly created only for scalar outputs, got shape {v.array.shape}; "
                    "pass gradient= of that shape, or reduce the output first"
                )
            arrays.append(backend.full(v.array.shape, 1, v.array.dtype))
            continue
        a = g.array if isinstance(g, Variable) else np.asarray(g, v.array.dtype)
        if a.shape != v.array.shape:
            raise RuntimeError(f"gradient must have the shape of its output, {v.array.shape}, got {a.shape}")
        arrays.append(a if a.dtype == v.array.dtype else backend.copy(a, v.array.dtype))
    return arrays


def _refuse_second_order(create_graph: bool) -> None:
    if create_graph:
        raise NotImplementedError("tinyllm computes first-order gradients only: create_graph=True is not supported")


def backward(
    tensors: Variable | Sequence[Variable],
    grad_tensors: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Variable | Sequence[Variable] | None = None,
) -> None:
    """Add the gradients of `tensors` to the `.grad` of every leaf that led to them, or only to `inputs`
    (torch.autograd.backward).
    """
    _refuse_second_order(create_graph)
    outputs = [tensors] if isinstance(tensors, Variable) else list(tensors)
    seeds = [grad_tensors] if isinstance(tensors, Variable) else list(grad_tensors or [None] * len(outputs))
    first = _first_grads(outputs, seeds)
    if inputs is None:
        _run(outputs, first, bool(retain_graph), None)
        return
    leaves = [inputs] if isinstance(inputs, Variable) else list(inputs)
    if any(v.node is not None or not v.requires_grad for v in leaves):
        raise RuntimeError("backward: inputs must be leaves that require grad; use autograd.grad for others")
    for leaf, g in zip(leaves, _run(outputs, first, bool(retain_graph), leaves), strict=True):
        if g is not None:
            _accumulate(leaf, _Sum(g, True))


def grad(
    outputs: Variable | Sequence[Variable],
    inputs: Variable | Sequence[Variable],
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool | None = None,
) -> tuple:
    """Gradients of `outputs` with respect to `inputs`, leaves or not, touching no `.grad` (torch.autograd.grad).

    Only what leads to `inputs` is computed: asking for a Linear's input and weight gradients in two calls splits its
    work in two.
    """
    _refuse_second_order(create_graph)
    outs = [outputs] if isinstance(outputs, Variable) else list(outputs)
    ins = [inputs] if isinstance(inputs, Variable) else list(inputs)
    if grad_outputs is None:
        seeds: Iterable = [None] * len(outs)
    else:
        seeds = [grad_outputs] if isinstance(outputs, Variable) else grad_outputs
    for i, v in enumerate(ins):
        if not v.requires_grad:
            raise RuntimeError(f"input {i} does not require grad; set requires_grad=True before the forward pass")
    results = _run(outs, _first_grads(outs, list(seeds)), bool(retain_graph), ins)
    for i, r in enumerate(results):
        if r is None and not allow_unused:
            raise RuntimeError(
                f"input {i} was not used to compute the outputs; pass allow_unused=True for None, or leave it out"
            )
    return tuple(None if r is None else Variable.tensor_class(r) for r in results)
