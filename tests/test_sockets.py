"""What the transports over sockets do with strangers, damaged messages and peers that die."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from endpoints import BARE, SECRET, SOCKETS, Pair, certified, connected, in_background, nothing_left, numbered
from weft.cluster.transports import auth, listener, transport
from weft.cluster.wire import message
from weft.cluster.wire.message import Limits, Message
from weft.graph import errors

pytestmark = pytest.mark.counts


@pytest.fixture(autouse=True)
def leaves_nothing() -> Iterator[None]:
    with nothing_left():
        yield


environment = pytest.fixture(autouse=True)(certified)


@pytest.fixture(params=SOCKETS)
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    with connected(request.param) as both:
        yield both


@contextlib.contextmanager
def by_hand(listening: Any) -> Iterator[socket.socket]:
    """A plain socket connected to a listener."""
    scheme, _, place = listening.address.partition("://")
    if scheme == "shm":
        sock = socket.socket(socket.AF_UNIX)
        sock.connect("\0" + place)
    else:
        sock = socket.create_connection(("127.0.0.1", int(place.rpartition(":")[2])))
    with sock:
        yield sock


@pytest.mark.parametrize("scheme", BARE)
def test_strangers_hold_up_nobody(
    scheme: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "_MOST_CANDIDATES", 3)
    monkeypatch.setattr(auth, "HANDSHAKE_TIMEOUT", 600.0)
    with contextlib.ExitStack() as stack:
        listening: Any = stack.enter_context(contextlib.closing(transport.listen(scheme, SECRET)))
        for garbage in (b"", b"GET / HTTP/1.1\r\n\r\n", b"x" * 10_000, b"WEFTAUT1", b"", b"", b""):
            stack.enter_context(by_hand(listening)).sendall(garbage)
        gone = stack.enter_context(by_hand(listening))
        gone.close()
        accepting = in_background(listening.accept, 60)
        connection = transport.connect(listening.address, SECRET, 60, name="good")
        accepted = accepting()
        assert accepted.peer == "good"
        connection.close()
        accepted.close()
    assert "expected b'WEFTAUT1' to begin with, got b'xxxxxxxx'" in caplog.text
    assert "too many others" in caplog.text


def lets_nobody_in(scheme: str) -> None:
    """Connect without a word, and be sent away."""
    with contextlib.closing(transport.listen(scheme, SECRET)) as listening, by_hand(listening) as sock:
        accepting = in_background(listening.accept)
        sock.settimeout(60)
        assert sock.recv(1) == b""
        listening.close()
        with pytest.raises(errors.CancelledError):
            accepting()


@pytest.mark.parametrize("scheme", BARE)
def test_a_stranger_who_says_nothing_is_dropped(
    scheme: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(auth, "HANDSHAKE_TIMEOUT", 0.05)
    lets_nobody_in(scheme)
    assert "did not prove itself in time" in caplog.text


def test_another_user_of_the_machine_is_refused_at_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    lets_nobody_in("shm")
    assert f"refused a client: it is user {os.getuid()}'s" in caplog.text


@pytest.mark.parametrize("scheme", SOCKETS)
def test_a_listener_that_lets_nobody_in_is_not_waited_for(scheme: str) -> None:
    with (
        contextlib.closing(transport.listen(scheme, SECRET)) as listening,
        pytest.raises(errors.DeadlineExceededError, match="master did not prove itself in time"),
    ):
        transport.connect(listening.address, SECRET, timeout=0.05, peer="master")


def test_a_message_that_ends_in_the_middle(pair: Pair) -> None:
    left, right = pair
    data = b"".join(bytes(piece) for piece in message.encode(numbered(1, np.ones(500)), Limits()))
    left._sock.sendall(data[:1000])
    with pytest.raises(errors.DeadlineExceededError, match="the rest of a message from left"):
        right.recv(0.5)
    left._sock.sendall(data[1000:] + data[:30])
    assert right.recv(60).tensors[0].sum() == 500
    left.close()
    with pytest.raises(
        errors.UnavailableError, match="left is gone: it closed the connection in the middle of a message"
    ):
        right.recv(60)


def test_what_is_no_message_ends_the_connection(pair: Pair) -> None:
    left, right = pair
    left._sock.sendall(b"\x80\x04\x95" + bytes(70))
    with pytest.raises(
        errors.DataLossError, match="left: malformed message: expected a frame that begins with b'WEFT'"
    ):
        right.recv(60)
    with pytest.raises(errors.UnavailableError, match="left is gone: malformed message"):
        right.recv(60)
    with pytest.raises(errors.UnavailableError, match="left is gone: malformed message"):
        right.send(numbered(1))
    with pytest.raises(errors.UnavailableError, match="right is gone"):
        left.recv(60)


@pytest.mark.parametrize("scheme", SOCKETS)
def test_limits_hold_on_both_sides(scheme: str) -> None:
    with connected(scheme, Limits(max_meta=10)) as (left, right):
        with pytest.raises(errors.InvalidArgumentError, match="the limit is 10"):
            left.send(Message(1, 0, 0, 0, b"x" * 11))
        left.send(Message(1, 0, 0, 0, b"x" * 10))
        assert right.recv(60).meta == b"x" * 10


def test_received_arrays_are_aligned(pair: Pair) -> None:
    pair[0].send(numbered(1, *(np.ones(size, np.uint8) for size in (1, 100, 20_000, 33_333, 3))))
    assert [tensor.ctypes.data % 64 for tensor in pair[1].recv(60).tensors] == [0] * 5


CHILD = """
import sys, time
import numpy as np
from weft.cluster.transports import transport
from weft.cluster.wire.message import Message
connection = transport.connect(sys.argv[1], bytes(range(32)), name="child")
connection.send(Message(1, 0, 1, tensors=[np.arange(1_000_000)]))
connection.recv(600)
"""


@pytest.mark.parametrize("scheme", SOCKETS)
def test_a_killed_peer_is_noticed_at_once_and_leaves_nothing(scheme: str) -> None:
    with contextlib.closing(transport.listen(scheme, SECRET)) as listening:
        child = subprocess.Popen([sys.executable, "-c", CHILD, listening.address])
        connection = listening.accept(60)
    (array,) = connection.recv(60).tensors
    mapped = Path(f"/proc/{child.pid}/maps").read_text()
    assert "/dev/shm" not in mapped  # the memory has no name: there is nothing that could stay
    assert ("/memfd:weft (deleted)" in mapped) == (scheme == "shm")
    receiving = in_background(connection.recv)
    child.send_signal(signal.SIGKILL)
    with pytest.raises(errors.UnavailableError, match="child is gone"):
        receiving()
    child.wait()
    np.testing.assert_array_equal(array, np.arange(1_000_000))
    connection.close()


@pytest.mark.parametrize("scheme", SOCKETS)
@pytest.mark.parametrize(
    ("number", "what"), [(0, "expected its message 1, got 0"), (2, "expected its message 1, got 2")]
)
def test_a_frame_that_was_lost_or_comes_twice_ends_the_connection(scheme: str, number: int, what: str) -> None:
    with connected(scheme) as (left, right):
        left.send(numbered(1))
        assert right.recv(60).step == 1
        left._frames_sent = number
        left.send(numbered(2))
        with pytest.raises(errors.DataLossError, match=what):
            right.recv(60)
        with pytest.raises(errors.UnavailableError, match=what):
            right.recv(60)
