"""Arena: offsets in one block of memory, given out and taken back while a plan is made; nothing is allocated here."""

from __future__ import annotations

import bisect

ALIGNMENT = 64


class Arena:
    """Best fit over free ranges, which are joined with their neighbours. Taking and giving back look at few of them."""

    def __init__(self) -> None:
        self.size = 0
        self._by_size: list[tuple[int, int]] = []  # (bytes, offset) of the free ranges, sorted
        self._ends: dict[int, int] = {}  # of each free range by its offset
        self._starts: dict[int, int] = {}  # of each free range by its end

    def take(self, count: int) -> int:
        """The offset of `count` bytes, aligned to 64."""
        count = _rounded(count)
        at = bisect.bisect_left(self._by_size, (count, 0))
        if at == len(self._by_size):
            return self._grow(count)
        size, offset = self._by_size[at]
        self._remove(offset, offset + size)
        if size > count:
            self._add(offset + count, offset + size)
        return offset

    def give_back(self, offset: int, count: int) -> None:
        """Make a range that was taken free again."""
        start, end = offset, offset + _rounded(count)
        if end in self._ends:
            after = self._ends[end]
            self._remove(end, after)
            end = after
        if start in self._starts:
            before = self._starts[start]
            self._remove(before, start)
            start = before
        self._add(start, end)

    def _grow(self, count: int) -> int:
        offset = self._starts.get(self.size, self.size)
        if offset < self.size:
            self._remove(offset, self.size)
        self.size = offset + count
        return offset

    def _add(self, start: int, end: int) -> None:
        bisect.insort(self._by_size, (end - start, start))
        self._ends[start] = end
        self._starts[end] = start

    def _remove(self, start: int, end: int) -> None:
        del self._by_size[bisect.bisect_left(self._by_size, (end - start, start))]
        del self._ends[start], self._starts[end]


def _rounded(count: int) -> int:
    return max(ALIGNMENT, (count + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT)
