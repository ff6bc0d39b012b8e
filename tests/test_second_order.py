"""hessians, jacobian, per_example_gradients and hessian_vector_product, against closed forms and central differences."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import weft as wf
from case import floats
from weft.autodiff import second_order
from weft.graph.ir import Tensor, get_default_graph
from weft.graph.variable import Variable
from weft.runtime.interpret import interpret


@pytest.fixture(params=[second_order.UNROLLED, -1], ids=["as it comes", "looped"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few elements unrolled, as they are without it; or all in loops."""
    monkeypatch.setattr(second_order, "UNROLLED", request.param)


def value(tensor: Tensor, feeds: dict[Tensor, Any] | None = None) -> Any:
    return interpret([tensor], feeds or {})[0]


def central(function: Any, x: np.ndarray[Any, Any], step: float = 1e-5) -> np.ndarray[Any, Any]:
    """The derivatives of each element of function(x) by each element of x: shape(f(x)) + shape(x)."""
    columns = []
    for index in np.ndindex(x.shape):
        sides = []
        for sign in (1, -1):
            moved = x.copy()
            moved[index] += sign * step
            sides.append(np.asarray(function(moved)))
        columns.append((sides[0] - sides[1]) / (2 * step))
    return np.stack(columns, -1).reshape(*columns[0].shape, *x.shape)


pytestmark = pytest.mark.usefixtures("way")


# hessians


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 1, 2), (0,)], ids=str)
def test_the_hessian_of_a_sum_of_cubes_is_diagonal(shape: tuple[int, ...]) -> None:
    x = wf.constant(floats(*shape))
    (hessian,) = wf.hessians(wf.reduce_sum(x * x * x), x)
    assert hessian.dims == shape + shape
    size = int(np.prod(shape))
    np.testing.assert_allclose(value(hessian).reshape(size, size), np.diag(6 * floats(*shape).reshape(-1)))


def test_the_hessian_of_a_quadratic_form_is_its_symmetric_part_twice() -> None:
    a = floats(4, 4)
    x = wf.constant(floats(4, 1))
    (hessian,) = wf.hessians(wf.matmul(x, wf.matmul(wf.constant(a), x), transpose_a=True), [x])
    np.testing.assert_allclose(value(hessian)[:, 0, :, 0], a + a.T, rtol=1e-12)


def network(x: Any, w: Any) -> Tensor:
    return wf.reduce_sum(wf.tanh(wf.matmul(wf.tanh(wf.matmul(x, w)), w)))


def test_the_hessian_of_a_network_against_central_differences_of_its_gradient() -> None:
    x, w = wf.constant(floats(2, 3)), wf.placeholder("float64", [3, 3])
    y = network(x, w)
    (gradient,) = wf.gradients(y, w)
    (hessian,) = wf.hessians(y, w)
    at = floats(3, 3, seed=1)
    numeric = central(lambda moved: value(gradient, {w: moved}), at)
    np.testing.assert_allclose(value(hessian, {w: at}), numeric, rtol=1e-6, atol=1e-8)


def test_several_ys_are_summed_and_each_x_has_its_own_hessian() -> None:
    x, z = wf.constant([1.0, 2.0]), wf.constant([3.0])
    by_x, by_z = wf.hessians([wf.reduce_sum(x * x), 4 * x * x * z, z * z * z], [x, z])
    assert value(by_x).tolist() == [[26.0, 0.0], [0.0, 26.0]]
    assert value(by_z).tolist() == [[18.0]]


def test_the_hessian_of_a_linear_function_is_zero() -> None:
    x, z = wf.constant([1.0, 2.0]), wf.constant([3.0, 4.0])
    for hessian in wf.hessians(x * z, [x, z]):
        assert value(hessian).tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_the_hessian_by_a_variable() -> None:
    v = wf.Variable([1.0, 2.0])
    (hessian,) = wf.hessians(wf.reduce_sum(v * v * v), v)
    with wf.Session() as session:
        session.run(wf.global_variables_initializer())
        assert session.run(hessian).tolist() == [[6.0, 0.0], [0.0, 12.0]]


def test_the_hessian_by_a_tensor_whose_rows_are_gathered() -> None:
    x = wf.constant([1.0, 2.0, 3.0])
    (hessian,) = wf.hessians(wf.gather(x, [1, 1]) ** 3.0, x)
    np.testing.assert_allclose(value(hessian), [[0, 0, 0], [0, 24, 0], [0, 0, 0]])


def test_a_third_derivative_through_a_hessian() -> None:
    x = wf.constant(np.array([1.0, 2.0]))
    (hessian,) = wf.hessians(wf.reduce_sum(x**4.0), x)
    np.testing.assert_allclose(value(wf.gradients(hessian, x)[0]), [24.0, 48.0])


def test_hessians_of_nothing() -> None:
    assert wf.hessians(wf.constant(1.0), []) == []


@pytest.mark.parametrize("x", [lambda: wf.constant(1.0), lambda: 3.0, lambda: wf.constant(1)])
def test_an_x_that_ys_do_not_depend_on_has_no_hessian(x: Any) -> None:
    with pytest.raises(ValueError, match="None values not supported"):
        wf.hessians(wf.constant(1.0), [x()])


def test_names_options_and_scopes() -> None:
    with wf.device("/cpu:1"):
        x = wf.constant([1.0, 2.0])
        y = x * x * x
    (hessian,) = wf.hessians(y, x, name="curvature", colocate_gradients_with_ops=True)
    assert hessian.name.startswith("curvature_1/")
    made = [op for op in get_default_graph().get_operations() if "_grad/Mul" in op.name]
    assert len(made) >= 4
    assert {op.device for op in made} == {"/device:CPU:1"}
    assert {op.device for op in get_default_graph().get_operations() if op.type == "While"} <= {"/device:CPU:1"}
    with pytest.raises(ValueError, match="aggregation_method"):
        wf.hessians(y, x, aggregation_method=5)


# jacobian


def test_a_jacobian_against_central_differences() -> None:
    x = wf.placeholder("float64", [2, 3])
    w = wf.constant(floats(3, 4))
    y = wf.tanh(wf.matmul(wf.sin(x), w))
    (jacobian,) = wf.jacobian(y, x)
    assert jacobian.dims == (2, 4, 2, 3)
    numeric = central(lambda moved: value(y, {x: moved}), floats(2, 3))
    np.testing.assert_allclose(value(jacobian, {x: floats(2, 3)}), numeric, rtol=1e-6, atol=1e-8)


def test_jacobians_of_several_ys_by_several_xs() -> None:
    x, z, other = wf.constant([1.0, 2.0]), wf.constant(3.0), wf.constant(4.0)
    (square_x, square_z, none), (scaled_x, scaled_z, _) = wf.jacobian([x * x, x * z], [x, z, other])
    assert value(square_x).tolist() == [[2.0, 0.0], [0.0, 4.0]]
    assert (square_z, none) == (None, None)
    assert value(scaled_x).tolist() == [[3.0, 0.0], [0.0, 3.0]]
    assert value(scaled_z).tolist() == [1.0, 2.0]


def test_jacobians_of_what_is_not_connected() -> None:
    x, z = wf.constant([1.0, 2.0]), wf.constant([[3.0]])
    (zeros,) = wf.jacobian(x * x, z, unconnected_gradients="zero")
    assert value(zeros).tolist() == [[[0.0]], [[0.0]]]


def test_the_jacobian_of_a_scalar_is_its_gradient() -> None:
    x = wf.constant([1.0, 2.0])
    y = wf.reduce_sum(x * x)
    assert value(wf.jacobian(y, x)[0]).tolist() == value(wf.gradients(y, x)[0]).tolist()


def test_the_jacobian_by_a_tensor_of_unknown_shape() -> None:
    x = wf.placeholder("float32", None)
    y = wf.stack([wf.reduce_sum(x), wf.reduce_sum(x * x)])
    found = value(wf.jacobian(y, x)[0], {x: np.array([[1.0, 2.0]], np.float32)})
    assert found.tolist() == [[[1.0, 1.0]], [[2.0, 4.0]]]


def test_the_jacobian_of_an_empty_tensor() -> None:
    x = wf.placeholder("float64", [0, 2])
    (jacobian,) = wf.jacobian(x * x, x)
    assert value(jacobian, {x: np.zeros((0, 2))}).shape == (0, 2, 0, 2)


def test_a_jacobian_can_be_differentiated() -> None:
    x = wf.constant(np.array([1.0, 2.0]))
    (first,) = wf.jacobian(x**3.0, x)
    (second,) = wf.jacobian(first, x)
    np.testing.assert_allclose(np.einsum("iii->i", value(second)), [6.0, 12.0])


# per-example gradients


def test_each_example_has_the_gradient_of_its_own_loss() -> None:
    inputs, w, b = floats(4, 3), wf.constant(floats(3, 2)), wf.constant(floats(2, seed=2))
    x = wf.constant(inputs)
    losses = wf.reduce_sum(wf.square(wf.tanh(wf.matmul(x, w) + b)), axis=1)
    by_w, by_b = wf.per_example_gradients(losses, [w, b])
    assert (by_w.dims, by_b.dims) == ((4, 3, 2), (4, 2))
    for row in range(4):
        loss = wf.reduce_sum(wf.square(wf.tanh(wf.matmul(wf.constant(inputs[row : row + 1]), w) + b)))
        for whole, alone in zip((by_w, by_b), wf.gradients(loss, [w, b]), strict=True):
            np.testing.assert_allclose(value(whole)[row], value(alone), rtol=1e-12)
    np.testing.assert_allclose(value(by_w).sum(0), value(wf.gradients(losses, w)[0]), rtol=1e-12)


def test_per_example_gradients_of_what_is_not_connected() -> None:
    x, z = wf.constant([1.0, 2.0]), wf.constant(3.0)
    assert wf.per_example_gradients(x, [z]) == [None]
    assert value(wf.per_example_gradients(x, [z], unconnected_gradients="zero")[0]).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("shape", [None, [], [2, 2]])
def test_losses_are_a_vector(shape: Any) -> None:
    x = wf.placeholder("float32", shape)
    with pytest.raises(ValueError, match=r"vector of losses"):
        wf.per_example_gradients(x, [x])


def test_per_example_gradients_of_a_batch_of_any_length() -> None:
    x, w = wf.placeholder("float64", [None, 3]), wf.constant(floats(3, 2))
    (grads,) = wf.per_example_gradients(wf.reduce_sum(wf.tanh(wf.matmul(x, w)), axis=1), w)
    assert grads.dims == (None, 3, 2)
    for batch in (0, 1, 40):
        rows = floats(batch, 3)
        slopes = 1 - np.tanh(rows @ floats(3, 2)) ** 2
        np.testing.assert_allclose(value(grads, {x: rows}), rows[:, :, None] * slopes[:, None, :], rtol=1e-12)


# any shape, any number of elements

Function = Callable[[Tensor], Tensor]

FUNCTIONS: dict[str, Function] = {
    "network": lambda x: network(x, wf.constant(floats(3, 3, seed=1))),
    "cond": lambda x: wf.cond(wf.reduce_sum(x) > -100.0, lambda: wf.sin(x) * x[0], lambda: x),
    "while": lambda x: wf.while_loop(lambda i, a: i < 3, lambda i, a: (i + 1, wf.sin(a + x)), (0, x * x))[1],
    "map_fn": lambda x: wf.map_fn(lambda row: wf.sin(row) * wf.reduce_sum(row * row), x),
    "gather": lambda x: wf.gather(x, [1, 1]) ** 3.0,
}


@pytest.mark.parametrize(
    ("way", "dims"), [(second_order.UNROLLED, [2, 3]), (-1, [2, 3]), (-1, None)], indirect=["way"], ids=str
)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_known_and_unknown_shapes_of_every_kind_of_function(name: str, dims: Any) -> None:
    """The second order against central differences of the first, and the third against those of the second."""
    x = wf.placeholder("float64", dims)
    y = FUNCTIONS[name](x)
    slope = wf.convert_to_tensor(wf.gradients(y, x)[0])
    (hessian,) = wf.hessians(y, x)
    total = wf.reduce_sum(hessian * hessian)
    third = wf.convert_to_tensor(wf.gradients(total, x)[0])
    at = floats(2, 3)
    with wf.Session() as session:

        def of(tensor: Tensor) -> Callable[[Any], Any]:
            return lambda moved: session.run(tensor, {x: moved})

        np.testing.assert_allclose(of(hessian)(at), central(of(slope), at), rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(of(third)(at), central(of(total), at), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(), (3,), (0,), (2, 0), (20,)], ids=str)
def test_the_hessian_by_a_tensor_of_unknown_shape(shape: tuple[int, ...]) -> None:
    x = wf.placeholder("float32")
    (hessian,) = wf.hessians(x * x * x, x)
    fed = floats(*shape).astype(np.float32)
    expected = np.diag(6 * fed.reshape(-1)).reshape(shape + shape)
    np.testing.assert_allclose(value(hessian, {x: fed}), expected, rtol=1e-6)


def test_a_batch_of_unknown_size_keeps_what_is_known_of_the_shape() -> None:
    x = wf.placeholder("float64", [None, 3])
    (hessian,) = wf.hessians(wf.reduce_sum(x**3.0), x)
    (jacobian,) = wf.jacobian(wf.reduce_sum(x, axis=1), wf.identity(x))
    assert hessian.dims == (None, 3, None, 3)
    assert jacobian is None
    assert wf.jacobian(wf.reduce_sum(x, axis=1), x)[0].dims == (None, None, 3)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "complex64", "complex128"])
def test_the_types_of_numbers(dtype: str) -> None:
    x = wf.constant([1.0, 2.0, 4.0], dtype)
    (jacobian,) = wf.jacobian(x * x, x)
    assert jacobian.dtype.name == dtype
    assert value(jacobian).astype("complex64").tolist() == np.diag([2.0, 4.0, 8.0]).tolist()


def test_types_that_have_no_gradient_give_none() -> None:
    x, n = wf.constant([1.0, 2.0]), wf.constant([1, 2])
    assert wf.jacobian(wf.cast(x, "int32"), [x, n]) == [None, None]
    assert wf.jacobian(x * x, [n, 3.0, np.ones(2)]) == [None, None, None]


def test_results_are_the_same_bits_either_way(monkeypatch: pytest.MonkeyPatch) -> None:
    x, w = wf.constant(floats(2, 3)), wf.placeholder("float64", [3, 3])
    y = network(x, w)
    found = []
    for most in (1000, -1):
        monkeypatch.setattr(second_order, "UNROLLED", most)
        found += [value(wf.hessians(y, w)[0], {w: floats(3, 3, seed=1)})]
    np.testing.assert_array_equal(*found)


def test_several_xs_in_one_loop_with_one_that_is_not_connected() -> None:
    x, z, other = wf.placeholder("float64", [None]), wf.constant(np.array(3.0)), wf.constant(1.0)
    by_x, none, by_z = wf.jacobian(x * z, [x, other, z])
    assert none is None
    assert value(by_x, {x: np.array([1.0, 2.0])}).tolist() == [[3.0, 0.0], [0.0, 3.0]]
    assert value(by_z, {x: np.array([1.0, 2.0])}).tolist() == [1.0, 2.0]


def test_a_variable_of_many_elements() -> None:
    v = wf.Variable(floats(30))
    (hessian,) = wf.hessians(wf.reduce_sum(v * v * v), v)
    with wf.Session() as session:
        session.run(wf.global_variables_initializer())
        np.testing.assert_allclose(session.run(hessian), np.diag(6 * floats(30)))


def test_a_jacobian_inside_of_a_loop_and_of_a_branch() -> None:
    x = wf.placeholder("float64", [None])

    def square(v: Tensor) -> Tensor:
        return wf.reduce_sum(wf.jacobian(v**3.0, v)[0], axis=1)

    looped = wf.while_loop(lambda i, v: i < 2, lambda i, v: (i + 1, square(v)), (0, x))[1]
    chosen = wf.cond(wf.reduce_sum(x) > 0.0, lambda: square(x), lambda: x)
    feeds = {x: np.array([0.5, 1.0])}
    np.testing.assert_allclose(value(looped, feeds), 3 * (3 * feeds[x] ** 2) ** 2)
    np.testing.assert_allclose(value(chosen, feeds), 3 * feeds[x] ** 2)
    np.testing.assert_allclose(value(wf.gradients(chosen, x)[0], feeds), 6 * feeds[x])


def test_the_cost_of_building_does_not_grow_with_the_number_of_elements() -> None:
    sizes = []
    for width in (5, 50):
        with wf.Graph().as_default() as graph:
            w = wf.constant(floats(width, width))
            wf.hessians(network(w, w), w)
            sizes.append(graph.operations_made)
    assert sizes[0] == sizes[1]


# Hessian-vector products


def test_a_hessian_vector_product_is_the_hessian_times_the_vector() -> None:
    x, w = wf.constant(floats(2, 3)), wf.constant(floats(3, 3, seed=1))
    y = network(x, w)
    vector = floats(3, 3, seed=2)
    (product,) = wf.hessian_vector_product(y, w, vector)
    (hessian,) = wf.hessians(y, w)
    np.testing.assert_allclose(value(product), np.tensordot(value(hessian), vector, 2), rtol=1e-10)


def test_a_hessian_vector_product_by_several_xs_has_the_mixed_derivatives() -> None:
    x, z = wf.constant([1.0, 2.0]), wf.constant([3.0, 4.0])
    y = wf.reduce_sum(x * x * z)  # d2y/dx2 = 2z, d2y/dxdz = 2x, d2y/dz2 = 0
    by_x, by_z = wf.hessian_vector_product(y, [x, z], [[1.0, 1.0], [10.0, 100.0]])
    assert value(by_x).tolist() == [6.0 + 20.0, 8.0 + 400.0]
    assert value(by_z).tolist() == [2.0, 4.0]


def test_a_hessian_vector_product_against_central_differences() -> None:
    x, w = wf.constant(floats(2, 3)), wf.placeholder("float64", [3, 3])
    y = network(x, w)
    vector, at, step = floats(3, 3, seed=2), floats(3, 3, seed=1), 1e-5
    (gradient,) = wf.gradients(y, w)
    ahead, behind = (value(gradient, {w: at + sign * step * vector}) for sign in (1, -1))
    (product,) = wf.hessian_vector_product(y, [w], [vector])
    np.testing.assert_allclose(value(product, {w: at}), (ahead - behind) / (2 * step), rtol=1e-6, atol=1e-8)


def test_hessian_vector_products_that_are_zero_or_none() -> None:
    x, z = wf.constant([1.0, 2.0]), wf.constant(1.0)
    zeros, none = wf.hessian_vector_product(3 * x, [x, z], [[1.0, 1.0], 1.0])
    assert value(zeros).tolist() == [0.0, 0.0]
    assert none is None


def test_hessian_vector_products_by_variables() -> None:
    v = Variable([1.0, 2.0])
    (product,) = wf.hessian_vector_product(wf.reduce_sum(v * v * v), v, wf.constant([1.0, 10.0]))
    with wf.Session() as session:
        session.run(wf.global_variables_initializer())
        assert session.run(product).tolist() == [6.0, 120.0]


def test_vectors_that_do_not_fit() -> None:
    x = wf.constant([1.0, 2.0])
    with pytest.raises(ValueError, match="Passed 2 vectors for 1 xs"):
        wf.hessian_vector_product(x * x, [x], [x, x])
    with pytest.raises(ValueError, match="has the shape of its x"):
        wf.hessian_vector_product(x * x, [x], [wf.constant([1.0])])


def test_the_cost_of_a_hessian_vector_product_does_not_grow_with_x() -> None:
    sizes = []
    for width in (2, 50):
        with wf.Graph().as_default() as graph:
            w = wf.constant(floats(width, width))
            wf.hessian_vector_product(network(w, w), w, np.ones((width, width)))
            sizes.append(graph.version)
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize("function", [wf.hessians, wf.jacobian, wf.per_example_gradients])
def test_eager_execution_is_refused(function: Any) -> None:
    wf.enable_eager_execution()
    x = wf.constant([1.0, 2.0])
    with pytest.raises(RuntimeError, match="not supported when eager execution is enabled"):
        function(x, x)
