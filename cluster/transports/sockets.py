"""A connection over a stream socket: what the shared-memory and the TCP transport have in common."""

from __future__ import annotations

import math
import select
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from ...graph import dtypes, errors
from ..wire.decoder import Decoder, Segments
from ..wire.message import FIELD, FRAMES, NUMBERED, Array, Buffer, Limits, Message, Store, encode
from .pool import ReceivePool

#: How many pieces Linux takes in one system call.
_MOST_PIECES = 1024
_WAIT_ALL = int(socket.MSG_WAITALL)
_DONT_WAIT = int(socket.MSG_DONTWAIT)
#: How many bytes go to or come from the system before they are counted: a peer that takes seconds for them is slow indeed.
_COUNTED = 8 << 20


class StreamConnection:
    """One end of an authenticated stream socket; see `Connection` in transport.py for what each method promises."""

    by_reference = False

    def __init__(self, sock: socket.socket, peer: str, limits: Limits, segments: Segments | None = None) -> None:
        sock.settimeout(None)
        self.peer = peer
        self.sent = self.received = 0
        self._frames_sent = self._frames_taken = 0
        self._sock = sock
        self._limits = limits
        self._store: Store | None = None  #: finds tensors a place in shared memory, where there is any
        #: What of this side the peer has to know before a message comes, and how much of it it knows.
        self._mine: Sequence[Any] = ()
        self._announced = 0
        self._pool = ReceivePool(limits.max_idle)
        self._decoder = Decoder(limits, segments, self._pool)
        self._sending = threading.Lock()
        self._receiving = threading.Lock()
        self._readable = select.poll()
        self._readable.register(sock, select.POLLIN)
        self._writable = select.poll()
        self._writable.register(sock, select.POLLOUT)
        self._closed = False
        #: Why nothing can come or go any more, once that is so.
        self._broken: str | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} to {self.peer}>"

    def __enter__(self) -> StreamConnection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, message: Message) -> None:
        self._transmit(encode(message, self._limits, self._store))

    def send_once(self, message: Message) -> None:
        self._transmit(encode(message, self._limits))  # all of it over the socket, also where there is shared memory

    def poke(self, message: Message) -> bool:
        pieces = encode(message, self._limits, self._store)
        if not self._sending.acquire(blocking=False):
            return False
        try:
            self._check_open()
            if not self._writable.poll(0):
                return False
            self._write(pieces)
        finally:
            self._sending.release()
        return True

    def recv(self, timeout: float | None = None) -> Message:
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._receiving:
            while (message := self._next()) is None:
                self._wait(deadline)
                # Who waits without a deadline is woken once for all of a large tensor.
                self._fill(_WAIT_ALL if deadline is None and self._decoder.large else 0)
            return message

    def come(self) -> Iterable[Message]:
        decoder = self._decoder
        with self._receiving:
            message = self._next() if decoder.amid or self._closed or self._broken is not None else None
            while message is None and self._fill(_DONT_WAIT):
                message = self._next()
                if message is not None or not decoder.large:
                    break
        if message is None:
            return ()
        return self._rest(message) if decoder.amid else (message,)

    def _rest(self, message: Message | None) -> Iterator[Message]:
        """A message, and those that came with it."""
        while message is not None:
            yield message
            if not self._decoder.amid:
                break
            with self._receiving:
                message = self._next()

    def fileno(self) -> int:
        return self._sock.fileno()

    def release(self, step: int) -> None:
        """Nothing to do: what was sent was copied."""

    def reserve(self, step: int, dtype: dtypes.DType, dims: Sequence[int]) -> Array | None:
        """None: a socket has no memory to write into."""
        return None

    def lasting(self, array: Array) -> Array | None:
        """None, likewise."""
        return None

    def lasts(self, array: Array) -> bool:
        """False, likewise."""
        return False

    def close(self) -> None:
        self._closed = True
        with suppress(OSError):  # not connected any more, or closed before
            self._sock.shutdown(socket.SHUT_RDWR)  # wakes whoever waits in send or recv
        with self._sending, self._receiving:
            self._sock.close()
            self._pool.close()

    # sending

    def _transmit(self, pieces: list[Buffer]) -> None:
        with self._sending:
            if self._closed or self._broken is not None:
                self._check_open()
            self._write(pieces)

    def _write(self, pieces: list[Any]) -> None:
        """With the lock held."""
        try:
            if self._announced < len(self._mine):
                self._announce()
            FIELD.pack_into(pieces[0], NUMBERED, self._frames_sent)
            self._frames_sent = (self._frames_sent + 1) % FRAMES
            if len(pieces) == 1 and len(pieces[0]) <= _COUNTED:  # nearly always
                sent = self._sock.sendmsg(pieces)
                self.sent += sent
                if sent == len(pieces[0]):
                    return
                pieces[0] = memoryview(pieces[0])[sent:]
            self._send_all(pieces)
        except OSError as error:
            raise self._gone(error.strerror or str(error)) from None
        except BaseException:
            self._break("a message to it was cut short")
            raise

    def _send_all(self, pieces: list[Any]) -> None:
        """Write all pieces, gathered by the system, none of them copied."""
        first = 0
        while first < len(pieces):
            sent = self._sock.sendmsg(_batch(pieces, first))
            self.sent += sent
            while first < len(pieces) and sent >= len(pieces[first]):
                sent -= len(pieces[first])
                first += 1
            if sent:
                pieces[first] = memoryview(pieces[first])[sent:]

    def _announce(self) -> None:
        """Tell the peer of the rest of what is mine, with the lock held."""

    # receiving

    def _next(self) -> Message | None:
        if self._closed or self._broken is not None:
            self._check_open()
        decoder = self._decoder
        try:
            message = decoder.next()
            if message is not None:
                number = decoder.number
                if number != self._frames_taken:
                    what = f"expected its message {self._frames_taken}, got {number}: one was lost, or came twice"
                    raise errors.DataLossError(None, None, what)
                self._frames_taken = (number + 1) % FRAMES
            return message
        except errors.OpError as error:
            what = f"{self.peer}: {error.message}"
            self._break(error.message)
            raise type(error)(None, None, what) from None

    def _wait(self, deadline: float | None) -> None:
        """Wait for bytes without taking them, so that an interrupt here loses none."""
        left = None if deadline is None else max(0, math.ceil((deadline - time.monotonic()) * 1000))
        if not self._readable.poll(left):
            what = "the rest of a message" if self._decoder.amid else "a message"
            raise errors.DeadlineExceededError(None, None, f"{what} from {self.peer} did not come in time")

    def _fill(self, flags: int) -> bool:
        """Take in what came; whether anything did, where `flags` say not to wait for it."""
        decoder = self._decoder
        try:
            space = decoder.space()
            count = self._receive(space if len(space) <= _COUNTED else space[:_COUNTED], flags)
            self.received += count
            decoder.filled(count)
        except BlockingIOError:
            return False
        except OSError as error:
            raise self._gone(error.strerror or str(error)) from None
        except BaseException as error:
            self._break(f"what came from it was not taken in: {error!r}")
            raise
        if not count:
            raise self._gone("it closed the connection" + (" in the middle of a message" if self._decoder.amid else ""))
        return True

    def _receive(self, space: memoryview, flags: int) -> int:
        return self._sock.recv_into(space, 0, flags)

    # the end

    def _check_open(self) -> None:
        if self._closed:
            raise errors.CancelledError(None, None, f"the connection to {self.peer} was closed here")
        if self._broken is not None:
            raise errors.UnavailableError(None, None, f"{self.peer} is gone: {self._broken}")

    def _gone(self, reason: str) -> errors.OpError:
        """The error that says why the peer cannot be reached, which may be that this side closed."""
        if self._closed:
            return errors.CancelledError(None, None, f"the connection to {self.peer} was closed here")
        return errors.UnavailableError(None, None, f"{self.peer} is gone: {reason}")

    def _break(self, reason: str) -> None:
        """The stream has lost its meaning: nothing more may come or go. `close()` still has to be called."""
        self._broken = reason
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)


def _batch(pieces: list[Any], first: int) -> list[Any]:
    """What to give to the system next: pieces from the first on, or its beginning when it is long."""
    if len(pieces[first]) > _COUNTED:
        return [memoryview(pieces[first])[:_COUNTED]]
    size, last = 0, first
    while last < min(len(pieces), first + _MOST_PIECES) and size + len(pieces[last]) <= _COUNTED:
        size += len(pieces[last])
        last += 1
    return pieces[first:last]
