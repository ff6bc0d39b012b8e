"""What stateful operations keep between runs: variables, queues, and how often a random operation has run."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from . import errors
from .dtypes import DType
from .shapes import Dims, text

_Resource = TypeVar("_Resource")

#: What `sys.getrefcount` says of a slot's array that nobody else holds: the slot, and the argument of the call.
_OWN_REFERENCES = 2


class VariableSlot:
    """One variable of a session or task. A resource tensor's value is such a slot."""

    __slots__ = ("changing", "dims", "dtype", "name", "spare", "value", "writing")

    def __init__(self, name: str, dtype: DType, dims: Dims) -> None:
        self.name = name
        self.dtype = dtype
        self.dims = dims
        #: The array, owned by this slot and changed in place; None until the variable is initialized.
        self.value: np.ndarray[Any, Any] | None = None
        #: Held by whoever writes, so that no update of another step is lost.
        self.writing = threading.Lock()
        #: Whether somebody is about to change the array, or does.
        self.changing = False
        #: Where whoever writes leaves the new value, if the array is not to be changed.
        self.spare: np.ndarray[Any, Any] | None = None

    def read(self) -> np.ndarray[Any, Any]:
        """The slot's own array for whoever writes. Raises FailedPreconditionError when uninitialized."""
        if self.value is None:
            raise errors.FailedPreconditionError(None, None, f"Attempting to use uninitialized value {self.name}")
        if self.spare is not None:
            np.copyto(self.spare, self.value)
            self.move()
        return self.value

    def move(self) -> None:
        """All of the new value is in `spare`: that is the array from now on."""
        self.value, self.spare = self.spare, None

    def settled(self) -> np.ndarray[Any, Any]:
        """The slot's array for a reader: as long as the reader holds it, no step changes it (see `begin_change`).

        Look, do not write. Raises FailedPreconditionError when uninitialized.
        """
        value = self.value
        if self.changing:  # perhaps this very array, by one who did not see that it is held
            with self.writing:
                value = self.value
        return self.read() if value is None else value  # which says that there is none

    def begin_change(self, spare: np.ndarray[Any, Any] | None = None, moves: bool = False) -> None:
        """Before a change in place by the one who holds `writing`: an array that a reader holds is left to it.

        With `spare`, an array of the same type and shape, it is left in any case, and the new value goes there. `moves`: the
        one who writes looks at `spare`, and so needs no copy first, which would go through all of the memory once more.
        Flag first, then count: a reader takes the array first and then looks at the flag, so one of the two sees the other.
        """
        self.changing = True
        if spare is not None:
            self.spare = spare
        elif self.value is not None and sys.getrefcount(self.value) > _OWN_REFERENCES:
            if moves:
                self.spare = np.empty(self.value.shape, self.value.dtype)
            else:
                self.value = self.value.copy()

    def end_change(self) -> None:
        """The change is made, or has failed."""
        self.spare, self.changing = None, False

    def settle_in(self) -> None:
        """Move the array out of memory that is somebody else's."""
        if self.value is not None and self.value.base is not None:
            with self.writing:
                if self.value is not None and self.value.base is not None:
                    self.value = self.value.copy()

    def assign(self, value: Any) -> None:
        """Copy `value` in, into the memory that is there when the shape is the same."""
        array = np.asarray(value)
        if self.value is not None and self.value.shape == array.shape:
            if self.spare is not None:
                self.move()
            self.value[...] = array
        else:
            self.value = array.astype(self.dtype.np, copy=True, order="C")


def to_stderr(text: str) -> None:
    """Write lines to this process's stderr, all at once."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


class State:
    """The variables, queues and counters of one session, or of one task of a cluster."""

    def __init__(self, seed: int | None = None) -> None:
        #: By container and name.
        self.variables: dict[tuple[str, str], VariableSlot] = {}
        self.counters: dict[str, int] = {}
        #: Queues and accumulators, likewise: those that other sessions of the task see too, and those of this one.
        self.shared: dict[tuple[str, str], Any] = {}
        self.private: dict[tuple[str, str], Any] = {}
        #: Makes random operations that have no seed differ from session to session.
        self.seed = int.from_bytes(os.urandom(8), "little") >> 1 if seed is None else seed
        #: Where operations tell what they have to tell whoever looks on: `report(text)`.
        self.report: Callable[[str], None] = to_stderr
        #: The task that this is of; "" in a session without a cluster.
        self.place = ""
        self._lock = threading.Lock()

    def variable(self, name: str, dtype: DType, dims: Dims, container: str = "") -> VariableSlot:
        """The slot of that name in a container, made when it is not there.

        Raises InvalidArgumentError when it holds another type or shape.
        """
        with self._lock:
            slot = self.variables.setdefault((container, name), VariableSlot(name, dtype, dims))
        if slot.dtype is not dtype or (dims is not None and slot.dims is not None and slot.dims != dims):
            raise errors.InvalidArgumentError(
                None, None,
                f"Trying to access variable {name} as {dtype.name}{text(dims)}, but it is {slot.dtype.name}{text(slot.dims)}",
            )  # fmt: skip
        return slot

    def reset(self, containers: Sequence[str] = ()) -> None:
        """Forget the variables and shared queues of these containers; of the one without a name when none is given.

        Who waits for a queue is not told: the sessions that wait must have been ended before.
        """
        tables: tuple[dict[tuple[str, str], Any], ...] = self.variables, self.shared
        with self._lock:
            for table in tables:
                for key in [key for key in table if key[0] in (containers or ("",))]:
                    del table[key]

    def forget_shared(self) -> None:
        """Forget all shared queues and accumulators, whose sessions have ended; variables stay."""
        with self._lock:
            self.shared.clear()

    def resource(
        self, kind: type[_Resource], container: str, shared_name: str, name: str, make: Callable[[str], _Resource]
    ) -> _Resource:
        """What a container keeps under a name that sessions share, or under an operation's own; made when it is not there.

        Raises InvalidArgumentError where it is of another kind.
        """
        key = shared_name or name
        with self._lock:
            table = self.shared if shared_name else self.private
            found = table.get((container, key))
            if found is None:
                found = table[container, key] = make(key)
        if type(found) is not kind:
            raise errors.InvalidArgumentError(
                None, None, f"Expected a {kind.__name__} under the name '{key}', found {found}"
            )
        return found

    def for_session(self) -> State:
        """What one session of a task sees: what the task's sessions share, and counters and queues of its own."""
        state = State()
        state.variables, state.shared, state._lock = self.variables, self.shared, self._lock
        return state

    def next_count(self, name: str) -> int:
        """How often this was asked for that name before."""
        with self._lock:
            count = self.counters.get(name, 0)
            self.counters[name] = count + 1
        return count


class OpState:
    """What one stateful operation sees: the session's state, and its own name in it."""

    __slots__ = ("name", "session")

    def __init__(self, session: State, name: str) -> None:
        self.session = session
        self.name = name

    def report(self, text: str) -> None:
        """Tell whoever looks on at the session: it appears on the stderr of the session's process."""
        self.session.report(text)

    def next_count(self) -> int:
        """How often this operation ran before."""
        return self.session.next_count(self.name)
