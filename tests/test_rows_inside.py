"""Tests of gradients of rows through branches and loops: they stay rows, of the type and cost that TensorFlow gives them."""

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import weft as wf
from weft.graph.indexed_slices import IndexedSlices

TABLE = np.random.default_rng(1).normal(size=(6, 2))


def run(fetches: Any, feeds: Any = None) -> Any:
    with wf.Session() as session:
        session.run(wf.global_variables_initializer())
        return session.run(fetches, feeds)


def rows(table: Any, indices: Any) -> Any:
    """A scalar that is not linear in some rows."""
    return wf.reduce_sum(wf.sin(wf.gather(table, indices) * 2.0))


def repeat(times: Any, step: Callable[[Any, Any], Any]) -> Any:
    """A number to which each iteration adds what `step` makes of the iteration and the number so far."""
    zero = wf.constant(0.0, wf.float64)
    return wf.while_loop(lambda i, _: i < times, lambda i, a: (i + 1, a + step(i, a)), (0, zero))[1]


YES, NO = True, False

#: What is computed of a table, and whether its gradient is rows: that is so in TensorFlow 2.21.
PROGRAMS: dict[str, tuple[Callable[[Any], Any], bool]] = {
    "one branch": (lambda t: wf.cond(wf.constant(YES), lambda: rows(t, [1, 2, 1]), lambda: _zero()), True),
    "the other branch": (lambda t: wf.cond(wf.constant(NO), lambda: rows(t, [1, 2, 1]), lambda: _zero()), True),
    "both branches": (lambda t: wf.cond(wf.constant(NO), lambda: rows(t, [1, 2]), lambda: rows(t, [3])), True),
    "other types of indices": (
        lambda t: wf.cond(wf.constant(NO), lambda: rows(t, [1]), lambda: rows(t, wf.constant([3, 3], wf.int64))), True,
    ),
    "rows and all": (lambda t: wf.cond(wf.constant(YES), lambda: rows(t, [1]), lambda: wf.reduce_sum(wf.sin(t))), False),
    "all and rows": (lambda t: wf.cond(wf.constant(NO), lambda: rows(t, [1]), lambda: wf.reduce_sum(wf.sin(t))), False),
    "rows of a branch": (
        lambda t: rows(wf.cond(wf.constant(YES), lambda: wf.identity(t), lambda: wf.identity(t)), [4, 0]), True,
    ),
    "rows of a computed branch": (
        lambda t: rows(wf.cond(wf.constant(YES), lambda: t * 2.0, lambda: t * 3.0), [4, 0]), False,
    ),
    "loop": (lambda t: repeat(3, lambda i, a: rows(t, [i, 2]) + 0.1 * a), True),
    "loop that never runs": (lambda t: repeat(0, lambda i, _: rows(t, [i, 2])), True),
    "loop that depends on itself": (lambda t: repeat(3, lambda i, a: rows(t, [i, 2]) * wf.cos(a)), True),
    "rows of rows": (lambda t: repeat(3, lambda i, _: rows(wf.gather(t, [5, 4, 3, 3]), [i, 0])), True),
    "loop and all": (lambda t: repeat(2, lambda i, _: rows(t, [i]) + wf.reduce_sum(t * t)), False),
    "branch in a loop": (
        lambda t: repeat(3, lambda i, _: wf.cond(i < 2, lambda: rows(t, [i, 2]), lambda: rows(t, [5]))), True,
    ),
    "loop in a branch": (
        lambda t: wf.cond(wf.constant(YES), lambda: repeat(2, lambda i, _: rows(t, [i, 5])), lambda: _zero()), True,
    ),
    "loop in a loop": (lambda t: repeat(3, lambda i, _: repeat(i, lambda j, _: rows(t, [i, j]))), True),
    "rows of a variable that is carried unchanged": (lambda t: rows(_carried(t)[2], [1, 3]), True),
    "a loop's rows of what it carries unchanged": (lambda t: _carried(t)[1], False),
    "both of these": (lambda t: _carried(t)[1] * rows(_carried(t)[2], [1, 3]), False),
    "rows of what a loop computes": (
        lambda t: rows(wf.while_loop(lambda i, _: i < 2, lambda i, a: (i + 1, a * a), (0, t))[1], [1, 3]), False,
    ),
    "map": (lambda t: wf.reduce_sum(wf.map_fn(lambda i: rows(t, [i]), wf.constant([1, 1, 4]), wf.float64)), True),
}  # fmt: skip


def _zero() -> Any:
    return wf.constant(0.0, wf.float64)


def _carried(table: Any) -> Any:
    """A loop that hands a table on unchanged and adds rows of it up."""
    return wf.while_loop(
        lambda i, *_: i < 3, lambda i, a, t: (i + 1, a + rows(t, [i, 2]), t), (0, _zero(), wf.identity(table))
    )


def numerical(build: Callable[[Any], Any]) -> np.ndarray[Any, Any]:
    """The derivative of the sum of what `build` makes of the table, by central differences."""
    with wf.Graph().as_default():
        table = wf.placeholder(wf.float64, TABLE.shape)
        y = build(table)
        found = np.zeros_like(TABLE)
        with wf.Session() as session:
            for at in np.ndindex(TABLE.shape):
                sides = []
                for step in (1e-6, -1e-6):
                    moved = TABLE.copy()
                    moved[at] += step
                    sides.append(session.run(y, {table: moved}))
                found[at] = (sides[0] - sides[1]) / 2e-6
    return found


def first(build: Callable[[Any], Any], table: Any) -> Any:
    """A number made of the gradient, to differentiate once more."""
    weights = wf.constant(np.arange(12.0).reshape(6, 2) - 4.0)
    return wf.reduce_sum(weights * wf.convert_to_tensor(wf.gradients(build(table), table)[0]))


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("kind", ["tensor", "variable", "unknown shape"])
def test_gradients_of_rows(name: str, kind: str) -> None:
    build, sparse = PROGRAMS[name]
    table: Any = wf.Variable(TABLE) if kind == "variable" else wf.constant(TABLE)
    feeds = None
    if kind == "unknown shape":
        table = wf.placeholder(wf.float64, [None, None])
        feeds = {table: TABLE}
    grad = wf.gradients(build(table), table)[0]
    assert isinstance(grad, IndexedSlices) == sparse
    np.testing.assert_allclose(run(wf.convert_to_tensor(grad), feeds), numerical(build), rtol=1e-6, atol=1e-7)
    if sparse:
        assert run(grad.dense_shape, feeds).tolist() == [6, 2]


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("kind", ["tensor", "variable"])
def test_second_order_gradients_of_rows(name: str, kind: str) -> None:
    build, _ = PROGRAMS[name]
    table: Any = wf.Variable(TABLE) if kind == "variable" else wf.constant(TABLE)
    grad = wf.gradients(first(build, table), table)[0]
    expected = numerical(lambda t: first(build, t))
    found = np.zeros_like(expected) if grad is None else run(wf.convert_to_tensor(grad))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_third_order_through_a_loop() -> None:
    def cubes(t: Any) -> Any:
        return repeat(3, lambda i, _: wf.reduce_sum(wf.gather(t, [i, 2]) ** 3))

    table = wf.constant(TABLE)
    grad = cubes(table)
    for _ in range(3):
        grad = wf.reduce_sum(wf.convert_to_tensor(wf.gradients(grad, table)[0]))
    assert run(grad) == 6 * 2 * 6


def test_in_the_order_of_the_same_steps_unrolled() -> None:
    table = wf.Variable(TABLE)
    loop = repeat(3, lambda i, _: rows(table, [i, 2]))
    unrolled = _zero()
    for i in range(3):
        unrolled = unrolled + rows(table, [i, 2])
    one, other = run([wf.gradients(loop, table)[0], wf.gradients(unrolled, table)[0]])
    assert one.indices.tolist() == other.indices.tolist() == [2, 2, 1, 2, 0, 2]
    np.testing.assert_array_equal(one.values, other.values)


def test_gradients_taken_inside_a_body_and_a_branch() -> None:
    def norm(grad: Any) -> Any:
        assert isinstance(grad, IndexedSlices)
        return wf.reduce_sum(grad.values**2)

    def of_around(t: Any) -> Any:
        return repeat(2, lambda i, _: norm(wf.gradients(rows(t, [i, 2]), t)[0]))

    def of_an_inner_loop(t: Any) -> Any:
        return repeat(2, lambda i, _: norm(wf.gradients(repeat(2, lambda j, _: rows(t, [i, j])), t)[0]))

    def of_a_branch(t: Any) -> Any:
        return repeat(2, lambda i, _: norm(wf.gradients(wf.cond(i < 1, lambda: rows(t, [3]), _zero), t)[0]))

    def in_a_branch(t: Any) -> Any:
        return wf.cond(wf.constant(YES), lambda: norm(wf.gradients(rows(t, [1]), t)[0]), _zero)

    for build in (of_around, of_an_inner_loop, of_a_branch, in_a_branch):
        table = wf.Variable(TABLE)
        grad = wf.convert_to_tensor(wf.gradients(build(table), table)[0])
        np.testing.assert_allclose(run(grad), numerical(build), rtol=1e-5, atol=1e-6, err_msg=build.__name__)


def test_an_optimizer_updates_the_rows_only() -> None:
    table = wf.Variable(TABLE)
    loss = repeat(2, lambda i, _: wf.reduce_sum(wf.gather(table, [i, 4])))
    optimizer = wf.train.MomentumOptimizer(0.5, 0.9)
    ((grad, _),) = optimizer.compute_gradients(loss, [table])
    assert isinstance(grad, IndexedSlices)
    step = optimizer.apply_gradients([(grad, table)])
    with wf.Session() as session:
        session.run(wf.global_variables_initializer())
        session.run(step)
        moved = TABLE - session.run(table)
    np.testing.assert_allclose(moved[:, 0], [0.5, 0.5, 0.0, 0.0, 1.0, 0.0])


@pytest.mark.parametrize("how", ["loop", "cond"])
def test_the_cost_is_that_of_the_rows(how: str) -> None:
    size = 2_000_000  # 16 MB
    table = wf.Variable(np.zeros((size, 2), np.float32))

    def touched(i: Any) -> Any:
        return wf.reduce_sum(wf.gather(table, [i, i + 1]))

    if how == "loop":
        y = wf.while_loop(lambda i, _: i < 4, lambda i, a: (i + 1, a + touched(i)), (0, 0.0))[1]
    else:
        y = wf.cond(wf.constant(YES), lambda: touched(3), lambda: 0.0)
    grad = wf.gradients(y, table)[0]
    with wf.Session() as session:
        session.run(table.initializer)
        session.run(grad)
        tracemalloc.start()
        session.run(grad)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 200_000


def test_rows_given_as_gradients_go_into_a_branch() -> None:
    x = wf.constant(TABLE)
    y = wf.cond(wf.constant(YES), lambda: wf.identity(x), lambda: wf.identity(x) * 2.0)
    given = IndexedSlices(wf.constant([[1.0, 2.0]], wf.float64), wf.constant([3]), wf.constant([6, 2]))
    loop = wf.while_loop(lambda i, _: i < 2, lambda i, a: (i + 1, a * 3.0), (0, x))[1]
    first_grad, second_grad = (wf.convert_to_tensor(wf.gradients(t, x, grad_ys=given)[0]) for t in (y, loop))
    one, nine = run([first_grad, second_grad])
    assert one[3].tolist() == [1.0, 2.0]
    assert nine[3].tolist() == [9.0, 18.0]
    assert np.count_nonzero(one) == np.count_nonzero(nine) == 2
