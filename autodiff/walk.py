"""The algorithm of `gradients`: from the gradients of ys back to those of xs, operation by operation."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ..graph import shapes
from ..graph.indexed_slices import Gradient, IndexedSlices
from ..graph.ir import Graph, Operation, Tensor, graph_of
from ..graph.location import user_place
from ..graph.ops.neutral import zeros_for
from ..graph.ops.segments import whole
from .aggregate import aggregate, checked_method
from .gate import gated
from .reach import Between
from .registry import GradientFunction, gradient_function, is_users
from .repeat import Twins


class Options(NamedTuple):
    """How `gradients` was asked to build."""

    colocate: bool
    gate: bool
    aggregation_method: Any


def walk(
    seeds: Sequence[tuple[Tensor, Gradient]],
    xs: frozenset[Tensor],
    between: Between,
    stopped: frozenset[Operation],
    options: Options,
    repeats: Mapping[Tensor, Tensor],
) -> dict[Tensor, Gradient]:
    """The gradient of each x that one reaches. An operation is visited once every operation that uses it has been.

    A tensor in `repeats` counts as the one that it repeats. Counts the numbers in `between` down to 0.
    """
    terms: dict[Tensor, list[Gradient]] = {}
    for y, seed in seeds:
        terms.setdefault(y, []).append(seed)
    operations, sources = between.operations, between.sources
    ready = deque(dict.fromkeys(y.op for y, _ in seeds if not (operations.get(y.op) or sources.get(y.op))))
    totals: dict[Tensor, Gradient] = {}
    owners = {x.op for x in xs}
    if not ready:
        return totals
    graph = graph_of(ready[0].outputs)
    with _Step(graph, options, Twins(graph, operations, repeats)) as step:
        while ready:
            operation = ready.popleft()
            step.enter(operation)
            grads = step.total(operation, terms)
            inside = operation in operations
            if inside and operation not in stopped and any(grad is not None for grad in grads):
                for tensor, grad in step.back(operation, grads):
                    if repeats:
                        tensor = repeats.get(tensor, tensor)
                    if tensor in xs or tensor.op in operations:
                        terms.setdefault(tensor, []).append(grad)
            if operation in owners:
                outputs = zip(operation.outputs, grads, strict=True)
                totals.update((tensor, grad) for tensor, grad in outputs if grad is not None and tensor in xs)
            if inside:
                ready.extend(_released(operation, xs, between, repeats))
    return totals


def _released(
    operation: Operation, xs: frozenset[Tensor], between: Between, repeats: Mapping[Tensor, Tensor]
) -> Iterable[Operation]:
    """The operations that waited only for this one."""
    for tensor in operation.inputs:
        if tensor.dtype.is_trainable:
            if repeats:
                tensor = repeats.get(tensor, tensor)
            maker = tensor.op
            counts = between.operations if maker in between.operations else between.sources if tensor in xs else {}
            count = counts.get(maker, 0)
            if count:
                counts[maker] = count - 1
                if count == 1:
                    yield maker


class _Step:
    """What happens at one operation, under the scopes that its gradient is built in.

    The scopes are set on the graph's state directly and put back once at the end: a `with` for each operation would be a
    good part of the time that building takes.
    """

    def __init__(self, graph: Graph, options: Options, twins: Twins) -> None:
        self.graph = graph
        self.options = options
        self.scope = graph._scope
        self.outer = (self.scope.name, self.scope.colocation, self.scope.devices, self.scope.original, self.scope.place)
        self.method = checked_method(options.aggregation_method)
        self.twins = twins
        #: Where `gradients` was called. Looking that up for each operation would take longer than to make it.
        self.place = self.scope.place = user_place()

    def __enter__(self) -> _Step:
        return self

    def __exit__(self, *_: object) -> None:
        scope = self.scope
        scope.name, scope.colocation, scope.devices, scope.original, scope.place = self.outer

    def enter(self, operation: Operation) -> None:
        """Go on to this operation."""
        self.scope.original = operation
        if self.options.colocate or operation.definition.stays_with_tape:
            self.scope.colocation = (*self.outer[1], operation)
            self.scope.devices = ()
        else:
            _, self.scope.colocation, self.scope.devices, _, _ = self.outer

    def total(self, operation: Operation, terms: dict[Tensor, list[Gradient]]) -> list[Gradient | None]:
        """The gradient of each output, None where none arrived."""
        found: list[Gradient | None] = []
        for tensor in operation.outputs:
            arrived = terms.pop(tensor, None)
            if arrived is None:
                found.append(None)
            else:
                found.append(arrived[0] if len(arrived) == 1 else aggregate(arrived, operation, self.method))
        return found

    def back(self, operation: Operation, grads: list[Gradient | None]) -> list[tuple[Tensor, Gradient]]:
        """What goes back to each trainable input of an operation; fills the missing `grads` of outputs with zeros."""
        function = gradient_function(operation)
        if function is None:
            return []
        if not operation.definition.takes_missing or is_users(operation):
            for index, tensor in enumerate(operation.outputs):
                if grads[index] is None and tensor.dtype.is_trainable:
                    grads[index] = zeros_for(tensor)
        scope = self.scope
        scope.name = self.graph.unique_name(f"{operation.name}_grad")
        if is_users(operation):
            scope.place = None  # its operations are made at its own lines
        try:
            returned = _call(function, self.twins.of(operation, grads), grads)
            if self.options.gate:
                returned = gated(self.graph, returned)
        finally:
            scope.name, scope.place = self.outer[0], self.place
        return [
            (tensor, _fitted(grad, tensor, index, operation))
            for index, (tensor, grad) in enumerate(zip(operation.inputs, returned, strict=True))
            if grad is not None and tensor.dtype.is_trainable
        ]


def _call(function: GradientFunction, operation: Operation, grads: Sequence[Gradient | None]) -> list[Any]:
    """What the gradient function returns, as a sequence of one an input. Raises ValueError for another number."""
    if not (operation.definition.passes_slices or is_users(operation)):
        grads = [None if grad is None else whole(grad) for grad in grads]
    try:
        returned = function(operation, *grads)
    except Exception as error:
        error.add_note(f"in the gradient of {_described(operation)}")
        raise
    returned = list(returned) if isinstance(returned, (list, tuple)) else [returned]
    if len(returned) != len(operation.inputs):
        raise ValueError(
            f"Num gradients {len(returned)} generated for op {_described(operation)} do not match num inputs "
            f"{len(operation.inputs)}"
        )
    return returned


def _fitted(grad: Any, tensor: Tensor, index: int, operation: Operation) -> Gradient:
    """The gradient of an input with the input's static shape. Raises ValueError where it contradicts, TypeError."""
    if isinstance(grad, IndexedSlices):
        return grad
    if not isinstance(grad, Tensor):
        raise TypeError(
            "Gradients have to be either all Tensors or all IndexedSlices, but the gradient function of "
            f"{_described(operation)} returned {grad!r} for input {index}"
        )
    if grad.dims != tensor.dims and tensor.dtype.name != "resource":
        if not shapes.compatible(grad.dims, tensor.dims):
            raise ValueError(
                "Incompatible shapes between op input and calculated input gradient. "
                f"Forward operation: {_described(operation)}. Input index: {index}. "
                f"Original input shape: {tensor.shape}. Calculated input gradient shape: {grad.shape}"
            )
        grad.dims = shapes.merge(grad.dims, tensor.dims)
    return grad


def _described(operation: Operation) -> str:
    return f"'{operation.name}' (op type: {operation.type}), made at {operation.location}"
