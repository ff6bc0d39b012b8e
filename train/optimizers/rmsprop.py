"""RMSProp: steps scaled by the root of a running mean of the squared gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...graph.ir import Operation, Tensor
from ...graph.ops import training_adaptive as dense, training_sparse as sparse
from ...graph.shapes import as_dims
from ...graph.variable import Variable
from .optimizer import Optimizer, as_type


class RMSPropOptimizer(Optimizer):
    """RMSProp (Tieleman and Hinton); slots "rms", which starts at one, "momentum", and "mg" when `centered`.

    `centered` takes the square of the mean gradient from the mean square. Source: `tf.train.RMSPropOptimizer`.
    """

    def __init__(
        self, learning_rate: Any, decay: Any = 0.9, momentum: Any = 0.0, epsilon: Any = 1e-10, use_locking: bool = False,
        centered: bool = False, name: str = "RMSProp",
    ) -> None:  # fmt: skip
        super().__init__(use_locking, name)
        self._learning_rate = learning_rate
        self._decay = decay
        self._momentum = momentum
        self._epsilon = epsilon
        self._centered = centered

    def _create_slots(self, var_list: Sequence[Variable]) -> None:
        for var in var_list:
            self._filled_slot(var, 1.0, "rms", self._name)
            if self._centered:
                self._zeros_slot(var, "mg", self._name)
            self._zeros_slot(var, "momentum", self._name)

    def _prepare(self) -> None:
        self._rates = [
            self._hyperparameter(self._learning_rate, "learning_rate"),
            self._hyperparameter(self._decay, "decay"),
            self._hyperparameter(self._momentum, "momentum"),
            self._hyperparameter(self._epsilon, "epsilon"),
        ]

    def _inputs(self, var: Variable) -> list[Tensor]:
        names = ("mg", "rms", "momentum") if self._centered else ("rms", "momentum")
        slots = [self._slots[name][var.handle].handle for name in names]
        return [var.handle, *slots, *(as_type(rate, var) for rate in self._rates)]

    def _resource_apply_dense(self, grad: Tensor, handle: Variable) -> Operation:
        kind = dense.ResourceApplyCenteredRMSProp if self._centered else dense.ResourceApplyRMSProp
        return kind(handle.dtype, as_dims(handle.shape)).node(*self._inputs(handle), grad)

    def _resource_apply_sparse(self, grad: Tensor, handle: Variable, indices: Tensor) -> Operation:
        kind = sparse.ResourceSparseApplyCenteredRMSProp if self._centered else sparse.ResourceSparseApplyRMSProp
        return kind(handle.dtype, as_dims(handle.shape)).node(*self._inputs(handle), grad, indices)
