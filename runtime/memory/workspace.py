"""Workspace: memory for what kernels compute on the way, one piece a thread, shared by all kernels of a plan."""

from __future__ import annotations

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
