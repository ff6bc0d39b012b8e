"""What the caller of `run` feeds, checked against the tensors it stands for."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from ..graph import shapes
from ..graph.dtypes import float32, float64, resource
from ..graph.indexed_slices import IndexedSlices
from ..graph.ir import Graph, Tensor
from ..graph.ops.literal import fed_array
from ..graph.ops.variables import ReadVariableOp
from ..graph.sparse_tensor import SparseTensor
from ..graph.variable import Variable

#: Python floats below these are such a number, rounded, and need no further checks: most feeds of single numbers.
_FLOATS = {float32: 3.4e38, float64: math.inf}


def flatten_feeds(graph: Graph, feed_dict: Mapping[Any, Any] | None) -> dict[Tensor, Any]:
    """The arrays to feed, by tensor. A contiguous array of the right type is taken as it is, without a copy.

    Raises TypeError for a key that is no tensor or a value that is one, ValueError for a shape or value that does not fit.
    """
    if feed_dict and not isinstance(feed_dict, Mapping):
        raise TypeError(f"feed_dict must be a dict or another mapping, but got {type(feed_dict).__name__}")
    found: dict[Tensor, Any] = {}
    for key, value in (feed_dict or {}).items():
        for tensor, part in _expand(graph, key, value):
            if tensor in found:
                raise ValueError(f"{tensor.name} is fed twice")
            found[tensor] = feed_array(tensor, part)
    return found


def _expand(graph: Graph, key: Any, value: Any) -> list[tuple[Tensor, Any]]:
    if isinstance(key, (IndexedSlices, SparseTensor)):
        return list(zip(fed_tensors(graph, key), parts_of(key, value, 3), strict=False))
    if isinstance(key, tuple) and isinstance(value, (tuple, list)):
        if len(key) != len(value):
            raise ValueError(f"A key of {len(key)} tensors is fed {len(value)} values: {key} and {_short(value)}")
        return [pair for k, v in zip(key, value, strict=True) for pair in _expand(graph, k, v)]
    return [(tensor, value) for tensor in fed_tensors(graph, key)]


def parts_of(key: Any, value: Any, count: int) -> Any:
    """What is fed for each of the tensors that a key stands for. Raises TypeError for no sequence where they are parts."""
    if not isinstance(key, (IndexedSlices, SparseTensor)):
        return (value,) * count
    if not isinstance(value, (tuple, list)):
        raise TypeError(f"{type(key).__name__} is fed a tuple or {type(key).__name__}Value, not {_short(value)}")
    if isinstance(key, SparseTensor) and len(value) != 3:
        raise ValueError(f"SparseTensor is fed indices, values and dense shape, not {len(value)} values")
    return value[:count]  # a value may have a dense shape where the key has none


def fed_tensors(graph: Graph, key: Any) -> list[Tensor]:
    """The tensors that a key stands for. Raises TypeError for what is no tensor of the graph."""
    if isinstance(key, IndexedSlices):
        return [key.values, key.indices] + ([] if key.dense_shape is None else [key.dense_shape])
    if isinstance(key, SparseTensor):
        return list(key._parts())
    if isinstance(key, Variable) and key.graph is graph:  # all that is read from it: each use is a read of its own
        users = [user for handle in key.handles for user in handle.consumers()]
        return [user.outputs[0] for user in users if isinstance(user.definition, ReadVariableOp)]
    try:
        element = graph.as_graph_element(key, allow_operation=False)
    except (KeyError, ValueError, TypeError) as error:
        raise TypeError(f"Cannot interpret feed_dict key as Tensor: {error.args[0]}") from None
    assert isinstance(element, Tensor)
    return [element]


def feed_array(tensor: Tensor, value: Any) -> Any:
    """One value as the array to feed for a tensor."""
    if type(value) is float and tensor.dims == () and abs(value) < _FLOATS.get(tensor.dtype, 0.0):
        return np.array(value, tensor.dtype.np)
    if isinstance(value, Tensor) or hasattr(value, "_as_graph_element"):
        raise TypeError(
            "The value of a feed cannot be a wf.Tensor object. Acceptable feed values include Python scalars, "
            f"strings, lists, numpy arrays. For reference, the tensor object was {value} which was passed to the feed "
            f"with key {tensor}."
        )
    if tensor.dtype.name == "resource":
        raise TypeError(f"{tensor.name} is the handle of a variable, which cannot be fed: feed what is read from it")
    if (
        type(value) is np.ndarray
        and value.dtype == tensor.dtype.np
        and value.flags.c_contiguous
        and value.dtype.kind != "O"
    ):
        array = value
    else:
        array = np.asarray(_converted(tensor, value), order="C")
    if not shapes.compatible(tensor.dims, array.shape):
        raise ValueError(
            f"Cannot feed value of shape {array.shape} for Tensor {tensor.name}, which has shape {tensor.shape}"
        )
    return array


def feeder(tensor: Tensor) -> Callable[[Any], Any]:
    """`feed_array` for one tensor, with what it asks of that looked up once: most values are arrays that fit."""
    kind = tensor.dtype.np
    if tensor.dtype is resource or kind.kind == "O":
        return partial(feed_array, tensor)
    #: What is known of a full shape stays as it is; of others, the program may say more later.
    dims = tensor.dims if shapes.is_full(tensor.dims) else None

    def feed(value: Any) -> Any:
        if type(value) is np.ndarray and value.dtype == kind and value.shape == dims and value.flags.c_contiguous:
            return value
        return feed_array(tensor, value)

    return feed


def _converted(tensor: Tensor, value: Any) -> Any:
    try:
        return fed_array(value, tensor.dtype)
    except (TypeError, ValueError) as error:
        kind: Callable[[str], Exception] = type(error)
        raise kind(
            f"Cannot feed {_short(value)} for Tensor {tensor.name} of type {tensor.dtype.name}: {error}"
        ) from None


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 80 else text[:77] + "..."
