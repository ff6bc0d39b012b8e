"""The transport between nodes: TCP, tensors read straight into the aligned memory in which they stay."""

from __future__ import annotations

import os
import socket
import time

from ...graph import errors
from ..wire.message import Limits
from . import tls
from .auth import HANDSHAKE_TIMEOUT
from .listener import SocketListener, prove
from .sockets import StreamConnection

#: Seconds of silence before the system asks whether the peer's node is still there, between its questions, and how many.
_KEEPALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}


class TcpConnection(StreamConnection):
    """One end of a TCP connection."""


def listen(secret: bytes, limits: Limits, host: str, port: int = 0) -> SocketListener:
    """A listener on a port (0: any free one) of one of this node's addresses.

    Raises ValueError for the address of all of them, UnavailableError when the port is taken, FailedPreconditionError
    where TLS is asked for (`tls.py`) and cannot be had.
    """
    encrypted = tls.server_side(HANDSHAKE_TIMEOUT)
    sock = bound(host, port)

    def admitted(accepted: socket.socket) -> socket.socket:
        _tune(accepted)
        return encrypted(accepted)

    port = sock.getsockname()[1]
    address = f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"
    return SocketListener(sock, address, secret, lambda client, name: TcpConnection(client, name, limits), admitted)


def connect(place: str, secret: bytes, limits: Limits, timeout: float, peer: str, name: str) -> TcpConnection:
    """A connection to the listener at `host:port`. Raises as `connect` in transport.py does."""
    deadline = time.monotonic() + timeout
    sock, host = reached("tcp", place, timeout, peer)
    try:
        _tune(sock)
        if tls.wanted():
            sock = tls.encrypted_client(sock, host, peer, deadline)
        prove(sock, secret, name, peer, deadline)
        return TcpConnection(sock, peer, limits)
    except BaseException:
        sock.close()
        raise


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens on one address. Raises ValueError for that of all addresses, UnavailableError."""
    if host in ("", "*", "0.0.0.0", "::"):
        raise ValueError(f"a listener is bound to one address that its peers can reach, not to {host!r}")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        what = os.strerror(error.errno) if error.errno else str(error)  # its own text says the address again
        raise errors.UnavailableError(None, None, f"cannot listen on {host}:{port}: {what}") from None


def reached(scheme: str, place: str, timeout: float, peer: str) -> tuple[socket.socket, str]:
    """A socket that is connected to `host:port`, and the host. Raises as `connect` in transport.py does."""
    host, colon, port = place.rpartition(":")
    if not (host and colon and port.isdecimal()):
        raise ValueError(f"the address of a listener is {scheme}://host:port, not {scheme}://{place}")
    host = host.strip("[]")
    try:
        return socket.create_connection((host, int(port)), timeout), host
    except TimeoutError:
        raise errors.DeadlineExceededError(None, None, f"{peer} did not answer in time at {scheme}://{place}") from None
    except OSError as error:
        what = f"{peer} cannot be reached at {scheme}://{place}: {error.strerror or error}"
        raise errors.UnavailableError(None, None, what) from None


def _tune(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE.items():
        if hasattr(socket, option):  # not every system has each
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
