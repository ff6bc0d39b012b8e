"""Operations on the tape that holds a TensorArray's elements: all of one type, by index."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import shapes
from ..dtypes import DType, int64, variant
from ..errors import InvalidArgumentError, OutOfRangeError
from ..ir import Operation, Tensor
from ..op import Op, op
from ..opdef import Spec, TensorLike
from ..shapes import Dims
from ..tape import Tape, total
from .fills import zeros_like
from .reshaping import ExpandDims
from .tapes import check_tape

#: The entry of the tape that the elements stand in.
ELEMENTS = ""


@op
class TensorArrayV3(Op):
    """A tape for so many elements, none of them written yet."""

    not_differentiable = True

    def infer(self, size: TensorLike) -> Spec:
        if not size.dtype.is_integer or size.dims not in (None, ()):
            raise ValueError("the size of a TensorArray must be an integer scalar")
        return Spec(variant, ())

    def compute(self, size: Any) -> Any:
        return Tape({}, int(size))


@op
class TensorArrayWriteV3(Op):
    """The tape with one element more. An index may be written once; `dynamic` arrays grow."""

    dynamic: bool = False

    def infer(self, tape: TensorLike, index: TensorLike, value: TensorLike) -> Spec:
        check_tape(tape)
        return Spec(variant, (), None, (ELEMENTS,))

    def compute(self, tape: Any, index: Any, value: Any) -> Any:
        at = int(index)
        if at < 0 or (at >= tape.length and not self.dynamic):
            raise OutOfRangeError(
                None, None, f"Tried to write to index {at} but array is not resizeable and size is: {tape.length}"
            )
        return total((tape, Tape({ELEMENTS: {at: np.array(value)}}, at + 1)), once=True)

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor | None]:
        _, index, value = operation.inputs
        return [dy, None, TensorArrayReadV3(value.dtype, value.dims)(dy, index, zeros_like(value))]


@op
class TensorArrayReadV3(Op):
    """One element. Where it was never written: the third input, else zeros if the shape is known."""

    dtype: DType
    shape: Dims = None

    def infer(self, tape: TensorLike, index: TensorLike, *default: TensorLike) -> Spec:
        check_tape(tape)
        return Spec(self.dtype, self.shape)

    def compute(self, tape: Any, index: Any, *default: Any) -> Any:
        return np.array(_element(self, tape, int(index), *default))

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor | None]:
        _, index, *default = operation.inputs
        return [TensorArrayScatterV3()(ExpandDims(0)(dy), ExpandDims(0)(index)), None, *(None for _ in default)]


@op
class TensorArrayGatherV3(Op):
    """Some elements, stacked. Where one was never written: the row of the third input, else zeros if the shape is known."""

    dtype: DType
    shape: Dims = None

    def infer(self, tape: TensorLike, indices: TensorLike, *default: TensorLike) -> Spec:
        check_tape(tape)
        if indices.dims is None or self.shape is None:
            return Spec(self.dtype, None)
        return Spec(self.dtype, (*indices.dims, *self.shape))

    def compute(self, tape: Any, indices: Any, *default: Any) -> Any:
        rows = zip(*default, strict=True) if default else (() for _ in indices)
        found = [_element(self, tape, int(at), *row) for at, row in zip(indices, rows, strict=True)]
        if found:
            return np.stack(found)
        return np.zeros_like(default[0]) if default else np.zeros((0, *_full(self.shape)), self.dtype.np)

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor | None]:
        _, indices, *default = operation.inputs
        return [TensorArrayScatterV3()(dy, indices), None, *(None for _ in default)]


@op
class TensorArrayScatterV3(Op):
    """A tape of the rows of the first input at the indices of the second; rows for one index add up, unless `once`."""

    once: bool = False

    def infer(self, value: TensorLike, indices: TensorLike) -> Spec:
        if value.dims == ():
            raise ValueError("a scalar has no rows to write into a TensorArray")
        return Spec(variant, (), None, (ELEMENTS,))

    def compute(self, value: Any, indices: Any) -> Any:
        if len(value) != len(indices):
            raise InvalidArgumentError(
                None, None, f"Expected len(indices) == values.shape[0], but saw: {len(indices)} vs. {len(value)}"
            )
        rows = np.array(value)
        places = [int(at) for at in indices]
        if len(set(places)) == len(places):
            return Tape({ELEMENTS: dict(zip(places, rows, strict=True))}, max(places, default=-1) + 1)
        parts = (Tape({ELEMENTS: {at: row}}, at + 1) for at, row in zip(places, rows, strict=True))
        return total(tuple(parts), once=self.once)

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor | None]:
        value, indices = operation.inputs
        dims = None if value.dims is None else value.dims[1:]
        return [TensorArrayGatherV3(value.dtype, dims)(dy, indices, zeros_like(value)), None]


@op
class TensorArrayConcatV3(Op):
    """All elements one after the other, and their lengths; given lengths, zeros where one was never written."""

    dtype: DType
    shape: Dims = None

    def infer(self, tape: TensorLike, *lengths: TensorLike) -> tuple[Spec, Spec]:
        check_tape(tape)
        return Spec(self.dtype, None if self.shape is None else (None, *self.shape)), Spec(int64, (None,))

    def compute(self, tape: Any, *lengths: Any) -> Any:
        count = len(lengths[0]) if lengths else tape.length
        found = [tape.find(ELEMENTS, at) for at in range(count)]
        shaped = [np.shape(value)[1:] for value in found if value is not None]
        rest = shaped[0] if shaped else _full(self.shape)
        sizes = [int(size) for size in lengths[0]] if lengths else [0] * count
        found = [
            np.zeros((size, *rest), self.dtype.np) if value is None else value
            for size, value in zip(sizes, found, strict=True)
        ]
        lengths_found = np.array([len(value) for value in found], np.int64)
        return (np.concatenate(found) if found else np.zeros((0, *rest), self.dtype.np)), lengths_found

    def grad(self, operation: Operation, dy: Tensor, _: Any) -> list[Tensor | None]:
        return [TensorArraySplitV3()(dy, operation.outputs[1]), *(None for _ in operation.inputs[1:])]


@op
class TensorArraySplitV3(Op):
    """A tape of the pieces of the first input, whose lengths the second one gives."""

    def infer(self, value: TensorLike, lengths: TensorLike) -> Spec:
        if value.dims == ():
            raise ValueError("a scalar cannot be split into the elements of a TensorArray")
        return Spec(variant, (), None, (ELEMENTS,))

    def compute(self, value: Any, lengths: Any) -> Any:
        if int(np.sum(lengths)) != len(value):
            raise InvalidArgumentError(
                None,
                None,
                f"Expected sum of lengths to be equal to values.shape[0], but {np.sum(lengths)} vs. {len(value)}",
            )
        pieces = np.split(np.array(value), np.cumsum(lengths)[:-1])
        return Tape({ELEMENTS: dict(enumerate(pieces))} if len(lengths) else {}, len(lengths))

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor | None]:
        value, lengths = operation.inputs
        rest = None if value.dims is None else value.dims[1:]
        grad = TensorArrayConcatV3(value.dtype, rest).outputs(dy, lengths)[0]
        grad.dims = value.dims
        return [grad, None]


def _full(dims: Dims) -> tuple[int, ...]:
    """A shape that must be known. Raises InvalidArgumentError."""
    if dims is None or not shapes.is_full(dims):
        raise InvalidArgumentError(
            None,
            None,
            "TensorArray has elements that were never written, or none at all, and their shape is not known.",
        )
    return tuple(dim for dim in dims if dim is not None)


def _element(definition: Any, tape: Any, index: int, *default: Any) -> Any:
    """One element. Raises OutOfRangeError, InvalidArgumentError where there is none."""
    found = tape.find(ELEMENTS, index)
    if found is not None:
        return found
    if default:
        return default[0]
    if not 0 <= index < tape.length:
        raise OutOfRangeError(None, None, f"Tried to read from index {index} but array size is: {tape.length}")
    dims = definition.shape
    if not shapes.is_full(dims):
        raise InvalidArgumentError(
            None,
            None,
            f"Could not read from TensorArray index {index}: it was never written, and its shape is not known.",
        )
    return np.zeros(_full(dims), definition.dtype.np)
