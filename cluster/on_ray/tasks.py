"""Places one actor a task on Ray, starts one anew, and tells when one ends."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import ray

from ...graph import errors
from ...graph.cluster_spec import ClusterSpec
from ..presence.task_info import TaskInfo
from ..transports.transport import Location
from .actor import TaskActor
from .group import RayGroup, said
from .log_tail import tail

#: How long a host may take to read what a task on it wrote last.
_READING_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a task has to be: "" and 0 where that is free."""

    task: str
    host: str = ""
    port: int = 0
    ip: str = ""  #: of the node, for Ray; "" also for this machine's own name


@dataclass(frozen=True, slots=True)
class End:
    """Why a task has ended. `preempted`: Ray has taken its host away."""

    reason: str
    preempted: bool = False


class RayTasks:
    """The actors of a cluster's tasks, which listen by these transports, and what of Ray was started for them.

    Raises ValueError for addresses that are none, OpError when Ray cannot be reached or has no room.
    """

    def __init__(self, spec: ClusterSpec, address: str | None, timeout: float, transports: tuple[str, ...]) -> None:
        self._transports = transports
        self._places = {place.task: place for place in (_place(spec, *task) for task in spec.tasks())}
        self._timeout = timeout
        self._deadline = time.monotonic() + timeout
        self._group = RayGroup({task: place.ip for task, place in self._places.items()}, address, timeout)
        self._actors = {task: self._group.actor(TaskActor, task, task) for task in self._places}

    def start(self, secret: bytes) -> dict[str, TaskInfo]:
        """Let every task listen. Raises UnavailableError naming the task that could not."""
        calls = {place.task: self._begun(place, secret, 0) for place in self._places.values()}
        return {task: self._get(task, call) for task, call in calls.items()}

    def create(self, task: str, secret: bytes, epoch: int) -> Any:
        """Begin to start a task anew in its place, the one that was there being ended; Ray's reference to its TaskInfo."""
        self._actors[task] = self._group.actor(TaskActor, task, task)
        return self._begun(self._places[task], secret, epoch)

    def begin(self, task: str, epoch: int) -> Any:
        """Begin to let a task begin an epoch; Ray's reference to its TaskInfo."""
        return self._actors[task].begin_epoch.remote(epoch)

    def reset(self, containers: list[str]) -> None:
        """Let all tasks forget what is in containers. Raises UnavailableError naming the task that could not."""
        calls = {task: actor.reset.remote(containers) for task, actor in self._actors.items()}
        for task, call in calls.items():
            try:
                ray.get(call, timeout=self._timeout)
            except ray.exceptions.RayError as error:
                raise errors.UnavailableError(None, None, f"Task {task} could not be reset: {said(error)}") from None

    def silent(self, tasks: Iterable[str], seconds: float) -> dict[str, End]:
        """Which of these tasks are gone, or do not answer within so many seconds, and why."""
        calls = {self._actors[task].ping.remote(): task for task in tasks}
        done, late = ray.wait(list(calls), num_returns=len(calls), timeout=seconds) if calls else ([], [])
        ends = {calls[call]: self.end_of(call) for call in done}
        found = {task: end for task, end in ends.items() if end is not None}
        return found | {calls[call]: End(f"it has not answered for {seconds:g} s") for call in late}

    def sentinel(self, task: str) -> Any:
        """A call on a task that lasts as long as the task: Ray's reference to it."""
        return self._actors[task].run.remote()

    def wait(self, references: Iterable[Any], seconds: float) -> list[Any]:
        """Which calls are over, after at most so many seconds."""
        done, _ = ray.wait(list(references), num_returns=1, timeout=seconds)
        return list(done)

    def end_of(self, reference: Any) -> End | None:
        """Why a call that is over has failed; None when it has not."""
        try:
            ray.get(reference, timeout=1)
        except ray.exceptions.RayTaskError as error:
            return End(f"it could not start: {error.cause}")
        except ray.exceptions.RayError as error:
            return End(said(error), bool(getattr(error, "preempted", False)))
        return None

    def value_of(self, reference: Any) -> Any:
        """What a call that has not failed has given."""
        return ray.get(reference, timeout=1)

    def log_tail(self, info: TaskInfo) -> str:
        """What a task wrote last before it ended, as far as its host can still read that to us, and where there is more."""
        here = info.location.node == Location.here().node
        if not info.log or not (here or ray.is_initialized()):  # a call would start another Ray
            return ""
        try:
            lines = tail(info.log) if here else self._tail_there(info)
        except ray.exceptions.RayError as error:
            return f"\nIts log, {info.log} on {info.host}, cannot be read now: {said(error)}"
        return f"\nThe last it wrote ({info.log} on {info.host}):\n{lines}" if lines else ""

    def _tail_there(self, info: TaskInfo) -> str:
        return str(ray.get(self._group.beside(tail, info.name, info.log), timeout=_READING_SECONDS))

    @property
    def no_room(self) -> str:
        """What Ray has, and what of it is free: for errors about tasks that did not start."""
        return self._group.room

    def _begun(self, place: _Place, secret: bytes, epoch: int) -> Any:
        return self._actors[place.task].start.remote(secret, place.host, place.port, self._transports, epoch)

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
