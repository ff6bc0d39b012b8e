"""Memory that kernels work in: a piece a thread, used again by every call, so that a step allocates nothing."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

#: A piece that has to be bigger than this is not kept: it is not worth the memory.
KEPT_BYTES = 1 << 24
ALIGNMENT = 64

#: How many elements a kernel over vectors works on at a time: what a step needs of them stays in the cache.
BLOCK_SIZE = 32_768
#: The longest vectors that are kept: some kernels, which need one array only, do better with larger blocks.
CAPACITY = 2 * BLOCK_SIZE
#: How many forms of vectors a thread keeps at hand; they are views, so this is no memory to speak of.
_FORMS = 256


class Room(threading.local):
    """A thread's piece of memory, for one kernel at a time.

    What is taken is valid until the thread takes anew: a kernel begins with `clear`, `array` or `vectors`, and what was
    taken before that is lost.
    """

    def __init__(self) -> None:
        self._piece = np.empty(0, np.uint8)
        self._taken = 0
        self._vectors: dict[tuple[np.dtype[Any], int, int], list[Array]] = {}
        self._shaped: dict[tuple[np.dtype[Any], tuple[int, ...], int], list[Array]] = {}

    def clear(self) -> None:
        """Take from the start again. Where the memory did not suffice the last time, it does from now on."""
        self._grow(self._taken)
        self._taken = 0

    def take(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """An array with anything in it, beside what was taken since `clear`."""
        start, end = self._taken, self._taken + math.prod(shape) * dtype.itemsize
        self._taken = -(-end // ALIGNMENT) * ALIGNMENT
        if end > self._piece.size:
            return np.empty(shape, dtype)
        array: Array = self._piece[start:end].view(dtype).reshape(shape)
        return array

    def array(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """One array with anything in it."""
        self._grow(math.prod(shape) * dtype.itemsize)
        self._taken = 0
        return self.take(shape, dtype)

    def vectors(self, dtype: np.dtype[Any], size: int, count: int) -> list[Array]:
        """`count` vectors of `size` elements. Above CAPACITY elements they are new."""
        found = self._vectors.get((dtype, size, count))
        if found is not None:
            return found
        if size > CAPACITY:
            return [np.empty(size, dtype) for _ in range(count)]
        length = BLOCK_SIZE if size <= BLOCK_SIZE else CAPACITY  # few sizes, so that the piece does not change often
        whole = self.array((count, length), dtype)
        if len(self._vectors) >= _FORMS:
            self._vectors.clear()
        vectors = self._vectors[dtype, size, count] = list(whole[:, :size])
        return vectors

    def shaped(self, dtype: np.dtype[Any], shape: tuple[int, ...], count: int) -> list[Array]:
        """As `vectors`, in a shape of at most CAPACITY elements."""
        found = self._shaped.get((dtype, shape, count))
        if found is None:
            vectors = self.vectors(dtype, math.prod(shape), count)
            if len(self._shaped) >= _FORMS:
                self._shaped.clear()
            found = self._shaped[dtype, shape, count] = [vector.reshape(shape) for vector in vectors]
        return found

    def _grow(self, size: int) -> None:
        if self._piece.size < size <= KEPT_BYTES:
            whole = np.empty(size + ALIGNMENT, np.uint8)
            start = -whole.ctypes.data % ALIGNMENT
            self._piece = whole[start : start + size]
            self._vectors.clear()
            self._shaped.clear()


#: Of the thread that a kernel is called in, for what its blocks share; and of each thread, for one block or small kernel.
CALL, BLOCK = Room(), Room()
