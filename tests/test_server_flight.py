"""Servers that speak Flight: the same programs and values, and what happens where certificates or protocols do not fit."""

from __future__ import annotations

import signal
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest
import signals
import weft as wf
from certificates import Authority, here
from clustered import SERVE, local_cluster, programs, soon
from endpoints import open_files
from weft.cluster.presence.task_info import TaskInfo
from weft.cluster.schemes import VARIABLE, protocol
from weft.cluster.transports import flight, tls
from weft.cluster.transports.transport import Location

PS, WORKER = "/job:ps/replica:0/task:0", "/job:worker/replica:0/task:0"
#: A chief that trains a variable of the ps, and tells what it is, and how it reached the ps and itself.
TRAIN = """
server = wf.train.Server(cluster, job, index{more})
with wf.device(wf.train.replica_device_setter(cluster=cluster, worker_device=f"/job:worker/task:{{index}}")):
    v = wf.Variable(wf.ones([100_000]))
    update = v.assign_add(wf.ones([100_000]))
with wf.Session({target}) as session:
    session.run(v.initializer)
    print(sum(float(session.run(update).sum()) for _ in range(3)), flush=True)
    print(sorted({{type(link).__name__ for link in session._engine._links._connections.values()}}), flush=True)
    print(server.target.partition(":")[0], flush=True)
"""
QUICK = wf.ConfigProto(operation_timeout_in_ms=60_000)


@pytest.fixture(autouse=True)
def secured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Certificates for 127.0.0.1, and nothing that is kept in the home of whoever runs the tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv(VARIABLE, raising=False)
    for name, value in here().items():
        monkeypatch.setenv(name, value)


def cluster_of(**jobs: int) -> dict[str, list[str]]:
    """A cluster at the address that the certificates name."""
    cluster = local_cluster(**jobs)
    return {job: [where.replace("localhost", "127.0.0.1") for where in places] for job, places in cluster.items()}


@pytest.mark.parametrize(
    ("more", "target", "variables"),
    [
        (', protocol="flight"', "server.target", {}),
        ("", "server.target", {VARIABLE: "flight"}),
        (', protocol="grpc"', 'f"grpc://{cluster[job][0]}"', {VARIABLE: "flight"}),
    ],
)
def test_all_that_leaves_a_process_goes_through_flight_and_the_job_ends(
    more: str, target: str, variables: dict[str, str]
) -> None:
    cluster = cluster_of(ps=1, worker=1)
    with programs(variables) as start:
        serve = SERVE.replace("index)", f"index{more.replace('grpc', 'flight')})").format(grace=600)
        ps = start(serve, cluster, "ps")
        worker = start(TRAIN.format(more=more, target=target), cluster, "worker")
        status, out, err = worker.end()
        assert (status, out) == (0, "900000.0\n['FlightConnection', 'InprocConnection']\nflight\n"), err
        assert ps.end()[:2] == (0, "up\nover\n")


def test_a_task_that_dies_is_named_at_once_and_the_one_in_its_place_serves() -> None:
    cluster = cluster_of(ps=1, worker=1)
    with programs({VARIABLE: "flight"}) as start, wf.Graph().as_default():
        ps = start(SERVE.format(grace=600), cluster, "ps")
        start(SERVE.format(grace=600), cluster, "worker")
        with wf.device(PS):
            v = wf.Variable(1.0, name="v")
        target = f"flight://{cluster['worker'][0]}"
        with wf.Session(target) as old:
            old.run(v.initializer)
            ps.kill()
            with pytest.raises(
                wf.errors.UnavailableError, match=rf"Task {PS} on \S+ \(process {ps.process.pid}\) is go"
            ):
                soon(lambda: old.run(v) is None)
        start(SERVE.format(grace=600), cluster, "ps").says("up")
        with wf.Session(target) as new:
            with pytest.raises(wf.errors.FailedPreconditionError, match="uninitialized value v"):
                new.run(v)
            new.run(v.initializer)
            assert new.run(v) == 1.0
            wf.Session.reset(f"grpc://{cluster['worker'][0]}")
            with pytest.raises(wf.errors.AbortedError, match="was reset"):
                new.run(v)


def test_programs_that_use_each_other_can_end_together() -> None:
    """Each has open what the other's Flight server waits for when it ends."""
    cluster = cluster_of(worker=2)
    with programs({VARIABLE: "flight"}) as start:
        text = """
        server = wf.train.Server(cluster, job, index)
        session = wf.Session(server.target)
        print("in", flush=True)
        sys.stdin.readline()
        """
        both = [start(text, cluster, "worker", index) for index in range(2)]
        for each in both:
            each.says("in")
        for each in both:
            each.tell()
        assert [each.end()[0] for each in both] == [0, 0]


def test_a_client_that_is_stopped_does_not_hold_up_the_end_of_a_server() -> None:
    """gRPC itself gives it 20 s."""
    cluster = cluster_of(ps=1, worker=1)
    with programs({VARIABLE: "flight"}) as start:
        text = """
        server = wf.train.Server(cluster, job, index)
        {more}
        print("in", flush=True)
        sys.stdin.readline()
        """
        ps = start(text.format(more=""), cluster, "ps")
        ps.says("in")
        worker = start(text.format(more="session = wf.Session(server.target)"), cluster, "worker")
        worker.says("in")
        signals.send(signal.SIGSTOP, worker.process.pid)
        status, _, err = ps.end(timeout=15)
        assert status == 0, err


def test_only_connections_to_the_address_that_ends_are_cut_and_no_descriptor_is_left() -> None:
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    with ExitStack() as stack:
        pairs = []
        for each in listeners:
            stack.enter_context(each)
            client = stack.enter_context(socket.create_connection(each.getsockname(), 5))
            pairs.append((client, stack.enter_context(each.accept()[0])))
        before = open_files()
        flight._cut(*listeners[0].getsockname())
        assert open_files() == before
        (cut, _), (client, server) = pairs
        assert cut.recv(1) == b""
        server.sendall(b"x")
        assert client.recv(1) == b"x"


@pytest.mark.parametrize(("speaks", "asked"), [("weft", "flight"), ("flight", "weft")])
def test_a_session_of_the_other_protocol_hears_so_at_once(speaks: str, asked: str) -> None:
    with programs(), wf.Graph().as_default():
        wf.no_op()
        server = wf.train.Server({"ps": ["127.0.0.1:0"]}, protocol=speaks)
        address = server.target.removeprefix(f"{speaks}://")
        message = f"{address} speaks the protocol '{speaks}', and this side '{asked}': all of a cluster"
        with pytest.raises(wf.errors.FailedPreconditionError, match=message):
            wf.Session(f"{asked}://{address}", config=QUICK)
        with pytest.raises(wf.errors.FailedPreconditionError, match=message):
            wf.Session.reset(f"{asked}://{address}", config=QUICK)
        with wf.Session(server.target) as session:
            assert session.run(wf.constant(1.0) + 1.0) == 2.0
        server.close()


@pytest.mark.parametrize(("speaks", "other"), [("weft", "flight"), ("flight", "weft")])
def test_a_task_of_another_protocol_is_named(speaks: str, other: str) -> None:
    cluster = cluster_of(ps=1, worker=1)
    with programs(), wf.Graph().as_default():
        wf.no_op()
        ps = wf.train.Server(cluster, "ps", 0, protocol=other)
        worker = wf.train.Server(cluster, "worker", 0, protocol=speaks)
        with pytest.raises(
            wf.errors.FailedPreconditionError, match=f"{PS} speaks the protocol '{other}', and this side"
        ):
            wf.Session(worker.target, config=QUICK)
        ps.close()
        worker.close()


def test_without_tls_there_is_no_flight_and_the_error_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    wf.no_op()
    with programs():
        server = wf.train.Server({"ps": ["127.0.0.1:0"]}, protocol="flight")
        monkeypatch.delenv(tls.USE)
        message = (
            f"Flight needs TLS: set {tls.USE}=1, and {tls.CERTIFICATE}, {tls.KEY} and {tls.AUTHORITY} to the names"
        )
        with pytest.raises(wf.errors.FailedPreconditionError, match=message):
            wf.train.Server({"ps": ["127.0.0.1:0"]}, protocol="flight")
        with pytest.raises(wf.errors.FailedPreconditionError, match=message):
            wf.Session(server.target, config=QUICK)
        with pytest.raises(wf.errors.UnauthenticatedError, match="when secrets, certificates or protocols differ"):
            wf.Session(server.target.replace("flight", "weft"), config=QUICK)
        plain = wf.train.Server({"ps": ["127.0.0.1:0"]})
        monkeypatch.setenv(tls.USE, "1")
        for target in (plain.target, plain.target.replace("weft", "flight")):
            with pytest.raises(
                wf.errors.UnauthenticatedError, match="it ended the connection, as one without TLS does"
            ):
                wf.Session(target, config=QUICK)
        monkeypatch.setenv(tls.KEY, "none")
        with pytest.raises(wf.errors.FailedPreconditionError, match=f"{tls.KEY} must name a file, got 'none'"):
            wf.train.Server({"ps": ["127.0.0.1:0"]}, protocol="flight")
        server.close()
        plain.close()


def test_a_stranger_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = cluster_of(ps=1)
    target = f"flight://{cluster['ps'][0]}"
    with programs({VARIABLE: "flight"}) as start:
        wf.no_op()
        start(SERVE.format(grace=600), cluster, "ps", WEFT_CLUSTER_SECRET="ab" * 32).says("up")
        with pytest.raises(wf.errors.UnauthenticatedError, match="do not trust each other"):
            wf.Session(target, config=QUICK)
        for name, value in Authority(tmp_path, "other").certificate("stranger", "127.0.0.1").items():
            monkeypatch.setenv(name, value)
        with pytest.raises(wf.errors.UnauthenticatedError, match="TLS that is trusted here: self-signed certificate"):
            wf.Session(target, config=QUICK)
        monkeypatch.setenv(tls.AUTHORITY, here()[tls.AUTHORITY])  # it trusts the task, which does not trust it
        with pytest.raises(
            wf.errors.UnauthenticatedError, match=f"not trust this side's certificate, {tls.CERTIFICATE}"
        ):
            wf.Session(target, config=QUICK)


def test_a_session_waits_for_who_is_not_there_and_for_who_says_nothing() -> None:
    with programs(), socket.create_server(("127.0.0.1", 0)) as silent:
        wf.no_op()
        cluster = cluster_of(ps=1, worker=1) | {"chief": [f"127.0.0.1:{silent.getsockname()[1]}"]}
        server = wf.train.Server(cluster, "worker", 0, protocol="flight")
        message = (
            r"2 of 2 tasks did not answer: /job:chief/replica:0/task:0 at \S+ \((no answer yet|.* in time)\), "
            r"/job:ps/replica:0/task:0 at \S+ \(Connection refused\) within 2 s"
        )
        with pytest.raises(wf.errors.DeadlineExceededError, match=message):
            wf.Session(server.target, config=wf.ConfigProto(operation_timeout_in_ms=2000))
        server.close()


def test_an_address_that_is_taken_is_named_and_is_free_again_in_the_end() -> None:
    cluster = cluster_of(ps=1)
    with programs():
        for _ in range(3):
            server = wf.train.Server(cluster, protocol="flight")
            for speaks in ("flight", "weft"):
                with pytest.raises(
                    wf.errors.UnavailableError, match=r"listen on 127.0.0.1:\d+: Address already in use"
                ):
                    wf.train.Server(cluster, protocol=speaks)
            server.close()
            soon(lambda: _free(cluster["ps"][0]))


def _free(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_server((host, int(port))).close()
    except OSError:
        return False
    return True


def test_addresses_of_version_six(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in Authority(tmp_path, "six").certificate("task", "::1").items():
        monkeypatch.setenv(name, value)
    with programs(), wf.Graph().as_default():
        server = wf.train.Server({"ps": ["[::1]:0"]}, protocol="flight")
        assert server.target.startswith("flight://[::1]:")
        with wf.Session(server.target) as session:
            assert session.run(wf.constant(1.0) + 1.0) == 2.0
        server.close()


def test_the_nearest_way_on_which_a_task_listens() -> None:
    me = Location("here", "me")
    ways = [Location("here", "me"), Location("here", "beside"), Location("far", "me")]

    def found(*transports: str) -> list[str]:
        addresses = {each: f"{each}://" for each in transports}
        return [TaskInfo(PS, "host", 1, where, addresses).address_from(me) for where in ways]

    assert found("tcp", "shm", "inproc") == ["inproc://", "shm://", "tcp://"]
    assert found("tcp", "shm") == ["shm://", "shm://", "tcp://"]
    assert found("flight", "inproc") == ["inproc://", "flight://", "flight://"]
    with pytest.raises(
        wf.errors.UnavailableError, match=f"{PS} on host, process 1 listens nowhere that can be reached"
    ):
        found("shm", "inproc")


def test_which_protocol_a_name_stands_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [protocol(name) for name in (None, "grpc", "weft", "flight")] == ["weft", "weft", "weft", "flight"]
    monkeypatch.setenv(VARIABLE, "flight")
    assert [protocol(name) for name in (None, "grpc", "weft", "flight")] == ["flight", "flight", "weft", "flight"]
    with programs():
        local = wf.train.Server.create_local_server()
        assert local.target.startswith("weft://")
        local.close()
    monkeypatch.setenv(VARIABLE, "verbs")
    message = f"no protocol 'verbs', which {VARIABLE} names; known: weft, flight"
    with pytest.raises(wf.errors.NotFoundError, match=message):
        wf.train.Server({"ps": ["127.0.0.1:0"]})
    wf.no_op()
    with pytest.raises(wf.errors.NotFoundError, match=message):
        wf.Session("grpc://127.0.0.1:1")
    with pytest.raises(wf.errors.NotFoundError, match="no protocol 'verbs'; known: weft, flight, grpc"):
        wf.train.Server({"ps": ["127.0.0.1:0"]}, protocol="verbs")
