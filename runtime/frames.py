"""Frames: the functions of one plan over buffers of their own, as many as there are runs of it at a time."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from .interrupt import interrupt

F = TypeVar("F", bound=Callable[..., Any])


class Frames(Generic[F]):
    """Hands out functions made by `make`, and takes them back. Safe from several threads."""

    def __init__(self, make: Callable[[], F]) -> None:
        self._make = make
        self._idle: list[F] = []
        self._made: weakref.WeakSet[F] = weakref.WeakSet()
        self._lock = threading.Lock()

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

    def give(self, frame: F) -> None:
        """Give a function back."""
        self._idle.append(frame)

    def interrupt(self, error: Exception) -> None:
        """End all runs with `error`, and those that come."""
        with self._lock:
            made = list(self._made)
        for frame in made:
            interrupt(frame, error)
