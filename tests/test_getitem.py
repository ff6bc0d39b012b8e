"""`x[...]` on tensors against NumPy's basic indexing: values, static shapes, gradients, and what it refuses."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from weft.autodiff.gradients import gradients
from weft.graph import shapes
from weft.graph.dtypes import boolean, int64
from weft.graph.errors import InvalidArgumentError
from weft.graph.ops.broadcasting import reduce_sum
from weft.graph.ops.constant import constant
from weft.graph.ops.getitem import newaxis
from weft.graph.ops.placeholders import placeholder
from weft.graph.ops.sizes import shape
from weft.graph.shapes import TensorShape
from weft.runtime.interpret import interpret

X = np.arange(3 * 4 * 5, dtype=np.float64).reshape(3, 4, 5)

TABLE = [
    np.s_[0], np.s_[-1], np.s_[2, 3, 4], np.s_[1:], np.s_[:-1], np.s_[::2], np.s_[::-1], np.s_[2:0:-1], np.s_[-1:-9:-2],
    np.s_[:, 1], np.s_[..., 1], np.s_[1, ...], np.s_[..., 1, :], np.s_[1, ..., 2], np.s_[...], np.s_[()], np.s_[newaxis],
    np.s_[:, newaxis, 1], np.s_[..., newaxis], np.s_[newaxis, ..., newaxis, 0], np.s_[5:], np.s_[2:1], np.s_[-100:100],
    np.s_[1:1], np.s_[:, ::3, ::-2], np.s_[0, 0, 0, newaxis], np.s_[newaxis, 1, newaxis, ::-1, newaxis], np.s_[10:0:-1],
    np.s_[np.int64(1)], np.s_[np.array(2)], np.s_[: np.int32(2)],
]  # fmt: skip


@pytest.mark.parametrize("key", TABLE, ids=str)
def test_value_and_static_shape_are_numpys(key: Any) -> None:
    y = constant(X)[key]
    assert y.dims == X[key].shape
    np.testing.assert_array_equal(interpret([y], {})[0], X[key])


NUMBER = st.none() | st.integers(-7, 7)
ENTRY = st.builds(slice, NUMBER, NUMBER, st.none() | st.integers(-3, 3).filter(bool)) | st.integers(-3, 2) | st.none()


@st.composite
def indices(draw: st.DrawFn) -> tuple[Any, ...]:
    """A basic index of a tensor of rank 3 whose dimensions are 3 or more."""
    entries: list[Any] = draw(
        st.lists(ENTRY, max_size=5).filter(lambda items: sum(item is not None for item in items) <= 3)
    )
    if draw(st.booleans()):
        entries.insert(draw(st.integers(0, len(entries))), ...)
    return tuple(entries)


@given(indices(), st.lists(st.booleans(), min_size=3, max_size=3))
def test_any_basic_index(key: tuple[Any, ...], known: list[bool]) -> None:
    """With some dimensions unknown the static shape still says what it can: nothing wrong, and nothing less than TF."""
    dims = tuple(d if k else None for d, k in zip(X.shape, known, strict=True))
    x = placeholder("float64", dims)
    y = x[key]
    value = interpret([y], {x: X})[0]
    np.testing.assert_array_equal(value, X[key])
    assert y.dims is not None
    assert shapes.compatible(y.dims, value.shape)
    if all(known):
        assert y.dims == value.shape


@given(indices())
def test_gradient_puts_the_weights_where_they_were_taken(key: tuple[Any, ...]) -> None:
    x = constant(X)
    weights = np.arange(1.0, 1 + X[key].size).reshape(X[key].shape)
    (gradient,) = gradients(x[key] * weights, [x])
    expected = np.zeros_like(X)
    expected[key] = weights
    np.testing.assert_array_equal(interpret([gradient], {})[0], expected)


def test_tensors_are_indices() -> None:
    x, i, j = constant(X), placeholder("int32", []), placeholder("int64", [])
    feeds = {i: np.array(1, np.int32), j: np.array(-2, np.int64)}
    cases = [(x[i], X[1]), (x[i:], X[1:]), (x[:, j], X[:, -2]), (x[:, j:, 0], X[:, -2:, 0]), (x[0, 1:j], X[0, 1:-2]),
             (x[..., i, :2], X[..., 1, :2]), (x[:: i], X), (x[i, newaxis, j], X[1, None, -2])]  # fmt: skip
    for tensor, wanted in cases:
        np.testing.assert_array_equal(interpret([tensor], feeds)[0], wanted)
    assert x[i].dims == (4, 5)
    assert x[i:].dims == (None, 4, 5)
    assert x[constant(1, int64) :].dims == (2, 4, 5)
    assert x[TensorShape([2])[0]].dims == (4, 5)


def test_static_shapes_of_unknown_dimensions_are_tfs() -> None:
    q, u = placeholder("float32", [None, 4]), placeholder("float32")
    assert q[0].dims == (4,)
    assert q[1:].dims == (None, 4)
    assert q[:, 1:].dims == (None, 3)
    assert q[newaxis].dims == (1, None, 4)
    assert u[0].dims is None
    assert u[...].dims is None


def test_entries_of_a_known_shape_are_known() -> None:
    size = shape(placeholder("float32", [3, None, 5]))
    assert size.known == (3, None, 5)
    assert size[0].known == 3
    assert size[-1].known == 5
    assert size[1].known is None
    assert size[::2].known == (3, 5)
    assert size[1:].known == (None, 5)
    assert size[0][newaxis].known == (3,)


@pytest.mark.parametrize(
    "key", [1.5, "a", True, np.array([0, 1]), np.array([True, False, True]), slice(1.0, None), b"0"]
)
def test_other_indices_are_type_errors(key: Any) -> None:
    with pytest.raises(TypeError, match="Only integers, slices"):
        constant(X)[key]


def test_masks_and_vectors_as_tensors_are_type_errors() -> None:
    x = constant(X)
    for key in (placeholder(boolean, [3]), constant([0, 1]), constant(1.0)):
        with pytest.raises(TypeError, match="valid indices"):
            x[key]


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (3, "slice index 3 of dimension 0 out of bounds"),
        ((0, -5), "slice index -5 of dimension 1 out of bounds"),
        ((0, 0, 0, 0), "Index out of range using input dim 3; input has only 3 dims"),
        ((..., ...), "Multiple ellipses"),
        (slice(None, None, 0), r"strides\[0\] must be non-zero"),
    ],
)
def test_what_cannot_be_there_is_a_value_error(key: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        constant(X)[key]


def test_what_is_not_there_in_a_run_is_an_invalid_argument() -> None:
    x, i = placeholder("float64"), placeholder("int32", [])
    feeds = {x: X, i: np.array(3, np.int32)}
    for tensor, message in ((x[i], "slice index 3"), (x[:, 0, 0, 0], "only 3 dims"), (x[:: i - 3], "non-zero")):
        with pytest.raises(InvalidArgumentError, match=message):
            interpret([tensor], feeds)


def test_a_gradient_through_a_tensor_index() -> None:
    x, i = constant(X), placeholder("int32", [])
    (gradient,) = gradients(reduce_sum(x[i, i:] * x[0, i:]), [x])
    expected = np.zeros_like(X)
    expected[1, 1:] += X[0, 1:]
    expected[0, 1:] += X[1, 1:]
    np.testing.assert_array_equal(interpret([gradient], {i: np.array(1, np.int32)})[0], expected)
