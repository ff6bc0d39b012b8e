"""Rows as machine code: gathers, distinct indices, sums and updates of rows have NumPy's bits and NumPy's errors."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import weft as wf
from hypothesis import given, settings, strategies as st
from machine_code import LLVM, OPTIMIZERS, both, same
from weft.graph import parallel
from weft.graph.opdef import OpDef, Spec
from weft.graph.ops import training_sparse, variable_rows
from weft.graph.ops.gathering import GatherV2
from weft.graph.ops.segments import Unique, UniqueWithCounts, UnsortedSegmentSum
from weft.graph.state import VariableSlot

pytest.importorskip("llvmlite", reason="the backend 'llvm' needs llvmlite: pip install 'weft[llvm]'")

from weft.runtime.backends.llvm import distinct, row_kernels, row_sums, row_updates
from weft.runtime.backends.llvm.row_kernels import Code
from weft.runtime.backends.llvm.rows import Gather

Array = np.ndarray[Any, Any]
bounded = settings(max_examples=40, deadline=None)
#: Few, so that their functions are compiled once: rows of part of a vector, of one, of several and a part, of many.
ROWS = st.sampled_from([(1,), (3,), (16,), (5, 7), (64,), (150,)])
KINDS = st.sampled_from(["float32", "float64"])
INDICES = st.sampled_from(["int32", "int64"])
ODD = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-40, -1e-45]


def numbers(random: np.random.Generator, shape: tuple[int, ...], kind: str) -> Array:
    """Random numbers, some of them odd."""
    found = random.standard_normal(shape)
    return np.where(random.random(shape) < 0.05, random.choice(ODD, shape), found).astype(kind)


def specs_of(*arrays: Array) -> tuple[Spec, ...]:
    return tuple([Spec(wf.as_dtype(array.dtype), array.shape) for array in arrays])


def code_of(definition: OpDef, inputs: tuple[Spec, ...]) -> Code:
    """What is compiled for an operation, however small."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_kernels, "LEAST", 0)
        code = row_kernels.code_of(definition, inputs)
    assert code is not None
    return code


def refuse(*arrays: Any) -> Any:
    raise AssertionError("the function does not take its arrays")


@bounded
@given(ROWS, KINDS, INDICES, st.integers(1, 40), st.lists(st.integers(0, 3), min_size=1, max_size=2), st.integers(0, 9))
def test_gathered_rows_are_the_tables(
    dims: tuple[int, ...], kind: str, index: str, count: int, shape: list[int], seed: int
) -> None:
    random = np.random.default_rng(seed)
    table, ids = numbers(random, (count, *dims), kind), random.integers(0, count, [7 * n for n in shape]).astype(index)
    code = code_of(GatherV2(0), specs_of(table, ids))
    assert isinstance(code, Gather)
    gather = row_kernels._gathering(code, refuse)
    same(gather(table, ids), table[ids])
    same(gather(table, ids, np.full((*ids.shape, *dims), 7, kind)), table[ids])


VALUES = st.lists(st.integers(-5, 5) | st.sampled_from([2**31 - 1, -(2**31), 2**20]), max_size=90)


@bounded
@given(VALUES, INDICES, INDICES, st.booleans())
def test_distinct_values_come_in_the_order_of_their_first(
    values: list[int], kind: str, number: str, counted: bool
) -> None:
    x = np.array(values, kind)
    definition = (UniqueWithCounts if counted else Unique)(wf.as_dtype(number))
    code = code_of(definition, specs_of(x))
    assert isinstance(code, distinct.Uniques)
    function, wanted = row_kernels._distinguishing(code, refuse), definition.compute(x)
    into = (None, np.full(len(x), 7, number), None)
    for found in (function(x), function(x, into[: 2 + counted])):
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted, strict=True):
            same(one, other)


@pytest.mark.parametrize("count", [1, 1000, 100_000])
@pytest.mark.parametrize("spread", [1, 64, 2**32])
def test_distinct_values_of_many(count: int, spread: int) -> None:
    x = np.random.default_rng(0).integers(-count, count, count) * spread
    code = code_of(Unique(), specs_of(x))
    assert isinstance(code, distinct.Uniques)
    for one, other in zip(row_kernels._distinguishing(code, refuse)(x), Unique().compute(x), strict=True):
        same(one, other)


def colliding(count: int) -> Array:
    """Numbers that all belong into the first slot of any table for them."""
    inverse = pow(distinct._FACTOR, -1, 2**64)
    found = [(inverse * n) % 2**64 for n in range(1, count + 1)]
    return np.array([each - 2**64 if each >= 2**63 else each for each in found], np.int64)


def test_numbers_made_to_collide_go_to_numpy_before_that_takes_long() -> None:
    x = np.tile(colliding(3000), 2)
    asked = []

    def plain(given: Array) -> Any:
        asked.append(given)
        return Unique().compute(given)

    code = code_of(Unique(), specs_of(x))
    assert isinstance(code, distinct.Uniques)
    for one, other in zip(row_kernels._distinguishing(code, plain)(x), Unique().compute(x), strict=True):
        same(one, other)
    assert len(asked) == 1


@bounded
@given(ROWS, KINDS, INDICES, st.integers(0, 60), st.integers(1, 12), st.booleans(), st.integers(0, 9))
def test_sums_of_rows_are_made_in_their_order(
    dims: tuple[int, ...], kind: str, index: str, count: int, segments: int, negative: bool, seed: int
) -> None:
    random = np.random.default_rng(seed)
    data = numbers(random, (count, *dims), kind)
    ids = random.integers(-2 if negative else 0, segments, count).astype(index)
    number = np.array(segments, np.int32)
    definition = UnsortedSegmentSum()
    code = code_of(definition, specs_of(data, ids, number))
    assert isinstance(code, row_sums.Sums)
    with np.errstate(invalid="ignore"):
        wanted = definition.compute(data, ids, number)
    same(row_kernels._summing(code, refuse)(data, ids, number), wanted)
    same(row_kernels._summing(code, refuse)(data, ids, number, np.full(wanted.shape, 7, kind)), wanted)


def slot_of(array: Array) -> Any:
    """A variable's memory, of its own."""
    slot = VariableSlot("v", wf.as_dtype(array.dtype), array.shape)
    slot.assign(array)
    return slot


#: For each update the tables it changes and the numbers it takes before and after the rows.
UPDATES: dict[str, tuple[Callable[[wf.DType, Any], OpDef], int, int, int]] = {
    "momentum": (lambda t, s: training_sparse.ResourceSparseApplyMomentum(t, s), 2, 1, 1),
    "nesterov": (lambda t, s: training_sparse.ResourceSparseApplyMomentum(t, s, True), 2, 1, 1),
    "adagrad": (lambda t, s: training_sparse.ResourceSparseApplyAdagrad(t, s), 2, 1, 0),
    "rmsprop": (lambda t, s: training_sparse.ResourceSparseApplyRMSProp(t, s), 3, 4, 0),
    "centered": (lambda t, s: training_sparse.ResourceSparseApplyCenteredRMSProp(t, s), 4, 4, 0),
    "adam": (lambda t, s: training_sparse.ResourceSparseApplyAdam(t, s), 3, 6, 0),
}
SCATTERS: dict[str, Any] = {
    "add": variable_rows.ResourceScatterAdd, "sub": variable_rows.ResourceScatterSub,
    "mul": variable_rows.ResourceScatterMul, "div": variable_rows.ResourceScatterDiv,
}  # fmt: skip


def updated(definition: Any, inputs: list[Any], tables: int, plain: Any = refuse, threads: int = 1) -> None:
    """What an update does, compiled and by NumPy, is the same, in blocks of few rows too."""
    arrays = [slot.value for slot in inputs[:tables]] + inputs[tables:]
    handles = [Spec(wf.as_dtype("resource"), ())] * tables
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("weft.runtime.backends.llvm.rows.BLOCK_BYTES", 4000)
        patch.setattr(parallel, "_limit", threads)
        code = code_of(definition, (*handles, *specs_of(*arrays[tables:])))
        assert isinstance(code, row_updates.Update | row_updates.Sweep)
        compiled = [slot_of(array) for array in arrays[:tables]]
        with np.errstate(all="ignore"):
            definition.compute(None, *inputs)
            row_kernels._updating(code, plain)(*compiled, *inputs[tables:])
    for one, other in zip(compiled, inputs[:tables], strict=True):
        same(one.value, other.value)


@bounded
@given(
    st.sampled_from(sorted(UPDATES)), ROWS, KINDS, INDICES, st.integers(1, 50), st.integers(0, 50), st.booleans(),
    st.integers(1, 3), st.integers(0, 9),
)  # fmt: skip
def test_updates_of_rows(
    name: str,
    dims: tuple[int, ...],
    kind: str,
    index: str,
    count: int,
    chosen: int,
    flat: bool,
    threads: int,
    seed: int,
) -> None:
    make, tables, before, after = UPDATES[name]
    random = np.random.default_rng(seed)
    ids = random.permutation(count)[:chosen].astype(index)
    ids = ids if flat else ids.reshape(1, -1)
    slots = [slot_of(np.abs(numbers(random, (count, *dims), kind))) for _ in range(tables)]
    singles = [np.array(value, kind) for value in random.random(before + after)]
    grad = numbers(random, (*ids.shape, *dims), kind)
    inputs = [*slots, *singles[:before], grad, ids, *singles[before:]]
    updated(make(wf.as_dtype(kind), (count, *dims)), inputs, tables, threads=threads)


@bounded
@given(
    st.sampled_from(sorted(SCATTERS)), ROWS, KINDS, INDICES, st.integers(1, 50), st.integers(0, 80), st.booleans(),
    st.integers(1, 3), st.integers(0, 9),
)  # fmt: skip
def test_scattered_rows_take_effect_one_after_the_other(
    name: str,
    dims: tuple[int, ...],
    kind: str,
    index: str,
    count: int,
    chosen: int,
    again: bool,
    threads: int,
    seed: int,
) -> None:
    random = np.random.default_rng(seed)
    ids = (random.integers(0, count, chosen) if again else random.permutation(count)[:chosen]).astype(index)
    inputs = [slot_of(numbers(random, (count, *dims), kind)), ids, numbers(random, (*ids.shape, *dims), kind)]
    updated(SCATTERS[name](wf.as_dtype(kind), (count, *dims)), inputs, 1, threads=threads)


def test_updates_that_are_a_view_of_the_variable_do_not_change_under_it() -> None:
    table = slot_of(np.arange(600, dtype=np.float32).reshape(60, 10))
    ids = np.arange(59, -1, -1, dtype=np.int32)
    wanted = table.value + table.value[::-1]
    definition = variable_rows.ResourceScatterAdd(wf.float32, (60, 10))
    code = code_of(definition, (Spec(wf.as_dtype("resource"), ()), *specs_of(ids, table.value)))
    assert isinstance(code, row_updates.Update | row_updates.Sweep)
    row_kernels._updating(code, refuse)(table, ids, table.value)
    same(table.value, wanted)


def message(backend: str, make: Callable[[wf.Variable, wf.Tensor, wf.Tensor], Any], ids: Array, rows: Array) -> str:
    """The error of a run, without where the operation was made."""
    wf.reset_default_graph()
    table = wf.get_variable("table", initializer=np.ones((50, 40), np.float32))
    i, r = wf.placeholder(ids.dtype, ids.shape), wf.placeholder(rows.dtype, rows.shape)
    fetch = make(table, i, r)
    with wf.Session(config=wf.ConfigProto(backend=backend)) as session:
        session.run(wf.global_variables_initializer())
        with pytest.raises(wf.errors.InvalidArgumentError) as caught:
            session.run(fetch, {i: ids, r: rows})
        same(session.run(table), np.ones((50, 40), np.float32))
    return str(caught.value)


def momentum(table: wf.Variable, ids: wf.Tensor, rows: wf.Tensor) -> Any:
    slot = wf.get_variable("slot", initializer=np.ones((50, 40), np.float32))
    update = training_sparse.ResourceSparseApplyMomentum(wf.float32, (50, 40))
    return update.node(table.handle, slot.handle, wf.constant(0.1), rows, ids, wf.constant(0.9))


def adam(table: wf.Variable, ids: wf.Tensor, rows: wf.Tensor) -> Any:
    slots = [wf.get_variable(name, initializer=np.ones((50, 40), np.float32)) for name in ("m", "v")]
    update = training_sparse.ResourceSparseApplyAdam(wf.float32, (50, 40))
    return update.node(table.handle, *[slot.handle for slot in slots], *[wf.constant(0.1)] * 6, rows, ids)


BROKEN: dict[str, Any] = {
    "variable": lambda table, ids, rows: wf.gather(table, ids),
    "tensor": lambda table, ids, rows: wf.gather(table * 1.0, ids),
    "sums": lambda table, ids, rows: wf.unsorted_segment_sum(rows, ids, 50),
    "scatter": lambda table, ids, rows: wf.scatter_add(table, ids, rows),
    "update": momentum,
    "sweep": adam,
}


@pytest.mark.parametrize("kind", [np.int32, np.int64])
@pytest.mark.parametrize("name", sorted(BROKEN))
def test_indices_out_of_range_are_the_same_error_and_change_nothing(name: str, kind: Any) -> None:
    rows = np.ones((30, 40), np.float32)
    for wrong in (50, 2**31 - 1) if name == "sums" else (50, -1, -50, 2**31 - 1):
        ids = np.arange(30).astype(kind)
        ids[17] = wrong
        found, wanted = (message(backend, BROKEN[name], ids, rows) for backend in ("llvm", "numpy"))
        assert found == wanted
        assert f"[17] = {wrong}" in found


@pytest.mark.parametrize("make", [momentum, adam])
def test_rows_that_come_twice_in_an_update_are_the_same_error(make: Any) -> None:
    ids, rows = np.arange(30, dtype=np.int32), np.ones((30, 40), np.float32)
    ids[21] = 3
    found, wanted = (message(backend, make, ids, rows) for backend in ("llvm", "numpy"))
    assert found == wanted
    assert "must be distinct" in found


def test_arrays_that_are_not_row_major_go_through_numpy() -> None:
    random = np.random.default_rng(0)
    rows, ids = random.standard_normal((40, 30)).astype(np.float32), random.integers(0, 20, 80).astype(np.int32)
    strided, half, number = np.asfortranarray(rows), ids[::2], np.array(20, np.int32)
    asked: list[OpDef] = []

    def plain(definition: Any) -> Callable[..., Any]:
        def compute(*arrays: Array) -> Any:
            asked.append(definition)
            return definition.compute(*arrays)

        return compute

    gather, add_up = GatherV2(0), UnsortedSegmentSum()
    code = code_of(gather, specs_of(rows, ids))
    assert isinstance(code, Gather)
    gathering = row_kernels._gathering(code, plain(gather))
    same(gathering(strided, ids), rows[ids])
    same(gathering(rows, half), rows[half])
    code = code_of(add_up, specs_of(rows, half, number))
    assert isinstance(code, row_sums.Sums)
    summing, wanted = row_kernels._summing(code, plain(add_up)), add_up.compute(rows, half.copy(), number)
    same(summing(strided, half.copy(), number), wanted)
    same(summing(rows, half, number), wanted)
    assert asked == [gather, gather, add_up, add_up]


def trained(optimizer: str, backend: str, threads: int, index: Any) -> list[Any]:
    """The weights and slots after some steps with sparse gradients."""
    wf.reset_default_graph()
    random = np.random.default_rng(1)
    table = wf.get_variable("table", initializer=random.standard_normal((3000, 48)).astype(np.float32))
    ids = wf.placeholder(index, [2500, 2])
    loss = wf.reduce_sum(wf.square(wf.nn.embedding_lookup(table, ids)))
    train = OPTIMIZERS[optimizer]().minimize(loss)
    config = wf.ConfigProto(backend=backend, intra_op_parallelism_threads=threads)
    with wf.Session(config=config) as session:
        session.run(wf.global_variables_initializer())
        for _ in range(3):
            session.run(train, {ids: random.integers(0, 3000, (2500, 2))})
        return list(session.run(wf.global_variables()))


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_training_with_sparse_gradients_has_numpys_bits_for_any_number_of_threads(optimizer: str) -> None:
    wanted = trained(optimizer, "numpy", 1, wf.int32)
    for threads in (1, 3):
        for one, other in zip(trained(optimizer, "llvm", threads, wf.int64), wanted, strict=True):
            same(one, other)


def test_numbers_of_other_types_and_small_ones_are_numpys() -> None:
    x, ids = wf.placeholder(wf.float16, [50, 40]), wf.placeholder(wf.int32, [60])
    few, short = wf.placeholder(wf.float32, [5, 2]), wf.placeholder(wf.int32, [3])
    fetches = [wf.gather(x, ids), wf.unsorted_segment_sum(wf.gather(x, ids), ids, 50), wf.gather(few, short)]
    fetches += [wf.gather(few, 1), *wf.unique(wf.cast(ids, wf.float32)), *wf.unique(short)]
    random = np.random.default_rng(0)
    feeds = {
        x: random.random((50, 40)), ids: random.integers(0, 50, 60), few: random.random((5, 2)), short: [0, 4, 0],
    }  # fmt: skip
    with wf.Session(config=LLVM) as session:
        assert "row kernel" not in str(session.plan(fetches, feeds).explain())
    for one, other in zip(*both(fetches, feeds), strict=True):
        same(one, other)


def test_explain_counts_kernels_of_rows() -> None:
    table = wf.get_variable("table", [1000, 32])
    ids = wf.placeholder(wf.int32, [200])
    train = wf.train.AdagradOptimizer(0.1).minimize(wf.reduce_sum(wf.nn.embedding_lookup(table, ids) ** 2))
    with wf.Session(config=LLVM) as session:
        # Rows, their indices, the sums of equal ones, and the update.
        assert "4 row kernels" in str(session.plan(train, {ids: np.zeros(200, np.int32)}).explain())
