"""RegisterGradient, NotDifferentiable and gradient_override_map."""

from typing import Any

import pytest
import weft as wf
from weft.autodiff.gradients import gradients
from weft.autodiff.registry import _REGISTERED, NoGradient, NotDifferentiable, RegisterGradient
from weft.graph import ir
from weft.graph.ops import arithmetic, identity, math
from weft.graph.ops.constant import constant
from weft.runtime.interpret import interpret


def overridden(name: str) -> tuple[ir.Tensor, ir.Tensor]:
    x = constant(3.0)
    with x.graph.gradient_override_map({"Neg": name}):
        return x, arithmetic.negative(x)


@pytest.mark.parametrize("register", [RegisterGradient, NotDifferentiable, NoGradient])
def test_names_are_strings(register: Any) -> None:
    with pytest.raises(TypeError, match="op_type must be a string"):
        register(3)


@pytest.mark.parametrize("name", ["Mul", "Shape"])
def test_a_definition_counts_as_registered(name: str) -> None:
    with pytest.raises(KeyError, match=f"Registering two gradient with name '{name}'! .*weft.graph.ops"):
        RegisterGradient(name)(lambda operation, dy: dy)
    with pytest.raises(KeyError, match=f"Registering two gradient with name '{name}'!"):
        NotDifferentiable(name)


def test_a_name_can_be_registered_once() -> None:
    RegisterGradient("once")(lambda operation, dy: dy)
    with pytest.raises(KeyError, match=r"Registering two gradient with name 'once'! .*test_gradient_registry.py"):
        RegisterGradient("once")(lambda operation, dy: dy)


def test_the_decorator_returns_the_function() -> None:
    def function(operation: ir.Operation, dy: ir.Tensor) -> ir.Tensor:
        return dy

    assert RegisterGradient("returned")(function) is function


def test_a_registered_function_takes_the_place_of_the_definitions() -> None:
    @RegisterGradient("times ten")
    def times_ten(operation: ir.Operation, dy: ir.Tensor) -> Any:
        assert operation.type == "Neg"
        return dy * 10

    x, y = overridden("times ten")
    assert interpret(gradients(y, x), {})[0] == 10


def test_no_gradient_under_a_name() -> None:
    NoGradient("stops here")
    x, y = overridden("stops here")
    assert gradients(y, x) == [None]


def test_the_gradient_of_another_type_can_be_borrowed() -> None:
    x = constant(3.0)
    with x.graph.gradient_override_map({"Sign": "Identity", "Neg": "Shape"}):
        straight, stopped = math.sign(x), arithmetic.negative(x)
    assert interpret(gradients(straight, x), {})[0] == 1
    assert gradients(stopped, x) == [None]


def test_an_unknown_name_is_an_error_only_when_gradients_are_asked_for() -> None:
    x, y = overridden("never registered")
    with pytest.raises(LookupError, match="never registered"):
        gradients(y, x)


def test_a_function_takes_the_operation_and_a_gradient_for_each_output() -> None:
    """Also for outputs that nobody uses: zeros."""
    taken: list[Any] = []

    @RegisterGradient("takes each")
    def takes_each(operation: ir.Operation, *dys: ir.Tensor) -> Any:
        taken.append((operation, len(dys)))
        return wf.concat(dys, 0) * 3.0 + wf.cast(wf.size(operation.inputs[0]), "float32")

    x = constant([1.0, 2.0, 3.0, 4.0])
    with x.graph.gradient_override_map({"Split": "takes each"}):
        first, _ = wf.split(x, 2)
    (grad,) = gradients(first, x)
    assert interpret([grad], {})[0].tolist() == [7.0, 7.0, 4.0, 4.0]
    assert taken == [(first.op, 2)]


@pytest.mark.parametrize("form", [lambda dy: dy * 2.0, lambda dy: [dy * 2.0], lambda dy: (dy * 2.0,)])
def test_a_function_returns_a_tensor_a_list_or_a_tuple(form: Any) -> None:
    x, y = overridden("never registered")
    y.op.gradient_override = lambda operation, dy: form(dy)
    assert interpret(gradients(y, x), {})[0] == 2.0


def test_what_is_not_differentiable_stops_only_its_own_path() -> None:
    NotDifferentiable("stops here, too")
    x, y = overridden("stops here, too")
    assert interpret(gradients(y * 100.0 + x * 3.0, x), {})[0] == 3.0


def test_a_name_that_is_not_differentiable_is_taken() -> None:
    NotDifferentiable("taken")
    for register in (NotDifferentiable, NoGradient):
        with pytest.raises(KeyError, match="Registering two gradient with name 'taken'!"):
            register("taken")
    with pytest.raises(KeyError, match="Registering two gradient with name 'taken'!"):
        RegisterGradient("taken")(lambda operation, dy: dy)


def test_a_function_on_the_operation_goes_first() -> None:
    x, y = overridden("never registered")
    y.op.gradient_override = lambda operation, dy: dy * 7
    assert interpret(gradients(y, x), {})[0] == 7


def test_maps_nest_and_end() -> None:
    x = constant(3.0)
    with x.graph.gradient_override_map({"Neg": "outer", "Identity": "outer"}):
        with x.graph.gradient_override_map({"Neg": "inner"}):
            inner = [arithmetic.negative(x).op, identity.identity(x).op]
        outer = arithmetic.negative(x).op
    after = arithmetic.negative(x).op
    assert [op.gradient_override for op in (*inner, outer, after)] == ["inner", "outer", "outer", None]


def test_a_map_counts_when_an_operation_is_made_and_at_no_other_time() -> None:
    register_tens()
    x = constant(3.0)
    before = arithmetic.negative(x)
    with x.graph.gradient_override_map({"Neg": "tens"}):
        (by_map,) = gradients(before, x)
        inside = arithmetic.negative(x)
    assert interpret([by_map, *gradients(inside, x)], {}) == [-1.0, 10.0]


def test_a_map_counts_for_what_gradients_makes() -> None:
    register_tens()
    x = constant(3.0)
    y = arithmetic.negative(x) * x
    with x.graph.gradient_override_map({"Neg": "tens"}):
        (first,) = gradients(y, x)  # -x - x; in it, the gradient of Neg is a Neg
    assert interpret([first, *gradients(first, x)], {}) == [-6.0, 9.0]


def test_a_map_with_no_names_changes_nothing() -> None:
    x = constant(3.0)
    with x.graph.gradient_override_map({}):
        assert arithmetic.negative(x).op.gradient_override is None


def test_a_map_counts_in_its_own_graph_only() -> None:
    x = constant(3.0)
    with x.graph.gradient_override_map({"Neg": "tens"}), ir.Graph().as_default():
        assert arithmetic.negative(constant(1.0)).op.gradient_override is None


def test_a_map_ends_when_its_block_fails() -> None:
    x = constant(3.0)
    with pytest.raises(RuntimeError, match="inside"), x.graph.gradient_override_map({"Neg": "tens"}):
        raise RuntimeError("inside")
    assert arithmetic.negative(x).op.gradient_override is None


# branches and loops


def register_tens() -> None:
    """Ten times the gradient, under the name "tens"."""
    if "tens" not in _REGISTERED:
        RegisterGradient("tens")(lambda operation, dy: dy * 10)


BODIES: dict[str, tuple[Any, float]] = {
    "cond": (lambda f, x: wf.cond(x > 0.0, lambda: f(x), lambda: x), 10.0),
    "while": (lambda f, x: wf.while_loop(lambda i, a: i < 2, lambda i, a: (i + 1, f(a)), (0, x))[1], 100.0),
    "cond in while": (lambda f, x: BODIES["while"][0](lambda a: wf.cond(a > -9.0, lambda: f(a), lambda: a), x), 100.0),
    "map_fn": (lambda f, x: wf.reduce_sum(wf.map_fn(f, wf.stack([x, x]))), 20.0),
}


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("where", ["around", "inside, of the graph around", "inside, of the default graph"])
def test_a_map_counts_where_a_body_is_traced(name: str, where: str) -> None:
    register_tens()
    build, expected = BODIES[name]
    x = constant(3.0)
    names = {"Neg": "tens"}

    def inside(a: ir.Tensor) -> ir.Tensor:
        graph = x.graph if where.endswith("around") else ir.get_default_graph()
        with graph.gradient_override_map(names):
            return arithmetic.negative(a)

    if where == "around":
        with x.graph.gradient_override_map(names):
            y = build(arithmetic.negative, x)
    else:
        y = build(inside, x)
    assert interpret(gradients(y, x), {})[0] == expected


@pytest.mark.parametrize("name", BODIES)
def test_a_map_does_not_count_for_bodies_traced_outside_of_it(name: str) -> None:
    register_tens()
    build, expected = BODIES[name]
    x = constant(3.0)
    y = build(arithmetic.negative, x)
    with x.graph.gradient_override_map({"Neg": "tens"}):
        (grad,) = gradients(y, x)
    count = {10.0: -1.0, 100.0: 1.0, 20.0: -2.0}[expected]
    assert interpret([grad], {})[0] == count


@pytest.mark.parametrize("name", BODIES)
def test_an_unknown_name_in_a_body_is_an_error_only_when_gradients_are_asked_for(name: str) -> None:
    x = constant(3.0)
    with x.graph.gradient_override_map({"Neg": "never registered"}):
        y = BODIES[name][0](arithmetic.negative, x)
    with pytest.raises(LookupError, match=r"No gradient defined for operation '.*Neg'.*never registered"):
        gradients(y, x)


@pytest.mark.parametrize("name", BODIES)
def test_what_is_not_differentiable_in_a_body(name: str) -> None:
    if "stops bodies" not in _REGISTERED:
        NotDifferentiable("stops bodies")
    z = constant(2.0)
    with z.graph.gradient_override_map({"Neg": "stops bodies"}):
        y = BODIES[name][0](lambda a: a * 1.0 + arithmetic.negative(z), constant(3.0))
    assert gradients(y, z) == [None]


# as an attribute


def test_the_name_is_an_attribute_of_the_operation_and_of_its_node() -> None:
    register_tens()
    _, y = overridden("tens")
    assert y.op.get_attr("_gradient_op_type") == b"tens"
    with pytest.raises(ValueError, match="no attr named '_gradient_op_type'"):
        y.op.inputs[0].op.get_attr("_gradient_op_type")
    proto = y.graph.as_graph_def()
    assert {node.name: node.attr["_gradient_op_type"].s for node in proto.node if "_gradient_op_type" in node.attr} == {
        "Neg": b"tens"
    }
    with wf.Graph().as_default():
        a, b = wf.import_graph_def(proto, return_elements=["Const:0", "Neg:0"]) or []
        assert interpret(gradients(b, a), {})[0] == 10.0


@pytest.mark.parametrize("wrong", [{"Neg": 3}, {3: "Neg"}, ["Neg"], None])
def test_a_map_goes_from_strings_to_strings(wrong: Any) -> None:
    with pytest.raises(TypeError, match="op_type_map must be a dictionary"), ir.Graph().gradient_override_map(wrong):
        pass
