"""What a transport promises, and which one two endpoints use: the one door to inproc.py, shm.py, tcp.py and flight.py."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ...graph.dtypes import DType
from ..wire.message import Array, Limits, Message
from . import auth, inproc, shm, tcp
from .segments import Arena

_LIMITS = Limits()
_PROCESS = secrets.token_hex(8)


class Connection(Protocol):
    """One end of an ordered, authenticated stream of messages to one peer.

    An array that was sent must not be changed before its step is released: within a process it travels by reference.
    """

    peer: str  #: who is at the other end, for error messages
    sent: int  #: how much the system took from `send`: it grows while a long message is on its way
    received: int  #: how much came, likewise
    by_reference: bool  #: whether the peer gets the very arrays that are sent, not copies

    def send(self, message: Message) -> None:
        """Send a message; any thread may. Blocks while the peer is slow to take messages.

        Raises UnavailableError when the peer is gone, CancelledError after `close`, ResourceExhaustedError for want of
        shared memory, InvalidArgumentError for what exceeds the limits, TypeError for arrays that are no tensors.
        """

    def send_once(self, message: Message) -> None:
        """As `send`, but the arrays may change at once, and nothing of it takes memory here until its step is released."""

    def poke(self, message: Message) -> bool:
        """Send a message without tensors unless that would have to wait; whether it was sent. Raises as `send` does."""

    def recv(self, timeout: float | None = None) -> Message:
        """The next message, its arrays read-only; one thread at a time. A message that came in part is kept.

        Raises DeadlineExceededError after `timeout` seconds, UnavailableError when the peer is gone and all it sent is
        taken, CancelledError after `close`, DataLossError for what is no message, after which the connection is of no use.
        """

    def come(self) -> Iterable[Message]:
        """The messages of which all has come, without waiting for any; one thread at a time. Raises as `recv` does."""

    def fileno(self) -> int:
        """What to poll to learn that there may be something for `come`; -1 after `close`."""

    def release(self, step: int) -> None:
        """Say that the peer is done with all that was sent for steps up to this one: its memory is used again."""

    def reserve(self, step: int, dtype: DType, dims: Sequence[int]) -> Array | None:
        """A writable array that is not copied when it is sent in a message of `step`; None where there is no such memory.

        Raises ResourceExhaustedError.
        """

    def lasting(self, array: Array) -> Array | None:
        """A writable array like this one that is never copied when it is sent, and belongs to no step: its memory is used
        again when nobody here refers to it and all steps are released that sent it. None where there is no such memory.

        Raises ResourceExhaustedError.
        """

    def lasts(self, array: Array) -> bool:
        """Whether an array is such a one."""

    def close(self) -> None:
        """End the connection and wake who waits in `send` or `recv`. Arrays that were received stay valid."""


class Listener(Protocol):
    """Where peers connect."""

    address: str  #: what a peer passes to `connect`

    def accept(self, timeout: float | None = None) -> Connection:
        """The next peer that proved that it knows the secret; others are refused with a line in the log.

        Peers are let in only while somebody waits here. Raises DeadlineExceededError after `timeout` seconds, CancelledError
        after `close`.
        """

    def close(self) -> None:
        """Stop listening and wake who waits in `accept`. Connections that were accepted stay open."""


@dataclass(frozen=True, slots=True)
class Location:
    """Where an endpoint is, as far as choosing a transport needs."""

    node: str
    process: str

    @classmethod
    def here(cls) -> Location:
        """This process. A node is one network namespace of one booted system: containers are nodes of their own.

        And one user of it: memory is shared with nobody else.
        """
        boot, network = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/net")
        node = (
            f"{boot.read_text().strip()}/{network.stat().st_ino}/{os.geteuid()}"
            if boot.exists()
            else socket.gethostname()
        )
        return cls(node, f"{os.getpid()}/{_PROCESS}")


def choose(mine: Location, theirs: Location) -> str:
    """The fastest transport between two endpoints: "inproc", "shm" or "tcp"."""
    if mine.node != theirs.node:
        return "tcp"
    return "inproc" if mine.process == theirs.process else "shm"


def listen(scheme: str, secret: bytes, host: str = "127.0.0.1", port: int = 0, limits: Limits = _LIMITS) -> Listener:
    """A listener for one transport; `host` and `port` (0: any free one) are where TCP peers reach it.

    Raises ValueError for an unknown transport, a secret that is not 32 bytes, and a host that means all addresses.
    """
    auth.check_secret(secret)
    if scheme == "inproc":
        return inproc.InprocListener(secret)
    if scheme == "shm":
        return shm.listen(secret, limits)
    if scheme == "tcp":
        return tcp.listen(secret, limits, host, port)
    if scheme == "flight":
        from . import flight  # gRPC takes a while to load, and few need it

        return flight.listen(secret, limits, host, port)
    raise ValueError(f"unknown transport {scheme!r}: expected inproc, shm, tcp or flight")


def connect(
    address: str,
    secret: bytes,
    timeout: float = auth.HANDSHAKE_TIMEOUT,
    peer: str = "",
    name: str = "",
    limits: Limits = _LIMITS,
    arena: Arena | None = None,
) -> Connection:
    """A connection to a listener. `peer` is what it is called here, `name` what this side is called there. `arena`: the
    shared memory that it sends from, together with others, if it is through shared memory: what is in memory that one of
    them reserved is copied by none.

    Raises UnavailableError when nobody listens there, UnauthenticatedError when the secrets differ, DeadlineExceededError
    when it takes longer than `timeout` seconds, ValueError for what is no address.
    """
    auth.check_secret(secret)
    peer = peer or address
    name = name or f"process {os.getpid()} on {socket.gethostname()}"
    scheme, _, place = address.partition("://")
    if not place:
        scheme = ""
    if scheme == "inproc":
        return inproc.connect(place, secret, peer, name)
    if scheme == "shm":
        return shm.connect(place, secret, limits, timeout, peer, name, arena)
    if scheme == "tcp":
        return tcp.connect(place, secret, limits, timeout, peer, name)
    if scheme == "flight":
        from . import flight

        return flight.connect(place, secret, limits, timeout, peer, name)
    raise ValueError(f"{address!r} is no address: expected inproc://, shm://, tcp:// or flight://")
