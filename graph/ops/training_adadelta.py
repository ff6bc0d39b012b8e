"""The updates of Adadelta on variables, whole or some rows, in place."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dtypes import DType
from ..op import Op, op
from ..opdef import Spec, TensorLike
from ..shapes import Dims
from .rooms import Array
from .training import DenseUpdate, Step, dense_inputs, rest
from .training_sparse import on_rows, sparse_inputs


@op
class ResourceApplyAdadelta(DenseUpdate):
    """accum = rho accum + (1 - rho) grad^2, step = sqrt(accum_update + epsilon) / sqrt(accum + epsilon) grad,

    var -= lr step, accum_update = rho accum_update + (1 - rho) step^2.
    """

    dtype: DType
    shape: Dims
    stateful = True
    access = "write"
    slots = 3

    def infer(
        self, var: TensorLike, accum: TensorLike, accum_update: TensorLike, lr: TensorLike, rho: TensorLike,
        epsilon: TensorLike, grad: TensorLike,
    ) -> tuple[Spec, ...]:  # fmt: skip
        return dense_inputs(self, (var, accum, accum_update), (lr, rho, epsilon), grad)

    def step(self, lr: Any, rho: Any, epsilon: Any, grad: Any) -> Step:
        return adadelta_step(lr, rho, epsilon)


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
        on_rows(adadelta_step(lr, rho, epsilon), (var, accum, accum_update), indices, grad, 2)


def adadelta_step(lr: Any, rho: Any, epsilon: Any) -> Step:
    """A step of Adadelta on the variable, the mean square of gradients and that of steps."""
    left = rest(rho)

    def step(value: Array, total: Array, moved: Array, grad: Array, work: Array, scale: Array) -> None:
        np.multiply(total, rho, total)
        np.multiply(grad, grad, work)
        np.multiply(left, work, work)
        np.add(total, work, total)
        np.add(moved, epsilon, work)
        np.sqrt(work, work)
        np.add(total, epsilon, scale)
        np.sqrt(scale, scale)
        np.divide(work, scale, work)
        np.multiply(work, grad, work)
        np.multiply(lr, work, scale)
        np.subtract(value, scale, value)
        np.multiply(work, work, work)
        np.multiply(left, work, work)
        np.multiply(moved, rho, moved)
        np.add(moved, work, moved)

    return step
