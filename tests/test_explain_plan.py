"""session.plan(x).explain(): what the optimizer did and where the memory goes, in words that hold."""

import re

import numpy as np
import weft as wf
from weft.runtime.reporting.explain import ExplainedPlan
from weft.runtime.stages.optimize import AT_EACH_NODE, PASSES, passes
from weft.runtime.stages.plan import Run

SIDE = 64


def training_step() -> list[object]:
    x, y = wf.placeholder(wf.float32, [SIDE, SIDE]), wf.placeholder(wf.float32, [SIDE, 1])
    w = wf.Variable(np.ones((SIDE, SIDE), np.float32), name="w")
    v = wf.Variable(np.ones((SIDE, 1), np.float32), name="v")
    loss = wf.reduce_mean(wf.square(wf.matmul(wf.nn.relu(wf.matmul(x, w)), v) - y), name="loss")
    return [loss, wf.train.GradientDescentOptimizer(0.1).minimize(loss)]


def plan_of(fetches: object) -> ExplainedPlan:
    with wf.Session() as sess:
        return sess.plan(fetches)


def test_it_counts_instructions_and_bytes_before_and_after() -> None:
    plan = plan_of(training_step())
    text = plan.explain()
    for step, words in ((plan.before, "without the optimizer"), (plan, "with it")):
        counted = f"{len(step.plans[0].instructions)} instructions, {step.plans[0].arena_bytes:,} bytes of buffers"
        assert re.search(rf"{words}: *{counted}", text)
    assert len(plan.before.plans[0].instructions) > len(plan.plans[0].instructions)


def test_it_names_the_passes_in_their_order_with_examples() -> None:
    text = plan_of(training_step()).explain()
    found = [name for name, _ in passes() if f"\n  {name}, " in text]
    assert {"open gates", "drop identities", "fold constants", "drop dead"} <= set(found)
    assert sorted(found, key=lambda name: text.index(f"\n  {name}, ")) == found
    assert "gradients/MatMul_1_grad/tuple/control_dependency waits for 2 no more" in text


def test_every_pass_has_a_name_of_its_own_and_says_what_it_is_for() -> None:
    names = [name for name, _ in passes()]
    assert len(names) == len(set(names)) == len(AT_EACH_NODE) + len(dict(PASSES)) - 1
    assert all(about.endswith(".") for _, about in passes())


def test_the_kinds_add_up_to_the_instructions() -> None:
    plan = plan_of(training_step())
    lines = plan.explain().partition("instructions by kind")[2].partition("memory on")[0].splitlines()[1:]
    rows = [[int(number) for number in line.split()[-2:]] for line in lines if line]
    assert [sum(row[side] for row in rows) for side in (0, 1)] == [
        len(step.plans[0].instructions) for step in (plan.before, plan)
    ]


def test_the_peak_is_that_of_the_values_that_live_together() -> None:
    x = wf.placeholder(wf.float32, [SIDE, SIDE])
    first, second = wf.exp(x, name="first"), wf.sin(x, name="second")
    plan = plan_of(wf.reduce_sum(wf.matmul(first, second, name="product")))
    size = SIDE * SIDE * 4
    text = plan.explain()
    assert f"'product': {3 * size:,} bytes in 3 values" in text
    assert f"{size:,}  MatMul float32[{SIDE},{SIDE}] (product)" in text
    assert plan.plans[0].arena_bytes == 3 * size


def test_what_is_allocated_in_each_step_is_named() -> None:
    x = wf.placeholder(wf.float32, [SIDE])
    text = plan_of(wf.exp(x, name="given_away")).explain()
    assert f"{SIDE * 4} bytes are allocated in each step: given_away ({SIDE * 4})" in text


def test_a_step_that_is_as_it_was_written() -> None:
    x = wf.placeholder(wf.float32, [SIDE])
    assert "nothing: the step is as it was written" in plan_of(wf.exp(x)).explain()


def test_each_device_is_told_of() -> None:
    x = wf.placeholder(wf.float32, [SIDE])
    with wf.device("/cpu:1"):
        y = wf.exp(x)
    with wf.Session(config=wf.ConfigProto(device_count={"CPU": 2})) as sess:
        plan = sess.plan(wf.sin(y) + 1.0)
    text = plan.explain()
    assert text.startswith("a step on 2 devices")
    assert all(f"memory on {part.device}:" in text for part in plan.plans)
    assert sum(isinstance(each, Run) for part in plan.plans for each in part.instructions) == 3
