"""Clipping by norms: values as TF 2.21 has them, IndexedSlices, None, infinities, gradients, errors."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import weft as wf

INF, NAN = float("inf"), float("nan")


@pytest.fixture
def session() -> Iterator[wf.Session]:
    with wf.Session() as made:
        yield made


def slices(values: Any, indices: Any = (0, 2)) -> Any:
    return wf.IndexedSlices(wf.constant(values), wf.constant(indices), wf.constant([4, 2]))


# by norm


@pytest.mark.parametrize(
    ("values", "norm", "expected"),
    [
        ([3.0, 4.0], 1.0, [0.6, 0.8]),
        ([3.0, 4.0], 10.0, [3.0, 4.0]),
        ([0.0, 0.0], 1.0, [0.0, 0.0]),
        ([3.0, 4.0], 0.0, [0.0, 0.0]),
        ([3.0, 4.0], -1.0, [0.0, 0.0]),
        ([NAN, 4.0], 1.0, [NAN, NAN]),
        ([INF, 4.0], 1.0, [NAN, 0.0]),
        ([0.0, 0.0], 0.0, [NAN, NAN]),
    ],
)
def test_by_norm(values: list[float], norm: float, expected: list[float], session: wf.Session) -> None:
    np.testing.assert_allclose(session.run(wf.clip_by_norm(values, norm)), expected, rtol=1e-6)


def test_by_norm_along_axes(session: wf.Session) -> None:
    values = [[3.0, 4.0], [0.3, 0.4]]
    rows = wf.clip_by_norm(values, 1.0, axes=[1])
    np.testing.assert_allclose(session.run(rows), [[0.6, 0.8], [0.3, 0.4]], rtol=1e-6)
    np.testing.assert_array_equal(session.run(wf.clip_by_norm(values, 1.0, axes=1)), session.run(rows))
    columns = session.run(wf.clip_by_norm(values, 1.0, axes=[0]))
    np.testing.assert_allclose(columns, [[0.9950372, 0.9950372], [0.0995037, 0.0995037]], rtol=1e-6)
    limits = wf.clip_by_norm([[3.0, 4.0], [3.0, 4.0]], [[1.0], [2.0]], axes=[1])
    np.testing.assert_allclose(session.run(limits), [[0.6, 0.8], [1.2, 1.6]], rtol=1e-6)
    with pytest.raises(ValueError, match="are incompatible"):
        wf.clip_by_norm([3.0, 4.0], [[1.0], [2.0]])


def test_by_norm_keeps_type_and_name(session: wf.Session) -> None:
    double = wf.clip_by_norm(wf.constant([3.0, 4.0], wf.float64), wf.constant(1.0), name="mine")
    assert (double.op.name, double.dtype) == ("mine", wf.float64)
    np.testing.assert_allclose(session.run(double), [0.6, 0.8], rtol=1e-15)
    assert wf.clip_by_norm([3.0], 1.0).op.name == "clip_by_norm"
    with pytest.raises(TypeError, match="floating-point"):
        wf.clip_by_norm([3, 4], 1)


def test_by_norm_of_slices(session: wf.Session) -> None:
    sparse = slices([[3.0, 4.0], [0.0, 0.0]])
    clipped = wf.clip_by_norm(sparse, 1.0)
    assert (clipped.indices, clipped.dense_shape) == (sparse.indices, sparse.dense_shape)
    np.testing.assert_allclose(session.run(clipped.values), [[0.6, 0.8], [0.0, 0.0]], rtol=1e-6)


@pytest.mark.parametrize(
    ("at", "expected"), [([0.0, 0.0], [1.0, 1.0]), ([3.0, 4.0], [0.032, -0.024]), ([0.3, 0.4], [1.0, 1.0])]
)
def test_the_gradient_by_norm(at: list[float], expected: list[float], session: wf.Session) -> None:
    x = wf.constant(at)
    (grad,) = wf.gradients(wf.clip_by_norm(x, 1.0), [x])
    np.testing.assert_allclose(session.run(grad), expected, atol=1e-6)


# by average norm


@pytest.mark.parametrize(
    ("values", "norm", "expected"),
    [
        ([3.0, 4.0], 1.0, [1.2, 1.6]),
        ([3.0, 4.0], 10.0, [3.0, 4.0]),
        ([0.0, 0.0], 1.0, [0.0, 0.0]),
        ([NAN, 1.0], 1.0, [NAN, NAN]),
        ([INF, 1.0], 1.0, [NAN, 0.0]),
    ],
)
def test_by_average_norm(values: list[float], norm: float, expected: list[float], session: wf.Session) -> None:
    clipped = wf.clip_by_average_norm(values, norm)
    assert clipped.op.name == "clip_by_average_norm"
    np.testing.assert_allclose(session.run(clipped), expected, rtol=1e-6)


def test_by_average_norm_of_other_types(session: wf.Session) -> None:
    double = session.run(wf.clip_by_average_norm(wf.constant([3.0, 4.0], wf.float64), 1.0))
    np.testing.assert_allclose(double, [1.2, 1.6], rtol=1e-15)
    whole = session.run(wf.clip_by_average_norm(slices([[30.0, 40.0], [0.0, 0.0]]), 1.0))
    np.testing.assert_allclose(whole, [[4.8, 6.4], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]], rtol=1e-6)


# the global norm


def test_global_norm(session: wf.Session) -> None:
    three, four = wf.constant([3.0]), wf.constant([[4.0]])
    norms = [
        wf.global_norm([three, None, four]),
        wf.global_norm((three, four)),
        wf.global_norm([[3.0], [4.0]]),
        wf.global_norm([slices([[3.0, 0.0], [0.0, 0.0]]), four]),
        wf.global_norm([slices([[3.0, 0.0], [4.0, 0.0]], (0, 0))]),
        wf.global_norm([None]),
        wf.global_norm([]),
        wf.global_norm([wf.constant([NAN])]),
    ]
    np.testing.assert_array_equal(session.run(norms), [5, 5, 5, 5, 5, 0, 0, NAN])
    assert norms[0].op.name == "global_norm/global_norm"
    half = wf.global_norm([wf.constant([3.0], wf.float16), wf.constant([4.0], wf.float16)], name="mine")
    assert (half.op.name, half.dtype, session.run(half)) == ("mine/global_norm", wf.float16, 5.0)


def test_errors_of_the_global_norm() -> None:
    for wrong in (wf.constant([1.0]), "abc", (x for x in ([1.0],))):
        with pytest.raises(TypeError, match="should be a sequence of tensors"):
            wf.global_norm(wrong)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="should be a sequence of tensors"):
            wf.clip_by_global_norm(wrong, 1.0)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="one type"):
        wf.global_norm([wf.constant([3.0]), wf.constant([4.0], wf.float64)])
    with pytest.raises(TypeError, match="int32"):
        wf.global_norm([wf.constant([3])])


# by the global norm


@pytest.mark.parametrize(
    ("first", "second", "norm", "expected"),
    [
        ([3.0, 0.0], [4.0], 1.0, ([0.6, 0.0], [0.8], 5.0)),
        ([3.0, 0.0], [4.0], 10.0, ([3.0, 0.0], [4.0], 5.0)),
        ([0.0, 0.0], [0.0], 1.0, ([0.0, 0.0], [0.0], 0.0)),
        ([3.0, 0.0], [4.0], 0.0, ([0.0, 0.0], [0.0], 5.0)),
        ([NAN, 1.0], [4.0], 1.0, ([NAN, NAN], [NAN], NAN)),
        ([INF, 1.0], [4.0], 1.0, ([NAN, NAN], [NAN], INF)),
        ([1e30, 1.0], [4.0], 1.0, ([NAN, NAN], [NAN], INF)),
    ],
)
def test_by_global_norm(first: Any, second: Any, norm: float, expected: Any, session: wf.Session) -> None:
    clipped, total = wf.clip_by_global_norm([wf.constant(first), None, wf.constant(second)], norm)
    assert clipped[1] is None
    for found, wanted in zip(session.run([clipped[0], clipped[2], total]), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_by_global_norm_of_slices(session: wf.Session) -> None:
    sparse = slices([[3.0, 0.0], [0.0, 0.0]])
    (clipped, dense), norm = wf.clip_by_global_norm([sparse, wf.constant([4.0])], 1.0)
    assert (clipped.indices, clipped.dense_shape) == (sparse.indices, sparse.dense_shape)
    np.testing.assert_allclose(session.run(clipped.values), [[0.6, 0.0], [0.0, 0.0]], rtol=1e-6)
    np.testing.assert_allclose(session.run([dense[0], norm]), [0.8, 5.0], rtol=1e-6)


@pytest.mark.parametrize("given", [2.0, "tensor", INF])
def test_by_a_norm_that_is_known(given: Any, session: wf.Session) -> None:
    norm = wf.constant(2.0) if given == "tensor" else given
    clipped, used = wf.clip_by_global_norm([wf.constant([3.0]), wf.constant([4.0])], 1.0, use_norm=norm)
    expected = [[NAN], [NAN]] if given == INF else [[1.5], [2.0]]
    np.testing.assert_array_equal(session.run(clipped), expected)
    assert session.run(used) == (INF if given == INF else 2.0)


def test_by_global_norm_of_nothing(session: wf.Session) -> None:
    assert wf.clip_by_global_norm([None], 1.0)[0] == [None]
    clipped, norm = wf.clip_by_global_norm([], 1.0)
    assert clipped == []
    assert session.run(norm) == 0.0


def test_names_and_places_by_global_norm() -> None:
    with wf.device("/job:ps/task:1"):
        there = wf.constant([3.0], name="there")
    clipped, norm = wf.clip_by_global_norm([None, there], 1.0)
    assert clipped[1].op.name == "clip_by_global_norm/clip_by_global_norm/_1"
    assert clipped[1].op.colocation_groups() == [b"loc:@there"]
    assert norm.op.name == "global_norm/global_norm"


def test_clipped_gradients_train(session: wf.Session) -> None:
    x, table = wf.Variable([30.0]), wf.Variable(np.full((2, 1), 40.0, np.float32))
    unused = wf.Variable(1.0)
    optimizer = wf.train.GradientDescentOptimizer(1.0)
    loss = wf.reduce_sum(x * x) / 2.0 + wf.reduce_sum(wf.gather(table, [1]) ** 2) / 2.0
    grads, variables = zip(*optimizer.compute_gradients(loss, [x, table, unused]), strict=True)
    clipped, _ = wf.clip_by_global_norm(grads, 5.0)
    train = optimizer.apply_gradients(zip(clipped, variables, strict=True))
    session.run(wf.global_variables_initializer())
    session.run(train)
    np.testing.assert_allclose(session.run(x), [27.0], rtol=1e-6)
    np.testing.assert_allclose(session.run(table), [[40.0], [36.0]], rtol=1e-6)


# by value


def test_by_value_limits_the_rows_of_slices(session: wf.Session) -> None:
    clipped = wf.clip_by_value(slices([[3.0, -4.0], [0.5, NAN]]), -1.0, 2.0)
    assert isinstance(clipped, wf.IndexedSlices)
    found = session.run(clipped)
    np.testing.assert_array_equal(found.values, [[2.0, -1.0], [0.5, NAN]])
    np.testing.assert_array_equal(found.indices, [0, 2])
    np.testing.assert_array_equal(found.dense_shape, [4, 2])
