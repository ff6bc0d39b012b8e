"""The protobuf classes of meta graphs, which no small package carries: described here, by TensorFlow's field numbers."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

from .protos import protos

_FILE, _PACKAGE = "weft/meta_graph.proto", "weft"

#: Messages with fields as `name number kind`; `[]` after the kind: repeated; kinds with a capital are messages.
_MESSAGES = {
    "MetaInfo": "meta_graph_version 1 string, tags 4 string[], tensorflow_version 5 string, stripped_default_attrs 7 bool",
    "SaverDef": "filename_tensor_name 1 string, save_tensor_name 2 string, restore_op_name 3 string, max_to_keep 4 int32, "
    "sharded 5 bool, keep_checkpoint_every_n_hours 6 float, version 7 int32",
    "NodeList": "value 1 string[]",
    "BytesList": "value 1 bytes[]",
    "Int64List": "value 1 int64[]",
    "FloatList": "value 1 float[]",
    "CollectionDef": "node_list 1 NodeList, bytes_list 2 BytesList, int64_list 3 Int64List, float_list 4 FloatList",
    "MetaGraphDef": "meta_info_def 1 MetaInfo, graph_def 2 GraphDef, saver_def 3 SaverDef",
    "ArgDef": "name 1 string, type 3 int32",
    "OpDef": "name 1 string, input_arg 2 ArgDef[], output_arg 3 ArgDef[]",
    "FunctionDef": "signature 1 OpDef, node_def 3 NodeDef[]",
    "Library": "function 1 FunctionDef[]",
    "WithLibrary": "library 2 Library",
    "VariableDef": "variable_name 1 string, initializer_name 2 string, snapshot_name 3 string, is_resource 5 bool, "
    "initial_value_name 6 string, trainable 7 bool, synchronization 8 int32, aggregation 9 int32",
}


class MetaProtos(NamedTuple):
    """The message classes."""

    MetaGraphDef: Any
    SaverDef: Any
    VariableDef: Any
    WithLibrary: Any


@cache
def meta_protos() -> MetaProtos:
    """The message classes. Raises ImportError without tensorboardX."""
    graph_def = protos().GraphDef.DESCRIPTOR
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name=_FILE, package=_PACKAGE, syntax="proto3")
    file.dependency.extend([graph_def.file.name, protos().NodeDef.DESCRIPTOR.file.name])
    for name, text in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field in text.split(", "):
            _add_field(message, field, graph_def.full_name)
    messages = {message.name: message for message in file.message_type}
    _oneof(messages["CollectionDef"])
    _add_map(messages["MetaGraphDef"], "collection_def", 4, "CollectionDef")
    _add_map(messages["FunctionDef"], "ret", 4, "string")
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    names = [f"{_PACKAGE}.{name}" for name in MetaProtos._fields]
    return MetaProtos(*(message_factory.GetMessageClass(pool.FindMessageTypeByName(name)) for name in names))


def _add_field(message: Any, text: str, graph_def: str) -> None:
    name, number, kind = text.split()
    repeated, kind = kind.endswith("[]"), kind.removesuffix("[]")
    field = message.field.add(name=name, number=int(number), label=3 if repeated else 1)
    if kind[0].isupper():
        field.type = field.TYPE_MESSAGE
        around = graph_def.rpartition(".")[0] if kind in ("GraphDef", "NodeDef") else _PACKAGE
        field.type_name = f".{around}.{kind}"
    else:
        field.type = field.Type.Value(f"TYPE_{kind.upper()}")


def _oneof(message: Any) -> None:
    """The fields of a message are alternatives."""
    message.oneof_decl.add(name="kind")
    for field in message.field:
        field.oneof_index = 0


def _add_map(message: Any, name: str, number: int, kind: str) -> None:
    """A field that maps strings to values of a kind."""
    entry = message.nested_type.add(name=name.title().replace("_", "") + "Entry")
    entry.options.map_entry = True
    _add_field(entry, "key 1 string", "")
    _add_field(entry, f"value 2 {kind}", "")
    type_name = f".{_PACKAGE}.{message.name}.{entry.name}"
    message.field.add(name=name, number=number, label=3, type=entry.field[0].TYPE_MESSAGE, type_name=type_name)
