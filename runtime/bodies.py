"""bodies: where the operations inside of branches and loops run, of those that may span devices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from ..graph.devices import DeviceSpec, within
from ..graph.dtypes import resource, variant
from ..graph.function import Argument, functions_of
from ..graph.ir import Operation, Tensor
from ..graph.opdef import OpDef
from ..graph.ops.branching import If
from ..graph.ops.constant import Const
from ..graph.ops.sizes import Rank, Shape, Size
from .openness import asks, inner_operations, is_functional, is_taped
from .program import Node, Program

_T = TypeVar("_T")

@dataclass(slots=True)
class Body:
    """The functions of one branch or loop: the device of each operation in them, and of those in others in them."""

    #: Where operations go that ask for nothing.
    home: DeviceSpec
    #: What was requested around.
    request: str = ""
    devices: dict[Operation, DeviceSpec] = field(default_factory=dict)
    inner: dict[Operation, Body] = field(default_factory=dict)
    #: Where variables are, by the arguments that stand for their handles.
    handles: dict[Tensor, DeviceSpec] = field(default_factory=dict)
    #: The devices that were asked for.
    asked: set[DeviceSpec] = field(default_factory=set)

    def device(self, operation: Operation | None) -> DeviceSpec:
        """Where an operation runs; None stands for what is not of the graph."""
        return self.home if operation is None else self.devices.get(operation, self.home)

    @property
    def used(self) -> set[DeviceSpec]:
        """The devices on which something is computed."""
        return {
            device
            for operation, device in self.devices.items()
            if not isinstance(operation.definition, (Argument, Const))
        }.union(*(body.used for body in self.inner.values()))


#: Finds the device for what is requested for an operation. Raises InvalidArgumentError where there is none.
Choose = Callable[[Operation, str], DeviceSpec]


def place_bodies(
    program: Program, places: set[int], fixed: set[int], chosen: list[DeviceSpec], choose: Choose
) -> dict[Operation, Body]:
    """The bodies of the nodes in `places` that span devices. What turns out to be on one device only is put there.

    `fixed`: those that have a device of their own in `chosen`; the others go where all that they do is asked for, if that
    is one device.
    """
    placing = _Placing(program, chosen, choose)
    bodies: dict[Operation, Body] = {}
    for position, node in enumerate(program.nodes):
        if not is_functional(node.definition) or node.origin is None:
            continue
        if position not in places:
            placing.note_closed(node, chosen[position])
            continue
        handles = [
            chosen[ref.node] if program.spec(ref).dtype is resource else None for ref in _given(node.definition, node.inputs)
        ]
        body = placing.body(node.definition, node.origin.device, chosen[position], handles, position not in fixed)
        used = body.used or {body.home}
        if len(used) > 1:
            bodies[node.origin] = body
            chosen[position] = body.home
        else:
            (chosen[position],) = used
    return bodies


def _given(definition: OpDef, inputs: Sequence[_T]) -> Sequence[_T]:
    """What the functions are given of the inputs."""
    return inputs[1:] if isinstance(definition, If) else inputs


class _Placing:
    """Walks through functions, and the functions in them."""

    def __init__(self, program: Program, chosen: Sequence[DeviceSpec], choose: Choose) -> None:
        self._choose = choose
        #: Where operations are, by name: for those that are to be where these are.
        self._named = {node.name: device for node, device in zip(program.nodes, chosen, strict=True)}

    def note_closed(self, node: Node, device: DeviceSpec) -> None:
        """All of it is on one device."""
        for operation in inner_operations(node.definition):
            self._named[operation.name] = device

    def body(
        self, definition: OpDef, request: str, home: DeviceSpec, handles: Sequence[DeviceSpec | None], free: bool
    ) -> Body:
        """The body of a branch or a loop; if it is `free`, its home is the one device that is asked for inside, if it is one."""
        found = self._placed(definition, Body(home, request), handles)
        if free and len(found.asked) == 1:
            (asked,) = found.asked
            if asked != home:
                found = self._placed(definition, Body(asked, request), handles)
        return found

    def _placed(self, definition: OpDef, body: Body, handles: Sequence[DeviceSpec | None]) -> Body:
        for function in functions_of(definition):
            for tensor, device in zip(function.inputs, handles, strict=True):
                if device is not None:
                    body.handles[tensor] = device
            for operation in function.operations:
                body.devices[operation] = self._named[operation.name] = self._device(operation, body, definition)
        return body

    def _device(self, operation: Operation, body: Body, around: OpDef) -> DeviceSpec:
        asked = self._asked(operation, body)
        if is_functional(operation.definition):
            return self._functional(operation, body, asked, around)
        if asked is not None:
            if not isinstance(operation.definition, Const):
                body.asked.add(asked)
            return asked
        if isinstance(operation.definition, (Shape, Size, Rank)):
            return body.device(operation.inputs[0].op)
        return body.home

    def _asked(self, operation: Operation, body: Body) -> DeviceSpec | None:
        """The device that an operation must or wants to be on: its variable's, then that of what it is to be with."""
        if any(tensor.dtype is variant for tensor in (*operation.inputs, *operation.outputs[: _results(operation)])):
            return body.home  # what holds elements or a tape does not travel
        if not is_functional(operation.definition):
            for tensor in operation.inputs:
                if tensor.dtype is resource:
                    return self._handle(tensor, body)
        for name in operation.colocation:
            if name in self._named:
                return self._named[name]
        if operation.device:
            request = within(DeviceSpec.from_string(body.request), operation.device) if body.request else operation.device
            return self._choose(operation, request)
        return None

    @staticmethod
    def _handle(tensor: Tensor, body: Body) -> DeviceSpec:
        return body.handles.get(tensor) or body.device(tensor.op)

    def _functional(self, operation: Operation, body: Body, asked: DeviceSpec | None, around: OpDef) -> DeviceSpec:
        """Where a branch or a loop in a function goes; it may span devices itself."""
        given = _given(operation.definition, operation.inputs)
        handles = [self._handle(tensor, body) if tensor.dtype is resource else None for tensor in given]
        variables = {device for device in handles if device is not None}
        spans = asks(operation.definition) or len(variables) > 1 or (asked is not None and variables > {asked})
        if not spans or is_taped(operation, inner_operations(around)):
            wanted = variables or ({asked} if asked is not None else set())
            body.asked |= wanted
            device = next(iter(wanted), body.home)
            for inner in inner_operations(operation.definition):
                self._named[inner.name] = device
            return device
        request = operation.device or body.request
        if operation.device and body.request:
            request = within(DeviceSpec.from_string(body.request), operation.device)
        found = self.body(operation.definition, request, asked or body.home, handles, asked is None)
        body.asked |= found.asked
        if asked is not None:
            body.asked.add(asked)
        used = found.used or {found.home}
        if len(used) > 1:
            body.inner[operation] = found
            return found.home
        (device,) = used
        return device


def _results(operation: Operation) -> int:
    """How many outputs an operation has, without the tape."""
    return len(operation.outputs) - is_functional(operation.definition)
