"""`wf.graph_util`: parts of a GraphDef, and variables turned into the constants that they are when a training is over."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np

from ..dtypes import DType, as_dtype, int32, string
from ..ir import Graph, Tensor
from ..ops.literal import Literal
from .attributes import read_value, write_value
from .protos import as_graph_def, protos
from .tables import PREFIX
from .tensors import read_dtype

#: What reads a whole variable, and so is the constant itself.
_READS = ("ReadVariableOp", f"{PREFIX}InitializedValue")


def extract_sub_graph(graph_def: Any, dest_nodes: Sequence[str]) -> Any:
    """The GraphDef of these nodes and all they need, in the same order. Source: `tf.graph_util.extract_sub_graph`.

    Raises TypeError for the wrong kinds of arguments, AssertionError as TF does for names that are not there.
    """
    source = as_graph_def(graph_def)
    if isinstance(dest_nodes, str):
        raise TypeError("dest_nodes must be an iterable of strings.")
    nodes = {node.name: node for node in source.node}
    for name in dest_nodes:
        if name not in nodes:
            raise AssertionError(f"{name} is not in graph")
    needed, waiting = set(dest_nodes), list(dest_nodes)
    while waiting:
        for text in nodes[waiting.pop()].input:
            name = node_name(text)
            if name not in needed and name in nodes:
                needed.add(name)
                waiting.append(name)
    part = protos().GraphDef()
    part.CopyFrom(source)  # with its functions, which the message class does not know
    del part.node[:]
    part.node.extend(node for node in source.node if node.name in needed)
    return part


def node_name(text: str) -> str:
    """The node that an input refers to."""
    name, _, index = text.removeprefix("^").rpartition(":")
    return name if name and index.isdigit() else text.removeprefix("^")


def convert_variables_to_constants(
    sess: Any, input_graph_def: Any, output_node_names: Sequence[str], variable_names_whitelist: Any = None,
    variable_names_blacklist: Any = None,
) -> Any:  # fmt: skip
    """The part of a GraphDef that the output nodes need, with each variable's value in the session as a constant.

    The whitelist names the variables that are turned into constants, the blacklist those that are not (None: all, none).
    Source: `tf.graph_util.convert_variables_to_constants`. Raises ValueError for what changes a variable or asks whether it
    has a value, errors.FailedPreconditionError for a variable without value, AssertionError for unknown names.
    """
    part = extract_sub_graph(input_graph_def, output_node_names)
    types = {node.name: as_dtype(int(node.attr["dtype"].type)) for node in part.node if node.op == "VarHandleOp"}
    names = [name for name in types if _is_chosen(name, variable_names_whitelist, variable_names_blacklist)]
    values = sess.run({name: _read(sess.graph, name) for name in names}) if names else {}
    frozen = protos().GraphDef()
    frozen.CopyFrom(part)
    del frozen.node[:]
    taken = {node.name for node in part.node}
    for node in part.node:
        users = [text for text in node.input if node_name(text) in values and not text.startswith("^")]
        if node.name in values:
            _constant(frozen, node.name, values[node.name], types[node.name], node.device)
        elif users:
            _add_reader(frozen, node, types[node_name(users[0])], taken)
        else:
            frozen.node.append(node)
    return frozen


def _is_chosen(name: str, whitelist: Collection[str] | None, blacklist: Collection[str] | None) -> bool:
    return (whitelist is None or name in whitelist) and (blacklist is None or name not in blacklist)


def _read(graph: Graph, name: str) -> Tensor:
    """A read of a variable that nothing has to come before. Raises ValueError when there is none."""
    for user in graph.get_operation_by_name(name).outputs[0].consumers():
        if user.type == "ReadVariableOp" and not user.control_inputs:
            return user.outputs[0]
    raise ValueError(f"Variable '{name}' is read only after other operations: its value now cannot be had")


def _constant(graph_def: Any, name: str, value: Any, dtype: DType, device: str = "") -> None:
    array = np.empty((), object)
    array[()] = value
    array = value if isinstance(value, np.ndarray) else array if dtype is string else np.asarray(value, dtype.np)
    node = graph_def.node.add(name=name, op="Const", device=device)
    write_value(node.attr["dtype"], dtype)
    write_value(node.attr["value"], Literal(array))


def _add_reader(frozen: Any, node: Any, dtype: DType, taken: set[str]) -> None:
    """A node that read a variable, as one that reads the constant in its place. Raises ValueError where none can."""
    inputs = [text for text in node.input if not text.startswith("^")]
    attrs = {name: read_value(proto) for name, proto in node.attr.items() if name.startswith("_")}
    if node.op in _READS:
        kind, attrs["T"], inputs[1:] = "Identity", dtype, []
    elif node.op == "VariableShape":
        kind, attrs["T"], attrs["out_type"] = "Shape", dtype, read_dtype(node.attr["out_type"].type or int(int32))
    elif node.op == "ResourceGather" and not node.attr["batch_dims"].i:
        kind, axis = "GatherV2", _free(f"{node.name}/axis", taken)
        _constant(frozen, axis, 0, int32)
        inputs.append(axis)
        attrs |= {"Tparams": dtype, "Tindices": read_dtype(node.attr["Tindices"].type), "Taxis": int32}
    else:
        raise ValueError(
            f"Node '{node.name}' ({node.op}) uses variable '{inputs[0]}' in a way that a constant cannot serve"
        )
    inputs += [text for text in node.input if text.startswith("^")]
    made = frozen.node.add(name=node.name, op=kind, input=inputs, device=node.device)
    for name, value in attrs.items():
        write_value(made.attr[name], value)


def _free(name: str, taken: Iterable[str]) -> str:
    number, free = 0, name
    while free in taken:
        number += 1
        free = f"{name}_{number}"
    return free
