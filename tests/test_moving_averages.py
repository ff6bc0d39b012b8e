"""ExponentialMovingAverage: values, starts, bias, names, collections, order, restoring, errors."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import weft as wf
from weft.graph import context
from weft.graph.ir import get_default_graph

Average = wf.train.ExponentialMovingAverage


@pytest.fixture
def session() -> Iterator[wf.Session]:
    with wf.Session() as made:
        yield made


def trail(averages: Any, of: Any, session: wf.Session, steps: int = 3) -> list[Any]:
    """The average of `of` at the start and after each of some steps, in which every trainable variable grows by 1."""
    update = averages.apply([of])
    with wf.control_dependencies([wf.group(*(var.assign_add(wf.ones_like(var)) for var in wf.trainable_variables()))]):
        grown = wf.no_op()
    session.run(wf.global_variables_initializer())
    seen = [session.run(averages.average(of)).tolist()]
    for _ in range(steps):
        session.run(grown)
        session.run(update)
        seen.append(session.run(averages.average(of)).tolist())
    return seen


# what TF 2.21 has in float32


def test_a_variable_starts_at_its_initial_value(session: wf.Session) -> None:
    v = wf.Variable([1.0, 2.0])
    seen = trail(Average(0.9), v, session)
    np.testing.assert_allclose(seen, [[1.0, 2.0], [1.1, 2.1], [1.29, 2.29], [1.561, 2.561]], rtol=1e-6)


@pytest.mark.parametrize(
    ("updates", "expected"),
    [
        (3, [[1.0, 2.0], [1.6923077, 2.6923077], [2.597633, 3.597633], [3.5685024, 4.5685024]]),
        (1000, [[1.0, 2.0], [1.1, 2.1], [1.29, 2.29], [1.561, 2.561]]),
    ],
)
def test_num_updates_lowers_the_decay_at_the_start(updates: int, expected: Any, session: wf.Session) -> None:
    seen = trail(Average(0.9, num_updates=updates), wf.Variable([1.0, 2.0]), session)
    np.testing.assert_allclose(seen, expected, rtol=1e-6)


def test_num_updates_may_be_a_variable(session: wf.Session) -> None:
    step, v = wf.train.create_global_step(), wf.Variable(0.0)
    averages = Average(0.9, num_updates=step)
    update, grow, count = averages.apply([v]), v.assign_add(1.0), step.assign_add(1)
    session.run(wf.global_variables_initializer())
    seen = []
    for _ in range(5):
        for part in (grow, update, count):
            session.run(part)
        seen.append(session.run(averages.average(v)))
    np.testing.assert_allclose(seen, [0.9, 1.8, 2.7, 3.6, 4.5], rtol=1e-6)


def test_a_tensor_starts_at_zero(session: wf.Session) -> None:
    product = wf.Variable([1.0, 2.0]) * 2.0
    seen = trail(Average(0.9), product, session)
    np.testing.assert_allclose(seen, [[0.0, 0.0], [0.4, 0.6], [0.96, 1.34], [1.664, 2.206]], rtol=1e-6)


def test_a_tensor_without_bias(session: wf.Session) -> None:
    v = wf.Variable([1.0, 2.0])
    product = wf.multiply(v, 2.0, name="product")
    seen = trail(Average(0.9, zero_debias=True), product, session)
    np.testing.assert_allclose(
        seen, [[0.0, 0.0], [4.0, 6.0], [5.0526314, 7.0526309], [6.1402206, 8.1402200]], rtol=1e-6
    )
    assert [var.name for var in wf.global_variables()] == [
        "Variable:0", "product/ExponentialMovingAverage:0", "product/ExponentialMovingAverage/biased:0",
        "product/ExponentialMovingAverage/local_step:0",
    ]  # fmt: skip


def test_variables_have_no_bias_to_take_away(session: wf.Session) -> None:
    v = wf.Variable([1.0, 2.0])
    seen = trail(Average(0.9, zero_debias=True), v, session)
    np.testing.assert_allclose(seen[1:], [[1.1, 2.1], [1.29, 2.29], [1.561, 2.561]], rtol=1e-6)


@pytest.mark.parametrize(("dtype", "close"), [("float16", 1e-3), ("bfloat16", 1e-2), ("float64", 1e-7)])
def test_types(dtype: str, close: float, session: wf.Session) -> None:
    v = wf.Variable([1.0, 2.0], dtype=dtype)
    averages = Average(0.9)
    seen = trail(averages, v, session, 1)
    np.testing.assert_allclose(np.array(seen[1], np.float64), [1.1, 2.1], rtol=close)
    average = averages.average(v)
    assert average is not None
    assert average.dtype == v.dtype


def test_the_decay_may_be_a_tensor(session: wf.Session) -> None:
    v = wf.Variable(1.0)
    assert trail(Average(wf.constant(0.5)), v, session) == [1.0, 1.5, 2.25, 3.125]


def test_the_average_of_a_tensor_of_unknown_shape(session: wf.Session) -> None:
    fed = wf.placeholder(wf.float32, [None])
    averages = Average(0.5)
    update, average = averages.apply([fed]), averages.average(fed)
    assert average is not None
    session.run(average.initializer, {fed: [7.0, 7.0, 7.0]})
    session.run(update, {fed: [2.0, 4.0, 6.0]})
    assert session.run(average).tolist() == [1, 2, 3]


# names, places, collections


def test_names_and_collections() -> None:
    with get_default_graph().device("/job:ps/task:1"):
        v = wf.Variable(1.0, name="v")
    w = wf.Variable(1.0, name="w", trainable=False)
    averages = Average(0.9)
    assert averages.name == "ExponentialMovingAverage"
    assert (averages.average(v), averages.average_name(v)) == (None, "v/ExponentialMovingAverage")
    with get_default_graph().device("/job:worker"), wf.name_scope("out"):
        update = averages.apply()
    average = averages.average(v)
    assert average is not None
    assert (update.name, update.type) == ("out/ExponentialMovingAverage", "NoOp")
    assert (average.name, average.trainable, average.device) == (
        "v/ExponentialMovingAverage:0", False, "/job:ps/task:1",
    )  # fmt: skip
    assert averages.average_name(v) == "v/ExponentialMovingAverage"
    assert (averages.average(w), averages.average_name(w)) == (None, "w/ExponentialMovingAverage")
    assert wf.global_variables() == [v, w, average]
    assert wf.moving_average_variables() == wf.trainable_variables() == [v]


def test_names_inside_a_variable_scope() -> None:
    with wf.variable_scope("s"):
        w = wf.get_variable("w", [2])
        averages = Average(0.9, name="Mean")
        averages.apply()
    assert averages.average_name(w) == "s/s/w/Mean"


def test_applied_twice_and_repeated(session: wf.Session) -> None:
    v = wf.Variable(1.0)
    averages = Average(0.5)
    once, again = averages.apply([v, v]), averages.apply([v])
    assert (once.name, again.name) == ("ExponentialMovingAverage", "ExponentialMovingAverage_1")
    assert len(wf.global_variables()) == 2
    assert wf.moving_average_variables() == [v]
    session.run(wf.global_variables_initializer())
    session.run(v.assign(5.0))
    session.run(once)
    assert session.run(averages.average(v)) == 3.0
    session.run(again)
    assert session.run(averages.average(v)) == 4.0


def test_nothing_to_average() -> None:
    assert Average(0.9).apply().type == "NoOp"
    assert wf.global_variables() == []


# in a training


def test_averages_after_a_training_step_see_its_result(session: wf.Session) -> None:
    x = wf.Variable(1.0)
    step = wf.train.GradientDescentOptimizer(1.0).apply_gradients([(wf.constant(-1.0), x)])
    averages = Average(0.5)
    with wf.control_dependencies([step]):
        train = averages.apply([x])
    session.run(wf.global_variables_initializer())
    session.run(train)
    assert session.run([x, averages.average(x)]) == [2.0, 1.5]


def test_a_saver_restores_averages_in_place_of_variables(session: wf.Session, tmp_path: Path) -> None:
    v, w = wf.Variable(1.0, name="v"), wf.Variable(7.0, name="w", trainable=False)
    averages = Average(0.5)
    update = averages.apply()
    session.run(wf.global_variables_initializer())
    session.run(v.assign(5.0))
    session.run(update)
    path = wf.train.Saver().save(session, str(tmp_path / "model"))
    restored = averages.variables_to_restore()
    assert restored == {"v/ExponentialMovingAverage": v, "w": w}
    session.run(wf.global_variables_initializer())
    wf.train.Saver(restored).restore(session, path)
    assert session.run([v, w]) == [3.0, 7.0]


def test_variables_to_restore_before_and_besides() -> None:
    v, w = wf.Variable(1.0, name="v"), wf.Variable(7.0, name="w", trainable=False)
    averages = Average(0.5)
    assert averages.variables_to_restore() == {"v/ExponentialMovingAverage": v, "w": w}
    averages.apply([v])
    assert averages.variables_to_restore([v, w]) == {"v/ExponentialMovingAverage": v, "w/ExponentialMovingAverage": w}
    assert averages.variables_to_restore([]) == {"v": v, "w": w, "v/ExponentialMovingAverage": averages.average(v)}


# errors


def test_errors() -> None:
    averages = Average(0.9)
    with pytest.raises(TypeError, match="must be half, float, or double: count:0"):
        averages.apply([wf.Variable(1, name="count")])
    with pytest.raises(TypeError, match="that of a variable or tensor"):
        averages.apply([3.0])
    with pytest.raises(TypeError, match="that of a variable or tensor"):
        averages.average(3.0)
    context.set_eager(True)
    with pytest.raises(RuntimeError, match="eager"):
        averages.apply([])
