"""Operations computed one after the other by their own `compute`: how the reference interpreter runs a graph or a function."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .function import Function
from .ir import Operation, Tensor
from .state import OpState, State


def evaluate(operations: Iterable[Operation], values: dict[Tensor, Any], state: State) -> None:
    """Compute operations in the order given and add what they make to `values`, which holds what they need."""
    for operation in operations:
        definition = operation.definition
        arguments = [values[tensor] for tensor in operation.inputs]
        if not definition.view:
            arguments = [np.asarray(a, order="C") if isinstance(a, np.ndarray) else a for a in arguments]
        if definition.stateful:
            arguments.insert(0, OpState(state, operation.name))
        result = definition.compute(*arguments)
        if definition.access == "read":
            result = np.array(result)  # a later write must not show through
        outputs = (result,) if len(operation.outputs) == 1 else (result or ())
        for tensor, value in zip(operation.outputs, outputs, strict=True):
            values.setdefault(tensor, value)


def call(function: Function, arguments: Sequence[Any], state: State) -> dict[Tensor, Any]:
    """The values of all tensors of a function that its outputs need."""
    values = dict(zip(function.inputs, arguments, strict=True))
    evaluate(function.operations, values, state)
    return values
