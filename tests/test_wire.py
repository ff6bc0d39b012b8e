"""Operations and graphs as data: round trips, circles, missing parts, and data that is none."""

import json
import math
from typing import Any

import numpy as np
import pytest
import weft as wf
from hypothesis import HealthCheck, given, settings, strategies as st
from weft.graph.opdef import OPS, Spec
from weft.graph.ops.activations import LeakyRelu
from weft.graph.ops.compare import CheckNumerics
from weft.graph.ops.constant import Const
from weft.graph.ops.literal import Literal
from weft.graph.ops.reduction import Mean
from weft.graph.wire import decode_definition, decode_graph, decode_spec, encode_definition, encode_graph, encode_spec

bounded = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

#: What data that is none may raise.
REFUSED = (ValueError, TypeError, KeyError)


def travelled(value: Any) -> Any:
    """Data as it comes out of a message."""
    return json.loads(json.dumps(value, allow_nan=False))


def copied(graph: wf.Graph) -> wf.Graph:
    """The graph after a journey."""
    rows, arrays = encode_graph(graph)
    made = wf.Graph()
    decode_graph(travelled(rows), [array.copy() for array in arrays], made)
    return made


# definitions


@pytest.mark.parametrize(
    "definition",
    [
        LeakyRelu(math.inf),
        LeakyRelu(-math.inf),
        LeakyRelu(-0.0),
        LeakyRelu(1e-300),
        CheckNumerics('häuser "\n\0'),
        Mean((0, -1), True),
        Mean(None, False),
        Const(Literal(np.array([b"a\0b", "ä".encode()], object)), wf.string),
        Const(Literal(np.zeros((0, 3), np.float16)), wf.float16),
    ],
    ids=repr,
)
def test_attributes_of_every_kind(definition: Any) -> None:
    arrays: list[Any] = []
    again = decode_definition(travelled(encode_definition(definition, arrays)), arrays)
    assert again == definition
    assert repr(again) == repr(definition)


def test_a_nan_attribute() -> None:
    again: Any = decode_definition(travelled(encode_definition(LeakyRelu(math.nan), [])), [])
    assert math.isnan(again.alpha)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (["NoSuchOp"], "no known operation type"),
        ([], "no known operation type"),
        ({"type": "Add"}, "no known operation type"),
        (["Mean", [0]], "has the attributes"),
        (["Mean", {"what": 1}, True], "not an attribute"),
        (["Const", {"array": 3}, {"dtype": "float32"}], "not an attribute"),
        (["Const", {"array": -1}, {"dtype": "float32"}], "not an attribute"),
    ],
)
def test_a_definition_that_is_none(data: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decode_definition(data, [np.zeros(1)])


def test_an_attribute_that_cannot_travel() -> None:
    with pytest.raises(TypeError, match="cannot travel as data"):
        encode_definition(Mean(object()), [])  # type: ignore[arg-type]


@pytest.mark.parametrize("spec", [Spec(wf.float32, None), Spec(wf.int32, (2, None), (1, None)), Spec(wf.string, (), 5)])
def test_specs(spec: Spec) -> None:
    assert decode_spec(travelled(encode_spec(spec))) == spec


# graphs


def test_a_training_graph_computes_the_same_after_a_journey() -> None:
    x, y = wf.placeholder(wf.float32, [None, 3], "x"), wf.placeholder(wf.int64, [None], "y")
    with wf.device("/job:worker/cpu:0"):
        w = wf.Variable(wf.random_normal([3, 4], seed=1), name="w")
    logits = wf.nn.leaky_relu(wf.matmul(wf.nn.dropout(x, 0.9, seed=2), w), alpha=0.1)
    loss = wf.reduce_mean(wf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits), name="loss")
    wf.train.AdamOptimizer(0.1).minimize(loss, name="train")
    wf.group(wf.global_variables_initializer(), name="init")
    fed = {"x:0": np.random.default_rng(0).normal(size=(5, 3)), "y:0": np.arange(5) % 4}

    def losses(graph: wf.Graph) -> list[Any]:
        with wf.Session(graph=graph, config=wf.ConfigProto(allow_soft_placement=True)) as sess:
            sess.run("init")
            return [sess.run(["loss:0", "train"], fed)[0] for _ in range(5)]

    graph = wf.get_default_graph()
    again = copied(graph)
    assert losses(again) == losses(graph)
    for one, two in zip(graph.get_operations(), again.get_operations(), strict=True):
        assert (one.name, one.definition, one.device, one.colocation) == (
            two.name, two.definition, two.device, two.colocation,
        )  # fmt: skip
        assert [t.name for t in one.inputs] == [t.name for t in two.inputs]
        assert [c.name for c in one.control_inputs] == [c.name for c in two.control_inputs]


def test_the_scopes_in_force_do_not_touch_what_arrives() -> None:
    wf.constant(1.0, name="a") + 1.0
    rows, arrays = encode_graph(wf.get_default_graph())
    graph = wf.Graph()
    with graph.as_default():
        blocker = wf.no_op("blocker")
        with wf.name_scope("s"), wf.device("/cpu:1"), wf.control_dependencies([blocker]), wf.colocate_with(blocker):
            decode_graph(rows, arrays, graph)
    for row in rows:
        operation = graph.get_operation_by_name(row["name"])
        assert (operation.device, operation.control_inputs, operation.colocation) == ("", (), ())


def chain() -> tuple[list[Any], list[Any]]:
    """A graph of three operations as data: a -> b -> c."""
    a = wf.constant(1.0, name="a")
    wf.exp(wf.exp(a, name="b"), name="c")
    rows, arrays = encode_graph(wf.get_default_graph())
    return travelled(rows), arrays


def test_the_order_of_the_rows_does_not_matter() -> None:
    rows, arrays = chain()
    graph = wf.Graph()
    decode_graph(rows[::-1], arrays, graph)
    assert [operation.name for operation in graph.get_operations()] == ["a", "b", "c"]


@pytest.mark.parametrize("needed", ["inputs", "controls"])
def test_a_circle_names_its_operations(needed: str) -> None:
    rows, arrays = chain()
    if needed == "inputs":
        rows[1]["inputs"] = [["c", 0]]
    else:
        rows[1]["controls"] = ["c"]
    with pytest.raises(ValueError, match=r"wait for each other in a circle: b, c$"):
        decode_graph(rows, arrays, wf.Graph())


def test_an_input_that_is_nowhere() -> None:
    rows, arrays = chain()
    with pytest.raises(ValueError, match="operation 'b' needs 'a', which is not there"):
        decode_graph(rows[1:], arrays, wf.Graph())


def test_an_output_that_is_nowhere() -> None:
    rows, arrays = chain()
    rows[1]["inputs"] = [["a", 7]]
    with pytest.raises(KeyError, match="only has 1 outputs"):
        decode_graph(rows, arrays, wf.Graph())


def test_two_operations_of_one_name() -> None:
    rows, arrays = chain()
    with pytest.raises(ValueError, match="same name"):
        decode_graph([*rows, rows[0]], arrays, wf.Graph())


def test_a_name_that_the_graph_has() -> None:
    rows, arrays = chain()
    graph = wf.Graph()
    decode_graph(rows, arrays, graph)
    with pytest.raises(ValueError, match="'a'"):
        decode_graph(rows, arrays, graph)


def test_shapes_that_do_not_fit() -> None:
    rows, arrays = chain()
    rows[1]["definition"] = ["Mean", [4], False]
    with pytest.raises(ValueError, match="for 'b'"):
        decode_graph(rows, arrays, wf.Graph())


# data that is none

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
words = scalars | st.sampled_from(["a", "b", "float32", "dtype", "array", "bytes", "complex", "float", "zz"])
junk = st.recursive(words, lambda part: st.lists(part, max_size=4) | st.dictionaries(words.map(str), part, max_size=3))


@bounded
@given(st.sampled_from(sorted(OPS)), st.lists(junk, max_size=5))
def test_junk_attributes_are_refused(kind: str, attributes: list[Any]) -> None:
    try:
        decode_definition([kind, *attributes], [np.zeros(2)])
    except REFUSED:
        return


@bounded
@given(junk)
def test_junk_is_no_definition_and_hardly_a_spec(data: Any) -> None:
    with pytest.raises(REFUSED):
        decode_definition(data, [])
    try:
        spec = decode_spec(data)
    except REFUSED:
        return
    assert isinstance(spec.dtype, wf.DType)


@bounded
@given(st.integers(0, 2), st.sampled_from(["name", "definition", "inputs", "controls", "device", "colocation"]), junk)
def test_a_graph_with_a_junk_field(row: int, field: str, value: Any) -> None:
    wf.reset_default_graph()
    rows, arrays = chain()
    rows[row][field] = value
    graph = wf.Graph()
    try:
        decode_graph(rows, arrays, graph)
    except REFUSED:
        return
    assert len(graph.get_operations()) == 3


@bounded
@given(junk)
def test_junk_is_no_graph(data: Any) -> None:
    try:
        decode_graph(data, [], wf.Graph())
    except REFUSED:
        return
    assert len(data) == 0
