"""The updates of Adagrad by dual averaging on variables, whole or some rows, in place."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import shapes
from ..dtypes import DType, int64
from ..op import Op, op
from ..opdef import Spec, TensorLike
from ..shapes import Dims
from .rooms import Array
from .training import dense_inputs, on_blocks
from .training_proximal import thresholded
from .training_sparse import on_rows, sparse_inputs


@op
class ResourceApplyAdagradDA(Op):
    """total += grad, squares += grad^2, var = -lr shrunk(total) / (l2 global_step lr + sqrt(squares)).

    shrunk(total) is total drawn towards 0 by l1 global_step.
    """

    dtype: DType
    shape: Dims
    stateful = True
    access = "write"

    def infer(
        self, var: TensorLike, gradient_accumulator: TensorLike, gradient_squared_accumulator: TensorLike,
        grad: TensorLike, lr: TensorLike, l1: TensorLike, l2: TensorLike, global_step: TensorLike,
    ) -> tuple[Spec, ...]:  # fmt: skip
        _check_step(global_step)
        slots = (var, gradient_accumulator, gradient_squared_accumulator)
        return dense_inputs(self, slots, (lr, l1, l2), grad)

    def compute(
        self, state: Any, var: Any, gradient_accumulator: Any, gradient_squared_accumulator: Any, grad: Any, lr: Any,
        l1: Any, l2: Any, global_step: Any,
    ) -> None:  # fmt: skip
        rates = (lr, l1, l2, np.asarray(global_step, self.dtype.np))
        slots = (var, gradient_accumulator, gradient_squared_accumulator)
        on_blocks(lambda value, total, squares, dy: adagrad_da_step(value, total, squares, dy, rates), slots, grad)


@op
class ResourceSparseApplyAdagradDA(Op):
    """ResourceApplyAdagradDA on the rows that the indices name."""

    dtype: DType
    shape: Dims
    stateful = True
    access = "write"

    def infer(
        self, var: TensorLike, gradient_accumulator: TensorLike, gradient_squared_accumulator: TensorLike,
        grad: TensorLike, indices: TensorLike, lr: TensorLike, l1: TensorLike, l2: TensorLike, global_step: TensorLike,
    ) -> tuple[Spec, ...]:  # fmt: skip
        _check_step(global_step)
        slots = (var, gradient_accumulator, gradient_squared_accumulator)
        return sparse_inputs(self, slots, (lr, l1, l2), grad, indices)

    def compute(
        self, state: Any, var: Any, gradient_accumulator: Any, gradient_squared_accumulator: Any, grad: Any, indices: Any,
        lr: Any, l1: Any, l2: Any, global_step: Any,
    ) -> None:  # fmt: skip
        rates = (lr, l1, l2, np.asarray(global_step, self.dtype.np))

        def step(value: Array, total: Array, squares: Array, dy: Array) -> None:
            adagrad_da_step(value, total, squares, dy, rates)

        on_rows(step, (var, gradient_accumulator, gradient_squared_accumulator), indices, grad)


def _check_step(global_step: TensorLike) -> None:
    """Raises TypeError, ValueError for what is no int64 scalar."""
    if global_step.dtype is not int64:
        raise TypeError(f"global_step must be int64, got {global_step.dtype.name}")
    if not shapes.compatible(global_step.dims, ()):
        raise ValueError(f"global_step is a scalar, got shape {shapes.text(global_step.dims)}")


def adagrad_da_step(value: Array, total: Array, squares: Array, grad: Array, rates: tuple[Any, Any, Any, Any]) -> None:
    """One step of AdagradDA on arrays, in place."""
    lr, l1, l2, steps = rates
    np.add(total, grad, out=total)
    np.add(squares, grad * grad, out=squares)
    shrunk = thresholded(total, l1 * steps) if l1 > 0 else total
    np.divide(shrunk * -lr, l2 * steps * lr + np.sqrt(squares), out=value)
