"""prune: from a graph to the Program that some fetches need, cut off at what is fed."""

from __future__ import annotations

from collections.abc import Sequence

from ..graph import errors, shapes
from ..graph.ir import Operation, Tensor
from ..graph.opdef import Spec
from .program import Feed, Node, Program, Ref


def prune(
    fetches: Sequence[Tensor],
    targets: Sequence[Operation],
    feeds: Sequence[Tensor],
    done: frozenset[Operation] = frozenset(),
) -> Program:
    """The operations that fetches and targets need. Raises InvalidArgumentError for a placeholder that is not fed.

    `done` have run already: nothing waits for them, and what is needed of their outputs is fed.
    """
    fed = {tensor: index for index, tensor in enumerate(feeds)}
    nodes: list[Node] = []
    place: dict[Tensor, Ref] = {}
    position: dict[Operation, int] = {}
    for tensor, index in fed.items():
        place[tensor] = Ref(len(nodes), 0)
        if tensor.op.type == "Placeholder":  # who waits for it waits for the feed
            position[tensor.op] = len(nodes)
        spec = Spec(tensor.dtype, tensor.dims)
        nodes.append(Node(tensor.name, Feed(index, tensor.dtype, tensor.dims), (), (), (spec,), tensor.op))
    for operation in _needed(fetches, targets, fed, done):
        if operation in position:
            continue
        _check_fed(operation)
        position[operation] = len(nodes)
        for tensor in operation.outputs:
            place.setdefault(tensor, Ref(len(nodes), tensor.value_index))
        nodes.append(
            Node(
                operation.name,
                operation.definition,
                tuple(place[tensor] for tensor in operation.inputs),
                tuple(position[control] for control in operation.control_inputs if control not in done),
                tuple(Spec(tensor.dtype, tensor.dims, tensor.known) for tensor in operation.outputs),
                operation,
            )
        )
    return Program(
        tuple(nodes), tuple(place[tensor] for tensor in fetches), tuple(position[operation] for operation in targets)
    )


def _needed(
    fetches: Sequence[Tensor], targets: Sequence[Operation], fed: dict[Tensor, int], done: frozenset[Operation]
) -> list[Operation]:
    """Ancestors by data and control, in the order they were made (which is an order they can run in)."""
    found: set[Operation] = set()
    waiting = [tensor.op for tensor in fetches if tensor not in fed] + list(targets)
    while waiting:
        operation = waiting.pop()
        if operation in found or operation in done:
            continue
        found.add(operation)
        waiting += [tensor.op for tensor in operation.inputs if tensor not in fed]
        waiting += operation.control_inputs
    return sorted(found, key=lambda operation: operation.id)


def _check_fed(operation: Operation) -> None:
    if operation.type == "Placeholder":
        tensor = operation.outputs[0]
        raise errors.InvalidArgumentError(
            operation,
            operation,
            f"You must feed a value for placeholder tensor '{operation.name}' with dtype {tensor.dtype.name} "
            f"and shape {shapes.text(tensor.dims)}: it was made at {operation.location}",
        )
