"""compute_gradient and compute_gradient_error: Jacobians two ways."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from weft.autodiff.numeric import compute_gradient, compute_gradient_error
from weft.autodiff.registry import RegisterGradient
from weft.graph import context
from weft.graph.ops import arithmetic, fills, gathering, identity
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
