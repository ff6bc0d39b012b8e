"""TensorFlow's GraphDef into the default graph: everything that can be checked before is, then nodes one by one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

from .. import context
from ..errors import NotFoundError
from ..ir import Graph, Operation, Tensor, get_default_graph
from ..ops.convert import convert_to_tensor
from . import composed
from .attributes import read_value
from .calling import CALLS
from .dataflow import MARKS, MERGES, Entry, Flow
from .library import Library
from .protos import as_graph_def
from .reading import Reader, row_of, source_of

_NODE_NAME = re.compile(r"[A-Za-z0-9_.\\/>-]+")


def import_graph_def(
    graph_def: Any, input_map: Any = None, return_elements: Any = None, name: str | None = None, op_dict: Any = None,
    producer_op_list: Any = None,
) -> list[Any] | None:  # fmt: skip
    """Add the nodes of a GraphDef to the default graph, under the name scope `name` ("import" when None).

    `input_map`: tensors (or values) by the names, in the GraphDef, of the inputs that they replace; `^name` for control
    inputs. Returns the operations and tensors that `return_elements` names, if it does. Names, devices, control inputs
    and colocation are those of the GraphDef, inside the scopes in force. Random operations draw other numbers than TF's,
    of the same distribution. `op_dict` and `producer_op_list` are taken for compatibility.

    Source: `tf.import_graph_def`. Raises TypeError for arguments of the wrong kind; ValueError for nodes that fit neither
    each other nor weft's operations (what had been added before stays in the graph); errors.NotFoundError for an
    operation type that weft does not have; ImportError without tensorboardX.
    """
    if context.executing_eagerly():
        raise RuntimeError("import_graph_def adds to a graph; with eager execution there is none.")
    proto = as_graph_def(graph_def)
    mapped, wanted = _check_map(input_map), _check_names(return_elements)
    entries = _entries(proto)
    flow = Flow(entries, {key: _needs(entry, mapped) for key, entry in entries.items()}, Library(proto, _entries))
    for text in mapped:
        if source_of(text).name not in entries:
            raise ValueError(f"Attempted to map inputs that were not found in graph_def: [{text}]")
    for text in wanted or ():
        if source_of(text).name not in entries:
            raise ValueError(f"Requested return node '{source_of(text).name}' not found in graph def")
    graph = get_default_graph()
    if name == "" and not all(isinstance(value, Tensor | Operation) for value in mapped.values()):
        raise ValueError("import_graph_def() requires a non-empty `name` if `input_map` contains non-Tensor values.")
    with graph.name_scope("import" if name is None else name) as scope:
        reader = Reader(graph, scope, flow, _tensors(graph, mapped))
        for key in flow.order:
            if not flow.contexts[key]:
                reader.add(key)
        reader.colocate()
    return None if wanted is None else [reader.element(text) for text in wanted]


# what is checked before anything is added


def _check_map(input_map: Any) -> dict[str, Any]:
    if input_map is None:
        return {}
    if not isinstance(input_map, Mapping):
        raise TypeError(f"Argument `input_map` must be a dictionary. Obtained {type(input_map).__name__}")
    if not all(isinstance(key, str) for key in input_map):
        raise TypeError(f"All keys for argument `input_map` must be strings. Obtained keys: {list(input_map)}")
    return {str(source_of(key)): value for key, value in input_map.items()}


def _check_names(return_elements: Any) -> tuple[str, ...] | None:
    if return_elements is None:
        return None
    elements = tuple(return_elements)
    if not all(isinstance(item, str) for item in elements):
        raise TypeError(f"Argument `return_elements` must be a list of strings. Obtained {return_elements}.")
    return elements


def _entries(proto: Any) -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    for node in proto.node:
        if node.name in entries:
            raise ValueError(f"Node '{node.name}' is not unique")
        if not _NODE_NAME.fullmatch(node.name):
            raise ValueError(f"Node '{node.name}': Node name contains invalid characters")
        try:
            entries[node.name] = _entry(node)
        except ValueError as error:
            raise ValueError(f"Node '{node.name}' ({node.op}): {error}") from None
    for name, entry in entries.items():
        for source in (*entry.inputs, *entry.controls):
            if source.name not in entries:
                raise ValueError(f"Node '{name}': Unknown input node '{source.name if source.output >= 0 else source}'")
        for other in entry.colocation:
            if other not in entries:
                raise ValueError(f"Node '{name}' expects to be colocated with unknown node '{other}'")
    return entries


def _entry(node: Any) -> Entry:
    sources = [source_of(text) for text in node.input]
    count = sum(source.output >= 0 for source in sources)
    if any(source.output < 0 for source in sources[:count]):
        raise ValueError("Control dependencies must come after regular dependencies")
    attrs = {}
    for name in node.attr:
        try:
            attrs[name] = read_value(node.attr[name])
        except ValueError as error:
            if name.startswith("_"):
                continue  # what other programs note on their nodes need not be something that weft has
            raise ValueError(f"attr '{name}': {error}") from None
    if not (composed.builder_for(node.op, attrs) or row_of(node.op) or node.op in MARKS | MERGES or node.op in CALLS):
        raise NotFoundError(None, None, f"Op type not registered '{node.op}' in weft (node '{node.name}').")
    return Entry(node, tuple(sources[:count]), tuple(sources[count:]), attrs, _colocation(attrs))


def _colocation(attrs: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the nodes whose device a node shares. Raises ValueError for another kind of attribute."""
    groups = attrs.get("_class", ())
    if not isinstance(groups, tuple) or not all(isinstance(group, bytes) for group in groups):
        raise ValueError("attr '_class' must be a list of strings")
    return tuple(group[5:].decode(errors="replace") for group in groups if group.startswith(b"loc:@"))


def _needs(entry: Entry, mapped: Mapping[str, Any]) -> set[str]:
    return {source.name for source in (*entry.inputs, *entry.controls) if str(source) not in mapped}


def _tensors(graph: Graph, mapped: Mapping[str, Any]) -> dict[str, Any]:
    """The values of an input map as tensors, those of control inputs as operations."""
    made = not all(isinstance(value, Tensor | Operation) for value in mapped.values())
    with graph.name_scope("_inputs") if made else nullcontext():
        return {
            key: getattr(value, "op", value) if key.startswith("^") else convert_to_tensor(value)
            for key, value in mapped.items()
        }
