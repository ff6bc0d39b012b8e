"""The memory that kernels work in."""

import numpy as np
from weft.graph.ops.rooms import CAPACITY, KEPT_BYTES, Room

FLOAT = np.dtype(np.float32)


def test_a_room_grows_to_what_was_taken_and_is_not_kept_when_too_big() -> None:
    room = Room()
    room.take((100,), FLOAT)
    room.clear()
    first, second = room.take((70,), FLOAT), room.take((3, 4), FLOAT)
    assert first.base is not None
    assert not np.shares_memory(first, second)
    room.clear()
    assert np.shares_memory(first, room.take((5,), FLOAT))
    room.take((KEPT_BYTES,), FLOAT)
    room.clear()
    assert np.shares_memory(first, room.take((5,), FLOAT))


def test_one_array_is_the_same_memory_each_time_but_where_it_is_large() -> None:
    room = Room()
    first = room.array((3, 4), FLOAT)
    assert np.shares_memory(first, room.array((2,), np.dtype(np.float64)))
    large = room.array((KEPT_BYTES + 1,), np.dtype(np.uint8))
    assert not np.shares_memory(large, room.array((8,), np.dtype(np.uint8)))


def test_vectors_are_the_same_memory_each_time_and_never_twice_in_one_call() -> None:
    room = Room()
    first, second = room.vectors(FLOAT, 10, 2)
    assert first.size == second.size == 10
    assert not np.shares_memory(first, second)
    assert np.shares_memory(first, room.vectors(FLOAT, 20, 1)[0])
    assert room.vectors(FLOAT, 10, 2)[1] is second
    assert room.vectors(FLOAT, CAPACITY + 1, 1)[0].size == CAPACITY + 1


def test_vectors_move_with_the_memory_when_it_grows() -> None:
    room = Room()
    room.vectors(FLOAT, 10, 1)
    room.array((4 * CAPACITY,), FLOAT)
    (again,) = room.vectors(FLOAT, 10, 1)
    assert np.shares_memory(again, room.array((4 * CAPACITY,), FLOAT))
