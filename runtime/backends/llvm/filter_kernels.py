"""The gradient of a convolution by its filters as machine code, where that gives the CPU backend's bits: tried once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ....graph import shapes
from ....graph.opdef import OpDef, Spec
from ....graph.ops import conv_kernels
from ....graph.ops.conv import Conv2DBackpropFilter
from ....graph.ops.products import TRIED
from ....graph.ops.rooms import CALL
from ....graph.ops.tiles import DEPTH, part_length
from ....graph.ops.windows import Axis
from ...kernels import Kernel
from ...memory.workspace import Workspace
from .compiling import compiler
from .filter_gradient import Block, FilterGradient, Form, Part
from .filter_text import written
from .micro import tile
from .pool import in_threads
from .trials import LONG, Trials, draws, nanoseconds, same_bits

#: A table with more numbers would be a long text.
MOST_SLOTS = 20_000

Array = np.ndarray[Any, Any]
_trials: Trials[tuple[FilterGradient, Any]] = Trials()


def filter_kernel(definition: OpDef, inputs: tuple[Spec, ...], outputs: tuple[Spec, ...]) -> Kernel | None:
    """The kernel of a convolution's gradient by its filters, of known shapes."""
    if not isinstance(definition, Conv2DBackpropFilter) or tile() is None:
        return None
    if not shapes.is_full(inputs[0].dims) or not shapes.is_full(inputs[2].dims):
        return None
    if inputs[0].dtype.np.name not in ("float32", "float64"):
        return None

    def run(x: Any, sizes: Any, dy: Any, out: Any = None) -> Any:
        dims = tuple(int(size) for size in sizes)
        definition.check(x.shape, dims, dy.shape)
        return filter_gradient(x, dy, *definition.layout.axes(x.shape, dims), out)

    def in_frame(workspace: Workspace) -> Callable[..., Any]:
        key = key_of(definition, inputs, outputs)
        if key:  # now, and not when it is first called
            _tried_for(key)
        return run

    return Kernel(run, takes_out=True, in_frame=in_frame)


def filter_gradient(x: Array, dy: Array, rows: Axis, cols: Axis, out: Array | None = None) -> Array:
    """As that of `conv_kernels`."""
    found = _tried_for((x.dtype.name, x.shape, dy.shape[3], rows, cols)) if x.dtype == dy.dtype else None
    if found is None:
        return conv_kernels.filter_gradient(x, dy, rows, cols, out)
    gradient, native = found
    result = np.empty(gradient.filters, x.dtype) if out is None else out
    if not _run(gradient, native, x, dy, result):  # arrays that do not lie as the function takes them
        return conv_kernels.filter_gradient(x, dy, rows, cols, result)
    return result


def _run(gradient: FilterGradient, native: Any, x: Array, dy: Array, result: Array) -> bool:
    """Whether the function took the arrays, and gave the result."""
    groups = len(gradient.groups)
    CALL.clear()
    totals = CALL.take((groups - 1, *gradient.filters), x.dtype)
    return in_threads(native, (x, dy, result, totals), result, gradient.room_bytes())


def key_of(definition: OpDef, inputs: tuple[Spec, ...], outputs: tuple[Spec, ...]) -> Any:
    """What an operation is known by here, if it is such a gradient of known shapes."""
    if not isinstance(definition, Conv2DBackpropFilter):
        return None
    if not all(shapes.is_full(spec.dims) for spec in (inputs[0], inputs[2], *outputs)):
        return None
    images, filters = (tuple([dim or 0 for dim in spec.dims or ()]) for spec in (inputs[0], outputs[0]))
    return inputs[0].dtype.np.name, images, filters[3], *definition.layout.axes(images, filters)


def seen(key: Any) -> tuple[bool, str | None]:
    """Whether such a gradient has yet to be tried, and the text of what is compiled for it."""
    if key in _trials.found:
        found = _trials.found[key]
        return False, None if found is None else written(found[0])
    return _gradient(*key) is not None, None


def _tried_for(key: Any) -> tuple[FilterGradient, Any] | None:
    """What is compiled for such a gradient, if it has the bits of the plain one: tried once, for arrays of that size."""

    def trial() -> tuple[FilterGradient, Any] | None:
        gradient = _gradient(*key)
        return None if gradient is None else _found(gradient)

    return _trials.tried(key, trial)


def _gradient(kind: str, images: tuple[int, ...], outputs: int, rows: Axis, cols: Axis) -> FilterGradient | None:
    """What could be compiled: windows whose rows are runs of numbers in the images."""
    known, run = tile(), cols.kernel * images[3]
    work = images[0] * rows.out * cols.out * outputs * rows.kernel * run
    if known is None or cols.dilation != 1 or not 0 < work <= TRIED:
        return None
    if outputs == 1 or run == 1 or images[0] * rows.out * cols.out == 1:  # BLAS has another kernel for a vector
        return None
    if min(rows.before, rows.after, cols.before, cols.after) < 0:
        return None
    x = np.broadcast_to(np.zeros((), kind), images)
    forms: dict[tuple[int, int, int], Form] = {}
    groups = []
    for blocks in conv_kernels.grouped_blocks(x, rows, cols, outputs):
        group = []
        for some, lines in blocks:
            key = some.stop - some.start, lines.start, lines.stop
            if key not in forms:
                forms[key] = _form(*key, rows, cols, run < conv_kernels.SHORT or rows.kernel == 1)
            group.append(Block(some.start, lines.start, [*forms].index(key)))
        groups.append(tuple(group))
    if sum(len(form.slots) for form in forms.values()) > MOST_SLOTS:
        return None
    release = nanoseconds(work, known.lanes(kind)) >= LONG
    filters = rows.kernel, cols.kernel, images[3], outputs
    gradient = FilterGradient(
        kind, images, filters, rows, cols, tuple(forms.values()), tuple(groups), conv_kernels.TERMS - 1, True, known,
        False, release,
    )  # fmt: skip
    in_order = all(form.down == 1 for form in forms.values())
    return gradient._replace(packs=gradient.panels > 1 or not in_order)


def _form(images: int, begin: int, end: int, rows: Axis, cols: Axis, short: bool) -> Form:
    """How blocks of so many images and these lines of the outputs are worked on.

    Short rows of windows are summed over images, then lines, all others over lines, then images, where they meet these.
    """
    lines = end - begin
    if short:
        size, met = lines * images, range(rows.kernel)
        slots = {
            (row, line): (source, row * size + line)
            for row in met
            for line in range(lines)
            if 0 <= (source := (begin + line) * rows.stride + row * rows.dilation - rows.before) < rows.size
        }
        parts = [Part(row, row * size, 0, *_terms(size * cols.out)) for row in met]
        return Form(images, lines, lines, 1, rows.kernel * size, tuple(slots.values()), tuple(parts))
    found = conv_kernels.order_of_rows(rows, begin, end)
    sources = {
        (row, line): (begin + line) * rows.stride + row * rows.dilation - rows.before
        for row, first, last in found
        for line in range(first, last)
    }
    low, high = min(sources.values(), default=0), max(sources.values(), default=0)
    # Lines that the same row of windows meets lie one behind the other: with a stride, each so manieth line.
    height = (high - low) // rows.stride + 1
    places = {
        source: ((source - low) % rows.stride * height + (source - low) // rows.stride) * images
        for source in sources.values()
    }
    parts = [
        Part(row, places[sources[row, first]] if last > first else 0, first * images,
             *_terms((last - first) * images * cols.out))
        for row, first, last in found
    ]  # fmt: skip
    return Form(images, lines, 1, images, height * rows.stride * images, tuple(places.items()), tuple(parts))


def _terms(windows: int) -> tuple[int, int]:
    """How many windows a term of the sums has, and how many terms there are."""
    length = part_length(windows, DEPTH) if windows else 1
    return length, windows // length


def _found(gradient: FilterGradient) -> tuple[FilterGradient, Any] | None:
    """The function, if it gives the bits of the plain kernel: for random numbers, and where sums are -0 or 0."""
    kind = np.dtype(gradient.kind)
    axes, dims = (gradient.rows, gradient.cols), [array.dims for array in gradient.arrays()[:2]]
    tiny = [np.full(each, sign * np.finfo(kind).tiny, kind) for each, sign in zip(dims, (1, -1), strict=True)]
    lost = conv_kernels.filter_gradient(tiny[0], tiny[1], *axes)
    gradient = gradient._replace(negative=bool(np.signbit(lost).any()))
    native = compiler().function(written(gradient), library=gradient.library())
    out = np.empty(gradient.filters, kind)
    for x, dy in (tiny, *draws(dims, kind, out.size)):
        if not _run(gradient, native, x, dy, out):
            raise AssertionError("a gradient by the filters refuses its own arrays")
        if not same_bits(out, conv_kernels.filter_gradient(x, dy, *axes)):
            return None
    return gradient, native
