"""group, tuple and with_dependencies: what waits for what."""

from typing import Any

import pytest
from weft.graph import context, ir
from weft.graph.indexed_slices import IndexedSlices
from weft.graph.ops import control, identity
from weft.graph.ops.constant import constant
from weft.graph.variable import Variable
from weft.runtime.interpret import interpret


def names(operations: Any) -> list[str]:
    return [operation.name for operation in operations]


# group


def test_a_group_is_a_no_op_after_its_inputs() -> None:
    a, b = constant(1.0, name="a"), identity.no_op("b")
    done = control.group(a, b)
    assert (done.type, done.name, names(done.control_inputs)) == ("NoOp", "group_deps", ["a", "b"])


def test_a_group_takes_nested_lists_variables_and_slices() -> None:
    a, b, c = (constant([1], name=name) for name in "abc")
    v = Variable(1.0, name="v")
    done = control.group([a, (v, [IndexedSlices(b, c)])], {"key": [identity.no_op("d")]}, name="done")
    assert names(done.control_inputs)[0] == "a"
    assert names(done.control_inputs)[2:] == ["b", "c", "d"]
    assert names(done.control_inputs)[1].startswith("v")
    assert done.name == "done"


def test_an_empty_group_is_a_no_op() -> None:
    assert control.group().control_inputs == ()


def test_inputs_on_several_devices_are_gathered_on_each_first() -> None:
    graph = ir.get_default_graph()
    made: list[ir.Operation] = []
    for device in ("/cpu:1", "/cpu:0", "/cpu:1"):
        with graph.device(device):
            made.append(identity.no_op(f"op{len(made)}"))
    done = control.group(*made)
    assert (done.name, done.device, names(done.control_inputs)) == (
        "group_deps",
        "",
        ["group_deps/NoOp", "group_deps/NoOp_1"],
    )
    assert [(part.device, names(part.control_inputs)) for part in done.control_inputs] == [
        ("/device:CPU:0", ["op1"]), ("/device:CPU:1", ["op0", "op2"]),
    ]  # fmt: skip


def test_a_group_of_one_device_is_there() -> None:
    with ir.get_default_graph().device("/cpu:1"):
        a = identity.no_op()
    assert control.group(a).device == "/device:CPU:1"


def test_a_group_is_made_in_the_graph_of_its_inputs() -> None:
    graph = ir.Graph()
    with graph.as_default():
        a = constant(1.0)
    assert control.group(a).graph is graph


@pytest.mark.parametrize("wrong", [None, 3, "a", [None]])
def test_a_group_takes_parts_of_the_graph(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"'inputs' should be zero or more \(nested\) Tensors"):
        control.group(wrong)


def test_a_group_knows_one_keyword() -> None:
    with pytest.raises(ValueError, match="Unknown keyword arguments: foo"):
        control.group(foo=3)


# tuple


def test_no_member_of_a_tuple_exists_before_all_do() -> None:
    graph = ir.get_default_graph()
    with graph.device("/cpu:1"):
        a = constant(1.0, name="a")
    b = constant(2.0, name="b")
    gated = control.tuple([a, b])
    assert names(tensor.op for tensor in gated) == ["tuple/control_dependency", "tuple/control_dependency_1"]
    ((gate,), (same,)) = (tensor.op.control_inputs for tensor in gated)
    assert gate is same
    assert gate.name == "tuple/group_deps"
    assert names(op for part in gate.control_inputs for op in part.control_inputs) == ["b", "a"]
    assert [(t.device, t.op.colocation_groups()) for t in gated] == [("/device:CPU:1", [b"loc:@a"]), ("", [b"loc:@b"])]
    assert interpret(gated, {}) == [1.0, 2.0]


def test_a_tuple_keeps_none_and_waits_for_operations_and_control_inputs() -> None:
    a, b, c = constant(1.0, name="a"), identity.no_op("b"), identity.no_op("c")
    none, tensor, operation = control.tuple([None, a, b], name="all", control_inputs=[c, a])
    assert none is None
    (gate,) = tensor.op.control_inputs
    assert names(gate.control_inputs) == ["a", "b", "c"]
    assert (tensor.op.name, operation.type) == ("all/control_dependency", "NoOp")
    assert names(operation.control_inputs) == ["b", "all/group_deps"]


def test_slices_in_a_tuple_stay_slices_and_wait_on_all_their_parts() -> None:
    v, i, s = constant([1.0], name="v"), constant([0], name="i"), constant([2], name="s")
    (gated,) = control.tuple([IndexedSlices(v, i, s)])
    assert (gated.indices, gated.dense_shape) == (i, s)
    assert names(gated.values.op.control_inputs[0].control_inputs) == ["v", "i", "s"]


def test_values_in_a_tuple_become_tensors() -> None:
    number, read = control.tuple([3.0, Variable(1.0)])
    assert [number.op.inputs[0].op.type, read.op.inputs[0].op.type] == ["Const", "ReadVariableOp"]


@pytest.mark.parametrize("empty", [[], [None]])
def test_a_tuple_needs_a_tensor(empty: list[Any]) -> None:
    with pytest.raises(ValueError, match="'tensors' must have at least one Tensor"):
        control.tuple(empty)


@pytest.mark.parametrize("wrong", ["a", 3.0, None])
def test_control_inputs_of_a_tuple_are_operations_or_tensors(wrong: Any) -> None:
    with pytest.raises(TypeError, match="'control_inputs' must only contain Operation or Tensor"):
        control.tuple([constant(1.0)], control_inputs=[wrong])


# with_dependencies


def test_a_tensor_after_others() -> None:
    a, b = constant(1.0, name="a"), identity.no_op("b")
    after = control.with_dependencies([b], a)
    assert (after.op.name, after.op.inputs, names(after.op.control_inputs)) == ("control_dependency", (a,), ["b"])
    assert after.op.colocation_groups() == [b"loc:@a"]


def test_slices_after_others() -> None:
    rows = IndexedSlices(constant([1.0]), constant([0]), constant([2]))
    gate = identity.no_op()
    after = control.with_dependencies([gate], rows, name="after")
    assert (after.values.op.name, after.values.op.control_inputs, after.indices) == ("after", (gate,), rows.indices)


def test_eager_execution_needs_no_order() -> None:
    context.set_eager(True)
    a = constant(1.0)
    assert control.group(a) is None
    assert control.tuple([a]) == [a]
    assert control.with_dependencies([], a) is a
