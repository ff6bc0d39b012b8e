"""Replicas on servers, on one host and on two made of network namespaces: the same bits, and an error when one is killed."""

from pathlib import Path

import pytest
from clustered import SERVE, local_cluster, programs
from hosts import hosts, reason_against

#: Where the programs find what the tests share.
SHARED = {"PYTHONPATH": str(Path(__file__).parent)}

#: The first worker trains on all of them, and compares with a ps and as many workers in one process.
COMPARE = """
from mirrored import mirrored, through_a_ps
server = wf.train.Server(cluster, job, index)
devices = [f"/job:worker/task:{number}" for number in range(len(cluster["worker"]))]
strategy = wf.distribute.MirroredStrategy(devices, cluster, bucket_bytes=700)
soft = wf.ConfigProto(allow_soft_placement=True)
for optimizer in ("momentum", "adam"):
    expected = through_a_ps(optimizer, devices, ps="/job:ps", config=soft)
    print(strategy.groups, mirrored(optimizer, strategy, server.target) == expected)
"""
#: Steps of 4 MB, from host to host in a ring, until one fails.
ENDLESS = """
server = wf.train.Server(cluster, job, index)
devices = [f"/job:worker/task:{number}" for number in range(len(cluster["worker"]))]
strategy = wf.distribute.MirroredStrategy(devices, cluster)
with strategy.scope():
    w = wf.Variable(wf.zeros([1 << 20]), name="w")
loss = strategy.run(lambda: wf.reduce_sum(wf.square(w - 1.0)))
train = wf.train.MirroredOptimizer(wf.train.GradientDescentOptimizer(1e-3), strategy).minimize(loss)
with wf.Session(server.target) as session:
    session.run(wf.global_variables_initializer())
    session.run(train)
    print("running", flush=True)
    try:
        while True:
            session.run(train)
    except wf.errors.UnavailableError as error:
        print(error.message.splitlines()[0], flush=True)
"""


def test_workers_of_servers_end_with_the_bits_of_a_ps_in_one_process() -> None:
    with programs(SHARED) as start:
        cluster = local_cluster(worker=2)
        chief = start(COMPARE, cluster, "worker")
        other = start(SERVE.format(grace=600), cluster, "worker", 1)
        status, out, err = chief.end()
        assert (status, out) == (0, "((0, 1),) True\n((0, 1),) True\n"), err
        assert other.end()[:2] == (0, "up\nover\n")


def test_a_server_that_is_killed_is_named() -> None:
    with programs(SHARED) as start:
        cluster = local_cluster(worker=2)
        chief = start(ENDLESS, cluster, "worker")
        other = start(SERVE.format(grace=600), cluster, "worker", 1)
        chief.says("running")
        other.kill()
        status, out, err = chief.end()
        assert status == 0, err
        assert "/job:worker/replica:0/task:1" in out
        assert f"process {other.process.pid}" in out


@pytest.mark.skipif(bool(reason_against()), reason=reason_against())
def test_two_hosts_with_two_replicas_each_add_up_in_a_ring_to_the_same_bits() -> None:
    with hosts(2) as two, programs(SHARED) as start:
        cluster = {"worker": [f"{address}:{port}" for address in two.addresses for port in (2222, 2223)]}
        chief = start(COMPARE, cluster, "worker", host=two.names[0])
        others = [
            start(SERVE.format(grace=600), cluster, "worker", number, host=two.names[number // 2])
            for number in (1, 2, 3)
        ]
        status, out, err = chief.end()
        assert (status, out) == (0, "((0, 1), (2, 3)) True\n" * 2), err
        for other in others:
            assert other.end()[:2] == (0, "up\nover\n")


@pytest.mark.skipif(bool(reason_against()), reason=reason_against())
def test_a_host_that_loses_its_cable_is_an_error_in_time() -> None:
    with hosts(2) as two, programs({**SHARED, "WEFT_HEARTBEAT_TIMEOUT": "4"}) as start:
        cluster = {"worker": [f"{address}:{port}" for address in two.addresses for port in (2222, 2223)]}
        chief = start(ENDLESS, cluster, "worker", host=two.names[0])
        for number in (1, 2, 3):
            start(SERVE.format(grace=600), cluster, "worker", number, host=two.names[number // 2])
        chief.says("running")
        two.cut(1)
        assert chief.process.stdout is not None
        said = chief.process.stdout.readline()
        assert "/job:worker/replica:0/task:2" in said or "/job:worker/replica:0/task:3" in said
