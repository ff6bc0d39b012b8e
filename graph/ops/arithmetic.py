"""Elementwise arithmetic: the bases Unary and Binary, the four operations, negation, powers and sums of many."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import shapes
from ..dtypes import DType
from ..ir import Operation, Tensor
from ..op import Op, op
from ..opdef import Spec, TensorLike
from ..operators import operator
from .basic import sum_to
from .constant import convert_to_tensor, same_dtype


class Unary(Op):
    """Base of elementwise operations on one tensor: same shape, same type, one ufunc."""

    __slots__ = ()

    def infer(self, x: TensorLike) -> Spec:
        return Spec(self.result_dtype(x.dtype), x.dims)

    def result_dtype(self, dtype: DType) -> DType:
        """The output's type. Raises TypeError for a type that the operation does not take."""
        return numeric(self.type, dtype)

    def compute(self, x: Any) -> Any:
        return type(self).ufunc(x)  # type: ignore[misc]


class Binary(Op):
    """Base of elementwise operations on two tensors that broadcast: one type, one ufunc."""

    __slots__ = ()

    def infer(self, x: TensorLike, y: TensorLike) -> Spec:
        if x.dtype is not y.dtype:
            raise TypeError(f"expected two tensors of one type, got {x.dtype.name} and {y.dtype.name}")
        return Spec(self.result_dtype(x.dtype), shapes.broadcast(x.dims, y.dims))

    def result_dtype(self, dtype: DType) -> DType:
        """The output's type. Raises TypeError for a type that the operation does not take."""
        return numeric(self.type, dtype)

    def compute(self, x: Any, y: Any) -> Any:
        return type(self).ufunc(x, y)  # type: ignore[misc]


def numeric(op_type: str, dtype: DType) -> DType:
    """`dtype` if it is a number type. Raises TypeError otherwise."""
    if not dtype.is_numeric:
        raise TypeError(f"{op_type} takes numbers, got {dtype.name}")
    return dtype


@op
class AddV2(Binary):
    """x + y."""

    ufunc = np.add

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        x, y = operation.inputs
        return [sum_to(dy, x), sum_to(dy, y)]


@op
class Sub(Binary):
    """x - y."""

    ufunc = np.subtract

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        x, y = operation.inputs
        return [sum_to(dy, x), sum_to(Neg()(dy), y)]


@op
class Mul(Binary):
    """x * y."""

    ufunc = np.multiply

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        x, y = operation.inputs
        return [sum_to(Mul()(dy, y), x), sum_to(Mul()(x, dy), y)]


@op
class Neg(Unary):
    """-x."""

    ufunc = np.negative

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        return [Neg()(dy)]


@op
class AddN(Op):
    """The sum of several tensors of one shape and type, added from left to right."""

    def infer(self, *inputs: TensorLike) -> Spec:
        dims = None
        for tensor in inputs:
            dims = shapes.merge(dims, tensor.dims)
            if tensor.dtype is not inputs[0].dtype:
                raise TypeError(f"add_n takes tensors of one type, got {inputs[0].dtype.name} and {tensor.dtype.name}")
        return Spec(numeric("AddN", inputs[0].dtype), dims)

    def compute(self, *inputs: Any) -> Any:
        total = np.array(inputs[0])
        for tensor in inputs[1:]:
            np.add(total, tensor, out=total)
        return total

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        return [dy] * len(operation.inputs)


@operator("add")
def add(x: Any, y: Any, name: str = "add") -> Tensor:
    """x + y, elementwise with broadcasting. Source: `tf.add`. Raises TypeError for two types, ValueError for shapes."""
    return AddV2()(*same_dtype("AddV2", x, y, name), name=name)


@operator("sub")
def subtract(x: Any, y: Any, name: str = "sub") -> Tensor:
    """x - y, elementwise with broadcasting. Source: `tf.subtract`."""
    return Sub()(*same_dtype("Sub", x, y, name), name=name)


@operator("mul")
def multiply(x: Any, y: Any, name: str = "mul") -> Tensor:
    """x * y, elementwise with broadcasting. Source: `tf.multiply`."""
    return Mul()(*same_dtype("Mul", x, y, name), name=name)


@operator("neg")
def negative(x: Any, name: str | None = None) -> Tensor:
    """-x. Source: `tf.negative`."""
    return Neg()(convert_to_tensor(x), name=name)


def add_n(inputs: Any, name: str | None = None) -> Tensor:
    """The sum of a list of tensors of one shape and type. Source: `tf.add_n`. Raises ValueError for an empty list."""
    if not isinstance(inputs, (list, tuple)) or not inputs:
        raise ValueError("inputs must be a list of at least one Tensor/IndexedSlices with the same dtype and shape")
    tensors = [convert_to_tensor(item) for item in inputs]
    return tensors[0] if len(tensors) == 1 and name is None else AddN()(*tensors, name=name)
