"""Waiting: what an operation does with a queue or an accumulator once it can, and what ends a wait that a step gave up."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from . import errors


class Owner(Protocol):
    """What attempts wait for: a queue, an accumulator."""

    lock: threading.Lock

    def describe(self, attempt: Any) -> str:
        """What an attempt waits for, in words: "to dequeue ...". With the lock held."""
        ...

    def withdraw(self, attempt: Any) -> None:
        """Forget a waiting attempt, as if it had never come, and let those go on that waited behind it. With the lock held."""
        ...


class Attempt:
    """Something to be done as soon as it can be. Whoever owns it finishes it; whoever wants it done waits."""

    #: How TensorFlow calls it in errors.
    what = "Queue"

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._since = time.monotonic()
        self._finished: threading.Event | None = None
        self._last = ""
        self.is_over = False
        self.value: Any = None
        self.error: BaseException | None = None

    def finish(self, value: Any = None, error: BaseException | None = None) -> None:
        """It is done, or cannot be done. With the owner's lock held."""
        self.is_over, self.value, self.error = True, value, error
        if self._finished is not None:
            self._finished.set()

    def cancel(self, error: BaseException) -> None:
        """Nobody wants it any more, for this reason. What is over stays so."""
        with self._owner.lock:
            if not self.is_over:
                self._last = self._described()
                told = self._told(error)
                self._owner.withdraw(self)
                self.finish(error=told)

    def wait(self) -> Any:
        """What came of it. Raises what kept it from being done: its own error, or what ended the step that waits."""
        if not self.is_over:
            self._wait(current.ending)
        if self in current.begun:
            current.begun.remove(self)
        if self.error is not None:
            raise self.error
        return self.value

    def _wait(self, ending: Ending | None) -> None:
        with self._owner.lock:
            if self.is_over:
                return
            finished = self._finished = threading.Event()
        try:
            with ending.watching(self) if ending is not None else _nothing():
                finished.wait()
        except BaseException as error:  # Ctrl-C: what was taken for it goes back
            self.cancel(error)
            raise

    def describe(self) -> str:
        """What it waits for, and since when; once it was cancelled, what it waited for then."""
        with self._owner.lock:
            return self._last or self._described()

    def _described(self) -> str:
        return f"{self._owner.describe(self)} for {time.monotonic() - self._since:.1f} s"

    def _told(self, error: BaseException) -> BaseException:
        """The error that ended the step, as what waited tells it. Only the first of a step's errors is told to the user."""
        match error:
            case errors.DeadlineExceededError():
                return errors.DeadlineExceededError(None, None, f"{error.message}: it waited {self._described()}")
            case errors.CancelledError():
                return errors.CancelledError(None, None, f"{self.what} operation was cancelled: {error.message}")
        return error


class Ending:
    """What ends the waits of a step, or of several: nothing yet, or an error."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self._lock = threading.Lock()
        self._waiting: list[Attempt] = []
        self._ended: list[str] = []

    @contextmanager
    def watching(self, attempt: Attempt) -> Iterator[None]:
        """A block that waits for an attempt, which `end` cancels."""
        with self._lock:
            self._waiting.append(attempt)
            error = self.error
        if error is not None:
            attempt.cancel(error)
        try:
            yield
        finally:
            with self._lock:
                self._waiting.remove(attempt)

    def end(self, error: BaseException) -> None:
        """Whoever waits or will wait gets this error. The first error stays."""
        with self._lock:
            waiting = list(self._waiting)
        described = [attempt.describe() for attempt in waiting]
        with self._lock:
            if self.error is None:
                self.error, self._ended = error, described
            waiting, error = list(self._waiting), self.error
        for attempt in waiting:
            attempt.cancel(error)

    def described(self) -> list[str]:
        """What is being waited for, and since when; after the end, what was waited for then."""
        with self._lock:
            if self.error is not None:
                return self._ended
            waiting = list(self._waiting)
        return [attempt.describe() for attempt in waiting]


class _Current(threading.local):
    """What each thread runs."""

    def __init__(self) -> None:
        #: What ends the waits of the step that this thread runs.
        self.ending: Ending | None = None
        #: What the step has begun and not yet waited for.
        self.begun: list[Attempt] = []


current = _Current()


def begun(attempt: Attempt) -> Attempt:
    """Note an attempt that the step will wait for later: if it fails before that, `give_up` cancels it."""
    current.begun.append(attempt)
    return attempt


def give_up(error: BaseException) -> None:
    """The step of this thread has failed: what it has begun is cancelled."""
    pending, current.begun = current.begun, []
    for attempt in pending:
        attempt.cancel(error)


@contextmanager
def _nothing() -> Iterator[None]:
    yield
