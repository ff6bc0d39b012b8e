"""Tensors of one repeated value: fill, zeros, ones and what is like another tensor."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import shapes
from ..dtypes import DType, as_dtype
from ..ir import Operation, Tensor
from ..op import Op, op
from ..opdef import Spec, TensorLike
from .broadcasting import reduce_sum
from .constant import const, known_dims
from .convert import convert_to_tensor, int_vector
from .sizes import shape


@op
class Fill(Op):
    """A tensor of a shape, every element the same."""

    def infer(self, shape: TensorLike, value: TensorLike) -> Spec:
        if value.dims not in (None, ()):
            raise ValueError(f"the value to fill with must be a scalar, got shape {shapes.text(value.dims)}")
        return Spec(value.dtype, known_dims(shape))

    def compute(self, shape: Any, value: Any) -> Any:
        return np.full(tuple(shape), value, np.asarray(value).dtype)

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor | None]:
        return [None, reduce_sum(dy)]


@op
class ZerosLike(Op):
    """Zeros (empty strings, False) in the shape and type of a tensor."""

    def infer(self, x: TensorLike) -> Spec:
        return Spec(x.dtype, x.dims)

    def compute(self, x: Any) -> Any:
        x = np.asarray(x)
        return np.full(x.shape, b"", object) if x.dtype.hasobject else np.zeros(x.shape, x.dtype)

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor | None]:
        return [None]


@op
class OnesLike(Op):
    """Ones in the shape and type of a tensor."""

    def infer(self, x: TensorLike) -> Spec:
        return Spec(x.dtype, x.dims)

    def compute(self, x: Any) -> Any:
        x = np.asarray(x)
        return np.ones(x.shape, x.dtype)

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor | None]:
        return [None]


def fill(dims: Any, value: Any, name: str | None = None) -> Tensor:
    """A tensor of shape `dims`, each element `value` (a scalar). Source: `tf.fill`."""
    return Fill()(int_vector(dims), convert_to_tensor(value), name=name)


def zeros(shape: Any, dtype: Any = "float32", name: str = "zeros") -> Tensor:
    """Zeros of a shape (numbers or a 1-D integer tensor) and type; False of bool, "" of string. Source: `tf.zeros`."""
    return _filled(shape, as_dtype(dtype), 0, name)


def ones(shape: Any, dtype: Any = "float32", name: str = "ones") -> Tensor:
    """Ones of a shape (numbers or a 1-D integer tensor) and type. Source: `tf.ones`."""
    return _filled(shape, as_dtype(dtype), 1, name)


def _filled(shape: Any, dtype: DType, value: int, name: str) -> Tensor:
    scalar = np.array(b"", object) if dtype.np.hasobject else np.array(value, dtype.np)
    dims = int_vector(shapes.TensorShape(shape) if isinstance(shape, shapes.TensorShape) else shape)
    full = known_dims(dims)
    if full is not None and shapes.is_full(full) and (shapes.count(full) or 0) <= 1000:
        return const(np.full([d for d in full if d is not None], scalar, scalar.dtype), name)
    return Fill()(dims, const(scalar), name=name)


def zeros_like(tensor: Any, dtype: Any = None, name: str | None = None, optimize: bool = True) -> Tensor:
    """Zeros in the shape of `tensor`, in its type or `dtype`. Source: `tf.zeros_like`."""
    x = convert_to_tensor(tensor)
    if dtype is None or as_dtype(dtype) is x.dtype:
        return ZerosLike()(x, name=name or "zeros_like")
    return _filled_like(x, as_dtype(dtype), 0, name or "zeros_like")


def ones_like(tensor: Any, dtype: Any = None, name: str | None = None, optimize: bool = True) -> Tensor:
    """Ones in the shape of `tensor`, in its type or `dtype`. Source: `tf.ones_like`."""
    x = convert_to_tensor(tensor)
    if dtype is None or as_dtype(dtype) is x.dtype:
        return OnesLike()(x, name=name or "ones_like")
    return _filled_like(x, as_dtype(dtype), 1, name or "ones_like")


def _filled_like(x: Tensor, dtype: DType, value: int, name: str) -> Tensor:
    return Fill()(shape(x), const(np.array(value, dtype.np)), name=name)
