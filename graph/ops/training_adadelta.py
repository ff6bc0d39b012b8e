"""The updates of Adadelta on variables, whole or some rows, in place."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dtypes import DType
from ..op import Op, op
from ..opdef import Spec, TensorLike
from ..shapes import Dims
from .training import Array, blocks, dense_inputs
from .training_sparse import on_rows, sparse_inputs


@op
class ResourceApplyAdadelta(Op):
    """accum = rho accum + (1 - rho) grad^2, step = sqrt(accum_update + epsilon) / sqrt(accum + epsilon) grad,

    var -= lr step, accum_update = rho accum_update + (1 - rho) step^2.
    """

    dtype: DType
    shape: Dims
    stateful = True
    access = "write"

    def infer(
        self, var: TensorLike, accum: TensorLike, accum_update: TensorLike, lr: TensorLike, rho: TensorLike,
        epsilon: TensorLike, grad: TensorLike,
    ) -> tuple[Spec, ...]:  # fmt: skip
        return dense_inputs(self, (var, accum, accum_update), (lr, rho, epsilon), grad)

    def compute(
        self, state: Any, var: Any, accum: Any, accum_update: Any, lr: Any, rho: Any, epsilon: Any, grad: Any
    ) -> None:
        for value, total, moved, dy in blocks((var, accum, accum_update), grad):
            adadelta_step(value, total, moved, dy, (lr, rho, epsilon))


@op
class ResourceSparseApplyAdadelta(Op):
    """ResourceApplyAdadelta on the rows that the indices name."""

    dtype: DType
    shape: Dims
    stateful = True
    access = "write"

    def infer(
        self, var: TensorLike, accum: TensorLike, accum_update: TensorLike, lr: TensorLike, rho: TensorLike,
        epsilon: TensorLike, grad: TensorLike, indices: TensorLike,
    ) -> tuple[Spec, ...]:  # fmt: skip
        return sparse_inputs(self, (var, accum, accum_update), (lr, rho, epsilon), grad, indices)

    def compute(
        self, state: Any, var: Any, accum: Any, accum_update: Any, lr: Any, rho: Any, epsilon: Any, grad: Any, indices: Any
    ) -> None:  # fmt: skip
        def step(value: Array, total: Array, moved: Array, dy: Array) -> None:
            adadelta_step(value, total, moved, dy, (lr, rho, epsilon))

        on_rows(step, (var, accum, accum_update), indices, grad)


def adadelta_step(value: Array, total: Array, moved: Array, grad: Array, rates: tuple[Any, Any, Any]) -> None:
    """One step of Adadelta on arrays, in place."""
    lr, rho, epsilon = rates
    np.multiply(total, rho, out=total)
    np.add(total, (1 - rho) * (grad * grad), out=total)
    step = np.sqrt(moved + epsilon) / np.sqrt(total + epsilon)
    np.multiply(step, grad, out=step)
    np.subtract(value, lr * step, out=value)
    np.multiply(moved, rho, out=moved)
    np.add(moved, (1 - rho) * (step * step), out=moved)
