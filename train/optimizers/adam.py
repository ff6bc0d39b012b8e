"""Adam: steps scaled by running means of the gradient and of its square."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...graph.ir import Operation, Tensor, building_graph
from ...graph.ops.control import group
from ...graph.ops.training import ResourceApplyAdam
from ...graph.ops.training_sparse import ResourceSparseApplyAdam
from ...graph.shapes import as_dims
from ...graph.variable import Variable
from .optimizer import Optimizer, as_type


class AdamOptimizer(Optimizer):
    """Adam (Kingma and Ba); slots "m" and "v", and the variables `beta1_power` and `beta2_power`.

    The hyperparameters are numbers, scalar tensors or functions. A sparse gradient counts as zero in the other rows: all
    rows of m and v decay, and all rows of the variable move. Source: `tf.train.AdamOptimizer`.
    """

    def __init__(
        self, learning_rate: Any = 0.001, beta1: Any = 0.9, beta2: Any = 0.999, epsilon: Any = 1e-08,
        use_locking: bool = False, name: str = "Adam",
    ) -> None:  # fmt: skip
        super().__init__(use_locking, name)
        self._lr = learning_rate
        self._beta1 = beta1
        self._beta2 = beta2
        self._epsilon = epsilon

    def _create_slots(self, var_list: Sequence[Variable]) -> None:
        # Next to the first by name, so that the place does not depend on the order of the variables.
        first = min(var_list, key=lambda var: var.name)
        self._create_non_slot_variable(self._call_if_callable(self._beta1), "beta1_power", first)
        self._create_non_slot_variable(self._call_if_callable(self._beta2), "beta2_power", first)
        for var in var_list:
            self._zeros_slot(var, "m", self._name)
            self._zeros_slot(var, "v", self._name)

    def _prepare(self) -> None:
        self._lr_t = self._hyperparameter(self._lr, "learning_rate")
        self._beta1_t = self._hyperparameter(self._beta1, "beta1")
        self._beta2_t = self._hyperparameter(self._beta2, "beta2")
        self._epsilon_t = self._hyperparameter(self._epsilon, "epsilon")
        self._powers_t = [power.value() for power in self._get_beta_accumulators()]

    def _get_beta_accumulators(self) -> tuple[Variable, Variable]:
        """The powers of both betas: the variables beside the slots. Called so because programs do call it."""
        return self._get_non_slot_variable("beta1_power"), self._get_non_slot_variable("beta2_power")

    def _inputs(self, var: Variable) -> list[Tensor]:
        """Variable, slots and hyperparameters, as both operations take them first."""
        slots = [self._slots[name][var.handle].handle for name in ("m", "v")]
        scalars = [*self._powers_t, self._lr_t, self._beta1_t, self._beta2_t, self._epsilon_t]
        return [var.handle, *slots, *(as_type(scalar, var) for scalar in scalars)]

    def _resource_apply_dense(self, grad: Tensor, handle: Variable) -> Operation:
        update = ResourceApplyAdam(handle.dtype, as_dims(handle.shape))
        return update.node(*self._inputs(handle), grad)

    def _resource_apply_sparse(self, grad: Tensor, handle: Variable, indices: Tensor) -> Operation:
        update = ResourceSparseApplyAdam(handle.dtype, as_dims(handle.shape))
        return update.node(*self._inputs(handle), grad, indices)

    def _finish(self, update_ops: list[Operation], name_scope: str) -> Operation:
        """The powers are multiplied once all updates have used them."""
        first, second = self._get_beta_accumulators()
        graph = building_graph(first.graph)
        with graph.control_dependencies(update_ops), graph.colocate_with(first):
            finished = [
                first.assign(self._powers_t[0] * as_type(self._beta1_t, first), read_value=False),
                second.assign(self._powers_t[1] * as_type(self._beta2_t, second), read_value=False),
            ]
        return group(*update_ops, *finished, name=name_scope)
