"""What every transport promises, shown for each of them; then what only some do."""

import contextlib
import gc
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from weft.cluster import auth, inproc, listener, message, segments, shm, transport
from weft.cluster.message import Limits, Message
from weft.graph import dtypes, errors

SECRET = bytes(range(32))
DEFAULT = Limits()
ALL = ["inproc", "shm", "tcp"]
SOCKETS = ["shm", "tcp"]
Pair = tuple[Any, Any]


@contextlib.contextmanager
def connected(scheme: str, limits: Limits = DEFAULT) -> Iterator[Pair]:
    """Both ends of a connection: the one that connected, and the one that accepted."""
    with contextlib.ExitStack() as stack:
        listening: Any = stack.enter_context(contextlib.closing(transport.listen(scheme, SECRET, limits=limits)))
        if scheme == "inproc":
            left = transport.connect(listening.address, SECRET, peer="right", name="left", limits=limits)
            right = listening.accept(5)
        else:
            pool = stack.enter_context(ThreadPoolExecutor(1))
            accepted = pool.submit(listening.accept, 5)
            left = transport.connect(listening.address, SECRET, peer="right", name="left", limits=limits)
            right = accepted.result()
        stack.enter_context(contextlib.closing(left))
        stack.enter_context(contextlib.closing(right))
        yield left, right


@pytest.fixture(params=ALL)
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    with connected(request.param) as both:
        yield both


@pytest.fixture(params=SOCKETS)
def socket_pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    with connected(request.param) as both:
        yield both


@pytest.fixture
def shm_pair() -> Iterator[Pair]:
    with connected("shm") as both:
        yield both


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """No test leaves a thread, a file descriptor or a file in shared memory."""
    before = threading.active_count(), len(os.listdir("/proc/self/fd")), os.listdir("/dev/shm")
    yield
    gc.collect()  # errors hold frames, frames hold arrays, and arrays their segments
    assert (threading.active_count(), len(os.listdir("/proc/self/fd")), os.listdir("/dev/shm")) == before


def in_background(function: Callable[..., Any], *args: Any) -> Callable[[], Any]:
    """Start a function in a thread; calling what is returned waits and gives its result or raises its error."""
    pool = ThreadPoolExecutor(1)
    future = pool.submit(function, *args)

    def result() -> Any:
        try:
            return future.result(20)
        finally:
            pool.shutdown()

    return result


def numbered(step: int, *tensors: Any) -> Message:
    return Message(1, 2, step, 3, b"meta", tensors)


# what all do


def test_both_ways_and_names(pair: Pair) -> None:
    left, right = pair
    assert (left.peer, right.peer) == ("right", "left")
    for sender, receiver in ((left, right), (right, left)):
        sender.send(numbered(9, np.arange(5), np.array([b"text"], object)))
        got = receiver.recv(5)
        assert (got.kind, got.epoch, got.step, got.edge, got.meta) == (1, 2, 9, 3, b"meta")
        assert got.tensors[0].tolist() == [0, 1, 2, 3, 4]
        assert got.tensors[1].tolist() == [b"text"]


@pytest.mark.parametrize("shape", [(), (0, 3), (7,), (130, 129)], ids=str)
def test_tensors_of_every_type_arrive_read_only(pair: Pair, shape: tuple[int, ...]) -> None:
    random = np.random.default_rng(0)
    sent = [random.integers(0, 2, shape).astype(dtype.np) for dtype in dtypes.ALL if not dtype.np.hasobject]
    pair[0].send(numbered(1, *sent))
    for before, after in zip(sent, pair[1].recv(5).tensors, strict=True):
        assert after.dtype == before.dtype
        assert after.shape == shape
        assert after.tobytes() == before.tobytes()
        assert not after.flags.writeable


def test_views_arrive(pair: Pair) -> None:
    array = np.arange(90_000.0).reshape(300, 300)
    pair[0].send(numbered(1, array.T, array[::2, 5:], np.broadcast_to(array[0], (200, 300))))
    transposed, strided, broadcast = pair[1].recv(5).tensors
    np.testing.assert_array_equal(transposed, array.T)
    np.testing.assert_array_equal(strided, array[::2, 5:])
    np.testing.assert_array_equal(broadcast, np.broadcast_to(array[0], (200, 300)))


def test_many_messages_keep_their_order(pair: Pair) -> None:
    left, right = pair

    def send() -> None:
        for step in range(3000):
            left.send(numbered(step, np.full(step % 50, step)))

    sending = in_background(send)
    for step in range(3000):
        got = right.recv(5)
        assert got.step == step
        assert got.tensors[0].tolist() == [step] * (step % 50)
    sending()


def test_large_messages_arrive(pair: Pair) -> None:
    array = np.random.default_rng(0).integers(0, 256, 40_000_001, np.uint8)
    sending = in_background(pair[0].send, Message(1, 0, 1, 0, b"m" * 1_000_000, [array, array[:3], array[7:900_000]]))
    got = pair[1].recv(10)
    sending()
    assert got.meta == b"m" * 1_000_000
    assert [tensor.tobytes() for tensor in got.tensors] == [
        array.tobytes(),
        array[:3].tobytes(),
        array[7:900_000].tobytes(),
    ]


def test_more_tensors_than_one_system_call_takes(pair: Pair) -> None:
    sent = [np.full(17_000 if index % 8 == 0 else 3, index, np.uint16) for index in range(10_000)]
    sending = in_background(pair[0].send, numbered(1, *sent))
    got = pair[1].recv(10)
    sending()
    assert len(got.tensors) == 10_000
    assert all(tensor[-1] == index % 2**16 for index, tensor in enumerate(got.tensors))


def test_senders_do_not_mix_their_messages(pair: Pair) -> None:
    left, right = pair

    def send(kind: int) -> None:
        for step in range(100):
            left.send(Message(kind, 0, step, 0, bytes([kind]) * 100, [np.full(step * 400, kind, np.uint8)]))

    with ThreadPoolExecutor(4) as pool:
        sending = [pool.submit(send, kind) for kind in range(4)]
        steps = [0] * 4
        for _ in range(400):
            got = right.recv(5)
            assert got.step == steps[got.kind]
            assert got.meta == bytes([got.kind]) * 100
            assert got.tensors[0].tobytes() == bytes([got.kind]) * (got.step * 400)
            steps[got.kind] += 1
        for each in sending:
            each.result()


def test_a_message_that_does_not_come_is_waited_for_no_longer_than_told(pair: Pair) -> None:
    begin = time.monotonic()
    with pytest.raises(errors.DeadlineExceededError, match="a message from right did not come in time"):
        pair[0].recv(0.05)
    assert 0.04 < time.monotonic() - begin < 2
    with pytest.raises(errors.DeadlineExceededError):
        pair[0].recv(0)
    pair[1].send(numbered(4))
    assert pair[0].recv(5).step == 4


def test_a_slow_receiver_blocks_the_sender(pair: Pair) -> None:
    left, right = pair
    sent = []

    def send() -> None:
        for step in range(5000):
            left.send(Message(1, 0, step, 0, bytes(8000)))
            sent.append(step)

    sending = in_background(send)
    time.sleep(0.2)
    assert len(sent) < 4000
    for step in range(5000):
        assert right.recv(5).step == step
    sending()


def test_what_was_sent_before_the_end_still_arrives(pair: Pair) -> None:
    left, right = pair
    left.send(numbered(1, np.ones(3)))
    left.send(numbered(2, np.ones(30_000)))
    left.close()
    assert [right.recv(5).step, right.recv(5).tensors[0].sum()] == [1, 30_000]
    for _ in range(2):
        with pytest.raises(errors.UnavailableError, match="left is gone: it closed the connection"):
            right.recv(5)
    with contextlib.suppress(errors.UnavailableError):
        right.send(numbered(1))  # the system may take one before it knows
        time.sleep(0.05)
    with pytest.raises(errors.UnavailableError, match="left is gone"):
        right.send(numbered(1))


def test_close_wakes_who_receives(pair: Pair) -> None:
    receiving = in_background(pair[0].recv)
    time.sleep(0.05)
    pair[0].close()
    with pytest.raises(errors.CancelledError, match="connection to right was closed here"):
        receiving()


def test_close_wakes_who_sends(pair: Pair) -> None:
    def send() -> None:
        while True:
            pair[0].send(Message(1, 0, 1, 0, bytes(100_000)))

    sending = in_background(send)
    time.sleep(0.1)
    pair[0].close()
    with pytest.raises(errors.CancelledError, match="closed here"):
        sending()


def test_close_may_be_repeated_and_ends_everything(pair: Pair) -> None:
    pair[0].close()
    pair[0].close()
    with pytest.raises(errors.CancelledError):
        pair[0].send(numbered(1, np.ones(100_000)))
    with pytest.raises(errors.CancelledError):
        pair[0].recv(1)


def test_arrays_outlive_their_connection(pair: Pair) -> None:
    sent = [np.arange(5), np.arange(100_000)]
    pair[0].send(numbered(1, *sent))
    got = pair[1].recv(5).tensors
    pair[0].close()
    pair[1].close()
    for before, after in zip(sent, got, strict=True):
        np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize("scheme", ALL)
def test_a_wrong_secret_is_refused_and_the_listener_lives_on(scheme: str, caplog: pytest.LogCaptureFixture) -> None:
    listening = transport.listen(scheme, SECRET)
    accepting = in_background(listening.accept, 5)
    wrong = bytes(reversed(SECRET))
    with pytest.raises(errors.UnauthenticatedError, match="master and this side do not trust each other") as caught:
        transport.connect(listening.address, wrong, peer="master")
    connection = transport.connect(listening.address, SECRET)
    accepting().close()
    connection.close()
    listening.close()
    shown = caplog.text + repr(caught.value) + repr(listening) + repr(connection)
    for secret in (SECRET, wrong):
        assert repr(secret)[2:-1] not in shown
        assert secret.hex() not in shown


@pytest.mark.parametrize("scheme", ALL)
def test_nobody_connects_and_nobody_listens(scheme: str) -> None:
    listening = transport.listen(scheme, SECRET)
    with pytest.raises(errors.DeadlineExceededError, match="nobody connected"):
        listening.accept(0.02)
    accepting = in_background(listening.accept)
    time.sleep(0.05)
    listening.close()
    listening.close()
    with pytest.raises(errors.CancelledError, match="was closed"):
        accepting()
    with pytest.raises(errors.CancelledError, match="was closed"):
        listening.accept()
    with pytest.raises(errors.UnavailableError, match="master cannot be reached at"):
        transport.connect(listening.address, SECRET, peer="master")


@pytest.mark.parametrize("address", ["http://x", "tcp://here", "tcp://:1", "shm", "inproc://"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="address"):
        transport.connect(address, SECRET)


@pytest.mark.parametrize(("scheme", "host"), [("carrier pigeon", "::1"), ("tcp", "0.0.0.0"), ("tcp", "::")])
def test_where_nobody_can_or_may_listen(scheme: str, host: str) -> None:
    with pytest.raises(ValueError, match=r"unknown transport|bound to one address"):
        transport.listen(scheme, SECRET, host)


def test_choosing() -> None:
    here = transport.Location.here()
    assert transport.choose(here, transport.Location.here()) == "inproc"
    assert transport.choose(here, transport.Location(here.node, "another")) == "shm"
    assert transport.choose(here, transport.Location("another", here.process)) == "tcp"


# what those over sockets do


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


@pytest.mark.parametrize("scheme", SOCKETS)
def test_strangers_hold_up_nobody(
    scheme: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "_MOST_CANDIDATES", 3)
    with contextlib.ExitStack() as stack:
        listening: Any = stack.enter_context(contextlib.closing(transport.listen(scheme, SECRET)))
        for garbage in (b"", b"GET / HTTP/1.1\r\n\r\n", b"x" * 10_000, b"WEFTAUT1", b"", b"", b""):
            stack.enter_context(by_hand(listening)).sendall(garbage)
        gone = stack.enter_context(by_hand(listening))
        gone.close()
        accepting = in_background(listening.accept, 5)
        begin = time.monotonic()
        connection = transport.connect(listening.address, SECRET, name="good")
        accepted = accepting()
        assert time.monotonic() - begin < 2
        assert accepted.peer == "good"
        connection.close()
        accepted.close()
    assert "expected b'WEFTAUT1' to begin with, got b'xxxxxxxx'" in caplog.text
    assert "too many others" in caplog.text


@pytest.mark.parametrize("scheme", SOCKETS)
def test_a_stranger_who_says_nothing_is_dropped(
    scheme: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(auth, "HANDSHAKE_TIMEOUT", 0.05)
    with contextlib.closing(transport.listen(scheme, SECRET)) as listening, by_hand(listening) as sock:
        with pytest.raises(errors.DeadlineExceededError):
            listening.accept(0.2)
        sock.settimeout(1)
        assert sock.recv(1) == b""
    assert "did not prove itself in time" in caplog.text


@pytest.mark.parametrize("scheme", SOCKETS)
def test_a_listener_that_lets_nobody_in_is_not_waited_for(scheme: str) -> None:
    with (
        contextlib.closing(transport.listen(scheme, SECRET)) as listening,
        pytest.raises(errors.DeadlineExceededError, match="master did not prove itself in time"),
    ):
        transport.connect(listening.address, SECRET, timeout=0.05, peer="master")


def test_a_message_that_ends_in_the_middle(socket_pair: Pair) -> None:
    left, right = socket_pair
    data = b"".join(bytes(piece) for piece in message.encode(numbered(1, np.ones(500)), Limits()))
    left._sock.sendall(data[:1000])
    with pytest.raises(errors.DeadlineExceededError, match="the rest of a message from left"):
        right.recv(0.02)
    left._sock.sendall(data[1000:] + data[:30])
    assert right.recv(5).tensors[0].sum() == 500
    left.close()
    with pytest.raises(
        errors.UnavailableError, match="left is gone: it closed the connection in the middle of a message"
    ):
        right.recv(5)


def test_what_is_no_message_ends_the_connection(socket_pair: Pair) -> None:
    left, right = socket_pair
    left._sock.sendall(b"\x80\x04\x95" + bytes(70))
    with pytest.raises(
        errors.DataLossError, match="left: malformed message: expected a frame that begins with b'WEFT'"
    ):
        right.recv(5)
    for use in (lambda: right.recv(5), lambda: right.send(numbered(1))):
        with pytest.raises(errors.UnavailableError, match="left is gone: malformed message"):
            use()
    with pytest.raises(errors.UnavailableError, match="right is gone"):
        left.recv(5)


@pytest.mark.parametrize("scheme", SOCKETS)
def test_limits_hold_on_both_sides(scheme: str) -> None:
    with connected(scheme, Limits(max_meta=10)) as (left, right):
        with pytest.raises(errors.InvalidArgumentError, match="the limit is 10"):
            left.send(Message(1, 0, 0, 0, b"x" * 11))
        left.send(Message(1, 0, 0, 0, b"x" * 10))
        assert right.recv(5).meta == b"x" * 10


def test_received_arrays_are_aligned(socket_pair: Pair) -> None:
    socket_pair[0].send(numbered(1, *(np.ones(size, np.uint8) for size in (1, 100, 20_000, 33_333, 3))))
    assert [tensor.ctypes.data % 64 for tensor in socket_pair[1].recv(5).tensors] == [0] * 5


CHILD = """
import sys, time
import numpy as np
from weft.cluster import transport
from weft.cluster.message import Message
connection = transport.connect(sys.argv[1], bytes(range(32)), name="child")
connection.send(Message(1, 0, 1, tensors=[np.arange(1_000_000)]))
connection.recv(20)
"""


@pytest.mark.parametrize("scheme", SOCKETS)
def test_a_killed_peer_is_noticed_at_once_and_leaves_nothing(scheme: str) -> None:
    with contextlib.closing(transport.listen(scheme, SECRET)) as listening:
        child = subprocess.Popen([sys.executable, "-c", CHILD, listening.address])
        connection = listening.accept(20)
    (array,) = connection.recv(10).tensors
    receiving = in_background(connection.recv)
    child.send_signal(signal.SIGKILL)
    begin = time.monotonic()
    with pytest.raises(errors.UnavailableError, match="child is gone"):
        receiving()
    assert time.monotonic() - begin < 2
    child.wait()
    np.testing.assert_array_equal(array, np.arange(1_000_000))
    connection.close()


# what only shared memory does


def test_slots_are_used_again(shm_pair: Pair) -> None:
    left, right = shm_pair
    for step in range(1000):
        sent = np.full(50_000 + step % 7 * 1000, step, np.int32)
        left.send(numbered(step, sent, sent[: 20_000 + step]))
        assert right.recv(5).tensors[0][-1] == step
        left.release(step)
    assert left.shared_bytes == 4 << 20


def test_slots_are_kept_until_their_step_is_released(shm_pair: Pair) -> None:
    left, right = shm_pair
    got = []
    for step in range(40):
        left.send(numbered(step, np.full(300_000, step, np.uint8)))
        got.append(right.recv(5).tensors[0])
        if step >= 10:
            left.release(step - 10)
        assert [tensor[0] for tensor in got[-10:]] == list(range(max(0, step - 9), step + 1))
    assert left.shared_bytes <= 12 << 20


def test_reserved_memory_is_not_copied(shm_pair: Pair) -> None:
    left, right = shm_pair
    array = left.reserve(5, dtypes.float32, (100, 1000))
    small = left.reserve(5, dtypes.bfloat16, ())
    array[...] = 1
    small[...] = 2
    left.send(numbered(5, array, array.reshape(-1), small))
    tensors = right.recv(5).tensors
    before = left.shared_bytes
    array[3, 4] = 7  # seen by who has received: this is the same memory
    small[...] = 3
    assert [tensors[0][3, 4], tensors[1][3004], tensors[2]] == [7, 7, 3]
    left.send(numbered(6, array))  # another step's: its slot would be given back too early
    (copied,) = right.recv(5).tensors
    array[3, 4] = 8
    assert copied[3, 4] == 7
    assert left.shared_bytes == before
    left.release(5)
    assert np.shares_memory(left.reserve(6, dtypes.float32, (100, 1000)), array)


def test_what_others_reserve() -> None:
    with connected("tcp") as (left, _):
        assert left.reserve(1, dtypes.float32, (3,)) is None
    with connected("inproc") as (left, right):
        array = left.reserve(1, dtypes.float32, (3,))
        left.send(numbered(1, array))
        assert np.shares_memory(right.recv(5).tensors[0], array)
    with connected("shm") as (left, _):
        assert left.reserve(1, dtypes.string, (3,)) is None
        assert left.reserve(1, dtypes.float32, (0, 3)).shape == (0, 3)


def test_shared_memory_is_bounded() -> None:
    with connected("shm", Limits(max_shared=6 << 20)) as (left, right):
        left.send(numbered(1, np.ones(3 << 20, np.uint8)))
        left.send(numbered(2, np.ones(2 << 20, np.uint8)))
        with pytest.raises(errors.ResourceExhaustedError, match="bytes of shared memory are more than"):
            left.send(numbered(3, np.ones(2 << 20, np.uint8)))
        left.release(1)
        left.send(numbered(4, np.ones(3 << 20, np.uint8)))
        assert [right.recv(5).step for _ in range(3)] == [1, 2, 4]


def test_memory_that_the_system_refuses_is_a_clean_error(shm_pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(segments.os, "posix_fallocate", refuse)
    with pytest.raises(errors.ResourceExhaustedError, match="No space left on device"):
        shm_pair[0].send(numbered(1, np.ones(100_000)))
    monkeypatch.undo()
    shm_pair[0].send(numbered(1, np.ones(100_000)))
    assert shm_pair[1].recv(5).tensors[0].sum() == 100_000


def test_a_segment_without_its_descriptor_ends_the_connection(shm_pair: Pair) -> None:
    left, right = shm_pair
    left._sock.sendall(message.encode_segment(0, 4096))
    with pytest.raises(errors.DataLossError, match="and a descriptor, got 0 and 0"):
        right.recv(5)


def test_descriptors_that_nobody_asked_for_end_the_connection(shm_pair: Pair) -> None:
    left, right = shm_pair
    with open("/dev/null") as file:
        socket.send_fds(left._sock, [b"x"], [file.fileno()] * 30)
        with pytest.raises(errors.DataLossError, match="too many"):
            right.recv(5)


def test_inproc_wakes_clients_that_were_never_accepted() -> None:
    listening = inproc.InprocListener(SECRET)
    connection = transport.connect(listening.address, SECRET)
    listening.close()
    with pytest.raises(errors.UnavailableError):
        connection.recv(5)
    connection.close()


def test_small_tensors_travel_inline(shm_pair: Pair) -> None:
    shm_pair[0].send(numbered(1, np.ones(shm.SLOT_FROM - 1, np.uint8)))
    assert shm_pair[0].shared_bytes == 0
    shm_pair[0].send(numbered(1, np.ones(shm.SLOT_FROM, np.uint8)))
    assert shm_pair[0].shared_bytes > 0
    assert [len(shm_pair[1].recv(5).tensors[0]) - shm.SLOT_FROM for _ in range(2)] == [-1, 0]
