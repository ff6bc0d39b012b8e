"""One step on one task: what came for it, how its plan sends and receives, and where it is when it is given up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

import numpy as np

from ...graph import dtypes, errors
from ...runtime.execution.failures import StepFailure
from ...runtime.execution.interrupt import Stopper, set_current_stopper
from ...runtime.execution.rendezvous import Rendezvous
from ...runtime.execution.turns import Turn
from ...runtime.reporting.tracing import DeviceStepStats, TracedPlan, time_of_day
from ..reading.connections import Reading
from ..transports.transport import Connection
from ..wire.message import SLOT_FROM, Array, Message
from ..wire.protocol import BEGIN_HEAD, Failure, Kind
from .loaded_plan import LoadedPlan, running, task_of
from .parcels import MOST_BYTES, encode_edges

#: Smaller variables are copied when they are sent: that takes less than making room for the next value.
MOVED_FROM = 256 * 1024
_NO_FEEDS: dict[int, Any] = {}


class Aborted(Exception):
    """The session gave the step up; the text says where its plan was then."""


class TaskStep:
    """A step on a task, which is a Channel for its plan there. `dial(task)` gives the connection to another task.

    `reading`: the connections over which values come, which a plan that waits reads itself.
    """

    def __init__(self, task: str, number: int, dial: Callable[[str], Connection], reading: Reading[Any]) -> None:
        self.number = number
        self._task = task
        self._dial = dial
        self._reading = reading
        #: Its place in a row of steps, if it is part of one.
        self.turn: Turn | None = None
        self._plan: LoadedPlan | None = None
        self._thread = 0  #: that runs the plan
        self._kept: dict[int | None, Any] = {}  #: by slot, what is in memory from which it is sent without a copy
        self._values: list[tuple[Array, Connection]] = []  #: of variables that are updated later, as they were sent
        self._parcels: dict[str, list[tuple[int, Array | None]]] = {}  #: by device, what waits to be sent
        self.begun = False  #: whether its plan has been told to run
        self._done: int | None = None  #: where its values begin plans of other tasks: see BEGIN_HEAD
        self._ended = self._aborted = False
        self._lock = threading.Lock()  # for the two and the next
        #: What ends kernels that may take long, if the plan has such.
        self._stopper: Stopper | None = None
        self._rendezvous = Rendezvous()

    def put(self, edge: int, value: Any) -> None:
        """A value has come for an edge."""
        self._rendezvous.put(edge, value)
        if self._reading.polling:
            self._reading.wake()

    def receive(self, edge: int) -> Any:
        """Wait for the value of an edge. Raises what ended the step."""
        if not self._rendezvous.is_over(edge):
            for device in list(self._parcels):
                self._send_parcel(device)
            with self._rendezvous.waiting_for(edge):
                self._reading.wait(partial(self._rendezvous.is_over, edge))
        return self._rendezvous.receive(edge)

    def begin(self, done: int | None) -> bool:
        """Its plan is to run; whether it may, for the step may have been given up before. It runs once.

        `done`: the number that goes on to the plans that it begins on other tasks, if the session has not begun them.
        """
        if self._aborted or self.begun:
            return False
        self.begun, self._done = True, done
        return True

    @property
    def runs(self) -> bool:
        """Whether its plan runs, or its result is on its way."""
        return self._thread != 0

    def ends_silently(self) -> bool:
        """Its plan has come to its end, which the session hears from another task; whether it was not asked already."""
        with self._lock:
            self._ended = True
            return not self._aborted

    def run(self, plan: LoadedPlan, feeds: Sequence[Any], deliver: Callable[[tuple[Any, ...]], None]) -> None:
        """Run the plan when its turn has come, and hand its fetches to `deliver`, which must not keep them.

        Raises what ended it.
        """
        turn = self.turn
        if turn is not None:
            self._wait(turn)
        self._begin(plan)
        compiled = plan.compiled
        frame = compiled.take()
        try:
            deliver(compiled.run_in(frame, dict(zip(plan.feeds, feeds, strict=True)) if feeds else _NO_FEEDS, self))
        finally:
            self._ran(plan)
            compiled.give(frame)  # not before: the values may lie in its buffers
        if turn is not None:
            turn.end(failed=False)

    def _wait(self, turn: Turn) -> None:
        """Raises what ended the step before it began."""
        may_begin = turn.wait()
        if self._rendezvous.error is not None:
            raise self._rendezvous.error
        if not may_begin:
            raise errors.CancelledError(None, None, f"a step before this one failed, and {self._task} did not begin it")

    def fail(self) -> None:
        """The plan has failed, or could not begin: no step after it in its row begins."""
        if self.turn is not None:
            self.turn.end(failed=True)

    def trace(self, plan: LoadedPlan, feeds: Sequence[Any]) -> tuple[tuple[Any, ...], DeviceStepStats]:
        """As `run`, and what ran when."""
        traced = TracedPlan(plan.compiled, time_of_day())
        self._begin(plan)
        try:
            values = traced.run_in(traced.take(), dict(zip(plan.feeds, feeds, strict=True)), self)
        finally:
            self._ran(plan)
        return values, traced.stats()

    def _begin(self, plan: LoadedPlan) -> None:
        """The plan begins, in this thread. Raises what ended the step before."""
        if plan.may_last:
            with self._lock:
                if self._aborted:
                    raise Aborted(f"{self._task} {self.where()}")
                self._stopper = Stopper()
            set_current_stopper(self._stopper)
        if plan.places:
            running.step = self
        self._plan, self._thread = plan, threading.get_ident()

    def _ran(self, plan: LoadedPlan) -> None:
        """The plan has ended: nothing here keeps shared memory any longer."""
        self._thread = 0
        if plan.places:
            running.step = None
        if plan.may_last:
            set_current_stopper(None)
        self._kept.clear()
        self._values.clear()
        self._parcels.clear()

    def send(self, edge: int, device: str, value: Any, again: bool = False) -> None:
        """Bring a value to the plan of a device: here, or on another task."""
        if self._rendezvous.error is not None:
            raise self._rendezvous.error
        task = task_of(device)
        if task == self._task:
            self._rendezvous.send(edge, device, value, again)
            return
        connection = self._dial(task)
        if again:
            tensors = () if value is None else (np.asarray(value),)
            connection.send_once(Message(Kind.TENSOR, 0, self.number, edge, tensors=tensors))
            return
        if self._plan is not None and self._plan.sent.get(edge) in self._plan.updated and value.nbytes >= MOVED_FROM:
            self._values.append((value, connection))
        if self._plan is not None and edge in self._plan.shared:
            value = self._shared(connection, self._plan.shared[edge], np.asarray(value))
        elif value is not None:
            value = np.asarray(value)
        if connection.by_reference and value is not None:
            value = self._left_alone(edge, value)
        waits = self._plan is not None and edge in self._plan.together
        if waits or device in self._parcels:
            self._add(connection, edge, device, value, waits)
        else:
            connection.send(self._message(((edge, value),)))

    def _left_alone(self, edge: int, value: Array) -> Array:
        """A value that goes as it is, in memory that nothing else is written into: not in the plan's buffers."""
        slot = None if self._plan is None else self._plan.sent.get(edge)
        return value if value is self._kept.get(slot) else np.array(value, order="C")

    def _add(self, connection: Connection, edge: int, device: str, value: Array | None, waits: bool) -> None:
        """Put a value with those that go to the same device, and send them all, unless they wait for more."""
        if waits and value is not None:
            value, waits = self._kept_back(connection, edge, value)
        parcel = self._parcels.setdefault(device, [])
        parcel.append((edge, value))
        if not waits or sum(value.nbytes for _, value in parcel if value is not None) > MOST_BYTES:
            self._send_parcel(device)

    def _send_parcel(self, device: str) -> None:
        self._dial(task_of(device)).send(self._message(self._parcels.pop(device)))

    def _message(self, values: Sequence[tuple[int, Array | None]]) -> Message:
        """What brings values to another task, and begins the plan there that waits for one of them."""
        kind, (edge, value), meta = Kind.TENSOR, values[0], b"" if len(values) == 1 else encode_edges(values)
        if self._done is not None and self._plan is not None and (begins := self._plan.relay.begins):
            for each, _ in values:
                if each in begins:
                    kind, meta = Kind.BEGIN, BEGIN_HEAD.pack(self._done, begins[each]) + meta
        if len(values) == 1:
            return Message(kind, 0, self.number, edge, meta, () if value is None else (value,))
        return Message(kind, 0, self.number, edge, meta, [each for _, each in values if each is not None])

    def _kept_back(self, connection: Connection, edge: int, value: Array) -> tuple[Array, bool]:
        """A value in memory that the plan does not use again, and whether there is such memory."""
        assert self._plan is not None
        if value.dtype.hasobject or value.nbytes < SLOT_FROM:
            return np.array(value, order="C"), True
        slot = self._plan.sent[edge]
        if slot not in self._kept:
            return self._shared(connection, slot, value), slot in self._kept
        return self._kept[slot], True

    def place(self, task: str, slot: int, dtype: dtypes.DType, buffer: Array) -> Array:
        """Where a value that goes to another task is to be written: memory that the two share, or else its buffer."""
        place = self._dial(task).reserve(self.number, dtype, buffer.shape)
        if place is None:
            return buffer
        self._kept[slot] = place
        return place

    def spare(self, value: Array | None) -> Array | None:
        """Where a variable's next value is to be written, of which this step has sent the present one.

        In memory from which a later step sends it without a copy, if it goes to a task on this node.
        """
        for sent, connection in self._values:
            if sent is value:
                place = connection.lasting(value)
                if place is not None:
                    return place
        self._values = [each for each in self._values if each[0] is not value]  # so that it may be changed in place
        return None

    def _shared(self, connection: Connection, slot: int, value: Array) -> Array:
        """A value that goes to several tasks, in memory that those on this node share, if they do."""
        if slot not in self._kept:
            if value.nbytes < SLOT_FROM or connection.lasts(value):
                return value
            place = connection.reserve(self.number, dtypes.as_dtype(value.dtype), value.shape)
            if place is None:
                return value
            np.copyto(place, value)
            self._kept[slot] = place
        return cast(Array, self._kept[slot])

    def abort(self) -> bool:
        """Nobody waits for this step any longer: its plan ends where it waits, in a loop, or when it next sends.

        Whether the plan says nothing of it to the session: it has not begun, or has ended silently.
        """
        with self._lock:
            self._aborted, mute, stopper = True, self._ended or not self.begun, self._stopper
        aborted = Aborted(f"{self._task} {self.where()}")
        self._rendezvous.abort(aborted)
        self._reading.wake()
        if stopper is not None:
            stopper.stop(aborted)
        if self.turn is not None:
            self.turn.wake()
        return mute

    def where(self) -> str:
        """What it is doing, in words."""
        if self._plan is None:
            return "had not begun"
        names = self._plan.edges
        waits = [f"{names.get(edge, edge)} for {sec:.1f} s" for edge, sec in self._rendezvous.waits().items()]
        stopper = self._stopper
        told = (stopper.ending.described() if stopper else []) + ([f"for {', '.join(waits)}"] if waits else [])
        if told:
            return f"had waited {', '.join(told)}"
        return f"was computing {self._plan.compiled.whereabouts(self._thread)}".rstrip()


def failure_of(error: Exception) -> Failure:
    """What to tell the session. What only follows from an abort or from the loss of a peer is marked as derived."""
    cause = error.cause if isinstance(error, StepFailure) else error
    if isinstance(cause, Aborted):
        node = error.node if isinstance(error, StepFailure) else ""
        return Failure(errors.CANCELLED, str(cause), node, derived=True)
    lost_peer = isinstance(error, (errors.UnavailableError, errors.CancelledError))
    return Failure.of(error, derived=lost_peer)
