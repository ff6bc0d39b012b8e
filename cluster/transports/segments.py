"""Shared memory without names: segments that live as long as somebody maps them, and the slots that a sender fills.

A segment is a sealed memfd: it is nowhere in the file system, so nothing is left behind however a process ends, and its
size cannot change, so reading it never faults.
"""

from __future__ import annotations

import fcntl
import math
import mmap
import os
import threading
import weakref
from collections import defaultdict, deque
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from ...graph import errors
from ..wire.message import SLOT_FROM, Array, Limits, slot_size

_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW
#: The size of the first segment; each further one is twice as large as the last.
_FIRST = 4 << 20


class Segment:
    """A piece of shared memory that this side writes."""

    __slots__ = ("address", "fd", "memory", "number", "size", "used")

    def __init__(self, number: int, size: int) -> None:
        self.number = number
        self.size = size
        self.used = 0
        self.fd = os.memfd_create("weft", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.fchmod(self.fd, 0o600)  # it has no name, but for its process's folder in /proc
            os.posix_fallocate(self.fd, 0, size)  # or the first write would fault where memory has run out
            fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, _SEALS | fcntl.F_SEAL_SEAL)
            self.memory = mmap.mmap(self.fd, size, mmap.MAP_SHARED | mmap.MAP_POPULATE)
        except BaseException:
            os.close(self.fd)
            raise
        self.address: int = np.frombuffer(self.memory, np.uint8).ctypes.data


class Slot(NamedTuple):
    """A place for one tensor."""

    segment: Segment
    offset: int
    size: int


class Arena:
    """The slots of one direction of a connection, or of several: taken for a step, given back with it, and then taken again.

    Who receives over one of several connections can read what is sent over the others.
    """

    def __init__(self, limits: Limits) -> None:
        self.size = 0  #: bytes of all segments
        #: In the order of their numbers, from 0 on.
        self.segments: list[Segment] = []
        self._limits = limits
        self._free: defaultdict[int, list[Slot]] = defaultdict(list)
        #: By step: slots, and arrays of `lasting` that it sends. Empty where nothing needs to be released.
        self.taken: defaultdict[int, list[Slot | Array]] = defaultdict(list)
        self._lasting: dict[int, Slot] = {}  # by address
        self._given_back: deque[Slot] = deque()
        self._reserved: dict[int, tuple[int, Slot]] = {}  # by address: (step, slot)
        self._lock = threading.Lock()
        self._closed = False

    def take(self, nbytes: int, step: int) -> Slot:
        """A slot of at least `nbytes` until `step` is released. Raises ResourceExhaustedError."""
        size = slot_size(nbytes)
        with self._lock:
            if self._closed:
                raise errors.CancelledError(None, None, "the connection was closed here")
            slot = self._slot(size)
            self.taken[step].append(slot)
            return slot

    def _slot(self, size: int) -> Slot:
        while self._given_back:
            slot = self._given_back.popleft()
            self._free[slot.size].append(slot)
        free = self._free[size]
        return free.pop() if free else self._carve(size)

    def lasting(self, dtype: np.dtype[Any], dims: tuple[int, ...]) -> Array:
        """An array in a slot that belongs to no step: it is given back when nobody refers to the array any more.

        Steps that send it do, until they are released. Raises ResourceExhaustedError.
        """
        with self._lock:
            if self._closed:
                raise errors.CancelledError(None, None, "the connection was closed here")
            slot = self._slot(slot_size(math.prod(dims) * dtype.itemsize))
        array: Array = np.ndarray(dims, dtype, slot.segment.memory, slot.offset)
        address = slot.segment.address + slot.offset
        self._lasting[address] = slot
        weakref.finalize(array, self._give_back, address).atexit = False
        return array

    def _give_back(self, address: int) -> None:
        """Wherever the last reference goes, perhaps amid another method: so without the lock."""
        slot = self._lasting.pop(address, None)
        if slot is not None:
            self._given_back.append(slot)

    def lasts(self, array: Array) -> bool:
        """Whether an array is one of `lasting`."""
        return array.__array_interface__["data"][0] in self._lasting

    def reserve(self, nbytes: int, step: int) -> Slot:
        """Like `take`; `find` knows the slot again."""
        slot = self.take(nbytes, step)
        self._reserved[slot.segment.address + slot.offset] = step, slot
        return slot

    def place(self, array: Array, step: int) -> tuple[int, int] | None:
        """Where an array is, segment and offset, after copying it into a slot unless it is in one or is small."""
        slot = self.find(array, step) if self._reserved or self._lasting else None
        if slot is None:
            if array.nbytes < SLOT_FROM:
                return None
            slot = self.take(array.nbytes, step)
            np.copyto(np.ndarray(array.shape, array.dtype, slot.segment.memory, slot.offset), array)
        return slot.segment.number, slot.offset

    def find(self, array: Array, step: int) -> Slot | None:
        """The slot reserved for `step` that an array fills from its beginning, if it does."""
        if not array.flags.c_contiguous:
            return None
        address = array.__array_interface__["data"][0]
        lasting = self._lasting.get(address)
        if lasting is not None and array.nbytes <= lasting.size:
            with self._lock:
                self.taken[step].append(array)  # a view refers to the array itself
            return lasting
        owner, slot = self._reserved.get(address, (-1, None))
        return slot if slot is not None and owner == step and array.nbytes <= slot.size else None

    def release(self, step: int) -> None:
        """Take back the slots of all steps up to this one."""
        if not self.taken:
            return  # most steps send little
        with self._lock:
            for old in [number for number in self.taken if number <= step]:
                for slot in self.taken.pop(old):
                    if not isinstance(slot, Slot):
                        continue
                    self._free[slot.size].append(slot)
                    self._reserved.pop(slot.segment.address + slot.offset, None)

    def close(self) -> None:
        """Forget all segments; their memory lives on while an array in it does."""
        with self._lock:
            self._closed = True
            for segment in self.segments:
                os.close(segment.fd)
            for container in (self.segments, self._free, self.taken, self._reserved, self._lasting, self._given_back):
                container.clear()

    def duplicate(self, number: int) -> tuple[int, int]:
        """A descriptor of a segment, for the caller to close, and its size. Raises CancelledError after `close`."""
        with self._lock:
            if self._closed:
                raise errors.CancelledError(None, None, "the connection was closed here")
            segment = self.segments[number]
            return os.dup(segment.fd), segment.size

    def _carve(self, size: int) -> Slot:
        """A slot that never was one."""
        for segment in self.segments:
            if segment.used + size <= segment.size:
                break
        else:
            segment = self._grow(size)
        segment.used += size
        return Slot(segment, segment.used - size, size)

    def _grow(self, size: int) -> Segment:
        room = self._limits.max_shared - self.size
        wanted = max(size, min(room, 2 * self.segments[-1].size if self.segments else _FIRST))
        wanted += -wanted % mmap.PAGESIZE
        if wanted > room:
            what = f"{size} bytes of shared memory are more than what the limit leaves, {room}"
            raise errors.ResourceExhaustedError(None, None, what)
        try:
            segment = Segment(len(self.segments), wanted)
        except OSError as error:
            what = f"no shared memory for a segment of {wanted} bytes: {error.strerror or error}"
            raise errors.ResourceExhaustedError(None, None, what) from None
        self.size += wanted
        self.segments.append(segment)
        return segment


class MappedSegments:
    """The segments that the peer writes, mapped read-only; their descriptors arrive just before their announcement."""

    def __init__(self, limits: Limits) -> None:
        #: Descriptors that came and belong to no segment yet.
        self.descriptors: deque[int] = deque()
        self._limits = limits
        self._total = 0
        self._buffers: list[Any] = []

    def add(self, number: int, size: int) -> None:
        if number != len(self._buffers) or not self.descriptors:
            what = f"expected segment {len(self._buffers)} and a descriptor, got {number} and {len(self.descriptors)}"
            raise errors.DataLossError(None, None, what)
        descriptor = self.descriptors.popleft()
        try:
            self._check(descriptor, size)
            memory = mmap.mmap(descriptor, size, mmap.MAP_SHARED | mmap.MAP_POPULATE, mmap.PROT_READ)
        except OSError as error:
            what = f"segment {number} of {size} bytes cannot be mapped: {error.strerror or error}"
            raise errors.ResourceExhaustedError(None, None, what) from None
        finally:
            os.close(descriptor)
        self._total += size
        self._buffers.append(pa.py_buffer(memory))

    def get(self, number: int) -> Any:
        return self._buffers[number] if number < len(self._buffers) else None

    def close(self) -> None:
        """Forget all segments; those in which an array still lies stay mapped until it goes."""
        while self.descriptors:
            os.close(self.descriptors.popleft())
        self._buffers.clear()

    def _check(self, descriptor: int, size: int) -> None:
        """Raises DataLossError unless it is memory of that size that can never become smaller."""
        actual = os.fstat(descriptor).st_size
        if not 0 < size == actual or self._total + size > self._limits.max_shared:
            most = self._limits.max_shared - self._total
            what = f"expected a segment of {size} bytes, and of at most {most}, got one of {actual}"
            raise errors.DataLossError(None, None, what)
        try:
            seals = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
        except OSError:  # no memfd
            seals = 0
        if seals & _SEALS != _SEALS:
            raise errors.DataLossError(None, None, "expected a segment whose size is sealed, got one that may shrink")
