"""A message between two endpoints, numbers and tensors, and how it is written on the wire.

A frame is: a header of 64 bytes, `meta`, one descriptor a tensor, padding to 64 bytes; then the tensors that travel inline,
each padded to 64 bytes. All numbers are little-endian. `cluster/wire/decoder.py` reads what is written here.

Frames have a checksum, and are numbered by the connection: one that was changed, lost or sent twice ends it. The checksum
covers the tensors, too, where there are few bytes of them; of larger ones, which take a millisecond a megabyte, it does where
`WEFT_CHECKSUMS=all` asks for it.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from ...graph import dtypes, errors

Array = np.ndarray[Any, Any]
Buffer = bytes | bytearray | memoryview | Array

MAGIC = b"WEFT"
VERSION = 3
ALIGNMENT = 64
#: magic, checksum, number; version, kind, flags, epoch, step, edge, tensors, bytes of meta, of descriptors, of inline tensors
HEADER = struct.Struct("<4sIIHHIIQIIQQQ")
#: Where the checksum stands, and the number; and from where on it is one of all that follows.
SUM, NUMBERED, SUMMED = 4, 8, 12
FIELD = struct.Struct("<I")  # how either is written
#: Frames are counted up to here, and then from 0 again.
FRAMES = 1 << 32
#: This frame is no message: it announces segment number `edge`, of `step` bytes, whose descriptor comes along.
SEGMENT_FLAG = 1
#: The checksum covers the inline tensors, too.
CHECKED_FLAG = 2
#: dtype code, dimensions, place, segment, offset in the segment, bytes; the shape follows as int64s
DESCRIPTOR = struct.Struct("<BBBxIQQ")
MAX_NDIM = 64  # NumPy's own
SHAPES = tuple(struct.Struct(f"<{ndim}q") for ndim in range(MAX_NDIM + 1))
INLINE, SLOT = 0, 1

STRING = dtypes.string.as_datatype_enum
CODES = {dtype.np: dtype.as_datatype_enum for dtype in dtypes.ALL if dtype.is_numpy_compatible}
NUMPY_TYPES = {code: numpy_type for numpy_type, code in CODES.items()}

#: Smaller tensors travel inline: two short copies cost less than a slot.
SLOT_FROM = 16 * 1024
#: Pieces from this size on go to the system as they are; smaller neighbours are joined first.
_ALONE = 16 * 1024
CHECKSUMS_VARIABLE = "WEFT_CHECKSUMS"
_check_all = os.environ.get(CHECKSUMS_VARIABLE, "") == "all"
_NO_BODIES: list[Any] = []
_PADDING = tuple(bytes(size) for size in range(ALIGNMENT))


class Message(NamedTuple):
    """What travels: `kind` says what it means, (`epoch`, `step`, `edge`) where it belongs; `meta` is opaque here."""

    kind: int
    epoch: int
    step: int
    edge: int = 0
    meta: bytes = b""
    tensors: Sequence[Array] = ()


@dataclass(frozen=True, slots=True)
class Limits:
    """What a message may hold. Both sides check: a sender before it writes, a receiver before it allocates."""

    max_meta: int = 64 << 20
    max_tensors: int = 1 << 16
    max_ndim: int = MAX_NDIM
    max_inline: int = 8 << 30  #: bytes of all tensors of a message that travel inline
    max_slot: int = 64 << 30  #: bytes of one tensor in shared memory
    max_idle: int = 512 << 20  #: bytes kept to receive into, each connection
    max_shared: int = 256 << 30  #: bytes of shared memory, each way of a connection

    @property
    def max_front(self) -> int:
        """The most bytes that can stand before the inline tensors."""
        return HEADER.size + self.max_meta + self.max_tensors * (DESCRIPTOR.size + 8 * self.max_ndim) + ALIGNMENT


#: Finds a tensor of a step a place in shared memory, (segment, offset), or says None: it travels inline.
Store = Callable[[Array, int], tuple[int, int] | None]


def padding(size: int) -> int:
    """How many bytes are missing to a multiple of 64."""
    return -size % ALIGNMENT


def slot_size(nbytes: int) -> int:
    """The size class of a slot: four in each doubling, so that at most a quarter is wasted, all multiples of 64."""
    quarter = max(ALIGNMENT, 1 << max(0, (nbytes - 1).bit_length() - 3))
    return -(-nbytes // quarter) * quarter


def encode(message: Message, limits: Limits, store: Store | None = None) -> list[Buffer]:
    """The frame of a message, in pieces to be written one after the other; large arrays are pieces themselves.

    Raises TypeError for arrays that are no tensors, InvalidArgumentError for what exceeds the limits or the header's fields.
    """
    kind, epoch, step, edge, meta, tensors = message
    count, nmeta = len(tensors), len(meta)
    described, bodies, inline = _described(message, limits, store) if count else (b"", _NO_BODIES, 0)
    if nmeta > limits.max_meta or count > limits.max_tensors or inline > limits.max_inline:
        _check_size("bytes of meta", nmeta, limits.max_meta)
        _check_size("tensors", count, limits.max_tensors)
        _check_size("bytes of inline tensors", inline, limits.max_inline)
    short = inline < _ALONE
    flags, ndescribed = CHECKED_FLAG if short or _check_all else 0, len(described)
    try:
        head = HEADER.pack(MAGIC, 0, 0, VERSION, kind, flags, epoch, step, edge, count, nmeta, ndescribed, inline)
    except struct.error as error:
        what = f"a message of kind {kind}, epoch {epoch}, step {step}, edge {edge} cannot be sent: {error}"
        raise errors.InvalidArgumentError(None, None, what) from None
    pad = _PADDING[-(nmeta + ndescribed) % ALIGNMENT]
    if short:
        frame = bytearray(b"".join((head, meta, described, pad, *bodies)))
        FIELD.pack_into(frame, SUM, zlib.crc32(memoryview(frame)[SUMMED:]))
        return [frame]
    front = bytearray(b"".join((head, meta, described, pad)))
    FIELD.pack_into(front, SUM, checksum(front, bodies if flags else ()))
    return _joined(front, bodies)


def _described(message: Message, limits: Limits, store: Store | None) -> tuple[bytes, list[Any], int]:
    """The descriptors of a message's tensors, those that travel inline, and how many bytes these are."""
    descriptors: list[bytes] = []
    bodies: list[Any] = []
    inline = 0
    most = limits.max_slot if store else limits.max_inline
    for tensor in message.tensors:
        array = tensor if type(tensor) is np.ndarray else np.asarray(tensor)
        code, dims = CODES.get(array.dtype), array.shape
        if code is None:
            raise TypeError(f"an array of {array.dtype} is no tensor and cannot be sent")
        if code == STRING:
            array = pack_strings(array)
        nbytes, ndim = array.nbytes, len(dims)
        if ndim > limits.max_ndim or nbytes > most:
            _check_size("dimensions", ndim, limits.max_ndim)
            _check_size("bytes in one tensor", nbytes, most)
        place = store(array, message.step) if store and nbytes and code != STRING else None
        if place is None:
            descriptors += DESCRIPTOR.pack(code, ndim, INLINE, 0, 0, nbytes), SHAPES[ndim].pack(*dims)
            pad = -nbytes % ALIGNMENT
            bodies.append(array.tobytes() if nbytes < _ALONE else _contents(array))
            if pad:
                bodies.append(_PADDING[pad])
            inline += nbytes + pad
        else:
            descriptors += DESCRIPTOR.pack(code, ndim, SLOT, *place, nbytes), SHAPES[ndim].pack(*dims)
    return b"".join(descriptors), bodies, inline


def checksum(front: Any, bodies: Iterable[Any] = ()) -> int:
    """Of what stands before the inline tensors, but for the checksum itself and the number; and of those."""
    result = zlib.crc32(memoryview(front)[SUMMED:])
    for body in bodies:
        result = zlib.crc32(body, result)
    return result


def encode_segment(number: int, size: int) -> bytes:
    """The frame that announces a segment of shared memory."""
    return HEADER.pack(MAGIC, 0, 0, VERSION, 0, SEGMENT_FLAG, 0, size, number, 0, 0, 0, 0)


def _contents(array: Array) -> Buffer:
    """The bytes of a large array in C order: themselves where they lie so, else a copy."""
    return np.asarray(array, order="C").reshape(-1).view(np.uint8)


def _check_size(what: str, size: int, most: int) -> None:
    if size > most:
        raise errors.InvalidArgumentError(None, None, f"a message of {size} {what} cannot be sent: the limit is {most}")


def _joined(front: bytearray, bodies: list[Any]) -> list[Buffer]:
    """A frame's bytes in few pieces, the first of which can be written to."""
    result: list[Buffer] = [front]
    small: bytearray | None = front if len(front) < _ALONE else None  # what the next small body is added to
    for body in bodies:
        if len(body) >= _ALONE:
            result.append(body)
            small = None
        elif small is not None:
            small += memoryview(body)
        elif len(body):  # a padding may have none
            small = bytearray(body)
            result.append(small)
    return result


def pack_strings(array: Array) -> Array:
    """An array of bytes objects as bytes: n+1 int64 offsets, then the data. Raises TypeError for other objects."""
    flat = array.reshape(-1)
    for element in flat:
        if not isinstance(element, bytes):
            raise TypeError(f"a string tensor holds bytes, not {type(element).__name__}: it cannot be sent")
    if not flat.size:
        return np.empty(0, np.uint8)
    _, offsets, data = pa.array(flat, pa.large_binary()).buffers()
    ends = np.frombuffer(offsets, np.int64, flat.size + 1)
    return np.concatenate([ends.view(np.uint8), np.frombuffer(data, np.uint8, int(ends[-1]))])


def unpack_strings(body: Array, dims: tuple[int, ...], count: int) -> Array:
    """The array that `pack_strings` packed, `count` > 0 elements in at least their offsets' bytes. Raises DataLossError."""
    head = 8 * (count + 1)
    ends = body[:head].view(np.int64)
    if ends[0] != 0 or ends[-1] != len(body) - head or bool((ends[1:] < ends[:-1]).any()):
        what = f"malformed message: expected offsets that cut {len(body) - head} bytes into {count} strings"
        raise errors.DataLossError(None, None, what)
    buffers = [None, pa.py_buffer(body[:head]), pa.py_buffer(body[head:])]
    strings = pa.LargeBinaryArray.from_buffers(pa.large_binary(), count, buffers)
    result: Array = strings.to_numpy(zero_copy_only=False).reshape(dims)
    return result
