"""Kernels of the parts of branches and loops that span devices: their plans run in place, and meet those of the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count
from typing import Any

from ...graph.state import OpState
from ...graph.tape import Tape
from ..execution.compile import CompiledPlan, Frame
from ..execution.failures import StepFailure
from ..execution.interrupt import Stopper, current_stopper
from ..execution.writer import apart, fresh
from ..kernels import Backend, Kernel
from ..stages.parts import AHEAD, IfPart, OncePart, WhilePart

Send = Callable[..., None]
Receive = Callable[[int], Any]
#: Runs a plan in a frame: takes what is fed, `send` and `receive`.
Call = Callable[[Sequence[Any], Send, Receive], tuple[Any, ...]]


def branch_part(backend: Backend, definition: IfPart) -> Kernel:
    """The kernel of a device's part of an If."""

    def bind(state: OpState) -> Callable[..., Any]:
        then, orelse = (
            CompiledPlan(plan, backend, state.session, arrays=True) for plan in (definition.then, definition.orelse)
        )
        places = max(definition.feeds, default=-1) + 1

        def run(send: Send, receive: Receive, pred: Any, *arguments: Any) -> Any:
            taken = _holds(pred, state)
            plan = then if taken else orelse
            with _Running(plan) as (frame,):
                values = _call(plan, frame, _placed(definition.feeds, places, arguments), send, receive)
            if not definition.records:
                return values
            entries = definition.entries[0 if taken else 1]
            results = len(values) - len(entries)
            tape = Tape({entry: [value] for entry, value in zip(entries, values[results:], strict=True)}, 1)
            return (*values[:results], tape)

        return run

    return Kernel(_unbound, bind=bind, meets=True)


def loop_part(backend: Backend, definition: WhilePart) -> Kernel:
    """The kernel of a device's part of a While."""
    feeds, following = definition.feeds, definition.following

    def bind(state: OpState) -> Callable[..., Any]:
        plans = [
            CompiledPlan(plan, backend, state.session, arrays=True)
            for plan in (definition.before, definition.first, definition.condition, definition.body)
        ]

        def run(send: Send, receive: Receive, *arguments: Any) -> Any:
            values = _placed(feeds, definition.count, arguments)
            columns: list[list[Any]] = [[] for _ in definition.entries]
            if columns:  # a tape keeps them longer than the step has them
                for number in following:
                    values[number] = fresh(values[number])
            done = 0
            with _Running(*plans) as frames:
                *others, body = (partial(_call, *pair) for pair in zip(plans, frames, strict=True))
                for done in _iterations(definition, others, values, state, send, receive):
                    results = body(values, send, receive)
                    _give(values, following, results)
                    for column, value in zip(columns, results[len(following) :], strict=True):
                        column.append(value)
                    if definition.tells is not None:
                        send(*definition.tells, None, True)
                    if done > AHEAD:
                        _await(definition.waits, 1, receive)
                _await(definition.waits, min(done, AHEAD), receive)
            given: list[Any] = []
            for number in definition.results:
                given.append(apart(values[number], (*arguments, *given)))
            if definition.records:
                given.append(Tape(dict(zip(definition.entries, columns, strict=True)), done))
            return given

        return run

    return Kernel(_unbound, bind=bind, meets=True)


def _iterations(
    definition: WhilePart, calls: Sequence[Call], values: list[Any], state: OpState, send: Send, receive: Receive
) -> Iterator[int]:
    """The numbers of a loop's iterations, from 1, each when it is known that there is one, and what it needs is there."""
    before, first, test = calls
    _give(values, definition.given[0], before(values, send, receive))
    for number in count(1):
        predicate = test(values, send, receive)[0]
        if number == 1:
            for edge, device in definition.starts:
                send(edge, device, predicate, True)
        if not _holds(predicate, state):
            return
        if number == 1:
            _give(values, definition.given[1], first(values, send, receive))
        yield number


def once_part(backend: Backend, definition: OncePart) -> Kernel:
    """The kernel of a part that only does what is the same in each iteration."""

    def bind(state: OpState) -> Callable[..., Any]:
        plans = [
            CompiledPlan(plan, backend, state.session, arrays=True) for plan in (definition.before, definition.first)
        ]
        before, first = plans

        def run(send: Send, receive: Receive, *arguments: Any) -> None:
            values = _placed(definition.feeds, definition.count, arguments)
            with _Running(*plans) as (before_frame, first_frame):
                _call(before, before_frame, values, send, receive)
                if definition.start is not None and _holds(receive(definition.start[0]), state):
                    _call(first, first_frame, values, send, receive)

        return run

    return Kernel(_unbound, bind=bind, meets=True)


class _Running:
    """A block in which plans run, in buffers of their own; what ends the step that the thread runs ends them."""

    def __init__(self, *plans: CompiledPlan) -> None:
        self._plans = plans
        self._stopper = current_stopper() or Stopper()
        self._frames: list[Frame] = []

    def __enter__(self) -> list[Frame]:
        for plan in self._plans:
            self._frames.append(plan.take())
            self._stopper.begin(self._frames[-1])
        return self._frames

    def __exit__(self, *_: object) -> None:
        for plan, frame in zip(self._plans, self._frames, strict=False):
            if self._stopper.end(frame):
                plan.give(frame)


def _call(plan: CompiledPlan, frame: Frame, values: Sequence[Any], send: Send, receive: Receive) -> tuple[Any, ...]:
    try:
        return frame(values, send, receive)
    except Exception as error:
        failure = plan.failure(error)
        if failure is error:
            raise
        raise failure from error


def _holds(predicate: Any, state: OpState) -> bool:
    try:
        return bool(predicate)
    except ValueError as error:
        raise StepFailure(state.name, error) from error


def _placed(feeds: Sequence[int], places: int, arguments: Sequence[Any]) -> list[Any]:
    """What is fed, in its places."""
    values: list[Any] = [None] * places
    for number, value in zip(feeds, arguments, strict=True):
        values[number] = value
    return values


def _give(values: list[Any], feeds: Sequence[int], given: Sequence[Any]) -> None:
    for number, value in zip(feeds, given, strict=False):
        values[number] = value


def _await(edges: Sequence[int], times: int, receive: Receive) -> None:
    for edge in edges:
        for _ in range(times):
            receive(edge)


def _unbound(*_: Any) -> Any:
    raise RuntimeError("the kernel of a branch or a loop is made for the state of a session: bind it first")
