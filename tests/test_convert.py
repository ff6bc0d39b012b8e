"""What Python and NumPy values become as tensors, and what they cannot become."""

from typing import Any

import ml_dtypes
import numpy as np
import pytest
import weft as wf
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as hnp
from weft.graph.shapes import Dimension, TensorShape


def value(tensor: wf.Tensor) -> Any:
    return wf.Session(graph=tensor.graph).run(tensor)


INFERRED: list[tuple[Any, str, list[int]]] = [
    (1, "int32", []), (1.5, "float32", []), (True, "bool", []), ("s", "string", []), (b"s", "string", []),
    (1j, "complex128", []), (2**31 - 1, "int32", []), (2**31, "int64", []), (-(2**31), "int32", []),
    (-(2**31) - 1, "int64", []), (2**63, "uint64", []), ([], "float32", [0]), ([[]], "float32", [1, 0]),
    ([1, 2], "int32", [2]), ([1, 2.5], "float32", [2]), ([1, True], "int32", [2]), ((1, 2), "int32", [2]),
    (range(3), "int32", [3]), ([2**40, 1], "int64", [2]), (["a", b"b"], "string", [2]), ("", "string", []),
    (float("nan"), "float32", []), (1e40, "float32", []), (np.float64(1), "float64", []), (np.int8(3), "int8", []),
    (np.array([1, 2]), "int64", [2]), (np.array([1.0]), "float64", [1]), (np.array(["a", "b"]), "string", [2]),
    (np.array([True]), "bool", [1]), (np.float16(1.5), "float16", []), (np.array([], np.int32), "int32", [0]),
    ([np.float64(1), np.float64(2)], "float32", [2]), ([np.int64(3)], "int32", [1]),
    ([np.float32(1), 2.0], "float32", [2]), ([np.array([1.0, 2.0]), np.array([3.0, 4.0])], "float64", [2, 2]),
    (ml_dtypes.bfloat16(1), "bfloat16", []), (TensorShape([1, 2]), "int32", [2]), (TensorShape([]), "int32", [0]),
    (Dimension(3), "int32", []), ([Dimension(3), 4], "int32", [2]),
]  # fmt: skip


@pytest.mark.parametrize(("x", "dtype", "shape"), INFERRED, ids=lambda x: str(x)[:30])
def test_types_that_are_inferred(x: Any, dtype: str, shape: list[int]) -> None:
    for tensor in (wf.convert_to_tensor(x), wf.constant(x)):
        assert (tensor.dtype.name, tensor.shape.as_list()) == (dtype, shape)
        assert np.shape(value(tensor)) == tuple(shape)


WITH_DTYPE: list[tuple[Any, str, Any]] = [
    (1, "float32", 1.0), (True, "float32", 1.0), (True, "int32", 1), (1, "complex64", 1 + 0j),
    (1.5, "complex64", 1.5 + 0j), (2**40, "int64", 2**40), (2**31, "uint32", 2**31), (1.5, "float16", 1.5),
    (1, "bfloat16", 1.0), ([1, 2], "float64", [1.0, 2.0]), ([], "int32", []), ([True, 2], "int32", [1, 2]),
    ("a", "string", b"a"), ([[]], "string", [[]]), (1e40, "float64", 1e40), (1e10, "float16", np.inf),
    (np.float64(1.7), "int32", 1), (np.array([1.5]), "float32", [1.5]), (np.array([1, 2]), "float32", [1.0, 2.0]),
    (np.array([True]), "int32", [1]), (np.array([300]), "uint8", [44]), (np.array([1]), "bool", [True]),
    (TensorShape([1, 2]), "int64", [1, 2]), (Dimension(3), "int64", 3),
]  # fmt: skip


@pytest.mark.parametrize(("x", "dtype", "expected"), WITH_DTYPE, ids=lambda x: str(x)[:30])
def test_types_that_are_asked_for(x: Any, dtype: str, expected: Any) -> None:
    for tensor in (wf.convert_to_tensor(x, dtype), wf.constant(x, dtype), wf.constant(x, wf.as_dtype(dtype))):
        assert tensor.dtype.name == dtype
        np.testing.assert_array_equal(value(tensor), np.array(expected, wf.as_dtype(dtype).np))


REFUSED: list[tuple[Any, Any, type[Exception], str]] = [
    (None, None, ValueError, "None values not supported"),
    (None, "float32", ValueError, "None values not supported"),
    ([None], None, TypeError, "got None of type 'NoneType'"),
    ([1, None], None, TypeError, "to a Tensor"),
    (["a", 1], None, TypeError, "Failed to convert .* to a Tensor: expected string, got 1 of type 'int'"),
    ([[1], [2, 3]], None, ValueError, "non-rectangular Python sequence"),
    (object(), None, TypeError, "to a Tensor"),
    ({"a": 1}, None, TypeError, "to a Tensor"),
    ({1}, None, TypeError, "to a Tensor"),
    (2**70, None, TypeError, "to a Tensor"),
    (np.array([1, 2], object), None, TypeError, "to a Tensor"),
    (np.datetime64("2020-01-01"), None, TypeError, "Cannot convert value"),
    (1.5, "int32", TypeError, r"Expected int32, got 1\.5 of type 'float' instead"),
    (1.0, "int32", TypeError, r"Expected int32, got 1\.0 of type 'float' instead"),
    ([1, 1.5], "int32", TypeError, r"Expected int32, got 1\.5 of type 'float' instead"),
    ([[1, 2], [3, "x"]], "int32", TypeError, "Expected int32, got 'x' of type 'str' instead"),
    (1, "bool", TypeError, "Expected bool, got 1 of type 'int' instead"),
    ([True, 1], "bool", TypeError, "Expected bool, got 1 of type 'int' instead"),
    ("a", "float32", TypeError, "Expected float32, got 'a' of type 'str' instead"),
    (1j, "float32", TypeError, "Expected float32, got 1j of type 'complex' instead"),
    (1, "string", TypeError, "expected string, got 1 of type 'int' instead"),
    (1, "resource", TypeError, "Expected resource, got 1"),
    (300, "uint8", TypeError, "Expected uint8, but 300 does not fit"),
    (-1, "uint8", TypeError, "does not fit"),
    (2**40, "int32", TypeError, "does not fit"),
    (2**70, "int64", TypeError, "Expected int64, got 1180591620717411303424"),
    (np.array(["a"]), "float32", TypeError, "Expected float32, got an array"),
    (np.array([1.5]), "string", TypeError, "Expected string, got an array"),
    (np.array([1j]), "float32", TypeError, "Expected float32, got an array"),
    (1, "nope", TypeError, "Cannot convert value 'nope'"),
    (TensorShape([None, 2]), None, ValueError, "partially known TensorShape"),
    (TensorShape(None), None, ValueError, "partially known TensorShape"),
    (TensorShape([1]), "float32", TypeError, "Cannot convert a TensorShape to dtype float32"),
    (Dimension(None), None, ValueError, "unknown Dimension"),
    (Dimension(3), "float32", TypeError, "Cannot convert a Dimension to dtype float32"),
]


@pytest.mark.parametrize(("x", "dtype", "error", "message"), REFUSED, ids=lambda x: str(x).split(" at 0x")[0][:30])
def test_what_does_not_fit(x: Any, dtype: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        wf.convert_to_tensor(x, dtype)
    with pytest.raises(error, match=message):
        wf.constant(x, dtype)


@pytest.mark.parametrize("argument", ["preferred_dtype", "dtype_hint"])
def test_a_preferred_type_is_taken_where_it_can_be(argument: str) -> None:
    def converted(x: Any, preferred: str, **more: Any) -> str:
        return str(wf.convert_to_tensor(x, **{argument: preferred}, **more).dtype.name)

    assert converted(1, "float32") == "float32"
    assert converted(1.5, "int32") == "float32"
    assert converted("a", "float32") == "string"
    assert converted(1.5, "int32", dtype="float64") == "float64"
    assert converted(wf.constant(1), "float32") == "int32"


def test_tensors_and_variables_are_what_they_are() -> None:
    a, v = wf.constant(1.0), wf.Variable(2.0)
    assert wf.convert_to_tensor(a) is a
    assert wf.convert_to_tensor(a, wf.float32) is a
    assert wf.convert_to_tensor(v).dtype == wf.float32
    for x in (a, v):
        with pytest.raises(ValueError, match="Tensor conversion requested dtype int32 for Tensor with dtype float32"):
            wf.convert_to_tensor(x, wf.int32)
    for literal in (a, [a, 1.0], [[a]]):
        with pytest.raises(TypeError, match="Expected any non-tensor type"):
            wf.constant(literal)


def test_lists_that_hold_tensors_are_stacked() -> None:
    a, row = wf.constant(1.0), wf.constant([1.0, 2.0])
    cases: list[tuple[Any, Any]] = [
        ([a, 2.0], [1.0, 2.0]), ([2, a], [2.0, 1.0]), ([[a, 2], [3, a]], [[1.0, 2.0], [3.0, 1.0]]),
        ([row, [3.0, 4.0]], [[1.0, 2.0], [3.0, 4.0]]), ((a, np.float32(5)), [1.0, 5.0]),
        ([wf.Variable(1.0).initial_value, a], [1.0, 1.0]),
    ]  # fmt: skip
    for x, expected in cases:
        tensor = wf.convert_to_tensor(x)
        assert tensor.dtype == wf.float32
        np.testing.assert_array_equal(value(tensor), expected)
    assert wf.convert_to_tensor([a, 1.0], name="mine").op.name == "mine"


def test_lists_of_tensors_that_do_not_fit() -> None:
    a, row, i = wf.constant(1.0), wf.constant([1.0, 2.0]), wf.constant(1)
    cases: list[tuple[Any, Any, type[Exception], str]] = [
        ([a, i], None, TypeError, "Cannot convert a list containing a tensor of dtype int32 to float32"),
        ([a, 1.0], "int32", TypeError, "Cannot convert a list containing a tensor of dtype float32 to int32"),
        ([a, "x"], None, TypeError, "Expected float32, got 'x'"),
        ([i, 2.5], None, TypeError, r"Expected int32, got 2\.5"),
        ([a, None], None, ValueError, "None values not supported"),
        ([a, row], None, ValueError, "not compatible"),
        ([[a, a], [a]], None, ValueError, "not compatible"),
    ]
    for x, dtype, error, message in cases:
        with pytest.raises(error, match=message):
            wf.convert_to_tensor(x, dtype)


def test_names() -> None:
    assert [wf.constant(1).name, wf.constant(1).name, wf.constant(1, name="n").name] == ["Const:0", "Const_1:0", "n:0"]
    assert wf.convert_to_tensor(1, name="m").name == "m:0"


FILLED: list[tuple[Any, Any, Any]] = [
    (1.0, [2, 2], [[1.0, 1.0], [1.0, 1.0]]), ([1, 2], [2, 2], [[1, 2], [2, 2]]),
    ([1, 2, 3, 4], [2, 2], [[1, 2], [3, 4]]), ([[1, 2], [3, 4]], [4], [1, 2, 3, 4]), (1.0, [], 1.0),
    ([1.0], [], 1.0), ([], [0], []), (1.0, [0], []), (1, [2, 0], [[], []]), ("a", [2], [b"a", b"a"]),
    (1, TensorShape([2]), [1, 1]), (1, 3, [1, 1, 1]), (True, [2], [True, True]),
]  # fmt: skip


@pytest.mark.parametrize(("x", "shape", "expected"), FILLED, ids=str)
def test_constants_are_filled_up_with_their_last_element(x: Any, shape: Any, expected: Any) -> None:
    tensor = wf.constant(x, shape=shape)
    assert tensor.dtype == wf.constant(x).dtype
    assert tensor.shape.as_list() == list(np.shape(expected))
    np.testing.assert_array_equal(value(tensor), np.array(expected, tensor.dtype.np))


def test_shapes_that_a_constant_cannot_have() -> None:
    cases: list[tuple[Any, dict[str, Any], type[Exception], str]] = [
        ([1, 2, 3], {"shape": [2]}, ValueError, "Too many elements provided. Takes at most 2, but got 3"),
        ([], {"shape": [2]}, ValueError, "No element to fill"),
        (1.0, {"shape": [None]}, ValueError, "must be fully known"),
        (1, {"shape": [-1]}, ValueError, ">= 0"),
        (1.0, {"shape": [2], "verify_shape": True}, TypeError, r"Expected Tensor's shape: \(2,\), but got \(\)"),
        ([1, 2, 3, 4], {"shape": [2, 2], "verify_shape": True}, TypeError, "Expected Tensor's shape"),
    ]
    for x, arguments, error, message in cases:
        with pytest.raises(error, match=message):
            wf.constant(x, **arguments)
    assert wf.constant([1, 2], shape=[2], verify_shape=True).shape.as_list() == [2]


def test_a_constant_is_a_copy() -> None:
    array = np.zeros(2, np.float32)
    tensor = wf.constant(array)
    array[:] = 1.0
    np.testing.assert_array_equal(value(tensor), [0.0, 0.0])
    fetched = value(tensor)
    fetched[:] = 2.0
    np.testing.assert_array_equal(value(tensor), [0.0, 0.0])


def test_static_values() -> None:
    x = wf.placeholder(wf.float32, [2, None])
    np.testing.assert_array_equal(wf.get_static_value(wf.constant([1, 2])), [1, 2])
    assert wf.get_static_value(wf.shape(x)[0]) == 2
    assert wf.get_static_value(wf.shape(x)) is None
    assert wf.get_static_value(x) is None


KINDS = st.sampled_from(
    [
        "bool",
        "int8",
        "uint8",
        "int16",
        "int32",
        "int64",
        "uint64",
        "float16",
        "float32",
        "float64",
        "complex64",
        "complex128",
    ]
)
ARRAYS = KINDS.flatmap(lambda kind: hnp.arrays(kind, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)))


@given(ARRAYS)
def test_a_constant_holds_what_numpy_holds(array: np.ndarray[Any, Any]) -> None:
    tensor = wf.constant(array)
    fetched = value(tensor)
    assert tensor.dims == array.shape
    assert fetched.dtype == array.dtype == tensor.dtype.np
    np.testing.assert_array_equal(fetched, array)


LITERALS = st.recursive(
    st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.booleans(),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=6,
)


@given(LITERALS)
def test_a_literal_holds_what_numpy_holds_of_it_in_the_inferred_type(literal: Any) -> None:
    try:
        expected = np.array(literal)
    except ValueError:
        with pytest.raises(ValueError, match="non-rectangular"):
            wf.constant(literal)
        return
    tensor = wf.constant(literal)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(value(tensor), expected.astype(tensor.dtype.np))
    assert expected.size == 0 or tensor.dtype.np.kind == expected.dtype.kind


@given(st.lists(st.text() | st.binary(), min_size=1))
def test_strings_are_bytes(words: list[str | bytes]) -> None:
    expected = [word.encode() if isinstance(word, str) else word for word in words]
    assert value(wf.constant(words)).tolist() == expected
