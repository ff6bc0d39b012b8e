"""Mutual TLS under the TCP transport, with the certificates that Ray's `RAY_TLS_*` variables name.

A connection's bytes pass through a thread that encrypts and decrypts them: what reads and writes messages has a plain socket,
and does not know of it. That costs two copies and two wake-ups a message.
"""

from __future__ import annotations

import os
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any

from ...graph import errors

USE, CERTIFICATE, KEY, AUTHORITY = "RAY_USE_TLS", "RAY_TLS_SERVER_CERT", "RAY_TLS_SERVER_KEY", "RAY_TLS_CA_CERT"
#: What a connection carries inside of TLS, by the name with which the two sides agree on it: weft's frames, or gRPC for Flight.
FRAMES, GRPC = "weft", "h2"
_PROTOCOLS = {FRAMES: "weft", GRPC: "flight"}
_CHUNK = 256 * 1024
_NONE = memoryview(b"")


def wanted() -> bool:
    """Whether the environment asks for it, as it does for Ray's own connections."""
    return os.environ.get(USE, "").lower() in ("1", "true")


def encrypted_client(sock: socket.socket, host: str, peer: str, deadline: float) -> socket.socket:
    """A plain socket to a server of TLS behind a connected one, which belongs to it.

    Raises UnauthenticatedError where the server's certificate is not trusted or is not for `host`, DeadlineExceededError.
    """
    return _plain(client(sock, host, peer, deadline, FRAMES))


def client(sock: socket.socket, host: str, peer: str, deadline: float, carried: str) -> ssl.SSLSocket:
    """A connected socket, secured, to a server that takes what is to be carried, which it belongs to then.

    Raises as `encrypted_client` does, and FailedPreconditionError where the server takes something else.
    """
    sock.settimeout(max(1e-3, deadline - time.monotonic()))
    try:
        secured = _context(False, *files()).wrap_socket(sock, server_hostname=host)
    except TimeoutError:
        raise errors.DeadlineExceededError(None, None, f"{peer} did not answer with TLS in time") from None
    except OSError as error:  # an ssl.SSLError is one
        text = f"{peer} at {host} does not answer with TLS that is trusted here: {_reason(error)}"
        raise errors.UnauthenticatedError(None, None, text) from None
    if (spoken := secured.selected_alpn_protocol()) != carried:
        secured.close()
        known = _PROTOCOLS.get(spoken or "")
        theirs = f"the protocol '{known}'" if known else "another protocol"
        text = f"{peer} speaks {theirs}, and this side '{_PROTOCOLS[carried]}': all of a cluster speak the same"
        raise errors.FailedPreconditionError(None, None, text)
    return secured


def server_side(timeout: float) -> Callable[[socket.socket], socket.socket]:
    """What makes of an accepted socket a plain one to a client of TLS, or leaves it as it is where TLS is not asked for.

    It ends where the client has no certificate that is trusted, or none within the timeout. Raises FailedPreconditionError.
    """
    if not wanted():
        return lambda sock: sock
    context = _context(True, *files())

    def encrypted(sock: socket.socket) -> socket.socket:
        sock.settimeout(timeout)
        return _plain(context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False))

    return encrypted


def needed(by: str) -> tuple[str, ...]:
    """The files, as `files` has them, for what is not to be had without. Raises FailedPreconditionError."""
    if not wanted():
        text = f"{by} needs TLS: set {USE}=1, and {CERTIFICATE}, {KEY} and {AUTHORITY} to the names of files"
        raise errors.FailedPreconditionError(None, None, text)
    return files()


def files() -> tuple[str, ...]:
    """The files that the variables name: the certificate, its key, the authority's. Raises FailedPreconditionError."""
    found = tuple(os.environ.get(name, "") for name in (CERTIFICATE, KEY, AUTHORITY))
    for name, file in zip((CERTIFICATE, KEY, AUTHORITY), found, strict=True):
        if not os.path.isfile(file):
            text = f"{USE} asks for TLS: {name} must name a file, got '{file}'"
            raise errors.FailedPreconditionError(None, None, text)
    return found


@cache
def _context(serves: bool, certificate: str, key: str, authority: str) -> ssl.SSLContext:
    """Both sides show the one certificate, and take one of that authority. Raises FailedPreconditionError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if serves else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.set_alpn_protocols([FRAMES] if serves else [FRAMES, GRPC])
    try:
        context.load_verify_locations(authority)
        context.load_cert_chain(certificate, key)
    except (OSError, ValueError) as error:
        text = f"{USE} asks for TLS, and {CERTIFICATE}, {KEY} or {AUTHORITY} is of no use: {_reason(error)}"
        raise errors.FailedPreconditionError(None, None, text) from None
    return context


def _reason(error: Exception) -> str:
    if isinstance(error, ConnectionError):
        return "it ended the connection, as one without TLS does"
    return getattr(error, "verify_message", "") or getattr(error, "reason", "") or str(error)


def _plain(secured: ssl.SSLSocket) -> socket.socket:
    """The other end of a pair of sockets through which a thread passes on what `secured` carries."""
    mine, theirs = socket.socketpair()
    threading.Thread(target=_Passage(mine, secured).run, daemon=True, name="weft tls").start()
    return theirs


class _Passage:
    """Passes bytes on between a plain socket and a secured one, until either ends. One thread does all of it.

    (OpenSSL's sockets must not be read by one thread while another writes.)
    """

    def __init__(self, plain: socket.socket, secured: ssl.SSLSocket) -> None:
        self._plain, self._secured = plain, secured
        self._out = self._in = _NONE  # what was read and not yet written
        self._ended = False  # the secured side sends no more
        self._write_waits_for = select.POLLOUT

    def run(self) -> None:
        try:
            self._secured.do_handshake()  # with the timeout that the socket has
            self._plain.setblocking(False)
            self._secured.setblocking(False)
            while self._step():
                pass
        except OSError:  # an end, or a client that is not trusted: the plain side is told by its end
            pass
        finally:
            with suppress(OSError):  # say goodbye, if it can be said at once
                self._secured.unwrap()
            self._secured.close()
            self._plain.close()

    def _step(self) -> bool:
        """Wait until something can be passed on, and do; whether there may be more."""
        ready = self._wait()
        if self._plain in ready and not self._out:
            data = _nonblocking(self._plain.recv, _CHUNK)
            if data == b"":
                return False
            self._out = memoryview(data or b"")
        if self._out:
            self._write_out()
        if not self._in and not self._ended:
            self._read_in()
        if self._in:
            self._in = self._in[_nonblocking(self._plain.send, self._in) or 0 :]
        return bool(self._in) or not self._ended

    def _wait(self) -> set[Any]:
        poll = select.poll()
        plain = (0 if self._out else select.POLLIN) | (select.POLLOUT if self._in else 0)
        poll.register(self._plain, plain)
        secured = (0 if self._in or self._ended else select.POLLIN) | (self._write_waits_for if self._out else 0)
        poll.register(self._secured, secured)
        by_number = {self._plain.fileno(): self._plain, self._secured.fileno(): self._secured}
        if not self._in and self._secured.pending():
            return {by_number[number] for number, _ in poll.poll(0)}
        return {by_number[number] for number, _ in poll.poll()}

    def _write_out(self) -> None:
        try:
            self._out = self._out[self._secured.send(self._out) :]
        except ssl.SSLWantWriteError:
            self._write_waits_for = select.POLLOUT
        except ssl.SSLWantReadError:
            self._write_waits_for = select.POLLIN

    def _read_in(self) -> None:
        try:
            data = self._secured.recv(_CHUNK)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        except ssl.SSLEOFError:
            data = b""
        self._in, self._ended = memoryview(data), not data


def _nonblocking(call: Any, argument: Any) -> Any:
    """What a call on a socket gives, None where it would have to wait."""
    try:
        return call(argument)
    except BlockingIOError:
        return None
