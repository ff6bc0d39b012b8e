"""Spinning: looks again and again for what is to come at once, before a thread goes to sleep for it.

A processor that sleeps takes 20 to 40 µs to wake on a virtual machine, which is several times what a message takes. Others are
not kept from working meanwhile: between two looks the thread lets them.
"""

from __future__ import annotations

import os
import select
import time

Events = list[tuple[int, int]]


class Spin:
    """Looks at an epoll for so many seconds, where what was waited for the last time came within them."""

    __slots__ = ("_began", "_poll", "_seconds", "_soon")

    def __init__(self, ready: select.epoll, seconds: float) -> None:
        self._seconds = seconds
        self._poll = ready.poll
        self._began = 0.0
        self._soon = True

    def give_way(self) -> None:
        """Let others work before there is anything to look for: whoever was sent something may be next on this processor.

        Not where waiting takes long: who sleeps is woken sooner than who gave way to somebody that computes.
        """
        if self._soon:
            os.sched_yield()

    def look(self, left: float | None) -> Events:
        """What came, if anything did in that time, or in `left` seconds."""
        now = self._began = time.perf_counter()
        if not self._soon:
            return []
        until = now + (self._seconds if left is None or left < 0 else min(left, self._seconds))
        while not (events := self._poll(0)) and time.perf_counter() < until:
            os.sched_yield()
        if events:
            self._soon = time.perf_counter() - now < self._seconds
        return events

    def sleep(self, left: float) -> Events:
        """What came, as `epoll.poll` waits for it, after `look` has found nothing."""
        events = self._poll(left)
        self.over()
        return events

    def over(self) -> None:
        """What `look` looked for has come, perhaps after it gave up."""
        self._soon = time.perf_counter() - self._began < self._seconds
