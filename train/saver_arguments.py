"""What a Saver is given: variables by name, sessions, places, checkpoints to restore from; and what it says of wrong ones."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..graph import errors
from ..graph.collections import GraphKeys
from ..graph.ir import Tensor, get_default_graph
from ..graph.storage import files
from ..graph.storage.checkpoint import CheckpointReader
from ..graph.storage.places import shown, split
from ..graph.variable import Variable

Array = np.ndarray[Any, Any]
#: How many of a checkpoint's variables an error lists.
LISTED = 20


def by_name(var_list: Any) -> dict[str, Variable]:
    """The variables to save, by the names to save them under."""
    if var_list is None:
        var_list = get_default_graph().get_collection(GraphKeys.GLOBAL_VARIABLES)
    if isinstance(var_list, dict):
        pairs: list[tuple[Any, Any]] = list(var_list.items())
    elif isinstance(var_list, (list, tuple, set, frozenset)):
        pairs = [(None, item) for item in var_list]
    else:
        raise TypeError(f"Variables to save should be passed in a dict or a list. Got {var_list!r}")
    found: dict[str, Variable] = {}
    names: dict[Tensor, str] = {}
    for key, variable in pairs:
        if not isinstance(variable, Variable):
            raise TypeError(f"Variable to save is not a Variable: {variable!r}")
        name = variable.op.name if key is None else key
        if not isinstance(name, str) or name == "__metadata__":
            raise ValueError(f"A variable cannot be saved under the name {name!r}")
        if name in found:
            raise ValueError(f"At least two variables have the same name: {name}")
        if variable.handle in names:
            raise ValueError(f"The same saveable will be restored with two names: {names[variable.handle]} and {name}")
        found[name], names[variable.handle] = variable, name
    return found


def check_session(sess: Any) -> None:
    monitored = hasattr(sess, "run_step_fn")  # its hooks would count the run as one of the training's
    if monitored or not hasattr(sess, "run") or not hasattr(sess, "graph"):
        raise TypeError(f"'sess' must be a Session; {sess!r}")


def check_target(sess: Any, save_path: str, latest_filename: str | None) -> None:
    check_session(sess)
    folder, name = split(save_path)
    if not name:
        raise ValueError(f"save_path must end in a file's name, got {shown(save_path)!r}")
    if latest_filename is not None and os.path.basename(latest_filename) != latest_filename:
        raise ValueError("'latest_filename' must not contain path components")
    if folder and not files.is_folder(folder):
        raise ValueError(f"Parent directory of {shown(save_path)} doesn't exist, can't save.")


def as_array(value: Any, variable: Variable) -> Array:
    """A fetched value as an array; a string's scalar must not become NumPy's own kind of string, which ends at a zero."""
    if isinstance(value, np.ndarray):
        return value
    array = np.empty((), variable.dtype.np)
    array[()] = value
    return array


def check_names(reader: CheckpointReader, variables: Mapping[str, Variable]) -> None:
    missing = [name for name in variables if not reader.has_tensor(name)]
    if not missing:
        return
    held = sorted(reader.get_variable_to_shape_map())
    more = f" and {len(held) - LISTED} more" if len(held) > LISTED else ""
    others = f" (nor {', '.join(missing[1 : LISTED + 1])})" if missing[1:] else ""
    operation = variables[missing[0]].op
    raise errors.NotFoundError(
        operation, operation,
        f"Key {missing[0]}{others} not found in checkpoint {shown(reader.path)}, which holds: {', '.join(held[:LISTED])}{more}. "
        f"The variable was made at {operation.location}",
    )  # fmt: skip
