"""A task: listens for sessions and peers, keeps the task's variables, and runs the plans that sessions send it."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from typing import Any

from ..graph import errors
from ..graph.state import State
from ..runtime.threads import limit_kernel_threads
from .client import Client
from .message import Message
from .protocol import Kind, decode_json
from .transport import Connection, Listener, connect, listen

_log = logging.getLogger("weft.cluster")


class Worker:
    """One task of a cluster, in this process. `addresses` says where it listens, by transport."""

    def __init__(self, name: str, secret: bytes, host: str = "127.0.0.1", port: int = 0) -> None:
        self.name = name
        self.state = State()
        self._secret = secret
        self._listeners: list[Listener] = [listen("shm", secret), listen("tcp", secret, host, port)]
        self.addresses = {listener.address.partition("://")[0]: listener.address for listener in self._listeners}
        self._peers: dict[str, str] = {}
        self._clients: dict[str, Client] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()
        for listener in self._listeners:
            self._start(self._accept, listener)

    def set_peers(self, addresses: dict[str, str]) -> None:
        """Where to reach the other tasks, by name."""
        self._peers = dict(addresses)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the task is closed; whether it is."""
        return self._ended.wait(timeout)

    def close(self) -> None:
        """End everything. Idempotent."""
        self._ended.set()
        for listener in self._listeners:
            listener.close()
        with self._lock:
            clients = list(self._clients.values())
        for client in clients:
            client.close()

    def _start(self, function: Callable[..., None], *arguments: Any) -> None:
        threading.Thread(target=function, args=arguments, daemon=True, name=f"weft {self.name}").start()

    def _accept(self, listener: Listener) -> None:
        while not self._ended.is_set():
            try:
                self._start(self._serve, listener.accept())
            except errors.CancelledError:
                return
            except errors.OpError as error:
                _log.warning("%s could not accept a connection: %s", self.name, error)

    def _serve(self, connection: Connection) -> None:
        """Read one connection to its end."""
        client: Client | None = None
        try:
            said = decode_json(_hello(connection.recv(timeout=30)))
            if said["role"] == "session":
                limit_kernel_threads(int(said["threads"]))
                client = self._join(str(said["client"]), connection)
                connection.send(Message(Kind.READY, 0, 0))
                client.serve_session(connection)
            else:
                self._client(str(said["client"])).serve_peer(connection)
        except (errors.UnavailableError, errors.CancelledError):
            pass  # the other side ended it, or this one
        except Exception as error:
            if not self._ended.is_set():
                _log.warning("%s closes the connection to %s: %r", self.name, connection.peer, error)
        finally:
            connection.close()
            if client is not None:
                self._forget(client)

    def _join(self, name: str, connection: Connection) -> Client:
        """A session has come."""
        client = Client(name, self.name, self.state.for_session(), self._dial)
        client.attach(connection)
        with self._lock:
            self._clients[name] = client
        return client

    def _client(self, name: str) -> Client:
        """The session that a peer sends for. Raises UnavailableError when it has ended."""
        with self._lock:
            if name not in self._clients:
                raise errors.UnavailableError(None, None, "the session has ended")
            return self._clients[name]

    def _forget(self, client: Client) -> None:
        with self._lock:
            self._clients.pop(client.name, None)
        client.close()

    def _dial(self, client: str, task: str) -> Connection:
        """A connection of one session to another task, for what this task sends there."""
        if task not in self._peers:
            raise errors.UnavailableError(None, None, f"{self.name} does not know where {task} is")
        connection = connect(self._peers[task], self._secret, peer=task, name=self.name)
        said = {"client": client, "role": self.name}
        connection.send(Message(Kind.HELLO, 0, 0, meta=json.dumps(said).encode()))
        return connection


def _hello(message: Message) -> bytes:
    if message.kind != Kind.HELLO:
        raise errors.DataLossError(None, None, f"expected a HELLO, got a message of kind {message.kind}")
    return message.meta
