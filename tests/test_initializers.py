"""Initializers: the numbers they draw, their configurations and errors."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import weft as wf

Array = np.ndarray[Any, Any]


@pytest.fixture
def session() -> Iterator[wf.Session]:
    with wf.Session() as made:
        yield made


def drawn(session: wf.Session, initializer: Any, *shape: int) -> Array:
    values = session.run(initializer(list(shape), wf.float64))
    assert values.shape == shape
    return np.asarray(values)


def test_random_initializers(session: wf.Session) -> None:
    wf.set_random_seed(1)
    uniform = drawn(session, wf.random_uniform_initializer(-2.0, 4.0), 10_000)
    assert (uniform.min() >= -2, uniform.max() < 4, abs(uniform.mean() - 1) < 0.1) == (True, True, True)
    normal = drawn(session, wf.random_normal_initializer(1.0, 2.0), 10_000)
    assert (abs(normal.mean() - 1) < 0.1, abs(normal.std() - 2) < 0.1) == (True, True)
    truncated = drawn(session, wf.truncated_normal_initializer(1.0, 2.0), 10_000)
    assert (np.abs(truncated - 1) <= 4).all()


@pytest.mark.parametrize(
    ("initializer", "variance"),
    [
        (wf.glorot_uniform_initializer(seed=1), 2 / (9 * 40 + 9 * 60)),
        (wf.glorot_normal_initializer(seed=1), 2 / (9 * 40 + 9 * 60)),
        (wf.initializers.he_normal(seed=1), 2 / (9 * 40)),
        (wf.initializers.he_uniform(seed=1), 2 / (9 * 40)),
        (wf.initializers.lecun_normal(seed=1), 1 / (9 * 40)),
        (wf.initializers.lecun_uniform(seed=1), 1 / (9 * 40)),
        (wf.variance_scaling_initializer(3.0, "fan_out", "untruncated_normal", seed=1), 3 / (9 * 60)),
    ],
)
def test_variance_scaling(initializer: Any, variance: float, session: wf.Session) -> None:
    values = drawn(session, initializer, 3, 3, 40, 60)
    np.testing.assert_allclose(values.var(), variance, rtol=0.05)
    assert abs(values.mean()) < 0.01


def test_configurations_make_equal_initializers() -> None:
    made = wf.variance_scaling_initializer(2.0, "fan_avg", "uniform", 7, wf.float64)
    assert made.get_config() == {
        "scale": 2.0, "mode": "fan_avg", "distribution": "uniform", "seed": 7, "dtype": "float64",
    }  # fmt: skip
    assert wf.variance_scaling_initializer(**made.get_config()).get_config() == made.get_config()
    assert wf.zeros_initializer().get_config() == {"dtype": "float32"}


def test_errors_of_initializers() -> None:
    with pytest.raises(ValueError, match="must be positive"):
        wf.variance_scaling_initializer(0.0)
    with pytest.raises(ValueError, match="`mode`"):
        wf.variance_scaling_initializer(mode="fan")
    with pytest.raises(ValueError, match="`distribution`"):
        wf.variance_scaling_initializer(distribution="flat")
    with pytest.raises(ValueError, match="floating point"):
        wf.random_normal_initializer(dtype=wf.int32)
    with pytest.raises(TypeError, match="Invalid type"):
        wf.constant_initializer(object())
    with pytest.raises(ValueError, match="fully known"):
        wf.glorot_uniform_initializer()([None])
    with pytest.raises(ValueError, match="2D matrices"):
        wf.initializers.identity()([2])


def test_the_namespace_holds_the_initializers(session: wf.Session) -> None:
    made = wf.get_variable("made", [2, 3], initializer=wf.initializers.identity(2.0))
    zeros = wf.get_variable("zeros", [2], initializer=wf.initializers.zeros)
    constant = wf.layers.dense(wf.ones([1, 2]), 3, kernel_initializer=wf.initializers.constant(0.5), use_bias=False)
    session.run(wf.global_variables_initializer())
    assert session.run(made).tolist() == [[2.0, 0.0, 0.0], [0.0, 2.0, 0.0]]
    assert session.run(zeros).tolist() == [0.0, 0.0]
    assert session.run(constant).tolist() == [[1.0, 1.0, 1.0]]
    assert wf.initializers.zeros is wf.zeros_initializer


def values(session: wf.Session, tensor: Any) -> Array:
    return np.asarray(session.run(tensor), np.float64)


@pytest.mark.parametrize("dtype", [wf.float16, wf.float32, wf.float64, wf.bfloat16])
def test_orthogonal_rows_or_columns(dtype: Any, session: wf.Session) -> None:
    tall = values(session, wf.orthogonal_initializer(seed=1)([5, 3], dtype))
    wide = values(session, wf.initializers.orthogonal(2.0, seed=1)([3, 5], dtype))
    window = values(session, wf.orthogonal_initializer()([2, 3, 4, 5], dtype)).reshape(24, 5)
    tolerance = 0.1 if dtype.size == 2 else 1e-5
    np.testing.assert_allclose(tall.T @ tall, np.eye(3), atol=tolerance)
    np.testing.assert_allclose(wide @ wide.T, 4 * np.eye(3), atol=tolerance)
    np.testing.assert_allclose(window.T @ window, np.eye(5), atol=tolerance)


def test_an_orthogonal_matrix_comes_from_its_seed_and_has_two_dimensions(session: wf.Session) -> None:
    first, again = (values(session, wf.orthogonal_initializer(seed=3)([4, 4])) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    with pytest.raises(ValueError, match="at least two-dimensional"):
        wf.orthogonal_initializer()([3])
    with pytest.raises(ValueError, match="floating point"):
        wf.orthogonal_initializer(dtype=wf.int32)


def test_uniform_unit_scaling_fills_its_range(session: wf.Session) -> None:
    numbers = values(session, wf.uniform_unit_scaling_initializer(2.0, seed=1)([3, 4, 500]))
    limit = 2 * np.sqrt(3 / 12)
    assert 0.99 * limit < np.abs(numbers).max() <= limit
    assert wf.initializers.uniform_unit_scaling(2.0).get_config() == {"factor": 2.0, "seed": None, "dtype": "float32"}


def test_a_configuration_makes_an_equal_initializer(session: wf.Session) -> None:
    for initializer in (wf.random_normal_initializer(1.0, 2.0, seed=3), wf.glorot_uniform_initializer(seed=3)):
        again = type(initializer).from_config(initializer.get_config())
        assert again.get_config() == initializer.get_config()
        np.testing.assert_array_equal(values(session, again([2, 3])), values(session, initializer([2, 3])))
