"""The tasks of a cluster on Ray as they live, end and are started again: the shell around recovery_state.py."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from ...graph import errors
from ..presence.task_info import TaskInfo
from .recovery_state import (
    Begin,
    Budget,
    Create,
    Ended,
    GiveUp,
    Instruction,
    Joined,
    Mending,
    RecoveryState,
    Status,
    Tell,
    Tick,
    Wanted,
    Whole,
)
from .tasks import End, RayTasks

_LOG = logging.getLogger("weft.cluster")
#: How long Ray is waited for at a time.
_WAIT_SECONDS = 0.5


class Members:
    """Starts the tasks, and keeps what is known of them. `lost(task, reason)` hears of each that ends.

    `timeout`: how many seconds a task may take to start; `silence`: after how many without an answer one counts as lost.
    """

    def __init__(
        self, tasks: RayTasks, secret: bytes, budget: Budget, timeout: float, silence: float,
        lost: Callable[[str, str], None],
    ) -> None:  # fmt: skip
        self._tasks, self._secret, self._lost = tasks, secret, lost
        self._timeout, self._silence = timeout, silence
        self.info: dict[str, TaskInfo] = tasks.start(secret)
        self.ended: dict[str, str] = {}
        self._state = RecoveryState(self.info, budget)
        self._sentinels: dict[Any, str] = {tasks.sentinel(task): task for task in self.info}
        #: Tasks that are to tell: the call, its epoch and since when.
        self._calls: dict[str, tuple[Any, int, float]] = {}
        self._lock = threading.RLock()  #: around the state; Ray is not waited for inside
        self._whole: Whole | GiveUp | None = None

    @property
    def epoch(self) -> int:
        """The present epoch."""
        return self._state.epoch

    def watch(self) -> None:
        """Wait a while for a task to end."""
        with self._lock:
            sentinels = list(self._sentinels)
        if not sentinels:
            time.sleep(_WAIT_SECONDS)
            return
        for reference in self._tasks.wait(sentinels, _WAIT_SECONDS):
            end = self._tasks.end_of(reference) or End("it was closed")
            with self._lock:
                task = self._sentinels.pop(reference, None)
                if task is not None:  # else it was replaced meanwhile
                    self.end(task, end)

    def end(self, task: str, end: End) -> None:
        """A task is gone."""
        with self._lock:
            self._calls.pop(task, None)
            self._follow(self._state.handle(Ended(task, end.reason, end.preempted, time.monotonic())))

    def recover(self, closing: threading.Event) -> int:
        """Start anew what has ended, and begin an epoch if anything has; the epoch.

        Raises UnavailableError, when it has been tried too often, that names what went wrong first; CancelledError when
        `closing` is set meanwhile.
        """
        with self._lock:
            alive = [task for task, status in self._state.status.items() if status is Status.UP]
        for task, end in self._tasks.silent(alive, self._silence).items():
            self.end(task, end)
        with self._lock:
            self._whole = None
            self._follow(self._state.handle(Wanted(time.monotonic())))
        while (outcome := self._outcome()) is None:
            if closing.is_set():
                raise errors.CancelledError(None, None, "The cluster was closed while its tasks were started anew")
            self._advance()
        if isinstance(outcome, GiveUp):
            text = f"Task {outcome.task} is gone, and is not started again: {outcome.what}"
            raise errors.UnavailableError(None, None, text)
        return outcome.epoch

    def _outcome(self) -> Whole | GiveUp | None:
        with self._lock:
            return self._whole

    def _advance(self) -> None:
        """Wait for what comes next: an answer, or the time of the next attempt."""
        with self._lock:
            calls = {call: (task, epoch) for task, (call, epoch, _) in self._calls.items()}
            due = self._state.due
        if calls:
            for call in self._tasks.wait(calls, _WAIT_SECONDS):
                self._answered(call, *calls[call])
        else:
            time.sleep(0.05 if due is None else min(_WAIT_SECONDS, max(0.0, due - time.monotonic())))
        self._give_up_on_late()
        with self._lock:
            self._follow(self._state.handle(Tick(time.monotonic())))

    def _answered(self, call: Any, task: str, epoch: int) -> None:
        end = self._tasks.end_of(call)
        if end is not None:
            self.end(task, end)
            return
        info = self._tasks.value_of(call)
        with self._lock:
            if self._calls.pop(task, (None,))[0] is not call:
                return  # it has ended since
            self.info[task] = info
            self.ended.pop(task, None)
            if task not in self._sentinels.values():
                self._sentinels[self._tasks.sentinel(task)] = task
            self._follow(self._state.handle(Joined(task, epoch, time.monotonic())))

    def _give_up_on_late(self) -> None:
        with self._lock:
            before = time.monotonic() - self._timeout
            late = [task for task, (_, _, since) in self._calls.items() if since < before]
        for task in late:
            self.end(task, End(f"it did not begin within {self._timeout:g} s. {self._tasks.no_room}"))

    def _follow(self, instructions: Iterable[Instruction]) -> None:
        """Do what is to be done. With the lock held."""
        for instruction in instructions:
            match instruction:
                case Tell(task, reason):
                    self.ended[task] = reason
                    self._lost(task, reason)
                case Create(task, epoch):
                    self._sentinels = {call: each for call, each in self._sentinels.items() if each != task}
                    self._calls[task] = self._tasks.create(task, self._secret, epoch), epoch, time.monotonic()
                case Begin(task, epoch):
                    self._calls[task] = self._tasks.begin(task, epoch), epoch, time.monotonic()
                case Mending(what, delay):
                    _LOG.warning("The cluster's tasks are started again in %g s: %s", delay, what)
                case Whole() | GiveUp():
                    self._whole = instruction
