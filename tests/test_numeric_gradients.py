"""compute_gradient and compute_gradient_error: Jacobians two ways."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import weft as wf
from weft.autodiff.numeric import compute_gradient, compute_gradient_error
from weft.autodiff.registry import RegisterGradient
from weft.graph import context
from weft.graph.ops import arithmetic, complex as complex_ops, fills, gathering, identity
from weft.graph.ops.placeholders import placeholder
from weft.graph.state import State
from weft.graph.variable import Variable
from weft.runtime.interpret import interpret


class Interpreter:
    """As much of a session as the check needs."""

    def __init__(self) -> None:
        self.state = State(seed=0)
        self.ran: list[Any] = []

    def run(self, fetch: Any, feed_dict: Any = None) -> Any:
        self.ran.append(fetch)
        return interpret([fetch], feed_dict or {}, self.state)[0]


@pytest.fixture
def session() -> Iterator[Interpreter]:
    made = Interpreter()
    with context.as_default_session(made):
        yield made


def test_both_jacobians(session: Interpreter) -> None:
    x = placeholder("float64", [2])
    exact, numeric = compute_gradient(x, [2], x * x, [2], x_init_value=np.array([3.0, 5.0]))
    assert exact.tolist() == [[6.0, 0.0], [0.0, 10.0]]
    np.testing.assert_allclose(numeric, exact, atol=1e-9)


def test_a_list_of_inputs_gives_a_list_of_pairs(session: Interpreter) -> None:
    x, y = placeholder("float64", [2]), placeholder("float64", [])
    product = x * y
    pairs = compute_gradient([x, y], [[2], []], product, [2], x_init_value=[np.array([3.0, 5.0]), np.array(2.0)])
    assert [exact.tolist() for exact, _ in pairs] == [[[2.0, 0.0], [0.0, 2.0]], [[3.0, 5.0]]]
    assert compute_gradient_error([x, y], [[2], []], product, [2]) < 1e-9


def test_a_wrong_gradient_shows_as_an_error(session: Interpreter) -> None:
    RegisterGradient("half of it")(lambda operation, dy: dy * 0.5)
    x = placeholder("float64", [3])
    with x.graph.gradient_override_map({"Neg": "half of it"}):
        y = arithmetic.negative(x)
    assert compute_gradient_error(x, [3], y, [3]) == pytest.approx(1.5)


def test_complex_elements_count_as_two(session: Interpreter) -> None:
    x = placeholder("complex128", [1])
    exact, numeric = compute_gradient(x, [1], x * x, [1], x_init_value=np.array([2 + 3j]))
    assert exact.tolist() == [[4.0, 6.0], [-6.0, 4.0]]
    np.testing.assert_allclose(numeric, exact, atol=1e-9)


def test_sparse_gradients_and_none(session: Interpreter) -> None:
    x = placeholder("float64", [3])
    assert compute_gradient_error(x, [3], gathering.gather(x, [2, 2, 0]), [3]) < 1e-9
    exact, _ = compute_gradient(x, [3], fills.zeros([2], "float64"), [2])
    assert exact.tolist() == [[0.0, 0.0]] * 3


def test_what_is_to_run_and_to_feed_besides(session: Interpreter) -> None:
    v = Variable(np.array(4.0))
    x, scale = placeholder("float64", []), placeholder("float64", [])
    initialized = identity.identity(v.initial_value)
    compute_gradient(x, [], x * scale, [], init_targets=initialized, extra_feed_dict={scale: np.array(2.0)})
    assert session.ran[0] is initialized


def test_the_initial_value_must_have_the_shape(session: Interpreter) -> None:
    x = placeholder("float64", [2])
    with pytest.raises(ValueError, match=r"shape \(3,\), not \(2,\)"):
        compute_gradient(x, [2], x, [2], x_init_value=np.ones(3))


def test_without_a_session() -> None:
    x = placeholder("float64", [2])
    with pytest.raises(ValueError, match="default session"):
        compute_gradient(x, [2], x, [2])


def test_a_variable_is_assigned_and_has_its_own_value_again() -> None:
    v, w = wf.Variable(np.array([3.0, 5.0])), wf.Variable(np.array(2.0))
    at = [np.array([1.0, 4.0]), np.array(10.0)]
    with wf.Session() as session:
        pairs = wf.test.compute_gradient(
            [v, w], [[2], []], v * v * w, [2], x_init_value=at, init_targets=[v.initializer, w.initializer]
        )
        assert [value.tolist() for value in session.run([v, w])] == [[3.0, 5.0], 2.0]
    assert [exact.tolist() for exact, _ in pairs] == [[[20.0, 0.0], [0.0, 80.0]], [[1.0, 16.0]]]
    for exact, numeric in pairs:
        np.testing.assert_allclose(numeric, exact, atol=1e-8)


@pytest.mark.parametrize("types", [("int32", "float32"), ("float32", "int32"), ("bool", "float32")])
def test_types_that_have_no_gradient(session: Interpreter, types: tuple[str, str]) -> None:
    x, y = placeholder(types[0], [1]), placeholder(types[1], [1])
    with pytest.raises(TypeError, match="only floating-point and complex numbers have gradients"):
        compute_gradient(x, [1], y, [1])


@pytest.mark.parametrize(("shapes", "values"), [([[2], [1]], None), ([[2]], []), ([], None)])
def test_as_many_shapes_and_values_as_inputs(session: Interpreter, shapes: Any, values: Any) -> None:
    x = placeholder("float64", [2])
    with pytest.raises(ValueError, match=r"1 xs, but \d shapes and \d initial values"):
        compute_gradient([x], shapes, x, [2], x_init_value=values)


def test_a_gradient_of_float32_and_of_the_other_parts_of_a_complex_number(session: Interpreter) -> None:
    x, z = placeholder("float32", [2]), placeholder("complex128", [1])
    exact, numeric = compute_gradient(x, (2,), x * x, (2,), x_init_value=[1.0, 2.0], delta=0.25)
    assert (exact.dtype, exact.tolist(), numeric.tolist()) == (
        "float32",
        [[2.0, 0.0], [0.0, 4.0]],
        [[2.0, 0.0], [0.0, 4.0]],
    )
    assert compute_gradient_error(z, [1], complex_ops.real(z) * complex_ops.imag(z), [1]) < 1e-9


def test_delta_is_how_far_an_element_moves(session: Interpreter) -> None:
    x = placeholder("float64", [1])
    error = compute_gradient_error(x, [1], x * x * x, [1], x_init_value=np.array([1.0]), delta=0.5)
    assert error == pytest.approx(0.25)


def test_an_error_that_is_no_number_is_not_hidden(session: Interpreter) -> None:
    x, z = placeholder("float64", [2]), placeholder("float64", [2])
    with np.errstate(all="ignore"):
        assert np.isnan(compute_gradient_error(x, [2], x / x, [2], x_init_value=np.array([0.0, 1.0])))
        both = compute_gradient_error([z, x], [[2], [2]], x / x + z, [2], x_init_value=[np.ones(2), np.zeros(2)])
        assert np.isnan(both)


def test_tensors_without_elements(session: Interpreter) -> None:
    x = placeholder("float64", [0])
    exact, numeric = compute_gradient(x, [0], x * x, [0])
    assert (exact.shape, numeric.shape) == ((0, 0), (0, 0))
    assert compute_gradient_error(x, [0], x * x, [0]) == 0.0
