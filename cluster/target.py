"""What a session's target means on a cluster: which tasks it uses, where they are, and the engine that runs on them."""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from ..graph import errors
from ..graph.devices import DeviceSpec
from ..runtime.backends.named import for_tasks, lacking
from .presence.greeting import greet
from .presence.roll_call import RollCall, ask
from .presence.task_info import TaskInfo, addresses_from
from .presence.visits import idle, visit
from .schemes import network
from .secret import cluster_secret, same_place
from .session.engine import ClusterEngine
from .session.heartbeat import HEARTBEAT_SECONDS
from .transports.transport import Location

SCHEME = "weft"
#: Seconds that the tasks of a cluster may take to come up before a session on them gives up.
PATIENCE_SECONDS = 600.0
PATIENCE_VARIABLE = "WEFT_CLUSTER_TIMEOUT"
#: How long a task may be silent while a step waits for it.
HEARTBEAT_VARIABLE = "WEFT_HEARTBEAT_TIMEOUT"

#: How long a task that answers may take to do so.
_ASK_SECONDS = 2.0
#: How long the threads of what was closed are waited for at the end of the process.
_END_SECONDS = 2.0


class Started(Protocol):
    """A cluster that this process has started itself."""

    def engine(self, config: Any) -> ClusterEngine:
        """An engine for a new session."""
        ...

    def recover(self) -> int:
        """Start anew what has died of its tasks."""
        ...

    def reset(self, containers: list[str]) -> None:
        """Forget what is in containers, and end all sessions."""
        ...


#: By the name in their target.
ENGINES: dict[str, Started] = {}
#: The engines that sessions of this process have got here.
_made: weakref.WeakSet[ClusterEngine] = weakref.WeakSet()


def engine(target: str, config: Any) -> ClusterEngine:
    """The engine of a session with this target: `weft://host:port` of a task, or `flight://` where servers speak that.

    `grpc://`, as TF writes it, is what the environment says of the two (cluster/schemes.py).
    Waits until all tasks are there that the session uses: those of the task's cluster that `config.device_filters` leaves,
    but for those that have told others that they end.
    Raises NotFoundError for what is no target, DeadlineExceededError that names who did not come, UnauthenticatedError
    where secrets differ, FailedPreconditionError where protocols do, InvalidArgumentError where the tasks were told different
    clusters, UnimplementedError where a task does not have the session's backend, and ImportError where this process does not.
    """
    if lack := lacking(config.backend):
        raise ImportError(lack)
    name = target.partition("://")[2]
    if name in ENGINES:
        return ENGINES[name].engine(config)
    since, patience = time.monotonic(), _patience(config)
    secret = cluster_secret([address_of(target)])
    while True:
        home, infos = _roll_call(target, secret, patience, since, config.device_filters)
        try:
            return _connect(home, infos, secret, config)
        except errors.UnavailableError:  # it was there a moment ago: perhaps it begins anew
            if time.monotonic() >= since + patience:
                raise
            time.sleep(0.1)


def reset(target: str, containers: Sequence[str], config: Any) -> None:
    """Forget the variables of containers on every task of the target's cluster; see `Session.reset`. Raises OpError."""
    started = ENGINES.get(target.partition("://")[2])
    if started is not None:
        started.reset([str(container) for container in containers])
        return
    secret = cluster_secret([address_of(target)])
    filters = config.device_filters if config is not None else ()
    _, infos = _roll_call(target, secret, _patience(config), time.monotonic(), filters)
    said = {"role": "reset", "containers": [str(container) for container in containers]}
    for info in infos.values():
        connection, _ = greet(info.address_from(Location.here()), secret, info.name, "Session.reset", said)
        connection.close()


def recover(target: str) -> None:
    """Start anew what has died of a cluster that this process has started; others mend themselves. Raises OpError."""
    started = ENGINES.get(target.partition("://")[2])
    if started is not None:
        started.recover()


def finished(target: str) -> bool:
    """Whether the job of a cluster of servers is over, for a program that waits for others to make its session ready.

    It is when some program has ended as it should, and all others have too or wait themselves. One that is lost may come again.
    """
    if target.partition("://")[2] in ENGINES:
        return False
    address, transport = address_of(target), transport_of(target)
    secret, here = cluster_secret([address]), Location.here().process
    try:
        home = ask(f"{transport}://{address}", secret, address, _ASK_SECONDS)
        infos = {home.name: home}
        left = set(home.left)
        for task, where in tasks_of(home.jobs).items():
            if task not in left | infos.keys():
                infos[task] = ask(f"{transport}://{where}", secret, task, _ASK_SECONDS)
                left.update(infos[task].left)
    except errors.OpError:
        return False
    idle(infos.values(), waits=True)
    others = [info for info in infos.values() if info.location.process != here]
    return bool(left) and all(info.serves or info.name in left for info in others)


def address_of(target: str) -> str:
    """The `host:port` in a target. Raises NotFoundError for one that has none."""
    address = target.partition("://")[2]
    host, colon, port = address.rpartition(":")
    if not (host and colon and port.isdecimal()) or "/" in address:
        text = (
            f"No cluster of this process is running as '{target}', nor is that the address of a task, weft://host:port"
        )
        raise errors.NotFoundError(None, None, text)
    return address


def transport_of(target: str) -> str:
    """What the servers of a target speak. Raises NotFoundError for what there is not."""
    return network(target.partition("://")[0])


def task_name(job: str, index: int) -> str:
    """The name of a task, as devices have it."""
    return f"/job:{job}/replica:0/task:{index}"


def tasks_of(jobs: Mapping[str, Mapping[int, str]]) -> dict[str, str]:
    """The address of each task, by name."""
    return {task_name(job, index): address for job, tasks in jobs.items() for index, address in tasks.items()}


def _roll_call(
    target: str, secret: bytes, patience: float, since: float, filters: Iterable[str]
) -> tuple[str, dict[str, TaskInfo]]:
    """The name of the task at a target, and what it and each other task tells that a session on it uses.

    A task whose program has ended as it should is not there, and nobody waits for it.
    """
    address, transport = address_of(target), transport_of(target)
    (home,) = RollCall(transport, {address: address}, secret, patience, since).answers().values()
    wanted = [DeviceSpec.from_string(each).task_only() for each in filters]
    others = {
        task: where
        for task, where in tasks_of(home.jobs).items()
        if task != home.name and (not wanted or any(each.matches(DeviceSpec.from_string(task)) for each in wanted))
    }
    infos = {home.name: home, **RollCall(transport, others, secret, patience, since, home.left).answers()}
    for info in infos.values():
        _check_same(home, info)
    return home.name, infos


def _check_same(home: TaskInfo, other: TaskInfo) -> None:
    """Raises InvalidArgumentError where two tasks were told different addresses of one; neither need know them all."""
    theirs = tasks_of(other.jobs)
    for task, address in tasks_of(home.jobs).items():
        if task in theirs and not same_place(address, theirs[task]):
            text = (
                f"The tasks were started with different cluster specs: {home.name} was told that {task} is at {address}, "
                f"{other.name} that it is at {theirs[task]}"
            )
            raise errors.InvalidArgumentError(None, None, text)


def _connect(home: str, infos: Mapping[str, TaskInfo], secret: bytes, config: Any) -> ClusterEngine:
    visit(infos.values(), secret)
    made = ClusterEngine(
        addresses_from(Location.here(), infos.values()),
        secret,
        {name: f"{info.host} (process {info.pid})" for name, info in infos.items()},
        config.intra_op_parallelism_threads,
        _seconds(HEARTBEAT_VARIABLE, HEARTBEAT_SECONDS),
        peers={name: addresses_from(info.location, infos.values()) for name, info in infos.items()},
        default_task=home,
        backend=for_tasks(config.backend),
    )
    _made.add(made)
    return made


def _patience(config: Any) -> float:
    """Seconds that making a session may take. Raises FailedPreconditionError."""
    if config is not None and config.operation_timeout_in_ms > 0:
        return float(config.operation_timeout_in_ms) / 1000
    return _seconds(PATIENCE_VARIABLE, PATIENCE_SECONDS)


def _seconds(variable: str, default: float) -> float:
    """What an environment variable says. Raises FailedPreconditionError for what is no time to wait."""
    text = os.environ.get(variable, str(default))
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        text = f"{variable} must be a positive number of seconds, got '{text}'"
        raise errors.FailedPreconditionError(None, None, text)
    return seconds


@atexit.register
def _close_all() -> None:
    """Close sessions that are still open: later, their threads could not let go of connections any more.

    And wait for the threads of those, and of what was closed before: one that lets go of an Arrow buffer while the interpreter
    ends would end the process with it, for Python ends its threads there as C++ does not allow.
    """
    for each in list(_made):
        each.close()
    deadline = time.monotonic() + _END_SECONDS
    for thread in threading.enumerate():
        if thread.name.startswith("weft ") and thread is not threading.current_thread():
            thread.join(max(0.0, deadline - time.monotonic()))
