"""What a task keeps for one session: its plans, its steps in flight, its connections to the other tasks."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np

from ..graph import errors
from ..graph.state import State
from ..runtime.backends.cpu import CPU
from ..runtime.compile import CompiledPlan
from ..runtime.device_threads import DeviceThreads
from .message import Message
from .plan_wire import decode_plan
from .protocol import STEP_HEAD, Failure, Kind
from .task_step import LoadedPlan, TaskStep, failure_of
from .transport import Connection

Dial = Callable[[str, str], Connection]


class Client:
    """A session as a task sees it. `dial(client, task)` connects to another task; `state` is the session's."""

    def __init__(self, name: str, task: str, state: State, dial: Dial) -> None:
        self.name = name
        self.task = task
        self.session: Connection | None = None
        self._state = state
        self._dial = dial
        self._plans: dict[int, LoadedPlan] = {}
        self._steps: dict[int, TaskStep] = {}
        self._done = 0
        self._peers: dict[str, Connection] = {}
        self._incoming: list[Connection] = []
        self._lock = threading.Lock()
        self._dialing = threading.Lock()
        self._threads = DeviceThreads(f"weft {task} step")

    def attach(self, connection: Connection) -> None:
        """This is the connection to the session."""
        self.session = connection

    def close(self) -> None:
        """Give up all steps and close all connections."""
        with self._lock:
            steps = list(self._steps.values())
            connections = [*self._peers.values(), *self._incoming, *([self.session] if self.session else [])]
        for step in steps:
            step.abort()
        for connection in connections:
            connection.close()
        self._threads.close()

    # what comes in

    def serve_session(self, connection: Connection) -> None:
        """Take the session's messages until it ends. Raises OpError."""
        while True:
            message = connection.recv()
            match message.kind:
                case Kind.STEP:
                    self._start(connection, message)
                case Kind.LOAD:
                    self._load(connection, message)
                case Kind.ABORT:
                    self._step(message.step).abort()
                case _:
                    raise errors.DataLossError(None, None, f"a session does not send messages of kind {message.kind}")

    def serve_peer(self, connection: Connection) -> None:
        """Take what another task sends for steps, until it ends. Raises OpError."""
        with self._lock:
            self._incoming.append(connection)
        while True:
            message = connection.recv()
            if message.kind != Kind.TENSOR:
                raise errors.DataLossError(None, None, f"a task does not send messages of kind {message.kind}")
            if message.step > self._done:  # else the step was given up, and nobody waits for this
                self._step(message.step).put(message.edge, message.tensors[0] if message.tensors else None)

    def _step(self, number: int) -> TaskStep:
        """The step of that number; what another task sends for it may come before it begins here."""
        with self._lock:
            step = self._steps.get(number)
            if step is None:
                step = self._steps[number] = TaskStep(self.task, number, self._peer)
            return step

    def _load(self, connection: Connection, message: Message) -> None:
        try:
            constants = [np.array(array) for array in message.tensors]  # the plan outlives the message's memory
            plan = decode_plan(message.meta, constants)
            self._plans[message.edge] = LoadedPlan(CompiledPlan(plan, CPU, self._state))
        except Exception as error:  # whatever it is, the session must hear of it
            failure = Failure.of(error, derived=False)
            connection.send(Message(Kind.FAILED, 0, 0, message.edge, failure.encode()))
            return
        connection.send(Message(Kind.LOADED, 0, 0, message.edge))

    # steps

    def _start(self, connection: Connection, message: Message) -> None:
        (done,) = STEP_HEAD.unpack(message.meta)
        if done > self._done:
            self._forget_steps(done)
        self._threads.submit(self._run, connection, message, self._step(message.step))

    def _forget_steps(self, done: int) -> None:
        """All steps up to this one are over everywhere: their values and the memory of what was sent are free."""
        with self._lock:
            self._done = done
            for number in [number for number in self._steps if number <= done]:
                del self._steps[number]
            connections = [*self._peers.values(), *([self.session] if self.session else [])]
        for connection in connections:
            connection.release(done)

    def _run(self, connection: Connection, message: Message, step: TaskStep) -> None:
        try:
            values = step.run(self._plans[message.edge], message.tensors)
            connection.send(Message(Kind.RESULT, 0, step.number, tensors=[np.asarray(value) for value in values]))
        except Exception as error:  # whatever it is, the session must hear of it
            self._tell(connection, step.number, failure_of(error))

    def _tell(self, connection: Connection, step: int, failure: Failure) -> None:
        """Tell the session why there is no result, unless it is the session that is gone."""
        try:
            connection.send(Message(Kind.FAILED, 0, step, meta=failure.encode()))
        except (errors.UnavailableError, errors.CancelledError):
            return

    def _peer(self, task: str) -> Connection:
        """The connection over which this task sends to another one. Raises OpError."""
        connection = self._peers.get(task)
        if connection is None:
            with self._dialing:
                connection = self._peers.get(task)
                if connection is None:
                    connection = self._peers[task] = self._dial(self.name, task)
        return connection
