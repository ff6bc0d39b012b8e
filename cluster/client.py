"""What a task keeps for one session: its plans, its steps in flight, its connections to the other tasks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from ..graph import errors
from ..graph.devices import DeviceSpec
from ..graph.state import State
from ..runtime.backends.numpy import CPU
from ..runtime.compile import CompiledPlan
from ..runtime.rendezvous import Rendezvous
from .message import Message
from .plan_wire import decode_plan
from .protocol import Failure, Kind, decode_json
from .transport import Connection

Dial = Callable[[str, str], Connection]


class Client:
    """A session as a task sees it. `dial(client, task)` connects to another task."""

    def __init__(self, name: str, task: str, state: State, dial: Dial) -> None:
        self.name = name
        self.task = task
        self.session: Connection | None = None
        self._state = state
        self._dial = dial
        self._plans: dict[int, CompiledPlan] = {}
        self._steps: dict[int, Rendezvous] = {}
        self._done = 0
        self._peers: dict[str, Connection] = {}
        self._incoming: list[Connection] = []
        self._lock = threading.Lock()
        self._dialing = threading.Lock()
        self._threads = ThreadPoolExecutor(max_workers=256, thread_name_prefix=f"weft {task} step")

    def attach(self, connection: Connection) -> None:
        """This is the connection to the session."""
        self.session = connection

    def close(self) -> None:
        """Give up all steps and close all connections."""
        with self._lock:
            steps = list(self._steps.values())
            connections = [*self._peers.values(), *self._incoming, *([self.session] if self.session else [])]
        for rendezvous in steps:
            rendezvous.abort(errors.CancelledError(None, None, "the session has ended"))
        for connection in connections:
            connection.close()
        self._threads.shutdown(wait=False)

    # what comes in

    def serve_session(self, connection: Connection) -> None:
        """Take the session's messages until it ends."""
        while True:
            message = connection.recv()
            match message.kind:
                case Kind.STEP:
                    self._start(connection, message)
                case Kind.LOAD:
                    self._load(connection, message)
                case Kind.ABORT:
                    failure = Failure.decode(message.meta)
                    kind = errors.exception_type_from_error_code(failure.code)
                    self._rendezvous(message.step).abort(_Aborted(kind(None, None, failure.message)))
                case _:
                    raise errors.DataLossError(None, None, f"a session does not send messages of kind {message.kind}")

    def serve_peer(self, connection: Connection) -> None:
        """Take what another task sends for steps, until it ends."""
        with self._lock:
            self._incoming.append(connection)
        while True:
            message = connection.recv()
            if message.kind != Kind.TENSOR:
                raise errors.DataLossError(None, None, f"a task does not send messages of kind {message.kind}")
            if message.step > self._done:  # else the step was given up, and nobody waits for this
                self._rendezvous(message.step).put(message.edge, message.tensors[0] if message.tensors else None)

    def _rendezvous(self, step: int) -> Rendezvous:
        with self._lock:
            return self._steps.setdefault(step, Rendezvous())

    def _load(self, connection: Connection, message: Message) -> None:
        try:
            plan = decode_plan(message.meta, message.tensors)
            self._plans[message.edge] = CompiledPlan(plan, CPU, self._state)
        except Exception as error:  # whatever it is, the session must hear of it
            failure = Failure.of(error, derived=False)
            connection.send(Message(Kind.FAILED, 0, 0, message.edge, failure.encode()))
            return
        connection.send(Message(Kind.LOADED, 0, 0, message.edge))

    # steps

    def _start(self, connection: Connection, message: Message) -> None:
        said = decode_json(message.meta, dict)
        self._forget_steps(int(said["done"]))
        feeds = dict(zip(said["feeds"], message.tensors, strict=True))
        self._rendezvous(message.step)
        self._threads.submit(self._step, connection, message.step, self._plans.get(message.edge), feeds)

    def _forget_steps(self, done: int) -> None:
        """All steps up to this one are over everywhere: their values and the memory of what was sent are free."""
        with self._lock:
            if done <= self._done:
                return
            self._done = done
            for step in [step for step in self._steps if step <= done]:
                del self._steps[step]
            connections = [*self._peers.values(), *([self.session] if self.session else [])]
        for connection in connections:
            connection.release(done)

    def _step(self, connection: Connection, step: int, plan: CompiledPlan | None, feeds: dict[int, Any]) -> None:
        rendezvous = self._rendezvous(step)
        try:
            if plan is None:
                raise errors.InternalError(None, None, f"{self.task} was asked for a plan that it never got")
            values = plan.run(feeds, _StepChannel(self, step, rendezvous))
            reply = Message(Kind.RESULT, 0, step, tensors=[np.asarray(value) for value in values])
        except Exception as error:  # whatever it is, the session must hear of it
            reply = Message(Kind.FAILED, 0, step, meta=_failure(error, rendezvous).encode())
        try:
            connection.send(reply)
        except errors.OpError as error:
            if not isinstance(error, (errors.UnavailableError, errors.CancelledError)):
                connection.send(Message(Kind.FAILED, 0, step, meta=Failure.of(error, derived=False).encode()))

    def send_to(self, device: str, step: int, edge: int, value: Any, rendezvous: Rendezvous) -> None:
        """Bring a value to the plan of a device: here, or on another task."""
        task = str(DeviceSpec.from_string(device).task_only())
        if task == self.task:
            rendezvous.put(edge, value)
            return
        tensors = () if value is None else (np.asarray(value),)
        self._peer(task).send(Message(Kind.TENSOR, 0, step, edge, tensors=tensors))

    def _peer(self, task: str) -> Connection:
        connection = self._peers.get(task)
        if connection is None:
            with self._dialing:
                connection = self._peers.get(task)
                if connection is None:
                    connection = self._dial(self.name, task)
                    self._peers[task] = connection
        return connection


class _Aborted(Exception):
    """The session gave the step up, for the reason that is its cause."""

    def __init__(self, reason: errors.OpError) -> None:
        Exception.__init__(self, reason)
        self.reason = reason


def _failure(error: Exception, rendezvous: Rendezvous) -> Failure:
    """What to tell the session. What only follows from an abort or from the loss of a peer is marked as derived."""
    if isinstance(error, _Aborted):
        return Failure(error.reason.code, f"{error.reason.message}; waited for {rendezvous.waiting()}", derived=True)
    lost_peer = isinstance(error, (errors.UnavailableError, errors.CancelledError))
    return Failure.of(error, derived=lost_peer)


class _StepChannel:
    """How a plan of one step sends and receives on this task."""

    def __init__(self, client: Client, step: int, rendezvous: Rendezvous) -> None:
        self._client = client
        self._step = step
        self._rendezvous = rendezvous
        self.receive = rendezvous.receive

    def send(self, edge: int, device: str, value: Any) -> None:
        self._client.send_to(device, self._step, edge, value, self._rendezvous)
