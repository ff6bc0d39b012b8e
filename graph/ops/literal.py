"""Python values as arrays: what a literal becomes, and the read-only array that is an attribute."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from ..dtypes import DType, as_dtype, int32, string
from ..shapes import TensorShape


class Literal:
    """A read-only array that compares and hashes by content, so that it can be an attribute."""

    __slots__ = ("_digest", "array")

    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        array.flags.writeable = False
        self.array = array
        self._digest: bytes | None = None

    @property
    def digest(self) -> bytes:
        if self._digest is None:
            data = repr(self.array.tolist()).encode() if self.array.dtype.hasobject else self.array.tobytes()
            self._digest = hashlib.blake2b(data, digest_size=16).digest()
        return self._digest

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Literal):
            return NotImplemented
        same_kind = (self.array.dtype, self.array.shape) == (other.array.dtype, other.array.shape)
        return self is other or (same_kind and self.digest == other.digest)

    def __hash__(self) -> int:
        return hash((self.array.dtype.str, self.array.shape, self.digest))

    def __repr__(self) -> str:
        return f"Literal({self.array.dtype}{list(self.array.shape)})"


def to_array(value: Any, dtype: DType | None = None) -> np.ndarray[Any, Any]:
    """A Python or NumPy value as an array of `dtype`, or of the type TF infers. Raises TypeError where it does not fit.

    Python floats become float32, ints int32 (int64 where too large), str and bytes string; arrays keep their type.
    """
    if isinstance(value, (np.ndarray, np.generic)):
        return _cast_array(np.asarray(value), dtype)
    if isinstance(value, TensorShape):
        if not value.is_fully_defined():
            raise ValueError(f"Cannot convert a partially known TensorShape to a Tensor: {value}")
        value = value.as_list()
        dtype = dtype or int32
    try:
        array = np.array(value)
    except ValueError:
        raise ValueError(f"Can't convert non-rectangular Python sequence to Tensor: {_short(value)}") from None
    if dtype is not None:
        return _python_as(array, value, dtype)
    return _infer_python(array, value)


def _infer_python(array: np.ndarray[Any, Any], value: Any) -> np.ndarray[Any, Any]:
    kind = array.dtype.kind
    if array.size == 0 and not _holds_arrays(value):
        return array.astype(np.float32)
    if kind == "f" and not _holds_arrays(value):
        return array.astype(np.float32)
    if kind == "i" and not _holds_arrays(value):
        small = array.astype(np.int32)
        return small if np.array_equal(small, array) else array
    if kind in "USO":
        return _as_strings(array, value)
    as_dtype(array.dtype)  # raises TypeError for what weft has no type for
    return array


def _holds_arrays(value: Any) -> bool:
    """Whether a (nested) list holds NumPy values, whose type counts."""
    while isinstance(value, (list, tuple)) and value:
        value = value[0]
    return isinstance(value, (np.ndarray, np.generic))


def _python_as(array: np.ndarray[Any, Any], value: Any, dtype: DType) -> np.ndarray[Any, Any]:
    if dtype is string:
        return _as_strings(array, value)
    rank = "biufcUSO"
    allowed = {"b": "b", "i": "iu", "u": "iu", "f": "iuf", "V": "iuf", "c": "iufc"}[dtype.np.kind]
    kind = array.dtype.kind if array.size else allowed[-1]
    if kind not in allowed or kind not in rank:
        raise TypeError(f"Expected {dtype.name}, got {_short(value)} of type '{type(value).__name__}' instead.")
    converted = array.astype(dtype.np)
    if dtype.is_integer and not np.array_equal(converted, array):
        raise TypeError(f"Expected {dtype.name}, but {_short(value)} does not fit into it.")
    return converted


def _cast_array(array: np.ndarray[Any, Any], dtype: DType | None) -> np.ndarray[Any, Any]:
    if array.dtype.kind in "USO":
        if dtype not in (None, string):
            raise TypeError(f"Expected {dtype.name}, got an array of {array.dtype} instead.")
        return _as_strings(array, array)
    if dtype is None:
        as_dtype(array.dtype)
        return array.copy()
    if dtype is string or (array.dtype.kind == "c" and not dtype.is_complex):
        raise TypeError(f"Expected {dtype.name}, got an array of {array.dtype} instead.")
    return array.astype(dtype.np)


def _as_strings(array: np.ndarray[Any, Any], value: Any) -> np.ndarray[Any, Any]:
    """Strings as an array of bytes objects."""
    result = np.array(value, dtype=object) if array.dtype.kind != "O" else array.copy()
    flat = result.reshape(-1)
    for index, item in enumerate(flat):
        if isinstance(item, str):
            flat[index] = item.encode()
        elif not isinstance(item, bytes):
            raise TypeError(f"Cannot convert {_short(value)} of type '{type(item).__name__}' to a Tensor.")
    return flat.reshape(result.shape)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
