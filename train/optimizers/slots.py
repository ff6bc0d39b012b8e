"""What an optimizer keeps beside the variables it trains: slots, one a variable and slot name, and single variables."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from ...graph import shapes
from ...graph.dtypes import DType
from ...graph.ir import Graph, Tensor, get_default_graph
from ...graph.ops.arithmetic import add
from ...graph.ops.constant import constant
from ...graph.ops.fills import fill, zeros, zeros_like
from ...graph.shapes import as_dims
from ...graph.variable import Variable
from ...nn.variable_scope import get_variable_scope


class Slots:
    """The part of an optimizer that makes and finds its variables."""

    def __init__(self) -> None:
        #: By slot name and by the handle of the variable that the slot belongs to.
        self._slots: dict[str, dict[Tensor, Variable]] = {}
        self._non_slots: dict[tuple[str, Graph], Variable] = {}

    # for users

    def get_slot(self, var: Variable, name: str) -> Variable | None:
        """The slot of that name (one of `get_slot_names`) for `var`, or None where there is none."""
        return self._slots.get(name, {}).get(var.handle)

    def get_slot_names(self) -> list[str]:
        """The names of the slots there are, sorted."""
        return sorted(self._slots)

    def variables(self) -> list[Variable]:
        """All variables of the optimizer in the default graph, sorted by name."""
        graph = get_default_graph().root
        found = [slot for slots in self._slots.values() for slot in slots.values()]
        found += self._non_slots.values()
        return sorted((v for v in dict.fromkeys(found) if v.graph is graph), key=lambda v: v.name)

    # for optimizers

    def _get_or_make_slot(self, var: Variable, val: Tensor, slot_name: str, op_name: str) -> Variable:
        """The slot, made with the value of a tensor where it is not there."""
        return self._slot(var, slot_name, op_name, val)

    def _get_or_make_slot_with_initializer(
        self, var: Variable, initializer: Callable[..., Any], shape: Any, dtype: DType, slot_name: str, op_name: str
    ) -> Variable:
        """The slot, made with `initializer(shape, dtype=dtype)` where it is not there."""
        return self._slot(var, slot_name, op_name, lambda: initializer(shape, dtype=dtype))

    def _zeros_slot(self, var: Variable, slot_name: str, op_name: str) -> Variable:
        """The slot, made with zeros where it is not there."""
        return self._filled_slot(var, 0.0, slot_name, op_name)

    def _filled_slot(self, var: Variable, value: float, slot_name: str, op_name: str) -> Variable:
        """The slot, made with every element `value` where it is not there."""
        return self._slot(var, slot_name, op_name, lambda: _filled_like(var, value))

    def _slot(self, var: Variable, slot_name: str, op_name: str, value: Any) -> Variable:
        slots = self._slots.setdefault(slot_name, {})
        if var.handle not in slots:
            slots.update(dict.fromkeys(var.handles, slot_variable(var, value, op_name)))
        return slots[var.handle]

    def _create_non_slot_variable(self, initial_value: Any, name: str, colocate_with: Variable) -> Variable:
        """The variable of that name for the graph of `colocate_with`, made next to it where it is not there."""
        graph = colocate_with.graph
        key = (name, graph)
        if key not in self._non_slots:
            with graph.as_default(), graph.colocate_with(colocate_with):
                self._non_slots[key] = Variable(initial_value, False, name=name)
        return self._non_slots[key]

    def _get_non_slot_variable(self, name: str, graph: Graph | None = None) -> Variable:
        """The variable of that name. Raises KeyError when `_create_slots` did not make it."""
        return self._non_slots[name, (graph or get_default_graph()).root]


def slot_variable(primary: Any, value: Any, op_name: str) -> Variable:
    """A variable that is not trained and belongs to `primary`, a variable or tensor: called after it, next to a variable."""
    known = shapes.is_full(as_dims(primary.shape))
    graph = primary.graph
    near = graph.colocate_with(primary) if isinstance(primary, Variable) else nullcontext()
    with graph.as_default(), graph.name_scope(None), near:
        scope = get_variable_scope().name
        name = f"{scope}/{primary.op.name}/{op_name}" if scope else f"{primary.op.name}/{op_name}"
        return Variable(value, False, name=name, validate_shape=known)


def _filled_like(var: Variable, value: float) -> Tensor:
    """A tensor of the variable's shape and type, every element `value`."""
    dims = as_dims(var.shape)
    if dims is None or not shapes.is_full(dims):
        return add(zeros_like(var.initial_value), value)
    full = [d for d in dims if d is not None]
    return fill(full, constant(value, var.dtype)) if value else zeros(full, var.dtype)
