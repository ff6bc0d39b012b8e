"""The transport within a process: arrays pass by reference, read-only for the receiver."""

from __future__ import annotations

import os
import secrets
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress

import numpy as np

from ...graph import dtypes, errors
from ..wire.message import Array, Message
from . import auth

#: How many messages may wait to be received before `send` blocks.
_DEPTH = 1024

_listeners: dict[str, InprocListener] = {}


class _Pipe:
    """One direction: the messages on their way, and which ends are open."""

    def __init__(self) -> None:
        self.messages: deque[Message] = deque()
        self.changed = threading.Condition()
        self.closed = False
        #: Readable while there is something to take, or to learn. The receiver's to close.
        self.signal = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def close(self) -> None:
        with self.changed:
            self.closed = True
            self.notify()

    def notify(self) -> None:
        """Something has changed, with the lock held."""
        self.changed.notify_all()
        if self.signal >= 0:
            os.eventfd_write(self.signal, 1)

    def close_signal(self) -> None:
        with self.changed:
            if self.signal >= 0:
                os.close(self.signal)
                self.signal = -1


class InprocConnection:
    """One end of a connection within a process; see `Connection` in transport.py."""

    by_reference = True

    def __init__(self, peer: str, incoming: _Pipe, outgoing: _Pipe) -> None:
        self.peer = peer
        self.sent = self.received = 0  # messages
        self._incoming = incoming
        self._outgoing = outgoing
        self._closed = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} to {self.peer}>"

    def __enter__(self) -> InprocConnection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, message: Message) -> None:
        self._send(message, wait=True)

    def send_once(self, message: Message) -> None:
        self._send(message._replace(tensors=[np.array(each, order="C") for each in message.tensors]), wait=True)

    def poke(self, message: Message) -> bool:
        return self._send(message, wait=False)

    def _send(self, message: Message, wait: bool) -> bool:
        tensors = tuple(_read_only(tensor) for tensor in message.tensors)
        passed = Message(message.kind, message.epoch, message.step, message.edge, bytes(message.meta), tensors)
        pipe = self._outgoing
        with pipe.changed:
            if wait:
                pipe.changed.wait_for(lambda: pipe.closed or len(pipe.messages) < _DEPTH)
            if pipe.closed:
                raise self._gone()
            if len(pipe.messages) >= _DEPTH:
                return False
            pipe.messages.append(passed)
            self.sent += 1
            pipe.notify()
            return True

    def recv(self, timeout: float | None = None) -> Message:
        pipe = self._incoming
        with pipe.changed:
            if not pipe.changed.wait_for(lambda: pipe.closed or pipe.messages, timeout):
                raise errors.DeadlineExceededError(None, None, f"a message from {self.peer} did not come in time")
            if self._closed or not pipe.messages:
                raise self._gone()
            return self._took(pipe)

    def come(self) -> Iterator[Message]:
        pipe = self._incoming
        while True:
            with pipe.changed:
                if self._closed or (pipe.closed and not pipe.messages):
                    raise self._gone()
                if not pipe.messages:
                    return
                message = self._took(pipe)
            yield message

    def _took(self, pipe: _Pipe) -> Message:
        """The next message, with the lock held."""
        message = pipe.messages.popleft()
        self.received += 1
        if not pipe.messages and not pipe.closed:
            with suppress(BlockingIOError):
                os.eventfd_read(pipe.signal)
        pipe.changed.notify_all()
        return message

    def fileno(self) -> int:
        return self._incoming.signal

    def release(self, step: int) -> None:
        """Nothing to do: references count themselves."""

    def reserve(self, step: int, dtype: dtypes.DType, dims: Sequence[int]) -> Array | None:
        """An ordinary array: none is copied here."""
        return None if dtype.np.hasobject else np.empty(dims, dtype.np)

    def lasting(self, array: Array) -> Array | None:
        """None: what is sent is not copied, wherever it is."""
        return None

    def lasts(self, array: Array) -> bool:
        """False, likewise."""
        return False

    def close(self) -> None:
        self._closed = True
        self._incoming.close()
        self._outgoing.close()
        self._incoming.close_signal()

    def _gone(self) -> errors.OpError:
        if self._closed:
            return errors.CancelledError(None, None, f"the connection to {self.peer} was closed here")
        return errors.UnavailableError(None, None, f"{self.peer} is gone: it closed the connection")


class InprocListener:
    """Accepts connections from this process; see `Listener` in transport.py."""

    def __init__(self, secret: bytes) -> None:
        self._name = secrets.token_hex(12)
        self.address = f"inproc://{self._name}"
        self._secret = secret
        self._clients: deque[InprocConnection] = deque()
        self._changed = threading.Condition()
        self._closed = False
        _listeners[self._name] = self

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {self.address}>"

    def __enter__(self) -> InprocListener:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def accept(self, timeout: float | None = None) -> InprocConnection:
        with self._changed:
            if not self._changed.wait_for(lambda: self._closed or self._clients, timeout):
                raise errors.DeadlineExceededError(None, None, f"nobody connected to {self.address} in time")
            if self._closed:
                raise errors.CancelledError(None, None, f"the listener at {self.address} was closed")
            return self._clients.popleft()

    def close(self) -> None:
        _listeners.pop(self._name, None)
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            while self._clients:
                self._clients.popleft().close()

    def join(self, secret: bytes, peer: str, name: str) -> InprocConnection:
        """The client's end of a new connection. Raises UnauthenticatedError and UnavailableError."""
        if not auth.same_secret(self._secret, secret):
            what = f"{peer} and this side do not trust each other: secrets differ"
            raise errors.UnauthenticatedError(None, None, what)
        there, back = _Pipe(), _Pipe()
        with self._changed:
            if self._closed:
                raise errors.UnavailableError(None, None, f"{peer} cannot be reached at {self.address}: it was closed")
            self._clients.append(InprocConnection(name, there, back))
            self._changed.notify_all()
        return InprocConnection(peer, back, there)


def connect(place: str, secret: bytes, peer: str, name: str) -> InprocConnection:
    """A connection to the listener of that name. Raises as `connect` in transport.py does."""
    listener = _listeners.get(place)
    if listener is None:
        what = f"{peer} cannot be reached at inproc://{place}: nobody listens there in this process"
        raise errors.UnavailableError(None, None, what)
    return listener.join(secret, peer, name)


def _read_only(tensor: Array) -> Array:
    view = np.asarray(tensor).view()
    view.setflags(write=False)
    return view
