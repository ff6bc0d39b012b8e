"""The table of operation cases and what each row must show: shapes, values, purity, gradients, wire, backend."""

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import weft  # noqa: F401
from case import Case
from weft.autodiff.gradients import gradients
from weft.graph import ir, shapes
from weft.graph.dtypes import as_dtype
from weft.graph.opdef import OPS
from weft.graph.ops.convert import convert_to_tensor, stack
from weft.graph.ops.placeholders import placeholder
from weft.graph.state import State
from weft.graph.wire import decode_definition, encode_definition
from weft.runtime.interpret import interpret
from weft.runtime.session import Session

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


def test_operations_with_as_many_outputs_as_they_are_told_have_a_row_with_one() -> None:
    """The value of one output is an array, that of several a tuple."""
    counts: dict[str, set[int]] = {}
    for case in COMPUTED:
        for operation in build(case, "full")[0][0].graph.get_operations():
            counts.setdefault(operation.type, set()).add(len(operation.outputs))
    open_ended = {name for name, kind in OPS.items() if kind.infer.__annotations__.get("return") == "tuple[Spec, ...]"}
    found = {name for name in open_ended if max(counts[name]) > 1}
    assert found >= {"Unpack", "Split", "SplitV", "IdentityN", "DynamicPartition"}
    assert {name for name in found if 1 not in counts[name]} == set()


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
        assert np.shape(value) == np.shape(wanted)  # assert_allclose lets a scalar stand for any shape
        if np.asarray(wanted).dtype.hasobject:
            assert np.asarray(value).tolist() == wanted.tolist()
            continue
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


def differentiable(case: Case) -> list[int]:
    """Which inputs a row's gradients are checked by."""
    if case.grad is not None:
        return list(case.grad)
    return [index for index, array in enumerate(case.arrays()) if array.dtype == np.float64]


WITH_FLOATS = [case for case in CASES if differentiable(case)]


@pytest.mark.parametrize("case", [case for case in WITH_FLOATS if case.order], ids=str)
def test_gradient_agrees_with_central_differences(case: Case) -> None:
    """Order 1 checks the outputs contracted with fixed weights; each order after that, the gradients of the one before."""
    outputs, feeds = build(case, "full")
    by = [list(feeds)[index] for index in differentiable(case)]
    for order in range(1, case.order + 1):
        outputs = [tensor for tensor in outputs if tensor.dtype.is_floating]
        assert outputs, "nothing to differentiate: give the row order 0"
        weights = fixed_weights(outputs, feeds)
        grads = gradients(outputs, by, grad_ys=weights)
        present = [grad for grad in grads if grad is not None]
        assert present or order > 1, "no gradient at all: give the row order 0"
        values = iter(interpret([convert_to_tensor(grad) for grad in present], feeds))
        for tensor, grad in zip(by, grads, strict=True):
            exact = np.zeros(feeds[tensor].shape) if grad is None else next(values)
            assert np.shape(exact) == feeds[tensor].shape
            step, tolerance = precision(outputs)
            numeric = central_differences(outputs, weights, feeds, tensor, step)
            np.testing.assert_allclose(exact, numeric, rtol=tolerance, atol=tolerance, err_msg=f"order {order}")
        outputs = [convert_to_tensor(grad) for grad in present]
        if not outputs:
            return


def fixed_weights(outputs: list[ir.Tensor], feeds: dict[ir.Tensor, Any]) -> list[np.ndarray[Any, Any]]:
    random = np.random.default_rng(7)
    return [np.asarray(random.uniform(0.5, 1.5, value.shape), value.dtype) for value in interpret(outputs, feeds)]


def precision(outputs: list[ir.Tensor]) -> tuple[float, float]:
    """Step and tolerance, by the least precise type that a value passes through."""
    return (1e-5, 1e-6) if all(tensor.dtype.name == "float64" for tensor in outputs) else (1e-2, 2e-2)


def central_differences(
    outputs: list[ir.Tensor], weights: list[Any], feeds: dict[ir.Tensor, Any], by: ir.Tensor, step: float
) -> np.ndarray[Any, Any]:
    """The derivative of the weighted sum of all outputs by each element of one input."""
    result = np.zeros(feeds[by].shape)
    for index in np.ndindex(result.shape):
        sides = []
        for sign in (1, -1):
            moved = feeds[by].copy()
            moved[index] += sign * step
            values = interpret(outputs, {**feeds, by: moved})
            sides.append(sum(float(np.sum(w * value)) for w, value in zip(weights, values, strict=True)))
        result[index] = (sides[0] - sides[1]) / (2 * step)
    return result


@pytest.mark.parametrize("case", [case for case in WITH_FLOATS if not case.order], ids=str)
def test_rows_of_order_0_have_no_gradient(case: Case) -> None:
    outputs, feeds = build(case, "full")
    by = [list(feeds)[index] for index in differentiable(case)]
    ys = [tensor for tensor in outputs if tensor.dtype.is_floating]
    try:
        assert gradients(ys, by) == [None] * len(by)
    except LookupError as error:
        assert case.op in str(error) or "Gradient explicitly disabled" in str(error)  # noqa: PT017


@pytest.mark.parametrize("case", CASES, ids=str)
def test_definitions_travel_as_data(case: Case) -> None:
    outputs, _ = build(case, "full")
    for operation in outputs[0].graph.get_operations():
        arrays: list[Any] = []
        data = json.loads(json.dumps(encode_definition(operation.definition, arrays), allow_nan=False))
        assert decode_definition(data, arrays) == operation.definition


@pytest.mark.parametrize("known", ["full", "rank", "none"])
@pytest.mark.parametrize("case", COMPUTED, ids=str)
def test_a_session_gives_the_bits_of_compute(case: Case, known: str) -> None:
    """Known shapes: kernels write into buffers, constants are folded. Rank only: plans learn shapes from what is fed."""
    if case.needs_shapes and known != "full":
        return
    outputs, feeds = build(case, known)
    check_session(outputs, feeds)


@pytest.mark.parametrize("case", [case for case in WITH_FLOATS if case.order], ids=str)
def test_a_sessions_gradients_have_the_bits_of_compute(case: Case) -> None:
    outputs, feeds = build(case, "full")
    ys = [tensor for tensor in outputs if tensor.dtype.is_floating]
    grads = gradients(ys, [list(feeds)[index] for index in differentiable(case)])
    check_session([convert_to_tensor(grad) for grad in grads if grad is not None], feeds)


def check_session(outputs: list[ir.Tensor], feeds: dict[ir.Tensor, Any]) -> None:
    """Fetched as they are (memory of their own), and through operations that let their kernels write into buffers."""
    beyond = [twice(tensor) for tensor in outputs]
    with Session() as sess:
        found = sess.run([outputs, beyond], feeds)
        again = sess.run([outputs, beyond], feeds)
    state = State(seed=0)
    for results in (found, again):
        wanted = interpret([*outputs, *beyond], feeds, state)
        for tensor, value, right in zip([*outputs, *beyond], [*results[0], *results[1]], wanted, strict=True):
            if tensor.dtype.name == "string":  # a session returns the bytes of a scalar, NumPy has a type for them
                value, right = np.asarray(value, object), np.asarray(right, object)
            assert np.asarray(value).dtype == np.asarray(right).dtype
            assert np.shape(value) == np.shape(right)
            assert shapes.compatible(tensor.dims, np.shape(value))
            assert bits(value) == bits(right), tensor.op


def twice(tensor: ir.Tensor) -> ir.Tensor:
    """Something that is made from a tensor, so that it is not fetched itself."""
    return tensor + tensor if tensor.dtype.is_numeric else stack([tensor, tensor])


def bits(value: Any) -> Any:
    """The bytes of an array, with all NaNs the same."""
    array = np.ascontiguousarray(value)
    if array.dtype.kind in "OS":
        return array.tolist()
    return np.where(array != array, array.dtype.type(1), array).tobytes(), (array != array).tobytes()
