"""Diagonals: tensors made of them, taken from them and set into them; the identity matrix and the trace."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import shapes
from ..dtypes import as_dtype
from ..ir import Operation, Tensor
from ..op import Op, op
from ..opdef import Spec, TensorLike
from ..shapes import Dims
from .broadcasting import reduce_sum
from .convert import convert_to_tensor
from .fills import ZerosLike, ones, zeros


@op
class Diag(Op):
    """A tensor of twice the rank that holds the input where the two halves of the index agree, and 0 elsewhere."""

    def infer(self, x: TensorLike) -> Spec:
        return Spec(x.dtype, None if x.dims is None else x.dims * 2)

    def compute(self, x: Any) -> Any:
        x = np.asarray(x)
        made = np.zeros((x.size, x.size), x.dtype)
        np.fill_diagonal(made, x)
        return made.reshape(x.shape * 2)

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        return [DiagPart()(dy)]


@op
class DiagPart(Op):
    """The elements of a tensor where the two halves of the index agree."""

    def infer(self, x: TensorLike) -> Spec:
        if x.dims is None:
            return Spec(x.dtype, None)
        half = len(x.dims) // 2
        if len(x.dims) % 2 or not half:
            raise ValueError(f"Input must have even and non-zero rank, got {len(x.dims)}")
        return Spec(x.dtype, shapes.merge(x.dims[:half], x.dims[half:]))

    def compute(self, x: Any) -> Any:
        dims = np.shape(x)[: np.ndim(x) // 2]
        size = int(np.prod(dims))
        return np.array(np.reshape(x, (size, size)).diagonal()).reshape(dims)

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        return [Diag()(dy)]


@op
class MatrixDiag(Op):
    """Square matrices with the last dimension of the input on their diagonals."""

    def infer(self, x: TensorLike) -> Spec:
        if x.dims is None:
            return Spec(x.dtype, None)
        if not x.dims:
            raise ValueError("Shape must be at least rank 1 but is rank 0")
        return Spec(x.dtype, (*x.dims, x.dims[-1]))

    def compute(self, x: Any) -> Any:
        x = np.asarray(x)
        made = np.zeros((*x.shape, x.shape[-1]), x.dtype)
        along = np.arange(x.shape[-1])
        made[..., along, along] = x
        return made

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        return [MatrixDiagPart()(dy)]


@op
class MatrixDiagPart(Op):
    """The main diagonals of the matrices in the last two dimensions."""

    def infer(self, x: TensorLike) -> Spec:
        return Spec(x.dtype, diagonal_dims(x.dims))

    def compute(self, x: Any) -> Any:
        return np.array(np.diagonal(x, axis1=-2, axis2=-1), order="C")

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        return [MatrixSetDiag()(ZerosLike()(operation.inputs[0]), dy)]


@op
class MatrixSetDiag(Op):
    """The matrices in the last two dimensions with other main diagonals."""

    def infer(self, x: TensorLike, diagonal: TensorLike) -> Spec:
        if x.dtype is not diagonal.dtype:
            raise TypeError(f"expected two tensors of one type, got {x.dtype.name} and {diagonal.dtype.name}")
        shapes.merge(diagonal_dims(x.dims), diagonal.dims)
        return Spec(x.dtype, x.dims)

    def compute(self, x: Any, diagonal: Any) -> Any:
        made = np.array(x)
        along = np.arange(min(made.shape[-2:]))
        made[..., along, along] = diagonal
        return made

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        return [MatrixSetDiag()(dy, ZerosLike()(operation.inputs[1])), MatrixDiagPart()(dy)]


def diagonal_dims(dims: Dims) -> Dims:
    """The shape of the main diagonals of matrices. Raises ValueError for less than two dimensions."""
    if dims is None:
        return None
    if len(dims) < 2:
        raise ValueError(f"Shape must be at least rank 2 but is rank {len(dims)}")
    rows, columns = dims[-2:]
    return (*dims[:-2], None if rows is None or columns is None else min(rows, columns))


def diag(diagonal: Any, name: str | None = None) -> Tensor:
    """A tensor of shape D + D with `diagonal` (shape D) on its diagonal. Source: `tf.diag`."""
    return Diag()(convert_to_tensor(diagonal), name=name)


def diag_part(input: Any, name: str | None = None) -> Tensor:
    """The diagonal (shape D) of a tensor of shape D + D. Source: `tf.diag_part`. Raises ValueError for other shapes."""
    return DiagPart()(convert_to_tensor(input), name=name)


def matrix_diag(diagonal: Any, name: str | None = None) -> Tensor:
    """Square matrices with the last dimension on their diagonals. Source: `tf.matrix_diag`."""
    return MatrixDiag()(convert_to_tensor(diagonal), name=name)


def matrix_diag_part(input: Any, name: str | None = None) -> Tensor:
    """The main diagonals of the matrices in the last two dimensions. Source: `tf.matrix_diag_part`."""
    return MatrixDiagPart()(convert_to_tensor(input), name=name)


def matrix_set_diag(input: Any, diagonal: Any, name: str | None = None) -> Tensor:
    """`input` with `diagonal` in its matrices' main diagonals. Source: `tf.matrix_set_diag`."""
    tensor = convert_to_tensor(input)
    return MatrixSetDiag()(tensor, convert_to_tensor(diagonal, tensor.dtype), name=name)


def eye(
    num_rows: int, num_columns: int | None = None, batch_shape: Any = None, dtype: Any = "float32", name: str = "eye"
) -> Tensor:
    """Identity matrices of shape batch_shape + [num_rows, num_columns] (static). Source: `tf.eye`."""
    columns = num_rows if num_columns is None else num_columns
    batch, wanted = [int(dim) for dim in batch_shape or ()], as_dtype(dtype)
    diagonal = ones([*batch, min(num_rows, columns)], wanted)
    return MatrixSetDiag()(zeros([*batch, num_rows, columns], wanted), diagonal, name=name)


def trace(x: Any, name: str | None = None) -> Tensor:
    """The sum of the main diagonal of each matrix in the last two dimensions. Source: `tf.trace`."""
    return reduce_sum(matrix_diag_part(x), [-1], name=name or "Trace")
