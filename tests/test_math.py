"""Corners of the mathematical operations: ties, zeros, infinities, and what a run or a build refuses."""

import math as std
from typing import Any

import numpy as np
import pytest
from weft.autodiff.gradients import gradients
from weft.graph.errors import InvalidArgumentError
from weft.graph.ir import Tensor
from weft.graph.ops import arithmetic, compare, linalg, math, reduction, scan, special, statistics, transcendental
from weft.graph.ops.constant import constant
from weft.graph.ops.placeholders import placeholder
from weft.runtime.interpret import interpret


def value(tensor: Tensor) -> Any:
    return interpret([tensor], {})[0]


def slopes(y: Tensor, *xs: Tensor) -> list[Any]:
    return interpret(gradients(y, list(xs)), {})


# errors


@pytest.mark.parametrize("act", [lambda x, y: x // y, lambda x, y: x % y, arithmetic.div])
def test_an_integer_division_by_zero_is_an_error_of_the_run(act: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="Integer division by zero"):
        value(act(constant([1, 2]), constant([1, 0])))


def test_a_float_division_by_zero_is_infinite() -> None:
    assert value(constant(1.0) / 0.0) == value(constant(1.0) // 0.0) == np.inf
    assert np.isnan(value(constant(1.0) % 0.0))


def test_an_integer_to_a_negative_power_is_an_error_of_the_run() -> None:
    with pytest.raises(InvalidArgumentError, match="Integers to negative integer powers are not allowed"):
        value(constant([2]) ** constant([-1]))


@pytest.mark.parametrize(
    ("bad", "found"), [([1, np.nan], "NaN values"), ([-np.inf, 1], "Inf values"), ([np.nan, np.inf], "Inf and NaN")]
)
def test_check_numerics_says_what_it_found(bad: list[float], found: str) -> None:
    with pytest.raises(InvalidArgumentError, match=f"the loss : Tensor had {found}"):
        value(compare.check_numerics(constant(bad), "the loss"))


def test_check_numerics_checks_the_gradient_as_well() -> None:
    x = constant(0.0)
    (dx,) = gradients(transcendental.sqrt(compare.check_numerics(x, "x")), x)
    with pytest.raises(InvalidArgumentError, match=r"detected in gradient.*x : Tensor had Inf"):
        value(dx)


def test_argmax_of_nothing_is_an_error_of_the_run() -> None:
    with pytest.raises(InvalidArgumentError, match=r"Reduction axis 0 is empty in shape \[0\]"):
        value(reduction.argmax(np.zeros(0)))
    assert value(reduction.argmax(np.zeros((0, 3)), 1)).shape == (0,)


def test_a_singular_matrix_has_no_inverse() -> None:
    with pytest.raises(InvalidArgumentError, match="not invertible"):
        value(linalg.matrix_inverse([[1.0, 2.0], [2.0, 4.0]]))


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ((2, 3), (2, 3), "Dimensions must be equal, but are 3 and 2"),
        ((3,), (3,), "Shape must be rank 2 but is rank 1"),
        ((5, 2, 3), (4, 3, 2), "Dimensions must be equal, but are 5 and 4"),
        ((5, 2, 3), (3,), "Shape must be at least rank 2 but is rank 1"),
    ],
)
def test_matrices_that_do_not_fit_are_refused_at_build(a: Any, b: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        linalg.matmul(placeholder("float32", a), placeholder("float32", b))


def test_a_matrix_is_either_transposed_or_adjoined() -> None:
    with pytest.raises(ValueError, match="Only one of transpose_a and adjoint_a"):
        linalg.matmul([[1.0]], [[1.0]], transpose_a=True, adjoint_a=True)


def test_reductions_refuse_axes_out_of_range_and_two_names_for_one_thing() -> None:
    x = placeholder("float32", [2, 3])
    with pytest.raises(ValueError, match="axis 2 is out of range"):
        reduction.reduce_mean(x, 2)
    with pytest.raises(ValueError, match="Cannot specify both 'reduction_indices' and 'axis'"):
        reduction.reduce_max(x, 1, reduction_indices=1)
    with pytest.raises(ValueError, match="Cannot specify both 'keep_dims' and 'keepdims'"):
        reduction.reduce_max(x, 1, keepdims=True, keep_dims=True)
    with pytest.raises(ValueError, match="Cannot specify both 'dimension' and 'axis'"):
        reduction.argmax(x, 1, dimension=1)
    with pytest.raises(ValueError, match="must be a supported vector norm, got x"):
        statistics.norm(x, "x")
    with pytest.raises(ValueError, match="must be a supported matrix norm"):
        statistics.norm(x, 2, axis=[0, 1])


def test_clipping_keeps_the_shape() -> None:
    with pytest.raises(ValueError, match="are incompatible"):
        math.clip_by_value(constant(1.0), [1.0, 2.0], 3.0)


# values in corners


def test_extrema_and_means_of_nothing() -> None:
    assert value(reduction.reduce_max(np.zeros(0, np.int32))) == np.iinfo(np.int32).min
    assert value(reduction.reduce_min(np.zeros(0, np.float32))) == np.inf
    assert np.isnan(value(reduction.reduce_mean(np.zeros(0, np.float32))))
    assert value(reduction.reduce_prod(np.zeros(0, np.float32))) == 1
    assert value(statistics.reduce_logsumexp(np.full(2, -np.inf))) == -np.inf


def test_nan_goes_through_extrema() -> None:
    np.testing.assert_array_equal(value(math.maximum([np.nan, 1.0], [1.0, np.nan])), [np.nan, np.nan])
    assert np.isnan(value(reduction.reduce_max([1.0, np.nan])))


def test_sigmoid_and_error_functions_are_accurate_everywhere() -> None:
    x = np.linspace(-8, 8, 4001)
    np.testing.assert_allclose(value(special.erf(x)), [std.erf(v) for v in x], rtol=4e-15)
    x = np.linspace(-6, 26, 4001)
    np.testing.assert_allclose(value(special.erfc(x)), [std.erfc(v) for v in x], rtol=1e-13)
    np.testing.assert_array_equal(value(special.erf([-np.inf, np.inf, np.nan])), [-1, 1, np.nan])
    np.testing.assert_array_equal(value(special.erfc([-np.inf, np.inf, np.nan])), [2, 0, np.nan])
    x = np.linspace(-700, 700, 1001)
    np.testing.assert_allclose(value(special.sigmoid(x)), [1 / (1 + std.exp(-v)) for v in x], rtol=1e-14)


def test_a_long_recurrence_is_the_loop_it_stands_for() -> None:
    random = np.random.default_rng(0)
    a, b = random.uniform(-1, 1, (1000, 2)), random.uniform(-1, 1, (1000, 2))
    wanted = np.zeros((1000, 2))
    for i in range(1000):
        wanted[i] = b[i] + (a[i] * wanted[i - 1] if i else 0)
    np.testing.assert_allclose(value(scan.Recurrence(0)(constant(a), constant(b))), wanted, rtol=1e-12, atol=1e-12)


# gradients in corners


def test_equal_extrema_share_the_gradient_of_a_reduction() -> None:
    x = constant([1.0, 2.0, 2.0])
    np.testing.assert_array_equal(slopes(reduction.reduce_max(x), x)[0], [0, 0.5, 0.5])
    np.testing.assert_array_equal(slopes(reduction.reduce_min(-x), x)[0], [0, -0.5, -0.5])


def test_of_two_equal_numbers_the_first_gets_the_gradient() -> None:
    x, y = constant([2.0]), constant([2.0])
    assert slopes(math.maximum(x, y), x, y) == [[1], [0]]
    assert slopes(math.minimum(x, y), x, y) == [[1], [0]]
    z = constant([1.0, 2.0, 4.0])
    np.testing.assert_array_equal(slopes(math.clip_by_value(z, 2.0, 3.0), z)[0], [0, 1, 0])


def test_gradients_where_a_logarithm_or_a_division_would_be_infinite() -> None:
    x, y = constant([0.0, -1.0, 2.0]), constant([2.0, 2.0, 2.0])
    dx, dy = slopes(math.pow(x, y), x, y)
    np.testing.assert_allclose(dx, [0, -2, 4])
    np.testing.assert_allclose(dy, [0, 0, 4 * std.log(2)], rtol=1e-6)
    zero = constant([0.0])
    assert slopes(arithmetic.div_no_nan([1.0], zero), zero) == [[0]]
    assert slopes(abs(zero), zero) == [[0]]


def test_second_derivatives_of_products_with_zeros() -> None:
    x = constant([0.0, 0.0, 3.0])
    (first,) = gradients(reduction.reduce_prod(x), x)
    np.testing.assert_array_equal(value(first), [0, 0, 0])
    np.testing.assert_array_equal(slopes(first[0], x)[0], [0, 3, 0])


def test_functions_with_steps_have_no_gradient() -> None:
    x = constant([1.5])
    for y in (math.floor(x), math.ceil(x), math.round(x), math.rint(x), x // 2.0):
        assert gradients(y, x) == [None]
    assert slopes(math.sign(x), x) == [[0]]


# shapes of what is known in part


def test_products_of_matrices_of_unknown_rank() -> None:
    a, b = placeholder("float64"), placeholder("float64")
    z = linalg.matmul(a, b)
    assert z.dims is None
    feeds = {a: np.ones((2, 1, 5, 3)), b: np.ones((4, 3, 2))}
    da, db, out = interpret([*gradients(z, [a, b]), z], feeds)
    assert (da.shape, db.shape, out.shape) == ((2, 1, 5, 3), (4, 3, 2), (2, 4, 5, 2))


def test_a_transposed_matrix_reaches_blas_as_a_view(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(np, "matmul", lambda *operands: seen.extend(operands))
    a, b = np.ones((3, 2)), np.ones((4, 3))
    linalg.MatMul(True, True).compute(a, b)
    assert [operand.shape for operand in seen[:2]] == [(2, 3), (3, 4)]
    assert np.shares_memory(seen[0], a)
    assert np.shares_memory(seen[1], b)


def test_what_pythons_operators_call_their_operations() -> None:
    x, y = placeholder("float32", [2, 2]), placeholder("bool", [2])
    made = [x**2.0, 2.0**x, x @ x, ~y, abs(x), -x, x % 2.0]
    assert [tensor.op.name for tensor in made] == ["pow", "pow_1", "matmul", "LogicalNot", "Abs", "Neg", "mod"]
    assert [tensor.name for tensor in made[0].op.inputs][1:] == ["pow/y:0"]


def test_functions_name_what_they_make_after_its_kind_and_operators_after_themselves() -> None:
    x, y = constant(1.0), constant(2.0)
    functions = [arithmetic.add, arithmetic.subtract, arithmetic.multiply, arithmetic.floormod]
    made = [*(function(x, y) for function in functions), x + y, x - y, x * y, x % y]
    names = ["Add", "Sub", "Mul", "FloorMod", "add_1", "sub_1", "mul_1", "mod"]
    assert [tensor.op.name for tensor in made] == names


def test_a_number_among_operands_is_a_constant_under_the_name_of_the_operation() -> None:
    x = constant(1.0)
    with x.graph.name_scope("s"):
        made = [x * 2.0, x * 2.0, 2.0 - x, arithmetic.multiply(x, 2.0, name="mine")]
    assert [[tensor.name for tensor in t.op.inputs if tensor is not x] for t in made] == [
        ["s/mul/y:0"], ["s/mul_1/y:0"], ["s/sub/x:0"], ["s/mine/y:0"],
    ]  # fmt: skip
