"""Tests of placeholders made in branches and bodies: they are fed, by name too, and only where they are used."""

from typing import Any

import numpy as np
import pytest
import weft as wf
from weft.cluster.wire.plans import decode_plan, encode_plan
from weft.graph.state import State
from weft.runtime.backends.cpu import CPU
from weft.runtime.execution.compile import CompiledPlan
from weft.runtime.execution.failures import StepFailure
from weft.runtime.execution.rendezvous import Rendezvous
from weft.runtime.pipeline import Planning, make_plan
from weft.runtime.stages.prune import prune


def run(fetches: Any, feeds: Any = None) -> Any:
    with wf.Session() as session:
        return session.run(fetches, feeds)


def two_inputs(train: Any) -> Any:
    """What TF1 programs do: one placeholder a phase, of which a run feeds one."""
    return wf.cond(
        train,
        lambda: wf.placeholder(wf.float32, [None], "train") * 2.0,
        lambda: wf.placeholder(wf.float32, [None], "test"),
    )


def test_a_placeholder_of_a_branch_is_fed() -> None:
    train = wf.placeholder(wf.bool, ())
    y = two_inputs(train)
    assert run(y, {train: True, "cond/train:0": [1.0]}).tolist() == [2.0]
    assert run(y, {train: False, "cond/test:0": [1.0, 3.0]}).tolist() == [1.0, 3.0]
    inside = wf.get_default_graph().get_tensor_by_name("cond/train:0")
    assert run(y, {train: True, inside: [1.0], "cond/test:0": [5.0]}).tolist() == [2.0]
    assert run(inside, {inside: [1.0]}).tolist() == [1.0]


def test_the_branch_that_is_taken_needs_its_feed() -> None:
    train = wf.placeholder(wf.bool, ())
    y = two_inputs(train)
    with pytest.raises(
        wf.errors.InvalidArgumentError, match="feed a value for placeholder tensor 'cond/train'"
    ) as caught:
        run(y, {train: True, "cond/test:0": [1.0]})
    assert caught.value.op.name == "cond/train"
    assert "test_placeholders_inside.py" in caught.value.message
    with pytest.raises(wf.errors.InvalidArgumentError, match="'cond/test'"):
        run(y, {train: False})


def test_a_placeholder_around_a_branch_that_is_not_taken_needs_no_feed() -> None:
    train, x = wf.placeholder(wf.bool, ()), wf.placeholder(wf.float32, ())
    y = wf.cond(train, lambda: x * 2.0, lambda: 1.0)
    assert run(y, {train: False}) == 1.0
    with pytest.raises(wf.errors.InvalidArgumentError, match="feed a value for placeholder tensor 'Placeholder_1'"):
        run(y, {train: True})
    with pytest.raises(wf.errors.InvalidArgumentError, match="feed a value"):
        run([y, x], {train: False})


def test_in_nested_branches_and_loops() -> None:
    p, q = wf.placeholder(wf.bool, ()), wf.placeholder(wf.bool, ())

    def body(i: Any, a: Any) -> Any:
        step = wf.cond(
            p,
            lambda: wf.cond(q, lambda: wf.placeholder(wf.float32, (), "deep"), lambda: 10.0),
            lambda: wf.placeholder(wf.float32, (), "flat"),
        )
        return i + 1, a + step

    y = wf.while_loop(lambda i, _: i < 3, body, (0, 0.0))[1]
    names = [op.name for op in wf.get_default_graph().get_operations() if op.type == "Placeholder"]
    deep, flat = names[2:]
    assert run(y, {p: True, q: True, f"{deep}:0": 2.0}) == 6.0
    assert run(y, {p: True, q: False}) == 30.0
    assert run(y, {p: False, q: True, f"{flat}:0": 1.0}) == 3.0
    with pytest.raises(wf.errors.InvalidArgumentError, match=f"feed a value for placeholder tensor '{deep}'"):
        run(y, {p: True, q: True, f"{flat}:0": 1.0})


def test_a_loop_takes_one_value_for_all_iterations() -> None:
    times = wf.placeholder(wf.int32, ())
    held: list[Any] = []

    def body(i: Any, a: Any) -> Any:
        held.append(wf.placeholder(wf.float32, (), "inner"))
        return i + 1, a * held[0]

    y = wf.while_loop(lambda i, _: i < times, body, (0, 1.0))[1]
    grad = wf.gradients(y, held[0])[0]
    assert run([y, grad], {times: 3, held[0]: 2.0}) == [8.0, 12.0]
    assert run(y, {times: 0}) == 1.0
    with pytest.raises(wf.errors.InvalidArgumentError, match="'while/inner'"):
        run(y, {times: 1})
    with pytest.raises(wf.errors.InvalidArgumentError, match="'while/inner'"):
        run(grad, {times: 1})


def test_gradients_of_the_branch_that_is_taken() -> None:
    train, x = wf.placeholder(wf.bool, ()), wf.constant(3.0)
    y = wf.cond(train, lambda: x * x * wf.placeholder(wf.float32, (), "scale"), lambda: x * 5.0)
    grad = wf.gradients(y, x)[0]
    assert run(grad, {train: True, "cond/scale:0": 2.0}) == 12.0
    assert run(grad, {train: False}) == 5.0


def test_placeholders_with_a_default() -> None:
    def body(i: Any, a: Any) -> Any:
        return i + 1, a + wf.placeholder_with_default(2.0, (), "inner") + wf.placeholder_with_default(a, ())

    y = wf.while_loop(lambda i, _: i < 2, body, (0, wf.constant(1.0)))[1]
    assert run(y) == 10.0
    assert run(y, {"while/inner:0": 0.0}) == 4.0


def test_names_and_control_dependencies_are_as_before_around_all() -> None:
    first = wf.constant(1.0)
    with wf.name_scope("scope"), wf.control_dependencies([first]):
        x = wf.placeholder(wf.float32, ())
        y = wf.cond(wf.constant(True), lambda: wf.placeholder(wf.float32, (), "p"), lambda: 0.0)
    assert (x.name, x.op.control_inputs) == ("scope/Placeholder:0", (first.op,))
    assert run(y, {"scope/cond/p:0": 4.0}) == 4.0


def test_a_plan_without_the_feed_travels_as_data() -> None:
    train, start = wf.placeholder(wf.bool, ()), wf.placeholder(wf.float32, [1])
    grown = wf.while_loop(
        lambda i, _: i < 2, lambda i, a: (i + 1, a + two_inputs(train)), (0, start),
        shape_invariants=[wf.TensorShape([]), wf.TensorShape([None])],
    )[1]  # fmt: skip
    fed = wf.get_default_graph().get_tensor_by_name("while/cond/test:0")
    with wf.Session() as session:
        expected = session.run(grown, {train: False, start: [1.0], fed: [2.0]})
        program = prune([grown], (), (train, start, fed))
        (plan,) = make_plan(program, [(), (1,), (1,)], Planning(session._engine, soft=True)).plans
    there = CompiledPlan(decode_plan(*encode_plan(plan)), CPU, State())
    values = [np.array(False), np.array([1.0], np.float32), np.array([2.0], np.float32)]
    np.testing.assert_array_equal(there.run(values, Rendezvous(None))[0], expected)
    with pytest.raises(StepFailure, match="You must feed a value for placeholder tensor"):
        there.run([np.array(True), *values[1:]], Rendezvous(None))
