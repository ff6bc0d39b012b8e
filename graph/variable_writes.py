"""Writes to a variable, whole or in parts: the methods of Variable, of what a write returns, and of `v[...]`."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

from . import context
from .dtypes import DType, resource
from .indexed_slices import IndexedSlices
from .ir import Graph, Operation, Tensor, get_default_graph, graph_of
from .op import Op
from .operators import Operators
from .ops import variable_rows, variable_slices, variables
from .ops.convert import convert_to_tensor
from .ops.slicing import StridedSlice
from .shapes import Dims


class Target(NamedTuple):
    """What a write goes to."""

    handle: Tensor
    dtype: DType
    dims: Dims


class Writes(Operators):
    """The methods that change a variable. Unless they say otherwise they return the value after the write, a tensor.

    That tensor has these methods too: a write that it is asked for comes after the one that it is the result of.
    """

    __slots__ = ()

    def _target(self) -> Target:
        raise NotImplementedError

    def _building_graph(self) -> Graph:
        return get_default_graph() if context.executing_eagerly() else graph_of((self._target().handle,))

    def _at(self) -> AbstractContextManager[Any]:
        """Operations made inside go where the variable goes."""
        if context.executing_eagerly():
            return nullcontext()
        return self._building_graph().colocate_with(self._target().handle.op, ignore_existing=True)

    def _update(self, definition: Op, values: list[Any], name: str, read_value: bool = True) -> Any:
        """The write as an operation called `name`, or the value after it as a tensor `name:0`."""
        graph, target = self._building_graph(), self._target()
        with graph.name_scope(name) as scope, self._at():
            tensors = [convert_to_tensor(value, dtype, "value") for value, dtype in values]
            if not read_value:
                return definition.node(target.handle, *tensors, name=scope)
            write = definition.node(target.handle, *tensors)
            return _after(graph, write, target, scope)

    def assign(self, value: Any, use_locking: bool = False, name: str | None = None, read_value: bool = True) -> Any:
        """Give it a value. Returns the new value as a tensor (the operation, when not `read_value`).

        Raises ValueError for a shape or a tensor type that does not fit, TypeError for a value that does not.
        """
        _, dtype, dims = self._target()
        return self._update(variables.AssignVariableOp(dtype, dims), [(value, dtype)], name or "Assign", read_value)

    def assign_add(
        self, delta: Any, use_locking: bool = False, name: str | None = None, read_value: bool = True
    ) -> Any:
        """Add to it. Returns and raises as `assign`."""
        _, dtype, dims = self._target()
        definition = variables.AssignAddVariableOp(dtype, dims)
        return self._update(definition, [(delta, dtype)], name or "AssignAdd", read_value)

    def assign_sub(
        self, delta: Any, use_locking: bool = False, name: str | None = None, read_value: bool = True
    ) -> Any:
        """Subtract from it. Returns and raises as `assign`."""
        _, dtype, dims = self._target()
        definition = variables.AssignSubVariableOp(dtype, dims)
        return self._update(definition, [(delta, dtype)], name or "AssignSub", read_value)

    def count_up_to(self, limit: int, name: str | None = None) -> Tensor:
        """The value before it is made one more, an integer scalar; OutOfRangeError of the run at `limit`.

        Raises TypeError for other types, ValueError for another shape.
        """
        target = self._target()
        with self._at():
            return variable_slices.ResourceCountUpTo(target.dtype, target.dims, limit)(target.handle, name=name)

    # rows

    def scatter(self, kind: str, indices: Any, updates: Any, name: str | None = None) -> Any:
        """Change the rows that `indices` name; `kind` is Add, Sub, Mul, Div, Min, Max or Update."""
        _, dtype, dims = self._target()
        definition = getattr(variable_rows, f"ResourceScatter{kind}")(dtype, dims)
        return self._update(definition, [(indices, None), (updates, dtype)], name or f"Scatter{kind}")

    def _scatter(self, kind: str, delta: Any, name: str | None) -> Any:
        if not isinstance(delta, IndexedSlices):
            raise TypeError(f"sparse_delta is not IndexedSlices: {delta}")
        return self.scatter(kind, delta.indices, delta.values, name)

    def scatter_add(self, sparse_delta: Any, use_locking: bool = False, name: str | None = None) -> Any:
        """Add IndexedSlices. Raises TypeError for anything else."""
        return self._scatter("Add", sparse_delta, name)

    def scatter_sub(self, sparse_delta: Any, use_locking: bool = False, name: str | None = None) -> Any:
        """Subtract IndexedSlices. Raises TypeError for anything else."""
        return self._scatter("Sub", sparse_delta, name)

    def scatter_mul(self, sparse_delta: Any, use_locking: bool = False, name: str | None = None) -> Any:
        """Multiply rows by IndexedSlices. Raises TypeError for anything else."""
        return self._scatter("Mul", sparse_delta, name)

    def scatter_div(self, sparse_delta: Any, use_locking: bool = False, name: str | None = None) -> Any:
        """Divide rows by IndexedSlices. Raises TypeError for anything else."""
        return self._scatter("Div", sparse_delta, name)

    def scatter_min(self, sparse_delta: Any, use_locking: bool = False, name: str | None = None) -> Any:
        """The smaller of rows and IndexedSlices. Raises TypeError for anything else."""
        return self._scatter("Min", sparse_delta, name)

    def scatter_max(self, sparse_delta: Any, use_locking: bool = False, name: str | None = None) -> Any:
        """The larger of rows and IndexedSlices. Raises TypeError for anything else."""
        return self._scatter("Max", sparse_delta, name)

    def scatter_update(self, sparse_delta: Any, use_locking: bool = False, name: str | None = None) -> Any:
        """Replace rows by IndexedSlices. Raises TypeError for anything else."""
        return self._scatter("Update", sparse_delta, name)

    # slices

    def _scatter_nd(self, kind: str, indices: Any, updates: Any, name: str | None) -> Any:
        _, dtype, dims = self._target()
        definition = getattr(variable_slices, f"ResourceScatterNd{kind}")(dtype, dims)
        return self._update(definition, [(indices, None), (updates, dtype)], name or f"ScatterNd{kind}")

    def scatter_nd_add(self, indices: Any, updates: Any, name: str | None = None) -> Any:
        """Add to the slices that multi-indices [..., K] name; `updates` is [...] + shape[K:]. Repeated ones add up."""
        return self._scatter_nd("Add", indices, updates, name)

    def scatter_nd_sub(self, indices: Any, updates: Any, name: str | None = None) -> Any:
        """Subtract from slices, see `scatter_nd_add`."""
        return self._scatter_nd("Sub", indices, updates, name)

    def scatter_nd_min(self, indices: Any, updates: Any, name: str | None = None) -> Any:
        """The smaller of slices and updates, see `scatter_nd_add`."""
        return self._scatter_nd("Min", indices, updates, name)

    def scatter_nd_max(self, indices: Any, updates: Any, name: str | None = None) -> Any:
        """The larger of slices and updates, see `scatter_nd_add`."""
        return self._scatter_nd("Max", indices, updates, name)

    def scatter_nd_update(self, indices: Any, updates: Any, name: str | None = None) -> Any:
        """Replace slices, see `scatter_nd_add`; of repeated ones the last update wins."""
        return self._scatter_nd("Update", indices, updates, name)


class Written(Writes, Tensor):
    """The value of a variable after a write."""

    __slots__ = ()

    def _target(self) -> Target:
        return Target(self.op.inputs[0], self.dtype, self.dims)

    def _update(self, definition: Op, values: list[Any], name: str, read_value: bool = True) -> Any:
        with self._building_graph().control_dependencies([self.op]):
            return Writes._update(self, definition, values, name, read_value)


class VariableSlice(Tensor):
    """`v[...]` of a variable: a tensor, and a part that can be written to."""

    __slots__ = ()

    def assign(self, value: Any, name: str | None = None) -> Any:
        """Give this part of the variable a value that broadcasts to its shape. Returns the variable's new value."""
        read, *index = self.op.inputs
        handle = read.op.inputs[0]
        while handle.dtype is not resource:  # the read is behind the copy on a caching device
            handle = handle.op.inputs[0]
        taken: StridedSlice = self.op.definition  # type: ignore[assignment]
        graph, target = graph_of((handle,)), Target(handle, self.dtype, read.dims)
        assign = variable_slices.ResourceStridedSliceAssign(
            target.dtype, target.dims, taken.begin_mask, taken.end_mask, taken.ellipsis_mask, taken.new_axis_mask,
            taken.shrink_axis_mask,
        )  # fmt: skip
        with graph.name_scope(name or f"{self.op.name}/_assign") as scope, graph.colocate_with(handle.op, True):
            write = assign.node(handle, *index, convert_to_tensor(value, target.dtype, "value"))
            return _after(graph, write, target, scope)


def _after(graph: Graph, write: Operation, target: Target, name: str) -> Any:
    """The value after a write, with the methods to write again."""
    read = variables.ReadVariableOp(target.dtype, target.dims)
    if context.executing_eagerly():
        return read(target.handle)
    with graph.control_dependencies([write]):
        value = read(target.handle, name=name)
    value.__class__ = Written
    return value
