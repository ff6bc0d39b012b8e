"""Clocks of tasks that are not the session's: what traces of a step make of them."""

from __future__ import annotations

import time

import numpy as np
import pytest
import weft as wf
from clustered import local_cluster, programs
from hypothesis import given, strategies as st
from weft.cluster.session.clocks import SESSION, Passed, crossed, offsets, shift
from weft.cluster.session.traces import Noted, noted, step_stats
from weft.cluster.wire.traces import Trace
from weft.runtime.reporting.tracing import DeviceStepStats, NodeExecStats

HOUR = 3_600_000_000_000


def asked(task: str, out: int, back: int, ahead: int, begin: int = 0, work: int = 100) -> list[Passed]:
    """A question of the session and its answer, which were so long on their way, of a task whose clock is so much ahead."""
    there = begin + out
    return [
        Passed(SESSION, begin, task, there + ahead),
        Passed(task, there + work + ahead, SESSION, there + work + back),
    ]


def test_half_of_a_round_trip_is_the_way_there() -> None:
    assert offsets(asked("a", 5, 5, HOUR)) == {"a": HOUR}
    assert offsets([*asked("a", 5, 5, -HOUR), *asked("b", 30, 10, HOUR)]) == {"a": -HOUR, "b": HOUR + 10}


def test_clocks_that_nothing_tells_apart_stay_as_they_are() -> None:
    assert offsets([*asked("a", 5, 50, 0), *asked("b", 30, 10, 3), Passed("a", 7, "b", 8)]) == {"a": 0, "b": 0}
    assert offsets([]) == {}


def test_what_passed_between_tasks_counts_where_the_round_trips_leave_it_open() -> None:
    """The answers were long on their way, so halves are 45 wrong; what the first sends to the second is there at once."""
    trips = [*asked("a", 10, 100, HOUR), *asked("b", 100, 10, HOUR)]
    assert offsets(trips) == {"a": HOUR - 45, "b": HOUR + 45}
    found = offsets([*trips, Passed("a", 20 + HOUR, "b", 21 + HOUR), Passed("b", 30 + HOUR, "a", 31 + HOUR)])
    assert abs(found["b"] - found["a"]) <= 1


def test_a_clock_that_was_set_meanwhile_is_put_right_by_what_it_told_the_session() -> None:
    """By what the tasks sent each other, each would be ahead of the other."""
    trips = [*asked("a", 5, 5, HOUR), *asked("b", 5, 5, HOUR)]
    assert offsets([*trips, Passed("a", 50, "b", 40), Passed("b", 50, "a", 40)]) == {"a": HOUR, "b": HOUR}


TIMES = st.integers(0, 10**9)


@given(
    ahead=st.lists(st.integers(-HOUR, HOUR), min_size=1, max_size=4),
    trips=st.lists(st.tuples(TIMES, TIMES), min_size=4, max_size=4),
    sent=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), TIMES, TIMES), max_size=10),
)
def test_everything_was_sent_before_it_was_there(
    ahead: list[int], trips: list[tuple[int, int]], sent: list[tuple[int, int, int, int]]
) -> None:
    """And no task's clock is more wrong than the way there and back took together, halved."""
    clocks = {str(number): each for number, each in enumerate(ahead)}
    passed = []
    for (task, clock), (out, back) in zip(clocks.items(), trips, strict=False):
        passed += asked(task, out, back, clock)
    for begin, end, when, took in sent:
        a, b = str(begin % len(clocks)), str(end % len(clocks))
        if a != b:
            passed.append(Passed(a, when + clocks[a], b, when + took + clocks[b]))
    found = offsets(passed) | {SESSION: 0}
    for a, begin, b, end in passed:
        assert begin - found[a] <= end - found[b]
    for (task, clock), (out, back) in zip(clocks.items(), trips, strict=False):
        most = out + back if found == dict.fromkeys(found, 0) else -(-(out + back) // 2)
        assert abs(found[task] - clock) <= most


def node(edge: int, start: int, took: int, sends: bool) -> NodeExecStats:
    return NodeExecStats("x", start, took, "x = _Send(x) to d" if sends else "x = _Recv() from d", [], edge)


def test_a_step_is_told_by_the_sessions_clock() -> None:
    """Edge 3 is used twice, as in a loop; what is received before it was ever sent is of no step and left out."""
    first = DeviceStepStats("a", [node(3, HOUR + 10, 5, True), node(3, HOUR + 30, 5, True)])
    second = DeviceStepStats("b", [node(3, 5, 20, False), node(3, 26, 20, False), node(4, 50, 1, False)])
    assert crossed([first, second]) == [Passed("a", HOUR + 10, "b", 25), Passed("a", HOUR + 30, "b", 46)]
    answers = [
        Noted(Trace(first, 0, HOUR + 5, HOUR + 40).encode(), 45),
        Noted(Trace(second, 0, 5, 60).encode(), 65),
    ]
    told = step_stats(answers).dev_stats
    assert [(each.edge, each.all_start_nanos) for each in told[0].node_stats] == [(3, 10), (3, 30)]
    assert told[1] == second
    shift(told, {"a": 10, "b": 0})
    assert [each.all_start_nanos for each in told[0].node_stats] == [0, 20]
    assert noted(b"") is None


def test_a_trace_of_a_task_whose_clock_goes_wrong() -> None:
    """By an hour, which its host alone could be."""
    serve = """
    clock = time.time_ns
    time.time_ns = lambda: clock() {wrong:+}
    server = wf.train.Server(cluster, job, index)
    print("up", flush=True)
    server.join()
    """
    cluster = local_cluster(ps=1, worker=1)
    with programs() as start, wf.Graph().as_default():
        for job, wrong in (("ps", HOUR), ("worker", -HOUR)):
            start(serve.format(wrong=wrong), cluster, job).says("up")
        x = wf.placeholder(wf.float32, [2])
        with wf.device("/job:ps"):
            there = wf.exp(x)
        with wf.device("/job:worker"):
            back = wf.square(there)
        with wf.device("/job:ps"):
            end = wf.negative(back)
        with wf.Session(f"grpc://{cluster['worker'][0]}") as session:
            session.run(end, {x: np.ones(2)})
            metadata, before = wf.RunMetadata(), time.time_ns()
            session.run(end, {x: np.ones(2)}, wf.RunOptions(trace_level=wf.RunOptions.FULL_TRACE), metadata)
            after = time.time_ns()
    stats = metadata.step_stats.dev_stats
    times = [each.all_start_nanos for device in stats for each in device.node_stats]
    assert len(times) == 7
    assert before <= min(times) <= max(times) <= after
    passed = crossed(stats)
    assert len(passed) == 2
    assert all(each.sent <= each.received for each in passed)


@pytest.mark.parametrize("times", ['"asked": 1, "taken": 2', '"asked": 1, "taken": 2, "answered": "3"'])
def test_times_that_are_none(times: str) -> None:
    data = f'{{"stats": {{"device": "d", "node_stats": []}}, {times}}}'.encode()
    with pytest.raises(wf.errors.DataLossError):
        Trace.decode(data)
