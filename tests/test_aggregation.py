"""How several gradients of one tensor are added up."""

import warnings
from typing import Any

import pytest
from weft.autodiff.aggregate import AggregationMethod, aggregate
from weft.autodiff.gradients import gradients
from weft.graph import ir
from weft.graph.indexed_slices import IndexedSlices
from weft.graph.ops import fills, gathering, identity, segments
from weft.graph.ops.constant import constant
from weft.runtime.interpret import interpret

TREES = [AggregationMethod.EXPERIMENTAL_TREE, AggregationMethod.EXPERIMENTAL_ACCUMULATE_N]


def cubic() -> tuple[ir.Tensor, ir.Tensor]:
    """x, and a y that x enters at four slots."""
    x = constant(2.0, name="x")
    return x, x * x * x + x


def dense(grad: Any) -> Any:
    return interpret([segments.dense(grad, None)], {})[0].tolist()


@pytest.mark.parametrize("method", [None, AggregationMethod.DEFAULT, *TREES])
def test_every_method_gives_the_sum(method: int | None) -> None:
    x, y = cubic()
    assert interpret(gradients(y, x, aggregation_method=method), {}) == [13.0]


def test_the_methods_have_the_numbers_of_tensorflow() -> None:
    methods = AggregationMethod
    assert (methods.ADD_N, methods.DEFAULT, *TREES) == (0, 0, 1, 2)


def test_one_term_is_passed_through_untouched() -> None:
    x = constant(1.0)
    y = identity.identity(x)
    before = x.graph.version
    gradients(y, x)
    assert [operation.name for operation in x.graph.get_operations()[before:]] == ["gradients/grad_ys_0"]


def test_add_n_is_one_sum_next_to_its_first_term() -> None:
    x, y = cubic()
    (grad,) = gradients(y, x)
    assert (grad.name, len(grad.op.inputs)) == ("gradients/AddN:0", 4)
    assert grad.op.colocation_groups() == [f"loc:@{grad.op.inputs[0].op.name}".encode()]


@pytest.mark.parametrize("method", TREES)
def test_a_tree_is_sums_of_two_from_the_left(method: int) -> None:
    x, y = cubic()
    (grad,) = gradients(y, x, aggregation_method=method)
    names = []
    while grad.op.type == "AddN":
        names.append(grad.op.name)
        assert len(grad.op.inputs) == 2
        grad = grad.op.inputs[0]
    assert names == [f"gradients/x_gradient_sum/AddN{suffix}" for suffix in ("_2", "_1", "")]


def test_terms_are_grouped_by_device_in_the_order_of_names() -> None:
    graph = ir.get_default_graph()
    x = constant(1.0)
    terms: list[ir.Tensor] = []
    for device in ("/cpu:2", "/cpu:1", "/cpu:2", "/cpu:1", "/cpu:0"):
        with graph.device(device):
            terms.append(identity.identity(x, name=f"term{len(terms)}"))
    total = aggregate(list(terms), x.op, AggregationMethod.ADD_N)
    assert isinstance(total, ir.Tensor)
    assert [[t.op.name for t in part.op.inputs] for part in total.op.inputs] == [
        ["Const"], ["term1", "term3"], ["term0", "term2"],
    ]  # fmt: skip
    assert total.op.inputs[0] is terms[4]
    assert [part.device for part in total.op.inputs] == ["/device:CPU:0", "/device:CPU:1", "/device:CPU:2"]
    assert interpret([total], {}) == [5.0]


# slices


def test_slices_are_joined_and_repeated_rows_stay() -> None:
    x = constant([1.0, 2.0, 3.0])
    (grad,) = gradients([gathering.gather(x, [0, 2]), 5 * gathering.gather(x, [2])], x)
    assert isinstance(grad, IndexedSlices)
    assert [value.tolist() for value in interpret([grad.indices, grad.values], {})] == [[0, 2, 2], [1.0, 1.0, 5.0]]
    assert grad.indices.dtype.name == "int32"
    assert dense(grad) == [1.0, 0.0, 6.0]


def test_indices_of_two_types_become_int64() -> None:
    x = constant([1.0, 2.0, 3.0])
    (grad,) = gradients([gathering.gather(x, [0]), gathering.gather(x, constant([1], "int64"))], x)
    assert grad.indices.dtype.name == "int64"
    assert dense(grad) == [1.0, 1.0, 0.0]


@pytest.mark.parametrize("method", [None, *TREES])
def test_slices_and_tensors_add_up_to_a_tensor(method: int | None) -> None:
    x = constant([1.0, 2.0, 3.0])
    (grad,) = gradients([gathering.gather(x, [0, 0]), 2 * x], x, aggregation_method=method)
    assert isinstance(grad, ir.Tensor)
    assert interpret([grad], {})[0].tolist() == [4.0, 2.0, 2.0]


def nested() -> IndexedSlices:
    """Rows 4 and 1 of five, given as rows 1, 0 and 1 of those two."""
    inner = IndexedSlices(constant([1.0, 2.0, 3.0]), constant([1, 0, 1]), constant([2]))
    return IndexedSlices(inner, constant([4, 1]), constant([5]))


def test_rows_of_rows_are_flattened() -> None:
    slices = segments.flat(nested())
    assert interpret([slices.indices], {})[0].tolist() == [1, 4, 1]
    assert dense(slices) == [0.0, 4.0, 0.0, 0.0, 2.0]


def test_nested_slices_join_and_add() -> None:
    x = constant([0.0] * 5)
    joined = aggregate([nested(), nested()], x.op, AggregationMethod.ADD_N)
    assert dense(joined) == [0.0, 8.0, 0.0, 0.0, 4.0]
    total = aggregate([constant([1.0] * 5), nested()], x.op, AggregationMethod.ADD_N)
    assert isinstance(total, ir.Tensor)
    assert interpret([total], {})[0].tolist() == [1.0, 5.0, 1.0, 1.0, 3.0]


def test_a_large_tensor_from_slices_is_warned_about() -> None:
    x = fills.zeros([200_000_000])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        gradients([gathering.gather(x, [0]), x], x)
    assert "Converting sparse IndexedSlices to a dense Tensor with 200000000 elements" in str(caught[0].message)
