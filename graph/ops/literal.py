"""Python values as arrays: what a literal becomes, and the read-only array that is an attribute."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from ..dtypes import DType, as_dtype, int32, int64, string
from ..shapes import Dimension, TensorShape


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
    """A Python or NumPy value as an array of `dtype`, or of the type TF infers.

    Python floats become float32, ints int32 (int64 where too large), str and bytes string; arrays keep their type. Raises
    TypeError where a value is no literal or does not fit the type, ValueError for None, for ragged lists and for shapes
    that are not fully known.
    """
    if isinstance(value, (np.ndarray, np.generic)):
        return _cast_array(np.asarray(value), dtype)
    if value is None:
        raise ValueError("None values not supported.")
    if isinstance(value, (TensorShape, Dimension)):
        return _shape_array(value, dtype or int32)
    array = _python_array(value)
    if dtype is not None:
        return _python_as(array, value, dtype)
    return _infer_python(array, value)


def fed_array(value: Any, dtype: DType) -> np.ndarray[Any, Any]:
    """A value that is fed, as an array of `dtype`. More is taken than of a literal: what NumPy converts, fits.

    So 1 is True, 1.5 the int 1, "3" a number, and an array or list of integers too large for the type wraps around. A
    single int must keep its value. Raises TypeError or ValueError for what is no such value; complex numbers are no real
    ones and None is no number, though NumPy would convert them.
    """
    if value is None or dtype is string or isinstance(value, (TensorShape, Dimension)):
        return to_array(value, dtype)
    array = np.asarray(value) if isinstance(value, (np.ndarray, np.generic)) else _python_array(value)
    if array.dtype.kind == "c" and not dtype.is_complex:
        raise TypeError(f"Expected {dtype.name}, got complex numbers.")
    if array.dtype.hasobject and any(item is None for item in array.flat):
        raise TypeError(f"Expected {dtype.name}, got None among the elements.")
    try:
        with np.errstate(over="ignore"):
            converted = array.astype(dtype.np, copy=False)
    except OverflowError as error:
        raise TypeError(f"Expected {dtype.name}: {error}.") from None
    if isinstance(value, int) and not dtype.is_floating and converted != value:
        raise TypeError(f"Expected {dtype.name}, but {_short(value)} does not fit into it.")
    return converted


def _shape_array(value: TensorShape | Dimension, dtype: DType) -> np.ndarray[Any, Any]:
    if dtype not in (int32, int64):
        raise TypeError(f"Cannot convert a {type(value).__name__} to dtype {dtype.name}: it is int32 or int64.")
    plain = value.as_tuple() if isinstance(value, TensorShape) else value.value
    if plain is None or (isinstance(plain, tuple) and None in plain):
        what = "a partially known TensorShape" if isinstance(value, TensorShape) else "an unknown Dimension"
        raise ValueError(f"Cannot convert {what} to a Tensor: {value}")
    return np.array(plain, dtype.np)


def _python_array(value: Any) -> np.ndarray[Any, Any]:
    """The array that NumPy makes of a literal, in NumPy's own choice of type."""
    try:
        array = np.array(value)
    except UnicodeDecodeError:  # text beside bytes that are none
        return np.array(value, object)
    except ValueError:
        raise ValueError(f"Can't convert non-rectangular Python sequence to Tensor: {_short(value)}") from None
    except NotImplementedError:
        raise TypeError("Expected any non-tensor type, but got a tensor instead.") from None
    if array.dtype.hasobject and any(isinstance(item, Dimension) for item in array.flat):
        plain = [int(item) if isinstance(item, Dimension) else item for item in array.flat]
        return np.array(plain).reshape(array.shape)
    return array


def _infer_python(array: np.ndarray[Any, Any], value: Any) -> np.ndarray[Any, Any]:
    if array.dtype.kind in "USO":
        return _as_strings(array, value)
    if not _holds_arrays(value):
        if array.dtype == np.float64 or array.size == 0:
            with np.errstate(over="ignore"):
                return array.astype(np.float32)
        if array.dtype == np.int64:
            small = array.astype(np.int32)
            return small if np.array_equal(small, array) else array
    as_dtype(array.dtype)  # raises TypeError for what weft has no type for
    return array


def _holds_arrays(value: Any) -> bool:
    """Whether a (nested) list holds arrays, whose type counts; that of single NumPy numbers does not."""
    while isinstance(value, (list, tuple)) and value:
        value = value[0]
    return isinstance(value, np.ndarray)


#: What kinds of literals (as NumPy names them) become what kinds of tensors.
_FITTING = {"b": "b", "i": "biu", "u": "biu", "f": "biuf", "V": "biuf", "c": "biufc"}


def _python_as(array: np.ndarray[Any, Any], value: Any, dtype: DType) -> np.ndarray[Any, Any]:
    if dtype is string:
        return _as_strings(array, value)
    fitting = _FITTING.get(dtype.np.kind, "")
    if array.size and array.dtype.kind not in fitting:
        raise _misfit(value, dtype, fitting)
    with np.errstate(over="ignore"):
        converted = array.astype(dtype.np)
    if dtype.is_integer and not np.array_equal(converted, array):
        raise TypeError(f"Expected {dtype.name}, but {_short(value)} does not fit into it.")
    return converted


def _misfit(value: Any, dtype: DType, fitting: str) -> TypeError:
    """What is wrong with a literal: names its first element of another kind."""
    while isinstance(value, (list, tuple)) and value:
        value = next((item for item in value if np.array(item).dtype.kind not in fitting), value[0])
    return TypeError(f"Expected {dtype.name}, got {_short(value)} of type '{type(value).__name__}' instead.")


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
            raise TypeError(
                f"Failed to convert {_short(value)} to a Tensor: "
                f"expected string, got {_short(item)} of type '{type(item).__name__}' instead."
            )
    return flat.reshape(result.shape)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
