"""recompute_grad: intermediate values of a function are computed anew for its gradient, instead of being kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial, update_wrapper
from typing import Any

from ..graph import context
from ..graph.ir import Graph, Operation, Tensor, graph_of
from ..graph.ops.convert import convert_to_tensor
from ..graph.ops.identity import Identity
from ..graph.structure import flatten, pack
from .custom import overridden
from .gradients import gradients
from .repeat import before, repeatable, repeated


def recompute_grad(f: Callable[..., Any]) -> Callable[..., Any]:
    """The function, whose gradient computes again what the function computed in between: less memory for more work.

    The same operations run again on the same inputs, so the gradients have the same bits; random numbers and reads of
    variables are not repeated but kept, and so are branches and loops that have such inside. The gradients can be
    differentiated again. Source: `tf.recompute_grad`.
    """

    def recomputing(*args: Any, **kwargs: Any) -> Any:
        if context.executing_eagerly():
            return f(*args, **kwargs)
        tensors = [convert_to_tensor(item) for item in flatten(args, composites=False)]
        graph = graph_of(tensors)
        start = graph.version
        result = f(*pack(args, iter(tensors), composites=False), **kwargs)
        results = [convert_to_tensor(item) for item in flatten(result, composites=False)]
        part = _Part(graph, results, start)
        return pack(result, iter(overridden(results, part.inputs, partial(_gradient, part))), composites=False)

    return update_wrapper(recomputing, f)


class _Part:
    """The pure operations of a function that its results need, and the tensors that enter them."""

    def __init__(self, graph: Graph, results: Sequence[Tensor], start: int) -> None:
        self.results = [graph.capture(tensor) for tensor in results]
        found: set[Operation] = set()
        entering: dict[Tensor, None] = {}
        waiting = list(self.results)
        while waiting:
            tensor = waiting.pop()
            operation = tensor.op
            if operation.id < start or not repeatable(operation):
                entering[tensor] = None
            elif operation not in found:
                found.add(operation)
                waiting += operation.inputs
        self.operations = sorted(found, key=lambda operation: operation.id)
        #: What can have a gradient; integers enter a second time as they are.
        self.inputs = [tensor for tensor in entering if tensor.dtype.is_trainable]

    def again(self) -> tuple[list[Tensor], list[Tensor]]:
        """The operations once more: their new results, and the tensors that now stand for the inputs."""
        inputs = [Identity()(tensor) for tensor in self.inputs]
        new = dict(zip(self.inputs, inputs, strict=True))
        repeated(self.operations, new)
        return [new.get(tensor, tensor) for tensor in self.results], inputs


def _gradient(part: _Part, *dys: Any) -> list[Any]:
    """The gradients of the part's inputs, from a copy that is computed after the gradients of its results are there."""
    graph = graph_of(part.results)
    with graph.control_dependencies(before(graph, (*dys, *part.results))):
        results, inputs = part.again()
    pairs = [(result, dy) for result, dy in zip(results, dys, strict=True) if dy is not None]
    return gradients([result for result, _ in pairs], inputs, [dy for _, dy in pairs])
