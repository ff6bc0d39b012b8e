"""openness: whether a branch or a loop may run on several devices: what is in it asks for them, or its variables have several."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ...graph.devices import DeviceSpec
from ...graph.dtypes import resource, variant
from ...graph.function import FunctionGraph, functions_of
from ...graph.ir import Operation, Tensor
from ...graph.opdef import OpDef
from ...graph.ops.array_tapes import ELEMENTS
from ...graph.ops.backward import GradientGraph
from ...graph.ops.branching import If
from ...graph.ops.constant import Const
from ...graph.ops.looping import While
from ...graph.ops.tapes import INSIDE, EmptyTape, TapeRead, TapeSum, TapeWrite
from ..stages.program import Node, Program, Ref


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
    found = {at for at in functional if _is_open(program, program.nodes[at])}
    if found:  # what goes back over the tape of one of them goes where the tape is
        found.update(at for at in functional if any(is_tape_ref(program, ref) for ref in program.nodes[at].inputs))
    return found


def is_tape_ref(program: Program, ref: Ref) -> bool:
    """Whether a value is a tape, of which each device has what it recorded: not a TensorArray."""
    node = program.nodes[ref.node]
    spec = node.specs[ref.output]
    if spec.dtype is not variant:
        return False
    made = is_functional(node.definition) and ref.output == len(node.specs) - 1
    return made or isinstance(node.definition, EmptyTape) or _is_named(spec.entries)


def is_tape(tensor: Tensor) -> bool:
    """The same for a tensor of a graph."""
    if tensor.dtype is not variant:
        return False
    operation = tensor.op
    if is_functional(operation.definition) and tensor.value_index == len(operation.outputs) - 1:
        return True
    if isinstance(operation.definition, (EmptyTape, TapeWrite)) or _is_named(tensor.entries):
        return True
    if isinstance(operation.definition, TapeSum):
        return any(is_tape(each) for each in operation.inputs)
    if isinstance(operation.definition, TapeRead):
        forward = _forward(operation, operation.definition.entry)
        return forward is not None and is_tape(forward)
    source = operation.graph.source(tensor) if isinstance(operation.graph, FunctionGraph) else None
    return source is not None and is_tape(source)


def _forward(read: Operation, entry: str) -> Tensor | None:
    """The tensor that is read from a tape, of the function that a gradient is of."""
    graph = read.graph
    while isinstance(graph, FunctionGraph):
        if isinstance(graph, GradientGraph) and graph.forward.owns(entry):
            return graph.forward.tensor(entry)
        graph = graph.outer
    return None


def takes_tape(operation: Operation) -> bool:
    """Whether one of an operation's inputs is a tape."""
    return any(is_tape(tensor) for tensor in operation.inputs)


def _is_named(entries: Iterable[str]) -> bool:
    """Whether entries are values of functions: elements of a TensorArray have no names."""
    return any(path.partition(INSIDE)[0] != ELEMENTS for path in entries)


def _is_open(program: Program, node: Node) -> bool:
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
