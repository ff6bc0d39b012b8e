"""Sums over all rows, and within rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import weft as wf
from weft.graph.ops.row_sums import LONGEST, WIDEST, sum_in_rows, sum_over, sum_rows


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "shape", [(5000, 3), (7, 11, 13, 32), (4096, 1), (130, 1024), (3, 5), (0, 4), (6, 0), (2 * LONGEST + 7, 5)]
)
def test_sums_of_rows(shape: tuple[int, ...], dtype: Any) -> None:
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    expected = x.astype(np.float64).sum(axis=tuple(range(x.ndim - 1)))
    out = np.full(shape[-1], np.nan, dtype)
    found = sum_rows(x)
    sum_rows(x, out)
    assert found.dtype == dtype
    assert found.tobytes() == out.tobytes() == sum_rows(np.asfortranarray(x)).tobytes()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "shape", [(700, 3), (7, 11, 32), (1, 4096), (9, 1), (0, 4), (6, 0), (2, 0, 3), (3, WIDEST + 1)]
)
def test_sums_in_rows(shape: tuple[int, ...], dtype: Any) -> None:
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    out = np.full(int(np.prod(shape[:-1])), np.nan, dtype)
    found = sum_in_rows(x)
    sum_in_rows(x, out)
    assert found.dtype == dtype
    assert found.tobytes() == out.tobytes() == sum_in_rows(np.asfortranarray(x)).tobytes()
    np.testing.assert_allclose(found, x.astype(np.float64).sum(-1).reshape(-1), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axes", [None, (0,), (1,), (-1,), (2,), (0, 1), (1, 0), (0, 2), (0, 1, 2)])
def test_sums_have_the_shapes_and_the_bits_of_their_operation(axes: tuple[int, ...] | None, keepdims: bool) -> None:
    values = np.random.default_rng(0).standard_normal((20, 30, 40)).astype(np.float32)
    expected = sum_over(values, axes, keepdims)
    assert expected.shape == np.sum(values, axes, keepdims=keepdims).shape
    x, unknown = wf.placeholder(wf.float32, (20, 30, 40)), wf.placeholder(wf.float32)
    summed = [wf.reduce_sum(each, axes, keepdims) for each in (x, unknown, wf.constant(values))]
    means = [wf.reduce_mean(each, axes, keepdims) for each in (x, unknown, wf.constant(values))]
    with wf.Session() as session:
        for fetches in (summed, means):
            found = session.run(fetches, {x: values, unknown: values})
            assert len({each.tobytes() for each in found}) == 1
            assert found[0].shape == expected.shape
        assert session.run(summed[0], {x: values}).tobytes() == expected.tobytes()


def test_infinities_and_nans_are_summed_as_they_are() -> None:
    x = np.array([[1, np.inf, 2], [np.nan, 3, -np.inf], [1, np.inf, 1]], np.float32)
    np.testing.assert_array_equal(sum_in_rows(x), [np.inf, np.nan, np.inf])
    np.testing.assert_array_equal(sum_rows(x), [np.nan, np.inf, -np.inf])


def test_the_gradient_of_an_added_vector_has_the_bits_of_that_of_a_bias() -> None:
    x = wf.placeholder(wf.float32, (16, 9, 9, 32))
    vector = wf.constant(np.zeros(32, np.float32))
    ways = [x + vector, wf.nn.bias_add(x, vector)]
    gradients = [wf.gradients(y, vector, grad_ys=x)[0] for y in ways]
    with wf.Session() as session:
        one, other = session.run(gradients, {x: np.random.default_rng(1).standard_normal((16, 9, 9, 32))})
    assert one.tobytes() == other.tobytes()
