"""Branches and loops over several tasks: the same bits as in one process, memory that is given back, and ends that are told."""

import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import nested
import numpy as np
import pytest
import weft as wf
from endpoints import in_background
from hypothesis import HealthCheck, given, settings
from programs import same_bits
from tasks import TASKS, session_of_tasks
from weft.cluster import Cluster
from weft.cluster.transports.shm import ShmConnection

bounded = settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
LIMIT = wf.RunOptions(timeout_in_ms=60_000)
PS, WORKER0, WORKER1 = (f"/job:{task}" for task in ("ps/task:0", "worker/task:0", "worker/task:1"))


def back_and_forth(count: Any, here: str, there: str, start: Any = 1.0) -> Any:
    """A loop whose state goes to another task and back in each iteration."""

    def body(i: Any, a: Any) -> Any:
        with wf.device(there):
            b = wf.sin(a) * 1.5
        return i + 1, b + 0.25

    with wf.device(here):
        return wf.while_loop(lambda i, a: i < count, body, [0, wf.convert_to_tensor(start)])[1]


def alone(fetches: Any, feeds: Any = None) -> list[Any]:
    """The values in one process, on one device."""
    with wf.Session(config=wf.ConfigProto(allow_soft_placement=True, race_check="off")) as session:
        session.run(wf.global_variables_initializer())
        return list(session.run(fetches, feeds))


@pytest.mark.filterwarnings("ignore::weft.RaceWarning")
@bounded
@given(nested.recipes(longest=2))
def test_random_programs_over_tasks_have_the_bits_of_one_process(recipe: Any) -> None:
    built = nested.Building(recipe, TASKS)
    grads = wf.gradients(built.values[-1], [*built.feeds, *built.variables], unconnected_gradients="zero")
    fetches = [*built.values, *map(wf.convert_to_tensor, grads if "write" not in str(recipe) else ())]
    with session_of_tasks() as session:
        session.run(wf.global_variables_initializer())
        found = session.run(fetches, built.feed_dict(), options=LIMIT)
    assert same_bits(found, alone(fetches, built.feed_dict()))


def test_what_a_loop_sends_takes_no_more_memory_with_each_iteration(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    sent = ShmConnection.send_once

    def counted(self: ShmConnection, message: Any) -> None:
        sent(self, message)
        sizes.append(self.shared_bytes)

    monkeypatch.setattr(ShmConnection, "send_once", counted)
    value = back_and_forth(300, *TASKS, start=np.linspace(0, 1, 1 << 15, dtype=np.float32))
    with session_of_tasks() as session:
        found = session.run(value, options=LIMIT)
    assert len(sizes) >= 600
    assert max(sizes) == 0
    assert same_bits([found], alone([value]))


def test_an_error_inside_names_the_operation_the_line_and_the_task() -> None:
    def body(i: Any, a: Any) -> Any:
        with wf.device(TASKS[1]):
            return i + 1, a + wf.gather(wf.constant([1.0, 2.0]), i, name="lookup")

    with wf.device(TASKS[0]):
        value = wf.while_loop(lambda i, a: wf.less(i, 9), body, [0, wf.constant(1.0)])[1]
        last = value + back_and_forth(2, *TASKS)
    with session_of_tasks() as session:
        with pytest.raises(
            wf.errors.InvalidArgumentError, match=r"lookup.*\n.*/job:b.*\n.*test_spanning_cluster"
        ) as caught:
            session.run(last, options=LIMIT)
        assert caught.value.op is not None
        assert session.run(back_and_forth(2, *TASKS)) > 0


def test_a_deadline_and_close_end_a_loop_over_tasks() -> None:
    endless = back_and_forth(2**31 - 1, *TASKS)
    with session_of_tasks() as session:
        with pytest.raises(wf.errors.DeadlineExceededError):
            session.run(endless, options=wf.RunOptions(timeout_in_ms=300))
        assert session.run(back_and_forth(1, *TASKS)) > 0
        running = in_background(session.run, endless)
        time.sleep(0.3)
        session.close()
        with pytest.raises((wf.errors.CancelledError, RuntimeError)):
            running()


# on Ray


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with wf.cluster.start({"ps": 1, "worker": 2}) as made:
        yield made


@pytest.mark.ray
def test_training_through_a_loop_over_processes_and_one_that_is_killed_amid_an_iteration(cluster: Cluster) -> None:
    with wf.device(PS):
        v = wf.Variable(np.linspace(0.1, 0.9, 8, dtype=np.float32))

    def body(i: Any, a: Any) -> Any:
        with wf.device(WORKER1):
            b = wf.cond(wf.reduce_sum(a) > 2.0, lambda: wf.tanh(a * v), lambda: wf.sin(a) + v)
        return i + 1, b

    with wf.device(WORKER0):
        loss = wf.reduce_sum(wf.while_loop(lambda i, a: i < 6, body, [0, wf.ones([8])])[1])
    train = wf.train.GradientDescentOptimizer(0.1).minimize(loss, colocate_gradients_with_ops=True)

    def trained(target: str) -> list[Any]:
        with wf.Session(target, config=wf.ConfigProto(allow_soft_placement=not target)) as session:
            session.run(wf.global_variables_initializer())
            return [*(session.run([loss, train])[0] for _ in range(3)), session.run(v)]

    assert same_bits(trained(cluster.target), trained(""))
    endless = back_and_forth(2**31 - 1, WORKER0, WORKER1)
    with wf.Session(cluster.target) as session:
        running = in_background(session.run, endless)
        time.sleep(1)
        (pid,) = [info.pid for info in cluster.tasks if info.name.startswith("/job:worker/replica:0/task:1")]
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(wf.errors.UnavailableError, match=r"/job:worker/replica:0/task:1"):
            running()
