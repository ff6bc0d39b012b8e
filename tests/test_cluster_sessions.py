"""Sessions over tasks in this process: what they print, and which plans they load and drop."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import weft as wf
from endpoints import in_background
from scripted import A, B, nothing_left_soon, scripted, session, soon, workers
from weft.cluster.session.engine import ClusterEngine
from weft.cluster.task import client
from weft.cluster.task.worker import Worker
from weft.cluster.transports.transport import Connection
from weft.cluster.wire.message import Message
from weft.cluster.wire.protocol import Kind
from weft.runtime import session as runtime_session, targets

pytestmark = pytest.mark.counts


@pytest.fixture(autouse=True)
def leaves_nothing() -> Iterator[None]:
    with nothing_left_soon():
        yield


@contextmanager
def session_on(engine: ClusterEngine) -> Iterator[wf.Session]:
    """A session of the default graph that runs on an engine."""
    targets.register_engine("here", lambda target, config: engine)
    try:
        with wf.Session("here://") as on_tasks:
            yield on_tasks
    finally:
        del targets._SERVED["here"]


@contextmanager
def session_of_tasks() -> Iterator[tuple[wf.Session, list[Worker]]]:
    """A session of the default graph over two real tasks."""
    with workers(A, B) as made, session(made) as engine, session_on(engine) as on_tasks:
        yield on_tasks, made


# reports


def test_what_a_task_prints_appears_here_with_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    with wf.device(B):
        x = wf.placeholder(wf.float32, [])
        y = wf.Print(x, [x, "two\nlines"], "x is ", first_n=2)
    with session_of_tasks() as (on_tasks, _):
        for value in range(3):
            assert on_tasks.run(y, {x: value}) == value
    lines = [f"{B}: x is [{value}][two\n{B}: lines]\n" for value in range(2)]
    assert capsys.readouterr().err == "".join(lines)


def test_what_a_task_prints_is_cut_where_it_is_very_long(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "MOST_REPORTED", 10)
    x = wf.constant(1.0)
    with session_of_tasks() as (on_tasks, _):
        on_tasks.run(wf.Print(x, [], "0123456789abc"))
    assert capsys.readouterr().err == f"{A}: 0123456789... (3 characters more)\n"


def test_a_stderr_that_is_closed_harms_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed:
        def write(self, text: str) -> None:
            raise ValueError("I/O operation on closed file")

    monkeypatch.setattr("sys.stderr", Closed())
    with session_of_tasks() as (on_tasks, _):
        assert on_tasks.run(wf.Print(wf.constant(2.0), [])) == 2


def test_a_kernel_that_does_not_end_is_named_with_its_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    """The task cannot end it, and so cannot answer; what it said last tells where it is."""
    over = threading.Event()
    monkeypatch.setattr(client.Client, "report", lambda client, text: over.wait(30))
    with wf.device(B):
        y = wf.Print(wf.constant(1.0), [], name="held")
    with session_of_tasks() as (on_tasks, _):
        try:
            with pytest.raises(wf.errors.DeadlineExceededError) as caught:
                on_tasks.run(y, options=wf.RunOptions(timeout_in_ms=1000))
        finally:
            over.set()
    where = r"it was computing 'held' \(in step <weft plan 0>:\d+ > .*compute ops/report\.py:\d+ > .*wait \S*threading\.py:\d+\)"
    assert re.search(
        f"{B} was still busy 2 s after it was told to stop; when last heard of, {where}", caught.value.message
    )


# plans


def test_a_session_that_drops_a_request_lets_its_tasks_forget_the_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime_session, "REQUESTS_KEPT", 3)
    with session_of_tasks() as (on_tasks, made):
        (there,) = made[0]._clients.values()
        fed = wf.placeholder(wf.float32, [])
        kept = on_tasks.make_callable(fed * 2.0, [fed])
        assert kept(1.0) == 2
        values = [fed + float(number) for number in range(10)]
        for number, value in enumerate(values):
            assert on_tasks.run(value, {fed: 1.0}) == number + 1
        soon(lambda: len(there._plans) == 4)  # those of three requests, and the one that can still be called
        assert kept(2.0) == 4
        assert on_tasks.run(values[0], {fed: 1.0}) == 1


def test_a_plan_that_is_not_ready_in_time_keeps_no_other_step_waiting() -> None:
    """Neither one of another request, nor one that needs the same plan and may take less time."""
    fed = wf.placeholder(wf.float32, [])
    never, other = wf.sin(fed, name="never"), wf.cos(fed)

    def script(connection: Connection, message: Message) -> None:
        if message.kind == Kind.LOAD and b"never" not in message.meta:
            connection.send(Message(Kind.LOADED, 0, message.step, message.edge))
        elif message.kind == Kind.STEP:
            connection.send(Message(Kind.RESULT, 0, message.step, tensors=message.tensors))

    def run(fetch: wf.Tensor, milliseconds: int) -> None:
        on_tasks.run(fetch, {fed: 1.0}, options=wf.RunOptions(timeout_in_ms=milliseconds))

    with scripted(script) as engine, session_on(engine) as on_tasks:
        waiting = in_background(run, never, 4000)
        soon(lambda: len(engine._running) == 1)
        run(other, 3000)
        with pytest.raises(wf.errors.DeadlineExceededError, match=r"0\.2 s: another thread still made its plan ready"):
            run(never, 200)
        with pytest.raises(wf.errors.DeadlineExceededError, match=rf"4 s: {A} had not made its plan ready"):
            waiting()


@pytest.mark.parametrize("threads", [1, 2])
def test_a_session_is_closed_while_it_loads(threads: int) -> None:
    fed = wf.placeholder(wf.float32, [])
    value = wf.sin(fed)
    with scripted(lambda connection, message: None) as engine, session_on(engine) as on_tasks:
        running = [in_background(on_tasks.run, value, {fed: 1.0}) for _ in range(threads)]
        soon(lambda: len(engine._running) == 1)
        on_tasks.close()
        for each in running:
            with pytest.raises((wf.errors.CancelledError, RuntimeError), match=r"Session::Close|closed Session"):
                each()
