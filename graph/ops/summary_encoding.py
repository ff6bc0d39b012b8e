"""Summaries as bytes: the wire form of the messages that TensorBoard reads, with histograms, pictures and sounds in them."""

from __future__ import annotations

import math
import struct
import sys
import zlib
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np

from ..dtypes import as_dtype

Array = np.ndarray[Any, Any]

# Fields are numbered as in the messages Summary, HistogramProto, TensorProto and SummaryMetadata. Written here by hand: a
# step must not need the packages that read them.


def varint(value: int) -> bytes:
    """An unsigned number, seven bits a byte."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def block(field: int, data: bytes) -> bytes:
    """A field of bytes, text or another message."""
    return varint(field << 3 | 2) + varint(len(data)) + data


def number(field: int, value: int) -> bytes:
    """A field that is a whole number, negative ones in ten bytes; zero is left out, as everywhere in proto3."""
    return varint(field << 3) + varint(value % (1 << 64)) if value else b""


def double(field: int, value: float) -> bytes:
    """A field that is a double; a zero without sign is left out."""
    packed = struct.pack("<d", value)
    return varint(field << 3 | 1) + packed if any(packed) else b""


def single(field: int, value: float, always: bool = False) -> bytes:
    """A field that is a float; a zero without sign is left out, unless it is one of alternatives."""
    packed = np.float32(value).tobytes() if sys.byteorder == "little" else np.float32(value).byteswap().tobytes()
    return varint(field << 3 | 5) + packed if always or any(packed) else b""


def value(tag: bytes, *parts: bytes) -> bytes:
    """A Summary of one value."""
    return block(1, (block(1, tag) if tag else b"") + b"".join(parts))


# scalars and histograms


def scalar(tag: bytes, number: Any) -> bytes:
    """A Summary of a number."""
    with np.errstate(over="ignore", invalid="ignore"):
        return value(tag, single(2, number, always=True))


@cache
def bucket_limits() -> Array:
    """The upper ends of the buckets: powers of 1.1 from 1e-12 to 1e20, both signs, zero, and the largest doubles."""
    positive, limit = [], 1.0e-12
    while limit < 1.0e20:
        positive.append(limit)
        limit *= 1.1
    positive.append(sys.float_info.max)
    return np.array([*(-limit for limit in reversed(positive)), 0.0, *positive])


def histogram(tag: bytes, values: Array) -> bytes:
    """A Summary of how values are distributed; empty buckets in a row are one."""
    flat = np.asarray(values, np.float64).reshape(-1)
    limits = bucket_limits()
    places = np.minimum(np.searchsorted(limits, flat, side="right"), len(limits) - 1)
    counts = np.bincount(places, minlength=len(limits))
    keep = (counts > 0) | (np.append(counts[1:], 1) > 0)  # of empty ones in a row, the last
    ends, kept = (limits[keep], counts[keep]) if flat.size else (limits[-1:], counts[-1:])
    first = flat.min() if flat.size else limits[-1]
    last = flat.max() if flat.size else limits[0]
    # The sums go on from value to value, in this order: the same bits as the sums that others write.
    total = np.add.accumulate(flat)[-1] if flat.size else 0.0
    squares = np.add.accumulate(flat * flat)[-1] if flat.size else 0.0
    sums = double(1, first) + double(2, last) + double(3, float(flat.size)) + double(4, total) + double(5, squares)
    buckets = block(6, ends.astype("<f8").tobytes()) + block(7, kept.astype("<f8").tobytes())
    return value(tag, block(5, sums + buckets))


# pictures and sounds


def image(tag: bytes, pixels: Array) -> bytes:
    """A Summary of a picture, uint8 of shape [height, width, 1, 3 or 4]."""
    height, width, depth = pixels.shape
    sizes = number(1, height) + number(2, width) + number(3, depth)
    return value(tag, block(4, sizes + block(4, png(pixels))))


def png(pixels: Array) -> bytes:
    """A picture, uint8 of shape [height, width, 1, 3 or 4], as PNG: rows without filter, deflated."""
    height, width, depth = pixels.shape
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[depth]
    rows = np.zeros((height, 1 + width * depth), np.uint8)
    rows[:, 1:] = pixels.reshape(height, width * depth)
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows.tobytes())),
        (b"IEND", b""),
    )
    chunks = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


#: Values below this, the largest of a picture, show as nothing.
_DARK = 1e-6
_RED = np.array([255, 0, 0, 255], np.uint8)


def visible(picture: Array) -> Array:
    """A picture of floats as uint8: stretched to the largest value, around 128 where there are negative ones.

    Pixels that are not finite become red.
    """
    finite = np.isfinite(picture).all(axis=-1)
    seen = picture[finite]
    low, high = (seen.min(), seen.max()) if seen.size else (picture.dtype.type(0), picture.dtype.type(0))
    kind = picture.dtype.type
    if low < 0:
        largest, reach, offset = max(abs(low), abs(high)), kind(127), kind(128)
    else:
        largest, reach, offset = high, kind(255), kind(0)
    scale = kind(0) if largest < _DARK else reach / largest
    shown = np.empty(picture.shape, np.uint8)
    shown[finite] = (seen * scale + offset).astype(np.uint8)
    shown[~finite] = _RED[: picture.shape[-1]]
    return shown


def audio(tag: bytes, samples: Array, rate: float) -> bytes:
    """A Summary of a sound, floats in [-1, 1] of shape [frames, channels], as WAV of 16 bits."""
    frames, channels = samples.shape
    wide = samples.astype(np.float64) * 32768.0
    scaled = np.clip(np.trunc(wide + np.copysign(0.5, wide)), -32768, 32767)  # the nearest; NumPy rounds halves to even
    data = scaled.astype("<i2").tobytes()
    hertz = int(rate)
    head = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, channels, hertz, hertz * channels * 2, channels * 2, 16)
    body = b"WAVE" + head + struct.pack("<4sI", b"data", len(data)) + data
    sizes = single(1, rate) + number(2, channels) + number(3, frames)
    wav = struct.pack("<4sI", b"RIFF", len(body)) + body
    return value(tag, block(6, sizes + block(4, wav) + block(5, b"audio/wav")))


# tensors


def tensor(tag: bytes, array: Array, metadata: bytes) -> bytes:
    """A Summary of a tensor, with a serialized SummaryMetadata."""
    dims = b"".join(block(2, number(1, size)) for size in array.shape)
    dtype = as_dtype(np.dtype(object) if array.dtype.hasobject else array.dtype)
    if array.dtype.hasobject:
        content = b"".join(block(8, item) for item in array.reshape(-1).tolist())
    else:
        content = block(4, array.astype(array.dtype.newbyteorder("<")).tobytes()) if array.size else b""
    message = number(1, dtype.as_datatype_enum) + block(2, dims) + content
    return value(tag, block(8, message), block(9, metadata))


# reading: as much as merging needs


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The fields of a message and their bytes. Raises ValueError, IndexError for what is no message."""
    at = 0
    while at < len(data):
        key, at = _read_varint(data, at)
        start = at
        match key & 7:
            case 0:
                _, end = _read_varint(data, at)
            case 1:
                end = at + 8
            case 2:
                size, start = _read_varint(data, at)
                end = start + size
            case 5:
                end = at + 4
            case _:
                raise ValueError("no such kind of field")
        if end > len(data) or not key >> 3:
            raise ValueError("the message ends within a field")
        yield key >> 3, data[start:end]
        at = end


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    result = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, at
    raise ValueError("a number is too long")


def tags(data: bytes) -> list[bytes]:
    """The tags of the values of a serialized Summary. Raises ValueError for what is none."""
    found = []
    try:
        for field, part in _fields(data):
            if field == 1:
                found.append(dict(_fields(part)).get(1, b""))
    except IndexError:
        raise ValueError("the message ends within a number") from None
    return found


def finite_problem(values: Array) -> str | None:
    """What a histogram cannot hold: "Nan" or "Infinity"."""
    flat = np.asarray(values, np.float64).reshape(-1)
    bad = np.flatnonzero(~np.isfinite(flat))
    if not bad.size:
        return None
    return "Nan" if math.isnan(flat[bad[0]]) else "Infinity"
