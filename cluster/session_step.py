"""A session's side of a step: which task has which part of it, and what is to be done about it while it is in flight."""

from __future__ import annotations

from dataclasses import dataclass, field

from .step_state import Abort, Finish, StepState


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


@dataclass(slots=True, eq=False)
class SessionStep:
    """A step in flight: its state machine, and what that has asked for and nobody has done yet."""

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
