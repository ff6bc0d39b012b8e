"""Which types go together, which type comes out, and what is refused: TensorFlow's rules, without implicit promotion."""

import operator
from typing import Any

import cases_linalg
import cases_math
import cases_reduction
import numpy as np
import pytest
from case import Case
from weft.graph.dtypes import ALL, as_dtype
from weft.graph.ir import Tensor
from weft.graph.ops import (
    arithmetic,
    cast,
    compare,
    complex,
    linalg,
    math,
    reduction,
    special,
    statistics,
    transcendental,
)
from weft.graph.ops.constant import constant
from weft.graph.ops.placeholders import placeholder
from weft.runtime.interpret import interpret

OPERATORS = [operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod, operator.pow]
NUMBERS = [dtype.name for dtype in ALL if dtype.is_numeric]
FLOATS = ["float16", "bfloat16", "float32", "float64"]
REALS = [dtype.name for dtype in ALL if dtype.is_numeric and not dtype.is_complex]


def value(tensor: Tensor) -> Any:
    (result,) = interpret([tensor], {})
    assert np.asarray(result).dtype == tensor.dtype.np
    return result


@pytest.mark.parametrize("act", OPERATORS)
def test_two_tensors_of_different_types_are_refused(act: Any) -> None:
    with pytest.raises(TypeError, match="has type int32 that does not match type float32 of argument 'x'"):
        act(constant(1.0), constant(1))
    with pytest.raises(TypeError, match="has type float64 that does not match type float32"):
        act(constant(1.0), constant(1.0, "float64"))


@pytest.mark.parametrize("dtype", NUMBERS)
@pytest.mark.parametrize("act", [operator.add, operator.sub, operator.mul])
def test_python_ints_adopt_the_tensors_type_on_either_side(act: Any, dtype: str) -> None:
    x = constant(3, dtype)
    assert value(act(x, 2)) == act(3, 2)
    assert act(x, 2).dtype.name == act(2, x).dtype.name == dtype
    if act is not operator.sub:
        assert value(act(2, x)) == act(2, 3)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("act", OPERATORS)
def test_python_floats_adopt_a_floating_tensors_type(act: Any, dtype: str) -> None:
    x = constant(3.0, dtype)
    assert float(value(act(x, 0.5))) == pytest.approx(act(3.0, 0.5), rel=1e-2)
    assert float(value(act(0.5, x))) == pytest.approx(act(0.5, 3.0), rel=1e-2)
    assert act(x, 0.5).dtype.name == dtype


@pytest.mark.parametrize("act", OPERATORS)
def test_a_python_float_does_not_go_with_an_integer_tensor(act: Any) -> None:
    with pytest.raises(TypeError, match=r"1\.5"):
        act(constant(1), 1.5)
    with pytest.raises(TypeError, match=r"1\.5"):
        act(1.5, constant(1))


def test_a_python_complex_number_does_not_go_with_a_real_tensor() -> None:
    with pytest.raises(TypeError):
        constant(1.0) + 1j
    assert (constant(1j, "complex64") + 1j).dtype.name == "complex64"


def test_numpy_arrays_adopt_the_tensors_type() -> None:
    doubles = np.array([1.0, 2.0])
    totals: list[Any] = [constant(1.0) + doubles, doubles + constant(1.0)]
    for total in totals:
        assert total.dtype.name == "float32"
        np.testing.assert_array_equal(value(total), [2, 3])
    assert (constant(1) + np.array([1, 2])).dtype.name == "int32"


@pytest.mark.parametrize(
    ("dtype", "quotient"),
    [
        ("int8", "float32"), ("uint8", "float32"), ("int16", "float32"), ("uint16", "float32"),
        ("int32", "float64"), ("uint32", "float64"), ("int64", "float64"), ("uint64", "float64"),
        ("float16", "float16"), ("bfloat16", "bfloat16"), ("float32", "float32"), ("complex64", "complex64"),
    ],
)  # fmt: skip
def test_true_division_casts_integers_only(dtype: str, quotient: str) -> None:
    result = constant(1, dtype) / constant(2, dtype)
    assert result.dtype.name == quotient
    assert value(result) == 0.5


def test_division_by_its_names() -> None:
    assert value(arithmetic.div(constant(-7), 2)) == -4
    assert value(arithmetic.divide(constant(-7), 2)) == -3.5
    assert value(constant(-7) // 2) == -4
    assert value(constant(-7) % 3) == 2
    np.testing.assert_array_equal(value(constant([-7.0, 7.0]) % [3.0, -3.0]), [2, -2])
    with pytest.raises(TypeError, match="takes floating-point or complex numbers, got int32"):
        arithmetic.realdiv(constant(1), 2)
    with pytest.raises(TypeError, match="got bool"):
        constant(True) / constant(True)


@pytest.mark.parametrize(
    "function",
    [
        transcendental.sqrt, transcendental.exp, transcendental.log, transcendental.tanh, transcendental.reciprocal,
        special.sigmoid, special.erf, math.floor, math.rint, compare.is_nan, statistics.norm, statistics.reduce_variance,
        linalg.matrix_inverse,
    ],
)  # fmt: skip
def test_functions_of_floats_refuse_integers(function: Any) -> None:
    with pytest.raises(TypeError, match="int32"):
        function(constant([[4]]))


@pytest.mark.parametrize("function", [compare.less, compare.greater_equal, math.maximum, transcendental.atan2])
def test_complex_numbers_have_no_order(function: Any) -> None:
    with pytest.raises(TypeError, match="complex128"):
        function(constant(1j, "complex128"), constant(1j, "complex128"))


def test_logic_takes_bools_and_bits_take_integers() -> None:
    with pytest.raises(TypeError, match="LogicalAnd takes bools, got int32"):
        compare.logical_and(constant(1), constant(1))
    with pytest.raises(TypeError, match="LogicalXor takes bools"):
        compare.logical_xor(constant(1), constant(1))
    with pytest.raises(TypeError, match="All takes bools"):
        reduction.reduce_all(constant([1]))
    with pytest.raises(TypeError, match="got float32"):
        constant(1.0) & constant(1.0)
    assert value(~constant(5, "uint8")) == 250


def test_complex_numbers_have_parts_of_the_right_type() -> None:
    assert complex.complex(constant(1.0), 2.0).dtype.name == "complex64"
    assert abs(constant(3 + 4j, "complex64")).dtype.name == "float32"
    assert complex.real(constant(1j, "complex128")).dtype.name == "float64"
    real = constant(1.0)
    assert complex.real(real) is real
    assert arithmetic.conj(real) is real
    with pytest.raises(TypeError, match="incorrect types: float16 float16"):
        complex.complex(constant(1.0, "float16"), constant(1.0, "float16"))
    with pytest.raises(TypeError, match="string"):
        arithmetic.conj(constant("a"))


@pytest.mark.parametrize("target", NUMBERS)
@pytest.mark.parametrize("source", [*NUMBERS, "bool"])
def test_cast_goes_from_every_number_to_every_number(source: str, target: str) -> None:
    x = constant([True, False], "bool") if source == "bool" else constant([1, 0], source)
    np.testing.assert_array_equal(np.asarray(value(cast.cast(x, target)), np.complex128), [1, 0])
    assert cast.cast(x, source) is x


def test_cast_cuts_off_and_refuses_strings() -> None:
    np.testing.assert_array_equal(value(cast.to_int32([-1.9, 1.9])), [-1, 1])
    np.testing.assert_array_equal(value(cast.cast([0.0, 0.5], "bool")), [False, True])
    np.testing.assert_array_equal(value(cast.to_float(constant([1 + 2j], "complex64"))), [1])
    with pytest.raises(TypeError, match="cannot cast string to int32"):
        cast.to_int32(constant("1"))


@pytest.mark.parametrize("target", ["int8", "uint8", "int32", "uint32", "int64", "uint64", "float16"])
@pytest.mark.parametrize("source", ["float32", "float64", "bfloat16", "int64", "int16"])
def test_saturate_cast_goes_to_the_ends_of_the_type(source: str, target: str) -> None:
    given, wanted = as_dtype(source), as_dtype(target)
    low, high = value(math.saturate_cast(constant(np.array([given.min, given.max], given.np)), target))
    assert float(low) == pytest.approx(max(float(wanted.min), float(given.min)), rel=0.01)
    assert float(high) == pytest.approx(min(float(wanted.max), float(given.max)), rel=0.01)
    if wanted.is_integer and given.is_integer:
        assert (low, high) == (max(wanted.min, given.min), min(wanted.max, given.max))


@pytest.mark.parametrize("dtype", REALS)
def test_reductions_keep_the_type(dtype: str) -> None:
    x = constant([[4, 1], [2, 3]], dtype)
    for function, result in (
        (reduction.reduce_mean, 2), (reduction.reduce_prod, 24), (reduction.reduce_max, 4), (reduction.reduce_min, 1),
    ):  # fmt: skip
        assert function(x).dtype.name == dtype
        assert float(value(function(x))) == pytest.approx(result, abs=0.5)
    assert reduction.argmax(x).dtype.name == "int64"
    assert reduction.argmax(x, 1, output_type="int32").dtype.name == "int32"


TABLES = [*cases_math.CASES, *cases_reduction.CASES, *cases_linalg.CASES]
OF_FLOATS = [case for case in TABLES if case.inputs and all(array.dtype == np.float64 for array in case.arrays())]
#: What there is only from float32 on.
WIDE = ("Complex", "Cast", "Angle", "MatrixInverse", "MatrixDeterminant")
NARROW = [
    (case, dtype)
    for case in OF_FLOATS
    for dtype in ("float16", "bfloat16", "float32")
    if case.op not in ("Complex", "Cast") and (dtype == "float32" or not (case.op in WIDE or "complex" in case.label))
]


@pytest.mark.parametrize(("case", "dtype"), NARROW, ids=lambda item: str(item))
def test_kernels_keep_narrow_floats(case: Case, dtype: str) -> None:
    """Each row once more in a narrower type: what comes out has the inferred type and is near the value in float64."""
    narrow = [array.astype(as_dtype(dtype).np) for array in case.arrays()]
    outputs, values = evaluate(case, narrow)
    _, exact = evaluate(case, [array.astype(np.float64) for array in narrow])
    for output, result, wanted in zip(outputs, values, exact, strict=True):
        assert np.asarray(result).dtype == output.dtype.np
        assert output.dtype.name not in {"float16", "bfloat16", "float32", "float64"} - {dtype}
        tolerance = {"float16": 2e-2, "bfloat16": 0.1, "float32": 2e-4}[dtype]
        np.testing.assert_allclose(np.asarray(result, wanted.dtype), wanted, rtol=tolerance, atol=tolerance)


def evaluate(case: Case, arrays: list[np.ndarray[Any, Any]]) -> tuple[list[Tensor], list[Any]]:
    inputs = [placeholder(array.dtype, array.shape) for array in arrays]
    outputs = case.build(*inputs)
    outputs = list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]
    return outputs, interpret(outputs, dict(zip(inputs, arrays, strict=True)))
