"""The letter of `gradients`, sentence by sentence where no other file pins it: seeds, slices, stops, loops, names, cost."""

from typing import Any

import numpy as np
import pytest
import weft as wf
from weft.autodiff.reach import between
from weft.graph import ir
from weft.graph.indexed_slices import IndexedSlices


def run(*fetches: Any, feeds: Any = None) -> list[Any]:
    with wf.Session() as session:
        session.run(wf.global_variables_initializer())
        return [np.asarray(value).tolist() for value in session.run(list(fetches), feeds)]


def rows(values: Any, indices: list[int], shape: list[int] | None) -> IndexedSlices:
    where = wf.constant(indices)
    return IndexedSlices(wf.constant(values), where, None if shape is None else wf.constant(shape))


# seeds


def test_an_array_as_grad_y_is_a_constant_named_so() -> None:
    x = wf.constant([1.0])
    (grad,) = wf.gradients([x * 1.0, wf.identity(x)], x, grad_ys=[None, np.ones(1, np.float32)])
    seed = grad.op.inputs[1].op
    assert (seed.name, seed.inputs[0].name) == ("gradients/grad_ys_1", "gradients/grad_y_1:0")


def test_grad_ys_may_be_a_variable_and_is_differentiated_by() -> None:
    v, x = wf.Variable(2.0), wf.constant(1.0)
    (grad,) = wf.gradients(x * 3.0, x, grad_ys=[v])
    assert run(grad, wf.gradients(grad, v)[0]) == [6.0, 3.0]


def test_a_given_gradient_for_a_handle_is_the_gradient_of_its_variable() -> None:
    v = wf.Variable(2.0)
    assert run(*wf.gradients([v.handle, v * 2.0], v, grad_ys=[wf.constant(5.0), None])) == [7.0]


def test_slices_as_grad_y_of_x_itself_pass_through() -> None:
    x = wf.constant([1.0, 2.0, 3.0])
    (grad,) = wf.gradients(x, x, grad_ys=rows([1.0, 2.0], [0, 0], None))
    assert isinstance(grad, IndexedSlices)
    assert (run(grad.values, grad.indices), grad.dense_shape) == ([[1.0, 2.0], [0, 0]], None)


def test_slices_and_a_dense_gradient_for_one_y_add_up() -> None:
    x = wf.constant([1.0, 2.0, 3.0])
    y = wf.identity(x)
    (grad,) = wf.gradients([y, y], x, grad_ys=[rows([1.0, 2.0], [0, 0], [3]), wf.constant([1.0, 1.0, 1.0])])
    assert run(grad) == [[4.0, 1.0, 1.0]]


def test_slices_without_a_shape_do_not_add_up_with_a_tensor() -> None:
    x = wf.constant([1.0, 2.0, 3.0])
    y = wf.identity(x)
    with pytest.raises(TypeError, match="IndexedSlices without dense_shape"):
        wf.gradients([y, y], x, grad_ys=[rows([1.0], [0], None), None])


def test_slices_without_a_shape_cannot_become_dense() -> None:
    x = wf.constant([1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="IndexedSlices without dense_shape"):
        wf.gradients(x * 2.0, x, grad_ys=rows([1.0], [0], None))


def test_slices_of_slices_as_grad_ys() -> None:
    x = wf.constant([[1.0], [2.0], [3.0]])
    y = wf.identity(x)
    nested = IndexedSlices(rows([[1.0], [5.0]], [1, 0], [2, 1]), wf.constant([2, 0]), wf.constant([3, 1]))
    (alone,) = wf.gradients(y, x, grad_ys=[nested])
    assert isinstance(alone.values, IndexedSlices)  # a single term passes untouched
    (both,) = wf.gradients([y, y], x, grad_ys=[nested, rows([[7.0]], [1], [3, 1])])
    assert run(both.values, both.indices, both.dense_shape) == [[[1.0], [5.0], [7.0]], [0, 2, 1], [3, 1]]
    assert run(*wf.gradients(x * 2.0, x, grad_ys=[nested])) == [[[2.0], [0.0], [10.0]]]
    (mixed,) = wf.gradients([y, y], x, grad_ys=[nested, None])
    assert run(mixed) == [[[2.0], [1.0], [6.0]]]


# xs


@pytest.mark.parametrize("x", [[], [1.0, 2.0]], ids=["empty", "numbers"])
def test_a_list_of_numbers_among_xs_is_a_constant(x: Any) -> None:
    assert wf.gradients(wf.constant(1.0), [x]) == [None]


def test_x_duplicated_with_ancestors_between() -> None:
    a = wf.constant(1.0)
    b = a * 2.0
    c = b * 3.0 + a
    assert run(*wf.gradients(c, [a, b, a, c])) == [7.0, 3.0, 7.0, 1.0]


def test_ys_of_two_graphs() -> None:
    x = wf.constant(1.0)
    with ir.Graph().as_default():
        stranger = wf.constant(1.0)
    with pytest.raises(ValueError, match="must be from the same graph as"):
        wf.gradients([x * 2.0, stranger], x)


# integers


def test_an_integer_among_the_outputs_of_an_operation_is_no_y() -> None:
    x = wf.constant([1.0, 3.0, 2.0])
    values, indices = wf.nn.top_k(x, 2)
    assert wf.gradients(indices, [x, values]) == [None, None]
    assert run(*wf.gradients([indices, values], x)) == [[0.0, 1.0, 1.0]]


def test_the_value_of_an_integer_variable_has_no_gradient() -> None:
    v = wf.Variable(3)
    assert wf.gradients(v, [v]) == [None]
    assert wf.gradients(v.value() * 2, [v]) == [None]


def test_what_a_gradient_function_gives_for_an_integer_is_dropped() -> None:
    wf.RegisterGradient("gives one for the shape too")(lambda operation, dy: [dy, wf.constant([1])])
    x, shape = wf.constant([1.0]), wf.constant([1])
    with x.graph.gradient_override_map({"Reshape": "gives one for the shape too"}):
        y = wf.reshape(x, shape)
    by_x, by_shape = wf.gradients(y, [x, shape])
    assert (run(by_x), by_shape) == ([[1.0]], None)


# what gradient functions are handed


def seen_by(op_type: str, build: Any) -> list[Any]:
    """What the gradient function of an operation gets, while `build` differentiates."""
    seen: list[Any] = []
    name = f"sees {op_type} of {build.__name__}"

    def function(operation: ir.Operation, *dys: Any) -> list[None]:
        seen.extend(None if dy is None else type(dy).__name__ for dy in dys)
        return [None] * len(operation.inputs)

    wf.RegisterGradient(name)(function)
    with wf.get_default_graph().gradient_override_map({op_type: name}):
        build()
    return seen


def test_a_users_gradient_function_gets_zeros_for_unused_outputs_and_none_for_integers() -> None:
    def top_k() -> None:
        x = wf.constant([1.0, 2.0])
        wf.gradients(wf.nn.top_k(x, 1)[0], x)

    def one_of_two() -> None:
        x = wf.constant([1.0, 2.0])
        wf.gradients(wf.split(x, 2)[0], x)

    assert seen_by("TopKV2", top_k) == ["Tensor", None]
    assert seen_by("Split", one_of_two) == ["Tensor", "Tensor"]


def test_a_users_gradient_function_gets_slices_as_they_are() -> None:
    def rows_of_negative() -> None:
        x = wf.constant([1.0, 2.0])
        wf.gradients(wf.gather(wf.negative(x), [0]), x)

    assert seen_by("Neg", rows_of_negative) == ["IndexedSlices"]


# stops


def test_a_stop_of_one_read_leaves_the_others() -> None:
    v = wf.Variable(2.0)
    read = v.value()
    by_v, by_read = wf.gradients(read * v.value(), [v, read], stop_gradients=[read])
    assert run(by_v, by_read) == [2.0, 2.0]


@pytest.mark.parametrize("form", [lambda y: y, lambda y: (y,), lambda y: [y, y]], ids=["one", "tuple", "twice"])
def test_stop_gradients_as_one_a_tuple_or_twice(form: Any) -> None:
    x = wf.constant(2.0)
    y = x * x
    assert run(*wf.gradients(y * x, x, stop_gradients=form(y))) == [4.0]


def test_an_operation_without_gradient_is_never_asked_when_it_is_stopped_or_x() -> None:
    x = wf.constant(1.0)
    with x.graph.gradient_override_map({"Neg": "nobody registered it"}):
        odd = wf.negative(x)
    assert wf.gradients(odd * 2.0, [x], stop_gradients=[odd]) == [None]
    assert run(*wf.gradients(odd * 2.0, [odd])) == [2.0]
    with pytest.raises(LookupError, match="No gradient defined"):
        wf.gradients(odd * 2.0, [odd, x])


# inside of loops and branches


def test_inside_a_loop_not_by_what_a_loop_variable_starts_from() -> None:
    x = wf.constant(3.0)
    for start, by in ((x, x), (wf.tanh(x), x)):
        with pytest.raises(ValueError, match="Cannot compute gradient inside while loop with respect to op"):
            wf.while_loop(lambda a: a < 9.0, lambda a, by=by: a + wf.gradients(a * a, by)[0], [start])


def test_inside_a_loop_by_its_variables_and_by_what_it_uses_from_around() -> None:
    w = wf.constant(3.0)
    y = w * w

    def body(count: Any, a: Any) -> Any:
        by_a, by_w = wf.gradients(a * a * w, [a, w])
        return count + 1, a + by_a + by_w + wf.gradients(y, w)[0]

    # 1 + 2·1·3 + 1² + 2·3
    assert run(wf.while_loop(lambda count, a: count < 1, body, [wf.constant(0), wf.constant(1.0)])[1]) == [14.0]


def test_inside_a_loop_a_start_that_the_gradient_does_not_pass_is_no_error() -> None:
    x = wf.constant(3.0)
    found = wf.while_loop(lambda a: a < 5.0, lambda a: a + wf.gradients(x * x, x)[0], [x])
    assert run(found) == [9.0]


def test_inside_a_branch_also_of_what_lies_around_and_again_from_around() -> None:
    x, yes = wf.constant(2.0), wf.placeholder_with_default(True, [])
    y = x * x
    chosen = wf.cond(yes, lambda: wf.gradients(y * x, x)[0], lambda: x)
    assert run(chosen, *wf.gradients(chosen, x)) == [12.0, 12.0]


def test_control_flow_that_has_run_is_differentiated_and_runs_again() -> None:
    x, yes = wf.constant(2.0), wf.placeholder_with_default(True, [])
    chosen = wf.cond(yes, lambda: x * x, lambda: x)
    looped = wf.while_loop(lambda a: a < 9.0, lambda a: a * x, [x])
    with wf.Session() as session:
        assert session.run([chosen, looped]) == [4.0, 16.0]
        (grad,) = wf.gradients([chosen, looped], x)
        assert session.run([grad, chosen, looped]) == [36.0, 4.0, 16.0]


def test_a_tensor_made_inside_of_a_branch_is_not_differentiated_from_outside() -> None:
    x, made = wf.constant(2.0), []

    def branch() -> Any:
        made.append(x * x)
        return made[0]

    wf.cond(wf.placeholder_with_default(True, []), branch, lambda: x)
    with pytest.raises(ValueError, match="made in the true branch of 'cond'"):
        wf.gradients(made[0], x)


# names and places


def test_zeros_are_named_as_those_a_program_makes() -> None:
    x = wf.placeholder(wf.float32, [None, 2])
    first, second = wf.unstack(x, axis=1)
    assert wf.gradients(first, [x, second])[1].name == "gradients/zeros_like:0"
    assert wf.gradients(wf.constant(1.0), x, unconnected_gradients="zero")[0].name == "zeros_like:0"
    assert [wf.zeros_like(x).name, wf.ones_like(x).name] == ["zeros_like_1:0", "ones_like:0"]


def test_the_sum_of_a_tree_is_named_after_the_operation() -> None:
    with wf.name_scope("s"):
        x = wf.constant(1.0, name="x")
    with wf.name_scope("t"):
        (grad,) = wf.gradients(
            [x * 2.0, x * 3.0, x * 4.0], x, aggregation_method=wf.AggregationMethod.EXPERIMENTAL_TREE
        )
    assert (grad.name, len(grad.op.inputs)) == ("t/gradients/s/x_gradient_sum/AddN_1:0", 2)


def test_the_shape_of_gathered_rows_is_computed_where_the_whole_is() -> None:
    with wf.device("/cpu:1"):
        whole = wf.tanh(wf.placeholder(wf.float32, [None, 2]))
    with wf.device("/cpu:2"):
        (grad,) = wf.gradients(wf.gather(whole, [0]), whole)
    assert (grad.dense_shape.op.type, grad.dense_shape.device) == ("Shape", "/device:CPU:1")


def test_a_gradient_under_colocation_and_control_dependencies_of_the_caller() -> None:
    anchor, gate = wf.constant(1.0, name="anchor"), wf.no_op("gate")
    x = wf.constant(1.0)
    y = wf.sin(x, name="y")
    with x.graph.colocate_with(anchor.op), wf.control_dependencies([gate]):
        wf.gradients(y, x, colocate_gradients_with_ops=True)
    made = x.graph.get_operation_by_name("gradients/y_grad/Cos")
    assert made.colocation_groups() == [b"loc:@anchor", b"loc:@y"]
    assert list(made.control_inputs) == [gate]


def test_gates_are_where_what_they_wait_for_is() -> None:
    x, z = wf.constant(1.0), wf.constant(2.0)
    y = wf.multiply(x, z, name="y")
    with wf.device("/cpu:3"):
        found = wf.gradients(y, [x, z], gate_gradients=True)
    assert [grad.name for grad in found] == [
        "gradients/y_grad/tuple/control_dependency:0", "gradients/y_grad/tuple/control_dependency_1:0",
    ]  # fmt: skip
    (gate,) = found[0].op.control_inputs
    assert (gate.name, gate.device) == ("gradients/y_grad/tuple/group_deps", "/device:CPU:3")
    assert [grad.op.colocation_groups() for grad in found] == [
        [f"loc:@{grad.op.inputs[0].op.name}".encode()] for grad in found
    ]


# shapes


def test_the_static_shape_goes_back_through_a_reshape() -> None:
    x = wf.placeholder(wf.float32, [None, 2])
    (grad,) = wf.gradients(wf.stack(wf.unstack(wf.reshape(x, [-1]), 6)), x)
    assert grad.shape.as_list() == [3, 2]


# cost


@pytest.mark.parametrize("where", ["behind", "before", "beside"])
def test_a_small_part_of_a_huge_graph_costs_what_the_part_costs(where: str) -> None:
    def made(size: int) -> tuple[int, int]:
        """How many edges are looked at, and how many operations made, for three operations beside `size` others."""
        with ir.Graph().as_default() as graph:
            before = wf.constant(1.0)
            for _ in range(size if where == "before" else 0):
                before = wf.identity(before)
            x = wf.identity(wf.constant(1.0))
            y = wf.tanh(wf.square(x) + before)
            more = y if where == "behind" else wf.constant(1.0)
            for _ in range(0 if where == "before" else size):
                more = wf.identity(more)
            start = graph.operations_made
            wf.gradients(y, x)
            return between([x], [y]).visited, graph.operations_made - start

    (few, few_made), (many, many_made) = made(10), made(2000)
    assert (many <= few + 10, few_made) == (True, many_made)


# rows that stay rows


@pytest.mark.parametrize(
    ("build", "values"),
    [
        (lambda x: -x, [[-1.0, -1.0]]),
        (lambda x: x + wf.ones([3, 2]), [[1.0, 1.0]]),
        (lambda x: wf.ones([3, 2]) - x, [[-1.0, -1.0]]),
        (lambda x: x - wf.constant([1.0, 2.0]), [[1.0, 1.0]]),
        (lambda x: wf.cast(x, "float64"), [[1.0, 1.0]]),
        (lambda x: wf.add_n([x, wf.ones([3, 2])]), [[1.0, 1.0]]),
        (lambda x: wf.stop_gradient(x) + wf.identity(x), [[1.0, 1.0]]),
    ],
    ids=["negative", "add", "subtracted", "bias", "cast", "add_n", "identity"],
)
def test_slices_go_back_through_what_changes_no_row_by_another(build: Any, values: Any) -> None:
    x = wf.Variable(np.zeros((3, 2), np.float32))
    (grad,) = wf.gradients(wf.gather(build(x), [1]), x)
    assert isinstance(grad, IndexedSlices)
    assert (grad.values.dtype.name, run(grad.values, grad.indices)) == ("float32", [values, [1]])


def test_slices_become_dense_for_a_term_that_was_broadcast_or_may_have_been() -> None:
    bias, unknown = wf.constant([1.0, 2.0]), wf.placeholder_with_default(np.zeros((3, 2), np.float32), [None, 2])
    (by_bias,) = wf.gradients(wf.gather(wf.ones([3, 2]) - bias, [1, 1]), bias)
    ones = wf.ones([3, 2])
    by_both = wf.gradients(wf.gather(unknown + ones, [1, 1]), [unknown, ones])
    assert run(by_bias, *by_both) == [[-2.0, -2.0], *[[[0.0, 0.0], [2.0, 2.0], [0.0, 0.0]]] * 2]


def test_slices_become_dense_where_tensors_are_joined() -> None:
    x = wf.constant([[1.0], [2.0]])
    (grad,) = wf.gradients(wf.gather(wf.concat([x, x], 0), [1, 2]), x)
    assert run(grad) == [[[1.0], [1.0]]]


def test_slices_of_slices_go_back_through_a_negative() -> None:
    x = wf.constant([[1.0], [2.0], [3.0]])
    nested = IndexedSlices(rows([[1.0], [5.0]], [1, 0], [2, 1]), wf.constant([2, 0]), wf.constant([3, 1]))
    (grad,) = wf.gradients(-x, x, grad_ys=[nested])
    assert run(grad.values.values) == [[[-1.0], [-5.0]]]


def test_an_array_as_grad_y_is_made_where_the_caller_says() -> None:
    with wf.device("/cpu:1"):
        y = wf.tanh(wf.constant([1.0]))
    with wf.device("/cpu:2"):
        wf.gradients(y, y.op.inputs[0], grad_ys=[np.ones(1, np.float32)], colocate_gradients_with_ops=True)
    graph = wf.get_default_graph()
    places = [graph.get_operation_by_name(f"gradients/{name}").device for name in ("grad_y_0", "grad_ys_0")]
    assert places == ["/device:CPU:2", "/device:CPU:1"]
