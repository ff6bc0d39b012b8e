"""Memory for big results that a plan gives away, used again when nobody holds the result any more."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np

from .arena import ALIGNMENT

#: Smaller results are allocated as NumPy does it, which is as fast.
SMALLEST = 1 << 17
#: How much memory that nobody uses is kept.
KEPT_BYTES = 1 << 28


class Recycler:
    """Hands out arrays whose memory comes back when the last array in it is gone. Safe from several threads."""

    def __init__(self, kept_bytes: int = KEPT_BYTES) -> None:
        self._kept_bytes = kept_bytes
        self._free: defaultdict[int, list[Any]] = defaultdict(list)
        self._unused = 0

    def array(self, dtype: np.dtype[Any], dims: tuple[int, ...], nbytes: int) -> np.ndarray[Any, Any]:
        """An array of that type and shape, with anything in it."""
        try:
            block = self._free[nbytes].pop()
            self._unused -= nbytes
        except IndexError:
            block = _aligned(nbytes)
        return np.asarray(_Lease(self, block)).view(dtype).reshape(dims)

    def take_back(self, block: np.ndarray[Any, Any]) -> None:
        """Keep a block for later, or let it go when enough is kept."""
        if self._unused + block.nbytes <= self._kept_bytes:
            self._unused += block.nbytes
            self._free[block.nbytes].append(block)


class _Lease:
    """Owns a block for NumPy as long as an array in it lives."""

    __slots__ = ("__array_interface__", "_block", "_recycler")

    def __init__(self, recycler: Recycler, block: np.ndarray[Any, Any]) -> None:
        self._recycler = recycler
        self._block = block
        self.__array_interface__ = block.__array_interface__

    def __del__(self) -> None:
        self._recycler.take_back(self._block)


def _aligned(nbytes: int) -> np.ndarray[Any, Any]:
    whole = np.empty(nbytes + ALIGNMENT, np.uint8)
    start = -whole.ctypes.data % ALIGNMENT
    return whole[start : start + nbytes]


RECYCLER = Recycler()
