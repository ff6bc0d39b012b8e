"""Turns: the order in which a device runs its plans of a row of steps, several of which are in flight."""

from __future__ import annotations

import threading


class Turn:
    """A plan's place in the row of one device: it may begin when the plan before it has ended, unless that failed."""

    __slots__ = ("_before", "_go", "_lock", "_next", "_over", "failed")

    def __init__(self, before: Turn | None) -> None:
        self._before = before
        self._go = threading.Event()
        self._lock = threading.Lock()
        self._next: Turn | None = None
        self._over = False
        #: Whether the plan, or one before it, did not come to its end.
        self.failed = False
        if before is None or before._is_over_or_precedes(self):
            self._go.set()

    def _is_over_or_precedes(self, turn: Turn) -> bool:
        with self._lock:
            self._next = turn
            return self._over

    def wait(self) -> bool:
        """Wait until the plan before has ended, or for `wake`; whether this one may begin."""
        self._go.wait()
        before, self._before = self._before, None  # or each would keep all before it
        return before is None or (before._over and not before.failed)

    def wake(self) -> None:
        """The step has been given up: its plan need not wait any longer, and must not begin."""
        self._go.set()

    def end(self, failed: bool) -> None:
        """The plan has ended, or will not begin. What is said first stays."""
        with self._lock:
            if self._over:
                return
            self._over, self.failed = True, failed
            then = self._next
        if then is not None:
            then._go.set()
