"""Finding or starting Ray, and placing one actor a task on it: the only file besides the actor that talks to Ray."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from typing import Any

import ray
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from ..graph import errors
from ..graph.cluster_spec import ClusterSpec
from .actor import TaskActor, TaskInfo

_log = logging.getLogger("weft.cluster")

#: How long to try a Ray address before saying that nobody answers there.
ANSWER_SECONDS = 5.0


class RayTasks:
    """The actors of a cluster's tasks, and what of Ray was started for them."""

    def __init__(self, spec: ClusterSpec, address: str | None, timeout: float) -> None:
        self.spec = spec
        self._timeout = timeout
        self.actors: dict[str, Any] = {}
        self._group: Any = None
        self._owns_ray = _connect(address, len(spec.tasks()))
        try:
            self._place()
        except BaseException:
            self.close()
            raise

    def _place(self) -> None:
        tasks = self.spec.tasks()
        self._group = placement_group([_bundle(self.spec, job, index) for job, index in tasks], strategy="PACK")
        if not self._group.wait(self._timeout):
            raise errors.ResourceExhaustedError(
                None,
                None,
                f"Ray has not found room for {len(tasks)} tasks of 1 CPU within {self._timeout} s; "
                f"the cluster has {ray.cluster_resources()}, of which {ray.available_resources()} are free",
            )
        actor = ray.remote(TaskActor)
        for number, (job, index) in enumerate(tasks):
            name = f"/job:{job}/replica:0/task:{index}"
            where = PlacementGroupSchedulingStrategy(self._group, placement_group_bundle_index=number)
            self.actors[name] = actor.options(
                num_cpus=1,
                max_restarts=0,
                max_task_retries=0,
                max_concurrency=4,
                scheduling_strategy=where,
                runtime_env={"env_vars": _environment()},
            ).remote(name)

    def start(self, secret: bytes) -> dict[str, TaskInfo]:
        """Let every task listen. Raises UnavailableError naming the task that could not."""
        calls = {
            name: actor.start.remote(secret, _port(self.spec.task_address(job, index)))
            for (job, index), (name, actor) in zip(self.spec.tasks(), self.actors.items(), strict=True)
        }
        return {name: self._get(name, call) for name, call in calls.items()}

    def join(self, addresses: dict[str, dict[str, str]]) -> None:
        """Tell every task where its peers are."""
        for name, call in {
            name: self.actors[name].join_peers.remote(peers) for name, peers in addresses.items()
        }.items():
            self._get(name, call)

    def sentinels(self) -> dict[Any, str]:
        """A call on each task that lasts as long as the task; by Ray's reference to it."""
        return {actor.run.remote(): name for name, actor in self.actors.items()}

    def ended(self, sentinels: dict[Any, str], wait: float) -> dict[Any, str]:
        """Which tasks have ended, and why."""
        done, _ = ray.wait(list(sentinels), num_returns=1, timeout=wait)
        return {reference: _why(reference) for reference in done}

    def _get(self, task: str, reference: Any) -> Any:
        try:
            return ray.get(reference, timeout=self._timeout)
        except ray.exceptions.GetTimeoutError:
            raise errors.DeadlineExceededError(
                None, None, f"Task {task} did not start within {self._timeout} s"
            ) from None
        except ray.exceptions.RayTaskError as error:
            raise errors.UnavailableError(None, None, f"Task {task} could not start: {error.cause}") from None
        except ray.exceptions.RayError as error:
            raise errors.UnavailableError(None, None, f"Task {task} could not start: {error}") from None

    def close(self) -> None:
        """End the actors, give the placement group back, and stop Ray if it was started here. Idempotent."""
        actors, self.actors = self.actors, {}
        group, self._group = self._group, None
        if ray.is_initialized():
            for actor in actors.values():
                with contextlib.suppress(Exception):  # it may be dead already, which is what is wanted
                    ray.kill(actor, no_restart=True)
            if group is not None:
                with contextlib.suppress(Exception):
                    remove_placement_group(group)
        if self._owns_ray:
            self._owns_ray = False
            ray.shutdown()


def _connect(address: str | None, tasks: int) -> bool:
    """Connect to Ray at an address, or start it here when there is none; whether it was started here."""
    if ray.is_initialized():
        return False
    if address is None:
        ray.init(
            num_cpus=max(tasks, os.cpu_count() or 1),
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=100 << 20,
        )
        return True
    _check_answers(address)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise errors.UnavailableError(None, None, f"No Ray cluster can be used at '{address}': {error}") from None
    return True


def _check_answers(address: str) -> None:
    """Ray itself would try for a long time. Raises UnavailableError when nobody listens at host:port."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit() or "://" in address:
        return
    try:
        socket.create_connection((host, int(port)), timeout=ANSWER_SECONDS).close()
    except OSError as error:
        raise errors.UnavailableError(
            None,
            None,
            f"No Ray cluster answers at '{address}': {error}. Start one with `ray start --head`, or leave the address out.",
        ) from None


def _bundle(spec: ClusterSpec, job: str, index: int) -> dict[str, float]:
    """What a task needs of Ray: one CPU, and the node of its address when it names one."""
    host = spec.task_address(job, index).rpartition(":")[0]
    if not host or host in ("localhost", "127.0.0.1"):
        return {"CPU": 1}
    return {"CPU": 1, f"node:{socket.gethostbyname(host)}": 0.001}


def _port(address: str) -> int:
    port = address.rpartition(":")[2]
    return int(port) if port.isdigit() else 0


def _environment() -> dict[str, str]:
    """BLAS starts with as many threads in a task as in this process, so that one program gives the same bits in both."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    return {name: os.environ.get(name, str(os.cpu_count() or 1)) for name in names}


def _why(reference: Any) -> str:
    try:
        ray.get(reference, timeout=1)
    except ray.exceptions.RayError as error:
        return str(error).strip().split("\n")[0] or type(error).__name__
    return "it was closed"
