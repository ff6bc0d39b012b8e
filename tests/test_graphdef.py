"""Graphs as TensorFlow's GraphDef: every operation translated or listed, nodes as TF wants them, nothing lost on the way."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import weft as wf
from case import Case
from google.protobuf import text_format
from test_cases import COMPUTED, build
from weft.graph.graphdef import protos as protos_module
from weft.graph.graphdef.outputs import output_names
from weft.graph.graphdef.rows import Static
from weft.graph.graphdef.tables import BY_DEFINITION, OWN, PREFIX
from weft.graph.ir import get_default_graph
from weft.graph.opdef import OPS
from weft.runtime.interpret import interpret

#: For each node type: its inputs (an attribute that is their type, a type, `N*T`, `T[]`), its attributes; `?`: has a default; and
#: the names of its outputs; `*`: of a list.
TF_OPS: dict[str, Any] = json.loads((Path(__file__).parent / "data" / "tf_ops.json").read_text())


def exported(graph: wf.Graph | None = None, **options: Any) -> dict[str, Any]:
    """The nodes of a graph by name."""
    return {node.name: node for node in (graph or get_default_graph()).as_graph_def(**options).node}


def test_every_operation_is_translated_or_listed_with_the_reason() -> None:
    translated = {definition.type for definition in BY_DEFINITION}
    assert translated | set(OWN) == set(OPS)
    assert not translated & set(OWN)
    assert set(TF_OPS) == translated | {"If", "StatelessIf", "While", "StatelessWhile"}


def test_outputs_have_tensorflows_names() -> None:
    """By which nodes in functions refer to them."""
    assert {kind: list(output_names(kind)) for kind, (*_, outputs) in TF_OPS.items() if outputs} == {
        kind: outputs for kind, (*_, outputs) in TF_OPS.items() if outputs
    }


@pytest.mark.parametrize("case", COMPUTED, ids=str)
def test_every_operation_survives_the_round_trip(case: Case) -> None:
    """Read back, it computes the same bits and is written as the same nodes again."""
    outputs, feeds = build(case, "full")
    graph_def = outputs[0].graph.as_graph_def(add_shapes=True)
    names = [tensor.name for tensor in (*feeds, *outputs)]
    with wf.Graph().as_default() as graph:
        elements = wf.import_graph_def(graph_def, return_elements=names, name="")
        assert elements is not None
        again = graph.as_graph_def(add_shapes=True)
    inputs, results = elements[: len(feeds)], elements[len(feeds) :]
    assert [tensor.dims for tensor in results] == [tensor.dims for tensor in outputs]
    expected = interpret(outputs, feeds)
    for value, wanted in zip(interpret(results, dict(zip(inputs, feeds.values(), strict=True))), expected, strict=True):
        np.testing.assert_array_equal(value, wanted)
    with wf.Graph().as_default() as graph:
        wf.import_graph_def(again, name="")
        assert graph.as_graph_def(add_shapes=True) == again


@pytest.mark.parametrize("known", ["full", "none"])
@pytest.mark.parametrize("case", COMPUTED, ids=str)
def test_nodes_are_as_tensorflow_defines_them(case: Case, known: str) -> None:
    if case.needs_shapes and known != "full":
        return
    outputs, _ = build(case, known)
    nodes = exported(outputs[0].graph)
    for node in nodes.values():
        if not node.op.startswith(PREFIX):
            check_node(node, lambda text: type_of(nodes, text))


def check_node(node: Any, type_of_input: Callable[[str], int | None]) -> None:
    """What TF checks when it reads a node: which attributes it has, and that the inputs have the types these say."""
    inputs, attrs, _ = TF_OPS[node.op]
    for name, proto in node.attr.items():
        kind = attrs[name].removesuffix("?") if not name.startswith("_") else "any"
        field = proto.WhichOneof("value")
        assert kind in ("any", {"s": "string", "i": "int", "b": "bool", "f": "float"}.get(field, field)) or (
            field == "list" and kind.startswith("list")
        )
    assert [name for name, kind in attrs.items() if not kind.endswith("?") and name not in node.attr] == []
    given = [type_of_input(text) for text in node.input if not text.startswith("^")]
    wanted = [kind for text in inputs for kind in expand(node, text)]
    assert len(given) == len(wanted)
    assert [(a, b) for a, b in zip(given, wanted, strict=True) if a not in (None, b)] == []


def expand(node: Any, text: str) -> list[int]:
    """The types of the inputs that one argument stands for."""
    if text.endswith("[]"):
        return list(node.attr[text[:-2]].list.type)
    count, _, kind = text.rpartition("*")
    times = node.attr[count].i if count else 1
    return [int(node.attr[kind].type if kind in node.attr else wf.as_dtype(kind).as_datatype_enum)] * times


def type_of(nodes: dict[str, Any], text: str) -> int | None:
    """The type of a constant, a placeholder or a cast, whose nodes say it; None for others."""
    node = nodes[text.partition(":")[0]]
    name = {"Const": "dtype", "Placeholder": "dtype", "Cast": "DstT", "Reshape": "T", "Shape": "out_type"}.get(node.op)
    return int(node.attr[name].type) if name else None


def test_constants_stand_for_attributes_under_the_names_that_tensorflow_gives_them() -> None:
    arguments = {static.argument for row in BY_DEFINITION.values() for static in row.statics}
    assert arguments == {"axis", "dim", "dimension", "perm", "reduction_axes", "reduction_indices", "split_dim"}
    wf.reduce_sum(wf.placeholder(wf.float32, [2, 3]), 1, name="total")
    nodes = exported()
    assert list(nodes["total"].input) == ["Placeholder", "total/reduction_indices"]
    assert np.frombuffer(nodes["total/reduction_indices"].attr["value"].tensor.tensor_content, np.int32) == [1]


def test_a_taken_name_gives_a_constant_another() -> None:
    wf.constant(1.0, name="total/reduction_indices")
    wf.reduce_sum(wf.placeholder(wf.float32, [2, 3]), 1, name="total")
    assert list(exported()["total"].input) == ["Placeholder", "total/reduction_indices_1"]


def test_a_static_axis_knows_only_what_the_definition_says() -> None:
    x = wf.placeholder(wf.float32)
    wf.reduce_sum(x, name="all")
    assert Static(1, "reduction_indices", "axes").array(get_default_graph().get_operation_by_name("all")) is None


def test_all_axes_of_an_unknown_rank_stay_all_axes() -> None:
    x = wf.placeholder(wf.float32)
    y, z = wf.reduce_max(x), wf.transpose(x)
    graph_def = get_default_graph().as_graph_def()
    with wf.Graph().as_default() as graph:
        elements = wf.import_graph_def(graph_def, return_elements=[x.name, y.name, z.name], name="")
        assert elements is not None
        assert (elements[1].op.get_attr("axes"), elements[2].op.get_attr("perm")) == (None, None)
        value = np.arange(24.0).reshape(2, 3, 4)
        with wf.Session() as session:
            biggest, turned = session.run(elements[1:], {elements[0]: value})
        np.testing.assert_array_equal(turned, value.T)
        assert biggest == 23
        assert graph.as_graph_def() == graph_def


def test_names_scopes_devices_controls_and_colocation_survive() -> None:
    with wf.name_scope("layer"), wf.device("/job:worker/task:1/device:CPU:0"):
        a = wf.constant(1.0, name="a")
        with wf.control_dependencies([wf.no_op(name="first")]):
            wf.identity(a, name="b")
    with wf.colocate_with(a):
        wf.constant(2.0, name="c")
    graph_def = get_default_graph().as_graph_def()
    nodes = {node.name: node for node in graph_def.node}
    assert list(nodes["layer/b"].input) == ["layer/a", "^layer/first"]
    assert list(nodes["c"].attr["_class"].list.s) == [b"loc:@layer/a"]
    with wf.Graph().as_default() as graph:
        wf.import_graph_def(graph_def, name="x")
        b, c = graph.get_operation_by_name("x/layer/b"), graph.get_operation_by_name("x/c")
    assert b.device == "/job:worker/task:1/device:CPU:0" == c.device
    assert [control.name for control in b.control_inputs] == ["x/layer/first"]
    assert c.colocation_groups() == [b"loc:@x/layer/a"]


def test_from_version_and_add_shapes() -> None:
    wf.constant(1.0, name="old")
    version = get_default_graph().version
    wf.placeholder(wf.float32, [None, 2], name="new")
    assert list(exported(from_version=version)) == ["new"]
    assert "_output_shapes" not in exported()["new"].attr
    (shape,) = exported(add_shapes=True)["new"].attr["_output_shapes"].list.shape
    assert [dim.size for dim in shape.dim] == [-1, 2]


def test_a_softmax_along_another_axis_becomes_three_nodes() -> None:
    x = wf.placeholder(wf.float64, [2, 3, 4], name="x")
    y = wf.nn.softmax(x, axis=1, name="y")
    assert [node.op for node in exported().values() if node.name != "x"] == [
        "Const", "Const", "Transpose", "Softmax", "Transpose",
    ]  # fmt: skip
    graph_def, value = get_default_graph().as_graph_def(), np.random.default_rng(0).normal(size=(2, 3, 4))
    expected = interpret([y], {x: value})[0]
    with wf.Graph().as_default():
        elements = wf.import_graph_def(graph_def, return_elements=["x:0", "y:0"])
        assert elements is not None
        np.testing.assert_allclose(interpret(elements[1:], {elements[0]: value})[0], expected, rtol=1e-15)


def test_what_only_weft_can_do_keeps_its_own_type() -> None:
    wf.nn.softmax(wf.placeholder(wf.float32), axis=1, name="unknown_rank")
    logits, labels = wf.placeholder(wf.float32, [2, 2, 3]), wf.placeholder(wf.int32, [2, 2])
    wf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits, name="higher_rank")
    types = {node.op for node in exported().values()}
    assert {"Weft>Softmax", "Weft>SparseSoftmaxCrossEntropyWithLogits"} <= types


def test_variables_without_a_name_of_their_own_stay_apart() -> None:
    wf.Variable(1.0, name="v")
    wf.Variable(2.0, name="w")
    nodes = exported()
    assert [nodes[name].attr["shared_name"].s for name in ("v", "w")] == [b"v", b"w"]


def test_a_training_read_back_gives_the_same_bits() -> None:
    rng = np.random.default_rng(0)
    feeds = {"x:0": rng.normal(size=(8, 3)), "y:0": rng.integers(0, 4, 8)}
    with wf.Graph().as_default() as graph:
        x, y = wf.placeholder(wf.float32, [None, 3], name="x"), wf.placeholder(wf.int32, [None], name="y")
        weights = wf.Variable(rng.normal(size=(3, 4)).astype(np.float32), name="weights")
        logits = wf.matmul(x, weights) + wf.Variable(wf.zeros([4]), name="bias")
        loss = wf.reduce_mean(wf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits), name="loss")
        wf.train.AdamOptimizer(0.1).minimize(loss, name="train")
        wf.variables_initializer(wf.global_variables(), name="init")
    with wf.Graph().as_default() as again:
        wf.import_graph_def(graph.as_graph_def(), name="")
    losses = [trained(one, feeds) for one in (graph, again)]
    assert losses[0] == losses[1]
    assert losses[0][-1] < losses[0][0]


def trained(graph: wf.Graph, feeds: dict[str, Any]) -> list[float]:
    with wf.Session(graph=graph) as session:
        session.run("init")
        return [session.run(["loss:0", "train"], feeds)[0] for _ in range(5)]


@pytest.mark.parametrize("as_text", [True, False])
def test_write_graph(tmp_path: Path, as_text: bool) -> None:
    wf.constant([1.0, 2.0], name="a")
    graph = get_default_graph()
    path = wf.train.write_graph(graph, tmp_path / "new", "graph.pb", as_text)
    data = Path(path).read_bytes()
    read = text_format.Parse(data.decode(), wf.GraphDef()) if as_text else wf.GraphDef.FromString(data)
    assert read == graph.as_graph_def()
    assert wf.train.write_graph(read, str(tmp_path), "again.pb", as_text) == str(tmp_path / "again.pb")
    assert (tmp_path / "again.pb").read_bytes() == data
    with pytest.raises(TypeError, match="must be a GraphDef"):
        wf.train.write_graph("graph", tmp_path, "g.pb")


def test_what_a_graph_def_cannot_hold_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    wf.constant(1.0, name="odd")
    monkeypatch.setattr("weft.graph.graphdef.rows.field_value", lambda definition, name: object())
    with pytest.raises(ValueError, match=r"Operation 'odd' \(Const\): a object is no attribute of a GraphDef"):
        get_default_graph().as_graph_def()


def test_without_tensorboardx_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX.proto", None)
    protos_module.protos.cache_clear()
    with pytest.raises(ImportError, match=r'pip install "weft\[graphdef\]"'):
        get_default_graph().as_graph_def()
    with pytest.raises(ImportError, match="tensorboardX"):
        wf.GraphDef()


def test_import_weft_loads_no_protobuf() -> None:
    check = "import sys, weft; assert not {'google.protobuf', 'tensorboardX'} & set(sys.modules)"
    subprocess.run([sys.executable, "-P", "-c", check], check=True, timeout=200)
