"""Graphs under eager execution: inside of `with graph.as_default()` operations are added to the graph, as in TensorFlow."""

import threading
from typing import Any

import pytest
import weft as wf


@pytest.fixture(autouse=True)
def eager() -> None:
    """Eager execution for each test; the fresh graph of every test ends it."""
    wf.enable_eager_execution()


def test_a_graph_is_built_and_run() -> None:
    with wf.Graph().as_default() as graph:
        assert not wf.executing_eagerly()
        x = wf.placeholder(wf.float32, name="x")
        v = wf.get_variable("v", initializer=2.0)
        y = x * v
        step = wf.train.GradientDescentOptimizer(0.5).minimize(y)
        slope = wf.gradients(y, x)[0]
        with wf.name_scope("a"), wf.device("/cpu:0"), wf.control_dependencies([y]):
            z = wf.identity(y, name="z")
        with wf.Session() as sess:
            sess.run(wf.global_variables_initializer())
            assert sess.run([y, slope], {x: 3.0}) == [6.0, 2.0]
            sess.run(step, {x: 3.0})
            assert sess.run(z, {"x:0": 2.0}) == 1.0
    assert (z.name, z.device, x.graph) == ("a/z:0", "/device:CPU:0", graph)
    assert wf.executing_eagerly()
    assert float(wf.constant(1.0) + 1.0) == 2.0


def test_a_session_makes_its_graph_the_default() -> None:
    with wf.Session(graph=wf.Graph()) as sess:
        assert not wf.executing_eagerly()
        assert sess.run(wf.constant(1.0)) == 1.0
    assert wf.executing_eagerly()


def test_a_graph_may_be_run_from_outside_of_it() -> None:
    with wf.Graph().as_default() as graph:
        x = wf.constant(1.0) + 1.0
    with wf.Session(graph=graph).as_default() as sess:
        assert (sess.run(x), wf.executing_eagerly()) == (2.0, True)
    sess.close()


def test_branches_and_loops_are_operations_of_the_graph() -> None:
    with wf.Graph().as_default() as graph:
        i = wf.while_loop(lambda i: i < 3, lambda i: i + 1, [wf.constant(0)])
        y = wf.cond(wf.equal(i, 3), lambda: wf.constant(1.0), lambda: wf.constant(2.0))
    assert {"If", "While"} <= {operation.type for operation in graph.get_operations()}
    with wf.Session(graph=graph) as sess:
        assert sess.run([i, y]) == [3, 1.0]


def test_graphs_may_be_nested_and_other_threads_stay_eager() -> None:
    seen = []
    with wf.Graph().as_default() as outer, wf.Graph().as_default() as inner:
        assert wf.constant(1.0).graph is inner
        thread = threading.Thread(target=lambda: seen.append(wf.executing_eagerly()))
        thread.start()
        thread.join()
    assert (outer.get_operations(), seen) == ([], [True])


def test_eager_values_are_no_part_of_a_graph() -> None:
    x: Any = wf.constant(5.0)
    v = wf.Variable(4.0)
    with wf.Graph().as_default():
        p = wf.placeholder(wf.float32)
        for build in (
            lambda: x + 1.0,
            lambda: p * x,
            lambda: v + 1.0,
            lambda: v.assign(3.0),
            lambda: wf.gradients(p, x),
        ):
            with pytest.raises(RuntimeError, match="Attempting to capture an EagerTensor"):
                build()
        assert "numpy=" not in repr(v)
    assert v.assign_add(1.0).numpy() == 5.0


def test_values_of_a_graph_are_no_eager_values() -> None:
    with wf.Graph().as_default():
        x = wf.constant(1.0)
        v = wf.get_variable("v", [2])
    for compute in (lambda: x + 1.0, lambda: wf.constant(1.0) + x, lambda: v + 1.0, v.numpy):
        with pytest.raises(TypeError, match="is out of scope and cannot be used here"):
            compute()
    assert repr(v) == "<wf.Variable 'v:0' shape=(2,) dtype=float32>"
    with pytest.raises(RuntimeError, match="not compatible with eager execution"):
        wf.placeholder(wf.float32)


def test_variables_of_both_kinds_under_one_name() -> None:
    before = wf.get_variable("w", initializer=1.0)
    with wf.Graph().as_default():
        inside = wf.get_variable("w", initializer=2.0)
        with wf.Session() as sess:
            sess.run(inside.initializer)
            assert sess.run(inside) == 2.0
    assert before.numpy() == 1.0
