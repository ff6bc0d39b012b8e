"""Sums of rows by segment, distinct values, and with them IndexedSlices as a dense tensor."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np

from .. import shapes
from ..dtypes import DType, as_dtype, int32
from ..errors import InvalidArgumentError
from ..indexed_slices import Gradient, IndexedSlices, densifier
from ..ir import Operation, Tensor
from ..op import Op, op
from ..opdef import Spec, TensorLike
from .arithmetic import numeric
from .constant import constant_value
from .convert import convert_to_tensor
from .gathering import gather, index_type
from .getitem import getitem
from .rows import MARKED, as_unsigned, check_range, marked, sorted_order, summed_rows
from .sizes import shape

#: From how many elements on TensorFlow warns that sparse gradients become dense.
_MANY = 100_000_000


@op
class UnsortedSegmentSum(Op):
    """`num_segments` rows, each the sum of the data rows with its id, in their order; negative ids are dropped."""

    def infer(self, data: TensorLike, segment_ids: TensorLike, num_segments: TensorLike) -> Spec:
        numeric("UnsortedSegmentSum", data.dtype)
        index_type("UnsortedSegmentSum", segment_ids)
        count = num_segments.known if isinstance(num_segments.known, int) else None
        if count is not None and count < 0:
            raise ValueError(f"num_segments must be non-negative but is {count}")
        if data.dims is None or segment_ids.dims is None:
            return Spec(data.dtype, None)
        rank = len(segment_ids.dims)
        if not shapes.compatible(data.dims[:rank], segment_ids.dims):
            raise ValueError(
                f"Dimensions must be equal: data of shape {shapes.text(data.dims)} does not begin with the shape "
                f"of segment_ids, {shapes.text(segment_ids.dims)}"
            )
        return Spec(data.dtype, (count, *data.dims[rank:]))

    def compute(self, data: Any, segment_ids: Any, num_segments: Any) -> Any:
        count = int(num_segments)
        if data.shape[: segment_ids.ndim] != segment_ids.shape:
            raise InvalidArgumentError(
                None,
                None,
                f"data.shape = {list(data.shape)} does not start with segment_ids.shape = {list(segment_ids.shape)}",
            )
        check_range(segment_ids, count, "segment_ids", lowest=np.iinfo(segment_ids.dtype).min)
        ids = segment_ids.reshape(-1)
        rows = data.reshape(ids.size, *data.shape[segment_ids.ndim :])
        kept = ids >= 0
        return summed_rows(count, ids, rows) if kept.all() else summed_rows(count, ids[kept], rows[kept])

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor | None]:
        return [SegmentGather()(dy, operation.inputs[1]), None, None]


@op
class SegmentGather(Op):
    """The adjoint of UnsortedSegmentSum: the row of each id, zeros for a negative one."""

    def infer(self, rows: TensorLike, segment_ids: TensorLike) -> Spec:
        if rows.dims is None or segment_ids.dims is None:
            return Spec(rows.dtype, None)
        return Spec(rows.dtype, segment_ids.dims + rows.dims[1:])

    def compute(self, rows: Any, segment_ids: Any) -> Any:
        kept = segment_ids >= 0
        if kept.all():
            return np.take(rows, segment_ids.reshape(-1), axis=0).reshape(segment_ids.shape + rows.shape[1:])
        out = np.zeros(segment_ids.shape + rows.shape[1:], rows.dtype)
        out[kept] = rows[segment_ids[kept]]
        return out

    def grad(self, operation: Operation, ddata: Tensor) -> list[Tensor | None]:
        rows, ids = operation.inputs
        return [UnsortedSegmentSum()(ddata, ids, getitem(shape(rows), 0)), None]


@op
class SegmentSum(Op):
    """A row for each id up to the last one, the sum of the data rows with that id; the ids must not fall."""

    def infer(self, data: TensorLike, segment_ids: TensorLike) -> Spec:
        numeric("SegmentSum", data.dtype)
        index_type("SegmentSum", segment_ids)
        if segment_ids.dims is not None and len(segment_ids.dims) != 1:
            raise ValueError(f"segment_ids must be a vector, got shape {shapes.text(segment_ids.dims)}")
        if data.dims == ():
            raise ValueError("Shape must be at least rank 1 but is rank 0: a scalar has no rows to sum")
        return Spec(data.dtype, None if data.dims is None else (None, *data.dims[1:]))

    def compute(self, data: Any, segment_ids: Any) -> Any:
        if len(segment_ids) != len(data):
            raise InvalidArgumentError(None, None, "segment_ids should be the same size as dimension 0 of input.")
        if segment_ids.size and (segment_ids[0] < 0 or (segment_ids[1:] < segment_ids[:-1]).any()):
            raise InvalidArgumentError(None, None, "segment ids must not be negative, and they must not fall")
        return summed_rows(int(segment_ids[-1]) + 1 if segment_ids.size else 0, segment_ids, data)

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor | None]:
        return [SegmentGather()(dy, operation.inputs[1]), None]


def _distinct(x: Any, dtype: DType, counted: bool = True) -> tuple[Any, ...]:
    """The distinct values in the order they first occur, the number of each element's value, and how often each occurs."""
    if x.dtype.kind not in "iu" or x.dtype == np.uint64:
        return _distinct_any(x, dtype)
    if not x.size or as_unsigned(x).max() >= MARKED:
        return _distinct_sorted(x, dtype)
    _, first, places = marked(x, int(x.max()) + 1)
    firsts = first == places
    number = np.cumsum(firsts, dtype=dtype.np)  # from 1 on
    inverse = np.subtract(number, 1, out=number).take(first)
    return (x[firsts], inverse, np.bincount(inverse).astype(dtype.np)) if counted else (x[firsts], inverse)


def _distinct_sorted(x: Any, dtype: DType) -> tuple[Any, Any, Any]:
    """The same where there are negative or large ones."""
    order, starts = sorted_order(x)
    begins = np.flatnonzero(starts)
    first = np.zeros(x.size, np.bool_)
    first[order[begins]] = True
    number = np.cumsum(first, dtype=dtype.np)  # from 1 on
    inverse, in_order = np.empty(x.size, dtype.np), np.subtract(number, 1)[order[begins]]
    counts = np.diff(begins, append=x.size)
    inverse[order] = np.repeat(in_order, counts)
    times = np.empty(begins.size, dtype.np)
    times[in_order] = counts
    return x[first], inverse, times


def _distinct_any(x: Any, dtype: DType) -> tuple[Any, Any, Any]:
    """The same for other than integers."""
    values, first, inverse, counts = np.unique(x, return_index=True, return_inverse=True, return_counts=True)
    order = np.argsort(first, kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(order.size)
    return values[order].astype(x.dtype, copy=False), place[inverse].astype(dtype.np), counts[order].astype(dtype.np)


def _vector(x: TensorLike) -> None:
    if x.dims is not None and len(x.dims) != 1:
        raise ValueError(f"Shape must be rank 1 but is rank {len(x.dims)}: unique takes a vector")


@op
class Unique(Op):
    """The distinct values of a vector, in the order they first occur, and for each element the number of its value."""

    out_idx: DType = int32

    def infer(self, x: TensorLike) -> tuple[Spec, Spec]:
        _vector(x)
        return Spec(x.dtype, (None,)), Spec(self.out_idx, (None,) if x.dims is None else x.dims)

    def compute(self, x: Any) -> Any:
        return _distinct(x, self.out_idx, False)[:2]


@op
class UniqueWithCounts(Op):
    """As Unique, and how often each value occurs."""

    out_idx: DType = int32

    def infer(self, x: TensorLike) -> tuple[Spec, Spec, Spec]:
        _vector(x)
        return Spec(x.dtype, (None,)), Spec(self.out_idx, x.dims or (None,)), Spec(self.out_idx, (None,))

    def compute(self, x: Any) -> Any:
        return _distinct(x, self.out_idx)


# the public functions


def unsorted_segment_sum(data: Any, segment_ids: Any, num_segments: Any, name: str | None = None) -> Tensor:
    """`out[i]` = the sum of `data[j]` over all j with `segment_ids[j] == i`; negative ids are dropped.

    `segment_ids` has the leading shape of `data`; one too large is an InvalidArgumentError of the run.
    Source: `tf.unsorted_segment_sum`. Raises ValueError for shapes that do not fit.
    """
    ids, count = convert_to_tensor(segment_ids), convert_to_tensor(num_segments)
    return UnsortedSegmentSum()(convert_to_tensor(data), ids, count, name=name)


def segment_sum(data: Any, segment_ids: Any, name: str | None = None) -> Tensor:
    """The same for a vector of ids that does not fall; as many rows as the last id says. Source: `tf.segment_sum`."""
    return SegmentSum()(convert_to_tensor(data), convert_to_tensor(segment_ids), name=name)


class UniqueValues(NamedTuple):
    """What `unique` returns."""

    y: Tensor
    idx: Tensor


class CountedValues(NamedTuple):
    """What `unique_with_counts` returns."""

    y: Tensor
    idx: Tensor
    count: Tensor  # type: ignore[assignment]  # TensorFlow's name for it, which tuples have for a method


def unique(x: Any, out_idx: Any = int32, name: str | None = None) -> UniqueValues:
    """The distinct values of a vector in the order they first occur (`y`), and each element's number among them (`idx`).

    Source: `tf.unique`. Raises ValueError for another rank.
    """
    return UniqueValues(*Unique(as_dtype(out_idx)).outputs(convert_to_tensor(x), name=name))


def unique_with_counts(x: Any, out_idx: Any = int32, name: str | None = None) -> CountedValues:
    """As `unique`, and how often each value occurs (`count`). Source: `tf.unique_with_counts`."""
    return CountedValues(*UniqueWithCounts(as_dtype(out_idx)).outputs(convert_to_tensor(x), name=name))


def flat(slices: IndexedSlices) -> IndexedSlices:
    """The same where the values are IndexedSlices themselves (rows of rows): as rows of the outer whole."""
    while isinstance(slices.values, IndexedSlices):
        inner = slices.values
        slices = IndexedSlices(inner.values, gather(slices.indices, inner.indices), slices.dense_shape)
    return slices


@densifier
def dense(slices: IndexedSlices, name: str | None = None) -> Tensor:
    """IndexedSlices as the whole tensor. Raises ValueError without a dense_shape; warns when it has 100 million elements."""
    if slices.dense_shape is None:
        raise ValueError(f"Tensor conversion requested for IndexedSlices without dense_shape: {slices!r}")
    whole = constant_value(slices.dense_shape)
    elements = None if whole is None else int(np.prod(whole, dtype=np.int64))
    if elements is not None and elements >= _MANY:
        warnings.warn(
            f"Converting sparse IndexedSlices to a dense Tensor with {elements} elements. "
            "This may consume a large amount of memory.", UserWarning, stacklevel=3,
        )  # fmt: skip
    rows = flat(slices)
    return unsorted_segment_sum(rows.values, rows.indices, getitem(slices.dense_shape, 0), name=name)


def whole(grad: Gradient) -> Tensor:
    """A gradient as one tensor, as `dense` where it is of rows."""
    return dense(grad, None) if isinstance(grad, IndexedSlices) else grad
