"""Adadelta: steps in the units of the variable, from running means of the squared gradients and of the squared steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...graph.ir import Operation, Tensor
from ...graph.ops.training_adadelta import ResourceApplyAdadelta, ResourceSparseApplyAdadelta
from ...graph.shapes import as_dims
from ...graph.variable import Variable
from .optimizer import Optimizer, as_type


class AdadeltaOptimizer(Optimizer):
    """Adadelta (Zeiler); slots "accum" (squared gradients) and "accum_update" (squared steps), both from zero.

    The hyperparameters are numbers, scalar tensors or functions. Source: `tf.train.AdadeltaOptimizer`.
    """

    def __init__(
        self, learning_rate: Any = 0.001, rho: Any = 0.95, epsilon: Any = 1e-08, use_locking: bool = False,
        name: str = "Adadelta",
    ) -> None:  # fmt: skip
        super().__init__(use_locking, name)
        self._lr = learning_rate
        self._rho = rho
        self._epsilon = epsilon

    def _create_slots(self, var_list: Sequence[Variable]) -> None:
        for var in var_list:
            self._zeros_slot(var, "accum", self._name)
            self._zeros_slot(var, "accum_update", self._name)

    def _prepare(self) -> None:
        self._rates = [
            self._hyperparameter(self._lr, "lr"),
            self._hyperparameter(self._rho, "rho"),
            self._hyperparameter(self._epsilon, "epsilon"),
        ]

    def _inputs(self, var: Variable) -> list[Tensor]:
        slots = [self._slots[name][var.handle].handle for name in ("accum", "accum_update")]
        return [var.handle, *slots, *(as_type(rate, var) for rate in self._rates)]

    def _resource_apply_dense(self, grad: Tensor, handle: Variable) -> Operation:
        update = ResourceApplyAdadelta(handle.dtype, as_dims(handle.shape))
        return update.node(*self._inputs(handle), grad)

    def _resource_apply_sparse(self, grad: Tensor, handle: Variable, indices: Tensor) -> Operation:
        update = ResourceSparseApplyAdadelta(handle.dtype, as_dims(handle.shape))
        return update.node(*self._inputs(handle), grad, indices)
