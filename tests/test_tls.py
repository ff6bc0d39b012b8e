"""Mutual TLS under TCP: what passes is the same, and who has no certificate of the authority does not get in."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from certificates import Authority
from clustered import SERVE, local_cluster, programs
from endpoints import SECRET, connected, in_background, nothing_left, numbered
from weft.cluster.transports import tls, transport
from weft.graph import errors

pytestmark = pytest.mark.counts


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"), "authority")


@pytest.fixture
def secured(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    variables = authority.certificate("task", "127.0.0.1")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with nothing_left():
        yield variables


def test_messages_of_all_sizes_pass(secured: dict[str, str]) -> None:
    sizes = [0, 1, 100, 5000, 300_000, 3_000_000]
    with connected("tcp") as (left, right):
        for sender, taker in ((left, right), (right, left)):
            for step, size in enumerate(sizes):
                sending = in_background(sender.send, numbered(step, np.arange(size, dtype=np.float32)))
                got = taker.recv(60)
                sending()
                assert got.step == step
                np.testing.assert_array_equal(got.tensors[0], np.arange(size, dtype=np.float32))
        left.close()
        with pytest.raises(errors.UnavailableError):
            right.recv(60)


def test_both_may_send_much_at_once(secured: dict[str, str]) -> None:
    """Neither reads before both have sent more than sockets hold."""
    much = np.ones(2_000_000, np.float32)
    with connected("tcp") as (left, right):
        sending = [in_background(each.send, numbered(1, much)) for each in (left, right)]
        assert [each.recv(60).tensors[0].sum() for each in (left, right)] == [2e6, 2e6]
        for done in sending:
            done()


def test_who_does_not_speak_tls_hears_nothing(secured: dict[str, str]) -> None:
    with transport.listen("tcp", SECRET) as listening:  # type: ignore[attr-defined]
        host, port = listening.address.removeprefix("tcp://").split(":")
        accepting = in_background(listening.accept)
        with socket.create_connection((host, int(port))) as stranger:
            stranger.sendall(b"no TLS at all")
            stranger.settimeout(60)
            with suppress(ConnectionResetError):  # that, an end, or TLS's alert; no word of ours
                assert stranger.recv(100)[:1] in (b"", b"\x15")
        listening.close()
        with pytest.raises(errors.CancelledError):
            accepting()


def test_who_has_no_certificate_of_the_authority_does_not_get_in(
    secured: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with transport.listen("tcp", SECRET) as listening:  # type: ignore[attr-defined]
        accepting = in_background(listening.accept)
        for name, value in Authority(tmp_path, "other").certificate("stranger", "127.0.0.1").items():
            monkeypatch.setenv(name, value)
        with pytest.raises(errors.UnauthenticatedError, match="trusted"):
            transport.connect(listening.address, SECRET, 60, peer="the task")
        monkeypatch.setenv(tls.AUTHORITY, secured[tls.AUTHORITY])  # it trusts the server, which does not trust it
        with pytest.raises(errors.UnauthenticatedError, match="do not trust each other"):
            transport.connect(listening.address, SECRET, 60, peer="the task")
        listening.close()
        with pytest.raises(errors.CancelledError):
            accepting()


def test_a_certificate_for_another_address_is_not_trusted(
    authority: Authority, secured: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in authority.certificate("elsewhere", "192.0.2.1").items():
        monkeypatch.setenv(name, value)
    with transport.listen("tcp", SECRET) as listening:  # type: ignore[attr-defined]
        accepting = in_background(listening.accept)
        with pytest.raises(errors.UnauthenticatedError, match=r"IP address mismatch.*127\.0\.0\.1"):
            transport.connect(listening.address, SECRET, 60, peer="the task")
        listening.close()
        with pytest.raises(errors.CancelledError):
            accepting()


@pytest.mark.parametrize("missing", [tls.CERTIFICATE, tls.KEY, tls.AUTHORITY])
def test_a_file_that_is_missing_or_of_no_use_is_named(
    secured: dict[str, str], missing: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(missing, str(tmp_path / "none"))
    with pytest.raises(errors.FailedPreconditionError, match=f"{missing} must name a file, got '.*none'"):
        transport.listen("tcp", SECRET)
    (tmp_path / "none").write_text("nothing")
    with pytest.raises(errors.FailedPreconditionError, match=f"{missing}.* of no use"):
        transport.listen("tcp", SECRET)


def test_a_session_runs_on_servers_that_use_it(authority: Authority, secured: dict[str, str]) -> None:
    """In one process's place: with shared memory out of reach, all that passes between these two is TLS."""
    program = """
from weft.cluster.transports import transport
transport.choose = lambda mine, theirs: "inproc" if mine.process == theirs.process else "tcp"
import weft.cluster.presence.task_info as task_info
task_info.choose = transport.choose
"""
    train = (
        program
        + """
server = wf.train.Server(cluster, job, index)
with wf.device("/job:ps/task:0"):
    v = wf.Variable(wf.ones([100_000]))
    update = v.assign_add(wf.ones([100_000]))
with wf.Session(server.target) as session:
    session.run(v.initializer)
    print(sum(float(session.run(update).sum()) for _ in range(3)), flush=True)
    print(sorted({type(link).__name__ for link in session._engine._links._connections.values()}), flush=True)
"""
    )
    cluster = {job: [where.replace("localhost", "127.0.0.1") for where in places]
               for job, places in local_cluster(ps=1, worker=1).items()}  # fmt: skip
    with programs(secured) as start:
        ps = start(program + SERVE.format(grace=600), cluster, "ps")
        worker = start(train, cluster, "worker")
        status, out, err = worker.end()
        assert (status, out) == (0, "900000.0\n['InprocConnection', 'TcpConnection']\n"), err
        assert ps.end()[:2] == (0, "up\nover\n")


def test_it_is_off_unless_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(tls.USE, "0")
    assert not tls.wanted()
    monkeypatch.delenv(tls.USE)
    assert not tls.wanted()
    assert ssl.HAS_TLSv1_3
