"""Races: the accesses to a variable that nothing orders are found from the graph, and a random order shows them."""

import re
import sys
import warnings
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
import weft as wf
from hypothesis import given, strategies as st
from weft.runtime import pipeline
from weft.runtime.reporting import races as races_module
from weft.runtime.reporting.races import races
from weft.runtime.stages import accesses
from weft.runtime.stages.program import Program


def kinds(*fetches: object) -> list[tuple[str, tuple[str, str]]]:
    return [(race.variable, race.kinds) for race in wf.find_races(list(fetches))]


def two_factors(gate: int) -> tuple[wf.Variable, wf.Variable, wf.Operation]:
    """A step whose update of each factor uses the other, each on a device of its own.

    The gradient of `a` needs only the value of `b`: without a gate nothing keeps the update of `a` until `a` is read.
    """
    with wf.device("CPU:0"):
        a = wf.get_variable("a", initializer=2.0)
    with wf.device("CPU:1"):
        b = wf.get_variable("b", initializer=3.0)
    step = wf.train.GradientDescentOptimizer(1.0).minimize(a * b, gate_gradients=gate)
    return a, b, step


NONE, OP, GRAPH = (wf.train.Optimizer.GATE_NONE, wf.train.Optimizer.GATE_OP, wf.train.Optimizer.GATE_GRAPH)


def outcomes(step: wf.Operation, variables: list[wf.Variable], seeds: int) -> set[tuple[float, ...]]:
    """What the variables may be after a step, in so many random orders."""
    found = set()
    for seed in range(seeds):
        config = wf.ConfigProto(device_count={"CPU": 2}, schedule_seed=seed, race_check="off")
        with wf.Session(config=config) as sess:
            sess.run([variable.initializer for variable in variables])
            sess.run(step)
            found.add(tuple(float(value) for value in sess.run(variables)))
    return found


def test_an_ungated_update_races_and_some_orders_show_it() -> None:
    a, b, step = two_factors(NONE)
    assert kinds(step) == [("a", ("read", "write")), ("b", ("read", "write"))]
    assert len(outcomes(step, [a, b], 60)) > 1


@pytest.mark.parametrize("gate", [OP, GRAPH])
def test_a_gated_update_never_races_in_any_of_500_orders(gate: int) -> None:
    a, b, step = two_factors(gate)
    assert kinds(step) == []
    assert outcomes(step, [a, b], 500) == {(-1.0, 1.0)}


def test_the_order_without_a_seed_reads_first() -> None:
    a, b, step = two_factors(NONE)
    with wf.Session(config=wf.ConfigProto(device_count={"CPU": 2}, race_check="off")) as sess:
        sess.run(wf.global_variables_initializer())
        sess.run(step)
        assert sess.run([a, b]) == [-1.0, 1.0]


def test_two_writes_race() -> None:
    v = wf.Variable(0.0, name="v")
    first, second = v.assign(1.0, read_value=False), v.assign(2.0, read_value=False)
    (race,) = wf.find_races([first, second])
    assert race.kinds == ("write", "write")
    assert race.operations == (first, second)


def test_a_control_dependency_orders() -> None:
    v = wf.Variable(0.0)
    first = v.assign(1.0)
    with wf.control_dependencies([first]):
        second = v.assign(2.0)
        after = v.read_value()
    assert kinds(first, second, after) == [(v.op.name, ("read", "write"))]  # the second write and the read
    assert kinds(first, after) == kinds(first, second) == []


def test_reads_alone_never_race() -> None:
    v = wf.Variable(0.0)
    assert kinds(v, v.read_value(), v + 1.0) == []


def test_initial_values_taken_from_variables_are_no_race() -> None:
    v = wf.Variable(1.0)
    w = wf.Variable(v.initialized_value() * 2.0)
    assert kinds(v.initializer, w.initializer) == []


def test_a_branch_that_writes_races_with_a_read() -> None:
    v = wf.Variable(1.0, name="v")
    fed = wf.placeholder(wf.bool, [])
    changed = wf.cond(fed, lambda: v.assign_add(1.0), lambda: wf.constant(0.0))
    assert kinds(changed, v) == [("v", ("read", "write"))]


def test_races_inside_of_a_body_are_found() -> None:
    v = wf.Variable(1.0, name="v")

    def body(i: Any) -> Any:
        with wf.control_dependencies([v.assign_add(1.0)]):
            return wf.cast(v.read_value(), wf.int32) * 0 + i + 1

    def racing(i: Any) -> Any:
        wrote, read = v.assign_add(1.0), v.read_value()
        return wf.cast(wrote + read, wf.int32) * 0 + i + 1

    def small(i: Any) -> Any:
        return i < 3

    assert kinds(wf.while_loop(small, body, [0])) == []
    assert kinds(wf.while_loop(small, racing, [0])) == [("v", ("read", "write"))]
    nested = wf.cond(wf.placeholder(wf.bool, []), lambda: wf.while_loop(small, racing, [0]), lambda: wf.constant(0))
    assert kinds(nested) == [("v", ("read", "write"))]


def test_a_session_warns_at_the_users_line_and_names_both() -> None:
    a, _, step = two_factors(NONE)
    with wf.Session(config=wf.ConfigProto(device_count={"CPU": 2})) as sess:
        sess.run(wf.global_variables_initializer())
        with pytest.warns(wf.RaceWarning) as caught:
            sess.run(step)
        (warning,) = caught
        assert warning.filename == __file__
        text = str(warning.message)
        assert "variable 'a' is read by 'ReadVariableOp' (made at " in text
        assert "and written by 'GradientDescent/update_a/" in text
        assert re.search(r"test_races\.py:\d+, in two_factors", text)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            sess.run(step)
    assert a is not None


def test_a_race_is_warned_of_once_however_many_plans_have_it() -> None:
    a, b, step = two_factors(NONE)
    more = b.assign_add(1.0)
    with wf.Session(config=wf.ConfigProto(device_count={"CPU": 2})) as sess:
        sess.run(wf.global_variables_initializer())
        with pytest.warns(wf.RaceWarning):
            sess.run(step)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            sess.run([step, wf.shape(a)])
        with pytest.warns(wf.RaceWarning, match="variable 'b'") as caught:
            sess.run([step, more])
        assert "variable 'a'" not in str(caught[0].message)
        assert len(wf.find_races([step, more])) > len(wf.find_races(step)) > 0


def test_a_session_may_refuse_races() -> None:
    _, _, step = two_factors(NONE)
    with wf.Session(config=wf.ConfigProto(device_count={"CPU": 2}, race_check="error")) as sess:
        sess.run(wf.global_variables_initializer())
        for _ in range(2):
            with pytest.raises(wf.errors.InvalidArgumentError, match="variable 'a' is read by"):
                sess.run(step)


def test_a_long_list_is_cut() -> None:
    writes = [write for i in range(9) for write in (wf.Variable(0.0, name=f"v{i}"),)]
    fetches = [v.assign(1.0).op for v in writes] + [v.read_value() for v in writes]
    with wf.Session(config=wf.ConfigProto(race_check="error")) as sess:
        sess.run(wf.global_variables_initializer())
        with pytest.raises(wf.errors.InvalidArgumentError, match=r"and 4 more: wf\.find_races"):
            sess.run(fetches)
    assert len(wf.find_races(fetches)) == 9


def test_a_choice_that_is_none() -> None:
    with pytest.raises(ValueError, match="race_check must be one of"):
        wf.Session(graph=wf.Graph(), config=wf.ConfigProto(race_check="maybe"))


def reaches(program: Program, start: int, end: int) -> bool:
    """Whether a node needs another, by a search for just these two."""
    waiting, seen = [end], set()
    while waiting:
        at = waiting.pop()
        if at == start:
            return True
        if at not in seen:
            seen.add(at)
            waiting += [ref.node for ref in program.nodes[at].inputs] + list(program.nodes[at].controls)
    return False


@given(st.lists(st.tuples(st.integers(0, 2), st.booleans(), st.integers(0, 9)), min_size=1, max_size=10), st.data())
def test_what_is_found_is_what_a_search_for_each_pair_finds(
    steps: list[tuple[int, bool, int]], data: st.DataObject
) -> None:
    with wf.Graph().as_default():
        variables = [wf.Variable(0.0, name=f"v{i}") for i in range(3)]
        made: list[wf.Operation] = []
        for which, writes, back in steps:
            with wf.control_dependencies(made[-1 - back : len(made) - back] if data.draw(st.booleans()) else []):
                v = variables[which]
                made.append(v.assign(1.0, read_value=False) if writes else v.read_value().op)
        program = pipeline.cut(pipeline.Request((), tuple(made), ()))
        accesses = [i for i, node in enumerate(program.nodes) if node.origin in made]
        expected = set()
        for at, i in enumerate(accesses):
            for j in accesses[at + 1 :]:
                one, other = program.nodes[i], program.nodes[j]
                same = one.inputs[0] == other.inputs[0]
                if same and "write" in (one.definition.access, other.definition.access) and not reaches(program, i, j):
                    expected.add(frozenset((one.origin, other.origin)))
        assert {frozenset(race.operations) for race in races(program)} == expected


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9)), min_size=1, max_size=14), st.data())
def test_many_accesses_to_one_variable_are_followed_in_parts(
    steps: list[tuple[bool, int]], data: st.DataObject
) -> None:
    with wf.Graph().as_default():
        v = wf.Variable(0.0)
        made: list[wf.Operation] = []
        for writes, back in steps:
            with wf.control_dependencies(made[-1 - back : len(made) - back] if data.draw(st.booleans()) else []):
                made.append(v.assign(1.0, read_value=False) if writes else v.read_value().op)
        whole = wf.find_races(made)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(accesses, "AT_ONCE", 3)
            parts = wf.find_races(made)
    assert len(parts) == len(whole)
    assert set(parts) == set(whole)


def test_as_many_races_as_pairs_are_not_all_looked_at_for_a_warning() -> None:
    v = wf.Variable(0.0, name="v")
    writes = [v.assign(1.0, read_value=False) for _ in range(3000)]
    session = wf.Session(config=wf.ConfigProto(race_check="error"))
    with session as sess, pytest.raises(wf.errors.InvalidArgumentError, match="and at least 995 more"):
        sess.run(writes)


def steps_of(function: Callable[[], Any]) -> int:
    """How many lines of the race check run."""
    count = 0

    def note(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return note if frame.f_code.co_filename in (accesses.__file__, races_module.__file__) else None

    before = sys.gettrace()
    sys.settrace(note)
    try:
        function()
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("kind", ["one variable", "many variables"])
def test_the_work_grows_with_the_program_and_not_with_the_pairs(kind: str) -> None:
    def work(count: int) -> int:
        with wf.Graph().as_default():
            last: list[wf.Operation] = []
            v = wf.Variable(0.0)
            for _ in range(count):
                v = v if kind == "one variable" else wf.Variable(0.0)
                for _ in range(1 if kind == "one variable" else 2):
                    with wf.control_dependencies(last):
                        last = [v.assign_add(1.0, read_value=False)]
            program = pipeline.cut(pipeline.Request((), tuple(last), ()))
            return steps_of(lambda: list(races(program)))

    assert work(800) < 9 * work(100)


def test_many_variables_are_followed_in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accesses, "AT_ONCE", 8)
    count = 30
    variables = [wf.Variable(0.0, name=f"v{i}") for i in range(count)]
    ordered, racing = [], variables[count // 2]
    for v in variables:
        with wf.control_dependencies([v.read_value()]):
            ordered.append(v.assign(1.0, read_value=False))
    (race,) = wf.find_races([*ordered, racing.read_value()])
    assert race.variable == racing.op.name
