"""Rows dealt out to several tensors and put together again: dynamic_partition and dynamic_stitch."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import shapes
from ..dtypes import int32
from ..errors import InvalidArgumentError
from ..ir import Operation, Tensor
from ..op import Op, op
from ..opdef import Spec, TensorLike
from ..shapes import Dims
from .array import same_type
from .convert import convert_to_tensor
from .gathering import gather
from .ranges import range_
from .reshaping import like, reshape
from .rows import check_range
from .sizes import shape, size


@op
class DynamicPartition(Op):
    """The rows of a tensor dealt out to `num_partitions` tensors, each to the one that its number says, in order."""

    num_partitions: int

    def infer(self, data: TensorLike, partitions: TensorLike) -> tuple[Spec, ...]:
        if partitions.dtype is not int32:
            raise TypeError(f"partitions must be int32, got {partitions.dtype.name}")
        rest: Dims = None
        if data.dims is not None and partitions.dims is not None:
            rank = len(partitions.dims)
            if not shapes.compatible(data.dims[:rank], partitions.dims):
                raise ValueError(
                    f"data of shape {shapes.text(data.dims)} does not begin with the shape of partitions, "
                    f"{shapes.text(partitions.dims)}"
                )
            rest = (None, *data.dims[rank:])
        return (Spec(data.dtype, rest),) * self.num_partitions

    def compute(self, data: Any, partitions: Any) -> Any:
        check_range(partitions, self.num_partitions, "partitions")
        parts = tuple(data[partitions == number] for number in range(self.num_partitions))
        return parts[0] if self.num_partitions == 1 else parts

    def grad(self, operation: Operation, *dys: Tensor) -> list[Tensor | None]:
        data, partitions = operation.inputs
        places = reshape(range_(size(partitions)), shape(partitions))
        dealt = DynamicPartition(self.num_partitions).outputs(places, partitions)
        return [like(DynamicStitch(self.num_partitions)(*dealt, *dys), data), None]


@op
class DynamicStitch(Op):
    """The inverse: n index tensors, then n of data, whose rows go to their indices; of repeated ones the last wins."""

    n: int

    def infer(self, *inputs: TensorLike) -> Spec:
        rest: Dims = None
        for indices, data in zip(inputs[: self.n], inputs[self.n :], strict=True):
            if indices.dtype is not int32:
                raise TypeError(f"indices must be int32, got {indices.dtype.name}")
            if data.dtype is not inputs[self.n].dtype:
                raise TypeError(f"data must have one type, got {inputs[self.n].dtype.name} and {data.dtype.name}")
            if indices.dims is None or data.dims is None:
                continue
            rank = len(indices.dims)
            if not shapes.compatible(data.dims[:rank], indices.dims):
                raise ValueError(
                    f"data of shape {shapes.text(data.dims)} does not begin with the shape of its indices, "
                    f"{shapes.text(indices.dims)}"
                )
            rest = shapes.merge(rest, data.dims[rank:])
        return Spec(inputs[self.n].dtype, None if rest is None else (None, *rest))

    def compute(self, *inputs: Any) -> Any:
        indices, data = inputs[: self.n], inputs[self.n :]
        rest = data[0].shape[indices[0].ndim :]
        for places, values in zip(indices, data, strict=True):
            if values.shape != places.shape + rest:
                raise InvalidArgumentError(
                    None, None, f"data of shape {list(values.shape)} does not fit indices of shape {list(places.shape)}"
                )
        out = np.zeros((max((int(i.max()) + 1 for i in indices if i.size), default=0), *rest), data[0].dtype)
        for places, values in zip(indices, data, strict=True):
            check_range(places, len(out))
            out[places] = values
        return out

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor | None]:
        return [None] * self.n + [gather(dy, indices) for indices in operation.inputs[: self.n]]


def dynamic_partition(data: Any, partitions: Any, num_partitions: int, name: str | None = None) -> list[Tensor]:
    """The rows of `data` in `num_partitions` tensors, each row in the one that `partitions` (int32) says, in order.

    `partitions` has the leading shape of `data`. Source: `tf.dynamic_partition`. Raises ValueError, TypeError.
    """
    if num_partitions < 1:
        raise ValueError(f"num_partitions must be at least 1, got {num_partitions}")
    numbers = convert_to_tensor(partitions)
    return list(DynamicPartition(int(num_partitions)).outputs(convert_to_tensor(data), numbers, name=name))


def dynamic_stitch(indices: Any, data: Any, name: str | None = None) -> Tensor:
    """One tensor of the rows of several: row `i` of `data[m]` goes to `indices[m][i]` (int32); the last one wins.

    Source: `tf.dynamic_stitch`. Raises ValueError for lists of different or no length and shapes that do not fit.
    """
    if len(indices) != len(data) or not len(data):
        raise ValueError(f"indices and data must be equally many, at least one, got {len(indices)} and {len(data)}")
    places = [convert_to_tensor(index) for index in indices]
    return DynamicStitch(len(places))(*places, *same_type(data), name=name)
