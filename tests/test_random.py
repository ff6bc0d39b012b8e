"""Random operations: what the numbers are like, what they depend on, seeds by TF's rules, and dropout."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import weft  # noqa: F401
from weft.autodiff.gradients import gradients
from weft.graph import ir, random_seed
from weft.graph.dtypes import as_dtype
from weft.graph.errors import InvalidArgumentError
from weft.graph.ops import dropout, random
from weft.graph.ops.constant import constant
from weft.graph.ops.placeholders import placeholder
from weft.graph.state import State
from weft.runtime.interpret import interpret

MAKERS: dict[str, Callable[..., ir.Tensor]] = {
    "uniform": random.random_uniform,
    "normal": random.random_normal,
    "truncated": random.truncated_normal,
}
FLOATS = ["float16", "bfloat16", "float32", "float64"]


def value(tensor: ir.Tensor, state: State | None = None, feeds: Any = None) -> Any:
    return interpret([tensor], feeds or {}, state)[0]


# what the numbers are like


@pytest.mark.parametrize("dtype", FLOATS)
def test_uniform_floats_fill_the_half_open_interval(dtype: str) -> None:
    numbers = value(random.random_uniform([100_000], dtype=dtype, seed=3)).astype(np.float64)
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert abs(numbers.mean() - 0.5) < 0.005
    assert abs(numbers.std() - 12**-0.5) < 0.005


@pytest.mark.parametrize("dtype", FLOATS)
def test_normal_floats_have_the_mean_and_deviation_asked_for(dtype: str) -> None:
    numbers = value(random.random_normal([100_000], 1.0, 2.0, dtype, seed=3)).astype(np.float64)
    assert abs(numbers.mean() - 1) < 0.05
    assert abs(numbers.std() - 2) < 0.05
    assert (np.abs(numbers - 1) > 4).any()


@pytest.mark.parametrize("dtype", FLOATS)
def test_truncated_normal_floats_stay_within_two_deviations(dtype: str) -> None:
    numbers = value(random.truncated_normal([100_000], 1.0, 2.0, dtype, seed=3)).astype(np.float64)
    assert np.abs(numbers - 1).max() <= 4
    assert abs(numbers.mean() - 1) < 0.05
    assert abs(numbers.std() - 2 * 0.87963) < 0.05


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_uniform_integers_take_every_value_below_maxval(dtype: str) -> None:
    counts = np.bincount(value(random.random_uniform([10_000], -2, 3, dtype, seed=3)) + 2, minlength=5)
    assert len(counts) == 5
    assert np.all(np.abs(counts - 2000) < 200)


def test_shuffle_moves_whole_rows_and_loses_none() -> None:
    rows = np.arange(200).reshape(100, 2)
    shuffled = value(random.random_shuffle(constant(rows), seed=3))
    assert not np.array_equal(shuffled, rows)
    np.testing.assert_array_equal(shuffled[np.argsort(shuffled[:, 0])], rows)


def test_multinomial_draws_by_the_rows_of_probabilities() -> None:
    probabilities = np.array([[0.0, 0.2, 0.8, 0.0], [0.25, 0.25, 0.0, 0.5], [1.0, 0.0, 0.0, 0.0]])
    with np.errstate(divide="ignore"):
        logits = constant(np.log(probabilities) + 7)
    drawn = value(random.multinomial(logits, 20_000, seed=3))
    shares = np.stack([np.bincount(row, minlength=4) / 20_000 for row in drawn])
    np.testing.assert_allclose(shares, probabilities, atol=0.015)
    assert np.all(shares[probabilities == 0] == 0)


# what they depend on


@pytest.mark.parametrize("make", MAKERS.values(), ids=list(MAKERS))
def test_a_new_session_starts_the_sequence_again_and_each_run_goes_on(make: Callable[..., ir.Tensor]) -> None:
    tensor = make([4], seed=5)
    first, second = State(seed=1), State(seed=2)
    runs = [value(tensor, first) for _ in range(3)]
    assert not np.array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[1], runs[2])
    for run in runs:
        np.testing.assert_array_equal(run, value(tensor, second))


def test_the_same_seeds_give_the_same_numbers_to_another_operation_and_other_seeds_do_not() -> None:
    same = [value(random.random_uniform([4], seed=5)) for _ in range(2)]
    np.testing.assert_array_equal(same[0], same[1])
    assert not np.array_equal(same[0], value(random.random_uniform([4], seed=6)))


def test_without_seeds_the_session_and_the_name_decide() -> None:
    one, other = random.random_uniform([4]), random.random_uniform([4])
    assert (one.op.get_attr("seed"), one.op.get_attr("seed2")) == (0, 0)
    assert not np.array_equal(value(one, State(seed=1)), value(other, State(seed=1)))
    assert not np.array_equal(value(one, State(seed=1)), value(one, State(seed=2)))
    np.testing.assert_array_equal(value(one, State(seed=1)), value(one, State(seed=1)))


def test_numbers_do_not_depend_on_what_else_runs() -> None:
    one, other = random.random_uniform([4], seed=5), random.random_normal([4], seed=5)
    alone = value(one, State(seed=1))
    together = interpret([other, one], {}, State(seed=1))[1]
    np.testing.assert_array_equal(alone, together)


def test_a_longer_shape_begins_with_the_same_numbers() -> None:
    short, long = value(random.random_uniform([4], seed=5)), value(random.random_uniform([9], seed=5))
    np.testing.assert_array_equal(short, long[:4])


# seeds


def test_seeds_follow_tensorflow() -> None:
    assert random_seed.get_seed(None) == (None, None)
    assert random_seed.get_seed(5) == (87654321, 5)
    random_seed.set_random_seed(7)
    assert random_seed.get_seed(5) == (7, 5)
    assert random_seed.get_seed(None) == (7, 0)
    constant(1.0)
    constant(1.0)
    assert random_seed.get_seed(None) == (7, 2)
    random_seed.set_random_seed(0)
    assert random_seed.get_seed(0) == (0, 2**31 - 1)
    random_seed.set_random_seed(2**31 + 5)
    assert random_seed.get_seed(-3) == (6, 2**31 - 4)
    random_seed.set_random_seed(None)
    assert random_seed.get_seed(None) == (None, None)


def test_a_graph_seed_makes_graphs_repeat_and_operations_differ() -> None:
    def build() -> list[Any]:
        with ir.Graph().as_default():
            random_seed.set_random_seed(7)
            return interpret([random.random_uniform([4]), random.random_uniform([4])], {}, State())

    first, second = build(), build()
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first[0], first[1])


# shapes and misuse


def test_the_shape_may_be_known_only_in_a_run() -> None:
    shape = placeholder("int32", [2])
    tensor = random.random_uniform(shape, seed=1)
    assert tensor.dims == (None, None)
    assert value(tensor, feeds={shape: np.array([3, 2], np.int32)}).shape == (3, 2)


def test_bounds_may_be_tensors_that_broadcast() -> None:
    numbers = value(random.random_uniform([1000, 2], constant([0.0, 10.0]), constant([1.0, 20.0]), seed=1))
    assert np.all((numbers >= [0, 10]) & (numbers < [1, 20]))


def test_no_gradient_flows_into_random_numbers_but_into_their_bounds() -> None:
    low, spread = constant(1.0), constant(2.0)
    shuffled = constant([1.0, 2.0])
    assert gradients(random.random_shuffle(shuffled), shuffled) == [None]
    assert value(gradients(random.random_normal([5], low, spread, seed=1), [low])[0]) == 5


def test_misuse_is_refused() -> None:
    with pytest.raises(ValueError, match="maxval for integer dtype int32"):
        random.random_uniform([2], dtype="int32")
    with pytest.raises(ValueError, match="int16"):
        random.random_uniform([2], maxval=3, dtype="int16")
    with pytest.raises(TypeError):
        random.random_normal([2], dtype="int32")
    with pytest.raises(ValueError, match="rank 2"):
        random.multinomial(constant([1.0, 2.0]), 3)
    with pytest.raises(InvalidArgumentError, match="minval < maxval, got 5 >= 3"):
        value(random.random_uniform([2], 5, 3, "int32"))
    with pytest.raises(InvalidArgumentError, match="row 1"):
        value(random.multinomial(constant([[0.0, 1.0], [-np.inf, -np.inf]]), 3))


# dropout


@pytest.mark.parametrize("dtype", FLOATS)
def test_dropout_scales_what_it_keeps(dtype: str) -> None:
    kept = value(dropout.dropout(constant(np.ones(20_000), as_dtype(dtype)), 0.25, seed=1)).astype(np.float64)
    assert set(np.unique(kept)) == {0.0, 4.0}
    assert abs(kept.mean() - 1) < 0.05


def test_dropout_takes_a_fed_probability_and_a_rate() -> None:
    keep, x = placeholder("float32", []), constant(np.ones(20_000, np.float32))
    by_keep, by_rate = dropout.dropout(x, keep, seed=1), dropout.dropout(x, rate=1 - keep, seed=1)
    for probability in (0.2, 0.5, 1.0):
        feeds = {keep: np.float32(probability)}
        kept = value(by_keep, feeds=feeds)
        assert abs(np.count_nonzero(kept) / 20_000 - probability) < 0.02
        np.testing.assert_allclose(kept, value(by_rate, feeds=feeds), rtol=1e-6)


def test_dropout_decides_once_for_each_dimension_of_one_in_the_noise_shape() -> None:
    x = constant(np.ones((50, 8), np.float32))
    kept = value(dropout.dropout(x, 0.5, [None, 1], seed=1))
    assert set(kept.sum(1)) == {0.0, 16.0}


def test_the_gradient_of_dropout_passes_the_same_elements() -> None:
    x = constant(np.arange(1.0, 101.0))
    kept = dropout.dropout(x, 0.5)
    forward, backward = interpret([kept, gradients(kept, x)[0]], {}, State())
    np.testing.assert_array_equal(backward, np.where(forward != 0, 2.0, 0.0))


def test_dropout_that_keeps_all_is_its_input() -> None:
    x = constant([1.0, 2.0])
    assert dropout.dropout(x, 1.0) is x
    assert dropout.dropout(x, rate=0.0) is x


@pytest.mark.parametrize("arguments", [{"keep_prob": 0.0}, {"keep_prob": 1.5}, {"rate": 1.0}, {"rate": -0.1}, {},
                                       {"keep_prob": 0.5, "rate": 0.5}, {"keep_prob": [0.5, 0.5]}])  # fmt: skip
def test_dropout_refuses_what_is_no_probability(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"keep_prob|rate"):
        dropout.dropout(constant([1.0]), **arguments)


def test_dropout_refuses_integers() -> None:
    with pytest.raises(ValueError, match="floating point"):
        dropout.dropout(constant([1, 2]), 0.5)
