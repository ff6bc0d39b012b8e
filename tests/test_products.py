"""Forms of matrix products: which shapes have which, that all give the product, and the bits that a form promises."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from weft.graph.ops import product_blocks, products

FLAGS = [(False, False), (True, False), (False, True), (True, True)]
SIDES = {
    "plain": (12, 7, 9),
    "outer": (6, 1, 5),
    "reversed": (8, 128, 160),
    "none": (0, 3, 2),
    "nothing to sum": (3, 0, 2),
}


@pytest.fixture(autouse=True)
def in_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forms are those of one block; the blocks of big products are test_product_blocks.py's."""
    monkeypatch.setattr(product_blocks, "LEAST_WORK", 1 << 60)


def matrices(sides: tuple[int, int, int], across_a: bool, across_b: bool, dtype: Any = np.float32) -> tuple[Any, Any]:
    rows, inner, columns = sides
    random = np.random.default_rng(0)
    a = random.standard_normal((inner, rows) if across_a else (rows, inner))
    b = random.standard_normal((columns, inner) if across_b else (inner, columns))
    return a.astype(dtype), b.astype(dtype)


def naive(a: Any, b: Any, across_a: bool, across_b: bool) -> Any:
    return np.einsum(
        "ij,jk", *[np.asarray(x.T if across else x, np.float64) for x, across in ((a, across_a), (b, across_b))]
    )


@pytest.mark.parametrize("flags", FLAGS)
@pytest.mark.parametrize("sides", SIDES.values(), ids=SIDES)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.usefixtures("any_bits")
def test_every_form_gives_the_product(sides: tuple[int, int, int], flags: tuple[bool, bool], dtype: Any) -> None:
    a, b = matrices(sides, *flags, dtype)
    expected, known = naive(a, b, *flags), products.form_of(a.dtype, a.shape, b.shape, *flags)
    for form in (known, products.form_of(a.dtype, None, b.shape, *flags)):
        got = form(a, b)
        np.testing.assert_array_equal(got, known(a, b))
        assert got.dtype == dtype
        assert got.flags.c_contiguous
        np.testing.assert_allclose(got, expected, rtol=2e-3 if dtype == np.float16 else 1e-4, atol=1e-4)
        if dtype != np.float16:
            out = np.full_like(got, np.nan)
            assert form(a, b, out) is out
            np.testing.assert_array_equal(out, got)


def form(a: tuple[int, ...], b: tuple[int, ...], *flags: bool, dtype: Any = np.float32) -> Any:
    return products.form_of(np.dtype(dtype), a, b, *flags)


@pytest.fixture
def any_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the forms whatever bits BLAS gives in them."""
    monkeypatch.setattr(products, "_keeps_bits", lambda *_: True)


@pytest.mark.usefixtures("any_bits")
def test_shapes_choose_the_form_of_a_product_by_a_transposed_matrix() -> None:
    reversed_, plain = form((32, 512), (256, 512), False, True), form((300, 512), (256, 512), False, True)
    assert plain is not reversed_
    assert form((256, 512), (256, 512), False, True) not in (
        plain,
        reversed_,
    )  # it may be a matrix by its own transpose
    assert reversed_ is form((8, 128), (128, 128), False, True)
    for a, b in [
        ((4, 512), (256, 512)),
        ((65, 512), (512, 512)),
        ((32, 512), (64, 512)),
        ((8, 64), (64, 64)),
        ((2, 3), (4, 5)),
    ]:
        assert form(a, b, False, True) is plain
    assert form((32, 512), (256, 512), False, True, dtype=np.float64) is plain
    assert form((5, 1), (4, 1), False, True) is not plain
    assert form((1, 1), (4, 1), False, True) is plain


@pytest.mark.usefixtures("any_bits")
def test_shapes_choose_the_form_of_a_product() -> None:
    pieces, plain = form((32, 256), (256, 512), False, False), form((256, 256), (256, 256), False, False)
    assert plain is not pieces
    assert pieces is form((8, 1024), (1024, 128), False, False)
    for a, b in [((4, 512), (512, 512)), ((64, 256), (256, 512)), ((32, 256), (256, 500)), ((32, 128), (128, 128))]:
        assert form(a, b, False, False) is plain
    assert form((32, 256), (256, 512), False, False, dtype=np.float64) is plain


def test_a_form_that_would_change_bits_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_keeps_bits", lambda *_: False)
    assert form((32, 512), (256, 512), False, True) is form((300, 512), (256, 512), False, True)
    assert form((32, 256), (256, 512), False, False) is form((256, 256), (256, 256), False, False)


def test_whether_a_form_keeps_bits_is_found_by_trying_it() -> None:
    def changed(x: Any, w: Any) -> Any:
        product = np.matmul(x, w)
        product[-1, -1] = np.nextafter(product[-1, -1], np.float32(np.inf))
        return product

    assert products._keeps_bits(np.matmul, False, 8, 128, 130)
    assert not products._keeps_bits(changed, False, 8, 128, 130)


@pytest.mark.parametrize("flags", FLAGS)
@pytest.mark.parametrize("sides", [*SIDES.values(), (32, 256, 300), (33, 1500, 133), (64, 300, 2500)])
def test_no_form_changes_a_bit(sides: tuple[int, int, int], flags: tuple[bool, bool]) -> None:
    a, b = matrices(sides, *flags)
    plain = np.matmul(a.T if flags[0] else a, b.T if flags[1] else b)
    np.testing.assert_array_equal(products.matrix_product(a, b, *flags), plain)


@pytest.mark.parametrize("flags", FLAGS)
def test_a_column_times_a_row_has_the_bits_of_a_sum_from_zero(flags: tuple[bool, bool]) -> None:
    column = np.array([-0.0, 0.0, 1.5, -2.25, np.inf, 1e-30, -1e-30, 3e38], np.float32)
    row = np.array([-1.0, 0.0, -0.0, 7.125, 1e-30, 3e38], np.float32)
    a, b = np.reshape(column, (1, -1) if flags[0] else (-1, 1)), np.reshape(row, (-1, 1) if flags[1] else (1, -1))
    with np.errstate(all="ignore"):
        got = products.matrix_product(a, b, *flags)
        expected = np.outer(column, row) + np.float32(0)
    np.testing.assert_array_equal(got, expected)
    numbers = ~np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(got)[numbers], np.signbit(expected)[numbers])


@pytest.mark.parametrize("sides", [SIDES["outer"], SIDES["reversed"]])
@pytest.mark.usefixtures("any_bits")
def test_many_threads_compute_products_at_once(sides: tuple[int, int, int]) -> None:
    pairs = []
    for seed in range(8):
        a, b = matrices(sides, False, True)
        pairs.append((a + np.float32(seed), b))
    alone = [products.matrix_product(a, b, False, True) for a, b in pairs]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda pair: products.matrix_product(pair[0], pair[1], False, True), pairs * 20))
    for got, expected in zip(together, alone * 20, strict=True):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("flags", FLAGS)
def test_a_product_has_a_block_for_each_thread_where_that_gives_the_bits_of_the_blocks_that_its_shape_says(
    flags: tuple[bool, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(product_blocks, "LEAST_WORK", 100_000)
    plain, (a, b) = form((2, 3), (3, 2), False, False), matrices((90, 60, 200), *flags)

    def chosen(threads: int, same: bool) -> Any:
        monkeypatch.setattr(products, "threads", lambda: threads)
        monkeypatch.setattr(products, "_same_bits", lambda *_: same)
        return form(a.shape, b.shape, *flags)

    blocks, halves = chosen(2, False), chosen(2, True)
    assert (blocks.count(), blocks.step) == (4, 64)
    assert (halves.count(), halves.step) == (2, 112)
    assert chosen(1, False) == chosen(5, True) == blocks
    assert not isinstance(chosen(1, True), product_blocks.InBlocks)
    assert flags != (False, False) or chosen(1, True) is plain
    for made in (blocks, halves):
        np.testing.assert_allclose(made(a, b), naive(a, b, *flags), rtol=1e-4, atol=1e-4)


def test_whether_blocks_have_the_same_bits_is_found_by_trying_them() -> None:
    def changed(x: Any, w: Any, out: Any) -> Any:
        np.matmul(x, w, out)
        out[-1, -1] = np.nextafter(out[-1, -1], out.dtype.type(np.inf))
        return out

    for dtype in (np.dtype(np.float32), np.dtype(np.float64)):
        for by_columns in (False, True):
            blocks = product_blocks.InBlocks(np.matmul, (300, 300), 300, False, by_columns)
            assert products._same_bits(np.matmul, blocks, dtype, 40, False, False)
            other = product_blocks.InBlocks(changed, (300, 300), 64, False, by_columns)
            assert not products._same_bits(np.matmul, other, dtype, 40, False, False)


def test_what_takes_long_to_try_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "TRIED", 8 * 128 * 140 - 1)
    assert not products._keeps_bits(np.matmul, False, 8, 128, 140)
    assert products._keeps_bits(np.matmul, False, 8, 128, 139)


@pytest.mark.parametrize("across", [(True, False), (False, True)])
@pytest.mark.parametrize("width", [40, 63, 64])
def test_a_matrix_by_a_part_of_itself_has_the_bits_of_copies(width: int, across: tuple[bool, bool]) -> None:
    whole = np.random.default_rng(1).standard_normal((64, 64), np.float32)
    part = whole[:, :width] if across[0] else whole[:width]
    got = products.matrix_product(whole, part, *across)
    np.testing.assert_array_equal(got, products.matrix_product(whole.copy(), part.copy(), *across))
