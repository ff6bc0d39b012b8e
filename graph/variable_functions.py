"""The functions that go with Variable: writes by name, lists of variables, and how to initialize them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from . import context
from .collections import GraphKeys
from .dtypes import string
from .ir import Operation, Tensor, get_default_graph
from .ops.compare import logical_not
from .ops.constant import constant
from .ops.control import group
from .ops.convert import stack
from .ops.selecting import boolean_mask
from .variable import Variable

# writes


def assign(
    ref: Variable, value: Any, validate_shape: bool | None = None, use_locking: bool | None = None, name: str | None = None
) -> Any:  # fmt: skip
    """Give a variable a value; returns the new value as a tensor. Source: `tf.assign`. Raises ValueError, TypeError."""
    return ref.assign(value, name=name)


def assign_add(ref: Variable, value: Any, use_locking: bool | None = None, name: str | None = None) -> Any:
    """Add to a variable; returns the new value. Source: `tf.assign_add`."""
    return ref.assign_add(value, name=name)


def assign_sub(ref: Variable, value: Any, use_locking: bool | None = None, name: str | None = None) -> Any:
    """Subtract from a variable; returns the new value. Source: `tf.assign_sub`."""
    return ref.assign_sub(value, name=name)


def scatter_update(ref: Variable, indices: Any, updates: Any, use_locking: bool = True, name: str | None = None) -> Any:
    """Replace the rows that `indices` name; returns the new value. Source: `tf.scatter_update`."""
    return ref.scatter("Update", indices, updates, name)


def scatter_add(ref: Variable, indices: Any, updates: Any, use_locking: bool = False, name: str | None = None) -> Any:
    """Add to rows; repeated indices add up. Returns the new value. Source: `tf.scatter_add`."""
    return ref.scatter("Add", indices, updates, name)


def scatter_sub(ref: Variable, indices: Any, updates: Any, use_locking: bool = False, name: str | None = None) -> Any:
    """Subtract from rows; repeated indices add up. Returns the new value. Source: `tf.scatter_sub`."""
    return ref.scatter("Sub", indices, updates, name)


def scatter_mul(ref: Variable, indices: Any, updates: Any, use_locking: bool = False, name: str | None = None) -> Any:
    """Multiply rows. Returns the new value. Source: `tf.scatter_mul`."""
    return ref.scatter("Mul", indices, updates, name)


def scatter_div(ref: Variable, indices: Any, updates: Any, use_locking: bool = False, name: str | None = None) -> Any:
    """Divide rows. Returns the new value. Source: `tf.scatter_div`."""
    return ref.scatter("Div", indices, updates, name)


def scatter_min(ref: Variable, indices: Any, updates: Any, use_locking: bool = False, name: str | None = None) -> Any:
    """The smaller of rows and updates. Returns the new value. Source: `tf.scatter_min`."""
    return ref.scatter("Min", indices, updates, name)


def scatter_max(ref: Variable, indices: Any, updates: Any, use_locking: bool = False, name: str | None = None) -> Any:
    """The larger of rows and updates. Returns the new value. Source: `tf.scatter_max`."""
    return ref.scatter("Max", indices, updates, name)


def scatter_nd_update(
    ref: Variable, indices: Any, updates: Any, use_locking: bool = True, name: str | None = None
) -> Any:
    """Replace slices; see `scatter_nd_add`. Returns the new value. Source: `tf.scatter_nd_update`."""
    return ref.scatter_nd_update(indices, updates, name)


def scatter_nd_add(
    ref: Variable, indices: Any, updates: Any, use_locking: bool = False, name: str | None = None
) -> Any:
    """Add to the slices that multi-indices [..., K] name; `updates` is [...] + ref.shape[K:]. Returns the new value.

    Source: `tf.scatter_nd_add`.
    """
    return ref.scatter_nd_add(indices, updates, name)


def scatter_nd_sub(
    ref: Variable, indices: Any, updates: Any, use_locking: bool = False, name: str | None = None
) -> Any:
    """Subtract from slices; see `scatter_nd_add`. Returns the new value. Source: `tf.scatter_nd_sub`."""
    return ref.scatter_nd_sub(indices, updates, name)


def count_up_to(ref: Variable, limit: int, name: str | None = None) -> Tensor:
    """The value of an int32 or int64 scalar variable before it becomes one more; OutOfRangeError of the run at `limit`.

    Source: `tf.count_up_to`. Raises TypeError for other types, ValueError for another shape.
    """
    return ref.count_up_to(limit, name)


# lists


def global_variables(scope: str | None = None) -> list[Any]:
    """The variables shared by the tasks of a program. Source: `tf.global_variables`."""
    return get_default_graph().get_collection(GraphKeys.GLOBAL_VARIABLES, scope)


def all_variables() -> list[Any]:
    """The old name of `global_variables`. Source: `tf.all_variables`."""
    return global_variables()


def local_variables(scope: str | None = None) -> list[Any]:
    """The variables of one task, which no checkpoint holds. Source: `tf.local_variables`."""
    return get_default_graph().get_collection(GraphKeys.LOCAL_VARIABLES, scope)


def trainable_variables(scope: str | None = None) -> list[Any]:
    """The variables that optimizers train by default. Source: `tf.trainable_variables`."""
    return get_default_graph().get_collection(GraphKeys.TRAINABLE_VARIABLES, scope)


def model_variables(scope: str | None = None) -> list[Any]:
    """The variables that a model needs for inference. Source: `tf.model_variables`."""
    return get_default_graph().get_collection(GraphKeys.MODEL_VARIABLES, scope)


def moving_average_variables(scope: str | None = None) -> list[Any]:
    """The variables that have moving averages. Source: `tf.moving_average_variables`."""
    return get_default_graph().get_collection(GraphKeys.MOVING_AVERAGE_VARIABLES, scope)


# initialization


def variables_initializer(var_list: Iterable[Any], name: str = "init") -> Operation | None:
    """One operation that initializes these variables (None in eager execution). Source: `tf.variables_initializer`."""
    if context.executing_eagerly():
        return None
    return group(*(variable.initializer for variable in var_list or ()), name=name)


def global_variables_initializer() -> Operation | None:
    """Initializes the global variables there are now. Source: `tf.global_variables_initializer`."""
    return variables_initializer(global_variables())


def local_variables_initializer() -> Operation | None:
    """Initializes the local variables there are now. Source: `tf.local_variables_initializer`."""
    return variables_initializer(local_variables())


def initialize_variables(var_list: Iterable[Any], name: str = "init") -> Operation | None:
    """The old name of `variables_initializer`. Source: `tf.initialize_variables`."""
    return variables_initializer(var_list, name)


def initialize_all_variables() -> Operation | None:
    """The old name of `global_variables_initializer`. Source: `tf.initialize_all_variables`."""
    return global_variables_initializer()


def initialize_local_variables() -> Operation | None:
    """The old name of `local_variables_initializer`. Source: `tf.initialize_local_variables`."""
    return local_variables_initializer()


def is_variable_initialized(variable: Variable) -> Tensor:
    """Whether a variable has a value, a bool scalar. Source: `tf.is_variable_initialized`."""
    return variable.is_initialized()


def assert_variables_initialized(var_list: Iterable[Any] | None = None) -> Operation | None:
    """An operation that fails with FailedPreconditionError where a variable (by default any) has no value.

    None without variables. Source: `tf.assert_variables_initialized`.
    """
    found = global_variables() + local_variables() if var_list is None else list(var_list)
    return group(*(variable.read_value() for variable in found)) if found else None


def report_uninitialized_variables(var_list: Any = None, name: str = "report_uninitialized_variables") -> Tensor:
    """The names of the variables that have no value, a 1-D string tensor; by default of all global and local ones.

    Source: `tf.report_uninitialized_variables`.
    """
    found = global_variables() + local_variables() if var_list is None else list(var_list)
    with get_default_graph().name_scope(name):
        names = [variable.name.partition(":")[0] for variable in found]
        if not names:
            return constant(np.zeros((0,), object), string)
        return boolean_mask(names, logical_not(stack([is_variable_initialized(variable) for variable in found])))
