"""order: one order for a whole step, in which reads come before the writes that nothing puts before them."""

import itertools
from typing import Any

import numpy as np
import pytest
import weft as wf
from weft.graph.ops.variables import ReadVariableOp
from weft.runtime import pipeline
from weft.runtime.stages.order import order
from weft.runtime.stages.program import Program


def program_of(*fetches: Any) -> Program:
    tensors = tuple(fetch for fetch in fetches if isinstance(fetch, wf.Tensor))
    targets = tuple(fetch for fetch in fetches if isinstance(fetch, wf.Operation))
    return pipeline.cut(pipeline.Request(tensors, targets, ()))


def names(*fetches: Any) -> list[str]:
    """The operations that matter here, in the order they run: those a test gave a name of one word."""
    program = program_of(*fetches)
    found = [program.nodes[position].name for position in order(program)]
    return [name for name in found if name in WORDS]


WORDS = {"early", "late", "first", "second", "third", "write", "other"}


def write(variable: wf.Variable, value: Any, name: str) -> wf.Operation:
    operation = variable.assign(value, name=name, read_value=False)
    assert isinstance(operation, wf.Operation)
    return operation


def read(variable: wf.Variable, name: str) -> wf.Tensor:
    return ReadVariableOp(wf.float32, ())(variable.handle, name=name)


def test_without_variables_the_order_is_that_of_the_graph() -> None:
    x = wf.identity(1.0, name="first")
    y = wf.identity(x, name="second")
    z = wf.identity(1.0, name="third")
    assert names(z, y) == ["first", "second", "third"]


def test_a_read_that_nothing_orders_comes_before_a_write() -> None:
    v = wf.Variable(0.0)
    w = write(v, 1.0, "write")
    assert names(w, read(v, "late")) == ["late", "write"]


def test_a_read_that_waits_for_much_comes_before_a_write_too() -> None:
    v = wf.Variable(0.0)
    w = write(v, 1.0, "write")
    x = wf.identity(1.0)
    for _ in range(5):
        x = wf.exp(x)
    with wf.control_dependencies([x]):
        late = read(v, "late")
    assert names(w, late) == ["late", "write"]


def test_control_dependencies_win() -> None:
    v = wf.Variable(0.0)
    w = write(v, 1.0, "write")
    with wf.control_dependencies([w]):
        late = read(v, "late")
    assert names(w, late) == ["write", "late"]
    assert names(late, read(v, "other")) == ["other", "write", "late"]


def test_a_read_after_another_variables_write_still_comes_before_the_unordered_one() -> None:
    v, w = wf.Variable(0.0), wf.Variable(0.0)
    unordered = write(v, 1.0, "first")
    with wf.control_dependencies([write(w, 1.0, "second")]):
        late = read(v, "late")
    assert names(unordered, late) == ["second", "late", "first"]


def test_writes_come_in_the_order_they_were_made() -> None:
    v = wf.Variable(0.0)
    made = [write(v, float(i), name) for i, name in enumerate(["first", "second", "third"])]
    for some in itertools.permutations(made):
        assert names(*some) == ["first", "second", "third"]


def test_writes_whose_reads_wait_for_each_other_go_on() -> None:
    """Each write waits for a read that comes after the other write: one of them must go first."""
    v, w = wf.Variable(0.0), wf.Variable(0.0)
    first, second = write(v, 1.0, "first"), write(w, 1.0, "second")
    with wf.control_dependencies([second]):
        late = read(v, "late")
    with wf.control_dependencies([first]):
        early = read(w, "early")
    found = names(late, early)
    assert found[0] == "first"
    assert sorted(found) == ["early", "first", "late", "second"]


@pytest.mark.filterwarnings("ignore::weft.RaceWarning")
def test_a_step_reads_what_it_writes_later() -> None:
    v = wf.Variable(1.0)
    w = v.assign_add(1.0)
    with wf.Session() as sess:
        sess.run(v.initializer)
        assert sess.run([w.op, v * 10.0])[1] == 10.0
        assert sess.run([v * 10.0, w.op])[0] == 20.0
        assert sess.run(v) == 3.0


def training_step() -> Program:
    x = wf.placeholder_with_default(wf.ones([4, 3]), [None, 3])
    w, b = wf.Variable(wf.ones([3, 2])), wf.Variable(wf.zeros([2]))
    loss = wf.reduce_mean(wf.square(wf.matmul(x, w) + b))
    train = wf.train.MomentumOptimizer(0.1, 0.9).minimize(loss)
    return program_of(loss, train)


def test_the_order_is_always_the_same() -> None:
    program = training_step()
    assert order(program) == order(program)


@pytest.mark.parametrize("seed", range(20))
def test_a_random_order_keeps_to_the_dependencies(seed: int) -> None:
    program = training_step()
    found = order(program, seed)
    assert sorted(found) == list(range(len(program.nodes)))
    when = {position: at for at, position in enumerate(found)}
    for position, node in enumerate(program.nodes):
        for before in [ref.node for ref in node.inputs] + list(node.controls):
            assert when[before] < when[position]
    assert order(program, seed) == found


def test_random_orders_differ() -> None:
    program = training_step()
    assert len({tuple(order(program, seed)) for seed in range(10)}) > 5


@pytest.mark.filterwarnings("ignore::weft.RaceWarning")
def test_a_schedule_seed_shows_a_race() -> None:
    v = wf.Variable(1.0)
    racing = [v.assign(2.0).op, wf.identity(read(v, "late"))]
    seen = set()
    for seed in range(20):
        with wf.Session(config=wf.ConfigProto(schedule_seed=seed)) as sess:
            sess.run(v.initializer)
            seen.add(float(sess.run(racing)[1]))
    assert seen == {1.0, 2.0}


@pytest.mark.parametrize(("size", "found"), [(1 << 14, ["first", "write", "late"]), (64, ["first", "late", "write"])])
def test_a_write_that_frees_much_comes_as_soon_as_nothing_reads_the_variable(size: int, found: list[str]) -> None:
    v, x = wf.Variable(np.ones(size, np.float32)), wf.random_uniform([size])
    y = wf.reduce_sum(wf.multiply(x, v), name="first")
    w = v.assign(wf.random_uniform([size]) * y, name="write", read_value=False)
    assert isinstance(w, wf.Operation)
    assert names(wf.exp(wf.sin(wf.random_uniform([64])), name="late"), w) == found


def test_a_write_waits_for_who_still_looks_at_the_variable_through_a_view() -> None:
    v = wf.Variable(np.ones([4, 6], np.float32))
    view = wf.transpose(v.read_value())
    w = v.assign(wf.random_uniform([4, 6]), name="write", read_value=False)
    late = wf.sin(view + wf.random_uniform([6, 4]), name="late")
    assert names(wf.add(view, late, name="other"), w) == ["late", "other", "write"]


def test_what_frees_memory_comes_before_what_takes_it() -> None:
    x = wf.random_uniform([64])
    first, second = wf.exp(x), wf.sin(x)
    early = wf.cos(x, name="early")
    total = wf.reduce_sum(first + second, name="first")
    assert names(early, total) == ["first", "early"]
