"""Places one actor a task on Ray, and tells when one ends."""

from __future__ import annotations

import contextlib
import socket
import time
from dataclasses import dataclass
from typing import Any

import ray
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from ..graph import errors
from ..graph.cluster_spec import ClusterSpec
from . import ray_connection
from .actor import TaskActor
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
        self._actors: dict[str, Any] = {}
        self._group: Any = None
        ray_connection.connect(self, address, len(self._places))
        try:
            self._deadline = time.monotonic() + timeout
            self._create()
        except BaseException:
            self.close()
            raise

    def _create(self) -> None:
        resource = ray_connection.resource()
        self._group = placement_group([_bundle(place, resource) for place in self._places], strategy="PACK")
        if not self._group.wait(self._timeout):
            raise errors.ResourceExhaustedError(None, None, self._no_room(resource))
        actor = ray.remote(TaskActor)
        for number, place in enumerate(self._places):
            self._actors[place.task] = actor.options(
                num_cpus=1 if resource == "CPU" else 0,
                resources={} if resource == "CPU" else {resource: 1},
                max_restarts=0,
                max_task_retries=0,
                max_concurrency=4,
                scheduling_strategy=PlacementGroupSchedulingStrategy(self._group, placement_group_bundle_index=number),
            ).remote(place.task)

    def _no_room(self, resource: str) -> str:
        have, free = ray.cluster_resources(), ray.available_resources()
        lines = [
            f"Ray has found no room for {len(self._places)} tasks within {self._timeout:g} s. Each needs 1 {resource}"
        ]
        lines.append(f"; of {have.get(resource, 0):g} in the cluster, {free.get(resource, 0):g} are free")
        missing = [place for place in self._places if place.ip and f"node:{place.ip}" not in have]
        lines += [f"; no node has the address {place.host} of {place.task}" for place in missing]
        return "".join(lines)

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
            raise errors.UnavailableError(None, None, f"Task {task} could not start: {_line(error)}") from None

    def close(self) -> None:
        """End the actors, give the placement group back, and stop Ray if it was started for this. Idempotent."""
        actors, self._actors = self._actors, {}
        group, self._group = self._group, None
        if ray.is_initialized():
            for actor in actors.values():
                with contextlib.suppress(Exception):  # it may be dead already, which is what is wanted
                    ray.kill(actor, no_restart=True)
            if group is not None:
                with contextlib.suppress(Exception):
                    remove_placement_group(group)
        ray_connection.disconnect(self)


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


def _bundle(place: _Place, resource: str) -> dict[str, float]:
    """What a task needs of Ray, and the node of its address when it names one."""
    return {resource: 1, f"node:{place.ip}": 0.001} if place.ip else {resource: 1}


def _why(reference: Any) -> str:
    try:
        ray.get(reference, timeout=1)
    except ray.exceptions.RayError as error:
        return _line(error)
    return "it was closed"


def _line(error: Exception) -> str:
    """The line that says what happened: of an actor that could not be made, it is the last one."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1].strip() if "creation task" in lines[0] else lines[0]
