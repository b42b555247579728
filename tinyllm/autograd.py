"""Reverse-mode differentiation: the tape is walked backwards, and gradients meet.

`backward` keeps a heap of nodes and needs no recursion. First-order gradients only, by design: it lets every fused
kernel be written once.

How gradients meet: those of an intermediate value are summed as they come, those of a leaf are completed in a buffer of
their own and added once to `.grad` (the first time: moved there). One micro-batch per rank, summed in rank order, is
therefore bitwise equal to one process.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from . import backend
from .tape import (
    Node,
    Variable,
    apply,
    enable_grad,
    is_grad_enabled,
    no_grad,
    profile,
    recorder,
    set_grad_enabled,
)

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
    """A gradient being summed: the first term is borrowed, the second makes a buffer of our own, further ones are
    added in place.
    """

    __slots__ = ("array", "owned")

    def __init__(self) -> None:
        self.array: Any = None  # until the first term comes
        self.owned = False

    def add(self, g: np.ndarray, owned: bool) -> None:
        if self.array is None:
            self.array, self.owned = g, owned
        elif self.owned:
            backend.add_(self.array, g)
        else:
            self.array, self.owned = backend.binary("add", self.array, g), True

    def take(self) -> np.ndarray:
        """The sum as a C-contiguous array that nothing else refers to."""
        return self.array if self.owned and self.array.flags.c_contiguous else backend.copy(self.array)


def _plan(
    roots: Sequence[Node], targets: set[tuple[int, int]] | None
) -> tuple[dict[Node, list[bool]], dict[Variable, int]]:
    """Nodes that must run, with the inputs whose gradient they owe, and for each leaf the number of contributions that
    will come.
    """
    nodes, stack = set(roots), list(roots)
    while stack:
        for edge in stack.pop().edges:
            if edge is not None and isinstance(edge[0], Node) and edge[0] not in nodes:
                nodes.add(edge[0])
                stack.append(edge[0])
    wanted: dict[Node, list[bool]] = {}
    pending: dict[Variable, int] = {}
    for node in sorted(nodes, key=lambda n: n.number):
        needs = []
        for edge in node.edges:
            if edge is None:
                needs.append(False)
            elif targets is None or (id(edge[0]), edge[1]) in targets:
                needs.append(True)
            else:
                needs.append(isinstance(edge[0], Node) and any(wanted.get(edge[0], ())))
            if needs[-1] and edge is not None and isinstance(edge[0], Variable):
                pending[edge[0]] = pending.get(edge[0], 0) + 1
        if any(needs):
            _ = node.saved  # raises if it was freed or written to, before any gradient has been added anywhere
        wanted[node] = needs
    return wanted, pending


def _run(
    outputs: Sequence[Variable],
    grads: Sequence[np.ndarray],
    retain_graph: bool,
    inputs: Sequence[Variable] | None,
) -> list[np.ndarray | None]:
    """Walk the graph from `outputs`. With `inputs`, return their gradients; without, add to every leaf's `.grad`."""
    keys = [(id(v.node), v.index) if v.node is not None else (id(v), 0) for v in inputs or ()]
    targets = set(keys) if inputs is not None else None
    caught: dict[tuple[int, int], _Sum] = {k: _Sum() for k in keys}
    wanted, pending = _plan([v.node for v in outputs if v.node is not None], targets)
    sums: dict[tuple[int, int], _Sum] = {}
    leaf_sums: dict[Variable, _Sum] = {}
    heap: list[tuple[int, Node]] = []
    queued: set[Node] = set()

    def finish(leaf: Variable) -> None:
        total = leaf_sums.pop(leaf, None)
        if total is None or total.array is None:
            return
        grad = _through_hooks(leaf.hooks, total)
        if targets is None:
            _accumulate(leaf, grad)
        elif (id(leaf), 0) in caught:
            caught[id(leaf), 0] = grad

    def send(target: Node | Variable, index: int, g: np.ndarray | None, owned: bool, counted: bool = True) -> None:
        if isinstance(target, Variable):
            if g is not None:
                leaf_sums.setdefault(target, _Sum()).add(g, owned)
            if counted:
                pending[target] -= 1
            if not pending.get(target):
                finish(target)
        elif g is not None:
            sums.setdefault((id(target), index), _Sum()).add(g, owned)
            if target not in queued:
                queued.add(target)
                heapq.heappush(heap, (-target.number, target))

    for v, g in zip(outputs, grads, strict=True):
        send(v.node if v.node is not None else v, v.index, g, False, counted=False)
    while heap:
        node = heapq.heappop(heap)[1]
        incoming: list[np.ndarray] = []
        for i, (shape, dtype) in enumerate(node.outputs):
            total = sums.pop((id(node), i), None)
            if total is not None:
                total = _through_hooks((node.hooks or {}).get(i), total)
                if (id(node), i) in caught:
                    caught[id(node), i] = total
            # an output that nothing used: its gradient is zero
            incoming.append(total.array if total is not None else backend.full(shape, 0, dtype))
        if any(wanted[node]):
            node_needs, node.needs = node.needs, wanted[node]
            counter = getattr(recorder, "profile", None)
            if counter is not None:
                counter.count_backward(node)
            results = node.op.backward(node, *incoming)
            results = results if isinstance(results, (tuple, list)) else (results,)
            for i, (edge, g) in enumerate(zip(node.edges, results, strict=True)):
                if edge is not None and wanted[node][i]:
                    send(edge[0], edge[1], g, g is not None and _is_fresh(g, incoming, results))
            node.needs = node_needs
            if not retain_graph:
                node.release()
    return [caught[k].take() if caught[k].array is not None else None for k in keys]


def _is_fresh(g: np.ndarray, incoming: Sequence[np.ndarray], results: Sequence[np.ndarray | None]) -> bool:
    """Whether g may be added into: no view of a gradient that came in, not stretched (read-only), handed out once."""
    return (
        g.flags.writeable and not any(np.may_share_memory(g, d) for d in incoming) and sum(g is r for r in results) == 1
    )


def _through_hooks(hooks: dict[int, Callable] | None, total: _Sum) -> _Sum:
    for hook in list((hooks or {}).values()):
        result = hook(Variable.tensor_class(total.array))
        if result is not None:
            total.array, total.owned = result.array, False
    return total


def _accumulate(leaf: Variable, grad: _Sum) -> None:
    if leaf.grad is None:
        leaf.grad = Variable.tensor_class(grad.take())
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
            total = _Sum()
            total.add(g, True)
            _accumulate(leaf, total)


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
