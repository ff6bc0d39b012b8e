"""Which tasks of a cluster live, and how one that has died is replaced: a state machine without clock or I/O."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from ...runtime.backoff import wait_before


@dataclass(frozen=True, slots=True)
class Budget:
    """How often a cluster's tasks are started again, and after what waits. Times in seconds.

    What fails at once counts once. A preemption (Ray has taken a host away) counts apart from failures, and is not waited
    after. The first failure is mended at once, the next one after `first_delay`, each further one after twice the wait, up to
    `longest_delay`. After `healthy_after` seconds without any the counts begin again.
    """

    max_failures: int = 10
    max_preemptions: int = 100
    first_delay: float = 1.0
    longest_delay: float = 60.0
    healthy_after: float = 600.0


@dataclass(frozen=True, slots=True)
class Ended:
    """A task has ended, does not answer, or could not be started."""

    task: str
    reason: str
    preempted: bool
    now: float


@dataclass(frozen=True, slots=True)
class Wanted:
    """Somebody wants all tasks to be there."""

    now: float


@dataclass(frozen=True, slots=True)
class Joined:
    """A task is there and has begun an epoch."""

    task: str
    epoch: int
    now: float


@dataclass(frozen=True, slots=True)
class Tick:
    """It is `now`; wanted at `RecoveryState.due`."""

    now: float


Event = Ended | Wanted | Joined | Tick


@dataclass(frozen=True, slots=True)
class Tell:
    """Let the sessions know that a task is gone."""

    task: str
    reason: str


@dataclass(frozen=True, slots=True)
class Create:
    """Start a task anew, in this epoch; say Joined or Ended."""

    task: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Begin:
    """Let a task that lives begin an epoch, which ends all sessions of earlier ones; say Joined or Ended."""

    task: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Mending:
    """Something went wrong and will be put right: for the log."""

    what: str
    delay: float


@dataclass(frozen=True, slots=True)
class Whole:
    """All tasks are there, in this epoch."""

    epoch: int


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The tasks are not started again any more. `task`, `what`: what went wrong first, and what last."""

    task: str
    what: str


Instruction = Tell | Create | Begin | Mending | Whole | GiveUp


class Status(Enum):
    """What a task does."""

    UP = "is there"
    LOST = "has ended"
    JOINING = "is to begin an epoch"
    STARTING = "is being started"


class RecoveryState:
    """The tasks of a cluster, from one epoch to the next.

    Nothing is mended before somebody wants it (Wanted). Then, after the wait, those that are lost are started anew and all
    others begin the same new epoch; when all have, the cluster is whole. If one cannot, that is another failure, and when all
    have told what became of them, everything is tried once more, in a further epoch.
    """

    def __init__(self, tasks: Iterable[str], budget: Budget) -> None:
        self.status = dict.fromkeys(tasks, Status.UP)
        self.epoch = 0
        self.failures = self.preemptions = 0
        #: When a Tick is wanted; None while nothing waits for the time.
        self.due: float | None = None
        self._budget = budget
        self._last = -float("inf")
        self._mending = False
        self._first: tuple[str, str] | None = None  #: of this outage: the task that went first, and why
        self._lost: dict[str, bool] = {}  #: what has not been counted yet, and whether it was a preemption
        self._latest = ""
        self._over: GiveUp | None = None

    def handle(self, event: Event) -> list[Instruction]:
        """What to do about an event."""
        match event:
            case Ended(task, reason, preempted, now):
                return self._ended(task, reason, preempted, now)
            case Wanted(now):
                return self._wanted(now)
            case Joined(task, epoch, now):
                return self._joined(task, epoch, now)
            case Tick(now):
                return self._try() if self.due is not None and now >= self.due else []

    def _ended(self, task: str, reason: str, preempted: bool, now: float) -> list[Instruction]:
        was = self.status[task]
        if was is Status.LOST:
            return []
        self.status[task], self._lost[task], self._latest = Status.LOST, preempted, f"{task}: {reason}"
        if self._first is None:
            self._first = task, reason
        told: list[Instruction] = [] if was is Status.STARTING else [Tell(task, reason)]
        return told + self._settle(now)

    def _settle(self, now: float) -> list[Instruction]:
        """When an attempt has failed and all have told what became of them, count that."""
        attempted = self._mending and self.due is None
        if not attempted or not {Status.JOINING, Status.STARTING}.isdisjoint(self.status.values()):
            return []
        return self._count(now)

    def _wanted(self, now: float) -> list[Instruction]:
        if self._over is not None:
            return [self._over]
        if self._mending:
            return []
        if not self._lost:
            return [Whole(self.epoch)]
        self._mending = True
        return self._count(now)

    def _count(self, now: float) -> list[Instruction]:
        """Another outage, or a failed attempt to mend one: wait, or give up."""
        assert self._first is not None
        if now - self._last > self._budget.healthy_after:
            self.failures = self.preemptions = 0
        preempted = all(self._lost.values())
        most, so_far = (
            (self._budget.max_preemptions, self.preemptions)
            if preempted
            else (self._budget.max_failures, self.failures)
        )
        task, reason = self._first
        if so_far >= most:
            latest = "" if self._latest == f"{task}: {reason}" else f"; the last that went wrong: {self._latest}"
            times = f"{self.failures} failures and {self.preemptions} preemptions were mended"
            self._over, self._mending = GiveUp(task, f"{reason} ({times}{latest})"), False
            return [self._over]
        self._last = now
        self.failures, self.preemptions = self.failures + (not preempted), self.preemptions + preempted
        delay = 0.0 if preempted else self._delay()
        self.due = now + delay
        return [Mending(self._latest, delay)]

    def _delay(self) -> float:
        budget = self._budget
        return wait_before(self.failures - 1, budget.first_delay, budget.longest_delay) if self.failures > 1 else 0.0

    def _try(self) -> list[Instruction]:
        self.epoch, self.due = self.epoch + 1, None
        self._lost.clear()
        found: list[Instruction] = []
        for task, status in self.status.items():
            lost = status is Status.LOST
            self.status[task] = Status.STARTING if lost else Status.JOINING
            found.append(Create(task, self.epoch) if lost else Begin(task, self.epoch))
        return found

    def _joined(self, task: str, epoch: int, now: float) -> list[Instruction]:
        if epoch != self.epoch or self.status[task] not in (Status.JOINING, Status.STARTING):
            return []
        self.status[task] = Status.UP
        if set(self.status.values()) == {Status.UP}:
            self._mending, self._first = False, None
            return [Whole(self.epoch)]
        return self._settle(now)
