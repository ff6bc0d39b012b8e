"""While: a function of the loop variables, again and again while a condition of them holds. Its last output is the tape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import shapes
from ..dtypes import boolean
from ..evaluate import call
from ..function import Function, FunctionGraph, captured_by
from ..indexed_slices import Gradient
from ..ir import Operation, Tensor
from ..op import Op, op
from ..opdef import Spec, TensorLike
from ..tape import Tape
from .looping_gradient import backward_loop
from .signature import inner_specs, output_specs, own, tape_spec


@op
class While(Op):
    """The loop variables, then what else the loop uses; both functions take all of it, the body gives the next variables.

    `saves` names what the tape must hold of each iteration, which a plan finds out; None makes no tape. The whole runs
    on one device.
    """

    condition: Function
    body: Function
    back_prop: bool = True
    saves: tuple[str, ...] | None = None
    stateful = True
    takes_missing = True
    passes_slices = True

    @property
    def count(self) -> int:
        """How many loop variables there are."""
        return len(self.body.outputs)

    def infer(self, *inputs: TensorLike) -> tuple[*tuple[Spec, ...], Spec]:
        for tensor, inner in zip(inputs, self.body.inputs, strict=True):
            if tensor.dtype is not inner.dtype:
                raise TypeError(f"a loop variable is {inner.dtype.name}, its first value {tensor.dtype.name}")
        settled = self.settled(inputs)
        return (*settled, tape_spec(inner_specs(self.body, [*settled, *inputs[self.count :]])))

    def settled(self, inputs: Sequence[TensorLike]) -> list[Spec]:
        """The Specs of the loop variables that hold in every iteration, from those of the inputs."""
        now = [Spec(tensor.dtype, tensor.dims, None, tensor.entries) for tensor in inputs[: self.count]]
        for _ in range(self.count + 1):
            after = output_specs(self.body, inner_specs(self.body, [*now, *inputs[self.count :]]))
            settled = [_widened(a, b, inner) for a, b, inner in zip(now, after, self.body.inputs, strict=False)]
            if [spec.dims for spec in settled] == [spec.dims for spec in now]:
                return settled
            now = settled
        return now

    def compute(self, state: Any, *inputs: Any) -> Any:
        variables, invariants = list(inputs[: self.count]), inputs[self.count :]
        names = {tensor: tensor.name for tensor in (*self.body.inputs, *_tensors(self.body))}
        columns: dict[str, list[Any]] = {name: [] for name in names.values()}
        length = 0
        while self._goes_on([*variables, *invariants], state):
            values = call(self.body, [*variables, *invariants], state.session)
            for tensor, name in names.items():
                columns[name].append(values[tensor])
            variables = [values[tensor] for tensor in self.body.outputs]
            length += 1
        return (*(own(value, inputs) for value in variables), Tape({**columns}, length))

    def _goes_on(self, arguments: list[Any], state: Any) -> bool:
        return bool(call(self.condition, arguments, state.session)[self.condition.outputs[0]])

    def access_of(self, index: int) -> str:
        return max(self.condition.access_of(index), self.body.access_of(index))

    def grad(self, operation: Operation, *dys: Any) -> list[Gradient | None]:
        if not self.back_prop:
            return [None] * len(operation.inputs)
        return backward_loop(operation, self.body, dys[:-1], dys[-1], loop)


def _tensors(function: Function) -> list[Tensor]:
    return [tensor for operation in function.operations for tensor in operation.outputs]


def _widened(now: Spec, after: Spec, inner: Tensor) -> Spec:
    """What holds before and after an iteration; where they differ, no more than the body was built for."""
    entries = tuple(dict.fromkeys(now.entries + after.entries))
    dims = now.dims if now.dims == after.dims else inner.dims
    return Spec(now.dtype, dims, None, entries)


def loop(
    condition: FunctionGraph,
    body: FunctionGraph,
    arguments: tuple[Sequence[Tensor], Sequence[Tensor]],
    goes_on: Tensor,
    following: Sequence[Tensor],
    initial: Sequence[Tensor],
    name: str | None = None,
    back_prop: bool = True,
) -> tuple[Tensor, ...]:
    """Add a While over two function graphs whose arguments are the loop variables. Returns its outputs, but the tape."""
    if goes_on.dtype is not boolean:
        raise TypeError(f"the condition of a loop must be bool, got {goes_on.dtype.name}")
    if goes_on.dims not in (None, ()):
        raise ValueError(f"the condition of a loop must be a scalar, got shape {shapes.text(goes_on.dims)}")
    captured = captured_by([condition, body])
    functions = [
        Function(graph, [*own_arguments, *(graph.capture(tensor) for tensor in captured)], outputs)
        for graph, own_arguments, outputs in zip((condition, body), arguments, ([goes_on], following), strict=True)
    ]
    around = body.outer
    with around.control_dependencies([*condition.controls, *body.controls]):
        definition = While(functions[0], functions[1], back_prop)
        return around.create(definition, (*initial, *captured), name).outputs[:-1]
