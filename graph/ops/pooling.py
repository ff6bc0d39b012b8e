"""Maximum and average pooling, with gradients of order 1 and 2: one vectorised step for each offset inside the window."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from ..ir import Operation, Tensor
from ..op import Op, op
from ..opdef import Spec, TensorLike
from ..parallel import for_blocks
from ..record import record
from ..shapes import merge
from .branchless import keep
from .constant import known_dims
from .conv import TO_NCHW, TO_NHWC
from .conv_kernels import wide
from .convert import convert_to_tensor
from .fills import zeros_like
from .reshaping import transpose
from .rooms import BLOCK
from .sizes import shape
from .tiles import pieces
from .windows import Axis, Four, Layout, channels_first, check_run, must_agree, per_dimension, rank_four

Part = tuple[slice, slice, slice]

#: About how many elements of the images are worked on at a time, in one thread: what stays in the cache meanwhile.
BLOCK_SIZE = 1 << 18

_BOOL = np.dtype(np.bool_)


@record
class Pooling(Op):
    """Base of pooling and its gradients over images [N, H, W, C]; the attributes are in that order."""

    ksize: Four
    strides: Four
    padding: str

    def pooled(self, x: TensorLike) -> tuple[int | None, ...]:
        """The shape of the pooled images. Raises ValueError where no window fits, TypeError where they are no numbers."""
        if not x.dtype.is_numeric or x.dtype.is_complex:
            raise TypeError(f"{self.type} takes real numbers, got {x.dtype.name}")
        dims, layout = rank_four(self.type, x), Layout(self.strides, self.padding)
        height, width = (layout.out_size(axis, dims[axis], self.ksize[axis]) for axis in (1, 2))
        return (dims[0], height, width, dims[3])

    def axes(self, dims: Any) -> tuple[Axis, Axis]:
        """How the windows lie in a run. Raises InvalidArgumentError where none fits."""
        return Layout(self.strides, self.padding).axes(dims, self.ksize[1:3])

    def maxima(self, x: Any, y: Any) -> tuple[Axis, Axis]:
        """How the windows lie in a run with the images and their maxima. Raises InvalidArgumentError for other sizes."""
        rows, cols = self.axes(x.shape)
        check_run(f"{self.type}: the size of orig_output", y.shape, (x.shape[0], rows.out, cols.out, x.shape[3]))
        return rows, cols

    def firsts(self, x: Any, y: Any, offsets: Sequence[tuple[Part, Part]]) -> Iterator[tuple[Part, Part, Any]]:
        """For each place in the window: outputs, inputs, and a mask of where the maximum stands there first.

        The mask lies in the thread's memory for blocks, and is overwritten by the next one.
        """
        BLOCK.clear()
        taken, mask = BLOCK.take(y.shape, _BOOL), BLOCK.take(y.shape, _BOOL)
        taken.fill(False)
        for out, inside in offsets:
            here, before = mask[out], taken[out]
            np.equal(x[inside], y[out], out=here)
            np.greater(here, before, out=here)
            yield out, inside, here
            np.logical_or(before, here, out=before)


@lru_cache(maxsize=256)
def _offsets(rows: Axis, cols: Axis) -> tuple[tuple[Part, Part], ...]:
    """For each place in the window, in the order of rows: the outputs that find input there, and these inputs."""
    found = []
    for i in range(rows.kernel):
        for j in range(cols.kernel):
            (down, from_down), (across, from_across) = rows.reach(i), cols.reach(j)
            found.append(((slice(None), down, across), (slice(None), from_down, from_across)))
    return tuple(found)


def _for_images(function: Callable[[slice], None], images: Any) -> None:
    """The function for some images at a time, in several threads."""
    blocks = pieces(len(images), max(1, BLOCK_SIZE * len(images) // max(1, images.size)))
    for_blocks(lambda index, thread: function(slice(*blocks[index])), len(blocks))


@op
class MaxPool(Pooling):
    """The maximum of each window; padding never counts."""

    def infer(self, x: TensorLike) -> Spec:
        return Spec(x.dtype, self.pooled(x))

    def compute(self, x: Any, out: Any = None) -> Any:
        rows, cols = self.axes(x.shape)
        result = np.empty((x.shape[0], rows.out, cols.out, x.shape[3]), x.dtype) if out is None else out
        pool = self.into(rows, cols, x.dtype)
        _for_images(lambda images: pool(x[images], result[images]), x)
        return result

    def into(self, rows: Axis, cols: Axis, dtype: Any) -> Callable[[Any, Any], None]:
        """The function of images and where their maxima go, for windows that lie so."""
        lowest = np.array(-np.inf).astype(dtype) if dtype.kind not in "iu" else np.iinfo(dtype).min
        offsets = _offsets(rows, cols)
        whole = len(offsets) > 1 and all(
            place == (slice(None), slice(0, rows.out), slice(0, cols.out)) for place, _ in offsets[:2]
        )

        def run(source: Any, target: Any) -> None:
            if whole:
                np.maximum(source[offsets[0][1]], source[offsets[1][1]], out=target)
            else:
                target.fill(lowest)
            for place, inside in offsets[2 * whole :]:
                np.maximum(target[place], source[inside], out=target[place])

        return run

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        return [MaxPoolGrad(self.ksize, self.strides, self.padding)(operation.inputs[0], operation.outputs[0], dy)]


@op
class MaxPoolGrad(Pooling):
    """The gradient of a window given to its first maximum. Inputs: images, pooled images, gradient."""

    def infer(self, x: TensorLike, y: TensorLike, dy: TensorLike) -> Spec:
        must_agree("MaxPoolGrad: the gradient", merge(y.dims, dy.dims), self.pooled(x))
        return Spec(dy.dtype, x.dims)

    def compute(self, x: Any, y: Any, dy: Any, out: Any = None) -> Any:
        check_run("MaxPoolGrad: the gradient", dy.shape, y.shape)
        axes = self.maxima(x, y)
        dx = np.empty(x.shape, dy.dtype) if out is None else out
        apart = all(axis.stride >= axis.kernel for axis in axes)
        tiled = apart and all(axis.stride == axis.kernel and axis.out * axis.kernel >= axis.size for axis in axes)
        bits, offsets = np.dtype(f"i{dy.dtype.itemsize}"), _offsets(*axes)

        def run(images: slice) -> None:
            given, found = dy[images], dx[images]
            if not tiled:
                found.fill(0)
            for place, inside, here in self.firsts(x[images], y[images], offsets):
                if apart:  # the bits times 1 or 0
                    np.multiply(given[place].view(bits), here, out=found[inside].view(bits))
                else:
                    found[inside] += keep(here, given[place])

        _for_images(run, x)
        return dx

    def grad(self, operation: Operation, ddx: Tensor) -> list[Tensor]:
        x, y, _ = operation.inputs
        picked = MaxPoolGradGrad(self.ksize, self.strides, self.padding)(x, y, ddx)
        return [zeros_like(x), zeros_like(y), picked]


@op
class MaxPoolGradGrad(Pooling):
    """Of each window the element that stands where the images have its first maximum. Inputs: images, pooled, elements."""

    def infer(self, x: TensorLike, y: TensorLike, elements: TensorLike) -> Spec:
        must_agree("MaxPoolGradGrad: the elements", elements.dims, x.dims)
        return Spec(elements.dtype, merge(y.dims, self.pooled(x)))

    def compute(self, x: Any, y: Any, elements: Any) -> Any:
        check_run("MaxPoolGradGrad: the elements", elements.shape, x.shape)
        axes = self.maxima(x, y)
        picked = np.zeros(y.shape, elements.dtype)
        for out, inside, here in self.firsts(x, y, _offsets(*axes)):
            picked[out] += keep(here, elements[inside])
        return picked

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        x, y, _ = operation.inputs
        given = MaxPoolGrad(self.ksize, self.strides, self.padding)(x, y, dy)
        return [zeros_like(x), zeros_like(y), given]


@op
class AvgPool(Pooling):
    """The mean of each window; padding does not count."""

    def infer(self, x: TensorLike) -> Spec:
        if not x.dtype.is_floating:
            raise TypeError(f"AvgPool takes floats, got {x.dtype.name}")
        return Spec(x.dtype, self.pooled(x))

    def compute(self, x: Any, out: Any = None) -> Any:
        rows, cols = self.axes(x.shape)
        source = wide(x)
        total = np.empty((x.shape[0], rows.out, cols.out, x.shape[3]), source.dtype) if out is None else out
        counts = _counts(rows, cols, total.dtype)
        offsets = _offsets(rows, cols)

        def run(images: slice) -> None:
            summed = total[images]
            summed.fill(0)
            for place, inside in offsets:
                summed[place] += source[images][inside]
            summed /= counts

        _for_images(run, x)
        return total.astype(x.dtype, copy=False)

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        return [AvgPoolGrad(self.ksize, self.strides, self.padding)(shape(operation.inputs[0]), dy)]


@op
class AvgPoolGrad(Pooling):
    """The gradient of a window shared out equally. Inputs: the images' shape, gradient."""

    def infer(self, sizes: TensorLike, dy: TensorLike) -> Spec:
        dims = known_dims(sizes) or (None,) * 4
        must_agree("AvgPoolGrad: the gradient", dy.dims, self.pooled(Spec(dy.dtype, dims)))
        return Spec(dy.dtype, dims)

    def compute(self, sizes: Any, dy: Any, out: Any = None) -> Any:
        dims = tuple(int(size) for size in sizes)
        rows, cols = self.axes(dims)
        check_run("AvgPoolGrad: the gradient", dy.shape, (dims[0], rows.out, cols.out, dims[3]))
        source = wide(dy)
        counts = _counts(rows, cols, source.dtype)
        dx = np.empty(dims, source.dtype) if out is None else out
        offsets = _offsets(rows, cols)

        def run(images: slice) -> None:
            BLOCK.clear()
            given, found = source[images], dx[images]
            share = np.divide(given, counts, out=BLOCK.take(given.shape, given.dtype))
            found.fill(0)
            for place, inside in offsets:
                found[inside] += share[place]

        _for_images(run, dx)
        return dx.astype(dy.dtype, copy=False)

    def grad(self, operation: Operation, ddx: Tensor) -> list[Tensor | None]:
        return [None, AvgPool(self.ksize, self.strides, self.padding)(ddx)]


def _counts(rows: Axis, cols: Axis, dtype: Any) -> Any:
    """How many elements of the image each window holds, as [rows.out, cols.out, 1]."""
    return np.multiply.outer(_met(rows), _met(cols)).astype(dtype)[:, :, None]


def _met(axis: Axis) -> Any:
    counts = np.zeros(axis.out, np.int64)
    for offset in range(axis.kernel):
        counts[axis.reach(offset)[0]] += 1
    return counts


# the public functions


def max_pool(value: Any, ksize: Any, strides: Any, padding: Any, data_format: str | None = "NHWC",
             name: str | None = None, input: Any = None) -> Tensor:  # fmt: skip
    """The maximum of windows of `ksize` over images [N, H, W, C] (or NCHW); `padding` 'SAME' or 'VALID'.

    Source: `tf.nn.max_pool`. Raises ValueError for sizes that do not fit, TypeError for what are no real numbers.
    """
    return _pool(MaxPool, _images(value, input), ksize, strides, padding, data_format, name or "MaxPool")


def avg_pool(value: Any, ksize: Any, strides: Any, padding: Any, data_format: str | None = "NHWC",
             name: str | None = None, input: Any = None) -> Tensor:  # fmt: skip
    """The mean of windows of `ksize` over images [N, H, W, C] (or NCHW); `padding` 'SAME' or 'VALID'.

    Source: `tf.nn.avg_pool`. Raises ValueError for sizes that do not fit, TypeError for what are no floats.
    """
    return _pool(AvgPool, _images(value, input), ksize, strides, padding, data_format, name or "AvgPool")


def _images(value: Any, input: Any) -> Any:
    """`input` is a second name of `value`, for when that is None. Raises ValueError for both."""
    if value is not None and input is not None:
        raise ValueError("Cannot specify both 'value' and 'input'")
    return input if value is None else value


def _pool(kind: type[Pooling], value: Any, ksize: Any, strides: Any, padding: Any, data_format: str | None,
          name: str) -> Tensor:  # fmt: skip
    if not isinstance(padding, str) or padding.upper() not in ("SAME", "VALID"):
        raise ValueError(f"padding must be 'SAME' or 'VALID', got {padding!r}")
    nchw = channels_first(data_format)
    pool = kind(per_dimension("ksize", ksize, nchw), per_dimension("strides", strides, nchw), padding.upper())
    images = convert_to_tensor(value)
    if not nchw:
        return pool(images, name=name)
    return transpose(pool(transpose(images, TO_NHWC)), TO_NCHW, name=name)
