"""The engine of a cluster session: gives each task its plan once, then runs steps with one message to and from each."""

from __future__ import annotations

import itertools
import json
import secrets
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..graph import errors
from ..graph.devices import DeviceSpec
from ..runtime.backends.kernels import Backend
from ..runtime.backends.numpy import CPU
from ..runtime.plan import Fetch, Plan, StepPlan, TakeFeed
from .message import Message
from .plan_wire import encode_plan
from .protocol import Failure, Kind
from .step_state import Abort, Event, Failed, Finish, GivenUp, Lost, Replied, StepState
from .transport import Connection, connect

#: How long the tasks of a failed step may take to say that they gave it up.
GRACE_SECONDS = 5.0


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


class ClusterEngine:
    """Runs the plans of one session on the tasks of a cluster.

    `addresses`: where each task listens, by its name `/job:…/replica:0/task:…`; `hosts`: what to call it in errors.
    """

    local = False
    sends_by_reference = False

    def __init__(self, addresses: dict[str, str], secret: bytes, hosts: dict[str, str], threads: int = 0) -> None:
        self.devices = tuple(DeviceSpec.from_string(f"{task}/device:CPU:0") for task in sorted(addresses))
        self.default_device = _default(self.devices)
        self._client = secrets.token_hex(8)
        self._hosts = hosts
        self._numbers = itertools.count(1)
        self._steps = itertools.count(1)
        self._lock = threading.Condition()
        self._running: dict[int, _Step] = {}
        self._loading: dict[tuple[str, int], Failure | None] = {}
        self._lost: dict[str, Failure] = {}
        self._finished: set[int] = set()
        self._done = 0
        self._closed = False
        self._tasks: dict[str, Connection] = {}
        try:
            for task, address in addresses.items():
                self._tasks[task] = self._hello(task, address, secret, threads)
        except BaseException:
            self.close()
            raise

    def _hello(self, task: str, address: str, secret: bytes, threads: int) -> Connection:
        connection = connect(address, secret, peer=task, name="the session")
        said = {"client": self._client, "role": "session", "threads": threads}
        try:
            connection.send(Message(Kind.HELLO, 0, 0, meta=json.dumps(said).encode()))
            answer = connection.recv(timeout=30)
            if answer.kind != Kind.READY:
                raise errors.DataLossError(None, None, f"{task} answered HELLO with a message of kind {answer.kind}")
        except BaseException:
            connection.close()
            raise
        threading.Thread(target=self._listen, args=(task, connection), daemon=True, name=f"weft from {task}").start()
        return connection

    def backend(self, device: DeviceSpec) -> Backend:
        return CPU

    # what comes in

    def _listen(self, task: str, connection: Connection) -> None:
        try:
            while True:
                self._take(task, connection.recv())
        except errors.OpError as error:
            self._lose(task, error)

    def _take(self, task: str, message: Message) -> None:
        with self._lock:
            match message.kind:
                case Kind.RESULT:
                    values = [np.array(value) for value in message.tensors]  # its memory is the connection's
                    self._event(message.step, Replied(task, values))
                case Kind.FAILED if message.step:
                    self._event(message.step, Failed(task, Failure.decode(message.meta)))
                case Kind.FAILED:
                    self._loading[task, message.edge] = Failure.decode(message.meta)
                case Kind.LOADED:
                    self._loading[task, message.edge] = None
                case _:
                    raise errors.DataLossError(None, None, f"{task} sent a message of kind {message.kind}")
            self._lock.notify_all()

    def lose(self, task: str, reason: str) -> None:
        """Somebody knows that a task is gone, and why."""
        self._lose(task, errors.UnavailableError(None, None, reason))

    def _lose(self, task: str, error: errors.OpError) -> None:
        with self._lock:
            if self._closed or task in self._lost:
                return
            where = f" on {self._hosts[task]}" if task in self._hosts else ""
            failure = Failure(errors.UNAVAILABLE, f"Task {task}{where} is gone: {error.message}")
            self._lost[task] = failure
            for step in list(self._running):
                self._event(step, Lost(task, failure))
            self._lock.notify_all()

    def _event(self, step: int, event: Event) -> None:
        running = self._running.get(step)
        if running is None:
            return
        for instruction in running.state.handle(event):
            if isinstance(instruction, Abort):
                running.grace = time.monotonic() + GRACE_SECONDS
                running.to_abort = instruction
            else:
                running.over = instruction

    # plans

    def load(self, step: StepPlan) -> Loaded:
        """Send each task its plan, and wait until all have it ready."""
        by_task: dict[str, list[Plan]] = {}
        for plan in step.plans:
            by_task.setdefault(str(DeviceSpec.from_string(plan.device).task_only()), []).append(plan)
        parts = [self._send_plan(task, plans) for task, plans in by_task.items()]
        for part in parts:
            self._await_loaded(part)
        return Loaded(tuple(parts), step.fetches)

    def _send_plan(self, task: str, plans: list[Plan]) -> TaskPlan:
        (plan,) = plans  # a task has one device
        number = next(self._numbers)
        data, arrays = encode_plan(plan)
        self._tasks[task].send(Message(Kind.LOAD, 0, 0, number, data, arrays))
        feeds = tuple(i.index for i in plan.instructions if isinstance(i, TakeFeed))
        return TaskPlan(task, number, feeds, tuple(i.index for i in plan.instructions if isinstance(i, Fetch)))

    def _await_loaded(self, part: TaskPlan) -> None:
        key = part.task, part.number
        with self._lock:
            self._lock.wait_for(lambda: key in self._loading or part.task in self._lost or self._closed)
            failure = self._lost.get(part.task) or self._loading.pop(key, None)
            if self._closed:
                raise _cancelled()
        if failure is not None:
            raise failure.error(part.task)

    # steps

    def run(self, handle: Loaded, feeds: Sequence[Any], timeout: float | None) -> list[Any]:
        deadline = None if timeout is None else time.monotonic() + timeout
        step = _Step(StepState(part.task for part in handle.parts))
        with self._lock:
            if self._closed:
                raise RuntimeError("Attempted to use a closed Session.")
            for failure in self._lost.values():
                raise errors.UnavailableError(None, None, failure.message)
            number = next(self._steps)
            self._running[number] = step
            done = self._done
        try:
            self._send_step(handle, number, done, feeds)
            self._await_step(number, step, deadline, timeout)
        except BaseException as error:  # Ctrl-C, or feeds that cannot be sent: the tasks must not go on
            self._give_up(number, step, Failure(errors.CANCELLED, f"the session was interrupted: {error!r}"))
            raise
        finally:
            self._retire(number)
        return self._results(handle, step)

    def _send_step(self, handle: Loaded, number: int, done: int, feeds: Sequence[Any]) -> None:
        for part in handle.parts:
            meta = json.dumps({"done": done, "feeds": part.feeds}).encode()
            tensors = [feeds[index] for index in part.feeds]
            try:
                self._tasks[part.task].send(Message(Kind.STEP, 0, number, part.number, meta, tensors))
            except errors.UnavailableError as error:
                self._lose(part.task, error)

    def _await_step(self, number: int, step: _Step, deadline: float | None, timeout: float | None) -> None:
        while step.over is None:
            with self._lock:
                self._lock.wait_for(step.needs_attention, _left(step.grace or deadline))
                if step.over is None and not step.to_abort:
                    self._out_of_time(number, step, timeout)
                abort, step.to_abort = step.to_abort, None
            if abort:
                self._abort(number, abort)

    def _out_of_time(self, number: int, step: _Step, timeout: float | None) -> None:
        waiting = ", ".join(sorted(step.state.running))
        if step.grace is None:
            text = f"The step took longer than {timeout} s; still running: {waiting}"
            self._event(number, GivenUp(Failure(errors.DEADLINE_EXCEEDED, text)))
            return
        for task in sorted(step.state.running):
            text = f"Task {task} did not give up a failed step within {GRACE_SECONDS} s"
            self._event(number, Lost(task, Failure(errors.UNAVAILABLE, text, derived=True)))

    def _abort(self, number: int, abort: Abort) -> None:
        for task in abort.tasks:
            try:
                self._tasks[task].send(Message(Kind.ABORT, 0, number, meta=abort.failure.encode()))
            except errors.OpError:  # it is gone as well, which its own thread reports
                continue

    def _give_up(self, number: int, step: _Step, failure: Failure) -> None:
        with self._lock:
            self._event(number, GivenUp(failure))
        self._await_step(number, step, None, None)

    def _retire(self, number: int) -> None:
        """Note that a step is over; when all before it are too, their memory is free everywhere."""
        with self._lock:
            self._running.pop(number, None)
            self._finished.add(number)
            while self._done + 1 in self._finished:
                self._done += 1
                self._finished.discard(self._done)
            done = self._done
        for connection in self._tasks.values():
            connection.release(done)

    def _results(self, handle: Loaded, step: _Step) -> list[Any]:
        assert step.over is not None
        if step.over.failure is not None:
            raise step.over.failure.error(step.over.task or "the session")
        results: list[Any] = [None] * handle.fetches
        for part in handle.parts:
            for index, value in zip(part.fetches, step.state.values[part.task], strict=True):
                results[index] = value
        return results

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
            for number in list(self._running):
                self._event(number, GivenUp(Failure.of(_cancelled(), derived=False)))
                for task in list(self._tasks):
                    self._event(number, Lost(task, Failure.of(_cancelled(), derived=True)))
            self._lock.notify_all()
        for connection in self._tasks.values():
            connection.close()


class _Step:
    """A step in flight: its state machine, and what that has asked for and nobody has done yet."""

    def __init__(self, state: StepState) -> None:
        self.state = state
        self.to_abort: Abort | None = None
        self.grace: float | None = None
        self.over: Finish | None = None

    def needs_attention(self) -> bool:
        return self.over is not None or self.to_abort is not None


def _default(devices: Sequence[DeviceSpec]) -> DeviceSpec:
    """Where unplaced operations go: the first worker, else the first task."""
    workers = [device for device in devices if device.job in ("worker", "chief", "master")]
    return (workers or list(devices))[0]


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())


def _cancelled() -> errors.CancelledError:
    return errors.CancelledError(None, None, "Step was cancelled by an explicit call to `Session::Close()`")
