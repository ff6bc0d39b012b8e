"""train.Server: makes this process one task of a cluster that is a plain list of addresses, without Ray."""

from __future__ import annotations

import atexit
import operator
import socket
import sys
import weakref
from collections.abc import Callable, Iterable
from typing import Any

from ..graph import errors
from ..graph.cluster_spec import ClusterSpec, ServerDef
from ..runtime.config import ConfigProto
from ..runtime.execution.threads import limit_kernel_threads
from .presence.attendance import GRACE_SECONDS
from .presence.roll_call import ask
from .presence.visits import attend, leave
from .schemes import TRANSPORTS, network, protocol as speaks
from .secret import cluster_secret, host_of, is_local
from .target import task_name, tasks_of
from .task.worker import Worker

#: How long a task may take to say whether it may still come.
_ASK_SECONDS = 2.0
#: How long a task that is closed lets steps run on here. What waits for something may do so in vain.
_FINISH_SECONDS = 0.5
#: The servers that are not closed: a program need not keep them.
_alive: set[Server] = set()


class Server:
    """One task of a cluster, in this process: it keeps variables and runs what sessions on the cluster send it.

    `server_or_cluster_def`: a ClusterSpec or what makes one, with the addresses of all tasks, or at least of this one and of
    those it works with; or a ServerDef, whose fields the other arguments replace. `job_name`, `task_index`: which task this
    is; they may be left out where there is only one. `config`: of a ConfigProto, `intra_op_parallelism_threads`
    counts. It listens on the task's address from now on, and lets sessions in from `start()` on; port 0 is any free one, which
    `target` then has.

    `protocol`: "weft"; or "flight" where only gRPC passes: all that leaves the process goes through Arrow Flight, with the
    certificates of `RAY_USE_TLS` (docs/security.md). "grpc", as programs of TensorFlow say, and None are the one of them
    that `WEFT_PROTOCOL` names, else "weft". All tasks of a cluster, and sessions by their target, speak the same.

    Every connection must prove that it knows the cluster's secret: `WEFT_CLUSTER_SECRET_FILE` names a file with it, or
    `WEFT_CLUSTER_SECRET` holds it; without both, tasks of one machine share one that is kept in the user's cache folder.

    Source: `tf.train.Server`. Raises TypeError for what is no cluster and for an index that is no int, ValueError for a task
    that is not named and for addresses that are none, errors.InternalError for a task that is not in the cluster,
    errors.NotFoundError for another protocol, errors.UnavailableError where it cannot listen,
    errors.FailedPreconditionError without a secret, or certificates that it needs.
    """

    def __init__(
        self,
        server_or_cluster_def: Any,
        job_name: str | None = None,
        task_index: int | None = None,
        protocol: str | None = None,
        config: Any = None,
        start: bool = True,
    ) -> None:
        self._def = _server_def(server_or_cluster_def, job_name, task_index, protocol, config)
        self._speaks = speaks(self._def.protocol)
        job, index = self._def.job_name, self._def.task_index
        jobs = {each.name: each.tasks for each in self._def.cluster.job}
        address = jobs[job][index]
        name = task_name(job, index)
        for each, where in tasks_of(jobs).items():
            _parted(each, where)
        host, port = _place(name, address)
        self._secret = cluster_secret(tasks_of(jobs).values())
        _check_reachable(f"{name} at {address}", host, tasks_of(jobs).values())
        self._others = {task: where for task, where in tasks_of(jobs).items() if task != name}
        self._worker = Worker(
            name, self._secret, host, port, jobs, self._others, transports=TRANSPORTS[self._speaks], start=False
        )
        port = int(self._worker.addresses[network(self._speaks)].rpartition(":")[2])
        self._address = jobs[job][index] = f"{address.rpartition(':')[0]}:{port}"
        self._started = False
        self._closed = False
        attend(name, self._worker.visitors)
        _alive.add(self)
        if self._speaks == "flight":
            # As a finalizer, Arrow ends its server at exit and waits for its clients, which may wait for this process's goodbye:
            # it must be said before. (Of finalizers the last made is the first called.)
            weakref.finalize(self, _end, weakref.ref(self))
        if start:
            self.start()

    @staticmethod
    def create_local_server(config: Any = None, start: bool = True) -> Server:
        """A cluster of one task, on any free port of this machine. Source: `tf.train.Server.create_local_server`."""
        return Server({"localhost": ["localhost:0"]}, protocol="weft", config=config, start=start)

    @property
    def server_def(self) -> ServerDef:
        """The cluster and which task this is."""
        return self._def

    @property
    def target(self) -> str:
        """The target of sessions on the cluster whose operations go to this task where they request no other."""
        return f"{self._speaks}://{self._address}"

    def start(self) -> None:
        """Let sessions in. Idempotent. Raises RuntimeError when closed."""
        if self._closed:
            raise RuntimeError("Attempted to use a closed Server.")
        if not self._started:
            self._started = True
            config = self._def.default_session_config
            limit_kernel_threads(config.intra_op_parallelism_threads if config is not None else 0)
            self._worker.start()

    def join(self, grace: float = GRACE_SECONDS) -> None:
        """Wait until the job is over.

        It is over when programs of the cluster's other tasks have used this one, no session is open, and none will come
        any more: each of these programs has ended, or waits in `join` itself. One that was killed, that ended with an
        error, or that cannot be reached has `grace` seconds to come (again); then it counts as ended, too. A cluster that is
        only used by programs that are none of its tasks serves until it is stopped (Ctrl-C, a signal), as TensorFlow's
        servers always do. Source: `tf.train.Server.join`. Raises RuntimeError before `start` and after `close`.
        """
        if self._closed or not self._started:
            raise RuntimeError(f"Attempted to join a Server that {'is closed' if self._closed else 'has not started'}.")
        self._worker.visitors.wait(self._serves, self._worker.ended, grace)

    def _serves(self, task: str) -> bool:
        if task not in self._others:  # it knows this one, and this one does not know it
            raise errors.UnavailableError(None, None, f"{task} is not in this task's cluster spec")
        where = f"{network(self._speaks)}://{self._others[task]}"
        return ask(where, self._secret, task, _ASK_SECONDS, self._worker.name, serves=True).serves

    def close(self) -> None:
        """End the sessions that use this task, stop listening, and let the other tasks know. Idempotent."""
        self._close(say_so=True)

    def _close(self, say_so: bool) -> None:
        if not self._closed:
            self._closed = True
            _alive.discard(self)
            if say_so:  # else a step that is as good as done fails elsewhere because this program has ended well
                self._worker.finish(_FINISH_SECONDS)
            leave(self._worker.name, say_so)
            self._worker.close()

    def __repr__(self) -> str:
        return f"<wf.train.Server {self._worker.name} at {self.target}>"


def _server_def(given: Any, job: str | None, index: int | None, protocol: str | None, config: Any) -> ServerDef:
    """The arguments of a Server as one value, checked."""
    if isinstance(getattr(given, "job_name", None), str):  # a ServerDef, of weft or of TensorFlow
        job = given.job_name if job is None else job
        index = given.task_index if index is None else index
        protocol = protocol or given.protocol or None
        config = given.default_session_config if config is None else config
        given = given.cluster
    try:
        spec = ClusterSpec(given)
    except TypeError as error:
        raise TypeError(
            f"`server_or_cluster_def` must be a ServerDef, a ClusterSpec, or what makes one: {error}"
        ) from None
    if config is not None and not isinstance(config, ConfigProto):
        raise TypeError(f"config must be a wf.ConfigProto, but got {type(config).__name__}")
    known = speaks(protocol)
    job = _only(spec.jobs, "job_name") if job is None else job
    if job not in spec.jobs:
        raise errors.InternalError(
            None, None, f"There is no job '{job}' in the cluster; there are {', '.join(spec.jobs)}"
        )
    index = _only(spec.task_indices(job), "task_index") if index is None else index
    try:
        index = operator.index(index)  # of NumPy's ints, too
    except TypeError:
        raise TypeError(f"task_index must be an int, got {index!r}") from None
    if index not in spec.task_indices(job):
        raise errors.InternalError(None, None, f"There is no task {index} in job '{job}'")
    return ServerDef(spec.as_cluster_def(), job, index, protocol or known, config)


def _only(choices: list[Any], what: str) -> Any:
    if len(choices) != 1:
        raise ValueError(f"Must specify an explicit `{what}`: there are {', '.join(map(str, choices)) or 'none'}.")
    return choices[0]


def _place(task: str, address: str) -> tuple[str, int]:
    """Where a task listens. Raises ValueError for a host that is not known."""
    host, port = _parted(task, address)
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ValueError(f"The host of {task}, {host!r}, is not known: {error}") from None
    return str(min(found, key=lambda row: row[0] != socket.AF_INET)[4][0]), port


def _parted(task: str, address: str) -> tuple[str, int]:
    """The host and the port of an address. Raises ValueError for one that is none."""
    host, colon, port = address.rpartition(":")
    if not (host and colon and port.isdecimal() and int(port) < 1 << 16):
        raise ValueError(f"The address of {task} must be host:port, got {address!r}")
    return host, int(port)


def _check_reachable(what: str, ip: str, addresses: Iterable[str]) -> None:
    """Raises ValueError for an address that tasks on other hosts cannot reach."""
    if ip.startswith("127.") or ip == "::1":
        far = [each for each in addresses if not is_local(host_of(each))]
        if far:
            text = f"{what} would listen on {ip}, which is this machine's own: {far[0]} cannot reach it"
            raise ValueError(f"{text}. Name its address in the network instead.")


def _end(server: Callable[[], Server | None]) -> None:
    """A program that ends with an error may be started again: only one that ends well says so to the others."""
    if (found := server()) is not None:
        found._close(say_so=not hasattr(sys, "last_value"))


@atexit.register
def _at_exit() -> None:
    for server in list(_alive):
        _end(weakref.ref(server))
