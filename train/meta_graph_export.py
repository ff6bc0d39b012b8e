"""Graphs written to files: a GraphDef for other tools, and meta graphs, which also hold collections and what a Saver needs."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from ..graph.collections import GraphKeys
from ..graph.graphdef.graph_util import node_name
from ..graph.graphdef.meta_protos import meta_protos
from ..graph.graphdef.protos import as_graph_def, protos
from ..graph.ir import Graph, Operation, Tensor, get_default_graph
from ..graph.storage.files import make_folder, write_whole
from ..graph.storage.places import join
from ..graph.variable import Variable

_log = logging.getLogger("weft")

#: The collections whose bytes are VariableDefs.
VARIABLE_KEYS = frozenset(
    (
        GraphKeys.GLOBAL_VARIABLES, GraphKeys.TRAINABLE_VARIABLES, GraphKeys.LOCAL_VARIABLES, GraphKeys.MODEL_VARIABLES,
        GraphKeys.MOVING_AVERAGE_VARIABLES, GraphKeys.METRIC_VARIABLES, GraphKeys.GLOBAL_STEP,
    )
)  # fmt: skip

#: The nodes by which TF's graphs save and restore, and those by which tasks do for a Saver: each Saver has its own.
_FILES = frozenset((
    "Save", "SaveSlices", "SaveV2", "Restore", "RestoreSlice", "RestoreV2", "ShardedFilename", "ShardedFilespec",
    "MergeV2Checkpoints", *(f"Weft>{kind}" for kind in ("HeldValue", "HoldVariables", "ReadHeld", "SeesFile", "WriteHeld")),
))  # fmt: skip

#: What each program has of its own, and makes anew.
OBJECT_KEYS = frozenset((GraphKeys.SAVERS,))


def write_graph(graph_or_graph_def: Any, logdir: Any, name: str, as_text: bool = True) -> str:
    """Write a graph as TF's GraphDef to a file of a folder, which is made when it is not there; returns the path.

    As text (`.pbtxt`), or binary (`.pb`). Source: `tf.train.write_graph`. Raises TypeError for what is no graph, ValueError
    as `Graph.as_graph_def`, an OpError for what the file system refuses, ImportError without tensorboardX.
    """
    graph = graph_or_graph_def
    graph_def = graph.as_graph_def() if isinstance(graph, Graph) else as_graph_def(graph, "graph_or_graph_def")
    make_folder(os.fspath(logdir))
    path = join(logdir, name)
    write_message(path, graph_def, as_text)
    return path


def write_message(path: str, message: Any, as_text: bool) -> None:
    from google.protobuf import text_format

    data = text_format.MessageToString(message).encode() if as_text else message.SerializeToString(deterministic=True)
    write_whole(path, data)


@cache
def _warn_once(text: str) -> None:
    """However many graphs a process saves: it is the same package that is not there."""
    _log.warning(text)


class MetaGraphBytes:
    """The meta graph of a graph as it is written beside its checkpoints: made again only when the graph has changed."""

    def __init__(self) -> None:
        self._made_of: Any = None
        self._bytes: bytes | None = None

    def of(self, graph: Graph, saver: Any) -> bytes | None:
        """The meta graph, serialized; None, with a warning, where it cannot be made."""
        keys = graph.get_all_collection_keys()
        now = graph, graph.version, tuple(len(graph.get_collection_ref(key)) for key in keys)
        if self._made_of != now:
            self._made_of, self._bytes = now, None
            try:
                meta = export_meta_graph(graph=graph, saver_def=saver.as_saver_def())
                self._bytes = meta.SerializeToString(deterministic=True)
            except ImportError as error:
                _warn_once(f"Checkpoints are written without a meta graph: {error}")
            except ValueError as error:
                _log.warning("Checkpoints are written without a meta graph, for this graph has none: %s", error)
        return self._bytes


def export_meta_graph(
    filename: Any = None, meta_info_def: Any = None, graph_def: Any = None, saver_def: Any = None,
    collection_list: Iterable[str] | None = None, as_text: bool = False, graph: Graph | None = None,
    export_scope: str | None = None, clear_devices: bool = False, clear_extraneous_savers: bool = False,
    strip_default_attrs: bool = False, save_debug_info: bool = False,
) -> Any:  # fmt: skip
    """The default graph (or `graph`) with its collections as a MetaGraphDef, which is also written when `filename` is given.

    Collections hold variables, tensors, operations, strings, ints and floats; another one is left out with a warning.
    `saver_def` says how many checkpoints a Saver keeps. `clear_extraneous_savers`, `strip_default_attrs` and
    `save_debug_info` are taken for compatibility. Source: `tf.train.export_meta_graph`. Raises ValueError for an
    `export_scope`, and as `write_graph`.
    """
    if export_scope is not None:
        raise ValueError("weft exports whole graphs: export_scope must be None")
    graph = graph or get_default_graph()
    meta = meta_protos().MetaGraphDef()
    if meta_info_def is not None:
        meta.meta_info_def.MergeFromString(meta_info_def.SerializeToString())
    exported = without_files(graph.as_graph_def(add_shapes=True)) if graph_def is None else as_graph_def(graph_def)
    meta.graph_def.CopyFrom(exported)
    if saver_def is not None:
        meta.saver_def.MergeFromString(saver_def.SerializeToString())
    if clear_devices:
        clear_device_requests(meta.graph_def)
    for key in graph.get_all_collection_keys() if collection_list is None else collection_list:
        _add_collection(meta, key, graph.get_collection(key))
    if filename is not None:
        write_message(os.fspath(filename), meta, as_text)
    return meta


def without_files(graph_def: Any) -> Any:
    """The GraphDef without the nodes that read or write checkpoints, and those that need them."""
    users: dict[str, list[str]] = {}
    for node in graph_def.node:
        for text in node.input:
            users.setdefault(node_name(text), []).append(node.name)
    left_out = {node.name for node in graph_def.node if node.op in _FILES}
    waiting = list(left_out)
    while waiting:
        for user in users.get(waiting.pop(), ()):
            if user not in left_out:
                left_out.add(user)
                waiting.append(user)
    rest = protos().GraphDef(versions=graph_def.versions, library=graph_def.library)
    rest.node.extend(node for node in graph_def.node if node.name not in left_out)
    return rest


def clear_device_requests(graph_def: Any) -> None:
    for nodes in (graph_def.node, *(function.node_def for function in graph_def.library.function)):
        for node in nodes:
            node.device = ""


def _add_collection(meta: Any, key: str, items: list[Any]) -> None:
    if key not in VARIABLE_KEYS:  # as in TF: only these collections describe their variables, others name them
        items = [getattr(item, "handle", item) for item in items]
    kinds: list[tuple[Any, str, Callable[[Any], Any]]] = [
        (Variable, "bytes_list", _variable_def), ((Tensor, Operation), "node_list", lambda item: item.name),
        ((str, bytes), "bytes_list", lambda item: item.encode() if isinstance(item, str) else item),
        (int, "int64_list", int), (float, "float_list", float),
    ]  # fmt: skip
    for cls, field, encode in kinds:
        if items and all(isinstance(item, cls) for item in items):
            getattr(meta.collection_def[key], field).value.extend(encode(item) for item in items)
            return
    if items and key not in OBJECT_KEYS:
        names = sorted({type(item).__name__ for item in items})
        _log.warning("Collection %s of %s is not part of the meta graph", key, ", ".join(names))


def _variable_def(variable: Variable) -> bytes:
    data: bytes = meta_protos().VariableDef(**variable.to_proto(), is_resource=True).SerializeToString()
    return data
