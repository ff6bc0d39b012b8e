"""Regions of a convolution and what follows it as one compiled function, where that gives the CPU backend's bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ....graph import shapes
from ....graph.opdef import Spec
from ....graph.ops.conv import Conv2D
from ....graph.ops.pooling import MaxPool
from ...kernels import Kernel
from ...memory.workspace import Workspace
from ...stages.fused import Fused
from ..convolutions import convolved
from ..cpu import CPU
from . import convolution_kernels
from .micro import tile
from .pool import in_threads
from .region_tails import tail_of


def region_kernel(definition: Fused, inputs: tuple[Spec, ...]) -> Kernel:
    """The kernel of a region that begins with a convolution."""
    plain = convolved(CPU, definition, inputs, convolution_kernels.forward)
    first, tail = definition.parts[0], tail_of(definition, inputs)
    kinds = {spec.dtype.np.name for spec in inputs}
    given = [inputs[number] for number in first.inputs]
    if tail is None or tile() is None or len(kinds) > 1 or not kinds <= {"float32", "float64"}:
        return plain
    if not all(shapes.is_full(spec.dims) for spec in given) or not isinstance(first.definition, Conv2D):
        return plain
    images, filters = (tuple([dim or 0 for dim in spec.dims or ()]) for spec in given)
    key = (*kinds, images, filters, *first.definition.layout.axes(images, filters), tail)
    region = _Region(definition, inputs, key, plain)
    return Kernel(region.run, takes_out=True, in_frame=region.in_frame)


class _Region:
    """A region and what is compiled for it, once a step has run."""

    def __init__(self, definition: Fused, inputs: tuple[Spec, ...], key: Any, plain: Kernel) -> None:
        self.definition, self.inputs, self.key, self.plain = definition, inputs, key, plain.function
        first, last, tail = definition.parts[0], len(definition.parts) - 1, key[-1]
        #: Which of the inputs are images, filters, and a bias.
        self.given = [*first.inputs]
        if tail.bias:
            self.given += [number for number in definition.parts[1].inputs if number < len(inputs)]
        pools = [at for at, part in enumerate(definition.parts) if isinstance(part.definition, MaxPool)]
        #: The parts whose values are made: the last one before pooling, and the last one.
        self.made = [*(at - 1 for at in pools), last]
        #: Which of these each result is.
        self.results = [self.made.index(result) for result in definition.results]

    def in_frame(self, workspace: Workspace) -> Callable[..., Any]:
        """What runs, tried now, and not when it is first called."""
        convolution_kernels.tried(self.key, self._wanted)
        return self.run

    def run(self, *values: Any, out: Any = None) -> Any:
        """All results."""
        found = convolution_kernels.tried(self.key, self._wanted)
        if found is None:
            return self.plain(*values, out=out)
        convolution, native = found
        given = dict(zip(self.results, out if isinstance(out, tuple) else (out,) * len(self.results), strict=True))
        made = [self._memory(number, given.get(number)) for number in range(len(self.made))]
        arrays = [*(values[number] for number in self.given), *made]
        if not in_threads(native, arrays, made[0], convolution.room_bytes()):  # they do not lie as it takes them
            return self.plain(*values, out=out)
        results = [made[number] for number in self.results]
        return tuple(results) if len(results) > 1 else results[0]

    def _memory(self, number: int, given: Any) -> Any:
        """Where one of the values that are made goes."""
        if given is not None:
            return given
        spec = self.definition.parts[self.made[number]].spec
        return np.empty(tuple([dim or 0 for dim in spec.dims or ()]), spec.dtype.np)

    def _wanted(self, *arrays: Any) -> list[Any]:
        """What the CPU backend makes of images, filters, and a bias."""
        definition = Fused(self.definition.parts, tuple(self.made), self.definition.flat)
        values = dict(zip(self.given, arrays, strict=True))
        found = convolved(CPU, definition, self.inputs).function(
            *(values[number] for number in range(len(self.inputs)))
        )
        return list(found) if len(self.made) > 1 else [found]
