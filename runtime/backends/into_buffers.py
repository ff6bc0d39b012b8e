"""Kernels of the CPU backend that write into their buffer what their definitions compute in arrays of their own."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...graph.opdef import Spec
from ...graph.ops.array import ConcatV2
from ...graph.ops.convert import Pack
from ...graph.ops.special import Sigmoid
from ...graph.shapes import normal_axis
from ..kernels import Kernel


def concat(definition: ConcatV2, inputs: tuple[Spec, ...], outputs: tuple[Spec, ...]) -> Kernel:
    """Copied into the buffer, however the inputs lie in memory."""
    axis = definition.axis

    def run(*values: Any, out: Any = None) -> Any:
        if out is None:  # else the order in memory of the inputs, where they agree
            return np.asarray(np.concatenate(values, axis), order="C")
        return np.concatenate(values, axis, out)

    return Kernel(run, takes_out=True, strided=True)


def pack(definition: Pack, inputs: tuple[Spec, ...], outputs: tuple[Spec, ...]) -> Kernel:
    """Each copied into its place in the buffer, however it lies in memory."""
    if outputs[0].dims is None:
        return Kernel(lambda *values: np.asarray(definition.compute(*values), order="C"), strided=True)
    lead = (slice(None),) * normal_axis(definition.axis, len(outputs[0].dims))

    def run(*values: Any, out: Any = None) -> Any:
        if out is None:
            return np.asarray(definition.compute(*values), order="C")
        for index, value in enumerate(values):
            out[(*lead, index)] = value
        return out

    return Kernel(run, takes_out=True, strided=True)


def sigmoid(definition: Sigmoid, inputs: tuple[Spec, ...], outputs: tuple[Spec, ...]) -> Kernel:
    """All steps in the buffer. The first, which is exact, takes the input as it lies; then the buffer is row-major."""
    dtype = outputs[0].dtype
    if dtype.is_complex or dtype.size == 2:
        return Kernel(definition.compute, elementwise=True)
    one = np.ones((), dtype.np)

    def run(x: Any, out: Any = None) -> Any:
        if out is None:
            return np.asarray(definition.compute(x), order="C")
        # A step runs without warnings, so overflow needs no `np.errstate`, which takes as long as one of these.
        np.negative(x, out)
        np.exp(out, out)
        np.add(out, one, out)
        return np.reciprocal(out, out)

    return Kernel(run, takes_out=True, elementwise=True, strided=True, may_replace=((0,),))
