"""Questions about a tensor's shape, as tensors: shape, size, rank."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import shapes
from ..dtypes import DType, as_dtype, int32
from ..ir import Tensor
from ..op import Op, op
from ..opdef import Spec, TensorLike
from .constant import const
from .convert import convert_to_tensor


@op
class Shape(Op):
    """The shape of a tensor, as a vector."""

    out_type: DType = int32
    not_differentiable = True

    def infer(self, x: TensorLike) -> Spec:
        return Spec(self.out_type, (None if x.dims is None else len(x.dims),), x.dims)

    def compute(self, x: Any) -> Any:
        return np.array(np.shape(x), self.out_type.np)


@op
class Size(Op):
    """The number of elements of a tensor."""

    out_type: DType = int32
    not_differentiable = True

    def infer(self, x: TensorLike) -> Spec:
        return Spec(self.out_type, (), shapes.count(x.dims))

    def compute(self, x: Any) -> Any:
        return np.array(np.size(x), self.out_type.np)


@op
class Rank(Op):
    """The number of dimensions of a tensor."""

    not_differentiable = True

    def infer(self, x: TensorLike) -> Spec:
        return Spec(int32, (), None if x.dims is None else len(x.dims))

    def compute(self, x: Any) -> Any:
        return np.array(np.ndim(x), np.int32)


def shape(input: Any, name: str | None = None, out_type: Any = int32) -> Tensor:
    """The shape as a 1-D tensor of `out_type` (int32 or int64): a constant where it is known. Source: `tf.shape`."""
    tensor = convert_to_tensor(input)
    dtype = as_dtype(out_type)
    if shapes.is_full(tensor.dims):
        return const(np.array(tensor.dims, dtype.np), name or "Shape")
    return Shape(dtype)(tensor, name=name)


def size(input: Any, name: str | None = None, out_type: Any = int32) -> Tensor:
    """The number of elements, a scalar of `out_type`. Source: `tf.size`."""
    return Size(as_dtype(out_type))(convert_to_tensor(input), name=name)


def rank(input: Any, name: str | None = None) -> Tensor:
    """The number of dimensions, an int32 scalar. Source: `tf.rank`."""
    return Rank()(convert_to_tensor(input), name=name)
