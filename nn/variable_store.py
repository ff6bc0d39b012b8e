"""The variables that `get_variable` made, by name: the getter below all custom ones."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from ..graph import context, shapes
from ..graph.collections import GraphKeys
from ..graph.dtypes import DType, as_dtype, float32
from ..graph.ir import get_default_graph
from ..graph.shapes import TensorShape, as_dims
from ..graph.variable import Variable
from .initializer_classes import Zeros, glorot_uniform_initializer

#: The collection that holds one dict. Variables know their graph: kept anywhere else, they would keep it for ever.
_STORE = ("__variable_store",)


def _variables() -> dict[str, Variable]:
    """The variables of the default graph that `get_variable` made, by name."""
    kept = get_default_graph().get_collection_ref(_STORE)
    if not kept:
        kept.append({})
    variables: dict[str, Variable] = kept[0]
    return variables


def get_or_make(
    name: str, shape: Any = None, dtype: Any = None, initializer: Any = None, regularizer: Any = None, reuse: Any = None,
    trainable: bool | None = None, collections: Any = None, caching_device: Any = None, validate_shape: bool = True,
    constraint: Any = None, synchronization: Any = None, aggregation: Any = None, **other: Any,
) -> Variable:  # fmt: skip
    """The getter below all custom ones. Raises ValueError where sharing or making is not allowed, or shapes differ."""
    variables = _variables()
    dims, kind = as_dims(shape), as_dtype(float32 if dtype is None else dtype)
    if name in variables:
        return _shared(name, variables[name], dims, kind, reuse)
    if reuse is True:
        raise ValueError(
            f"Variable {name} does not exist, or was not created with wf.get_variable(). "
            "Did you mean to set reuse=wf.AUTO_REUSE in VarScope?"
        )
    graph = get_default_graph().root  # also where a branch or a loop's body asks for the variable
    with graph.as_default(), graph.name_scope(None):
        value, made_dtype = _initial_value(name, shape, dims, kind, initializer)
        made = Variable(
            value, trainable, collections, validate_shape, caching_device, name, dtype=made_dtype, constraint=constraint,
            synchronization=synchronization, aggregation=aggregation,
        )  # fmt: skip
    variables[name] = made
    if regularizer is not None:
        _regularize(made, regularizer)
    return made


def _shared(name: str, found: Variable, dims: shapes.Dims, dtype: DType, reuse: Any) -> Variable:
    if reuse in (False, None):
        where = "" if context.executing_eagerly() else f" Originally defined at: {found.op.location}"
        raise ValueError(
            f"Variable {name} already exists, disallowed. Did you mean to set reuse=True or reuse=wf.AUTO_REUSE in "
            f"VarScope?{where}"
        )
    if not found.shape.is_compatible_with(dims):
        raise ValueError(
            f"Trying to share variable {name}, but specified shape {TensorShape(dims)} and found shape {found.shape}."
        )
    if found.dtype is not dtype:
        raise ValueError(
            f"Trying to share variable {name}, but specified dtype {dtype.name} and found dtype {found.dtype.name}."
        )
    return found


def _initial_value(name: str, shape: Any, dims: shapes.Dims, dtype: DType, initializer: Any) -> tuple[Any, Any]:
    """What Variable takes as the initial value, and as dtype."""
    if initializer is None:
        initializer = _default_initializer(name, dtype)
    if not callable(initializer):
        if shape is not None:
            raise ValueError("If initializer is a constant, do not specify shape.")
        return initializer, None
    if isinstance(initializer, type):
        initializer = initializer()
    if shape is None and not _parameters(initializer):
        return initializer, dtype
    if shape is None:
        raise ValueError(
            f"Variable {name} did not get a value to start with, so its `shape` argument must be specified."
        )
    if dims is None or None in dims:
        raise ValueError(
            f"Shape of a new variable ({name}) must be fully defined, but instead was {TensorShape(dims)}."
        )
    arguments = {"partition_info": None} if "partition_info" in _parameters(initializer) else {}
    return functools.partial(initializer, list(dims), dtype=dtype, **arguments), dtype


def _parameters(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)


def _default_initializer(name: str, dtype: DType) -> Any:
    if dtype.is_floating:
        return glorot_uniform_initializer()
    if dtype.is_complex:
        raise ValueError(f"An initializer for variable {name} of {dtype.name} is required")
    return Zeros()


def _regularize(variable: Variable, regularizer: Callable[[Any], Any]) -> None:
    graph = get_default_graph().root
    with (
        graph.as_default(),
        graph.name_scope(None),
        graph.name_scope(f"{variable.name[:-2]}/Regularizer/"),
        graph.colocate_with(variable),
    ):
        loss = regularizer(variable)
    if loss is not None:
        graph.add_to_collection(GraphKeys.REGULARIZATION_LOSSES, loss)
