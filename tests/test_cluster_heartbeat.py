"""Tasks that are silent: noticed from what is counted of them, and only while something is expected of them."""

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import weft as wf
from scripted import HOP, HUGE, ONLY_A, A, B, X, loads, nothing_left_soon, scripted, session, silent, workers
from weft.cluster.session.engine import ClusterEngine
from weft.cluster.session.heartbeat import Heartbeat, Signs
from weft.cluster.session.step import Loaded, SessionStep, expected
from weft.cluster.session.step_state import Replied, StepState
from weft.cluster.session.told import Told
from weft.cluster.task import client as client_module
from weft.cluster.task.client import Client
from weft.cluster.task.loaded_plan import LoadedPlan
from weft.cluster.transports.transport import Connection
from weft.cluster.wire.message import Message
from weft.cluster.wire.protocol import Failure, Kind
from weft.graph import errors
from weft.graph.state import State
from weft.runtime.stages.plan import StepPlan

pytestmark = pytest.mark.counts

LOST = (
    rf"Task {A} on host \(process 7\) has not answered for 0\.4 s: its process may be stopped, or its host unreachable"
)


@pytest.fixture(autouse=True)
def leaves_nothing() -> Iterator[None]:
    with nothing_left_soon():
        yield


# the logic


def test_a_step_that_takes_long_waits_for_what_those_have_sent_that_did_their_part() -> None:
    nothing = Loaded((), 0, {}, {}, {})
    steps = [SessionStep(number, nothing, StepState("ab"), None, 0.0, None) for number in (4, 5)]
    for step in steps:
        step.state.handle(Replied("a", []))
    assert expected(steps, 3) == {"b": 4}
    assert expected(steps, 4) == {"a": 4, "b": 4}
    assert expected(steps[1:], 5) == {"a": 5, "b": 5}


def test_a_step_without_a_deadline_is_spoken_of_at_twice_its_age_and_again() -> None:
    nothing = Loaded((), 0, {}, {}, {})
    steps = {
        number: SessionStep(number, nothing, StepState("ab"), None, 100.0, deadline)
        for number, deadline in ((4, None), (5, 1000.0))
    }
    told = Told()
    told.hear("a", 3, "was computing")  # of another step
    assert told.slow(steps, 159.0) == []
    (unknown,) = told.slow(steps, 160.0)
    assert (
        unknown
        == "A step goes on for 60 s, without a deadline: when last heard of, a, b have not said yet what they do"
    )
    told.hear("a", 4, "had waited for 'x' of b for 1.0 s")
    assert told.slow(steps, 219.0) == []
    (said,) = told.slow(steps, 221.0)
    assert said.endswith("for 121 s, without a deadline: when last heard of, a had waited for 'x' of b for 1.0 s")
    assert told.slow(steps, 341.0) == []
    assert told.slow({}, 1000.0) == []
    assert len(told.slow(steps, 342.0)) == 1  # it counts as another one


def beats(heartbeat: Heartbeat, *signs: Signs | None, seconds: float = 1.0) -> list[list[str]]:
    """What is said at each of some beats; None for one at which nothing is expected of the task."""
    return [heartbeat.beat(seconds, {} if each is None else {"a": each}) for each in signs]


def test_silence_is_counted_from_the_first_beat_on() -> None:
    quiet = Signs(10, 10, True)
    assert beats(Heartbeat(3.0), quiet, quiet, quiet, quiet) == [[], [], [], ["a"]]


def test_what_comes_is_a_sign_of_life() -> None:
    assert beats(Heartbeat(2.0), *(Signs(count, 0, True) for count in (1, 1, 2, 2, 3, 3))) == [[]] * 6


def test_what_goes_is_one_only_of_a_message_on_its_way() -> None:
    """What is sent else may just lie in the system's memory."""
    assert beats(Heartbeat(2.0), *(Signs(0, count, False) for count in range(6))) == [[]] * 6
    assert beats(Heartbeat(2.0), *(Signs(0, count, True) for count in range(3)))[-1] == ["a"]
    assert beats(Heartbeat(2.0), *(Signs(0, 9, False) for _ in range(3)))[-1] == ["a"]


def test_silence_begins_anew_when_something_is_expected_again() -> None:
    quiet = Signs(1, 1, True)
    assert beats(Heartbeat(2.0), quiet, quiet, None, quiet, quiet) == [[]] * 5


def test_a_beat_that_comes_late_does_not_count_for_more_than_two() -> None:
    quiet = Signs(1, 1, True)
    assert beats(Heartbeat(15.0), *[quiet] * 8, seconds=3600) == [[]] * 8
    assert Heartbeat(15.0).interval == 1
    assert Heartbeat(0.4).interval == 0.1


def test_each_task_is_counted_for_itself() -> None:
    heartbeat = Heartbeat(2.0)
    for beat in range(3):
        lost = heartbeat.beat(1.0, {"a": Signs(0, 0, True), "b": Signs(beat, 0, True)})
    assert lost == ["a"]


# sessions


@contextmanager
def patience(engine: ClusterEngine) -> Iterator[None]:
    """A block in which tasks may take as long for an answer as a busy machine makes them."""
    limit, engine._heartbeat.limit = engine._heartbeat.limit, math.inf
    yield
    engine._heartbeat.limit = limit


def loaded(engine: ClusterEngine, plan: StepPlan) -> Loaded:
    with patience(engine):
        return engine.load(plan)


def test_a_task_that_falls_silent_ends_the_step_and_those_after_it() -> None:
    with scripted(loads, pings=False, heartbeat=0.4) as engine:
        handle = loaded(engine, ONLY_A)
        started = time.monotonic()
        with pytest.raises(errors.UnavailableError, match=f"{LOST}$"):
            engine.run(handle, [X], None)
        assert time.monotonic() - started > 0.3
        with pytest.raises(errors.UnavailableError, match=LOST):
            engine.run(handle, [X], None)


def test_the_error_tells_what_the_task_said_last() -> None:
    def script(connection: Connection, message: Message) -> None:
        if not loads(connection, message) and message.kind == Kind.STEP:
            connection.send(Message(Kind.PONG, 0, message.step, meta=b"was computing"))

    with scripted(script, pings=False, heartbeat=0.4) as engine:
        handle = loaded(engine, ONLY_A)
        with pytest.raises(errors.UnavailableError, match=f"{LOST}; when last heard of, it was computing$"):
            engine.run(handle, [X], None)


def test_a_task_that_takes_long_but_answers_is_waited_for() -> None:
    waiting = threading.Event()

    def script(connection: Connection, message: Message) -> None:
        if not loads(connection, message) and message.kind == Kind.STEP:  # and not UNLOAD
            timer = threading.Timer(4, connection.send, [Message(Kind.RESULT, 0, message.step, tensors=[X])])
            timer.start()
            waiting.set()

    with scripted(script, heartbeat=2) as engine:
        np.testing.assert_array_equal(engine.run(engine.load(ONLY_A), [X], None)[0], X)
    assert waiting.is_set()


def test_a_task_of_which_nothing_is_expected_may_be_silent() -> None:
    def script(connection: Connection, message: Message) -> None:
        if not loads(connection, message):
            connection.send(Message(Kind.RESULT, 0, message.step, tensors=[X]))

    with scripted(script, pings=False, heartbeat=0.2) as engine:
        handle = loaded(engine, ONLY_A)
        for _ in range(2):
            time.sleep(0.5)
            with patience(engine):
                np.testing.assert_array_equal(engine.run(handle, [X], None)[0], X)


def test_a_task_that_does_not_take_a_feed() -> None:
    with silent(messages=1, heartbeat=0.4) as engine:
        handle = loaded(engine, ONLY_A)
        with pytest.raises(errors.UnavailableError, match=LOST):
            engine.run(handle, [np.ones(3_000_000)], None)


def test_a_task_that_does_not_take_a_plan() -> None:
    with silent(heartbeat=0.4) as engine, pytest.raises(errors.UnavailableError, match=LOST):
        engine.load(HUGE)


def test_a_task_answers_while_it_makes_a_plan_ready_and_while_it_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*arguments: Any) -> Any:
        time.sleep(4)
        return LoadedPlan(*arguments)

    monkeypatch.setattr(client_module, "LoadedPlan", slow)
    with workers(A, B) as made, session(made, heartbeat=2) as engine:
        lonely = engine.load(StepPlan(HOP.plans[1:], 1))
        with pytest.raises(errors.DeadlineExceededError, match="had waited for 'x'"):
            engine.run(lonely, [], 4)


@contextmanager
def loses_the_last_message(
    heartbeat: float, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Client, Callable[[], Any]]]:
    """A step without a deadline, of which the one message between its tasks is lost: its sender, and the step's end."""
    with workers(A, B) as made, session(made, heartbeat=heartbeat) as engine:
        hop = engine.load(HOP)
        engine.run(hop, [X], None)
        (sender,) = made[0]._clients.values()
        link: Any = sender._peers[B]
        transmit = link._transmit

        def lose(pieces: Any) -> None:
            monkeypatch.setattr(link, "_transmit", transmit)
            link._frames_sent += 1

        monkeypatch.setattr(link, "_transmit", lose)
        yield sender, lambda: engine.run(hop, [X], None)


class Busy:
    """A connection over which another thread sends, until somebody has tried three times."""

    def __init__(self) -> None:
        self.tried, self.sent = 0, list[Message]()

    def poke(self, message: Message) -> bool:
        self.tried += 1
        if self.tried > 3:
            self.sent.append(message)
        return bool(self.sent)

    def close(self) -> None:
        pass


def test_why_a_task_ends_a_session_is_said_though_an_answer_is_on_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    failure = Failure(errors.UNAVAILABLE, "what a task sent to it was lost")
    line = Busy()
    client = Client("s", B, State(), lambda *_: None)  # type: ignore[arg-type]
    client.attach(line)  # type: ignore[arg-type]
    client.end(failure)
    assert [(message.kind, Failure.decode(message.meta)) for message in line.sent] == [(Kind.ENDED, failure)]
    monkeypatch.setattr(client_module, "LAST_WORDS_SECONDS", 0.01)
    mute = Client("s", B, State(), lambda *_: None)  # type: ignore[arg-type]
    monkeypatch.setattr(line, "poke", lambda _: False)
    mute.attach(line)  # type: ignore[arg-type]
    mute.end(failure)  # and it ends when nothing can be said


def test_a_session_hears_that_the_last_message_of_a_step_was_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """No later one tells of it, and its sender has done its part: but it is asked when the step takes long."""
    with loses_the_last_message(4, monkeypatch) as (_, run):
        lost = f"Task {B} has ended this session: what a task sent to it was lost: {A}: expected its message"
        with pytest.raises(errors.UnavailableError, match=lost):
            run()


def test_a_task_that_falls_silent_when_it_has_done_its_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it sent last may be lost with its host."""
    with loses_the_last_message(2, monkeypatch) as (sender, run):
        monkeypatch.setattr(sender, "_answer", lambda *_: None)
        with pytest.raises(errors.UnavailableError, match=rf"Task {A} has not answered for 2 s"):
            run()


@pytest.mark.parametrize("seconds", [0, -1.0, float("nan")])
def test_a_heartbeat_of_no_time(seconds: float) -> None:
    with pytest.raises(ValueError, match="heartbeat_timeout must be a positive number of seconds"):
        wf.cluster.start({"worker": 1}, heartbeat_timeout=seconds)
