"""Tests of while_loop: values, gradients of any order, what a loop keeps for them, effects, and every error."""

import gc
import json
import tracemalloc
from collections import namedtuple
from typing import Any

import numpy as np
import pytest
import weft as wf
from weft.cluster.wire.plans import decode_plan, encode_plan
from weft.graph.ops.looping import While
from weft.graph.state import State
from weft.graph.wire import decode_graph, encode_graph
from weft.runtime.backends.cpu import CPU
from weft.runtime.execution.compile import CompiledPlan
from weft.runtime.execution.rendezvous import Rendezvous
from weft.runtime.stages.plan import Run


def run(fetches: Any, feeds: Any = None) -> Any:
    with wf.Session() as session:
        session.run(wf.global_variables_initializer())
        return session.run(fetches, feeds)


def repeat(times: Any, step: Any, start: Any, **options: Any) -> Any:
    """`step` applied so often to one value."""
    return wf.while_loop(lambda i, _: i < times, lambda i, a: (i + 1, step(a)), (0, start), **options)[1]


def plain_loops(fetches: Any, feeds: Any = None) -> list[While]:
    """The loops in the plan of some fetches."""
    with wf.Session() as session:
        (plan,) = session.plan(fetches, feeds).plans
    found = [i.definition for i in plan.instructions if isinstance(i, Run)]
    return [definition for definition in found if isinstance(definition, While)]


def test_counts() -> None:
    i, total = wf.while_loop(lambda i, _: i < 10, lambda i, t: (i + 1, t + i), [0, 0])
    assert run([i, total]) == [10, 45]
    assert [i.name, total.name] == ["while:0", "while:1"]


def test_a_loop_that_never_runs_gives_its_first_values() -> None:
    x = wf.constant([1.0, 2.0])
    y = repeat(0, lambda a: a * 7.0, x)
    value, grad = run([y, wf.gradients(y, x)[0]])
    assert value.tolist() == [1.0, 2.0]
    assert grad.tolist() == [1.0, 1.0]


Pair = namedtuple("Pair", "a b")

#: What cannot be called, and type checkers need not know.
ANY: list[Any] = [True, 3]


@pytest.mark.parametrize(
    ("start", "step", "expected"),
    [
        ([1.0], lambda a: a * 2.0, 8.0),
        ([1.0], lambda a: [a * 2.0], 8.0),
        ((1.0, 2.0), lambda a, b: (b, a), (2.0, 1.0)),
        ([1.0, 2.0], lambda a, b: (b, a), [2.0, 1.0]),
        ([{"x": 1.0, "y": (2.0,)}], lambda d: {"x": d["x"] * 2.0, "y": d["y"]}, [{"x": 8.0, "y": (2.0,)}]),
        ([Pair(1.0, 2.0), 3.0], lambda p, c: [Pair(p.b, c), p.a], [Pair(1.0, 2.0), 3.0]),
    ],
)
def test_structures_of_loop_variables(start: Any, step: Any, expected: Any) -> None:
    count = [0, *start]
    found = wf.while_loop(lambda i, *_: i < 3, lambda i, *a: [i + 1, *_listed(step(*a))], count)
    assert run(list(found)[1:]) == list(_listed(expected))


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) and not hasattr(value, "_fields") else [value]


def test_a_single_variable_is_returned_as_such() -> None:
    assert run(wf.while_loop(lambda i: i < 3, lambda i: i + 1, [0])) == 3
    assert run(wf.while_loop(lambda i: i < 3, lambda i: i + 1, [0], return_same_structure=True)) == [3]


@pytest.mark.parametrize(("limit", "expected"), [(3, 4.0), (-3, 1.0), (wf.int64.np.type(2), 3.0)])
def test_maximum_iterations(limit: Any, expected: float) -> None:
    assert run(wf.while_loop(lambda a: True, lambda a: a + 1.0, [1.0], maximum_iterations=limit)) == expected
    x = wf.constant(2.0)
    y = wf.while_loop(lambda a: a < 1e9, lambda a: a * x, [x], maximum_iterations=wf.constant(4))
    assert run([y, *wf.gradients(y, x)]) == [32.0, 80.0]


def test_shapes_may_change_where_invariants_say_so() -> None:
    x = wf.constant([1.0, 2.0])
    _, y = wf.while_loop(
        lambda i, _: i < 3, lambda i, a: (i + 1, wf.concat([a, a * x[0]], 0)), [0, x],
        shape_invariants=[wf.TensorShape([]), wf.TensorShape([None])],
    )  # fmt: skip
    assert y.shape.as_list() == [None]
    ys = [wf.reduce_sum(y * y)]
    ys += wf.gradients(ys[0], x)
    ys += wf.gradients(ys[1], x)
    value, grad, second = run(ys)
    # sum over a**2 * (x0**2 + x1**2) * (1 + x0**2)**3
    assert value == 5.0 * 8.0
    np.testing.assert_allclose(grad, [2 * 8 + 5 * 3 * 4 * 2, 4 * 8])
    assert second.shape == (2,)


def test_shapes_that_only_the_feed_tells() -> None:
    x = wf.placeholder(wf.float32, [None, 3])
    y = repeat(2, lambda a: a + wf.reduce_mean(a, axis=0), x)
    assert y.shape.as_list() == [None, 3]
    for rows in (1, 4):
        value, grad = run([y, wf.gradients(y, x)[0]], {x: np.ones((rows, 3))})
        assert value.tolist() == [[4.0] * 3] * rows
        np.testing.assert_allclose(grad, np.full((rows, 3), 4.0), rtol=1e-6)


# gradients


def test_three_orders() -> None:
    x, w = wf.placeholder(wf.float64, ()), wf.placeholder(wf.float64, ())
    y = repeat(3, lambda a: a * a * w, x)  # x**8 * w**7
    feeds = {x: 1.1, w: 0.9}
    first = wf.gradients(y, [x, w])
    second = wf.gradients(first[0], [x, w])
    third = wf.gradients(second[1], [x, w])
    a, b = 1.1, 0.9
    expected = [
        8 * a**7 * b**7, 7 * a**8 * b**6,
        56 * a**6 * b**7, 56 * a**7 * b**6,
        56 * 7 * a**6 * b**6, 56 * 6 * a**7 * b**5,
    ]  # fmt: skip
    np.testing.assert_allclose(run([*first, *second, *third], feeds), expected)


def test_where_there_is_no_gradient() -> None:
    a, b, w = wf.constant(1.0), wf.constant(2.0), wf.constant(3.0)
    _, x, _ = wf.while_loop(lambda i, *_: i < 3, lambda i, x, y: (i + 1, x * 2.0, y * w), [0, a, b])
    assert wf.gradients(x, [b, w]) == [None, None]
    assert run(wf.gradients(x, a)) == [8.0]
    constant = repeat(3, lambda _: wf.constant(5.0), a)
    assert run(wf.gradients(constant, a)) == [0.0]
    assert wf.gradients(repeat(3, lambda v: wf.stop_gradient(v * w), a), w) == [None]
    assert wf.gradients(repeat(3, lambda v: v * w, a, back_prop=False), [a, w]) == [None, None]
    i = wf.while_loop(lambda i, _: i < 3, lambda i, x: (i + 1, x * 2.0), [0, a])[0]
    assert wf.gradients(i, a) == [None]
    assert wf.gradients(a * 2.0, wf.constant(0)) == [None]


def test_a_variable_that_reaches_the_output_over_another_one() -> None:
    x, y = wf.constant(1.0), wf.constant(2.0)
    _, a, _ = wf.while_loop(lambda i, *_: i < 3, lambda i, a, b: (i + 1, a + b, b * x), [0, x, y])
    # a = x + y (1 + x + x**2)
    assert run(wf.gradients(a, [x, y])) == [1.0 + 2.0 * 3.0, 3.0]


def test_by_variables_and_rows_of_tables() -> None:
    table = wf.Variable(np.arange(6.0).reshape(3, 2))
    v = wf.Variable(3.0, dtype=wf.float64)

    def body(i: Any, a: Any) -> Any:
        return i + 1, a + wf.reduce_sum(wf.nn.embedding_lookup(table, [i, 2])) * v

    total = wf.while_loop(lambda i, _: i < 2, body, (0, wf.constant(0.0, wf.float64)))[1]
    grads = [*wf.gradients(total, [table, v]), wf.gradients(wf.gradients(total, v)[0], table)[0]]
    rows, by_v, twice = run([wf.convert_to_tensor(grad) for grad in grads])
    assert rows.tolist() == [[3.0, 3.0], [3.0, 3.0], [6.0, 6.0]]
    assert by_v == 1.0 + 9.0 + 5.0 + 9.0
    assert twice.tolist() == [[1.0, 1.0], [1.0, 1.0], [2.0, 2.0]]


def test_gradients_are_taken_inside_of_bodies_too() -> None:
    x = wf.constant(2.0)
    z = x * x
    by_parameter = repeat(3, lambda a: a + wf.gradients(a * a * x, a)[0], wf.constant(1.0))
    by_invariant = repeat(3, lambda a: a + wf.gradients(a * a * x, x)[0], wf.constant(1.0))
    through_around = repeat(3, lambda a: a + wf.gradients(a * a * z, x)[0], wf.constant(1.0))
    assert run([by_parameter, by_invariant, through_around]) == [125.0, 42.0, 44205.0]
    # a -> a (1 + 2 x), three times
    assert run(wf.gradients(by_parameter, x)) == [6.0 * 25.0]
    inner = repeat(2, lambda a: wf.gradients(repeat(2, lambda b: b * b * x, a), a)[0], wf.constant(1.5))
    # d/da of (a**2 x)**2 x = 4 a**3 x**3
    value = 32.0 * 1.5**3
    np.testing.assert_allclose(
        run([inner, *wf.gradients(inner, x)]), [32.0 * value**3, 48.0 * value**3 + 96.0 * value**2 * 48.0 * 1.5**3]
    )


def test_random_numbers_are_new_in_each_iteration_and_the_same_in_the_gradient() -> None:
    wf.set_random_seed(3)
    x = wf.constant(1.0)
    drawn = wf.TensorArray(wf.float32, 4)

    def body(i: Any, a: Any, seen: Any) -> Any:
        number = wf.random_uniform([])
        return i + 1, a * number, seen.write(i, number)

    _, y, seen = wf.while_loop(lambda i, *_: i < 4, body, (0, x, drawn))
    with wf.Session() as session:
        values = [session.run([y, wf.gradients(y, x)[0], seen.stack()]) for _ in range(2)]
    for value, grad, numbers in values:
        assert len(set(numbers.tolist())) == 4
        np.testing.assert_allclose([value, grad], np.prod(numbers, dtype=np.float64), rtol=1e-5)
    assert values[0][0] != values[1][0]
    assert run(y) == values[0][0]


# what a loop keeps


def test_without_a_gradient_a_loop_keeps_nothing() -> None:
    x = wf.constant(1.0)
    y = repeat(3, lambda a: wf.tanh(a) * x, x)
    wf.gradients(y, x)
    assert [loop.saves for loop in plain_loops(y)] == [None]


def test_with_a_gradient_a_loop_keeps_what_the_gradient_uses() -> None:
    x = wf.constant(1.0)
    w = wf.constant(2.0)
    y = repeat(3, lambda a: wf.tanh(wf.sin(a + 1.0)) * 3.0 + w, x)
    by_w, by_x = wf.gradients(y, w)[0], wf.gradients(y, x)[0]
    saved = [loop.saves for loop in plain_loops(by_x)]
    assert saved[1] is None
    assert saved[0] is not None
    assert {name.rpartition("/")[2] for name in saved[0]} == {"Tanh:0", "add_1:0"}
    assert [loop.saves for loop in plain_loops(repeat(3, lambda a: a * 2.0, x))] == [None]
    linear = wf.gradients(repeat(3, lambda a: a * 2.0, x), x)
    assert [loop.saves for loop in plain_loops(linear)] == [(), None]
    assert run([by_x, by_w])[0] != 0.0


def test_results_and_gradients_that_nobody_fetches_are_not_computed() -> None:
    x, w = wf.constant(1.0), wf.constant(2.0)
    y = repeat(3, lambda a: a * w, x)
    forward, backward = plain_loops(wf.gradients(y, x))
    assert forward.saves == ()  # the product's other factor is only wanted for the gradient by w
    assert len(backward.body.outputs) == 2
    _, first, _ = wf.while_loop(lambda i, *_: i < 3, lambda i, a, b: (i + 1, a * 2.0, wf.exp(b)), (0, x, w))
    (loop,) = plain_loops(first)
    assert [op.type for op in loop.body.operations if op.type == "Exp"] == []


def test_a_shape_that_the_feed_tells_is_not_kept_as_a_value() -> None:
    x = wf.placeholder(wf.float64, [None, 3])
    bias = wf.constant(np.ones(3))
    grads = wf.gradients(repeat(2, lambda a: wf.sin(a + bias), x), [x, bias])
    feed = np.full((4, 3), 0.5)
    forward, _ = plain_loops(grads, {x: feed})
    assert [name.rpartition("/")[2] for name in forward.saves or ()] == ["add_1:0"]
    by_x, by_bias = run(grads, {x: feed})
    last = np.cos(np.sin(1.5) + 1.0)
    np.testing.assert_allclose(by_x, np.full((4, 3), np.cos(1.5) * last))
    np.testing.assert_allclose(by_bias, np.full(3, 4 * (np.cos(1.5) + 1.0) * last))


def test_what_a_tape_inside_a_tape_keeps() -> None:
    x = wf.constant(np.full((4, 3), 0.5))
    y = repeat(2, lambda a: wf.cond(wf.reduce_sum(a) > 0.0, lambda: wf.sin(a * 3.0), lambda: a * 2.0), x)
    grad = wf.gradients(y, x)[0]
    forward, _ = plain_loops(grad)
    assert forward.saves == ("while/Greater:0", "while/cond:1", "while/cond:1>while/cond/mul:0")
    np.testing.assert_allclose(run(grad), np.full((4, 3), 9 * np.cos(1.5) * np.cos(3 * np.sin(1.5))))


def test_memory_of_a_thousand_steps() -> None:
    x = wf.placeholder(wf.float32, [1000])
    y = repeat(1000, lambda a: wf.sin(wf.cos(a) + 1.0) * 0.5, x)
    grad = wf.gradients(y, x)[0]
    value = np.ones(1000, np.float32)
    peaks = {}
    with wf.Session() as session:
        for name, fetch in (("value", y), ("gradient", grad)):
            session.run(fetch, {x: value})
            gc.collect()
            tracemalloc.start()
            session.run(fetch, {x: value})
            peaks[name] = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
    assert peaks["value"] < 100_000
    # sin keeps its input, cos its input: two arrays of 4,000 bytes a step
    assert 8_000_000 < peaks["gradient"] < 9_500_000


def test_a_variable_that_a_loop_only_reads_is_kept_once() -> None:
    v = wf.Variable(np.ones(100_000, np.float32))
    x = wf.placeholder(wf.float32, [])
    grad = wf.gradients(wf.reduce_sum(repeat(50, lambda a: a * wf.reduce_mean(v * a), x)), x)[0]
    with wf.Session() as session:
        session.run(v.initializer)
        session.run(grad, {x: 1.0})
        gc.collect()
        tracemalloc.start()
        session.run(grad, {x: 1.0})
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 2_000_000  # a copy an iteration would be 20 MB


def test_what_is_kept_of_a_variable_is_its_value_then() -> None:
    v = wf.Variable([1.0, 2.0])
    x = wf.constant([1.0, 1.0])

    def body(i: Any, a: Any) -> Any:
        now = v.read_value()
        product = a * now
        with wf.control_dependencies([product]), wf.control_dependencies([v.assign_add([1.0, 1.0])]):
            return i + 1, wf.identity(product)

    y = wf.while_loop(lambda i, _: i < 3, body, (0, x))[1]
    with wf.control_dependencies([y]), wf.control_dependencies([v.assign([9.0, 9.0])]):
        grad = wf.identity(wf.gradients(y, x)[0])
    with wf.Session() as session:
        session.run(v.initializer)
        assert [value.tolist() for value in session.run([y, grad])] == [[6.0, 24.0], [6.0, 24.0]]
        assert session.run(v).tolist() == [9.0, 9.0]


@pytest.mark.parametrize("how", ["branch", "loop"])
def test_what_was_kept_of_a_variable_is_handed_out_as_a_copy(how: str) -> None:
    v = wf.Variable([1.0, 2.0])

    @wf.custom_gradient
    def f(x: Any) -> Any:
        now = v.read_value()
        return x + now, lambda dy, variables=None: (now, [None]) if variables else now

    x = wf.constant([1.0, 1.0])
    y = wf.cond(wf.constant(value=True), lambda: f(x), lambda: x) if how == "branch" else repeat(2, f, x)
    grad = wf.gradients(y, x)[0]
    with wf.Session() as session:
        session.run(v.initializer)
        found = session.run(grad)
        assert found.tolist() == [1.0, 2.0]
        found += 100.0
        assert session.run(v).tolist() == [1.0, 2.0]


def test_a_failure_on_the_way_back_names_the_operation() -> None:
    @wf.custom_gradient
    def f(x: Any) -> Any:
        return x * 2.0, lambda dy: wf.check_numerics(dy / 0.0, "on the way back")

    x = wf.constant(1.0)
    grad = wf.gradients(repeat(3, f, x), x)[0]
    with pytest.raises(wf.errors.InvalidArgumentError, match="on the way back") as caught:
        run(grad)
    assert caught.value.op.name.endswith("CheckNumerics")


# effects


def test_variables_are_read_and_written_in_every_iteration() -> None:
    v, log = wf.Variable(1.0), wf.Variable(np.zeros(4, np.float32))

    def body(i: Any) -> Any:
        with wf.control_dependencies([v.assign_add(v * 1.0)]):
            noted = wf.scatter_update(log, i, v.read_value())
        with wf.control_dependencies([noted]):
            return i + 1

    count = wf.while_loop(lambda i: i < 4, body, [0])
    with wf.Session() as session:
        session.run(wf.global_variables_initializer())
        assert session.run(count) == 4
        assert session.run([v, log])[1].tolist() == [2.0, 4.0, 8.0, 16.0]


def test_a_condition_over_a_variable_alone() -> None:
    v = wf.Variable(0)

    def body(x: Any) -> Any:
        with wf.control_dependencies([v.assign_add(1)]):
            return wf.identity(x)

    x = wf.constant(1.0)
    done = wf.while_loop(lambda _: v < 5, body, [x])
    with wf.Session() as session:
        session.run(v.initializer)
        assert session.run([done, *wf.gradients(done, x)]) == [1.0, 1.0]
        assert session.run(v) == 5


@pytest.mark.filterwarnings("ignore::weft.RaceWarning")
def test_reads_come_before_an_unordered_loop_that_writes_and_what_was_read_stays() -> None:
    v = wf.Variable(np.ones(3, np.float32))

    def body(i: Any) -> Any:
        with wf.control_dependencies([v.assign_add(np.ones(3, np.float32))]):
            return i + 1

    count = wf.while_loop(lambda i: i < 3, body, [0])
    read = v.read_value()
    with wf.control_dependencies([count]):
        after = v.read_value() - read
    assert run([after, read])[0].tolist() == [3.0, 3.0, 3.0]


def test_what_a_body_reads_of_a_variable_is_the_value_of_that_iteration() -> None:
    v = wf.Variable(1.0)
    kept = wf.TensorArray(wf.float32, 3)

    def body(i: Any, kept: Any) -> Any:
        now = v.read_value()
        with wf.control_dependencies([now]), wf.control_dependencies([v.assign_add(1.0)]):
            return i + 1, kept.write(i, wf.identity(now))

    _, kept = wf.while_loop(lambda i, _: i < 3, body, (0, kept))
    assert run(kept.stack()).tolist() == [1.0, 2.0, 3.0]


def test_a_cell_makes_its_variables_inside_the_loop() -> None:
    x = wf.placeholder(wf.float32, [5, 2, 3])
    cell = wf.nn.rnn_cell.BasicLSTMCell(4)
    start = cell.zero_state(2, wf.float32)

    def body(i: Any, state: Any) -> Any:
        return i + 1, cell(x[i], state)[1]

    state = wf.while_loop(lambda i, _: i < 5, body, (0, start))[1]
    again = start
    for step in range(5):
        again = cell(x[step], again)[1]
    variables = wf.trainable_variables()
    assert len(variables) == 2
    grads = wf.gradients(state.h, variables), wf.gradients(again.h, variables)
    feed = np.random.default_rng(0).normal(size=(5, 2, 3))
    (h, loop_grads), (h_again, grads_again) = run([(state.h, grads[0]), (again.h, grads[1])], {x: feed})
    np.testing.assert_array_equal(h, h_again)
    for mine, other in zip(loop_grads, grads_again, strict=True):
        np.testing.assert_allclose(mine, other, rtol=2e-5, atol=1e-6)


# errors


def test_a_failure_inside_names_the_operation_and_the_line() -> None:
    y = repeat(3, lambda a: wf.check_numerics(wf.log(a - 2.0), "bad"), wf.constant(2.5))
    with pytest.raises(wf.errors.InvalidArgumentError, match=r"node while/CheckNumerics(?s:.*)test_while.py") as caught:
        run(y)
    assert caught.value.op.name == "while/CheckNumerics"
    failing = wf.while_loop(lambda a: wf.check_numerics(a, "worse") < 1.0, lambda a: wf.log(-a), [0.5])
    with pytest.raises(wf.errors.InvalidArgumentError, match="worse"):
        run(failing)


@pytest.mark.parametrize(
    ("build", "error", "words"),
    [
        (lambda: wf.while_loop(ANY[0], lambda i: i, [1]), TypeError, "'cond' must be callable"),
        (lambda: wf.while_loop(lambda i: i < 3, ANY[1], [1]), TypeError, "'body' must be callable"),
        (lambda: wf.while_loop(lambda: True, list, []), ValueError, "'loop_vars' must be provided"),
        (lambda: wf.while_loop(lambda i: i < 3, lambda i: i, wf.constant(1)), TypeError, "list or tuple"),
        (lambda: repeat(3, lambda a: a, 1.0, parallel_iterations=0), TypeError, "positive integer"),
        (lambda: repeat(3, lambda a: a, 1.0, maximum_iterations=[1, 2]), ValueError, "must be a scalar"),
        (lambda: wf.while_loop(lambda i: i < 3, lambda i: (i, i), [1]), ValueError, "nested structure"),
        (lambda: wf.while_loop(lambda i, j: i < 3, lambda i, j: i, [1, 2]), ValueError, "nested structure"),
        (lambda: wf.while_loop(lambda i, j: i < 3, lambda i, j: (i, (j,)), [1, 2]), ValueError, "nested structure"),
        (lambda: wf.while_loop(lambda i: i < 3, lambda i: None, [1]), ValueError, "None values not supported"),
        (lambda: wf.while_loop(lambda i: i < 3, lambda i: wf.cast(i, wf.float32), [1]), TypeError, "int32"),
        (lambda: wf.while_loop(lambda i: i, lambda i: i, [1.0]), TypeError, "must be bool"),
        (lambda: wf.while_loop(lambda i: [True], lambda i: i, [1.0]), ValueError, "must be a scalar"),
        (
            lambda: repeat(3, lambda a: wf.concat([a, a], 0), wf.constant([1.0])), ValueError,
            r"enters the loop with shape \(1,\), but has shape \(2,\) after one iteration",
        ),
        (
            lambda: wf.while_loop(lambda i: True, lambda i: i, [wf.constant([1.0])], shape_invariants=[wf.TensorShape([2])]),
            ValueError,
            r"enters the loop with shape \(1,\), but the specified shape invariant is \(2,\)",
        ),
        (
            lambda: wf.while_loop(lambda i: True, lambda i: i, [1.0], shape_invariants=[None, None]), ValueError,
            "nested structure",
        ),
    ],
)  # fmt: skip
def test_what_makes_no_loop(build: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        build()


def test_a_tensor_of_a_loop_cannot_be_used_outside_of_it() -> None:
    kept: list[Any] = []

    def keep(a: Any) -> Any:
        kept.append(a * 2.0)
        return a

    repeat(3, keep, 1.0)
    with pytest.raises(ValueError, match="body of 'while'"):
        kept[0] + 1.0


# elsewhere


def test_a_graph_with_loops_travels_as_data() -> None:
    x = wf.placeholder(wf.float64, (2,), "x")

    def body(i: Any, a: Any) -> Any:
        return i + 1, wf.cond(wf.equal(i % 2, 0), lambda: wf.sin(a) * x, lambda: repeat(2, lambda b: b * x + a, a))

    y = wf.while_loop(lambda i, _: i < 4, body, (0, x))[1]
    grads = wf.gradients(wf.gradients(y, x), x)
    rows, arrays = encode_graph(wf.get_default_graph())
    copy = wf.Graph()
    decode_graph(json.loads(json.dumps(rows)), arrays, copy)
    feed = np.array([0.3, 0.7])
    expected = run([y, *grads], {x: feed})
    with wf.Session(graph=copy) as session:
        found = session.run(
            [copy.get_tensor_by_name(t.name) for t in (y, *grads)], {copy.get_tensor_by_name("x:0"): feed}
        )
    for mine, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(mine, other)


def test_plans_with_loops_and_branches_travel_as_data() -> None:
    x = wf.placeholder(wf.float64, (2,))
    y = repeat(3, lambda a: wf.cond(wf.reduce_sum(a) > 1.0, lambda: wf.sin(a) * x, lambda: a * a + x), x)
    fetches = [y, *wf.gradients(y, x)]
    feed = np.array([0.3, 0.7])
    with wf.Session() as session:
        expected = session.run(fetches, {x: feed})
        (plan,) = session.plan(fetches, {x: feed}).plans
    decoded = decode_plan(*encode_plan(plan))
    assert decoded == plan
    found = CompiledPlan(decoded, CPU, State()).run([feed], Rendezvous(None))
    for mine, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(mine, other)


def test_a_loop_without_end_is_ended_by_the_deadline() -> None:
    x = wf.constant(1.0)
    endless = wf.while_loop(lambda a: a > 0.0, lambda a: wf.cond(a > 5.0, lambda: a - 1.0, lambda: a + 1.0), [x])
    times = wf.placeholder(wf.int32, ())
    short = repeat(times, lambda a: a * 2.0, x)
    with wf.Session() as session:
        for _ in range(2):
            with pytest.raises(wf.errors.DeadlineExceededError):
                session.run(endless, options=wf.RunOptions(timeout_in_ms=200))
            assert session.run(short, {times: 3}) == 8.0


def test_a_loop_runs_again_and_again_and_in_several_threads() -> None:
    from concurrent.futures import ThreadPoolExecutor

    x = wf.placeholder(wf.float64, [50])
    y = repeat(20, lambda a: wf.sin(a) + x * 0.1, x)
    grad = wf.gradients(y, x)[0]
    with wf.Session() as session, ThreadPoolExecutor(4) as pool:
        feeds = [np.full(50, at / 10) for at in range(8)]
        alone = [session.run([y, grad], {x: feed}) for feed in feeds]
        together = list(pool.map(lambda feed: session.run([y, grad], {x: feed}), feeds * 5))
    for at, values in enumerate(together):
        for mine, other in zip(values, alone[at % 8], strict=True):
            np.testing.assert_array_equal(mine, other)


def test_values_of_a_loop_stay_when_a_later_step_runs() -> None:
    x = wf.placeholder(wf.float32, [40_000])
    loop = wf.while_loop(lambda i, *_: i < 3, lambda i, a, b: (i + 1, b, a + 1.0), (0, x, x * 1.0))
    with wf.Session() as session:
        first = session.run(loop[1:], {x: np.zeros(40_000, np.float32)})
        session.run(loop[1:], {x: np.ones(40_000, np.float32)})
    assert [set(value.tolist()) for value in first] == [{1.0}, {2.0}]


def test_eager_execution_runs_the_loop_at_once() -> None:
    wf.enable_eager_execution()
    i, total = wf.while_loop(lambda i, _: i < 10, lambda i, t: (i + 1, t + i), [wf.constant(0), wf.constant(0)])
    assert [i.numpy(), total.numpy()] == [10, 45]
    assert wf.while_loop(lambda i: i < 10, lambda i: i + 1, [wf.constant(0)], maximum_iterations=3).numpy() == 3
