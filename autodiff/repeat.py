"""Operations once more: which can be repeated, and the copies from which gradients of recompute scopes are built.

To gradients a copy is what it repeats: what arrives at the one is added to what arrives at the other, in the order that there
is without copies, and goes on from there. So gradients of gradients, too, have the bits that they have without recomputing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..graph.function import Argument, FunctionGraph, functions_of, repeating
from ..graph.indexed_slices import IndexedSlices
from ..graph.ir import Graph, Operation, Tensor, building_graph
from ..graph.ops.constant import Const
from ..graph.ops.identity import Identity
from ..graph.ops.placeholders import PlaceholderWithDefault
from .recompute import Scope, innermost


def repeatable(operation: Operation) -> bool:
    """Whether it gives the same again: a branch or a loop does if all that it runs does."""
    functions = functions_of(operation.definition)
    if functions:
        return all(repeatable(inner) for function in functions for inner in function.operations)
    return not (operation.definition.stateful or isinstance(operation.definition, (Argument, PlaceholderWithDefault)))


def standing(graph: Graph, xs: Iterable[Tensor]) -> Mapping[Tensor, Tensor]:
    """Of a graph's repeated tensors, which each repeats; without those that were repeated together with an x.

    For who differentiates by a copy means the copies: a gradient function that is called with one does.
    """
    if not graph.repeats:
        return graph.repeats
    meant = [graph.repetitions[x] for x in xs if x in graph.repetitions]
    if not meant:
        return graph.repeats
    return {
        copy: original
        for copy, original in graph.repeats.items()
        if not any(graph.repetitions[copy] is repetition for repetition in meant)
    }


def _known(
    graph: Graph, operations: Iterable[Operation], repeats: Mapping[Tensor, Tensor]
) -> dict[Operation, Operation]:
    """The copies of operations that some of `operations` use the results of: these are kept for their gradients anyway."""
    found: dict[int, dict[Operation, Operation]] = {}
    for operation in operations:
        for tensor in operation.inputs:
            if tensor in repeats and graph.repetitions[tensor]:
                repetition = graph.repetitions[tensor]
                found[next(iter(repetition.values())).id] = repetition
    return {original: copy for start in sorted(found) for original, copy in found[start].items()}


def before(graph: Graph, tensors: Sequence[Any]) -> list[Tensor]:
    """Those of the tensors that operations in a graph can wait for.

    In the gradient of a branch or a loop, that has run as a whole before.
    """
    parts = [tensor.values if isinstance(tensor, IndexedSlices) else tensor for tensor in tensors]
    return [tensor for tensor in parts if tensor is not None and tensor.graph is graph]


class Twins:
    """For one walk of gradients: the operations that stand for those of recompute scopes, made when they are asked for."""

    def __init__(self, graph: Graph, operations: Iterable[Operation], repeats: Mapping[Tensor, Tensor]) -> None:
        """To build in `graph` the gradients of `operations`."""
        self._graph = graph
        self._made: dict[Scope, dict[Operation, Operation]] = {}
        self._known: Mapping[Operation, Operation] = {}
        if repeats:
            self._known = _known(next(iter(repeats)).graph, operations, repeats)

    def of(self, operation: Operation, grads: Sequence[Any]) -> Operation:
        """The copy of an operation whose gradient is to be built; itself outside of scopes."""
        operation = self._known.get(operation, operation) if self._known else operation
        scope = innermost(operation)
        return operation if scope is None else self._copies(operation.graph, scope, grads).get(operation, operation)

    def _copies(self, graph: Graph, scope: Scope, grads: Sequence[Any]) -> dict[Operation, Operation]:
        """The operations of a scope once more, after the first gradient that arrived there.

        In a scope around it they are copies too: these are what the copies of the inner scope stand on.
        """
        if scope not in self._made:
            around = {} if scope.around is None else self._copies(graph, scope.around, grads)
            made = graph.operations_from(scope.numbers.start)[: len(scope.numbers)]
            with self._graph.control_dependencies(before(self._graph, grads)), repeating():
                self._made[scope] = self._repeated([each for each in made if repeatable(each)], around)
        return self._made[scope]

    def _repeated(
        self, operations: Sequence[Operation], around: Mapping[Operation, Operation]
    ) -> dict[Operation, Operation]:
        """Copies of operations, each after those it needs, on what enters them, anew."""
        own = set(operations)
        repetition: dict[Operation, Operation] = {}
        new: dict[Tensor, Tensor] = {}
        for tensor in dict.fromkeys(tensor for each in operations for tensor in each.inputs if tensor.op not in own):
            if tensor.dtype.is_trainable:  # what is not enters as it is
                copy = around.get(tensor.op)
                new[tensor] = Identity()(tensor if copy is None else copy.outputs[tensor.value_index])
                self._stands_for(new[tensor], tensor, repetition)
        copies: dict[Operation, Operation] = {}
        for operation in operations:
            if not isinstance(operation.definition, Const):
                copy = copies[operation] = _copy(operation, new)
                new.update(zip(operation.outputs, copy.outputs, strict=True))
                for tensor, original in zip(copy.outputs, operation.outputs, strict=True):
                    self._stands_for(tensor, original, repetition)
                    first = copy.graph.repeats.get(tensor)
                    if first is not None and first.op.definition is copy.definition:
                        repetition[first.op] = copy
        return copies

    def _stands_for(self, copy: Tensor, original: Tensor, repetition: dict[Operation, Operation]) -> None:
        graph = copy.graph
        original = original.graph.repeats.get(original, original)
        if original.graph is graph:
            graph.repeats[copy] = original
        elif isinstance(graph, FunctionGraph) and copy.dtype.is_trainable:
            graph.unused[copy] = original
        graph.repetitions[copy] = repetition


def _copy(operation: Operation, new: Mapping[Tensor, Tensor]) -> Operation:
    inputs = tuple(new.get(tensor, tensor) for tensor in operation.inputs)
    copy = building_graph(operation.graph).create(operation.definition, inputs, operation.name.rpartition("/")[2])
    copy.device, copy.colocation = operation.device, operation.colocation
    copy.gradient_override = operation.gradient_override
    for tensor, original in zip(copy.outputs, operation.outputs, strict=True):
        tensor.dims, tensor.known = original.dims, original.known
    return copy
