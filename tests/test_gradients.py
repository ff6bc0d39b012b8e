"""What `gradients` computes: values, None and zeros, the order of the walk, stops, slices and shapes."""

from typing import Any

import numpy as np
import pytest
from weft.autodiff.gradients import UnconnectedGradients, gradients
from weft.graph import ir
from weft.graph.indexed_slices import IndexedSlices
from weft.graph.ops import arithmetic, array, cast, gathering, identity, placeholders, segments, sizes
from weft.graph.ops.constant import constant as const
from weft.graph.variable import Variable
from weft.runtime.interpret import interpret


def run(fetches: list[Any], feeds: dict[ir.Tensor, Any] | None = None) -> list[Any]:
    return [np.asarray(value).tolist() for value in interpret(fetches, feeds or {})]


# sums of vector-Jacobian products


def test_stop_gradients_cut_the_other_paths_of_the_example() -> None:
    a = const(0.0)
    b = 2 * a
    assert run(gradients(a + b, [a, b], stop_gradients=[a, b])) == [1.0, 1.0]
    assert run(gradients(a + b, [a, b])) == [3.0, 1.0]


def test_operations_that_stop_gradients_do_the_same() -> None:
    a = identity.stop_gradient(const(0.0))
    b = identity.stop_gradient(2 * a)
    assert run(gradients(a + b, [a, b])) == [1.0, 1.0]


def test_the_result_is_the_sum_over_all_ys() -> None:
    x = const([1.0, 2.0])
    assert run(gradients([x * x, 3 * x], [x])) == [[5.0, 7.0]]


def test_each_y_has_its_grad_y_and_none_means_ones() -> None:
    x = const(1.0)
    assert run(gradients([2 * x, 3 * x], [x], grad_ys=[None, const(5.0)])) == [17.0]


def test_a_y_twice_counts_twice() -> None:
    x = const(1.0)
    y = 2 * x
    assert run(gradients([y, y], [x])) == [4.0]


def test_an_x_twice_gets_the_same_tensor() -> None:
    x = const(1.0)
    first, second = gradients(2 * x, [x, x])
    assert first is second


def test_a_y_that_another_y_depends_on_waits_for_it() -> None:
    x = const(1.0)
    y1 = 2 * x
    y2 = 3 * y1
    assert run(gradients([y1, y2], [x, y1, y2])) == [8.0, 4.0, 1.0]


def test_an_x_between_another_x_and_y_is_differentiated_through() -> None:
    x = const(2.0)
    a = x * x
    b = a * a
    assert run(gradients(b, [x, a, b])) == [32.0, 8.0, 1.0]


def test_a_single_object_is_a_list_of_one() -> None:
    x = const(1.0)
    assert run(gradients(2 * x, x)) == [2.0]


def test_both_slots_of_one_operation_count() -> None:
    x = const(3.0)
    assert run(gradients(x * x, x)) == [6.0]


def test_gradients_of_gradients() -> None:
    x = const(2.0)
    (first,) = gradients(x * x * x, x)
    (second,) = gradients(first, x)
    (third,) = gradients(second, x)
    assert run([first, second, third]) == [12.0, 12.0, 6.0]


def test_outputs_that_got_nothing_count_as_zeros() -> None:
    x = const([1.0, 2.0, 3.0, 4.0])
    first, second = array.split(x, 2)
    assert run(gradients(first, [x])) == [[1.0, 1.0, 0.0, 0.0]]
    assert gradients(first, [second]) == [None]
    (_, zeros) = gradients(first, [x, second])
    assert run([zeros]) == [[0.0, 0.0]]  # as in TF: it was made for the operation, whose gradient x needs


# None and zeros


def test_no_path_gives_none() -> None:
    x, y = const(1.0), const(2.0)
    assert gradients(y * 2, [x]) == [None]


@pytest.mark.parametrize("zero", ["zero", UnconnectedGradients.ZERO])
def test_no_path_gives_zeros_when_asked(zero: Any) -> None:
    x, y = const([1.0, 2.0]), const(2.0)
    assert run(gradients(y * 2, [x], unconnected_gradients=zero)) == [[0.0, 0.0]]


def test_zeros_also_stand_for_an_unused_output_of_an_operation_with_gradients() -> None:
    first, second = array.split(const([1.0, 2.0]), 2)
    assert run(gradients(first, [second], unconnected_gradients="zero")) == [[0.0]]


def test_an_unconnected_variable_gets_zeros_of_its_shape_and_type() -> None:
    v = Variable(const([1.0, 2.0]))
    (zeros,) = gradients(const(1.0), [v], unconnected_gradients="zero")
    assert (zeros.dtype.name, run([zeros])) == ("float32", [[0.0, 0.0]])


def test_integers_are_constants() -> None:
    x, i = const(2.0), const(3)
    assert gradients(cast.cast(cast.cast(x, "int32"), "float32") * 2, x) == [None]  # float, int, float
    assert gradients(cast.cast(x, "int32"), x) == [None]  # an int y
    assert gradients(i * 2, i) == [None]  # an int x


@pytest.mark.parametrize("value", [1.0, 3, True])
def test_y_itself_gets_the_seed_of_whatever_type(value: Any) -> None:
    x = const(value)
    (seed,) = gradients(x, x)
    assert (seed.dtype, run([seed])) == (x.dtype, [1])


def test_a_string_y_has_no_ones() -> None:
    x = const("a")
    with pytest.raises(TypeError, match="string"):
        gradients(x, x)


def test_gradients_stop_at_what_is_not_differentiable() -> None:
    x = const([2.0])
    assert gradients(identity.stop_gradient(x) * 2, x) == [None]
    assert gradients(cast.cast(sizes.shape(x), "float32"), x) == [None]


def test_a_path_that_stops_does_not_hide_another() -> None:
    x = const(2.0)
    assert run(gradients(identity.stop_gradient(x) * x, x)) == [2.0]


def test_empty_lists() -> None:
    x = const(1.0)
    assert gradients([], []) == []
    assert gradients(x, []) == []
    assert gradients([], [x]) == [None]


@pytest.mark.parametrize("x", [np.ones(3), "a", 3.0])
def test_an_x_that_is_no_tensor_is_a_constant(x: Any) -> None:
    assert gradients(const(1.0), [x]) == [None]


# operations without a gradient


def without_gradient(x: ir.Tensor) -> ir.Tensor:
    """An operation whose gradient's name nobody registered."""
    with x.graph.gradient_override_map({"Neg": "nobody registered this"}):
        return arithmetic.negative(x, name="odd")


def test_an_operation_without_gradient_on_the_path_is_a_lookup_error() -> None:
    x = const(1.0)
    with pytest.raises(
        LookupError, match=r"No gradient defined for operation 'odd' \(op type: Neg\).*test_gradients.py"
    ):
        gradients(without_gradient(x), x)


def test_it_does_not_matter_beside_the_path() -> None:
    x, z = const(1.0), const(2.0)
    assert run(gradients(x * without_gradient(z), x)) == [-2.0]


def test_it_is_skipped_where_no_gradient_arrives() -> None:
    x = const(1.0)
    assert gradients(identity.stop_gradient(without_gradient(x)), x) == [None]


def test_an_operation_without_inputs_is_never_looked_up() -> None:
    x = placeholders.placeholder("float32", [])
    with x.graph.gradient_override_map({"Placeholder": "nobody registered this"}):
        y = placeholders.placeholder("float32", [])
    assert run(gradients(x * y, [y]), {x: np.float32(3), y: np.float32(1)}) == [3.0]


# stop_gradients


def test_a_stopped_x_still_gets_its_own_gradient() -> None:
    x = const(2.0)
    a = x * x
    none, through = gradients(a * a, [x, a], stop_gradients=[a])
    assert none is None
    assert run([through]) == [8.0]


def test_a_stop_holds_for_all_outputs_of_its_operation() -> None:
    x = const([1.0, 2.0])
    first, second = array.split(x, 2)
    assert gradients(first, [x], stop_gradients=[second]) == [None]


def test_a_stop_beside_the_path_is_ignored() -> None:
    x = const(2.0)
    assert run(gradients(3 * x, x, stop_gradients=[const(1.0), x * 2])) == [3.0]


def test_a_stopped_variable_still_gets_its_own_gradient() -> None:
    v = Variable(const([1.0, 2.0]))
    assert gradients(v * 2, [v], stop_gradients=[v])[0] is not None


# variables and slices


def test_the_gradient_by_a_variable_collects_all_its_reads() -> None:
    v, w = Variable(const([1.0, 2.0])), Variable(const([0.0]))
    by_v, by_w = gradients([v * 3, v * 4], [v, w])
    assert by_w is None
    assert run([by_v]) == [[7.0, 7.0]]


def test_a_variable_as_y_is_its_value() -> None:
    v = Variable(const([1.0, 2.0]))
    assert run(gradients(v, [v])) == [[1.0, 1.0]]


def test_only_rows_that_were_used_have_a_gradient() -> None:
    x = const([[1.0], [2.0], [3.0]])
    (grad,) = gradients(gathering.gather(x, [2, 0, 2]), x)
    assert isinstance(grad, IndexedSlices)
    assert run([grad.indices, grad.values, segments.dense(grad, None)]) == [
        [2, 0, 2], [[1.0], [1.0], [1.0]], [[1.0], [0.0], [2.0]],
    ]  # fmt: skip


def test_slices_become_dense_for_a_gradient_that_needs_them_so() -> None:
    x = const([1.0, 2.0, 3.0])
    (grad,) = gradients(gathering.gather(x * 2, [1]), x)
    assert run([grad]) == [[0.0, 2.0, 0.0]]


def test_slices_stay_slices_through_an_identity() -> None:
    x = const([1.0, 2.0, 3.0])
    (grad,) = gradients(gathering.gather(identity.identity(x), [1]), x)
    assert isinstance(grad, IndexedSlices)


def test_indexed_slices_as_x_and_y_stand_for_their_rows() -> None:
    x = const([1.0, 2.0])
    rows = IndexedSlices(x * 2, const([0, 4]), const([5]))
    (grad,) = gradients(rows.values * 3, [rows])
    assert isinstance(grad, IndexedSlices)
    assert (grad.indices, run([grad.values])) == (rows.indices, [[3.0, 3.0]])
    assert run(gradients(rows, [x])) == [[2.0, 2.0]]


# shapes


def test_a_gradient_learns_the_static_shape_of_its_input() -> None:
    x = placeholders.placeholder("float32", [2, 3])
    seed = placeholders.placeholder("float32", None)
    (grad,) = gradients(identity.identity(x), x, grad_ys=seed)
    assert grad.dims == (2, 3)


def test_ones_fit_a_y_of_unknown_shape() -> None:
    x = placeholders.placeholder("float32", None)
    assert run(gradients(x * 3, x), {x: np.array([[1, 2]], np.float32)}) == [[[3.0, 3.0]]]
