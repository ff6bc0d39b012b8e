"""The protobuf classes of meta graphs, which no small package carries: described here, by TensorFlow's field numbers."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

from .messages import described
from .protos import protos

_MESSAGES = {
    "MetaInfo": "meta_graph_version 1 string, tags 4 string[], tensorflow_version 5 string, stripped_default_attrs 7 bool",
    "SaverDef": "filename_tensor_name 1 string, save_tensor_name 2 string, restore_op_name 3 string, max_to_keep 4 int32, "
    "sharded 5 bool, keep_checkpoint_every_n_hours 6 float, version 7 int32",
    "NodeList": "value 1 string[]",
    "BytesList": "value 1 bytes[]",
    "Int64List": "value 1 int64[]",
    "FloatList": "value 1 float[]",
    "CollectionDef": "|node_list 1 NodeList, bytes_list 2 BytesList, int64_list 3 Int64List, float_list 4 FloatList",
    "MetaGraphDef": "meta_info_def 1 MetaInfo, graph_def 2 GraphDef, saver_def 3 SaverDef, collection_def 4 CollectionDef{}",
    "VariableDef": "variable_name 1 string, initializer_name 2 string, snapshot_name 3 string, is_resource 5 bool, "
    "initial_value_name 6 string, trainable 7 bool, synchronization 8 int32, aggregation 9 int32",
}


class MetaProtos(NamedTuple):
    """The message classes."""

    MetaGraphDef: Any
    SaverDef: Any
    VariableDef: Any


@cache
def meta_protos() -> MetaProtos:
    """The message classes. Raises ImportError without tensorboardX."""
    classes = described("weft/meta_graph.proto", _MESSAGES, {"GraphDef": protos().GraphDef})
    return MetaProtos(*(classes[name] for name in MetaProtos._fields))
