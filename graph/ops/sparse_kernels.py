"""The operations on sparse tensors, each of which takes their parts: indices, values, dense shape."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import shapes
from ..dtypes import int64
from ..errors import InvalidArgumentError
from ..ir import Operation, Tensor
from ..op import Op, op
from ..opdef import Spec, TensorLike
from ..shapes import Dims, normal_axis
from .arithmetic import conj, numeric
from .broadcasting import reduce_sum, reduced_dims
from .cast import cast
from .constant import known_dims
from .convert import stack
from .gathering import GatherNd, gather, index_type, one_hot
from .ranges import range_
from .reordering import invert_permutation
from .reshaping import reshape, transpose
from .rows import add_rows, flat_ids
from .segments import SegmentGather
from .sizes import shape, size

#: How many elements of the products that a sparse matrix makes are in memory at a time.
_BLOCK = 1 << 20


def checked_parts(indices: TensorLike, values: TensorLike, dense_shape: TensorLike) -> int | None:
    """How many elements are said, where that is known. Raises ValueError for parts that do not go together."""
    whole = known_dims(dense_shape)
    rank = None if whole is None else len(whole)
    for part, wanted in ((indices, 2), (values, 1), (dense_shape, 1)):
        if part.dims is not None and len(part.dims) != wanted:
            raise ValueError(f"Shape {shapes.text(part.dims)} must have rank {wanted}")
    if indices.dims is not None and not shapes.compatible(indices.dims[1:], (rank,)):
        raise ValueError(f"Dimensions {indices.dims[1]} and {rank} are not compatible: indices of another rank")
    if indices.dims is not None and values.dims is not None and not shapes.compatible(indices.dims[:1], values.dims):
        raise ValueError(f"Dimensions {indices.dims[0]} and {values.dims[0]} are not compatible: indices and values")
    return values.dims[0] if values.dims else indices.dims[0] if indices.dims else None


def _fit(indices: Any, values: Any, dims: Any) -> tuple[int, ...]:
    """The dense shape as a tuple. Raises InvalidArgumentError where the parts do not go together."""
    if indices.ndim != 2 or values.shape != indices.shape[:1] or dims.shape != indices.shape[1:]:
        raise InvalidArgumentError(
            None, None,
            f"the indices {list(indices.shape)}, values {list(values.shape)} and dense shape {list(dims.shape)} of a "
            "sparse tensor do not go together",
        )  # fmt: skip
    return tuple(dims.tolist())


@op
class SparseToDense(Op):
    """A dense tensor with values at some indices, and a default elsewhere."""

    validate_indices: bool = True

    def infer(self, indices: TensorLike, output_shape: TensorLike, values: TensorLike, default: TensorLike) -> Spec:
        index_type("SparseToDense", indices)
        if values.dtype is not default.dtype:
            raise TypeError(f"the values are {values.dtype.name}, default_value is {default.dtype.name}")
        if not shapes.compatible(default.dims, ()):
            raise ValueError(f"default_value must be a scalar, got shape {shapes.text(default.dims)}")
        for part, most in ((indices, 2), (values, 1)):
            if part.dims is not None and len(part.dims) > most:
                raise ValueError(f"Shape must be at most rank {most} but is rank {len(part.dims)}")
        return Spec(values.dtype, known_dims(output_shape))

    def compute(self, indices: Any, output_shape: Any, values: Any, default: Any) -> Any:
        table = indices if indices.ndim == 2 else indices.reshape(-1, 1)
        dims = tuple(output_shape.tolist())
        if table.shape[1] != len(dims):
            raise InvalidArgumentError(
                None, None, f"sparse_indices has {table.shape[1]} columns, output_shape has {len(dims)} elements"
            )
        if values.ndim and values.shape != table.shape[:1]:
            raise InvalidArgumentError(
                None, None,
                f"sparse_values has incorrect shape {list(values.shape)}, should be [] or [{len(table)}]",
            )  # fmt: skip
        ids = flat_ids(table, dims)
        if self.validate_indices:
            _check_order(ids, table)
        out = np.full(dims, default, values.dtype)
        out.reshape(-1)[ids] = values
        return out

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor | None]:
        indices, output_shape, values, _ = operation.inputs
        taken = GatherNd()(dy, reshape(indices, stack([-1, size(output_shape)])))
        rest = reduce_sum(dy) - reduce_sum(taken)
        scalar = values.dims == ()
        return [None, None, reduce_sum(taken) if scalar else reshape(taken, shape(values)), rest]


def _check_order(ids: Any, table: Any) -> None:
    wrong = np.flatnonzero(ids[1:] <= ids[:-1])
    if wrong.size:
        at = int(wrong[0]) + 1
        what = "is repeated" if ids[at] == ids[at - 1] else "is out of order. Sort them with sparse_reorder"
        raise InvalidArgumentError(None, None, f"indices[{at}] = {table[at].tolist()} {what}")


@op
class SparseTensorDenseMatMul(Op):
    """The product of a sparse and a dense matrix, each perhaps transposed and conjugated; sums in the order of the indices."""

    adjoint_a: bool = False
    adjoint_b: bool = False

    def infer(self, indices: TensorLike, values: TensorLike, dense_shape: TensorLike, b: TensorLike) -> Spec:
        index_type("SparseTensorDenseMatMul", indices)
        numeric("SparseTensorDenseMatMul", values.dtype)
        if b.dtype is not values.dtype:
            raise TypeError(
                f"Input 'b' of 'SparseTensorDenseMatMul' Op has type {b.dtype.name} that does not match type "
                f"{values.dtype.name} of argument 'a_values'"
            )
        checked_parts(indices, values, dense_shape)
        left, right = _matrix(known_dims(dense_shape), self.adjoint_a), _matrix(b.dims, self.adjoint_b)
        if not shapes.compatible(left[1:], right[:1]):
            raise ValueError(f"Dimensions must be equal, but are {left[1]} and {right[0]}")
        return Spec(values.dtype, (left[0], right[1]))

    def compute(self, indices: Any, values: Any, dense_shape: Any, b: Any) -> Any:
        dims = _fit(indices, values, dense_shape)
        flat_ids(indices, dims)  # which checks them
        rows, columns = indices.T
        right = b.conj().T if self.adjoint_b else b
        if self.adjoint_a:
            rows, columns, dims, values = columns, rows, dims[::-1], values.conj()
        if dims[1] != right.shape[0]:
            raise InvalidArgumentError(
                None, None,
                f"Cannot multiply A and B because inner dimension does not match: {dims[1]} vs. {right.shape[0]}. "
                "Did you forget a transpose?",
            )  # fmt: skip
        out = np.zeros((dims[0], right.shape[1]), values.dtype)
        step = max(1, _BLOCK // max(1, right.shape[1]))
        for start in range(0, len(values), step):
            part = slice(start, start + step)
            add_rows(out, rows[part], values[part, None] * right[columns[part]])
        return out

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor | None]:
        indices, values, dense_shape, b = operation.inputs
        db = SparseTensorDenseMatMul(not self.adjoint_a)(indices, values, dense_shape, dy)
        right = conj(transpose(b)) if self.adjoint_b else b
        rows, columns = indices[:, 0], indices[:, 1]
        if self.adjoint_a:
            rows, columns = columns, rows
        products = reduce_sum(gather(dy, rows) * conj(gather(right, columns)), 1)
        dvalues = conj(products) if self.adjoint_a else products
        return [None, dvalues, None, conj(transpose(db)) if self.adjoint_b else db]


def _matrix(dims: Dims, adjoint: bool) -> tuple[int | None, int | None]:
    if dims is None:
        return None, None
    if len(dims) != 2:
        raise ValueError(f"Shape must be rank 2 but is rank {len(dims)}")
    return (dims[1], dims[0]) if adjoint else (dims[0], dims[1])


@op
class SparseReduceSum(Op):
    """The sum of a sparse tensor over some axes (None: all), dense."""

    axes: tuple[int, ...] | None = None
    keep_dims: bool = False

    def infer(self, indices: TensorLike, values: TensorLike, dense_shape: TensorLike) -> Spec:
        index_type("SparseReduceSum", indices)
        numeric("SparseReduceSum", values.dtype)
        checked_parts(indices, values, dense_shape)
        return Spec(values.dtype, reduced_dims(known_dims(dense_shape), self.axes, self.keep_dims))

    def compute(self, indices: Any, values: Any, dense_shape: Any) -> Any:
        dims = _fit(indices, values, dense_shape)
        axes = range(len(dims)) if self.axes is None else [normal_axis(axis, len(dims)) for axis in self.axes]
        flat_ids(indices, dims)  # which checks them
        kept = [axis for axis in range(len(dims)) if axis not in axes]
        out = np.zeros([dims[axis] for axis in kept], values.dtype)
        add_rows(out.reshape(-1), flat_ids(indices[:, kept], out.shape), values)
        return out.reshape([1 if axis in axes else dim for axis, dim in enumerate(dims)]) if self.keep_dims else out

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor | None]:
        indices, _, dense_shape = operation.inputs
        rank = size(dense_shape)
        axes = range_(rank) if self.axes is None else stack(list(self.axes)) % rank
        reduced = reduce_sum(one_hot(axes, rank, dtype=indices.dtype), 0)
        whole = reshape(dy, dense_shape * (1 - cast(reduced, dense_shape.dtype)) + cast(reduced, dense_shape.dtype))
        return [None, GatherNd()(whole, indices * (1 - reduced)), None]


@op
class SparseReorder(Op):
    """Indices and values in row-major order; equal indices stay in their order."""

    def infer(self, indices: TensorLike, values: TensorLike, dense_shape: TensorLike) -> tuple[Spec, Spec]:
        index_type("SparseReorder", indices)
        checked_parts(indices, values, dense_shape)
        return Spec(indices.dtype, indices.dims), Spec(values.dtype, values.dims)

    def compute(self, indices: Any, values: Any, dense_shape: Any) -> Any:
        order = np.argsort(flat_ids(indices, _fit(indices, values, dense_shape)), kind="stable")
        return indices[order], values[order]

    def grad(self, operation: Operation, dindices: Tensor | None, dvalues: Tensor) -> list[Tensor | None]:
        indices, values, dense_shape = operation.inputs
        order = SparseReorder().outputs(indices, range_(size(values)), dense_shape)[1]
        return [None, gather(dvalues, invert_permutation(order)), None]


@op
class SparseAdd(Op):
    """The sum of two sparse tensors in row-major order, without what is smaller than a threshold."""

    def infer(
        self, a_indices: TensorLike, a_values: TensorLike, a_shape: TensorLike, b_indices: TensorLike,
        b_values: TensorLike, b_shape: TensorLike, thresh: TensorLike,
    ) -> tuple[Spec, Spec, Spec]:  # fmt: skip
        numeric("SparseAdd", a_values.dtype)
        if a_values.dtype is not b_values.dtype:
            raise TypeError(f"the summands are {a_values.dtype.name} and {b_values.dtype.name}")
        checked_parts(a_indices, a_values, a_shape)
        checked_parts(b_indices, b_values, b_shape)
        dims = shapes.merge(known_dims(a_shape), known_dims(b_shape))
        rank = None if dims is None else len(dims)
        return Spec(int64, (None, rank)), Spec(a_values.dtype, (None,)), Spec(int64, (rank,), a_shape.known)

    def compute(self, ai: Any, av: Any, ashape: Any, bi: Any, bv: Any, bshape: Any, thresh: Any) -> Any:
        dims = _fit(ai, av, ashape)
        if dims != _fit(bi, bv, bshape):
            raise InvalidArgumentError(
                None, None, f"operands' shapes do not match: {list(dims)} and {list(bshape.tolist())}"
            )
        ids, places = np.unique(np.concatenate([flat_ids(ai, dims), flat_ids(bi, dims)]), return_inverse=True)
        sums = add_rows(np.zeros(len(ids), av.dtype), places.reshape(-1), np.concatenate([av, bv]))
        kept = np.abs(sums) >= thresh
        table = np.array(np.unravel_index(ids[kept], dims), np.int64).reshape(len(dims), -1).T
        return np.ascontiguousarray(table), sums[kept], ashape

    def grad(
        self, operation: Operation, dindices: Tensor | None, dvalues: Tensor, dshape: Tensor | None
    ) -> list[Tensor | None]:
        a_indices, _, a_shape, b_indices, _, _, _ = operation.inputs
        sums = operation.outputs[0]
        da, db = (
            SegmentGather()(dvalues, SparsePositions()(indices, sums, a_shape)) for indices in (a_indices, b_indices)
        )
        return [None, da, None, None, db, None, None]


@op
class SparsePositions(Op):
    """For each index, its place in a sorted list of indices of the same dense shape; -1 where it is not in it."""

    not_differentiable = True

    def infer(self, indices: TensorLike, ordered: TensorLike, dense_shape: TensorLike) -> Spec:
        return Spec(int64, None if indices.dims is None else indices.dims[:1])

    def compute(self, indices: Any, ordered: Any, dense_shape: Any) -> Any:
        dims = tuple(dense_shape.tolist())
        wanted, there = flat_ids(indices, dims), flat_ids(ordered, dims)
        if not there.size:
            return np.full(wanted.shape, -1, np.int64)
        places = np.minimum(np.searchsorted(there, wanted), there.size - 1)
        return np.where(there[places] == wanted, places, -1)
