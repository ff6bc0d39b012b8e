"""Sessions on a real cluster: the same program and the same bits as in one process, and errors that say where."""

import os
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import signals
import weft as wf
from clustered import soon
from endpoints import in_background, nothing_left, running_threads
from weft.cluster import Cluster
from weft.graph import dtypes

PS, WORKER0, WORKER1 = (f"/job:{task}" for task in ("ps/task:0", "worker/task:0", "worker/task:1"))
TRANSPORTS = ["auto", "shm", "tcp"]
#: How the names of weft's shared memory begin: other files may be Ray's, which opens some in this process when it likes.
SEGMENTS = "/memfd:weft"

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def clusters() -> Iterator[Callable[[str], Cluster]]:
    """A cluster for each transport, on one Ray, started when it is first asked for."""
    started: dict[str, Cluster] = {}

    def get(transport: str = "auto") -> Cluster:
        if transport not in started:
            started[transport] = wf.cluster.start({"ps": 1, "worker": 2}, transport=transport)
        return started[transport]

    yield get
    for each in started.values():
        each.close()


@pytest.fixture
def cluster(clusters: Callable[[str], Cluster]) -> Cluster:
    return clusters("auto")


@pytest.fixture(params=TRANSPORTS)
def by_transport(request: pytest.FixtureRequest, clusters: Callable[[str], Cluster]) -> Cluster:
    return clusters(request.param)


@contextmanager
def stopped(cluster: Cluster, task: str) -> Iterator[None]:
    """A block in which a task does nothing at all."""
    (pid,) = [info.pid for info in cluster.tasks if info.name.startswith(task)]
    signals.send(signal.SIGSTOP, pid)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def build_training() -> tuple[wf.Tensor, wf.Tensor, wf.Operation, wf.Tensor]:
    """A network with its variables on the ps, a replica on each worker, and one synchronous update."""
    x, y = wf.placeholder(wf.float32, [None, 20]), wf.placeholder(wf.int64, [None])
    with wf.device(wf.train.replica_device_setter(ps_tasks=1)):
        sizes = list(pairwise((20, 64, 32, 5)))
        weights = [wf.Variable(wf.truncated_normal(size, stddev=0.2, seed=i)) for i, size in enumerate(sizes)]
        biases = [wf.Variable(wf.zeros([size[1]])) for size in sizes]
    variables, losses, gradients = weights + biases, [], []
    for number, worker in enumerate((WORKER0, WORKER1)):
        with wf.device(worker):
            hidden = x[number::2]
            for w, b in zip(weights[:-1], biases[:-1], strict=True):
                hidden = wf.nn.relu(wf.matmul(hidden, w) + b)
            logits = wf.matmul(hidden, weights[-1]) + biases[-1]
            loss = wf.nn.sparse_softmax_cross_entropy_with_logits(labels=y[number::2], logits=logits)
            losses.append(wf.reduce_mean(loss))
            gradients.append(wf.gradients(losses[-1], variables, colocate_gradients_with_ops=True))
    with wf.device(PS):
        averaged = [wf.add_n(list(each)) / 2.0 for each in zip(*gradients, strict=True)]
        train = wf.train.AdamOptimizer(0.01).apply_gradients(list(zip(averaged, variables, strict=True)))
        return x, y, train, wf.add_n(losses)


def train(target: str, steps: int = 20) -> list[bytes]:
    """Losses and final variables of a training run, as bytes."""
    with wf.Graph().as_default():
        x, y, train_op, loss = build_training()
        random, seen = np.random.default_rng(0), []
        with wf.Session(target, config=wf.ConfigProto(allow_soft_placement=not target)) as session:
            session.run(wf.global_variables_initializer())
            for _ in range(steps):
                feeds = {x: random.normal(size=(32, 20)), y: random.integers(0, 5, 32)}
                seen.append(session.run([train_op, loss], feeds)[1])
            return [np.asarray(value).tobytes() for value in seen + session.run(wf.global_variables())]


def test_training_gives_the_same_bits_as_in_one_process(by_transport: Cluster) -> None:
    local = train("")
    assert len(local) == 20 + 3 * 6 + 2  # variables, two slots each, and Adam's two powers
    assert train(by_transport.target) == local


def test_random_operations_give_the_same_numbers_in_every_session(cluster: Cluster) -> None:
    wf.set_random_seed(7)
    with wf.device(WORKER1):
        numbers = [wf.random_uniform([3]), wf.random_normal([2]), wf.truncated_normal([2], seed=3)]

    def draw(target: str) -> list[list[float]]:
        with wf.Session(target, config=wf.ConfigProto(allow_soft_placement=not target)) as session:
            return [value.tolist() for _ in range(3) for value in session.run(numbers)]

    local = draw("")
    assert len({str(value) for value in local}) == 9
    assert draw(cluster.target) == local
    assert draw(cluster.target) == local


@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3), (100, 100)], ids=str)
def test_values_of_every_type_arrive(by_transport: Cluster, shape: tuple[int, ...]) -> None:
    random = np.random.default_rng(0)
    sent, moved = {}, []
    for dtype in dtypes.ALL:
        if dtype in (wf.string, dtypes.resource, dtypes.variant):  # handles and tapes stay where they are
            continue
        with wf.device(PS):
            fed = wf.placeholder(dtype, [None] * len(shape))
            sent[fed] = random.integers(0, 2, shape).astype(dtype.np)
            there = wf.identity(fed)
        with wf.device(WORKER1):
            moved.append(wf.identity(there))
    with wf.Session(by_transport.target) as session:
        for before, after in zip(sent.values(), session.run(moved, sent), strict=True):
            np.testing.assert_array_equal(after, before)
            assert np.asarray(after).dtype == before.dtype
    assert len(moved) >= 14


def test_strings_arrive(by_transport: Cluster) -> None:
    with wf.device(PS):
        fed = wf.placeholder(wf.string, [None, 2])
        there = wf.concat([fed, wf.constant([["ü", ""]])], 0)
    with wf.device(WORKER1):
        moved, one = wf.identity(there), wf.identity(there[0, 0])
    with wf.Session(by_transport.target) as session:
        all_of_them, first = session.run([moved, one], {fed: [[b"\x00\xff", b"text"], [b"x" * 70_000, b""]]})
        assert all_of_them.tolist() == [[b"\x00\xff", b"text"], [b"x" * 70_000, b""], ["ü".encode(), b""]]
        assert first == b"\x00\xff"


@pytest.mark.parametrize("transport", ["shm", "tcp"])
def test_large_tensors_arrive(clusters: Callable[[str], Cluster], transport: str) -> None:
    fed = wf.placeholder(wf.float32, [None])
    with wf.device(PS):
        there = fed + 1.0
    with wf.device(WORKER1):
        back = there * 2.0
    array = np.arange(16 << 20, dtype=np.float32)  # 64 MB
    with wf.Session(clusters(transport).target) as session:
        np.testing.assert_array_equal(session.run(back, {fed: array}), (array + 1) * 2)


def test_large_constants_stay_what_they_are(by_transport: Cluster) -> None:
    """Memory that messages travel in is used again; what a plan or a variable keeps must not lie there."""
    numbers = np.arange(30_000, dtype=np.float32)
    fed = [wf.placeholder(wf.float32, [30_000]) for _ in range(5)]
    with wf.device(PS):
        kept = wf.Variable(numbers, name="kept")
        constant = wf.constant(numbers) + 0.0 * fed[0]
        more = wf.add_n(fed)
    with wf.device(WORKER1):
        there = wf.identity(constant)
    with wf.device(WORKER0):
        far = wf.Variable(np.zeros(30_000, np.float32), name="far")
        store = far.assign(there)
    with wf.Session(by_transport.target) as session:
        session.run([kept.initializer, far.initializer])
        session.run(store, {fed[0]: np.zeros(30_000)})
        for step in range(5):
            feeds = {each: np.full(30_000, step) for each in fed}
            np.testing.assert_array_equal(session.run(there, feeds), numbers)
            assert set(session.run(more, feeds).tolist()) == {5.0 * step}
        np.testing.assert_array_equal(session.run(kept), numbers)
        np.testing.assert_array_equal(session.run(far), numbers)


def test_a_fetched_value_stays_what_it_is(cluster: Cluster) -> None:
    fed = wf.placeholder(wf.float32, [None])
    with wf.device(PS):
        doubled = fed * 2.0
    with wf.Session(cluster.target) as session:
        values = [session.run(doubled, {fed: np.full(20_000, step)}) for step in range(5)]
        assert [set(value.tolist()) for value in values] == [{2.0 * step} for step in range(5)]
        values[0][0] = 7  # it is the caller's


def test_fetches_of_every_form(cluster: Cluster) -> None:
    with wf.device(PS):
        a = wf.constant(3.0, name="a")
    with wf.device(WORKER1):
        b = a + 1.0
    with wf.Session(cluster.target) as session:
        assert session.run({"x": [a, b], "y": (b, b), "z": "a:0", "op": b.op}) == {
            "x": [3.0, 4.0], "y": (4.0, 4.0), "z": 3.0, "op": None,
        }  # fmt: skip
        fed = session.make_callable([b], [a])
        assert [fed(1.0), fed(2.0)] == [[2.0], [3.0]]


def test_operations_run_where_they_are_placed(cluster: Cluster) -> None:
    with wf.device(PS):
        a = wf.placeholder(wf.float32)
        b = a + 1.0
    with wf.device("/job:worker"):
        c = b + 1.0
    d = c + 1.0
    with wf.Session(cluster.target) as session:
        devices = [device.name for device in session.list_devices()]
        assert devices == [
            "/job:ps/replica:0/task:0/device:CPU:0",
            "/job:worker/replica:0/task:0/device:CPU:0",
            "/job:worker/replica:0/task:1/device:CPU:0",
        ]
        plans = {plan.device: str(plan) for plan in session.plan(d).plans}
        assert sorted(plans) == devices[:2]
        assert plans[devices[1]].count("AddV2") == 2
    assert [str(task).split(" on ")[0] for task in cluster.tasks] == [
        device.removesuffix("/device:CPU:0") for device in devices
    ]
    assert len({task.pid for task in cluster.tasks} | {os.getpid()}) == 4


def test_sessions_share_variables(cluster: Cluster) -> None:
    with wf.device(PS):
        v = wf.Variable(1.0, name="shared")
        add = v.assign_add(1.0)
    with wf.Session(cluster.target) as one, wf.Session(cluster.target) as other:
        one.run(v.initializer)
        assert [other.run(v), one.run(add), other.run(add), one.run(v)] == [1.0, 2.0, 3.0, 3.0]
    with wf.Session(cluster.target) as later:
        assert later.run(v) == 3.0


def test_control_dependencies_across_tasks(cluster: Cluster) -> None:
    with wf.device(PS):
        v = wf.Variable(0.0, name="ordered")
        add = v.assign_add(1.0)
    with wf.device(WORKER1), wf.control_dependencies([add]):
        signal_only = wf.no_op()
    with wf.device(PS), wf.control_dependencies([signal_only]):
        after = wf.identity(v.read_value())
    with wf.Session(cluster.target) as session:
        session.run(v.initializer)
        assert [session.run(after) for _ in range(20)] == list(range(1, 21))


def test_threads_run_steps_at_once(cluster: Cluster) -> None:
    fed = wf.placeholder(wf.float32, [None])
    with wf.device(PS):
        count = wf.Variable(0, name="count")
        add = count.assign_add(1)
        there = fed + 1.0
    with wf.device(WORKER1):
        back = there * 2.0

    def steps(number: int) -> None:
        for step in range(40):
            array = np.full(10_000, 100 * number + step, np.float32)
            np.testing.assert_array_equal(session.run([back, add], {fed: array})[0], (array + 1) * 2)

    with wf.Session(cluster.target) as session, ThreadPoolExecutor(6) as pool:
        session.run(count.initializer)
        for result in [pool.submit(steps, number) for number in range(6)]:
            result.result()
        assert session.run(count) == 6 * 40


def resident(pid: int) -> int:
    """Bytes of memory of a process."""
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


@pytest.mark.parametrize("transport", ["shm", "tcp"])
def test_memory_does_not_grow(clusters: Callable[[str], Cluster], transport: str) -> None:
    cluster = clusters(transport)
    fed = wf.placeholder(wf.float32, [None])
    with wf.device(PS):
        there = fed + 1.0
    with wf.device(WORKER1):
        back = there * 2.0
    array = np.ones(50_000, np.float32)  # 200 kB: 500 of them are 100 MB
    processes = [os.getpid(), *(task.pid for task in cluster.tasks)]
    with wf.Session(cluster.target) as session:
        for _ in range(50):
            session.run(back, {fed: array})
        before = [resident(pid) for pid in processes]
        for _ in range(500):
            session.run(back, {fed: array})
        grown = [resident(pid) - size for pid, size in zip(processes, before, strict=True)]
    assert max(grown) < 10e6, grown


def test_an_error_names_operation_line_and_task(cluster: Cluster) -> None:
    a, b = wf.placeholder(wf.float32, [None, None]), wf.placeholder(wf.float32, [None, None])
    with wf.device(WORKER1):
        product = wf.matmul(a, b, name="product")
    with wf.device(PS):
        later = product + 1.0
    with wf.Session(cluster.target) as session:
        for _ in range(3):
            with pytest.raises(wf.errors.InvalidArgumentError) as caught:
                session.run(later, {a: np.ones((2, 3)), b: np.ones((2, 3))})
            assert caught.value.op is product.op
            for part in ("{{node product}}", "test_cluster.py"):
                assert part in caught.value.message
            where = rf"It ran on /job:worker/replica:0/task:1 on {re.escape(socket.gethostname())} \(process \d+\)\."
            assert re.search(where, caught.value.message)
        assert session.run(later, {a: np.ones((1, 1)), b: np.ones((1, 1))}).tolist() == [[2.0]]


def test_an_uninitialized_variable(cluster: Cluster) -> None:
    with wf.device(PS):
        v = wf.Variable(1.0, name="never_set")
    with wf.device(WORKER0):
        read = v + 1.0
    with wf.Session(cluster.target) as session, pytest.raises(wf.errors.FailedPreconditionError, match="never_set"):
        session.run(read)


def test_an_unknown_device(cluster: Cluster) -> None:
    with wf.device("/job:worker/task:7"):
        a = wf.constant(1.0, name="nowhere") + 1.0
    with wf.Session(cluster.target) as session, pytest.raises(wf.errors.InvalidArgumentError) as caught:
        session.run(a)
    for part in (
        "/job:worker/task:7",
        "/job:worker/replica:0/task:1/device:CPU:0",
        "/job:ps/replica:0/task:0",
        "test_cluster",
    ):
        assert part in caught.value.message


def hop() -> tuple[wf.Tensor, wf.Tensor]:
    """A value that the ps makes, and its double, made on the first worker."""
    with wf.device(PS):
        fed = wf.placeholder(wf.float32, [None])
        there = wf.add(fed, 1.0, name="there")
    with wf.device(WORKER0):
        return fed, there * 2.0


def test_a_session_that_is_closed_in_a_step(cluster: Cluster) -> None:
    fed, back = hop()
    with nothing_left(SEGMENTS), wf.Session(cluster.target) as session:
        session.run(back, {fed: [1.0]})
        with stopped(cluster, "/job:ps"):
            engine: Any = session._engine
            running = in_background(session.run, back, {fed: [1.0]})
            soon(lambda: bool(engine._running))
            session.close()  # it does not wait for the task that does nothing
            with pytest.raises(wf.errors.CancelledError, match="cancelled"):
                running()
        with pytest.raises(RuntimeError, match="closed Session"):
            session.run(back, {fed: [1.0]})


SESSIONS = 20


def test_a_closed_session_leaves_nothing_here_or_there(by_transport: Cluster) -> None:
    fed, back = hop()

    def threads(pid: int) -> int:
        return len(os.listdir(f"/proc/{pid}/task"))

    def files(pid: int) -> int:
        return len(os.listdir(f"/proc/{pid}/fd"))

    def use() -> None:
        with wf.Session(by_transport.target) as session:
            session.run(back, {fed: np.ones(100_000)})

    use()
    time.sleep(0.5)
    processes = [os.getpid(), *(task.pid for task in by_transport.tasks)]
    before = [(threads(pid), files(pid)) for pid in processes]
    for _ in range(SESSIONS):
        with nothing_left(SEGMENTS):
            use()
    deadline = time.monotonic() + 60
    while after := [(threads(pid), files(pid)) for pid in processes]:
        # Ray's own threads and connections come and go by one or two; what a session left would be there each time.
        if all(
            now < old + SESSIONS / 4 for pair in zip(after, before, strict=True) for now, old in zip(*pair, strict=True)
        ):
            return
        assert time.monotonic() < deadline, f"{before} threads and files became {after}"
        time.sleep(0.1)


def test_a_session_that_nobody_closes_is_closed_with_its_last_reference(cluster: Cluster) -> None:
    fed, back = hop()
    before = running_threads()
    session = wf.Session(cluster.target)
    session.run(back, {fed: [1.0]})
    made = running_threads() - before
    assert made
    del session
    assert not made & running_threads()


def test_a_queue_on_the_ps_is_shared_by_sessions_and_outlives_them(cluster: Cluster) -> None:
    with wf.device(PS):
        queue = wf.FIFOQueue(3, wf.float32, shapes=[()], shared_name="shared")
    with wf.device(WORKER0):
        put = queue.enqueue(wf.constant(20.0) + 1.0)
    with wf.device(WORKER1):
        take = queue.dequeue() * 2.0
    with wf.Session(cluster.target) as other:
        result = in_background(other.run, take)
        with wf.Session(cluster.target) as session:
            session.run(put)
            assert result() == 42.0
            session.run(put)
        assert other.run(take) == 42.0
        with pytest.raises(
            wf.errors.DeadlineExceededError, match=r"had waited to dequeue 1 elements \(in FIFOQueue 'shared'"
        ):
            other.run(take, options=wf.RunOptions(timeout_in_ms=1000))
