"""Session.run_many: the same bits as runs one after the other, while several are in flight."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import numpy as np
import pytest
import weft as wf
from endpoints import SECRET
from hypothesis import given, settings, strategies as st
from programs import FED, Built, Step, build, recipes, same_bits
from weft.cluster.session.engine import ClusterEngine
from weft.cluster.task.worker import Worker
from weft.runtime import targets
from weft.runtime.local_engine import LocalEngine

A, B, C = (f"/job:{job}/replica:0/task:0" for job in "abc")
THREE = wf.ConfigProto(device_count={"CPU": 3}, race_check="off")


@contextmanager
def tasks(graph: wf.Graph | None = None) -> Iterator[wf.Session]:
    """A session over three tasks in this process, in which `/cpu:1` and `/cpu:2` are tasks b and c."""
    with ExitStack() as stack:
        workers = [stack.enter_context(closing(Worker(name, SECRET))) for name in (A, B, C)]
        addresses = {worker.name: worker.addresses["shm"] for worker in workers}
        targets.register_engine("many", lambda target, config: ClusterEngine(addresses, SECRET, {}, default_task=A))
        stack.callback(targets._SERVED.pop, "many")
        config = wf.ConfigProto(race_check="off")
        yield stack.enter_context(wf.Session("many://here", graph, config))


@contextmanager
def here(graph: wf.Graph | None = None) -> Iterator[wf.Session]:
    """A session over three devices of this process."""
    with wf.Session(graph=graph, config=THREE) as session:
        yield session


Open = Callable[..., Any]
#: What to open, and the names of two of its devices.
PLACES = [pytest.param(here, "/cpu:1", "/cpu:2", id="devices"), pytest.param(tasks, "/job:b", "/job:c", id="tasks")]


def fed(count: int) -> list[Any]:
    """Feeds that differ, and so do not commute."""
    return [np.roll(FED, step, axis=1) * np.float32(1 + step / 8) for step in range(count)]


def everything(built: Built, session: wf.Session, count: int, limit: int) -> list[Any]:
    """All values of some runs, and the variables after them. With limit 0, runs one after the other."""
    session.run([variable.initializer for variable in built.variables])
    feeds = [dict(zip(built.feeds, each, strict=True)) for each in fed(count)]
    fetches = [built.values, built.writes]
    found = session.run_many(fetches, feeds, limit) if limit else (session.run(fetches, feed) for feed in feeds)
    values = [value for values, _ in found for value in values]
    assert len(values) == count * len(built.values)
    return [*values, *session.run(list(built.variables))]


@settings(max_examples=40, deadline=None)
@given(recipe=recipes(), ordered=st.booleans(), limit=st.integers(1, 4))
def test_the_same_bits_on_devices_of_this_process(recipe: list[Step], ordered: bool, limit: int) -> None:
    built = build(recipe, ordered=ordered)
    with here() as session:
        wanted = everything(built, session, 5, 0)
    with here() as session:
        assert same_bits(everything(built, session, 5, limit), wanted)


def on_tasks(recipe: list[Step]) -> Built:
    """A recipe whose devices are tasks."""
    jobs = ("/job:a", "/job:b", "/job:c")
    before = wf.device
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(wf, "device", lambda name: before(jobs[int(name[-1])]))
        return build(recipe)


@settings(max_examples=8, deadline=None)
@given(recipe=recipes(longest=10), limit=st.integers(1, 4))
def test_the_same_bits_on_tasks(recipe: list[Step], limit: int) -> None:
    built = on_tasks(recipe)
    with tasks() as session:
        wanted = everything(built, session, 5, 0)
    with tasks() as session:
        assert same_bits(everything(built, session, 5, limit), wanted)


@pytest.mark.parametrize("place", [here, tasks])
def test_one_buffer_for_all_feeds(place: Open) -> None:
    """What is in flight does not see that the caller fills its array anew."""
    x = wf.placeholder(wf.float32, [1000])
    y = x + 1.0

    def feeds() -> Iterator[Any]:
        buffer = np.zeros(1000, np.float32)
        for number in range(20):
            buffer[:] = number
            yield {x: buffer}

    with place() as session:
        found = list(session.run_many([x, y], feeds(), 4))
    assert [(float(a[-1]), float(b[-1])) for a, b in found] == [(number, number + 1) for number in range(20)]


@pytest.mark.parametrize("place", [here, tasks])
def test_shapes_and_fetches_of_all_kinds(place: Open) -> None:
    x = wf.placeholder(wf.float32, [None])
    total = wf.Variable(0.0)
    add = total.assign_add(wf.reduce_sum(x)).op
    feeds = [{x: np.ones(1 + number % 3)} for number in range(9)]
    with place() as session:
        session.run(total.initializer)
        found = list(session.run_many({"sum": total, "x": x, "do": add}, feeds, 3))
        assert [value["x"].size for value in found] == [1, 2, 3] * 3
        assert session.run(total) == 18
        assert [value.tolist() for value in session.run_many(x, ({x: [number]} for number in range(3)))] == [
            [0],
            [1],
            [2],
        ]
        assert list(session.run_many(total, [None, {}], 2)) == [18, 18]
        assert list(session.run_many(total, [])) == []


# what overlaps, and what does not


class Meeting:
    """Hears what Print operations on two devices say. The second device waits until the first has begun the next run."""

    def __init__(self, runs: int) -> None:
        self.begun = [threading.Event() for _ in range(runs)]
        self.said: dict[str, list[int]] = {"first": [], "second": []}
        self.missed: list[int] = []

    def __call__(self, *said: Any) -> None:
        device, _, number = said[-1].strip("]").partition(" [")
        self.said[device].append(int(number))
        if device == "first":
            self.begun[int(number)].set()
        elif int(number) + 1 < len(self.begun) and not self.begun[int(number) + 1].wait(60):
            self.missed.append(int(number))


def heard(session: wf.Session, meeting: Meeting) -> wf.Session:
    """The session, whose Print operations now speak to `meeting`, also on the tasks if these are in this process."""
    if isinstance(session._engine, LocalEngine):
        session._engine.state.report = meeting
    return session


def chain(first: str, second: str) -> tuple[wf.Tensor, wf.Tensor]:
    x = wf.placeholder(wf.int32, [])
    with wf.device(first):
        y = wf.Print(x, [x], "first ") * 10
    with wf.device(second):
        return x, wf.Print(y, [y // 10], "second ") + 1


@pytest.mark.parametrize(("place", "first", "second"), PLACES)
def test_a_device_works_on_the_next_run_while_another_works_on_this_one(
    place: Open, first: str, second: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = chain(first, second)
    meeting = Meeting(6)
    monkeypatch.setattr("weft.cluster.task.client.Client.report", lambda client, text: meeting(text))
    with place() as session:
        found = list(heard(session, meeting).run_many(y, ({x: number} for number in range(6)), 2))
    assert found == [1, 11, 21, 31, 41, 51]
    assert meeting.missed == []
    assert meeting.said == {"first": list(range(6)), "second": list(range(6))}


@pytest.mark.parametrize("place", [here, tasks])
@pytest.mark.parametrize("limit", [1, 2, 3])
def test_feeds_are_read_at_most_the_limit_ahead(place: Open, limit: int) -> None:
    x = wf.placeholder(wf.float32, [])
    y = x * 2.0
    read: list[threading.Thread] = []

    def feeds() -> Iterator[Any]:
        for number in range(7):
            read.append(threading.current_thread())
            yield {x: number}

    with place() as session:
        runs = session.run_many(y, feeds(), limit)
        assert read == []
        for number in range(7):
            assert next(runs) == 2 * number
            assert len(read) == min(7, number + limit)
    assert set(read) == {threading.current_thread()}


# what ends early


def counted(first: str, second: str, where: str) -> tuple[Any, Any, list[wf.Variable]]:
    """A pipeline that counts on both devices, and fails for a negative feed on one of them."""
    x = wf.placeholder(wf.float32, [])
    counts, value = [], x
    for device in (first, second):
        with wf.device(device):
            checks = [wf.Assert(x >= 0, ["negative"], name="check")] if device == where else []
            with wf.control_dependencies(checks):
                count = wf.Variable(0.0)
                value = wf.identity(value) + count.assign_add(1.0)
            counts.append(count)
    return x, value, counts


def is_idle(session: wf.Session) -> bool:
    """Whether nothing of a session's is in flight."""
    its: Any = session._engine
    return not its._running and not getattr(its, "_late", {})


@pytest.mark.parametrize(("place", "first", "second"), PLACES)
@pytest.mark.parametrize("at", [0, 1, 4])
@pytest.mark.parametrize("limit", [1, 2, 4])
@pytest.mark.parametrize("side", [0, 1])
def test_an_error_comes_when_its_turn_does(
    place: Open, first: str, second: str, at: int, limit: int, side: int
) -> None:
    x, value, counts = counted(first, second, (first, second)[side])
    with place() as session:
        session.run([count.initializer for count in counts])
        runs = session.run_many(value, ({x: -1.0 if number == at else 0.0} for number in range(9)), limit)
        assert [next(runs) for _ in range(at)] == [2.0 * number for number in range(1, at + 1)]
        with pytest.raises(wf.errors.InvalidArgumentError, match="negative") as caught:
            next(runs)
        assert caught.value.op.name == "check"
        assert list(runs) == []
        assert is_idle(session)
        done = session.run(counts)
        assert done[side] == at, "where a run has failed, none after it begins"
        assert at <= done[1 - side] <= at + limit
        assert session.run(value, {x: 0.0}) == sum(done) + 2


@pytest.mark.parametrize("place", [here, tasks])
@pytest.mark.parametrize("limit", [1, 2, 4])
def test_errors_of_the_feeds_come_after_the_results_before_them(place: Open, limit: int) -> None:
    x = wf.placeholder(wf.float32, [2])

    def feeds(last: Any) -> Iterator[Any]:
        yield {x: [1, 2]}
        yield {x: [3, 4]}
        yield last()

    with place() as session:
        for last, error in ((lambda: {x: [1, 2, 3]}, ValueError), (lambda: {x: "a"}, ValueError),
                            (lambda: 1 / 0, ZeroDivisionError), (lambda: {"nothing:0": 1}, TypeError)):  # fmt: skip
            runs = session.run_many(x * 2.0, feeds(last), limit)
            assert [next(runs).tolist() for _ in range(2)] == [[2, 4], [6, 8]]
            with pytest.raises(error):
                next(runs)
            assert is_idle(session)


@pytest.mark.parametrize(("place", "first", "second"), PLACES)
def test_who_leaves_early_waits_for_what_was_begun(place: Open, first: str, second: str) -> None:
    x, value, counts = counted(first, second, first)
    with place() as session:
        session.run([count.initializer for count in counts])
        for number, found in enumerate(session.run_many(value, ({x: 0.0} for _ in range(9)), 3)):
            if number == 2:
                assert found == 6
                break
        assert is_idle(session)
        assert session.run(counts) == [5, 5]
        runs = session.run_many(value, ({x: sign} for sign in (0.0, -1.0, -1.0)), 3)
        assert next(runs) == 12
        runs.close()
        assert is_idle(session)
        assert session.run(counts)[0] == 6


@pytest.mark.parametrize(("place", "first", "second"), PLACES)
def test_an_error_in_the_loop_gives_up_what_was_begun(place: Open, first: str, second: str) -> None:
    x, value, counts = counted(first, second, first)
    with place() as session:
        session.run([count.initializer for count in counts])
        runs = session.run_many(value, ({x: 0.0} for _ in range(9)), 3)
        next(runs)
        with pytest.raises(KeyboardInterrupt):
            runs.throw(KeyboardInterrupt())
        assert is_idle(session)
        assert all(1 <= count <= 3 for count in session.run(counts))


def stuck(first: str, second: str) -> tuple[wf.Tensor, wf.Tensor, wf.Operation]:
    """A pipeline whose second device takes from a queue, which is filled from outside."""
    x = wf.placeholder(wf.float32, [])
    with wf.device(second):
        queue = wf.FIFOQueue(10, [wf.float32], [[]])
        fill = queue.enqueue(1.0)
    with wf.device(first):
        y = x + 1.0
    with wf.device(second):
        return x, y + queue.dequeue(), fill


@pytest.mark.parametrize(("place", "first", "second"), PLACES)
@pytest.mark.parametrize("limit", [1, 3])
def test_a_run_that_takes_too_long(place: Open, first: str, second: str, limit: int) -> None:
    x, y, fill = stuck(first, second)
    with place() as session:
        session.run(fill)
        runs = session.run_many(y, [{x: number} for number in range(5)], limit, wf.RunOptions(timeout_in_ms=1000))
        assert next(runs) == 2
        with pytest.raises(wf.errors.DeadlineExceededError):
            next(runs)
        assert is_idle(session)
        session.run([fill])
        assert session.run(y, {x: 5}) == 7


@pytest.mark.parametrize(("place", "first", "second"), PLACES)
def test_a_session_that_is_closed_meanwhile(place: Open, first: str, second: str) -> None:
    x, y, fill = stuck(first, second)
    with place() as session:
        session.run(fill)
        runs = session.run_many(y, [{x: number} for number in range(5)], 3)
        assert next(runs) == 2
        closing = threading.Timer(0.2, session.close)
        closing.start()
        with pytest.raises(wf.errors.CancelledError):
            next(runs)
        closing.join()
        assert list(runs) == []
        assert is_idle(session)


def test_runs_outside_of_the_row_go_on_beside() -> None:
    """What waits in a row holds up nobody else."""
    x, y, fill = stuck("/job:b", "/job:c")
    with tasks() as session:
        session.run(fill)
        runs = session.run_many(y, [{x: number} for number in range(3)], 3)
        assert next(runs) == 2
        session.run([fill])
        session.run([fill])
        assert list(runs) == [3, 4]


# arguments


def test_arguments_that_are_none() -> None:
    x = wf.placeholder(wf.float32, [])
    with here() as session:
        for limit in (0, -1):
            with pytest.raises(ValueError, match="limit must be at least 1"):
                session.run_many(x, [], limit)
        with pytest.raises(TypeError):
            session.run_many(x, [], 1.5)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            session.run_many(x, 3)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="RunOptions"):
            session.run_many(x, [], 1, "soon")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="trace"):
            session.run_many(x, [], 1, wf.RunOptions(trace_level=wf.RunOptions.FULL_TRACE))
    with pytest.raises(RuntimeError, match="closed"):
        session.run_many(x, [])


@pytest.mark.parametrize("place", [here, tasks])
def test_memory_is_that_of_the_runs_in_flight(place: Open) -> None:
    """A hundred runs leave no more buffers, and no more numbers on the tasks, than the limit says."""
    x = wf.placeholder(wf.float32, [])
    most = 0
    with place() as session:
        its: Any = session._engine
        for _ in session.run_many(x + 1.0, ({x: number} for number in range(100)), 3):
            most = max(most, len(its._running))
        assert most == 2, "while a value is looked at"
        if isinstance(its, ClusterEngine):
            assert its._finished == set()


@pytest.mark.ray
def test_a_pipeline_on_ray() -> None:
    """Two processes count in order, whatever the limit."""
    x, value, counts = counted("/job:worker/task:0", "/job:worker/task:1", "/job:worker/task:1")
    feeds = [{x: float(number)} for number in range(12)]
    with wf.cluster.start({"worker": 2}) as cluster, wf.Session(cluster.target) as session:
        for limit in (1, 3):
            session.run([count.initializer for count in counts])
            assert list(session.run_many(value, feeds, limit)) == [3.0 * number + 2 for number in range(12)]
        runs = session.run_many(value, [{x: sign} for sign in (1.0, -1.0, 1.0)], 3)
        assert next(runs) == 27
        with pytest.raises(wf.errors.InvalidArgumentError, match="negative"):
            next(runs)
        assert session.run(counts[1]) == 13
