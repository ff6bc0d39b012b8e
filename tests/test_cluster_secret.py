"""Where a cluster's secret comes from, who may read it, and that no error shows it."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import weft as wf
from weft.cluster.secret import FILE_VARIABLE, VARIABLE, cluster_secret, is_local, same_place

TEXT = "0123456789abcdef" * 4


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home that is new, and an environment that says nothing."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.delenv(FILE_VARIABLE, raising=False)
    return tmp_path / "cache" / "weft" / "cluster-secret"


def test_tasks_of_one_machine_share_a_file_of_the_user_that_is_made_once(cache: Path) -> None:
    first = cluster_secret(["localhost:1", "127.0.0.1:2", "[::1]:3"])
    assert len(first) == 32
    assert cluster_secret(["localhost:4"]) == first
    assert stat.S_IMODE(cache.stat().st_mode) == 0o600
    assert stat.S_IMODE(cache.parent.stat().st_mode) == 0o700
    assert [path.name for path in cache.parent.iterdir()] == [cache.name]


def test_processes_that_start_at_once_agree(cache: Path) -> None:
    text = "import sys; from weft.cluster.secret import cluster_secret; print(hash(cluster_secret(['localhost:1'])))"
    command = [sys.executable, "-P", "-c", text]
    started = [
        subprocess.Popen(
            command, stdout=subprocess.PIPE, env={"PYTHONHASHSEED": "0", "XDG_CACHE_HOME": str(cache.parents[1])}
        )
        for _ in range(6)
    ]
    said = {process.communicate(timeout=200)[0] for process in started}
    assert len(said) == 1
    assert said != {b""}
    assert [path.name for path in cache.parent.iterdir()] == [cache.name]


def test_the_environment_and_a_file_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = ["192.0.2.7:1"]
    monkeypatch.setenv(VARIABLE, f" {TEXT}\n")
    assert cluster_secret(elsewhere) == bytes.fromhex(TEXT)
    path = tmp_path / "secret"
    path.write_text("ff" * 32 + "\n")
    path.chmod(0o640)
    monkeypatch.setenv(FILE_VARIABLE, str(path))
    assert cluster_secret(elsewhere) == b"\xff" * 32


def test_several_hosts_need_one_that_all_know() -> None:
    with pytest.raises(
        wf.errors.FailedPreconditionError, match=r"as 192.0.2.6:1, 192.0.2.7:1, 192.0.2.8:1, \.\.\.\)"
    ) as caught:
        cluster_secret([f"192.0.2.{number}:1" for number in (7, 8, 9, 6)] + ["localhost:1"])
    assert "token_hex(32)" in caught.value.message
    assert FILE_VARIABLE in caught.value.message


@pytest.mark.parametrize("text", ["", "short", TEXT[:-1], TEXT[:-1] + "x", TEXT + "00", "é" * 64, TEXT[:-2] + " 0"])
def test_what_is_no_secret_is_not_shown(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret"
    path.write_text(text)
    path.chmod(0o600)
    monkeypatch.setenv(FILE_VARIABLE, str(path))
    with pytest.raises(wf.errors.FailedPreconditionError, match="64 hexadecimal digits") as caught:
        cluster_secret([])
    assert not text or text not in caught.value.message


def test_a_file_that_cannot_be_trusted_or_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret"
    monkeypatch.setenv(FILE_VARIABLE, str(path))
    with pytest.raises(wf.errors.FailedPreconditionError, match="No such file"):
        cluster_secret([])
    path.write_text(TEXT)
    for mode in (0o644, 0o602):
        path.chmod(mode)
        with pytest.raises(wf.errors.FailedPreconditionError, match="is open to everybody: `chmod 600"):
            cluster_secret([])
    path.chmod(0o600)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(wf.errors.FailedPreconditionError, match="it is no text"):
        cluster_secret([])


def test_a_file_in_the_cache_that_others_know_is_refused(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster_secret(["localhost:1"])
    cache.chmod(0o640)
    with pytest.raises(wf.errors.FailedPreconditionError, match="is not this user's alone"):
        cluster_secret(["localhost:1"])
    cache.chmod(0o600)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(wf.errors.FailedPreconditionError, match="is not this user's alone"):
        cluster_secret(["localhost:1"])


def test_a_home_that_cannot_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(wf.errors.FailedPreconditionError, match=r"cannot be kept in .*: Not a directory"):
        cluster_secret(["localhost:1"])


@pytest.mark.parametrize(
    ("host", "local"),
    [("localhost", True), ("127.0.0.1", True), ("::1", True), ("192.0.2.7", False), ("no such host", False)],
)
def test_what_is_this_machine(host: str, local: bool) -> None:
    assert is_local(host) is local


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("a:1", "a:1", True),
        ("localhost:1", "127.0.0.1:1", True),
        ("localhost:1", "localhost:2", False),
        ("no such host:1", "localhost:1", False),
    ],
)
def test_what_is_the_same_place(one: str, other: str, same: bool) -> None:
    assert same_place(one, other) is same
