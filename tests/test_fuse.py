"""Fused elementwise operations: the bits of unfused ones for any block, thread and program; plans, errors, traces, memory."""

from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import programs
import pytest
import weft as wf
from audit import audit
from fusing import names, regions, without_fusing
from hypothesis import HealthCheck, given, settings, strategies as st
from programs import build, recipes, runs, same_bits
from weft.graph.opdef import OPS
from weft.graph.parallel import limit_threads, threads
from weft.runtime.backends import blocks
from weft.runtime.regions import fuse
from weft.runtime.stages.fused import STEP
from weft.runtime.stages.plan import Run

bounded = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
CONFIG = wf.ConfigProto(device_count={"CPU": 3})


@pytest.fixture(autouse=True)
def smaller(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Smaller values are fused than would pay, over two threads."""
    monkeypatch.setattr(fuse, "SMALLEST", 1 << 15)
    monkeypatch.setattr(fuse, "LEAST_WORK", 1 << 17)
    before = threads()
    limit_threads(2)
    yield
    limit_threads(before)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is fused, into blocks of a few elements, over three threads."""
    monkeypatch.setattr(fuse, "SMALLEST", 1)
    monkeypatch.setattr(fuse, "LEAST_WORK", 1)
    monkeypatch.setattr(blocks, "FEWEST", STEP)
    limit_threads(3)


# values

ROWS, COLUMNS = 70, 33
#: Each takes two float32 matrices and gives one. They pass through other types, broadcasts and views.
MIXED: dict[str, Callable[[Any, Any], Any]] = {
    "double": lambda a, b: wf.cast(wf.exp(wf.cast(a, wf.float64) * 0.5) - wf.cast(b, wf.float64), wf.float32),
    "half": lambda a, b: wf.cast(wf.tanh(wf.cast(a, wf.float16)) + wf.cast(b, wf.float16), wf.float32),
    "bfloat16": lambda a, b: wf.cast(wf.cast(a, wf.bfloat16) * 2.0, wf.float32) + b,
    "whole": lambda a, b: wf.cast(wf.cast(a * 10.0, wf.int32) * wf.cast(b * 7.0, wf.int32) % 5, wf.float32) + a,
    "complex": lambda a, b: wf.real(wf.complex(a, b) * wf.complex(b, a)) * 0.1,
    "truth": lambda a, b: wf.where(wf.logical_or(a > b, wf.logical_not(a > 0.0)), a, wf.sin(b)),
    "row": lambda a, b: wf.sigmoid(a) * b[0],
    "column": lambda a, b: wf.log1p(wf.square(a)) - b[:, :1],
    "scalar": lambda a, b: wf.cos(a) / (2.0 + wf.abs(b[0, 0])),
    "flipped": lambda a, b: wf.reverse(a, [0]) + wf.tanh(b),
    "turned": lambda a, b: wf.transpose(wf.reshape(a, [COLUMNS, ROWS])) * 0.5 + b,
    "spread": lambda a, b: wf.broadcast_to(a[1], [ROWS, COLUMNS]) * b,
    "gradient": lambda a, b: wf.gradients(wf.tanh(a) * wf.nn.relu(b) + wf.sigmoid(a), a)[0],
    "many": lambda a, b: wf.add_n([a, wf.negative(b), wf.sqrt(wf.abs(a))]) / 3.0,
    "bias": lambda a, b: wf.nn.relu(wf.nn.bias_add(a, b[2])),
    "power": lambda a, b: wf.pow(wf.abs(a) + 0.1, 1.5) - wf.rsqrt(wf.square(b) + 1.0),
    "cube": lambda a, b: wf.pow(a, 3.0) - wf.pow(b, 2.0),
    "apart": lambda a, b: wf.squared_difference(a, b[0]),
    "picked": lambda a, b: wf.where(a > 0.0, wf.sin(b), a) + wf.gradients(wf.pow(wf.abs(a), 1.25), a)[0],
    "total": lambda a, b: wf.tanh(wf.reduce_sum(a, 1, keepdims=True)) * b,
    "again": lambda a, b: wf.tanh(a) + wf.identity(wf.tanh(a)),
}
steps = st.lists(
    st.tuples(st.sampled_from(sorted(MIXED)), st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=8
)
FED = np.random.default_rng(6).normal(size=(2, ROWS, COLUMNS)).astype(np.float32)


def values_of(recipe: list[tuple[str, int, int]], fetched: int) -> list[Any]:
    """The last values of a program, and two variables that are written with what is computed from them."""
    with wf.Graph().as_default():
        feeds = [wf.placeholder(wf.float32, [ROWS, COLUMNS]) for _ in FED]
        variables = [wf.Variable(0.5 * array) for array in FED]
        values = [*feeds, *(variable.read_value() for variable in variables)]
        for kind, first, second in recipe:
            values.append(MIXED[kind](values[-1 - first % len(values)], values[-1 - second % len(values)]))
        with wf.control_dependencies(values):
            writes = [v.assign_sub(0.1 * wf.tanh(values[-1]) * values[-2]) for v in variables]
        late = [variable.read_value() * values[-1] for variable in variables]
        with wf.Session() as sess:
            sess.run(wf.global_variables_initializer())
            found = []
            for _ in range(2):
                found += sess.run([values[-fetched:], writes, late], dict(zip(feeds, FED, strict=True)))
            return [*(array for group in found for array in group), *sess.run(variables)]


@pytest.mark.filterwarnings("ignore::weft.RaceWarning")
@pytest.mark.usefixtures("tiny")
@bounded
@given(steps, st.integers(1, 4), st.integers(1, 3))
def test_mixed_programs_have_the_bits_of_unfused_ones(recipe: list[Any], fetched: int, count: int) -> None:
    limit_threads(count)
    assert same_bits(values_of(recipe, fetched), without_fusing(lambda: values_of(recipe, fetched)))


@pytest.mark.usefixtures("tiny")
@bounded
@given(recipes())
def test_programs_on_devices_with_effects_have_the_bits_of_unfused_ones(recipe: list[programs.Step]) -> None:
    wanted = without_fusing(lambda: runs(build(recipe), CONFIG))
    assert same_bits(runs(build(recipe), CONFIG), wanted)


@pytest.mark.usefixtures("tiny")
@bounded
@given(recipes())
def test_no_value_in_memory_changes_while_it_is_needed(recipe: list[programs.Step]) -> None:
    built = build(recipe)
    with wf.Session(config=CONFIG) as sess:
        sess.run([v.initializer for v in built.variables])
        step = sess.plan([built.values, built.writes], built.feed_dict())
    found = audit(step, list(built.feed_dict().values()), built.state())
    wanted = without_fusing(lambda: runs(built, CONFIG, times=1))
    assert same_bits(found, list(dict(zip(built.values, wanted, strict=False)).values()))


UFUNCS = sorted({kind.ufunc for kind in OPS.values() if kind.ufunc is not None}, key=str)


@pytest.mark.parametrize("ufunc", UFUNCS, ids=str)
def test_an_element_does_not_depend_on_its_place(ufunc: Any) -> None:
    """What makes blocks possible: any part of an array that begins at a multiple of STEP, and its odd end, computed alone."""
    tried = 0
    for kind in "?bhilefdFD":
        try:
            ufunc.resolve_dtypes((*[np.dtype(kind)] * ufunc.nin, None))
        except TypeError:
            continue
        tried += 1
        for scale in (1.0, 40.0, 1e6):
            numbers = np.random.default_rng(7).normal(size=(2, ufunc.nin, 5 * STEP + 9)) * scale
            with np.errstate(all="ignore"):
                inputs = list((numbers[0] + 1j * numbers[1] if kind in "FD" else numbers[0]).astype(kind))
                whole = ufunc(*inputs)
                for start in range(0, whole.size, STEP):
                    for end in (start + 1, start + 7, start + STEP, start + 2 * STEP, whole.size):
                        part = ufunc(*(np.array(array[start:end]) for array in inputs))
                        np.testing.assert_array_equal(part, whole[start:end])
    assert tried


# what is fused


def chain(count: int = 1 << 17) -> tuple[Any, Any]:
    x = wf.placeholder(wf.float32, [count], "x")
    y = x
    for _ in range(3):
        y = wf.tanh(y * 2.0) + x
    return x, y


def test_a_chain_is_one_instruction_that_says_what_is_in_it() -> None:
    x, y = chain()
    (region,) = regions(wf.reduce_sum(y), {x: np.zeros(1 << 17)})
    assert names(region) == ["mul", "Tanh", "add", "mul_1", "Tanh_1", "add_1", "mul_2", "Tanh_2", "add_2"]
    text = str(region).split("\n")
    assert text[0].strip() == "v2 = Fused(v0, v1) -> @0  float32[131072] (mul...add_2)"
    assert text[2].strip() == ".1 = Tanh(.0)  (Tanh)"
    assert text[-1].strip() == ".8 = AddV2(.7, v0)  (add_2)"


def test_what_only_the_region_needs_takes_no_memory_of_the_plan() -> None:
    x, y = chain()
    with wf.Session() as sess:
        (plan,) = sess.plan(wf.reduce_sum(y), {x: np.zeros(1 << 17)}).plans
        (unfused,) = without_fusing(lambda: list(sess.plan(wf.reduce_sum(y * 1.0), {x: np.zeros(1 << 17)}).plans))
    assert plan.arena_bytes < (1 << 19) + 100 < unfused.arena_bytes


def test_forward_and_backward_are_one_region_where_the_loss_does_not_stand_between_them() -> None:
    w = wf.Variable(wf.zeros([1 << 16]), name="w")
    x = wf.placeholder(wf.float32, [1 << 16], "x")
    loss = wf.reduce_mean(wf.tanh(wf.tanh(w * x) * 0.9))
    with wf.control_dependencies([loss]):
        train = wf.train.GradientDescentOptimizer(0.1).minimize(loss)
    (region,) = regions([loss, train], {x: np.zeros(1 << 16)})
    assert "Tanh" in names(region)
    assert "gradients/Tanh_grad/TanhGrad" in names(region)
    assert len(region.outputs) == 2


def test_small_values_and_single_operations_stay_alone() -> None:
    small = wf.placeholder(wf.float32, [fuse.SMALLEST - 1])
    assert regions(wf.tanh(small * 2.0) + small, {small: np.zeros(fuse.SMALLEST - 1)}) == []
    single = wf.placeholder(wf.float32, [fuse.LEAST_WORK - 1])
    assert regions(wf.tanh(single), {single: np.zeros(fuse.LEAST_WORK - 1)}) == []
    big = wf.placeholder(wf.float32, [fuse.LEAST_WORK])
    assert len(regions(wf.tanh(big), {big: np.zeros(fuse.LEAST_WORK)})) == 1


def test_shapes_that_no_run_has_told_are_not_fused() -> None:
    x = wf.placeholder(wf.float32, [None])
    assert regions(wf.tanh(x * 2.0)) == []
    assert len(regions(wf.tanh(x * 2.0), {x: np.zeros(1 << 16)})) == 1


def test_nothing_moves_over_a_write() -> None:
    v = wf.Variable(wf.ones([1 << 16]))
    before = wf.tanh(v * 2.0)
    with wf.control_dependencies([before]):
        write = v.assign(wf.zeros([1 << 16]))
    with wf.control_dependencies([write]):
        after = wf.tanh(v.read_value() * 2.0) + before
    first, second = regions(after)
    assert (names(first), names(second)) == (["mul", "Tanh"], ["mul_1", "Tanh_1", "add"])
    with wf.Session() as sess:
        sess.run(v.initializer)
        assert (sess.run(after) == np.tanh(np.float32(2.0))).all()


def test_a_result_takes_the_place_of_an_input_that_ends() -> None:
    x = wf.placeholder(wf.float32, [1 << 16])
    sums = wf.cumsum(x)
    y = wf.reverse(wf.tanh(wf.concat([sums, sums], 0)) * 2.0, [0])
    first = wf.matmul(wf.reshape(y, [-1, 256]), wf.ones([256, 256]))  # in a buffer
    second = wf.tanh(first) * 2.0 + first
    feeds = {x: np.linspace(-1, 1, 1 << 16, dtype=np.float32)}
    *_, region = regions(wf.reduce_sum(second, 0), feeds)
    with wf.Session() as sess:
        (plan,) = sess.plan(wf.reduce_sum(second, 0), feeds).plans
        product = next(i for i in plan.instructions if isinstance(i, Run) and i.definition.type == "MatMul")
        assert region.buffers == product.buffers
        found = sess.run([wf.reduce_sum(second, 0)], feeds)
    assert same_bits(found, without_fusing(lambda: wf.Session().run([wf.reduce_sum(second, 0)], feeds)))


def test_a_result_does_not_take_the_place_of_an_input_that_is_also_seen_through_a_view() -> None:
    x = wf.placeholder(wf.float32, [256, 256])
    first = wf.matmul(x, x)
    y = wf.tanh(first) * 0.5 + wf.transpose(first)
    feeds = {x: np.random.default_rng(8).normal(size=(256, 256)).astype(np.float32)}
    total = wf.reduce_sum(y, 0)
    assert len(regions(total, feeds)) == 1
    found = wf.Session().run([total, y], feeds)[:1]
    assert same_bits(found, without_fusing(lambda: wf.Session().run([total, y], feeds)[:1]))
    alone = wf.Session().run([total], feeds)
    assert same_bits(alone, found)


# around it


def test_an_error_names_the_operation_and_the_line() -> None:
    x = wf.placeholder(wf.int32, [1 << 16], "x")
    y = (x + 1) * 2
    bad = wf.floordiv(y, x, name="bad")
    with wf.Session() as sess:
        feeds = {x: np.arange(1 << 16)}
        assert any("bad" in names(region) for region in regions(bad * 2, feeds))
        with pytest.raises(wf.errors.InvalidArgumentError, match="Integer division by zero") as caught:
            sess.run(bad * 2, feeds)
        assert caught.value.op is bad.op
        assert "test_fuse.py" in str(caught.value)
        assert (sess.run(bad * 2, {x: np.full(1 << 16, 3)}) == 4).all()


def test_a_trace_shows_the_region() -> None:
    x, y = chain()
    metadata = wf.RunMetadata()
    options = wf.RunOptions(trace_level=wf.RunOptions.FULL_TRACE)
    with wf.Session() as sess:
        value = sess.run(y, {x: np.zeros(1 << 17)}, options, metadata)
    (node,) = (n for d in metadata.step_stats.dev_stats for n in d.node_stats if "Fused" in n.timeline_label)
    assert node.node_name == "mul...add_2"
    assert node.timeline_label.startswith("mul...add_2 = Fused(x:0, mul/y) of mul, Tanh, add, mul_1")
    assert [output.tensor_description.shape for output in node.output] == [value.shape]


def test_a_steady_step_allocates_nothing_big() -> None:
    x, y = chain()
    total = wf.reduce_sum(y)
    fed = np.zeros(1 << 17, np.float32)
    with wf.Session() as sess:
        step = sess.make_callable(total, [x])
        step(fed)  # whichever threads had blocks, all have their memory now
        tracemalloc.start()
        try:
            for _ in range(3):
                step(fed)
            before = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            step(fed)
            assert tracemalloc.get_traced_memory()[1] - before < 4096
        finally:
            tracemalloc.stop()


def test_steps_at_the_same_time_do_not_share_blocks() -> None:
    x, y = chain(1 << 16)
    total = wf.reduce_sum(y)
    feeds = [np.full(1 << 16, value, np.float32) for value in (0.1, 0.2, 0.3)]
    with wf.Session() as sess:
        wanted = [sess.run(total, {x: fed}) for fed in feeds]
        found: list[list[Any]] = [[] for _ in feeds]

        def work(index: int) -> None:
            for _ in range(20):
                found[index].append(sess.run(total, {x: feeds[index]}))

        workers = [threading.Thread(target=work, args=(index,)) for index in range(3)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    assert [set(each) for each in found] == [{value} for value in wanted]
