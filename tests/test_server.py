"""Servers at known addresses: between-graph programs in processes of their own, from the first hello to the last goodbye."""

import re
import signal
import threading
import time
from typing import Any

import pytest
import signals
import weft as wf
from clustered import SERVE, free_ports, local_cluster, programs, soon
from weft.cluster import secret as secret_module, server as server_module
from weft.cluster.presence import roll_call
from weft.cluster.session import told

PS, WORKER, BESIDE = (
    f"/job:{task}" for task in ("ps/replica:0/task:0", "worker/replica:0/task:0", "worker/replica:0/task:1")
)
#: A worker that adds to variables of the ps, as fast as it can, and tells what it saw at the end.
ADD = """
server = wf.train.Server(cluster, job, index)
with wf.device(wf.train.replica_device_setter(cluster=cluster, worker_device=f"/job:worker/task:{index}")):
    total = wf.Variable(np.zeros(1000), name="total")
    rows = wf.Variable(np.zeros([10, 10]), name="rows")
    slot = wf.Variable(np.zeros(3), name="slot")
    ready = wf.Variable(0, name="ready")
    ones = wf.ones([1000], wf.float64) * 1.0
    updates = [wf.assign_add(total, ones), wf.scatter_add(rows, [index, 5, 5], np.ones([3, 10])),
               wf.train.GradientDescentOptimizer(1.0).apply_gradients([(wf.constant([1.0, 1.0, 1.0], wf.float64), slot)])]
config = wf.ConfigProto(race_check="off")
with wf.Session(server.target, config=config) as session:
    if index == 0:
        session.run(wf.global_variables_initializer())
        session.run(wf.assign(ready, 1))
    while not session.run(wf.is_variable_initialized(ready)) or not session.run(ready):
        time.sleep(0.01)
    for _ in range(200):
        session.run(updates)
    session.run(wf.assign_add(ready, 1))
    while session.run(ready) < 3:
        time.sleep(0.01)
    sums = [float(np.unique(value)[-1]) for value in session.run([total, rows[5:6], slot * -1.0])]
    print(sums, flush=True)
"""
#: A client that puts a value on the ps and stays.
HOLD = """
server = wf.train.Server(cluster, job, index)
with wf.device("/job:ps"):
    v = wf.Variable(7.0, name="v")
session = wf.Session(server.target)
session.run(v.initializer)
print("ready", flush=True)
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def own_home(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is kept in the home of whoever runs the tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv(secret_module.VARIABLE, raising=False)
    monkeypatch.delenv(secret_module.FILE_VARIABLE, raising=False)


#: A chief that trains, and a worker that begins when the chief has ended.
TRAIN = """
import sys
server = wf.train.Server(cluster, job, index)
print("up", flush=True)
with wf.device(wf.train.replica_device_setter(cluster=cluster, worker_device=f"/job:worker/task:{index}")):
    step = wf.train.get_or_create_global_step()
    train_op = wf.assign_add(step, 1)
if index:
    sys.stdin.readline()
with wf.train.MonitoredTrainingSession(server.target, is_chief=index == 0, max_wait_secs=600,
                                       hooks=[wf.train.StopAtStepHook(last_step=3)]) as session:
    while not session.should_stop():
        session.run(train_op)
print("done", flush=True)
"""


def test_workers_share_variables_and_lose_no_update_and_the_ps_ends_with_the_job() -> None:
    cluster = local_cluster(ps=1, worker=2)
    with programs() as start:
        second = start(ADD, cluster, "worker", 1)  # in any order
        first = start(ADD, cluster, "worker", 0)
        ps = start(SERVE.format(grace=600), cluster, "ps")
        for worker in (first, second):
            status, out, err = worker.end()
            assert (status, out.strip()) == (0, "[400.0, 800.0, 400.0]"), err
        status, out, err = ps.end()  # far less than its patience with those that were killed
        assert (status, out.split()) == (0, ["up", "over"]), err


def test_workers_whose_chief_has_finished_end() -> None:
    """The ps was started again after that, and nobody will give its variables values."""
    cluster = local_cluster(ps=1, worker=3)
    with programs() as start:
        ps = start(SERVE.format(grace=600), cluster, "ps")
        late = [start(TRAIN, cluster, "worker", index) for index in (1, 2)]
        for worker in late:
            worker.says("up")
        status, out, err = start(TRAIN, cluster, "worker", 0).end()
        assert (status, out.split()) == (0, ["up", "done"]), err
        ps.kill()
        start(SERVE.format(grace=600), cluster, "ps").says("up")
        for worker in late:
            worker.tell()
        for worker in late:
            status, out, err = worker.end()
            assert (status, out.split()) == (0, ["done"]), err


def test_a_task_that_dies_is_named_at_once_and_a_new_one_in_its_place_serves_new_sessions() -> None:
    cluster = local_cluster(ps=1, worker=1)
    with programs() as start, wf.Graph().as_default():
        ps = start(SERVE.format(grace=600), cluster, "ps")
        start(SERVE.format(grace=600), cluster, "worker")
        with wf.device("/job:ps"):
            v = wf.Variable(1.0, name="v")
        target = f"grpc://{cluster['worker'][0]}"
        old = wf.Session(target)
        old.run(v.initializer)
        ps.kill()
        # Not "has not answered": the end of its connection tells, and no silence is waited for.
        with pytest.raises(wf.errors.UnavailableError, match=rf"Task {PS} on \S+ \(process {ps.process.pid}\) is gone"):
            soon(lambda: old.run(v) is None)
        again = start(SERVE.format(grace=600), cluster, "ps")
        again.says("up")
        with pytest.raises((wf.errors.UnavailableError, wf.errors.AbortedError), match=PS):
            old.run(v)
        with wf.Session(target) as new:
            with pytest.raises(wf.errors.FailedPreconditionError, match="uninitialized value v"):
                new.run(v)
            assert new.run(wf.report_uninitialized_variables()).tolist() == [b"v"]
            new.run(v.initializer)
            assert new.run(v) == 1.0
        old.close()


def test_a_killed_program_counts_as_ended_after_a_while_and_may_come_again() -> None:
    cluster = local_cluster(ps=1, worker=1)
    with programs() as start:
        ps = start(SERVE.format(grace=6), cluster, "ps")
        worker = start(HOLD, cluster, "worker")
        again = start(f"print('up', flush=True)\nsys.stdin.readline()\n{HOLD}", cluster, "worker")
        for program, line in ((worker, "ready"), (again, "up")):  # what takes long is done before the patience is tried
            program.says(line)
        worker.kill()
        again.tell()
        again.says("ready")
        time.sleep(6.5)  # longer than the patience with the first
        assert ps.process.poll() is None
        again.kill()
        assert ps.end()[:2] == (0, "up\nover\n")


def test_ctrl_c_ends_join() -> None:
    with programs() as start:
        ps = start(SERVE.format(grace=600), local_cluster(ps=1, worker=1), "ps")
        ps.says("up")
        time.sleep(0.1)
        ps.process.send_signal(signal.SIGINT)
        assert "KeyboardInterrupt" in ps.end()[2]


def test_a_session_waits_for_tasks_that_are_not_there_and_names_them() -> None:
    cluster = local_cluster(ps=2, worker=1)
    with programs(), wf.Graph().as_default():
        wf.no_op()
        server = wf.train.Server(cluster, "worker", 0)
        message = (
            r"2 of 2 tasks did not answer: /job:ps/replica:0/task:0 at localhost:\d+ \(Connection refused\), "
            r"/job:ps/replica:0/task:1 at localhost:\d+ \(Connection refused\) within 1 s"
        )
        with pytest.raises(wf.errors.DeadlineExceededError, match=message):
            wf.Session(server.target, config=wf.ConfigProto(operation_timeout_in_ms=1000))
        filters = ["/job:nobody", "/job:worker"]
        with wf.Session(server.target, config=wf.ConfigProto(device_filters=filters)) as session:
            assert [device.name for device in session.list_devices()] == [f"{WORKER}/device:CPU:0"]
        server.close()
        with pytest.raises(
            wf.errors.DeadlineExceededError, match=r"1 of 1 tasks did not answer: the one at localhost:\d+ \("
        ):
            wf.Session(server.target, config=wf.ConfigProto(operation_timeout_in_ms=200))


def test_a_session_that_waits_says_for_whom(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(roll_call, "SAY_SECONDS", 0.3)
    monkeypatch.setenv("WEFT_CLUSTER_TIMEOUT", "1.05")
    wf.no_op()
    with programs():
        server = wf.train.Server(local_cluster(ps=7, worker=1), "worker", 0)
        with pytest.raises(wf.errors.DeadlineExceededError, match=r"7 of 7 tasks .*\) and 2 more within 1.05 s"):
            wf.Session(server.target)
        said = [record.message for record in caplog.records if "still waiting" in record.message]
        assert 1 <= len(said) <= 3
        assert all(f"{PS} at localhost:" in line for line in said)
        monkeypatch.setenv("WEFT_CLUSTER_TIMEOUT", "soon")
        with pytest.raises(wf.errors.FailedPreconditionError, match="must be a positive number of seconds, got 'soon'"):
            wf.Session(server.target)
        server.close()


def test_tasks_that_were_told_different_clusters() -> None:
    ports = free_ports(4)
    one = {"ps": [f"localhost:{ports[0]}"], "worker": [f"localhost:{ports[1]}", f"localhost:{ports[2]}"]}
    other = {"ps": [f"127.0.0.1:{ports[0]}"], "worker": [f"localhost:{ports[1]}", f"localhost:{ports[3]}"]}
    with programs(), wf.Graph().as_default():
        server, ps = wf.train.Server(one, "worker", 0), wf.train.Server(other, "ps", 0)
        config = wf.ConfigProto(device_filters=["/job:ps"], operation_timeout_in_ms=60_000)
        with pytest.raises(wf.errors.InvalidArgumentError, match="different cluster specs") as caught:
            wf.Session(server.target, config=config)
        said = f"{WORKER} was told that /job:worker/replica:0/task:1 is at localhost:{ports[2]}"
        assert said in caught.value.message
        swapped = wf.train.Server({"ps": [f"localhost:{ports[3]}"], "worker": [f"localhost:{ports[1]}"]}, "ps", 0)
        lost = wf.train.Server({"ps": [f"localhost:{ports[2]}"], "worker": [f"localhost:{ports[3]}"]}, "ps", 0)
        with pytest.raises(wf.errors.InvalidArgumentError, match=rf"answers {PS}, not {WORKER}"):
            wf.Session(lost.target, config=wf.ConfigProto(operation_timeout_in_ms=60_000))
        for each in (server, ps, swapped, lost):
            each.close()


def test_a_worker_need_not_know_the_other_workers() -> None:
    cluster = local_cluster(ps=1, worker=2)
    with programs(), wf.Graph().as_default():
        ps = wf.train.Server(cluster, "ps", 0)
        sparse = {"ps": cluster["ps"], "worker": {1: cluster["worker"][1]}}
        worker = wf.train.Server(sparse, "worker", 1)
        with wf.device("/job:ps"):
            x = wf.constant(2.0)
        with wf.Session(worker.target) as session:
            y = wf.square(x)
            assert session.run(y) == 4.0
            assert "task:1" in str(session.plan(y))
        for each in (ps, worker):
            each.close()


def test_a_ps_that_does_not_know_its_worker_ends_with_it() -> None:
    cluster = local_cluster(ps=1, worker=2)
    with programs() as start:
        known = {"ps": cluster["ps"], "worker": {0: cluster["worker"][0]}}
        ps = start(SERVE.format(grace=600), known, "ps")
        text = """
        server = wf.train.Server(cluster, job, index)
        filters = ["/job:ps", f"/job:worker/task:{index}"]
        with wf.Session(server.target, config=wf.ConfigProto(device_filters=filters)) as session:
            assert session.run(wf.constant(1.0) + 1.0) == 2.0
            print("in", flush=True)
            sys.stdin.readline()
        """
        stranger = start(text, cluster, "worker", 1)
        stranger.says("in")  # else the ps could end with the one that it knows
        known_one = start(text, cluster, "worker", 0)
        for worker in (known_one, stranger):
            worker.process.communicate("\n", timeout=120)
            assert worker.process.returncode == 0
        assert ps.end()[:2] == (0, "up\nover\n")


def test_workers_that_serve_one_driver_end_with_it() -> None:
    cluster = local_cluster(ps=1, worker=2, chief=1)
    with programs() as start:
        tasks = [("ps", 0), ("worker", 0), ("worker", 1)]
        serving = [start(SERVE.format(grace=600), cluster, job, index) for job, index in tasks]
        text = """
        server = wf.train.Server(cluster, job, index)
        with wf.device("/job:ps"):
            x = wf.constant(1.0)
        parts = []
        for worker in range(2):
            with wf.device(f"/job:worker/task:{worker}"):
                parts.append(wf.exp(x) * (worker + 1.0))
        with wf.Session(server.target) as session:
            print(round(float(session.run(wf.add_n(parts))), 3))
        """
        assert start(text, cluster, "chief").end()[:2] == (0, "8.155\n")
        for task in serving:
            assert task.end()[:2] == (0, "up\nover\n")


def test_a_program_that_ends_with_an_error_does_not_say_goodbye() -> None:
    cluster = local_cluster(ps=1, worker=1)
    with programs() as start:
        ps = start(SERVE.format(grace=600), cluster, "ps")
        failing = HOLD.replace("time.sleep(60)", "raise ValueError('no')")
        status, _, err = start(failing, cluster, "worker").end()
        assert status == 1
        assert "ValueError: no" in err
        time.sleep(1.0)
        assert ps.process.poll() is None  # it may come again
        assert start(HOLD.replace("time.sleep(60)", ""), cluster, "worker").end()[0] == 0
        assert ps.end()[:2] == (0, "up\nover\n")


def test_nobody_waits_for_a_task_that_has_said_goodbye() -> None:
    cluster = local_cluster(ps=1, worker=2)
    config = wf.ConfigProto(operation_timeout_in_ms=60_000)
    with programs() as start, wf.Graph().as_default():
        ps = start(SERVE.format(grace=600), cluster, "ps")
        server = wf.train.Server(cluster, "worker", 1)
        with wf.device("/job:ps"):
            v = wf.Variable(0.0, name="v")
        assert start(HOLD.replace("time.sleep(60)", ""), cluster, "worker", 0).end()[:2] == (0, "ready\n")
        for again in (False, True):  # the first knows it itself, the one in its place hears of it
            told = wf.train.Server(cluster, "worker", 1) if again else server
            with wf.Session(told.target, config=config) as session:
                assert [device.name for device in session.list_devices()] == [
                    f"{PS}/device:CPU:0",
                    f"{BESIDE}/device:CPU:0",
                ]
                assert session.run(v) == 7.0
            told._close(say_so=again)  # the first is as good as killed
        assert ps.end()[:2] == (0, "up\nover\n")


def test_addresses_of_version_six() -> None:
    with programs(), wf.Graph().as_default():
        server = wf.train.Server({"ps": ["[::1]:0"]})
        assert server.target.startswith("weft://[::1]:")
        with wf.Session(server.target) as session:
            assert session.run(wf.constant(1.0) + 1.0) == 2.0
        server.close()


def test_a_stranger_is_refused() -> None:
    cluster = local_cluster(ps=1)
    with programs() as start, wf.Graph().as_default():
        wf.no_op()
        start(SERVE.format(grace=600), cluster, "ps", WEFT_CLUSTER_SECRET="ab" * 32).says("up")
        with pytest.raises(wf.errors.UnauthenticatedError, match="do not trust each other"):
            wf.Session(f"weft://{cluster['ps'][0]}")


def test_a_port_that_is_taken_is_named() -> None:
    with programs():
        server = wf.train.Server(local_cluster(ps=1), "ps", 0)
        with pytest.raises(wf.errors.UnavailableError, match=r"cannot listen on 127.0.0.1:\d+: Address already in use"):
            wf.train.Server(server.server_def)
        server.close()


def test_operations_without_a_device_go_to_the_task_of_the_target() -> None:
    cluster = local_cluster(ps=1, worker=2)
    with programs(), wf.Graph().as_default():
        servers = [wf.train.Server(cluster, job, index) for job, index in (("ps", 0), ("worker", 0), ("worker", 1))]
        x = wf.constant(1.0) + wf.placeholder_with_default(1.0, [])
        for server in servers:
            with wf.Session(server.target) as session:
                name = f"/job:{server.server_def.job_name}/replica:0/task:{server.server_def.task_index}"
                assert name in str(session.plan(x))
                assert session.run(x) == 2.0
        for server in servers:
            server.close()


def test_a_task_that_ends_lets_the_steps_that_run_there_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """So a ps may end as soon as it has what a worker's step brought: the worker hears that the step is done."""
    monkeypatch.setattr(server_module, "_FINISH_SECONDS", 60.0)
    with wf.Graph().as_default():
        server = wf.train.Server.create_local_server()
        queue = wf.FIFOQueue(1, [wf.float32], shapes=[[]], shared_name="shared")
        taken, put, found = queue.dequeue(), queue.enqueue(5.0), list[Any]()
        with wf.Session(server.target) as waits, wf.Session(server.target) as session:
            session.run([put, taken])
            thread = threading.Thread(target=lambda: found.append(waits.run(taken)))
            thread.start()
            soon(lambda: any(client.is_busy() for client in server._worker._sessions()))
            closing = threading.Thread(target=server.close)
            closing.start()
            soon(lambda: server._closed)
            session.run(put)
            thread.join(60)
            closing.join(60)
            assert found == [5.0]


def test_a_step_that_waits_and_waits_is_spoken_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(told, "SLOW_SECONDS", 1.5)
    with wf.Graph().as_default():
        server = wf.train.Server.create_local_server()
        queue = wf.FIFOQueue(1, [wf.float32], shapes=[[]], shared_name="empty")
        taken, put = queue.dequeue(), queue.enqueue(5.0)
        with wf.Session(server.target) as waits, wf.Session(server.target) as session:
            thread = threading.Thread(target=waits.run, args=(taken,))
            thread.start()
            soon(lambda: bool(caplog.messages))
            session.run(put)
            thread.join(60)
        server.close()
    assert re.match(
        r"A step goes on for \d s, without a deadline: .*task:0 had waited to dequeue 1 elements \(in FIFOQueue 'empty' are 0",
        caplog.messages[0],
    )


def test_a_local_server_is_a_cluster_of_one() -> None:
    server = wf.train.Server.create_local_server(start=False)
    with pytest.raises(RuntimeError, match="has not started"):
        server.join()
    server.start()
    server.start()
    with wf.Graph().as_default(), wf.Session(server.target) as session:
        assert session.run(wf.constant(3.0) * 2.0) == 6.0
        assert [device.name for device in session.list_devices()] == ["/job:localhost/replica:0/task:0/device:CPU:0"]
    server.close()
    server.close()
    with pytest.raises(RuntimeError, match="closed"):
        server.start()
    with pytest.raises(RuntimeError, match="closed"):
        server.join()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ([3], TypeError, "server_or_cluster_def"),
        ([{"ps": 1}], ValueError, "must be host:port"),
        ([{"ps": ["localhost"]}], ValueError, "must be host:port"),
        ([{"ps": ["localhost:0"], "worker": ["localhost:0"]}], ValueError, "`job_name`: there are ps, worker"),
        ([{"ps": ["localhost:0", "localhost:0"]}], ValueError, "`task_index`: there are 0, 1"),
        ([{"ps": ["localhost:0"]}, "nope", 0], wf.errors.InternalError, "no job 'nope'"),
        ([{"ps": ["localhost:0"]}, "ps", 5], wf.errors.InternalError, "no task 5"),
        ([{"ps": ["localhost:0"]}, "ps", 0, "verbs"], wf.errors.NotFoundError, "no protocol 'verbs'"),
        ([{"ps": ["localhost:0"]}, "ps", 0, None, 3], TypeError, "ConfigProto"),
        ([{"ps": ["no such host:1"]}], ValueError, "is not known"),
        ([{"ps": ["localhost:0"]}, "ps", "0"], TypeError, "task_index must be an int, got '0'"),
        (
            [{"ps": [""], "worker": ["localhost:0"]}, "worker"],
            ValueError,
            "of /job:ps/replica:0/task:0 must be host:port, got ''",
        ),
        ([{"ps": ["localhost:0"], "worker": ["192.0.2.7:1"]}, "ps"], wf.errors.FailedPreconditionError, "token_hex"),
    ],
)
def test_what_makes_no_server(arguments: list[Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        wf.train.Server(*arguments)


def test_an_address_that_others_cannot_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(secret_module.VARIABLE, "ab" * 32)
    with pytest.raises(ValueError, match=r"would listen on 127.0.0.1, which is this machine's own: 192.0.2.7:1 cannot"):
        wf.train.Server({"ps": ["localhost:0"], "worker": ["192.0.2.7:1"]}, "ps")


def test_a_server_def_makes_the_same_server() -> None:
    config = wf.ConfigProto(intra_op_parallelism_threads=2)
    server = wf.train.Server({"ps": ["localhost:0"], "worker": ["localhost:0"]}, "ps", 0, config=config, start=False)
    made = server.server_def
    assert (made.job_name, made.task_index, made.protocol) == ("ps", 0, "weft")
    assert made.default_session_config is config
    assert wf.train.ClusterSpec(made.cluster).task_address("worker", 0) == "localhost:0"
    other = wf.train.Server(made, job_name="worker", protocol="grpc", start=False)
    assert (other.server_def.job_name, other.server_def.protocol) == ("worker", "grpc")
    server.close()
    other.close()


@pytest.mark.parametrize("target", ["weft://nobody", "weft://", "grpc://host", "grpc://a/b:1", "weft://:1"])
def test_what_is_no_target(target: str) -> None:
    wf.no_op()
    with pytest.raises(wf.errors.NotFoundError, match="nor is that the address of a task"):
        wf.Session(target)


def test_servers_need_no_ray() -> None:
    with programs() as start:
        text = """
        server = wf.train.Server(cluster, job, index)
        with wf.Session(server.target) as session:
            assert session.run(wf.constant(1.0) + 1.0) == 2.0
        print("ray" in sys.modules)
        """
        assert start(text, local_cluster(ps=1), "ps").end()[:2] == (0, "False\n")


def test_a_task_that_falls_silent_is_an_error_that_says_so() -> None:
    cluster = local_cluster(ps=1, worker=1)
    with programs({"WEFT_HEARTBEAT_TIMEOUT": "3"}) as start, wf.device(PS):
        program = start(SERVE.format(grace=600), cluster, "ps")
        program.says("up")
        step = wf.assign_add(wf.Variable(0.0, use_resource=True), 1.0)
        server = wf.train.Server(cluster, "worker", 0)
        with wf.Session(server.target) as session:
            session.run(wf.global_variables_initializer())
            session.run(step)
            signals.send(signal.SIGSTOP, program.process.pid)
            with pytest.raises(
                wf.errors.UnavailableError, match=r"/job:ps/.*has not answered for 3 s: its process may be stop"
            ):
                session.run(step)
        server.close()
