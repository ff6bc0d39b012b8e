"""Sums over all rows, in folded rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import weft as wf
from weft.graph.ops.row_sums import WIDE, sum_rows


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "shape", [(5000, 3), (7, 11, 13, 32), (4096, 1), (130, WIDE), (3, 5), (0, 4), (6, 0), (513, 500)]
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


def test_the_gradient_of_an_added_vector_has_the_bits_of_that_of_a_bias() -> None:
    x = wf.placeholder(wf.float32, (16, 9, 9, 32))
    vector = wf.constant(np.zeros(32, np.float32))
    ways = [x + vector, wf.nn.bias_add(x, vector)]
    gradients = [wf.gradients(y, vector, grad_ys=x)[0] for y in ways]
    with wf.Session() as session:
        one, other = session.run(gradients, {x: np.random.default_rng(1).standard_normal((16, 9, 9, 32))})
    assert one.tobytes() == other.tobytes()
