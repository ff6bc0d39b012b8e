"""The table of operation cases and what each row must show: shapes, values, purity, gradients, wire, backend."""

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import weft  # noqa: F401
from case import Case
from weft.graph import ir, shapes
from weft.graph.dtypes import as_dtype
from weft.graph.opdef import OPS
from weft.graph.ops.constant import placeholder
from weft.runtime.interpret import interpret

TABLES = sorted(path.stem for path in Path(__file__).parent.glob("cases_*.py"))
CASES: list[Case] = [case for table in TABLES for case in importlib.import_module(table).CASES]
COMPUTED = [case for case in CASES if case.label != "unfed"]


def build(case: Case, known: str) -> tuple[list[ir.Tensor], dict[ir.Tensor, Any]]:
    """The case's outputs over placeholders whose shapes are known fully, in rank only, or not at all."""
    feeds, inputs = {}, []
    for array in case.arrays():
        dims: Any = {"full": array.shape, "rank": (None,) * array.ndim, "none": None}[known]
        tensor = placeholder(as_dtype(array.dtype), dims)
        inputs.append(tensor)
        feeds[tensor] = array
    outputs = case.build(*inputs)
    return list(outputs) if isinstance(outputs, (list, tuple)) else [outputs], feeds


def test_every_operation_has_a_row() -> None:
    assert set(OPS) - {case.op for case in CASES} == set()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_builds_the_operation_it_names(case: Case) -> None:
    outputs, _ = build(case, "full")
    assert case.op in {operation.type for operation in outputs[0].graph.get_operations()}


@pytest.mark.parametrize("known", ["full", "rank", "none"])
@pytest.mark.parametrize("case", COMPUTED, ids=str)
def test_shape_inference_agrees_with_the_value(case: Case, known: str) -> None:
    if case.needs_shapes and known != "full":
        return
    outputs, feeds = build(case, known)
    for tensor, value in zip(outputs, interpret(outputs, feeds), strict=True):
        assert shapes.compatible(tensor.dims, np.shape(value))
        if tensor.dtype.name != "string":
            assert np.asarray(value).dtype == tensor.dtype.np
        if known == "full" and case.exact_shape:
            assert tensor.dims == np.shape(value)


@pytest.mark.parametrize("case", [case for case in COMPUTED if case.expected is not None], ids=str)
def test_value_is_what_numpy_says(case: Case) -> None:
    assert case.expected is not None
    outputs, feeds = build(case, "full")
    expected = case.expected(*case.arrays())
    expected = expected if len(outputs) > 1 else [expected]
    for value, wanted in zip(interpret(outputs, feeds), expected, strict=True):
        np.testing.assert_allclose(value, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("case", COMPUTED, ids=str)
def test_kernels_change_no_input_and_keep_no_memory_unless_they_are_views(case: Case) -> None:
    outputs, feeds = build(case, "full")
    before = {tensor: array.copy() for tensor, array in feeds.items()}
    values = interpret(outputs, feeds)
    for tensor, array in feeds.items():
        np.testing.assert_array_equal(array, before[tensor])
    if all(not operation.definition.view for operation in outputs[0].graph.get_operations()):
        assert not any(np.shares_memory(value, array) for value in values for array in feeds.values())
