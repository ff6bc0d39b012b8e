"""Spinning: looks again and again for what is to come at once, before a thread goes to sleep for it."""

from __future__ import annotations

import os
import select
import time

#: How long to look. A processor that sleeps takes 20 to 40 µs to wake on a virtual machine, on which others must not be kept from
#: working: between two looks the thread lets them.
SPIN_SECONDS = 200e-6

Events = list[tuple[int, int]]


class Spin:
    """Looks at an epoll for a moment, where what was waited for the last time came within one."""

    __slots__ = ("_began", "_poll", "_soon")

    def __init__(self, ready: select.epoll) -> None:
        self._poll = ready.poll
        self._began = 0.0
        self._soon = True

    def look(self, left: float | None) -> Events:
        """What came, if anything did in that moment, or in `left` seconds."""
        now = self._began = time.perf_counter()
        if not self._soon:
            return []
        until = now + (SPIN_SECONDS if left is None or left < 0 else min(left, SPIN_SECONDS))
        while not (events := self._poll(0)) and time.perf_counter() < until:
            os.sched_yield()
        return events

    def over(self) -> None:
        """What `look` looked for has come, perhaps after it gave up."""
        self._soon = time.perf_counter() - self._began < SPIN_SECONDS
