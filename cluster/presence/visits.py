"""What a program that is a task of a cluster lets the tasks know that it uses: that it is there, and that it ends."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from contextlib import suppress

from ...graph import errors
from ..transports.transport import Connection, Location
from ..wire.message import Message
from ..wire.protocol import Kind
from .greeting import greet
from .task_info import TaskInfo
from .visitors import Visitors

_lock = threading.Lock()
#: By this program's task, the task that is used, and the process of that.
_visits: dict[tuple[str, str, str], Connection] = {}
#: What this process's tasks notice of others, by their names.
_mine: dict[str, Visitors] = {}


def attend(mine: str, visitors: Visitors) -> None:
    """This process is that task."""
    _mine[mine] = visitors


def idle(infos: Iterable[TaskInfo], waits: bool) -> None:
    """Whether the program of this process does nothing but wait for others, as far as those who ask its tasks are concerned."""
    for info in infos:
        if info.name in _mine and info.location.process == Location.here().process:
            _mine[info.name].idle = waits


def visit(infos: Iterable[TaskInfo], secret: bytes) -> None:
    """A session of this process uses these tasks. If the process is one of them itself, the others are to know.

    Raises OpError when one is gone.
    """
    infos = list(infos)
    idle(infos, waits=False)
    here = Location.here()
    for mine in [info.name for info in infos if info.location.process == here.process]:
        for info in infos:
            if info.name != mine:
                _visit(mine, info, here, secret)


def _visit(mine: str, info: TaskInfo, here: Location, secret: bytes) -> None:
    key = mine, info.name, info.location.process
    with _lock:
        if key not in _visits:
            said = {"role": "program", "task": mine}
            _visits[key], _ = greet(info.address_from(here), secret, info.name, mine, said)


def leave(mine: str, say_so: bool = True) -> None:
    """The program of this task ends. `say_so`: as it should; else it may come again, for all that others know."""
    with _lock:
        leaving = [_visits.pop(key) for key in list(_visits) if key[0] == mine]
    for connection in leaving:
        with suppress(errors.OpError):  # it is gone itself
            if say_so:
                connection.poke(Message(Kind.LEAVING, 0, 0))
        connection.close()
