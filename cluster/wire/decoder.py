"""Turns the bytes that a peer sends back into messages: no I/O here, and no trust in any length before it is checked."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa

from ...graph import errors
from .message import (
    ALIGNMENT,
    CHECKED_FLAG,
    DESCRIPTOR,
    HEADER,
    INLINE,
    MAGIC,
    NUMPY_TYPES,
    SEGMENT_FLAG,
    SHAPES,
    SLOT,
    STRING,
    SUMMED,
    VERSION,
    Array,
    Limits,
    Message,
    padding,
    unpack_strings,
)

_CAPACITY = 64 * 1024
#: The flags of frames that are messages.
_PLAIN = (0, CHECKED_FLAG)
#: Descriptors of at most so many bytes are remembered, and so many of them: most steps of a plan send the same ones.
_REMEMBERED_BYTES, _REMEMBERED = 1024, 256


#: What stands in a message before its tensors.
_Fields = tuple[int, int, int, int, bytes]


class _Described(NamedTuple):
    """What a descriptor says of a tensor, all of it checked that can be without the memory that it is in."""

    code: int
    dims: tuple[int, ...]
    elements: int
    nbytes: int
    #: The segment and the offset of what is in a slot.
    slot: tuple[int, int] | None


class _Row(NamedTuple):
    """All the descriptors of a frame: of its tensors in their order, and how many bytes of them travel inline."""

    tensors: tuple[_Described, ...]
    inline: int


_NONE = _Row((), 0)


class Segments(Protocol):
    """The shared memory that the peer announced."""

    def add(self, number: int, size: int) -> None:
        """Map a new segment. Raises DataLossError."""

    def get(self, number: int) -> Any:
        """The read-only Arrow buffer of a segment, None for an unknown one."""


class Decoder:
    """One connection's incoming bytes: fill `space()`, say how many with `filled(n)`, take messages with `next()`.

    The front of a frame passes through a small buffer; inline tensors are read straight into the aligned memory in which
    they stay. After a DataLossError the stream has no meaning any more.
    """

    def __init__(
        self, limits: Limits, segments: Segments | None = None, allocate: Callable[[int], Any] = pa.allocate_buffer
    ) -> None:
        self._limits = limits
        self._longest = DESCRIPTOR.size + 8 * limits.max_ndim
        self._segments = segments
        self._allocate = allocate
        self._buffer = memoryview(bytearray(_CAPACITY))
        self._start = self._end = 0  # what of the buffer is not decoded yet
        self._wanted = HEADER.size  # how much must stand there before it is worth looking again
        self._body: memoryview | None = None  # the inline tensors of the frame that is being read
        self._have = 0  # how much of them is there
        self._fields: _Fields = (0, 0, 0, 0, b"")  # those of that frame's message
        self._sums = (0, 0, 0)  # its checksum, that of what stands before the tensors, and whether it covers these
        self._row = _NONE  # its descriptors
        self._memory: Any = None  # what `_body` is of
        self.number = 0  #: which of its connection's frames that is
        self._known: dict[tuple[int, bytes], _Row] = {}  # by number and bytes of the descriptors
        self.amid = False  #: whether a message has begun and not ended

    def space(self) -> memoryview:
        """Where the next bytes go; never empty."""
        if self._body is not None:
            return self._body[self._have :]
        if self._start == self._end:
            self._start = self._end = 0
        if self._start + self._wanted > len(self._buffer) or (not self._end and len(self._buffer) > _CAPACITY):
            fresh = memoryview(bytearray(max(_CAPACITY, self._wanted)))
            fresh[: self._end - self._start] = self._buffer[self._start : self._end]
            self._buffer, self._start, self._end = fresh, 0, self._end - self._start
        return self._buffer[self._end :]

    def filled(self, count: int) -> None:
        """The first `count` bytes of `space()` came."""
        self.amid = True
        if self._body is not None:
            self._have += count
        else:
            self._end += count

    @property
    def large(self) -> bool:
        """Whether `space()` is the rest of a message's tensors, and nothing else."""
        return self._body is not None

    def next(self) -> Message | None:
        """The next complete message, None when more bytes are needed.

        Raises DataLossError for what is no message, ResourceExhaustedError for want of memory.
        """
        while self._body is None:
            if self._end - self._start < self._wanted:
                self.amid = self._end > self._start
                return None
            message = self._front()
            if message is not None:
                self.amid = self._end > self._start
                return message
        missing = len(self._body) - self._have
        if missing and self._end > self._start:
            count = min(missing, self._end - self._start)
            self._body[self._have : self._have + count] = self._buffer[self._start : self._start + count]
            self._start += count
            self._have += count
            missing -= count
        if missing:
            return None
        finished = self._finished()
        self.amid = self._end > self._start
        return finished

    def _front(self) -> Message | None:
        """Read one header and, if all of it has come, what stands between it and the inline tensors.

        The message, where these have come too and were not worth reading straight into their memory.
        """
        buffer, start = self._buffer, self._start
        header = HEADER.unpack_from(buffer, start)
        magic, expected, self.number, version, kind, flags, epoch, step, edge, count, meta, descriptors, inline = header
        limits = self._limits
        if (
            magic != MAGIC
            or version != VERSION
            or flags not in _PLAIN
            or meta > limits.max_meta
            or count > limits.max_tensors
            or inline > limits.max_inline
            or not count * DESCRIPTOR.size <= descriptors <= count * self._longest
        ):
            self._check(header)
            assert self._segments is not None  # _check saw to it
            self._start += HEADER.size
            self._segments.add(edge, step)
            return None
        size = HEADER.size + meta + descriptors
        size += -size % ALIGNMENT
        if self._end - start < size:
            self._wanted = size
            return None
        at = start + HEADER.size
        fields = kind, epoch, step, edge, bytes(buffer[at : at + meta])
        row = self._descriptors(at + meta, at + meta + descriptors, count) if count else _NONE
        if row.inline != inline:
            raise _malformed(f"expected descriptors of {inline} bytes inline, got {row.inline} bytes of tensors")
        self._wanted = HEADER.size
        if self._end - start >= size + inline:
            found = zlib.crc32(buffer[start + SUMMED : start + size + (inline if flags else 0)])
            if found != expected:
                raise _changed(expected, found)
            self._start = start + size + inline
            tensors = self._make(row, self._copied(buffer[start + size : self._start])) if count else ()
            return tuple.__new__(Message, (*fields, tensors))  # as `Message` does, in one call less
        self._fields, self._row = fields, row
        self._sums = expected, zlib.crc32(buffer[start + SUMMED : start + size]), flags & CHECKED_FLAG
        self._start = start + size
        self._memory, self._have = self._room(inline), 0
        self._body = memoryview(self._memory).cast("B")
        return None

    def _copied(self, inline: memoryview) -> Any:
        """Memory of its own for the inline tensors of a frame all of which is in the buffer."""
        if not inline:
            return None
        memory = self._room(len(inline))
        memoryview(memory).cast("B")[:] = inline
        return memory

    def _check(self, header: tuple[Any, ...]) -> None:
        """Raises DataLossError unless a header that is not plain announces a segment, as it should."""
        magic, expected, number, version, kind, flags, epoch, _, _, count, meta, descriptors, inline = header
        limits = self._limits
        if magic != MAGIC:
            raise _malformed(f"expected a frame that begins with {MAGIC!r}, got {magic!r}")
        if version != VERSION:
            raise _malformed(f"expected wire version {VERSION}, got {version}: both sides must run the same weft")
        if flags == SEGMENT_FLAG and self._segments is not None:
            if kind or epoch or count or meta or descriptors or inline or expected or number:
                raise _malformed("expected only a number and a size in the announcement of a segment")
            return
        if flags & ~CHECKED_FLAG:
            raise _malformed(f"expected no flags but {CHECKED_FLAG:#x}, got {flags:#x}")
        if count > limits.max_tensors or meta > limits.max_meta or inline > limits.max_inline:
            raise _malformed(
                f"expected at most {limits.max_tensors} tensors, {limits.max_meta} bytes of meta and {limits.max_inline} "
                f"bytes inline, got {count}, {meta} and {inline}"
            )
        raise _malformed(f"expected descriptors of {count} tensors, got {descriptors} bytes of them")

    def _descriptors(self, at: int, end: int, count: int) -> _Row:
        """What the descriptors of a frame say. Raises DataLossError."""
        key = count, bytes(self._buffer[at:end]) if end - at <= _REMEMBERED_BYTES else b""
        known = self._known.get(key)
        if known is not None:
            return known
        found = []
        for _ in range(count):
            code, ndim, place, segment, offset, nbytes = self._descriptor(at, end)
            dims = SHAPES[ndim].unpack_from(self._buffer, at + DESCRIPTOR.size)
            at += DESCRIPTOR.size + 8 * ndim
            slot = (segment, offset) if place == SLOT else None
            found.append(_Described(code, dims, self._elements(code, dims, nbytes), nbytes, slot))
        if at != end:
            raise _malformed(f"expected descriptors of {count} tensors, got {end - at} bytes left over")
        inline = sum([each.nbytes + padding(each.nbytes) for each in found if each.slot is None])
        row = _Row(tuple(found), inline)
        if key[1]:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[key] = row
        return row

    def _descriptor(self, at: int, end: int) -> tuple[Any, ...]:
        if at + DESCRIPTOR.size > end:
            raise _malformed(f"expected a descriptor of {DESCRIPTOR.size} bytes, got {end - at}")
        fields = DESCRIPTOR.unpack_from(self._buffer, at)
        ndim, place = fields[1:3]
        if place not in (INLINE, SLOT):
            raise _malformed(f"expected a place, {INLINE} or {SLOT}, got {place}")
        if ndim > self._limits.max_ndim or at + DESCRIPTOR.size + 8 * ndim > end:
            raise _malformed(f"expected at most {self._limits.max_ndim} dimensions, got {ndim} in {end - at} bytes")
        return fields

    @staticmethod
    def _elements(code: int, dims: tuple[int, ...], nbytes: int) -> int:
        """How many elements a tensor has. Raises DataLossError if type, shape and size do not belong together."""
        if code not in NUMPY_TYPES:
            raise _malformed(f"expected the code of a type, got {code}")
        elements = math.prod(dims)
        if dims and min(dims) < 0:
            raise _malformed(f"expected no negative dimension, got {list(dims)}")
        least = elements * NUMPY_TYPES[code].itemsize  # of a string: its offset, and there is one more
        if code == STRING and elements:
            least += 8
        if nbytes < least or (nbytes > least and (code != STRING or not elements)):
            raise _malformed(f"expected {least} bytes for {NUMPY_TYPES[code]} of shape {list(dims)}, got {nbytes}")
        return elements

    def _make(self, row: _Row, memory: Any) -> tuple[Array, ...]:
        """A frame's tensors: those in shared memory, and those whose bytes are in `memory`."""
        tensors, offset = [], 0
        for each in row.tensors:
            code, dims, _, nbytes, slot = each
            if slot is not None:
                tensor = self._in_slot(each, *slot)
            elif not nbytes:
                tensor = _empty(dims, code)
            elif code == STRING:
                packed = np.ndarray(nbytes, np.uint8, memory, offset)
                tensor = unpack_strings(packed, dims, each.elements)
                offset += nbytes + padding(nbytes)
            else:
                tensor = np.ndarray(dims, NUMPY_TYPES[code], memory, offset)
                offset += nbytes + -nbytes % ALIGNMENT
            tensor.setflags(write=False)
            tensors.append(tensor)
        return tuple(tensors)

    def _room(self, size: int) -> Any:
        try:
            return self._allocate(size) if size else b""
        except MemoryError as error:
            what = f"no memory for a message of {size} bytes: {error}"
            raise errors.ResourceExhaustedError(None, None, what) from None

    def _in_slot(self, tensor: _Described, segment: int, offset: int) -> Array:
        memory = None if self._segments is None else self._segments.get(segment)
        if memory is None:
            raise _malformed(f"expected a segment that was announced, got {segment}")
        code, nbytes = tensor.code, tensor.nbytes
        if code == STRING or not nbytes or nbytes > self._limits.max_slot:
            raise _malformed(f"expected a tensor of 1 to {self._limits.max_slot} bytes in a slot, got {nbytes}")
        if offset % ALIGNMENT or offset + nbytes > memory.size:
            raise _malformed(f"expected a slot within {memory.size} bytes, got {nbytes} at {offset}")
        return np.ndarray(tensor.dims, NUMPY_TYPES[code], memory, offset)

    def _finished(self) -> Message:
        expected, found, covers_tensors = self._sums
        if covers_tensors and self._body:
            found = zlib.crc32(self._body, found)
        if found != expected:
            raise _changed(expected, found)
        row, memory, self._body, self._memory = self._row, self._memory, None, None
        return Message(*self._fields, self._make(row, memory))


def _empty(dims: tuple[int, ...], code: int) -> Array:
    try:
        return np.empty(dims, NUMPY_TYPES[code])
    except ValueError as error:  # such as a shape (0, 2**62)
        raise _malformed(f"expected the shape of an array, got {list(dims)}: {error}") from None


def _changed(expected: int, found: int) -> errors.DataLossError:
    return _malformed(f"expected the checksum {expected:#x}, got {found:#x}: it was changed on its way")


def _malformed(what: str) -> errors.DataLossError:
    return errors.DataLossError(None, None, f"malformed message: {what}")
