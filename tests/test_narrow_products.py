"""A product of which one piece is used: when it is computed for that piece alone, and the bits it keeps."""

from typing import Any

import numpy as np
import pytest
import weft as wf
from optimizing import check_bits, optimized, types
from weft.graph.ops import products


def numbers(*dims: int) -> Any:
    return np.random.default_rng(3).normal(size=dims).astype(np.float32)


def product(part: int, axis: int, transpose_a: bool, transpose_b: bool, sides: tuple[int, int] = (32, 256)) -> Any:
    """One of three pieces of a product, the program's fetch, and what to feed."""
    rows, columns = sides
    a, b = (
        wf.placeholder(wf.float32, dims)
        for dims in ([64, rows] if transpose_a else [rows, 64], [columns, 64] if transpose_b else [64, columns])
    )
    whole = wf.matmul(a, b, transpose_a=transpose_a, transpose_b=transpose_b)
    pieces = wf.split(whole, [8, 16, -1], axis)
    return pieces, {a: numbers(*a.shape), b: numbers(*b.shape)}


@pytest.mark.parametrize(
    ("axis", "transpose_a", "transpose_b"), [(1, False, True), (1, True, True), (0, False, False), (0, False, True)]
)
@pytest.mark.parametrize("part", [0, 1, 2])
def test_a_piece_of_a_product_is_computed_alone(part: int, axis: int, transpose_a: bool, transpose_b: bool) -> None:
    pieces, feeds = product(part, axis, transpose_a, transpose_b)
    program = optimized(pieces[part], feeds={x: value.shape for x, value in feeds.items()})
    (matmul,) = [node for node in program.nodes if node.definition.type == "MatMul"]
    if matmul.specs[0].dims == tuple(pieces[part].shape):  # else the bits would be others with this machine's BLAS
        assert [node.definition.type for node in program.nodes if node.definition.type != "Const"][-2:] == [
            "SplitV",
            "MatMul",
        ]
    check_bits(pieces[part], feeds=feeds)


@pytest.fixture
def any_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every piece has its bits."""
    monkeypatch.setattr("weft.runtime.stages.rewrites.products.part_keeps_bits", lambda *_: True)


@pytest.mark.usefixtures("any_piece")
def test_pieces_that_lie_apart_in_memory_are_cut_out_of_the_product() -> None:
    for axis, transpose_a, transpose_b in [(1, False, False), (0, True, False)]:
        pieces, feeds = product(0, axis, transpose_a, transpose_b)
        assert types(optimized(pieces[0], feeds={x: value.shape for x, value in feeds.items()}))[-1] == "SplitV"


@pytest.mark.usefixtures("any_piece")
def test_a_product_of_which_more_is_used_is_computed_as_a_whole() -> None:
    pieces, feeds = product(0, 1, False, True)
    shapes = {x: value.shape for x, value in feeds.items()}
    assert types(optimized(pieces[0], pieces[2], feeds=shapes))[-1] == "SplitV"
    assert types(optimized(pieces[0], pieces[0].op.inputs[0], feeds=shapes))[-1] == "SplitV"
    with wf.control_dependencies([pieces[0].op]):
        after = wf.identity(pieces[1])
    assert "SplitV" in types(optimized(after, feeds=shapes))
    check_bits(*pieces, after, feeds=feeds)


@pytest.mark.usefixtures("any_piece")
def test_a_piece_of_unknown_size_is_cut_out_of_the_product() -> None:
    a, b, sizes = wf.placeholder(wf.float32, [4, 8]), wf.placeholder(wf.float32, [6, 8]), wf.placeholder(wf.int32, [2])
    piece = wf.split(wf.matmul(a, b, transpose_b=True), sizes, 1, num=2)[0]
    assert types(optimized(piece, feeds={a: (4, 8), b: (6, 8), sizes: (2,)}))[-1] == "SplitV"


def test_bits_of_pieces_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    def other(x: Any, y: Any, across_a: bool, across_b: bool) -> Any:
        return np.full((len(x), len(y)), len(y), np.float32)

    monkeypatch.setattr(products, "matrix_product", other)
    products.part_keeps_bits.cache_clear()
    try:
        pieces, feeds = product(0, 1, False, True)
        assert types(optimized(pieces[0], feeds={x: value.shape for x, value in feeds.items()}))[-1] == "SplitV"
    finally:
        products.part_keeps_bits.cache_clear()
