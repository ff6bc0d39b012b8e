"""A session's side of a step: which task has which part of it, and what is to be done about it while it is in flight."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..graph import errors
from .message import Message
from .protocol import STEP_HEAD, Failure, Kind
from .step_state import Abort, Finish, StepState

#: Of a row of steps, the last one that each task got; None for a step that stands alone.
Row = Mapping[str, int] | None


@dataclass(frozen=True, slots=True)
class TaskPlan:
    """A task's part of a step: the plan's number there, the feeds it takes, the fetches it returns."""

    task: str
    number: int
    feeds: tuple[int, ...]
    fetches: tuple[int, ...]


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class Loaded:
    """A step that every task it needs has a plan for, until nobody refers to it any more."""

    parts: tuple[TaskPlan, ...]
    fetches: int

    def results(self, state: StepState) -> list[Any]:
        """The fetched values of a step, in their order."""
        results: list[Any] = [None] * self.fetches
        for part in self.parts:
            for index, value in zip(part.fetches, state.values[part.task], strict=True):
                results[index] = value
        return results


@dataclass(slots=True, eq=False)
class SessionStep:
    """A step in flight: its state machine, and what that has asked for and nobody has done yet."""

    number: int
    state: StepState
    timeout: float | None
    deadline: float | None
    loads: bool = False  #: whether it only makes plans ready: tasks are not waited for that do so too late
    to_abort: Abort | None = None
    over: Finish | None = None
    grace: float | None = None  #: until when the tasks may take to give it up
    sending: str = ""  #: the task that is being sent something
    since: float = 0.0  #: since when
    late: set[str] = field(default_factory=set)  #: the tasks that the session went on without

    def needs_attention(self) -> bool:
        return self.over is not None or self.to_abort is not None

    def raise_failure(self, more: str = "") -> None:
        """Raises what ended the step, when it is over, unless it ended well. `more`: to be told with it."""
        assert self.over is not None
        failure = self.over.failure
        if failure is not None:
            if failure.code == errors.DEADLINE_EXCEEDED and not failure.node and self.state.reports:
                failure = Failure(failure.code, f"{failure.message}: {'; '.join(self.state.reports.values())}")
            raise replace(failure, message=failure.message + more).error(self.over.task)


def expected(steps: Iterable[SessionStep], old: int) -> dict[str, int]:
    """Each task that one of these steps waits for, and the first such step.

    Steps up to the number `old` have taken a while: they may wait for what a task has sent that has done its part.
    """
    first: dict[str, int] = {}
    for step in steps:
        for task in (*step.state.running, *(step.state.values if step.number <= old else ())):
            first.setdefault(task, step.number)
    return first


def stuck(steps: Iterable[SessionStep], before: float) -> set[str]:
    """Tasks that do not even take what they are sent since then, though the deadline of the step it is for was then, too."""
    late = [step for step in steps if step.deadline is not None and step.deadline < before]
    return {step.sending for step in late if step.since < before} - {""}


def step_messages(
    handle: Loaded, feeds: Sequence[Any], kind: Kind, done: int, before: Row
) -> Callable[[int, int], Message]:
    """What makes the message that begins a step, of its number and the index of the part. `done`: see STEP_HEAD."""

    def message(number: int, index: int) -> Message:
        part = handle.parts[index]
        meta = STEP_HEAD.pack(done, 0 if before is None else before.get(part.task, number))
        return Message(kind, 0, number, part.number, meta, [feeds[feed] for feed in part.feeds])

    return message
