"""Parts of a step that begin, and end, with another part's value: which these are, and that nothing is lost by it."""

import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import numpy as np
import pytest
import weft as wf
from hostile import as_json, changed_json, fuzzed, survives
from hypothesis import given, strategies as st
from scripted import CPU_A, CPU_B, HOP, A, B, X, nothing_left_soon, session, workers
from test_cluster_sessions import session_on
from weft.cluster.session import engine as engine_module
from weft.cluster.task.client import Client, Run
from weft.cluster.task.loaded_plan import LoadedPlan
from weft.cluster.transports.sockets import StreamConnection
from weft.cluster.wire.message import HEADER, Message
from weft.cluster.wire.plans import encode_plan
from weft.cluster.wire.protocol import ABORT_HEAD, BEGIN_HEAD, STEP_HEAD, Failure, Kind
from weft.cluster.wire.relays import Relay, beginnings, endings, relays
from weft.graph import errors
from weft.graph.state import State
from weft.runtime.stages.plan import Fetch, Free, Instruction, Plan, Receive, Send, StepPlan, TakeFeed

pytestmark = pytest.mark.counts

C = "/job:c/replica:0/task:0"
CPU_C = f"{C}/device:CPU:0"


@pytest.fixture(autouse=True)
def leaves_nothing() -> Iterator[None]:
    with nothing_left_soon():
        yield


def plans(**devices: list[Instruction]) -> list[Plan]:
    places = {"a": CPU_A, "b": CPU_B, "c": CPU_C}
    return [Plan(places[name], tuple(instructions), 0) for name, instructions in devices.items()]


def send(edge: int, to: str, again: bool = False) -> Send:
    return Send(0, edge, to, f"x{edge}", again)


def take(edge: int) -> Receive:
    return Receive(0, edge, CPU_A, f"x{edge}")


Devices = dict[str, list[Instruction]]
FEED, FETCH = TakeFeed(0, 0, "x"), Fetch(0, 0, False)
LOOP: Devices = {"a": [FEED, send(1, CPU_B, again=True)], "b": [take(1), send(2, CPU_A, again=True)]}
BACK: Devices = {"a": [FEED, send(1, CPU_B), take(2), FETCH], "b": [take(1), send(2, CPU_A)]}
ALONG: Devices = {
    "a": [FEED, send(1, CPU_B)],
    "b": [take(1), send(2, CPU_C), Free((0,))],
    "c": [take(2), FETCH],
}
FED: Devices = {"a": [send(1, CPU_B)], "b": [take(1), FEED, FETCH]}
RETURNED: Devices = {"a": [FEED, FETCH, send(1, CPU_B)], "b": [FEED, take(1)]}
NOWHERE: Devices = {"a": [FEED, send(1, CPU_B)], "b": [take(3), FETCH]}
BOTH_WAYS: Devices = {"a": [send(1, CPU_B), take(2)], "b": [take(1), send(2, CPU_A)]}


@pytest.mark.parametrize(("devices", "begun", "ended"), [
    (BACK, {1: (1, 0)}, {1: 0}), (ALONG, {1: (1, 0), 2: (2, 1)}, {0: 2, 1: 2}), (FED, {}, {0: 1}), (RETURNED, {}, {}),
    (LOOP, {}, {}), (NOWHERE, {}, {}), (BOTH_WAYS, {1: (1, 0)}, {1: 0}),
])  # fmt: skip
def test_which_parts_need_no_message(devices: Devices, begun: dict[int, Any], ended: dict[int, int]) -> None:
    assert beginnings(plans(**devices)) == begun
    assert endings(plans(**devices)) == ended


def test_how_each_part_begins_and_ends() -> None:
    found = relays(plans(**ALONG), [7, 8, 9])
    assert found == [Relay(None, {1: 8}, True), Relay(1, {2: 9}, True), Relay(2, {}, False)]
    assert [Relay.decode(each.encode()) for each in found] == found


@fuzzed(300)
@given(data=st.data())
def test_what_is_no_relay_is_refused(data: st.DataObject) -> None:
    """What is none of these may still be one: then its numbers are such as messages can carry."""
    told = as_json(data.draw(changed_json([json.loads(each.encode()) for each in relays(plans(**ALONG), [7, 8, 9])])))

    def read() -> None:
        for edge, number in Relay.decode(told).begins.items():
            BEGIN_HEAD.pack(edge, number)

    survives(read, (errors.DataLossError,), 1 << 20)


# steps on tasks


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[tuple[str, str]]]:
    """What is sent of steps, and to whom."""
    found: Counter[tuple[str, str]] = Counter()
    transmit = StreamConnection._transmit

    def noted(self: StreamConnection, pieces: list[Any]) -> None:
        kind = HEADER.unpack_from(pieces[0])[4]
        if kind in (Kind.STEP, Kind.RESULT, Kind.TENSOR, Kind.BEGIN, Kind.TRACE):
            found[Kind(kind).name, self.peer] += 1
        transmit(self, pieces)

    with monkeypatch.context() as patch:
        patch.setattr(StreamConnection, "_transmit", noted)
        yield found


def test_a_tensor_over_two_tasks_is_three_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    with workers(A, B) as made, session(made) as engine:
        hop = engine.load(HOP)
        for size in (4, X.size):
            with counted(monkeypatch) as sent:
                np.testing.assert_array_equal(engine.run(hop, [X[:size]], 5)[0], X[:size])
            assert sent == {("STEP", A): 1, ("BEGIN", B): 1, ("RESULT", "the session"): 1}


def test_a_chain_of_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    with workers(A, B, C) as made, session(made) as engine:
        along, back = engine.load(StepPlan(tuple(plans(**ALONG)), 1)), engine.load(StepPlan(tuple(plans(**BACK)), 1))
        with counted(monkeypatch) as sent:
            for step in range(3):
                np.testing.assert_array_equal(engine.run(along, [X + step], 5)[0], X + step)
                np.testing.assert_array_equal(engine.run(back, [X - step], 5)[0], X - step)
        assert sent[("STEP", A)] == sent[("BEGIN", B)] == 6
        assert sent[("BEGIN", C)] == 3
        assert sent[("TENSOR", A)] == 3
        assert sent.total() == 6 + 6 + 3 + 3 + 6, "and a result of each step"


@pytest.mark.parametrize("trained", [False, True])
def test_a_training_step_on_two_workers(monkeypatch: pytest.MonkeyPatch, trained: bool) -> None:
    with wf.device(A):
        weights = wf.Variable(np.arange(5_000, dtype=np.float32))
        value = weights.read_value()
    halves = []
    for task in (B, C):
        with wf.device(task):
            halves.append(value * 0.5)
    with wf.device(A):
        update = weights.assign_sub(wf.add_n(halves) * 0.25).op
    with workers(A, B, C) as made, session(made) as engine, session_on(engine) as wanted:
        wanted.run(wf.global_variables_initializer())
        wanted.run(update)
        with counted(monkeypatch) as sent:
            if trained:
                wanted.run(update, options=wf.RunOptions(trace_level=wf.RunOptions.FULL_TRACE), run_metadata=(
                    noted := wf.RunMetadata()
                ))  # fmt: skip
                assert len(noted.step_stats.dev_stats) == 3
            else:
                wanted.run(update)
        if trained:  # all are told to note what ran, and tell
            assert (sent["TRACE", A], sent["TRACE", B], sent["RESULT", "the session"]) == (1, 1, 3)
        else:
            assert sent == {("STEP", A): 1, ("BEGIN", B): 1, ("BEGIN", C): 1, ("TENSOR", A): 2,
                            ("RESULT", "the session"): 1}  # fmt: skip
        np.testing.assert_array_equal(wanted.run(weights), np.arange(5_000, dtype=np.float32) * 0.75**2)


def test_steps_in_a_row_are_begun_in_their_order_by_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    with workers(A, B) as made, session(made) as engine:
        hop, stream = engine.load(HOP), engine.stream()
        with counted(monkeypatch) as sent:
            steps = [stream.begin(hop, [X + step], None) for step in range(4)]
            for step, each in enumerate(steps):
                np.testing.assert_array_equal(stream.end(each, 5)[0], X + step)
        assert sent == {("STEP", A): 4, ("STEP", B): 4, ("TENSOR", B): 4, ("RESULT", "the session"): 4}


# steps that are given up


def test_who_was_not_begun_says_what_it_would_have_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Task a waits for ever, so b hears of the step only when it is given up."""
    monkeypatch.setattr(engine_module, "GRACE_SECONDS", 60.0)
    stuck = plans(a=[FEED, take(9), send(1, CPU_B)], b=[take(1), FETCH])
    with workers(A, B) as made, session(made) as engine:
        handle, hop = engine.load(StepPlan(tuple(stuck), 1)), engine.load(HOP)
        with pytest.raises(errors.DeadlineExceededError) as caught:
            engine.run(handle, [X], 0.5)
        assert f"{A} had waited for 'x9' of {A} for " in caught.value.message
        assert f"{B} had waited for 'x1' of {A} for " in caught.value.message
        np.testing.assert_array_equal(engine.run(hop, [X], 5)[0], X)
        assert engine._done == 4, "two loads and two steps"


def test_a_part_that_ended_silently_answers_when_the_step_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Task a has sent its value and is over, and b waits for ever for something else."""
    monkeypatch.setattr(engine_module, "GRACE_SECONDS", 60.0)
    stuck = plans(a=[FEED, send(1, CPU_B)], b=[take(1), take(9), FETCH])
    with workers(A, B) as made, session(made) as engine:
        handle = engine.load(StepPlan(tuple(stuck), 1))
        with pytest.raises(errors.DeadlineExceededError) as caught:
            engine.run(handle, [X], 0.5)
        text = rf"The step took longer than 0\.5 s: {B} had waited for 'x9' of {A} for \d+\.\d s"
        assert re.fullmatch(text, caught.value.message)
        assert engine._done == 2, "a load and a step"


def test_the_failure_of_a_silent_part_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with wf.device(A):
        x = wf.placeholder(wf.float32, [2])
        checked = wf.check_numerics(x, "x") * 2.0
    with wf.device(B):
        result = checked + 1.0
    with workers(A, B) as made, session(made) as engine, session_on(engine) as wanted:
        for _ in range(2):
            np.testing.assert_array_equal(wanted.run(result, {x: [1.0, 2.0]}), [3.0, 5.0])
            with pytest.raises(errors.InvalidArgumentError, match="x : Tensor had NaN values"):
                wanted.run(result, {x: [1.0, np.nan]})


# a task alone


class Line:
    """A connection that notes what is sent."""

    by_reference = False

    def __init__(self, peer: str) -> None:
        self.peer, self.sent = peer, list[Message]()

    def send(self, message: Message) -> None:
        self.sent.append(message)

    def close(self) -> None:
        pass

    def release(self, step: int) -> None:
        pass


@contextmanager
def task(plan: Plan, relay: Relay) -> Iterator[tuple[Client, Line]]:
    """Task b's side of a session, with one plan of number 3."""

    def dial(name: str, task: str, arena: Any) -> Any:
        return Line(task)

    line = Line("the session")
    with closing(Client("s", B, State(), dial)) as client:
        client.attach(line)  # type: ignore[arg-type]
        data, arrays = encode_plan(plan)
        loads = Message(Kind.LOAD, 0, 1, 3, relay.encode() + b"\n" + data, arrays)
        assert told(client, line, loads) is None
        until(line, Kind.LOADED)
        yield client, line


def told(client: Client, line: Line, message: Message) -> Run | None:
    return client.take(line, message)  # type: ignore[arg-type]


def until(line: Line, kind: Kind) -> Message:
    deadline = time.monotonic() + 60
    while not line.sent:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    (message,) = line.sent
    line.sent.clear()
    assert message.kind == kind
    return message


PEER, TWO = Line(A), np.array(2.0)
GIVE_UP = Message(Kind.ABORT, 0, 5, 3, ABORT_HEAD.pack(1.5))
BEGIN = Message(Kind.BEGIN, 0, 5, 1, BEGIN_HEAD.pack(0, 3), [TWO])
ENDS = Plan(CPU_B, (take(1), send(2, CPU_A)), 0)


def test_a_value_begins_nothing_in_a_step_that_was_given_up_before_it_came() -> None:
    with task(HOP.plans[1], Relay(7)) as (client, line):
        assert told(client, line, GIVE_UP) is None
        answer = Failure.decode(until(line, Kind.FAILED).meta)
        assert answer == Failure(errors.CANCELLED, f"{B} had waited for 'x' of {A} for 1.5 s", derived=True)
        late = Message(Kind.BEGIN, 0, 5, 7, BEGIN_HEAD.pack(0, 3), [TWO])
        assert told(client, PEER, late) is None


def test_a_silent_plan_answers_once_and_only_if_it_is_asked() -> None:
    with task(ENDS, Relay(1, {}, True)) as (client, line):
        run = told(client, PEER, BEGIN)
        assert run is not None
        run()
        assert line.sent == []
        told(client, line, GIVE_UP)
        assert until(line, Kind.RESULT).step == 5


def test_a_silent_plan_that_is_given_up_while_it_runs_answers_itself() -> None:
    with task(ENDS, Relay(1, {}, True)) as (client, line):
        run = told(client, PEER, BEGIN)
        told(client, line, GIVE_UP)
        assert line.sent == []
        assert run is not None
        run()
        assert Failure.decode(until(line, Kind.FAILED).meta).derived


def test_what_is_over_is_passed_on_with_the_value() -> None:
    with task(HOP.plans[1], Relay(7)) as (client, line):
        told(client, line, Message(Kind.STEP, 0, 4, 3, STEP_HEAD.pack(0, 0)))
        assert set(client._steps) == {4}
        head = BEGIN_HEAD.pack(4, 3)
        assert told(client, PEER, Message(Kind.BEGIN, 0, 5, 7, head, [TWO])) is not None
        assert set(client._steps) == {5}
        assert told(client, PEER, Message(Kind.BEGIN, 0, 4, 7, head, [TWO])) is None, "an old step's"


@pytest.mark.parametrize("message", [
    Message(Kind.BEGIN, 0, 5, 2, BEGIN_HEAD.pack(0, 3), [TWO]),
    Message(Kind.BEGIN, 0, 5, 1, bytes(15), [TWO]),
    Message(Kind.BEGIN, 0, 5, 1, bytes(17), [TWO]),
    Message(Kind.STEP, 0, 5, 3, STEP_HEAD.pack(0, 0)),
])  # fmt: skip
def test_what_begins_nothing_is_refused(message: Message) -> None:
    with task(ENDS, Relay(1)) as (client, _), pytest.raises(errors.DataLossError):
        told(client, PEER, message)


def test_only_plans_whose_kernels_may_last_can_be_ended_inside_of_one() -> None:
    """The others end where they wait for a value, or when they next send."""
    queue = wf.FIFOQueue(1, [wf.int32], [[]])
    variable = wf.Variable(1.0)
    loop = wf.while_loop(lambda i: i < wf.cast(variable, wf.int32), lambda i: i + 1, [wf.constant(0)])
    with wf.Session() as local:
        for fetch, lasts in (
            (queue.dequeue(), True),
            (loop, True),
            (variable + 1.0, False),
            (variable.assign(2.0), False),
        ):
            (plan,) = local.plan(fetch).plans
            assert LoadedPlan(plan, A, State(), Relay()).may_last == lasts, fetch
