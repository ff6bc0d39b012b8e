"""Memory that kernels work in: one block a thread, used again by every call, so that a step allocates nothing."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

#: A block that has to be bigger than this is not kept: it is not worth the memory.
KEPT_BYTES = 8 << 20
ALIGNMENT = 64


class Room(threading.local):
    """A thread's block of memory. What is taken from it is valid until the thread clears it."""

    def __init__(self) -> None:
        self._block = np.empty(0, np.uint8)
        self._taken = 0

    def clear(self) -> None:
        """Take from the start again. Where the memory did not suffice the last time, it does from now on."""
        if self._block.size < self._taken <= KEPT_BYTES:
            whole = np.empty(self._taken + ALIGNMENT, np.uint8)
            start = -whole.ctypes.data % ALIGNMENT
            self._block = whole[start : start + self._taken]
        self._taken = 0

    def take(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray[Any, Any]:
        """An array with anything in it."""
        count = dtype.itemsize
        for size in shape:
            count *= size
        start, end = self._taken, self._taken + count
        self._taken = -(-end // ALIGNMENT) * ALIGNMENT
        if end > self._block.size:
            return np.empty(shape, dtype)
        array: np.ndarray[Any, Any] = self._block[start:end].view(dtype).reshape(shape)
        return array


#: Of the thread that a kernel is called in, and of each thread that works on blocks of it.
CALL, BLOCK = Room(), Room()
