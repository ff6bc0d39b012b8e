"""Kernels that work in blocks: rows in turn, distinct values, updates of optimizers; the same bits as one by one."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from weft.graph import errors, parallel
from weft.graph.dtypes import float32, int32
from weft.graph.opdef import Spec
from weft.graph.ops import rows, segments
from weft.graph.ops.arithmetic import AddN
from weft.graph.ops.losses import SparseSoftmaxCrossEntropyWithLogits
from weft.graph.ops.rooms import BLOCK_SIZE, CAPACITY
from weft.graph.ops.rows import check_range, combine_in_turn, sorted_order, summed_rows
from weft.graph.ops.segments import Unique, UniqueWithCounts, UnsortedSegmentSum
from weft.graph.ops.special import SigmoidGrad
from weft.graph.ops.training import ResourceApplyAdam, ResourceApplyMomentum
from weft.graph.ops.training_sparse import ResourceSparseApplyAdagrad, ResourceSparseApplyAdam
from weft.graph.ops.transcendental import TanhGrad
from weft.graph.ops.variable_rows import ResourceScatterSub
from weft.graph.state import VariableSlot
from weft.runtime.backends.numpy import NumpyBackend

Array = np.ndarray[Any, Any]
UFUNCS = [np.add, np.subtract, np.multiply, np.divide, np.minimum, np.maximum]


def numbers(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def slot_of(value: Array) -> VariableSlot:
    slot = VariableSlot("v", float32, value.shape)
    slot.assign(value)
    return slot


def run(definition: Any, *inputs: Any) -> None:
    """The kernel of a stateful operation, which asks for no state."""
    definition.compute(None, *inputs)


def scalars(*values: float) -> list[Array]:
    return [np.array(value, np.float32) for value in values]


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = parallel.threads()
    parallel.limit_threads(2)
    yield
    parallel.limit_threads(before)


@pytest.mark.parametrize("ufunc", UFUNCS)
@pytest.mark.parametrize(
    ("rows", "width", "count"),
    [
        (40, 3, 60),
        (40, 64, 60),
        (3, 64, 60),
        (1, 20, 300),
        (5000, 32, 60),
        (9, 20_000, 5),
        (4, CAPACITY + 1, 6),
        (7, 64, 0),
    ],
    ids=str,
)
def test_rows_are_combined_as_if_one_by_one(ufunc: Any, rows: int, width: int, count: int) -> None:
    ids = np.random.default_rng(rows).integers(0, rows, count)
    table, updates = numbers(rows, width), numbers(count, width, seed=1)
    expected = table.copy()
    with np.errstate(all="ignore"):
        for place, update in zip(ids, updates, strict=True):
            expected[place] = ufunc(expected[place], update)
    for kind in (np.int32, np.int64):
        combined = table.copy()
        with np.errstate(all="ignore"):
            combine_in_turn(ufunc, combined, ids.astype(kind), updates)
        np.testing.assert_array_equal(combined, expected)


def test_repeated_rows_over_several_blocks_and_from_one_number() -> None:
    ids = np.tile(np.arange(50, dtype=np.int32), 60)
    table = np.zeros((50, 40), np.float32)
    combine_in_turn(np.subtract, table, ids, np.broadcast_to(np.float32(0.5), (ids.size, 40)))
    np.testing.assert_array_equal(table, np.full((50, 40), -30, np.float32))


@pytest.mark.parametrize(("count", "limit"), [(0, 5), (1, 1), (300, 20), (300, 100_000), (70_000, 50_000)])
def test_equal_numbers_are_found_by_marks_as_by_sorting(
    count: int, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = np.random.default_rng(0).integers(0, limit, count).astype(np.int32)
    data = numbers(count, 17)
    found = []
    for most in (rows.MARKED, 0):
        monkeypatch.setattr(rows, "MARKED", most)
        monkeypatch.setattr(segments, "MARKED", most)
        first, again = rows.repeated(ids, limit)
        in_order = np.argsort(again)
        sums = summed_rows(limit, ids, data)
        found.append([first[in_order], again[in_order], sums, *UniqueWithCounts(int32).compute(ids)])
        assert (ids[first] == ids[again]).all()
        assert (first < again).all()
    assert [array.dtype for array in found[0][2:]] == [array.dtype for array in found[1][2:]]
    for by_marks, by_sorting in zip(*found, strict=True):
        np.testing.assert_array_equal(by_marks, by_sorting)
    assert len(found[0][1]) == count - len(set(ids.tolist()))


def test_rows_of_nothing_and_of_no_width() -> None:
    for shape in ((3, 0), (0, 4)):
        table = np.zeros(shape, np.float32)
        combine_in_turn(np.add, table, np.zeros(0 if not shape[0] else 2, np.int64), table[:2])
        assert table.shape == shape


def test_a_sum_of_one_negative_zero_is_zero_and_nan_stays_in_its_row() -> None:
    rows = np.full((3, 32), -0.0, np.float32)
    rows[1, 5] = np.nan
    total = summed_rows(3, np.array([2, 0, 2]), rows)
    assert not np.signbit(total[1:]).any()
    assert np.isnan(total[0, 5])
    assert np.isnan(total).sum() == 1


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int16, np.int32, np.uint32, np.int64])
def test_the_order_of_integers_is_stable(kind: Any) -> None:
    limits = np.iinfo(kind)
    ids = np.random.default_rng(2).choice(np.array([limits.min, 0, 3, limits.max], kind), 100)
    order, starts = sorted_order(ids)
    np.testing.assert_array_equal(order, np.argsort(ids, kind="stable"))
    assert starts.sum() == len(set(ids.tolist()))


@pytest.mark.parametrize(
    "values",
    [[], [7], [5, -3, 5, 9, -3, 5], [2**63 - 1, -(2**63), 0, -(2**63)], [True, False, True], [0.5, np.nan, 0.5, -1.0]],
    ids=str,
)
def test_distinct_values_in_the_order_they_first_occur(values: list[Any]) -> None:
    x = np.array(values, np.int64 if not values else None)
    distinct, index, counts = UniqueWithCounts(int32).compute(x)
    expected = list(dict.fromkeys(x.tolist()))
    assert distinct.dtype == x.dtype
    assert index.dtype == counts.dtype == np.int32
    np.testing.assert_array_equal(distinct, np.array(expected, x.dtype))
    np.testing.assert_array_equal(distinct[index], x)
    assert counts.tolist() == [np.sum(x == value) or 1 for value in expected]


def test_indices_below_zero_are_out_of_range_in_any_type() -> None:
    for kind in (np.int16, np.int32, np.int64):
        check_range(np.array([0, 4], kind), 5)
        for bad in (-1, 5):
            with pytest.raises(errors.InvalidArgumentError, match=rf"indices\[1\] = {bad} is not in \[0, 5\)"):
                check_range(np.array([0, bad], kind), 5)


def test_labels_below_zero_are_no_class() -> None:
    kernel = SparseSoftmaxCrossEntropyWithLogits()
    with pytest.raises(errors.InvalidArgumentError, match="label value of -1"):
        kernel.compute(numbers(2, 3), np.array([0, -1], np.int64))


def test_a_row_of_nan_has_a_loss_of_nan_and_the_others_theirs() -> None:
    logits = numbers(3, 4)
    labels = np.array([3, 0, 1], np.int32)
    kernel = SparseSoftmaxCrossEntropyWithLogits()
    loss, back = kernel.compute(logits, labels)
    logits[1, 2] = np.nan
    with_nan, back_with_nan = kernel.compute(logits, labels)
    assert np.isnan(with_nan).tolist() == [False, True, False]
    np.testing.assert_array_equal(with_nan[[0, 2]], loss[[0, 2]])
    np.testing.assert_array_equal(back_with_nan[[0, 2]], back[[0, 2]])


def adam(size: int, steps: int = 2) -> list[Array | None]:
    slots = [slot_of(numbers(size)), slot_of(numbers(size, seed=1)), slot_of(numbers(size, seed=2) ** 2)]
    for step in range(steps):
        rates = scalars(0.9, 0.999, 0.01, 0.9, 0.999, 1e-8)
        run(ResourceApplyAdam(float32, (size,)), *slots, *rates, numbers(size, seed=step))
    return [slot.value for slot in slots]


@pytest.mark.usefixtures("two_threads")
def test_blocks_over_threads_and_one_block_give_the_same_bits() -> None:
    size = 3 * BLOCK_SIZE + 5
    whole = adam(size)
    parallel.limit_threads(1)
    for ours, alone in zip(whole, adam(size), strict=True):
        np.testing.assert_array_equal(ours, alone)


def test_a_gradient_that_is_the_variable_itself_is_read_before_the_update() -> None:
    rows = 2 * CAPACITY // 64 + 3
    value = numbers(rows, 64)
    dense, sparse, scattered = slot_of(value), slot_of(value), slot_of(value)
    run(
        ResourceApplyMomentum(float32, value.shape),
        dense,
        slot_of(np.zeros_like(value)),
        *scalars(0.5),
        dense.value,
        *scalars(0.9),
    )
    np.testing.assert_array_equal(dense.value, value - value * np.float32(0.5))
    turned = np.arange(rows, dtype=np.int32)[::-1]
    run(
        ResourceSparseApplyAdagrad(float32, value.shape),
        sparse,
        slot_of(np.zeros_like(value)),
        *scalars(0.5),
        sparse.value,
        turned,
    )
    grad = value[::-1]
    np.testing.assert_array_equal(sparse.value, value - np.float32(0.5) * grad / np.sqrt(grad * grad))
    run(ResourceScatterSub(float32, value.shape), scattered, turned, scattered.value)
    np.testing.assert_array_equal(scattered.value, value - grad)


@pytest.mark.parametrize("kind", [ResourceSparseApplyAdagrad, ResourceSparseApplyAdam])
def test_a_sparse_update_refuses_what_does_not_fit(kind: Any) -> None:
    count, rates = (
        (2, scalars(0.1)) if kind is ResourceSparseApplyAdagrad else (3, scalars(0.9, 0.9, 0.1, 0.9, 0.9, 0.1))
    )
    definition = kind(float32, None)

    def apply(grad: Array, indices: list[int], last: Array) -> None:
        slots = [slot_of(np.ones((4, 3))) for _ in range(count - 1)]
        run(definition, *slots, slot_of(last), *rates, grad, np.array(indices, np.int32))

    for grad, indices, last in [
        (numbers(2, 3), [1, 1], np.ones((4, 3))),
        (numbers(2, 3), [1, 4], np.ones((4, 3))),
        (numbers(1, 3), [1, 2], np.ones((4, 3))),
        (numbers(2, 3), [1, 2], np.ones((3, 3))),
    ]:
        with pytest.raises(errors.InvalidArgumentError):
            apply(grad, indices, last)
    apply(numbers(0, 3), [], np.ones((4, 3)))


def test_updates_of_small_variables_allocate_next_to_nothing() -> None:
    slots = [slot_of(np.ones((64, 128))) for _ in range(3)]
    rates, grad = scalars(0.9, 0.999, 0.01, 0.9, 0.999, 1e-8), numbers(64, 128)
    table, totals = slot_of(numbers(2000, 64)), slot_of(np.ones((2000, 64), np.float32))
    ids = np.random.default_rng(0).permutation(2000)[:300].astype(np.int32)

    def step() -> None:
        run(ResourceApplyAdam(float32, (64, 128)), *slots, *rates, grad)
        run(ResourceSparseApplyAdagrad(float32, (2000, 64)), table, totals, rates[2], grad_of_rows, ids)

    grad_of_rows = numbers(300, 64)
    step()
    tracemalloc.start()
    try:
        step()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 16_384  # the gradients are 32 and 77 KB


def test_segment_sums_of_a_known_count_and_dropped_ids() -> None:
    ids = np.array([[3, -1], [3, 0]], np.int32)
    total = UnsortedSegmentSum().compute(np.ones((2, 2, 40), np.float32), ids, np.int32(5))
    assert total[:, 0].tolist() == [1, 0, 0, 2, 0]
    assert Unique(int32).compute(ids.reshape(-1))[0].tolist() == [3, -1, 0]


@pytest.mark.parametrize("kind", [TanhGrad, SigmoidGrad])
@pytest.mark.parametrize("value", [0.0, -0.0, 0.3, 1.0, 1e30, np.inf, np.nan])
def test_slopes_of_one_number_have_the_bits_of_slopes_of_many(kind: Any, value: float) -> None:
    y, dy = (np.full((2,), number, np.float32) for number in (value, -0.7))
    results = []
    for dims in ((), (2,)):
        spec = Spec(float32, dims)
        kernel = NumpyBackend().kernel(kind(), (spec, spec), (spec,))
        assert kernel is not None
        out = np.empty(dims, np.float32)
        with np.errstate(all="ignore"):
            kernel.function(y if dims else y[0], dy if dims else dy[0], out=out)
        results.append(out)
    assert results[0].tobytes() == results[1][:1].tobytes()


@pytest.mark.parametrize("count", [1, 2, 30])
def test_a_sum_of_numbers_has_the_bits_of_a_sum_of_vectors(count: int) -> None:
    terms = [number.reshape(()) for number in numbers(count)]
    vectors = [np.full((2,), term) for term in terms]
    results = []
    for values in (terms, vectors):
        spec = Spec(float32, values[0].shape)
        kernel = NumpyBackend().kernel(AddN(), (spec,) * count, (spec,))
        assert kernel is not None
        results.append(kernel.function(*values, out=np.empty(values[0].shape, np.float32)))
    assert results[0].tobytes() == results[1][:1].tobytes()
