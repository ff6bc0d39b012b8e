"""Frozen graphs and meta graphs: variables become constants, or come back as variables with their collections and a Saver."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import weft as wf
from google.protobuf import text_format
from weft.graph import errors
from weft.graph.collections import GraphKeys
from weft.graph.ir import get_default_graph

DATA = Path(__file__).parent / "data"


def model() -> wf.Tensor:
    """`output`: rows of an embedding times a matrix, plus a vector."""
    table = wf.get_variable("table", [5, 3], dtype=wf.float64)
    kernel = wf.get_variable("kernel", [3, 2], dtype=wf.float64)
    rows = wf.nn.embedding_lookup(table, wf.placeholder(wf.int32, [None], name="ids"))
    bias = wf.Variable(np.zeros(2), name="bias", trainable=False)
    return wf.add(wf.matmul(rows, kernel), bias, name="output")


def initialized() -> wf.Session:
    session = wf.Session()
    session.run(wf.global_variables_initializer())
    return session


def nodes_of(graph_def: Any) -> dict[str, Any]:
    return {node.name: node for node in graph_def.node}


# frozen graphs


def test_a_frozen_graph_computes_the_same_without_variables() -> None:
    model()
    feeds = {"ids:0": np.array([4, 0, 4])}
    with initialized() as session:
        expected = session.run("output:0", feeds)
        frozen = wf.graph_util.convert_variables_to_constants(session, session.graph.as_graph_def(), ["output"])
    types = {node.op for node in frozen.node}
    assert not types & {"VarHandleOp", "ReadVariableOp", "ResourceGather", "AssignVariableOp"}
    assert nodes_of(frozen)["table"].op == "Const"
    with wf.Graph().as_default():
        (output,) = wf.import_graph_def(frozen, return_elements=["output:0"], name="") or []
        with wf.Session() as session:
            np.testing.assert_array_equal(session.run(output, feeds), expected)


def test_variables_that_are_not_chosen_stay() -> None:
    model()
    with initialized() as session:
        graph_def = session.graph.as_graph_def()
        white = wf.graph_util.convert_variables_to_constants(session, graph_def, ["output"], ["table", "bias"])
        black = wf.graph_util.convert_variables_to_constants(session, graph_def, ["output"], None, ["kernel"])
    assert white == black
    assert [node.name for node in white.node if node.op == "VarHandleOp"] == ["kernel"]


def test_strings_shapes_and_control_inputs_of_frozen_graphs() -> None:
    words = wf.Variable(np.array([b"a\0", b"b"], object), name="words")
    with wf.control_dependencies([wf.no_op(name="first")]):
        wf.identity(words.read_value(), name="out")
        wf.identity(wf.shape(words), name="size")
    with initialized() as session:
        frozen = wf.graph_util.convert_variables_to_constants(session, session.graph.as_graph_def(), ["out", "size"])
    with wf.Graph().as_default() as graph:
        wf.import_graph_def(frozen, name="")
        with wf.Session() as session:
            read, size = session.run(["out:0", "size:0"])
    assert (read.tolist(), size.tolist()) == ([b"a\0", b"b"], [2])
    assert "first" in {control.name for op in graph.get_operations() for control in op.control_inputs}


def test_what_cannot_be_frozen_is_named() -> None:
    variable = wf.Variable(1.0, name="v")
    variable.assign_add(1.0, read_value=False, name="grow")
    freeze = wf.graph_util.convert_variables_to_constants
    graph_def = get_default_graph().as_graph_def()
    with wf.Session() as session, pytest.raises(errors.FailedPreconditionError, match="v"):
        freeze(session, graph_def, ["v/Read/ReadVariableOp"])
    with initialized() as session:
        with pytest.raises(ValueError, match=r"Node 'grow' \(AssignAddVariableOp\) uses variable 'v'"):
            freeze(session, graph_def, ["grow"])
        with pytest.raises(AssertionError, match="nothing is not in graph"):
            freeze(session, graph_def, ["nothing"])


def test_extract_sub_graph() -> None:
    a = wf.constant(1.0, name="a")
    with wf.control_dependencies([wf.no_op(name="first")]):
        b = wf.unstack(wf.stack([a, a], name="both"), name="parts")[1]
    wf.negative(b, name="c")
    wf.constant(2.0, name="other")
    graph_def = get_default_graph().as_graph_def()
    part = wf.graph_util.extract_sub_graph(graph_def, ["c"])
    assert [node.name for node in part.node] == ["a", "first", "both", "parts", "c"]
    with pytest.raises(AssertionError, match="z is not in graph"):
        wf.graph_util.extract_sub_graph(graph_def, ["z"])
    with pytest.raises(TypeError, match="dest_nodes"):
        wf.graph_util.extract_sub_graph(graph_def, "c")


# meta graphs


@pytest.mark.parametrize("as_text", [True, False])
def test_a_meta_graph_brings_back_variables_collections_and_a_saver(tmp_path: Path, as_text: bool) -> None:
    output = model()
    plain: dict[str, list[Any]] = {"ints": [1, 2], "floats": [0.5], "words": ["a", b"\xff"]}
    for key, values in {**plain, "tensors": [output, output.op]}.items():
        for value in values:
            wf.add_to_collection(key, value)
    wf.add_to_collection("chosen", wf.global_variables()[1])
    saver = wf.train.Saver(max_to_keep=3, keep_checkpoint_every_n_hours=2)
    with initialized() as session:
        expected = session.run(output, {"ids:0": [1, 2]})
        checkpoint = saver.save(session, str(tmp_path / "model"))
    meta = wf.train.export_meta_graph(tmp_path / "m.meta", saver_def=saver.as_saver_def(), as_text=as_text)
    assert isinstance(meta, wf.MetaGraphDef)
    with wf.Graph().as_default():
        again = wf.train.import_meta_graph(tmp_path / "m.meta")
        assert again is not None
        assert (again.as_saver_def().max_to_keep, again.as_saver_def().keep_checkpoint_every_n_hours) == (3, 2)
        assert [variable.name for variable in wf.global_variables()] == ["table:0", "kernel:0", "bias:0"]
        assert wf.trainable_variables() == wf.global_variables()[:2]
        assert wf.get_collection("chosen") == [wf.global_variables()[1]]
        tensor = get_default_graph().get_tensor_by_name("output:0")
        assert {key: wf.get_collection(key) for key in plain} == plain
        assert wf.get_collection("tensors") == [tensor, tensor.op]
        with wf.Session() as session:
            again.restore(session, checkpoint)
            np.testing.assert_array_equal(session.run("output:0", {"ids:0": [1, 2]}), expected)


def test_a_scope_goes_before_names_in_the_graph_and_not_in_checkpoints(tmp_path: Path) -> None:
    model()
    with initialized() as session:
        expected = session.run("output:0", {"ids:0": [3]})
        checkpoint = wf.train.Saver().save(session, str(tmp_path / "model"))
    meta = wf.train.export_meta_graph()
    with wf.Graph().as_default():
        saver = wf.train.import_meta_graph(meta, import_scope="copy")
        assert saver is not None
        assert [variable.name for variable in wf.global_variables()] == ["copy/table:0", "copy/kernel:0", "copy/bias:0"]
        with wf.Session() as session:
            saver.restore(session, checkpoint)
            np.testing.assert_array_equal(session.run("copy/output:0", {"copy/ids:0": [3]}), expected)


def test_a_meta_graph_of_tensorflow_without_its_nodes_for_files() -> None:
    """Written by TensorFlow 2.21: `y = x w + b` with a Saver that keeps three checkpoints."""
    saver = wf.train.import_meta_graph(str(DATA / "linear.meta"))
    assert saver is not None
    assert saver.as_saver_def().max_to_keep == 3
    assert [variable.name for variable in wf.trainable_variables()] == ["w:0"]
    assert (wf.get_collection("words"), wf.get_collection("outputs")[0].name) == (["hello"], "y:0")
    names = {operation.name for operation in get_default_graph().get_operations()}
    assert "save/SaveV2/tensor_names" in names
    assert not {"save/SaveV2", "save/RestoreV2", "save/Identity", "save/control_dependency"} & names
    with initialized() as session:
        np.testing.assert_array_equal(session.run("y:0", {"x:0": [[1.0, 2.0]]}), [[6.0]])


def test_a_meta_graph_without_variables_gives_no_saver() -> None:
    wf.constant(1.0, name="one")
    meta = wf.train.export_meta_graph(collection_list=[])
    assert wf.train.import_meta_graph(meta, input_map={"one": wf.constant(2.0, name="two")}) is None
    assert [operation.name for operation in get_default_graph().get_operations()] == ["one", "two", "one_1"]


def test_devices_are_cleared_when_asked() -> None:
    with wf.device("/device:CPU:0"):
        wf.constant(1.0, name="a")
    assert wf.train.export_meta_graph(clear_devices=True).graph_def.node[0].device == ""
    meta = wf.train.export_meta_graph()
    assert meta.graph_def.node[0].device == "/device:CPU:0"
    with wf.Graph().as_default() as graph:
        wf.train.import_meta_graph(meta, clear_devices=True)
    assert graph.get_operation_by_name("a").device == ""


def test_a_collection_of_other_things_is_left_out_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    wf.add_to_collection("odd", object())
    wf.add_to_collection("empty", 1)
    get_default_graph().get_collection_ref("empty").clear()
    with caplog.at_level(logging.WARNING, "weft"):
        meta = wf.train.export_meta_graph()
    assert list(meta.collection_def) == []
    assert "Collection odd of object is not part of the meta graph" in caplog.text
    with pytest.raises(ValueError, match="export_scope must be None"):
        wf.train.export_meta_graph(export_scope="a")


def test_info_and_a_given_graph_def_are_taken() -> None:
    wf.constant(1.0, name="a")
    info = wf.MetaGraphDef().meta_info_def
    info.tags.append("serve")
    meta = wf.train.export_meta_graph(meta_info_def=info, graph_def=wf.GraphDef(), graph=get_default_graph())
    assert (list(meta.meta_info_def.tags), len(meta.graph_def.node)) == (["serve"], 0)


def test_files_that_are_no_meta_graph(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="does not exist"):
        wf.train.import_meta_graph(tmp_path / "none.meta")
    for data in (b"no meta graph", b"\xff\xfe\xfd"):
        (tmp_path / "bad.meta").write_bytes(data)
        with pytest.raises(OSError, match="Cannot parse file"):
            wf.train.import_meta_graph(tmp_path / "bad.meta")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("bytes_list{value:'\\377'}", "no VariableDef"),
        ("node_list{value:'a:0'}", "no VariableDef"),
        ("bytes_list{value:''}", "Requested return node '' not found"),
        ("bytes_list{value:'\\n\\001v\\022\\001a\\032\\003a:0\\062\\003a:0'}", "its initializer or its value"),
    ],
)
def test_collections_that_describe_no_variables(text: str, words: str) -> None:
    wf.constant(1.0, name="a")
    meta = wf.train.export_meta_graph()
    text_format.Parse(f"collection_def{{key:'{GraphKeys.GLOBAL_VARIABLES}' value{{{text}}}}}", meta)
    with wf.Graph().as_default(), pytest.raises(ValueError, match=words):
        wf.train.import_meta_graph(meta)
