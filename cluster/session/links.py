"""A session's connections to the tasks: one each, and a thread that reads it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Never

from ...graph import errors
from ..presence.greeting import greet
from ..reading.connections import Reading
from ..transports.transport import Connection
from ..wire.message import Message
from .heartbeat import Signs


class Links:
    """Connections to tasks by name. `take(task, message)` gets what comes, `lost(task, reason)` hears of an end.

    Both are called by whoever reads, one at a time: a thread in `wait`, or else one of the links. What `take` raises ends
    the connection.
    """

    def __init__(self, take: Callable[[str, Message], None], lost: Callable[[str, str], None]) -> None:
        self._take = take
        self._lost = lost
        self._connections: dict[str, Connection] = {}
        self._threads: list[threading.Thread] = []
        self._sent: set[str] = set()  #: the tasks that ever were sent tensors
        self._ended = threading.Event()
        self._reading: Reading[Never] = Reading(_Answers(self))
        self.wait, self.wake = self._reading.wait, self._reading.wake

    def open(self, task: str, address: str, secret: bytes, introduction: dict[str, Any]) -> None:
        """Connect to a task, say who this is, and read from now on. Raises OpError."""
        connection, _ = greet(address, secret, task, "the session", introduction)
        if not self._connections:
            self._start("weft reads", self._reading.stand_by)
        self._connections[task] = connection
        self._reading.add(connection)

    def _start(self, name: str, function: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=function, args=arguments, daemon=True, name=name)
        self._threads.append(thread)
        thread.start()

    def every(self, interval: float, function: Callable[[float], None]) -> None:
        """Call a function again and again until the end, in a thread of its own, with the seconds since it was last called."""
        self._start("weft heartbeat", self._repeat, interval, function)

    def _repeat(self, interval: float, function: Callable[[float], None]) -> None:
        last = time.monotonic()
        while not self._ended.wait(interval):
            now = time.monotonic()
            function(now - last)
            last = now

    def send(self, task: str, message: Message) -> None:
        """Send a message to a task; any thread may. Raises OpError, TypeError."""
        if message.tensors:
            self._sent.add(task)
        self._connections[task].send(message)

    def poke(self, task: str, message: Message) -> bool:
        """Send a message without tensors unless that would have to wait; whether it was sent. Raises OpError."""
        return self._connections[task].poke(message)

    def signs(self, task: str, asked: bool) -> Signs:
        """What came from a task and went there so far."""
        connection = self._connections[task]
        return Signs(connection.received, connection.sent, asked)

    def release(self, step: int) -> None:
        """All steps up to this one are over on every task: the memory of what was sent for them is used again."""
        for task in tuple(self._sent):
            self._connections[task].release(step)

    def cut(self, task: str) -> None:
        """End the connection to one task: whoever sends to it or reads from it hears that it is gone."""
        self._reading.remove(self._connections[task])
        self._connections[task].close()

    def close(self) -> None:
        """End all connections and their threads."""
        if threading.current_thread() in self._threads:  # the garbage collector ran in one, perhaps in `recv` itself
            threading.Thread(target=self.close, name="weft closes").start()
            return
        self._ended.set()
        self._reading.close()
        for connection in list(self._connections.values()):
            connection.close()
        for thread in self._threads:
            thread.join()


class _Answers:
    """Hands what comes over links to those who want it. Nothing that a task answers takes long."""

    def __init__(self, links: Links) -> None:
        self._links = links

    def take(self, connection: Connection, message: Message) -> None:
        self._links._take(connection.peer, message)

    def lost(self, connection: Connection, error: Exception) -> None:
        task = connection.peer
        if isinstance(error, errors.OpError):
            self._links._lost(task, error.message.removeprefix(f"{task} is gone: "))
        else:  # a bug must not leave the session waiting for what nobody reads
            self._links._lost(task, f"what it sent could not be understood: {error!r}")

    def start(self, function: Callable[[], None]) -> None:
        raise AssertionError(f"{function} is nothing that a task answers")

    def refuse(self, job: Never, error: RuntimeError) -> None:
        raise AssertionError(f"{job} is nothing that a task answers")
