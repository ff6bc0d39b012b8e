"""The global step: the variable that counts the steps of a training."""

from __future__ import annotations

from typing import Any

from ..graph.collections import GraphKeys
from ..graph.dtypes import int64
from ..graph.ir import Graph, get_default_graph
from ..graph.ops.identity import identity
from ..graph.shapes import as_dims
from ..graph.variable import Variable
from ..nn.initializer_classes import Zeros
from ..nn.variable_scope import get_variable


def get_global_step(graph: Graph | None = None) -> Any:
    """The global step of a graph (by default the default one), or None. Source: `tf.train.get_global_step`.

    Raises RuntimeError when several are marked as such, TypeError for one that is no integer scalar.
    """
    graph = graph or get_default_graph()
    steps = graph.get_collection(GraphKeys.GLOBAL_STEP)
    if len(steps) > 1:
        raise RuntimeError(f"Multiple items in collection {GraphKeys.GLOBAL_STEP}: there must be one global step.")
    named = [v for v in graph.get_collection(GraphKeys.GLOBAL_VARIABLES) if v.name == "global_step:0"]
    found = (steps or named or [None])[0]
    if found is not None:
        assert_global_step(found)
    return found


def create_global_step(graph: Graph | None = None) -> Variable:
    """Make the global step, an int64 zero that is not trained, in the current variable scope.

    Source: `tf.train.create_global_step`. Raises ValueError when there is one.
    """
    graph = graph or get_default_graph()
    if get_global_step(graph) is not None:
        raise ValueError('"global_step" already exists.')
    with graph.as_default(), graph.name_scope(None):
        made: Variable = get_variable(
            GraphKeys.GLOBAL_STEP,
            [],
            int64,
            Zeros(),
            trainable=False,
            collections=[GraphKeys.GLOBAL_VARIABLES, GraphKeys.GLOBAL_STEP],
        )
        return made


def get_or_create_global_step(graph: Graph | None = None) -> Any:
    """The global step, made when there is none. Source: `tf.train.get_or_create_global_step`."""
    graph = graph or get_default_graph()
    found = get_global_step(graph)
    return create_global_step(graph) if found is None else found


def global_step_read(graph: Graph | None = None) -> Any:
    """What hooks fetch to know the global step next to a training operation: its value before the run, or None.

    It is a read of its own, which races with nobody: hooks count with a value that is one step old.
    """
    graph = graph or get_default_graph()
    made = graph.get_collection(GraphKeys.GLOBAL_STEP_READ)
    if made:
        return made[0]
    step = get_global_step(graph)
    if step is None:
        return None
    with (
        graph.as_default(),
        graph.control_dependencies(None),
        graph.name_scope(None),
        graph.name_scope(f"{step.op.name}/"),
    ):
        read = step.read_value() if isinstance(step, Variable) else identity(step)
    graph.add_to_collection(GraphKeys.GLOBAL_STEP_READ, read)
    return read


def needed_global_step_read(hook: Any) -> Any:
    """The read of the global step for a hook. Raises RuntimeError when the graph has no global step."""
    read = global_step_read()
    if read is None:
        raise RuntimeError(f"Global step should be created to use {type(hook).__name__}.")
    return read


def assert_global_step(global_step_tensor: Any) -> None:
    """Raises TypeError when it is no integer scalar. Source: `tf.train.assert_global_step`."""
    if not isinstance(global_step_tensor, Variable) and not hasattr(global_step_tensor, "dtype"):
        raise TypeError(f"The global step must be a variable or tensor, got {global_step_tensor!r}")
    if not global_step_tensor.dtype.is_integer:
        raise TypeError(f"Existing 'global_step' does not have integer type: {global_step_tensor.dtype.name}")
    if as_dims(global_step_tensor.shape) not in ((), None):
        raise TypeError(f"Existing 'global_step' is not scalar: {global_step_tensor.shape}")


def global_step(sess: Any, global_step_tensor: Any) -> int:
    """The value of a global step in a session, as an int. Source: `tf.train.global_step`."""
    return int(sess.run(global_step_tensor))
