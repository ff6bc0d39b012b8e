"""The engine of a cluster session: gives each task its plan once, then runs steps with one message to and from each."""

from __future__ import annotations

import itertools
import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..graph import errors
from ..graph.devices import DeviceSpec
from ..runtime.backends.cpu import CPU
from ..runtime.backends.kernels import Backend
from ..runtime.plan import Fetch, Plan, StepPlan, TakeFeed
from .links import Links
from .message import Message
from .plan_wire import encode_plan
from .protocol import STEP_HEAD, Failure, Kind
from .step_state import Abort, Event, Failed, Finish, GivenUp, Lost, Replied, StepState

#: How long the tasks of a failed step may take to say that they gave it up, before the session goes on without them.
GRACE_SECONDS = 2.0
#: How long a task may take to make a plan ready.
LOAD_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class TaskPlan:
    """A task's part of a step: the plan's number there, the feeds it takes, the fetches it returns."""

    task: str
    number: int
    feeds: tuple[int, ...]
    fetches: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A step that every task it needs has a plan for."""

    parts: tuple[TaskPlan, ...]
    fetches: int


@dataclass(slots=True, eq=False)
class _Step:
    """A step in flight: its state machine, and what that has asked for and nobody has done yet."""

    state: StepState
    timeout: float | None
    deadline: float | None
    to_abort: Abort | None = None
    over: Finish | None = None
    grace: float | None = None  #: until when the tasks may take to give it up
    sending: str = ""  #: the task that is being sent its part
    late: set[str] = field(default_factory=set)  #: the tasks that the session went on without

    def needs_attention(self) -> bool:
        return self.over is not None or self.to_abort is not None


class ClusterEngine:
    """Runs the plans of one session on the tasks of a cluster.

    `addresses`: where each task listens, by its name `/job:…/replica:0/task:…`; `hosts`: what to call the place it is at in
    errors; `threads`: how many its kernels may use. Raises OpError when a task cannot be reached.
    """

    local = False
    sends_by_reference = False

    def __init__(self, addresses: Mapping[str, str], secret: bytes, hosts: Mapping[str, str], threads: int = 0) -> None:
        self.devices = tuple(DeviceSpec.from_string(f"{task}/device:CPU:0") for task in sorted(addresses))
        self.default_device = _default(self.devices)
        self._hosts = hosts
        self._numbers = itertools.count(1)
        self._steps = itertools.count(1)
        self._lock = threading.Condition()
        self._running: dict[int, _Step] = {}
        self._late: dict[int, _Step] = {}
        self._loading: dict[tuple[str, int], Failure | None] = {}
        self._lost: dict[str, Failure] = {}
        self._finished: set[int] = set()
        self._done = 0
        self._closed = False
        self._links = Links(self._take, self.lose)
        introduction = {"client": secrets.token_hex(8), "role": "session", "threads": threads}
        try:
            for task, address in addresses.items():
                self._links.open(task, address, secret, introduction)
        except BaseException:
            self.close()
            raise

    def backend(self, device: DeviceSpec) -> Backend:
        return CPU

    # what comes in

    def _take(self, task: str, message: Message) -> None:
        kind, step = message.kind, message.step
        if kind == Kind.RESULT:
            values = [np.array(value) for value in message.tensors]  # its memory is the connection's
            self._answered(task, step, Replied(task, values))
        elif kind == Kind.FAILED and step:
            self._answered(task, step, Failed(task, Failure.decode(message.meta)))
        elif kind in (Kind.FAILED, Kind.LOADED):
            with self._lock:
                self._loading[task, message.edge] = Failure.decode(message.meta) if kind == Kind.FAILED else None
                self._lock.notify_all()
        else:
            raise errors.DataLossError(None, None, f"it sent a message of kind {kind}")

    def _answered(self, task: str, number: int, event: Replied | Failed) -> None:
        with self._lock:
            if number in self._running:
                self._event(self._running[number], event)
            elif number in self._late:
                self._arrived(number, task)

    def lose(self, task: str, reason: str) -> None:
        """A task is gone: its steps fail, now and from now on."""
        with self._lock:
            if self._closed or task in self._lost:
                return
            where = f" on {self._hosts[task]}" if task in self._hosts else ""
            failure = Failure(errors.UNAVAILABLE, f"Task {task}{where} is gone: {reason}")
            self._lost[task] = failure
            for step in self._running.values():
                self._event(step, Lost(task, failure))
            for number in list(self._late):
                self._arrived(number, task)
            self._lock.notify_all()

    def _event(self, step: _Step, event: Event) -> None:
        """With the lock held."""
        for instruction in step.state.handle(event):
            if isinstance(instruction, Abort):
                step.grace = time.monotonic() + GRACE_SECONDS
                step.to_abort = instruction
            else:
                step.over = instruction
        if step.needs_attention():
            self._lock.notify_all()

    # plans

    def load(self, step: StepPlan) -> Loaded:
        """Send each task its plan, and wait until all have it ready. Raises OpError."""
        parts = [self._send_plan(plan) for plan in step.plans]
        deadline = time.monotonic() + LOAD_SECONDS
        for part in parts:
            self._await_loaded(part, deadline)
        return Loaded(tuple(parts), step.fetches)

    def _send_plan(self, plan: Plan) -> TaskPlan:
        """A task has one device, and so one plan."""
        task = str(DeviceSpec.from_string(plan.device).task_only())
        self._check_usable((task,))
        number = next(self._numbers)
        data, arrays = encode_plan(plan)
        try:
            self._links.send(task, Message(Kind.LOAD, 0, 0, number, data, arrays))
        except errors.UnavailableError as error:
            self.lose(task, _reason(error, task))
        feeds = tuple(i.index for i in plan.instructions if isinstance(i, TakeFeed))
        return TaskPlan(task, number, feeds, tuple(i.index for i in plan.instructions if isinstance(i, Fetch)))

    def _await_loaded(self, part: TaskPlan, deadline: float) -> None:
        task, key = part.task, (part.task, part.number)
        with self._lock:
            self._lock.wait_for(
                lambda: key in self._loading or task in self._lost or self._closed,
                max(0.0, deadline - time.monotonic()),
            )
            self._check_usable((task,))
            if key not in self._loading:
                text = f"Task {task} did not make a plan ready within {LOAD_SECONDS:g} s"
                raise errors.DeadlineExceededError(None, None, text)
            failure = self._loading.pop(key)
        if failure is not None:
            raise failure.error(task)

    # steps

    def run(self, handle: Loaded, feeds: Sequence[Any], timeout: float | None) -> list[Any]:
        deadline = None if timeout is None else time.monotonic() + timeout
        step = _Step(StepState(part.task for part in handle.parts), timeout, deadline)
        with self._lock:
            self._check_usable(part.task for part in handle.parts)
            number = next(self._steps)
            self._running[number] = step
            done = self._done
        try:
            self._send_step(step, handle, number, done, feeds)
            self._await_step(number, step)
        except BaseException as error:  # Ctrl-C, or feeds that cannot be sent: the tasks must not go on
            self._give_up(number, step, f"the session was interrupted by {type(error).__name__}")
            raise
        finally:
            self._retire(number, step)
        return self._results(handle, step)

    def _check_usable(self, tasks: Any) -> None:
        """Raises RuntimeError when the session is closed, UnavailableError when one of the tasks is gone."""
        if self._closed:
            raise RuntimeError("Attempted to use a closed Session.")
        if self._lost:
            for task in tasks:
                if task in self._lost:
                    raise self._lost[task].error()

    def _send_step(self, step: _Step, handle: Loaded, number: int, done: int, feeds: Sequence[Any]) -> None:
        unsent = [part.task for part in handle.parts]
        try:
            for part in handle.parts:
                step.sending = part.task
                tensors = [feeds[index] for index in part.feeds]
                message = Message(Kind.STEP, 0, number, part.number, STEP_HEAD.pack(done), tensors)
                try:
                    self._links.send(part.task, message)
                except (
                    errors.UnavailableError,
                    errors.CancelledError,
                ) as error:  # the latter: it was cut off, or close()
                    self.lose(part.task, _reason(error, part.task))
                unsent.remove(part.task)
        finally:
            step.sending = ""
            with self._lock:
                for task in unsent:
                    self._event(step, Lost(task, Failure(errors.CANCELLED, f"{task} did not begin", derived=True)))

    def _await_step(self, number: int, step: _Step) -> None:
        while step.over is None:
            until = step.grace or step.deadline
            with self._lock:
                self._lock.wait_for(step.needs_attention, None if until is None else max(0.0, until - time.monotonic()))
                if not step.needs_attention():
                    self._out_of_time(step)
                abort, step.to_abort = step.to_abort, None
            if abort:
                self._abort(number, abort)

    def _out_of_time(self, step: _Step) -> None:
        """With the lock held."""
        if step.grace is None:
            text = f"The step took longer than {step.timeout:g} s"
            self._event(step, GivenUp(Failure(errors.DEADLINE_EXCEEDED, text)))
            return
        step.late = set(step.state.running)
        for task in sorted(step.late):
            text = f"{task} was still busy {GRACE_SECONDS:g} s after it was told to stop"
            self._event(step, Lost(task, Failure(errors.UNAVAILABLE, text, derived=True)))

    def _abort(self, number: int, abort: Abort) -> None:
        for task in abort.tasks:
            try:
                self._links.send(task, Message(Kind.ABORT, 0, number, meta=abort.failure.encode()))
            except errors.OpError:  # it is gone as well, which its own thread reports
                continue

    def _give_up(self, number: int, step: _Step, text: str) -> None:
        with self._lock:
            self._event(step, GivenUp(Failure(errors.CANCELLED, text)))
        self._await_step(number, step)

    def _retire(self, number: int, step: _Step) -> None:
        """A step is over for the session; its memory is free when it is over on every task that had a part in it."""
        with self._lock:
            self._running.pop(number, None)
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
        """A step is over everywhere; when all before it are too, their memory is used again."""
        with self._lock:
            self._finished.add(number)
            before = self._done
            while self._done + 1 in self._finished:
                self._done += 1
                self._finished.discard(self._done)
            done = self._done
        if done > before:
            self._links.release(done)

    def _results(self, handle: Loaded, step: _Step) -> list[Any]:
        assert step.over is not None
        failure = step.over.failure
        if failure is not None:
            if failure.code == errors.DEADLINE_EXCEEDED and not failure.node and step.state.reports:
                failure = Failure(failure.code, f"{failure.message}: {'; '.join(step.state.reports.values())}")
            raise failure.error(step.over.task)
        results: list[Any] = [None] * handle.fetches
        for part in handle.parts:
            for index, value in zip(part.fetches, step.state.values[part.task], strict=True):
                results[index] = value
        return results

    # the end

    def check_sends(self) -> None:
        """Cut off tasks that do not even take what they are sent, long after the deadline of the step it is for."""
        now = time.monotonic()
        with self._lock:
            stuck = {
                step.sending
                for step in self._running.values()
                if step.sending and step.deadline is not None and now > step.deadline + GRACE_SECONDS
            }
        for task in stuck:
            self.lose(task, f"it has not taken a message for more than {GRACE_SECONDS:g} s")
            self._links.cut(task)

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
            for step in self._running.values():
                self._event(step, GivenUp(Failure(errors.CANCELLED, _CANCELLED)))
                for task in list(step.state.running):
                    self._event(step, Lost(task, Failure(errors.CANCELLED, _CANCELLED, derived=True)))
            self._lock.notify_all()
        self._links.close()


_CANCELLED = "Step was cancelled by an explicit call to `Session::Close()`"


def _default(devices: Sequence[DeviceSpec]) -> DeviceSpec:
    """Where unplaced operations go: the first worker, else the first task."""
    workers = [device for device in devices if device.job in ("worker", "chief", "master")]
    return (workers or list(devices))[0]


def _reason(error: errors.OpError, task: str) -> str:
    return error.message.removeprefix(f"{task} is gone: ")
