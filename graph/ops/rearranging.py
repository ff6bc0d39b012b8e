"""What a few operations give together: sort, matrix_band_part, ensure_shape, space_to_batch and windows of images."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import shapes
from ..errors import InvalidArgumentError
from ..indexed_slices import IndexedSlices
from ..ir import Operation, Tensor, get_default_graph
from ..op import Op, op
from ..opdef import Spec, TensorLike
from ..shapes import Dims, TensorShape, normal_axis
from .arithmetic import multiply, negative, subtract
from .array import concat
from .compare import invert, less, less_equal, logical_and, logical_or
from .constant import constant_value, static_int
from .convert import convert_to_tensor
from .fills import zeros_like
from .getitem import getitem
from .padding import pad
from .ranges import range_
from .reshaping import expand_dims, reshape, transpose
from .selecting import top_k, where_v2
from .sizes import shape
from .slicing import slice_, strided_slice


@op
class EnsureShape(Op):
    """The tensor itself; fails where its shape is another."""

    shape: Dims
    view = True

    def infer(self, x: TensorLike) -> Spec:
        return Spec(x.dtype, shapes.merge(x.dims, self.shape), x.known)

    def compute(self, x: Any) -> Any:
        if not shapes.compatible(np.shape(x), self.shape):
            raise InvalidArgumentError(
                None, None,
                f"Shape of tensor {shapes.text(np.shape(x))} is not compatible with expected shape {shapes.text(self.shape)}.",
            )  # fmt: skip
        return x

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        return [dy]


def ensure_shape(x: Any, shape: Any, name: str | None = None) -> Tensor:
    """`x`, its shape known from here on and checked at the run. Source: `tf.ensure_shape`. Raises ValueError for one that
    is known to be another.
    """
    return EnsureShape(shapes.as_dims(shape))(convert_to_tensor(x), name=name)


def scalar_mul(scalar: Any, x: Any, name: str | None = None) -> Any:
    """`scalar` * `x`, which may be IndexedSlices. Source: `tf.scalar_mul`. Raises ValueError for no scalar."""
    slices = isinstance(x, IndexedSlices)
    values = x.values if slices else convert_to_tensor(x)
    factor = convert_to_tensor(scalar, values.dtype)
    if factor.dims not in (None, ()):
        raise ValueError(f"Only scalar multiply works, got shape {factor.shape}")
    scaled = multiply(factor, values, name=name)
    return IndexedSlices(scaled, x.indices, x.dense_shape) if slices else scaled


def sort(values: Any, axis: int = -1, direction: str = "ASCENDING", name: str | None = None) -> Tensor:
    """`values` in order along an axis, or DESCENDING. Source: `tf.sort`. Raises ValueError for another direction."""
    return _sorted(values, axis, direction, name or "sort")[0]


def argsort(values: Any, axis: int = -1, direction: str = "ASCENDING", stable: bool = False,
            name: str | None = None) -> Tensor:  # fmt: skip
    """The int32 indices that put `values` in order along an axis; equal ones stay as they come. Source: `tf.argsort`."""
    return _sorted(values, axis, direction, name or "argsort")[1]


def _sorted(values: Any, axis: Any, direction: str, name: str) -> tuple[Tensor, Tensor]:
    if direction not in ("ASCENDING", "DESCENDING"):
        raise ValueError(f"The direction must be ASCENDING or DESCENDING, got {direction!r}")
    x = convert_to_tensor(values)
    with get_default_graph().name_scope(name):
        last = static_int("axis", axis)
        if x.dims is None and last != -1:
            raise ValueError("sorting along another axis than the last needs a known rank")
        order = None
        if x.dims is not None and normal_axis(last, len(x.dims)) != len(x.dims) - 1:
            order = list(range(len(x.dims)))
            at = normal_axis(last, len(x.dims))
            order[at], order[-1] = order[-1], order[at]
        rows = x if order is None else transpose(x, order)
        # Turned round by what has no overflow: -x of floats, ~x of integers.
        turn = invert if x.dtype.is_integer else negative
        rising = direction == "ASCENDING"
        found, indices = top_k(turn(rows) if rising else rows, getitem(shape(rows), -1))
        found = turn(found) if rising else found
        return (found, indices) if order is None else (transpose(found, order), transpose(indices, order))


def matrix_band_part(input: Any, num_lower: Any, num_upper: Any, name: str | None = None) -> Tensor:
    """The matrices of `input` [..., m, n] with zeros but for `num_lower` diagonals below and `num_upper` above the main one
    (below zero: all). Source: `tf.matrix_band_part`.
    """
    x = convert_to_tensor(input)
    sizes = shape(x)
    with get_default_graph().name_scope(name or "MatrixBandPart"):
        below = subtract(expand_dims(range_(getitem(sizes, -2)), 1), expand_dims(range_(getitem(sizes, -1)), 0))
        lower, upper = convert_to_tensor(num_lower, below.dtype), convert_to_tensor(num_upper, below.dtype)
        kept = logical_and(
            logical_or(less(lower, 0), less_equal(below, lower)),
            logical_or(less(upper, 0), less_equal(negative(below), upper)),
        )
        return where_v2(kept, x, zeros_like(x))


def space_to_batch_nd(input: Any, block_shape: Any, paddings: Any, name: str | None = None) -> Tensor:
    """Blocks of the dimensions after the first, padded with zeros, moved into the batch. Source: `tf.space_to_batch_nd`.

    `block_shape` [m] and `paddings` [m, 2] must be known. Raises ValueError where they are not or do not fit.
    """
    blocks = _static("block_shape", block_shape)
    edges = _static("paddings", paddings)
    x = convert_to_tensor(input)
    count, rank = len(blocks), _rank(x, len(blocks))
    padded = pad(x, [[0, 0], *edges, *[[0, 0]] * (rank - 1 - count)])
    sizes = _sizes(padded)
    for at, block in enumerate(blocks):
        if isinstance(sizes[at + 1], int) and sizes[at + 1] % block:
            raise ValueError(f"padded dimension {at + 1} of {sizes[at + 1]} is not divisible by the block of {block}")
    split = [sizes[0]]
    for at, block in enumerate(blocks):
        split += [sizes[at + 1] // block, block]
    taken = reshape(padded, [*split, *sizes[count + 1 :]])
    inner = [2 * at + 2 for at in range(count)]
    outer = [2 * at + 1 for at in range(count)]
    moved = transpose(taken, [*inner, 0, *outer, *range(2 * count + 1, rank + count)])
    dims = [sizes[0] * math.prod(blocks), *(split[at] for at in outer), *sizes[count + 1 :]]
    return reshape(moved, dims, name=name)


def batch_to_space_nd(input: Any, block_shape: Any, crops: Any, name: str | None = None) -> Tensor:
    """The inverse: blocks from the batch put into the dimensions after it, which are then cropped.

    Source: `tf.batch_to_space_nd`. Raises as `space_to_batch_nd`.
    """
    blocks = _static("block_shape", block_shape)
    edges = _static("crops", crops)
    x = convert_to_tensor(input)
    count, rank = len(blocks), _rank(x, len(blocks))
    sizes = _sizes(x)
    whole = math.prod(blocks)
    if isinstance(sizes[0], int) and sizes[0] % whole:
        raise ValueError(f"the batch of {sizes[0]} is not divisible by the {whole} elements of a block")
    batch = sizes[0] // whole
    taken = reshape(x, [*blocks, batch, *sizes[1:]])
    order = [count]
    for at in range(count):
        order += [count + 1 + at, at]
    moved = transpose(taken, [*order, *range(2 * count + 1, rank + count)])
    wide = [sizes[at + 1] * block for at, block in enumerate(blocks)]
    joined = reshape(moved, [batch, *wide, *sizes[count + 1 :]])
    begin = [0, *(edge[0] for edge in edges), *[0] * (rank - 1 - count)]
    kept = [size - edge[0] - edge[1] for size, edge in zip(wide, edges, strict=True)]
    return slice_(joined, begin, [-1, *kept, *[-1] * (rank - 1 - count)], name=name)


def space_to_batch(input: Any, paddings: Any, block_size: int, name: str | None = None) -> Tensor:
    """`space_to_batch_nd` of images [batch, height, width, depth] with square blocks. Source: `tf.space_to_batch`."""
    return space_to_batch_nd(input, [block_size, block_size], paddings, name)


def batch_to_space(input: Any, crops: Any, block_size: int, name: str | None = None) -> Tensor:
    """`batch_to_space_nd` of images with square blocks. Source: `tf.batch_to_space`."""
    return batch_to_space_nd(input, [block_size, block_size], crops, name)


def _static(what: str, value: Any) -> Any:
    found = constant_value(convert_to_tensor(value))
    if found is None:
        raise ValueError(f"{what} must be known when the graph is built")
    return found.tolist()


def _rank(x: Tensor, count: int) -> int:
    if x.dims is None or len(x.dims) < count + 1:
        raise ValueError(f"input rank should be at least {count + 1} and known, got shape {x.shape}")
    return len(x.dims)


def _sizes(x: Tensor) -> list[Any]:
    """The sizes of a tensor of known rank: ints, and scalar tensors where they are not known."""
    there = shape(x)
    return [getitem(there, at) if size is None else size for at, size in enumerate(TensorShape(x.dims).as_list())]


def extract_image_patches(
    images: Any, ksizes: Any = None, strides: Any = None, rates: Any = None, padding: str | None = None,
    name: str | None = None, sizes: Any = None,
) -> Tensor:  # fmt: skip
    """The windows of images [batch, rows, columns, depth], each as the depth of one element of the result.

    `ksizes`, `strides` and `rates` are [1, rows, columns, 1], `padding` is "VALID" or "SAME". Source:
    `tf.extract_image_patches`. Raises ValueError for other forms and for images of unknown size.
    """
    x = convert_to_tensor(images)
    if x.dims is None or len(x.dims) != 4 or None in x.dims[1:3]:
        raise ValueError(f"images must have four dimensions, rows and columns known, got shape {x.shape}")
    if padding not in ("VALID", "SAME"):
        raise ValueError(f"padding must be VALID or SAME, got {padding!r}")
    windows = []
    for what, given in (("ksizes", ksizes if sizes is None else sizes), ("strides", strides), ("rates", rates)):
        numbers = list(given)
        if len(numbers) != 4 or numbers[0] != 1 or numbers[3] != 1 or min(numbers) < 1:
            raise ValueError(f"{what} must be [1, rows, columns, 1], got {numbers}")
        windows.append(numbers[1:3])
    edges, counts = [[0, 0]], []
    for size, window, step, rate in zip(x.dims[1:3], *windows, strict=True):
        reach = (window - 1) * rate + 1
        count = -(-int(size or 0) // step) if padding == "SAME" else max(0, -(-(int(size or 0) - reach + 1) // step))
        missing = max(0, (count - 1) * step + reach - int(size or 0)) if padding == "SAME" else 0
        edges.append([missing // 2, missing - missing // 2])
        counts.append(count)
    padded = pad(x, [*edges, [0, 0]])
    (height, width), (down, right), (rate_down, rate_right) = windows
    parts = []
    for row in range(height):
        for column in range(width):
            first = [0, row * rate_down, column * rate_right, 0]
            # Without any window the end is the begin: before it, it would count from the back.
            reach_down, reach_right = max(0, (counts[0] - 1) * down + 1), max(0, (counts[1] - 1) * right + 1)
            end = [first[1] + reach_down, first[2] + reach_right]
            parts.append(strided_slice(padded, first, [0, *end, 0], [1, down, right, 1], begin_mask=9, end_mask=9))
    return concat(parts, 3, name=name or "ExtractImagePatches")
