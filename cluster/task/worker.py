"""A task: listens for sessions and peers, keeps the task's variables, and runs the plans that sessions send it."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from ...graph import errors
from ...graph.state import State
from ...runtime.backends.named import ON_TASKS, lacking
from ...runtime.execution.threads import limit_kernel_threads
from ..presence.task_info import TaskInfo, is_texts
from ..presence.visitors import Visitors
from ..transports.segments import Arena
from ..transports.transport import Connection, Listener, connect, listen
from ..wire.message import Message
from ..wire.protocol import Failure, Kind, decode_json
from .client import Client

_log = logging.getLogger("weft.cluster")
#: How long a listener rests when the system gives it no more descriptors: who connects waits on, and would at once again.
_PAUSE = 0.1
#: How often a task that is to be closed looks whether steps run there.
_LOOK_SECONDS = 0.005
#: What a session may ask for its kernels.
_MOST_THREADS = 4096
#: How long a new session waits for what ended ones still run here: they must not write into what it restores.
_ENDING_SECONDS = 10.0


class Worker:
    """One task of a cluster, in this process. `addresses` says where it listens, by transport.

    `jobs`: the cluster it belongs to, for those who ask; `others`: the names of its other tasks. Who connects says in a
    HELLO what it is: a session ({"role": "session", "client", "threads", "epoch", "peers": where the other tasks are, and
    "backend", if not "numpy"}), another
    task that sends for a session ({"role": "peer", "client"}), somebody who asks who this is ({"role": "ask", "task",
    "serves"}), the program of another task that will use this one ({"role": "program", "task"}), or one who wants
    the variables forgotten ({"role": "reset", "containers"}).
    """

    def __init__(
        self,
        name: str,
        secret: bytes,
        host: str = "127.0.0.1",
        port: int = 0,
        jobs: Mapping[str, Mapping[int, str]] | None = None,
        others: Iterable[str] = (),
        transports: Sequence[str] = ("shm", "tcp"),
        start: bool = True,
    ) -> None:
        self.name = name
        self.state = State()
        self.visitors = Visitors(others)
        self.ended = threading.Event()
        #: Sessions of another one are refused.
        self.epoch = 0
        self._secret = secret
        self._clients: dict[str, Client] = {}
        self._ending: set[Client] = set()  #: sessions that have ended, and may still run something
        self._lock = threading.Lock()
        self._listeners: list[Listener] = []
        self._served: set[Connection] = set()
        try:
            for transport in transports:
                self._listeners.append(listen(transport, secret, host, port))
        except BaseException:
            self.close()
            raise
        self.addresses = {listener.address.partition("://")[0]: listener.address for listener in self._listeners}
        self.info = TaskInfo.here(name, self.addresses, jobs or {})
        self._started = False
        if start:
            self.start()

    def start(self) -> None:
        """Let in who connects. Idempotent."""
        if not self._started:
            self._started = True
            for listener in self._listeners:
                self._start(self._accept, listener)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the task is closed; whether it is."""
        return self.ended.wait(timeout)

    def finish(self, timeout: float) -> None:
        """Let the steps that run here come to their end, so that their sessions hear of it; at most so many seconds."""
        deadline = time.monotonic() + timeout
        while any(client.is_busy() for client in self._sessions()) and time.monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)

    def close(self) -> None:
        """End everything. Idempotent."""
        self.ended.set()
        for listener in self._listeners:
            listener.close()
        for client in self._sessions():
            client.close()
        with self._lock:
            served = list(self._served)
        for connection in served:  # of other programs, too, which end theirs when they end themselves
            connection.close()

    def reset(self, containers: Sequence[str]) -> None:
        """Forget what is in these containers, and end all sessions: their plans know the variables of before, and their
        steps may wait for queues."""
        failure = Failure(errors.ABORTED, "it was reset, which ends its sessions")
        for client in self._sessions():
            client.end(failure)
        self.state.reset(containers)

    def begin_epoch(self, epoch: int) -> None:
        """End all sessions, forget queues and what else they shared but the variables, and let in sessions of this epoch."""
        self.epoch = epoch
        failure = Failure(errors.ABORTED, f"epoch {epoch} of the cluster has begun, which ends its sessions")
        sessions = self._sessions()
        for client in sessions:
            client.end(failure)
        for client in sessions:
            client.wait(_ENDING_SECONDS)
        self.state.forget_shared()

    def _sessions(self) -> list[Client]:
        with self._lock:
            return list(self._clients.values())

    def _start(self, function: Callable[..., None], *arguments: Any) -> None:
        threading.Thread(target=function, args=arguments, daemon=True, name=f"weft {self.name}").start()

    def _accept(self, listener: Listener) -> None:
        while not self.ended.is_set():
            try:
                self._start(self._serve, listener.accept())
            except errors.CancelledError:
                return
            except errors.OpError as error:
                _log.warning("%s could not accept a connection: %s", self.name, error)
                self.ended.wait(_PAUSE)

    def _serve(self, connection: Connection) -> None:
        """Read one connection to its end."""
        with self._lock:
            self._served.add(connection)
        if self.ended.is_set():
            connection.close()
        try:
            self._serve_role(connection, _hello(connection.recv(timeout=30)))
        except (errors.UnavailableError, errors.CancelledError):
            pass  # the other side ended it, or this one
        except Exception as error:
            if not self.ended.is_set():
                _log.warning("%s closes the connection to %s: %r", self.name, connection.peer, error)
        finally:
            connection.close()
            with self._lock:
                self._served.discard(connection)

    def _serve_role(self, connection: Connection, said: Any) -> None:
        match said:
            case {
                "role": "session", "client": str(name), "threads": int(threads), "epoch": int(epoch), "peers": peers
            } if is_texts(peers) and 0 <= threads <= _MOST_THREADS:  # fmt: skip
                if epoch != self.epoch:
                    text = f"a session of epoch {epoch} came to a task of epoch {self.epoch}"
                    raise errors.AbortedError(None, None, text)
                if refusal := self._refusal(backend := said.get("backend", ON_TASKS[0])):
                    connection.send(Message(Kind.FAILED, 0, 0, meta=refusal.encode()))
                    return
                limit_kernel_threads(threads)
                with self.visitors.session():
                    self._serve_session(connection, name, peers, backend)
            case {"role": "peer", "client": str(name)}:
                self._client(name).serve_peer(connection)
            case {"role": "ask", "task": str(task), "serves": bool(serves)}:
                told = replace(self.info, serves=self.visitors.serves, left=self.visitors.left()).encode()
                connection.send(Message(Kind.READY, 0, 0, meta=told))
                if task:  # after the answer: if nobody else is waited for, this task ends now
                    self.visitors.heard_of(task, serves)
            case {"role": "program", "task": str(task)}:
                connection.send(Message(Kind.READY, 0, 0))
                self.visitors.program(task, connection)
            case {"role": "reset", "containers": list(containers)} if all(isinstance(each, str) for each in containers):
                self.reset(containers)
                connection.send(Message(Kind.READY, 0, 0))
            case _:
                raise errors.DataLossError(None, None, f"expected to hear who it is, got {str(said)[:100]}")

    def _refusal(self, backend: Any) -> Failure | None:
        """Why this task cannot serve a session that wants such kernels."""
        lack = lacking(backend) if backend in ON_TASKS else f"there is no backend '{str(backend)[:100]}' for tasks"
        return Failure(errors.UNIMPLEMENTED, f"{self.info} cannot serve this session: {lack}") if lack else None

    def _serve_session(self, connection: Connection, name: str, peers: Mapping[str, str], backend: str) -> None:
        self._await_ended()
        client = Client(name, self.name, self.state.for_session(), partial(self._dial, peers), backend)
        client.attach(connection)
        with self._lock:
            self._clients[name] = client
        try:
            connection.send(Message(Kind.READY, 0, 0))
            client.serve_session(connection)
        finally:
            with self._lock:
                self._clients.pop(name, None)
                self._ending.add(client)
            client.close()
            if client.wait(_ENDING_SECONDS):
                with self._lock:
                    self._ending.discard(client)

    def _await_ended(self) -> None:
        """Raises UnavailableError where an ended session still runs something."""
        with self._lock:
            ending = list(self._ending)
        deadline = time.monotonic() + _ENDING_SECONDS
        over = {client for client in ending if client.wait(max(0.0, deadline - time.monotonic()))}
        with self._lock:
            self._ending -= over
        if len(over) < len(ending):
            text = f"{self.name} still runs a step of a session that has ended"
            raise errors.UnavailableError(None, None, text)

    def _client(self, name: str) -> Client:
        """The session that a peer sends for. Raises UnavailableError when it has ended."""
        with self._lock:
            if name not in self._clients:
                raise errors.UnavailableError(None, None, "the session has ended")
            return self._clients[name]

    def _dial(self, peers: Mapping[str, str], client: str, task: str, arena: Arena) -> Connection:
        """A connection of one session to another task, for what this task sends there."""
        if task not in peers:
            raise errors.UnavailableError(None, None, f"{self.name} does not know where {task} is")
        connection = connect(peers[task], self._secret, peer=task, name=self.name, arena=arena)
        try:
            said = {"client": client, "role": "peer"}
            connection.send(Message(Kind.HELLO, 0, 0, meta=json.dumps(said).encode()))
        except BaseException:
            with suppress(errors.OpError):
                connection.close()
            raise
        return connection


def _hello(message: Message) -> Any:
    """What somebody says first. Raises DataLossError."""
    if message.kind != Kind.HELLO:
        raise errors.DataLossError(None, None, f"expected a HELLO, got a message of kind {message.kind}")
    return decode_json(message.meta)
