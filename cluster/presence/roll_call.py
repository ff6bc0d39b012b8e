"""Asks the tasks of a cluster who they are, again and again until each has answered or the time is up."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Mapping, Sequence

from ...graph import errors
from ..transports.auth import HANDSHAKE_TIMEOUT
from .greeting import greet
from .task_info import TaskInfo

_LOG = logging.getLogger("weft.cluster")
#: How often to say what is waited for.
SAY_SECONDS = 10.0
#: How long to wait before a task is asked again: at first, and at most.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 1.0
#: How many tasks are asked at once.
_AT_ONCE = 64
#: How many tasks a message names.
_NAMED = 5
#: Why there is no answer of a task that was not asked.
_NOT_ASKED = "no answer yet"


def ask(where: str, secret: bytes, task: str, timeout: float, asker: str = "", serves: bool = False) -> TaskInfo:
    """What the task at `tcp://host:port`, or `flight://`, tells of itself. `asker`, `serves`: what it is told of who asks.

    Raises OpError.
    """
    said = {"role": "ask", "task": asker, "serves": serves}
    connection, told = greet(where, secret, task, asker or "a session to be", said, timeout)
    connection.close()
    return TaskInfo.decode(told)


class RollCall:
    """Asks tasks, by name and `host:port`, until all have answered. Use once: `RollCall(...).answers()`.

    `transport`: "tcp" or "flight", which all of them speak.
    `patience`: for how many seconds in all, from `since` on. What only time can heal is tried again: a task that is not
    there yet, or does not answer. Everything else is raised. One that does not answer and has told another that it ends
    (`left`, or what the others tell) is not waited for: it may have been the chief of a job that is over.
    """

    def __init__(
        self,
        transport: str,
        addresses: Mapping[str, str],
        secret: bytes,
        patience: float,
        since: float,
        left: Iterable[str] = (),
    ) -> None:
        self._transport = transport
        self._addresses = addresses
        self._secret = secret
        self._patience = patience
        self._deadline = since + patience
        self._answers: dict[str, TaskInfo] = {}
        self._reasons = dict.fromkeys(addresses, _NOT_ASKED)
        self._left = set(left)
        self._error: Exception | None = None
        self._over = False
        self._changed = threading.Condition()

    def answers(self) -> dict[str, TaskInfo]:
        """What each that is there tells of itself. Raises DeadlineExceededError that names who did not answer, OpError."""
        tasks = sorted(self._addresses)
        for first in range(min(_AT_ONCE, len(tasks))):
            threading.Thread(
                target=self._ask, args=(tasks[first::_AT_ONCE],), daemon=True, name="weft roll call"
            ).start()
        with self._changed:
            try:
                self._wait()
            finally:
                self._over = True  # Ctrl-C, too, ends those who ask
                self._changed.notify_all()
        if self._error is not None:
            raise self._error
        return self._answers

    def _wait(self) -> None:
        say = time.monotonic() + SAY_SECONDS
        while self._error is None and self._awaited():
            now = time.monotonic()
            if now >= self._deadline:
                text = f"{self._missing()} within {self._patience:g} s"
                raise errors.DeadlineExceededError(None, None, text)
            if now >= say:
                _LOG.warning("%s; still waiting", self._missing())
                say = now + SAY_SECONDS
            self._changed.wait(min(say, self._deadline) - now)

    def _awaited(self) -> list[str]:
        """Those who have not answered, without those who were asked in vain and have said that they end."""
        silent = (task for task in sorted(self._addresses) if task not in self._answers)
        return [task for task in silent if task not in self._left or self._reasons[task] == _NOT_ASKED]

    def _missing(self) -> str:
        missing = self._awaited()
        named = [f"{self._where(task)} ({self._reasons[task]})" for task in missing[:_NAMED]]
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        return f"{len(missing)} of {len(self._addresses)} tasks did not answer: {', '.join(named)}{more}"

    def _where(self, task: str) -> str:
        """A task and its address; only this of one whose name is to be found out."""
        address = self._addresses[task]
        return f"the one at {address}" if task == address else f"{task} at {address}"

    def _ask(self, tasks: Sequence[str]) -> None:
        """Ask some of the tasks, in turns."""
        pause = _FIRST_PAUSE
        while tasks and not self._over:
            for task in tasks:
                self._ask_one(task)
            tasks = [task for task in tasks if task not in self._answers]
            with self._changed:
                if tasks and not self._over:
                    self._changed.wait_for(lambda: self._over, pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _ask_one(self, task: str) -> None:
        """Note what a task answers, or why it does not."""
        address = self._addresses[task]
        where = f"{self._transport}://{address}"
        left = max(0.05, self._deadline - time.monotonic())
        try:
            info = ask(where, self._secret, task, min(left, HANDSHAKE_TIMEOUT))
            if task != address and info.name != task:
                text = f"At {address} answers {info.name}, not {task}: the cluster specs of the tasks differ"
                raise errors.InvalidArgumentError(None, None, text)
        except (errors.UnavailableError, errors.DeadlineExceededError) as error:
            with self._changed:
                self._reasons[task] = error.message.removeprefix(f"{task} cannot be reached at {where}: ")
                self._changed.notify_all()
        except Exception as error:  # time will not heal it
            with self._changed:
                self._error = error
                self._changed.notify_all()
        else:
            with self._changed:
                self._answers[task] = info
                self._left.update(info.left)
                self._changed.notify_all()
