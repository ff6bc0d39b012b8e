"""The bytes that cluster.py transfers, over a bare TCP socket between two hosts: what weft's transfers are held against."""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Callable
from functools import partial

from cluster_program import TRANSFERS
from cluster_turns import say, serve

_ASKED = struct.Struct("<Q")
_WAIT_SECONDS = 60.0


def send_what_is_asked(host: str, port: str) -> None:
    """The sender: for each number that comes, so many bytes, until the reader goes."""
    with socket.create_server((host, int(port))) as listener:
        say("ready")
        listener.settimeout(_WAIT_SECONDS)
        sock, _ = listener.accept()
    with sock:
        sock.settimeout(None)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        values = {size: bytes([1]) * size for size in TRANSFERS.values()}
        while asked := sock.recv(_ASKED.size, socket.MSG_WAITALL):
            sock.sendall(values[_ASKED.unpack(asked)[0]])


def read(sock: socket.socket, space: memoryview) -> None:
    """Ask for so many bytes as there is space for, and wait until they are there."""
    sock.sendall(_ASKED.pack(len(space)))
    have = 0
    while have < len(space):
        count = sock.recv_into(space[have:], 0, socket.MSG_WAITALL)
        if not count:
            raise ConnectionError("the sender is gone")
        have += count


def main() -> None:
    role, host, port = sys.argv[1:]
    if role == "sender":
        send_what_is_asked(host, port)
        return
    with socket.create_connection((host, int(port)), _WAIT_SECONDS) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        steps: dict[str, Callable[[], object]] = {
            f"socket for {name}": partial(read, sock, memoryview(bytearray(size))) for name, size in TRANSFERS.items()
        }
        serve(steps)


if __name__ == "__main__":
    main()
