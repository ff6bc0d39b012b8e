"""Kernels of branches and loops: their functions are compiled into plans once, and called with nothing in between."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...graph.opdef import Spec
from ...graph.ops.branching import If
from ...graph.ops.looping import While
from ...graph.ops.signature import own
from ...graph.ops.tapes import TapeRead
from ...graph.state import OpState
from ...graph.tape import Tape
from ..inline import compile_function
from ..interrupt import Stopper, current_stopper
from .countdown import countdown, counting_down
from .kernels import Backend, Kernel

Run = Callable[..., Any]


def branching(backend: Backend, definition: If, inputs: tuple[Spec, ...]) -> Kernel:
    """The kernel of an If. Only the plan of the branch that is taken runs."""
    saves, count = definition.saves, len(definition.then.outputs)

    def bind(state: OpState) -> Run:
        then, orelse = (
            compile_function(function, inputs[1:], saves or (), frozenset(), backend, state.session)
            for function in (definition.then, definition.orelse)
        )

        def run(pred: Any, *arguments: Any) -> Any:
            plan, entries = then if pred else orelse
            frame = plan.take()
            try:
                values = frame(arguments, None, None)
            except Exception as error:
                raise plan.failure(error) from error
            finally:
                plan.give(frame)
            tape = None if saves is None else _noted(entries, values[count:])
            return (*values[:count], tape) if count else tape

        return run

    return Kernel(_unbound, bind=bind)


def looping(backend: Backend, definition: While, inputs: tuple[Spec, ...]) -> Kernel:
    """The kernel of a While."""
    count, saves = definition.count, definition.saves
    specs = [*definition.settled(inputs), *inputs[count:]]
    down = countdown(definition)
    if down is not None:
        return counting_down(backend, definition, down, specs)

    def bind(state: OpState) -> Run:
        everything = frozenset(range(len(specs)))
        # What a tape keeps must not lie in the memory of an invariant, which may end before the tape does.
        shared = frozenset(range(count)) if saves else everything
        test, _ = compile_function(definition.condition, specs, (), everything, backend, state.session, arrays=False)
        body, entries = compile_function(definition.body, specs, saves or (), shared, backend, state.session)
        loop = _plain if saves is None else _recording

        def run(*arguments: Any) -> Any:
            stopper = current_stopper() or Stopper()
            first, second = test.take(), body.take()
            stopper.begin(first)
            stopper.begin(second)
            try:
                now, tape = loop((test, first), (body, second), arguments, count, entries)
            finally:
                for plan, frame in ((test, first), (body, second)):
                    if stopper.end(frame):
                        plan.give(frame)
            return (*(own(value, arguments) for value in now), tape) if count else tape

        return run

    return Kernel(_unbound, bind=bind)


def reading(definition: TapeRead) -> Kernel:
    """The kernel of a TapeRead: two look-ups."""
    entry = definition.entry

    def run(tape: Any, index: Any = 0) -> Any:
        try:
            return tape.columns[entry][int(index)]
        except (KeyError, IndexError):
            return definition.compute(tape, index)  # which says what is missing

    return Kernel(run)


def _noted(entries: list[str], values: Any) -> Tape:
    return Tape({entry: [value] for entry, value in zip(entries, values, strict=True)}, 1)


def _plain(test: Any, body: Any, arguments: Any, count: int, entries: list[str]) -> tuple[Any, None]:
    """Run a loop. No tape."""
    (test_plan, goes_on), (body_plan, step) = test, body
    invariants = arguments[count:]
    try:
        while True:
            try:
                if not goes_on(arguments, None, None)[0]:
                    return arguments[:count], None
            except Exception as error:
                raise test_plan.failure(error) from error
            arguments = step(arguments, None, None) + invariants
    except Exception as error:
        raise body_plan.failure(error) from error


def _recording(test: Any, body: Any, arguments: Any, count: int, entries: list[str]) -> tuple[Any, Tape]:
    """Run a loop, and keep the entries of each iteration."""
    (test_plan, goes_on), (body_plan, step) = test, body
    invariants = arguments[count:]
    columns: dict[str, list[Any]] = {entry: [] for entry in entries}
    append = [column.append for column in columns.values()]
    length = 0
    arguments = (*(_copied(value) for value in arguments[:count]), *invariants)
    try:
        while True:
            try:
                if not goes_on(arguments, None, None)[0]:
                    return arguments[:count], Tape({**columns}, length)
            except Exception as error:
                raise test_plan.failure(error) from error
            values = step(arguments, None, None)
            for keep, value in zip(append, values[count:]):  # noqa: B905
                keep(value)
            arguments = values[:count] + invariants
            length += 1
    except Exception as error:
        raise body_plan.failure(error) from error


def _copied(value: Any) -> Any:
    return np.array(value, order="C") if isinstance(value, np.ndarray) else value


def _unbound(*_: Any) -> Any:
    raise RuntimeError("the kernel of a branch or a loop is made for the state of a session: bind it first")
