"""Tests of gradients through odd branches and loops: both orders against differences, first order as TensorFlow 2.21 has it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import weft as wf
from weft.graph.ops.looping import While
from weft.runtime.stages.plan import Run

A, B = np.array([0.3, -0.7, 1.1]), np.array([0.9, 0.4, -0.2])

Program = Callable[[Any, Any], Any]


def loop(times: Any, step: Callable[..., Any], *start: Any, **options: Any) -> list[Any]:
    """The variables after so many steps, which take the iteration and the variables."""
    found = wf.while_loop(lambda i, *_: i < times, lambda i, *x: [i + 1, *step(i, *x)], [0, *start], **options)
    return list(found)[1:]


def branch_in_loop_in_branch(a: Any, b: Any) -> Any:
    def inside() -> Any:
        return loop(
            4, lambda i, x: [wf.cond(wf.reduce_sum(x) > 0.5, lambda: wf.sin(x) * b, lambda: x * x + a)], a
        )[0]  # fmt: skip

    return wf.cond(wf.reduce_sum(b) > 0.0, inside, lambda: a * 0.0)


def captured_by_the_condition(a: Any, b: Any) -> Any:
    return wf.while_loop(lambda x: wf.reduce_sum(x * b) < 3.0, lambda x: x * 1.5 + b * b, [a])


def loop_in_a_condition(a: Any, b: Any) -> Any:
    def goes_on(x: Any) -> Any:
        return loop(2, lambda j, y: [y + 1.0], wf.reduce_sum(x))[0] < 6.0

    return wf.while_loop(goes_on, lambda x: x * 1.3 + b * b, [a])


def loop_in_loop_as_often_as_the_outer_says(a: Any, b: Any) -> Any:
    return loop(3, lambda i, x: [loop(i, lambda j, y: [wf.sin(y) * b + x], x)[0] * a], a)[0]


def number_of_steps_from_another_loop(a: Any, b: Any) -> Any:
    count = wf.while_loop(lambda i, s: s < 2.0, lambda i, s: (i + 1, s + b[0]), (0, a[0]))[0]
    return loop(count, lambda i, x: [x * b + a], a)[0]


def counter_with_a_gradient(a: Any, b: Any) -> Any:
    start = wf.reduce_sum(a * a) * 0.3 + 0.2
    s, x = wf.while_loop(lambda s, _: s < 2.0, lambda s, x: (s * 1.5, x * s), (start, b))
    return x * s


def through_an_integer(a: Any, b: Any) -> Any:
    return loop(3, lambda i, n, x: [n * 2, x * wf.cast(n, wf.float64) + b], wf.constant(1), a)[1]


def a_bool_that_flips(a: Any, b: Any) -> Any:
    def step(i: Any, p: Any, x: Any) -> list[Any]:
        return [wf.logical_not(p), wf.cond(p, lambda: x * b, lambda: wf.tanh(x))]

    return loop(5, step, wf.constant([True])[0], a)[1]


def grows(a: Any, b: Any) -> Any:
    invariants = [wf.TensorShape([]), wf.TensorShape([None])]
    return loop(3, lambda i, x: [wf.concat([x, b * x[0]], 0)], a, shape_invariants=invariants)[0] ** 2


def shrinks(a: Any, b: Any) -> Any:
    invariants = [wf.TensorShape([]), wf.TensorShape([None])]
    return loop(2, lambda i, x: [x[1:] * b[0]], a, shape_invariants=invariants)[0] ** 2


def hands_captured_on(a: Any, b: Any) -> Any:
    x, y = loop(2, lambda i, x, y: [b, x * a], a, a)
    return x * y


def unchanged_beside_changed(a: Any, b: Any) -> Any:
    x, k = loop(3, lambda i, x, k: [x * k, k], a, b * 2.0)
    return x * k


def unchanged_and_its_rows(a: Any, b: Any) -> Any:
    x, k = loop(3, lambda i, x, k: [x * wf.gather(k, [i, 0, 0]), k], a, b * 2.0)
    return x[:2] * wf.gather(k, [1, 2])


def unchanged_alone(a: Any, b: Any) -> Any:
    return loop(3, lambda i, x, k: [wf.zeros_like(x), k], a, b * 2.0)[1] * a


def rows_without_an_iteration(a: Any, b: Any) -> Any:
    return loop(wf.cast(b[2], wf.int32), lambda i, x: [x * wf.gather(b, [0, 1, 1])], a)[0] * b


def complex_numbers(a: Any, b: Any) -> Any:
    z = loop(3, lambda i, z: [z * z + wf.complex(b, a)], wf.complex(a, b))[0]
    return wf.real(z) + wf.imag(z) * 2.0


def arrays_in_arrays(a: Any, b: Any) -> Any:
    def step(i: Any, outer: Any) -> list[Any]:
        inner = wf.TensorArray(wf.float64, 2)
        (inner,) = loop(2, lambda j, now: [now.write(j, a * wf.cast(i + j, wf.float64) * b)], inner)
        return [outer.write(i, wf.reduce_sum(inner.stack(), 0) * inner.read(1))]

    return loop(3, step, wf.TensorArray(wf.float64, 3))[0].stack()


def array_written_before_and_scattered(a: Any, b: Any) -> Any:
    array = wf.TensorArray(wf.float64, 4, element_shape=[]).write(3, b[0]).scatter([0, 2, 1], a)
    return loop(4, lambda i, x: [x * array.read(i) + b], a)[0]


def second_order_inside(a: Any, b: Any) -> Any:
    def step(i: Any, x: Any) -> list[Any]:
        grad = wf.gradients(wf.reduce_sum(wf.sin(x) * b), x)[0]
        return [x + 0.1 * wf.gradients(wf.reduce_sum(grad * grad), x)[0]]

    return loop(2, step, a)[0]


def gradient_by_what_lies_between(a: Any, b: Any) -> Any:
    w = a * b
    x = loop(3, lambda i, x: [x * w], a)[0]
    return wf.gradients(x * w, w)[0]


def gradients_given_for_several(a: Any, b: Any) -> Any:
    x = loop(3, lambda i, x: [x * b], a)[0]
    return wf.gradients([x, x * a], a, grad_ys=[b, a])[0]


def five_deep(a: Any, b: Any) -> Any:
    def build(depth: int, x: Any) -> Any:
        if depth == 0:
            return wf.sin(x) * b
        if depth % 2:
            return wf.cond(wf.reduce_sum(x) > -10.0, lambda: build(depth - 1, x) + a, lambda: x)
        return loop(2, lambda i, y: [build(depth - 1, y)], x)[0]

    return build(5, a)


PROGRAMS: list[Program] = [
    branch_in_loop_in_branch, captured_by_the_condition, loop_in_a_condition, loop_in_loop_as_often_as_the_outer_says,
    number_of_steps_from_another_loop, counter_with_a_gradient, through_an_integer, a_bool_that_flips, grows, shrinks,
    hands_captured_on, unchanged_beside_changed, unchanged_and_its_rows, unchanged_alone, rows_without_an_iteration,
    complex_numbers, arrays_in_arrays, array_written_before_and_scattered, second_order_inside,
    gradient_by_what_lies_between, gradients_given_for_several, five_deep,
]  # fmt: skip


@pytest.mark.parametrize("program", PROGRAMS)
def test_two_orders_against_differences(program: Program) -> None:
    xs = [wf.placeholder(wf.float64, [3]) for _ in range(2)]
    value = wf.reduce_sum(program(xs[0], xs[1]))
    with wf.Session() as session:
        for order in (1, 2):
            found = [wf.convert_to_tensor(grad) if grad is not None else None for grad in wf.gradients(value, xs)]
            for at, grad in enumerate(found):
                exact = np.zeros(3) if grad is None else session.run(grad, dict(zip(xs, (A, B), strict=True)))
                expected = differences(session, value, xs, at)
                np.testing.assert_allclose(exact, expected, rtol=2e-5, atol=1e-6, err_msg=f"order {order}, by {at}")
            value = sum(
                (wf.reduce_sum(wf.sin(grad)) for grad in found if grad is not None), wf.constant(0.0, wf.float64)
            )


def differences(session: Any, value: Any, xs: list[Any], at: int) -> np.ndarray[Any, Any]:
    result = np.zeros(3)
    for place in range(3):
        sides = []
        for step in (1e-6, -1e-6):
            moved = [A.copy(), B.copy()]
            moved[at][place] += step
            sides.append(session.run(value, dict(zip(xs, moved, strict=True))))
        result[place] = (sides[0] - sides[1]) / 2e-6
    return result


def test_a_string_among_the_variables() -> None:
    x = wf.constant(2.0)
    s, y = loop(2, lambda i, s, y: [s, y * x], wf.constant("kept"), x)
    with wf.Session() as session:
        assert session.run([s, y, *wf.gradients(y, x)]) == [b"kept", 8.0, 12.0]


def test_an_unchanged_variable_is_not_kept_on_the_tape() -> None:
    x, k = wf.constant(np.ones(3)), wf.constant(np.full(3, 2.0))
    y, _ = loop(3, lambda i, y, k: [y * k, k], x, k)
    grad = wf.gradients(y, x)[0]
    with wf.Session() as session:
        (plan,) = session.plan(grad).plans
        assert session.run(grad).tolist() == [8.0, 8.0, 8.0]
    runs = [instruction.definition for instruction in plan.instructions if isinstance(instruction, Run)]
    assert [definition.saves for definition in runs if isinstance(definition, While)] == [(), None]


def test_a_loop_of_the_user_that_counts_down() -> None:
    start = wf.placeholder(wf.int32, ())
    x = wf.constant(2.0)

    def body(i: Any, seen: Any, y: Any) -> Any:
        return i + -1, seen * 10 + i, y * x

    found = wf.while_loop(lambda i, *_: i >= 0, body, (start, 0, x))
    grad = wf.gradients(found[2], x)[0]
    with wf.Session() as session:
        assert session.run([*found, grad], {start: 2}) == [-1, 210, 16.0, 32.0]
        assert session.run(found, {start: 2}) == (-1, 210, 16.0)
        assert session.run(found, {start: -5}) == (-5, 0, 2.0)
        assert session.run(found[0], {start: 3}) == -1


def test_the_deadline_ends_a_loop_that_counts_down() -> None:
    start, x = wf.placeholder(wf.int32, ()), wf.constant(1.0)
    y = wf.while_loop(lambda i, _: i >= 0, lambda i, y: (i + -1, wf.sin(y)), (start, x))[1]
    with wf.Session() as session:
        with pytest.raises(wf.errors.DeadlineExceededError):
            session.run(y, {start: 2**31 - 1}, options=wf.RunOptions(timeout_in_ms=200))
        assert session.run(y, {start: 0}) == np.sin(np.float32(1.0))


def test_many_iterations_of_rows() -> None:
    table, times = wf.Variable(np.ones((4, 2))), 20_000
    y = loop(times, lambda i, a: [a + wf.reduce_sum(wf.gather(table, [i % 4]))], wf.constant(0.0, wf.float64))[0]
    grad = wf.gradients(y, table)[0]
    with wf.Session() as session:
        session.run(table.initializer)
        values, total = session.run([grad.values, wf.convert_to_tensor(grad)])
    assert values.shape == (times, 2)
    assert total.tolist() == [[times / 4] * 2] * 4


def test_rows_over_devices() -> None:
    with wf.device("/cpu:0"):
        table = wf.Variable(np.arange(12.0).reshape(6, 2))
    with wf.device("/cpu:1"):
        y = loop(3, lambda i, a: [a + wf.reduce_sum(wf.gather(table, [i, 2]) ** 2)], wf.constant(0.0, wf.float64))[0]
    grad = wf.gradients(y, table, colocate_gradients_with_ops=True)[0]
    with wf.Session(config=wf.ConfigProto(device_count={"CPU": 2})) as session:
        session.run(table.initializer)
        found = session.run(wf.convert_to_tensor(grad))
    np.testing.assert_array_equal(found[:3], 2 * np.arange(6.0).reshape(3, 2) * np.array([[1], [1], [4]]))
