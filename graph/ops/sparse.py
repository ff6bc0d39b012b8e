"""The public functions on sparse tensors; `wf.sparse` has them under shorter names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import context
from ..dtypes import string
from ..ir import Tensor, get_default_graph
from ..shapes import as_dims
from ..sparse_tensor import SparseTensor, SparseTensorValue
from .arithmetic import add
from .array import concat
from .compare import not_equal
from .constant import axes_tuple, const
from .convert import convert_to_tensor, int_vector
from .fills import zeros
from .gathering import ScatterNd, gather, gather_nd
from .math import maximum
from .placeholders import placeholder, placeholder_with_default
from .reshaping import reshape
from .selecting import where
from .sizes import shape
from .sparse_kernels import SparseAdd, SparseReduceSum, SparseReorder, SparseTensorDenseMatMul, SparseToDense


def _sparse(value: Any, what: str = "Input") -> SparseTensor:
    """Raises TypeError for what is not sparse."""
    if not isinstance(value, (SparseTensor, SparseTensorValue)):
        raise TypeError(f"{what} must be a SparseTensor, got {type(value).__name__}")
    return SparseTensor.from_value(value)


def sparse_placeholder(dtype: Any, shape: Any = None, name: str | None = None) -> SparseTensor:
    """A SparseTensor that every run must feed, by a SparseTensorValue or a tuple (indices, values, dense_shape).

    `shape`: what is known of its dense shape. Source: `tf.sparse_placeholder`. Raises RuntimeError in eager execution.
    """
    if context.executing_eagerly():
        raise RuntimeError("wf.sparse_placeholder() is not compatible with eager execution.")
    dims = as_dims(shape)
    rank = None if dims is None else len(dims)
    with get_default_graph().name_scope(name or "SparsePlaceholder"):
        values = placeholder(dtype, [None], "values")
        indices = placeholder("int64", [None, rank], "indices")
        if dims is None:
            whole = placeholder("int64", [None], "shape")
        else:
            known = np.array([-1 if dim is None else dim for dim in dims], np.int64)
            whole = placeholder_with_default(const(known, "shape_default"), [rank], "shape")
    return SparseTensor(indices, values, whole)._of_dims(dims)


def sparse_to_dense(
    sparse_indices: Any, output_shape: Any, sparse_values: Any, default_value: Any = 0, validate_indices: bool = True,
    name: str | None = None,
) -> Tensor:  # fmt: skip
    """A dense tensor of `output_shape` with `sparse_values` ([n] or one for all) at `sparse_indices`, else `default_value`.

    `sparse_indices`: [n, rank], [n] for a vector, or one position in it. Unless `validate_indices` is False, the run
    raises InvalidArgumentError for indices that are not in order, or repeated. Source: `tf.sparse_to_dense`.
    """
    values = convert_to_tensor(sparse_values)
    indices, whole = convert_to_tensor(sparse_indices), int_vector(output_shape)
    default = convert_to_tensor(default_value, values.dtype)
    return SparseToDense(validate_indices)(indices, whole, values, default, name=name)


def sparse_tensor_to_dense(
    sp_input: Any, default_value: Any = None, validate_indices: bool = True, name: str | None = None
) -> Tensor:
    """The dense tensor, with `default_value` (0, or "" for strings) where nothing is said.

    Source: `tf.sparse_tensor_to_dense`. Raises as `sparse_to_dense`, and TypeError for what is not sparse.
    """
    sparse = _sparse(sp_input)
    default = default_value if default_value is not None else "" if sparse.dtype is string else 0
    parts = sparse.indices, sparse.dense_shape, sparse.values
    dense = sparse_to_dense(*parts, default, validate_indices, name or "SparseToDense")
    dense.set_shape(sparse.shape)
    return dense


def sparse_tensor_dense_matmul(
    sp_a: Any, b: Any, adjoint_a: bool = False, adjoint_b: bool = False, name: str | None = None
) -> Tensor:
    """The product of a sparse matrix [m, k] and a dense one [k, n]; `adjoint_…`: that one conjugated and transposed.

    Source: `tf.sparse_tensor_dense_matmul`. Raises ValueError for shapes and TypeError for types that do not fit.
    """
    sparse = _sparse(sp_a)
    dense = convert_to_tensor(b, None if isinstance(b, Tensor) else sparse.dtype)
    return SparseTensorDenseMatMul(adjoint_a, adjoint_b)(*sparse._parts(), dense, name=name)


def sparse_reduce_sum(
    sp_input: Any, axis: Any = None, keepdims: bool | None = None, reduction_axes: Any = None,
    keep_dims: bool | None = None,
) -> Tensor:  # fmt: skip
    """The sum over `axis` (static; None: all), a dense tensor. Source: `tf.sparse_reduce_sum`."""
    axes = axes_tuple(reduction_axes if axis is None else axis)
    return SparseReduceSum(axes, bool(keep_dims if keepdims is None else keepdims))(*_sparse(sp_input)._parts())


def sparse_retain(sp_input: Any, to_retain: Any) -> SparseTensor:
    """The elements for which the bool vector `to_retain` says so. Source: `tf.sparse_retain`.

    Raises TypeError for what is not sparse, ValueError for another number of bools.
    """
    sparse = _sparse(sp_input)
    keep = convert_to_tensor(to_retain, "bool")
    keep.shape.merge_with(sparse.values.shape)
    chosen = reshape(where(keep), [-1])
    kept = SparseTensor(gather(sparse.indices, chosen), gather(sparse.values, chosen), sparse.dense_shape)
    return kept._of_dims(sparse._dims)


def sparse_reorder(sp_input: Any, name: str | None = None) -> SparseTensor:
    """The same in row-major order. Source: `tf.sparse_reorder`. Raises TypeError for what is not sparse."""
    sparse = _sparse(sp_input)
    indices, values = SparseReorder().outputs(*sparse._parts(), name=name)
    return SparseTensor(indices, values, sparse.dense_shape)._of_dims(sparse._dims)


def sparse_add(a: Any, b: Any, threshold: Any = None, thresh: Any = None) -> SparseTensor | Tensor:
    """The sum: sparse where both are, without what is smaller than `threshold` (0); dense where one is.

    Source: `tf.sparse_add`. Raises TypeError where both are dense, ValueError for shapes that differ.
    """
    are_sparse = [isinstance(value, (SparseTensor, SparseTensorValue)) for value in (a, b)]
    if not any(are_sparse):
        raise TypeError("At least one input should be SparseTensor; do you mean to use wf.add()?")
    if not all(are_sparse):
        sparse, dense = (_sparse(a), b) if are_sparse[0] else (_sparse(b), a)
        tensor = convert_to_tensor(dense, sparse.dtype)
        tensor.shape.assert_is_compatible_with(sparse.shape)
        return add(tensor, ScatterNd()(sparse.indices, sparse.values, sparse.dense_shape))
    first, second = _sparse(a), _sparse(b)
    least = threshold if threshold is not None else 0 if thresh is None else thresh
    kind = {"complex64": "float32", "complex128": "float64"}.get(first.dtype.name, first.dtype.name)
    found = SparseAdd().outputs(*first._parts(), *second._parts(), convert_to_tensor(least, kind))
    return SparseTensor(*found)._of_dims(first._dims)


def sparse_transpose(sp_input: Any, perm: Any = None, name: str | None = None) -> SparseTensor:
    """The dimensions in the order of `perm` (static; None reverses), in row-major order. Source: `tf.sparse_transpose`."""
    sparse = _sparse(sp_input)
    dims = sparse._dims
    order = axes_tuple(perm, "perm")
    if order is None:
        if dims is None:
            raise ValueError("sparse_transpose without perm needs a sparse tensor of known rank")
        order = tuple(range(len(dims)))[::-1]
    with get_default_graph().name_scope(name or "SparseTranspose"):
        parts = gather(sparse.indices, list(order), axis=1), sparse.values, gather(sparse.dense_shape, list(order))
        moved = SparseTensor(*parts)._of_dims(None if dims is None else tuple(dims[axis] for axis in order))
        return sparse_reorder(moved)


def sparse_concat(
    axis: int, sp_inputs: Sequence[Any], name: str | None = None, expand_nonconcat_dim: bool = False
) -> SparseTensor:
    """Sparse tensors one after the other along `axis`, in row-major order; their other dimensions are equal.

    With `expand_nonconcat_dim` they may differ, and the largest counts. Source: `tf.sparse_concat`.
    """
    inputs = [_sparse(value) for value in sp_inputs]
    rank = len(next((sparse._dims for sparse in inputs if sparse._dims is not None), ()))
    at = axis % rank if rank else axis
    with get_default_graph().name_scope(name or "SparseConcat"):
        whole, tables = inputs[0].dense_shape, [inputs[0].indices]
        unit = convert_to_tensor(np.eye(rank, dtype=np.int64)[at])
        for sparse in inputs[1:]:
            if not expand_nonconcat_dim and sparse._dims and inputs[0]._dims:
                _same_but(at, inputs[0]._dims, sparse._dims)
            tables.append(sparse.indices + whole * unit)
            others = maximum(whole, sparse.dense_shape) if expand_nonconcat_dim else whole
            whole = others * (1 - unit) + (whole + sparse.dense_shape) * unit
        values = concat([sparse.values for sparse in inputs], 0)
        return sparse_reorder(SparseTensor(concat(tables, 0), values, whole))


def _same_but(axis: int, a: Any, b: Any) -> None:
    wrong = [i for i, (x, y) in enumerate(zip(a, b, strict=True)) if i != axis and None not in (x, y) and x != y]
    if wrong:
        raise ValueError(f"Dimensions must be equal: the sparse tensors have shapes {a} and {b}")


def from_dense(tensor: Any, name: str | None = None) -> SparseTensor:
    """The elements of a dense tensor that are not zero. Source: `tf.sparse.from_dense`."""
    with get_default_graph().name_scope(name or "dense_to_sparse"):
        dense = convert_to_tensor(tensor)
        indices = where(not_equal(dense, zeros([], dense.dtype)))
        whole = shape(dense, out_type="int64")
        return SparseTensor(indices, gather_nd(dense, indices), whole)._of_dims(dense.dims)
