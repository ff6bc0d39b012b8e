"""Rows for graph/ops/sparse_kernels.py."""

from typing import Any

import numpy as np
from case import Case, floats
from weft.graph.ops import sparse
from weft.graph.ops.constant import constant
from weft.graph.ops.sparse_kernels import SparsePositions
from weft.graph.sparse_tensor import SparseTensor

INDICES = np.array([[0, 1], [0, 3], [2, 0], [2, 1]])
V = floats(4)


def of(values: Any, indices: Any = INDICES) -> SparseTensor:
    return SparseTensor(indices, values, [3, 4])


def dense(values: Any, indices: Any = INDICES, dims: Any = (3, 4)) -> Any:
    whole = np.zeros(dims, np.asarray(values).dtype)
    np.add.at(whole, tuple(np.asarray(indices).T), values)
    return whole


def added(first: Any, second: Any, threshold: float = 0.0) -> list[Any]:
    found = sparse.sparse_add(of(first), of(second, [[0, 0], [0, 1], [2, 1]]), threshold)
    assert isinstance(found, SparseTensor)
    return [found.indices, found.values, found.dense_shape]


def reordered(values: Any) -> list[Any]:
    found = sparse.sparse_reorder(of(values, INDICES[[2, 0, 3, 1]]))
    return [found.values, found.indices]


def retained(values: Any) -> list[Any]:
    found = sparse.sparse_retain(of(values), [True, False, False, True])
    return [found.values, found.indices]


CASES = [
    Case("SparseToDense", lambda v: sparse.sparse_tensor_to_dense(of(v)), (V,), expected=dense),
    Case("SparseToDense", lambda i, v, d: sparse.sparse_to_dense(i, [5], v, d),
         (np.array([1, 3]), floats(2), np.array(0.5)), label="vector", expected=lambda i, v, d: np.where(
             np.arange(5) == 1, v[0], np.where(np.arange(5) == 3, v[1], d))),
    Case("SparseToDense", lambda v, d: sparse.sparse_to_dense([[2, 0], [0, 1]], [3, 2], v, d, validate_indices=False),
         (np.array(2.0), np.array(0.5)), label="one value", expected=lambda v, d: np.array([[d, v], [d, d], [v, d]])),
    Case("SparseToDense", lambda v: sparse.sparse_to_dense(2, [4], v, 7), (np.array(3),), label="one index", order=0,
         expected=lambda v: np.array([7, 7, v, 7])),
    Case("SparseTensorDenseMatMul", lambda v, b: sparse.sparse_tensor_dense_matmul(of(v), b), (V, floats(4, 2)),
         expected=lambda v, b: dense(v) @ b),
    Case("SparseTensorDenseMatMul", lambda v, b: sparse.sparse_tensor_dense_matmul(of(v), b, True, True),
         (V, floats(2, 3)), label="adjoint", expected=lambda v, b: dense(v).T @ b.T),
    Case("SparseTensorDenseMatMul", lambda i, v, s, b: sparse.sparse_tensor_dense_matmul(SparseTensor(i, v, s), b, True),
         (INDICES[[2, 0, 2, 1]], V, np.array([3, 4]), floats(3, 2)), label="adjoint a, unordered", exact_shape=False,
         expected=lambda i, v, s, b: dense(v, i).T @ b),
    Case("SparseTensorDenseMatMul", lambda v, b: sparse.sparse_tensor_dense_matmul(of(v), b, adjoint_b=True),
         (V, floats(2, 4)), label="adjoint b", expected=lambda v, b: dense(v) @ b.T),
    Case("SparseReduceSum", lambda v: sparse.sparse_reduce_sum(of(v)), (V,), expected=lambda v: np.asarray(v.sum())),
    Case("SparseReduceSum", lambda v: sparse.sparse_reduce_sum(of(v), 0), (V,), label="axis",
         expected=lambda v: dense(v).sum(0)),
    Case("SparseReduceSum", lambda v: sparse.sparse_reduce_sum(of(v), [-1], keepdims=True), (V,), label="keepdims",
         expected=lambda v: dense(v).sum(1, keepdims=True)),
    Case("SparseReduceSum", lambda i, v, s: sparse.sparse_reduce_sum(SparseTensor(i, v, s), [0, 2]),
         (np.array([[1, 0, 1], [0, 2, 0]]), floats(2), np.array([2, 3, 2])), label="unknown shape", exact_shape=False,
         expected=lambda i, v, s: dense(v, i, tuple(s)).sum((0, 2))),
    Case("SparseReorder", reordered, (V,), expected=lambda v: [v[[1, 3, 0, 2]], INDICES]),
    Case("Where", retained, (V,), label="sparse_retain", exact_shape=False, expected=lambda v: [v[[0, 3]], INDICES[[0, 3]]]),
    Case("SparseAdd", added, (V, floats(3, seed=1)), exact_shape=False,
         expected=lambda a, b: [np.array([[0, 0], [0, 1], [0, 3], [2, 0], [2, 1]]),
                                np.array([b[0], a[0] + b[1], a[1], a[2], a[3] + b[2]]), np.array([3, 4])]),
    Case("SparseAdd", lambda a, b: added(a, b, 1.0), (np.array([1.5, 0.5, 3.0, -2.0]), np.array([0.25, -1.0, -0.5])),
         label="threshold", exact_shape=False,
         expected=lambda a, b: [np.array([[2, 0], [2, 1]]), np.array([3.0, -2.5]), np.array([3, 4])]),
    Case("SparsePositions", lambda i, o: SparsePositions()(i, o, constant([3, 4])), (INDICES, INDICES[[0, 2]]), order=0,
         expected=lambda i, o: np.array([0, -1, 1, -1])),
]  # fmt: skip
