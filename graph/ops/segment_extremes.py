"""Maxima, minima, products and means of rows by segment, in any order and, by them, for ids that do not fall."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from ..dtypes import as_dtype
from ..errors import InvalidArgumentError
from ..ir import Operation, Tensor
from ..op import Op, op
from ..opdef import Spec, TensorLike
from .arithmetic import multiply, realdiv, truediv
from .array import concat
from .cast import cast
from .compare import equal, greater
from .convert import convert_to_tensor
from .fills import ones, ones_like, zeros_like
from .getitem import getitem
from .math import maximum
from .reshaping import reshape
from .rows import check_range, combine_in_turn
from .segments import SegmentGather, SegmentSum, UnsortedSegmentSum
from .selecting import where_v2
from .sizes import rank, shape
from .transcendental import sqrt


class UnsortedSegment(Op):
    """Base: `num_segments` rows, each combined of the data rows with its id, in their order; negative ids are dropped."""

    __slots__ = ()
    combine: ClassVar[Any]

    def infer(self, data: TensorLike, segment_ids: TensorLike, num_segments: TensorLike) -> Spec:
        if data.dtype.is_complex:
            raise TypeError(f"{self.type} takes real numbers, got {data.dtype.name}")
        return UnsortedSegmentSum().infer(data, segment_ids, num_segments)

    def start(self, dtype: Any) -> Any:
        """The value of a segment without rows."""
        raise NotImplementedError(f"{self.type} does not say where it begins")

    def compute(self, data: Any, segment_ids: Any, num_segments: Any) -> Any:
        count = int(num_segments)
        if data.shape[: segment_ids.ndim] != segment_ids.shape:
            raise InvalidArgumentError(
                None, None,
                f"data.shape = {list(data.shape)} does not start with segment_ids.shape = {list(segment_ids.shape)}",
            )  # fmt: skip
        check_range(segment_ids, count, "segment_ids", lowest=np.iinfo(segment_ids.dtype).min)
        ids = segment_ids.reshape(-1)
        rows = data.reshape(ids.size, *data.shape[segment_ids.ndim :])
        out = np.full((count, *rows.shape[1:]), self.start(data.dtype), data.dtype)
        kept = ids >= 0
        combine_in_turn(type(self).combine, out, *((ids, rows) if kept.all() else (ids[kept], rows[kept])))
        return out


class Extreme(UnsortedSegment):
    """Base of maximum and minimum: the gradient goes to those that are the extreme, in equal parts."""

    __slots__ = ()

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor | None]:
        data, ids, count = operation.inputs
        chosen = cast(equal(SegmentGather()(operation.outputs[0], ids), data), dy.dtype)
        shares = realdiv(dy, maximum(UnsortedSegmentSum()(chosen, ids, count), 1))
        return [multiply(SegmentGather()(shares, ids), chosen), None, None]


@op
class UnsortedSegmentMax(Extreme):
    """The largest elements; the lowest number of the type in a segment without rows."""

    combine = np.maximum

    def start(self, dtype: Any) -> Any:
        return as_dtype(dtype).min


@op
class UnsortedSegmentMin(Extreme):
    """The smallest elements; the highest number of the type in a segment without rows."""

    combine = np.minimum

    def start(self, dtype: Any) -> Any:
        return as_dtype(dtype).max


@op
class UnsortedSegmentProd(UnsortedSegment):
    """The products; 1 in a segment without rows."""

    combine = np.multiply

    def start(self, dtype: Any) -> Any:
        return 1

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor | None]:
        """Each row's is the product of the others: by division, but for zeros, where it is that of what is not zero."""
        data, ids, count = operation.inputs
        zero = equal(data, zeros_like(data))
        zeros = UnsortedSegmentSum()(cast(zero, dy.dtype), ids, count)
        filled = where_v2(zero, ones_like(data), data)
        others = SegmentGather()(UnsortedSegmentProd()(filled, ids, count), ids)
        alone = equal(SegmentGather()(zeros, ids), cast(zero, dy.dtype))  # no zero, but perhaps this one
        part = where_v2(alone, realdiv(others, filled), zeros_like(data))
        return [multiply(SegmentGather()(dy, ids), part), None, None]


# the public functions


def unsorted_segment_max(data: Any, segment_ids: Any, num_segments: Any, name: str | None = None) -> Tensor:
    """Row i is the largest of the `data` rows with id i, the type's lowest number without any; negative ids are dropped.

    Source: `tf.unsorted_segment_max`. Raises as `unsorted_segment_sum`.
    """
    return UnsortedSegmentMax()(*_inputs(data, segment_ids, num_segments), name=name)


def unsorted_segment_min(data: Any, segment_ids: Any, num_segments: Any, name: str | None = None) -> Tensor:
    """The same for the smallest, and the type's highest number. Source: `tf.unsorted_segment_min`."""
    return UnsortedSegmentMin()(*_inputs(data, segment_ids, num_segments), name=name)


def unsorted_segment_prod(data: Any, segment_ids: Any, num_segments: Any, name: str | None = None) -> Tensor:
    """The same for products, and 1. Source: `tf.unsorted_segment_prod`."""
    return UnsortedSegmentProd()(*_inputs(data, segment_ids, num_segments), name=name)


def unsorted_segment_mean(data: Any, segment_ids: Any, num_segments: Any, name: str = "truediv") -> Tensor:
    """The same for means, and 0. Source: `tf.unsorted_segment_mean`."""
    inputs = _inputs(data, segment_ids, num_segments)
    return truediv(UnsortedSegmentSum()(*inputs), _at_least_one(*inputs), name=name)


def unsorted_segment_sqrt_n(data: Any, segment_ids: Any, num_segments: Any, name: str = "truediv") -> Tensor:
    """The sums over the root of how many they are. Source: `tf.unsorted_segment_sqrt_n`."""
    inputs = _inputs(data, segment_ids, num_segments)
    return truediv(UnsortedSegmentSum()(*inputs), sqrt(_at_least_one(*inputs)), name=name)


def segment_max(data: Any, segment_ids: Any, name: str | None = None) -> Tensor:
    """Row i is the largest of the `data` rows with id i, 0 without any; the ids must not fall. Source: `tf.segment_max`.

    Raises as `segment_sum`.
    """
    return _in_order(UnsortedSegmentMax(), data, segment_ids, name)


def segment_min(data: Any, segment_ids: Any, name: str | None = None) -> Tensor:
    """The same for the smallest. Source: `tf.segment_min`."""
    return _in_order(UnsortedSegmentMin(), data, segment_ids, name)


def segment_prod(data: Any, segment_ids: Any, name: str | None = None) -> Tensor:
    """The same for products, 1 without any row. Source: `tf.segment_prod`."""
    rows, ids = convert_to_tensor(data), convert_to_tensor(segment_ids)
    return UnsortedSegmentProd()(rows, ids, getitem(shape(_counts(ids)), 0), name=name)


def segment_mean(data: Any, segment_ids: Any, name: str = "truediv") -> Tensor:
    """The same for means. Source: `tf.segment_mean`."""
    rows, ids = convert_to_tensor(data), convert_to_tensor(segment_ids)
    count = cast(maximum(_counts(ids), 1), rows.dtype)
    return truediv(SegmentSum()(rows, ids), _wide(count, rows, 1), name=name)


def _inputs(data: Any, segment_ids: Any, num_segments: Any) -> tuple[Tensor, Tensor, Tensor]:
    return convert_to_tensor(data), convert_to_tensor(segment_ids), convert_to_tensor(num_segments)


def _at_least_one(data: Tensor, ids: Tensor, count: Tensor) -> Tensor:
    """How many rows each segment has, at least 1, to divide by."""
    counts = maximum(UnsortedSegmentSum()(ones_like(ids, data.dtype), ids, count), 1)
    return _wide(counts, data, rank(ids) if ids.dims is None else len(ids.dims))


def _counts(ids: Tensor) -> Tensor:
    """How many rows each segment has; a run fails for ids that fall."""
    return SegmentSum()(ones_like(ids), ids)


def _wide(counts: Tensor, data: Tensor, leading: Any) -> Tensor:
    """A number a segment, with dimensions of 1 in the place of a row's."""
    if data.dims is not None and isinstance(leading, int):
        return reshape(counts, [-1, *[1] * (len(data.dims) - leading)])
    inner = rank(data) - leading
    return reshape(counts, concat([[-1], ones(reshape(inner, [1]), "int32")], 0))


def _in_order(definition: Op, data: Any, segment_ids: Any, name: str | None) -> Tensor:
    rows, ids = convert_to_tensor(data), convert_to_tensor(segment_ids)
    counts = _counts(ids)
    found = definition(rows, ids, getitem(shape(counts), 0))
    return where_v2(_wide(greater(counts, 0), rows, 1), found, zeros_like(found), name=name)
