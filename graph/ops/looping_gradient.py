"""The gradient of a loop: a loop that goes back over the tape, carrying the gradients of the loop variables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..dtypes import resource
from ..function import Function, FunctionGraph
from ..ir import Graph, Operation, Tensor, graph_of
from ..opdef import Spec
from .arithmetic import AddV2, Sub
from .backward import GradientGraph
from .compare import GreaterEqual
from .constant import const
from .neutral import add_all, zeros_for
from .tapes import TapeLength


@dataclass(slots=True)
class _Step:
    """One iteration backward, as a graph: the gradients that arrive, those that leave, and what is added to the sums."""

    graph: GradientGraph
    index: Tensor
    arriving: dict[int, Tensor]
    leaving: dict[int, Tensor]
    #: For each invariant that has a gradient, its place among the inputs and the gradient of this iteration.
    added: dict[int, Tensor] = field(default_factory=dict)


def backward_loop(
    operation: Operation, body: Function, dys: Sequence[Tensor | None], dtape: Tensor | None, loop: Callable[..., Any]
) -> list[Tensor | None]:
    """The gradients of a While by its inputs: None for those that no gradient reaches."""
    outer = graph_of(operation.inputs)
    entries = {index: dy.entries for index, dy in enumerate(dys) if dy is not None and _carries(body.inputs[index])}
    step = _step(outer, operation, body, entries, dtape)
    while True:  # a variable that the others depend on is carried too, and tapes may hold more with each iteration
        grown = _grown(entries, step.leaving)
        if grown == entries:
            break
        entries = grown
        step = _step(outer, operation, body, entries, dtape)
    if not step.leaving and not step.added:
        return [None] * len(operation.inputs)
    with outer.colocate_with(operation, ignore_existing=True):  # where the tape is
        return _looped(outer, operation, step, dys, loop)


def _carries(variable: Tensor) -> bool:
    return variable.dtype.is_trainable and variable.dtype is not resource


def _grown(entries: dict[int, tuple[str, ...]], leaving: dict[int, Tensor]) -> dict[int, tuple[str, ...]]:
    grown = dict(entries)
    for index, tensor in leaving.items():
        grown[index] = tuple(dict.fromkeys(grown.get(index, ()) + tensor.entries))
    return grown


def _step(
    outer: Graph, operation: Operation, body: Function, entries: dict[int, tuple[str, ...]], dtape: Tensor | None
) -> _Step:
    """One iteration backward, for gradients arriving at the loop variables in `entries`."""
    count = len(body.outputs)
    given = dict(zip(body.inputs[count:], operation.inputs[count:], strict=True))
    graph = GradientGraph(outer, body, given, operation.outputs[-1])
    with graph.as_default():
        index = graph.count_iterations()
        arriving = {}
        for at in sorted(entries):
            variable = body.inputs[at]
            spec = Spec(variable.dtype, variable.dims, None, entries[at])
            arriving[at] = graph.argument(spec, "dy")
        wanted = [at for at, tensor in enumerate(body.inputs) if tensor.dtype.is_trainable]
        dys = [arriving.get(at) for at in range(count)]
        found = graph.differentiate(dys, dtape, [body.inputs[at] for at in wanted])
        grads = {at: graph.capture(grad) for at, grad in zip(wanted, found, strict=True) if grad is not None}
        leaving = {at: grad for at, grad in grads.items() if at < count}
        for at in arriving:
            if at not in leaving:
                leaving[at] = zeros_for(body.inputs[at])
    return _Step(graph, index, arriving, leaving, {at: grad for at, grad in grads.items() if at >= count})


def _looped(
    outer: Graph, operation: Operation, step: _Step, dys: Sequence[Tensor | None], loop: Callable[..., Any]
) -> list[Tensor | None]:
    """The loop over all iterations, the last first; what each adds to the gradient of an invariant is summed up."""
    carried = list(step.arriving)
    with outer.as_default():
        last = Sub()(TapeLength()(operation.outputs[-1]), const(np.array(1, np.int32)))
        initial = [last]
        for at in carried:
            dy = dys[at]
            initial.append(zeros_for(operation.outputs[at]) if dy is None else dy)
        initial += [zeros_for(operation.inputs[at]) for at in step.added]
    with step.graph.as_default():
        arguments = [step.index, *step.arriving.values()]
        following = [AddV2()(step.index, const(np.array(-1, np.int32))), *(step.leaving[at] for at in carried)]
        for grad, start in zip(step.added.values(), initial[1 + len(carried) :], strict=True):
            total = step.graph.argument(Spec(start.dtype, start.dims, None, start.entries), "sum")
            arguments.append(total)
            following.append(add_all([total, grad]))
    condition = FunctionGraph(outer, f"the condition of {step.graph.context}")
    with condition.as_default():
        tests = [condition.argument(Spec(t.dtype, t.dims, None, t.entries), "variable") for t in arguments]
        goes_on = GreaterEqual()(tests[0], const(np.array(0, np.int32)))
    made = loop(condition, step.graph, (tests, arguments), goes_on, following, initial)
    grads: list[Tensor | None] = [None] * len(operation.inputs)
    for at, grad in zip([*carried, *step.added], made[1:], strict=True):
        grads[at] = grad
    return grads
