"""The batch normalization layer: its values against NumPy's, its variables, and its moving averages."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import weft as wf

X = np.random.default_rng(0).normal(3.0, 2.0, (5, 4, 3, 2)).astype(np.float32)


@pytest.fixture
def session() -> Iterator[wf.Session]:
    with wf.Session() as made:
        yield made


def started(session: wf.Session) -> wf.Session:
    session.run(wf.global_variables_initializer())
    return session


def normal(x: Any, mean: Any, variance: Any) -> Any:
    return (x - mean) / np.sqrt(variance + 1e-3)


@pytest.mark.parametrize("axis", [-1, 1, [3]])
def test_a_batch_in_training(session: wf.Session, axis: Any) -> None:
    y = wf.layers.batch_normalization(wf.constant(X), axis, training=True)
    others = (0, 2, 3) if axis == 1 else (0, 1, 2)
    expected = normal(X, X.mean(others, keepdims=True), X.var(others, keepdims=True))
    np.testing.assert_allclose(started(session).run(y), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("fused", "ddof"), [(None, 1), (True, 1), (False, 0)])
def test_the_moving_averages(session: wf.Session, fused: Any, ddof: int) -> None:
    x = wf.constant(X)
    trained = wf.layers.batch_normalization(x, momentum=0.75, training=True, name="n", fused=fused)
    tested = wf.layers.batch_normalization(x, momentum=0.75, name="n", reuse=True, fused=fused)
    updates = wf.get_collection(wf.GraphKeys.UPDATE_OPS)
    assert len(updates) == 2
    started(session).run([trained, *updates])
    mean, variance = session.run([v for v in wf.global_variables() if "moving" in v.name])
    np.testing.assert_allclose(mean, 0.25 * X.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(variance, 0.75 + 0.25 * X.var((0, 1, 2), ddof=ddof), rtol=1e-5)
    np.testing.assert_allclose(session.run(tested), normal(X, mean, variance), rtol=1e-4, atol=1e-5)


def test_training_by_a_tensor(session: wf.Session) -> None:
    training = wf.placeholder_with_default(False, [])
    y = wf.layers.batch_normalization(wf.constant(X[0, 0]), training=training)
    updates = wf.get_collection(wf.GraphKeys.UPDATE_OPS)
    moving = [v for v in wf.global_variables() if "moving" in v.name]
    still = started(session).run([y, *updates])[0]
    np.testing.assert_allclose(still, normal(X[0, 0], 0.0, 1.0), rtol=1e-4)
    assert [value.tolist() for value in session.run(moving)] == [[0.0, 0.0], [1.0, 1.0]]
    batch = session.run([y, *updates], {training: True})[0]
    np.testing.assert_allclose(batch, normal(X[0, 0], X[0, 0].mean(0), X[0, 0].var(0)), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(session.run(moving[1]), 0.99 + 0.01 * X[0, 0].var(0), rtol=1e-5)


def test_the_variables(session: wf.Session) -> None:
    x = wf.placeholder(wf.float16, [None, 2])
    y = wf.layers.batch_normalization(x, beta_initializer=wf.ones_initializer())
    wf.layers.batch_normalization(x, center=False, scale=False, trainable=False)
    assert [v.name for v in wf.global_variables()] == [
        *(f"batch_normalization/{name}:0" for name in ("gamma", "beta", "moving_mean", "moving_variance")),
        *(f"batch_normalization_1/{name}:0" for name in ("moving_mean", "moving_variance")),
    ]
    assert [v.name for v in wf.trainable_variables()] == ["batch_normalization/gamma:0", "batch_normalization/beta:0"]
    assert ({v.dtype for v in wf.global_variables()}, y.dtype, y.shape.as_list()) == (
        {wf.float32},
        wf.float16,
        [None, 2],
    )
    assert wf.get_collection(wf.GraphKeys.UPDATE_OPS) == []
    found = started(session).run(y, {x: [[0.0, 2.0]]})
    np.testing.assert_allclose(found, [[1.0, 3.0]], rtol=1e-2)


def test_a_network_with_it_learns(session: wf.Session) -> None:
    x = wf.constant(X[..., 0].reshape(5, 12))
    y = wf.layers.dense(wf.layers.batch_normalization(x, training=True), 1)
    loss = wf.reduce_mean(wf.square(y - x[:, :1]))
    with wf.control_dependencies(wf.get_collection(wf.GraphKeys.UPDATE_OPS)):
        step = wf.train.GradientDescentOptimizer(0.02).minimize(loss)
    losses = [started(session).run(loss), *(session.run([loss, step])[0] for _ in range(50))]
    assert losses[-1] < losses[0] / 5


def test_what_it_refuses() -> None:
    with pytest.raises(ValueError, match="undefined rank"):
        wf.layers.batch_normalization(wf.placeholder(wf.float32))
    with pytest.raises(ValueError, match="undefined `axis`"):
        wf.layers.batch_normalization(wf.placeholder(wf.float32, [2, None]))
    with pytest.raises(ValueError, match="fused=True"):
        wf.layers.batch_normalization(wf.ones([2, 2]), fused=True)
    with pytest.raises(ValueError, match="out of range"):
        wf.layers.batch_normalization(wf.ones([2, 2]), 2)
    with pytest.raises(NotImplementedError, match="renorm"):
        wf.layers.batch_normalization(wf.ones([2, 2]), renorm=True)
    with pytest.raises(NotImplementedError, match="several axes"):
        wf.layers.batch_normalization(wf.ones([2, 2]), [0, 1])
