"""Memory to receive into is used again when nothing lies in it any more, and only then."""

import gc
from typing import Any

import numpy as np
import pytest
from weft.cluster.transports.pool import ReceivePool

SIZE = 1 << 20


def address(memory: Any) -> int:
    return int(np.frombuffer(memory, np.uint8).ctypes.data)


def test_memory_is_used_again_after_the_last_array_in_it() -> None:
    pool = ReceivePool(4 * SIZE)
    memory = pool(SIZE)
    first = address(memory)
    array = np.ndarray((10, 10), np.float32, memory, 64)
    view = array[3:, ::2].T
    last = view[::-1]
    del memory, array, view
    held = [pool(SIZE) for _ in range(3)]
    assert first not in [address(each) for each in held]
    del last
    assert address(pool(SIZE - 5)) == first


def test_sizes_that_come_no_more_make_room() -> None:
    pool = ReceivePool(4 * SIZE)
    del [pool(4 * SIZE)][:]
    memory = pool(2 * SIZE)
    first = address(memory)
    del memory
    assert pool._idle_bytes == 2 * SIZE
    assert address(pool(2 * SIZE)) == first


@pytest.mark.parametrize("close", [False, True])
def test_no_more_is_kept_than_allowed(close: bool) -> None:
    pool = ReceivePool(3 * SIZE)
    held = [pool(SIZE) for _ in range(9)]
    if close:
        pool.close()
    del held
    gc.collect()
    kept = sum(len(idle) for idle in pool._idle.values())
    assert kept == 0 if close else 1 <= kept <= 3


def test_memory_is_aligned_and_writable() -> None:
    pool = ReceivePool(SIZE)
    for size in (1, 1000, SIZE, SIZE + 1):
        memory = pool(size)
        assert address(memory) % 64 == 0
        memoryview(memory).cast("B")[size - 1] = 1
