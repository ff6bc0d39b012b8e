"""RegisterGradient, NotDifferentiable and gradient_override_map."""

from typing import Any

import pytest
from weft.autodiff.gradients import gradients
from weft.autodiff.registry import NoGradient, NotDifferentiable, RegisterGradient
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


@pytest.mark.parametrize("wrong", [{"Neg": 3}, {3: "Neg"}, ["Neg"], None])
def test_a_map_goes_from_strings_to_strings(wrong: Any) -> None:
    with pytest.raises(TypeError, match="op_type_map must be a dictionary"), ir.Graph().gradient_override_map(wrong):
        pass
