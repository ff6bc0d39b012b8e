"""Linear algebra: matrix products, inverse and determinant."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import shapes
from ..dtypes import DType
from ..errors import InvalidArgumentError
from ..ir import Operation, Tensor
from ..op import Op, op
from ..opdef import Spec, TensorLike
from ..operators import operator
from ..shapes import Dims, normal_axis
from .arithmetic import Mul, Neg, conj, inexact, numeric
from .broadcasting import sum_to
from .convert import convert_to_tensor, same_dtype
from .products import matrix_product, product
from .reshaping import ExpandDims, Transpose, reshape


@op
class MatMul(Op):
    """The product of two matrices, either of them transposed first."""

    transpose_a: bool = False
    transpose_b: bool = False

    def infer(self, a: TensorLike, b: TensorLike) -> Spec:
        dtype = _product_dtype(self.type, a, b)
        for tensor in (a, b):
            if tensor.dims is not None and len(tensor.dims) != 2:
                raise ValueError(f"Shape must be rank 2 but is rank {len(tensor.dims)}")
        return Spec(dtype, _matrix_dims(a.dims, b.dims, self.transpose_a, self.transpose_b))

    def compute(self, a: Any, b: Any) -> Any:
        return matrix_product(a, b, self.transpose_a, self.transpose_b)

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        a, b = operation.inputs
        return self.gradients(a, b, dy)

    def gradients(self, a: Tensor, b: Tensor, dy: Tensor) -> list[Tensor]:
        """The gradients by `a` and `b`, from that by their product."""
        a, b = conj(a), conj(b)
        across_a, across_b = self.transpose_a, self.transpose_b
        da = MatMul(across_b, True)(b, dy) if across_a else MatMul(False, not across_b)(dy, b)
        db = MatMul(True, across_a)(dy, a) if across_b else MatMul(not across_a, False)(a, dy)
        return [da, db]


@op
class BatchMatMulV2(Op):
    """The products of the matrices in the last two dimensions; the others broadcast. `adj_x`: x conjugated and transposed."""

    adj_x: bool = False
    adj_y: bool = False

    def infer(self, x: TensorLike, y: TensorLike) -> Spec:
        dtype = _product_dtype(self.type, x, y)
        for tensor in (x, y):
            if tensor.dims is not None and len(tensor.dims) < 2:
                raise ValueError(f"Shape must be at least rank 2 but is rank {len(tensor.dims)}")
        if x.dims is None or y.dims is None:
            return Spec(dtype, None)
        batch = shapes.broadcast(x.dims[:-2], y.dims[:-2])
        matrix = _matrix_dims(x.dims[-2:], y.dims[-2:], self.adj_x, self.adj_y)
        return Spec(dtype, None if batch is None else (*batch, *matrix))

    def compute(self, x: Any, y: Any) -> Any:
        return product(adjoint(x) if self.adj_x else x, adjoint(y) if self.adj_y else y)

    def grad(self, operation: Operation, dz: Tensor) -> list[Tensor]:
        x, y = operation.inputs
        dx = BatchMatMulV2(self.adj_y, True)(y, dz) if self.adj_x else BatchMatMulV2(False, not self.adj_y)(dz, y)
        dy = BatchMatMulV2(True, self.adj_x)(dz, x) if self.adj_y else BatchMatMulV2(not self.adj_x, False)(x, dz)
        return [sum_to(dx, x), sum_to(dy, y)]


def _product_dtype(op_type: str, a: TensorLike, b: TensorLike) -> DType:
    if a.dtype is not b.dtype:
        raise TypeError(f"expected two tensors of one type, got {a.dtype.name} and {b.dtype.name}")
    return numeric(op_type, a.dtype)


def _matrix_dims(a: Dims, b: Dims, across_a: bool, across_b: bool) -> tuple[int | None, int | None]:
    """The shape of a matrix product. Raises ValueError where the inner dimensions differ."""
    rows, inner_a = (a or (None, None))[:: -1 if across_a else 1]
    inner_b, columns = (b or (None, None))[:: -1 if across_b else 1]
    if inner_a is not None and inner_b is not None and inner_a != inner_b:
        raise ValueError(f"Dimensions must be equal, but are {inner_a} and {inner_b}")
    return rows, columns


def adjoint(x: Any) -> Any:
    """Each matrix transposed and conjugated; of real numbers a view."""
    swapped = np.swapaxes(x, -1, -2)
    return np.conjugate(swapped) if swapped.dtype.kind == "c" else swapped


def _lapack(op_type: str, dtype: DType) -> DType:
    """`dtype` if LAPACK has it. Raises TypeError otherwise."""
    if inexact(op_type, dtype).size < 4:
        raise TypeError(f"{op_type} takes float32, float64 and complex numbers, got {dtype.name}")
    return dtype


@op
class MatrixInverse(Op):
    """The inverses of the square matrices in the last two dimensions, or their adjoints."""

    adjoint: bool = False

    def infer(self, x: TensorLike) -> Spec:
        return Spec(_lapack(self.type, x.dtype), square_dims(x.dims))

    def compute(self, x: Any) -> Any:
        try:
            return np.linalg.inv(np.ascontiguousarray(adjoint(x)) if self.adjoint else x)
        except np.linalg.LinAlgError:
            raise InvalidArgumentError(None, None, "Input is not invertible.") from None

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        y = operation.outputs[0]
        if self.adjoint:  # y = inv(x)^H: dx = -y dy^H y
            return [Neg()(BatchMatMulV2()(y, BatchMatMulV2(True, False)(dy, y)))]
        return [Neg()(BatchMatMulV2(True, False)(y, BatchMatMulV2(False, True)(dy, y)))]


@op
class MatrixDeterminant(Op):
    """The determinants of the square matrices in the last two dimensions."""

    def infer(self, x: TensorLike) -> Spec:
        dims = square_dims(x.dims)
        return Spec(_lapack(self.type, x.dtype), None if dims is None else dims[:-2])

    def compute(self, x: Any) -> Any:
        return np.linalg.det(x)

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        x, y = operation.inputs[0], operation.outputs[0]
        scale = ExpandDims(-1)(ExpandDims(-1)(Mul()(dy, conj(y))))
        return [Mul()(scale, MatrixInverse(True)(x))]


def square_dims(dims: Dims) -> Dims:
    """The shape of square matrices. Raises ValueError where it is none."""
    if dims is None:
        return None
    if len(dims) < 2:
        raise ValueError(f"Shape must be at least rank 2 but is rank {len(dims)}")
    (side,) = shapes.merge(dims[-2:-1], dims[-1:]) or (None,)
    return (*dims[:-2], side, side)


# the public functions


def matmul(
    a: Any, b: Any, transpose_a: bool = False, transpose_b: bool = False, adjoint_a: bool = False,
    adjoint_b: bool = False, a_is_sparse: bool = False, b_is_sparse: bool = False, name: str | None = None,
) -> Tensor:  # fmt: skip
    """The product of matrices, or of batches of them whose leading dimensions broadcast. Source: `tf.matmul`.

    `a_is_sparse` and `b_is_sparse` are hints without effect. Raises ValueError for a matrix that is to be both transposed
    and adjoined and for shapes that do not fit, TypeError for two types.
    """
    for which, transposed, adjoined in (("a", transpose_a, adjoint_a), ("b", transpose_b, adjoint_b)):
        if transposed and adjoined:
            raise ValueError(f"Only one of transpose_{which} and adjoint_{which} can be True.")
    first, second = same_dtype("MatMul", a, b, name)
    if any(tensor.dims is None or len(tensor.dims) > 2 for tensor in (first, second)):
        # The batch operation knows only adjoints: a transposition is the adjoint of the conjugate.
        first = conj(first) if transpose_a else first
        second = conj(second) if transpose_b else second
        return BatchMatMulV2(transpose_a or adjoint_a, transpose_b or adjoint_b)(first, second, name=name or "MatMul")
    first = conj(first) if adjoint_a else first
    second = conj(second) if adjoint_b else second
    return MatMul(transpose_a or adjoint_a, transpose_b or adjoint_b)(first, second, name=name)


@operator("matmul")
def _matmul_operator(a: Any, b: Any) -> Tensor:
    return matmul(a, b, name="matmul")


def tensordot(a: Any, b: Any, axes: Any, name: str | None = None) -> Tensor:
    """The sum of products over `axes`: an int (the last of a, the first of b), or a pair of axes or lists of them.

    Ranks and the summed dimensions must be known. Source: `tf.tensordot`. Raises ValueError where they are not or do not fit.
    """
    first, second = same_dtype("Tensordot", a, b, name or "Tensordot")
    if first.dims is None or second.dims is None:
        raise ValueError("tensordot needs tensors of known rank")
    over_a, over_b = _contracted(axes, len(first.dims), len(second.dims))
    free_a = [axis for axis in range(len(first.dims)) if axis not in over_a]
    free_b = [axis for axis in range(len(second.dims)) if axis not in over_b]
    inner = shapes.count(tuple(first.dims[axis] for axis in over_a))
    if inner is None or inner != shapes.count(tuple(second.dims[axis] for axis in over_b)):
        raise ValueError(f"cannot sum axes {over_a} of {first.shape} with axes {over_b} of {second.shape}")
    free = [first.dims[axis] for axis in free_a] + [second.dims[axis] for axis in free_b]
    if free.count(None) > 1:
        raise ValueError("tensordot needs all but one dimension to be known")
    left = reshape(Transpose((*free_a, *over_a))(first), [_size(first, free_a), inner])
    right = reshape(Transpose((*over_b, *free_b))(second), [inner, _size(second, free_b)])
    return reshape(matmul(left, right), [-1 if dim is None else dim for dim in free], name=name or "Tensordot")


def _size(tensor: Tensor, axes: list[int]) -> int:
    """The product of some dimensions, -1 when it is unknown."""
    size = shapes.count(tuple((tensor.dims or ())[axis] for axis in axes))
    return -1 if size is None else size


def _contracted(axes: Any, rank_a: int, rank_b: int) -> tuple[list[int], list[int]]:
    if isinstance(axes, int):
        return list(range(rank_a - axes, rank_a)), list(range(axes))
    over_a, over_b = ([side] if isinstance(side, int) else list(side) for side in axes)
    if len(over_a) != len(over_b):
        raise ValueError(f"Different number of contraction axes 'a' and 'b', {len(over_a)} != {len(over_b)}.")
    return [normal_axis(axis, rank_a) for axis in over_a], [normal_axis(axis, rank_b) for axis in over_b]


def matrix_inverse(input: Any, adjoint: bool = False, name: str | None = None) -> Tensor:
    """The inverse of each matrix in the last two dimensions (or its adjoint). Source: `tf.matrix_inverse`.

    A run raises InvalidArgumentError for a matrix that has none.
    """
    return MatrixInverse(adjoint)(convert_to_tensor(input), name=name)


def matrix_determinant(input: Any, name: str | None = None) -> Tensor:
    """The determinant of each matrix in the last two dimensions. Source: `tf.matrix_determinant`."""
    return MatrixDeterminant()(convert_to_tensor(input), name=name)
