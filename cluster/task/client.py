"""What a task keeps for one session: its plans, its steps in flight, its connections to the other tasks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import Any

import numpy as np

from ...graph import errors
from ...graph.state import State
from ...runtime.backends.named import backend_named
from ...runtime.execution.device_threads import DeviceThreads
from ...runtime.execution.turns import Turn
from ...runtime.kernels import Backend
from ..reading.connections import Reading
from ..transports.segments import Arena
from ..transports.transport import Connection
from ..wire.message import Limits, Message
from ..wire.plans import decode_plan
from ..wire.protocol import ABORT_HEAD, BEGIN_HEAD, STEP_HEAD, TRACE_HEAD, Failure, Kind
from ..wire.relays import Relay
from ..wire.traces import Trace
from .loaded_plan import LoadedPlan
from .parcels import decode_edges
from .step import TaskStep, failure_of

#: How long a task looks for the next step, after one, before it sleeps.
SPIN_SECONDS = 1e-3
#: How long a task whose connection from another one has ended waits for the session to know why. The other's death, and the
#: session's end, it knows at once.
GRACE_SECONDS = 1.0
#: How long a task that ends a session tries to tell it why.
LAST_WORDS_SECONDS = 0.5
#: How many characters an operation may tell the session at once.
MOST_REPORTED = 1 << 20

Dial = Callable[[str, str, Arena], Connection]
#: A plan that a task has been told to run, by a session or with a value of another task: a call of `Client.run`.
Run = partial[None]
#: When a task was told to note what runs: by the session's clock, and by its own.
Traced = tuple[int, int] | None


class Client:
    """A session as a task sees it. `dial(client, task, arena)` connects to another task; `state` is the session's.

    `backend`: whose kernels its plans run with.
    """

    def __init__(self, name: str, task: str, state: State, dial: Dial, backend: str = "numpy") -> None:
        self.name = name
        self.task = task
        self.session: Connection | None = None
        self._state = state
        state.report, state.place = self.report, task
        self._dial = dial
        self._backend = backend
        self._plans: dict[int, LoadedPlan | None] = {}  #: None while it is made ready
        self._steps: dict[int, TaskStep] = {}
        self._done = 0
        self._peers: dict[str, Connection] = {}
        self._incoming: list[Connection] = []
        self._arena = Arena(Limits())  #: what this task sends to all others, where they share memory
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._dialing = threading.Lock()
        self._threads = DeviceThreads(f"weft {task} step")
        self._reading: Reading[Run] = Reading(self, SPIN_SECONDS)
        self._over: dict[Connection, SimpleQueue[Exception]] = {}  #: why a connection has ended

    def attach(self, connection: Connection) -> None:
        """This is the connection to the session."""
        self.session = connection

    def is_busy(self) -> bool:
        """Whether a plan runs for a step."""
        with self._lock:
            return any(step.runs for step in self._steps.values())

    def close(self) -> None:
        """Give up all steps and close all connections."""
        self._closed.set()
        with self._lock:
            steps = list(self._steps.values())
            connections = [*self._peers.values(), *self._incoming, *([self.session] if self.session else [])]
        for step in steps:
            step.abort()
        self._reading.close()
        for connection in connections:
            connection.close()
        for over in list(self._over.values()):
            over.put(errors.CancelledError(None, None, "the session has ended"))
        self._arena.close()
        self._threads.close()

    def wait(self, timeout: float) -> bool:
        """After `close`: wait until nothing of the session runs here any more, at most so many seconds; whether it is so.

        The task's variables then lie in memory of its own again: what the session shared with others is given back whole.
        """
        over = self._threads.wait(timeout)
        if over:
            for variable in list(self._state.variables.values()):
                variable.settle_in()
        return over

    def end(self, failure: Failure) -> None:
        """Tell the session that it is over, and why, and close.

        Another thread may be sending just then, an answer of microseconds or a result that the session does not take.
        """
        words, deadline = Message(Kind.ENDED, 0, 0, meta=failure.encode()), time.monotonic() + LAST_WORDS_SECONDS
        with suppress(errors.OpError):
            while self.session is not None and not self.session.poke(words) and time.monotonic() < deadline:
                time.sleep(1e-3)
        self.close()

    def report(self, text: str) -> None:
        """Let the session write what an operation has to tell; when the session is gone, nobody looks on."""
        if len(text) > MOST_REPORTED:
            text = f"{text[:MOST_REPORTED]}... ({len(text) - MOST_REPORTED} characters more)"
        with suppress(errors.UnavailableError, errors.CancelledError):
            if self.session is not None:
                self.session.send(Message(Kind.REPORT, 0, 0, meta=text.encode(errors="replace")))

    # what comes in

    def serve_session(self, connection: Connection) -> None:
        """Take the session's messages until it ends. Raises OpError."""
        self._threads.submit(self._reading.stand_by)
        self._serve(connection)

    def serve_peer(self, connection: Connection) -> None:
        """Take what another task sends for steps, until it ends. Raises OpError.

        The other task does not read on this connection, and a step may wait for ever for what was on its way: when what came is
        no good, or the connection ends and nothing else does, the session is over.
        """
        with self._lock:
            self._incoming.append(connection)
        try:
            self._serve(connection)
        except errors.DataLossError as error:
            self.end(Failure(errors.UNAVAILABLE, f"what a task sent to it was lost: {error.message}"))
            raise
        except errors.UnavailableError as error:
            if not self._closed.wait(GRACE_SECONDS):
                self.end(Failure(errors.UNAVAILABLE, f"what a task sent to it ended: {error.message}"))
            raise

    def _serve(self, connection: Connection) -> None:
        over = self._over[connection] = SimpleQueue()
        self._reading.add(connection)
        raise over.get()

    def lost(self, connection: Connection, error: Exception) -> None:
        self._over[connection].put(error)

    def take(self, connection: Connection, message: Message) -> Run | None:
        """Take a message, of the session or of a peer; returns what is to be run for it, if anything is."""
        if connection is not self.session:
            return self._take_from_peer(message)
        match message.kind:
            case Kind.STEP | Kind.TRACE:
                return self._begun(message)
            case Kind.LOAD:
                self._load(connection, message)
            case Kind.ABORT:
                self._abort(connection, message)
            case Kind.PING:
                self._answer(connection, message)
            case Kind.UNLOAD:
                self._unload(message.edge)
            case _:
                raise errors.DataLossError(None, None, f"a session does not send messages of kind {message.kind}")
        return None

    def _take_from_peer(self, message: Message) -> Run | None:
        begins = message.kind == Kind.BEGIN
        if message.kind == Kind.MARK:
            return None
        if not begins and message.kind != Kind.TENSOR:
            raise errors.DataLossError(None, None, f"a task does not send messages of kind {message.kind}")
        done, number, meta = _begin_head(message.meta) if begins else (0, 0, message.meta)
        if meta:
            values = decode_edges(meta, message.tensors)
        else:
            values = [(message.edge, message.tensors[0] if message.tensors else None)]
        if message.step <= self._done:  # the step was given up, and nobody waits for this
            return None
        if done > self._done:
            self._forget_steps(done)
        step = self._step(message.step)
        for edge, value in values:
            step.put(edge, value)
        return self._relayed(step, number, done, values) if begins else None

    def _relayed(self, step: TaskStep, number: int, done: int, values: Sequence[tuple[int, Any]]) -> Run | None:
        """Begin a plan that has waited for one of these values. Raises DataLossError for one that has not."""
        plan = self._plans.get(number)
        if plan is not None and plan.relay.begun != values[0][0] and plan.relay.begun not in dict(values):
            raise errors.DataLossError(None, None, f"plan {number} does not begin with what came")
        return Run(self.run, step, number, plan) if step.begin(done) else None

    def start(self, function: Callable[[], None]) -> None:
        self._threads.submit(function)

    def refuse(self, job: Run, error: RuntimeError) -> None:
        """There are no more threads to be had."""
        step: TaskStep = job.args[0]
        step.fail()
        self._tell(step.number, Failure(errors.RESOURCE_EXHAUSTED, str(error)))

    def _step(self, number: int) -> TaskStep:
        """The step of that number; what another task sends for it may come before it begins here."""
        with self._lock:
            step = self._steps.get(number)
            if step is None:
                step = self._steps[number] = TaskStep(self.task, number, self._peer, self._reading)
            return step

    def _load(self, connection: Connection, message: Message) -> None:
        """Make a plan ready, in a thread: the session must be answered meanwhile."""
        constants = [np.array(array) for array in message.tensors]  # the plan outlives the message's memory
        self._plans[message.edge] = None
        try:
            self._threads.submit(self._make_ready, connection, message, constants)
        except RuntimeError as error:  # there are no more threads to be had
            self._tell(message.step, Failure(errors.RESOURCE_EXHAUSTED, str(error)))

    def _make_ready(self, connection: Connection, message: Message, constants: list[Any]) -> None:
        relay, _, data = message.meta.partition(b"\n")
        try:
            decoded = decode_plan(data, constants)
            begins, copies = Relay.decode(relay), connection.by_reference
            plan = LoadedPlan(decoded, self.task, self._state, begins, copies, self._kernels())
        except Exception as error:  # whatever it is, the session must hear of it
            self._tell(message.step, Failure.of(error, derived=False))
            return
        with self._lock:
            if message.edge in self._plans:  # the session has not lost its interest
                self._plans[message.edge] = plan
        connection.send(Message(Kind.LOADED, 0, message.step, message.edge))

    def _kernels(self) -> Backend:
        """The session's backend, which is loaded when the first plan comes. Raises UnimplementedError."""
        try:
            return backend_named(self._backend)
        except (ImportError, OSError) as error:  # the latter: of a library that is there and is none
            text = f"backend='{self._backend}' does not work here: {error}"
            raise errors.UnimplementedError(None, None, text) from None

    def _unload(self, number: int) -> None:
        with self._lock:
            self._plans.pop(number, None)

    def _answer(self, connection: Connection, asked: Message) -> None:
        """Say what a step is doing. When not even that can be sent at once, what is being sent is sign enough.

        Of a step that takes long the message before may be lost that somebody waits for: those who take the next one notice.
        """
        step = self._steps.get(asked.step)
        connection.poke(Message(Kind.PONG, 0, asked.step, meta=step.where().encode() if step else b""))
        for peer in list(self._peers.values()) if asked.edge else ():
            with suppress(errors.OpError):  # it is gone, which both sides notice as it is
                peer.poke(Message(Kind.MARK, 0, asked.step))

    # steps

    def _begun(self, message: Message) -> Run | None:
        """What begins with a message of the session."""
        done, before = STEP_HEAD.unpack_from(message.meta)
        if done > self._done:
            self._forget_steps(done)
        step, traced = self._step(message.step), None
        if message.kind == Kind.TRACE:
            traced = *TRACE_HEAD.unpack_from(message.meta, STEP_HEAD.size), time.time_ns()
        if before:
            earlier = self._steps.get(before) if before < step.number else None  # one that is forgotten is over
            step.turn = Turn(earlier.turn if earlier else None)
        if not step.begin(None if before or traced else done):
            return None
        return Run(self.run, step, message.edge, self._plans.get(message.edge), message.tensors, traced)

    def _abort(self, connection: Connection, message: Message) -> None:
        """Give a step up, and answer for a plan that will not."""
        step = self._step(message.step)
        if not step.abort():
            return
        if step.begun:
            answer = Message(Kind.RESULT, 0, step.number)
        else:
            (seconds,) = ABORT_HEAD.unpack(message.meta)
            plan = self._plans.get(message.edge)
            told = f"{self.task} {step.where() if plan is None else plan.waits(seconds)}"
            answer = Message(Kind.FAILED, 0, step.number, meta=Failure(errors.CANCELLED, told, derived=True).encode())
        try:
            self._threads.submit(connection.send, answer)  # which may have to wait for the session to take it
        except RuntimeError:  # there are no more threads to be had
            connection.poke(answer)

    def _forget_steps(self, done: int) -> None:
        """All steps up to this one are over everywhere: their values and the memory of what was sent are free."""
        with self._lock:
            self._done = done
            for number in list(self._steps):
                if number <= done:
                    del self._steps[number]
            peers = list(self._peers.values())
        for connection in peers:
            connection.release(done)
        if self.session is not None:
            self.session.release(done)

    def run(
        self, step: TaskStep, number: int, plan: LoadedPlan | None, feeds: Sequence[Any] = (), traced: Traced = None
    ) -> None:
        """Run the plan of that number for a step, and tell the session what came of it, unless another task's result does."""
        try:
            if plan is None:
                raise errors.NotFoundError(None, None, f"{self.task} has no plan {number}")
            if traced:
                values, stats = step.trace(plan, feeds)
                self._deliver(step, values, Trace(stats, *traced, time.time_ns()).encode())
            else:
                step.run(plan, feeds, partial(self._deliver_silently if plan.relay.silent else self._deliver, step))
        except Exception as error:  # whatever it is, the session must hear of it
            step.fail()
            self._tell(step.number, failure_of(error))

    def _deliver(self, step: TaskStep, values: tuple[Any, ...], noted: bytes = b"") -> None:
        """Tell the session what a step's plan has returned here."""
        assert self.session is not None
        self.session.send(Message(Kind.RESULT, 0, step.number, 0, noted, tuple(map(np.asarray, values))))

    def _deliver_silently(self, step: TaskStep, values: tuple[Any, ...]) -> None:
        """As `_deliver`, where another task's result says it too, unless the session has asked."""
        if not step.ends_silently():
            self._deliver(step, values)

    def _tell(self, step: int, failure: Failure) -> None:
        """Tell the session why there is no result, unless it is the session that is gone.

        A step that is given up because this is closed tells nothing: that the connection ends is its cause.
        """
        if self._closed.is_set() or self.session is None:
            return
        with suppress(errors.UnavailableError, errors.CancelledError):
            self.session.send(Message(Kind.FAILED, 0, step, meta=failure.encode()))

    def _peer(self, task: str) -> Connection:
        """The connection over which this task sends to another one. Raises OpError."""
        connection = self._peers.get(task)
        if connection is None:
            with self._dialing:
                connection = self._peers.get(task)
                if connection is None:
                    connection = self._peers[task] = self._dial(self.name, task, self._arena)
        return connection


def _begin_head(meta: bytes) -> tuple[int, int, bytes]:
    """Its numbers, and what stands after it. Raises DataLossError."""
    if len(meta) < BEGIN_HEAD.size:
        raise errors.DataLossError(None, None, f"expected what begins, got {len(meta)} bytes")
    done, number = BEGIN_HEAD.unpack_from(meta)
    return done, number, meta[BEGIN_HEAD.size :]
