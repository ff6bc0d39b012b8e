"""The transport within a node: tensors in shared memory, everything else over a UNIX socket without a name on disk."""

from __future__ import annotations

import array
import math
import os
import secrets
import socket
import time
from collections.abc import Sequence

import numpy as np

from ...graph import dtypes, errors
from ..wire.message import Array, Limits, encode_segment
from .listener import SocketListener, prove
from .segments import Arena, MappedSegments
from .sockets import StreamConnection

#: Plain ints: those of the module are slow to combine.
_CLOSE_ON_EXEC = int(getattr(socket, "MSG_CMSG_CLOEXEC", 0))
_TRUNCATED = int(socket.MSG_CTRUNC)
_ANCILLARY = socket.CMSG_SPACE(16 * 4) if hasattr(socket, "CMSG_SPACE") else 0


class ShmConnection(StreamConnection):
    """One end of a connection through shared memory; `arena`: what it sends from, where that is not its own."""

    def __init__(self, sock: socket.socket, peer: str, limits: Limits, arena: Arena | None = None) -> None:
        self._arena = Arena(limits) if arena is None else arena
        self._own = arena is None
        self._mapped = MappedSegments(limits)
        super().__init__(sock, peer, limits, self._mapped)
        self._store, self._mine = self._arena.place, self._arena.segments

    @property
    def shared_bytes(self) -> int:
        """How much shared memory this side holds to send from."""
        return self._arena.size

    def release(self, step: int) -> None:
        if self._arena.taken:
            self._arena.release(step)

    def reserve(self, step: int, dtype: dtypes.DType, dims: Sequence[int]) -> Array | None:
        if dtype.np.hasobject:
            return None
        nbytes = math.prod(dims) * dtype.size
        if not nbytes:
            return np.empty(dims, dtype.np)
        slot = self._arena.reserve(nbytes, step)
        return np.ndarray(dims, dtype.np, slot.segment.memory, slot.offset)

    def lasting(self, array: Array) -> Array | None:
        return None if array.dtype.hasobject or not array.nbytes else self._arena.lasting(array.dtype, array.shape)

    def lasts(self, array: Array) -> bool:
        return self._arena.lasts(array)

    def close(self) -> None:
        super().close()
        with self._sending, self._receiving:
            if self._own:
                self._arena.close()
            self._mapped.close()

    def _announce(self) -> None:
        while self._announced < len(self._arena.segments):
            descriptor, size = self._arena.duplicate(self._announced)
            try:
                frame = encode_segment(self._announced, size)
                sent = socket.send_fds(self._sock, [frame], [descriptor])
                self._sock.sendall(frame[sent:])
            finally:
                os.close(descriptor)
            self._announced += 1

    def _receive(self, space: memoryview, flags: int) -> int:
        count, ancillary, flags, _ = self._sock.recvmsg_into([space], _ANCILLARY, flags | _CLOSE_ON_EXEC)
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                descriptors = array.array("i")
                descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
                self._mapped.descriptors.extend(descriptors)
        if flags & _TRUNCATED or len(self._mapped.descriptors) > 16:
            raise errors.DataLossError(None, None, f"{self.peer}: expected a descriptor a segment, got too many")
        return count


def listen(secret: bytes, limits: Limits) -> SocketListener:
    """A listener that other processes in this node's network namespace can reach. Raises UnimplementedError off Linux."""
    if not hasattr(os, "memfd_create"):
        raise errors.UnimplementedError(None, None, "the shm transport needs Linux: memory files and abstract sockets")
    place = f"weft-{secrets.token_hex(12)}"
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(f"\0{place}")
        sock.listen(128)
    except BaseException:
        sock.close()
        raise
    return SocketListener(sock, f"shm://{place}", secret, lambda client, name: ShmConnection(client, name, limits))


def connect(
    place: str, secret: bytes, limits: Limits, timeout: float, peer: str, name: str, arena: Arena | None = None
) -> ShmConnection:
    """A connection to the listener of that name. Raises as `connect` in transport.py does."""
    deadline = time.monotonic() + timeout
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(timeout)
        try:
            sock.connect(f"\0{place}")
        except TimeoutError:
            raise errors.DeadlineExceededError(None, None, f"{peer} did not answer in time at shm://{place}") from None
        except OSError as error:
            what = f"{peer} cannot be reached at shm://{place}: {error.strerror or error}"
            raise errors.UnavailableError(None, None, what) from None
        prove(sock, secret, name, peer, deadline)
        return ShmConnection(sock, peer, limits, arena)
    except BaseException:
        sock.close()
        raise
