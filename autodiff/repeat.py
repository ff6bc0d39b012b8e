"""Operations once more: which can be repeated, copies of them, and scopes whose values gradients compute again."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

from ..graph import context
from ..graph.function import Argument, functions_of
from ..graph.indexed_slices import IndexedSlices
from ..graph.ir import Graph, Operation, Tensor, building_graph, get_default_graph
from ..graph.ops.constant import Const
from ..graph.ops.identity import Identity

#: The operations made in each recompute scope of a graph, by their numbers.
_scopes: WeakKeyDictionary[Graph, list[range]] = WeakKeyDictionary()


@contextmanager
def recompute() -> Iterator[None]:
    """A scope whose values `gradients` computes again, instead of keeping them: less memory for more work.

    What leaves the scope is kept; what is only used inside is computed a second time, from what enters it, once a gradient
    has arrived. The same operations run on the same values, so gradients have the same bits; gradients of gradients add the
    parts of a sum in another order, and so may differ in the last bits. Reads of variables and random numbers are kept, and
    so are branches and loops that have such inside. A scope inside of another one changes nothing, and without `gradients`
    none does. Also a decorator of functions; see `recompute_grad`.
    """
    if context.executing_eagerly():
        yield
        return
    graph = get_default_graph()
    start = graph.version
    yield
    known = _scopes.setdefault(graph, [])
    while known and known[-1].start >= start:
        known.pop()
    known.append(range(start, graph.version))


def repeatable(operation: Operation) -> bool:
    """Whether it gives the same again: a branch or a loop does if all that it runs does."""
    functions = functions_of(operation.definition)
    if functions:
        return all(repeatable(inner) for function in functions for inner in function.operations)
    return not operation.definition.stateful and not isinstance(operation.definition, Argument)


def repeated(operations: Sequence[Operation], new: dict[Tensor, Tensor]) -> None:
    """Copies of operations, each after those it needs, on the tensors that stand for their inputs in `new`; enters its own."""
    for operation in operations:
        if not isinstance(operation.definition, Const):
            new.update(zip(operation.outputs, _copy(operation, new).outputs, strict=True))


def _copy(operation: Operation, new: dict[Tensor, Tensor]) -> Operation:
    inputs = tuple(new.get(tensor, tensor) for tensor in operation.inputs)
    copy = building_graph(operation.graph).create(operation.definition, inputs, operation.name.rpartition("/")[2])
    copy.device, copy.colocation = operation.device, operation.colocation
    copy.gradient_override = operation.gradient_override
    return copy


def before(graph: Graph, tensors: Sequence[Any]) -> list[Tensor]:
    """Those of the tensors that operations in a graph can wait for.

    In the gradient of a branch or a loop, that has run as a whole before.
    """
    parts = [tensor.values if isinstance(tensor, IndexedSlices) else tensor for tensor in tensors]
    return [tensor for tensor in parts if tensor is not None and tensor.graph is graph]


class Twins:
    """For one walk of gradients: the operations that stand for those of recompute scopes, made when they are asked for."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._made: dict[tuple[Graph, range], dict[Operation, Operation]] = {}

    def of(self, operation: Operation, grads: Sequence[Any]) -> Operation:
        """The copy of an operation whose gradient is to be built; itself outside of scopes."""
        scopes = _scopes.get(operation.graph) if _scopes else None
        if not scopes:
            return operation
        at = bisect_right(scopes, operation.id, key=lambda scope: scope.start) - 1
        if at < 0 or operation.id not in scopes[at]:
            return operation
        key = operation.graph, scopes[at]
        if key not in self._made:
            self._made[key] = self._copies(*key, grads)
        return self._made[key].get(operation, operation)

    def _copies(self, graph: Graph, scope: range, grads: Sequence[Any]) -> dict[Operation, Operation]:
        """The operations of a scope once more, after the first gradient that arrived there."""
        made = graph.operations_from(scope.start)[: len(scope)]
        inside = [operation for operation in made if repeatable(operation)]
        own = set(inside)
        entering = dict.fromkeys(tensor for each in inside for tensor in each.inputs if tensor.op not in own)
        new: dict[Tensor, Tensor] = {}
        with self._graph.control_dependencies(before(self._graph, grads)):
            for tensor in entering:
                if tensor.dtype.is_trainable:  # what is not enters as it is
                    new[tensor] = Identity()(tensor)
            repeated(inside, new)
        return {each: new[each.outputs[0]].op for each in inside if each.outputs and each.outputs[0] in new}
