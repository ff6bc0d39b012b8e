"""Where `gradients` builds: names, scopes, devices and colocation, and what finding the way costs."""

import gc
from typing import Any

import pytest
from weft.autodiff.gradients import gradients
from weft.autodiff.reach import between
from weft.autodiff.registry import RegisterGradient
from weft.graph import ir
from weft.graph.ops import arithmetic, convert, identity, placeholders
from weft.graph.ops.constant import constant as const


def chain(x: ir.Tensor, length: int) -> ir.Tensor:
    for _ in range(length):
        x = identity.identity(x)
    return x


def without_gradient(x: ir.Tensor) -> ir.Tensor:
    """An operation whose gradient's name nobody registered."""
    with x.graph.gradient_override_map({"Neg": "nobody registered this"}):
        return arithmetic.negative(x, name="odd")


# where and under which names


def test_operations_are_made_in_the_graph_of_ys() -> None:
    graph = ir.Graph()
    with graph.as_default():
        x = placeholders.placeholder("float32")
    (grad,) = gradients(x * x, x)
    assert grad.graph is graph
    assert ir.get_default_graph().version == 0


def test_names_are_under_one_scope_and_the_forward_operation() -> None:
    x = placeholders.placeholder("float32", [])
    y = arithmetic.multiply(x, x, name="square")
    (grad,) = gradients(y, x)
    assert grad.name == "gradients/AddN:0"
    assert [t.name for t in grad.op.inputs] == ["gradients/square_grad/Mul:0", "gradients/square_grad/Mul_1:0"]
    assert grad.op.inputs[0].op.inputs[0].name == "gradients/grad_ys_0:0"
    assert gradients(y, x)[0].name == "gradients_1/AddN:0"
    assert gradients(y, x, name="mine")[0].name == "mine/AddN:0"
    with x.graph.name_scope("outer"):
        assert gradients(y, x, name=None)[0].name == "outer/gradients/AddN:0"


def test_each_operation_knows_the_forward_operation_it_belongs_to() -> None:
    x = const(1.0)
    y = x * x
    before = x.graph.version
    gradients(y, x)
    made = x.graph.get_operations()[before:]
    assert {operation.original for operation in made} == {y.op, x.op}
    assert {operation.original for operation in made if "mul_grad" in operation.name} == {y.op}
    assert const(1.0).op.original is None


def test_scopes_are_as_before_also_after_an_error() -> None:
    x = const(1.0)
    with pytest.raises(LookupError), x.graph.name_scope("outer"):
        gradients(without_gradient(x), x, colocate_gradients_with_ops=True)
    later = identity.identity(x, name="later").op
    assert (later.name, later.original, later.colocation) == ("later", None, ())


def test_the_callers_control_dependencies_hold() -> None:
    x = const(1.0)
    y = x * x
    gate = identity.no_op("gate")
    with x.graph.control_dependencies([gate]):
        gradients(y, x)
    assert gate in x.graph.get_operation_by_name("gradients/grad_ys_0").control_inputs


def test_the_callers_device_holds() -> None:
    x = const(1.0)
    with x.graph.device("/cpu:1"):
        y = x * x
    with x.graph.device("/cpu:2"):
        (grad,) = gradients(y, x)
    assert grad.op.inputs[0].device == "/device:CPU:2"


def test_what_is_made_belongs_to_the_line_that_asked_or_to_the_users_own_gradient_function() -> None:
    @RegisterGradient("a line of its own")
    def own(operation: ir.Operation, dy: ir.Tensor) -> Any:
        return dy * 2.0  # here

    x = const(1.0)
    with x.graph.gradient_override_map({"Neg": "a line of its own"}):
        y = arithmetic.negative(x * x)
    before = x.graph.version
    gradients(y, x)
    places = {op.type: op.location for op in x.graph.get_operations()[before:] if "grad/" in op.name}
    named = {op.name: op.location.function for op in x.graph.get_operations()[before:]}
    assert {kind: place.file for kind, place in places.items()} == {"Mul": __file__, "Const": __file__}
    assert named["gradients/Neg_grad/mul"] == "own"
    assert (
        named["gradients/mul_grad/Mul"]
        == "test_what_is_made_belongs_to_the_line_that_asked_or_to_the_users_own_gradient_function"
    )


@pytest.mark.parametrize("enabled", [True, False])
def test_the_garbage_collector_is_as_before_also_after_an_error(enabled: bool) -> None:
    x = const(1.0)
    try:
        if not enabled:
            gc.disable()
        gradients(x * x, x)
        with pytest.raises(LookupError):
            gradients(without_gradient(x), x)
        assert gc.isenabled() == enabled
    finally:
        gc.enable()


# colocation


def on_two_devices() -> tuple[ir.Tensor, ir.Tensor, ir.Tensor]:
    graph = ir.get_default_graph()
    with graph.device("/cpu:0"):
        x = const(1.0, name="x")
    with graph.device("/cpu:1"):
        a = arithmetic.multiply(x, x, name="a")
    with graph.device("/cpu:2"):
        b = arithmetic.multiply(x, 3.0, name="b")
    return x, a, b


def test_colocated_gradients_go_where_their_operation_is() -> None:
    x, a, b = on_two_devices()
    with x.graph.device("/cpu:7"):
        gradients([a, b], x, colocate_gradients_with_ops=True)
    made = {
        name: x.graph.get_operation_by_name(f"gradients/{name}") for name in ("a_grad/Mul", "b_grad/Mul", "grad_ys_0")
    }
    assert {name: (operation.device, operation.colocation_groups()) for name, operation in made.items()} == {
        "a_grad/Mul": ("/device:CPU:1", [b"loc:@a"]),
        "b_grad/Mul": ("/device:CPU:2", [b"loc:@b"]),
        "grad_ys_0": ("/device:CPU:1", [b"loc:@a"]),
    }


def test_colocated_sums_are_made_on_each_device_first() -> None:
    x, a, b = on_two_devices()
    (grad,) = gradients([a, b], x, colocate_gradients_with_ops=True)
    assert (grad.op.device, grad.op.colocation_groups()) == ("/device:CPU:0", [b"loc:@x"])
    partial, single = grad.op.inputs
    assert (partial.op.type, partial.device, partial.op.colocation_groups()) == ("AddN", "/device:CPU:1", [b"loc:@a"])
    assert single.name == "gradients/b_grad/Mul:0"


def test_without_colocation_only_the_sum_is_colocated_with_its_first_term() -> None:
    x, a, b = on_two_devices()
    (grad,) = gradients([a, b], x)
    assert grad.op.colocation_groups() == [b"loc:@gradients/a_grad/Mul"]
    assert (grad.device, grad.op.inputs[0].device) == ("", "")


def test_colocation_with_a_colocated_operation_names_the_root_of_the_group() -> None:
    x = const(1.0, name="x")
    with x.graph.colocate_with(x.op):
        y = identity.identity(x, name="y")
        z = arithmetic.negative(y)
    gradients(z, x, colocate_gradients_with_ops=True)
    assert x.graph.get_operation_by_name("gradients/Neg_grad/Neg").colocation_groups() == [b"loc:@x"]


# cost


def test_the_search_costs_what_lies_between_when_much_lies_behind_xs() -> None:
    x = const(1.0)
    y = chain(x, 10)
    chain(x, 5000)
    chain(y, 5000)
    assert between([x], [y]).visited < 100


def test_the_search_costs_what_lies_between_when_much_lies_before_ys() -> None:
    big = chain(const(1.0), 5000)
    x = const(1.0)
    other = chain(const(1.0), 5000)
    assert between([x], [chain(x, 10) + big + other]).visited < 100


def test_the_search_costs_what_lies_between_when_much_lies_on_both_sides_in_between() -> None:
    x = const(1.0)
    beside = chain(const(1.0), 3000)
    chain(x, 5000)
    y = chain(x, 10)
    assert between([x], [y]).visited < 100
    assert len(between([x], [y + beside]).operations) == 11


def test_a_gradient_for_each_of_many_ys_does_not_walk_the_earlier_gradients() -> None:
    x = const([1.0] * 4)
    square = x * x
    (grad,) = gradients(square, x)
    costs = []
    for part in convert.unstack(grad, 4) * 5:
        gradients(part * 1.0, x)
        costs.append(between([x], [part * 1.0]).visited)
    assert costs[-1] <= costs[0] + 10


def test_another_output_of_the_operation_that_makes_an_x_is_not_waited_for() -> None:
    whole = const([1.0, 2.0])
    x, beside = convert.unstack(whole, 2)
    for y in (beside * arithmetic.multiply(x, x), arithmetic.multiply(x, x) * beside):
        (grad,) = gradients(y, [x])
        assert grad is not None
        assert grad.op.inputs[0].op.original.type == "Mul"


def test_the_numbers_say_how_often_each_operation_is_fed_by_those_between() -> None:
    x = const(1.0)
    square = x * x
    double = square + square
    around = between([x], [double * square])
    assert (around.operations[square.op], around.operations[double.op], around.sources) == (3, 1, {x.op: 2})


def test_a_chain_of_100000_operations_needs_no_recursion() -> None:
    x = const(1.0)
    (grad,) = gradients(chain(x, 100_000), x)
    assert grad.name == "gradients/grad_ys_0:0"


def test_gradient_functions_are_called_once_an_operation() -> None:
    calls = []

    @RegisterGradient("counted identity")
    def counted(operation: ir.Operation, dy: ir.Tensor) -> ir.Tensor:
        calls.append(operation.name)
        return dy

    x = const(1.0)
    with x.graph.gradient_override_map({"Identity": "counted identity"}):
        a = identity.identity(x, name="a")
        b = identity.identity(a, name="b")
    gradients([a * b, b], x)
    assert calls == ["b", "a"]
