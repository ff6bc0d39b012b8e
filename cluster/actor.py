"""The Ray actor that a task lives in: a thin shell around Worker."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass

import ray

from .transport import Location
from .worker import Worker


@dataclass(frozen=True, slots=True)
class TaskInfo:
    """Where a task is: its name, host, process, and where it listens, by transport."""

    name: str
    host: str
    pid: int
    location: Location
    addresses: dict[str, str]

    def __str__(self) -> str:
        return f"{self.name} on {self.host}, process {self.pid}"


class TaskActor:
    """One task. Ray starts it and says when it dies; steps go past Ray, over the worker's own sockets."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._worker: Worker | None = None

    def start(self, secret: bytes, host: str, port: int) -> TaskInfo:
        """Listen; the secret comes over Ray's authenticated channel and is kept nowhere else. `host` "": this node's."""
        self._worker = Worker(self._name, secret, host or ray.util.get_node_ip_address(), port)
        addresses = self._worker.addresses
        return TaskInfo(self._name, socket.gethostname(), os.getpid(), Location.here(), addresses)

    def join_peers(self, addresses: dict[str, str]) -> None:
        """Learn where the other tasks are."""
        assert self._worker is not None
        self._worker.set_peers(addresses)

    def run(self) -> str:
        """Stay until the task is closed: as long as this call lasts, the task is alive."""
        assert self._worker is not None
        self._worker.wait()
        return self._name
