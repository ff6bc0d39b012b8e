"""NumPy kernels of the 2-D convolution and its two adjoints: windows copied into matrices, block by block, then products.

What a block is follows from the shapes alone, and sums are added in the order of the blocks: so the bits are the same
however many threads there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ..parallel import for_blocks
from .rooms import BLOCK, CALL
from .tiles import DEPTH, add_products, add_turned, multiply, pieces, room_for
from .windows import Axis

Array = np.ndarray[Any, Any]

#: At most about so many bytes of windows are in a block: they should still be in the cache when multiplied.
BLOCK_BYTES = 5 << 18
#: Where the bytes do not ask for more, there are at most so many blocks, each of at least so many multiplications: a block
#: has its cost, and those that run at the same time wait for each other between NumPy's calls.
BLOCKS, LEAST_WORK = 8, 8_000_000
#: With fewer channels than this a window's rows are so short that copying along the image's rows is faster.
NARROW = 4
#: With fewer numbers than this in a row of a window, all rows are multiplied at once.
SHORT = 32
#: How many parts of the filters' gradient are summed apart and then added, and of how many bytes, at most.
GROUPS, GROUP_BYTES = 8, 16 << 20
#: How many products are added at once to a part of the filters' gradient, at most.
TERMS = 8


def wide(array: Any) -> Array:
    """16-bit floats as float32, in which their products are summed; other types as they are."""
    return np.asarray(array, np.float32) if array.dtype.itemsize == 2 else np.asarray(array)


def forward(
    x: Array, w: Array, rows: Axis, cols: Axis, out: Array | None = None,
    finish: Callable[[Array, Array], object] = np.positive, after: Callable[[slice], object] | None = None,
) -> Array:  # fmt: skip
    """Images [N, H, W, C] and filters [kh, kw, C, O] to [N, rows.out, cols.out, O].

    `finish`: what is done to each of the results, from one array into another, which may be the same. `after` is called
    for some of the images at a time when these are made, in whichever thread made them.
    """
    outputs = w.shape[3]
    result = np.empty((x.shape[0], rows.out, cols.out, outputs), x.dtype) if out is None else out
    windows = _Windows(x, rows, cols, outputs)
    filters = np.ascontiguousarray(w).reshape(windows.parts, -1, outputs)
    blocks, deep = windows.blocks(), pieces(filters.shape[1], DEPTH)

    def run(index: int, thread: int) -> None:
        BLOCK.clear()
        images, lines = blocks[index]
        target = result[images, lines]
        turned = windows.turns(target)
        total = BLOCK.take((target.size // outputs, outputs), x.dtype) if turned else target.reshape(-1, outputs)
        term = BLOCK.take(total.shape, x.dtype)
        begun = False
        for part, met, matrix in windows.matrices(images, lines):
            some = total[met]
            if not begun and len(some) < len(total):  # no row of the windows meets the images everywhere
                total.fill(0)
                begun = True
            for start, end in deep:
                given = matrix[:, start:end] if len(deep) > 1 else matrix
                if begun:
                    np.add(some, multiply(given, filters[part][start:end], term[: len(some)]), some)
                else:
                    multiply(given, filters[part][start:end], some)
                begun = True
        if turned:
            finish(total.reshape(_turned_shape(target)), target.transpose(1, 0, 2, 3))
        elif finish is not np.positive:
            finish(target, target)
        if after is not None and whole:
            after(images)

    whole = all(lines == slice(0, rows.out) for _, lines in blocks)
    if not w.size:
        result.fill(0)
    for_blocks(run, len(blocks) if result.size and w.size else 0)
    if after is not None and not whole:
        for_blocks(lambda index, thread: after(slice(index, index + 1)), len(result))
    return result


def filter_gradient(x: Array, dy: Array, rows: Axis, cols: Axis, out: Array | None = None) -> Array:
    """The gradient [kh, kw, C, O] of the filters, from that of the outputs."""
    channels, outputs = x.shape[3], dy.shape[3]
    result = np.empty((rows.kernel, cols.kernel, channels, outputs), x.dtype) if out is None else out
    if not dy.size or not result.size:
        result.fill(0)
        return result
    windows, groups = _Windows(x, rows, cols, outputs), grouped_blocks(x, rows, cols, outputs)
    shape = (windows.parts, result.size // outputs // windows.parts, outputs)
    CALL.clear()
    totals = [result.reshape(shape), *(CALL.take(shape, x.dtype) for _ in groups[1:])]

    def run(index: int, thread: int) -> None:
        for number, (images, lines) in enumerate(groups[index]):
            BLOCK.clear()
            given = dy[images, lines]
            if windows.turns(given):
                given = _copied(given.transpose(1, 0, 2, 3))
            rows_given = given.reshape(-1, outputs)
            room = BLOCK.take((TERMS, *shape[1:]), x.dtype)
            for part, met, matrix in windows.matrices(images, lines):
                add_turned(matrix, rows_given[met], totals[index][part], room, number > 0)

    for_blocks(run, len(groups))
    for total in totals[1:]:
        np.add(totals[0], total, totals[0])
    return result


def grouped_blocks(x: Array, rows: Axis, cols: Axis, outputs: int) -> list[list[tuple[slice, slice]]]:
    """The blocks of the filters' gradient: those of each group, whose parts are added one after the other to one sum."""
    blocks = _Windows(x, rows, cols, outputs).blocks()
    size = rows.kernel * cols.kernel * x.shape[3] * outputs * x.itemsize
    groups = pieces(len(blocks), -(-len(blocks) // max(2, min(GROUPS, GROUP_BYTES // size))))
    return [blocks[start:end] for start, end in groups]


def input_gradient(
    w: Array, dy: Array, rows: Axis, cols: Axis, out: Array | None = None, convolve: Callable[..., Array] = forward
) -> Array:
    """The gradient [N, H, W, C] of the images, from that of the outputs. `convolve`: what does as `forward` does."""
    channels, outputs = w.shape[2:]
    turned = as_forward(channels, outputs, rows, cols)
    if turned is not None:
        CALL.clear()
        filters = CALL.take((rows.kernel, cols.kernel, outputs, channels), w.dtype)
        np.copyto(filters, w[::-1, ::-1].transpose(0, 1, 3, 2))
        return convolve(dy, filters, *turned, out)
    result = np.empty((dy.shape[0], rows.size, cols.size, channels), dy.dtype) if out is None else out
    _scattered(w, dy, rows, cols, result)
    return result


def as_forward(channels: int, outputs: int, rows: Axis, cols: Axis) -> tuple[Axis, Axis] | None:
    """The axes of the convolution with turned filters that the images' gradient is; None where it is made otherwise."""
    turned = _turned(rows), _turned(cols)
    fits = rows.stride == cols.stride == 1 and outputs <= 8 * channels and min(_margins(*turned)) >= 0
    return turned if fits else None


def order_of_rows(rows: Axis, begin: int, end: int) -> list[tuple[int, int, int]]:
    """The rows of the windows in the order in which their products are added, for some lines, where they are apart.

    Of each its number, the first line of the outputs where it meets the images, and the one after the last.
    """
    return [part[:3] for _, _, parts in _phases(rows, begin, end) for part in parts]


def _turned(axis: Axis) -> Axis:
    """The axis of the convolution that takes the outputs' gradient back, for stride 1."""
    extent = (axis.kernel - 1) * axis.dilation
    return Axis(axis.out, axis.kernel, 1, axis.dilation, extent - axis.before, extent - axis.after, axis.size)


def _turned_shape(block: Array) -> tuple[int, ...]:
    """Lines before images: the order of a block's windows where each row of a window is apart."""
    return (block.shape[1], block.shape[0], *block.shape[2:])


def _margins(*axes: Axis) -> list[int]:
    return [number for axis in axes for number in (axis.before, axis.after)]


def _scattered(w: Array, dy: Array, rows: Axis, cols: Axis, dx: Array) -> None:
    """The images' gradient for any stride: each window's gradient added where the window was."""
    kh, kw, channels, outputs = w.shape
    filters = w.reshape(-1, outputs)
    height, width = (axis.before + axis.size + axis.after for axis in (rows, cols))
    line_bytes = cols.out * len(filters) * dy.itemsize
    blocks = _images(dy.shape[0], rows.out * line_bytes, dy.size * len(filters))
    steps = pieces(rows.out, max(1, BLOCK_BYTES // max(1, line_bytes)))
    narrow = channels < NARROW

    def run(index: int, thread: int) -> None:
        BLOCK.clear()
        images = slice(*blocks[index])
        padded = BLOCK.take((images.stop - images.start, height, width, channels), dy.dtype)
        padded.fill(0)
        for first, last in steps:
            block = dy[images, first:last]
            spread = _spread(filters, block, narrow).reshape(
                (kh, kw, channels, *block.shape[:3]) if narrow else (*block.shape[:3], kh, kw, channels)
            )
            spread = spread.transpose(3, 4, 5, 0, 1, 2) if narrow else spread
            for i in range(kh):
                down = _steps(first * rows.stride + i * rows.dilation, last - first, rows.stride)
                for j in range(kw):
                    part = padded[:, down, _steps(j * cols.dilation, cols.out, cols.stride)]
                    np.add(part, spread[:, :, :, i, j], part)
        inside = padded[:, rows.before : rows.before + rows.size, cols.before : cols.before + cols.size]
        np.copyto(dx[images], inside)

    for_blocks(run, len(blocks))


def _spread(filters: Array, block: Array, narrow: bool) -> Array:
    """The windows' gradients: a row a window, or where few channels would make short rows a column a window."""
    given = block.reshape(-1, filters.shape[1])
    size = (len(filters), len(given)) if narrow else (len(given), len(filters))
    result = BLOCK.take(size, block.dtype)
    by_windows = result.T if narrow else result
    parts = pieces(filters.shape[1], DEPTH)
    room = BLOCK.take((room_for(1, by_windows.shape, result.itemsize) if len(parts) > 1 else 0,), result.dtype)
    if not parts:
        result.fill(0)
    for start, end in parts:
        add_products(given[None, :, start:end], filters.T[None, start:end], by_windows, room, start > 0)
    return result


def _steps(start: int, count: int, step: int) -> slice:
    return slice(start, start + (count - 1) * step + 1, step) if count else slice(0, 0)


def _images(count: int, image_bytes: int, work: int) -> list[tuple[int, int]]:
    """Which images a block has. `work`: the multiplications for all of them."""
    if not count:
        return []
    blocks = max(1, min(BLOCKS, work // LEAST_WORK))
    return pieces(count, max(1, min(-(-count // blocks), BLOCK_BYTES // max(1, image_bytes))))


class _Windows:
    """All windows of a batch of images, handed out block by block as matrices with a row a window.

    With enough channels there is a matrix for each row of the windows, of those windows whose row meets the images: what
    meets the padding is zero. The matrices of one block then are parts of one that holds every line of the images once, not
    as often as windows have rows; and its windows are in the order of lines, images, columns. Else there is one matrix,
    with windows in the order of images, lines, columns.
    """

    def __init__(self, x: Array, rows: Axis, cols: Axis, outputs: int) -> None:
        self._x, self._rows, self._cols, self._outputs = x, rows, cols, outputs
        row = cols.kernel * x.shape[3]
        self.parts = rows.kernel if row >= SHORT else 1
        self._extent = (rows.kernel - 1) * rows.dilation + 1

    def blocks(self) -> list[tuple[slice, slice]]:
        """Which images and output rows go together: whole images, or some rows of one."""
        (images, _, _, channels), rows, cols = self._x.shape, self._rows, self._cols
        lines = (rows.out - 1) * rows.stride + self._extent if self.parts > 1 else rows.out * rows.kernel
        needed = max(0, lines) * cols.out * cols.kernel * channels * self._x.itemsize
        if needed <= 2 * BLOCK_BYTES:
            work = images * rows.out * cols.out * rows.kernel * cols.kernel * channels * self._outputs
            return [(slice(*part), slice(0, rows.out)) for part in _images(images, needed, work)]
        step = max(1, rows.out * BLOCK_BYTES // needed)
        return [(slice(n, n + 1), slice(*part)) for n in range(images) for part in pieces(rows.out, step)]

    def turns(self, block: Array) -> bool:
        """Whether the windows of a block of the outputs are not in the order of the outputs."""
        return self.parts > 1 and len(block) > 1

    def matrices(self, images: slice, lines: slice) -> Iterator[tuple[int, slice, Array]]:
        """The windows of a block, a part at a time: which part, which of the block's windows, and their matrix.

        The parts that have most windows come first. Valid until the block's memory is cleared.
        """
        if self.parts > 1:
            return self._by_rows(images, lines)
        count, start = lines.stop - lines.start, lines.start * self._rows.stride
        source = self._padded(images, start, start + (count - 1) * self._rows.stride + self._extent)
        matrix = self._whole(source, count)
        return iter([(0, slice(0, len(matrix)), matrix)])

    def _padded(self, images: slice, start: int, stop: int) -> Array:
        """Those lines of the images, counted with the padding."""
        rows, cols, x = self._rows, self._cols, self._x[images]
        first, last = max(start - rows.before, 0), max(0, min(stop - rows.before, rows.size))
        if not (cols.before or cols.after) and stop - start == last - first:
            return x[:, first:last]
        width = cols.before + cols.size + cols.after
        padded = BLOCK.take((x.shape[0], stop - start, width, x.shape[3]), x.dtype)
        if stop - start != last - first:
            padded.fill(0)
        else:
            padded[:, :, : cols.before].fill(0)
            padded[:, :, cols.before + cols.size :].fill(0)
        if first < last:
            above = first + rows.before - start
            np.copyto(padded[:, above : above + last - first, cols.before : cols.before + cols.size], x[:, first:last])
        return padded

    def _whole(self, source: Array, lines: int) -> Array:
        rows, cols = self._rows, self._cols
        image, line, column, channel = source.strides
        shape = (source.shape[0], lines, cols.out, rows.kernel, cols.kernel, source.shape[3])
        moves = (image, line * rows.stride, column * cols.stride)
        view = _strided(source, shape, (*moves, line * rows.dilation, column * cols.dilation, channel))
        length = rows.kernel * cols.kernel * source.shape[3]
        if view.flags.c_contiguous:
            return view.reshape(-1, length)
        if source.shape[3] < NARROW:
            return _copied(view.transpose(3, 4, 5, 0, 1, 2)).reshape(length, -1).T
        return _copied(view).reshape(-1, length)

    def _by_rows(self, images: slice, lines: slice) -> Iterator[tuple[int, slice, Array]]:
        """Rows of windows that meet the same of every `stride` lines are taken together."""
        cols, channels, step = self._cols, self._x.shape[3], self._rows.stride
        a_line = (images.stop - images.start) * cols.out
        for low, high, parts in _phases(self._rows, lines.start, lines.stop):
            source = self._padded(images, low, high)
            image, line, column, channel = source.strides
            shape = (-(-(high - low) // step), len(source), cols.out, cols.kernel, channels)
            moves = (line * step, image, column * cols.stride, column * cols.dilation, channel)
            copied = BLOCK.take(shape, source.dtype)
            np.copyto(copied, _strided(source, shape, moves))
            matrix = copied.reshape(shape[0] * a_line, cols.kernel * channels)
            for number, first, last, start in parts:
                end = start + last - first
                yield number, slice(first * a_line, last * a_line), matrix[start * a_line : end * a_line]


@lru_cache(maxsize=256)
def _phases(rows: Axis, begin: int, end: int) -> list[tuple[int, int, list[tuple[int, int, int, int]]]]:
    """Which lines of the images the rows of the windows meet, for lines `begin` to `end` of the outputs.

    A group for those that need every `stride`-th line, from the same one on: the first of these lines and the one after
    the last, counted with the padding; and of each row of the windows its number, the first line of the outputs and the
    one after the last, counted from `begin`, and which of the group's lines belongs to the first. In a group those with
    the most lines come first, as does the group that has the most.
    """
    found: dict[int, list[tuple[int, int, int, int]]] = {}
    for number in range(rows.kernel):
        outputs, _ = rows.reach(number)
        first = min(max(begin, outputs.start), end)
        last = max(first, min(end, outputs.stop))
        start = first * rows.stride + number * rows.dilation
        found.setdefault(start % rows.stride if last > first else -1, []).append((number, first, last, start))
    groups = []
    for parts in found.values():
        parts.sort(key=lambda part: part[1] - part[2])
        low = min(start for *_, start in parts)
        high = max(start + max(0, (last - first - 1) * rows.stride + 1) for _, first, last, start in parts)
        met = [
            (number, first - begin, last - begin, (start - low) // rows.stride) for number, first, last, start in parts
        ]
        groups.append((low, high if parts[0][2] > parts[0][1] else low, met))
    return sorted(groups, key=lambda group: group[2][0][1] - group[2][0][2])


def _strided(source: Array, shape: tuple[int, ...], moves: tuple[int, ...]) -> Array:
    """NumPy's `as_strided`, which takes ten times as long where the array is in one piece."""
    if source.flags.c_contiguous:
        return np.ndarray(shape, source.dtype, source, 0, moves)
    return as_strided(source, shape, moves)


def _copied(view: Array) -> Array:
    copied = BLOCK.take(view.shape, view.dtype)
    np.copyto(copied, view)
    return copied
