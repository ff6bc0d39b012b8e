"""Changes of type: Cast, and TensorFlow 1's shorthands for it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dtypes import DType, as_dtype, bfloat16, complex64, complex128, float32, float64, int32, int64
from ..indexed_slices import IndexedSlices
from ..ir import Operation, Tensor
from ..op import Op, op
from ..opdef import Spec, TensorLike
from .convert import convert_to_tensor


@op
class Cast(Op):
    """The nearest value of another type: floats are cut off to ints, complex numbers lose their imaginary part."""

    dtype: DType
    passes_slices = True

    def infer(self, x: TensorLike) -> Spec:
        for dtype in (x.dtype, self.dtype):
            if not (dtype.is_numeric or dtype.is_bool):
                raise TypeError(f"cannot cast {x.dtype.name} to {self.dtype.name}")
        kept = x.dtype.is_integer and self.dtype in (int32, int64)
        return Spec(self.dtype, x.dims, x.known if kept else None)

    def compute(self, x: Any) -> Any:
        x = np.asarray(x)
        return (x.real if x.dtype.kind == "c" and not self.dtype.is_complex else x).astype(self.dtype.np)

    def grad(self, operation: Operation, dy: Any) -> list[Any]:
        source = operation.inputs[0].dtype
        if not source.is_trainable:
            return [None]
        return [dy.map(Cast(source)) if isinstance(dy, IndexedSlices) else Cast(source)(dy)]


def cast(x: Any, dtype: Any, name: str | None = None) -> Tensor:
    """`x` in another type (number or bool), the tensor itself where it has it. Source: `tf.cast`. Raises TypeError."""
    tensor, wanted = convert_to_tensor(x), as_dtype(dtype)
    return tensor if tensor.dtype is wanted else Cast(wanted)(tensor, name=name)


def to_float(x: Any, name: str = "ToFloat") -> Tensor:
    """`x` as float32. Source: `tf.to_float`."""
    return cast(x, float32, name)


def to_double(x: Any, name: str = "ToDouble") -> Tensor:
    """`x` as float64. Source: `tf.to_double`."""
    return cast(x, float64, name)


def to_int32(x: Any, name: str = "ToInt32") -> Tensor:
    """`x` as int32. Source: `tf.to_int32`."""
    return cast(x, int32, name)


def to_int64(x: Any, name: str = "ToInt64") -> Tensor:
    """`x` as int64. Source: `tf.to_int64`."""
    return cast(x, int64, name)


def to_bfloat16(x: Any, name: str = "ToBFloat16") -> Tensor:
    """`x` as bfloat16. Source: `tf.to_bfloat16`."""
    return cast(x, bfloat16, name)


def to_complex64(x: Any, name: str = "ToComplex64") -> Tensor:
    """`x` as complex64. Source: `tf.to_complex64`."""
    return cast(x, complex64, name)


def to_complex128(x: Any, name: str = "ToComplex128") -> Tensor:
    """`x` as complex128. Source: `tf.to_complex128`."""
    return cast(x, complex128, name)
