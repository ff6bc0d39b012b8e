"""What `wf.contrib` offers: initializers, regularizers and the global step under their old names."""

from typing import Any

import numpy as np
import pytest
import weft as wf
from weft.contrib.layers import xavier_initializer


def run(fetches: Any) -> Any:
    with wf.Session() as session:
        session.run(wf.global_variables_initializer())
        return session.run(fetches)


def test_xavier_weights_fill_their_range() -> None:
    weights = wf.get_variable("w", [100, 200], initializer=xavier_initializer(seed=1))
    limit = np.sqrt(6 / 300)
    largest = np.abs(run(weights)).max()
    assert 0.99 * limit < largest <= limit
    assert wf.contrib.layers.xavier_initializer_conv2d is xavier_initializer


@pytest.mark.parametrize(("mode", "units"), [("FAN_IN", 36), ("FAN_OUT", 900), ("FAN_AVG", 468)])
def test_variance_scaling_cuts_normal_numbers(mode: str, units: int) -> None:
    initializer = wf.contrib.layers.variance_scaling_initializer(mode=mode, seed=1)
    weights = run(initializer([3, 3, 4, 100]))
    stddev = np.sqrt(1.3 * 2.0 / units)
    assert 1.95 * stddev < np.abs(weights).max() <= 2 * stddev
    np.testing.assert_allclose(weights.std(), 0.88 * stddev, rtol=0.05)


def test_initializers_refuse_what_they_cannot_draw() -> None:
    with pytest.raises(TypeError, match="non-floating point"):
        xavier_initializer(dtype=wf.int32)
    with pytest.raises(TypeError, match="Unknown mode fan"):
        wf.contrib.layers.variance_scaling_initializer(mode="fan")


def test_regularizers_add_up() -> None:
    layers = wf.contrib.layers
    weights = wf.constant([1.0, -2.0])
    both = layers.l1_l2_regularizer(0.5, 0.1)(weights)
    np.testing.assert_allclose(run(both), 0.5 * 3 + 0.1 * 2.5, rtol=1e-6)
    assert both.name == "l1_l2_regularizer:0"
    assert layers.sum_regularizer([None, layers.l1_regularizer(0.0)])(weights) is None
    total = layers.apply_regularization(layers.l2_regularizer(2.0), [weights, weights])
    assert run(total) == 10
    assert wf.losses.get_regularization_losses() == [total]
    wf.add_to_collection(wf.GraphKeys.WEIGHTS, weights)
    assert run(layers.apply_regularization(layers.l2_regularizer(2.0))) == 5
    assert run(layers.apply_regularization(layers.l2_regularizer(0.0))) == 0


def test_the_global_step_by_its_old_name() -> None:
    step = wf.contrib.framework.get_or_create_global_step()
    assert wf.contrib.framework.get_global_step() is step is wf.train.get_global_step()


def test_variables_are_balanced_over_parameter_servers_by_their_bytes() -> None:
    strategy = wf.contrib.training.GreedyLoadBalancingStrategy(3, wf.contrib.training.byte_size_load_fn)
    with wf.device(wf.train.replica_device_setter(ps_tasks=3, ps_strategy=strategy)):
        variables = [wf.get_variable(f"v{i}", shape) for i, shape in enumerate([[100], [3], [50], [10, 6], [10], []])]
        wide = wf.get_variable("wide", [20], wf.float64)
    assert [v.device[-1] for v in (*variables, wide)] == [
        "0",
        "1",
        "2",
        "1",
        "2",
        "2",
        "2",
    ]  # 240 bytes there, 252 on 1


def test_the_load_of_an_operation_is_the_bytes_of_its_only_output() -> None:
    load = wf.contrib.training.byte_size_load_fn
    assert load(wf.zeros([3, 2], wf.float64).op) == 48
    assert load(wf.placeholder(wf.float32, [None, 2]).op) == 4
    with pytest.raises(ValueError, match="must have a single output, but has 2"):
        load(wf.unstack(wf.zeros([2, 3]))[0].op)


def test_a_random_strategy_places_the_same_graph_the_same_way() -> None:
    operation = wf.no_op()
    drawn = [[strategy(operation) for _ in range(50)] for strategy in map(wf.contrib.training.RandomStrategy, [4, 4])]
    assert drawn[0] == drawn[1]
    assert set(drawn[0]) == {0, 1, 2, 3}
