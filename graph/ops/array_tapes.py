"""Operations on the tape that holds a TensorArray's elements: all of one type, by index."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import shapes
from ..dtypes import DType, int64, variant
from ..errors import InvalidArgumentError
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
class TensorArrayGradV3(Op):
    """A tape as long as another one, to add gradients of its elements up in: zeros for those that are written there."""

    not_differentiable = True

    def infer(self, tape: TensorLike) -> Spec:
        check_tape(tape)
        return Spec(variant, (), None, (ELEMENTS,))

    def compute(self, tape: Any) -> Any:
        written = ((at, tape.find(ELEMENTS, at)) for at in range(tape.length))
        zeros = {at: np.broadcast_to(np.zeros((), x.dtype), x.shape) for at, x in written if x is not None}
        return Tape({ELEMENTS: zeros}, tape.length)


@op
class TensorArrayWriteV3(Op):
    """The tape with one element more. `dynamic` arrays grow; an index may be written `once`, or what is written adds up."""

    stays_with_tape = True

    dynamic: bool = False
    once: bool = True

    def infer(self, tape: TensorLike, index: TensorLike, value: TensorLike) -> Spec:
        check_tape(tape)
        return Spec(variant, (), None, (ELEMENTS,))

    def compute(self, tape: Any, index: Any, value: Any) -> Any:
        at = int(index)
        if at < 0 or (at >= tape.length and not self.dynamic):
            raise _error(f"Tried to write to index {at} but array is not resizeable and size is: {tape.length}")
        return total((tape, Tape({ELEMENTS: {at: np.array(value)}}, at + 1)), self.once)

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor | None]:
        _, index, value = operation.inputs
        return [dy, None, TensorArrayReadV3(value.dtype, value.dims)(dy, index, zeros_like(value))]


@op
class TensorArrayReadV3(Op):
    """One element. Where it was never written: the third input, else zeros if the shape is known."""

    stays_with_tape = True

    dtype: DType
    shape: Dims = None

    def infer(self, tape: TensorLike, index: TensorLike, *default: TensorLike) -> Spec:
        check_tape(tape)
        return Spec(self.dtype, self.shape)

    def compute(self, tape: Any, index: Any, *default: Any) -> Any:
        return np.array(_element(self, tape, int(index), *default), self.dtype.np)

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor | None]:
        _, index, *default = operation.inputs
        return [TensorArrayScatterV3()(ExpandDims(0)(dy), ExpandDims(0)(index)), None, *(None for _ in default)]


@op
class TensorArrayGatherV3(Op):
    """Some elements, stacked. Where one was never written: the row of the third input, else zeros if the shape is known."""

    stays_with_tape = True

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
            _check_alike(found, indices, 0)
            return np.stack(
                [np.asarray(value, self.dtype.np) for value in found]
            )  # a string may be a bare bytes object
        return np.zeros_like(default[0]) if default else np.zeros((0, *_full(self.shape)), self.dtype.np)

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor | None]:
        _, indices, *default = operation.inputs
        return [TensorArrayScatterV3()(dy, indices), None, *(None for _ in default)]


@op
class TensorArrayScatterV3(Op):
    """The rows of the first input at the indices of the second, beside the elements of the tape that is the third, if any.

    Rows for one index add up, unless `once`; `dynamic` arrays grow.
    """

    stays_with_tape = True

    once: bool = False
    dynamic: bool = False

    def infer(self, value: TensorLike, indices: TensorLike, *tape: TensorLike) -> Spec:
        if value.dims == ():
            raise ValueError("a scalar has no rows to write into a TensorArray")
        return Spec(variant, (), None, (ELEMENTS,))

    def compute(self, value: Any, indices: Any, *tape: Any) -> Any:
        if len(value) != len(indices):
            raise _error(f"Expected len(indices) == values.shape[0], but saw: {len(indices)} vs. {len(value)}")
        rows = np.array(value)
        places = [int(at) for at in indices]
        if tape:
            _check_places(places, tape[0], self.dynamic)
        if len(set(places)) == len(places):
            parts = [Tape({ELEMENTS: dict(zip(places, rows, strict=True))}, max(places, default=-1) + 1)]
        else:
            parts = [Tape({ELEMENTS: {at: row}}, at + 1) for at, row in zip(places, rows, strict=True)]
        return total((*tape, *parts), self.once)

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor | None]:
        value, indices, *tape = operation.inputs
        dims = None if value.dims is None else value.dims[1:]
        return [TensorArrayGatherV3(value.dtype, dims)(dy, indices, zeros_like(value)), None, *(dy for _ in tape)]


@op
class TensorArrayConcatV3(Op):
    """All elements one after the other, and their lengths. Zeros where one was never written: of the given length, else
    `first` rows. `shape`: that of a row.
    """

    stays_with_tape = True

    dtype: DType
    shape: Dims = None
    first: int | None = None

    def infer(self, tape: TensorLike, *lengths: TensorLike) -> tuple[Spec, Spec]:
        check_tape(tape)
        return Spec(self.dtype, None if self.shape is None else (None, *self.shape)), Spec(int64, (None,))

    def compute(self, tape: Any, *lengths: Any) -> Any:
        count = len(lengths[0]) if lengths else tape.length
        found = [tape.find(ELEMENTS, at) for at in range(count)]
        written = [at for at, value in enumerate(found) if value is not None]
        if any(np.ndim(found[at]) == 0 for at in written):
            raise _error("Concat saw a scalar, but requires at least vectors. Did you mean to call stack?")
        _check_alike([found[at] for at in written], written, 1)
        rest = np.shape(found[written[0]])[1:] if written else _full(self.shape)
        for at in range(count):
            if found[at] is None:
                size = int(lengths[0][at]) if lengths else _full((self.first,))[0]
                found[at] = np.zeros((size, *rest), self.dtype.np)
        sizes = np.array([len(value) for value in found], np.int64)
        return (np.concatenate(found) if found else np.zeros((0, *rest), self.dtype.np)), sizes

    def grad(self, operation: Operation, dy: Tensor, _: Any) -> list[Tensor | None]:
        return [TensorArraySplitV3()(dy, operation.outputs[1]), *(None for _ in operation.inputs[1:])]


@op
class TensorArraySplitV3(Op):
    """The pieces of the first input, whose lengths the second one gives, beside what the tape that is the third holds.

    An index may be written `once`, or what is written adds up; `dynamic` arrays grow.
    """

    stays_with_tape = True

    once: bool = False
    dynamic: bool = False

    def infer(self, value: TensorLike, lengths: TensorLike, *tape: TensorLike) -> Spec:
        if value.dims == ():
            raise ValueError("a scalar cannot be split into the elements of a TensorArray")
        return Spec(variant, (), None, (ELEMENTS,))

    def compute(self, value: Any, lengths: Any, *tape: Any) -> Any:
        if int(np.sum(lengths)) != len(value) or (lengths < 0).any():
            raise _error(
                f"Expected sum of lengths to be equal to values.shape[0], but lengths are {lengths.tolist()} and there "
                f"are {len(value)} rows"
            )
        count = len(lengths)
        if tape and not self.dynamic and tape[0].length != count:
            raise _error(
                f"TensorArray's size is not equal to the size of lengths ({tape[0].length} vs. {count}), and the "
                "TensorArray is not marked as dynamically resizeable"
            )
        pieces = np.split(np.array(value), np.cumsum(lengths)[:-1])
        return total((*tape, Tape({ELEMENTS: dict(enumerate(pieces))} if count else {}, count)), self.once)

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor | None]:
        value, lengths, *tape = operation.inputs
        rest = None if value.dims is None else value.dims[1:]
        grad = TensorArrayConcatV3(value.dtype, rest).outputs(dy, lengths)[0]
        grad.dims = value.dims
        return [grad, None, *(dy for _ in tape)]


def _error(text: str) -> InvalidArgumentError:
    return InvalidArgumentError(None, None, text)


def _check_places(places: list[int], tape: Any, dynamic: bool) -> None:
    """Raises InvalidArgumentError where rows are to be written outside of an array."""
    if places and min(places) < 0:
        raise _error(f"Tried to write to index {min(places)} of a TensorArray: it is negative")
    if places and max(places) >= tape.length and not dynamic:
        raise _error(f"Max scatter index must be < array size ({max(places)} vs. {tape.length})")


def _check_alike(values: list[Any], places: Any, first: int) -> None:
    """Raises InvalidArgumentError where the shapes differ, from that dimension on."""
    for value, at in zip(values, places, strict=True):
        if np.shape(value)[first:] != np.shape(values[0])[first:]:
            raise _error(
                f"TensorArray has inconsistent shapes. Index {places[0]} has shape: {list(np.shape(values[0]))} but index "
                f"{at} has shape: {list(np.shape(value))}"
            )


def _full(dims: Dims) -> tuple[int, ...]:
    """A shape that must be known. Raises InvalidArgumentError."""
    if dims is None or not shapes.is_full(dims):
        raise _error("TensorArray has elements that were never written, or none at all, and their shape is not known.")
    return tuple(dim for dim in dims if dim is not None)


def _element(definition: Any, tape: Any, index: int, *default: Any) -> Any:
    """One element. Raises InvalidArgumentError where there is none."""
    found = tape.find(ELEMENTS, index)
    if found is not None:
        return found
    if default:
        return default[0]
    if not 0 <= index < tape.length:
        raise _error(f"Tried to read from index {index} but array size is: {tape.length}")
    dims = definition.shape
    if not shapes.is_full(dims):
        raise _error(
            f"Could not read from TensorArray index {index}: it was never written, and its shape is not known."
        )
    return np.zeros(_full(dims), definition.dtype.np)
