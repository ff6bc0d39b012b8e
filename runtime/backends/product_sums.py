"""Kernels of sums of products: memory that is used again, and for the rows that come each time the backend's own product."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from ...graph import shapes
from ...graph.opdef import Spec
from ...graph.ops.linalg import MatMul
from ...graph.ops.product_sums import ProductSumAdd, ProductSumTotal, multiply
from ...graph.product_sum import capacity
from ..kernels import Backend, Kernel
from ..memory.recycling import RECYCLER, SMALLEST
from ..memory.workspace import Workspace

Run = Callable[..., Any]


def adding(backend: Backend, definition: ProductSumAdd, inputs: tuple[Spec, ...]) -> Kernel:
    """The kernel of a ProductSumAdd."""
    product = _product(backend, definition, inputs)
    if product is None:
        return Kernel(_adds(definition, multiply), strided=True)
    rows, kernel = product

    def in_frame(workspace: Workspace) -> Run:
        whole = kernel.function if kernel.in_frame is None else kernel.in_frame(workspace)

        def multiplied(left: Any, right: Any, out: Any) -> Any:
            if len(left) == rows and left.flags.c_contiguous and right.flags.c_contiguous:
                return whole(left, right, out=out)
            return multiply(left, right, out)

        return _adds(definition, multiplied)

    return Kernel(_adds(definition, multiply), strided=True, in_frame=in_frame)


def _product(backend: Backend, definition: ProductSumAdd, inputs: tuple[Spec, ...]) -> tuple[int, Kernel] | None:
    """How many rows are multiplied at once each time, as far as that is known, and the kernel that does so."""
    a, dims = inputs[1].dims, definition.shape
    count = None if a is None else a[not definition.transpose_a]
    if count is None or dims is None or not shapes.is_full(dims):
        return None
    rows = capacity(count) or count
    specs = tuple([Spec(definition.dtype, (rows, side)) for side in dims])
    kernel = backend.kernel(MatMul(True, False), specs, (Spec(definition.dtype, dims),))
    return None if kernel is None or not kernel.takes_out else (rows, kernel)


def _adds(definition: ProductSumAdd, product: Callable[[Any, Any, Any], Any]) -> Run:
    factors = definition.factors

    def run(held: Any, a: Any, b: Any) -> Any:
        return held.add(*factors(a, b), product, _new)

    return run


def _new(dims: tuple[int, ...], kind: Any) -> Any:
    nbytes = prod(dims) * kind.itemsize
    return np.empty(dims, kind) if nbytes < SMALLEST else RECYCLER.array(kind, dims, nbytes)


def totalling(definition: ProductSumTotal) -> Kernel:
    """The kernel of a ProductSumTotal."""
    return Kernel(definition.compute, takes_out=True)
