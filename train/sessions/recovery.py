"""When a lost session is made anew: how often, after what wait, and when the count begins again."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ...graph import errors
from ...runtime.backoff import wait_before

_log = logging.getLogger("weft")


class JobEndedError(errors.OutOfRangeError):
    """The job is over: the others have ended as they should, and nobody will make this session ready any more."""


@dataclass(frozen=True)
class RecoveryPolicy:
    """How a MonitoredSession goes on after AbortedError and UnavailableError.

    It closes the session and makes another, which restores the latest checkpoint: at most `max_recoveries` times, after
    waits of `backoff_secs`, `backoff_multiplier` times that, and so on up to `max_backoff_secs`. The count begins again
    after `healthy_runs` runs that went well. When it is used up, the last error is raised. `max_recoveries=0`: never.
    """

    max_recoveries: int = 10
    backoff_secs: float = 1.0
    backoff_multiplier: float = 2.0
    max_backoff_secs: float = 60.0
    healthy_runs: int = 100

    def wait_before(self, recovery: int) -> float:
        """The seconds to wait before the recovery of this number, counted from 1."""
        return wait_before(recovery, self.backoff_secs, self.max_backoff_secs, self.backoff_multiplier)


class Recoveries:
    """The recoveries of one session: counts them, waits before each, and gives up."""

    def __init__(self, policy: RecoveryPolicy, sleep: Callable[[float], Any] = time.sleep) -> None:
        self._policy = policy
        self._sleep = sleep
        self._count = 0
        self._healthy = 0

    def ran(self) -> None:
        """A run went well."""
        self._healthy += 1
        if self._healthy >= self._policy.healthy_runs:
            self._count = 0

    def failed(self, error: errors.OpError) -> None:
        """A session was lost: wait until another may be made. Raises the error when there have been too many."""
        self._healthy = 0
        most = self._policy.max_recoveries
        if self._count >= most:
            if most:
                error.add_note(f"The session was not made anew once more, after {self._count} recoveries.")
            raise error
        self._count += 1
        wait = self._policy.wait_before(self._count)
        _log.warning("The session was lost (recovery %d of %d, in %g s): %s", self._count, most, wait, error)
        self._sleep(wait)
