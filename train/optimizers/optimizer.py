"""Optimizer: the base of all optimizers, from a loss to one operation that updates the variables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ...autodiff.gradients import gradients
from ...graph import context
from ...graph.collections import GraphKeys
from ...graph.dtypes import DType, bfloat16, float16, float32, float64
from ...graph.indexed_slices import IndexedSlices
from ...graph.ir import Graph, Operation, Tensor, get_default_graph
from ...graph.ops.cast import cast
from ...graph.ops.control import group, tuple as gate
from ...graph.ops.convert import convert_to_tensor
from ...graph.ops.segments import unique, unsorted_segment_sum
from ...graph.ops.sizes import shape
from ...graph.variable import Variable
from ...graph.variable_functions import trainable_variables
from .slots import Slots

_DTYPES = (float16, bfloat16, float32, float64)


class Optimizer(Slots):
    """Base of optimizers. A subclass makes its slots in `_create_slots`, its hyperparameters' tensors in `_prepare`, and

    updates one variable in `_resource_apply_dense` and `_resource_apply_sparse` (or, as older subclasses do, in
    `_apply_dense` and `_apply_sparse`). `use_locking` is taken for compatibility: updates of one variable never overlap.
    Source: `tf.train.Optimizer`. Raises ValueError without a name.
    """

    GATE_NONE = 0
    GATE_OP = 1
    GATE_GRAPH = 2

    def __init__(self, use_locking: bool, name: str) -> None:
        if not name:
            raise ValueError("Must specify the optimizer name")
        Slots.__init__(self)
        self._use_locking = use_locking
        self._name = name

    def get_name(self) -> str:
        """The name given at construction."""
        return self._name

    # the three steps

    def minimize(
        self, loss: Any, global_step: Variable | None = None, var_list: Any = None, gate_gradients: int = GATE_OP,
        aggregation_method: int | None = None, colocate_gradients_with_ops: bool = False, name: str | None = None,
        grad_loss: Any = None,
    ) -> Operation:  # fmt: skip
        """An operation that updates the variables of `var_list` (default: the trainable ones) to lower `loss`.

        It also adds one to `global_step`, when given. Raises ValueError when no variable has a gradient, and as
        `compute_gradients` and `apply_gradients`.
        """
        grads_and_vars = self.compute_gradients(
            loss, var_list, gate_gradients, aggregation_method, colocate_gradients_with_ops, grad_loss
        )
        if all(grad is None for grad, _ in grads_and_vars):
            names = [str(var) for _, var in grads_and_vars]
            raise ValueError(
                "No gradients provided for any variable, check your graph for ops that do not support gradients, "
                f"between variables {names} and loss {loss}."
            )
        return self.apply_gradients(grads_and_vars, global_step, name)

    def compute_gradients(
        self, loss: Any, var_list: Any = None, gate_gradients: int = GATE_OP, aggregation_method: int | None = None,
        colocate_gradients_with_ops: bool = False, grad_loss: Any = None,
    ) -> list[tuple[Any, Any]]:  # fmt: skip
        """Pairs (gradient or None, variable) for the variables or tensors of `var_list`.

        `gate_gradients`: GATE_NONE (use each gradient at once), GATE_OP (all of an operation's before any), GATE_GRAPH
        (all before any). Raises ValueError for another, without variables, and for types that are not floating-point;
        NotImplementedError for what is no variable; RuntimeError in eager execution.
        """
        if context.executing_eagerly():
            raise RuntimeError("Optimizers need a graph: gradients are not supported when eager execution is enabled.")
        loss = loss() if callable(loss) else loss
        if gate_gradients not in (Optimizer.GATE_NONE, Optimizer.GATE_OP, Optimizer.GATE_GRAPH):
            raise ValueError(
                "gate_gradients must be one of: Optimizer.GATE_NONE, Optimizer.GATE_OP, Optimizer.GATE_GRAPH. "
                f"Not {gate_gradients}"
            )
        self._assert_valid_dtypes([loss] if grad_loss is None else [loss, grad_loss])
        variables = _variables(var_list)
        sources = [var.handle if isinstance(var, Variable) else var for var in variables]
        grads = gradients(
            loss, sources, grad_loss, "gradients", colocate_gradients_with_ops, gate_gradients == Optimizer.GATE_OP,
            aggregation_method,
        )  # fmt: skip
        if gate_gradients == Optimizer.GATE_GRAPH and any(grad is not None for grad in grads):
            grads = gate(grads)
        self._assert_valid_dtypes([var for grad, var in zip(grads, variables, strict=True) if grad is not None])
        return list(zip(grads, variables, strict=True))

    def apply_gradients(
        self, grads_and_vars: Iterable[tuple[Any, Any]], global_step: Variable | None = None, name: str | None = None
    ) -> Operation:
        """An operation that applies gradients to their variables, named `name` or the optimizer's name.

        Raises ValueError without any gradient and for mirrored variables, TypeError for what is no gradient,
        NotImplementedError for what is no variable.
        """
        pairs = _checked_pairs(grads_and_vars)
        variables = [var for grad, var in pairs if grad is not None]
        if not variables:
            raise ValueError(f"No gradients provided for any variable: {[str(var) for _, var in pairs]}.")
        _check_single(variables)
        graph = get_default_graph()
        with graph.control_dependencies(None):
            self._create_slots(variables)
        train_op = self._apply(graph, pairs, global_step, name)
        if train_op not in graph.get_collection_ref(GraphKeys.TRAIN_OP):
            graph.add_to_collection(GraphKeys.TRAIN_OP, train_op)
        return train_op

    def _apply(
        self, graph: Graph, pairs: list[tuple[Any, Variable]], global_step: Variable | None, name: str | None
    ) -> Operation:
        """The operation that applies gradients, when the slots are made."""
        with graph.name_scope(name or self._name) as scope:
            self._prepare()
            updates = [self._update(graph, grad, var) for grad, var in pairs if grad is not None]
            return self._finish_step(graph, updates, global_step, scope)

    def _update(self, graph: Graph, grad: Any, var: Variable) -> Operation:
        """The update of one variable, next to it."""
        with graph.name_scope(f"update_{var.op.name}"), graph.colocate_with(var):
            if isinstance(grad, IndexedSlices):
                if var.constraint is not None:
                    raise RuntimeError("Cannot use a constraint function on a sparse variable.")
                return _operation(self._resource_apply_sparse_duplicate_indices(grad.values, var, grad.indices))
            update = _operation(self._resource_apply_dense(grad, var))
            if var.constraint is None:
                return update
            with graph.control_dependencies([update]):
                return _operation(var.assign(var.constraint(var), read_value=False))

    def _finish_step(self, graph: Graph, updates: list[Operation], global_step: Any, scope: str) -> Operation:
        """One operation that stands for the step; when there is a global step, its increment after everything else."""
        if global_step is None:
            return _operation(self._finish(updates, scope))
        with graph.control_dependencies([self._finish(updates, "update")]):
            return _operation(global_step.assign_add(1, name=scope, read_value=False))

    # what a subclass says

    def _create_slots(self, var_list: Sequence[Variable]) -> None:
        """Make the variables that the optimizer needs beside these."""

    def _prepare(self) -> None:
        """Make the tensors of the hyperparameters, inside the optimizer's name scope."""

    def _apply_dense(self, grad: Tensor, var: Variable) -> Any:
        """Update a variable by a gradient of its shape; returns an operation."""
        raise NotImplementedError(f"{type(self).__name__} cannot apply dense gradients")

    def _apply_sparse(self, grad: IndexedSlices, var: Variable) -> Any:
        """Update the rows of a variable; no index repeats. Returns an operation."""
        raise NotImplementedError(f"{type(self).__name__} cannot apply sparse gradients")

    def _resource_apply_dense(self, grad: Tensor, handle: Variable) -> Any:
        """Update a variable by a gradient of its shape; returns an operation. By default `_apply_dense`."""
        return self._apply_dense(grad, handle)

    def _resource_apply_sparse(self, grad: Tensor, handle: Variable, indices: Tensor) -> Any:
        """Update the rows `indices` of a variable, none of which repeats. By default `_apply_sparse`."""
        return self._apply_sparse(IndexedSlices(grad, indices), handle)

    def _resource_apply_sparse_duplicate_indices(self, grad: Tensor, handle: Variable, indices: Tensor) -> Any:
        """The same for indices that may repeat. By default `_apply_sparse_duplicate_indices`."""
        return self._apply_sparse_duplicate_indices(IndexedSlices(grad, indices), handle)

    def _apply_sparse_duplicate_indices(self, grad: IndexedSlices, var: Variable) -> Any:
        """The same: rows with equal indices are summed first. Override where the update needs no sums."""
        values, rows = _deduplicate_indexed_slices(grad.values, grad.indices)
        return self._resource_apply_sparse(values, var, rows)

    def _finish(self, update_ops: list[Operation], name_scope: str) -> Any:
        """An operation of that name after all updates."""
        return group(*update_ops, name=name_scope)

    def _valid_dtypes(self) -> set[DType]:
        """The types that losses and variables may have."""
        return set(_DTYPES)

    # helpers for subclasses

    def _assert_valid_dtypes(self, tensors: Iterable[Any]) -> None:
        """Raises ValueError for a tensor whose type the optimizer does not take."""
        valid = self._valid_dtypes()
        for tensor in tensors:
            dtype = tensor.dtype if hasattr(tensor, "dtype") else convert_to_tensor(tensor).dtype
            if dtype not in valid:
                names = sorted(d.name for d in valid)
                raise ValueError(f"Invalid type {dtype.name} for {getattr(tensor, 'name', tensor)}, expected: {names}.")

    def _call_if_callable(self, param: Any) -> Any:
        """A hyperparameter, or what its function returns."""
        return param() if callable(param) else param

    def _hyperparameter(self, value: Any, name: str) -> Tensor:
        """A hyperparameter (a number, tensor, variable, or a function that makes one) as a tensor."""
        return convert_to_tensor(self._call_if_callable(value), name=name)


def _deduplicate_indexed_slices(values: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and indices with equal indices summed: (rows [m, …], indices [m])."""
    rows, positions = unique(indices)
    return unsorted_segment_sum(values, positions, shape(rows)[0]), rows


def as_type(value: Tensor, var: Variable) -> Tensor:
    """A hyperparameter in the variable's type."""
    return cast(value, var.dtype)


def _operation(value: Any) -> Operation:
    return value if isinstance(value, Operation) else value.op


def _variables(var_list: Any) -> list[Any]:
    """The variables and tensors to differentiate by. Raises ValueError when there is none, NotImplementedError."""
    if var_list is None:
        resources = get_default_graph().get_collection(GraphKeys.TRAINABLE_RESOURCE_VARIABLES)
        found = list(dict.fromkeys([*trainable_variables(), *resources]))
    else:
        found = list(_flat(var_list))
    if not found:
        raise ValueError("No variables to optimize.")
    for var in found:
        if not isinstance(var, (Variable, Tensor)):
            raise NotImplementedError(f"Trying to optimize unsupported type {var!r}")
    return found


def _flat(items: Any) -> Iterable[Any]:
    if isinstance(items, (Variable, Tensor, str)) or not isinstance(items, Iterable):
        yield items
        return
    for item in items.values() if isinstance(items, dict) else items:
        yield from _flat(item)


def _checked_pairs(grads_and_vars: Iterable[tuple[Any, Any]]) -> list[tuple[Any, Variable]]:
    """The pairs with their gradients as Tensors, IndexedSlices or None. Raises ValueError, TypeError, NotImplementedError."""
    pairs = list(grads_and_vars)
    if not pairs:
        raise ValueError("No variables provided.")
    checked = []
    for grad, var in pairs:
        checked.append((_checked_gradient(grad), var))
        if isinstance(var, Tensor):
            raise NotImplementedError(f"Trying to update a Tensor {var}")
        if not isinstance(var, Variable):
            raise NotImplementedError(f"Trying to optimize unsupported type {var!r}")
    return checked


def _check_single(variables: Iterable[Variable]) -> None:
    """Raises ValueError for a variable with several copies: one of them would change, and differ from the others."""
    for var in variables:
        if len(var.handles) > 1:
            raise ValueError(
                f"{var.name} has a copy on each of {len(var.handles)} devices, of which this optimizer changes one alone: call "
                "wf.train.MirroredOptimizer(optimizer, strategy), outside of the replicas' function, with what it returns."
            )


def _checked_gradient(grad: Any) -> Any:
    if grad is None or isinstance(grad, IndexedSlices):
        return grad
    try:
        return convert_to_tensor(grad)
    except (TypeError, ValueError):
        raise TypeError(f"Gradient must be convertible to a Tensor or IndexedSlices, or None: {grad!r}") from None
