"""Meta graphs read from files: a graph with its collections, and a Saver for its variables."""

from __future__ import annotations

import os
from typing import Any

from ..graph.collections import GraphKeys
from ..graph.graphdef.graph_util import node_name
from ..graph.graphdef.importing import import_graph_def
from ..graph.graphdef.meta_protos import meta_protos
from ..graph.ir import Graph, Tensor, get_default_graph
from ..graph.storage.files import is_file, read
from ..graph.storage.places import shown
from ..graph.variable import Variable
from .meta_graph_export import VARIABLE_KEYS, clear_device_requests, without_files
from .saver import Saver


def import_meta_graph(
    meta_graph_or_file: Any, clear_devices: bool = False, import_scope: str | None = None, *, input_map: Any = None
) -> Saver | None:
    """Add a meta graph (a MetaGraphDef or its file) to the default graph, with its collections.

    Returns a Saver for its variables, by the names they had when it was exported, or None without variables. The nodes by
    which TF itself saves and restores are left out. Source: `tf.train.import_meta_graph`. Raises OSError for a file that
    does not exist or is no meta graph, and as `import_graph_def`.
    """
    meta = _read(meta_graph_or_file)
    graph_def = without_files(meta.graph_def)
    if clear_devices:
        clear_device_requests(graph_def)
    found = _Collections(meta, {node.name for node in graph_def.node})
    names = list(found.names)
    elements = import_graph_def(graph_def, input_map, names, import_scope or "") or []
    variables = found.restore(get_default_graph(), dict(zip(names, elements, strict=True)))
    if not variables:
        return None
    saver = meta.saver_def
    if not meta.HasField("saver_def"):
        return Saver(variables, name=import_scope)
    hours = saver.keep_checkpoint_every_n_hours or 10000.0
    return Saver(variables, max_to_keep=saver.max_to_keep, keep_checkpoint_every_n_hours=hours, name=import_scope)


def _read(meta_graph_or_file: Any) -> Any:
    from google.protobuf import message, text_format

    cls = meta_protos().MetaGraphDef
    if getattr(getattr(meta_graph_or_file, "DESCRIPTOR", None), "name", None) == "MetaGraphDef":
        return cls.FromString(meta_graph_or_file.SerializeToString())
    path = os.fspath(meta_graph_or_file)
    if not is_file(path):
        raise OSError(f"File {shown(path)} does not exist.")
    data = read(path)
    try:
        return cls.FromString(data)
    except message.DecodeError:
        pass  # it is text then
    try:
        return text_format.Parse(data.decode(), cls(), allow_unknown_field=True)
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise OSError(f"Cannot parse file {shown(path)}: {error}") from None


class _Collections:
    """The collections of a meta graph, before and after its graph is there."""

    def __init__(self, meta: Any, nodes: set[str]) -> None:
        self.items: list[tuple[str, Any]] = []
        #: The elements of the graph that collections name.
        self.names: dict[str, None] = {}
        for key, collection in meta.collection_def.items():
            kind = collection.WhichOneof("kind")
            for value in getattr(collection, kind).value if kind else ():
                if kind == "node_list" and node_name(value) not in nodes:
                    continue  # one of those that were left out
                item = _as_variable(value) if key in VARIABLE_KEYS else value
                self.items.append((key, (kind, item)))
                self.names |= dict.fromkeys(_names(kind, item))

    def restore(self, graph: Graph, elements: dict[str, Any]) -> dict[str, Variable]:
        """Fill the graph's collections. Returns the global variables by the names they had."""
        variables: dict[str, Variable] = {}
        with graph.as_default():
            for _, (_, item) in self.items:
                if hasattr(item, "variable_name") and item.variable_name not in variables:
                    variables[item.variable_name] = _variable(item, elements)
        by_handle: dict[Any, Any] = {variable.handle: variable for variable in variables.values()}
        saved: dict[str, Variable] = {}
        for key, (kind, item) in self.items:
            if hasattr(item, "variable_name"):
                value: Any = variables[item.variable_name]
                if key == GraphKeys.GLOBAL_VARIABLES:
                    saved[item.variable_name.partition(":")[0]] = value
            elif kind == "node_list":
                value = by_handle.get(elements[item], elements[item])
            else:
                value = _plain(item)
            graph.add_to_collection(key, value)
        return saved


def _as_variable(data: Any) -> Any:
    from google.protobuf import message

    try:
        return meta_protos().VariableDef.FromString(data)
    except (message.DecodeError, TypeError) as error:
        raise ValueError(f"a collection of variables holds what is no VariableDef: {error}") from None


def _names(kind: str, item: Any) -> list[str]:
    if kind == "node_list":
        return [item]
    if isinstance(item, str | bytes | int | float):
        return []
    return [item.initializer_name, item.snapshot_name, item.initial_value_name]


def _plain(item: Any) -> Any:
    """Text where bytes are text, as it went in."""
    try:
        return item.decode() if isinstance(item, bytes) else item
    except UnicodeDecodeError:
        return item


def _variable(item: Any, elements: dict[str, Any]) -> Variable:
    """The variable that a VariableDef describes. Raises ValueError for names of other operations."""
    initializer, snapshot, initial = (elements[name] for name in _names("bytes_list", item))
    if getattr(initializer, "type", None) != "AssignVariableOp" or not all(
        isinstance(tensor, Tensor) for tensor in (snapshot, initial)
    ):
        raise ValueError(f"Variable '{item.variable_name}': its initializer or its value are no such operations")
    definition = {
        "variable_name": initializer.inputs[0].name, "initializer_name": initializer.name, "snapshot_name": snapshot.name,
        "initial_value_name": initial.name, "trainable": item.trainable,
    }  # fmt: skip
    return Variable.from_proto(definition)
