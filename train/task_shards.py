"""TaskShards: the variables of a Saver that are on tasks of a cluster, which write and read them by themselves."""

from __future__ import annotations

import itertools
import logging
import os
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ..graph import errors
from ..graph.devices import DeviceSpec
from ..graph.dtypes import boolean, string
from ..graph.ir import Graph, Operation, Tensor
from ..graph.ops.placeholders import placeholder, placeholder_with_default
from ..graph.ops.shards import HeldValue, HoldVariables, ReadHeld, SeesFile, WriteHeld
from ..graph.shapes import as_dims
from ..graph.storage import files
from ..graph.storage.checkpoint import CheckpointReader, Entry
from ..graph.storage.places import local_path, shown, split
from ..graph.variable import Variable
from ..runtime.config import RunOptions
from ..runtime.session import Session
from .shards import ShardedReader

_log = logging.getLogger("weft")

#: Writing and reading take the time that they take, whatever a session's timeout of steps is; but not for ever.
_A_DAY = RunOptions(timeout_in_ms=24 * 3600 * 1000)


@dataclass(frozen=True)
class _Group:
    """The variables of one task, and what it does for them."""

    names: tuple[str, ...]
    sees: Tensor
    hold: Tensor
    write: Tensor
    read: Operation
    files: Tensor
    entries: Tensor


class Taken:
    """What tasks hold for one checkpoint, until it is written or nobody refers to this any longer."""

    def __init__(self, token: bytes) -> None:
        self.token = token
        #: The bytes that each variable takes, by the task's number and the variable's name.
        self.sizes: list[dict[str, int]] = []


class TaskShards:
    """Those of a Saver's variables that request a task by name, and the operations by which that task saves and restores them.

    `values` are the tensors to assign when they are restored: what tasks have read, unless they are fed. Made with the graph as
    the default one, in the scope `scope`, and without control dependencies.
    """

    def __init__(self, graph: Graph, variables: Mapping[str, Variable], scope: str) -> None:
        self._token, self._wanted = placeholder(string, [], name="token"), placeholder(string, [None], name="wanted")
        self._folder, self._to_write = placeholder(string, [], name="folder"), placeholder(boolean, [], name="to_write")
        self.values: dict[str, Tensor] = {}
        self._groups = [
            self._add(graph, task, several, f"{scope}{number}")
            for number, (task, several) in enumerate(by_task(variables).items())
        ]
        self._numbers = itertools.count(1)
        self._taken: weakref.WeakSet[Taken] = weakref.WeakSet()
        #: For each session, of which folders is known whether all tasks can write there.
        self._reached: weakref.WeakKeyDictionary[Any, dict[str, bool]] = weakref.WeakKeyDictionary()

    def _add(self, graph: Graph, task: str, variables: Mapping[str, Variable], holder: str) -> _Group:
        names = tuple(variables)
        every = [variable.handle for variable in variables.values()]
        dims = tuple(as_dims(variable.shape) for variable in variables.values())
        with graph.device(None), graph.colocate_with(None, ignore_existing=True), graph.device(task):
            file, entries = placeholder(string, [len(names)]), placeholder(string, [len(names)])
            group = _Group(
                names, SeesFile()(self._folder, self._to_write),
                HoldVariables(holder)(*every, self._token, self._wanted),
                WriteHeld(holder, names)(self._token, self._folder, file),
                ReadHeld(holder, names, dims).node(self._token, self._wanted, self._folder, file, entries), file, entries,
            )  # fmt: skip
            for index, (name, variable) in enumerate(variables.items()):
                value = HeldValue(holder, index, variable.dtype, dims[index])(self._token)
                self.values[name] = placeholder_with_default(value, variable.shape)
        return group

    # where

    def reach(self, sess: Any, place: str, to_write: bool) -> bool:
        """Whether all tasks can read a checkpoint's file, or write where a folder is; if not, a warning says why."""
        known = self._reached.setdefault(sess, {})
        if not to_write:
            return self._all_see(sess, place, place, to_write)
        if place not in known:
            with files.witness(place) as witness:
                known[place] = self._all_see(sess, place, witness, to_write)
        return known[place]

    def _all_see(self, sess: Any, place: str, file: str, to_write: bool) -> bool:
        answers = sess.run(
            [group.sees for group in self._groups], {self._folder: _absolute(file), self._to_write: to_write}
        )
        reasons = [answer.decode(errors="replace") for answer in answers if answer]
        if reasons:
            done = "fetches all variables and writes" if to_write else "reads all variables and feeds"
            _log.warning(
                "This process %s them itself, for not all tasks can reach %s: %s. To have each task do so for what it keeps, use "
                "a folder that all hosts share, or an object store; Saver(sharded=False) does not ask for it.",
                done, shown(place), "; ".join(reasons),
            )  # fmt: skip
        return not reasons

    # saving

    def hold(self, sess: Any, fetches: Any) -> tuple[Any, Taken]:
        """Let tasks hold their values, in the same run in which something is fetched."""
        taken = Taken(b"%d" % next(self._numbers))
        self._taken.add(taken)
        fetched, sizes = sess.run([fetches, [group.hold for group in self._groups]], self._told(taken))
        taken.sizes = [
            dict(zip(group.names, several.tolist(), strict=True))
            for group, several in zip(self._groups, sizes, strict=True)
        ]
        return fetched, taken

    def write(self, sess: Any, taken: Taken, folder: str, places: Mapping[str, str]) -> dict[str, Entry]:
        """Let all tasks write what they hold, each variable into its file of the folder: what an index says of each.

        Raises what keeps a task from it, which its message names.
        """
        feeds: dict[Any, Any] = {self._token: taken.token, self._folder: _absolute(folder)}
        for group in self._groups:
            feeds[group.files] = [os.fsencode(places[name]) for name in group.names]
        with _plainly():
            found = sess.run([group.write for group in self._groups], feeds, options=_A_DAY)
        return {
            name: Entry.parse(text)
            for group, several in zip(self._groups, found, strict=True)
            for name, text in zip(group.names, several.tolist(), strict=True)
        }

    # restoring

    def read(self, sess: Any, reader: CheckpointReader) -> dict[Any, Any]:
        """Let all tasks read and check what a checkpoint has of their variables: what to feed for assigning it.

        They hold it until it is assigned, or something else is read or held.
        """
        taken = Taken(b"%d" % next(self._numbers))
        self._taken.add(taken)
        folder, own = split(reader.path)
        places = reader.places if isinstance(reader, ShardedReader) else dict.fromkeys(reader.entries, own)
        feeds = self._told(taken) | {self._folder: _absolute(folder)}
        for group in self._groups:
            feeds[group.files] = [os.fsencode(places[name]) for name in group.names]
            feeds[group.entries] = [reader.entries[name].text() for name in group.names]
        with _plainly():
            sess.run([group.read for group in self._groups], feeds, options=_A_DAY)
        return {self._token: taken.token}

    def _told(self, taken: Taken) -> dict[Any, Any]:
        return {self._token: taken.token, self._wanted: [each.token for each in self._taken]}


@contextmanager
def _plainly() -> Iterator[None]:
    """Errors inside tell what happened where, and not of operations that no program has made."""
    try:
        yield
    except errors.OpError as error:
        raise type(error)(None, None, error.message.partition("\n\t [[")[0]) from error
    except RuntimeError as error:
        if "closed Session" not in str(error):
            raise
        text = "The session was closed, for which its tasks were to write or read a checkpoint"
        raise errors.CancelledError(None, None, text) from error


def by_task(variables: Mapping[str, Variable]) -> dict[str, dict[str, Variable]]:
    """Those of these variables that request one task by name, by task: where others are is for a session to decide, and what
    a strategy keeps in several places is read as one value."""
    found: dict[str, dict[str, Variable]] = {}
    for name, variable in variables.items():
        task = DeviceSpec.from_string(variable.device).task_only()
        if type(variable) is Variable and task.job is not None and task.task is not None:
            found.setdefault(str(task), {})[name] = variable
    return found


def is_on_tasks(sess: Any) -> bool:
    """Whether a session's variables are kept by other processes than its own."""
    return bool(getattr(sess, "sess_str", ""))


def is_in_process(sess: Any) -> bool:
    """Whether a session keeps its variables in this process, and nobody has put a `run` of his own in place of its."""
    return type(sess).run is Session.run and not is_on_tasks(sess)


def _absolute(place: str) -> bytes:
    """As a task finds it, which has another working folder."""
    path = local_path(place)
    return os.fsencode(place if path is None else os.path.abspath(path))
