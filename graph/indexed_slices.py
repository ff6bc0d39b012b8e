"""IndexedSlices: a sparse gradient, rows of a larger tensor with their indices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .dtypes import DType
from .ir import Graph, Operation, Tensor

#: How IndexedSlices become the whole tensor. It takes operations, which are defined above this file, so they enter it.
_DENSE: list[Callable[[IndexedSlices, str | None], Tensor]] = []


def densifier(function: Callable[[IndexedSlices, str | None], Tensor]) -> Callable[[IndexedSlices, str | None], Tensor]:
    """Decorator: the function makes the whole tensor, under a name, whenever IndexedSlices are used as one."""
    _DENSE[:] = [function]
    return function


class IndexedSlices:
    """`values[i]` (shape [n, D1, …]) belongs to row `indices[i]` (int32 or int64, shape [n]) of a tensor of `dense_shape`.

    Repeated indices add up. The gradient of `gather` with respect to its params is such a value.
    Source: `tf.IndexedSlices`.
    """

    __slots__ = ("_dense_shape", "_indices", "_values")

    def __init__(self, values: Any, indices: Tensor, dense_shape: Tensor | None = None) -> None:
        self._values = values
        self._indices = indices
        self._dense_shape = dense_shape

    @property
    def values(self) -> Any:
        """The rows: a Tensor, or IndexedSlices again where a gather of a gather was differentiated."""
        return self._values

    @property
    def indices(self) -> Tensor:
        return self._indices

    @property
    def dense_shape(self) -> Tensor | None:
        """The shape of the whole, a 1-D integer tensor, where it is known."""
        return self._dense_shape

    @property
    def name(self) -> str:
        return str(self._values.name)

    @property
    def op(self) -> Operation:
        operation: Operation = self._values.op
        return operation

    @property
    def dtype(self) -> DType:
        dtype: DType = self._values.dtype
        return dtype

    @property
    def device(self) -> str:
        return str(self._values.device)

    @property
    def graph(self) -> Graph:
        return self._indices.graph

    def map(self, function: Callable[[Tensor], Tensor]) -> IndexedSlices:
        """The same rows with a function of each element, which must give 0 for 0."""
        values = self._values.map(function) if isinstance(self._values, IndexedSlices) else function(self._values)
        return IndexedSlices(values, self._indices, self._dense_shape)

    def _as_tensor(self, name: str | None = None) -> Tensor:
        """The whole tensor. Raises ValueError when `dense_shape` is not known."""
        return _DENSE[0](self, name)

    def _as_graph_element(self) -> Any:
        return self._values

    def __repr__(self) -> str:
        shape = "" if self._dense_shape is None else f", dense_shape={self._dense_shape}"
        return f"IndexedSlices(indices={self._indices}, values={self._values}{shape})"


#: What flows backward.
Gradient = Tensor | IndexedSlices
