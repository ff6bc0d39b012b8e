"""SparseTensor: a tensor that is zero nearly everywhere, as the indices and values of the other elements."""

from __future__ import annotations

from typing import Any, NamedTuple

from . import context, shapes
from .dtypes import DType
from .ir import Graph, Operation, Tensor, get_default_graph
from .ops.arithmetic import multiply, truediv
from .ops.broadcasting import broadcast_to
from .ops.constant import known_dims
from .ops.convert import convert_to_tensor
from .ops.gathering import GatherNd
from .ops.sparse_kernels import checked_parts
from .shapes import Dims, TensorShape


class SparseTensorValue(NamedTuple):
    """The value of a SparseTensor, as arrays: what fetching one gives, and what feeding one takes.

    Source: `tf.SparseTensorValue`.
    """

    indices: Any
    values: Any
    dense_shape: Any


class SparseTensor:
    """A tensor of `dense_shape` (int64, [rank]) with `values[i]` (shape [n]) at `indices[i]` (int64, [n, rank]), else zero.

    Most functions want the indices in row-major order, each once (`sparse_reorder`). Source: `tf.SparseTensor`.
    Raises ValueError for parts whose shapes do not go together and for indices or a shape of another type than int64,
    TypeError for values that do not convert.
    """

    __slots__ = ("_dense_shape", "_dims", "_indices", "_values")
    __array_priority__ = 100  # NumPy leaves `array * sparse` to the sparse tensor

    def __init__(self, indices: Any, values: Any, dense_shape: Any) -> None:
        with get_default_graph().name_scope("SparseTensor"):
            self._indices = convert_to_tensor(indices, "int64", "indices")
            self._values = convert_to_tensor(values, name="values")
            self._dense_shape = convert_to_tensor(dense_shape, "int64", "dense_shape")
        checked_parts(self._indices, self._values, self._dense_shape)
        self._dims = known_dims(self._dense_shape)
        if self._dims is None and self._indices.dims is not None and self._indices.dims[1] is not None:
            self._dims = (None,) * self._indices.dims[1]

    @classmethod
    def from_value(cls, sparse_tensor_value: Any) -> SparseTensor:
        """A SparseTensor of a SparseTensorValue; one that is such already as it is. Raises TypeError for anything else."""
        if isinstance(sparse_tensor_value, SparseTensor):
            return sparse_tensor_value
        if not isinstance(sparse_tensor_value, SparseTensorValue):
            raise TypeError(f"{sparse_tensor_value!r} is neither a SparseTensor nor SparseTensorValue.")
        return cls(*sparse_tensor_value)

    def _of_dims(self, dims: Dims) -> SparseTensor:
        """The same, with what else is known of its shape."""
        self._dims = shapes.merge(self._dims, dims)
        return self

    @property
    def indices(self) -> Tensor:
        return self._indices

    @property
    def values(self) -> Tensor:
        return self._values

    @property
    def dense_shape(self) -> Tensor:
        return self._dense_shape

    @property
    def shape(self) -> TensorShape:
        """The static shape."""
        return TensorShape(self._dims)

    def get_shape(self) -> TensorShape:
        """The static shape."""
        return TensorShape(self._dims)

    @property
    def dtype(self) -> DType:
        return self._values.dtype

    @property
    def op(self) -> Operation:
        """The operation that makes the values."""
        return self._values.op

    @property
    def graph(self) -> Graph:
        return self._values.graph

    def with_values(self, new_values: Any) -> SparseTensor:
        """Other values at the same indices."""
        return SparseTensor(self._indices, new_values, self._dense_shape)._of_dims(self._dims)

    def eval(self, feed_dict: Any = None, session: Any = None) -> Any:
        """The value, a SparseTensorValue, in a session: by default the default one. Raises ValueError without a session."""
        return context.session_for(self, session, "eval").run(self, feed_dict)

    def __mul__(self, dense: Any) -> SparseTensor:
        """Its elements times those of a dense tensor, which is broadcast to its shape."""
        return self.with_values(multiply(self._values, self._there(dense)))

    __rmul__ = __mul__

    def __truediv__(self, dense: Any) -> SparseTensor:
        """Its elements divided by those of a dense tensor, which is broadcast to its shape."""
        return self.with_values(truediv(self._values, self._there(dense)))

    def _there(self, dense: Any) -> Tensor:
        """The elements of a dense tensor at the indices."""
        tensor = convert_to_tensor(dense, self.dtype)
        return tensor if tensor.dims == () else GatherNd()(broadcast_to(tensor, self._dense_shape), self._indices)

    def _parts(self) -> tuple[Tensor, Tensor, Tensor]:
        return self._indices, self._values, self._dense_shape

    def _with_parts(self, indices: Any, values: Any, dense_shape: Any) -> SparseTensor:
        return SparseTensor(indices, values, dense_shape)

    def __repr__(self) -> str:
        return f"SparseTensor(indices={self._indices}, values={self._values}, dense_shape={self._dense_shape})"
