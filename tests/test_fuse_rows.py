"""Regions of whole rows: the bits of separate kernels for any block, thread and program."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import weft as wf
from fusing import regions, types, without_fusing
from hypothesis import HealthCheck, given, settings, strategies as st
from programs import same_bits
from weft.graph.parallel import limit_threads, threads
from weft.runtime.backends import row_blocks
from weft.runtime.regions import fuse
from weft.runtime.stages.fused import Fused, row_form

bounded = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Everything is fused, into blocks of a few rows, over three threads."""
    monkeypatch.setattr(fuse, "SMALLEST", 1)
    monkeypatch.setattr(fuse, "LEAST_WORK", 1)
    monkeypatch.setattr(fuse, "SMALLEST_IN_ROWS", 1)
    monkeypatch.setattr(row_blocks, "MOST", 64)
    before = threads()
    limit_threads(3)
    yield
    limit_threads(before)


def norm(x: Any, gain: Any, bias: Any) -> Any:
    centred = x - wf.reduce_mean(x, -1, keepdims=True)
    return centred * wf.rsqrt(wf.reduce_mean(wf.square(centred), -1, keepdims=True) + 1e-5) * gain + bias


def softmax(x: Any) -> Any:
    raised = wf.exp(x - wf.reduce_max(x, -1, keepdims=True))
    return raised / wf.reduce_sum(raised, -1, keepdims=True)


def log_softmax(x: Any) -> Any:
    shifted = x - wf.stop_gradient(wf.reduce_max(x, -1, keepdims=True))
    return shifted - wf.log(wf.reduce_sum(wf.exp(shifted), -1, keepdims=True))


def crossed(x: Any, y: Any) -> Any:
    """The cross entropy of each row, by itself and as what is taken from x."""
    loss = -wf.reduce_sum(softmax(y) * log_softmax(x), -1)
    return x - wf.expand_dims(wf.tanh(loss), -1)


def by_moments(x: Any, y: Any) -> Any:
    mean, variance = wf.nn.moments(x, [-1], keep_dims=True)
    return (x - mean) / wf.sqrt(variance + 0.1) + y


LEAD, WIDTH = (3, 37), 12
SHAPE = (*LEAD, WIDTH)
#: Each takes two arrays of that shape and gives one.
ROWWISE: dict[str, Callable[[Any, Any], Any]] = {
    "norm": lambda a, b: norm(a, b[0, 0], b[1, 1]),
    "softmax": lambda a, b: softmax(a) - b,
    "log_softmax": lambda a, b: log_softmax(a * 3.0) * 0.1 + b,
    "cross entropy": crossed,
    "moments": by_moments,
    "largest": lambda a, b: a - wf.expand_dims(wf.reduce_max(wf.maximum(a, b), -1), 2),
    "least": lambda a, b: wf.tanh(wf.reduce_min(a, 2, keepdims=True) + b),
    "reshaped": lambda a, b: b * wf.reshape(wf.tanh(wf.reduce_mean(a, -1)), [*LEAD, 1]),
    "length": lambda a, b: a / (1.0 + wf.norm(b, axis=-1, keepdims=True)),
    "double": lambda a, b: wf.cast(softmax(wf.cast(a, wf.float64)), wf.float32) + b,
    "half": lambda a, b: wf.cast(wf.reduce_sum(wf.cast(a, wf.float16), -1, keepdims=True), wf.float32) * 0.1 + b,
    "turned": lambda a, b: wf.transpose(wf.tanh(wf.transpose(a, [1, 0, 2])), [1, 0, 2]) - wf.reduce_mean(b, -1, True),
    "columns": lambda a, b: a - wf.reduce_mean(b, 0, keepdims=True),
    "all": lambda a, b: a - wf.reduce_mean(b),
    "norm's gradient": lambda a, b: wf.gradients(norm(a, b[0, 0], b[1, 1]), a, b)[0] + b,
    "gain's gradient": lambda a, b: a * wf.tanh(wf.gradients(norm(a, g := b[0, 0], b[1, 1]), g, b)[0]),
    "softmax's gradient": lambda a, b: wf.gradients(softmax(a), a, b)[0] - a,
    "log_softmax's gradient": lambda a, b: wf.gradients(log_softmax(a), a, b)[0] + b,
    "add": lambda a, b: 0.5 * (a + b),
    "dense": lambda a, b: wf.nn.relu(_dense(a, b) + b[0, 0]),
    "bias": lambda a, b: wf.sigmoid(_dense(a, b, lambda x: wf.nn.bias_add(x, b[0, 1]))),
    "tanh": lambda a, b: wf.tanh(_dense(a, b, lambda x: wf.tanh(x * 0.5) + wf.reshape(a, [-1, WIDTH]))),
    "dense's gradient": lambda a, b: wf.gradients(wf.nn.relu(_dense(a, b)), a, b)[0] + a,
}  # fmt: skip
STEPS = st.lists(
    st.tuples(st.sampled_from(sorted(ROWWISE)), st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=6
)
FED = np.random.default_rng(6).normal(size=(2, *SHAPE)).astype(np.float32)


def _dense(a: Any, b: Any, after: Callable[[Any], Any] = lambda x: x) -> Any:
    return wf.reshape(after(wf.matmul(wf.reshape(a, [-1, WIDTH]), b[0, :WIDTH] * 0.3)), SHAPE)


def values_of(recipe: list[tuple[str, int, int]], fetched: int) -> list[Any]:
    with wf.Graph().as_default():
        feeds = [wf.placeholder(wf.float32, SHAPE) for _ in FED]
        v = wf.Variable(0.5 * FED[0])
        values = [*feeds, v.read_value()]
        for kind, first, second in recipe:
            values.append(ROWWISE[kind](values[-1 - first % len(values)], values[-1 - second % len(values)]))
        with wf.control_dependencies(values):
            write = v.assign_sub(0.1 * softmax(values[-1]) * values[-2])
        with wf.Session() as sess:
            sess.run(wf.global_variables_initializer())
            fed = dict(zip(feeds, FED, strict=True))
            found = [sess.run([values[-fetched:], write], fed) for _ in range(2)]
            return [*(array for group, _ in found for array in group), sess.run(v)]


@bounded
@given(STEPS, st.integers(1, 3), st.integers(1, 3))
def test_random_programs_have_the_bits_of_separate_kernels(recipe: list[Any], fetched: int, count: int) -> None:
    limit_threads(count)
    assert same_bits(values_of(recipe, fetched), without_fusing(lambda: values_of(recipe, fetched)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("rows", "width"), [(193, 64), (65, 7), (2, 5000), (257, 300), (1000, 2), (130, 4097)])
@pytest.mark.parametrize("most", [64, 1 << 12, 1 << 16])
def test_sums_of_rows_in_blocks_have_the_bits_of_all_at_once(
    dtype: Any, rows: int, width: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_blocks, "MOST", most)
    x = wf.placeholder(dtype, [rows, width])
    fed = {x: np.random.default_rng(rows).normal(size=(rows, width)).astype(dtype)}
    fetches = [softmax(x), wf.reduce_sum(x * 2.0, 1), wf.reduce_mean(x, 1, keepdims=True) * 3.0, wf.reduce_min(x, -1)]
    with wf.Session() as sess:
        found = sess.run(fetches, fed)
    assert same_bits(found, without_fusing(lambda: wf.Session().run(fetches, fed)))


def test_infinities_nans_and_zeros_of_both_signs() -> None:
    numbers = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-40, 3e38, -3e38], np.float32)
    fed = np.random.default_rng(3).choice(numbers, size=(200, 24))
    x = wf.placeholder(wf.float32, fed.shape)
    fetches = [
        softmax(x),
        log_softmax(x),
        wf.reduce_max(x * 1.5, 1),
        wf.reduce_min(-x, 1, keepdims=True),
        norm(x, 1.0, x),
    ]
    found = wf.Session().run(fetches, {x: fed})
    for one, other in zip(found, without_fusing(lambda: wf.Session().run(fetches, {x: fed})), strict=True):
        np.testing.assert_array_equal(one, other)
        kept = ~np.isnan(one)
        assert (np.signbit(one) == np.signbit(other))[kept].all()


# what is in a region


def test_a_layer_norm_is_one_instruction() -> None:
    x = wf.placeholder(wf.float32, SHAPE)
    (region,) = regions(wf.identity(norm(x, wf.ones([WIDTH]), wf.zeros([WIDTH])) * 2.0), {x: FED[0]})
    assert types(region) == ["Mean", "Sub", "Square", "Mean", "AddV2", "Rsqrt", "Mul", "AddV2", "Mul"]
    assert len(region.outputs) == 1
    assert isinstance(region.definition, Fused)
    assert region.definition.rows


def test_a_softmax_and_its_gradient_are_one_instruction() -> None:
    x, dy = wf.placeholder(wf.float32, SHAPE), wf.placeholder(wf.float32, SHAPE)
    (region,) = regions(wf.gradients(log_softmax(x), x, dy)[0] * 1.5, {x: FED[0], dy: FED[1]})
    assert {"Max", "Exp", "Sum", "SumTo"} <= {*types(region)}


def test_the_gradient_of_the_largest_repeats_nothing() -> None:
    x, dy = wf.placeholder(wf.float32, SHAPE), wf.placeholder(wf.float32, SHAPE)
    gradient = wf.gradients(softmax(x), x, dy)[0] * 1.5
    (region,) = regions(gradient, {x: FED[0], dy: FED[1]})
    assert "Masked" in types(region)
    with wf.Session() as sess:
        assert "BroadcastTo" not in str(sess.plan(gradient, {x: FED[0], dy: FED[1]}))


def test_numbers_of_rows_that_others_need_have_their_own_shape() -> None:
    x = wf.placeholder(wf.float32, SHAPE)
    flat = wf.reduce_sum(wf.tanh(x), -1)
    kept = wf.expand_dims(flat, -1)
    fetches = [flat * 2.0, x / kept, wf.reshape(wf.identity(kept), [-1])]
    assert len(regions(fetches, {x: FED[0]})) >= 1
    found = wf.Session().run(fetches, {x: FED[0]})
    assert [array.shape for array in found] == [LEAD, SHAPE, (LEAD[0] * LEAD[1],)]
    assert same_bits(found, without_fusing(lambda: wf.Session().run(fetches, {x: FED[0]})))


def test_what_mixes_rows_stays_outside() -> None:
    x = wf.placeholder(wf.float32, [64, 64])
    across = x * 2.0 - wf.reduce_mean(x, 1)  # a number of each row, taken for each column
    found = regions(across * 3.0, {x: np.ones((64, 64))})
    assert all("Mean" not in types(region) or "Sub" not in types(region) for region in found)
    fed = np.random.default_rng(2).normal(size=(64, 64)).astype(np.float32)
    assert same_bits([wf.Session().run(across, {x: fed})], [without_fusing(lambda: wf.Session().run(across, {x: fed}))])


def test_forms_of_values_beside_others() -> None:
    whole = (8, 64, 16)
    assert row_form(whole, whole) == "matrix"
    assert {row_form(dims, whole) for dims in [(8, 64, 1), (8, 64)]} == {"column"}
    assert {row_form(dims, whole) for dims in [(), (16,), (1, 1, 16)]} == {"row"}
    assert {row_form(dims, whole) for dims in [(1,), (64, 16), (8, 1, 16), (1, 64, 1), None]} == {None}
    assert row_form((16,), (16, 16)) == "row"


def test_smaller_values_are_left_to_their_own_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuse, "SMALLEST_IN_ROWS", FED[0].size + 1)
    x = wf.placeholder(wf.float32, SHAPE)
    (region,) = regions(wf.reduce_sum(wf.exp(x * 2.0) - wf.reduce_max(x, -1, keepdims=True), 0), {x: FED[0]})
    assert types(region) == ["Mul", "Exp", "Sub"]


def test_the_explanation_counts_them() -> None:
    x = wf.placeholder(wf.float32, SHAPE)
    with wf.Session() as sess:
        text = sess.plan(wf.reduce_sum(softmax(x), 0), {x: FED[0]}).explain()
    assert "fuse rows, 5 operations" in text


def test_an_error_in_a_block_of_rows_names_its_operation() -> None:
    x = wf.placeholder(wf.int32, [64, 16], "x")
    y = wf.cast(wf.reduce_max(x, 1, keepdims=True) * 2, wf.float32)
    bad = wf.floordiv(x, x, name="bad")
    with wf.Session() as sess:
        fetch = wf.cast(bad, wf.float32) - y
        assert any("FloorDiv" in types(region) for region in regions(fetch, {x: np.ones((64, 16))}))
        with pytest.raises(wf.errors.InvalidArgumentError, match="Integer division by zero") as caught:
            sess.run(fetch, {x: np.zeros((64, 16))})
        assert caught.value.op is bad.op
