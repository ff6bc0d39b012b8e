"""Learning rate schedules against TF 2.21's figures and NumPy; types of steps and rates, names, errors."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import weft as wf
from weft.graph import context

STEPS = (0, 3, 7, 10, 13, 25, 40)

#: What TF 2.21 gives at STEPS in float32, from a learning rate of 0.1 and 10 steps (5 where there are restarts).
FIGURES: dict[str, tuple[Callable[[Any], Any], list[float]]] = {
    "exponential": (
        lambda step: wf.train.exponential_decay(0.1, step, 10, 0.5),
        [0.1, 0.08122524, 0.061557222, 0.05, 0.04061262, 0.01767767, 0.00625],
    ),
    "exponential_staircase": (
        lambda step: wf.train.exponential_decay(0.1, step, 10, 0.5, True),
        [0.1, 0.1, 0.1, 0.05, 0.05, 0.025, 0.00625],
    ),
    "natural": (
        lambda step: wf.train.natural_exp_decay(0.1, step, 10, 0.5),
        [0.1, 0.0860708, 0.070468806, 0.060653068, 0.05220458, 0.028650481, 0.01353353],
    ),
    "natural_staircase": (
        lambda step: wf.train.natural_exp_decay(0.1, step, 10, 0.5, True),
        [0.1, 0.1, 0.1, 0.060653068, 0.060653068, 0.036787946, 0.01353353],
    ),
    "inverse": (
        lambda step: wf.train.inverse_time_decay(0.1, step, 10, 0.5),
        [0.1, 0.08695652, 0.074074075, 0.06666667, 0.060606062, 0.044444446, 0.033333335],
    ),
    "inverse_staircase": (
        lambda step: wf.train.inverse_time_decay(0.1, step, 10, 0.5, True),
        [0.1, 0.1, 0.1, 0.06666667, 0.06666667, 0.05, 0.033333335],
    ),
    "polynomial": (
        lambda step: wf.train.polynomial_decay(0.1, step, 10, 0.01, 2.0),
        [0.1, 0.0541, 0.0181, 0.01, 0.01, 0.01, 0.01],
    ),
    "polynomial_cycle": (
        lambda step: wf.train.polynomial_decay(0.1, step, 10, 0.01, 2.0, True),
        [0.1, 0.0541, 0.0181, 0.01, 0.021025002, 0.0125, 0.01],
    ),
    "polynomial_defaults": (
        lambda step: wf.train.polynomial_decay(0.1, step, 10),
        [0.1, 0.070030004, 0.030070001, 0.0001, 0.0001, 0.0001, 0.0001],
    ),
    "piecewise": (
        lambda step: wf.train.piecewise_constant(step, [3, 10], [1.0, 0.5, 0.1]),
        [1.0, 1.0, 0.5, 0.5, 0.1, 0.1, 0.1],
    ),
    "cosine": (
        lambda step: wf.train.cosine_decay(0.1, step, 10, 0.2),
        [0.1, 0.08351141, 0.036488593, 0.020000001, 0.020000001, 0.020000001, 0.020000001],
    ),
    "restarts": (
        lambda step: wf.train.cosine_decay_restarts(0.1, step, 5, 2.0, 0.5, 0.1),
        [0.1, 0.041094225, 0.05070288, 0.0325, 0.01429712, 0.02125, 0.020821823],
    ),
    "equal_restarts": (
        lambda step: wf.train.cosine_decay_restarts(0.1, step, 5, 1.0, 0.5, 0.1),
        [0.1, 0.041094225, 0.039452884, 0.0325, 0.017773563, 0.0128125, 0.010351563],
    ),
    "restarts_defaults": (
        lambda step: wf.train.cosine_decay_restarts(0.1, step, 5, 1.5),
        [0.1, 0.034549143, 0.08345653, 0.024999997, 0.099513404, 0.09865224, 0.000338081],
    ),
    "linear_cosine": (
        lambda step: wf.train.linear_cosine_decay(0.1, step, 10, 2.0, 0.1, 0.01),
        [0.111, 0.00863933, 0.004819662, 0.011, 0.011, 0.011, 0.011],
    ),
    "noisy_without_noise": (
        lambda step: wf.train.noisy_linear_cosine_decay(0.1, step, 10, initial_variance=0.0),
        [0.1001, 0.055672478, 0.006283222, 0.0001, 0.0001, 0.0001, 0.0001],
    ),
}

DECAYS: list[tuple[Callable[..., Any], tuple[Any, ...], str]] = [
    (wf.train.exponential_decay, (10, 0.5), "ExponentialDecay"),
    (wf.train.natural_exp_decay, (10, 0.5), "ExponentialDecay"),
    (wf.train.inverse_time_decay, (10, 0.5), "InverseTimeDecay"),
    (wf.train.polynomial_decay, (10,), "PolynomialDecay"),
    (wf.train.cosine_decay, (10,), "CosineDecay"),
    (wf.train.cosine_decay_restarts, (10,), "SGDRDecay"),
    (wf.train.linear_cosine_decay, (10,), "LinearCosineDecay"),
    (wf.train.noisy_linear_cosine_decay, (10, 0.0), "NoisyLinearCosineDecay"),
]


@pytest.fixture
def session() -> Iterator[wf.Session]:
    with wf.Session() as made:
        yield made


@pytest.mark.parametrize("schedule", FIGURES)
def test_the_figures_of_tensorflow(schedule: str, session: wf.Session) -> None:
    make, figures = FIGURES[schedule]
    step = wf.placeholder(wf.int32, [])
    by_tensor = make(step)
    found = [session.run(by_tensor, {step: number}) for number in STEPS]
    np.testing.assert_allclose(found, figures, rtol=2e-6)
    np.testing.assert_allclose(session.run([make(number) for number in STEPS]), figures, rtol=2e-6)


@pytest.mark.parametrize(("decay", "arguments", "name"), DECAYS)
def test_a_variable_counts_and_the_rate_gives_the_type(
    decay: Any, arguments: Any, name: str, session: wf.Session
) -> None:
    step = wf.train.create_global_step()
    rates = [decay(wf.constant(0.1, dtype), step, *arguments) for dtype in (wf.float16, wf.float32, wf.float64)]
    assert [rate.dtype for rate in rates] == [wf.float16, wf.float32, wf.float64]
    count = step.assign_add(1)
    session.run(wf.global_variables_initializer())
    before = session.run(rates)
    session.run(count)
    after = session.run(rates)
    np.testing.assert_allclose(before[0], before[2], rtol=2e-3)
    np.testing.assert_allclose(after[0], after[2], rtol=2e-3)
    np.testing.assert_allclose(after[1], after[2], rtol=1e-6)
    assert 0.08 < after[2] < before[2]


@pytest.mark.parametrize(("decay", "arguments", "name"), DECAYS)
def test_names_shapes_and_errors(decay: Any, arguments: Any, name: str, session: wf.Session) -> None:
    assert decay(0.1, 1, *arguments).op.name == name
    assert decay(0.1, 1, *arguments, name="mine").op.name == "mine"
    assert session.run(decay(0.1, wf.constant([1, 2]), *arguments)).shape == (2,)
    with pytest.raises(ValueError, match="global_step is required"):
        decay(0.1, None, *arguments)
    with pytest.raises(TypeError, match="floating-point"):
        decay(1, 1, *arguments)


def test_hyperparameters_may_be_tensors(session: wf.Session) -> None:
    steps, rate = wf.constant(10, wf.int64), wf.constant(0.5, wf.float64)
    assert session.run(wf.train.exponential_decay(0.5, 10, steps, rate)) == 0.25
    ratio = wf.placeholder(wf.float32, [])
    restarts = wf.train.cosine_decay_restarts(0.1, 18, 5, ratio)
    assert session.run(restarts, {ratio: 1.0}) == pytest.approx(0.034549143)
    assert session.run(restarts, {ratio: 2.0}) == pytest.approx(0.09455033)


def test_a_polynomial_that_cycles_starts_whole_and_ends_at_the_end(session: wf.Session) -> None:
    rates = [wf.train.polynomial_decay(1.0, step, 4, 0.5, cycle=True) for step in (0, 1, 4, 5, 8)]
    assert session.run(rates) == [1.0, 0.875, 0.5, 0.5 + 0.5 * 3 / 8, 0.5]


def test_runs_of_cosine_start_at_the_multiples(session: wf.Session) -> None:
    """Runs of 5, 10 and 20 steps, each at half the height of the one before, in float64 so that roots are exact."""
    rate = wf.constant(1.0, wf.float64)
    rates = [wf.train.cosine_decay_restarts(rate, step, 5, 2.0, 0.5) for step in (0, 5, 15)]
    np.testing.assert_allclose(session.run(rates), [1.0, 0.5, 0.25], rtol=1e-12)


def test_noise_has_the_variance_that_is_asked_for(session: wf.Session) -> None:
    wf.set_random_seed(1)
    step = wf.fill([20_000], 3)
    noisy = session.run(wf.train.noisy_linear_cosine_decay(1.0, step, 10, 0.5, 2.0, num_periods=2.0, beta=0.0))
    wave = (1 + np.cos(np.pi * 4.0 * 0.3)) / 2
    np.testing.assert_allclose(noisy.mean(), 0.7 * wave, atol=0.01)
    np.testing.assert_allclose(noisy.std(), np.sqrt(0.5 / 4**2.0) * wave, rtol=0.02)


# constant pieces


def test_types_of_boundaries(session: wf.Session) -> None:
    step = wf.Variable(7, dtype=wf.int64)
    piece = wf.train.piecewise_constant_decay(step, [3, 10], [1, 2, 3], name="mine")
    assert (piece.op.name, piece.dtype) == ("mine", wf.int32)
    session.run(wf.global_variables_initializer())
    assert session.run(piece) == 2
    assert session.run(wf.train.piecewise_constant(wf.constant(3.0), [3.0, 10.0], [1.0, 2.0, 3.0])) == 1.0
    assert session.run(wf.train.piecewise_constant(7, [], [1.5])) == 1.5
    with pytest.raises(ValueError, match=r"Boundaries \(int32\) must have the same dtype as x \(float32\)"):
        wf.train.piecewise_constant(7.0, [3], [1.0, 2.0])
    with pytest.raises(ValueError, match=r"Boundaries \(int64\) must have the same dtype as x \(int32\)"):
        wf.train.piecewise_constant(7, [wf.constant(3, wf.int64)], [1.0, 2.0])


def test_values_of_pieces() -> None:
    with pytest.raises(ValueError, match="length of boundaries should be 1 less"):
        wf.train.piecewise_constant(7, [3], [1.0])
    with pytest.raises(ValueError, match="Values must have elements all with the same dtype"):
        wf.train.piecewise_constant(7, [3], [1.0, 2])


# use


def test_a_schedule_drives_an_optimizer(session: wf.Session) -> None:
    x, step = wf.Variable(0.0), wf.train.create_global_step()
    rate = wf.train.exponential_decay(1.0, step, 1, 0.5)
    train = wf.train.GradientDescentOptimizer(rate).minimize(-x, global_step=step)
    session.run(wf.global_variables_initializer())
    seen = []
    for _ in range(4):
        session.run(train)
        seen.append(float(session.run(x)))
    assert seen == [1.0, 1.5, 1.75, 1.875]


def test_in_eager_execution_schedules_are_functions() -> None:
    context.set_eager(True)
    step = wf.Variable(1)
    rate, piece = (
        wf.train.exponential_decay(1.0, step, 1, 0.5),
        wf.train.piecewise_constant(step, [1, 2], [1.0, 2.0, 3.0]),
    )
    assert (rate().numpy(), piece().numpy()) == (0.5, 1.0)
    step.assign_add(2)
    assert (rate().numpy(), piece().numpy()) == (0.125, 3.0)
