"""NumPy kernels of the 2-D convolution and its two adjoints: windows copied into a matrix, then matrix products."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from .windows import Axis

Array = np.ndarray[Any, Any]

#: About how many bytes of windows are in the making at a time: they should still be in the cache when multiplied.
BLOCK_BYTES = 4 << 20
#: With fewer channels than this a window's rows are so short that copying along the image's rows is faster.
NARROW = 4


def wide(array: Any) -> Array:
    """16-bit floats as float32, in which their products are summed; other types as they are."""
    return np.asarray(array, np.float32) if array.dtype.itemsize == 2 else np.asarray(array)


def forward(x: Array, w: Array, rows: Axis, cols: Axis) -> Array:
    """Images [N, H, W, C] and filters [kh, kw, C, O] to [N, rows.out, cols.out, O]."""
    windows = _Windows(x, rows, cols)
    filters = w.reshape(-1, w.shape[3])
    out = np.empty((x.shape[0], rows.out, cols.out, w.shape[3]), x.dtype)
    for images, lines in windows.blocks():
        np.matmul(windows.matrix(images, lines), filters, out=out[images, lines].reshape(-1, w.shape[3]))
    return out


def filter_gradient(x: Array, dy: Array, rows: Axis, cols: Axis) -> Array:
    """The gradient [kh, kw, C, O] of the filters, from that of the outputs."""
    windows = _Windows(x, rows, cols)
    channels, outputs = x.shape[3], dy.shape[3]
    total = np.zeros((rows.kernel * cols.kernel * channels, outputs), x.dtype)
    for images, lines in windows.blocks():
        total += windows.matrix(images, lines).T @ dy[images, lines].reshape(-1, outputs)
    return total.reshape(rows.kernel, cols.kernel, channels, outputs)


def input_gradient(w: Array, dy: Array, rows: Axis, cols: Axis) -> Array:
    """The gradient [N, H, W, C] of the images, from that of the outputs."""
    channels, outputs = w.shape[2:]
    turned = _turned(rows), _turned(cols)
    if rows.stride == cols.stride == 1 and outputs <= 8 * channels and min(_margins(*turned)) >= 0:
        return forward(dy, np.ascontiguousarray(w[::-1, ::-1].transpose(0, 1, 3, 2)), *turned)
    return _scattered(w, dy, rows, cols)


def _turned(axis: Axis) -> Axis:
    """The axis of the convolution that takes the outputs' gradient back, for stride 1."""
    extent = (axis.kernel - 1) * axis.dilation
    return Axis(axis.out, axis.kernel, 1, axis.dilation, extent - axis.before, extent - axis.after, axis.size)


def _margins(*axes: Axis) -> list[int]:
    return [number for axis in axes for number in (axis.before, axis.after)]


def _scattered(w: Array, dy: Array, rows: Axis, cols: Axis) -> Array:
    """The images' gradient for any stride: each window's gradient added where the window was."""
    kh, kw, channels, outputs = w.shape
    filters = w.reshape(-1, outputs).T
    height, width = (axis.before + axis.size + axis.after for axis in (rows, cols))
    padded = np.zeros((dy.shape[0], height, width, channels), dy.dtype)
    for images, lines in _blocks(dy.shape[0], rows.out, cols.out * filters.shape[1] * dy.itemsize):
        block = dy[images, lines]
        windows = (block.reshape(-1, outputs) @ filters).reshape(*block.shape[:3], kh, kw, channels)
        for i in range(kh):
            down = _steps(lines.start * rows.stride + i * rows.dilation, block.shape[1], rows.stride)
            for j in range(kw):
                padded[images, down, _steps(j * cols.dilation, cols.out, cols.stride)] += windows[:, :, :, i, j]
    return np.ascontiguousarray(padded[:, rows.before : rows.before + rows.size, cols.before : cols.before + cols.size])


def _steps(start: int, count: int, step: int) -> slice:
    return slice(start, start + (count - 1) * step + 1, step) if count else slice(0, 0)


def _blocks(images: int, lines: int, line_bytes: int) -> Iterator[tuple[slice, slice]]:
    """Images, or output rows of one image, that are worked on together: about BLOCK_BYTES of windows."""
    image_bytes = max(1, lines * line_bytes)
    if image_bytes <= BLOCK_BYTES:
        step = BLOCK_BYTES // image_bytes
        for start in range(0, images, step):
            yield slice(start, min(start + step, images)), slice(0, lines)
        return
    step = max(1, BLOCK_BYTES // line_bytes)
    for image in range(images):
        for start in range(0, lines, step):
            yield slice(image, image + 1), slice(start, min(start + step, lines))


def _padded(x: Array, rows: Axis, cols: Axis) -> Array:
    if not any(_margins(rows, cols)):
        return np.ascontiguousarray(x)
    height, width = (axis.before + axis.size + axis.after for axis in (rows, cols))
    padded = np.zeros((x.shape[0], height, width, x.shape[3]), x.dtype)
    padded[:, rows.before : rows.before + rows.size, cols.before : cols.before + cols.size] = x
    return padded


class _Windows:
    """All windows of a batch of images, handed out block by block as a matrix with a row a window."""

    def __init__(self, x: Array, rows: Axis, cols: Axis) -> None:
        x = _padded(x, rows, cols)
        image, line, column, channel = x.strides
        shape = (x.shape[0], rows.out, cols.out, rows.kernel, cols.kernel, x.shape[3])
        moves = (image, line * rows.stride, column * cols.stride)
        self._view = as_strided(x, shape, (*moves, line * rows.dilation, column * cols.dilation, channel))
        self._length: int = rows.kernel * cols.kernel * x.shape[3]
        self._narrow = x.shape[3] < NARROW
        self._buffer = np.empty(0, x.dtype)

    def blocks(self) -> Iterator[tuple[slice, slice]]:
        """Which images and output rows go together."""
        images, lines, columns = self._view.shape[:3]
        return _blocks(images, lines, columns * self._length * self._view.itemsize)

    def matrix(self, images: slice, lines: slice) -> Array:
        """The windows of a block; valid until the next one is asked for."""
        view = self._view[images, lines]
        if view.flags.c_contiguous:
            return view.reshape(-1, self._length)
        if self._narrow:
            view = view.transpose(3, 4, 5, 0, 1, 2)
        copied = self._room(view.shape)
        np.copyto(copied, view)
        return copied.reshape(self._length, -1).T if self._narrow else copied.reshape(-1, self._length)

    def _room(self, shape: Sequence[int]) -> Array:
        size = int(np.prod(shape))
        if self._buffer.size < size:
            self._buffer = np.empty(size, self._buffer.dtype)
        return self._buffer[:size].reshape(shape)
