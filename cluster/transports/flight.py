"""The transport through Arrow Flight: the same bytes as over TCP, inside of a gRPC exchange with mutual TLS.

For networks in which only gRPC passes. A connection's bytes go through threads at both ends, between a plain socket, which
messages are read from and written to, and the exchange: slower than `tcp.py`, which carries TLS as well.
"""

from __future__ import annotations

import os
import secrets
import socket
import stat
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import flight

from ...graph import errors
from ..wire.message import Limits
from . import tcp, tls
from .listener import SocketListener, prove
from .sockets import StreamConnection

_CHUNK = 1 << 20
#: The server's last word, after which the client ends the exchange: a server cannot.
_END = b""
#: How long the other side may take to end an exchange.
_END_SECONDS = 2.0
#: How long to wait before knocking again, in seconds.
_PAUSES = (0.05, 0.2, 0.5)


class FlightConnection(StreamConnection):
    """One end of a connection through Flight."""


class FlightListener(SocketListener):
    """A listener whose clients come through a Flight server of this process."""

    def __init__(self, host: str, port: int, secret: bytes, limits: Limits) -> None:
        certificate, key, authority = _contents()
        with tcp.bound(host, port) as bound:  # gRPC does not say why it cannot
            self._ip = str(bound.getsockname()[0])
        host = f"[{host}]" if ":" in host else host
        behind = f"\0weft-{secrets.token_hex(12)}"
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.bind(behind)
            sock.listen(128)
            self._front = _Front(
                f"grpc+tls://{host}:{port}", behind, tls_certificates=[(certificate, key)],
                verify_client=True, root_certificates=authority,
            )  # fmt: skip
        except (pa.ArrowException, OSError) as error:
            sock.close()
            raise errors.UnavailableError(None, None, f"cannot listen on {host}:{port}: {_line(error)}") from None
        address = f"flight://{host}:{self._front.port}"
        super().__init__(sock, address, secret, lambda client, name: FlightConnection(client, name, limits))

    def close(self) -> None:
        super().close()
        _start(self._end)

    def _end(self) -> None:
        """No exchange begins any more; those that there are end with their connections.

        gRPC waits for the clients to end theirs without a deadline: who is stopped, or gone without a word, is cut off.
        """
        ending = _start(self._front.shutdown)
        ending.join(_END_SECONDS)
        while ending.is_alive():
            _cut(self._ip, self._front.port)
            ending.join(_END_SECONDS)


class _Front(flight.FlightServerBase):  # type: ignore[misc]
    """Takes exchanges, and passes the bytes of each on to the socket of a listener."""

    def __init__(self, location: str, behind: str, **options: Any) -> None:
        self._behind = behind
        super().__init__(location, **options)

    def do_exchange(self, context: Any, descriptor: Any, reader: Any, writer: Any) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as plain:
            plain.connect(self._behind)
            gone = threading.Event()  # (joining would make a Thread of this one, which nobody ends)
            _start(self._answer, plain, writer, gone)
            _come(reader, plain)
            gone.wait()  # the writer is no more after this call

    @staticmethod
    def _answer(plain: socket.socket, writer: Any, gone: threading.Event) -> None:
        try:
            _go(plain, writer)
            with suppress(pa.ArrowException):
                writer.write_metadata(pa.py_buffer(_END))
        finally:
            gone.set()


def listen(secret: bytes, limits: Limits, host: str, port: int = 0) -> FlightListener:
    """A listener on a port (0: any free one) of one of this node's addresses.

    Raises ValueError for the address of all of them, UnavailableError when the port is taken, FailedPreconditionError
    without certificates: what gRPC takes from a stranger before anybody knows who he is has no limit.
    """
    return FlightListener(host, port, secret, limits)


def connect(place: str, secret: bytes, limits: Limits, timeout: float, peer: str, name: str) -> FlightConnection:
    """A connection to the listener at `host:port`. Raises as `connect` in transport.py does."""
    deadline = time.monotonic() + timeout
    certificate, key, authority = _contents()
    if not _let_in(place, peer, deadline):
        text = f"{peer} at flight://{place} does not trust this side's certificate, {tls.CERTIFICATE}"
        raise errors.UnauthenticatedError(None, None, text)
    left = max(1e-3, deadline - time.monotonic())
    client = flight.FlightClient(
        f"grpc+tls://{place}", tls_root_certs=authority, cert_chain=certificate, private_key=key,
        generic_options=[("grpc.min_reconnect_backoff_ms", 1 + int(1000 * left))],  # and how long it tries to connect
    )  # fmt: skip
    try:
        client.wait_for_available(timeout=1 + int(left))
        writer, reader = client.do_exchange(flight.FlightDescriptor.for_command(b"weft"))
    except (pa.ArrowException, OSError) as error:
        client.close()
        what = f"{peer} cannot be reached at flight://{place}: {_line(error)}"
        raise errors.UnavailableError(None, None, what) from None
    mine, theirs = socket.socketpair()
    _start(_go_and_end, mine, _start(_come, reader, mine), writer, reader, client)
    try:
        prove(theirs, secret, name, peer, deadline)
        return FlightConnection(theirs, peer, limits)
    except BaseException:
        theirs.close()
        raise


def _let_in(place: str, peer: str, deadline: float) -> bool:
    """As `_knock`; who ends the connection may be about to end itself, and so is asked again after a moment."""
    for pause in _PAUSES:
        with suppress(errors.UnauthenticatedError):
            if _knock(place, peer, deadline):
                return True
        time.sleep(pause)
    return _knock(place, peer, deadline)


def _knock(place: str, peer: str, deadline: float) -> bool:
    """Whether who listens there, speaks Flight, and is trusted, trusts this side, too. Raises as `connect` does.

    gRPC itself tries again and again where it gets no connection, and does not tell the reasons apart.
    """
    sock, host = tcp.reached("flight", place, max(1e-3, deadline - time.monotonic()), peer)
    with sock, tls.client(sock, host, peer, deadline, tls.GRPC) as secured:
        try:
            secured.settimeout(max(1e-3, deadline - time.monotonic()))
            return bool(secured.recv(1))  # a server of gRPC has the first word
        except TimeoutError:
            text = f"{peer} did not answer in time at flight://{place}"
            raise errors.DeadlineExceededError(None, None, text) from None
        except OSError:
            return False


def _contents() -> tuple[bytes, ...]:
    return tuple(Path(name).read_bytes() for name in tls.needed("Flight"))


def _cut(ip: str, port: int) -> None:
    """End the connections that others have to an address of this process, whose sockets gRPC has and names to nobody."""
    for name in os.listdir("/dev/fd"):
        with suppress(OSError):  # it was closed meanwhile, or is not connected
            descriptor = os.dup(int(name))
            if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                os.close(descriptor)
                continue
            with socket.socket(fileno=descriptor) as sock:
                if sock.family in (socket.AF_INET, socket.AF_INET6) and _own_end(sock) == (ip, port):
                    sock.shutdown(socket.SHUT_RDWR)


def _own_end(sock: socket.socket) -> tuple[str, int]:
    ip, port = sock.getsockname()[:2]
    return ip.removeprefix("::ffff:"), port  # as sockets of version six call addresses of version four


def _start(function: Callable[..., None], *arguments: Any) -> threading.Thread:
    thread = threading.Thread(target=function, args=arguments, daemon=True, name="weft flight")
    thread.start()
    return thread


def _come(reader: Any, plain: socket.socket) -> None:
    """Pass on what comes through the exchange, to its end."""
    try:
        while data := bytes(reader.read_chunk().app_metadata):
            plain.sendall(data)
    except (StopIteration, OSError, pa.ArrowException):
        pass
    finally:
        with suppress(OSError):  # the other side has closed it
            plain.shutdown(socket.SHUT_RDWR)


def _go(plain: socket.socket, writer: Any) -> None:
    """Pass on what is written, to its end."""
    with suppress(OSError, pa.ArrowException):
        while data := plain.recv(_CHUNK):
            writer.write_metadata(pa.py_buffer(data))


def _go_and_end(plain: socket.socket, coming: threading.Thread, writer: Any, reader: Any, client: Any) -> None:
    """Pass on what is written; then end the exchange, as it should where the other side does so in time."""
    _go(plain, writer)
    with suppress(OSError, pa.ArrowException):
        writer.done_writing()
    coming.join(_END_SECONDS)
    if coming.is_alive():
        reader.cancel()
    plain.close()
    with suppress(OSError, pa.ArrowException):
        writer.close()
    with suppress(OSError, pa.ArrowException):
        client.close()


def _line(error: Exception) -> str:
    return str(error).split("\n")[0][:300]
