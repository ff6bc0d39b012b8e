"""MirroredOptimizer: applies the reduced gradients of all replicas to every copy of the variables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ...graph.collections import GraphKeys
from ...graph.ir import Graph, Operation, get_default_graph
from ...graph.ops.control import group
from ...graph.variable import Variable
from ...graph.variable_functions import trainable_variables
from ..optimizers.optimizer import Optimizer
from ..sync_replicas import SyncReplicasOptimizer
from .all_reduce import ReduceOp, checked_op
from .per_replica import PerReplica
from .strategy import MirroredStrategy
from .variable import MirroredVariable


class MirroredOptimizer(Optimizer):
    """Makes another optimizer one of replicas: gradients are reduced over them, and every replica updates its own copies.

    `opt`: what updates; its slots are mirrored as the variables are. `strategy`: the MirroredStrategy in whose scope the
    variables were made. `reduce_op`: MEAN (the gradient of the mean of the replicas' losses) or SUM. Where TensorFlow's
    optimizers are called inside of a replica's function, this one is called outside, with what that returned. Raises
    TypeError for another strategy and for optimizers that reduce by themselves.
    """

    def __init__(
        self, opt: Optimizer, strategy: MirroredStrategy, reduce_op: Any = ReduceOp.MEAN, name: str = "Mirrored"
    ) -> None:
        super().__init__(False, name)
        if not isinstance(strategy, MirroredStrategy):
            raise TypeError(f"expected a MirroredStrategy, got {strategy!r}")
        if isinstance(opt, (SyncReplicasOptimizer, MirroredOptimizer)) or not isinstance(opt, Optimizer):
            raise TypeError(f"expected an optimizer that leaves the gradients as they are, got {opt!r}")
        self._opt = opt
        self._strategy = strategy
        self._reduce_op = checked_op(reduce_op)

    def compute_gradients(
        self, loss: Any, var_list: Any = None, gate_gradients: int = Optimizer.GATE_OP,
        aggregation_method: int | None = None, colocate_gradients_with_ops: bool = False, grad_loss: Any = None,
    ) -> list[tuple[Any, Any]]:  # fmt: skip
        """Pairs (PerReplica of gradients, or None; variable), each replica's gradients of its own loss.

        `loss`: a PerReplica, as `strategy.run` returns it, or a function that it runs. Raises TypeError for another, ValueError
        where some replicas have a gradient and others none, and as the wrapped optimizer's.
        """
        loss = self._strategy.run(loss) if callable(loss) else loss
        if not isinstance(loss, PerReplica):
            raise TypeError(
                f"Expected the replicas' losses, as strategy.run returns them, got {loss!r}: a loss that was computed once is "
                "not replicated."
            )
        variables = trainable_variables() if var_list is None else var_list
        each = []
        for replica in range(self._strategy.num_replicas_in_sync):
            with self._strategy.replica(replica):
                seed = grad_loss[replica] if isinstance(grad_loss, PerReplica) else grad_loss
                each.append(
                    self._opt.compute_gradients(
                        loss[replica], variables, gate_gradients, aggregation_method, colocate_gradients_with_ops, seed
                    )
                )
        self._check_variables([var for _, var in each[0]])
        return [(_together([grad for grad, _ in pairs], pairs[0][1]), pairs[0][1]) for pairs in zip(*each, strict=True)]

    def apply_gradients(
        self, grads_and_vars: Iterable[tuple[Any, Any]], global_step: Variable | None = None, name: str | None = None,
        reduced: bool = False,
    ) -> Operation:  # fmt: skip
        """An operation that reduces gradients over the replicas and updates all copies, and adds one to `global_step`.

        `grads_and_vars`: pairs as of `compute_gradients`; with `reduced` they are every replica's already
        (`strategy.all_reduce`), such as to clip them. Raises ValueError where replicas' gradients differ in shape or are
        not there in some, and for variables that are not mirrored; and as the wrapped optimizer's.
        """
        pairs = list(grads_and_vars)
        if not pairs:
            raise ValueError("No variables provided.")
        self._check_variables([var for _, var in pairs])
        pairs = [(_together(self._parts(grad, var), var), var) for grad, var in pairs]
        taken = [(grad, var) for grad, var in pairs if grad is not None]
        if not taken:
            raise ValueError(f"No gradients provided for any variable: {[str(var) for _, var in pairs]}.")
        graph = get_default_graph()
        with self._strategy.scope(), graph.control_dependencies(None):
            self._opt._create_slots([var for _, var in taken])
        with graph.name_scope(name or self._name) as scope, self._strategy.scope():
            if not reduced:
                gradients = [(f"the gradient of {var.name}", grad) for grad, var in taken]
                sums = self._strategy.reduce_named(self._reduce_op, gradients)
                taken = [(grad, var) for grad, (_, var) in zip(sums, taken, strict=True)]
            train_op = self._apply_everywhere(graph, taken, global_step, scope)
        if train_op not in graph.get_collection_ref(GraphKeys.TRAIN_OP):
            graph.add_to_collection(GraphKeys.TRAIN_OP, train_op)
        return train_op

    def _apply_everywhere(
        self, graph: Graph, pairs: list[tuple[Any, Any]], global_step: Variable | None, scope: str
    ) -> Operation:
        """The updates of each replica's copies, as one operation."""
        mirrored = global_step is not None and self._strategy.has(global_step)
        updates = []
        for replica in range(self._strategy.num_replicas_in_sync):
            with self._strategy.replica(replica, updating=True):
                mine = [(grad[replica], var) for grad, var in pairs]
                updates.append(self._opt._apply(graph, mine, global_step if mirrored else None, None))
        if global_step is None or mirrored:
            return group(*updates, name=scope)
        with graph.control_dependencies([group(*updates, name="update")]):
            counted: Operation = global_step.assign_add(1, name=scope, read_value=False)
            return counted

    def _parts(self, grad: Any, var: Variable) -> Sequence[Any]:
        count = self._strategy.num_replicas_in_sync
        if grad is None:
            return (None,) * count
        if isinstance(grad, PerReplica) and len(grad) == count:
            return grad
        raise ValueError(f"Expected a PerReplica of {count} gradients of {var.name}, got {grad!r}")

    def _check_variables(self, variables: Sequence[Any]) -> None:
        for var in variables:
            if not self._strategy.has(var):
                raise ValueError(
                    f"{var} has no copies on the strategy's devices: make it in strategy.scope(), or name in var_list what is "
                    "trained."
                )

    # the wrapped optimizer's

    def get_slot(self, var: Variable, name: str) -> Variable | None:
        """The wrapped optimizer's, a mirrored variable."""
        return self._opt.get_slot(var, name)

    def get_slot_names(self) -> list[str]:
        """The wrapped optimizer's."""
        return self._opt.get_slot_names()

    def variables(self) -> list[Variable]:
        """The wrapped optimizer's, mirrored."""
        return self._opt.variables()


def _together(grads: Sequence[Any], var: MirroredVariable) -> PerReplica | None:
    """The gradients of one variable; None where no replica has one. Raises ValueError where only some have."""
    missing = [number for number, grad in enumerate(grads) if grad is None]
    if len(missing) == len(grads):
        return None
    if missing:
        raise ValueError(
            f"The gradient of {var.name} is None in {_replicas(missing)} and not in the others: the replicas must run the "
            "same function."
        )
    return PerReplica(grads)


def _replicas(numbers: Sequence[int]) -> str:
    return ("replica " if len(numbers) == 1 else "replicas ") + ", ".join(map(str, numbers))
