"""What a thread records: whether ops leave nodes on the tape, and who watches them run (`Observer`, `profile`)."""

from __future__ import annotations

import functools
import inspect
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from .backend import memory

if TYPE_CHECKING:
    from .tape import Node


class _Recorder(threading.local):
    enabled = True
    observer: Observer | None = None


recorder = _Recorder()


def is_grad_enabled() -> bool:
    """Whether ops are being recorded in this thread."""
    return recorder.enabled


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


class Observer:
    """Sees every op and module that this thread runs within ``with observer:``; the innermost observer alone does."""

    _outer: Observer | None

    def __enter__(self) -> Self:
        self._outer, recorder.observer = recorder.observer, self
        return self

    def __exit__(self, *exc: object) -> None:
        recorder.observer = self._outer

    def forward(self, node: Node, arrays: Sequence[np.ndarray | None], results: Sequence[np.ndarray]) -> None:
        """`node`'s op has made `results` of `arrays`."""

    def backward(
        self, node: Node, needs: Sequence[bool], incoming: Sequence[np.ndarray], results: Sequence[np.ndarray | None]
    ) -> None:
        """`node`'s op has made of the gradients of its outputs those of the inputs that `needs` says."""

    def enter(self, module: Any) -> None:
        """The forward of a module begins."""

    def leave(self, module: Any) -> None:
        """It has ended, by an error perhaps."""


class profile(Observer):
    """Count the work of a block: ``with tinyllm.profile() as p``.

    p.flops: floating-point operations; p.saved_bytes: what forward kept for backward, each array once. Of the process's
    memory, once the block has ended: p.peak, the most bytes above the start; p.bytes[kind], the most of each kind, and
    p.live[kind], what there is at the end, for the kinds parameter, gradient, optimizer, activation, workspace and
    communication (arrays below 16 KiB are NumPy's and not counted).
    """

    def __init__(self) -> None:
        self.flops = self.saved_bytes = self.peak = 0
        self.bytes: dict[str, int] = {}
        self.live: dict[str, int] = {}
        self._seen: dict[int, weakref.ref] = {}  # arrays counted as saved; views count as what they are views of

    def __enter__(self) -> Self:
        super().__enter__()
        if isinstance(self._outer, profile):
            self._outer._measure()
        self._start = memory.live_bytes()
        memory.reset_peak()
        return self

    def __exit__(self, *exc: object) -> None:
        self._measure()
        self.live = memory.live_by_kind()
        super().__exit__(*exc)
        if isinstance(self._outer, profile):
            self._outer._measure()  # an outer block's peaks last from its own start

    def _measure(self) -> None:
        self.peak = max(self.peak, memory.peak_bytes() - self._start)
        self.bytes = {kind: max(self.bytes.get(kind, 0), now) for kind, now in memory.peak_by_kind().items()}

    def forward(self, node: Node, arrays: Sequence[np.ndarray | None], results: Sequence[np.ndarray]) -> None:
        """Add one run of forward to the counts."""
        node.flops = node.op.flops(*[None if a is None else a.shape for a in arrays], **node.attrs)
        self.flops += node.flops
        for kept in node._saved or ():
            if isinstance(kept, np.ndarray):
                whole = kept.base if isinstance(kept.base, np.ndarray) else kept
                seen = self._seen.get(id(whole))
                if seen is None or seen() is not whole:
                    self._seen[id(whole)] = weakref.ref(whole)
                    self.saved_bytes += whole.nbytes

    def backward(
        self, node: Node, needs: Sequence[bool], incoming: Sequence[np.ndarray], results: Sequence[np.ndarray | None]
    ) -> None:
        """Each wanted gradient of a compute-bound op is about one forward's work."""
        if node.op.cost == "compute":
            self.flops += node.flops * sum(needs)
