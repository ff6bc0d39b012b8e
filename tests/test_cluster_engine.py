"""The engine of a cluster session and the tasks it speaks to, in one process: without Ray, and against tasks that misbehave."""

import json
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import numpy as np
import pytest
import weft as wf
from endpoints import SECRET, in_background
from scripted import (
    CPU_A,
    CPU_B,
    ECHO,
    HOP,
    HUGE,
    ONE,
    ONLY_A,
    A,
    B,
    X,
    constant,
    loads,
    nothing_left_soon,
    scripted,
    session,
    silent,
    soon,
    workers,
)
from weft.cluster.presence import roll_call
from weft.cluster.session import engine as engine_module
from weft.cluster.session.engine import ClusterEngine
from weft.cluster.task.client import Client
from weft.cluster.transports.transport import Connection, connect, listen
from weft.cluster.wire.message import Message
from weft.cluster.wire.protocol import STEP_HEAD, Failure, Kind
from weft.graph import errors
from weft.runtime import pipeline
from weft.runtime.stages.plan import Fetch, Plan, Receive, Send, StepPlan, TakeFeed

pytestmark = pytest.mark.counts


@pytest.fixture(autouse=True)
def leaves_nothing() -> Iterator[None]:
    with nothing_left_soon():
        yield


# real tasks


def test_values_there_and_back() -> None:
    with workers(A, B) as made, session(made) as engine:
        echo, hop = engine.load(ECHO), engine.load(HOP)
        for step in range(5):
            x, y = engine.run(echo, [X + step, np.float32(step)], None)
            np.testing.assert_array_equal(x, X + step)
            assert y == step
            np.testing.assert_array_equal(engine.run(hop, [X - step], 5)[0], X - step)
        assert [str(device) for device in engine.devices] == [CPU_A, CPU_B]


def test_feeds_that_cannot_be_sent_end_the_step_everywhere_at_once() -> None:
    with workers(A, B) as made, session(made) as engine:
        hop, echo = engine.load(HOP), engine.load(ECHO)
        for feeds in ([X, np.array("2026", "M8")], [np.array("2026", "M8"), X]):
            with pytest.raises(TypeError, match="datetime64"):
                engine.run(echo, feeds, None)
        np.testing.assert_array_equal(engine.run(hop, [X], None)[0], X)
        assert engine._done == 5, "two loads and three steps"


def test_a_session_whose_tasks_cannot_reach_each_other() -> None:
    with workers(A, B) as made, session(made, peers={A: {B: "shm://nobody"}, B: {}}) as engine:
        with pytest.raises(errors.UnavailableError) as caught:
            engine.run(engine.load(HOP), [X], None)
        assert caught.value.message == (f"{B} cannot be reached at shm://nobody: Connection refused (on {A})")


def test_a_step_waits_for_what_never_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "GRACE_SECONDS", 60.0)  # it answers, as soon as it gets to it
    with workers(A, B) as made, session(made) as engine:
        engine.run(engine.load(ECHO), [X, X], None)
        lonely = engine.load(StepPlan(HOP.plans[1:], 1))
        with pytest.raises(errors.DeadlineExceededError) as caught:
            engine.run(lonely, [], 0.5)
        text = rf"The step took longer than 0\.5 s: {B} had waited for 'x' of {A} for \d+\.\d s"
        assert re.fullmatch(text, caught.value.message)


def test_any_number_of_steps_may_wait() -> None:
    with workers(A, B) as made, session(made) as engine:
        lonely, echo = engine.load(StepPlan(HOP.plans[1:], 1)), engine.load(ECHO)
        waiting = [in_background(engine.run, lonely, [], None) for _ in range(300)]
        (there,) = made[1]._clients.values()
        soon(lambda: len(there._steps) == 300)
        np.testing.assert_array_equal(engine.run(echo, [X, X], 10)[1], X)
        engine.close()
        for each in waiting:
            with pytest.raises((errors.CancelledError, RuntimeError)):
                each()


def test_a_plan_that_a_task_cannot_make() -> None:
    with workers(A) as made, session(made) as engine:
        with pytest.raises(errors.OpError, match=rf"\(on {A}\)"):
            engine.load(StepPlan((Plan(CPU_A, (Fetch(3, 0, False),), -1),), 1))
        np.testing.assert_array_equal(engine.run(engine.load(ONLY_A), [X], None)[0], X)


def test_the_end_of_a_worker_is_the_end_of_its_steps() -> None:
    with workers(A, B) as made, session(made) as engine:
        lonely = engine.load(StepPlan(HOP.plans[1:], 1))
        running = in_background(engine.run, lonely, [], None)
        (client,) = made[1]._clients.values()
        soon(lambda: len(client._steps) == 1)
        made[1].close()
        with pytest.raises(errors.UnavailableError, match=f"Task {B} is gone: it closed the connection"):
            running()
        with pytest.raises(errors.UnavailableError, match=f"Task {B} is gone"):
            engine.load(HOP)


def test_what_a_worker_that_ends_gives_up_is_no_cause_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its steps are over before its connections are: the session must hear of the end, not of steps that were cancelled."""
    with workers(A, B) as made, session(made) as engine:
        (client,) = made[1]._clients.values()
        ran, run, close = threading.Event(), client.run, client._reading.close

        def runs(*step: Any) -> None:
            run(*step)
            ran.set()

        def closes() -> None:
            assert ran.wait(60), "the step is given up first"
            close()

        monkeypatch.setattr(client, "run", runs)
        monkeypatch.setattr(client._reading, "close", closes)
        running = in_background(engine.run, engine.load(StepPlan(HOP.plans[1:], 1)), [], None)
        soon(lambda: any(step._rendezvous.waits() for step in list(client._steps.values())))
        made[1].close()
        with pytest.raises(errors.UnavailableError, match=f"Task {B} is gone: it closed the connection"):
            running()


def test_peers_of_sessions_that_have_ended_are_sent_away() -> None:
    with workers(A) as made:
        greedy = b'{"role": "session", "client": "c", "threads": 1000000, "epoch": 0, "peers": {}}'
        for hello in (
            b'{"client": "nobody", "role": "/job:x"}',
            b"{}",
            b"[",
            b'{"client": 1, "role": "session"}',
            greedy,
        ):
            with closing(connect(made[0].addresses["tcp"], SECRET)) as connection:
                connection.send(Message(Kind.HELLO, 0, 0, meta=hello))
                with pytest.raises(errors.UnavailableError):
                    connection.recv(60)
        with closing(connect(made[0].addresses["tcp"], SECRET)) as connection:
            connection.send(Message(Kind.STEP, 0, 0))
            with pytest.raises(errors.UnavailableError):
                connection.recv(60)
        with session(made) as engine:
            np.testing.assert_array_equal(engine.run(engine.load(ONLY_A), [X], None)[0], X)


def test_a_task_that_ends_because_of_who_asks_has_answered_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else who asks takes it for one that has not come yet, and waits for it."""
    with workers(A) as made:
        monkeypatch.setattr(made[0].visitors, "heard_of", lambda task, serves: made[0].close())
        assert roll_call.ask(made[0].addresses["tcp"], SECRET, A, timeout=5, asker=B, serves=True).name == A


@contextmanager
def waits_for_a_peer() -> Iterator[tuple[Connection, Callable[[], Any]]]:
    """A session of which one task waits for the other without a deadline: a connection as the other one, and the step's end."""
    with workers(A, B) as made, session(made) as engine:
        waits = in_background(engine.run, engine.load(StepPlan(HOP.plans[1:], 1)), [], None)
        (client,) = made[1]._clients
        connection = connect(made[1].addresses["tcp"], SECRET, name=A)
        connection.send(Message(Kind.HELLO, 0, 0, meta=json.dumps({"client": client, "role": "peer"}).encode()))
        yield connection, waits


def test_a_session_hears_that_what_one_task_sent_to_another_was_lost() -> None:
    """The step waits for it without a deadline, and nothing else would tell that it never comes."""
    with waits_for_a_peer() as (connection, waits), closing(connection):
        connection.send(Message(Kind.STEP, 0, 1))
        with pytest.raises(errors.UnavailableError, match=f"Task {B} has ended this session: what a task sent to it"):
            waits()


def test_a_session_hears_that_the_connection_between_two_tasks_has_ended() -> None:
    """Both live, and the step waits without a deadline."""
    with waits_for_a_peer() as (connection, waits):
        connection.close()
        with pytest.raises(
            errors.UnavailableError, match=f"Task {B} has ended this session: .*it closed the connection"
        ):
            waits()


# tasks that misbehave


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Message(Kind.READY, 0, 1), "it sent a message of kind 2"),
        (Message(99, 0, 1), "it sent a message of kind 99"),
        (Message(Kind.FAILED, 0, 1, meta=b"{"), "expected JSON"),
        (Message(Kind.FAILED, 0, 1, meta=b'[1, "x", "", 0]'), "expected a failure"),
        (Message(Kind.FAILED, 0, 1, meta=b'[1e9, "x", "", false]'), "expected a failure"),
    ],
    ids=str,
)
def test_an_answer_that_makes_no_sense_ends_the_task(answer: Message, reason: str) -> None:
    def script(connection: Connection, message: Message) -> None:
        if not loads(connection, message):
            connection.send(answer)

    with scripted(script) as engine:
        handle = engine.load(ONE)
        for _ in range(2):
            with pytest.raises(errors.UnavailableError, match=rf"Task {A} on host \(process 7\) is gone: {reason}"):
                engine.run(handle, [X], None)


def test_a_plan_that_is_never_ready() -> None:
    with scripted(lambda connection, message: None) as engine:
        with pytest.raises(errors.DeadlineExceededError) as caught:
            engine.load(ONE, 0.1)
        assert caught.value.message == f"The step took longer than 0.1 s: {A} had not made its plan ready"


def test_a_plan_that_a_task_does_not_even_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "GRACE_SECONDS", 0.1)
    with silent(heartbeat=1) as engine, pytest.raises(errors.UnavailableError, match="it has not taken a message"):
        engine.load(HUGE, 0.1)


def test_a_session_may_be_closed_while_a_plan_is_sent() -> None:
    with silent() as engine:
        loading = in_background(engine.load, HUGE)
        soon(lambda: any(step.sending for step in list(engine._running.values())))
        engine.close()
        with pytest.raises(errors.CancelledError, match="Session::Close"):
            loading()


def test_memory_of_a_plan_is_not_used_again_before_the_task_has_taken_it() -> None:
    """The end of a step gives back what was sent for all before it, so a plan on its way is one of them."""
    waiting: list[Message] = []

    def script(connection: Connection, message: Message) -> None:
        if message.kind == Kind.STEP:
            connection.send(Message(Kind.RESULT, 0, message.step, tensors=[np.array(1.0)]))
        elif message.kind == Kind.LOAD and message.tensors:
            waiting.append(message)
        else:
            loads(connection, message)

    with scripted(script) as engine:
        handle = engine.load(ONLY_A)
        with pytest.raises(errors.DeadlineExceededError):
            engine.load(constant(X), 0.1)
        for step in range(3):
            engine.run(handle, [X + 1 + step], None)
        np.testing.assert_array_equal(waiting[0].tensors[0], X)


def test_plans_that_nobody_can_run_are_forgotten() -> None:
    with workers(A, B) as made, session(made) as engine:
        echo, hop = engine.load(ECHO), engine.load(HOP)
        clients = [client for worker in made for client in worker._clients.values()]
        del echo
        soon(lambda: [len(client._plans) for client in clients] == [1, 1])
        np.testing.assert_array_equal(engine.run(hop, [X], None)[0], X)
        with pytest.raises(errors.OpError):
            engine.load(StepPlan((Plan(CPU_A, (Fetch(3, 0, False),), -1),), 1))
        soon(lambda: [len(client._plans) for client in clients] == [1, 1])


def test_a_late_answer_frees_the_memory_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until a task has ended a step, what it was sent for it must stay; its answer is no answer to a later step."""
    monkeypatch.setattr(engine_module, "GRACE_SECONDS", 0.1)
    dones: list[int] = []

    def script(connection: Connection, message: Message) -> None:
        if loads(connection, message) or message.kind == Kind.ABORT:
            return
        dones.append(STEP_HEAD.unpack(message.meta)[0])
        if len(dones) == 1:
            return  # busy
        if len(dones) == 3:
            connection.send(Message(Kind.RESULT, 0, 2, tensors=[np.array(1.0)]))  # at last
        connection.send(Message(Kind.RESULT, 0, message.step, tensors=[np.array(message.step)]))

    with scripted(script) as engine:
        handle = engine.load(ONLY_A)
        with pytest.raises(errors.DeadlineExceededError) as caught:
            engine.run(handle, [X], 0.1)
        assert caught.value.message == (
            f"The step took longer than 0.1 s: {A} was still busy 0.1 s after it was told to stop"
        )
        assert [engine.run(handle, [X], 5)[0] for _ in range(3)] == [3, 4, 5]
    assert dones == [1, 1, 1, 4]


def test_a_derived_failure_is_better_than_none() -> None:
    def script(connection: Connection, message: Message) -> None:
        if not loads(connection, message):
            failure = Failure(errors.UNAVAILABLE, "b is gone", derived=True)
            connection.send(Message(Kind.FAILED, 0, message.step, meta=failure.encode()))

    with scripted(script) as engine, pytest.raises(errors.UnavailableError, match=rf"b is gone \(on {A}\)"):
        engine.run(engine.load(ONE), [X], None)


@pytest.mark.parametrize("when", ["load", "step"])
def test_a_session_that_is_closed_while_it_waits(when: str) -> None:
    def script(connection: Connection, message: Message) -> None:
        if when == "step":
            loads(connection, message)

    def use(engine: ClusterEngine) -> Any:
        return engine.run(engine.load(ONE), [X], None)

    with scripted(script) as engine:
        running = in_background(use, engine)
        soon(lambda: any(step.loads == (when == "load") for step in list(engine._running.values())))
        engine.close()
        with pytest.raises((errors.CancelledError, RuntimeError), match=r"Session::Close|closed Session"):
            running()


@pytest.mark.parametrize("waits", [True, False])
def test_a_session_may_be_closed_by_whoever_reads(waits: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the garbage collector does, when it runs there: in a thread that waits, or in one of the session's own."""
    closed = threading.Event()

    def script(connection: Connection, message: Message) -> None:
        if waits:
            loads(connection, message)
        else:
            connection.send(Message(Kind.REPORT, 0, 0))

    with scripted(script) as engine:

        def close(task: str, message: Message) -> None:
            engine.close()
            closed.set()

        monkeypatch.setattr(engine._links, "_take", close)
        if waits:
            with pytest.raises(errors.CancelledError, match="Session::Close"):
                engine.load(ONE)
        else:
            engine._links.send(A, Message(Kind.LOAD, 0, 1))
        assert closed.wait(60)


def test_what_a_task_said_last_is_told_though_nothing_can_be_sent_to_it_any_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It says so and closes, and who sends hears of a broken pipe before anybody has read why."""
    monkeypatch.setattr(engine_module, "LAST_WORDS_SECONDS", 60.0)
    gone = threading.Event()

    def script(connection: Connection, message: Message) -> None:
        connection.poke(Message(Kind.ENDED, 0, 0, meta=Failure(errors.ABORTED, "it was reset").encode()))
        connection.close()
        gone.set()

    with scripted(script) as engine:
        watch = engine._links._reading._watch
        soon(watch.take)  # nobody reads
        engine._links.send(A, Message(Kind.UNLOAD, 0, 0))
        assert gone.wait(60)
        loading = in_background(engine.load, ONE)
        soon(lambda: any(step.sending for step in list(engine._running.values())))
        watch.give()
        with pytest.raises(
            errors.AbortedError, match=rf"Task {A} on host \(process 7\) has ended this session: it was"
        ):
            loading()


def test_an_idle_session_hears_at_once_that_a_task_is_gone() -> None:
    with workers(A, B) as made, session(made) as engine:
        engine.run(engine.load(HOP), [X], 5)
        made[1].close()
        soon(lambda: bool(engine._lost))  # without a question: nothing is expected of it
        assert set(engine._lost) == {B}


def test_ctrl_c_ends_a_step_and_harms_nothing_else() -> None:
    with workers(A, B) as made, session(made) as engine:
        hop, lonely = engine.load(HOP), engine.load(StepPlan(HOP.plans[1:], 1))
        (there,) = made[1]._clients.values()

        def interrupt() -> None:
            soon(lambda: any(step._rendezvous.waits() for step in list(there._steps.values())))
            os.kill(os.getpid(), signal.SIGINT)

        for _ in range(3):
            interrupts = in_background(interrupt)
            with pytest.raises(KeyboardInterrupt):
                engine.run(lonely, [], 100)
            interrupts()
            np.testing.assert_array_equal(engine.run(hop, [X], 5)[0], X)


def test_threads_may_run_steps_of_one_session_at_once() -> None:
    def run(number: int) -> None:
        for step in range(50):
            np.testing.assert_array_equal(engine.run(hop, [X + number + step], 10)[0], X + number + step)

    with workers(A, B) as made, session(made) as engine:
        hop = engine.load(HOP)
        for runs in [in_background(run, 100 * number) for number in range(4)]:
            runs()


@pytest.mark.parametrize("size", [100, 10_000], ids=["inline", "in a slot"])
def test_what_is_fetched_from_a_plans_buffer_is_sent_before_the_next_run_writes_there(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with wf.Graph().as_default():
        x = wf.placeholder(wf.float32, [size])
        program = pipeline.cut(pipeline.Request((wf.reshape(wf.tanh(x) * 2.0, [2, -1]),), (), (x,)))
    both, deliver = threading.Barrier(2), Client._deliver

    def after_both_have_computed(client: Client, *arguments: Any) -> None:
        both.wait(10)
        deliver(client, *arguments)

    def run(value: float) -> None:
        fed = np.full(size, value, np.float32)
        np.testing.assert_array_equal(engine.run(handle, [fed], 10)[0].ravel(), np.tanh(fed) * np.float32(2))

    with workers(A) as made, session(made) as engine:
        plan = pipeline.make_plan(program, ((size,),), pipeline.Planning(engine, soft=False))
        assert "copied" in str(plan), "the result lies in a buffer"
        handle = engine.load(plan)
        monkeypatch.setattr(Client, "_deliver", after_both_have_computed)
        for runs in [in_background(run, value) for value in (0.25, 0.5)]:
            runs()


def test_what_goes_to_several_tasks_is_copied_once() -> None:
    task_c = "/job:c/replica:0/task:0"
    cpu_c = f"{task_c}/device:CPU:0"
    sends = TakeFeed(0, 0, "x"), Send(0, 7, CPU_B, "x"), Send(0, 8, cpu_c, "x")
    takes = [
        Plan(device, (Receive(0, edge, CPU_A, "x"), Fetch(0, index, False)), 0)
        for index, (device, edge) in enumerate([(CPU_B, 7), (cpu_c, 8)])
    ]
    with workers(A, B, task_c) as made, session(made) as engine:
        handle = engine.load(StepPlan((Plan(CPU_A, sends, 0), *takes), 2))
        for step in range(5):
            for size in (4, X.size):  # the first is sent inline
                for value in engine.run(handle, [X[:size] + step], 5):
                    np.testing.assert_array_equal(value, X[:size] + step)
        (client,) = made[0]._clients.values()
        assert [len(slots) for slots in client._arena.taken.values()] == [1]


def test_a_task_that_does_not_take_the_introduction() -> None:
    def serve() -> None:
        with closing(listener.accept(60)) as connection:
            connection.recv(60)
            connection.send(Message(Kind.LOADED, 0, 0))

    with closing(listen("shm", SECRET)) as listener:
        serving = in_background(serve)
        with pytest.raises(errors.DataLossError, match=f"{A} answered HELLO with a message of kind 4"):
            ClusterEngine({A: listener.address}, SECRET, {})
        serving()
