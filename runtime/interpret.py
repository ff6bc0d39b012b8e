"""The reference interpreter: each operation's own `compute`, in the order the graph was built. An oracle, not an engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..graph.ir import Operation, Tensor
from ..graph.state import OpState, State


@np.errstate(all="ignore")
def interpret(fetches: Sequence[Tensor], feeds: Mapping[Tensor, Any], state: State | None = None) -> list[Any]:
    """The values of `fetches`, computed one operation after the other with nothing clever in between."""
    state = state or State(seed=0)
    values: dict[Tensor, Any] = dict(feeds)
    for operation in _needed(fetches, feeds):
        arguments = [values[tensor] for tensor in operation.inputs]
        if not operation.definition.view:
            arguments = [np.asarray(a, order="C") if isinstance(a, np.ndarray) else a for a in arguments]
        if operation.definition.stateful:
            arguments.insert(0, OpState(state, operation.name))
        result = operation.definition.compute(*arguments)
        if operation.definition.access == "read":
            result = np.array(result)  # a later write must not show through
        outputs = (result,) if len(operation.outputs) == 1 else (result or ())
        for tensor, value in zip(operation.outputs, outputs, strict=True):
            values.setdefault(tensor, value)
    return [values[tensor] for tensor in fetches]


def _needed(fetches: Sequence[Tensor], feeds: Mapping[Tensor, Any]) -> list[Operation]:
    found: set[Operation] = set()
    waiting = [tensor.op for tensor in fetches if tensor not in feeds]
    while waiting:
        operation = waiting.pop()
        fed = bool(operation.outputs) and all(tensor in feeds for tensor in operation.outputs)
        if operation not in found and not fed:
            found.add(operation)
            waiting += [tensor.op for tensor in operation.inputs if tensor not in feeds] + list(
                operation.control_inputs
            )
    return sorted(found, key=lambda operation: operation.id)
