"""The engine of a cluster session: gives each task its plan once, then runs steps with one message to and from each."""

from __future__ import annotations

import itertools
import logging
import secrets
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np

from ...graph import errors
from ...graph.devices import DeviceSpec
from ...graph.state import to_stderr
from ...runtime.backends.named import backend_named
from ...runtime.kernels import Backend, CompilingBackend
from ...runtime.reporting.tracing import StepStats
from ...runtime.stages.plan import StepPlan
from ..wire.message import Message
from ..wire.protocol import Failure, Kind
from .heartbeat import HEARTBEAT_SECONDS, Heartbeat
from .links import Links
from .step import Loaded, Row, SessionStep, TaskPlan, expected, load_messages, step_messages, stuck
from .step_state import Abort, Event, Failed, GivenUp, Lost, Replied, StepState
from .stream import ClusterStream
from .task_devices import default_of, device_of
from .told import Told
from .traces import noted, step_stats

_LOG = logging.getLogger("weft.cluster")
#: How long the tasks of a failed step may take to say that they gave it up, before the session goes on without them.
GRACE_SECONDS = 2.0
#: How long what a task said last may take to be read, once nothing can be sent to it any more.
LAST_WORDS_SECONDS = 1.0


class ClusterEngine:
    """Runs the plans of one session on the tasks of a cluster.

    `addresses`: where each task listens, by its name `/job:…/replica:0/task:…`; `hosts`: what to call the place it is at in
    errors; `threads`: how many its kernels may use (0: as many as it likes); `heartbeat`: how many seconds a task may be
    silent while a step waits for it; `peers`: where each task finds the others, if not where the session does;
    `default_task`: where operations without a request go; `epoch`: the cluster's; `log_tail(task)`: what a task that is gone
    wrote last, to be added to the error that says so; `backend`: "numpy" or "llvm", which each task must have. Raises OpError
    when a task cannot be reached or has no such backend, ImportError when this process has none.
    """

    local = False
    sends_by_reference = False

    def __init__(
        self,
        addresses: Mapping[str, str],
        secret: bytes,
        hosts: Mapping[str, str],
        threads: int = 0,
        heartbeat: float = HEARTBEAT_SECONDS,
        peers: Mapping[str, Mapping[str, str]] | None = None,
        default_task: str = "",
        epoch: int = 0,
        log_tail: Callable[[str], str] = lambda task: "",
        backend: str = "numpy",
    ) -> None:
        self._backend = backend_named(backend)
        self.devices = tuple(device_of(task) for task in sorted(addresses))
        self.default_device = device_of(default_task) if default_task else default_of(self.devices)
        self._hosts, self._log_tail = hosts, log_tail
        self._numbers = itertools.count(1)
        self._steps = itertools.count(1)
        self._mutex = threading.RLock()
        self._lock = threading.Condition(self._mutex)  #: the same lock, for those who wait for a change
        self._running: dict[int, SessionStep] = {}
        self._late: dict[int, SessionStep] = {}
        self._lost: dict[str, Failure] = {}
        self._finished: set[int] = set()
        self._done = 0
        self._closed = False
        self._heartbeat = Heartbeat(heartbeat)
        self._newest = 0  #: the last step in flight at the last beat
        self._told = Told()
        self._forgotten: deque[TaskPlan] = deque()  #: plans that nobody can run any more
        self._links = Links(self._take, self.lose)
        said = {"role": "session", "client": secrets.token_hex(8), "threads": threads, "epoch": epoch}
        said |= {"backend": backend} if backend != "numpy" else {}
        try:
            for task, address in addresses.items():
                routes = addresses if peers is None else peers[task]
                self._links.open(task, address, secret, {**said, "peers": dict(routes)})
            self._links.every(self._heartbeat.interval, self._beat)
        except BaseException:
            self.close()
            raise

    def backend(self, device: DeviceSpec) -> Backend:
        return self._backend

    # what comes in

    def _take(self, task: str, message: Message) -> None:
        kind, step = message.kind, message.step
        if kind == Kind.RESULT:
            values = tuple(map(np.array, message.tensors))  # its memory is the connection's
            self._answered(task, step, Replied(task, values, noted(message.meta) if message.meta else None))
        elif kind == Kind.LOADED:
            self._answered(task, step, Replied(task, ()))
        elif kind == Kind.FAILED:
            self._answered(task, step, Failed(task, Failure.decode(message.meta)))
        elif kind == Kind.ENDED:
            failure = Failure.decode(message.meta)
            self._lose(task, f"has ended this session: {failure.message}", failure.code)
        elif kind == Kind.PONG:
            self._told.hear(task, step, message.meta.decode(errors="replace"))
        elif kind == Kind.REPORT:
            text = message.meta.decode(errors="replace")
            with suppress(OSError, ValueError):  # nobody can read it any more, which is no fault of the task's
                to_stderr("\n".join(f"{task}: {line}" for line in text.split("\n")))
        else:
            raise errors.DataLossError(None, None, f"it sent a message of kind {kind}")

    def _answered(self, task: str, number: int, event: Replied | Failed) -> None:
        with self._mutex:
            step = self._running.get(number)
            if step is not None:
                self._event(step, event)
            elif number in self._late:
                self._arrived(number, task)

    def lose(self, task: str, reason: str) -> None:
        """A task is gone: its steps fail, now and from now on."""
        self._lose(task, f"is gone: {reason}")

    def _lose(self, task: str, what: str, code: int = errors.UNAVAILABLE) -> None:
        with self._lock:
            if self._closed or task in self._lost:
                return
            where = f" on {self._hosts[task]}" if task in self._hosts else ""
            failure = Failure(code, f"Task {task}{where} {what}")
            self._lost[task] = failure
            for step in self._running.values():
                self._event(step, Lost(task, failure))
            for number in list(self._late):
                self._arrived(number, task)
            self._notify()

    def _notify(self) -> None:
        """With the lock held: whoever waits has to look again."""
        self._lock.notify_all()
        self._links.wake()

    def _event(self, step: SessionStep, event: Event) -> None:
        """With the lock held."""
        for instruction in step.state.handle(event):
            if isinstance(instruction, Abort):
                step.grace = time.monotonic() + (0.0 if step.loads else GRACE_SECONDS)
                step.to_abort = instruction
            else:
                step.over = instruction
        if step.needs_attention():
            self._notify()

    # plans

    def load(self, step: StepPlan, timeout: float | None = None) -> Loaded:
        """Send each task its plan, and wait until all have it ready. Raises OpError."""
        loaded = Loaded.of(step, self._numbers)
        weakref.finalize(loaded, self._forgotten.extend, loaded.parts).atexit = False
        self.end(self._begin(loaded, load_messages(loaded, step), timeout, loaded.tasks, loads=True))
        return loaded

    # steps

    def run(self, handle: Loaded, feeds: Sequence[Any], timeout: float | None) -> list[Any]:
        return handle.results(self.end(self.begin(handle, feeds, timeout)))

    def stream(self) -> ClusterStream:
        return ClusterStream(self)

    def trace(self, handle: Loaded, feeds: Sequence[Any], timeout: float | None) -> tuple[list[Any], StepStats]:
        """As `run`; each task notes when its kernels ran. The times are by this process's clock: see clocks.py."""
        state = self.end(self.begin(handle, feeds, timeout, Kind.TRACE))
        return handle.results(state), step_stats(state.noted[part.task] for part in handle.parts)

    def begin(
        self, handle: Loaded, feeds: Sequence[Any], timeout: float | None, kind: Kind = Kind.STEP, before: Row = None
    ) -> SessionStep:
        """Begin a step, alone or on each task after the one that `before` names. Raises OpError, TypeError."""
        alone, traced = before is None, kind == Kind.TRACE
        message = step_messages(handle, feeds, kind, self._done, before)
        to = handle.heads if alone and not traced else handle.tasks
        return self._begin(handle, message, timeout, to, None if traced else handle.ends)

    def _begin(
        self,
        handle: Loaded,
        message: Callable[[int, int], Message],
        timeout: float | None,
        to: Mapping[int, str],
        ends: Mapping[str, Sequence[str]] | None = None,
        loads: bool = False,
    ) -> SessionStep:
        """Begin a step with `message(step, part)` to these tasks, by part. `ends`: see StepState."""
        tasks, now = handle.tasks.values(), time.monotonic()
        deadline = None if timeout is None else now + timeout
        with self._mutex:
            self._check_usable(tasks)
            number = next(self._steps)
            state = StepState(tasks, ends)
            step = self._running[number] = SessionStep(number, handle, state, timeout, now, deadline, loads)
        try:
            self._send_step(step, to, partial(message, number))
        except BaseException as error:  # Ctrl-C, or feeds that cannot be sent: the tasks must not go on
            self._interrupted(step, error)
            raise
        return step

    def end(self, step: SessionStep) -> StepState:
        """Wait until a step is over everywhere. Raises what ended it."""
        try:
            self._await_step(step)
        except BaseException as error:
            self._interrupted(step, error)
            raise
        self._retire(step.number, step)
        if step.state.cause is not None:
            step.raise_failure(self._lost.copy(), self._log_tail)
        return step.state

    def _interrupted(self, step: SessionStep, error: BaseException) -> None:
        try:
            self.give_up([step], f"the session was interrupted by {type(error).__name__}")
            self._await_step(step)
        finally:
            self._retire(step.number, step)

    def give_up(self, steps: Iterable[SessionStep], text: str) -> None:
        """End steps that somebody will wait for."""
        with self._lock:
            for step in steps:
                self._event(step, GivenUp(Failure(errors.CANCELLED, text)))

    def _check_usable(self, tasks: Iterable[str]) -> None:
        """Raises RuntimeError when the session is closed, what ended a task for it when one of these is gone."""
        if self._closed:
            raise RuntimeError("Attempted to use a closed Session.")
        if self._lost:
            for task in tasks:
                if task in self._lost:
                    raise self._lost[task].error()

    def _send_step(self, step: SessionStep, to: Mapping[int, str], message: Callable[[int], Message]) -> None:
        sent = 0
        try:
            for part, task in to.items():
                self._send(step, task, message(part))
                sent += 1
        except BaseException:
            with self._lock:
                for task in list(to.values())[sent:]:
                    self._event(step, Lost(task, Failure(errors.CANCELLED, f"{task} did not begin", derived=True)))
            raise

    def _send(self, step: SessionStep, task: str, message: Message) -> None:
        """Send a task something for a step; when that cannot be done, the task is lost."""
        step.sending, step.since = task, time.monotonic()
        try:
            self._links.send(task, message)
        except (errors.UnavailableError, errors.CancelledError) as error:  # the latter: it was cut off, or close()
            with self._lock:  # what the task said last is better: it may not have been read yet
                self._lock.wait_for(lambda: task in self._lost or self._closed, LAST_WORDS_SECONDS)
            self.lose(task, error.message.removeprefix(f"{task} is gone: "))
        finally:
            step.sending = ""

    def _await_step(self, step: SessionStep) -> None:
        while step.over is None:
            until = step.grace or step.deadline
            alone = self._links.wait(step.needs_attention, until)
            if step.is_done():
                return
            with self._lock:
                if not alone:  # another thread reads, and notifies
                    left = None if until is None else max(0.0, until - time.monotonic())
                    self._lock.wait_for(step.needs_attention, left)
                if not step.needs_attention():
                    self._out_of_time(step)
                abort, step.to_abort = step.to_abort, None
            if abort:
                self._abort(step, abort)

    def _out_of_time(self, step: SessionStep) -> None:
        """With the lock held."""
        if step.grace is None:
            text = f"The step took longer than {step.timeout:g} s"
            self._event(step, GivenUp(Failure(errors.DEADLINE_EXCEEDED, text)))
            return
        step.late = set(step.state.running)
        for task in sorted(step.late):
            text = f"{task} was still busy {GRACE_SECONDS:g} s after it was told to stop{self._told.of(task, self._running)}"
            if step.loads:
                compiles = isinstance(self._backend, CompilingBackend)
                text = f"{task} had not made its plan ready{', for which it compiles machine code' if compiles else ''}"
            self._event(step, Lost(task, Failure(errors.UNAVAILABLE, text, derived=True)))

    def _abort(self, step: SessionStep, abort: Abort) -> None:
        if not step.loads:
            step.grace = time.monotonic() + GRACE_SECONDS  # a step of a row may have failed long before anybody looks
        for task in () if step.loads else abort.tasks:
            self._send(step, task, step.abort_message(task))

    def _retire(self, number: int, step: SessionStep) -> None:
        """A step is over for the session; its memory is free when it is over on every task that had a part in it."""
        with self._mutex:
            self._running.pop(number, None)
            if step.late:
                step.late -= self._lost.keys()
            if step.late:
                self._late[number] = step
                return
            self._finish(number)

    def _arrived(self, number: int, task: str) -> None:
        """A task that the session went on without has ended a step, or itself. With the lock held."""
        late = self._late[number].late
        late.discard(task)
        if not late:
            del self._late[number]
            self._finish(number)

    def _finish(self, number: int) -> None:
        """A step is over everywhere; when all before it are too, their memory is used again. With the lock held."""
        if number != self._done + 1:
            self._finished.add(number)
            return
        self._done = number
        while self._finished and self._done + 1 in self._finished:
            self._done += 1
            self._finished.discard(self._done)
        self._links.release(self._done)

    # watching

    def _beat(self, seconds: float) -> None:
        """Look after the tasks that something is expected of, and let them forget plans."""
        with self._lock:
            late = stuck(self._running.values(), time.monotonic() - GRACE_SECONDS)
            first, old = expected(self._running.values(), self._newest), self._newest
            self._newest = max(self._running, default=0)
            slow = self._told.slow(self._running, time.monotonic())
        for text in slow:
            _LOG.warning("%s", text)
        for task in late:
            self.lose(task, f"it has not taken a message for more than {GRACE_SECONDS:g} s")
            self._links.cut(task)
        signs = {
            task: self._links.signs(task, self._poke(task, Kind.PING, number, edge=number <= old))
            for task, number in first.items()
            if task not in self._lost
        }
        for task in self._heartbeat.beat(seconds, signs):
            silent = f"{self._heartbeat.limit:g} s: its process may be stopped, or its host unreachable"
            self._lose(task, f"has not answered for {silent}{self._told.of(task, self._running)}")
            self._links.cut(task)
        for _ in range(len(self._forgotten)):
            part = self._forgotten.popleft()
            if part.task not in self._lost and not self._poke(part.task, Kind.UNLOAD, 0, part.number):
                self._forgotten.append(part)

    def _poke(self, task: str, kind: Kind, step: int, edge: int = 0) -> bool:
        try:
            return self._links.poke(task, Message(kind, 0, step, edge))
        except errors.OpError:  # it is gone, which its own thread reports
            return True

    # the end

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
            for step in self._running.values():
                self._event(step, GivenUp(Failure(errors.CANCELLED, _CANCELLED)))
                for task in list(step.state.running):
                    self._event(step, Lost(task, Failure(errors.CANCELLED, _CANCELLED, derived=True)))
            self._notify()
        self._links.close()


_CANCELLED = "Step was cancelled by an explicit call to `Session::Close()`"
