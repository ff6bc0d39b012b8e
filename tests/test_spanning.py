"""Branches and loops whose operations have several devices: the same bits as on one, in parts that meet in each iteration."""

import json
import threading
import time
from typing import Any

import nested
import numpy as np
import pytest
import weft as wf
from clustered import soon
from endpoints import in_background
from hypothesis import HealthCheck, example, given, settings, strategies as st
from nested import A, B, C, Step, three_devices
from programs import same_bits
from weft.cluster.wire.plans import decode_plan, encode_plan
from weft.graph import errors
from weft.runtime.execution.rendezvous import Rendezvous
from weft.runtime.stages.parts import AHEAD, WhilePart, all_instructions
from weft.runtime.stages.plan import Run, Send, StepPlan

bounded = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


def config(devices: int = 3, **options: Any) -> wf.ConfigProto:
    """For one device too: all requests are then taken there."""
    return wf.ConfigProto(device_count={"CPU": devices}, allow_soft_placement=True, race_check="off", **options)


def values(fetches: Any, feeds: Any = None, devices: int = 3, times: int = 1, **options: Any) -> list[Any]:
    """What a new session gives for fetches, in each of some runs."""
    limit = wf.RunOptions(timeout_in_ms=60_000)
    with wf.Session(config=config(devices, **options)) as session:
        session.run(wf.global_variables_initializer())
        return [value for _ in range(times) for value in session.run(fetches, feeds, options=limit)]


def check(fetches: list[Any], feeds: Any = None) -> list[Any]:
    """The values, which are those of one device, bit for bit."""
    found = values(fetches, feeds, times=2)
    assert same_bits(found, values(fetches, feeds, devices=1, times=2))
    return found


def plan(fetches: Any) -> StepPlan:
    with wf.Session(config=config()) as session:
        return session.plan(fetches)


def kinds(fetches: Any) -> dict[str, list[str]]:
    """For each device, the kinds of the branches and loops in its plan."""
    wanted = ("If", "While", "IfPart", "WhilePart")
    return {
        each.device[-5:]: [
            i.definition.type for i in each.instructions if isinstance(i, Run) and i.definition.type in wanted
        ]
        for each in plan(fetches).plans
    }


# values


@bounded
@given(nested.recipes(), st.one_of(st.none(), st.integers(0, 1000)))
def test_random_programs_have_the_bits_of_one_device(recipe: Any, seed: int | None) -> None:
    built = nested.Building(recipe)
    fetches = [*built.values, *built.variables]
    found = values(fetches, built.feed_dict(), times=2, schedule_seed=seed)
    assert same_bits(found, values(fetches, built.feed_dict(), devices=1, times=2, schedule_seed=seed))


#: The loop of its second gradient that adds up a tape runs on one device, the one that reads this on two.
BRANCH_IN_LOOP = (
    Step("add", 0, 0, 0),
    Step("while", 0, 0, 1, (
        (Step("add", 0, 0, 0),),
        (Step("cond", 0, 0, 1, ((Step("max", 0, 0, 0),), (Step("mul", 0, 0, 1),))),),
    )),
)  # fmt: skip


@settings(bounded, max_examples=12)
@example(BRANCH_IN_LOOP, False, True, 0)
@given(nested.recipes([*nested.KINDS, "random", "read", "weight"]), st.booleans(), st.booleans(), st.integers(0, 1000))
def test_gradients_of_random_programs_have_the_bits_of_one_device(
    recipe: Any, colocate: bool, twice: bool, seed: int
) -> None:
    built = nested.Building(recipe)
    sources = [*built.feeds, *built.variables]

    def gradients(y: wf.Tensor) -> list[wf.Tensor]:
        found = wf.gradients(y, sources, colocate_gradients_with_ops=colocate, unconnected_gradients="zero")
        return [wf.convert_to_tensor(each) for each in found]

    grads = gradients(wf.reduce_sum(wf.tanh(built.values[-1])))
    if twice:
        grads += gradients(wf.add_n([wf.reduce_sum(wf.square(each)) for each in grads]))
    found = values(grads, built.feed_dict(), schedule_seed=seed)
    assert same_bits(found, values(grads, built.feed_dict(), devices=1))


@pytest.mark.parametrize("count", [0, 1, 2, 3 * AHEAD])
def test_a_loop_over_three_devices(count: int) -> None:
    found = three_devices(wf.placeholder_with_default(count, []))
    assert kinds(found) == {"CPU:0": ["WhilePart"], "CPU:1": ["WhilePart"], "CPU:2": ["WhilePart"]}
    number, _ = check(found)[:2]
    assert number == count


def test_a_branch_on_several_devices_sends_only_what_the_taken_one_sends() -> None:
    chosen = wf.placeholder(wf.bool, [])
    x = wf.constant([1.0, 2.0])

    def then() -> Any:
        with wf.device(B):
            y = wf.exp(x)
        with wf.device(C):
            return wf.square(y)

    y = wf.cond(chosen, then, lambda: wf.negative(x))
    assert kinds(y) == {"CPU:0": ["IfPart"], "CPU:1": ["IfPart"], "CPU:2": ["IfPart"]}
    for taken in (True, False):
        check([y], {chosen: taken})
    with wf.Session(config=config()) as session:
        metadata = wf.RunMetadata()
        session.run(
            y, {chosen: False}, options=wf.RunOptions(trace_level=wf.RunOptions.FULL_TRACE), run_metadata=metadata
        )
        labels = [node.timeline_label for device in metadata.step_stats.dev_stats for node in device.node_stats]
    assert not [label for label in labels if "_Send(" in label and "Exp" in label]


def test_what_asks_for_one_device_runs_there_as_a_whole() -> None:
    def body(i: Any, a: Any) -> Any:
        with wf.device(B):
            return i + 1, a * 2.0

    with wf.device(B):
        i, a = wf.while_loop(lambda i, a: i < 3, body, [0, wf.constant(1.0)])
    assert kinds([i, a]) == {"CPU:1": ["While"]}
    assert check([a]) == [8.0, 8.0]


def test_a_loop_next_to_its_one_variable_stays_there() -> None:
    with wf.device(B):
        v = wf.Variable(2.0)
    i, a = wf.while_loop(lambda i, a: i < 3, lambda i, a: (i + 1, a * v), [0, wf.constant(1.0)])
    assert kinds([i, a]) == {"CPU:1": ["While"]}


def test_variables_of_several_devices_in_one_loop() -> None:
    variables: list[Any] = []
    for device in (A, B, C):
        with wf.device(device):
            variables.append(wf.Variable(np.float32(1.5 + len(variables))))

    def body(i: Any, a: Any) -> Any:
        first = variables[1].assign_add(a)
        with wf.control_dependencies([first]):
            return i + 1, wf.tanh(first * variables[2]) + variables[0].assign_sub(a)

    i, a = wf.while_loop(lambda i, a: i < 4, body, [0, wf.constant(1.0)])
    with wf.control_dependencies([a]):
        after = [variable.read_value() for variable in variables]
    assert kinds([i, a]) == {"CPU:0": ["WhilePart"], "CPU:1": ["WhilePart"], "CPU:2": ["WhilePart"]}
    found = check([i, a, *after])
    assert found[0] == 4
    assert found[2] != 1.5


def test_a_device_scope_around_a_loop_holds_inside_and_its_variable_stays_elsewhere() -> None:
    with wf.device(A):
        v = wf.Variable(np.float32(2.0))
    with wf.device(B):
        i, a = wf.while_loop(lambda i, a: i < 3, lambda i, a: (i + 1, wf.sin(a * v)), [0, wf.constant(1.0)])
    parts = {each.device[-5:]: str(each) for each in plan([i, a]).plans}
    assert "Sin(" in parts["CPU:1"]
    assert "Sin(" not in parts["CPU:0"]
    assert "ReadVariableOp(" in parts["CPU:0"]
    check([i, a])


def test_colocate_with_holds_inside() -> None:
    with wf.device(C):
        anchor = wf.placeholder_with_default(1.0, [])

    def body(i: Any, a: Any) -> Any:
        with wf.colocate_with(anchor):
            b = wf.cos(a)
        return i + 1, b

    with wf.device(A):
        i, a = wf.while_loop(lambda i, a: i < 3, body, [wf.placeholder_with_default(0, []), anchor])
        total = wf.cast(i, wf.float32) + a
    assert "Cos(" in {each.device[-5:]: str(each) for each in plan(total).plans}["CPU:2"]
    check([total])


def test_scans_and_maps_of_elements_on_several_devices_with_gradients_of_two_orders() -> None:
    x = wf.constant(np.arange(12, dtype=np.float32).reshape(4, 3) / 7)
    with wf.device(B):
        v = wf.Variable(np.float32(1.5))

    def step(a: Any, e: Any) -> Any:
        with wf.device(B):
            b = wf.sin(a) * e + v
        with wf.device(C):
            return wf.tanh(b + e)

    y = wf.scan(step, x)
    z = wf.map_fn(lambda e: step(e, e), y)
    first = [wf.convert_to_tensor(each) for each in wf.gradients(z, [x, v])]
    second = wf.gradients(wf.reduce_sum(wf.square(first[0])) + wf.square(first[1]), [x, v])
    assert kinds(y)["CPU:2"] == ["WhilePart"]
    check([y, z, *first, *map(wf.convert_to_tensor, second)])


def test_a_gradient_keeps_the_tape_where_the_values_are() -> None:
    x = wf.placeholder_with_default(np.float32(0.5), [])

    def body(i: Any, a: Any) -> Any:
        with wf.device(B):
            b = wf.sin(wf.sin(a) * 2.0)
        return i + 1, b

    with wf.device(A):
        _, y = wf.while_loop(lambda i, a: i < 7, body, [0, x])
    (grad,) = wf.gradients(y, x, colocate_gradients_with_ops=True)
    parts = {each.device[-5:]: each for each in plan(grad).plans}
    assert "Cos" in str(parts["CPU:1"])
    assert "Cos" not in str(parts["CPU:0"])
    backward = [i for i in parts["CPU:0"].instructions if isinstance(i, Run) and i.name.startswith("gradients")]
    crossing = [i.name for i in all_instructions(backward) if isinstance(i, Send)]
    assert not [name for name in crossing if "TapeRead" in name and "v1" not in name]
    check([y, grad])


def test_values_of_other_types_cross_inside() -> None:
    def body(i: Any, words: Any, odd: Any) -> Any:
        with wf.device(B):
            longer = wf.concat([words, wf.constant([b"\x00\xff", b""])], 0)
            return i + 1, longer, wf.logical_not(odd)

    unknown = [wf.TensorShape([]), wf.TensorShape([None]), wf.TensorShape([])]
    with wf.device(A):
        start = [0, wf.constant([b"a"]), wf.constant(False)]
        i, words, odd = wf.while_loop(lambda i, w, o: i < 3, body, start, shape_invariants=unknown)
    found = values([i, words, odd])
    assert found[1].tolist() == [b"a"] + [b"\x00\xff", b""] * 3
    assert found[2]


# how it is seen


def test_parts_are_printed_explained_and_noted_in_traces() -> None:
    fetches = three_devices()
    with wf.Session(config=config()) as session:
        metadata = wf.RunMetadata()
        session.run(fetches, options=wf.RunOptions(trace_level=wf.RunOptions.FULL_TRACE), run_metadata=metadata)
        text = str(session.plan(fetches))
        assert "WhilePart" in session.plan(fetches).explain()
    assert "condition:" in text
    assert "body:" in text
    nodes = [node for device in metadata.step_stats.dev_stats for node in device.node_stats]
    assert sum("WhilePart" in node.timeline_label for node in nodes) == 3
    assert sum("_Recv()" in node.timeline_label and "Less" in node.timeline_label for node in nodes) == 2 * 6


def test_parts_travel_as_data() -> None:
    x = wf.placeholder_with_default(np.float32(0.5), [])
    y = wf.cond(x > 0, lambda: three_devices(2)[1], lambda: wf.fill([4], x))
    grads = wf.gradients(y, x)
    step = plan([y, *grads])
    assert any(
        isinstance(i, Run) and isinstance(i.definition, WhilePart) for i in all_instructions(step.plans[0].instructions)
    )
    for each in step.plans:
        data, arrays = encode_plan(each)
        assert decode_plan(data, arrays) == each


#: The places in a loop's part as data: its plans, what its feeds and the variables that follow are, how many feeds there are.
PLANS, NUMBERS, COUNT, ENTRIES, TELLS, ONCE, ACCESSES, SPECS = 1, 2, 3, 4, 5, 6, 8, 9


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (0, "IfPart"),  # what is told of a loop is not told of a branch
        (PLANS, []),
        (NUMBERS, [[0, 1, 2], [0, 1], [0, 1], []]),
        (NUMBERS, [[0, 1, 2, 3], [0, 9], [0, 1], []]),
        (NUMBERS, [[0, 1, 2, 9], [0, 1], [0, 1], []]),
        (COUNT, 3),
        (COUNT, 1 << 40),
        (ENTRIES, ["one"]),
        (TELLS, [-1, "x"]),
        (ONCE, [[], [], []]),
        (ONCE, [[], [2], []]),
        (ONCE, [[], [1 << 40], []]),
        (ONCE, [[5], [4], []]),
        (ONCE, [[], [4], [[0]]]),
        (ACCESSES, ["", "", "", "call"]),
        (ACCESSES, [""]),
        (SPECS, []),
    ],
)
def test_parts_that_are_none_are_refused(place: int, value: Any) -> None:
    with wf.device(A):
        v = wf.Variable(np.float32(1.0))
        x = wf.placeholder(wf.float32, [])

    def body(i: Any, a: Any) -> Any:
        with wf.device(C):
            b = wf.sin(a)
        return i + 1, b * v + x

    with wf.device(A):
        fetches = list(wf.while_loop(lambda i, a: i < 3, body, [0, wf.constant(1.0)]))
    data, arrays = encode_plan(plan(fetches).plans[0])
    device, size, rows = json.loads(data)
    (part,) = [row[2] for row in rows if row[0] == "run" and row[2][0] == "WhilePart"]
    assert part[NUMBERS][0] == [0, 1, 2, 3]
    part[place] = value
    with pytest.raises(errors.DataLossError):
        decode_plan(json.dumps([device, size, rows]).encode(), arrays)


# what ends badly


def failing(device: str) -> Any:
    """A loop of which an iteration fails on a device."""

    def body(i: Any, a: Any) -> Any:
        with wf.device(device):
            bad = wf.gather(wf.constant([1.0, 2.0, 3.0]), i, name="lookup")
        with wf.device(B):
            return i + 1, wf.sin(a) + bad

    with wf.device(A):
        return wf.while_loop(lambda i, a: i < 10, body, [0, wf.constant(1.0)])[1]


@pytest.mark.parametrize("device", [A, B, C])
def test_an_error_inside_names_the_operation_and_the_line(device: str) -> None:
    y = failing(device)
    with wf.Session(config=config()) as session:
        with pytest.raises(wf.errors.InvalidArgumentError, match=r"lookup.*\n.*test_spanning\.py") as caught:
            session.run(y)
        assert caught.value.op is not None
        assert caught.value.op.name.endswith("lookup")
        assert session.run(wf.constant(1.0)) == 1.0


def endless() -> Any:
    def body(i: Any, a: Any) -> Any:
        with wf.device(B):
            return i + 1, wf.sin(a)

    with wf.device(A):
        return wf.while_loop(lambda i, a: a < 2.0, body, [0, wf.constant(1.0)])[1]


def test_a_deadline_ends_a_loop_on_several_devices() -> None:
    y = endless()
    with wf.Session(config=config()) as session:
        with pytest.raises(wf.errors.DeadlineExceededError):
            session.run(y, options=wf.RunOptions(timeout_in_ms=200))
        assert session.run(wf.constant(1.0)) == 1.0


def test_closing_the_session_ends_a_loop_on_several_devices() -> None:
    y = endless()
    session = wf.Session(config=config())
    engine: Any = session._engine
    running = in_background(session.run, y)
    soon(lambda: bool(engine._running))
    session.close()
    with pytest.raises((wf.errors.CancelledError, RuntimeError)):
        running()


def test_a_wrong_device_inside_is_an_error_that_names_it() -> None:
    def body(i: Any) -> Any:
        with wf.device("/cpu:7"):
            return wf.add(i, 1, name="far")

    i = wf.while_loop(lambda i: i < 3, body, [0])
    missing = pytest.raises(wf.errors.InvalidArgumentError, match=r"Cannot assign a device.*far.*CPU:7")
    with wf.Session(config=wf.ConfigProto(device_count={"CPU": 3})) as session, missing:
        session.run(i)


# how far one may be ahead


def one_that_only_takes(count: int) -> list[wf.Tensor]:
    """A loop in which the second device adds up what it gets, and the first never hears of it."""

    def body(i: Any, total: Any) -> Any:
        with wf.device(B):
            after = total + wf.cast(i, wf.float32)
        return i + 1, after

    with wf.device(A):
        return list(wf.while_loop(lambda i, _: i < count, body, [0, wf.constant(0.0)], parallel_iterations=32))


def test_a_device_is_not_ahead_without_limit_of_one_that_only_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    most, put, receive = [0], Rendezvous.put, Rendezvous.receive
    caller = threading.current_thread()

    def counted(self: Rendezvous, edge: int, value: Any) -> None:
        put(self, edge, value)
        most[0] = max(most[0], *map(len, self._values.copy().values()), 0)

    def slowly(self: Rendezvous, edge: int) -> Any:
        if threading.current_thread() is not caller:  # which is the first device's
            soon(lambda: most[0] >= AHEAD - 2)
            time.sleep(0.001)
        return receive(self, edge)

    monkeypatch.setattr(Rendezvous, "put", counted)
    monkeypatch.setattr(Rendezvous, "receive", slowly)
    assert values(one_that_only_takes(200)) == [200, 19900.0]
    assert AHEAD - 2 <= most[0] <= AHEAD + 1


def test_only_who_says_nothing_else_says_that_an_iteration_is_done() -> None:
    def parts(fetches: Any) -> list[WhilePart]:
        runs = [i for each in plan(fetches).plans for i in each.instructions if isinstance(i, Run)]
        return [run.definition for run in runs if isinstance(run.definition, WhilePart)]

    silent, talking = parts(one_that_only_takes(5)), parts(three_devices())
    assert [part.tells is not None for part in silent] == [False, True]
    assert [len(part.waits) for part in silent] == [1, 0]
    assert [part.tells for part in talking] == [None] * 3
    for each in plan(three_devices()).plans:
        outside = [i for i in each.instructions if isinstance(i, Send)]
        assert all(i.again != (i in outside) for i in all_instructions(each.instructions) if isinstance(i, Send))


def test_machine_code_gives_the_same_bits() -> None:
    pytest.importorskip("llvmlite")
    fetches = three_devices()
    assert same_bits(values(fetches, backend="llvm"), values(fetches, devices=1, backend="llvm"))
