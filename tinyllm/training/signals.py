"""Interrupts that let a run finish its step and save: SIGINT (Ctrl-C) and SIGTERM.

The first one asks the run to stop, a second one ends it where it is.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """A run was stopped by a signal, and has saved. `signum`: which one."""

    def __init__(self, signum: int, message: str):
        super().__init__(message)
        self.signum = signum


class Interrupts:
    """Which signal came, if any."""

    signum: int | None = None

    def raise_if_any(self, message: str) -> None:
        """Raise Interrupted if a signal came."""
        if self.signum is not None:
            raise Interrupted(self.signum, f"{signal.Signals(self.signum).name}: {message}")


@contextlib.contextmanager
def on_interrupt(stop: Callable[[], None]) -> Iterator[Interrupts]:
    """Within it the first SIGINT or SIGTERM calls `stop`, and the next does what it did before. One that is ignored, as
    in a shell's background job, stays so. Only the main thread of a process may set handlers: in another one nothing
    changes.
    """
    seen = Interrupts()
    if threading.current_thread() is not threading.main_thread():
        yield seen
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    before = {number: handler for number, handler in before.items() if handler is not signal.SIG_IGN}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def handler(signum: int, frame: FrameType | None) -> None:
        seen.signum = signum
        restore()
        print("\nstopping after this step; once more stops at once, without saving", file=sys.stderr, flush=True)
        stop()

    for number in before:
        signal.signal(number, handler)
    try:
        yield seen
    finally:
        restore()
