"""Adagrad: steps scaled by the root of the sum of the squared gradients so far."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...graph.ir import Operation, Tensor
from ...graph.ops.training_adaptive import ResourceApplyAdagrad
from ...graph.ops.training_sparse import ResourceSparseApplyAdagrad
from ...graph.shapes import as_dims
from ...graph.variable import Variable
from .optimizer import Optimizer, as_type


class AdagradOptimizer(Optimizer):
    """Adagrad (Duchi, Hazan and Singer); the slot "accumulator" starts at `initial_accumulator_value`.

    Source: `tf.train.AdagradOptimizer`. Raises ValueError for an initial value that is not positive.
    """

    def __init__(
        self, learning_rate: Any, initial_accumulator_value: float = 0.1, use_locking: bool = False, name: str = "Adagrad"
    ) -> None:  # fmt: skip
        if initial_accumulator_value <= 0.0:
            raise ValueError(f"initial_accumulator_value must be positive: {initial_accumulator_value}")
        super().__init__(use_locking, name)
        self._learning_rate = learning_rate
        self._initial_accumulator_value = initial_accumulator_value

    def _create_slots(self, var_list: Sequence[Variable]) -> None:
        for var in var_list:
            self._filled_slot(var, self._initial_accumulator_value, "accumulator", self._name)

    def _prepare(self) -> None:
        self._learning_rate_tensor = self._hyperparameter(self._learning_rate, "learning_rate")

    def _inputs(self, var: Variable) -> list[Tensor]:
        accumulator = self._slots["accumulator"][var.handle].handle
        return [var.handle, accumulator, as_type(self._learning_rate_tensor, var)]

    def _resource_apply_dense(self, grad: Tensor, handle: Variable) -> Operation:
        update = ResourceApplyAdagrad(handle.dtype, as_dims(handle.shape))
        return update.node(*self._inputs(handle), grad)

    def _resource_apply_sparse(self, grad: Tensor, handle: Variable, indices: Tensor) -> Operation:
        update = ResourceSparseApplyAdagrad(handle.dtype, as_dims(handle.shape))
        return update.node(*self._inputs(handle), grad, indices)
