"""The Ray actor that a task lives in: a thin shell around Worker."""

from __future__ import annotations

import ray

from .task_info import TaskInfo
from .worker import Worker


class TaskActor:
    """One task. Ray starts it and says when it dies; steps go past Ray, over the worker's own sockets."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._worker: Worker | None = None

    def start(self, secret: bytes, host: str, port: int) -> TaskInfo:
        """Listen; the secret comes over Ray's authenticated channel and is kept nowhere else. `host` "": this node's."""
        self._worker = Worker(self._name, secret, host or ray.util.get_node_ip_address(), port)
        return self._worker.info

    def run(self) -> str:
        """Stay until the task is closed: as long as this call lasts, the task is alive."""
        assert self._worker is not None
        self._worker.wait()
        return self._name
