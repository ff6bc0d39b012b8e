"""The engine of a cluster session and the tasks it speaks to, in one process: without Ray, and against tasks that misbehave."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import numpy as np
import pytest
from endpoints import SECRET, in_background, nothing_left
from weft.cluster import engine as engine_module
from weft.cluster.engine import ClusterEngine
from weft.cluster.message import Message
from weft.cluster.protocol import STEP_HEAD, Failure, Kind
from weft.cluster.transport import Connection, connect, listen
from weft.cluster.worker import Worker
from weft.graph import errors
from weft.runtime.plan import Fetch, Plan, Receive, Send, StepPlan, TakeFeed

A, B = "/job:a/replica:0/task:0", "/job:b/replica:0/task:0"
CPU_A, CPU_B = f"{A}/device:CPU:0", f"{B}/device:CPU:0"
#: Each task returns what it is fed.
ECHO = StepPlan((Plan(CPU_A, (TakeFeed(0, 0, "x"), Fetch(0, 0, False)), 0),
                 Plan(CPU_B, (TakeFeed(0, 1, "y"), Fetch(0, 1, False)), 0)), 2)  # fmt: skip
#: Task a sends what it is fed to task b, which returns it.
HOP = StepPlan((Plan(CPU_A, (TakeFeed(0, 0, "x"), Send(0, 7, CPU_B, "x")), 0),
                Plan(CPU_B, (Receive(0, 7, CPU_A, "x"), Fetch(0, 0, False)), 0)), 1)  # fmt: skip
ONE = StepPlan(HOP.plans[:1], 0)
ONLY_A = StepPlan((Plan(CPU_A, (TakeFeed(0, 0, "x"), Fetch(0, 0, False)), 0),), 1)
X = np.arange(50_000.0)


@pytest.fixture(autouse=True)
def leaves_nothing() -> Iterator[None]:
    with nothing_left():
        yield
        deadline = time.monotonic() + 5
        while any(thread.name.startswith("weft") for thread in threading.enumerate()) and time.monotonic() < deadline:
            time.sleep(0.01)  # what a closed worker leaves to end by itself


@contextmanager
def workers(*names: str) -> Iterator[list[Worker]]:
    """Tasks that know each other."""
    with ExitStack() as stack:
        made = [stack.enter_context(closing(Worker(name, SECRET))) for name in names]
        for worker in made:
            worker.set_peers({other.name: other.addresses["shm"] for other in made})
        yield made


@contextmanager
def session(made: list[Worker]) -> Iterator[ClusterEngine]:
    addresses = {worker.name: worker.addresses["shm"] for worker in made}
    with closing(ClusterEngine(addresses, SECRET, {})) as engine:
        yield engine


Script = Callable[[Connection, Message], Any]


@contextmanager
def scripted(script: Script) -> Iterator[ClusterEngine]:
    """A session whose task `a` is a script: what it does about each message. Plans are always loaded."""

    def serve() -> None:
        with closing(listener.accept(5)) as connection:
            try:
                while True:
                    message = connection.recv()
                    if message.kind == Kind.HELLO:
                        connection.send(Message(Kind.READY, 0, 0))
                    else:
                        script(connection, message)
            except (errors.UnavailableError, errors.CancelledError):
                return

    with closing(listen("shm", SECRET)) as listener:
        serving = in_background(serve)
        with closing(ClusterEngine({A: listener.address}, SECRET, {A: "host (process 7)"})) as engine:
            yield engine
        serving()


def loads(connection: Connection, message: Message) -> bool:
    """Whether a message was a plan, which is answered as if it was loaded."""
    if message.kind == Kind.LOAD:
        connection.send(Message(Kind.LOADED, 0, 0, message.edge))
    return bool(message.kind == Kind.LOAD)


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
            started = time.monotonic()
            with pytest.raises(TypeError, match="datetime64"):
                engine.run(echo, feeds, None)
            assert time.monotonic() - started < 1
        np.testing.assert_array_equal(engine.run(hop, [X], None)[0], X)
        assert engine._done == 3


def test_a_session_whose_tasks_cannot_reach_each_other() -> None:
    with workers(A, B) as made, session(made) as engine:
        made[0].set_peers({B: "shm://nobody"})
        with pytest.raises(errors.UnavailableError) as caught:
            engine.run(engine.load(HOP), [X], None)
        assert caught.value.message == (f"{B} cannot be reached at shm://nobody: Connection refused (on {A})")


def test_a_step_waits_for_what_never_comes() -> None:
    with workers(A, B) as made, session(made) as engine:
        engine.run(engine.load(ECHO), [X, X], None)
        lonely = engine.load(StepPlan(HOP.plans[1:], 1))
        with pytest.raises(errors.DeadlineExceededError) as caught:
            engine.run(lonely, [], 0.2)
        assert caught.value.message == f"The step took longer than 0.2 s: {B} had waited for 'x' of {A} for 0.2 s"


def test_a_plan_that_a_task_cannot_make() -> None:
    with workers(A) as made, session(made) as engine:
        with pytest.raises(errors.OpError, match=rf"\(on {A}\)"):
            engine.load(StepPlan((Plan(CPU_A, (Fetch(3, 0, False),), -1),), 1))
        np.testing.assert_array_equal(engine.run(engine.load(ONLY_A), [X], None)[0], X)


def test_the_end_of_a_worker_is_the_end_of_its_steps() -> None:
    with workers(A, B) as made, session(made) as engine:
        lonely = engine.load(StepPlan(HOP.plans[1:], 1))
        running = in_background(engine.run, lonely, [], None)
        time.sleep(0.1)
        made[1].close()
        with pytest.raises(errors.UnavailableError, match=f"Task {B} is gone: it closed the connection"):
            running()
        with pytest.raises(errors.UnavailableError, match=f"Task {B} is gone"):
            engine.load(HOP)


def test_peers_of_sessions_that_have_ended_are_sent_away() -> None:
    with workers(A) as made:
        for hello in (b'{"client": "nobody", "role": "/job:x"}', b"{}", b"[", b'{"client": 1, "role": "session"}'):
            with closing(connect(made[0].addresses["tcp"], SECRET)) as connection:
                connection.send(Message(Kind.HELLO, 0, 0, meta=hello))
                with pytest.raises(errors.UnavailableError):
                    connection.recv(5)
        with closing(connect(made[0].addresses["tcp"], SECRET)) as connection:
            connection.send(Message(Kind.STEP, 0, 0))
            with pytest.raises(errors.UnavailableError):
                connection.recv(5)
        with session(made) as engine:
            np.testing.assert_array_equal(engine.run(engine.load(ONLY_A), [X], None)[0], X)


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


def test_a_plan_that_is_never_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "LOAD_SECONDS", 0.1)
    with (
        scripted(lambda connection, message: None) as engine,
        pytest.raises(errors.DeadlineExceededError, match=f"Task {A} did not make a plan ready within 0.1 s"),
    ):
        engine.load(ONE)


def test_a_late_answer_frees_the_memory_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until a task has ended a step, what it was sent for it must stay; its answer is no answer to a later step."""
    monkeypatch.setattr(engine_module, "GRACE_SECONDS", 0.1)
    dones: list[int] = []

    def script(connection: Connection, message: Message) -> None:
        if loads(connection, message) or message.kind == Kind.ABORT:
            return
        dones.extend(STEP_HEAD.unpack(message.meta))
        if len(dones) == 1:
            return  # busy
        if len(dones) == 3:
            connection.send(Message(Kind.RESULT, 0, 1, tensors=[np.array(1.0)]))  # at last
        connection.send(Message(Kind.RESULT, 0, message.step, tensors=[np.array(message.step)]))

    with scripted(script) as engine:
        handle = engine.load(ONLY_A)
        with pytest.raises(errors.DeadlineExceededError) as caught:
            engine.run(handle, [X], 0.1)
        assert caught.value.message == (
            f"The step took longer than 0.1 s: {A} was still busy 0.1 s after it was told to stop"
        )
        assert [engine.run(handle, [X], 5)[0] for _ in range(3)] == [2, 3, 4]
    assert dones == [0, 0, 0, 3]


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
        time.sleep(0.1)
        engine.close()
        with pytest.raises((errors.CancelledError, RuntimeError), match=r"Session::Close|closed Session"):
            running()


def test_a_session_may_be_closed_by_one_of_its_own_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the garbage collector does, when it runs there."""
    with scripted(loads) as engine:
        closed = threading.Event()

        def close(task: str, message: Message) -> None:
            engine.close()
            closed.set()

        monkeypatch.setattr(engine._links, "_take", close)
        engine.load(ONE)  # the thread that reads has begun to wait for this before the change
        with pytest.raises(RuntimeError, match="closed Session"):
            engine.load(ONE)
        assert closed.wait(5)


def test_a_task_that_does_not_take_the_introduction() -> None:
    def serve() -> None:
        with closing(listener.accept(5)) as connection:
            connection.recv(5)
            connection.send(Message(Kind.LOADED, 0, 0))

    with closing(listen("shm", SECRET)) as listener:
        serving = in_background(serve)
        with pytest.raises(errors.DataLossError, match=f"{A} answered HELLO with a message of kind 4"):
            ClusterEngine({A: listener.address}, SECRET, {})
        serving()
