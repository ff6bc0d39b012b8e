"""What TensorFlow 1's optimizers, averages and clipping do to the letter, beyond the rules of the updates."""

from typing import Any

import numpy as np
import pytest
import weft as wf


def run(fetches: Any) -> Any:
    with wf.Session() as session:
        session.run(wf.global_variables_initializer())
        return session.run(fetches)


def test_the_global_step_is_made_in_the_current_variable_scope() -> None:
    with wf.variable_scope("model"):
        step = wf.train.get_or_create_global_step()
        assert wf.train.get_or_create_global_step() is step
    assert step.name == "model/global_step:0"
    assert wf.train.get_global_step() is step


def test_adam_gives_its_powers_as_programs_ask_for_them() -> None:
    v = wf.Variable(1.0)
    optimizer = wf.train.AdamOptimizer()
    optimizer.minimize(v * v)
    assert [power.name for power in optimizer._get_beta_accumulators()] == ["beta1_power:0", "beta2_power:0"]


@pytest.mark.parametrize("updates", [None, 3])
def test_a_moving_average_takes_an_integer_decay(updates: Any) -> None:
    v = wf.Variable([1.0, 2.0])
    average = wf.train.ExponentialMovingAverage(0, updates)
    step = average.apply([v])
    with wf.Session() as session:
        session.run(wf.global_variables_initializer())
        v.load([3.0, 4.0], session)
        session.run(step)
        np.testing.assert_array_equal(session.run(average.average(v)), [3.0, 4.0])


def test_an_ftrl_operation_refuses_another_number_of_hyperparameters() -> None:
    from weft.graph.dtypes import float32
    from weft.graph.ops.training_ftrl import ResourceApplyFtrl

    handles = [wf.Variable([1.0]).handle for _ in range(3)]
    with pytest.raises(TypeError, match="takes 4 hyperparameters, got 5"):
        ResourceApplyFtrl(float32, (1,)).node(*handles, wf.constant([1.0]), *[wf.constant(0.1)] * 5)
