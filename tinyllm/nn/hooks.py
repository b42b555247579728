"""Backward hooks of modules: what calls them.

A module's gradients enter at its outputs and leave at its inputs. `BackwardWatch` puts an alias of each at
the border for one call, so that gradients which reach the same tensors on other paths don't count.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from .._tensor import Tensor
from ..autograd import is_grad_enabled

if TYPE_CHECKING:
    from .module import Module


class BackwardWatch:
    """Calls the backward hooks of one call of a module. Aliases at its border carry the hooks, so gradients
    on other paths don't count.
    """

    def __init__(self, module: Module):
        self.module = module
        self.grad_in: dict[int, Any] = {}
        self.grad_out: dict[int, Any] = {}
        self.n_in = self.n_out = 0
        self.started = False
        self.width_in = self.width_out = 0

    def _border(self, values: Iterable[Any], on_grad: Callable[[int, Tensor], None]) -> tuple[tuple, int]:
        out, n = [], 0
        for i, v in enumerate(values):
            if isinstance(v, Tensor) and v.requires_grad and is_grad_enabled():
                v = v.view(v.shape)
                v.register_hook(functools.partial(on_grad, i))
                n += 1
            out.append(v)
        return tuple(out), n

    def inputs(self, args: tuple) -> tuple:
        out, self.n_in = self._border(args, self._on_input)
        self.width_in = len(args)
        return out

    def outputs(self, out: Any) -> Any:
        several = isinstance(out, (tuple, list))
        marked, self.n_out = self._border(out if several else (out,), self._on_output)
        self.width_out = len(marked)
        return type(out)(marked) if several else marked[0]

    def _on_output(self, i: int, g: Tensor) -> None:
        self.grad_out[i] = g
        if not self.started:
            self.started = True
            for hook in list(self.module._backward_pre_hooks.values()):
                hook(self.module, self._row(self.grad_out, self.width_out))
        if not self.n_in and len(self.grad_out) == self.n_out:
            self._finish()

    def _on_input(self, i: int, g: Tensor) -> None:
        self.grad_in[i] = g
        if len(self.grad_in) == self.n_in:
            self._finish()

    def _finish(self) -> None:
        for hook in list(self.module._backward_hooks.values()):
            hook(self.module, self._row(self.grad_in, self.width_in), self._row(self.grad_out, self.width_out))
        self.grad_in, self.grad_out, self.started = {}, {}, False

    @staticmethod
    def _row(grads: dict[int, Any], width: int) -> tuple:
        return tuple(grads.get(i) for i in range(width))
