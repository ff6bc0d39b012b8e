"""Servers on two hosts, made of network namespaces: the same values, over TCP; and what secrets and addresses must be."""

import pytest
from clustered import SERVE, programs
from hosts import Hosts, hosts, reason_against

pytestmark = pytest.mark.skipif(bool(reason_against()), reason=reason_against())

#: Values of all sizes go to and fro, and what cannot be is an error.
TRAIN = """
server = wf.train.Server(cluster, job, index)
with wf.device(wf.train.replica_device_setter(cluster=cluster)):
    parts = [wf.Variable(wf.range(size, dtype=wf.float32), name=f"v{size}") for size in (1, 1000, 2_000_000)]
    sums = [wf.reduce_sum(part * 2.0) for part in parts]
    gradients = wf.gradients(wf.add_n(sums), parts)
    train_op = wf.train.GradientDescentOptimizer(1.0).apply_gradients(list(zip(gradients, parts)))
with wf.Session(server.target) as session:
    session.run(wf.global_variables_initializer())
    for _ in range(3):
        session.run(train_op)
    values = session.run(parts)
    kinds = sorted({type(link).__name__ for link in session._engine._links._connections.values()})
print([bool(np.array_equal(value, np.arange(value.size, dtype=np.float32) - 6.0)) for value in values], kinds)
"""
NO_SECRET = """
try:
    wf.train.Server(cluster, job, index)
except wf.errors.FailedPreconditionError as error:
    print("WEFT_CLUSTER_SECRET_FILE" in error.message)
"""
LOOPBACK = """
try:
    wf.train.Server({**cluster, job: ["localhost:2222"]}, job, index)
except ValueError as error:
    print(f"{cluster['ps'][0]} cannot reach it" in str(error))
"""


def cluster_on(two: Hosts) -> dict[str, list[str]]:
    ps, worker = two.addresses
    return {"ps": [f"{ps}:2222"], "worker": [f"{worker}:2222"]}


def test_a_ps_and_a_worker_on_two_hosts() -> None:
    with hosts(2) as two, programs() as start:
        worker = start(TRAIN, cluster_on(two), "worker", host=two.names[1])
        ps = start(SERVE.format(grace=600), cluster_on(two), "ps", host=two.names[0])
        status, out, err = worker.end()
        assert (status, out) == (0, "[True, True, True] ['InprocConnection', 'TcpConnection']\n"), err
        assert ps.end()[:2] == (0, "up\nover\n")


def test_hosts_need_a_secret_and_addresses_that_can_be_reached() -> None:
    with hosts(2) as two, programs() as start:
        cluster, host = cluster_on(two), two.names[1]
        assert start(NO_SECRET, cluster, "worker", host=host, WEFT_CLUSTER_SECRET="").end()[1] == "True\n"
        assert start(LOOPBACK, cluster, "worker", host=host).end()[1] == "True\n"
