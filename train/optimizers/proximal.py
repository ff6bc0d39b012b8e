"""Proximal gradient descent and proximal Adagrad: a gradient step, then the nearest point that l1 and l2 allow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...graph.ir import Operation, Tensor
from ...graph.ops import training_proximal as proximal
from ...graph.shapes import as_dims
from ...graph.variable import Variable
from .optimizer import Optimizer, as_type


class _Proximal(Optimizer):
    """What both have: the three hyperparameters, which are numbers, scalar tensors or functions."""

    def __init__(self, learning_rate: Any, l1: Any, l2: Any, use_locking: bool, name: str) -> None:
        super().__init__(use_locking, name)
        self._learning_rate = learning_rate
        self._l1_regularization_strength = l1
        self._l2_regularization_strength = l2

    def _prepare(self) -> None:
        self._rates = [
            self._hyperparameter(self._learning_rate, "learning_rate"),
            self._hyperparameter(self._l1_regularization_strength, "l1_regularization_strength"),
            self._hyperparameter(self._l2_regularization_strength, "l2_regularization_strength"),
        ]

    def _scalars(self, var: Variable) -> list[Tensor]:
        return [as_type(rate, var) for rate in self._rates]


class ProximalGradientDescentOptimizer(_Proximal):
    """Gradient descent (Duchi and Singer) whose l1 draws elements to exactly zero and whose l2 shrinks them.

    Source: `tf.train.ProximalGradientDescentOptimizer`.
    """

    def __init__(
        self, learning_rate: Any, l1_regularization_strength: Any = 0.0, l2_regularization_strength: Any = 0.0,
        use_locking: bool = False, name: str = "ProximalGradientDescent",
    ) -> None:  # fmt: skip
        super().__init__(learning_rate, l1_regularization_strength, l2_regularization_strength, use_locking, name)

    def _resource_apply_dense(self, grad: Tensor, handle: Variable) -> Operation:
        update = proximal.ResourceApplyProximalGradientDescent(handle.dtype, as_dims(handle.shape))
        return update.node(handle.handle, *self._scalars(handle), grad)

    def _resource_apply_sparse(self, grad: Tensor, handle: Variable, indices: Tensor) -> Operation:
        update = proximal.ResourceSparseApplyProximalGradientDescent(handle.dtype, as_dims(handle.shape))
        return update.node(handle.handle, *self._scalars(handle), grad, indices)


class ProximalAdagradOptimizer(_Proximal):
    """Adagrad with the same; the slot "accumulator" starts at `initial_accumulator_value`.

    The learning rate must be above zero at every step. Source: `tf.train.ProximalAdagradOptimizer`. Raises ValueError for
    an initial value that is not positive.
    """

    def __init__(
        self, learning_rate: Any, initial_accumulator_value: float = 0.1, l1_regularization_strength: Any = 0.0,
        l2_regularization_strength: Any = 0.0, use_locking: bool = False, name: str = "ProximalAdagrad",
    ) -> None:  # fmt: skip
        if initial_accumulator_value <= 0.0:
            raise ValueError(f"initial_accumulator_value must be positive: {initial_accumulator_value}")
        super().__init__(learning_rate, l1_regularization_strength, l2_regularization_strength, use_locking, name)
        self._initial_accumulator_value = initial_accumulator_value

    def _create_slots(self, var_list: Sequence[Variable]) -> None:
        for var in var_list:
            self._filled_slot(var, self._initial_accumulator_value, "accumulator", self._name)

    def _inputs(self, var: Variable) -> list[Tensor]:
        return [var.handle, self._slots["accumulator"][var.handle].handle, *self._scalars(var)]

    def _resource_apply_dense(self, grad: Tensor, handle: Variable) -> Operation:
        update = proximal.ResourceApplyProximalAdagrad(handle.dtype, as_dims(handle.shape))
        return update.node(*self._inputs(handle), grad)

    def _resource_apply_sparse(self, grad: Tensor, handle: Variable, indices: Tensor) -> Operation:
        update = proximal.ResourceSparseApplyProximalAdagrad(handle.dtype, as_dims(handle.shape))
        return update.node(*self._inputs(handle), grad, indices)
