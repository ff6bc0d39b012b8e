"""A job as its launcher sees it: a state machine that takes events and gives instructions, without clock or I/O."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from ...runtime.backoff import wait_before


@dataclass(frozen=True, slots=True)
class Policy:
    """How often a job is taken up again, and how long it waits before. Times in seconds."""

    #: So many failures are mended; one more ends the job.
    max_failures: int = 3
    #: So many times Ray may take hosts away; these do not count as failures.
    max_preemptions: int = 100
    #: How long the first failure is waited after; each further one twice as long, up to the longest.
    first_delay: float = 1.0
    longest_delay: float = 60.0
    #: What fails so soon after another's failure, fails because of it: it is started again, and counts for nothing.
    derived_within: float = 10.0
    #: A program that fails twice in this time from its start, with one exit status, and has never run for longer, will do so
    #: again: it ends the job. 0: it is started again as any other.
    at_once_within: float = 10.0
    #: How long tasks that serve others (`ps`) may take to end by themselves when all others have.
    serving_grace: float = 10.0


@dataclass(frozen=True, slots=True)
class Placed:
    """There is a place for a task now."""

    task: str
    now: float


@dataclass(frozen=True, slots=True)
class Exited:
    """A task's program has ended; a negative code is the signal that ended it."""

    task: str
    code: int
    now: float


@dataclass(frozen=True, slots=True)
class PlaceLost:
    """The place of a task is gone, and with it the program that ran there."""

    task: str
    reason: str
    preempted: bool
    now: float


@dataclass(frozen=True, slots=True)
class Tick:
    """It is `now`; wanted at `JobState.due`."""

    now: float


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The user ends the job, which then has this exit code; what is being stopped already is waited for no longer."""

    code: int = 130
    what: str = "interrupted"


Event = Placed | Exited | PlaceLost | Tick | Interrupted


@dataclass(frozen=True, slots=True)
class Place:
    """Find a place for a task; say Placed."""

    task: str


@dataclass(frozen=True, slots=True)
class Start:
    """Start a task's program; every task has a place. Say Exited when it has ended."""

    task: str


@dataclass(frozen=True, slots=True)
class Stop:
    """End a task's program; say Exited when it has ended."""

    task: str


@dataclass(frozen=True, slots=True)
class Mending:
    """Something went wrong and will be put right: for the user to read."""

    task: str
    what: str
    delay: float


@dataclass(frozen=True, slots=True)
class Finish:
    """The job is over, with this exit code; `task` is whose fault it is, "" for nobody's; `at_once`: it would fail again."""

    code: int
    task: str = ""
    what: str = ""
    at_once: bool = False


Instruction = Place | Start | Stop | Mending | Finish


class Status(Enum):
    """What a task does."""

    PLACING = "is being placed"
    WAITING = "waits"
    RUNNING = "runs"
    STOPPING = "is being stopped"
    DONE = "has finished"


class _Starts:
    """Which programs have failed at once, each time they were started.

    What was killed, or lost its place, may have taken the others with it: after that all begin to be counted anew.
    """

    def __init__(self, within: float) -> None:
        self._within = within
        self._since: dict[str, float] = {}  #: when programs were started last
        self._failed: dict[str, int] = {}  #: the status with which programs have failed at once
        self._lasting: set[str] = set()  #: programs that have run for longer

    def begins(self, task: str, now: float) -> None:
        """A program is started."""
        self._since[task] = now

    def disturbed(self) -> None:
        """Something happened that may be why programs fail."""
        self._failed.clear()

    def fails_again(self, task: str, code: int, now: float) -> str:
        """How a program has failed that would fail so again; "" for one that may do better the next time."""
        ran = now - self._since[task]
        if ran > self._within:
            self._lasting.add(task)
        if code < 0:
            self.disturbed()
        if code < 0 or task in self._lasting:
            return ""
        if self._failed.get(task) == code:
            return f"within {self._within:g} s of its start, as it did the time before"
        self._failed[task] = code
        return ""


class JobState:
    """The tasks of a job, from the first place to the exit code.

    A program that fails is started again where it was, so that its address stays; the programs of the others go on, and
    find it again as their sessions are made to (`MonitoredTrainingSession`). A place that is lost changes an address that
    all programs know: all are stopped, and started again when there is a new place. A host that is lost with several places
    counts once, and so does an attempt to find new ones, however many it was for. Tasks that serve others do not decide when
    the job is over: it is when all others have finished.
    """

    def __init__(self, tasks: Iterable[str], serving: Iterable[str], policy: Policy) -> None:
        self.status = dict.fromkeys(tasks, Status.PLACING)
        self.failures = self.preemptions = 0
        self._serving, self._policy = frozenset(serving), policy
        self._due: dict[str, float] = {}  #: when tasks that wait are to start
        self._not_before = 0.0  #: for tasks without a place
        self._asked = dict.fromkeys(self.status, 0)  #: how much had been counted when their places were last asked for
        self._last_failure = -float("inf")
        self._failed: set[str] = set()  #: whose failures belong to the latest one that counts
        self._starts = _Starts(policy.at_once_within)
        self._over: Finish | None = None
        self._serving_until: float | None = None
        self._finished = False

    def begin(self) -> list[Instruction]:
        """What to do first."""
        return [Place(task) for task in self.status]

    @property
    def due(self) -> float | None:
        """When a Tick is wanted; None while nothing waits for the time."""
        times = [*self._due.values()] if self._is_settled() else []  # else nothing starts, whatever the time
        times += [] if self._serving_until is None else [self._serving_until]
        return min(times, default=None)

    def handle(self, event: Event) -> list[Instruction]:
        """What to do about an event."""
        if self._finished:
            return []
        match event:
            case Placed(task, now):
                found = self._has_place(task, now)
            case Exited(task, code, now):
                found = self._exited(task, code, now)
            case PlaceLost(task, reason, preempted, now):
                found = self._lost(task, reason, preempted, now)
            case Tick(now):
                found = self._time_passed(now)
            case Interrupted(code, what):
                found = self._interrupted(Finish(code, what=what))
        return found + self._conclude()

    def _has_place(self, task: str, now: float) -> list[Instruction]:
        if self.status[task] is Status.PLACING:
            self._wait(task, self._not_before)
        return self._start_all_due(now)

    def _start_all_due(self, now: float) -> list[Instruction]:
        """Start what waits, once every task has a place and all that is to be stopped has stopped."""
        if self._over is not None or not self._is_settled():
            return []
        ready = [task for task, time in self._due.items() if time <= now]
        for task in ready:
            del self._due[task]
            self.status[task] = Status.RUNNING
            self._starts.begins(task, now)
        return [Start(task) for task in ready]

    def _is_settled(self) -> bool:
        """Whether every task has a place, and all that is to be stopped has stopped."""
        return {Status.PLACING, Status.STOPPING}.isdisjoint(self.status.values())

    def _exited(self, task: str, code: int, now: float) -> list[Instruction]:
        before, self.status[task] = self.status[task], Status.DONE
        if self._over is not None:
            return []
        if before is Status.STOPPING:  # it was stopped to be started again
            self._wait(task, self._not_before)
            return self._start_all_due(now)
        if code == 0 or self._serving_until is not None:  # the latter: all that was to be done has been done
            return self._check_all_done(now)
        what = f"was ended by signal {-code}" if code < 0 else f"ended with status {code}"
        if again := self._starts.fails_again(task, code, now):
            return self._end(Finish(code, task, f"{what} {again}", at_once=True))
        if not self._failed_alone(task, now):
            delay = self._delay()
        elif self.failures >= self._policy.max_failures:
            return self._end(Finish(128 - code if code < 0 else code, task, what))
        else:
            self.failures, self._last_failure = self.failures + 1, now
            delay = self._delay()
        self._wait(task, now + delay)
        return [Mending(task, what, delay)]

    def _lost(self, task: str, reason: str, preempted: bool, now: float) -> list[Instruction]:
        was = self.status[task]
        self._starts.disturbed()
        self._due.pop(task, None)
        if was is Status.DONE or self._over is not None or self._serving_until is not None:
            self.status[task] = Status.DONE
            return self._check_all_done(now)
        counts = self._lost_alone(task, was, now)
        self.status[task] = Status.PLACING
        self._not_before = max(self._not_before, now)
        found: list[Instruction] = []
        if counts:
            budget = self._policy.max_preemptions if preempted else self._policy.max_failures
            if (self.preemptions if preempted else self.failures) >= budget:
                return self._end(Finish(1, task, reason))
            self.preemptions, self.failures = self.preemptions + preempted, self.failures + (not preempted)
            self._last_failure = now
            self._not_before = now + (0.0 if preempted else self._delay())
            found.append(Mending(task, reason, self._not_before - now))
        self._asked[task] = self._counted
        return [*found, *self._stop_running(), Place(task)]

    def _failed_alone(self, task: str, now: float) -> bool:
        """Whether the failure of a program counts: not soon after another's, or it is the task's second since that."""
        alone = now - self._last_failure > self._policy.derived_within or task in self._failed
        self._failed = {task} if alone else {task, *self._failed}
        return alone

    def _lost_alone(self, task: str, was: Status, now: float) -> bool:
        """Whether the loss of a place counts."""
        if was is Status.PLACING:
            return self._asked[task] == self._counted  # else others that were asked for with it have been lost, too
        return was is not Status.STOPPING and now - self._last_failure > self._policy.derived_within

    @property
    def _counted(self) -> int:
        return self.failures + self.preemptions

    def _stop_running(self) -> list[Instruction]:
        """Stop all programs; those that have finished stay so."""
        running = [task for task, status in self.status.items() if status is Status.RUNNING]
        for task in running:
            self.status[task] = Status.STOPPING
        for task in self._due:
            self._due[task] = self._not_before
        return [Stop(task) for task in running]

    def _time_passed(self, now: float) -> list[Instruction]:
        if self._serving_until is not None and now >= self._serving_until:
            return self._end(Finish(0))
        return self._start_all_due(now)

    def _wait(self, task: str, until: float) -> None:
        self.status[task] = Status.WAITING
        self._due[task] = until

    def _delay(self) -> float:
        """How long to wait after the latest failure."""
        return wait_before(max(1, self.failures), self._policy.first_delay, self._policy.longest_delay)

    def _check_all_done(self, now: float) -> list[Instruction]:
        left = {task for task, status in self.status.items() if status is not Status.DONE}
        if self._over is not None:
            return []
        if not left:
            return self._end(Finish(0))
        if left <= self._serving and self._serving != self.status.keys() and self._serving_until is None:
            self._serving_until = now + self._policy.serving_grace
        return []

    def _end(self, finish: Finish) -> list[Instruction]:
        """Stop what runs; the job is over when it has stopped."""
        self._over = finish
        self._due.clear()
        self._serving_until = None
        for task, status in self.status.items():
            if status in (Status.PLACING, Status.WAITING):
                self.status[task] = Status.DONE
        return self._stop_running()

    def _interrupted(self, finish: Finish) -> list[Instruction]:
        if self._over is None:
            return self._end(finish)
        self.status = dict.fromkeys(self.status, Status.DONE)  # their places go, and they with them
        return []

    def _conclude(self) -> list[Instruction]:
        if self._over is None or any(status is not Status.DONE for status in self.status.values()):
            return []
        self._finished = True
        return [self._over]
