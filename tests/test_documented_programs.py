"""The programs in TensorFlow's documentation: gradients, schedules, averages, scatters, partial runs, with its numbers."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import weft as wf


@pytest.fixture
def session() -> Iterator[wf.Session]:
    with wf.Session() as made:
        yield made


# gradients


def test_a_stopped_path_counts_as_a_constant(session: wf.Session) -> None:
    """Of `a = 0; b = 2 * a; d(a + b)`: 3 by a, but 1 each where both stop."""
    a = wf.constant(0.0)
    b = 2 * a
    assert session.run(wf.gradients(a + b, [a, b])) == [3.0, 1.0]
    assert session.run(wf.gradients(a + b, [a, b], stop_gradients=[a, b])) == [1.0, 1.0]


def test_a_stopped_tensor_has_no_gradient(session: wf.Session) -> None:
    a = wf.constant(0.0)
    b = wf.stop_gradient(2 * a)
    assert session.run(wf.gradients(a + b, a)) == [1.0]
    c = wf.stop_gradient(a)
    assert wf.gradients(c + wf.stop_gradient(c * 2), a) == [None]


@pytest.mark.parametrize(("method", "expected"), [("none", [None, 1.0]), ("zero", [0.0, 1.0])])
def test_unconnected_gradients(method: str, expected: list[float | None], session: wf.Session) -> None:
    a, b = wf.ones([]), wf.ones([])
    found = wf.gradients(b, [a, b], unconnected_gradients=method)
    assert [None if grad is None else session.run(grad) for grad in found] == expected


def test_a_custom_gradient_that_is_stable_where_the_plain_one_is_nan(session: wf.Session) -> None:
    """log(1 + exp(x)) at 100: nan when differentiated as it stands, 1 as 1 - 1 / (1 + exp(x))."""

    @wf.custom_gradient
    def log1pexp(x: wf.Tensor) -> Any:
        e = wf.exp(x)
        return wf.log(1 + e), lambda dy: dy * (1 - 1 / (1 + e))

    x = wf.constant(100.0)
    plain, stable = wf.gradients(wf.log(1 + wf.exp(x)), x) + wf.gradients(log1pexp(x), x)
    assert np.isnan(session.run(plain))
    assert session.run(stable) == 1.0


# clipping, schedules, averages


def test_clip_by_global_norm_is_one_factor_for_all(session: wf.Session) -> None:
    clipped, norm = wf.clip_by_global_norm([wf.constant([3.0]), wf.constant([4.0])], 2.5)
    np.testing.assert_allclose(session.run(clipped), [[1.5], [2.0]])
    assert session.run(norm) == 5.0


def test_polynomial_decay_goes_from_the_first_rate_to_the_last(session: wf.Session) -> None:
    """From 0.1 to 0.01 in 10000 steps, as a square root."""
    step = wf.placeholder(wf.int32, [])
    rate = wf.train.polynomial_decay(0.1, step, 10000, 0.01, power=0.5)
    assert [round(float(session.run(rate, {step: at})), 6) for at in (0, 7500, 10000, 20000)] == [
        0.1,
        0.055,
        0.01,
        0.01,
    ]


def test_exponential_decay_by_stairs(session: wf.Session) -> None:
    """Every 100000 steps with a base of 0.96."""
    step = wf.placeholder(wf.int32, [])
    rate = wf.train.exponential_decay(0.1, step, 100000, 0.96, staircase=True)
    assert [round(float(session.run(rate, {step: at})), 6) for at in (99999, 100000, 200000)] == [0.1, 0.096, 0.09216]


def test_piecewise_constant(session: wf.Session) -> None:
    """1.0 for the first 100001 steps, 0.5 for the next 10000, 0.1 after."""
    step = wf.placeholder(wf.int32, [])
    rate = wf.train.piecewise_constant(step, [100000, 110000], [1.0, 0.5, 0.1])
    found = [float(session.run(rate, {step: at})) for at in (0, 100000, 100001, 110000, 110001)]
    np.testing.assert_allclose(found, [1.0, 1.0, 0.5, 0.5, 0.1])


def test_a_moving_average_that_knows_the_number_of_updates(session: wf.Session) -> None:
    """The decay is the smaller of the given one and (1 + n) / (10 + n)."""
    value = wf.Variable(0.0)
    averages = wf.train.ExponentialMovingAverage(0.9, num_updates=wf.constant(0))
    update = averages.apply([value])
    session.run(wf.global_variables_initializer())
    session.run(value.assign(1.0))
    session.run(update)
    np.testing.assert_allclose(session.run(averages.average(value)), 0.9)


# scatters into variables


@pytest.mark.parametrize(
    ("scatter", "expected"),
    [
        ("scatter_nd_add", [1, 13, 3, 14, 14, 6, 7, 20]),
        ("scatter_nd_sub", [1, -9, 3, -6, -4, 6, 7, -4]),
        ("scatter_nd_update", [1, 11, 3, 10, 9, 6, 7, 12]),
    ],
)
def test_scatter_nd_into_a_variable(scatter: str, expected: list[int], session: wf.Session) -> None:
    ref = wf.Variable([1, 2, 3, 4, 5, 6, 7, 8])
    session.run(ref.initializer)
    written = getattr(wf, scatter)(ref, [[4], [3], [1], [7]], [9, 10, 11, 12])
    np.testing.assert_array_equal(session.run(written), expected)


def test_fetches_of_a_session(session: wf.Session) -> None:
    a, b = wf.constant([10, 20]), wf.constant([1.0, 2.0])
    found = session.run({"k1": (a, b), "k2": [b, a]})
    np.testing.assert_array_equal(found["k1"][0], [10, 20])
    np.testing.assert_array_equal(found["k2"][0], [1.0, 2.0])
    assert [type(found[key]) for key in ("k1", "k2")] == [tuple, list]


def test_a_partial_run(session: wf.Session) -> None:
    a, b, c = (wf.placeholder(wf.float32, []) for _ in range(3))
    r1 = wf.add(a, b)
    r2 = wf.multiply(r1, c)
    handle = session.partial_run_setup([r1, r2], [a, b, c])
    first = session.partial_run(handle, r1, {a: 1, b: 2})
    assert first == 3.0
    assert session.partial_run(handle, r2, {c: first}) == 9.0
