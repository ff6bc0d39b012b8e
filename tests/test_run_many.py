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
from hypothesis import given, settings
from hypothesis import strategies as st
from programs import FED, Built, Step, build, recipes, same_bits
from weft.cluster.engine import ClusterEngine
from weft.cluster.worker import Worker
from weft.runtime import engine
from weft.runtime.many import _Row

A, B, C = (f"/job:{job}/replica:0/task:0" for job in "abc")
THREE = wf.ConfigProto(device_count={"CPU": 3}, race_check="off")


@contextmanager
def tasks(graph: wf.Graph | None = None) -> Iterator[wf.Session]:
    """A session over three tasks in this process, in which `/cpu:1` and `/cpu:2` are tasks b and c."""
    with ExitStack() as stack:
        workers = [stack.enter_context(closing(Worker(name, SECRET))) for name in (A, B, C)]
        addresses = {worker.name: worker.addresses["shm"] for worker in workers}
        engine.register_engine("many", lambda target, config: ClusterEngine(addresses, SECRET, {}, default_task=A))
        stack.callback(engine._FACTORIES.pop, "many")
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
        assert [value.tolist() for value in session.run_many(x, ({x: [number]} for number in range(3)))] == [[0], [1], [2]]
        assert list(session.run_many(total, [None, {}], 2)) == [18, 18]
        assert list(session.run_many(total, [])) == []


class Meeting:
    """Functions for py_func on two devices, of which the second waits for the first in the next run."""

    def __init__(self) -> None:
        self.begun = [threading.Event() for _ in range(4)]

    def first(self, number: Any) -> Any:
        self.begun[int(number)].set()
        return number

    def second(self, number: Any) -> Any:
        there = int(number) + 1
        assert there == len(self.begun) or self.begun[there].wait(20), "the next run has not begun"
        return number


def chain(meeting: Any, first: str, second: str) -> tuple[wf.Tensor, wf.Tensor]:
    x = wf.placeholder(wf.float32, [])
    with wf.device(first):
        y = wf.py_func(meeting.first, [x], wf.float32)
    with wf.device(second):
        return x, wf.py_func(meeting.second, [y], wf.float32)
