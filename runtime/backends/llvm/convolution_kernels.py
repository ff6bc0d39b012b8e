"""Convolutions as machine code, where that gives the bits of the CPU backend's: each geometry is tried once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ....graph import shapes
from ....graph.opdef import OpDef, Spec
from ....graph.ops import conv_kernels
from ....graph.ops.conv import Conv2D, Conv2DBackpropInput
from ....graph.ops.products import TRIED
from ....graph.ops.tiles import DEPTH, pieces
from ....graph.ops.windows import Axis
from ....graph.parallel import for_blocks
from ...kernels import Kernel
from ...memory.workspace import Workspace
from ...stages.fused import Fused
from ...stages.plan import Run
from ..convolutions import is_convolution
from . import filter_kernels
from .compiling import compiler
from .convolutions import Convolution, Segment
from .micro import tile
from .pool import in_threads
from .region_tails import tail_of
from .tails import Tail
from .trials import BLOCK, LONG, Trials, draws, nanoseconds, same_bits

#: Images are cut into so many blocks, at most, which threads share.
BLOCKS = 8
#: More terms make the function long.
MOST_TERMS = 64

Array = np.ndarray[Any, Any]
_trials: Trials[tuple[Convolution, Any]] = Trials()


def conv_kernel(definition: OpDef, inputs: tuple[Spec, ...], outputs: tuple[Spec, ...]) -> Kernel | None:
    """The kernel of a convolution or of its gradient by the images, of known shapes."""
    if not isinstance(definition, (Conv2D, Conv2DBackpropInput)) or tile() is None:
        return None
    if any(not shapes.is_full(spec.dims) for spec in inputs):
        return None
    if inputs[-1].dtype.np.name not in ("float32", "float64"):
        return None
    layout = definition.layout

    def images(x: Any, w: Any, out: Any = None) -> Any:
        if w.shape[2] != x.shape[3]:
            return definition.compute(x, w, out)
        return forward(x, w, *layout.axes(x.shape, w.shape), out)

    def backwards(sizes: Any, w: Any, dy: Any, out: Any = None) -> Any:
        dims = tuple(int(size) for size in sizes)
        definition.check(dims, w.shape, dy.shape)
        return conv_kernels.input_gradient(w, dy, *layout.axes(dims, w.shape), out, forward)

    run = images if isinstance(definition, Conv2D) else backwards

    def in_frame(workspace: Workspace) -> Callable[..., Any]:
        key = _key(definition, inputs, outputs[0], None)
        if key:  # now, and not when it is first called
            tried(key, _plain(*key[3:5]))
        return run

    return Kernel(run, takes_out=True, in_frame=in_frame)


def _plain(rows: Axis, cols: Axis) -> Callable[..., list[Array]]:
    """What makes of images and filters what the CPU backend does."""
    return lambda x, w: [conv_kernels.forward(x, w, rows, cols)]


def forward(
    x: Array, w: Array, rows: Axis, cols: Axis, out: Array | None = None,
    finish: Callable[[Array, Array], object] = np.positive, after: Callable[[slice], object] | None = None,
) -> Array:  # fmt: skip
    """As that of `conv_kernels`."""
    key = x.dtype.name, x.shape, w.shape, rows, cols, None
    found = tried(key, _plain(rows, cols)) if x.dtype == w.dtype else None
    if found is None:
        return conv_kernels.forward(x, w, rows, cols, out, finish, after)
    convolution, native = found
    result = np.empty(convolution.outputs, x.dtype) if out is None else out
    if not in_threads(native, (x, w, result), result, convolution.room_bytes()):  # they do not lie as it takes them
        return conv_kernels.forward(x, w, rows, cols, result, finish, after)

    def rest(index: int, thread: int) -> None:
        images = slice(index * convolution.block, min((index + 1) * convolution.block, len(x)))
        if finish is not np.positive:
            finish(result[images], result[images])
        if after is not None:
            after(images)

    if finish is not np.positive or after is not None:
        for_blocks(rest, convolution.blocks)
    return result


def note(runs: Sequence[Run]) -> tuple[list[str], int]:
    """The texts of the convolutions among these instructions that are compiled, and how many a step has yet to try."""
    texts, left = [], 0
    for run in runs:
        gradient = filter_kernels.key_of(run.definition, run.input_specs, run.output_specs)
        if gradient:
            untried, text = filter_kernels.seen(gradient)
            texts += [text] if text else []
            left += untried
            continue
        key = _key_of(run)
        found = _trials.found.get(key) if key else None
        if found is not None:
            texts.append(found[0].written())
        elif key and key not in _trials.found:
            left += _convolution(*key) is not None
    return texts, left


def candidates(runs: Sequence[Run]) -> int:
    """How many of these instructions are convolutions, or gradients of such, that might be compiled."""
    gradients = [filter_kernels.key_of(run.definition, run.input_specs, run.output_specs) for run in runs]
    return sum(bool(gradient or _key_of(run)) for run, gradient in zip(runs, gradients, strict=True))


def _key_of(run: Run) -> Any:
    """What an instruction is known by here, if it is a convolution of known shapes."""
    definition, specs = run.definition, run.input_specs
    if isinstance(definition, Fused) and is_convolution(definition):
        first = definition.parts[0]
        given = [specs[number] for number in first.inputs]
        return _key(first.definition, given, first.spec, tail_of(definition, specs))
    return _key(definition, specs, run.output_specs[0], None) if run.output_specs else None


def _key(definition: OpDef, specs: Sequence[Spec], output: Spec, tail: Tail | None) -> Any:
    """What an operation is known by; None for one that is no convolution of known shapes."""
    if not isinstance(definition, (Conv2D, Conv2DBackpropInput)):
        return None
    if not all(shapes.is_full(spec.dims) for spec in (*specs, output)):
        return None
    dims = [tuple([dim or 0 for dim in spec.dims or ()]) for spec in (*specs, output)]
    if isinstance(definition, Conv2D):
        return specs[0].dtype.np.name, dims[0], dims[1], *definition.layout.axes(dims[0], dims[1]), tail
    assert isinstance(definition, Conv2DBackpropInput)
    _, filters, given, images = dims
    turned = conv_kernels.as_forward(filters[2], filters[3], *definition.layout.axes(images, filters))
    return turned and (specs[1].dtype.np.name, given, (*filters[:2], filters[3], filters[2]), *turned, None)


def tried(key: Any, plain: Callable[..., Any]) -> tuple[Convolution, Any] | None:
    """What is compiled for such a convolution, if it has the bits of the plain one: tried once, for arrays of that size.

    `plain`: makes of the arrays that are given the arrays that are made.
    """

    def trial() -> tuple[Convolution, Any] | None:
        convolution = _convolution(*key)
        return None if convolution is None else _found(convolution, plain)

    return _trials.tried(key, trial)


def _convolution(
    kind: str, images: tuple[int, ...], filters: tuple[int, ...], rows: Axis, cols: Axis, tail: Tail | None = None
) -> Convolution | None:
    """What could be compiled: windows whose rows are runs of numbers in the images."""
    known, run = tile(), cols.kernel * images[3]
    work = images[0] * rows.out * cols.out * filters[3] * rows.kernel * run
    if known is None or cols.dilation != 1 or not 0 < work <= TRIED:
        return None
    if min(rows.before, rows.after, cols.before, cols.after) < 0:
        return None
    if filters[3] == 1 or images[0] * rows.out * cols.out == 1:  # BLAS has another kernel for a vector
        return None
    short = run < conv_kernels.SHORT
    if short:
        segments = [Segment(0, 0, rows.out, 0, rows.kernel * run)]
    else:
        segments = [
            Segment(number, first, last, start, end)
            for number, first, last in conv_kernels.order_of_rows(rows, 0, rows.out)
            for start, end in pieces(run, DEPTH)
        ]
    if len(segments) > MOST_TERMS or (short and rows.kernel * run > DEPTH):
        return None
    time = nanoseconds(work, known.lanes(kind))
    blocks = int(max(1, min(BLOCKS, time // BLOCK)))
    block = -(-images[0] // (1 << (blocks - 1).bit_length()))  # as many for each of two or four threads
    return Convolution(
        kind, images, filters, rows, cols, tuple(segments), known, False, block, time >= LONG, short, tail
    )  # fmt: skip


def _found(convolution: Convolution, plain: Callable[..., Any]) -> tuple[Convolution, Any] | None:
    """The function, if it gives the bits of the plain kernel: for random numbers, and where sums are -0 or 0."""
    kind, axes = np.dtype(convolution.kind), (convolution.rows, convolution.cols)
    dims = [array.dims for array in convolution.arrays() if not array.written]
    tiny = [np.zeros(each, kind) for each in dims]
    tiny[0][..., -1], tiny[1][..., -1, :] = np.finfo(kind).tiny, -np.finfo(kind).tiny
    if len(tiny) > 2:
        tiny[2][::2] = -0.0
    lost = conv_kernels.forward(tiny[0], tiny[1], *axes)
    convolution = convolution._replace(negative=bool(np.signbit(lost).any()))
    native = compiler().function(convolution.written(), library=convolution.library())
    made = [np.empty(array.dims, kind) for array in convolution.arrays() if array.written]
    for given in (tiny, *draws(dims, kind, made[-1].size)):
        in_threads(native, (*given, *made), made[0], convolution.room_bytes())
        if not all(same_bits(one, other) for one, other in zip(made, plain(*given), strict=True)):
            return None
    return convolution, native
