"""Sums of matrix products over the iterations of a loop, as operations: what the gradient by a loop's weights is."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dtypes import DType, variant
from ..ir import Operation, Tensor
from ..op import Op, op
from ..opdef import Spec, TensorLike
from ..product_sum import ProductSum
from ..shapes import Dims
from .array_tapes import TensorArrayReadV3, TensorArrayWriteV3
from .constant import const
from .linalg import MatMul
from .products import matrix_product
from .tapes import EmptyTape


def check_sum(held: TensorLike) -> None:
    if held.dtype is not variant:
        raise TypeError(f"expected a sum of products, got a tensor of {held.dtype.name}")


def multiply(left: Any, right: Any, out: Any) -> Any:
    """`left` transposed times `right`, into `out`."""
    return matrix_product(left, right, True, False, out)


@op
class ProductSumStart(Op):
    """A sum of no products."""

    not_differentiable = True

    def infer(self) -> Spec:
        return Spec(variant, ())

    def compute(self) -> Any:
        return ProductSum()


@op
class ProductSumAdd(Op):
    """The sum with a product of two matrices more, either of them transposed first. The sum before it is used up.

    The factors' rows (columns, of what is not transposed) are kept until there are `ROWS` of them, and multiplied then.
    The gradient that arrives at the sum is a tape whose one element is the gradient by the total.
    """

    transpose_a: bool
    transpose_b: bool
    dtype: DType
    shape: Dims

    def infer(self, held: TensorLike, a: TensorLike, b: TensorLike) -> Spec:
        check_sum(held)
        product = MatMul(self.transpose_a, self.transpose_b).infer(a, b)
        if product.dtype is not self.dtype:
            raise TypeError(f"expected matrices of {self.dtype.name}, got {product.dtype.name}")
        return Spec(variant, ())

    def compute(self, held: Any, a: Any, b: Any) -> Any:
        return held.add(*self.factors(a, b), multiply, np.empty)

    def factors(self, a: Any, b: Any) -> tuple[Any, Any]:
        """The factors with what is summed over in their rows."""
        return a if self.transpose_a else np.transpose(a), np.transpose(b) if self.transpose_b else b

    def grad(self, operation: Operation, dsum: Tensor) -> list[Tensor]:
        _, a, b = operation.inputs
        dy = TensorArrayReadV3(self.dtype, self.shape)(dsum, const(np.array(0, np.int32)))
        return [dsum, *MatMul(self.transpose_a, self.transpose_b).gradients(a, b, dy)]


@op
class ProductSumTotal(Op):
    """The sum as a matrix, zeros if nothing was added; the second input, if there is one, is added to it."""

    dtype: DType
    shape: Dims

    def infer(self, held: TensorLike, *first: TensorLike) -> Spec:
        check_sum(held)
        return Spec(self.dtype, self.shape)

    def compute(self, held: Any, *first: Any, out: Any = None) -> Any:
        if out is None:
            out = np.empty(tuple(self.shape or ()), self.dtype.np)
        if not held.total(multiply, out):
            np.copyto(out, first[0] if first else 0)
        elif first:
            np.add(first[0], out, out)
        return out

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        element = TensorArrayWriteV3(dynamic=True)(EmptyTape()(), const(np.array(0, np.int32)), dy)
        return [element, *([dy] * (len(operation.inputs) - 1))]
