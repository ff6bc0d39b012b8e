"""recompute_grad: intermediate values of a function are computed anew for its gradient, instead of being kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial, update_wrapper
from typing import Any

from ..graph import context
from ..graph.ir import Operation, Tensor, get_default_graph, graph_of
from ..graph.ops.constant import Const
from ..graph.ops.convert import convert_to_tensor
from ..graph.ops.identity import Identity
from ..graph.structure import flatten, pack
from .custom import overridden
from .gradients import gradients


def recompute_grad(f: Callable[..., Any]) -> Callable[..., Any]:
    """The function, whose gradient computes again what the function computed in between: less memory for more work.

    The same operations run again on the same inputs, so the gradients have the same bits; random numbers and reads of
    variables are not repeated but kept. The gradients can be differentiated again. Source: `tf.recompute_grad`.
    """

    def recomputing(*args: Any, **kwargs: Any) -> Any:
        if context.executing_eagerly():
            return f(*args, **kwargs)
        tensors = [convert_to_tensor(item) for item in flatten(args, composites=False)]
        start = (graph_of(tensors) if tensors else get_default_graph()).version
        result = f(*pack(args, iter(tensors), composites=False), **kwargs)
        results = [convert_to_tensor(item) for item in flatten(result, composites=False)]
        part = _Part(results, start)
        return pack(result, iter(overridden(results, part.inputs, partial(_gradient, part))), composites=False)

    return update_wrapper(recomputing, f)


class _Part:
    """The pure operations of a function that its results need, and the tensors that enter them."""

    def __init__(self, results: Sequence[Tensor], start: int) -> None:
        self.results = results
        found: set[Operation] = set()
        entering: dict[Tensor, None] = {}
        waiting = list(results)
        while waiting:
            tensor = waiting.pop()
            operation = tensor.op
            if operation.id < start or operation.definition.stateful:
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
        for operation in self.operations:
            if not isinstance(operation.definition, Const):
                new.update(zip(operation.outputs, _copy(operation, new).outputs, strict=True))
        return [new.get(tensor, tensor) for tensor in self.results], inputs


def _copy(operation: Operation, new: dict[Tensor, Tensor]) -> Operation:
    inputs = tuple(new.get(tensor, tensor) for tensor in operation.inputs)
    copy = operation.graph.create(operation.definition, inputs, operation.name.rpartition("/")[2])
    copy.device, copy.colocation = operation.device, operation.colocation
    copy.gradient_override = operation.gradient_override
    return copy


def _gradient(part: _Part, *dys: Any) -> list[Any]:
    """The gradients of the part's inputs, from a copy that is computed after the gradients of its results are there."""
    arrived = [dy for dy in dys if dy is not None]
    with graph_of(part.results).control_dependencies([*arrived, *part.results]):
        results, inputs = part.again()
    pairs = [(result, dy) for result, dy in zip(results, dys, strict=True) if dy is not None]
    return gradients([result for result, _ in pairs], inputs, [dy for _, dy in pairs])
