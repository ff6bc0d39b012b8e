"""Replicas on the tasks of a Ray cluster: the bits of a parameter server in one process, and errors when one is killed."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import weft as wf
from endpoints import in_background
from mirrored import mirrored, through_a_ps
from weft.cluster import Cluster

pytestmark = pytest.mark.ray

WORKERS = [f"/job:worker/task:{number}" for number in range(3)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with wf.cluster.start({"worker": len(WORKERS)}) as running:
        yield running


@pytest.mark.parametrize("optimizer", ["descent", "momentum", "adam"])
@pytest.mark.parametrize("reduction", ["auto", "ring"])
def test_replicas_on_workers_end_with_the_bits_of_a_ps_in_one_process(
    cluster: Cluster, optimizer: str, reduction: str
) -> None:
    strategy = wf.distribute.MirroredStrategy(WORKERS, cluster, reduction, bucket_bytes=700)
    assert strategy.groups == ((0, 1, 2),)  # one host
    soft = wf.ConfigProto(allow_soft_placement=True)
    expected = through_a_ps(optimizer, WORKERS, ps="/job:ps", config=soft)
    assert mirrored(optimizer, strategy, cluster.target) == expected


def test_a_model_of_many_pieces_and_the_relays_of_a_ring(cluster: Cluster) -> None:
    """Every task stands for a host; 4 MB in several buckets, each in pieces."""
    addresses = {"worker": ["a:1", "a:2", "b:1"]}
    for reduction in ("scatter", "ring"):
        with wf.Graph().as_default():
            strategy = wf.distribute.MirroredStrategy(WORKERS, addresses, reduction, bucket_bytes=1 << 20)
            parts = []
            for number, device in enumerate(WORKERS):
                with wf.device(device):
                    parts.append([wf.random_normal([size], seed=number) for size in (700_001, 5, 300_000)])
            values = [wf.distribute.PerReplica(each) for each in zip(*parts, strict=True)]
            found = strategy.all_reduce("mean", values)
            expected = [wf.add_n(list(each)) / 3.0 for each in values]
            with wf.Session(cluster.target) as session:
                sums, replicas = session.run([expected, found])
        for total, each in zip(sums, replicas, strict=True):
            assert {value.tobytes() for value in each} == {total.tobytes()}
            assert np.isfinite(total).all()


def test_a_checkpoint_of_workers_is_restored_on_one_device(cluster: Cluster, tmp_path: Path) -> None:
    def build(devices: list[str]) -> tuple[wf.Variable, wf.Operation]:
        strategy = wf.distribute.MirroredStrategy(devices)
        with strategy.scope():
            w = wf.Variable(wf.random_normal([300]), name="w")
        loss = strategy.run(lambda: wf.reduce_sum(wf.square(w)))
        return w, wf.train.MirroredOptimizer(wf.train.AdamOptimizer(), strategy).minimize(loss)

    w, train = build(WORKERS)
    with wf.Session(cluster.target) as session:
        session.run(wf.global_variables_initializer())
        session.run(train)
        path = wf.train.Saver().save(session, str(tmp_path / "model"))
        session.run(train)
        after = session.run(w)
    wf.reset_default_graph()
    w, train = build(["/cpu:0"])
    with wf.Session() as session:
        wf.train.Saver().restore(session, path)
        session.run(train)
        # Of three equal gradients the mean is not the gradient to the last bit.
        assert np.allclose(session.run(w), after, rtol=1e-5)


def test_a_worker_that_is_killed_is_named() -> None:
    with wf.cluster.start({"worker": 3}) as cluster:
        strategy = wf.distribute.MirroredStrategy(WORKERS, cluster)
        with strategy.scope():
            w = wf.Variable(wf.zeros([1 << 16]), name="w")
        loss = strategy.run(lambda: wf.reduce_sum(wf.square(w - 1.0)))
        train = wf.train.MirroredOptimizer(wf.train.MomentumOptimizer(1e-3, 0.9), strategy).minimize(loss)
        with wf.Session(cluster.target) as session:
            session.run(wf.global_variables_initializer())

            def endless() -> None:
                while True:
                    session.run(train)

            running = in_background(endless)
            time.sleep(0.3)
            (victim,) = [task for task in cluster.tasks if task.name.endswith("task:1")]
            os.kill(victim.pid, signal.SIGKILL)
            with pytest.raises(wf.errors.UnavailableError) as caught:
                running()
            assert f"Task {victim.name} on {victim.host} (process {victim.pid}) is gone" in str(caught.value)
            with pytest.raises(wf.errors.UnavailableError, match="/job:worker/replica:0/task:1"):
                session.run(train)


def test_a_task_that_is_not_there_is_named_with_those_that_are(cluster: Cluster) -> None:
    with pytest.raises(
        ValueError, match=r"no task for device /job:worker/task:7 in the cluster, which has /job:worker"
    ):
        wf.distribute.MirroredStrategy(["/job:worker/task:7"], cluster)
    with wf.distribute.MirroredStrategy(["/job:worker/task:0", "/job:worker/task:7"]).scope():
        w = wf.Variable([1.0], name="w")
    with wf.Session(cluster.target) as session, pytest.raises(wf.errors.InvalidArgumentError) as caught:
        session.run(w.initializer)
    for part in ("w/replica_1", "/job:worker/task:7", "/job:worker/replica:0/task:1/device:CPU:0", Path(__file__).name):
        assert part in str(caught.value)
