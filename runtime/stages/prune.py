"""prune: from a graph to the Program that some fetches need, cut off at what is fed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ...graph import errors
from ...graph.function import Argument, FunctionGraph
from ...graph.ir import Operation, Tensor
from ...graph.opdef import OpDef, Spec
from ...graph.ops.branching import If
from ...graph.ops.looping import While
from ...graph.ops.placeholders import Placeholder, PlaceholderWithDefault
from .program import Feed, Node, Program, Ref
from .trim import taking

#: What is made to be fed, and so never repeated.
_GIVEN = (Placeholder, PlaceholderWithDefault)


def prune(
    fetches: Sequence[Tensor],
    targets: Sequence[Operation],
    feeds: Sequence[Tensor],
    done: frozenset[Operation] = frozenset(),
) -> Program:
    """The operations that fetches and targets need. Raises InvalidArgumentError for a placeholder that is not fed.

    One that only the functions of branches and loops use fails where these run: the branch not taken needs no feed.
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
    for copy, tensor in _repeating(feeds):
        fed[copy], place[copy] = fed[tensor], place[tensor]
    for operation in _needed(fetches, targets, fed, done):
        if operation in position:
            continue
        position[operation] = len(nodes)
        for tensor in operation.outputs:
            place.setdefault(tensor, Ref(len(nodes), tensor.value_index))
        if isinstance(operation.definition, (Placeholder, Argument)):
            nodes.append(_not_fed(operation))
            continue
        definition, inputs = _present(operation, fed)
        nodes.append(
            Node(
                operation.name,
                definition,
                tuple(place[tensor] for tensor in inputs),
                tuple(position[control] for control in operation.control_inputs if control not in done),
                tuple(Spec(tensor.dtype, tensor.dims, tensor.known) for tensor in operation.outputs),
                operation,
            )
        )
    return Program(
        tuple(nodes), tuple(place[tensor] for tensor in fetches), tuple(position[operation] for operation in targets)
    )


def _repeating(feeds: Iterable[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """The tensors that recomputing made of fed ones, each with that: they have the value that is fed."""
    found: list[tuple[Tensor, Tensor]] = []
    repeated = {tensor for tensor in feeds if not isinstance(tensor.op.definition, (*_GIVEN, Argument))}
    for graph in dict.fromkeys(tensor.graph for tensor in repeated):
        for copy, tensor in graph.repeats.items():
            # What enters the repeated part is only handed on, late.
            if tensor in repeated and not any(graph.repeats.get(each, each) is tensor for each in copy.op.inputs):
                found.append((copy, tensor))
    return found


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
        waiting += [tensor.op for tensor in _present(operation, fed)[1] if tensor not in fed]
        waiting += operation.control_inputs
    return sorted(found, key=lambda operation: operation.id)


def _present(operation: Operation, fed: dict[Tensor, int]) -> tuple[OpDef, tuple[Tensor, ...]]:
    """The definition and the inputs without the placeholders that are not fed and that only functions use."""
    definition = operation.definition
    if not isinstance(definition, (If, While)):
        return definition, operation.inputs
    first = 1 if isinstance(definition, If) else definition.count
    kept = [
        index
        for index, tensor in enumerate(operation.inputs)
        if index < first or tensor in fed or not isinstance(tensor.op.definition, (Placeholder, Argument))
    ]
    if len(kept) == len(operation.inputs):
        return definition, operation.inputs
    return taking(definition, kept), tuple(operation.inputs[index] for index in kept)


def _not_fed(operation: Operation) -> Node:
    """The node of a placeholder without a feed, or of what stands for it in a function: it fails when it runs.

    Raises InvalidArgumentError outside of functions.
    """
    tensor = operation.outputs[0]
    while isinstance(tensor.graph, FunctionGraph) and (source := tensor.graph.source(tensor)) is not None:
        tensor = source
    definition = Placeholder(tensor.dtype, tensor.dims)
    if not isinstance(operation.graph, FunctionGraph):
        text = f"{definition.missing(operation.name)}: it was made at {operation.location}"
        raise errors.InvalidArgumentError(operation, operation, text)
    return Node(tensor.op.name, definition, (), (), (Spec(tensor.dtype, tensor.dims),), tensor.op)


def unfed_placeholders(
    tensors: Iterable[Tensor], operations: Iterable[Operation], feeds: Iterable[Tensor]
) -> list[Tensor]:
    """The placeholders that fetches need and nobody feeds."""
    fed = set(feeds)
    fed.update(copy for copy, _ in _repeating(fed))
    found: list[Tensor] = []
    seen: set[Operation] = set()
    waiting = [*(tensor.op for tensor in tensors if tensor not in fed), *operations]
    while waiting:
        operation = waiting.pop()
        if operation in seen:
            continue
        seen.add(operation)
        if operation.type == "Placeholder" and operation.outputs[0] not in fed:
            found.append(operation.outputs[0])
        waiting += [tensor.op for tensor in operation.inputs if tensor not in fed]
        waiting += operation.control_inputs
    return found
