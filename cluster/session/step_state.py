"""One step as its session sees it: a state machine that takes events and gives instructions, without clock or I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..wire.protocol import Failure


class Replied(NamedTuple):
    """A task has done its part; these are its fetches, and what it noted of the step if it was told to."""

    task: str
    values: Sequence[Any]
    noted: Any = None


@dataclass(frozen=True, slots=True)
class Failed:
    """A task answered that it could not do its part."""

    task: str
    failure: Failure


@dataclass(frozen=True, slots=True)
class Lost:
    """No answer will come from a task, or none was waited for any longer."""

    task: str
    failure: Failure


@dataclass(frozen=True, slots=True)
class GivenUp:
    """The session ends the step: its deadline passed, or it was closed or interrupted."""

    failure: Failure


Event = Replied | Failed | Lost | GivenUp


@dataclass(frozen=True, slots=True)
class Abort:
    """Tell these tasks to give the step up."""

    tasks: tuple[str, ...]
    failure: Failure


@dataclass(frozen=True, slots=True)
class Finish:
    """Nothing more is waited for. With a failure, its root cause, and the task that answered it ("" when none did)."""

    failure: Failure | None
    task: str


_WELL = Finish(None, "")


class StepState:
    """Waits for every task of a step; the first failure that is not derived from another is the root cause.

    A failure aborts the tasks that still run, and the step is over only when each of them has answered or is lost. A task
    that is lost when it has done its part is a failure, too: what it sent to the others may never come.
    `ends`: the tasks whose parts are over when that of a task is, which they need not say.
    """

    def __init__(self, tasks: Iterable[str], ends: Mapping[str, Iterable[str]] | None = None) -> None:
        self.running = set(tasks)
        self._ends = ends or {}
        self.values: dict[str, Sequence[Any]] = {}
        self.noted: dict[str, Any] = {}
        #: What the tasks said that only followed the others, by task: where each was when the step failed.
        self.reports: dict[str, str] = {}
        self.cause: Failure | None = None
        self.culprit = ""
        self.aborted = False
        self.finished = False

    def handle(self, event: Event) -> list[Abort | Finish]:
        """What to do about an event. A second answer of a task means nothing."""
        if self.finished:
            return []
        match event:
            case Replied(task, values, noted) if task in self.running:
                self.running.discard(task)
                self.values[task], self.noted[task] = values, noted
                for other in self._ends.get(task, ()):
                    self.running.discard(other)
                    self.values.setdefault(other, ())
            case Failed(task, failure) if task in self.running:
                self._failed(task, failure, culprit=task)
            case Lost(task, failure) if task in self.running:
                self._failed(task, failure, culprit="")
            case Lost(task, failure) if task in self.values:
                self._blame(failure, "")
            case GivenUp(failure):
                self._blame(failure, "")
        if self.cause is not None:
            return self._abort() + self._finish()
        self.finished = not self.running
        return [_WELL] if self.finished else []

    def _failed(self, task: str, failure: Failure, culprit: str) -> None:
        self.running.discard(task)
        if failure.derived:
            self.reports[task] = failure.message
        self._blame(failure, culprit)

    def _blame(self, failure: Failure, culprit: str) -> None:
        if self.cause is None or (self.cause.derived and not failure.derived):
            self.cause, self.culprit = failure, culprit

    def _abort(self) -> list[Abort | Finish]:
        if self.cause is None or self.aborted:
            return []
        self.aborted = True
        return [Abort(tuple(sorted(self.running)), self.cause)] if self.running else []

    def _finish(self) -> list[Abort | Finish]:
        if self.running:
            return []
        self.finished = True
        return [Finish(self.cause, self.culprit)]
