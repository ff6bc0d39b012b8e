"""Momentum: accum = momentum * accum + gradient, var -= learning_rate * accum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...graph.ir import Operation, Tensor
from ...graph.ops.training import ResourceApplyMomentum
from ...graph.ops.training_sparse import ResourceSparseApplyMomentum
from ...graph.shapes import as_dims
from ...graph.variable import Variable
from .optimizer import Optimizer, as_type


class MomentumOptimizer(Optimizer):
    """Gradient descent with momentum; the slot "momentum" holds the accumulated gradient.

    `learning_rate`, `momentum`: numbers, scalar tensors or functions. `use_nesterov`: var -= learning_rate * (gradient +
    momentum * accum). Source: `tf.train.MomentumOptimizer`.
    """

    def __init__(
        self, learning_rate: Any, momentum: Any, use_locking: bool = False, name: str = "Momentum", use_nesterov: bool = False
    ) -> None:  # fmt: skip
        super().__init__(use_locking, name)
        self._learning_rate = learning_rate
        self._momentum = momentum
        self._use_nesterov = use_nesterov

    def _create_slots(self, var_list: Sequence[Variable]) -> None:
        for var in var_list:
            self._zeros_slot(var, "momentum", self._name)

    def _prepare(self) -> None:
        self._learning_rate_tensor = self._hyperparameter(self._learning_rate, "learning_rate")
        self._momentum_tensor = self._hyperparameter(self._momentum, "momentum")

    def _rates(self, var: Variable) -> tuple[Tensor, Tensor]:
        return as_type(self._learning_rate_tensor, var), as_type(self._momentum_tensor, var)

    def _accumulator(self, var: Variable) -> Tensor:
        return self._slots["momentum"][var.handle].handle

    def _resource_apply_dense(self, grad: Tensor, handle: Variable) -> Operation:
        rate, momentum = self._rates(handle)
        update = ResourceApplyMomentum(handle.dtype, as_dims(handle.shape), self._use_nesterov)
        return update.node(handle.handle, self._accumulator(handle), rate, grad, momentum)

    def _resource_apply_sparse(self, grad: Tensor, handle: Variable, indices: Tensor) -> Operation:
        rate, momentum = self._rates(handle)
        update = ResourceSparseApplyMomentum(handle.dtype, as_dims(handle.shape), self._use_nesterov)
        return update.node(handle.handle, self._accumulator(handle), rate, grad, indices, momentum)
