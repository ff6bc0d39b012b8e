"""Rendezvous: where the plans of one step leave values for each other, and learn that the step has failed."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ...graph import errors
from ...graph.waiting import Ending

_RLock = type(threading.RLock())  # `threading.RLock` is a function that looks for it each time


class Rendezvous:
    """A table of edges. Each value is put once and taken once, on an edge in order; `abort` wakes everyone with one error.

    `ending`: what the step's kernels wait for, which `abort` ends too. `named`: what comes over an edge, in words.
    """

    def __init__(
        self, timeout: float | None = None, ending: Ending | None = None, named: Callable[[int], str] = "edge {}".format
    ) -> None:
        self._named = named
        self._ending = ending
        self._values: dict[int, deque[Any]] = {}
        self._waiting: dict[int, float] = {}
        self._lock = _RLock()  # the garbage collector may close a session, and end the step, amid anything
        #: The same lock, for those who wait; made for the first of them, for most steps have none.
        self._changed: threading.Condition | None = None
        self.error: Exception | None = None  #: what the step was aborted with
        self._timeout = timeout
        self._deadline = None if timeout is None else time.monotonic() + timeout

    def put(self, edge: int, value: Any) -> None:
        """Leave a value."""
        with self._lock:
            row = self._values.get(edge)
            if row is None:
                self._values[edge] = deque((value,))
            else:
                row.append(value)
            if self._changed is not None:
                self._changed.notify_all()

    def send(self, edge: int, device: str, value: Any, again: bool = False) -> None:
        """Leave a value for a plan in this process, a copy where it may change (`again`)."""
        self.put(edge, np.array(value, order="C") if again and value is not None else value)

    def receive(self, edge: int) -> Any:
        """Take a value, waiting for it. Raises what the step was aborted with, or DeadlineExceededError."""
        with self._lock:
            if edge not in self._values:
                self._wait(edge)
            row = self._values[edge]
            value = row.popleft()
            if not row:
                del self._values[edge]
            return value

    def is_over(self, edge: int) -> bool:
        """Whether `receive` need not wait for this edge, or not any longer."""
        return edge in self._values or self.error is not None

    @contextmanager
    def waiting_for(self, edge: int) -> Iterator[None]:
        """A block that waits for an edge in a way of its own."""
        self._waiting[edge] = time.monotonic()
        try:
            yield
        finally:
            del self._waiting[edge]

    def _wait(self, edge: int) -> None:
        """With the lock held."""
        if self._changed is None:
            self._changed = threading.Condition(self._lock)
        self._waiting[edge] = time.monotonic()
        try:
            while edge not in self._values:
                if self.error is not None:
                    raise self.error
                left = None if self._deadline is None else self._deadline - time.monotonic()
                if left is not None and left <= 0:
                    text = f"The step took longer than {self._timeout:g} s: it waited {self.waiting()}"
                    raise errors.DeadlineExceededError(None, None, text)
                self._changed.wait(left)
        finally:
            del self._waiting[edge]

    def check_deadline(self) -> None:
        """Raises DeadlineExceededError when the step took too long. (A kernel is not interrupted.)"""
        if self._deadline is not None and time.monotonic() > self._deadline:
            raise errors.DeadlineExceededError(None, None, f"The step took longer than {self._timeout:g} s")

    def waits(self) -> dict[int, float]:
        """For how many seconds which edges are being waited for."""
        now = time.monotonic()
        return {edge: now - since for edge, since in self._waiting.copy().items()}

    def waiting(self) -> str:
        """What is being waited for, and since when: for a report of a step that hangs."""
        edges = [f"for {self._named(edge)} for {seconds:.1f} s" for edge, seconds in self.waits().items()]
        return ", ".join([*(self._ending.described() if self._ending else ()), *edges]) or "for nothing"

    def abort(self, error: Exception) -> None:
        """End the step: whoever waits or will wait gets this error. The first error stays."""
        with self._lock:
            self.error = self.error or error
            if self._changed is not None:
                self._changed.notify_all()
        if self._ending is not None:
            self._ending.end(error)
