"""Reads several connections at once, in whichever thread waits for something to come, or else in one that stands by."""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, Protocol, TypeVar

from ...graph import errors
from ..transports.transport import Connection
from ..wire.message import Message
from .held_signals import HeldSignals
from .spin import Spin
from .watch import Watch

#: What a message asks for and whoever reads must not do itself, for it may take long.
Job = TypeVar("Job", bound=Callable[[], None])
_ONCE = select.EPOLLIN | select.EPOLLONESHOT
#: What the second descriptor of a poll stands for.
_FOREVER = -1.0
#: How many seconds to look for what is waited for: somebody computes it, and has more use for the processor.
_WAIT_SPIN = 100e-6


class Reader(Protocol[Job]):
    """What is done about what comes. All of it is called by one thread at a time."""

    def take(self, connection: Connection, message: Message) -> Job | None:
        """Take a message; returns what it asks for, if that may take long. What it raises ends the connection."""
        ...

    def lost(self, connection: Connection, error: Exception) -> None:
        """Nothing more comes from this connection."""
        ...

    def start(self, function: Callable[[], None]) -> None:
        """Run a function in another thread. Raises RuntimeError when there is none to be had."""
        ...

    def refuse(self, job: Job, error: RuntimeError) -> None:
        """There is no thread in which to do this, or in which to read meanwhile."""
        ...


class Reading(Generic[Job]):
    """The connections of a session, or of a task's part of one.

    `wait` reads in the thread that calls it, for a wake-up of another one takes longer than the message itself. What comes
    while nobody waits wakes a thread in `stand_by`, which also does the first job it finds. For this, the connections are
    in one epoll, and that, while the turn to read is free (`Watch`), in another one, on which those sleep who stand by.
    `spin`: how many seconds to look for what comes after a job, before going to sleep.
    """

    def __init__(self, reader: Reader[Job], spin: float = 0.0) -> None:
        self._reader = reader
        self._connections: dict[int, Connection] = {}
        self._added: list[Connection] = []
        self._ready, self._came = select.epoll(), select.epoll()
        self._woken, self._ended = (os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK) for _ in range(2))
        self._ready.register(self._woken, select.EPOLLIN)
        self._came.register(self._ended, select.EPOLLIN)
        self._ready_number = self._ready.fileno()
        self._came.register(self._ready_number, _ONCE)
        self._watch = Watch(self._arm)
        self._spin, self._pause = Spin(self._ready, _WAIT_SPIN), Spin(self._ready, spin)
        self.polling = 0  #: the thread that waits for something to come
        self._lock = threading.RLock()  # the garbage collector may close a session amid anything
        self._standing = self._idle = 0  #: threads in `stand_by`, and those of them that sleep
        self._closed = False

    def add(self, connection: Connection) -> None:
        """Read this connection from now on, and what it has taken in already. Raises CancelledError after `close`."""
        number = connection.fileno()
        with self._lock:
            if self._closed:
                raise errors.CancelledError(None, None, f"nobody reads any more what {connection.peer} sends")
            self._connections[number] = connection
            self._added.append(connection)
            self._ready.register(number, select.EPOLLIN)
            os.eventfd_write(self._woken, 1)

    def remove(self, connection: Connection) -> None:
        """Read it no more."""
        for number, other in list(self._connections.items()):
            if other is connection:
                del self._connections[number]
                with suppress(OSError, ValueError):  # it is closed already
                    self._ready.unregister(number)

    def wake(self) -> None:
        """Something has happened that did not come from a connection: whoever waits has to look again."""
        if self.polling and self.polling != threading.get_ident():
            with self._lock:
                if not self._closed:  # else it is awake
                    os.eventfd_write(self._woken, 1)

    def wait(self, done: Callable[[], bool], until: float | None = None) -> bool:
        """Read until `done()`, or until that time. False when another thread does so: it will do it for this one, too.

        Handlers of signals, such as Ctrl-C's, run only between messages.
        """
        self._spin.give_way()
        with HeldSignals() as signals:
            if self._closed or not self._watch.take():
                return False
            try:
                while not done() and not self._closed:
                    left = _FOREVER if until is None else until - time.monotonic()
                    if until is not None and left <= 0:
                        break
                    self.polling = threading.get_ident()
                    if done():
                        break
                    signals.open = True
                    try:
                        events = self._spin.look(left) or self._spin.sleep(left)
                    finally:
                        signals.open = False
                        self.polling = 0
                    for job in self._read(events):
                        self._begin(job)
            finally:
                self.polling = 0
                self._watch.give()
                self._dispose()
        return True

    def stand_by(self) -> None:
        """Read what comes while nobody waits, until the end."""
        with self._lock:
            self._standing += 1
        try:
            while not self._closed:
                jobs = self._sleep()
                while jobs:
                    for job in jobs[1:]:
                        self._begin(job)
                    if self._idle > 0 or self._started(self.stand_by, jobs[0]):  # another thread stands by meanwhile
                        jobs[0]()
                        self._pause.give_way()
                    jobs = self._look()
        finally:
            with self._lock:
                self._standing -= 1
            self._dispose()

    def _sleep(self) -> list[Job]:
        """Wait for something to come, and read it if nobody else does."""
        with self._lock:
            self._idle += 1
        try:
            self._came.poll()
        finally:
            with self._lock:
                self._idle -= 1
        if self._closed or not self._watch.take():
            return []
        try:
            self._pause.over()
            return self._read(self._ready.poll(0))
        finally:
            self._watch.give()

    def _look(self) -> list[Job]:
        """After a job: look for a moment whether the next comes soon."""
        if self._closed or not self._watch.take():
            return []
        try:
            return self._read(self._pause.look(None))
        finally:
            self._watch.give()

    def _begin(self, job: Job) -> None:
        self._started(job, job)

    def _started(self, function: Callable[[], None], job: Job) -> bool:
        try:
            self._reader.start(function)
        except RuntimeError as error:
            self._reader.refuse(job, error)
            return False
        return True

    # reading, by who has the turn

    def _read(self, events: list[tuple[int, int]]) -> list[Job]:
        """Take what came on these descriptors."""
        jobs: list[Job] = []
        for number, _ in events:
            if number == self._woken:
                with suppress(BlockingIOError):
                    os.eventfd_read(number)
                while self._added:
                    self._read_one(self._added.pop(), jobs)
            elif (connection := self._connections.get(number)) is not None:
                self._read_one(connection, jobs)
        return jobs

    def _read_one(self, connection: Connection, jobs: list[Job]) -> None:
        try:
            for message in connection.come():
                job = self._reader.take(connection, message)
                if job is not None:
                    jobs.append(job)
        except Exception as error:
            self.remove(connection)
            self._reader.lost(connection, error)

    def _arm(self, on: bool) -> None:
        if not self._closed:
            try:  # noqa: SIM105 - twice a message, where `suppress` would be three calls more
                self._came.modify(self._ready_number, _ONCE if on else 0)
            except (ValueError, OSError):  # it is being closed
                pass

    # the end

    def close(self) -> None:
        """Wake all who wait or stand by; the last of them closes what they waited on. Idempotent."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            os.eventfd_write(self._ended, 1)
            os.eventfd_write(self._woken, 1)
        self._dispose()

    def _dispose(self) -> None:
        """Close the descriptors when the end has come and nobody uses them any more."""
        if not self._closed:
            return
        with self._lock:
            if not self._standing and self._watch.end():
                self._ready.close()
                self._came.close()
                os.close(self._woken)
                os.close(self._ended)
