"""Data types of tensors: TensorFlow's names, codes and properties over NumPy's types."""

from __future__ import annotations

from typing import Any, cast

import ml_dtypes
import numpy as np


class DType:
    """The type of a tensor's elements. Interned: one object a type, so `is` compares; `==` also takes NumPy types.

    Source: `tf.DType`.
    """

    __slots__ = (
        "as_datatype_enum",
        "as_numpy_dtype",
        "is_complex",
        "is_floating",
        "is_integer",
        "is_trainable",
        "name",
        "np",
    )

    def __init__(self, name: str, enum: int, numpy_type: type) -> None:
        self.name = name
        self.as_datatype_enum = enum
        self.as_numpy_dtype = numpy_type
        #: The `np.dtype` of arrays that hold it; strings, resources and variants are held as Python objects.
        self.np = np.dtype(numpy_type)
        self.is_floating = self.np.kind == "f" or numpy_type is ml_dtypes.bfloat16
        self.is_complex = self.np.kind == "c"
        self.is_integer = self.np.kind in "iu"
        #: Gradients flow only through these types (SEMANTICS: ints, bool and strings are constants).
        self.is_trainable = self.is_floating or self.is_complex or name in ("resource", "variant")

    @property
    def is_bool(self) -> bool:
        return self.name == "bool"

    @property
    def is_unsigned(self) -> bool:
        return self.np.kind == "u"

    @property
    def is_numeric(self) -> bool:
        return self.is_floating or self.is_complex or self.is_integer

    @property
    def is_quantized(self) -> bool:
        return False

    @property
    def is_numpy_compatible(self) -> bool:
        return self.name not in ("resource", "variant")

    @property
    def base_dtype(self) -> DType:
        return self

    @property
    def real_dtype(self) -> DType:
        """The type of the real part: float32 for complex64, float64 for complex128, else itself."""
        return {"complex64": float32, "complex128": float64}.get(self.name, self)

    @property
    def size(self) -> int:
        """Bytes of one element."""
        return self.np.itemsize

    @property
    def min(self) -> Any:
        """The smallest value of a real type. Raises TypeError for others."""
        return self._limit("min")

    @property
    def max(self) -> Any:
        """The largest value of a real type. Raises TypeError for others."""
        return self._limit("max")

    def _limit(self, which: str) -> Any:
        if self.is_integer:
            return getattr(np.iinfo(cast(Any, self.np)), which)
        if self.is_floating:
            return getattr(ml_dtypes.finfo(self.np), which)  # type: ignore[no-untyped-call]
        raise TypeError(f"Cannot find {which}imum value of {self.name}")

    def is_compatible_with(self, other: Any) -> bool:
        return self is as_dtype(other)

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if other is None or isinstance(other, DType):
            return False
        try:
            return self is as_dtype(other)
        except TypeError:
            return False

    def __hash__(self) -> int:
        return hash(self.name)

    def __int__(self) -> int:
        return self.as_datatype_enum

    def __repr__(self) -> str:
        return f"wf.{self.name}"

    def __str__(self) -> str:
        return f"<dtype: {self.name!r}>"

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return as_dtype, (self.name,)


float32 = DType("float32", 1, np.float32)
float64 = DType("float64", 2, np.float64)
int32 = DType("int32", 3, np.int32)
uint8 = DType("uint8", 4, np.uint8)
int16 = DType("int16", 5, np.int16)
int8 = DType("int8", 6, np.int8)
string = DType("string", 7, np.object_)
complex64 = DType("complex64", 8, np.complex64)
int64 = DType("int64", 9, np.int64)
boolean = DType("bool", 10, np.bool_)
bfloat16 = DType("bfloat16", 14, ml_dtypes.bfloat16)
uint16 = DType("uint16", 17, np.uint16)
complex128 = DType("complex128", 18, np.complex128)
float16 = DType("float16", 19, np.float16)
resource = DType("resource", 20, np.object_)
variant = DType("variant", 21, np.object_)
uint32 = DType("uint32", 22, np.uint32)
uint64 = DType("uint64", 23, np.uint64)
half, double = float16, float64

ALL = (
    float32, float64, int32, uint8, int16, int8, string, complex64, int64, boolean,
    bfloat16, uint16, complex128, float16, resource, variant, uint32, uint64,
)  # fmt: skip
_BY_NAME = {dtype.name: dtype for dtype in ALL} | {"half": half, "float": float32, "double": double}
_BY_ENUM = {dtype.as_datatype_enum: dtype for dtype in ALL}
_BY_NUMPY = {dtype.np: dtype for dtype in ALL if dtype not in (resource, variant)}
_BY_PYTHON: dict[type, DType] = {float: float32, bool: boolean, object: string}


def as_dtype(type_value: Any) -> DType:
    """The DType of a name, a NumPy type, a TF enum value, or `float`, `bool` or `object`; a DType is returned as it is.

    Source: `tf.as_dtype`. Raises TypeError for anything else: also for `int`, which is int32 to TensorFlow's literals and
    int64 to NumPy.
    """
    if isinstance(type_value, DType):
        return type_value
    found: DType | None = None
    if isinstance(type_value, str):
        found = _BY_NAME.get(type_value)
    elif isinstance(type_value, int):
        found = _BY_ENUM.get(type_value)
    elif isinstance(type_value, type) and not issubclass(type_value, np.generic):
        found = _BY_PYTHON.get(type_value)
    elif isinstance(type_value, type | np.dtype):
        numpy_type = np.dtype(type_value)
        found = string if numpy_type.kind in "SU" else _BY_NUMPY.get(numpy_type)
    if found is None:
        raise TypeError(f"Cannot convert value {type_value!r} to a weft DType.")
    return found
