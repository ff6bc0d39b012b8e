"""The Ray actor that a task lives in: a thin shell around Worker."""

from __future__ import annotations

from dataclasses import replace

import ray

from ..presence.task_info import TaskInfo
from ..task.worker import Worker
from .log_tail import log_file


class TaskActor:
    """One task. Ray starts it and says when it dies; steps go past Ray, over the worker's own sockets."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._worker: Worker | None = None

    def start(self, secret: bytes, host: str, port: int, transports: tuple[str, ...], epoch: int) -> TaskInfo:
        """Listen; the secret comes over Ray's authenticated channel and is kept nowhere else. `host` "": this node's."""
        here = host or ray.util.get_node_ip_address()
        self._worker = Worker(self._name, secret, here, port, transports=transports, start=False)
        self._worker.epoch = epoch
        self._worker.start()
        return self._info()

    def begin_epoch(self, epoch: int) -> TaskInfo:
        """End the sessions of earlier epochs, and let in those of this one."""
        assert self._worker is not None
        self._worker.begin_epoch(epoch)
        return self._info()

    def _info(self) -> TaskInfo:
        assert self._worker is not None
        return replace(self._worker.info, log=log_file())

    def reset(self, containers: list[str]) -> None:
        """Forget what is in containers, and end all sessions."""
        assert self._worker is not None
        self._worker.reset(containers)

    def ping(self) -> None:
        """Whoever hears of the end of this call knows that the task lives."""

    def run(self) -> str:
        """Stay until the task is closed: as long as this call lasts, the task is alive."""
        assert self._worker is not None
        self._worker.wait()
        return self._name
