"""Memory for what is received: large pieces are used again as soon as no array lies in them any more.

Fresh memory costs a page fault every 4 KiB, which for large tensors is more than reading them takes.
"""

from __future__ import annotations

import threading
import weakref
from collections import defaultdict
from typing import Any

import numpy as np
import pyarrow as pa

from ..wire.message import Array, slot_size

#: Smaller pieces are left to Arrow's allocator, which keeps them itself.
_POOLED_FROM = 256 * 1024


class ReceivePool:
    """Allocates 64-byte-aligned memory; keeps at most `most` bytes that nobody uses."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._idle: defaultdict[int, list[Any]] = defaultdict(list)  # by size
        self._idle_bytes = 0
        # Garbage collection gives memory back, and may run amid any of these methods, in the same thread.
        self._lock = threading.RLock()

    def __call__(self, nbytes: int) -> Any:
        """Writable memory of at least `nbytes`. Raises MemoryError."""
        if nbytes < _POOLED_FROM:
            return pa.allocate_buffer(nbytes)
        size = slot_size(nbytes)
        with self._lock:
            idle = self._idle[size]
            memory = idle.pop() if idle else None
            if memory is not None:
                self._idle_bytes -= size
        if memory is None:
            memory = pa.allocate_buffer(size)
        # Arrays made in this one, and their views, refer to it and not to what it is made of: it goes with the last.
        lease: Array = np.frombuffer(memory, np.uint8, nbytes)
        weakref.finalize(lease, self._give_back, memory, size).atexit = False
        return lease

    def close(self) -> None:
        """Keep nothing from now on."""
        with self._lock:
            self._most = 0
            self._idle.clear()

    def _give_back(self, memory: Any, size: int) -> None:
        with self._lock:
            if self._idle_bytes + size > self._most:  # perhaps of sizes that come no more
                self._idle.clear()
                self._idle_bytes = 0
            if size <= self._most:
                self._idle[size].append(memory)
                self._idle_bytes += size
