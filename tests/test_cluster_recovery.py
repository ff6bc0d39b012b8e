"""Clusters on Ray whose tasks are killed: they are started anew, and a training ends with an undisturbed one's bits."""

import logging
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import signals
import weft as wf
from weft import train
from weft.cluster import Budget, Cluster

PS, WORKER0, WORKER1 = (
    f"/job:{task}" for task in ("ps/replica:0/task:0", "worker/replica:0/task:0", "worker/replica:0/task:1")
)
STEPS = 9

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module", autouse=True)
def ray_stays() -> Iterator[None]:
    """A small cluster that lives as long as these tests do, so that Ray is started once for the others."""
    with wf.cluster.start({"holder": 1}):
        yield


@pytest.fixture
def cluster(ray_stays: None) -> Iterator[Cluster]:
    with wf.cluster.start({"ps": 1, "worker": 2}) as cluster:
        yield cluster


def send(cluster: Cluster, task: str, number: int = signal.SIGKILL) -> None:
    (pid,) = [info.pid for info in cluster.tasks if info.name == task]
    signals.send(number, pid)


def model() -> tuple[Any, Any, Any]:
    """Input, global step and training: variables on the ps, of a loss that both workers compute; one keeps a count."""
    x = wf.placeholder(wf.float32, [8, 4])
    with wf.device(PS):
        step = train.create_global_step()
        w = wf.get_variable("w", [4, 3], initializer=wf.truncated_normal_initializer(seed=1))
    with wf.device(WORKER1):
        seen = wf.Variable(0.0, name="seen")
    losses = []
    for device, part in zip((WORKER0, WORKER1), wf.split(x, 2), strict=True):
        with wf.device(device):
            losses.append(wf.reduce_mean(wf.square(wf.tanh(wf.matmul(part, w)) - 1.0)))
    with wf.control_dependencies([seen.assign_add(losses[1])]):
        train_op = train.AdamOptimizer(0.01).minimize(wf.add_n(losses), global_step=step)
    return x, step, train_op


def trained(
    folder: Path, target: str, kill: Callable[[int], None] = lambda step: None, **arguments: Any
) -> dict[str, bytes]:
    """What is saved after the training; `kill` is called in each step before its run."""
    with wf.Graph().as_default():
        x, step, train_op = model()

        def one_step(step_context: Any) -> None:
            taken = int(step_context.session.run(step))
            kill(taken)
            batch = np.random.default_rng(taken).normal(size=(8, 4)).astype(np.float32)
            step_context.run_with_hooks(train_op, {x: batch})

        with train.MonitoredTrainingSession(
            target, checkpoint_dir=str(folder), hooks=[train.StopAtStepHook(last_step=STEPS)], save_checkpoint_steps=1,
            recovery=train.RecoveryPolicy(backoff_secs=0.0), save_summaries_steps=None, **arguments,
        ) as session:  # fmt: skip
            while not session.should_stop():
                session.run_step_fn(one_step)
    return {name: train.load_variable(str(folder), name).tobytes() for name, _ in train.list_variables(str(folder))}


def undisturbed(folder: Path) -> dict[str, bytes]:
    return trained(folder, "", config=wf.ConfigProto(allow_soft_placement=True))


def test_a_training_whose_tasks_are_killed_ends_with_the_bits_of_an_undisturbed_one(
    cluster: Cluster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kills = {2: PS, 4: WORKER1, 6: WORKER0}
    pids = {info.name: info.pid for info in cluster.tasks}

    def kill(step: int) -> None:
        if step in kills:
            send(cluster, kills.pop(step))

    with caplog.at_level(logging.WARNING, "weft.cluster"):
        found = trained(tmp_path / "cluster", cluster.target, kill)
    assert found == undisturbed(tmp_path / "local")
    assert cluster.epoch == 3
    assert all(info.pid != pids[info.name] for info in cluster.tasks)
    assert [record.message for record in caplog.records if "The cluster's tasks are started again" in record.message]


def test_a_stopped_task_is_replaced(ray_stays: None, tmp_path: Path) -> None:
    stops = {3: WORKER0}

    def stop(step: int) -> None:
        if step in stops:
            send(cluster, stops.pop(step), signal.SIGSTOP)

    with wf.cluster.start({"ps": 1, "worker": 2}, heartbeat_timeout=4) as cluster:
        assert trained(tmp_path / "cluster", cluster.target, stop) == undisturbed(tmp_path / "local")
        assert cluster.epoch == 1


def test_recover_keeps_the_variables_of_living_tasks_and_ends_their_sessions(cluster: Cluster) -> None:
    with wf.device(PS):
        kept = wf.Variable(5.0)
        queue = wf.FIFOQueue(2, wf.int32, shapes=[()], shared_name="q")
        put, size = queue.enqueue(1), queue.size()
    with wf.device(WORKER0):
        lost = wf.Variable(7.0)
    with wf.Session(cluster.target) as before, wf.Session(cluster.target) as other:
        before.run([kept.initializer, lost.initializer, put])
        assert other.run([kept, lost, size]) == [5.0, 7.0, 1]
        assert cluster.recover() == 0  # all is well
        assert other.run(kept) == 5.0
        send(cluster, WORKER0)
        assert cluster.recover() == 1
        for session in (before, other):
            with pytest.raises(
                wf.errors.AbortedError, match="epoch 1 of the cluster has begun, which ends its sessions"
            ):
                session.run(kept)
    with wf.Session(cluster.target) as session:
        assert session.run([kept, size]) == [5.0, 0]
        with pytest.raises(wf.errors.FailedPreconditionError):
            session.run(lost)


def test_a_recovery_that_cannot_succeed_ends_with_an_error_that_says_why(ray_stays: None) -> None:
    with wf.cluster.start({"ps": 1}, recovery=Budget(max_failures=1)) as cluster:
        send(cluster, PS)
        assert cluster.recover() == 1
        send(cluster, PS)
        with pytest.raises(wf.errors.UnavailableError) as caught:
            cluster.recover()
        assert caught.value.message.startswith(f"Task {PS} is gone, and is not started again: ")
        assert "1 failures and 0 preemptions were mended" in caught.value.message
        wf.constant(1.0)
        with pytest.raises(wf.errors.UnavailableError, match="is not started again"):
            train.MonitoredTrainingSession(cluster.target, recovery=train.RecoveryPolicy(max_recoveries=0))


def test_reset_forgets_variables_and_ends_sessions(cluster: Cluster) -> None:
    with wf.device(WORKER1):
        forgotten = wf.Variable(3.0)
        with wf.container("other"):
            stays = wf.Variable(4.0)
    with wf.Session(cluster.target) as session:
        session.run([forgotten.initializer, stays.initializer])
        wf.Session.reset(cluster.target)
        with pytest.raises(wf.errors.AbortedError, match="was reset"):
            session.run(stays)
    with wf.Session(cluster.target) as session:
        assert session.run(stays) == 4.0
        with pytest.raises(wf.errors.FailedPreconditionError):
            session.run(forgotten)
