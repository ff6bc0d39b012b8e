"""Graphs that TensorFlow wrote: they run here, arguments mean what they mean there, and what does not fit is named."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import weft as wf
from google.protobuf import text_format
from weft.graph import errors
from weft.graph.ir import get_default_graph
from weft.runtime.interpret import interpret

#: Graphs frozen by TensorFlow 2.21 and, beside each, inputs and the output that TensorFlow computed.
DATA = Path(__file__).parent / "data"
FLOAT, INT = "attr{key:'T' value{type:DT_FLOAT}}", "attr{key:'T' value{type:DT_INT32}}"
P = "node{name:'p' op:'Placeholder' attr{key:'dtype' value{type:DT_FLOAT}}}"


def graph_def(text: str) -> Any:
    return text_format.Parse(text, wf.GraphDef())


def node(op: str, *inputs: str, name: str = "n", **attrs: str) -> str:
    """A node as text; attributes as `type:DT_FLOAT`."""
    lines = [f"input:'{text}'" for text in inputs]
    lines += [f"attr{{key:'{key}' value{{{value}}}}}" for key, value in attrs.items()]
    return f"node{{name:'{name}' op:'{op}' {' '.join(lines)}}}"


def const(name: str, *values: float) -> str:
    """A constant of int32: a scalar for one value."""
    dims = f"dim{{size:{len(values)}}}" if len(values) != 1 else ""
    listed = " ".join(f"int_val:{value}" for value in values)
    tensor = f"tensor{{dtype:DT_INT32 tensor_shape{{{dims}}} {listed}}}"
    return node("Const", name=name, dtype="type:DT_INT32", value=tensor)


def inputs(*names: str, dtype: str = "DT_FLOAT") -> str:
    return "".join(node("Placeholder", name=name, dtype=f"type:{dtype}") for name in names)


def values_of(text: str, feeds: dict[str, Any], *outputs: str) -> list[Any]:
    """What nodes compute."""
    elements = wf.import_graph_def(
        graph_def(text), return_elements=[*(f"{name}:0" for name in feeds), *outputs], name=""
    )
    assert elements is not None
    fed = dict(zip(elements, (np.asarray(value) for value in feeds.values()), strict=False))
    return list(interpret(elements[len(feeds) :], fed))


@pytest.mark.parametrize("name", ["mlp", "convnet", "lstm"])
def test_graphs_that_tensorflow_froze_give_its_values(name: str) -> None:
    frozen = wf.GraphDef.FromString((DATA / f"{name}.pb").read_bytes())
    with np.load(DATA / f"{name}.npz") as stored:
        arrays = dict(stored)
    elements = wf.import_graph_def(frozen, return_elements=["output:0"])
    assert elements is not None
    with wf.Session() as session:
        feeds = {f"import/{key}:0": array for key, array in arrays.items() if key != "output"}
        np.testing.assert_allclose(session.run(elements[0], feeds), arrays["output"], rtol=1e-6, atol=1e-6)


IMAGES = np.random.default_rng(0).normal(size=(2, 3, 5, 4)).astype(np.float32)
FILTERS = np.random.default_rng(1).normal(size=(2, 2, 3, 2)).astype(np.float32)


def moved(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """What a function of NHWC images makes of NCHW ones."""
    x = wf.constant(IMAGES.transpose(0, 2, 3, 1))
    return interpret([function(x, *args, **options)], {})[0].transpose(0, 3, 1, 2)


WINDOWS = {"strides": "list{i:1 i:1 i:2 i:1}", "padding": "s:'SAME'", "data_format": "s:'NCHW'"}


def test_convolutions_and_pooling_of_channels_first() -> None:
    text = inputs("x", "w") + node("Conv2D", "x", "w", name="c", T="type:DT_FLOAT", **WINDOWS)
    text += node(
        "DepthwiseConv2dNative",
        "x",
        "w",
        name="d",
        T="type:DT_FLOAT",
        **(WINDOWS | {"strides": "list{i:1 i:1 i:2 i:2}"}),
    )
    for op in ("MaxPool", "AvgPool"):
        text += node(op, "x", name=op, T="type:DT_FLOAT", ksize="list{i:1 i:1 i:2 i:2}", **WINDOWS)
    found = values_of(text, {"x": IMAGES, "w": FILTERS}, "c:0", "d:0", "MaxPool:0", "AvgPool:0")
    expected = [
        moved(wf.nn.conv2d, FILTERS, [1, 2, 1, 1], "SAME"),
        moved(wf.nn.depthwise_conv2d, FILTERS, [1, 2, 2, 1], "SAME"),
        moved(wf.nn.max_pool, [1, 2, 2, 1], [1, 2, 1, 1], "SAME"),
        moved(wf.nn.avg_pool, [1, 2, 2, 1], [1, 2, 1, 1], "SAME"),
    ]
    for value, wanted in zip(found, expected, strict=True):
        np.testing.assert_array_equal(value, wanted)


@pytest.mark.parametrize(("layout", "axis"), [("NHWC", -1), ("NCHW", 1)])
def test_batch_normalization_in_inference_form(layout: str, axis: int) -> None:
    channels = IMAGES.shape[axis]
    scale, offset, mean, variance = np.random.default_rng(2).uniform(0.5, 2, (4, channels)).astype(np.float32)
    attrs = {"is_training": "b:false", "epsilon": "f:0.01", "data_format": f"s:'{layout}'"}
    names = ["x", "s", "o", "m", "v"]
    text = inputs(*names) + node("FusedBatchNormV3", *names, T="type:DT_FLOAT", U="type:DT_FLOAT", **attrs)
    feeds = dict(zip(names, [IMAGES, scale, offset, mean, variance], strict=True))
    y, first, second = values_of(text, feeds, "n:0", "n:1", "n:2")
    wide = [part.reshape([-1, 1, 1] if axis == 1 else [-1]) for part in (scale, offset, mean, variance)]
    np.testing.assert_allclose(
        y, (IMAGES - wide[2]) / np.sqrt(wide[3] + 0.01) * wide[0] + wide[1], rtol=1e-5, atol=1e-6
    )
    np.testing.assert_array_equal([first, second], [mean, variance])


SQUARE = np.arange(9, dtype=np.float32).reshape(3, 3)
SMALL = "k:0"


@pytest.mark.parametrize(
    ("op", "consts", "attrs", "expected"),
    [
        (
            "MatrixDiagV3",
            [[0], [-1], [-1], [0]],
            {"align": "s:'RIGHT_LEFT'"},
            SQUARE[:, :, None] * np.eye(3, dtype=np.float32),
        ),
        ("MatrixDiagPartV3", [[0], [0]], {"align": "s:'RIGHT_LEFT'"}, np.array([0, 4, 8], np.float32)),
        ("Concat", None, {"N": "i:2"}, np.hstack([SQUARE, SQUARE])),
        ("Gather", [[2, 0]], {"validate_indices": "b:true"}, SQUARE[[2, 0]]),
        ("Inv", [], {}, 1 / (SQUARE + 1)),
        ("Add", ["x"], {}, 2 * SQUARE),
        ("Div", ["x"], {}, np.ones((3, 3), np.float32)),
        ("ClipByValue", ["low", "high"], {}, np.clip(SQUARE, 2, 5)),
        ("TopK", [], {"k": "i:2", "sorted": "b:true"}, SQUARE[:, ::-1][:, :2]),
        ("ConjugateTranspose", [[1, 0]], {}, SQUARE.T),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_nodes_that_weft_builds_from_others(op: str, consts: Any, attrs: dict[str, str], expected: Any) -> None:
    feeds = {"x": SQUARE + 1 if op in ("Inv", "Div") else SQUARE, "low": np.float32(2), "high": np.float32(5)}
    text, names = inputs(*feeds), ["x"]
    for place, values in enumerate(consts if consts is not None else ()):
        names.append(values if isinstance(values, str) else f"c{place}")
        text += "" if isinstance(values, str) else const(names[-1], *values)
    if op == "Concat":
        text, names = text + const("axis", 1), ["axis", "x", "x"]
    if op in ("MatrixDiagV3", "MatrixDiagPartV3"):
        text, names = text + inputs("zero"), [*names[:-1], "zero"]
        feeds["zero"] = np.float32(0)
    text += node(op, *names, **({"Tparams": "type:DT_FLOAT"} if op == "Gather" else {"T": "type:DT_FLOAT"}), **attrs)
    np.testing.assert_allclose(values_of(text, feeds, "n:0")[0], expected, rtol=1e-6)


def test_local_response_normalization() -> None:
    attrs = {"depth_radius": "i:1", "bias": "f:2", "alpha": "f:0.5", "beta": "f:0.75"}
    (value,) = values_of(inputs("x") + node("LRN", "x", T="type:DT_FLOAT", **attrs), {"x": IMAGES}, "n:0")
    wanted = interpret([wf.nn.local_response_normalization(wf.constant(IMAGES), 1, 2.0, 0.5, 0.75)], {})[0]
    np.testing.assert_array_equal(value, wanted)


def test_numbers_in_every_form_of_a_tensor() -> None:
    def constant(kind: str, fields: str, size: int = 3) -> Any:
        tensor = f"tensor{{dtype:{kind} tensor_shape{{dim{{size:{size}}}}} {fields}}}"
        return values_of(node("Const", dtype=f"type:{kind}", value=tensor), {}, "n:0")[0]

    assert constant("DT_FLOAT", "float_val:1 float_val:2").tolist() == [1, 2, 2]
    assert constant("DT_DOUBLE", "").tolist() == [0, 0, 0]
    assert constant("DT_INT8", "int_val:-1").tolist() == [-1, -1, -1]
    assert constant("DT_HALF", "half_val:15360").tolist() == [1, 1, 1]
    assert constant("DT_BFLOAT16", "half_val:16256").astype(float).tolist() == [1, 1, 1]
    assert constant("DT_COMPLEX64", "scomplex_val:1 scomplex_val:2", 1).tolist() == [1 + 2j]
    assert constant("DT_STRING", "string_val:'a' string_val:'b'").tolist() == [b"a", b"b", b"b"]
    assert constant("DT_BOOL", "bool_val:true").tolist() == [True, True, True]
    assert constant("DT_INT64", "tensor_content:'\\001\\000\\000\\000\\000\\000\\000\\000'", 1).tolist() == [1]


def test_unsigned_numbers_in_fields_that_the_message_class_skips() -> None:
    """TensorFlow writes a scalar of uint32 as field 16 (packed), which tensorboardX's TensorProto does not declare."""

    def message(number: int, data: bytes) -> bytes:
        return bytes([number << 3 | 2, len(data)]) + data

    tensor = b"\x08\x16\x12\x00" + bytes([16 << 3 & 127 | 128 | 2, 1]) + b"\x05\xff\xff\xff\xff\x0f"
    value = message(1, b"value") + message(2, message(8, tensor))
    dtype = message(1, b"dtype") + message(2, b"\x30\x16")
    data = message(1, message(1, b"n") + message(2, b"Const") + message(5, dtype) + message(5, value))
    elements = wf.import_graph_def(wf.GraphDef.FromString(data), return_elements=["n:0"])
    assert elements is not None
    assert interpret(elements, {})[0] == 2**32 - 1


# arguments


def test_a_name_scope_is_made_unique_and_empty_for_no_scope() -> None:
    for name in (None, None, "x", "x/", ""):
        wf.import_graph_def(graph_def(P), name=name)
    names = [operation.name for operation in get_default_graph().get_operations()]
    assert names == ["import/p", "import_1/p", "x/p", "x/p_1", "p"]


def test_input_map_replaces_inputs_and_controls() -> None:
    first = wf.no_op(name="first")
    text = P + node("NoOp", name="c") + node("Neg", "p", "^c", T="type:DT_FLOAT")
    elements = wf.import_graph_def(graph_def(text), {"p": 2.0, "^c": first}, ["n", "n:0"])
    assert elements is not None
    operation, tensor = elements
    assert (operation.name, tensor.name) == ("import/n", "import/n:0")
    assert operation.inputs[0].name == "import/_inputs/Const:0"
    assert [control.name for control in operation.control_inputs] == ["first"]
    assert interpret([tensor], {})[0] == -2


def test_scopes_in_force_hold_for_what_is_imported() -> None:
    first = wf.no_op(name="first")
    text = P + "node{name:'q' op:'NoOp' device:'/device:CPU:1'}"
    with wf.control_dependencies([first]), wf.device("/job:worker/device:CPU:0"), wf.name_scope("outer"):
        p, q = wf.import_graph_def(graph_def(text), return_elements=["p", "q"]) or []
    assert p.name == "outer/import/p"
    assert [p.device, q.device] == ["/job:worker/device:CPU:0", "/job:worker/device:CPU:1"]
    assert p.control_inputs == (first,)


def test_noted_shapes_are_taken() -> None:
    shape = "list{shape{dim{size:2} dim{size:-1}}}"
    (p,) = (
        wf.import_graph_def(graph_def(P[:-1] + f"attr{{key:'_output_shapes' value{{{shape}}}}}}}"), None, ["p:0"]) or []
    )
    assert p.dims == (2, None)


def test_graph_defs_of_other_libraries_are_read() -> None:
    class GraphDef:
        DESCRIPTOR = wf.GraphDef.DESCRIPTOR

        def SerializeToString(self) -> bytes:
            return bytes(graph_def(P).SerializeToString())

    assert [op.name for op in wf.import_graph_def(GraphDef(), return_elements=["p"]) or []] == ["import/p"]


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"input_map": ["p"]}, TypeError, "`input_map` must be a dictionary"),
        ({"input_map": {3: 4}}, TypeError, "keys for argument `input_map` must be strings"),
        ({"input_map": {"z": 1.0}}, ValueError, "Attempted to map inputs that were not found in graph_def"),
        ({"input_map": {"p": 1.0}, "name": ""}, ValueError, "non-empty `name`"),
        ({"return_elements": [3]}, TypeError, "`return_elements` must be a list of strings"),
        ({"return_elements": ["z"]}, ValueError, "Requested return node 'z' not found in graph def"),
        ({"return_elements": ["p:1"]}, ValueError, "Invalid return output 1 of node 'p', which has 1 output"),
        ({"name": "a b"}, ValueError, "not a valid scope name"),
    ],
    ids=str,
)
def test_wrong_arguments(options: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        wf.import_graph_def(graph_def(P), **options)


def test_what_is_no_graph_def() -> None:
    for value in (b"", "abc", None, wf.NodeDef()):
        with pytest.raises(TypeError, match="must be a GraphDef proto"):
            wf.import_graph_def(value)
    wf.enable_eager_execution()
    with pytest.raises(RuntimeError, match="eager"):
        wf.import_graph_def(graph_def(P))


# what does not fit

NEG = {"T": "type:DT_FLOAT"}
WRONG: list[tuple[str, str]] = [
    (node("Neg", "z", **NEG), "Node 'n': Unknown input node 'z'"),
    (node("NoOp", "^z"), r"Node 'n': Unknown input node '\^z'"),
    (node("Neg", "p:3", **NEG), "Node 'n': Connecting to invalid output 3 of source node p which has 1 outputs"),
    (node("Neg", "p", T="type:DT_INT32"), "input import/p:0 is float32, incompatible with expected int32"),
    (node("Neg", "p", T="i:3"), "value with type 'int' when 'type' expected"),
    (node("Neg", "p", "p", **NEG), "expected inputs do not match 2 inputs"),
    (node("Neg", **NEG), "expected inputs do not match 0 inputs"),
    (node("Neg", "p", surprise="b:true", **NEG), "mentions attr 'surprise'"),
    (node("Neg", "^p", "p", **NEG), "Control dependencies must come after regular dependencies"),
    (P, "Node 'p' is not unique"),
    (node("NoOp", name="a b"), "Node 'a b': Node name contains invalid characters"),
    (node("NoOp", name=""), "Node name contains invalid characters"),
    (node("Neg", "m", **NEG) + node("Neg", "n", name="m", **NEG), "wait for each other in a circle: n, m"),
    (node("NoOp", "^n"), "in a circle: n"),
    (node("NoOp", _class="list{s:'loc:@z'}"), "Node 'n' expects to be colocated with unknown node 'z'"),
    (node("NoOp", _class="s:'loc:@z'"), "'_class' must be a list of strings"),
    ("node{name:'n' op:'NoOp' device:'/foo'}", "Unknown attribute 'foo'"),
    (node("Placeholder"), "attr 'dtype': it is missing"),
    (node("Placeholder", dtype="type:DT_QINT8"), "no data type number 11"),
    (node("Neg", "p", T=""), "attr 'T': it has no value"),
    (node("Neg", "p", T="func{name:'f'}"), "AttrValue had value with type 'func' when 'type' expected"),
    (node("Sum", "p", "q", **NEG) + inputs("q", dtype="DT_INT32"), "needs 'reduction_indices' to be a constant"),
    (node("Sum", "p", "p", **NEG), "'reduction_indices' must be of integers"),
    (node("ExpandDims", "p", "c", **NEG) + const("c", 0, 1), "'dim' must be one number"),
    (node("AddN", N="i:0", **NEG), "it has 0 inputs"),
    (node("AddN", "p", "p", N="i:3", **NEG), "it has 2 inputs, not 1 times 3"),
    (node("Unpack", "p", num="i:99999999", **NEG), "a node of 99999999 outputs"),
    (node("GatherV2", "p", "c", "c", batch_dims="i:1") + const("c", 0), "attr 'batch_dims': weft has only 0"),
    (node("MirrorPad", "p", "c", mode="s:'OTHER'") + const("c", 0, 1), "mode must be REFLECT or SYMMETRIC"),
    (node("Pad", "p", "c") + const("c", 0, 1), "Shape must be rank 2 but is rank 1"),
    (node("MaxPool", "p", ksize="list{i:1}", strides="list{i:1}", padding="s:'SAME'"), "ksize must be four numbers"),
    (node("MaxPool", "p", ksize="list{b:true}", strides="list{i:1}", padding="s:'SAME'"), r"'list\(bool\)' when 'list\(int\)'"),
    (node("Conv2D", "p", "p", strides="list{i:1 i:1 i:1 i:1}", padding="s:'HALF'"), "padding 'HALF'"),
    (node("BiasAdd", "p", "p", data_format="s:'CHWN'"), "data_format"),
    (node("SpaceToDepth", "p", block_size="i:1"), "block_size must be at least 2"),
    (node("ReadVariableOp", "p", dtype="type:DT_FLOAT"), "is no handle of a variable"),
    (node("FusedBatchNormV3", *"ppppp"), "attr 'is_training': weft has only False"),
    (node("FusedBatchNormV3", *"ppppp", is_training="b:false", other="i:1"), "mentions attr 'other'"),
    (node("FusedBatchNormV3", *"pppp", is_training="b:false"), "do not match 4 inputs"),
    (node("LRN", "p", depth_radius="f:1"), "'float' when 'int' expected"),
    (node("MatrixDiagPartV3", "p", "c", "p") + const("c", 1), r"main diagonal only \(k=0\)"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "words"), WRONG, ids=[words for _, words in WRONG])
def test_nodes_that_do_not_fit_are_named(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        wf.import_graph_def(graph_def(P + text))


def test_an_unknown_operation_is_named_and_nothing_is_added() -> None:
    with pytest.raises(errors.NotFoundError, match=r"Op type not registered 'Dequantize' in weft \(node 'n'\)"):
        wf.import_graph_def(graph_def(P + node("Dequantize", "p")))
    with pytest.raises(errors.NotFoundError, match="'Weft>Nothing'"):
        wf.import_graph_def(graph_def(P + node("Weft>Nothing", "p")))
    assert get_default_graph().get_operations() == []


TENSORS = {
    "dtype:DT_FLOAT tensor_shape{dim{size:2}} tensor_content:'abc'": "tensor_content has 3 bytes",
    "dtype:DT_STRING tensor_shape{dim{size:2}} tensor_content:'abc'": "tensor_content has 3 bytes",
    "dtype:DT_FLOAT tensor_shape{dim{size:1}} float_val:1 float_val:2": "2 values for a tensor of 1 elements",
    "dtype:DT_FLOAT tensor_shape{dim{size:-1}}": "shape must be fully known",
    "dtype:DT_FLOAT tensor_shape{unknown_rank:true}": "shape must be fully known",
    "dtype:DT_FLOAT tensor_shape{dim{size:1000000000000}}": "too large",
    "dtype:DT_UINT8 int_val:300": "does not fit into uint8",
    "dtype:DT_COMPLEX64 scomplex_val:1": "no imaginary part",
    "dtype:DT_RESOURCE": "has no values",
    "dtype:DT_INT32 int_val:1": "the value is int32, the type float32",
}


@pytest.mark.parametrize("fields", TENSORS)
def test_tensors_that_are_none(fields: str) -> None:
    with pytest.raises(ValueError, match=TENSORS[fields]):
        wf.import_graph_def(graph_def(node("Const", dtype="type:DT_FLOAT", value=f"tensor{{{fields}}}")))
