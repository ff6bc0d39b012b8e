"""openness: whether a branch or a loop may run on several devices: operations in it ask for devices, or its variables differ in theirs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..graph.devices import DeviceSpec
from ..graph.dtypes import resource
from ..graph.function import functions_of
from ..graph.ir import Operation
from ..graph.opdef import OpDef
from ..graph.ops.branching import If
from ..graph.ops.constant import Const
from ..graph.ops.looping import While
from .program import Node, Program, Ref


def is_functional(definition: OpDef) -> bool:
    return isinstance(definition, (If, While))


def inner_operations(definition: OpDef) -> Iterable[Operation]:
    """The operations of a branch's or a loop's functions."""
    return (operation for function in functions_of(definition) for operation in function.operations)


def asks(definition: OpDef) -> bool:
    """Whether an operation in its functions, or in theirs, asks for a device, or to be where another one is."""
    return any(
        (bool(operation.device or operation.colocation) and not isinstance(operation.definition, Const))
        or (is_functional(operation.definition) and asks(operation.definition))
        for operation in inner_operations(definition)
    )


def open_nodes(program: Program) -> set[int]:
    """The nodes that may span devices."""
    functional = [position for position, node in enumerate(program.nodes) if is_functional(node.definition)]
    if not functional:
        return set()
    taped = {ref.node for node in program.nodes for ref in node.inputs if _is_tape(program, ref)}
    return {position for position in functional if position not in taped and _is_open(program, program.nodes[position])}


def _is_tape(program: Program, ref: Ref) -> bool:
    """Whether a value is what a branch or a loop keeps for its gradient."""
    node = program.nodes[ref.node]
    return is_functional(node.definition) and ref.output == len(node.specs) - 1


def is_taped(operation: Operation, users: Iterable[Operation]) -> bool:
    """Whether some of these take what a branch or a loop keeps for its gradient."""
    tape = operation.outputs[-1]
    return any(tape in user.inputs for user in users)


def _is_open(program: Program, node: Node) -> bool:
    if any(_is_tape(program, ref) for ref in node.inputs):
        return False
    return asks(node.definition) or differ(_request(node.origin), _owners(program, node))


def _owners(program: Program, node: Node) -> list[Operation]:
    """What makes the handles of the variables that a node uses."""
    found = []
    for ref in node.inputs:
        if program.spec(ref).dtype is resource:
            source = program.nodes[ref.node]
            while source.inputs and source.definition.view:
                source = program.nodes[source.inputs[0].node]
            if source.origin is not None:
                found.append(source.origin)
    return found


def differ(request: str, owners: Sequence[Operation]) -> bool:
    """Whether variables ask for several devices, or for another one than is requested for what uses them."""
    asked = {(_request(owner), owner.colocation) for owner in owners}
    if len(asked) > 1:
        return True
    return bool(request) and any(not _agree(request, device) for device, _ in asked)


def _agree(one: str, other: str) -> bool:
    try:
        DeviceSpec.from_string(one).merge(DeviceSpec.from_string(other))
    except ValueError:
        return False
    return True


def _request(operation: Operation | None) -> str:
    return "" if operation is None else operation.device
