"""Room for so many actors on Ray: a placement group with a bundle for each."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import ray
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from ...graph import errors
from . import connection as ray_connection


class RayGroup:
    """A bundle of one CPU for each task, and the actors in them; Ray is started for them where there is none.

    `nodes`: for each task the address of the node that it must be on, "" for any. `timeout`: how many seconds Ray may take to
    find room. Raises OpError when Ray cannot be reached or has no room.
    """

    def __init__(self, nodes: Mapping[str, str], address: str | None, timeout: float) -> None:
        self._numbers = {task: number for number, task in enumerate(nodes)}
        self._actors: dict[str, Any] = {}
        self._group: Any = None
        ray_connection.connect(self, address, len(nodes))
        try:
            self._resource = ray_connection.resource()
            self._group = placement_group([self._bundle(node) for node in nodes.values()], strategy="PACK")
            if not self._group.wait(timeout):
                raise errors.ResourceExhaustedError(None, None, self._no_room(nodes, timeout))
        except BaseException:
            self.close()
            raise

    def actor(self, kind: type, task: str, *arguments: Any, options: Mapping[str, Any] | None = None) -> Any:
        """A new actor in a task's bundle, in the place of the one that was there. Ray never starts it again."""
        self._kill(self._actors.pop(task, None))
        counted = self._resource == "CPU"
        made = ray.remote(kind).options(
            num_cpus=1 if counted else 0,
            resources={} if counted else {self._resource: 1},
            max_restarts=0,
            max_task_retries=0,
            max_concurrency=4,
            scheduling_strategy=self._place(task),
            **(options or {}),
        )
        self._actors[task] = actor = made.remote(*arguments)
        return actor

    def beside(self, function: Callable[..., Any], task: str, *arguments: Any) -> Any:
        """Begin a call on the node of a task, whether or not the task lives; Ray's reference to the result."""
        made = ray.remote(function).options(num_cpus=0, max_retries=0, scheduling_strategy=self._place(task))
        return made.remote(*arguments)

    def _place(self, task: str) -> PlacementGroupSchedulingStrategy:
        return PlacementGroupSchedulingStrategy(self._group, placement_group_bundle_index=self._numbers[task])

    def close(self) -> None:
        """End the actors, give the placement group back, and stop Ray if it was started for this. Idempotent."""
        actors, self._actors = self._actors, {}
        group, self._group = self._group, None
        if ray.is_initialized():
            for actor in actors.values():
                self._kill(actor)
            if group is not None:
                with contextlib.suppress(Exception):
                    remove_placement_group(group)
        ray_connection.disconnect(self)

    def _kill(self, actor: Any) -> None:
        if actor is not None:
            with contextlib.suppress(Exception):  # it may be dead already, which is what is wanted
                ray.kill(actor, no_restart=True)

    def _bundle(self, node: str) -> dict[str, float]:
        return {self._resource: 1, f"node:{node}": 0.001} if node else {self._resource: 1}

    @property
    def room(self) -> str:
        """What a task needs, and what of it there is."""
        have, free = (found.get(self._resource, 0) for found in (ray.cluster_resources(), ray.available_resources()))
        return f"Each needs 1 {self._resource}; of {have:g} in the cluster, {free:g} are free"

    def _no_room(self, nodes: Mapping[str, str], timeout: float) -> str:
        have = ray.cluster_resources()
        lines = [f"Ray has found no room for {len(nodes)} tasks within {timeout:g} s. {self.room}"]
        missing = [(task, node) for task, node in nodes.items() if node and f"node:{node}" not in have]
        lines += [f"; no node has the address {node} of {task}" for task, node in missing]
        return "".join(lines)


def said(error: Exception) -> str:
    """The line of one of Ray's errors that says what happened: of an actor that could not be made, it is the last one."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1].strip() if "creation task" in lines[0] else lines[0]
