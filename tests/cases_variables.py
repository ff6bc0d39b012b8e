"""Rows for graph/ops/variable*.py: each gives a variable a value, uses it, and reads it."""

from collections.abc import Callable
from typing import Any

import numpy as np
from case import Case, floats
from weft.graph.dtypes import float64, int32
from weft.graph.ir import Tensor
from weft.graph.ops import variable_rows, variable_slices, variables
from weft.graph.ops.constant import constant

X, Y, ROWS = floats(2, 3), floats(2, 3, seed=1), floats(4, 3)
HERE, TWICE = np.array([[1, 0], [1, 1]], np.int32), np.array([2, 0, 2], np.int64)


def used(use: Callable[..., Any], *shape: int) -> Callable[..., Tensor]:
    """Builds: assign the first input, then `use(handle, *the others)`, then read the variable or give what `use` gave."""

    def build(value: Tensor, *others: Tensor) -> Tensor:
        handle = variables.VarHandleOp(float64, shape)()
        graph = handle.graph
        with graph.control_dependencies([variables.AssignVariableOp(float64, shape).node(handle, value)]):
            result = use(handle, *others)
        if isinstance(result, Tensor):
            return result
        with graph.control_dependencies([result]):
            return variables.ReadVariableOp(float64, shape)(handle)

    return build


def written(definition: Any, *shape: int) -> Callable[..., Tensor]:
    return used(definition(float64, shape).node, *shape)


def scattered(ufunc: Any, indices: Any = TWICE) -> Callable[..., Any]:
    def expected(value: Any, updates: Any) -> Any:
        value = value.copy()
        for index, update in zip(indices, updates, strict=True):
            value[index] = ufunc(value[index], update)
        return value

    return expected


def rows(kind: str, ufunc: Any) -> Case:
    definition = getattr(variable_rows, f"ResourceScatter{kind}")(float64, (4, 3))
    build = used(lambda handle, updates: definition.node(handle, constant(TWICE), updates), 4, 3)
    return Case(f"ResourceScatter{kind}", build, (ROWS, floats(3, 3, seed=2)), expected=scattered(ufunc), order=0)


def slices(kind: str, ufunc: Any) -> Case:
    """Updates of single elements, one of them twice."""
    definition = getattr(variable_slices, f"ResourceScatterNd{kind}")(float64, (4, 3))
    places = np.array([[2, 1], [0, 0], [2, 1]], np.int32)
    build = used(lambda handle, updates: definition.node(handle, constant(places), updates), 4, 3)
    expected = scattered(ufunc, [tuple(place) for place in places])
    return Case(f"ResourceScatterNd{kind}", build, (ROWS, floats(3, seed=2)), expected=expected, order=0)


def _second_column(handle: Tensor, column: Tensor) -> Any:
    assign = variable_slices.ResourceStridedSliceAssign(float64, (4, 3), begin_mask=1, end_mask=1, shrink_axis_mask=2)
    return assign.node(handle, constant([0, 1]), constant([0, 2]), constant([1, 1]), column)


def _counted(start: Tensor) -> Tensor:
    handle = variables.VarHandleOp(int32, ())()
    with handle.graph.control_dependencies([variables.AssignVariableOp(int32, ()).node(handle, start)]):
        return variable_slices.ResourceCountUpTo(int32, (), 5)(handle)


read = used(lambda handle: variables.ReadVariableOp(float64, (2, 3))(handle), 2, 3)

CASES = [
    Case("VarHandleOp", read, (X,), expected=lambda x: x, order=0),
    Case("ReadVariableOp", read, (X,), expected=lambda x: x, order=0),
    Case(
        "InitializedValue",
        used(lambda handle, other: variables.InitializedValue(float64, (2, 3))(handle, other), 2, 3),
        (X, Y),
        expected=lambda x, y: x,
        order=0,
    ),
    Case("VarIsInitializedOp", used(variables.VarIsInitializedOp(), 2, 3), (X,), expected=lambda x: True, order=0),
    Case("VariableShape", used(variables.VariableShape((2, 3)), 2, 3), (X,), expected=lambda x: [2, 3], order=0),
    Case("AssignVariableOp", written(variables.AssignVariableOp, 2, 3), (X, Y), expected=lambda x, y: y, order=0),
    Case("AssignAddVariableOp", written(variables.AssignAddVariableOp, 2, 3), (X, Y), expected=np.add, order=0),
    Case("AssignSubVariableOp", written(variables.AssignSubVariableOp, 2, 3), (X, Y), expected=np.subtract, order=0),
    Case(
        "ResourceGather",
        used(lambda handle: variable_rows.ResourceGather(float64, (2, 3))(handle, constant(HERE)), 2, 3),
        (X,),
        expected=lambda x: x[HERE],
        order=0,
    ),
    Case(
        "FlatRows",
        lambda x: variable_rows.FlatRows()(x, constant(HERE)),
        (floats(2, 2, 3),),
        expected=lambda x: x.reshape(4, 3),
    ),
    rows("Add", np.add),
    rows("Sub", np.subtract),
    rows("Mul", np.multiply),
    rows("Div", np.divide),
    rows("Min", np.minimum),
    rows("Max", np.maximum),
    rows("Update", lambda old, new: new),
    slices("Add", np.add),
    slices("Sub", np.subtract),
    slices("Min", np.minimum),
    slices("Max", np.maximum),
    slices("Update", lambda old, new: new),
    Case(
        "ResourceStridedSliceAssign",
        used(_second_column, 4, 3),
        (ROWS, floats(4, seed=3)),
        expected=lambda value, column: np.stack([value[:, 0], column, value[:, 2]], axis=1),
        order=0,
    ),
    Case(
        "ResourceCountUpTo",
        _counted,
        (np.array(3, np.int32),),
        expected=lambda start: start,
        order=0,
    ),
]
