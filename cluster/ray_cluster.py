"""Places one actor a task on Ray, and tells when one ends."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from typing import Any

import ray

from ..graph import errors
from ..graph.cluster_spec import ClusterSpec
from .actor import TaskActor
from .ray_group import RayGroup, said
from .task_info import TaskInfo


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a task has to be: "" and 0 where that is free."""

    task: str
    host: str = ""
    port: int = 0
    ip: str = ""  #: of the node, for Ray; "" also for this machine's own name


class RayTasks:
    """The actors of a cluster's tasks, and what of Ray was started for them.

    Raises ValueError for addresses that are none, OpError when Ray cannot be reached or has no room.
    """

    def __init__(self, spec: ClusterSpec, address: str | None, timeout: float) -> None:
        self._places = [_place(spec, job, index) for job, index in spec.tasks()]
        self._timeout = timeout
        self._deadline = time.monotonic() + timeout
        self._group = RayGroup({place.task: place.ip for place in self._places}, address, timeout)
        self._actors = {place.task: self._group.actor(TaskActor, place.task, place.task) for place in self._places}

    def start(self, secret: bytes) -> dict[str, TaskInfo]:
        """Let every task listen. Raises UnavailableError naming the task that could not."""
        calls = {
            place.task: self._actors[place.task].start.remote(secret, place.host, place.port) for place in self._places
        }
        return {task: self._get(task, call) for task, call in calls.items()}

    def sentinels(self) -> dict[Any, str]:
        """A call on each task that lasts as long as the task; by Ray's reference to it."""
        return {actor.run.remote(): task for task, actor in self._actors.items()}

    def ended(self, sentinels: dict[Any, str], wait: float) -> dict[Any, str]:
        """Which tasks have ended, and why."""
        done, _ = ray.wait(list(sentinels), num_returns=1, timeout=wait)
        return {reference: _why(reference) for reference in done}

    def _get(self, task: str, reference: Any) -> Any:
        try:
            return ray.get(reference, timeout=max(1.0, self._deadline - time.monotonic()))
        except ray.exceptions.GetTimeoutError:
            text = f"Task {task} did not start within {self._timeout:g} s"
            raise errors.DeadlineExceededError(None, None, text) from None
        except ray.exceptions.RayTaskError as error:
            raise errors.UnavailableError(None, None, f"Task {task} could not start: {error.cause}") from None
        except ray.exceptions.RayError as error:
            raise errors.UnavailableError(None, None, f"Task {task} could not start: {said(error)}") from None

    def close(self) -> None:
        """End the actors, and what else of Ray was started for them. Idempotent."""
        self._group.close()


def _place(spec: ClusterSpec, job: str, index: int) -> _Place:
    """Where a ClusterSpec wants a task. Raises ValueError for an address that is none."""
    task, address = f"/job:{job}/replica:0/task:{index}", spec.task_address(job, index)
    if not address:
        return _Place(task)
    host, colon, port = address.rpartition(":")
    host = host.strip("[]")
    if not (host and colon and port.isdecimal() and int(port) < 1 << 16):
        raise ValueError(f"The address of {task} must be host:port, got {address!r}")
    try:
        ip = str(socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)[0][4][0])
    except OSError as error:
        raise ValueError(f"The host of {task}, {host!r}, is not known: {error}") from None
    return _Place(task, ip, int(port), "" if ip in ("127.0.0.1", "::1") else ip)


def _why(reference: Any) -> str:
    try:
        ray.get(reference, timeout=1)
    except ray.exceptions.RayError as error:
        return said(error)
    return "it was closed"
