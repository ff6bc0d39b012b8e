"""The protobuf classes of TensorFlow's graphs, most of which tensorboardX carries: loaded when they are first needed."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

from .messages import described

#: The GraphDef of tensorboardX has no library of functions: described here, by TensorFlow's field numbers.
_MESSAGES = {
    "ArgDef": "name 1 string, type 3 int32",
    "OpDef": "name 1 string, input_arg 2 ArgDef[], output_arg 3 ArgDef[], is_stateful 17 bool",
    "FunctionDef": "signature 1 OpDef, node_def 3 NodeDef[], ret 4 string{}",
    "FunctionDefLibrary": "function 1 FunctionDef[]",
    "GraphDef": "node 1 NodeDef[], library 2 FunctionDefLibrary, version 3 int32, versions 4 VersionDef",
}


class Protos(NamedTuple):
    """The message classes."""

    GraphDef: Any
    NodeDef: Any
    AttrValue: Any
    TensorProto: Any


@cache
def protos() -> Protos:
    """The message classes. Raises ImportError, which says what to install, when tensorboardX is not there."""
    try:
        from tensorboardX.proto import attr_value_pb2, node_def_pb2, tensor_pb2, versions_pb2
    except ImportError as error:
        raise ImportError(
            "TensorFlow's GraphDef needs the package tensorboardX, which carries its protobuf classes. Install it with: "
            'pip install "weft[graphdef]"'
        ) from error
    known = {"NodeDef": node_def_pb2.NodeDef, "VersionDef": versions_pb2.VersionDef}
    graph_def = described("weft/graph.proto", _MESSAGES, known)["GraphDef"]
    return Protos(graph_def, node_def_pb2.NodeDef, attr_value_pb2.AttrValue, tensor_pb2.TensorProto)


def as_graph_def(value: Any, what: str = "graph_def") -> Any:
    """A GraphDef of whatever library (TensorFlow's own, TensorBoard's) as weft's class. Raises TypeError for anything else."""
    cls = protos().GraphDef
    if isinstance(value, cls):
        return value
    if getattr(getattr(value, "DESCRIPTOR", None), "name", None) != "GraphDef":
        raise TypeError(f"Argument `{what}` must be a GraphDef proto, not a {type(value).__name__}.")
    return cls.FromString(value.SerializeToString())
