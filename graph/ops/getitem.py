"""Python's `x[...]` on tensors: every basic index of NumPy as a StridedSlice."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import shapes
from ..dtypes import int64
from ..ir import Tensor
from ..operators import operator
from .cast import cast
from .constant import const
from .convert import convert_to_tensor
from .slicing import StridedSlice

#: What makes a new axis in `x[...]`, as in NumPy.
newaxis = None


class _Index:
    """An index taken apart into begin, end and strides, and the bit masks of StridedSlice."""

    def __init__(self) -> None:
        self.begin: list[Any] = []
        self.end: list[Any] = []
        self.strides: list[Any] = []
        self.begin_mask = self.end_mask = self.ellipsis_mask = self.new_axis_mask = self.shrink_axis_mask = 0

    def add(self, item: Any) -> None:
        """One more entry. Raises TypeError for what is no entry of a basic index."""
        bit = 1 << len(self.begin)
        begin: Any = 0
        end: Any = 0
        stride: Any = 1
        if isinstance(item, slice):
            begin, self.begin_mask = (
                (0, self.begin_mask | bit) if item.start is None else (_number(item.start), self.begin_mask)
            )
            end, self.end_mask = (0, self.end_mask | bit) if item.stop is None else (_number(item.stop), self.end_mask)
            stride = 1 if item.step is None else _number(item.step)
        elif item is Ellipsis:
            self.ellipsis_mask |= bit
        elif item is newaxis:
            self.new_axis_mask |= bit
        else:
            # The end of a single position says nothing; TensorFlow shows the next one where that costs no operation.
            begin = _number(item)
            end = begin + 1 if isinstance(begin, int) else begin
            self.shrink_axis_mask |= bit
        self.begin.append(begin)
        self.end.append(end)
        self.strides.append(stride)

    def slicer(self) -> StridedSlice:
        """The operation with these masks."""
        return StridedSlice(
            self.begin_mask, self.end_mask, self.ellipsis_mask, self.new_axis_mask, self.shrink_axis_mask
        )


def _number(value: Any) -> Any:
    """An int, or a scalar integer tensor. Raises TypeError for anything else."""
    if isinstance(value, shapes.Dimension):
        value = value.value
    if isinstance(value, Tensor) or hasattr(value, "_as_tensor"):
        tensor = convert_to_tensor(value)
        if tensor.dtype.name in ("int32", "int64") and tensor.dims in (None, ()):
            return tensor
    elif (isinstance(value, (int, np.integer)) and not isinstance(value, bool)) or (
        isinstance(value, np.ndarray) and value.ndim == 0 and value.dtype.kind in "iu"
    ):
        return int(value)
    raise TypeError(
        "Only integers, slices (`:`), ellipsis (`...`), wf.newaxis (`None`) and scalar wf.int32/wf.int64 tensors "
        f"are valid indices, got {value!r}"
    )


@operator("getitem")
def getitem(tensor: Any, key: Any) -> Tensor:
    """`tensor[key]` for every basic index of NumPy, with scalar integer tensors as numbers. Source: `tf.Tensor.__getitem__`.

    Raises TypeError for other kinds of index, masks among them (see `boolean_mask`), ValueError for one out of range.
    """
    index = _Index()
    for item in key if isinstance(key, (list, tuple)) else (key,):
        index.add(item)
    vectors = [_packed(values) for values in (index.begin, index.end, index.strides)]
    return index.slicer()(convert_to_tensor(tensor), *vectors, name="strided_slice")


def _packed(values: list[Any]) -> Tensor:
    if all(isinstance(value, int) for value in values):
        wide = any(not -(2**31) <= value < 2**31 for value in values)
        return const(np.array(values, np.int64 if wide else np.int32), "strided_slice/stack")
    tensors = [value for value in values if isinstance(value, Tensor)]
    if any(tensor.dtype is int64 for tensor in tensors):
        values = [cast(value, int64) if isinstance(value, Tensor) else value for value in values]
    return convert_to_tensor(values, name="strided_slice/stack")
