"""Branches and loops that are built here, as TensorFlow's If and While with a library of functions, and read again."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import weft as wf
from google.protobuf import text_format
from weft.graph.ir import get_default_graph

FEEDS: list[dict[str, Any]] = [{"x:0": [1.0, 2.0, -0.5], "n:0": n} for n in range(5)]
FEEDS.append({"x:0": [-1.0, -2.0, 0.5], "n:0": 3})


def program() -> list[wf.Tensor]:
    """Branches and loops of all kinds, in each other, with variables, updates and shapes that grow."""
    x, n = wf.placeholder(wf.float32, [3], name="x"), wf.placeholder(wf.int32, [], name="n")
    any_rank = wf.placeholder_with_default(x, None)
    v, counter = wf.Variable([1.0, 2.0, 3.0], name="v"), wf.Variable(0.0, name="counter")
    either = wf.cond(wf.reduce_sum(x) > 0, lambda: x * wf.reduce_max(x) + v, lambda: -x)

    def body(i: Any, z: Any) -> Any:
        return i + 1, wf.cond(wf.equal(i % 2, 0), lambda: z * 2.0, lambda: wf.nn.softmax(z) + 1.0)

    def counted() -> Any:
        with wf.control_dependencies([counter.assign_add(1.0)]):
            return counter.read_value() + x

    def triangle(i: Any, z: Any) -> Any:
        return i + 1, wf.while_loop(lambda j, w: j < i, lambda j, w: (j + 1, w + x), [0, z])[1]

    shapes = [wf.TensorShape([]), wf.TensorShape([None])]
    grown = wf.while_loop(lambda i, z: i < n, lambda i, z: (i + 1, wf.concat([z, x], 0)), [0, x], shapes)
    with wf.name_scope("deep"):
        found = [
            *wf.while_loop(lambda i, z: i < n, body, [0, either]),
            *wf.while_loop(lambda i, z: i < n, triangle, [0, x], maximum_iterations=3),
            *wf.while_loop(lambda i, m, a, b: i < m, lambda i, m, a, b: (i + 1, m, b, a), [0, n, x, x * 2.0]),
            wf.cond(n > 2, counted, lambda: x),
            *wf.cond(n > 2, lambda: tuple(wf.nn.top_k(x, 2)), lambda: (wf.split(x, 3)[1], wf.constant([5, 6]))),
            wf.cond(n > 1, lambda: wf.constant(7.0, name="seven"), lambda: x[0]),
            wf.cond(n > 1, lambda: wf.reduce_max(wf.transpose(any_rank)), lambda: wf.reduce_mean(any_rank)),
            wf.switch_case(n % 3, [lambda: x + 1.0, lambda: x * x, lambda: wf.unstack(x)[2] + x]),
        ]
    return [either, grown[1], *found]


def results(names: list[str]) -> list[Any]:
    """What the default graph gives for the feeds, one after the other."""
    start = [get_default_graph().get_operation_by_name(f"{name}/Assign") for name in ("v", "counter")]
    with wf.Session() as session:
        session.run(start)
        return [value for feeds in FEEDS for value in session.run(names, feeds)]


@pytest.mark.parametrize("add_shapes", [False, True])
def test_branches_and_loops_are_tensorflows_and_come_back(add_shapes: bool) -> None:
    """With the same names, and the same bits: the second time as the same nodes and functions."""
    names = [tensor.name for tensor in program()]
    expected, graph_def = results(names), get_default_graph().as_graph_def(add_shapes=add_shapes)
    for _ in range(2):
        types = {each.op for each in graph_def.node}
        assert types >= {"If", "StatelessIf", "StatelessWhile"}
        assert not any(kind.startswith("Weft>") for kind in types)
        with wf.Graph().as_default() as graph:
            wf.import_graph_def(graph_def, name="")
            for value, wanted in zip(results(names), expected, strict=True):
                np.testing.assert_array_equal(value, wanted)
            before, graph_def = graph_def, graph.as_graph_def(add_shapes=add_shapes)
    assert graph_def == before


def branch() -> tuple[wf.Tensor, wf.Tensor]:
    x = wf.placeholder(wf.float32, [], name="x")
    return x, wf.cond(x > 0.0, lambda: x * x, lambda: wf.sin(x), name="choice")


def test_a_function_has_its_inputs_as_arguments_and_names_of_its_own() -> None:
    branch()
    graph_def = get_default_graph().as_graph_def()
    then, orelse = graph_def.library.function
    (choice,) = [each for each in graph_def.node if each.name == "choice"]
    assert (choice.op, choice.attr["then_branch"].func.name) == ("StatelessIf", then.signature.name)
    assert [(each.name, list(each.input)) for each in then.node_def] == [("mul", ["arg_0", "arg_0"])]
    assert dict(then.ret) == {"result_0": "mul:z:0"}
    assert dict(orelse.ret) == {"result_0": "Sin:y:0"}


def test_a_gradient_that_needs_no_tape_is_tensorflows_too() -> None:
    x, y = branch()
    (dx,) = wf.gradients(y, x)
    graph_def = get_default_graph().as_graph_def()
    assert not any(each.op.startswith("Weft>") for each in graph_def.node)
    with wf.Graph().as_default():
        wf.import_graph_def(graph_def, name="")
        with wf.Session() as session:
            assert session.run([y.name, dx.name], {x.name: 3.0}) == [9.0, 6.0]


def test_what_a_gradient_uses_keeps_its_tape() -> None:
    x = wf.placeholder(wf.float32, [], name="x")
    y = wf.cond(x > 0.0, lambda: wf.square(x) * wf.square(x), lambda: x)
    (dx,) = wf.gradients(y, x)
    graph_def = get_default_graph().as_graph_def()
    assert "Weft>If" in {each.op for each in graph_def.node}
    assert not graph_def.library.function
    with wf.Graph().as_default():
        wf.import_graph_def(graph_def, name="")
        with wf.Session() as session:
            assert session.run([y.name, dx.name], {x.name: 2.0}) == [16.0, 32.0]


def test_a_loop_without_gradient_stays_without() -> None:
    x = wf.placeholder(wf.float32, [], name="x")
    for name, back_prop in (("plain", True), ("closed", False)):
        wf.while_loop(lambda a: a < 9.0, lambda a: a * x, [x], back_prop=back_prop, name=name)
    graph_def = get_default_graph().as_graph_def()
    with wf.Graph().as_default():
        found = wf.import_graph_def(graph_def, return_elements=["x:0", "plain:0", "closed:0"]) or []
        assert wf.gradients(found[1], found[0]) != [None]
        assert wf.gradients(found[2], found[0]) == [None]


@pytest.mark.parametrize("as_text", [False, True])
def test_functions_travel_in_files(tmp_path: Path, as_text: bool) -> None:
    x, y = branch()
    path = wf.train.write_graph(get_default_graph(), tmp_path, "graph", as_text)
    meta = wf.train.export_meta_graph(tmp_path / "meta", as_text=as_text, clear_devices=True)
    data = Path(path).read_bytes()
    graph_def = text_format.Parse(data.decode(), wf.GraphDef()) if as_text else wf.GraphDef.FromString(data)
    assert len(graph_def.library.function) == len(meta.graph_def.library.function) == 2
    for read in (
        lambda: wf.import_graph_def(graph_def, name=""),
        lambda: wf.train.import_meta_graph(tmp_path / "meta"),
    ):
        with wf.Graph().as_default():
            read()
            with wf.Session() as session:
                assert session.run(y.name, {x.name: 3.0}) == 9.0
