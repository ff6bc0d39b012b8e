"""If: one of two functions, by a predicate. Its gradient is an If again, over a tape of what the taken branch computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .. import shapes
from ..dtypes import DType, boolean
from ..evaluate import call
from ..function import Function, FunctionGraph, captured_by
from ..indexed_slices import Gradient
from ..ir import Operation, Tensor, graph_of
from ..op import Op, op
from ..opdef import Spec, TensorLike
from ..tape import Tape
from .backward import GradientGraph
from .row_gradients import parts_of, rows_of, rows_type
from .signature import inner_specs, output_specs, own, tape_spec


@op
class If(Op):
    """`then` or `orelse`, as the first input says, of the other inputs; the last output is the tape of it.

    `saves` names what the tape must hold, which a plan finds out; None makes no tape. The whole runs on one device.
    """

    then: Function
    orelse: Function
    saves: tuple[str, ...] | None = None
    stateful = True
    takes_missing = True
    passes_slices = True

    def infer(self, pred: TensorLike, *inputs: TensorLike) -> tuple[*tuple[Spec, ...], Spec]:
        if pred.dtype is not boolean:
            raise TypeError(f"the predicate must be bool, got {pred.dtype.name}")
        if pred.dims not in (None, ()):
            raise ValueError(f"the predicate must be a scalar, got shape {shapes.text(pred.dims)}")
        inner = [inner_specs(function, inputs) for function in (self.then, self.orelse)]
        sides = zip(output_specs(self.then, inner[0]), output_specs(self.orelse, inner[1]), strict=True)
        return (*(_either(a, b) for a, b in sides), tape_spec(*inner))

    def compute(self, state: Any, pred: Any, *inputs: Any) -> Any:
        function = self.then if pred else self.orelse
        values = call(function, inputs, state.session)
        tape = {tensor.name: [value] for tensor, value in values.items()}
        outputs = (own(values[tensor], inputs) for tensor in function.outputs)
        return (*outputs, Tape({**tape}, 1))

    def access_of(self, index: int) -> str:
        return max(self.then.access_of(index - 1), self.orelse.access_of(index - 1)) if index else ""

    def grad(self, operation: Operation, *dys: Any) -> list[Gradient | None]:
        wanted = [index for index, tensor in enumerate(self.then.inputs) if tensor.dtype.is_trainable]
        sides = [_backward(function, operation, dys, wanted) for function in (self.then, self.orelse)]
        grads: list[Gradient | None] = [None] * len(operation.inputs)
        found = {
            at: rows_type(pair)
            for at, pair in enumerate(zip(*(grads for _, grads in sides), strict=True))
            if pair != (None, None)
        }
        if not found:
            return grads
        filled = [
            _filled(graph, [function.inputs[index] for index in wanted], found, made)
            for function, (graph, made) in zip((self.then, self.orelse), sides, strict=True)
        ]
        around = graph_of(operation.inputs)
        with around.as_default(), around.colocate_with(operation, ignore_existing=True):  # where the tape is
            parts = iter(branch(operation.inputs[0], [graph for graph, _ in sides], filled, None))
            for at, rows in found.items():
                source = operation.inputs[1 + wanted[at]]
                grads[1 + wanted[at]] = next(parts) if rows is None else rows_of(source, next(parts), next(parts))
        return grads


def _either(a: Spec, b: Spec) -> Spec:
    """What is known of a value that is one or the other."""
    dims = None
    if a.dims is not None and b.dims is not None and len(a.dims) == len(b.dims):
        dims = tuple(x if x == y else None for x, y in zip(a.dims, b.dims, strict=True))
    return Spec(a.dtype, dims, None, tuple(dict.fromkeys(a.entries + b.entries)))


def _backward(
    function: Function, operation: Operation, dys: Sequence[Any], wanted: Sequence[int]
) -> tuple[GradientGraph, list[Gradient | None]]:
    """The graph of a branch's gradient, and in it the gradients by the wanted inputs."""
    given = dict(zip(function.inputs, operation.inputs[1:], strict=True))
    graph = GradientGraph(graph_of(operation.inputs), function, given, operation.outputs[-1])
    with graph.as_default():
        return graph, graph.differentiate(dys[:-1], dys[-1], [function.inputs[index] for index in wanted])


def _filled(
    graph: GradientGraph, inputs: Sequence[Tensor], found: Mapping[int, DType | None], grads: Sequence[Gradient | None]
) -> list[Tensor]:
    """The gradients that one branch or the other has, nothing where this one has none; two tensors each where of rows."""
    made: list[Tensor] = []
    with graph.as_default():
        for at, rows in found.items():
            made += parts_of(grads[at], inputs[at], rows)
        return [graph.capture(tensor) for tensor in made]


def branch(
    pred: Tensor, graphs: Sequence[FunctionGraph], outputs: Sequence[Sequence[Tensor]], name: str | None
) -> tuple[Tensor, ...]:
    """Add an If over two function graphs that have no other inputs than their captures. Returns its outputs, but the tape."""
    captured = captured_by(graphs)
    then, orelse = (
        Function(graph, [graph.capture(tensor) for tensor in captured], made)
        for graph, made in zip(graphs, outputs, strict=True)
    )
    around = graphs[0].outer
    with around.control_dependencies([*graphs[0].controls, *graphs[1].controls]):
        return around.create(If(then, orelse), (pred, *captured), name).outputs[:-1]
