"""The gradient of maximum pooling as machine code, where windows do not overlap: one pass over the images.

It compares and chooses, so its bits are those of any other way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ....graph import shapes
from ....graph.opdef import OpDef, Spec
from ....graph.ops.pooling import MaxPoolGrad
from ....graph.ops.windows import Axis
from ....graph.parallel import threads
from ...kernels import Kernel
from ...memory.workspace import Workspace
from ...stages.plan import Run
from .compiling import compiler
from .frame import Array, begun, closing, opening, working
from .micro import tile
from .pool import in_threads, pool_library
from .tails import for_channels, for_windows, is_whole
from .text import TYPES, Text, in_memory

#: With fewer channels than this vectors are mostly empty.
LEAST_CHANNELS = 8
#: Fewer numbers are done before other threads could begin; a block has at least so many.
LEAST = 1 << 15


class PoolGradient(NamedTuple):
    """What is to be written: images [N, H, W, C], their maxima, and gradients of these to gradients of the images.

    `block`: how many images are worked on at a time. `lanes`: how many numbers a vector has.
    """

    kind: str
    images: tuple[int, ...]
    rows: Axis
    cols: Axis
    lanes: int
    block: int

    @property
    def blocks(self) -> int:
        """How many blocks of images there are."""
        return -(-self.images[0] // self.block)

    def arrays(self) -> list[Array]:
        """What the function is given: images, maxima, gradients, and where the result goes."""
        pooled = (self.images[0], self.rows.out, self.cols.out, self.images[3])
        return [
            Array(self.kind, self.images, False),
            Array(self.kind, pooled, False),
            Array(self.kind, pooled, False),
            Array(self.kind, self.images, True),
        ]

    def written(self) -> str:
        """The text."""
        return _Writing(self).written()


class _Writing:
    """The function as it is written: its arguments are the arrays, and how many threads help."""

    def __init__(self, pool: PoolGradient) -> None:
        self.pool, self.text = pool, Text()

    def written(self) -> str:
        text, pool = self.text, self.pool
        data = opening(text, pool.arrays())
        working(text, data, (), pool.blocks, release=True)
        closing(text, 3)
        x, y, dy, dx = begun(text, len(data))
        text.loop(*text.share("%block", pool.block, pool.images[0]), 1, lambda image: self._image(image, x, y, dy, dx))
        text.end()
        return text.whole()

    def _image(self, image: str, x: str, y: str, dy: str, dx: str) -> None:
        """All windows of an image."""
        text, pool = self.text, self.pool
        _, height, width, channels = pool.images
        size, pooled = height * width * channels, pool.rows.out * pool.cols.out * channels
        source, target = self._at(x, image, size), self._at(dx, image, size)
        maxima, given = self._at(y, image, pooled), self._at(dy, image, pooled)
        if not is_whole((pool.rows, pool.cols)):
            text.fill(target, size * TYPES[pool.kind][2])

        def window(places: Sequence[int], corner: str, number: str) -> None:
            starts = (
                self._at(source, corner),
                self._at(target, corner),
                self._at(maxima, number),
                self._at(given, number),
            )
            for_channels(text, channels, pool.lanes, lambda at, mask: self._window(places, *starts, at, mask))

        for_windows(text, (pool.rows, pool.cols), channels, window)

    def _window(
        self, places: Sequence[int], source: str, target: str, maxima: str, given: str, at: str, mask: str
    ) -> None:
        """Some channels of a window: the first place that is the maximum gets the gradient, all others 0."""
        text, pool = self.text, self.pool
        kind, lanes = pool.kind, pool.lanes
        vector, truths, all_ = in_memory(kind, lanes), f"<{lanes} x i1>", f"<{', '.join(['i1 true'] * lanes)}>"
        maximum, gradient = (text.load(self._at(start, at), kind, lanes, mask) for start in (maxima, given))
        free = all_
        for number, place in enumerate(places):
            offset = text.let(f"add i64 {at}, {place}")
            value = text.load(self._at(source, offset), kind, lanes, mask)
            here = text.let(f"fcmp oeq {vector} {value}, {maximum}")
            taken = text.let(f"and {truths} {here}, {free}")
            kept = text.let(f"select {truths} {taken}, {vector} {gradient}, {vector} zeroinitializer")
            text.store(kept, self._at(target, offset), kind, lanes, mask)
            if number + 1 < len(places):
                free = text.let(f"and {truths} {free}, {text.let(f'xor {truths} {here}, {all_}')}")

    def _at(self, start: str, index: str, size: int = 1) -> str:
        """Where the element of an index lies, or what begins there, each of some size."""
        return self.text.at(start, index, self.pool.kind, size)


def gradient_of(definition: OpDef, inputs: tuple[Spec, ...], block: int | None = None) -> PoolGradient | None:
    """What can be compiled for an operation. `block`: of how many images, else as is best for the threads there are."""
    known = tile()
    if not isinstance(definition, MaxPoolGrad) or known is None:
        return None
    kinds = {spec.dtype.np.name for spec in inputs}
    if not kinds <= {"float32", "float64"} or len(kinds) > 1 or not all(shapes.is_full(spec.dims) for spec in inputs):
        return None
    dims = tuple([dim or 0 for dim in inputs[0].dims or ()])
    size = int(np.prod(dims, dtype=np.int64))
    if size < LEAST or dims[3] < LEAST_CHANNELS:
        return None
    rows, cols = definition.axes(dims)
    if any(axis.stride < axis.kernel or axis.out < 1 for axis in (rows, cols)):
        return None
    blocks = max(1, min(dims[0], threads(), size // LEAST))
    (kind,) = kinds
    return PoolGradient(kind, dims, rows, cols, known.lanes(kind), block or -(-dims[0] // blocks))


def pooling_kernel(definition: OpDef, inputs: tuple[Spec, ...]) -> Kernel | None:
    """The kernel of the gradient of maximum pooling, if it can be compiled."""
    pool = gradient_of(definition, inputs)
    if pool is None or not isinstance(definition, MaxPoolGrad):
        return None
    plain, known = definition.compute, pool

    def in_frame(workspace: Workspace) -> Callable[..., Any]:
        return _function(known, plain)

    def alone(*arrays: Any, out: Any = None) -> Any:
        return _function(known, plain)(*arrays, out=out)

    return Kernel(alone, takes_out=True, in_frame=in_frame)


def _function(pool: PoolGradient, plain: Callable[..., Any]) -> Callable[..., Any]:
    """The function of the inputs and `out`. `plain`: takes what the compiled one does not."""
    native, kind = compiler().function(pool.written(), library=pool_library()), np.dtype(pool.kind)

    def run(x: Any, y: Any, dy: Any, out: Any = None) -> Any:
        result = np.empty(pool.images, kind) if out is None else out
        return result if in_threads(native, (x, y, dy, result), result) else plain(x, y, dy, result)

    return run


def note(runs: Sequence[Run]) -> list[str]:
    """The texts of the gradients among these instructions that are compiled."""
    found = [gradient_of(run.definition, run.input_specs) for run in runs]
    return [pool.written() for pool in found if pool is not None]
