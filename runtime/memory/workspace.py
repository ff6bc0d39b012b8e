"""Workspace: memory for what kernels compute on the way, one piece a thread, shared by all kernels of a plan."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .arena import ALIGNMENT

Array = np.ndarray[Any, Any]


class Workspace:
    """Kernels say how much they need before the first of them runs, and get views of it then, which they keep.

    Only for kernels that do not run at the same time.
    """

    def __init__(self) -> None:
        self._size = 0
        self._pieces: dict[int, Array] = {}

    def reserve(self, size: int) -> None:
        """Somebody will need `size` bytes in each thread."""
        self._size = max(self._size, size)

    def piece(self, thread: int) -> Array:
        """The bytes of one thread, which alone asks for them."""
        found = self._pieces.get(thread)
        if found is None:
            block = np.empty(self._size + ALIGNMENT, np.uint8)
            start = -block.ctypes.data % ALIGNMENT
            found = self._pieces[thread] = block[start : start + self._size]
        return found


class Kept:
    """Arrays in a workspace, the same in each run of a frame. There are none before the first: ask for them with `made` then."""

    def __init__(self, workspace: Workspace, forms: Sequence[tuple[tuple[int, ...], np.dtype[Any]]]) -> None:
        self._workspace, self._forms = workspace, forms
        self._sizes = [math.prod(dims) * dtype.itemsize for dims, dtype in forms]
        workspace.reserve(sum(_aligned(size) for size in self._sizes))
        self.arrays: list[Array] = []

    def made(self) -> list[Array]:
        """The arrays, made now: all kernels have said how much memory they need."""
        piece, start, arrays = self._workspace.piece(0), 0, []
        for (dims, dtype), size in zip(self._forms, self._sizes, strict=True):
            arrays.append(piece[start : start + size].view(dtype).reshape(dims))
            start += _aligned(size)
        self.arrays = arrays
        return arrays


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
