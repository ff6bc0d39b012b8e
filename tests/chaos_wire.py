"""What the fault matrix does to a task from inside: frames that get lost or changed, and an end in the middle of a save."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from weft.cluster.transports.sockets import StreamConnection
from weft.cluster.wire.message import HEADER
from weft.cluster.wire.protocol import Kind

#: Messages of steps, which are counted; the disturbance strikes at this one of those that the task sends once it was asked for.
_STEPS = {Kind.STEP, Kind.RESULT, Kind.TENSOR, Kind.BEGIN}
_STRIKES_AT = 3
DELAY_SECONDS = 3.0

Pieces = list[Any]
Transmit = Callable[[StreamConnection, Pieces], None]


def _dropped(link: StreamConnection, pieces: Pieces, transmit: Transmit, earlier: Pieces) -> None:
    link._frames_sent += 1


def _delayed(link: StreamConnection, pieces: Pieces, transmit: Transmit, earlier: Pieces) -> None:
    time.sleep(DELAY_SECONDS)
    transmit(link, pieces)


def _truncated(link: StreamConnection, pieces: Pieces, transmit: Transmit, earlier: Pieces) -> None:
    link._sock.sendall(bytes(pieces[0])[: len(pieces[0]) // 2])
    link._sock.shutdown(socket.SHUT_RDWR)


def _corrupted_head(link: StreamConnection, pieces: Pieces, transmit: Transmit, earlier: Pieces) -> None:
    transmit(link, [_flipped(pieces[0], 24), *pieces[1:]])  # a bit of the step's number


def _corrupted_tensor(link: StreamConnection, pieces: Pieces, transmit: Transmit, earlier: Pieces) -> None:
    transmit(link, [*pieces[:-1], _flipped(pieces[-1], max(HEADER.size, len(bytes(pieces[-1])) // 2))])


def _replayed(link: StreamConnection, pieces: Pieces, transmit: Transmit, earlier: Pieces) -> None:
    transmit(link, pieces)
    link._sock.sendall(b"".join(earlier))


FRAMES = {
    "dropped": _dropped,
    "delayed": _delayed,
    "truncated": _truncated,
    "corrupted head": _corrupted_head,
    "corrupted tensor": _corrupted_tensor,
    "replayed": _replayed,
}


def _flipped(piece: Any, at: int) -> bytearray:
    copy = bytearray(piece)
    copy[min(at, len(copy) - 1)] ^= 0x40
    return copy


def disturb(what: str, folder: Path) -> None:
    """Get ready to do so once, as soon as `folder/at` is there; `folder/struck` then is, too."""
    if what in FRAMES:
        StreamConnection._transmit = _striking(FRAMES[what], folder)  # type: ignore[method-assign, assignment]
    elif what == "commit":
        replace = os.replace

        def dying(source: Any, target: Any, **where: Any) -> None:
            if (folder / "at").exists() and _first(folder):
                os.kill(os.getpid(), signal.SIGKILL)
            replace(source, target, **where)

        os.replace = dying  # type: ignore[assignment]


def _first(folder: Path) -> bool:
    """Whether this is the one time."""
    try:
        (folder / "struck").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _striking(strike: Callable[..., None], folder: Path) -> Transmit:
    transmit = StreamConnection._transmit
    counted = 0
    kept: dict[StreamConnection, Pieces] = {}

    def striking(link: StreamConnection, pieces: Pieces) -> None:
        nonlocal counted
        kind = HEADER.unpack_from(pieces[0])[4]
        earlier = kept.get(link)
        if kind in _STEPS:
            counted += (folder / "at").exists()
            if counted >= _STRIKES_AT and earlier is not None and _first(folder):
                strike(link, pieces, transmit, earlier)
                return
        transmit(link, pieces)
        if kind in _STEPS:
            kept[link] = [bytes(piece) for piece in pieces]

    return striking
