"""Arena: offsets in one block of memory, given out and taken back while a plan is made; nothing is allocated here."""

from __future__ import annotations

import bisect

ALIGNMENT = 64


class Arena:
    """Best fit over free ranges that are kept sorted by offset and joined with their neighbours."""

    def __init__(self) -> None:
        self.size = 0
        self._free: list[tuple[int, int]] = []  # (offset, bytes)

    def take(self, count: int) -> int:
        """The offset of `count` bytes, aligned to 64."""
        count = _rounded(count)
        fitting = [(size, offset) for offset, size in self._free if size >= count]
        if not fitting:
            return self._grow(count)
        size, offset = min(fitting)
        self._free.remove((offset, size))
        if size > count:
            bisect.insort(self._free, (offset + count, size - count))
        return offset

    def give_back(self, offset: int, count: int) -> None:
        """Make a range that was taken free again."""
        count = _rounded(count)
        at = bisect.bisect(self._free, (offset, 0))
        if at < len(self._free) and self._free[at][0] == offset + count:
            count += self._free.pop(at)[1]
        if at and sum(self._free[at - 1]) == offset:
            before = self._free.pop(at - 1)
            offset, count = before[0], before[1] + count
        bisect.insort(self._free, (offset, count))

    def _grow(self, count: int) -> int:
        offset = self.size
        if self._free and sum(self._free[-1]) == self.size:
            offset = self._free.pop()[0]
        self.size = offset + count
        return offset


def _rounded(count: int) -> int:
    return max(ALIGNMENT, (count + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT)
