"""Kernels of the loops that gradients make: they go back over a tape, so how often and what they read is known before."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from ...graph.dtypes import int32
from ...graph.function import Function
from ...graph.ir import Tensor
from ...graph.opdef import Spec
from ...graph.ops.arithmetic import AddV2
from ...graph.ops.compare import GreaterEqual
from ...graph.ops.constant import constant_value
from ...graph.ops.looping import While
from ...graph.ops.tapes import TapeRead
from ...graph.state import OpState
from ...graph.tape import boxed
from ..kernels import Backend, Kernel
from ..loops.carried import Carried, carried, numbers_of
from ..loops.hoist import unchanging
from ..loops.inline import step_of
from ..loops.loop import CompiledLoop, LoopPlan
from ..stages.plan import TakeFeed


class Countdown(NamedTuple):
    """A loop whose first variable counts down to 0."""

    #: One iteration, without the counter among its results; what it reads of tapes at the counter comes as more inputs.
    body: Function
    #: For each of these the place of the tape among the inputs, and the read.
    reads: tuple[tuple[int, TapeRead], ...]


def countdown(definition: While) -> Countdown | None:
    """The loop in this form; None for another kind of loop, and for one that keeps a tape itself."""
    if definition.saves is not None or not _counts_down(definition):
        return None
    body, count = definition.body, definition.count
    counter = body.inputs[0]
    places = {tensor: place for place, tensor in enumerate(body.inputs) if place >= count}
    reads: dict[Tensor, tuple[int, TapeRead]] = {}
    for operation in body.operations:
        if isinstance(operation.definition, TapeRead) and operation.inputs[1:] == (counter,):
            tape = operation.inputs[0]
            if tape in places:
                reads[operation.outputs[0]] = (places[tape], operation.definition)
    step = Function(body.graph, (*body.inputs, *reads), body.outputs[1:])
    return Countdown(step, tuple(reads.values()))


def _counts_down(definition: While) -> bool:
    before, after = definition.body.inputs[0], definition.body.outputs[0].op
    test = definition.condition.outputs[0].op
    return (
        before.dtype is int32
        and before.dims == ()
        and isinstance(test.definition, GreaterEqual)
        and test.inputs[0] is definition.condition.inputs[0]
        and _is(test.inputs[1], 0)
        and isinstance(after.definition, AddV2)
        and after.inputs[0] is before
        and _is(after.inputs[1], -1)
    )


def _is(tensor: Tensor, number: int) -> bool:
    value = constant_value(tensor)
    return value is not None and value.shape == () and int(value) == number


def counting_down(backend: Backend, definition: While, down: Countdown, specs: list[Spec]) -> Kernel:
    """The kernel: no test, no counting, no look-up in an iteration."""
    count = definition.count
    read = [_read_spec(specs[place], entry) for place, entry in down.reads]

    def bind(state: OpState) -> Any:
        shared = frozenset(range(len(specs)))  # what a tape holds is the tape's
        places: dict[int, Carried] = {}
        body, _ = step_of(
            down.body, [*specs, *read], (), shared, backend, unchanging(definition, len(specs)), len(specs) + len(read),
            lambda draft: places.update(carried(draft, range(1, count))),
        )  # fmt: skip
        # Of a read whose shape alone is used, nothing is left, and the tape does not hold it.
        used = {i.index for i in body.plan.instructions if isinstance(i, TakeFeed)}
        coming = {at: pair for at, pair in enumerate(down.reads, len(specs)) if at in used}
        rows = (0, *coming) if 0 in used else tuple(coming)
        single = numbers_of(None, body, [*specs, *read], range(1, count), backend)
        plan = LoopPlan(None, body, len(specs), count, first=1, rows=rows, carried=places, numbers=single)
        loop = CompiledLoop(plan, backend, state.session)

        def run(*arguments: Any) -> Any:
            last = int(arguments[0])
            places = range(last, -1, -1)
            columns: list[Iterable[Any]] = [
                _column(arguments[place], entry, places, at in single) for at, (place, entry) in coming.items()
            ]
            if 0 in used:
                columns.insert(0, map(np.int32 if 0 in single else _array_of, places))
            values, _, _ = loop.run(arguments[1:], zip(*columns, strict=True) if columns else places)
            return (np.array(min(last, -1), np.int32), *values, None)

        return run

    def unbound(*_: Any) -> Any:
        raise RuntimeError("the kernel of a loop is made for the state of a session: bind it first")

    return Kernel(unbound, bind=bind)


def _read_spec(tape: Spec, read: TapeRead) -> Spec:
    return read.infer(tape, Spec(int32, ()))


def _array_of(number: int) -> Any:
    return np.array(number, np.int32)


def _column(tape: Any, read: TapeRead, numbers: range, single: bool) -> Iterable[Any]:
    """What is read in each iteration, the last one first; `single`: as NumPy's scalars."""
    column = tape.columns.get(read.entry)
    if not isinstance(column, list) or len(column) != len(numbers):
        values = [read.compute(tape, at) for at in numbers]
    elif not column or isinstance(column[0], np.generic) == single:
        return reversed(column)
    else:
        values = column[::-1]
    return [value[()] if single else boxed(value) for value in values]
