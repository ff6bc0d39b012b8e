"""Arrays as TensorProto messages, and back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..dtypes import (
    DType,
    as_dtype,
    bfloat16,
    boolean,
    complex64,
    complex128,
    float16,
    float32,
    float64,
    int64,
    string,
    uint32,
    uint64,
)

Array = np.ndarray[Any, Any]

#: What a message may hold when it is written out; a few values that stand for more than this are a mistake or an attack.
MOST_BYTES = 2**31
#: The fields of uint32 and uint64 values, which tensorboardX's class does not know.
_UNSIGNED = {16: uint32, 17: uint64}


def write_tensor(proto: Any, array: Array, dtype: DType) -> None:
    """Fill in a TensorProto."""
    proto.dtype = dtype.as_datatype_enum
    for size in array.shape:
        proto.tensor_shape.dim.add().size = size
    if dtype is string:
        proto.string_val.extend(_as_bytes(item) for item in array.ravel().tolist())
    else:
        proto.tensor_content = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def _as_bytes(item: Any) -> bytes:
    return item if isinstance(item, bytes) else str(item).encode()


def read_tensor(proto: Any) -> tuple[Array, DType]:
    """The array and its type. Raises ValueError for a message that is none."""
    dtype = read_dtype(proto.dtype)
    dims = tuple(dim.size for dim in proto.tensor_shape.dim)
    if proto.tensor_shape.unknown_rank or any(size < 0 for size in dims):
        raise ValueError(f"a constant's shape must be fully known, got {list(dims)}")
    count = math.prod(dims)
    if count * dtype.size > MOST_BYTES or len(dims) > 32:
        raise ValueError(f"a constant of shape {list(dims)} and type {dtype.name} is too large")
    if proto.tensor_content:
        return _from_content(proto.tensor_content, dims, dtype), dtype
    return _filled_up(_values(proto, dtype), count, dtype).reshape(dims), dtype


def read_dtype(enum: int) -> DType:
    """The DType of a DataType number. Raises ValueError for one that weft has not."""
    try:
        return as_dtype(int(enum))
    except TypeError:
        raise ValueError(f"weft has no data type number {enum}") from None


def _from_content(content: bytes, dims: tuple[int, ...], dtype: DType) -> Array:
    expected = math.prod(dims) * dtype.size
    if dtype.np.hasobject or len(content) != expected:
        raise ValueError(
            f"tensor_content has {len(content)} bytes, a {dtype.name} tensor of shape {list(dims)} {expected}"
        )
    return np.frombuffer(content, dtype.np.newbyteorder("<")).astype(dtype.np, copy=False).reshape(dims)


def _values(proto: Any, dtype: DType) -> Array:
    """The values that are written one by one."""
    if dtype is string:
        array = np.empty(len(proto.string_val), object)
        array[:] = list(proto.string_val)
        return array
    if dtype in (float16, bfloat16):
        return _wrapped(proto.half_val, np.uint16).view(dtype.np)
    if dtype in (complex64, complex128):
        parts = proto.scomplex_val if dtype is complex64 else proto.dcomplex_val
        if len(parts) % 2:
            raise ValueError("a complex number has a real part and no imaginary part")
        return np.array(parts, dtype.real_dtype.np).view(dtype.np)
    if dtype in _UNSIGNED.values():
        return _unsigned(proto, dtype)
    fields = {float32: "float_val", float64: "double_val", int64: "int64_val", boolean: "bool_val"}
    if not (dtype.is_numeric or dtype.is_bool):
        raise ValueError(f"a constant of type {dtype.name} has no values")
    return _wrapped(getattr(proto, fields.get(dtype, "int_val")), dtype.np)


def _wrapped(values: Sequence[Any], to: Any) -> Array:
    """Numbers in a narrower integer type. Raises ValueError where one does not fit."""
    array = np.array(values)
    if not array.size:
        return np.zeros(0, to)
    narrow = array.astype(to)
    if narrow.dtype.kind in "iu" and not np.array_equal(narrow, array):
        raise ValueError(f"a value does not fit into {np.dtype(to).name}")
    return narrow


def _unsigned(proto: Any, dtype: DType) -> Array:
    """Values of fields that the message class skips, from what it kept of them."""
    from google.protobuf.unknown_fields import UnknownFieldSet

    values: list[int] = []
    for field in UnknownFieldSet(proto):
        if _UNSIGNED.get(field.field_number) is dtype:
            values += [field.data] if isinstance(field.data, int) else _varints(field.data)
    if any(value > dtype.max for value in values):
        raise ValueError(f"a value does not fit into {dtype.name}")
    return np.array(values, dtype.np)


def _varints(data: bytes) -> list[int]:
    """Numbers in protobuf's packed form: seven bits a byte, the lowest first."""
    values, value, shift = [], 0, 0
    for byte in data:
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            values.append(value)
            value, shift = 0, 0
    if shift:
        raise ValueError("a number ends in its middle")
    return values


def _filled_up(values: Array, count: int, dtype: DType) -> Array:
    """As many values as wanted: the last one repeated, zeros where there is none."""
    if len(values) > count:
        raise ValueError(f"{len(values)} values for a tensor of {count} elements")
    if len(values) == count:
        return values
    blank = b"" if dtype is string else np.zeros((), dtype.np)[()]
    filled = np.full(count, values[-1] if len(values) else blank, dtype.np)
    filled[: len(values)] = values
    return filled
