"""The kernel of a region that begins with a convolution: each block of images goes through all of it while in the cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...graph.opdef import Spec
from ...graph.ops import conv_kernels
from ...graph.ops.activations import BiasAdd
from ...graph.ops.arithmetic import AddV2
from ...graph.ops.conv import Conv2D
from ...graph.ops.pooling import MaxPool
from ..execution.failures import StepFailure
from ..kernels import Backend, Kernel
from ..stages.fused import Fused, Part

#: A step of a region, for some images: what there is before pooling, and after it.
Step = Callable[[Any, Any], object]


def is_convolution(definition: Fused) -> bool:
    """Whether a region is one of these: others are elementwise throughout."""
    return isinstance(definition.parts[0].definition, Conv2D)


def convolved(
    backend: Backend, definition: Fused, inputs: tuple[Spec, ...], forward: Callable[..., Any] = conv_kernels.forward
) -> Kernel:
    """The kernel of such a region. Raises ValueError for operations that do not follow each other as they should.

    `forward`: what does as `conv_kernels.forward` does.
    """
    return Kernel(_Region(backend, definition, len(inputs), forward).run, takes_out=True)


class _Region:
    """The parts of a region, as steps: the convolution, a bias, what works in place, pooling, what works in place."""

    def __init__(self, backend: Backend, definition: Fused, inputs: int, forward: Callable[..., Any]) -> None:
        self.forward = forward
        self.parts = definition.parts
        self.x, self.w = self.parts[0].inputs
        #: The part that adds a bias, and which of the inputs that is.
        self.bias: tuple[Part, int] | None = None
        self.steps: list[tuple[str, Step]] = []
        self.whole = self.parts[0].spec
        self.pooled: Spec | None = None
        for at, part in enumerate(self.parts[1:], 1):
            others = [number for number in part.inputs if number != inputs + at - 1]
            if len(others) == len(part.inputs) or len(others) > (at == 1) or max(others, default=-1) >= inputs:
                raise ValueError(f"{part.name} does not take what comes before it alone")
            if others:
                if not isinstance(part.definition, (AddV2, BiasAdd)):
                    raise ValueError(f"{part.name} adds no bias")
                self.bias = part, others[0]
            else:
                self.steps.append((part.name, self._step(backend, part)))
        pools = [at for at, part in enumerate(self.parts) if isinstance(part.definition, MaxPool)]
        last = len(self.parts) - 1
        if not {*definition.results} <= {last, *(at - 1 for at in pools)}:
            raise ValueError(f"{self.parts[0].name}: a value on the way is no result")
        #: Whether each result is what there is after pooling.
        self.after = [bool(pools) and result == last for result in definition.results]

    def _step(self, backend: Backend, part: Part) -> Step:
        definition = part.definition
        if isinstance(definition, MaxPool):
            if self.pooled is not None:
                raise ValueError(f"{part.name} is a second pooling")
            self.pooled = part.spec
            return definition.into(*definition.axes(self.whole.dims), part.spec.dtype.np)
        kernel = backend.kernel(definition, (part.spec,), (part.spec,))
        if kernel is None or not (kernel.elementwise and kernel.exact and kernel.takes_out):
            raise ValueError(f"{part.name} does not work in place")
        function = kernel.function
        if self.pooled is None:
            return lambda images, pooled: function(images, out=images)
        return lambda images, pooled: function(pooled, out=pooled)

    def run(self, *values: Any, out: Any = None) -> Any:
        """All results. An error names the operation that it comes from."""
        given = out if isinstance(out, tuple) else (out,) * len(self.after)
        whole = self._memory(self.whole, given, False)
        pooled = None if self.pooled is None else self._memory(self.pooled, given, True)

        def after(images: slice) -> None:
            some, left = whole[images], None if pooled is None else pooled[images]
            for name, step in self.steps:
                try:
                    step(some, left)
                except Exception as error:
                    raise StepFailure(name, error) from error

        try:
            self._convolve(values, whole, after)
        except StepFailure:
            raise
        except Exception as error:
            raise StepFailure(self.parts[0].name, error) from error
        results = [pooled if later else whole for later in self.after]
        return tuple(results) if len(results) > 1 else results[0]

    def _convolve(self, values: tuple[Any, ...], whole: Any, after: Callable[[slice], None]) -> None:
        definition = self.parts[0].definition
        assert isinstance(definition, Conv2D)
        x, w = values[self.x], values[self.w]
        axes = definition.layout.axes(x.shape, w.shape)
        if self.bias is None:
            self.forward(x, w, *axes, whole, after=after)
            return
        part, number = self.bias
        bias = values[number]

        def finish(made: Any, place: Any) -> None:
            try:
                np.add(made, bias, place)
            except Exception as error:
                raise StepFailure(part.name, error) from error

        self.forward(x, w, *axes, whole, finish, after if self.steps else None)

    def _memory(self, spec: Spec, given: tuple[Any, ...], later: bool) -> Any:
        """Where the values before or after pooling go."""
        found = [array for array, place in zip(given, self.after, strict=True) if place == later and array is not None]
        return found[0] if found else np.empty(tuple(dim or 0 for dim in spec.dims or ()), spec.dtype.np)
