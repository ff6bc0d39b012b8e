"""What every transport promises, shown for each of them."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from clustered import soon
from endpoints import ALL, SECRET, Pair, certified, connected, in_background, nothing_left, numbered
from weft.cluster.transports import inproc, transport
from weft.cluster.wire.message import Message
from weft.graph import dtypes, errors

pytestmark = pytest.mark.counts


@pytest.fixture(autouse=True)
def leaves_nothing() -> Iterator[None]:
    with nothing_left():
        yield


environment = pytest.fixture(autouse=True)(certified)


@pytest.fixture(params=ALL)
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    with connected(request.param) as both:
        yield both


def test_both_ways_and_names(pair: Pair) -> None:
    left, right = pair
    assert (left.peer, right.peer) == ("right", "left")
    for sender, receiver in ((left, right), (right, left)):
        sender.send(numbered(9, np.arange(5), np.array([b"text"], object)))
        got = receiver.recv(60)
        assert (got.kind, got.epoch, got.step, got.edge, got.meta) == (1, 2, 9, 3, b"meta")
        assert got.tensors[0].tolist() == [0, 1, 2, 3, 4]
        assert got.tensors[1].tolist() == [b"text"]


@pytest.mark.parametrize("shape", [(), (0, 3), (7,), (130, 129)], ids=str)
def test_tensors_of_every_type_arrive_read_only(pair: Pair, shape: tuple[int, ...]) -> None:
    random = np.random.default_rng(0)
    sent = [random.integers(0, 2, shape).astype(dtype.np) for dtype in dtypes.ALL if not dtype.np.hasobject]
    pair[0].send(numbered(1, *sent))
    for before, after in zip(sent, pair[1].recv(60).tensors, strict=True):
        assert after.dtype == before.dtype
        assert after.shape == shape
        assert after.tobytes() == before.tobytes()
        assert not after.flags.writeable


def test_views_arrive(pair: Pair) -> None:
    array = np.arange(90_000.0).reshape(300, 300)
    pair[0].send(numbered(1, array.T, array[::2, 5:], np.broadcast_to(array[0], (200, 300))))
    transposed, strided, broadcast = pair[1].recv(60).tensors
    np.testing.assert_array_equal(transposed, array.T)
    np.testing.assert_array_equal(strided, array[::2, 5:])
    np.testing.assert_array_equal(broadcast, np.broadcast_to(array[0], (200, 300)))


def test_what_is_sent_once_may_change_at_once_and_stays_as_it_was(pair: Pair) -> None:
    array, taken = np.zeros(50_000), []
    for number in range(5):
        array[:] = number
        sending = in_background(pair[0].send_once, numbered(1, array))  # it may wait for who takes it
        taken.append(pair[1].recv(60).tensors[0])
        sending()
    array[:] = -1
    pair[0].release(1)
    assert [each.tolist() == [number] * 50_000 for number, each in enumerate(taken)] == [True] * 5


def test_many_messages_keep_their_order(pair: Pair) -> None:
    left, right = pair

    def send() -> None:
        for step in range(3000):
            left.send(numbered(step, np.full(step % 50, step)))

    sending = in_background(send)
    for step in range(3000):
        got = right.recv(60)
        assert got.step == step
        assert got.tensors[0].tolist() == [step] * (step % 50)
    sending()


def test_large_messages_arrive(pair: Pair) -> None:
    array = np.random.default_rng(0).integers(0, 256, 40_000_001, np.uint8)
    sending = in_background(pair[0].send, Message(1, 0, 1, 0, b"m" * 1_000_000, [array, array[:3], array[7:900_000]]))
    got = pair[1].recv(60)
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
    got = pair[1].recv(60)
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
            got = right.recv(60)
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
    assert time.monotonic() - begin > 0.04
    with pytest.raises(errors.DeadlineExceededError):
        pair[0].recv(0)
    pair[1].send(numbered(4))
    assert pair[0].recv(60).step == 4


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
        assert right.recv(60).step == step
    sending()


def test_a_poke_does_not_wait(pair: Pair) -> None:
    left, right = pair
    count = 0
    while left.poke(Message(1, 0, count, 0, bytes(8000))):
        count += 1
        assert count < 100_000
    sent = left.sent
    assert sent > 0
    assert not left.poke(Message(1, 0, count))
    assert left.sent == sent
    for step in range(count):
        assert right.recv(60).step == step
    assert right.received == sent
    assert left.poke(numbered(count))
    assert right.recv(60).meta == b"meta"
    left.close()
    with pytest.raises(errors.CancelledError, match="closed here"):
        left.poke(numbered(1))


def test_a_poke_stands_back_behind_a_long_message() -> None:
    values = np.arange(5_000_000.0)
    with connected("tcp") as (left, right):
        before = left.sent
        sending = in_background(left.send, numbered(1, values))
        soon(lambda: left.sent > before)
        assert not left.poke(numbered(2)), "what is poked stands back"
        (got,) = right.recv(60).tensors
        np.testing.assert_array_equal(got, values)
        sending()
        assert left.sent == right.received > values.nbytes


def test_what_was_sent_before_the_end_still_arrives(pair: Pair) -> None:
    left, right = pair
    left.send(numbered(1, np.ones(3)))
    left.send(numbered(2, np.ones(30_000)))
    left.close()
    assert [right.recv(60).step, right.recv(60).tensors[0].sum()] == [1, 30_000]
    for _ in range(2):
        with pytest.raises(errors.UnavailableError, match="left is gone: it closed the connection"):
            right.recv(60)

    def send() -> bool:
        right.send(numbered(1))
        return False

    with pytest.raises(errors.UnavailableError, match="left is gone"):
        soon(send)  # the system may take some before it knows


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
    got = pair[1].recv(60).tensors
    pair[0].close()
    pair[1].close()
    for before, after in zip(sent, got, strict=True):
        np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize("scheme", ALL)
def test_a_wrong_secret_is_refused_and_the_listener_lives_on(scheme: str, caplog: pytest.LogCaptureFixture) -> None:
    listening = transport.listen(scheme, SECRET)
    accepting = in_background(listening.accept, 60)
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


def test_inproc_wakes_clients_that_were_never_accepted() -> None:
    listening = inproc.InprocListener(SECRET)
    connection = transport.connect(listening.address, SECRET)
    listening.close()
    with pytest.raises(errors.UnavailableError):
        connection.recv(60)
    connection.close()
