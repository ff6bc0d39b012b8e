"""A session's side of a step: which task has which part of it, and what is to be done about it while it is in flight."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ...graph import errors
from ...graph.devices import DeviceSpec
from ...runtime.stages.plan import Fetch, StepPlan, TakeFeed
from ..wire.message import Message
from ..wire.plans import encode_plan
from ..wire.protocol import ABORT_HEAD, STEP_HEAD, TRACE_HEAD, Failure, Kind
from ..wire.relays import Relay, endings, relays
from .step_state import Abort, Finish, StepState

#: Of a row of steps, the last one that each task got; None for a step that stands alone.
Row = Mapping[str, int] | None


@dataclass(frozen=True, slots=True)
class TaskPlan:
    """A task's part of a step: the plan's number there, the feeds it takes, the fetches it returns, how it begins and ends."""

    task: str
    number: int
    feeds: tuple[int, ...]
    fetches: tuple[int, ...]
    relay: Relay


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class Loaded:
    """A step that every task it needs has a plan for, until nobody refers to it any more."""

    parts: tuple[TaskPlan, ...]
    fetches: int
    #: The tasks whose parts are over when that of a task is.
    ends: Mapping[str, Sequence[str]]
    #: The tasks of all parts, by index; and of those that are begun by the session where a step stands alone.
    tasks: Mapping[int, str]
    heads: Mapping[int, str]

    @staticmethod
    def of(step: StepPlan, numbers: Iterator[int]) -> Loaded:
        """A step whose plans have the next of these numbers."""
        plans = step.plans  # a task has one device, and so one plan
        tasks = {index: str(DeviceSpec.from_string(plan.device).task_only()) for index, plan in enumerate(plans)}
        known = [next(numbers) for _ in plans]
        parts = []
        for index, relay in enumerate(relays(plans, known)):
            feeds = tuple(i.index for i in plans[index].instructions if isinstance(i, TakeFeed))
            fetches = tuple(i.index for i in plans[index].instructions if isinstance(i, Fetch))
            parts.append(TaskPlan(tasks[index], known[index], feeds, fetches, relay))
        ends: dict[str, list[str]] = {}
        for part, last in endings(plans).items():
            ends.setdefault(tasks[last], []).append(tasks[part])
        heads = {index: task for index, task in tasks.items() if parts[index].relay.begun is None}
        return Loaded(tuple(parts), step.fetches, ends, tasks, heads)

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
    handle: Loaded
    state: StepState
    timeout: float | None
    began: float
    deadline: float | None
    loads: bool = False  #: whether it only makes plans ready: tasks are not waited for that do so too late
    to_abort: Abort | None = None
    over: Finish | None = None
    grace: float | None = None  #: until when the tasks may take to give it up
    sending: str = ""  #: the task that is being sent something
    since: float = 0.0  #: since when
    late: set[str] = field(default_factory=set)  #: the tasks that the session went on without

    def is_done(self) -> bool:
        """Whether it is over, and nothing is left to do about it."""
        return self.over is not None and self.to_abort is None

    def needs_attention(self) -> bool:
        return self.over is not None or self.to_abort is not None

    def abort_message(self, task: str) -> Message:
        """What tells a task to give it up."""
        (part,) = (part for part in self.handle.parts if part.task == task)
        return Message(Kind.ABORT, 0, self.number, part.number, ABORT_HEAD.pack(time.monotonic() - self.began))

    def raise_failure(self, lost: Mapping[str, Failure], log_tail: Callable[[str], str]) -> None:
        """Raises what ended the step, when it is over, unless it ended well; if that is the end of a task, with its log's."""
        assert self.over is not None
        failure = self.over.failure
        if failure is not None:
            if failure.code == errors.DEADLINE_EXCEEDED and not failure.node and self.state.reports:
                failure = Failure(failure.code, f"{failure.message}: {'; '.join(self.state.reports.values())}")
            tails = [log_tail(task) for task, end in lost.items() if end is failure]
            raise replace(failure, message="".join([failure.message, *tails])).error(self.over.task)


def expected(steps: Iterable[SessionStep], old: int) -> dict[str, int]:
    """Each task that one of these steps waits for, and the first such step.

    Steps up to the number `old` have taken a while: they may wait for what a task has sent that has done its part.
    """
    first: dict[str, int] = {}
    for step in steps:
        for task in (*step.state.running, *(step.state.values if step.number <= old else ())):
            first.setdefault(task, step.number)
    return first


def load_messages(handle: Loaded, step: StepPlan) -> Callable[[int, int], Message]:
    """What makes the message that brings a plan, of the step's number and the index of the part."""

    def message(number: int, index: int) -> Message:
        data, arrays = encode_plan(step.plans[index])
        part = handle.parts[index]
        return Message(Kind.LOAD, 0, number, part.number, b"%b\n%b" % (part.relay.encode(), data), arrays)

    return message


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
        if kind == Kind.TRACE:
            meta += TRACE_HEAD.pack(time.time_ns())
        return Message(kind, 0, number, part.number, meta, tuple(map(feeds.__getitem__, part.feeds)))

    return message
