"""Who uses a task, and whether anybody may still come: a state machine without clock or I/O, for `Server.join`."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

#: How long a task waits for programs that were killed, or that never came, to come (again).
GRACE_SECONDS = 30.0


class Seen(Enum):
    """What is known of the program of another task."""

    NEVER = "has not come yet"
    HERE = "is here"
    UP = "runs and has not come yet"
    SERVES = "waits for others itself"
    LEFT = "has ended"
    LOST = "went away without a word"


class Attendance:
    """The programs of a cluster's other tasks, as one task sees them come and go. `now` is in seconds, of any clock.

    The job is over when some program has been here and none will come any more: each has ended, or waits for others
    itself, or has been away for `grace` seconds. A session of a program that is no task keeps it going, but its end says
    nothing: a cluster that only such programs use serves until it is stopped.
    """

    def __init__(self, others: Iterable[str], grace: float = GRACE_SECONDS) -> None:
        self.seen = dict.fromkeys(others, Seen.NEVER)
        self.grace = grace
        self._here: dict[str, int] = {}
        self._sessions = 0
        self._used = False
        self._quiet_since = 0.0

    def came(self, task: str) -> None:
        """A program of that task has come, perhaps beside an earlier one whose end was not noticed yet."""
        self._used = True
        self._here[task] = self._here.get(task, 0) + 1
        self.seen[task] = Seen.HERE

    def went(self, task: str, now: float, said_so: bool) -> None:
        """A program of that task is gone."""
        self._here[task] -= 1
        self._quiet_since = now
        if not self._here[task]:
            self.seen[task] = Seen.LEFT if said_so else Seen.LOST

    def session_began(self) -> None:
        """A session uses this task."""
        self._sessions += 1

    def session_ended(self, now: float) -> None:
        """And does not any more."""
        self._sessions -= 1
        self._quiet_since = now

    def answered(self, task: str, serves: bool, now: float) -> None:
        """A task that was asked runs; `serves`: whether it only waits for others."""
        if self.seen.get(task) in (Seen.NEVER, Seen.LOST, Seen.UP, Seen.SERVES):
            self.seen[task] = Seen.SERVES if serves else Seen.UP
            if not serves:
                self._quiet_since = now

    def silent(self, task: str) -> None:
        """A task that was asked does not answer."""
        if self.seen.get(task) is Seen.UP:
            self.seen[task] = Seen.LOST

    def left(self) -> tuple[str, ...]:
        """The tasks whose programs have ended as they should."""
        return tuple(task for task, seen in self.seen.items() if seen is Seen.LEFT)

    def to_ask(self) -> list[str]:
        """The tasks whose state decides whether the job is over."""
        if not self._used or self._sessions or Seen.HERE in self.seen.values():
            return []
        return [task for task, seen in self.seen.items() if seen in (Seen.NEVER, Seen.LOST, Seen.UP)]

    def over(self, now: float) -> bool:
        """Whether the job is over."""
        return self._used and not self._sessions and self.seen.keys() <= self._over(now)

    def _over(self, now: float) -> set[str]:
        done = {Seen.LEFT, Seen.SERVES}
        if now - self._quiet_since >= self.grace:
            done |= {Seen.NEVER, Seen.LOST}
        return {task for task, seen in self.seen.items() if seen in done}
