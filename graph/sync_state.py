"""What synchronous training shares on a task: whose updates count now (the epoch), and the tokens that begin a step."""

from __future__ import annotations

import threading
import weakref
from typing import Any

import numpy as np

from . import errors
from .waiting import Attempt

Array = np.ndarray[Any, Any]
#: What a worker knows of itself: [its step, its chief's epoch, the worker's number, the number of its session].
Member = Array


class Epoch:
    """Which chief's session rules: its number, 0 before the first. Those that ruled before may do nothing more."""

    def __init__(self) -> None:
        self.number = 0
        self._owner: weakref.ref[Any] | None = None
        self._former: weakref.WeakSet[Any] = weakref.WeakSet()

    def begin(self, number: int, session: Any) -> None:
        """A session takes over; `number` is one that no other epoch has."""
        owner = self._owner() if self._owner is not None else None
        if owner is not None and owner is not session:
            self._former.add(owner)
        self._former.discard(session)
        self._owner, self.number = weakref.ref(session), number

    def check(self, session: Any, doing: str) -> None:
        """Raises AbortedError for a session that ruled before another did."""
        if session in self._former:
            raise self.over(doing)

    @staticmethod
    def over(doing: str) -> errors.AbortedError:
        """What says that another chief has taken over."""
        return errors.AbortedError(None, None, f"{doing} was given up: another chief has begun a new epoch")


class TakeToken(Attempt):
    """A worker's wait for the next step."""

    what = "SyncTokensTake"

    def __init__(self, tokens: Tokens, member: Member) -> None:
        Attempt.__init__(self, tokens)
        self.member = member


class Tokens:
    """What workers wait for between two steps, and what a new chief sets back.

    A worker that has brought its gradient for a step waits until a later one has begun, and so brings one gradient a step;
    tokens of workers that have left go to who is there. `counted`: with fewer workers than gradients each token is for one
    gradient instead, whoever takes it. A worker of an older epoch goes on with the step that the new chief has begun at.
    """

    kind = "SyncTokens"

    def __init__(self, name: str, counted: bool) -> None:
        self.name = name
        self.counted = counted
        self.lock = threading.Lock()
        self.epoch = Epoch()
        self.step = 0
        self._left: set[int] = set()
        self._spare = 0  #: counted: the tokens of this step; else those of it that nobody will come for
        self._waiting: list[TakeToken] = []
        self._closed = False

    def begin(self, step: int, number: int, session: Any) -> None:
        """A chief begins at a step: what was before is over, and who waits goes on from there."""
        with self.lock:
            self.epoch.begin(number, session)
            self.step, self._spare, self._closed = step, 0, False
            self._left.clear()
            self._advance()

    def put(self, step: int, count: int, session: Any) -> None:
        """So many tokens of a step. Raises AbortedError for a chief that rules no more."""
        with self.lock:
            self.epoch.check(session, "What begins the next step")
            if self.counted:
                self._spare += count
            elif step > self.step:
                self._spare = len(self._left)
            self.step = max(self.step, step)
            self._advance()

    def take(self, member: Member) -> Attempt:
        """Begin to wait for a token; the value is what the worker is from then on."""
        attempt = TakeToken(self, np.array(member))
        with self.lock:
            self._left.discard(int(attempt.member[2]))
            self._waiting.append(attempt)
            self._advance()
        return attempt

    def leave(self, member: Member) -> None:
        """A worker comes no more: others may take its tokens."""
        with self.lock:
            worker = int(member[2])
            if not self.counted and worker not in self._left:
                self._left.add(worker)
                self._spare += 1
                self._advance()

    def close(self) -> None:
        """The chief has ended: who would have to wait gets OutOfRangeError, until another chief begins."""
        with self.lock:
            self._closed = True
            self._advance()

    def __str__(self) -> str:
        return f"{self.kind} '{self.name}'"

    def describe(self, attempt: TakeToken) -> str:
        step = int(attempt.member[0])
        if int(attempt.member[1]) != self.epoch.number:
            return f"for a chief to begin (in {self})"
        return f"for a token of the step after {step} (in {self} the newest is of step {self.step})"

    def withdraw(self, attempt: TakeToken) -> None:
        self._waiting.remove(attempt)

    def _advance(self) -> None:
        """Serve who can be served, in the order in which they came. With the lock held."""
        for attempt in list(self._waiting):
            step, epoch, *who = (int(each) for each in attempt.member)
            if self._has_token(step, epoch):
                self._waiting.remove(attempt)
                attempt.finish(np.array([self.step, self.epoch.number, *who], np.int64))
            elif self._closed:
                self._waiting.remove(attempt)
                attempt.finish(error=errors.OutOfRangeError(None, None, f"{self} is closed: the chief has ended"))

    def _has_token(self, step: int, epoch: int) -> bool:
        if epoch != self.epoch.number:
            return self.epoch.number != 0
        if not self.counted and self.step > step:
            return True
        if self._spare:
            self._spare -= 1
            return True
        return False
