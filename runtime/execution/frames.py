"""Frames: the functions of one plan over buffers of their own, as many as there are runs of it at a time."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Generic, TypeVar

from .interrupt import interrupt

F = TypeVar("F", bound=Callable[..., Any])
_at_once: ContextVar[bool] = ContextVar("frames at once", default=False)


@contextmanager
def frames_at_once() -> Iterator[None]:
    """A block in which each plan, those of branches and loops inside of it too, makes its first function when it is made.

    Kernels that are compiled for a function are so then, and not in the first run.
    """
    token = _at_once.set(True)
    try:
        yield
    finally:
        _at_once.reset(token)


class Frames(Generic[F]):
    """Hands out functions made by `make`, and takes them back. Safe from several threads."""

    def __init__(self, make: Callable[[], F]) -> None:
        self._make = make
        self._idle: list[F] = []
        #: Gives a function back.
        self.give = self._idle.append
        self._made: weakref.WeakSet[F] = weakref.WeakSet()
        self._lock = threading.Lock()
        if _at_once.get():
            self.give(self.new())

    def take(self) -> F:
        """A function whose buffers no other run uses until it is given back."""
        try:
            return self._idle.pop()  # no lock: a list loses and doubles nothing
        except IndexError:
            return self.new()

    def new(self) -> F:
        """A function over new buffers."""
        frame = self._make()
        with self._lock:
            self._made.add(frame)
        return frame

    def interrupt(self, error: Exception) -> None:
        """End all runs with `error`, and those that come."""
        with self._lock:
            made = list(self._made)
        for frame in made:
            interrupt(frame, error)
