"""Slices: Slice, and StridedSlice with its adjoint."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from .. import shapes
from ..errors import InvalidArgumentError
from ..ir import Operation, Tensor
from ..op import Op, op
from ..opdef import Known, Spec, TensorLike
from ..shapes import Dims
from .arithmetic import AddV2
from .constant import const, known_dims
from .convert import convert_to_tensor, int_vector
from .fills import ones_like
from .sizes import Shape, shape


@op
class Slice(Op):
    """The part of a tensor that begins at `begin` and has `size` elements an axis (-1: all that are left)."""

    view = True

    def infer(self, x: TensorLike, begin: TensorLike, size: TensorLike) -> Spec:
        dims = x.dims
        for vector in (begin, size):
            length = known_dims(vector)
            if dims is None and length is not None:
                dims = (None,) * len(length)
            if dims is not None and length is not None and len(length) != len(dims):
                raise ValueError(
                    f"Shape must be rank {len(length)} but is rank {len(dims)}: one begin and size an axis"
                )
        if dims is None:
            return Spec(x.dtype, None)
        starts, sizes = _values(begin, len(dims)), _values(size, len(dims))
        out = tuple(_slice_dim(*each) for each in zip(dims, starts, sizes, strict=True))
        known = None
        if isinstance(x.known, tuple) and starts[0] is not None and out[0] is not None:
            known = x.known[starts[0] : starts[0] + out[0]]
        return Spec(x.dtype, out, known)

    def compute(self, x: Any, begin: Any, size: Any) -> Any:
        index = []
        for axis, (start, count, dim) in enumerate(zip(begin.tolist(), size.tolist(), x.shape, strict=True)):
            count = dim - start if count == -1 else count
            if not 0 <= start <= dim:
                raise InvalidArgumentError(None, None, f"Expected begin[{axis}] in [0, {dim}], but got {start}")
            if not 0 <= count <= dim - start:
                raise InvalidArgumentError(None, None, f"Expected size[{axis}] in [0, {dim - start}], but got {count}")
            index.append(slice(start, start + count))
        return x[tuple(index)]

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor | None]:
        x, begin, _ = operation.inputs
        end = AddV2()(begin, Shape(begin.dtype)(operation.outputs[0]))
        return [StridedSliceGrad()(shape(x), begin, end, _ones(begin), dy), None, None]


def _slice_dim(dim: int | None, start: int | None, size: int | None) -> int | None:
    if size != -1:
        return size
    return None if dim is None or start is None else max(dim - start, 0)


def _ones(vector: Tensor) -> Tensor:
    """As many ones: a constant where the length is known, so that shape inference sees them."""
    if not shapes.is_full(vector.dims):
        return ones_like(vector)
    return const(np.ones(np.array(vector.dims), vector.dtype.np), "strides")


class Item(NamedTuple):
    """One entry of an index: an ellipsis, a new axis, one position, or a range; None where a value is not known yet."""

    kind: str  #: "ellipsis", "new", "at" or "range"
    begin: int | None = None
    end: int | None = None
    stride: int | None = None
    begin_masked: bool = False
    end_masked: bool = False

    def numpy(self) -> Any:
        """The entry as NumPy writes it, when its values are known."""
        match self.kind:
            case "ellipsis":
                return Ellipsis
            case "new":
                return None
            case "at":
                return self.begin
        return slice(None if self.begin_masked else self.begin, None if self.end_masked else self.end, self.stride)

    def is_known(self) -> bool:
        """Whether nothing about it must wait for a run."""
        if self.kind == "at":
            return self.begin is not None
        ends = (self.begin_masked or self.begin is not None) and (self.end_masked or self.end is not None)
        return self.kind != "range" or (ends and self.stride is not None)

    def size(self, dim: int | None) -> int | None:
        """How many elements of a dimension a range takes, if that is known."""
        return None if dim is None or not self.is_known() else len(range(dim)[self.numpy()])


class Strided(Op):
    """Base of StridedSlice and its adjoint: TensorFlow's five bit masks, one bit an entry of the index.

    `begin_mask` and `end_mask`: the range has no such end; `ellipsis_mask`, `new_axis_mask`: the entry is `...` or
    `newaxis`; `shrink_axis_mask`: it is a single position (`begin`), whose dimension disappears.
    """

    __slots__ = ()
    begin_mask: int
    end_mask: int
    ellipsis_mask: int
    new_axis_mask: int
    shrink_axis_mask: int

    def items(self, begin: Sequence[int | None], end: Sequence[int | None], stride: Sequence[int | None]) -> list[Item]:
        """The index that the masks and values spell. Raises ValueError for one that makes no sense."""
        if not len(begin) == len(end) == len(stride):
            raise ValueError(
                f"begin, end and strides must be equally long, got {len(begin)}, {len(end)}, {len(stride)}"
            )
        items: list[Item] = []
        for i, values in enumerate(zip(begin, end, stride, strict=True)):
            items.append(self._item(1 << i, *values))
            if values[2] == 0:
                raise ValueError(f"strides[{i}] must be non-zero")
            if items[-1].kind == "at" and values[2] is not None and values[2] < 0:
                raise ValueError("only stride 1 allowed on non-range indexing.")
        ellipses = sum(item.kind == "ellipsis" for item in items)
        if ellipses > 1:
            raise ValueError("Multiple ellipses in slice spec not allowed")
        return items if ellipses else [*items, Item("ellipsis")]

    def _item(self, bit: int, begin: int | None, end: int | None, stride: int | None) -> Item:
        if self.ellipsis_mask & bit:
            return Item("ellipsis")
        if self.new_axis_mask & bit:
            return Item("new")
        if self.shrink_axis_mask & bit:
            return Item("at", begin)
        return Item("range", begin, end, stride, bool(self.begin_mask & bit), bool(self.end_mask & bit))

    def index(self, begin: Any, end: Any, stride: Any, dims: tuple[int, ...]) -> tuple[Any, ...]:
        """The index of NumPy. Raises InvalidArgumentError for one that does not fit the shape."""
        return _numpy_index(self, tuple(begin.tolist()), tuple(end.tolist()), tuple(stride.tolist()), dims)


@lru_cache(maxsize=4096)  # a graph takes the same few slices in every step, and reading one costs more than taking it
def _numpy_index(
    strided: Strided, begin: tuple[int, ...], end: tuple[int, ...], stride: tuple[int, ...], dims: tuple[int, ...]
) -> tuple[Any, ...]:
    try:
        items = strided.items(begin, end, stride)
        sliced_dims(items, dims)
    except ValueError as error:
        raise InvalidArgumentError(None, None, str(error)) from None
    return tuple(item.numpy() for item in items)


def sliced_dims(items: Sequence[Item], dims: tuple[int | None, ...]) -> tuple[int | None, ...]:
    """The shape of `x[items]`. Raises ValueError for too many entries and for a position out of range."""
    taken = sum(item.kind in ("at", "range") for item in items)
    if taken > len(dims):
        raise ValueError(f"Index out of range using input dim {len(dims)}; input has only {len(dims)} dims")
    out: list[int | None] = []
    axis = 0
    for item in items:
        if item.kind == "ellipsis":
            out += dims[axis : axis + len(dims) - taken]
            axis += len(dims) - taken
        elif item.kind == "new":
            out.append(1)
        elif item.kind == "at":
            _check_position(item.begin, dims[axis], axis)
            axis += 1
        else:
            out.append(item.size(dims[axis]))
            axis += 1
    return tuple(out)


def _check_position(position: int | None, dim: int | None, axis: int) -> None:
    if position is not None and dim is not None and not -dim <= position < dim:
        raise ValueError(f"slice index {position} of dimension {axis} out of bounds.")


def _values(vector: TensorLike, length: int) -> tuple[int | None, ...]:
    return vector.known if isinstance(vector.known, tuple) else (None,) * length


@op
class StridedSlice(Strided):
    """`x[begin:end:strides]` with TensorFlow's masks: everything NumPy's basic indexing can say."""

    begin_mask: int = 0
    end_mask: int = 0
    ellipsis_mask: int = 0
    new_axis_mask: int = 0
    shrink_axis_mask: int = 0
    view = True

    def infer(self, x: TensorLike, begin: TensorLike, end: TensorLike, strides: TensorLike) -> Spec:
        length: Dims = None
        for vector in (begin, end, strides):
            length = shapes.merge(length, vector.dims)
        if length is not None and len(length) != 1:
            raise ValueError(f"begin, end and strides must be vectors, got shape {shapes.text(length)}")
        if length is None or length[0] is None:
            return Spec(x.dtype, None)
        items = self.items(*(_values(vector, length[0]) for vector in (begin, end, strides)))
        if x.dims is None:
            return Spec(x.dtype, None)
        return Spec(x.dtype, sliced_dims(items, x.dims), _known_slice(x.known, items))

    def compute(self, x: Any, begin: Any, end: Any, strides: Any) -> Any:
        return x[self.index(begin, end, strides, x.shape)]

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor | None]:
        x, *index = operation.inputs
        adjoint = StridedSliceGrad(
            self.begin_mask, self.end_mask, self.ellipsis_mask, self.new_axis_mask, self.shrink_axis_mask
        )
        return [adjoint(shape(x), *index, dy), None, None, None]


def _known_slice(known: Known, items: Sequence[Item]) -> Known:
    """What is known of `x[items]`, for a scalar or a vector x."""
    if known is None or not all(item.is_known() for item in items):
        return None
    if any(item.kind == "new" for item in items):
        return (known,) if isinstance(known, int) and len(items) == 2 else None
    if isinstance(known, int):
        return known
    picked = [item.numpy() for item in items if item.kind != "ellipsis"]
    return known[picked[0]] if picked else known


@op
class StridedSliceGrad(Strided):
    """The adjoint of StridedSlice: zeros of a shape, with `dy` where the slice was taken."""

    begin_mask: int = 0
    end_mask: int = 0
    ellipsis_mask: int = 0
    new_axis_mask: int = 0
    shrink_axis_mask: int = 0

    def infer(self, dims: TensorLike, begin: TensorLike, end: TensorLike, strides: TensorLike, dy: TensorLike) -> Spec:
        return Spec(dy.dtype, known_dims(dims))

    def compute(self, dims: Any, begin: Any, end: Any, strides: Any, dy: Any) -> Any:
        out = np.zeros(tuple(dims), dy.dtype)
        out[self.index(begin, end, strides, out.shape)] = dy
        return out

    def grad(self, operation: Operation, ddx: Tensor) -> list[Tensor | None]:
        slicer = StridedSlice(
            self.begin_mask, self.end_mask, self.ellipsis_mask, self.new_axis_mask, self.shrink_axis_mask
        )
        _, begin, end, strides, _ = operation.inputs
        return [None, None, None, None, slicer(ddx, begin, end, strides)]


# the public functions


def slice_(input_: Any, begin: Any, size: Any, name: str | None = None) -> Tensor:
    """The part of `input_` from `begin` with `size` elements an axis (-1: all that are left). Source: `tf.slice`.

    Raises ValueError for vectors of the wrong length; a part that is not there is an InvalidArgumentError of the run.
    """
    return Slice()(convert_to_tensor(input_), int_vector(begin), int_vector(size), name=name)


def strided_slice(input_: Any, begin: Any, end: Any, strides: Any = None, begin_mask: int = 0, end_mask: int = 0,
                  ellipsis_mask: int = 0, new_axis_mask: int = 0, shrink_axis_mask: int = 0, var: Any = None,
                  name: str | None = None) -> Tensor:  # fmt: skip
    """`input_[begin:end:strides]` with bit masks, one bit an entry, see StridedSlice. Source: `tf.strided_slice`.

    Raises ValueError for a stride of 0, several ellipses, too many entries, or a position out of range.
    """
    first = int_vector(begin)
    steps = _ones(first) if strides is None else int_vector(strides)
    masks = (begin_mask, end_mask, ellipsis_mask, new_axis_mask, shrink_axis_mask)
    return StridedSlice(*masks)(convert_to_tensor(input_), first, int_vector(end), steps, name=name)
