"""Plans as data: what a task gets is what was sent, and what is no plan is refused."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import weft as wf
from hypothesis import given, strategies as st
from weft.cluster.wire.plans import decode_plan, encode_plan
from weft.graph import errors
from weft.graph.ops.literal import Literal
from weft.runtime.stages.plan import Fetch, Free, Load, Plan, Receive, Run, Send, TakeFeed

THREE = wf.ConfigProto(device_count={"CPU": 3})


def plans() -> Iterator[Plan]:
    """Plans that together have every instruction and every kind of attribute."""
    x = wf.placeholder(wf.float32, [None, 4], name="x")
    with wf.device("/cpu:1"):
        v = wf.Variable(np.ones((4, 4), np.float32), name="v")
        product = wf.matmul(x, v)
        update = v.assign_add(wf.matmul(x, x, transpose_a=True))
    with wf.device("/cpu:2"), wf.control_dependencies([update]):
        words = wf.concat([wf.constant([b"\x00\xff", b""]), wf.constant(["ü"])], 0)
        halves = wf.cast(wf.constant([[1.0, float("inf"), float("nan")]]), wf.bfloat16)
        complexes = wf.constant([1 + 2j], wf.complex64) * wf.complex(1.0, 2.0)
        random = wf.random_uniform([3, 3], seed=1)
    big = wf.tanh(wf.random_uniform([1 << 19], seed=2) * 2.0) + 1.0
    queue = wf.RandomShuffleQueue(5, 0, wf.float32, shapes=[(4,)], seed=1)
    put, taken = queue.enqueue_many(x), queue.dequeue_many(2)
    steps = wf.train.AdamOptimizer(0.1).minimize(wf.reduce_sum(wf.tanh(product)), var_list=[v])
    with wf.Session(config=THREE) as session:
        for fetches in (
            [x],
            [product],
            [words, halves, complexes, random],
            [steps, update],
            [product, x[1:, ::2]],
            [big],
            [put, taken],
        ):
            for shape in ((2, 4), (None, 4)):
                yield from session.plan(fetches, {x: np.ones((2, 4))} if shape[0] else None).plans


def travel(plan: Plan) -> Plan:
    data, arrays = encode_plan(plan)
    return decode_plan(data, [np.array(array) for array in arrays])


def test_a_plan_is_the_same_at_the_other_end() -> None:
    kinds = set()
    for plan in plans():
        assert travel(plan) == plan
        assert str(travel(plan)) == str(plan)
        kinds |= {type(instruction) for instruction in plan.instructions}
    assert kinds == {TakeFeed, Load, Run, Send, Receive, Free, Fetch}


def test_a_plan_is_text_and_arrays() -> None:
    data, arrays = encode_plan(Plan("/cpu:0", (Load(0, Literal(np.arange(3)), "c"), Free((0, 1))), 64))
    assert json.loads(data) == ["/cpu:0", 64, [["load", 0, 0, "c"], ["free", [0, 1]]]]
    assert [array.tolist() for array in arrays] == [[0, 1, 2]]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["run", "feed", "/cpu:0"]),
    lambda inner: st.lists(inner, max_size=10) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=30,
)


def check(data: bytes) -> None:
    """Either a plan of numbered slots, or DataLossError."""
    try:
        plan = decode_plan(data, [np.ones(2), np.zeros(())])
    except errors.DataLossError:
        return
    assert isinstance(plan, Plan)
    for instruction in plan.instructions:
        for field in ("slot", "index", "edge"):
            assert isinstance(instruction, Run) or type(getattr(instruction, field, 0)) in (int, type(None))


@given(st.binary(max_size=200))
def test_garbage_is_no_plan(data: bytes) -> None:
    check(data)


@given(json_values)
def test_other_json_is_no_plan(value: Any) -> None:
    check(json.dumps(value).encode())
    check(json.dumps(["/cpu:0", 0, [value]]).encode())


@cache
def examples() -> list[Any]:
    """Whole plans, as JSON."""
    with wf.Graph().as_default():
        return [json.loads(encode_plan(plan)[0]) for plan in plans()]


@given(st.data())
def test_a_plan_with_one_thing_changed_is_refused_or_is_another_plan(data: st.DataObject) -> None:
    whole = data.draw(st.sampled_from(examples()))
    changed = json.loads(json.dumps(whole))
    parent: Any = changed
    key = data.draw(st.sampled_from(range(3)))
    while isinstance(parent[key], (list, dict)) and parent[key] and data.draw(st.booleans()):
        parent = parent[key]
        key = data.draw(st.sampled_from(sorted(parent) if isinstance(parent, dict) else range(len(parent))))
    parent[key] = data.draw(json_values)
    check(json.dumps(changed).encode())


FLOAT = ["float32", None, None]


@pytest.mark.parametrize(
    "row",
    [
        ["feed", "0; import os", 0, "x"],
        ["feed", 0, "0]; import os", "x"],
        ["send", 0, "0, '', 0); import os", "/cpu:0", "x"],
        ["receive", 0, "0); import os", "/cpu:0", "x"],
        ["free", ["0 = 1; import os"]],
        ["fetch", "0); import os", 0, False],
        ["load", "0 = 1; import os", 0, "x"],
        ["feed", -1, 0, "x"],
        ["feed", True, 0, "x"],
        ["feed", 0, 0, None],
        ["load", 0, 2, "x"],
        ["load", 0, -1, "x"],
        ["fetch", 0, 0, 1],
        ["jump", 0],
        ["run", "x", ["NoSuchOp"], [], [], [], [], [], [], False],
        ["run", "x", ["Neg"], ["0); import os"], [1], [FLOAT], [FLOAT], [], [False], False],
        ["run", "x", ["Neg"], [0], ["1 = 0; import os"], [FLOAT], [FLOAT], [], [False], False],
        ["run", "x", ["Neg"], [0], [1], [FLOAT], [FLOAT], [None, None], [False], False],
        ["run", "x", ["Fused", [["x", ["Neg"], [1], FLOAT]], [0], True, False], [0], [1], [FLOAT], [FLOAT], [], [False], False],
        ["run", "x", ["Fused", [["x", ["Neg"], [0], FLOAT]], [1], True, False], [0], [1], [FLOAT], [FLOAT], [], [False], False],
        ["run", "x", ["Fused", [[7, ["Neg"], [0], FLOAT]], [0], True, False], [0], [1], [FLOAT], [FLOAT], [], [False], False],
        ["run", "x", ["Fused", [], [], True, False], [0], [], [FLOAT], [], [], [False], False],
        "free",
        7,
        [],
    ],
    ids=str,
)  # fmt: skip
def test_code_is_no_plan(row: Any) -> None:
    with pytest.raises(errors.DataLossError, match="expected a plan"):
        decode_plan(json.dumps(["/cpu:0", 0, [row]]).encode(), [np.ones(2), np.zeros(())])


def test_deep_nesting_is_no_plan() -> None:
    with pytest.raises(errors.DataLossError):
        decode_plan(b"[" * 100_000, [])


def test_nothing_here_pickles() -> None:
    for file in (Path(wf.__file__).parent / "cluster").glob("*.py"):
        assert "import pickle" not in file.read_text()


def test_halves_of_what_does_not_wait_are_no_plan() -> None:
    for half in (["BeginWait", ["NoOp"]], ["EndWait", ["NoOp"], []]):
        row = ["run", "n", half, [], [], [], [], [], [], False]
        with pytest.raises(errors.DataLossError, match="no operation that waits"):
            decode_plan(json.dumps(["/job:a", 0, [row]]).encode(), [])
