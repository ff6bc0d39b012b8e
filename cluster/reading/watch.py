"""Who reads what comes: one thread at a time, and while none does, one that stands by is woken by it."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Watch:
    """A turn that one thread at a time holds. `arm(on)` makes what comes wake a thread that stands by, or no longer.

    While nobody holds the turn it is armed, so nothing comes unnoticed; who holds it takes what comes itself, and wakes
    nobody. Both methods may be called from any thread, and neither waits.
    """

    __slots__ = ("_arm", "_turn")

    def __init__(self, arm: Callable[[bool], None]) -> None:
        self._turn = threading.Lock()
        self._arm = arm

    def take(self) -> bool:
        """Whether the turn was free, and is this thread's now."""
        if not self._turn.acquire(blocking=False):
            return False
        self._arm(False)
        return True

    def give(self) -> None:
        """Give the turn back.

        It is armed after it is free, not before: a thread that is woken finds it free, or else held by one that will
        arm it again.
        """
        self._turn.release()
        self._arm(True)

    def end(self) -> bool:
        """Take the turn, if it is free, for good."""
        return self._turn.acquire(blocking=False)
