"""The gradient of a loop: a loop that goes back over the tape, carrying the gradients of the loop variables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..dtypes import resource
from ..function import Function, FunctionGraph
from ..indexed_slices import Gradient
from ..ir import Graph, Operation, Tensor, graph_of
from ..opdef import Spec
from .arithmetic import AddV2, Sub
from .backward import GradientGraph
from .compare import GreaterEqual
from .constant import const
from .loop_sums import LoopSum, added_up
from .neutral import zeros_for
from .row_gradients import parts_of
from .segments import whole
from .tapes import TapeLength


@dataclass(slots=True)
class _Step:
    """One iteration backward, as a graph: the gradients that arrive, those that leave, and what is added to the sums."""

    graph: GradientGraph
    index: Tensor
    arriving: dict[int, Tensor]
    leaving: dict[int, Tensor]
    #: For each input that never changes and has a gradient, its place and the gradient of this iteration.
    added: dict[int, Gradient]


def backward_loop(
    operation: Operation, body: Function, dys: Sequence[Gradient | None], dtape: Tensor | None, loop: Callable[..., Any]
) -> list[Gradient | None]:
    """The gradients of a While by its inputs: None for those that no gradient reaches."""
    outer = graph_of(operation.inputs)
    fixed = frozenset(at for at, after in enumerate(body.outputs) if after is body.inputs[at])
    arrived = [dy if dy is None or at in fixed else whole(dy) for at, dy in enumerate(dys)]
    entries = {
        at: dy.entries
        for at, dy in enumerate(arrived)
        if isinstance(dy, Tensor) and at not in fixed and _carries(body.inputs[at])
    }
    step = _step(outer, operation, body, fixed, entries, dtape)
    while True:  # a variable that the others depend on is carried too, and tapes may hold more with each iteration
        grown = _grown(entries, step.leaving)
        if grown == entries:
            break
        entries = grown
        step = _step(outer, operation, body, fixed, entries, dtape)
    grads: list[Gradient | None] = [None] * len(operation.inputs)
    for at in fixed:
        grads[at] = arrived[at] if _carries(body.inputs[at]) else None
    if step.leaving or step.added:
        with outer.as_default(), outer.colocate_with(operation, ignore_existing=True):  # where the tape is
            _loop(operation, step, arrived, loop, grads)
    return grads


def _carries(variable: Tensor) -> bool:
    return variable.dtype.is_trainable and variable.dtype is not resource


def _grown(entries: dict[int, tuple[str, ...]], leaving: dict[int, Tensor]) -> dict[int, tuple[str, ...]]:
    grown = dict(entries)
    for index, tensor in leaving.items():
        grown[index] = tuple(dict.fromkeys(grown.get(index, ()) + tensor.entries))
    return grown


def _step(
    outer: Graph,
    operation: Operation,
    body: Function,
    fixed: frozenset[int],
    entries: dict[int, tuple[str, ...]],
    dtape: Tensor | None,
) -> _Step:
    """One iteration backward, for gradients arriving at the loop variables in `entries`; those in `fixed` never change."""
    count = len(body.outputs)
    given = {body.inputs[at]: source for at, source in enumerate(operation.inputs) if at >= count or at in fixed}
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
        grads = {at: graph.captured_gradient(grad) for at, grad in zip(wanted, found, strict=True) if grad is not None}
        added = {at: grad for at, grad in grads.items() if body.inputs[at] in given}
        leaving = {at: whole(grad) for at, grad in grads.items() if at not in added}
        for at in arriving:
            if at not in leaving:
                leaving[at] = zeros_for(body.inputs[at])
    return _Step(graph, index, arriving, leaving, added)


def _loop(
    operation: Operation, step: _Step, dys: Sequence[Gradient | None], loop: Callable[..., Any],
    grads: list[Gradient | None],
) -> None:  # fmt: skip
    """Add the loop over all iterations, the last first, and enter what it finds into `grads`."""
    length = TapeLength()(operation.outputs[-1])
    carried = list(step.arriving)
    initial = [Sub()(length, const(np.array(1, np.int32)))]
    for at in carried:
        initial += parts_of(dys[at], operation.outputs[at], None)
    sums: dict[int, LoopSum] = {}
    for at, grad in step.added.items():
        first = dys[at] if at < len(dys) else None
        # A variable that is carried unchanged is dense where nothing arrives: zeros do, as in TensorFlow.
        sums[at] = added_up(operation, at, first, grad, rows=at >= len(dys) or first is not None)
        initial += sums[at].initial
    with step.graph.as_default():
        arguments = [step.index, *step.arriving.values()]
        following = [AddV2()(step.index, const(np.array(-1, np.int32))), *(step.leaving[at] for at in carried)]
        number = Sub()(length, step.index) if any(total.numbered for total in sums.values()) else step.index
        for at, total in sums.items():
            totals = [step.graph.argument(Spec(t.dtype, t.dims, None, t.entries), "sum") for t in total.initial]
            arguments += totals
            following += total.following(totals, step.added[at], number)
    made = iter(_over(step.graph, arguments, following, initial, loop)[1:])
    for at in carried:
        grads[at] = next(made)
    for at, total in sums.items():
        grads[at] = total.result([next(made) for _ in total.initial])


def _over(
    body: GradientGraph, arguments: Sequence[Tensor], following: Sequence[Tensor],
    initial: Sequence[Tensor], loop: Callable[..., Any],
) -> tuple[Tensor, ...]:  # fmt: skip
    """The loop while the iteration, its first variable, is one."""
    condition = FunctionGraph(body.outer, f"the condition of {body.context}")
    with condition.as_default():
        tests = [condition.argument(Spec(t.dtype, t.dims, None, t.entries), "variable") for t in arguments]
        goes_on = GreaterEqual()(tests[0], const(np.array(0, np.int32)))
    made: tuple[Tensor, ...] = loop(condition, body, (tests, arguments), goes_on, following, initial)
    return made
