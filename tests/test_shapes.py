"""TensorShape and Dimension as TensorFlow 1 has them, and the static shapes inside."""

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import weft as wf
from hypothesis import given, strategies as st
from weft.graph import shapes
from weft.graph.shapes import Dimension, Dims, TensorShape

DIMS = st.lists(st.none() | st.integers(0, 4), max_size=4).map(tuple) | st.none()


@pytest.mark.parametrize(
    ("value", "dims"),
    [
        (None, None),
        ([], ()),
        ([1, None], (1, None)),
        ((2, 3), (2, 3)),
        (3, (3,)),
        (Dimension(3), (3,)),
        ([Dimension(2), None], (2, None)),
        (TensorShape([4]), (4,)),
        (np.array([1, 2]), (1, 2)),
        ([np.int64(3)], (3,)),
    ],
)
def test_what_makes_a_shape(value: Any, dims: Dims) -> None:
    assert TensorShape(value).as_tuple() == dims


@pytest.mark.parametrize(
    ("value", "error"),
    [("a", TypeError), ([1, "a"], TypeError), ([1.5], TypeError), ([-1], ValueError), (-1, ValueError)],
)
def test_what_makes_none(value: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        TensorShape(value)


def test_how_shapes_and_dimensions_print() -> None:
    assert [str(TensorShape(s)) for s in (None, [], [3], [1, None])] == ["<unknown>", "()", "(3,)", "(1, ?)"]
    assert repr(TensorShape([1, None])) == "TensorShape([Dimension(1), Dimension(None)])"
    assert repr(TensorShape(None)) == "TensorShape(None)"
    assert (str(Dimension(3)), str(Dimension(None)), repr(Dimension(None))) == ("3", "?", "Dimension(None)")
    assert shapes.text((2, None)) == "[2,?]"


def test_what_a_shape_says_of_itself() -> None:
    shape, unknown = TensorShape([2, None]), TensorShape(None)
    assert shape.as_list() == [2, None]
    assert [d.value for d in shape.dims or ()] == [2, None]
    assert unknown.dims is None
    assert (shape.ndims, shape.rank, unknown.ndims, unknown.rank) == (2, 2, None, None)
    assert [s.num_elements() for s in (TensorShape([2, 3]), TensorShape([]), shape, unknown)] == [6, 1, None, None]
    assert [s.is_fully_defined() for s in (TensorShape([2]), shape, unknown)] == [True, False, False]
    assert (bool(TensorShape([])), bool(unknown)) == (True, False)
    assert len(shape) == 2
    assert [d.value for d in shape] == [2, None]


@pytest.mark.parametrize("ask", [TensorShape.as_list, len, list])
def test_an_unknown_rank_cannot_be_listed(ask: Callable[[TensorShape], Any]) -> None:
    with pytest.raises(ValueError, match="rank"):
        ask(TensorShape(None))


def test_indexing() -> None:
    shape, unknown = TensorShape([1, 2, 3]), TensorShape(None)
    assert shape[0].value == 1
    assert shape[-1].value == 3
    assert unknown[5].value is None
    assert shape[1:] == TensorShape([2, 3])
    assert unknown[1:].ndims is None
    assert unknown[:-1].ndims is None
    assert unknown[1:3].as_list() == [None, None]
    with pytest.raises(IndexError):
        shape[3]


def test_merging() -> None:
    assert TensorShape([1, None]).merge_with([None, 2]).as_list() == [1, 2]
    assert TensorShape(None).merge_with([1]).as_list() == [1]
    assert TensorShape([1]).merge_with(None).as_list() == [1]
    for other in ([1, 3], [1]):
        with pytest.raises(ValueError, match="not compatible"):
            TensorShape([1, 2]).merge_with(other)
    assert TensorShape([1, 2]).most_specific_compatible_shape([1, 3]).as_list() == [1, None]
    assert TensorShape([1, 2]).most_specific_compatible_shape([1]).ndims is None


def test_concatenation() -> None:
    assert TensorShape([1]).concatenate([2]).as_list() == [1, 2]
    assert (TensorShape([1]) + TensorShape([2])).as_list() == [1, 2]
    assert TensorShape([1]).__radd__([2]).as_list() == [2, 1]
    assert TensorShape([1]).concatenate(2).as_list() == [1, 2]
    assert TensorShape([1]).concatenate(None).ndims is None


def test_ranks() -> None:
    shape, unknown = TensorShape([1, 2]), TensorShape(None)
    assert shape.with_rank(2) == shape
    assert unknown.with_rank(2).as_list() == [None, None]
    assert shape.with_rank_at_least(1) is shape
    assert shape.with_rank_at_most(2) is shape
    assert unknown.with_rank_at_least(3) is unknown
    assert unknown.with_rank_at_most(3) is unknown
    shape.assert_has_rank(2)
    shape.assert_same_rank([3, 4])
    unknown.assert_same_rank([3])
    refused: list[tuple[str, Callable[[], Any]]] = [
        ("must have rank 3", lambda: shape.with_rank(3)),
        ("must have rank 1", lambda: shape.assert_has_rank(1)),
        ("rank at least 3", lambda: shape.with_rank_at_least(3)),
        ("rank at most 1", lambda: shape.with_rank_at_most(1)),
        ("same rank", lambda: shape.assert_same_rank([3])),
    ]
    for message, ask in refused:
        with pytest.raises(ValueError, match=message):
            ask()


def test_compatibility() -> None:
    assert TensorShape([1, None]).is_compatible_with([1, 2])
    assert TensorShape([1]).is_compatible_with(None)
    assert not TensorShape([1, None]).is_compatible_with([2, 2])
    assert not TensorShape([1]).is_compatible_with([1, 2])
    TensorShape([1]).assert_is_compatible_with([None])
    with pytest.raises(ValueError, match=r"Shapes \(1,\) and \(2,\) are incompatible"):
        TensorShape([1]).assert_is_compatible_with([2])
    TensorShape([1]).assert_is_fully_defined()
    with pytest.raises(ValueError, match=r"Shape \(\?,\) is not fully defined"):
        TensorShape([None]).assert_is_fully_defined()


def test_equality_of_shapes() -> None:
    assert TensorShape([1, None]) == [1, None]
    assert TensorShape([1, 2]) == (1, 2)
    assert TensorShape(None) == TensorShape(None)
    assert TensorShape([1]) != TensorShape([2])
    assert TensorShape([1]) != "a"
    assert hash(TensorShape([1])) == hash(TensorShape([1]))


@pytest.mark.parametrize("name", ["add", "sub", "mul", "floordiv", "mod"])
def test_arithmetic_of_dimensions_is_that_of_ints(name: str) -> None:
    compute: Callable[[Any, Any], Any] = getattr(operator, name)
    assert compute(Dimension(7), 3).value == compute(7, 3)
    assert compute(7, Dimension(3)).value == compute(7, 3)
    assert compute(Dimension(7), Dimension(3)).value == compute(7, 3)
    assert compute(Dimension(None), 3).value is None
    assert compute(Dimension(7), None).value is None
    assert compute(Dimension(7), Dimension(None)).value is None


@pytest.mark.parametrize("other", ["a", 1.5])
def test_arithmetic_of_dimensions_takes_only_integers(other: Any) -> None:
    with pytest.raises(TypeError, match="unsupported operand"):
        Dimension(3) + other
    with pytest.raises(TypeError, match="unsupported operand"):
        Dimension(3) / 2  # type: ignore[operator]


def test_a_dimension_below_zero_is_none() -> None:
    with pytest.raises(ValueError, match=">= 0"):
        Dimension(3) - 5
    with pytest.raises(ValueError, match=">= 0"):
        Dimension(-1)


def test_comparing_with_an_unknown_dimension_says_nothing() -> None:
    known, unknown = Dimension(3), Dimension(None)
    assert [known == 3, known != 3, known == Dimension(4), known != 4] == [True, False, False, True]
    assert [known == unknown, known != unknown, unknown == unknown, known == None, unknown != None] == [None] * 5  # noqa: E711
    assert [known < 4, known <= 3, known > 3, known >= Dimension(4)] == [True, True, False, False]
    assert [unknown < 4, known > None, known <= unknown] == [None] * 3


def test_a_known_dimension_serves_as_an_int() -> None:
    assert int(Dimension(3)) == 3
    assert [10, 20, 30, 40][Dimension(3)] == 40
    assert np.zeros(Dimension(3)).shape == (3,)
    assert [bool(Dimension(d)) for d in (0, 3, None)] == [False, True, False]
    assert Dimension(Dimension(2)).value == 2
    assert hash(Dimension(3)) == hash(3)
    with pytest.raises(TypeError, match="not known"):
        int(Dimension(None))


def test_merging_dimensions() -> None:
    assert Dimension(3).is_compatible_with(None)
    assert not Dimension(3).is_compatible_with(4)
    assert Dimension(None).merge_with(4).value == 4
    assert Dimension(3).merge_with(None).value == 3
    with pytest.raises(ValueError, match="Dimensions 3 and 4 are not compatible"):
        Dimension(3).merge_with(4)


def test_functions_of_shapes() -> None:
    assert [wf.dimension_value(d) for d in (Dimension(3), Dimension(None), 3, None)] == [3, None, 3, None]
    assert wf.dimension_at_index(TensorShape([1, 2]), 1).value == 2
    assert wf.dimension_at_index(TensorShape(None), 1).value is None
    assert wf.broadcast_static_shape(TensorShape([None, 2]), TensorShape([3, 1])).as_list() == [3, 2]
    assert wf.broadcast_static_shape(TensorShape(None), TensorShape([3])).ndims is None
    with pytest.raises(ValueError, match="broadcast"):
        wf.broadcast_static_shape(TensorShape([2]), TensorShape([3]))


def fits(value: tuple[int, ...], dims: Dims) -> bool:
    return dims is None or (len(dims) == len(value) and all(d in (None, v) for d, v in zip(dims, value, strict=True)))


@given(DIMS, DIMS, st.lists(st.integers(0, 4), max_size=4).map(tuple))
def test_a_value_fits_a_merged_shape_if_it_fits_both(a: Dims, b: Dims, value: tuple[int, ...]) -> None:
    if not shapes.compatible(a, b):
        assert not (fits(value, a) and fits(value, b))
        with pytest.raises(ValueError, match="not compatible"):
            shapes.merge(a, b)
    else:
        assert fits(value, shapes.merge(a, b)) == (fits(value, a) and fits(value, b))


@given(DIMS, DIMS, st.data())
def test_broadcasting_says_nothing_that_numpy_contradicts(a: Dims, b: Dims, data: st.DataObject) -> None:
    full = st.integers(0, 4)
    x, y = (tuple(data.draw(full) if d is None else d for d in (dims or ())) for dims in (a, b))
    try:
        value = np.broadcast_shapes(x, y)
    except ValueError:
        return
    if a is not None and b is not None:
        assert fits(value, shapes.broadcast(a, b))
    else:
        assert shapes.broadcast(a, b) is None


@given(st.lists(st.integers(0, 4), max_size=4).map(tuple), st.lists(st.integers(0, 4), max_size=4).map(tuple))
def test_broadcasting_known_shapes_is_numpys(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    try:
        expected = np.broadcast_shapes(a, b)
    except ValueError:
        with pytest.raises(ValueError, match="broadcast"):
            shapes.broadcast(a, b)
    else:
        assert shapes.broadcast(a, b) == expected


@pytest.mark.parametrize(("axis", "rank"), [(2, 2), (-3, 2), (0, 0)])
def test_an_axis_out_of_range(axis: int, rank: int) -> None:
    with pytest.raises(ValueError, match="out of range"):
        shapes.normal_axis(axis, rank)


def test_an_axis_counts_from_either_end() -> None:
    assert [shapes.normal_axis(axis, 3) for axis in (0, 2, -1, -3)] == [0, 2, 2, 0]
