"""Writes to slices of a variable, named by multi-indices or by Python's `v[...]`, and a counter that ends."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import errors, shapes
from ..dtypes import DType, int32, int64
from ..op import Op, op
from ..opdef import Spec, TensorLike
from ..shapes import Dims
from .arithmetic import numeric
from .gathering import GatherNd
from .rows import flat_ids
from .slicing import Strided, StridedSlice
from .variable_rows import combine_rows
from .variables import Array, check_handle


def _slices(slot: Any, indices: Any, updates: Any) -> tuple[Array, Array, Array]:
    """The variable's slices as rows of one matrix (its own memory), the rows that are named, and the updates of each.

    Raises InvalidArgumentError for an index out of range and updates of another shape.
    """
    target: Array = slot.read()
    depth = indices.shape[-1]
    lead, rest = target.shape[:depth], target.shape[depth:]
    if depth > target.ndim or updates.shape != (*indices.shape[:-1], *rest):
        raise errors.InvalidArgumentError(
            None, None,
            f"the updates have shape {list(updates.shape)}, not {[*indices.shape[:-1], *rest]}, as indices of shape "
            f"{list(indices.shape)} into variable {slot.name} of shape {list(target.shape)} want",
        )  # fmt: skip
    ids = flat_ids(indices, lead)
    table = target.reshape(int(np.prod(lead, dtype=np.int64)), *rest, copy=False)
    return table, ids, updates.reshape(ids.size, *rest)


class ScatterSlices(Op):
    """Base of updates of slices by multi-indices [..., K]; repeated indices take effect one after the other."""

    __slots__ = ()

    def infer(self, handle: TensorLike, indices: TensorLike, updates: TensorLike) -> tuple[Spec, ...]:
        check_handle(handle)
        numeric(self.type, updates.dtype)
        return _fitting(self, indices, updates)

    def compute(self, state: Any, slot: Any, indices: Any, updates: Any) -> None:
        combine_rows(type(self).combine, *_slices(slot, indices, updates))  # type: ignore[attr-defined]


def _fitting(definition: Any, indices: TensorLike, updates: TensorLike) -> tuple[Spec, ...]:
    """No outputs. Raises TypeError, ValueError for indices and updates that do not fit the variable."""
    if updates.dtype is not definition.dtype:
        raise TypeError(f"the variable holds {definition.dtype.name}, the updates are {updates.dtype.name}")
    shapes.merge(GatherNd().infer(Spec(definition.dtype, definition.shape), indices).dims, updates.dims)
    return ()


@op
class ResourceScatterNdAdd(ScatterSlices):
    """Add to slices of a variable."""

    dtype: DType
    shape: Dims
    stateful = True
    access = "write"
    combine = np.add


@op
class ResourceScatterNdSub(ScatterSlices):
    """Subtract from slices of a variable."""

    dtype: DType
    shape: Dims
    stateful = True
    access = "write"
    combine = np.subtract


@op
class ResourceScatterNdMin(ScatterSlices):
    """The smaller of each element and its update, in slices of a variable."""

    dtype: DType
    shape: Dims
    stateful = True
    access = "write"
    combine = np.minimum


@op
class ResourceScatterNdMax(ScatterSlices):
    """The larger of each element and its update, in slices of a variable."""

    dtype: DType
    shape: Dims
    stateful = True
    access = "write"
    combine = np.maximum


@op
class ResourceScatterNdUpdate(Op):
    """Replace slices of a variable; of repeated indices the last one wins."""

    dtype: DType
    shape: Dims
    stateful = True
    access = "write"

    def infer(self, handle: TensorLike, indices: TensorLike, updates: TensorLike) -> tuple[Spec, ...]:
        check_handle(handle)
        return _fitting(self, indices, updates)

    def compute(self, state: Any, slot: Any, indices: Any, updates: Any) -> None:
        table, ids, rows = _slices(slot, indices, updates)
        table[ids] = rows


@op
class ResourceStridedSliceAssign(Strided):
    """Replace the part of a variable that StridedSlice with the same index would take; the value is broadcast to it."""

    dtype: DType
    shape: Dims
    begin_mask: int = 0
    end_mask: int = 0
    ellipsis_mask: int = 0
    new_axis_mask: int = 0
    shrink_axis_mask: int = 0
    stateful = True
    access = "write"

    def infer(
        self, handle: TensorLike, begin: TensorLike, end: TensorLike, strides: TensorLike, value: TensorLike
    ) -> tuple[Spec, ...]:
        check_handle(handle)
        if value.dtype is not self.dtype:
            raise TypeError(f"the variable holds {self.dtype.name}, the value is {value.dtype.name}")
        taken = StridedSlice(
            self.begin_mask, self.end_mask, self.ellipsis_mask, self.new_axis_mask, self.shrink_axis_mask
        ).infer(Spec(self.dtype, self.shape), begin, end, strides)
        shapes.merge(taken.dims, shapes.broadcast(taken.dims, value.dims))
        return ()

    def compute(self, state: Any, slot: Any, begin: Any, end: Any, strides: Any, value: Any) -> None:
        target = slot.read()
        part = self.index(begin, end, strides, target.shape)
        try:
            target[part] = value
        except ValueError as error:
            raise errors.InvalidArgumentError(None, None, str(error)) from None


@op
class ResourceCountUpTo(Op):
    """The value of an integer scalar variable, which is then one more; OutOfRangeError once it has reached the limit."""

    dtype: DType
    shape: Dims
    limit: int
    stateful = True
    access = "write"
    not_differentiable = True

    def infer(self, handle: TensorLike) -> Spec:
        check_handle(handle)
        if self.dtype not in (int32, int64):
            raise TypeError(f"CountUpTo takes int32 or int64, got {self.dtype.name}")
        if not shapes.compatible(self.shape, ()):
            raise ValueError(f"Shape must be rank 0, got {shapes.text(self.shape)}")
        return Spec(self.dtype, ())

    def compute(self, state: Any, slot: Any) -> Any:
        target = slot.read()
        if target >= self.limit:
            raise errors.OutOfRangeError(None, None, f"Reached limit of {self.limit}")
        before = target.copy()
        np.add(target, 1, out=target, dtype=target.dtype)
        return before
