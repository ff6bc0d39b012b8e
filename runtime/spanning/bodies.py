"""bodies: where the operations inside of branches and loops run, of those that may span devices."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple, TypeVar

from ...graph.devices import DeviceSpec, within
from ...graph.dtypes import resource, variant
from ...graph.function import Argument, Function, functions_of
from ...graph.ir import Operation, Tensor
from ...graph.opdef import OpDef
from ...graph.ops.branching import If
from ...graph.ops.constant import Const
from ...graph.ops.looping import While
from ...graph.ops.sizes import Rank, Shape, Size
from ...graph.ops.tapes import EmptyTape, TapeLength, TapeRead, TapeSum, TapeWrite
from ..stages.program import Program
from .openness import asks, is_functional, is_tape, is_tape_ref, takes_tape
from .unchanging import unchanging_operations, variable_at, variable_of

_T = TypeVar("_T")

#: Finds the device for what is requested for an operation. Raises InvalidArgumentError where there is none.
Choose = Callable[[Operation, str], DeviceSpec]


class Handle(NamedTuple):
    """What an argument that is a handle stands for: where that is, and if it is a variable, its name."""

    device: DeviceSpec
    variable: str | None


#: For each of the values that functions are given, what handle it is, if it is one.
Handles = Sequence[Handle | None]


@dataclass(slots=True)
class Body:
    """The functions of one branch or loop: the device of each operation in them, and of those in others in them."""

    #: Where operations go that ask for nothing.
    home: DeviceSpec
    #: What was requested around.
    request: str = ""
    devices: dict[Operation, DeviceSpec] = field(default_factory=dict)
    inner: dict[Operation, Body] = field(default_factory=dict)
    #: The variables, by the arguments that stand for their handles.
    handles: dict[Tensor, Handle] = field(default_factory=dict)
    #: What runs once, in the first iteration of a loop, and not again: it is the same in each.
    once: set[Operation] = field(default_factory=set)
    #: The devices that were asked for.
    asked: set[DeviceSpec] = field(default_factory=set)

    def device(self, operation: Operation | None) -> DeviceSpec:
        """Where an operation runs; None stands for what is not of the graph."""
        return self.home if operation is None else self.devices.get(operation, self.home)

    @property
    def used(self) -> set[DeviceSpec]:
        """The devices on which something is computed, in a loop in each iteration."""
        found = {
            device for operation, device in self.devices.items() if _computes(operation) and operation not in self.once
        }
        return found.union(*(body.touched for body in self.inner.values()))

    @property
    def touched(self) -> set[DeviceSpec]:
        """The devices on which something is computed, if only once."""
        return self.used.union(self.devices[operation] for operation in self.once)

    @property
    def all(self) -> list[DeviceSpec]:
        """The devices that have a piece of its tape: all that something is computed on each time, and its home."""
        return sorted(self.used | {self.home}, key=str)


def _computes(operation: Operation) -> bool:
    """Whether it matters where an operation runs. Sums of tapes and the like run wherever a piece of these is."""
    definition = operation.definition
    if isinstance(definition, TapeRead):
        return definition.dtype is not variant
    return not isinstance(definition, (Argument, Const, EmptyTape, TapeSum))


@dataclass(slots=True)
class Bodies:
    """All bodies of a program that span devices, and where operations are, by name."""

    of: dict[Operation, Body] = field(default_factory=dict)
    #: For the tape of each branch and loop that spans devices, by the tensor's name, those that have a piece of it.
    tapes: dict[str, list[str]] = field(default_factory=dict)
    named: dict[str, DeviceSpec] = field(default_factory=dict)

    def devices_of_entry(self, entry: str, body: Body) -> list[str]:
        """Where a tape keeps an entry, and where it is read: of what is a tape itself, all pieces."""
        return self.tapes.get(entry) or [str(self.named.get(entry.rpartition(":")[0], body.home))]


def place_bodies(
    program: Program,
    places: Collection[int],
    fixed: Collection[int],
    chosen: list[DeviceSpec],
    choose: Choose,
    named: Mapping[str, DeviceSpec] = MappingProxyType({}),
) -> Bodies:
    """The bodies of the nodes in `places` that span devices. What turns out to be on one device only is put there.

    `fixed`: those that have a device of their own in `chosen`; the others go where all that they do is asked for, if that
    is one device. What reads or writes a tape goes where the entry is. `named`: where operations are that the program
    does not have any more.
    """
    placing = _Placing(program, chosen, choose, named)
    for position, node in enumerate(program.nodes):
        if isinstance(node.definition, (TapeRead, TapeWrite)):
            chosen[position] = placing.bodies.named.get(_entry(node.definition), chosen[position])
        if not is_functional(node.definition) or node.origin is None:
            continue
        if position in places:
            handles = [
                Handle(chosen[ref.node], variable_at(program, ref)) if program.spec(ref).dtype is resource else None
                for ref in _given(node.definition, node.inputs)
            ]
            once = _once(node.definition, handles, [is_tape_ref(program, ref) for ref in node.inputs])
            free = position not in fixed
            body = placing.body(node.definition, once, node.origin.device, chosen[position], handles, free)
            chosen[position] = placing.settle(node.origin, body, placing.bodies.of)
        else:
            placing.note_closed(node.definition, chosen[position])
    return placing.bodies


def _entry(definition: TapeRead | TapeWrite) -> str:
    """The operation whose result the entry is."""
    return definition.entry.rpartition(":")[0]


def _once(definition: OpDef, handles: Handles, tapes: Sequence[bool]) -> set[Operation]:
    """What of a branch or a loop need not run in each iteration. `tapes`: which inputs are tapes.

    In one that carries a tape all of it does: each device that has a piece of that must have a part in all iterations.
    """
    if not isinstance(definition, While) or any(tapes[: definition.count]):
        return set()
    return unchanging_operations(definition, [None if handle is None else handle.variable for handle in handles])


def _tape_of(operation: Operation) -> str:
    return f"{operation.name}:{len(operation.outputs) - 1}"


def _given(definition: OpDef, inputs: Sequence[_T]) -> Sequence[_T]:
    """What the functions are given of the inputs."""
    return inputs[1:] if isinstance(definition, If) else inputs


class _Placing:
    """Walks through functions, and the functions in them."""

    def __init__(
        self, program: Program, chosen: Sequence[DeviceSpec], choose: Choose, named: Mapping[str, DeviceSpec]
    ) -> None:
        self._choose = choose
        here = {node.name: at for node, at in zip(program.nodes, chosen, strict=True)}
        self.bodies = Bodies(named={**named, **here})
        self._named = self.bodies.named

    def note_closed(self, definition: OpDef, device: DeviceSpec) -> None:
        """All of it is on one device."""
        for function in functions_of(definition):
            self._note_inputs(function, device)
            for operation in function.operations:
                self._named[operation.name] = device
                self.bodies.tapes.pop(_tape_of(operation), None)
                self.note_closed(operation.definition, device)

    def _note_inputs(self, function: Function, device: DeviceSpec) -> None:
        for tensor in function.inputs:
            self._named[tensor.op.name] = device

    def settle(self, operation: Operation, body: Body, into: dict[Operation, Body]) -> DeviceSpec:
        """Note a body if it spans devices; returns where the operation is."""
        touched = body.touched or {body.home}
        if len(touched) == 1:
            (device,) = touched
            self.bodies.tapes.pop(_tape_of(operation), None)  # it may have spanned some with another home
            self.note_closed(operation.definition, device)
            return device
        into[operation] = body
        self.bodies.tapes[_tape_of(operation)] = [str(device) for device in body.all]
        return body.home

    def body(
        self, definition: OpDef, once: set[Operation], request: str, home: DeviceSpec, handles: Handles, free: bool
    ) -> Body:
        """The body of a branch or a loop; if it is `free`, its home is the one device that is asked for inside, if it is one."""
        found = self._placed(definition, Body(home, request, once=once), handles)
        if free and len(found.asked) == 1:
            (asked,) = found.asked
            if asked != home:
                found = self._placed(definition, Body(asked, request, once=once), handles)
        return found

    def _placed(self, definition: OpDef, body: Body, handles: Handles) -> Body:
        for function in functions_of(definition):
            self._note_inputs(function, body.home)
            for tensor, handle in zip(function.inputs, handles, strict=True):
                if handle is not None:
                    body.handles[tensor] = handle
            for operation in function.operations:
                body.devices[operation] = self._named[operation.name] = self._device(operation, body)
            self._note_uses(function, body)
        return body

    def _note_uses(self, function: Function, body: Body) -> None:
        """A tape keeps what is given to a function where that is used first: it is there anyway, as is its gradient, likely.

        What is computed once is given to all iterations too. The device that did so may have no part in them.
        """
        given = {tensor for tensor in function.inputs if tensor.dtype is not variant}
        for operation in function.operations:
            if operation in body.once:
                given.update(operation.outputs)
                self._named[operation.name] = body.home
        for operation in reversed(function.operations):
            if _computes(operation):
                place = self._named[operation.name] if operation in body.once else body.devices[operation]
                for tensor in given.intersection(operation.inputs):
                    self._named[tensor.op.name] = place

    def _device(self, operation: Operation, body: Body) -> DeviceSpec:
        asked = self._asked(operation, body)
        if is_functional(operation.definition):
            return self._functional(operation, body, asked)
        if asked is not None:
            if not isinstance(operation.definition, Const):
                body.asked.add(asked)
            return asked
        if isinstance(operation.definition, (Shape, Size, Rank)):
            return body.device(operation.inputs[0].op)
        return body.home

    def _asked(self, operation: Operation, body: Body) -> DeviceSpec | None:
        """The device that an operation must or wants to be on: its variable's, then that of what it is to be with."""
        definition = operation.definition
        if isinstance(definition, (TapeRead, TapeWrite)):
            return self._named.get(_entry(definition))
        if _holds_elements(operation):
            return body.home  # a TensorArray does not travel
        if not is_functional(definition):
            for tensor in operation.inputs:
                if tensor.dtype is resource:
                    return self._handle(tensor, body)
        for name in operation.colocation:
            if name in self._named:
                return self._named[name]
        if operation.device:
            return self._choose(operation, _within(body.request, operation.device))
        return None

    @staticmethod
    def _handle(tensor: Tensor, body: Body) -> DeviceSpec:
        return body.handles[tensor].device if tensor in body.handles else body.device(tensor.op)

    def _functional(self, operation: Operation, body: Body, asked: DeviceSpec | None) -> DeviceSpec:
        """Where a branch or a loop in a function goes; it may span devices itself."""
        definition = operation.definition
        given = _given(definition, operation.inputs)
        known = {tensor: handle.variable for tensor, handle in body.handles.items()}
        handles = [
            Handle(self._handle(tensor, body), variable_of(tensor, known)) if tensor.dtype is resource else None
            for tensor in given
        ]
        variables = {handle.device for handle in handles if handle is not None}
        spans = asks(definition) or takes_tape(operation) or len(variables) > 1 or (asked and variables - {asked})
        if not spans:
            wanted = variables or ({asked} if asked is not None else set())
            body.asked |= wanted
            device = next(iter(wanted), body.home)
            self.note_closed(definition, device)
            return device
        request = _within(body.request, operation.device)
        once = _once(definition, handles, [is_tape(tensor) for tensor in operation.inputs])
        found = self.body(definition, once, request, asked or body.home, handles, asked is None)
        body.asked |= found.asked | ({asked} if asked is not None else set())
        return self.settle(operation, found, body.inner)


def _within(outer: str, inner: str) -> str:
    return within(DeviceSpec.from_string(outer), inner) if outer else inner


def _holds_elements(operation: Operation) -> bool:
    """Whether an operation takes or gives a TensorArray, which is all in one place, as a tape is not."""
    if isinstance(operation.definition, (EmptyTape, TapeLength, TapeSum)):
        return False
    results = operation.outputs[:-1] if is_functional(operation.definition) else operation.outputs
    return any(tensor.dtype is variant and not is_tape(tensor) for tensor in (*operation.inputs, *results))
