"""Kernels of branches and loops: their functions are compiled into plans once, and called with nothing in between."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...graph.function import Function
from ...graph.opdef import Spec
from ...graph.ops.branching import If
from ...graph.ops.looping import While
from ...graph.ops.tapes import TapeRead
from ...graph.state import OpState
from ...graph.tape import Tape, boxed
from ..execution.compile import CompiledPlan
from ..kernels import Backend, Kernel
from ..loops.carried import Carried, carried, numbers_of
from ..loops.hoist import unchanging
from ..loops.inline import plan_of, step_of
from ..loops.loop import CompiledLoop, LoopPlan
from .countdown import countdown, counting_down

Run = Callable[..., Any]


def branching(backend: Backend, definition: If, inputs: tuple[Spec, ...]) -> Kernel:
    """The kernel of an If. Only the plan of the branch that is taken runs."""
    saves, count = definition.saves, len(definition.then.outputs)

    def bind(state: OpState) -> Run:
        then, orelse = (
            _compiled(function, inputs[1:], saves, backend, state) for function in (definition.then, definition.orelse)
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
        places: dict[int, Carried] = {}
        fixed, number = unchanging(definition, len(specs)), len(specs)
        test, _ = step_of(definition.condition, specs, (), everything, backend, fixed, number)
        body, entries = step_of(
            definition.body, specs, saves or (), shared, backend, fixed, number + len(test.given),
            lambda draft: places.update(carried(draft, range(count))),
        )  # fmt: skip
        recorded = saves is not None
        plan = LoopPlan(
            test, body, len(specs), count, entries=len(entries), records=recorded, carried=places,
            numbers=numbers_of(test, body, specs, range(count), backend),
        )  # fmt: skip
        loop = CompiledLoop(plan, backend, state.session)

        def run(*arguments: Any) -> Any:
            values, columns, length = loop.run(arguments)
            tape = Tape(dict(zip(entries, columns, strict=True)), length) if recorded else None
            return (*values, tape) if count else tape

        return run

    return Kernel(_unbound, bind=bind)


def _compiled(
    function: Function, inputs: Sequence[Spec], saves: tuple[str, ...] | None, backend: Backend, state: OpState
) -> tuple[CompiledPlan, list[str]]:
    """The plan of a branch, and the entries it saves."""
    plan, entries = plan_of(function, inputs, saves or (), frozenset(), backend)
    return CompiledPlan(plan, backend, state.session, arrays=True), entries


def reading(definition: TapeRead, output: Spec) -> Kernel:
    """The kernel of a TapeRead: two look-ups."""
    entry = definition.entry

    def run(tape: Any, index: Any = 0) -> Any:
        try:
            return tape.columns[entry][int(index)]
        except (KeyError, IndexError):
            return definition.compute(tape, index)  # which says what is missing

    return Kernel(run if output.dims else lambda *arguments: boxed(run(*arguments)))


def _noted(entries: list[str], values: Any) -> Tape:
    return Tape({entry: [value] for entry, value in zip(entries, values, strict=True)}, 1)


def _unbound(*_: Any) -> Any:
    raise RuntimeError("the kernel of a branch or a loop is made for the state of a session: bind it first")
