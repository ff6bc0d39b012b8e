"""What only the shared-memory transport does: slots, reserved memory, segments and their bounds."""

import os
import socket
import stat
from collections.abc import Iterator

import numpy as np
import pytest
from endpoints import Pair, connected, nothing_left, numbered
from weft.cluster.wire import message
from weft.cluster.wire.message import Limits
from weft.graph import dtypes, errors

pytestmark = pytest.mark.counts


@pytest.fixture(autouse=True)
def leaves_nothing() -> Iterator[None]:
    with nothing_left():
        yield


@pytest.fixture
def pair() -> Iterator[Pair]:
    with connected("shm") as both:
        yield both


def test_slots_are_used_again(pair: Pair) -> None:
    left, right = pair
    for step in range(1000):
        sent = np.full(50_000 + step % 7 * 1000, step, np.int32)
        left.send(numbered(step, sent, sent[: 20_000 + step]))
        assert right.recv(60).tensors[0][-1] == step
        left.release(step)
    assert left.shared_bytes == 4 << 20


def test_segments_are_for_nobody_else(pair: Pair) -> None:
    left, _ = pair
    left.reserve(0, dtypes.float32, (10_000,))
    (segment,) = left._arena.segments
    assert stat.S_IMODE(os.fstat(segment.fd).st_mode) == 0o600


def test_slots_are_kept_until_their_step_is_released(pair: Pair) -> None:
    left, right = pair
    got = []
    for step in range(40):
        left.send(numbered(step, np.full(300_000, step, np.uint8)))
        got.append(right.recv(60).tensors[0])
        if step >= 10:
            left.release(step - 10)
        assert [tensor[0] for tensor in got[-10:]] == list(range(max(0, step - 9), step + 1))
    assert left.shared_bytes <= 12 << 20


def test_reserved_memory_is_not_copied(pair: Pair) -> None:
    left, right = pair
    array = left.reserve(5, dtypes.float32, (100, 1000))
    small = left.reserve(5, dtypes.bfloat16, ())
    array[...] = 1
    small[...] = 2
    left.send(numbered(5, array, array.reshape(-1), small))
    tensors = right.recv(60).tensors
    before = left.shared_bytes
    array[3, 4] = 7  # seen by who has received: this is the same memory
    small[...] = 3
    assert [tensors[0][3, 4], tensors[1][3004], tensors[2]] == [7, 7, 3]
    left.send(numbered(6, array))  # another step's: its slot would be given back too early
    (copied,) = right.recv(60).tensors
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
        assert np.shares_memory(right.recv(60).tensors[0], array)
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
        assert [right.recv(60).step for _ in range(3)] == [1, 2, 4]


def test_memory_that_the_system_refuses_is_a_clean_error(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    with pytest.raises(errors.ResourceExhaustedError, match="No space left on device"):
        pair[0].send(numbered(1, np.ones(100_000)))
    monkeypatch.undo()
    pair[0].send(numbered(1, np.ones(100_000)))
    assert pair[1].recv(60).tensors[0].sum() == 100_000


def test_a_segment_without_its_descriptor_ends_the_connection(pair: Pair) -> None:
    left, right = pair
    left._sock.sendall(message.encode_segment(0, 4096))
    with pytest.raises(errors.DataLossError, match="and a descriptor, got 0 and 0"):
        right.recv(60)


def test_descriptors_that_nobody_asked_for_end_the_connection(pair: Pair) -> None:
    left, right = pair
    with open("/dev/null") as file:
        socket.send_fds(left._sock, [b"x"], [file.fileno()] * 30)
        with pytest.raises(errors.DataLossError, match="too many"):
            right.recv(60)


def test_small_tensors_travel_inline(pair: Pair) -> None:
    pair[0].send(numbered(1, np.ones(message.SLOT_FROM - 1, np.uint8)))
    assert pair[0].shared_bytes == 0
    pair[0].send(numbered(1, np.ones(message.SLOT_FROM, np.uint8)))
    assert pair[0].shared_bytes > 0
    assert [len(pair[1].recv(60).tensors[0]) - message.SLOT_FROM for _ in range(2)] == [-1, 0]
