"""init_from_checkpoint: variables whose initial values are those of a checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..graph import context, shapes
from ..graph.collections import GraphKeys
from ..graph.ir import get_default_graph
from ..graph.ops.constant import const
from ..graph.shapes import as_dims
from ..graph.storage.checkpoint import CheckpointReader
from ..graph.variable import Variable
from .checkpoint_state import load_checkpoint


def init_from_checkpoint(ckpt_dir_or_file: str, assignment_map: Any) -> None:
    """Let variables of the default graph be initialized with values of a checkpoint, or of the newest one in a folder.

    `assignment_map`, from what is in the checkpoint to what is in the graph: `{"scope/": "other/"}` all variables of the
    scope `other` from those of `scope` (`"/"`: from or to the outermost), `{"name": "other"}` or `{"name": variable}` one.
    Call it before the operation that initializes is made. The values are read now, and are part of the graph.

    Source: `tf.train.init_from_checkpoint`. Raises ValueError for a variable or a name that is not there, for another shape
    or type, and for a scope that is to become a name; RuntimeError in eager execution; else as `load_checkpoint`.
    """
    if context.executing_eagerly():
        raise RuntimeError(
            "init_from_checkpoint initializes the variables of a graph; with eager execution there is none."
        )
    reader = load_checkpoint(ckpt_dir_or_file)
    pairs = assignment_map.items() if isinstance(assignment_map, dict) else assignment_map
    for name, target in sorted(pairs, key=lambda pair: str(pair[0])):
        for stored, variable in _pairs(reader, name, target):
            _set_initializer(reader, stored, variable)


def _pairs(reader: CheckpointReader, name: str, target: Any) -> Iterator[tuple[str, Variable]]:
    """The names in the checkpoint that one entry stands for, and the variables that get their values."""
    if isinstance(target, Variable):
        yield name, target
        return
    if not isinstance(target, str):
        raise ValueError(f"{name} must become a variable or the name of one, got {target!r}")
    known = {v.op.name: v for v in get_default_graph().get_collection(GraphKeys.GLOBAL_VARIABLES)}
    if not name.endswith("/"):
        if target.endswith("/") or target not in known:
            raise ValueError(
                f"{name} of checkpoint {reader.path} cannot become {target}: the graph has no such variable"
            )
        yield name, known[target]
        return
    if not target.endswith("/"):
        raise ValueError(
            f"Assignment map with scope only name {name} should map to scope only {target}. Should be 'scope/': "
            "'other_scope/'."
        )
    inside = [found for found in sorted(known) if target == "/" or found.startswith(target)]
    if not inside:
        raise ValueError(f"The graph has no variables in the scope {target}")
    for found in inside:
        rest = found if target == "/" else found.removeprefix(target)
        yield rest if name == "/" else name + rest, known[found]


def _set_initializer(reader: CheckpointReader, name: str, variable: Variable) -> None:
    shapes_there, types_there = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    if name not in shapes_there:
        held = sorted(shapes_there)
        raise ValueError(f"Tensor {name} is not found in checkpoint {reader.path}, which holds: {held[:20]}")
    dims, there = as_dims(variable.shape), tuple(shapes_there[name])
    if not shapes.compatible(dims, there) or types_there[name] is not variable.dtype:
        raise ValueError(
            f"Variable {variable.op.name}, {variable.dtype.name} of shape {shapes.text(dims)}, cannot begin with tensor "
            f"{name} of the checkpoint, which is {types_there[name].name} of shape {shapes.text(there)}"
        )
    graph = variable.graph
    with (
        graph.as_default(),
        graph.control_dependencies(None),
        graph.name_scope(None),
        graph.name_scope(f"checkpoint_initializer/{variable.op.name}"),
        graph.colocate_with(variable.op, ignore_existing=True),
    ):
        variable._begin_with(const(reader.get_tensor(name)))
