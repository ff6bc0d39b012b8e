"""Reads and writes of some rows of a variable: the sparse half of embeddings and their optimizers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import shapes
from ..dtypes import DType, int32, int64
from ..indexed_slices import IndexedSlices
from ..ir import Operation, Tensor
from ..op import Op, op
from ..opdef import Spec, TensorLike
from ..shapes import Dims
from .arithmetic import numeric
from .constant import const
from .reshaping import Reshape, reshape
from .rows import check_range, combine_in_turn
from .sizes import shape
from .variables import VariableShape, check_handle

Array = np.ndarray[Any, Any]


def check_rows(indices: Array, target: Array) -> None:
    """Raises InvalidArgumentError for an index that is no row of `target`."""
    check_range(indices, target.shape[0] if target.ndim else 0)


def combine_rows(ufunc: Callable[..., Any], target: Array, indices: Array, updates: Array) -> None:
    """`target[i] = ufunc(target[i], update)` for each index in turn, in place: repeated indices take effect one by one."""
    check_rows(indices, target)
    flat = np.reshape(indices, -1)
    # Updates that are a view of the variable itself must not change under the update.
    updates = np.array(updates) if np.may_share_memory(updates, target) else updates
    if updates.shape != (*indices.shape, *target.shape[1:]):
        updates = np.broadcast_to(updates, (*indices.shape, *target.shape[1:]))
    combine_in_turn(ufunc, target, flat, updates.reshape(flat.size, *target.shape[1:]))


@op
class ResourceGather(Op):
    """The rows of a variable that the indices name. Its gradient is IndexedSlices."""

    dtype: DType
    shape: Dims
    stateful = True
    access = "read"

    def infer(self, handle: TensorLike, indices: TensorLike) -> Spec:
        check_handle(handle)
        check_indices(indices)
        if self.shape == ():
            raise ValueError("a scalar variable has no rows")
        if self.shape is None or indices.dims is None:
            return Spec(self.dtype, None)
        return Spec(self.dtype, indices.dims + self.shape[1:])

    def compute(self, state: Any, slot: Any, indices: Any) -> Any:
        target = slot.settled()
        check_rows(indices, target)
        return np.take(target, indices, axis=0)

    def grad(self, operation: Operation, dy: Tensor) -> list[Any]:
        handle, indices = operation.inputs
        full = shapes.is_full(self.shape)
        whole = const(np.array(self.shape, np.int32), "dense_shape") if full else VariableShape(self.shape)(handle)
        return [IndexedSlices(FlatRows()(dy, indices), reshape(indices, [-1]), whole), None]


@op
class FlatRows(Op):
    """Rows that were gathered by indices of any rank, as one list of rows."""

    view = True

    def infer(self, values: TensorLike, indices: TensorLike) -> Spec:
        if values.dims is None or indices.dims is None:
            return Spec(values.dtype, None)
        return Spec(values.dtype, (shapes.count(indices.dims), *values.dims[len(indices.dims) :]))

    def compute(self, values: Any, indices: Any) -> Any:
        return np.reshape(values, (np.size(indices), *np.shape(values)[np.ndim(indices) :]))

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor | None]:
        return [Reshape()(dy, shape(operation.inputs[0])), None]


def check_indices(indices: TensorLike) -> None:
    """Raises TypeError for what cannot be indices."""
    if indices.dtype not in (int32, int64):
        raise TypeError(f"indices must be int32 or int64, got {indices.dtype.name}")


def _scattered(definition: Any, handle: TensorLike, indices: TensorLike, updates: TensorLike) -> tuple[Spec, ...]:
    """No outputs. Raises TypeError, ValueError for what does not fit the variable."""
    check_handle(handle)
    check_indices(indices)
    if updates.dtype is not definition.dtype:
        raise TypeError(f"the variable holds {definition.dtype.name}, the updates are {updates.dtype.name}")
    if definition.shape is not None and indices.dims is not None and updates.dims != ():
        shapes.merge(indices.dims + definition.shape[1:], updates.dims)
    return ()


class Scatter(Op):
    """Base of updates of rows by one ufunc; repeated indices take effect one after the other."""

    __slots__ = ()

    def infer(self, handle: TensorLike, indices: TensorLike, updates: TensorLike) -> tuple[Spec, ...]:
        numeric(self.type, updates.dtype)
        return _scattered(self, handle, indices, updates)

    def compute(self, state: Any, slot: Any, indices: Any, updates: Any) -> None:
        combine_rows(type(self).combine, slot.read(), indices, updates)  # type: ignore[attr-defined]


@op
class ResourceScatterAdd(Scatter):
    """Add to rows of a variable."""

    dtype: DType
    shape: Dims
    stateful = True
    access = "write"
    combine = np.add


@op
class ResourceScatterSub(Scatter):
    """Subtract from rows of a variable."""

    dtype: DType
    shape: Dims
    stateful = True
    access = "write"
    combine = np.subtract


@op
class ResourceScatterMul(Scatter):
    """Multiply rows of a variable."""

    dtype: DType
    shape: Dims
    stateful = True
    access = "write"
    combine = np.multiply


@op
class ResourceScatterDiv(Scatter):
    """Divide rows of a variable; floating-point types only."""

    dtype: DType
    shape: Dims
    stateful = True
    access = "write"
    combine = np.divide

    def infer(self, handle: TensorLike, indices: TensorLike, updates: TensorLike) -> tuple[Spec, ...]:
        if not (updates.dtype.is_floating or updates.dtype.is_complex):
            raise TypeError(f"ResourceScatterDiv takes floating-point numbers, got {updates.dtype.name}")
        return _scattered(self, handle, indices, updates)


@op
class ResourceScatterMin(Scatter):
    """The smaller of each element and its update, in rows of a variable."""

    dtype: DType
    shape: Dims
    stateful = True
    access = "write"
    combine = np.minimum


@op
class ResourceScatterMax(Scatter):
    """The larger of each element and its update, in rows of a variable."""

    dtype: DType
    shape: Dims
    stateful = True
    access = "write"
    combine = np.maximum


@op
class ResourceScatterUpdate(Op):
    """Replace rows of a variable; of repeated indices the last one wins."""

    dtype: DType
    shape: Dims
    stateful = True
    access = "write"

    def infer(self, handle: TensorLike, indices: TensorLike, updates: TensorLike) -> tuple[Spec, ...]:
        return _scattered(self, handle, indices, updates)

    def compute(self, state: Any, slot: Any, indices: Any, updates: Any) -> None:
        target = slot.read()
        check_rows(indices, target)
        target[indices] = updates
