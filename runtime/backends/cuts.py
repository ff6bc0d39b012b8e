"""Kernels of cuts: where the sizes of the pieces are known, so are their places, and a piece is a view in one step."""

from __future__ import annotations

from itertools import accumulate

from ...graph import shapes
from ...graph.opdef import Spec
from ...graph.ops.array import Split, SplitV
from ..kernels import Kernel


def cut(definition: Split | SplitV, inputs: tuple[Spec, ...], outputs: tuple[Spec, ...]) -> Kernel:
    """The views of a matrix' or another array's pieces."""
    dims, kernel = inputs[0].dims, Kernel(definition.compute)
    if dims is None or not all(shapes.is_full(spec.dims) for spec in (inputs[0], *outputs)):
        return kernel
    axis = definition.axis % len(dims)
    sizes = [(spec.dims or ())[axis] or 0 for spec in outputs]
    if sum(sizes) != dims[axis]:
        return kernel  # which says so
    ends = list(accumulate(sizes))
    before = (slice(None),) * axis
    places = [(*before, slice(end - size, end)) for size, end in zip(sizes, ends, strict=True)]
    if len(places) == 1:
        return Kernel(lambda value, *_: value[places[0]])
    return Kernel(lambda value, *_: tuple([value[place] for place in places]))
