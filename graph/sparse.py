"""`wf.sparse`: names only, TensorFlow's."""

from .ops.sparse import (
    from_dense as from_dense,
    sparse_add as add,
    sparse_concat as concat,
    sparse_placeholder as placeholder,
    sparse_reduce_sum as reduce_sum,
    sparse_reorder as reorder,
    sparse_retain as retain,
    sparse_tensor_dense_matmul as matmul,
    sparse_tensor_to_dense as to_dense,
    sparse_transpose as transpose,
)
from .sparse_tensor import SparseTensor as SparseTensor

sparse_dense_matmul = matmul

__all__ = [
    "SparseTensor", "add", "concat", "from_dense", "matmul", "placeholder", "reduce_sum", "reorder", "retain",
    "sparse_dense_matmul", "to_dense", "transpose",
]  # fmt: skip
