"""Operations by which a task writes the variables that it keeps into shards of a checkpoint, and reads them from there.

Both are done in two runs. To save, one run holds the values of all tasks' variables, which costs no copy: whoever changes a
variable whose array is held goes on in another one. A second one writes what is held, while others train. To restore, one run
reads and checks all of it, on all tasks, and only then another one assigns.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from .. import errors, shapes
from ..dtypes import DType, boolean, int64, string
from ..op import Op, op
from ..opdef import Spec, TensorLike
from ..shapes import Dims
from ..waiting import current
from .variables import check_handle

Array = np.ndarray[Any, Any]


class Held:
    """The values that a task holds for a Saver of one session, by the token of what they are for."""

    def __init__(self) -> None:
        self._values: dict[bytes, list[Array]] = {}
        self._lock = threading.Lock()

    def hold(self, token: bytes, values: list[Array], wanted: list[bytes]) -> None:
        """Hold values, and let go of all others but those that are still wanted."""
        with self._lock:
            self._values = {other: held for other, held in self._values.items() if other in wanted} | {token: values}

    def of(self, token: bytes) -> list[Array]:
        """The values. Raises FailedPreconditionError."""
        with self._lock:
            if token not in self._values:
                raise errors.FailedPreconditionError(None, None, "nothing is held here any more for this checkpoint")
            return self._values[token]

    def let_go(self, token: bytes) -> None:
        with self._lock:
            self._values.pop(token, None)


class HolderOp(Op):
    """What the operations have in common that share what one of them holds under the name `holder`."""

    holder: str
    stateful = True
    not_differentiable = True

    def held(self, state: Any) -> Held:
        found: Held = state.session.resource(Held, "", "", self.holder, lambda name: Held())
        return found


@op
class SeesFile(Op):
    """Why this task cannot read a file or, if that is asked, write beside it; an empty text when it can."""

    stateful = True
    not_differentiable = True

    def infer(self, place: TensorLike, to_write: TensorLike) -> Spec:
        _check_texts(place)
        if to_write.dtype is not boolean:
            raise TypeError(f"expected a bool, got {to_write.dtype.name}")
        return Spec(string, ())

    def compute(self, state: Any, place: Any, to_write: Any) -> Any:
        from ..storage import files

        why = files.unseen(os.fsdecode(_text(place)), bool(to_write))
        return _texts([f"{_here(state)}: {why}".encode(errors="replace")] if why else [b""]).reshape(())


@op
class HoldVariables(HolderOp):
    """Hold the values that variables have now, and nothing else that is not still wanted: their sizes.

    The inputs are the handles, the token to hold them under, and the tokens that are wanted.
    """

    holder: str
    access = "read"

    def infer(self, *inputs: TensorLike) -> Spec:
        *handles, token, wanted = inputs
        _check_texts(token, wanted)
        for handle in handles:
            check_handle(handle)
        return Spec(int64, (len(handles),))

    def compute(self, state: Any, *inputs: Any) -> Any:
        from ..storage.checkpoint import stored_size

        *slots, token, wanted = inputs
        values = [slot.settled() for slot in slots]
        self.held(state).hold(_text(token), values, wanted.tolist())
        return np.array([stored_size(value) for value in values], np.int64)


@op
class WriteHeld(HolderOp):
    """Write what is held under a token, each value into the named file of a folder, and let go of it: what an index says
    of each. It ends early, leaving nothing, when its step is given up."""

    holder: str
    names: tuple[str, ...]

    def infer(self, token: TensorLike, folder: TensorLike, files: TensorLike) -> Spec:
        _check_texts(token, folder, files)
        return Spec(string, (len(self.names),))

    def compute(self, state: Any, token: Any, folder: Any, files: Any) -> Any:
        from ..storage.beside import beside
        from ..storage.checkpoint import write_files

        held = self.held(state)
        try:
            files_of = dict(zip(self.names, _files(self.names, files), strict=True))
            values = dict(zip(self.names, held.of(_text(token)), strict=True))
            with _told(state):
                entries = beside(lambda: write_files(os.fsdecode(_text(folder)), files_of, values, _go_on))
        finally:
            held.let_go(_text(token))
        return _texts([entries[name].text() for name in self.names])


@op
class ReadHeld(HolderOp):
    """Read values from files of a folder, check each against what the index of the checkpoint says of it, and hold them.

    A value of another shape than its variable's has as many elements, and gets that shape.
    """

    holder: str
    names: tuple[str, ...]
    shapes: tuple[Dims, ...]

    def infer(
        self, token: TensorLike, wanted: TensorLike, folder: TensorLike, files: TensorLike, entries: TensorLike
    ) -> tuple[Spec, ...]:
        _check_texts(token, wanted, folder, files, entries)
        return ()

    def compute(self, state: Any, token: Any, wanted: Any, folder: Any, files: Any, entries: Any) -> None:
        from ..storage.checkpoint import CheckpointReader, corrupt

        readers: dict[str, CheckpointReader] = {}
        values = []
        rows = zip(self.names, self.shapes, _files(self.names, files), entries.tolist(), strict=True)
        with _told(state):
            for name, dims, file, entry in rows:
                _go_on()
                place = _place(folder, file)
                if file not in readers:
                    readers[file] = CheckpointReader(place)
                there = readers[file].entries.get(name)
                if there is None or there.text() != entry:
                    raise corrupt(place, f"it has another {name} than its checkpoint")
                value = readers[file].get_tensor(name)
                fits = shapes.compatible(dims, value.shape)
                values.append(value if fits else value.reshape([dim for dim in dims or () if dim is not None]))
        self.held(state).hold(_text(token), values, wanted.tolist())


@op
class HeldValue(HolderOp):
    """One of the values that are held under a token, which is not held any longer."""

    holder: str
    index: int
    dtype: DType
    shape: Dims

    def infer(self, token: TensorLike) -> Spec:
        _check_texts(token)
        return Spec(self.dtype, self.shape)

    def compute(self, state: Any, token: Any) -> Any:
        values = self.held(state).of(_text(token))
        value, values[self.index] = values[self.index], np.empty(0)
        return value


def _check_texts(*inputs: TensorLike) -> None:
    for each in inputs:
        if each.dtype is not string:
            raise TypeError(f"expected strings, got {each.dtype.name}")


def _text(value: Any) -> bytes:
    item = value.item() if isinstance(value, np.ndarray) else value
    return item if isinstance(item, bytes) else str(item).encode()


def _texts(values: list[bytes]) -> Any:
    array = np.empty(len(values), object)
    array[:] = values
    return array


def _files(names: tuple[str, ...], files: Any) -> list[str]:
    """The file of each variable. Raises InvalidArgumentError for another number, or what is not the name of a file."""
    found = [os.fsdecode(name) for name in files.tolist()]
    if len(found) != len(names) or any(name in ("", ".", "..") or "/" in name or "\0" in name for name in found):
        text = f"expected the names of files for {len(names)} variables, got {found[:3]}"
        raise errors.InvalidArgumentError(None, None, text)
    return found


def _place(folder: Any, file: str) -> str:
    from ..storage.places import join

    return join(os.fsdecode(_text(folder)), file)


def _here(state: Any) -> str:
    where = f"process {os.getpid()} on host {socket.gethostname()}"
    return f"task {state.session.place} ({where})" if state.session.place else where


@contextmanager
def _told(state: Any) -> Iterator[None]:
    """Errors inside say which task they are of, and where."""
    try:
        yield
    except errors.OpError as error:
        raise type(error)(None, None, f"{_here(state)}: {error.message}") from error


def _go_on() -> None:
    """Raises what ended the step that this thread runs."""
    if current.ending is not None and current.ending.error is not None:
        raise current.ending.error
