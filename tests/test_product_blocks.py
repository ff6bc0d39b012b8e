"""Big matrix products in blocks over threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from weft.graph.ops import product_blocks, products
from weft.graph.parallel import threads
from weft.runtime.execution.threads import limit_kernel_threads


@pytest.mark.parametrize("across_a", [False, True])
@pytest.mark.parametrize("across_b", [False, True])
@pytest.mark.parametrize("sides", [(300, 257, 259), (48, 512, 700), (1000, 600, 1), (130, 90, 130)], ids=str)
def test_the_bits_are_the_same_in_any_number_of_threads(
    sides: tuple[int, int, int], across_a: bool, across_b: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(product_blocks, "LEAST_WORK", 100_000)
    rows, inner, columns = sides
    random = np.random.default_rng(0)
    a, b = random.standard_normal((rows, inner)), random.standard_normal((inner, columns))
    x, y = (np.ascontiguousarray(matrix, np.float32) for matrix in (a.T if across_a else a, b.T if across_b else b))
    before, found = threads(), []
    try:
        for count in (1, 2, 3):
            limit_kernel_threads(count)
            out = np.full((rows, columns), np.nan, np.float32)
            assert products.matrix_product(x, y, across_a, across_b, out) is out
            np.testing.assert_array_equal(products.matrix_product(x, y, across_a, across_b), out)
            found.append(out.tobytes())
    finally:
        limit_kernel_threads(before)
    assert found[0] == found[1] == found[2]
    np.testing.assert_allclose(out, a @ b, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("sides", [(1000, 10, 400), (400, 10, 1000), (129, 20, 129)])
def test_products_are_cut_along_the_longer_side_into_the_parts_that_block_sides_says(
    sides: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(product_blocks, "LEAST_WORK", 50_000)
    shapes: list[tuple[int, int]] = []

    def form(x: Any, y: Any, out: Any) -> None:
        shapes.append(out.shape)
        np.matmul(x, y, out)

    rows, inner, columns = sides
    whole = [rows, inner, inner, columns]
    product = product_blocks.in_blocks(form, whole, False, False)
    product(np.ones((rows, inner)), np.ones((inner, columns)))
    block_rows, _, _, block_columns = product_blocks.block_sides(whole)
    assert len(shapes) > 1
    assert max(shapes) == (block_rows, block_columns)
    assert sum(height * width for height, width in shapes) == rows * columns
    assert {min(rows, columns)} <= {block_rows, block_columns}
