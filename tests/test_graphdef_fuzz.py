"""GraphDefs that something broke: whatever the bytes, reading them ends in a graph or in one of the documented errors."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import weft as wf
from google.protobuf.message import DecodeError
from hostile import fuzzed
from hypothesis import given, strategies as st
from test_cases import COMPUTED, build
from weft.graph import context, errors

DATA = Path(__file__).parent / "data"
FILES = {name: (DATA / f"{name}.pb").read_bytes() for name in ("mlp", "convnet", "lstm")}


def read(graph_def: Any) -> None:
    """Import a GraphDef, which may be refused as documented."""
    with wf.Graph().as_default():
        try:
            wf.import_graph_def(graph_def)
        except (ValueError, errors.NotFoundError):
            return


@fuzzed(300)
@given(st.binary(max_size=200))
def test_bytes_of_nothing(data: bytes) -> None:
    try:
        graph_def = wf.GraphDef.FromString(data)
    except DecodeError:
        return
    read(graph_def)


@fuzzed(300)
@given(st.sampled_from(sorted(FILES)), st.data())
def test_files_cut_off_or_changed(name: str, data: st.DataObject) -> None:
    content = bytearray(FILES[name])
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    length = data.draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))
    try:
        graph_def = wf.GraphDef.FromString(bytes(content[:length]))
    except DecodeError:
        return
    read(graph_def)


@cache
def graphs() -> list[Any]:
    """A GraphDef for each row of the table of operations."""
    made = []
    for case in COMPUTED:
        context.reset_default_graph()
        outputs, _ = build(case, "full")
        made.append(outputs[0].graph.as_graph_def())
    return made


@cache
def attributes() -> list[Any]:
    """The attributes of all these nodes, each once."""
    protos = [proto for graph_def in graphs() for node in graph_def.node for proto in node.attr.values()]
    found = {proto.SerializeToString(): proto for proto in protos}
    return [found[key] for key in sorted(found)]


@fuzzed(600)
@given(st.data())
def test_nodes_with_attributes_inputs_and_types_of_others(data: st.DataObject) -> None:
    graph_def = wf.GraphDef()
    graph_def.CopyFrom(data.draw(st.sampled_from(graphs())))
    names = [node.name for node in graph_def.node]
    types = ["Add", "FusedBatchNormV3", "LRN", "Concat", "Weft>SumTo", "", *(node.op for node in graph_def.node)]
    references = [
        "",
        "^",
        "^^a",
        ":0",
        "a:b",
        *names,
        *(f"^{name}" for name in names),
        *(f"{name}:1" for name in names),
    ]
    for _ in range(data.draw(st.integers(1, 3))):
        node = data.draw(st.sampled_from(list(graph_def.node)))
        match data.draw(st.integers(0, 5)):
            case 0 if node.attr:
                node.attr[data.draw(st.sampled_from(sorted(node.attr)))].CopyFrom(
                    data.draw(st.sampled_from(attributes()))
                )
            case 1 if node.attr:
                del node.attr[data.draw(st.sampled_from(sorted(node.attr)))]
            case 2:
                node.op = data.draw(st.sampled_from(types))
            case 3 if node.input:
                del node.input[data.draw(st.integers(0, len(node.input) - 1))]
            case 4:
                node.name = data.draw(st.sampled_from(["", "a b", "_x", "a/", "/a", "é", *names]))
            case _:
                node.input.append(data.draw(st.sampled_from(references)))
    read(graph_def)


@fuzzed(200)
@given(st.integers(0, 3499), st.integers(0, 255), st.integers(0, 3500))
def test_meta_graphs_cut_off_or_changed(
    tmp_path_factory: pytest.TempPathFactory, at: int, byte: int, length: int
) -> None:
    content = bytearray((DATA / "linear.meta").read_bytes())
    content[at % len(content)] = byte
    path = tmp_path_factory.getbasetemp() / "broken.meta"
    path.write_bytes(bytes(content if length % 2 else content[:length]))
    with wf.Graph().as_default():
        try:
            wf.train.import_meta_graph(path)
        except (ValueError, OSError, errors.NotFoundError):
            return


def test_a_split_into_no_pieces_is_refused() -> None:
    graph = wf.Graph()
    with graph.as_default():
        wf.split(wf.placeholder(wf.float32, [2, 4], name="x"), 2, 1)
    graph_def = graph.as_graph_def()
    (node,) = (each for each in graph_def.node if each.op == "Split")
    node.attr["num_split"].i = 0
    with pytest.raises(ValueError, match="positive number of pieces, got 0"):
        wf.import_graph_def(graph_def)
