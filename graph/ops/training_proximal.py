"""The updates of proximal gradient descent and proximal Adagrad on variables, whole or some rows, in place."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import errors
from ..dtypes import DType
from ..op import Op, op
from ..opdef import Spec, TensorLike
from ..shapes import Dims
from .rooms import Array
from .training import dense_inputs, on_blocks
from .training_sparse import on_rows, sparse_inputs


@op
class ResourceApplyProximalGradientDescent(Op):
    """var = nearest(var - alpha delta), which is drawn towards 0 by alpha l1 and divided by 1 + alpha l2."""

    dtype: DType
    shape: Dims
    stateful = True
    access = "write"

    def infer(
        self, var: TensorLike, alpha: TensorLike, l1: TensorLike, l2: TensorLike, delta: TensorLike
    ) -> tuple[Spec, ...]:
        return dense_inputs(self, (var,), (alpha, l1, l2), delta)

    def compute(self, state: Any, var: Any, alpha: Any, l1: Any, l2: Any, delta: Any) -> None:
        on_blocks(lambda value, dy: proximal_step(value, dy, alpha, l1, l2), (var,), delta)


@op
class ResourceSparseApplyProximalGradientDescent(Op):
    """ResourceApplyProximalGradientDescent on the rows that the indices name."""

    dtype: DType
    shape: Dims
    stateful = True
    access = "write"

    def infer(
        self, var: TensorLike, alpha: TensorLike, l1: TensorLike, l2: TensorLike, grad: TensorLike, indices: TensorLike
    ) -> tuple[Spec, ...]:
        return sparse_inputs(self, (var,), (alpha, l1, l2), grad, indices)

    def compute(self, state: Any, var: Any, alpha: Any, l1: Any, l2: Any, grad: Any, indices: Any) -> None:
        on_rows(lambda value, dy: proximal_step(value, dy, alpha, l1, l2), (var,), indices, grad)


@op
class ResourceApplyProximalAdagrad(Op):
    """accum += grad^2, then proximal gradient descent at the rate lr / sqrt(accum).

    Raises InvalidArgumentError for lr <= 0 or l1 < 0.
    """

    dtype: DType
    shape: Dims
    stateful = True
    access = "write"

    def infer(
        self, var: TensorLike, accum: TensorLike, lr: TensorLike, l1: TensorLike, l2: TensorLike, grad: TensorLike
    ) -> tuple[Spec, ...]:
        return dense_inputs(self, (var, accum), (lr, l1, l2), grad)

    def compute(self, state: Any, var: Any, accum: Any, lr: Any, l1: Any, l2: Any, grad: Any) -> None:
        check_rates(lr, l1, l2)
        on_blocks(lambda value, total, dy: proximal_adagrad_step(value, total, dy, lr, l1, l2), (var, accum), grad)


@op
class ResourceSparseApplyProximalAdagrad(Op):
    """ResourceApplyProximalAdagrad on the rows that the indices name."""

    dtype: DType
    shape: Dims
    stateful = True
    access = "write"

    def infer(
        self, var: TensorLike, accum: TensorLike, lr: TensorLike, l1: TensorLike, l2: TensorLike, grad: TensorLike,
        indices: TensorLike,
    ) -> tuple[Spec, ...]:  # fmt: skip
        return sparse_inputs(self, (var, accum), (lr, l1, l2), grad, indices)

    def compute(self, state: Any, var: Any, accum: Any, lr: Any, l1: Any, l2: Any, grad: Any, indices: Any) -> None:
        check_rates(lr, l1, l2)

        def step(value: Array, total: Array, dy: Array) -> None:
            proximal_adagrad_step(value, total, dy, lr, l1, l2)

        on_rows(step, (var, accum), indices, grad)


def check_rates(lr: Any, l1: Any, l2: Any) -> None:
    """Raises InvalidArgumentError for a learning rate that is not positive or a regularization strength below zero."""
    if not lr > 0:
        raise errors.InvalidArgumentError(None, None, f"lr is not a positive scalar: {lr}")
    for name, strength in (("l1", l1), ("l2", l2)):
        if not strength >= 0:
            raise errors.InvalidArgumentError(
                None, None, f"{name} regularization strength is not a non-negative scalar: {strength}"
            )


def thresholded(x: Array, by: Any) -> Array:
    """`x` drawn towards 0 by as much, elementwise; what is nearer becomes 0."""
    size = np.abs(x)
    np.subtract(size, by, out=size)
    np.maximum(size, 0, out=size)
    return np.multiply(np.sign(x), size, out=size)


def proximal_step(value: Array, grad: Array, rate: Any, l1: Any, l2: Any) -> None:
    """One step of proximal gradient descent on arrays, in place; the rate may be one an element."""
    np.subtract(value, rate * grad, out=value)
    nearest = thresholded(value, rate * l1) if l1 > 0 else value
    np.divide(nearest, 1 + rate * l2, out=value)


def proximal_adagrad_step(value: Array, total: Array, grad: Array, lr: Any, l1: Any, l2: Any) -> None:
    """One step of proximal Adagrad on arrays, in place."""
    np.add(total, grad * grad, out=total)
    proximal_step(value, grad, lr / np.sqrt(total), l1, l2)
