"""Losses against NumPy: reductions, weights, collections, errors."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import weft as wf

Array = np.ndarray[Any, Any]


@pytest.fixture
def session() -> Iterator[wf.Session]:
    with wf.Session() as made:
        yield made


def sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


LABELS = np.array([[1.0, 0, 2], [0, 3, 4]])
GUESSES = np.array([[0.5, 1, 2], [1, 1, 1]])
ONE_HOT = np.eye(3)[:2]
ROWS = np.array([[1.0], [0.0]])
SQUARES = (LABELS - GUESSES) ** 2


@pytest.mark.parametrize(
    ("reduction", "expected"),
    [
        ("weighted_sum_by_nonzero_weights", SQUARES[0].sum() / 3),
        ("weighted_mean", SQUARES[0].sum() / 3),
        ("weighted_sum", SQUARES[0].sum()),
        ("weighted_sum_over_batch_size", SQUARES[0].sum() / 6),
        ("none", SQUARES * ROWS),
    ],
)
def test_reductions(reduction: str, expected: Any, session: wf.Session) -> None:
    loss = wf.losses.mean_squared_error(LABELS, wf.constant(GUESSES), ROWS, reduction=reduction)
    np.testing.assert_allclose(session.run(loss), expected)


def softmax(x: Array) -> Array:
    return np.asarray(np.exp(x) / np.exp(x).sum(-1, keepdims=True))


ERROR = np.abs(LABELS - GUESSES)
SMOOTH = 0.9 * ONE_HOT + 0.1 / 3
HALF = 0.8 * ONE_HOT + 0.1


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (lambda x: wf.losses.mean_squared_error(LABELS, x), SQUARES.mean()),
        (lambda x: wf.losses.absolute_difference(LABELS, x, weights=2.0), 2 * ERROR.mean()),
        (
            lambda x: wf.losses.huber_loss(LABELS, x, delta=0.5),
            np.where(ERROR <= 0.5, ERROR**2 / 2, 0.5 * ERROR - 0.125).mean(),
        ),
        (
            lambda x: wf.losses.softmax_cross_entropy(ONE_HOT, x, label_smoothing=0.1),
            -(SMOOTH * np.log(softmax(GUESSES))).sum(-1).mean(),
        ),
        (
            lambda x: wf.losses.sparse_softmax_cross_entropy([[1], [2]], x, weights=ROWS),
            -np.log(softmax(GUESSES))[0, 1],
        ),
        (
            lambda x: wf.losses.sigmoid_cross_entropy(ONE_HOT.astype(np.int32), x, label_smoothing=0.2),
            -(HALF * np.log(sigmoid(GUESSES)) + (1 - HALF) * np.log(1 - sigmoid(GUESSES))).mean(),
        ),
        (
            lambda x: wf.losses.log_loss(ONE_HOT, x * 0.3),
            -np.log(np.where(ONE_HOT > 0, GUESSES * 0.3, 1 - GUESSES * 0.3) + 1e-7).mean(),
        ),
        (
            lambda x: wf.losses.hinge_loss(ONE_HOT, x),
            np.maximum(0, 1 - (2 * ONE_HOT - 1) * GUESSES).mean(),
        ),
    ],
)
def test_losses(loss: Callable[[Any], Any], expected: float, session: wf.Session) -> None:
    x = wf.constant(GUESSES)
    made = loss(x)
    np.testing.assert_allclose(session.run(made), expected, rtol=1e-6)
    (grad,) = wf.gradients(made, x)
    assert np.isfinite(session.run(grad)).all()


def test_losses_are_collected(session: wf.Session) -> None:
    x = wf.constant(GUESSES)
    first = wf.losses.mean_squared_error(LABELS, x)
    second = wf.losses.absolute_difference(LABELS, x)
    wf.losses.mean_squared_error(LABELS, x, loss_collection=None)
    wf.losses.add_loss(wf.constant(1.0, wf.float64))
    wf.add_to_collection(wf.GraphKeys.REGULARIZATION_LOSSES, wf.constant(10.0, wf.float64))
    assert (first.name, second.name) == ("mean_squared_error/value:0", "absolute_difference/value:0")
    assert wf.losses.get_losses()[:2] == [first, second]
    assert wf.losses.get_losses(scope="absolute") == [second]
    total, plain = wf.losses.get_total_loss(), wf.losses.get_total_loss(add_regularization_losses=False)
    assert total.name == "total_loss:0"
    parts = session.run([first, second, plain, total])
    np.testing.assert_allclose(parts[2:], [parts[0] + parts[1] + 1, parts[0] + parts[1] + 11])


def test_a_loss_without_weights_is_zero_and_has_a_gradient(session: wf.Session) -> None:
    x = wf.constant(GUESSES)
    loss = wf.losses.mean_squared_error(LABELS, x, weights=0.0)
    value, grad = session.run([loss, wf.gradients(loss, x)[0]])
    assert value == 0.0
    np.testing.assert_array_equal(grad, np.zeros((2, 3)))


def test_errors_of_losses() -> None:
    x = wf.constant(GUESSES)
    with pytest.raises(ValueError, match="weights can not be broadcast"):
        wf.losses.mean_squared_error(LABELS, x, weights=np.ones(3))
    with pytest.raises(ValueError, match="not compatible"):
        wf.losses.mean_squared_error(LABELS[:, :2], x)
    with pytest.raises(ValueError, match="labels must not be None"):
        wf.losses.sparse_softmax_cross_entropy(None, x)
    with pytest.raises(ValueError, match="predictions must not be None"):
        wf.losses.log_loss(LABELS, None)
    with pytest.raises(ValueError, match="Invalid Reduction Key"):
        wf.losses.mean_squared_error(LABELS, x, reduction="most")
    with wf.Graph().as_default(), pytest.raises(ValueError, match="at least one"):
        wf.losses.get_total_loss()
