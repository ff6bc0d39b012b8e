"""Arithmetic with one row, or with zero, in long rows: the bits of NumPy's own broadcast."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from weft.graph.dtypes import float32
from weft.graph.opdef import Spec
from weft.graph.ops.activations import BiasAdd, Relu
from weft.graph.ops.arithmetic import AddV2, Mul, RealDiv, Sub
from weft.graph.ops.math import Maximum
from weft.runtime.backends import rows
from weft.runtime.backends.numpy import NumpyBackend

SHAPES = [(700, 96), (3, 41, 700), (40, 1, 2048), (65536, 2)]


def numbers(*shape: int) -> Any:
    array = np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)
    odd = np.array([-0.0, np.inf, -np.inf, np.nan, 1e-40, 0.0], np.float32)[: array.size - 1]
    array.reshape(-1)[: odd.size] = odd
    return array


def assert_same(got: Any, expected: Any) -> None:
    """The same bits, but for the sign of a NaN."""
    np.testing.assert_array_equal(got, expected)
    known = ~np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(got)[known], np.signbit(expected)[known])


def kernel_of(definition: Any, *dims: tuple[int, ...]) -> Any:
    whole = max(dims, key=len)
    kernel = NumpyBackend().kernel(definition, tuple(Spec(float32, d) for d in dims), (Spec(float32, whole),))
    assert kernel is not None
    return kernel


@pytest.mark.parametrize("dims", SHAPES, ids=str)
@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("definition", [AddV2(), Sub(), Mul(), RealDiv(), Maximum()], ids=lambda value: value.type)
def test_a_row_and_an_array_have_the_bits_of_the_broadcast(definition: Any, first: bool, dims: tuple[int, ...]) -> None:
    x, row = numbers(*dims), numbers(dims[-1])
    inputs = (row, x) if first else (x, row)
    kernel = kernel_of(definition, *[value.shape for value in inputs])
    ufunc = type(definition).ufunc
    assert kernel.function is not ufunc
    with np.errstate(all="ignore"):
        expected = ufunc(*inputs)
        out = np.full(dims, 7, np.float32)
        assert kernel.function(*inputs, out=out) is out
        assert_same(out, expected)
        np.testing.assert_array_equal(kernel.function(*inputs), expected)
        inside = x.copy()
        kernel.function(*[inside if value is x else value for value in inputs], out=inside)
        assert_same(inside, expected)
        turned = np.asarray(x.T, order="C").T
        np.testing.assert_array_equal(
            kernel.function(*[turned if value is x else value for value in inputs], out=out), expected
        )


def test_the_bias_is_such_a_row() -> None:
    assert kernel_of(BiasAdd("NHWC"), (700, 96), (96,)).function is not np.add


OTHERS = [
    ((700, 96), (700, 96)),
    ((5, 96), (96,)),
    ((700, 96), (1,)),
    ((700, 96, 1), (700, 96, 96)),
    ((9, 8192), (8192,)),
]


@pytest.mark.parametrize("dims", OTHERS, ids=str)
def test_other_shapes_are_left_to_numpy(dims: Any) -> None:
    whole = np.broadcast_shapes(*dims)
    kernel = NumpyBackend().kernel(AddV2(), tuple(Spec(float32, d) for d in dims), (Spec(float32, whole),))
    assert kernel is not None
    assert kernel.function is np.add


@pytest.mark.parametrize("size", [5, 3 * rows.WIDE, 3 * rows.WIDE + 77])
def test_what_is_below_zero_becomes_zero(size: int) -> None:
    x = numbers(size)
    expected, out = np.maximum(x, np.float32(0)), np.full(size, 7, np.float32)
    kernel = kernel_of(Relu(), (size,))
    assert kernel.function(x, out=out) is out
    assert_same(out, expected)
    np.testing.assert_array_equal(kernel.function(x[::2]), expected[::2])
