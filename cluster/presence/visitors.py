"""What a task notices of who uses it, and how it waits until nobody will any more: the shell around attendance.py."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from ...graph import errors
from ..transports.transport import Connection
from ..wire.protocol import Kind
from .attendance import Attendance

#: How often tasks that may still come are asked whether they run.
_ASK_SECONDS = 1.0


class Visitors:
    """The sessions that use a task and the programs of the cluster's other tasks."""

    def __init__(self, others: Iterable[str] = ()) -> None:
        #: Whether this task's program waits in `join`, and whether it waits for another to make its session ready.
        self.joined = self.idle = False
        self._attendance = Attendance(others)
        self._changed = threading.Condition()

    @contextmanager
    def session(self) -> Iterator[None]:
        """A session uses this task for the length of the block."""
        with self._changed:
            self._attendance.session_began()
        try:
            yield
        finally:
            with self._changed:
                self._attendance.session_ended(time.monotonic())
                self._changed.notify_all()

    def program(self, task: str, connection: Connection) -> None:
        """The program of another task is here as long as its connection lasts."""
        said_so = False
        with self._changed:
            self._attendance.came(task)
        try:
            said_so = connection.recv().kind == Kind.LEAVING
        finally:
            with self._changed:
                self._attendance.went(task, time.monotonic(), said_so)
                self._changed.notify_all()

    def heard_of(self, task: str, serves: bool) -> None:
        """Another task runs, and waits for others or does not."""
        with self._changed:
            self._attendance.answered(task, serves, time.monotonic())
            self._changed.notify_all()

    @property
    def serves(self) -> bool:
        """Whether this task's program does nothing but wait for others."""
        return self.joined or self.idle

    def left(self) -> tuple[str, ...]:
        """The tasks whose programs have said that they end."""
        with self._changed:
            return self._attendance.left()

    def wait(self, ask: Callable[[str], bool], ended: threading.Event, grace: float) -> None:
        """Return when the job is over (see Attendance), or `ended` is set.

        `ask(task)` tells whether a task waits for others itself; it raises OpError when the task does not answer.
        """
        self.joined = True
        self._attendance.grace = grace
        while not ended.is_set():
            with self._changed:
                if self._attendance.over(time.monotonic()):
                    return
                unknown = self._attendance.to_ask()
            for task in unknown:
                self._ask(task, ask)
            with self._changed:
                if not self._attendance.over(time.monotonic()):
                    self._changed.wait(_ASK_SECONDS)

    def _ask(self, task: str, ask: Callable[[str], bool]) -> None:
        try:
            self.heard_of(task, ask(task))
        except errors.OpError:
            with self._changed:
                self._attendance.silent(task)
