"""Waits for clients on a socket and lets in those that know the secret; strangers hold up nobody."""

from __future__ import annotations

import logging
import math
import os
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import cast

from ...graph import errors
from . import auth
from .sockets import StreamConnection

_LOG = logging.getLogger("weft.cluster")
#: How many clients may be proving themselves at once; the one that has taken longest makes room for another.
_MOST_CANDIDATES = 128
_CLOSED = "it closed the connection, as it does when secrets, certificates or protocols differ"


class Candidate:
    """A client that is proving itself, advanced whenever bytes come, so that none is waited for."""

    def __init__(self, sock: socket.socket, secret: bytes, deadline: float) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.deadline = deadline
        self._handshake = auth.server(secret)
        _, self._wanted = next(self._handshake)
        self._got = b""

    def advance(self) -> str | None:
        """Its name once it has proved itself, None as long as it has not. Raises OpError or OSError when it fails."""
        received = self.sock.recv(self._wanted - len(self._got))
        if not received:
            raise errors.UnauthenticatedError(None, None, "it went away")
        self._got += received
        if len(self._got) < self._wanted:
            return None
        answer, self._wanted = self._handshake.send(self._got)
        self._got = b""
        if self.sock.send(answer) < len(answer):
            raise errors.UnauthenticatedError(None, None, "it does not read")
        if self._wanted:
            return None
        try:
            self._handshake.send(b"")
        except StopIteration as end:
            return str(end.value)
        raise errors.InternalError(None, None, "a handshake that reads no more has not ended")


class SocketListener:
    """Accepts connections on a listening socket, which it owns; see `Listener` in transport.py.

    `make` turns an authenticated socket and the client's name into a connection; `admit` makes of an accepted socket the one
    that is spoken to.
    """

    def __init__(
        self,
        sock: socket.socket,
        address: str,
        secret: bytes,
        make: Callable[[socket.socket, str], StreamConnection],
        admit: Callable[[socket.socket], socket.socket] = lambda sock: sock,
    ) -> None:
        sock.setblocking(False)
        self.address = address
        self._sock = sock
        self._secret = secret
        self._make = make
        self._admit_socket = admit
        self._candidates: dict[socket.socket, Candidate] = {}  # the oldest first
        self._woken, self._wake = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        self._selector.register(sock, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._accepting = threading.Lock()
        self._closing = threading.Lock()
        self._closed = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {self.address}>"

    def __enter__(self) -> SocketListener:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def accept(self, timeout: float | None = None) -> StreamConnection:
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        with self._accepting:
            while True:
                for sock in self._ready(deadline):
                    if sock is self._sock:
                        self._admit()
                    elif (connection := self._advance(sock)) is not None:
                        return connection

    def close(self) -> None:
        with self._closing:
            if self._closed:
                return
            self._closed = True
        self._wake.send(b"x")  # wakes accept
        with self._accepting:
            for candidate in self._candidates.values():
                candidate.sock.close()
            self._candidates.clear()
            self._selector.close()
            for sock in (self._sock, self._woken, self._wake):
                sock.close()

    def _ready(self, deadline: float) -> list[socket.socket]:
        """The sockets on which something happened. Raises DeadlineExceededError and, once closed, CancelledError."""
        if self._closed:
            raise errors.CancelledError(None, None, f"the listener at {self.address} was closed")
        now = time.monotonic()
        for candidate in [candidate for candidate in self._candidates.values() if candidate.deadline <= now]:
            self._refuse(candidate, "it did not prove itself in time")
        first = min([deadline, *(candidate.deadline for candidate in self._candidates.values())])
        events = self._selector.select(None if first == math.inf else max(0.0, first - now))
        if self._closed:
            raise errors.CancelledError(None, None, f"the listener at {self.address} was closed")
        if not events and time.monotonic() >= deadline:
            raise errors.DeadlineExceededError(None, None, f"nobody connected to {self.address} in time")
        return [cast(socket.socket, key.fileobj) for key, _ in events]

    def _admit(self) -> None:
        """Let a client begin to prove itself."""
        try:
            sock, _ = self._sock.accept()
        except (BlockingIOError, ConnectionError):  # it went away meanwhile
            return
        except OSError as error:
            what = f"{self.address} cannot take another connection: {error.strerror}"
            raise errors.ResourceExhaustedError(None, None, what) from None
        if (user := _another_user(sock)) is not None:
            _LOG.warning("%s refused a client: it is user %d's", self.address, user)
            sock.close()
            return
        if len(self._candidates) == _MOST_CANDIDATES:
            self._refuse(next(iter(self._candidates.values())), "too many others came before it proved itself")
        sock = self._admit_socket(sock)
        self._candidates[sock] = Candidate(sock, self._secret, time.monotonic() + auth.HANDSHAKE_TIMEOUT)
        self._selector.register(sock, selectors.EVENT_READ)

    def _advance(self, sock: socket.socket) -> StreamConnection | None:
        candidate = self._candidates.get(sock)
        if candidate is None:  # refused by an event just before
            return None
        try:
            name = candidate.advance()
        except BlockingIOError:
            return None
        except (errors.OpError, OSError) as error:
            self._refuse(candidate, str(error))
            return None
        if name is None:
            return None
        self._selector.unregister(sock)
        del self._candidates[sock]
        return self._make(sock, name)

    def _refuse(self, candidate: Candidate, reason: str) -> None:
        _LOG.warning("%s refused a client: %s", self.address, reason)
        self._selector.unregister(candidate.sock)
        del self._candidates[candidate.sock]
        candidate.sock.close()


def _another_user(sock: socket.socket) -> int | None:
    """The user at the other end of a UNIX socket, as the system tells, unless it is this process's own."""
    if sock.family != socket.AF_UNIX or not hasattr(socket, "SO_PEERCRED"):
        return None
    _, user, _ = struct.unpack("=iII", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return None if user == os.geteuid() else int(user)


def prove(sock: socket.socket, secret: bytes, name: str, peer: str, deadline: float) -> None:
    """The client's side of the handshake on a connected socket.

    Raises UnauthenticatedError, and DeadlineExceededError where the server does not answer in time.
    """
    handshake = auth.client(secret, name)
    try:
        message, wanted = next(handshake)
        while True:
            sock.settimeout(max(1e-3, deadline - time.monotonic()))
            sock.sendall(message)
            message, wanted = handshake.send(_read(sock, wanted, deadline))
    except StopIteration:
        return
    except TimeoutError:
        what = f"{peer} did not prove itself in time"
        raise errors.DeadlineExceededError(None, None, what) from None
    except (errors.UnauthenticatedError, OSError) as error:
        why = _CLOSED if isinstance(error, ConnectionError) else error
        raise errors.UnauthenticatedError(None, None, f"{peer} and this side do not trust each other: {why}") from None


def _read(sock: socket.socket, wanted: int, deadline: float) -> bytes:
    got = b""
    while len(got) < wanted:
        sock.settimeout(max(1e-3, deadline - time.monotonic()))
        received = sock.recv(wanted - len(got))
        if not received:
            raise errors.UnauthenticatedError(None, None, _CLOSED)
        got += received
    return got
