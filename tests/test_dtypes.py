"""Data types: what names and types stand for them, what they say of themselves, how they compare."""

from typing import Any

import ml_dtypes
import numpy as np
import pytest
import weft as wf
from weft.graph.dtypes import ALL, DType, as_dtype

ARRAYS = [dtype for dtype in ALL if dtype.name not in ("string", "resource", "variant")]


@pytest.mark.parametrize("dtype", ALL, ids=str)
def test_a_dtype_is_found_by_itself_its_name_and_its_number(dtype: DType) -> None:
    assert as_dtype(dtype) is dtype
    assert as_dtype(dtype.name) is dtype
    assert as_dtype(dtype.as_datatype_enum) is dtype
    assert int(dtype) == dtype.as_datatype_enum


@pytest.mark.parametrize("dtype", ARRAYS, ids=str)
def test_a_dtype_is_found_by_its_numpy_type(dtype: DType) -> None:
    assert as_dtype(dtype.as_numpy_dtype) is dtype
    assert as_dtype(np.zeros(1, dtype.as_numpy_dtype).dtype) is dtype
    assert dtype.size == np.zeros(1, dtype.as_numpy_dtype).itemsize


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        ("float", wf.float32),
        ("double", wf.float64),
        ("half", wf.float16),
        (float, wf.float32),
        (bool, wf.bool),
        (object, wf.string),
        (np.object_, wf.string),
        (np.dtype("S3"), wf.string),
        (np.dtype("U3"), wf.string),
        (np.str_, wf.string),
    ],
)
def test_other_spellings(value: Any, dtype: DType) -> None:
    assert as_dtype(value) is dtype


@pytest.mark.parametrize(
    "value",
    [None, "nope", "int", "str", "<f4", "qint8", 99, 3.5, [1], int, str, complex, np.datetime64, np.dtype("V8")],
)
def test_what_is_no_dtype(value: Any) -> None:
    with pytest.raises(TypeError, match="Cannot convert value"):
        as_dtype(value)


def test_numbers_are_those_of_tensorflow() -> None:
    assert {dtype.name: int(dtype) for dtype in ALL} == {
        "float32": 1,
        "float64": 2,
        "int32": 3,
        "uint8": 4,
        "int16": 5,
        "int8": 6,
        "string": 7,
        "complex64": 8,
        "int64": 9,
        "bool": 10,
        "bfloat16": 14,
        "uint16": 17,
        "complex128": 18,
        "float16": 19,
        "resource": 20,
        "variant": 21,
        "uint32": 22,
        "uint64": 23,
    }


def of(question: str) -> set[str]:
    return {dtype.name for dtype in ALL if getattr(dtype, question)}


def test_what_kinds_they_are() -> None:
    floats = {"float16", "bfloat16", "float32", "float64"}
    complexes = {"complex64", "complex128"}
    unsigned = {"uint8", "uint16", "uint32", "uint64"}
    ints = {"int8", "int16", "int32", "int64"} | unsigned
    assert of("is_floating") == floats
    assert of("is_complex") == complexes
    assert of("is_integer") == ints
    assert of("is_unsigned") == unsigned
    assert of("is_numeric") == floats | complexes | ints
    assert of("is_bool") == {"bool"}
    assert of("is_trainable") == floats | complexes | {"resource", "variant"}
    assert of("is_quantized") == set()
    assert of("is_numpy_compatible") == {dtype.name for dtype in ALL} - {"resource", "variant"}


@pytest.mark.parametrize("dtype", [dtype for dtype in ARRAYS if dtype.is_integer or dtype.is_floating], ids=str)
def test_limits_are_the_numpy_types(dtype: DType) -> None:
    limits: Any = ml_dtypes.iinfo(dtype.np) if dtype.is_integer else ml_dtypes.finfo(dtype.np)  # type: ignore[no-untyped-call]
    assert (dtype.min, dtype.max) == (limits.min, limits.max)


@pytest.mark.parametrize("dtype", [wf.bool, wf.string, wf.complex64])
def test_types_without_an_order_have_no_limits(dtype: DType) -> None:
    with pytest.raises(TypeError, match=f"Cannot find minimum value of {dtype.name}"):
        _ = dtype.min
    with pytest.raises(TypeError, match=f"Cannot find maximum value of {dtype.name}"):
        _ = dtype.max


def test_related_types() -> None:
    assert wf.complex64.real_dtype is wf.float32
    assert wf.complex128.real_dtype is wf.float64
    assert wf.int32.real_dtype is wf.int32
    assert all(dtype.base_dtype is dtype for dtype in ALL)


def test_equality_takes_numpy_types_and_names() -> None:
    assert wf.float32 == wf.float32
    assert wf.float32 == np.float32
    assert wf.float32 == np.dtype("float32")
    assert wf.float32 == "float32"
    assert wf.float32 != wf.float64
    assert wf.float32 != "float64"
    assert wf.float32 != "nope"
    assert wf.float32 != None  # noqa: E711
    assert wf.float32.is_compatible_with("float32")
    assert not wf.float32.is_compatible_with(wf.int32)
    assert {wf.float32: 1}[as_dtype(np.float32)] == 1


def test_how_it_prints() -> None:
    assert repr(wf.float32) == "wf.float32"
    assert str(wf.float32) == "<dtype: 'float32'>"
    assert repr(wf.bool) == "wf.bool"


def test_aliases() -> None:
    assert wf.half is wf.float16
    assert wf.double is wf.float64
