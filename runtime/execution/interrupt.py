"""Interrupt: ends a step in the middle. Its kernels are taken from it, so steps that nobody ends pay nothing for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ...graph.waiting import Ending, current as current_waits
from .pieces import Chain


def interrupt(frame: Callable[..., Any], error: Exception) -> None:
    """Make the function of a plan raise `error` at its next kernel, if it runs, and whenever it is called again.

    A plan's function finds its kernels in its globals, which are its own and which another thread may change. The kernel that
    runs just now is not interrupted.
    """

    def stop(*_: Any, **__: Any) -> Any:
        raise error

    for function in frame.pieces if isinstance(frame, Chain) else [frame]:
        names = getattr(function, "__globals__", {})
        for name, value in [*names.items()]:
            if isinstance(value, Chain):  # a step of a loop that is too long to be in the loop's own function
                interrupt(value, error)
            if callable(value):
                names[name] = stop


class Stopper:
    """Ends what runs under it when `stop` is called: the functions that are there, and those that come later."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: list[Callable[..., Any]] = []
        #: Ends the waits of kernels: for queues and accumulators.
        self.ending = Ending()
        self._error: Exception | None = None

    def begin(self, frame: Callable[..., Any]) -> None:
        """`frame`, which no other step uses now, is about to run."""
        with self._lock:
            self._running.append(frame)
            if self._error is not None:
                interrupt(frame, self._error)

    def end(self, frame: Callable[..., Any]) -> bool:
        """`frame` has run; returns whether it may be used again."""
        with self._lock:
            self._running = [other for other in self._running if other is not frame]
            return self._error is None

    def stop(self, error: Exception) -> None:
        """End it all with `error`. The first error stays."""
        with self._lock:
            if self._error is None:
                self._error = error
                for frame in self._running:
                    interrupt(frame, error)
        self.ending.end(error)

    @contextmanager
    def after(self, seconds: float | None, error: Exception) -> Iterator[None]:
        """Call `stop(error)` if the block takes longer than that."""
        if seconds is None:
            yield
            return
        timer = threading.Timer(seconds, self.stop, (error,))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


class _Current(threading.local):
    stopper: Stopper | None = None


_current = _Current()


def current_stopper() -> Stopper | None:
    """What ends the step that this thread runs: for kernels that run plans themselves, as loops do."""
    return _current.stopper


def set_current_stopper(stopper: Stopper | None) -> Stopper | None:
    """Say what ends the step that this thread runs from now on; returns what it was before."""
    before, _current.stopper = _current.stopper, stopper
    current_waits.ending = None if stopper is None else stopper.ending
    return before
