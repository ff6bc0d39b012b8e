"""Writes to parts of variables, writes after writes, counters, and the arguments of Variable that say how it is kept."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import weft as wf


@pytest.fixture
def session() -> Iterator[wf.Session]:
    with wf.Session() as made:
        yield made


def started(session: wf.Session) -> wf.Session:
    session.run(wf.global_variables_initializer())
    return session


# parts


def test_the_numbers_of_the_documentation_of_scatter_nd_add(session: wf.Session) -> None:
    v = wf.Variable([1, 2, 3, 4, 5, 6, 7, 8])
    add = wf.scatter_nd_add(v, [[4], [3], [1], [7]], [9, 10, 11, 12])
    assert started(session).run(add).tolist() == [1, 13, 3, 14, 14, 6, 7, 20]


def test_the_numbers_of_the_documentation_of_scatter_nd_sub_and_update(session: wf.Session) -> None:
    v, w = wf.Variable([1, 2, 3, 4, 5, 6, 7, 8]), wf.Variable([1, 2, 3, 4, 5, 6, 7, 8])
    sub = wf.scatter_nd_sub(v, [[4], [3], [1], [7]], [9, 10, 11, 12])
    update = wf.scatter_nd_update(w, [[4], [3], [1], [7]], [9, 10, 11, 12])
    assert started(session).run(sub).tolist() == [1, -9, 3, -6, -4, 6, 7, -4]
    assert session.run(update).tolist() == [1, 11, 3, 10, 9, 6, 7, 12]


def test_slices_by_multi_indices(session: wf.Session) -> None:
    v = wf.Variable([[1.0, 2.0], [3.0, 4.0]])
    rows = v.scatter_nd_add([[1], [1]], [[1.0, 1.0], [2.0, 2.0]], name="rows")
    assert rows.op.name == "rows"
    assert started(session).run(rows).tolist() == [[1, 2], [6, 7]]
    assert session.run(v.scatter_nd_max([[0, 0]], [9.0])).tolist() == [[9, 2], [6, 7]]
    assert session.run(v.scatter_nd_min([[0, 0]], [-1.0])).tolist() == [[-1, 2], [6, 7]]
    assert session.run(v.gather_nd([[1, 1], [0, 0]])).tolist() == [7, -1]


def test_multi_indices_that_do_not_fit(session: wf.Session) -> None:
    v = wf.Variable(np.ones((3, 2)))
    with pytest.raises(ValueError, match="not compatible"):
        v.scatter_nd_add([[0]], [1.0])
    with pytest.raises(ValueError, match=r"indices.shape\[-1\]"):
        v.scatter_nd_update([[0, 0, 0]], [1.0])
    with pytest.raises(TypeError, match="numbers"):
        wf.Variable([True]).scatter_nd_add([[0]], [True])
    with pytest.raises(wf.errors.InvalidArgumentError, match="does not index into shape"):
        started(session).run(v.scatter_nd_add([[3]], np.ones((1, 2))))


@pytest.mark.parametrize(
    ("kind", "result"), [("mul", [2, 6]), ("div", [0.5, 2 / 3]), ("min", [1, 2]), ("max", [2, 3])]
)  # fmt: skip
def test_rows_by_indexed_slices(kind: str, result: list[float], session: wf.Session) -> None:
    v = wf.Variable([[0.0, 0.0], [1.0, 2.0]])
    write = getattr(v, f"scatter_{kind}")
    with pytest.raises(TypeError, match="IndexedSlices"):
        write([[1.0, 2.0]])
    updated = write(wf.IndexedSlices(wf.constant([[2.0, 3.0]]), wf.constant([1])))
    np.testing.assert_allclose(started(session).run(updated)[1], result, rtol=1e-6)


def test_a_part_of_a_variable_can_be_assigned(session: wf.Session) -> None:
    v = wf.Variable(np.arange(6.0).reshape(2, 3), name="v")
    column, corner, everything = v[:, 1].assign([7.0, 8.0]), v[1, 2].assign(9.0), v[...].assign(0.0)
    started(session)
    assert session.run(column).tolist() == [[0, 7, 2], [3, 8, 5]]
    assert session.run(wf.assign(v[0], [4.0, 4.0, 4.0])).tolist() == [[4, 4, 4], [3, 8, 5]]
    assert session.run(corner).tolist() == [[4, 4, 4], [3, 8, 9]]
    assert session.run(everything).tolist() == [[0, 0, 0], [0, 0, 0]]
    assert session.run(v[wf.constant(1), ::2].assign([1.0, 2.0])).tolist() == [[0, 0, 0], [1, 0, 2]]


def test_a_part_is_a_tensor_with_a_gradient_and_refuses_what_does_not_fit() -> None:
    v = wf.Variable(np.ones((2, 3)), caching_device="/cpu:0")
    (gradient,) = wf.gradients(v[0], v)
    assert gradient.shape == [2, 3]
    assert v[0].assign([1.0, 2.0, 3.0]).shape == [2, 3]
    with pytest.raises(ValueError, match="not compatible"):
        v[0].assign(np.ones((2, 3)))
    with pytest.raises(TypeError):
        v[0].assign("one")


# one write after another


@pytest.mark.filterwarnings("ignore::weft.RaceWarning")
def test_what_a_write_returns_can_be_written_to(session: wf.Session) -> None:
    v = wf.Variable([1.0, 2.0])
    chain = v.assign([5.0, 5.0]).assign_add([1.0, 2.0]).assign_sub([3.0, 3.0])
    assert started(session).run(chain).tolist() == [3, 4]
    twice = wf.assign(wf.assign_add(v, [1.0, 1.0]), [9.0, 9.0], name="last")
    assert twice.op.name == "last"
    assert session.run([twice, v])[0].tolist() == [9, 9]
    assert session.run(v).tolist() == [9, 9]


# counters


def test_count_up_to_ends(session: wf.Session) -> None:
    v = wf.Variable(np.int64(1))
    count = wf.count_up_to(v, 3)
    started(session)
    assert [int(session.run(count)) for _ in range(2)] == [1, 2]
    with pytest.raises(wf.errors.OutOfRangeError, match="Reached limit of 3"):
        session.run(count)
    assert session.run(v) == 3
    assert session.run(v.count_up_to(5)) == 3


def test_only_integer_scalars_count() -> None:
    with pytest.raises(TypeError, match="int32 or int64"):
        wf.Variable(1.0).count_up_to(3)
    with pytest.raises(ValueError, match="rank 0"):
        wf.count_up_to(wf.Variable([1]), 3)


# how it is kept


def test_synchronization_and_aggregation_are_told_back() -> None:
    v = wf.Variable(1.0)
    assert v.synchronization is wf.VariableSynchronization.AUTO
    assert v.aggregation is wf.VariableAggregation.NONE
    v = wf.get_variable(
        "v", [], synchronization=wf.VariableSynchronization.ON_READ, aggregation=wf.VariableAggregation.SUM
    )
    assert (v.aggregation, v.trainable) == (wf.VariableAggregation.SUM, False)
    assert wf.Variable(1.0, True, synchronization=wf.VariableSynchronization.ON_READ).trainable
    with pytest.raises(ValueError, match="Invalid variable aggregation mode: sum for variable: w"):
        wf.Variable(1.0, name="w", aggregation="sum")


def test_a_shape_may_say_less_than_the_initial_value(session: wf.Session) -> None:
    v = wf.Variable([1.0, 2.0], shape=[None])
    assert v.shape.as_list() == [None]
    longer = v.assign([1.0, 2.0, 3.0])
    assert started(session).run(longer).tolist() == [1, 2, 3]
    with pytest.raises(ValueError, match="not compatible"):
        wf.Variable([1.0, 2.0], shape=[3])


def test_set_shape_adds_to_what_is_known() -> None:
    v = wf.Variable([1.0, 2.0], validate_shape=False)
    v.set_shape([None])
    assert v.shape.as_list() == [None]
    assert v.read_value().shape.as_list() == [None]
    with pytest.raises(ValueError, match="not compatible"):
        v.set_shape([None, None])


def test_assert_variables_initialized(session: wf.Session) -> None:
    assert wf.assert_variables_initialized() is None
    v, w = wf.Variable(1.0), wf.Variable(2.0, name="w")
    check: Any = wf.assert_variables_initialized()
    session.run(v.initializer)
    session.run(wf.assert_variables_initialized([v]))
    with pytest.raises(wf.errors.FailedPreconditionError, match="w"):
        session.run(check)
    session.run([w.initializer])
    session.run(check)
