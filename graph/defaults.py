"""The scopes and collections of the default graph, as functions: what a program says at top level."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from . import context
from .ir import Graph, Tensor, get_default_graph, graph_of


def device(device_name_or_function: Any) -> AbstractContextManager[None]:
    """Operations made inside request this device. Source: `tf.device`; see `Graph.device`."""
    if context.executing_eagerly():
        return nullcontext()
    return get_default_graph().device(device_name_or_function)


def colocate_with(op: Any, ignore_existing: bool = False) -> AbstractContextManager[None]:
    """Operations made inside go where `op` goes. Source: `tf.colocate_with`; see `Graph.colocate_with`."""
    if context.executing_eagerly():
        return nullcontext()
    return get_default_graph().colocate_with(op, ignore_existing)


def container(container_name: str) -> AbstractContextManager[None]:
    """Variables and queues made inside are kept in this container. Source: `tf.container`; see `Graph.container`."""
    if context.executing_eagerly():
        return nullcontext()
    return get_default_graph().container(container_name)


def control_dependencies(control_inputs: Any) -> AbstractContextManager[None]:
    """Operations made inside run after these. Source: `tf.control_dependencies`; see `Graph.control_dependencies`."""
    if context.executing_eagerly():
        return nullcontext()
    return get_default_graph().control_dependencies(control_inputs)


def init_scope() -> AbstractContextManager[None]:
    """What is made inside waits for nothing and stands around all branches and loops, as variables do; names keep their
    scope. What uses a tensor of a branch or a loop stays there. Source: `tf.init_scope`.
    """
    return control_dependencies(None)


def name_scope(name: str | None, default_name: str | None = None, values: Any = None) -> AbstractContextManager[str]:
    """Names of operations made inside begin with this scope; yields it with a trailing slash. Source: `tf.name_scope`.

    `default_name` is taken when `name` is None; `values` must be of one graph, which is the default one inside. Raises
    ValueError for tensors of different graphs, for an invalid name, and for `values` without any name.
    """
    if name is not None and not isinstance(name, str):
        raise TypeError(f"name for name_scope must be a string, got {type(name).__name__}")
    chosen = default_name if name is None else name
    if context.executing_eagerly():
        return nullcontext(f"{chosen}/" if chosen else "")
    if chosen is None and values is not None:
        raise ValueError("At least one of name (None) and default_name (None) must be provided.")
    tensors = [value for value in values or () if isinstance(value, Tensor)]
    if not tensors:
        return get_default_graph().name_scope(chosen)
    graph = graph_of(tensors)
    for tensor in tensors:
        if not graph.reaches(tensor.graph):
            raise ValueError(f"{tensor} must be from the same graph as {tensors[0]}.")
    return _in_graph(graph, chosen)


@contextmanager
def _in_graph(graph: Graph, name: str | None) -> Iterator[str]:
    """A name scope of a graph that is also the default graph inside."""
    with graph.as_default(), graph.name_scope(name) as scope:
        yield scope


def add_to_collection(name: Any, value: Any) -> None:
    """Add to a collection of the default graph. Source: `tf.add_to_collection`."""
    get_default_graph().add_to_collection(name, value)


def add_to_collections(names: Any, value: Any) -> None:
    """Add to several collections of the default graph. Source: `tf.add_to_collections`."""
    get_default_graph().add_to_collections(names, value)


def get_collection(key: Any, scope: str | None = None) -> list[Any]:
    """A copy of a collection of the default graph, filtered by `scope`. Source: `tf.get_collection`."""
    return get_default_graph().get_collection(key, scope)


def get_collection_ref(key: Any) -> list[Any]:
    """A collection of the default graph itself. Source: `tf.get_collection_ref`."""
    return get_default_graph().get_collection_ref(key)


def is_tensor(x: Any) -> bool:
    """Whether `x` is a Tensor or converts to one without becoming a constant. Source: `tf.is_tensor`."""
    return isinstance(x, Tensor) or hasattr(x, "_as_tensor")
