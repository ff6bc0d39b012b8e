"""A running cluster: its tasks on Ray, and the target that sessions use it by."""

from __future__ import annotations

import atexit
import secrets
import threading
import weakref
from typing import Any

from ...graph import errors
from ...graph.cluster_spec import ClusterSpec
from ...runtime.backends.named import for_tasks
from ...runtime.execution.threads import kernel_threads
from ..presence.task_info import TaskInfo, addresses_from
from ..session.engine import ClusterEngine
from ..session.heartbeat import HEARTBEAT_SECONDS
from ..target import ENGINES, SCHEME
from ..transports.transport import Location
from .members import Members
from .recovery_state import Budget
from .tasks import End, RayTasks

#: What to do about a task that is gone.
_MEND = "`Cluster.recover()` starts anew what has died, as MonitoredTrainingSession does by itself."


class Cluster:
    """The tasks of a ClusterSpec, each a process started by Ray. Use as a context manager, or call `close`.

    `target` is what `wf.Session(target)` takes; `tasks` tells each task's name, host and process id.
    """

    def __init__(
        self, spec: ClusterSpec, address: str | None, transport: str, timeout: float, heartbeat: float, budget: Budget
    ) -> None:
        self.spec = spec
        self._transport = transport
        self._heartbeat = heartbeat
        self._secret = secrets.token_bytes(32)
        self._name = secrets.token_hex(8)
        self._engines: weakref.WeakSet[ClusterEngine] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._mending = threading.RLock()  #: no session begins while the tasks of the next epoch come
        self._closing = threading.Event()
        self._monitor: threading.Thread | None = None
        transports = (transport,) if transport == "flight" else ("shm", "tcp")
        self._tasks = RayTasks(spec, address, timeout, transports)
        try:
            self._members = Members(self._tasks, self._secret, budget, timeout, heartbeat, self._lose)
        except BaseException:
            self._tasks.close()
            raise
        ENGINES[self._name] = self
        atexit.register(self.close)
        self._monitor = threading.Thread(target=self._watch, daemon=True, name="weft cluster monitor")
        self._monitor.start()

    @property
    def target(self) -> str:
        """The target of sessions on this cluster."""
        return f"{SCHEME}://{self._name}"

    @property
    def tasks(self) -> tuple[TaskInfo, ...]:
        """The tasks, by name."""
        return tuple(info for _, info in sorted(self._members.info.items()))

    @property
    def epoch(self) -> int:
        """How often tasks were started anew."""
        return self._members.epoch

    def recover(self) -> int:
        """Start anew what has died of the tasks, and return the epoch that all are in then.

        When all live, nothing happens. Else a new epoch begins: the tasks that died are started again, where they were if
        that place is still there; all sessions end with AbortedError or UnavailableError; queues and accumulators are
        forgotten. Variables stay on the tasks that live, and have no values on the others: restore a checkpoint or
        initialize them in a new session, as MonitoredTrainingSession does, which calls this itself. Raises UnavailableError
        that names what went wrong first when the `recovery` budget is used up, RuntimeError when closed.
        """
        with self._mending:
            if self._closing.is_set():
                raise RuntimeError("Attempted to use a closed cluster.")
            return self._members.recover(self._closing)

    def reset(self, containers: list[str]) -> None:
        """Forget variables and what else is in containers, and end all sessions; see `Session.reset`. Raises OpError."""
        with self._mending:
            self._tasks.reset(containers)

    def engine(self, config: Any) -> ClusterEngine:
        """An engine for a new session.

        Raises RuntimeError when the cluster is closed, UnavailableError when a task is gone, UnimplementedError when one does not
        have the session's backend, ImportError when this process does not.
        """
        if self._closing.is_set():
            raise RuntimeError("Attempted to use a closed cluster.")
        with self._mending:
            info, ended = self._members.info, self._members.ended
            hosts = {name: f"{each.host} (process {each.pid})" for name, each in info.items()}
            for name, reason in ended.copy().items():
                what = f"Task {name} on {hosts[name]} is gone: {reason.rstrip('.')}. {_MEND}{self._log_tail(name)}"
                raise errors.UnavailableError(None, None, what)
            threads = config.intra_op_parallelism_threads or kernel_threads()
            infos, transport = info.values(), self._transport
            try:
                engine = ClusterEngine(
                    addresses_from(Location.here(), infos, transport), self._secret, hosts, threads, self._heartbeat,
                    peers={each.name: addresses_from(each.location, infos, transport) for each in infos},
                    epoch=self._members.epoch, log_tail=self._log_tail, backend=for_tasks(config.backend),
                )  # fmt: skip
            except errors.UnavailableError as error:  # a task has ended, and Ray has not said so yet
                where = "".join(f"; it was on {hosts[task]}" for task in hosts if error.message.startswith(f"{task} "))
                raise errors.UnavailableError(None, None, f"{error.message}{where}. {_MEND}") from None
            with self._lock:
                self._engines.add(engine)
            for name, reason in ended.copy().items():  # while it was made
                engine.lose(name, reason)
            return engine

    def _log_tail(self, task: str) -> str:
        return "" if self._closing.is_set() else self._tasks.log_tail(self._members.info[task])

    def _watch(self) -> None:
        """Tell the sessions when Ray says that a task has ended."""
        try:
            while not self._closing.is_set():
                self._members.watch()
        except Exception as error:  # such as when the program ends Ray under the cluster
            for task in self._members.info:
                self._members.end(task, End(f"Ray does not answer any more: {error}"))

    def _lose(self, task: str, reason: str) -> None:
        if not self._closing.is_set():
            for engine in self._sessions():
                engine.lose(task, reason)

    def _sessions(self) -> list[ClusterEngine]:
        with self._lock:
            return list(self._engines)

    def close(self) -> None:
        """End the sessions' steps, the tasks, and Ray if it was started for them. Idempotent."""
        if self._closing.is_set():
            return
        self._closing.set()
        ENGINES.pop(self._name, None)
        atexit.unregister(self.close)
        for engine in self._sessions():
            engine.close()
        if self._mending.acquire(timeout=5):  # whoever starts tasks anew notices
            self._mending.release()
        if self._monitor is not None:
            self._monitor.join(timeout=5)  # Ray must not be shut down under its wait
        self._tasks.close()

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *failure: Any) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<wf.cluster.Cluster {self.target}: {', '.join(str(task) for task in self.tasks)}>"


def start(
    cluster: Any,
    address: str | None = None,
    transport: str = "auto",
    timeout: float = 60.0,
    heartbeat_timeout: float = HEARTBEAT_SECONDS,
    recovery: Budget | None = None,
) -> Cluster:
    """Start the tasks of a cluster on Ray.

    `cluster`: a ClusterSpec or what makes one, as `{"ps": 1, "worker": 2}`. `address`: an existing Ray cluster
    (`"auto"`, `"host:6379"`); by default what RAY_ADDRESS names or, without it, a Ray that is started on this machine and
    stopped by `close`. `transport`: "auto", or "tcp", "shm" or "flight" (gRPC, with the
    certificates that `RAY_USE_TLS` asks for) for all tensors. `timeout`: seconds that the tasks may take to
    start. `heartbeat_timeout`: a task that a step waits for and that gives no sign of life for so many seconds counts as lost,
    with an UnavailableError; a kernel that holds Python's lock for longer looks the same. `recovery`: how often tasks that
    died are started again (`Cluster.recover`, which MonitoredTrainingSession calls). Raises ValueError for what is no
    address, errors.UnavailableError for one that does not answer and for a task
    that cannot start, errors.ResourceExhaustedError when Ray has no room.
    """
    if transport not in ("auto", "tcp", "shm", "flight"):
        raise ValueError(f"transport must be 'auto', 'tcp', 'shm' or 'flight', got {transport!r}")
    if not heartbeat_timeout > 0:
        raise ValueError(f"heartbeat_timeout must be a positive number of seconds, got {heartbeat_timeout!r}")
    return Cluster(ClusterSpec(cluster), address, transport, timeout, heartbeat_timeout, recovery or Budget())
