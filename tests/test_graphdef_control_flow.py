"""Branches and loops of TensorFlow's graphs: they become weft's, give TensorFlow's values and have gradients."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import weft as wf
from google.protobuf import text_format
from hypothesis import given, settings, strategies as st

#: Written by TensorFlow 2.21 from conditions, loops, both inside of each other, map_fn, scan and foldl; what it computes
#: of three feeds stands beside it, as `<feed>:in:<placeholder>` and `<feed>:out:<output>`. Once with Switch, Merge and
#: Enter, once with functions.
DATA = Path(__file__).parent / "data"
WRITTEN = ["control_flow", "control_flow_functions"]
X = "node{name:'x' op:'Placeholder' attr{key:'dtype' value{type:DT_FLOAT}}}"
P = "node{name:'p' op:'Placeholder' attr{key:'dtype' value{type:DT_BOOL}} attr{key:'shape' value{shape{}}}}"


def written(name: str) -> tuple[Any, dict[str, Any]]:
    with np.load(DATA / f"{name}.npz") as stored:
        return wf.GraphDef.FromString((DATA / f"{name}.pb").read_bytes()), dict(stored)


def values(arrays: dict[str, Any], feed: int, kind: str) -> dict[str, Any]:
    start = f"{feed}:{kind}:"
    return {key.removeprefix(start): value for key, value in arrays.items() if key.startswith(start)}


def node(name: str, kind: str, *inputs: str, **attrs: str) -> str:
    lines = [f"input:'{text}'" for text in inputs]
    lines += [f"attr{{key:'{key}' value{{{value}}}}}" for key, value in attrs.items()]
    return f"node{{name:'{name}' op:'{kind}' {' '.join(lines)}}}"


def imported(text: str, *elements: str) -> list[Any]:
    found = wf.import_graph_def(text_format.Parse(text, wf.GraphDef()), return_elements=elements, name="")
    assert found is not None
    return found


@pytest.mark.parametrize("scope", ["", "read"])
@pytest.mark.parametrize("name", WRITTEN)
def test_branches_and_loops_give_tensorflows_values(name: str, scope: str) -> None:
    graph_def, arrays = written(name)
    outputs = sorted(values(arrays, 0, "out"))
    elements = wf.import_graph_def(graph_def, name=scope, return_elements=[f"{key}:0" for key in outputs])
    start = f"{scope}/" if scope else ""
    with wf.Session() as session:
        for feed in range(3):
            feeds = {f"{start}{key}:0": value for key, value in values(arrays, feed, "in").items()}
            for key, value in zip(outputs, session.run(elements, feeds), strict=True):
                np.testing.assert_allclose(
                    value, arrays[f"{feed}:out:{key}"], rtol=1e-6, err_msg=f"{key} of feed {feed}"
                )


@pytest.mark.parametrize("name", WRITTEN)
def test_what_was_read_is_differentiated(name: str) -> None:
    """As the same loops are that are built here."""
    graph_def, _ = written(name)
    x, n, nested, scanned = (
        wf.import_graph_def(graph_def, name="", return_elements=["x:0", "n:0", "out_nested_while:0", "out_scan:0"])
        or [None] * 4
    )

    def body(i: Any, v: Any) -> Any:
        inner = wf.while_loop(lambda j, w: j < i, lambda j, w: (j + 1, w + x * wf.cast(i, wf.float32)), [0, v])
        return i + 1, inner[1]

    same = wf.while_loop(lambda i, v: i < n, body, [0, x])[1]
    also = wf.scan(lambda a, b: a * b + 1, x)
    with wf.Session() as session:
        found, wanted = session.run(
            [wf.gradients([nested, scanned], x), wf.gradients([same, also], x)], {x: [0.5, -1.0, 2.0], n: 4}
        )
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    assert np.ptp(found) > 0


@pytest.mark.parametrize("name", WRITTEN)
def test_they_become_operations_of_their_own(name: str) -> None:
    graph_def, _ = written(name)
    wf.import_graph_def(graph_def, name="")
    types = {operation.type for operation in wf.get_default_graph().get_operations()}
    assert types >= {"If", "While"}
    assert not types & {"Switch", "Merge", "Enter", "Exit", "NextIteration", "LoopCond"}


ONE_BRANCH = "".join(
    [
        X,
        P,
        node("switch", "Switch", "x", "p", T="type:DT_FLOAT"),
        node("wrong", "Log", "switch:0", T="type:DT_FLOAT"),
        node("right", "Identity", "switch:1", T="type:DT_FLOAT"),
        node("merge", "Merge", "wrong", "right", T="type:DT_FLOAT", N="i:2"),
    ]
)


def test_only_the_chosen_branch_runs() -> None:
    with wf.Session() as session:
        (merged,) = imported(ONE_BRANCH, "merge:0")
        checked = wf.check_numerics(merged, "it ran")
        assert session.run(checked, {"x:0": -1.0, "p:0": True}) == -1.0
        with pytest.raises(wf.errors.InvalidArgumentError, match="it ran"):
            session.run(checked, {"x:0": -1.0, "p:0": False})


def test_what_stands_in_a_branch_cannot_be_had() -> None:
    with pytest.raises(ValueError, match="'wrong' stands in a branch or a loop"):
        imported(ONE_BRANCH, "wrong")


FLOAT, BOOL = "type:DT_FLOAT", "type:DT_BOOL"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (node("m", "Merge", "x", "x", T=FLOAT, N="i:2"), "'m' .Merge.: its inputs are not the two sides"),
        (node("m", "Merge", "x", "x", "x", T=FLOAT, N="i:3"), "branches of two sides only, not 3"),
        (node("e", "Exit", "x", T=FLOAT), "'e' .Exit. leaves no loop"),
        (
            node("in", "Enter", "x", T=FLOAT, frame_name="s:'f'") + node("m", "Merge", "in", "x", T=FLOAT),
            "'m' .Merge.: the loop that it begins is not complete",
        ),
        (node("s", "Switch", "x", "p") + node("out", "Neg", "s:1", T=FLOAT) + node("y", "Neg", "s", T=FLOAT), None),
    ],
)
def test_what_is_no_branch_and_no_loop_is_named(text: str, words: str | None) -> None:
    if words is None:  # branches that nothing leaves are left out
        imported(X + P + text)
        assert [each.name for each in wf.get_default_graph().get_operations()] == ["x", "p"]
        return
    with pytest.raises(ValueError, match=words):
        imported(X + P + node("other", "Switch", "x", "p", T=FLOAT) + text)


# functions


def function(name: str, nodes: str, result: str) -> str:
    """A function of one float, as an entry of a library."""
    signature = f"signature{{name:'{name}' input_arg{{name:'a' type:1}} output_arg{{name:'b' type:1}}}}"
    return f"function{{{signature} {nodes} ret{{key:'b' value:'{result}'}}}}"


def with_functions(nodes: str, *functions: str) -> Any:
    """A GraphDef with a library."""
    return text_format.Parse(f"{nodes} library{{{' '.join(functions)}}}", wf.GraphDef())


TOP = node("top", "TopKV2", "a", "k:output:0", T=FLOAT, sorted="b:true")
TWO = "node_def{name:'k' op:'Const' attr{key:'dtype' value{type:DT_INT32}} "
TWO += "attr{key:'value' value{tensor{dtype:DT_INT32 tensor_shape{} int_val:2}}}}"


def test_outputs_by_name_in_a_function() -> None:
    body = TWO + TOP.replace("node{", "node_def{") + "node_def{name:'f' op:'Cast' input:'top:indices:0' "
    body += "attr{key:'SrcT' value{type:DT_INT32}} attr{key:'DstT' value{type:DT_FLOAT}}}"
    call = node("call", "PartitionedCall", "x", f="func{name:'best'}")
    graph_def = with_functions(X + call, function("best", body, "f:y:0"))
    elements = wf.import_graph_def(graph_def, name="", return_elements=["call:0"])
    assert elements is not None
    with wf.Session() as session:
        np.testing.assert_array_equal(session.run(elements[0], {"x:0": [3.0, 9.0, 5.0]}), [1.0, 2.0])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (node("call", "PartitionedCall", "x", f="func{name:'other'}"), "the graph has no function 'other'"),
        (node("call", "PartitionedCall", "x", "x", f="func{name:'same'}"), "'same' takes 1 arguments, not 2"),
        (node("call", "PartitionedCall", "x", f="i:1"), "attr 'f' must be a function"),
        (node("call", "PartitionedCall", "x", f="func{name:'broken'}"), "a result of the function 'broken'"),
        (node("call", "StatelessCase", "x", "x", branches="i:1"), "'branches' must be a list of functions"),
        (node("call", "PartitionedCall", "x", f="func{name:'strange'}"), "Op type not registered 'Strange'"),
    ],
)
def test_calls_that_do_not_fit_are_named(call: str, words: str) -> None:
    library = [
        function("same", "", "a"),
        function("broken", "", "nowhere:y:0"),
        function("strange", "node_def{name:'s' op:'Strange' input:'a'}", "s:y:0"),
    ]
    with pytest.raises((ValueError, wf.errors.NotFoundError), match=words):
        wf.import_graph_def(with_functions(X + call, *library), name="")


def test_a_part_of_a_graph_keeps_its_functions() -> None:
    graph_def, arrays = written("control_flow_functions")
    part = wf.graph_util.extract_sub_graph(graph_def, ["out_while"])
    (output,) = wf.import_graph_def(part, name="", return_elements=["out_while:0"]) or [None]
    with wf.Session() as session:
        feeds = {f"{key}:0": value for key, value in values(arrays, 0, "in").items()}
        np.testing.assert_allclose(session.run(output, feeds), arrays["0:out:out_while"], rtol=1e-6)


def test_a_function_that_calls_itself_is_named() -> None:
    again = function(
        "again", node("c", "PartitionedCall", "a", f="func{name:'again'}").replace("node{", "node_def{"), "c:output:0"
    )
    with pytest.raises(ValueError, match="function 'again' calls itself"):
        wf.import_graph_def(
            with_functions(X + node("call", "PartitionedCall", "x", f="func{name:'again'}"), again), name=""
        )


# what something broke

LOOP = "".join(
    [
        node("in", "Enter", "x", T=FLOAT, frame_name="s:'f'"),
        node("limit", "Enter", "x", T=FLOAT, frame_name="s:'f'", is_constant="b:true"),
        node("m", "Merge", "in", "next", T=FLOAT, N="i:2"),
        node("less", "Less", "m", "limit", T=FLOAT),
        node("go", "LoopCond", "less"),
        node("s", "Switch", "m", "go", T=FLOAT),
        node("add", "AddV2", "s:1", "limit", T=FLOAT),
        node("next", "NextIteration", "add", T=FLOAT),
        node("out", "Exit", "s", T=FLOAT),
    ]
)


def test_a_loop_that_does_not_run() -> None:
    with wf.Session() as session:
        assert session.run(imported(X + LOOP, "out:0")[0], {"x:0": 2.0}) == 2.0


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_broken_branches_and_loops_end_in_a_graph_or_a_documented_error(data: st.DataObject) -> None:
    graph_def = text_format.Parse(ONE_BRANCH + LOOP, wf.GraphDef())
    names = [each.name for each in graph_def.node]
    references = [*names, *(f"{name}:1" for name in names), *(f"^{name}" for name in names)]
    for _ in range(data.draw(st.integers(1, 3))):
        each = data.draw(st.sampled_from(list(graph_def.node)))
        match data.draw(st.integers(0, 4)):
            case 0 if each.input:
                each.input[data.draw(st.integers(0, len(each.input) - 1))] = data.draw(st.sampled_from(references))
            case 1 if each.input:
                del each.input[data.draw(st.integers(0, len(each.input) - 1))]
            case 2:
                each.op = data.draw(st.sampled_from([other.op for other in graph_def.node]))
            case 3 if each.attr:
                del each.attr[data.draw(st.sampled_from(sorted(each.attr)))]
            case _:
                graph_def.node.remove(each)
    with wf.Graph().as_default():
        try:
            wf.import_graph_def(graph_def)
        except (ValueError, wf.errors.NotFoundError):
            return
