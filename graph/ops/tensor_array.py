"""TensorArray: a list of tensors of one type that loops write and read, each element once."""

from __future__ import annotations

from typing import Any

from .. import context, shapes
from ..dtypes import DType, as_dtype
from ..ir import Operation, Tensor, get_default_graph
from ..shapes import Dims, as_dims
from .array_tapes import (
    TensorArrayConcatV3,
    TensorArrayGatherV3,
    TensorArrayGradV3,
    TensorArrayReadV3,
    TensorArrayScatterV3,
    TensorArraySplitV3,
    TensorArrayV3,
    TensorArrayWriteV3,
)
from .constant import constant, constant_value
from .control import group
from .convert import convert_to_tensor
from .getitem import getitem
from .identity import Identity
from .ranges import range_
from .sizes import shape
from .tapes import TapeLength


class TensorArray:
    """A list of `size` tensors of type `dtype`, in graph mode; every write gives a new one, to go on with.

    `dynamic_size`: it grows with what is written. `element_shape`: what is known of the elements' shapes; `infer_shape`:
    the first write tells it. Other arguments are taken for compatibility. It can be a loop variable, and is differentiable.
    Source: `tf.TensorArray`. Raises ValueError without a size; a run raises InvalidArgumentError outside of the size and
    for an element that is written twice.
    """

    def __init__(
        self, dtype: Any, size: Any = None, dynamic_size: bool | None = None, clear_after_read: bool | None = None,
        tensor_array_name: str | None = None, handle: Any = None, flow: Any = None, infer_shape: bool = True,
        element_shape: Any = None, colocate_with_first_write_call: bool = True, name: str | None = None,
    ) -> None:  # fmt: skip
        if context.executing_eagerly():
            raise RuntimeError("a TensorArray needs a graph; in eager execution use a Python list")
        if size is None and flow is None:
            raise ValueError("Size must be provided if handle is not provided")
        self._dtype = as_dtype(dtype)
        self._dynamic = bool(dynamic_size)
        #: Whether an index may be written once; otherwise, in an array of gradients, what is written adds up.
        self._once = True
        self._infer = infer_shape
        self._dims: Dims = as_dims(element_shape)
        self._size: int | None = None
        if flow is not None:
            self._flow: Tensor = flow
            return
        count = convert_to_tensor(size, name="size")
        known = constant_value(count)
        self._size = None if known is None or self._dynamic else int(known)
        self._flow = TensorArrayV3()(count, name=name or "TensorArray")

    @property
    def flow(self) -> Tensor:
        """The tensor that carries the elements."""
        return self._flow

    @property
    def handle(self) -> Tensor:
        """The same as `flow`."""
        return self._flow

    @property
    def dtype(self) -> DType:
        """The type of the elements."""
        return self._dtype

    @property
    def dynamic_size(self) -> bool:
        return self._dynamic

    @property
    def element_shape(self) -> shapes.TensorShape:
        """What is known of the shape of an element."""
        return shapes.TensorShape(self._dims)

    def _parts(self) -> list[Tensor]:
        return [self._flow]

    def _with_parts(self, flow: Tensor) -> TensorArray:
        """The same array with these elements."""
        made = TensorArray(self._dtype, None, self._dynamic, flow=flow, infer_shape=self._infer)
        made._dims = self._dims
        made._size = self._size
        made._once = self._once
        return made

    def _changed(self, flow: Tensor, dims: Dims) -> TensorArray:
        made = self._with_parts(flow)
        if not shapes.compatible(self._dims, dims):
            raise ValueError(
                f"Inconsistent shapes: saw {shapes.TensorShape(dims)} but expected {shapes.TensorShape(self._dims)}"
            )
        if self._infer:
            made._dims = self._dims = shapes.merge(self._dims, dims)
        return made

    def _value(self, value: Any) -> Tensor:
        tensor = convert_to_tensor(value, preferred_dtype=self._dtype, name="value")
        if tensor.dtype is not self._dtype:
            raise ValueError(f"TensorArray dtype is {self._dtype.name} but the value is {tensor.dtype.name}")
        return tensor

    def _indices(self) -> Tensor:
        """The indices of all elements."""
        if self._size is not None:
            return constant(list(range(self._size)), "int32")
        return range_(self.size())

    # elements

    def write(self, index: Any, value: Any, name: str | None = None) -> TensorArray:
        """The array with `value` at `index`."""
        tensor = self._value(value)
        flow = TensorArrayWriteV3(self._dynamic, self._once)(
            self._flow, convert_to_tensor(index), tensor, name=name or "TensorArrayWrite"
        )
        return self._changed(flow, tensor.dims)

    def read(self, index: Any, name: str | None = None) -> Tensor:
        """The element at `index`."""
        read = TensorArrayReadV3(self._dtype, self._dims)
        return read(self._flow, convert_to_tensor(index), name=name or "TensorArrayRead")

    def gather(self, indices: Any, name: str | None = None) -> Tensor:
        """The elements at `indices`, stacked."""
        gather = TensorArrayGatherV3(self._dtype, self._dims)
        return gather(self._flow, convert_to_tensor(indices), name=name or "TensorArrayGather")

    def stack(self, name: str | None = None) -> Tensor:
        """All elements, stacked."""
        return self.gather(self._indices(), name or "TensorArrayStack")

    def scatter(self, indices: Any, value: Any, name: str | None = None) -> TensorArray:
        """The array of the rows of `value`, at `indices`."""
        tensor = self._value(value)
        scatter = TensorArrayScatterV3(self._once, self._dynamic)
        flow = scatter(tensor, convert_to_tensor(indices), self._flow, name=name or "TensorArrayScatter")
        return self._changed(flow, None if tensor.dims is None else tensor.dims[1:])

    def unstack(self, value: Any, name: str | None = None) -> TensorArray:
        """The array of the rows of `value`."""
        tensor = self._value(value)
        count = tensor.dims[0] if tensor.dims else None
        indices = constant(list(range(count)), "int32") if count is not None else range_(getitem(shape(tensor), 0))
        return self.scatter(indices, tensor, name or "TensorArrayUnstack")

    def split(self, value: Any, lengths: Any, name: str | None = None) -> TensorArray:
        """The array of the pieces of `value`, which have these lengths."""
        tensor = self._value(value)
        split = TensorArraySplitV3(self._once, self._dynamic)
        flow = split(tensor, convert_to_tensor(lengths), self._flow, name=name or "TensorArraySplit")
        return self._changed(flow, None if tensor.dims is None else (None, *tensor.dims[1:]))

    def concat(self, name: str | None = None) -> Tensor:
        """All elements one after the other, along their first axis."""
        if self._dims == ():
            raise ValueError("the elements of the TensorArray are scalars: stack them, they cannot be concatenated")
        first, rest = (self._dims[0], self._dims[1:]) if self._dims else (None, None)
        return TensorArrayConcatV3(self._dtype, rest, first).outputs(self._flow, name=name or "TensorArrayConcat")[0]

    # the whole

    def grad(self, source: str, flow: Any = None, name: str | None = None) -> TensorArray:
        """An array for the gradients of the elements, as long as this one: what is written to one index adds up.

        Elements that this array has and that nothing was written to are zeros. `source` names who fills it. Each call
        gives a new array; as with `write`, what is written to it is in the array that the write returns.
        Source: `tf.TensorArray.grad`. Raises ValueError without a source.
        """
        if not source:
            raise ValueError("source must name what the gradients are of")
        if not self._once:
            raise ValueError("a TensorArray of gradients has no array of gradients itself")
        with get_default_graph().control_dependencies([] if flow is None else [flow]):
            zeros = TensorArrayGradV3()(self._flow, name=name or "TensorArrayGrad")
        made = TensorArray(self._dtype, None, False, flow=zeros, infer_shape=self._infer)
        made._dims, made._size, made._once = self._dims, self._size, False
        return made

    def size(self, name: str | None = None) -> Tensor:
        """How many elements it has, an int32 scalar."""
        if self._size is not None:
            return constant(self._size, "int32")
        return TapeLength()(self._flow, name=name or "TensorArraySize")

    def identity(self) -> TensorArray:
        """The same array."""
        return self._with_parts(Identity()(self._flow))

    def close(self, name: str | None = None) -> Operation:
        """Nothing: it ends with the step. For compatibility."""
        return group(self._flow, name=name or "TensorArrayClose")

    def __repr__(self) -> str:
        return f"<wf.TensorArray dtype={self._dtype.name} element_shape={self.element_shape}>"
