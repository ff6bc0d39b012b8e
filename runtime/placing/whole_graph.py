"""The whole graph of a session: every operation must have a device, also those that no run needs, as in TensorFlow."""

from __future__ import annotations

import threading
from typing import Any

from ...graph.devices import DeviceSpec
from ...graph.dtypes import resource
from ...graph.ir import Graph, Operation
from ..engine import Engine
from ..stages.program import Node, Program
from .place import attempts, place


class WholeGraph:
    """What a session has looked at of its graph, for devices that are not there and colocations that contradict each other.

    Operations without either cost next to nothing. What is wrong stays so, for a graph only grows: each run is refused.
    """

    def __init__(self, graph: Graph, engine: Engine, config: Any) -> None:
        self._graph = graph
        self._engine = engine
        self._soft: bool = config.allow_soft_placement
        #: How many operations have been looked at; it stops at the first that is wrong.
        self.seen = 0
        self._lock = threading.Lock()
        self._fits: dict[str, bool] = {"": True}
        #: For each name that operations are colocated with: the group's, what it requests, and who requested that.
        self._parents: dict[str, str] = {}
        self._requests: dict[str, tuple[DeviceSpec, Operation]] = {}

    def look(self) -> None:
        """Look at what was added. Raises InvalidArgumentError as `place`."""
        with self._lock:
            start, fits = self.seen, self._fits
            added = self._graph.operations_from(start)
            for position, operation in enumerate(added, start):
                if operation.colocation or not fits.get(operation.device):
                    self.seen = position
                    self._look_at(operation)
            self.seen = start + len(added)

    def _look_at(self, operation: Operation) -> None:
        if any(tensor.dtype is resource for tensor in operation.inputs):
            return  # it goes where its variable is
        if not self._is_there(operation.device):
            self._refuse(operation)
        if not operation.colocation or self._soft:
            return
        mine = DeviceSpec.from_string(operation.device)
        roots = list(dict.fromkeys(self._root(name) for name in operation.colocation))
        for root in roots:
            request, other = self._requests[root]
            try:
                mine = mine.merge(request)
            except ValueError:
                self._refuse(other, operation, *(self._requests[root][1] for root in roots))
        for root in roots[1:]:
            self._parents[root] = roots[0]
        self._requests[roots[0]] = mine, operation if operation.device else self._requests[roots[0]][1]

    def _is_there(self, device: str) -> bool:
        fits = self._fits.get(device)
        if fits is None:
            tried = attempts(DeviceSpec.from_string(device), self._soft, self._engine.local)
            fits = any(attempt.matches(known) for attempt in tried for known in self._engine.devices)
            self._fits[device] = fits
        return fits

    def _root(self, name: str) -> str:
        if name not in self._parents:
            owner = self._graph.get_operation_by_name(name)
            self._parents[name] = name
            self._requests[name] = DeviceSpec.from_string(owner.device), owner
        while self._parents[name] != name:
            name = self._parents[name]
        return name

    def _refuse(self, *operations: Operation) -> None:
        """Raises what the placer says of them."""
        nodes = [Node(each.name, each.definition, (), (), (), each) for each in dict.fromkeys(operations)]
        engine = self._engine
        place(Program(tuple(nodes), (), ()), engine.devices, engine.default_device, self._soft, engine.local)
